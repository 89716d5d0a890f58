//! What the processor does to many words at once, chosen at run time: one binary runs on every x86-64.
//!
//! Beside [`crate::dpdk`] the only room with `unsafe`: gathers and prefetches, which have no safe name, and
//! the calls into code that is compiled for more than the baseline.
#![allow(unsafe_code, reason = "intrinsics without a safe name, and calls of what was found to be there")]

use std::sync::OnceLock;

pub(crate) mod cells;
pub(crate) mod headers;
mod prefetch;
pub(crate) mod rows;

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
