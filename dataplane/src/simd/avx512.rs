//! Loads of 512-bit vectors, under safe names.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_loadu_epi32, _mm256_storeu_epi32, _mm512_loadu_epi32,
    _mm512_loadu_epi64, _mm512_storeu_epi32,
};

/// Lanes of 64 bits in a vector.
pub(crate) const LANES: usize = 8;

/// Eight words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_u64(from: &[u64; LANES]) -> __m512i {
    // SAFETY: the array is as long as the vector; any address will do.
    unsafe { _mm512_loadu_epi64(from.as_ptr().cast()) }
}

/// Sixteen words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_u32(from: &[u32; 2 * LANES]) -> __m512i {
    // SAFETY: as above.
    unsafe { _mm512_loadu_epi32(from.as_ptr().cast()) }
}

/// Eight words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(crate) fn load_half(from: &[u32; LANES]) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_loadu_epi32(from.as_ptr().cast()) }
}

/// Writes sixteen words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u32(into: &mut [u32; 2 * LANES], vector: __m512i) {
    // SAFETY: as above.
    unsafe { _mm512_storeu_epi32(into.as_mut_ptr().cast(), vector) }
}

/// Writes eight words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(crate) fn store_half(into: &mut [u32; LANES], vector: __m256i) {
    // SAFETY: as above.
    unsafe { _mm256_storeu_epi32(into.as_mut_ptr().cast(), vector) }
}
