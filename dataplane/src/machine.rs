//! What the processor and the kernel do beyond the language: vectors, chosen at run time so that one binary
//! runs on every x86-64; prefetches; large pages.
//!
//! Beside [`crate::dpdk`] the only room with `unsafe`: gathers and prefetches, which have no safe name, calls
//! into code that is compiled for more than the baseline, and advice on memory. Each function that has a fast
//! form has a plain one beside it that says what it does, and a test that both do the same.
#![allow(unsafe_code, reason = "intrinsics and system calls without a safe name")]

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
#[cfg(any(test, miri, not(target_arch = "x86_64")))]
use std::sync::atomic::Ordering;

pub(crate) mod buckets;
pub(crate) mod cells;
pub(crate) mod headers;
mod huge;
mod prefetch;
pub(crate) mod rows;

pub(crate) use huge::advise_huge;
pub(crate) use prefetch::prefetch;

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
pub(crate) mod avx512;

/// Whether vectors of 512 bits, with all that this program uses of them, are there.
pub(crate) fn has_avx512() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
        return is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
        false
    })
}

/// Adds to a pair of counters that only the caller writes. A reader sees each of them before or after.
#[inline]
pub(crate) fn add_pair(pair: &[AtomicU64; 2], by: [u64; 2]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_mm_add_epi64, _mm_loadu_si128, _mm_set_epi64x, _mm_storeu_si128};
        let [first, second] = by.map(u64::cast_signed);
        let place: *mut [AtomicU64; 2] = std::ptr::from_ref(pair).cast_mut();
        // SAFETY: both words are behind the reference and may be written through it, being atomic; each is
        // aligned, and the processor reads and writes an aligned word of a vector whole. SSE2 is part
        // of the baseline.
        unsafe {
            let sum = _mm_add_epi64(_mm_loadu_si128(place.cast()), _mm_set_epi64x(second, first));
            _mm_storeu_si128(place.cast(), sum);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for (cell, by) in pair.iter().zip(by) {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_added_to_and_wraps() {
        let pair = [AtomicU64::new(7), AtomicU64::new(u64::MAX)];
        add_pair(&pair, [1, 60]);
        assert_eq!(pair.each_ref().map(|cell| cell.load(Ordering::Relaxed)), [8, 59]);
    }
}
