//! Loads of 512-bit vectors, under safe names.

use std::arch::x86_64::{
    __m256i, __m512i, __mmask8, _mm256_cmplt_epu32_mask, _mm256_loadu_epi32, _mm256_set1_epi32,
    _mm256_slli_epi32, _mm256_storeu_epi32, _mm512_cmplt_epu32_mask, _mm512_loadu_epi32,
    _mm512_loadu_epi64, _mm512_mask_i32gather_epi32, _mm512_mask_i32gather_epi64, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_epi32, _mm512_storeu_epi64,
};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Lanes of 64 bits in a vector.
pub(crate) const LANES: usize = 8;

/// Indices up to here; the gathers take them for signed numbers.
const INDEX_LIMIT: usize = 1 << 31;

/// The number of elements as the gathers' range check wants it.
#[inline]
fn limit(len: usize) -> i32 {
    u32::try_from(len.min(INDEX_LIMIT - 1)).unwrap_or(0).cast_signed()
}

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

/// Writes eight words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u64(into: &mut [u64; LANES], vector: __m512i) {
    // SAFETY: as above, and borrowed exclusively.
    unsafe { _mm512_storeu_epi64(into.as_mut_ptr().cast(), vector) }
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

/// Sixteen cells by their indices, each a relaxed load; 0 where the index is out of range.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn gather_u32(cells: &[AtomicU32], at: __m512i) -> __m512i {
    let inside = _mm512_cmplt_epu32_mask(at, _mm512_set1_epi32(limit(cells.len())));
    // SAFETY: only lanes whose index lies in the slice are read, each an aligned word, which the
    // processor reads whole as it does a relaxed load.
    unsafe {
        _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), inside, at, cells.as_ptr().cast())
    }
}

/// One word, the `word`th, of each of eight rows of four, by the rows' indices; 0 where one is out of range.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(crate) fn gather_rows(rows: &[[AtomicU64; 4]], at: __m256i, word: usize) -> __m512i {
    // Four words to a row: the index of the word still fits.
    let count = limit(rows.len().min(INDEX_LIMIT / 4));
    let inside: __mmask8 = _mm256_cmplt_epu32_mask(at, _mm256_set1_epi32(count));
    let at = _mm256_slli_epi32::<2>(at);
    // SAFETY: as above; `word` is masked to lie in the row.
    unsafe {
        let base = rows.as_ptr().cast::<i64>().add(word & 3);
        _mm512_mask_i32gather_epi64::<8>(_mm512_setzero_si512(), inside, at, base)
    }
}
