//! Loads and stores of 512-bit vectors under safe names.

use std::arch::x86_64::*;
use std::sync::atomic::AtomicU32;

/// Lanes of 64 bits in a vector.
pub(crate) const LANES: usize = 8;

/// Eight words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_u64(from: &[u64; LANES]) -> __m512i {
    // SAFETY: the array is as long as the vector; any address will do.
    unsafe { _mm512_loadu_epi64(from.as_ptr().cast()) }
}

/// Writes eight words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u64(into: &mut [u64; LANES], vector: __m512i) {
    // SAFETY: as above.
    unsafe { _mm512_storeu_epi64(into.as_mut_ptr().cast(), vector) }
}

/// Sixteen words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_u32(from: &[u32; 2 * LANES]) -> __m512i {
    // SAFETY: as above.
    unsafe { _mm512_loadu_epi32(from.as_ptr().cast()) }
}

/// Writes sixteen words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u32(into: &mut [u32; 2 * LANES], vector: __m512i) {
    // SAFETY: as above.
    unsafe { _mm512_storeu_epi32(into.as_mut_ptr().cast(), vector) }
}

/// Sixteen cells by their indices, each a relaxed load; 0 where the index is out of range.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn gather_u32(cells: &[AtomicU32], at: __m512i) -> __m512i {
    // The gather takes indices for signed numbers.
    let limit = u32::try_from(cells.len()).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs());
    let inside = _mm512_cmplt_epu32_mask(at, _mm512_set1_epi32(limit.cast_signed()));
    // SAFETY: only lanes whose index lies in the slice are read, each an aligned word, which the
    // processor reads whole as it does a relaxed load.
    unsafe {
        _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), inside, at, cells.as_ptr().cast())
    }
}

/// Whether all words, of which there is one at least, are the same.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn are_alike<const COUNT: usize>(words: &[u32; COUNT]) -> bool {
    let first = _mm512_set1_epi32(words[0].cast_signed());
    let mut differs = 0;
    for words in words.as_chunks().0 {
        differs |= _mm512_cmpneq_epi32_mask(load_u32(words), first);
    }
    differs == 0
}
