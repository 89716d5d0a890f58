//! What the processor and the kernel do beyond the language: vectors, chosen at run time so that one binary
//! runs on every x86-64; prefetches; large pages.
//!
//! Beside [`crate::dpdk`] the only room with `unsafe`: gathers and prefetches, which have no safe name, calls
//! into code that is compiled for more than the baseline, and advice on memory. Each function that has a fast
//! form has a plain one beside it that says what it does, and a test that both do the same.
#![allow(unsafe_code, reason = "intrinsics and system calls without a safe name")]

use crate::frame::BURST_PKTS;

pub(crate) mod buckets;
pub(crate) mod cells;
pub(crate) mod columns;
pub(crate) mod headers;
mod huge;
pub(crate) mod pairs;
mod prefetch;
#[cfg(all(feature = "dpdk", target_arch = "x86_64", not(miri), not(loom)))]
pub(crate) mod quads;
pub(crate) mod rows;

pub(crate) use huge::advise_huge;
pub(crate) use prefetch::prefetch;

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
pub(crate) mod avx512;

/// So many of a burst are sooner looked at one by one: words that were written so a moment ago can't be loaded as
/// a vector before all of them have reached the cache.
pub(crate) const FEW: usize = 3;

/// Of a column, as much as there is to look at where that is little, else all: a loop whose end is known to the
/// compiler is a third as long. What is found behind `count` is undefined.
#[inline]
pub(crate) fn worth_a_look<T>(column: &[T; BURST_PKTS], count: usize) -> &[T] {
    if count <= FEW { &column[..count] } else { column }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
pub(crate) use vectors::{has_avx512, is_for_vectors};

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod vectors {
    use super::FEW;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Whether a burst of so many is looked at by vectors.
    #[inline]
    pub(crate) fn is_for_vectors(count: usize) -> bool {
        count > FEW && has_avx512()
    }

    /// Whether vectors of 512 bits, with all that this program uses of them, are there.
    #[inline]
    pub(crate) fn has_avx512() -> bool {
        // Asked several times for each burst: a lock for once would be three times the instructions.
        match FOUND.load(Ordering::Relaxed) {
            0 => look_for_avx512(),
            found => found == PRESENT,
        }
    }

    /// What has been found, 0 before anybody looked. Whoever looks finds the same.
    static FOUND: AtomicU8 = AtomicU8::new(0);
    const PRESENT: u8 = 1;
    const ABSENT: u8 = 2;

    #[cold]
    fn look_for_avx512() -> bool {
        let is_there = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        FOUND.store(if is_there { PRESENT } else { ABSENT }, Ordering::Relaxed);
        is_there
    }
}
