//! Loads and stores of 512-bit vectors under safe names.

use std::arch::x86_64::*;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

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

/// Writes sixteen words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u32(into: &mut [u32; 2 * LANES], vector: __m512i) {
    // SAFETY: as above.
    unsafe { _mm512_storeu_epi32(into.as_mut_ptr().cast(), vector) }
}

/// Sixteen cells by their indices, each a relaxed load; 0 where the index is out of range.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(crate) fn gather_u32(cells: &[AtomicU32], at: __m512i) -> __m512i {
    // The gather takes indices for signed numbers.
    let limit = u32::try_from(cells.len()).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs());
    let inside = _mm512_cmplt_epu32_mask(at, _mm512_set1_epi32(limit.cast_signed()));
    if super::gathers_slowly() {
        return pick_u32(cells, _mm512_maskz_mov_epi32(inside, at), inside);
    }
    // SAFETY: only lanes whose index lies in the slice are read, each an aligned word, which the
    // processor reads whole as it does a relaxed load.
    unsafe {
        _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), inside, at, cells.as_ptr().cast())
    }
}

/// The same by loads of one word each, where a gather takes longer than those. Lanes that are not `inside` have
/// the index 0.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn pick_u32(cells: &[AtomicU32], at: __m512i, inside: __mmask16) -> __m512i {
    if cells.is_empty() {
        return _mm512_setzero_si512();
    }
    let mut indices = [0u32; 2 * LANES];
    store_u32(&mut indices, at);
    // In memory, where each is one load away.
    let indices = black_box(&indices);
    let cell = |lane: usize| {
        // SAFETY: an index is less than the slice is long, or 0 and the slice not empty.
        let cell = unsafe { cells.get_unchecked(indices[lane] as usize) };
        cell.load(Ordering::Relaxed).cast_signed()
    };
    let quad = |lane| {
        let quad = _mm_insert_epi32::<1>(_mm_cvtsi32_si128(cell(lane)), cell(lane + 1));
        _mm_insert_epi32::<3>(_mm_insert_epi32::<2>(quad, cell(lane + 2)), cell(lane + 3))
    };
    let found = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(quad(0)), quad(4));
    let found = _mm512_inserti32x4::<2>(found, quad(8));
    _mm512_maskz_mov_epi32(inside, _mm512_inserti32x4::<3>(found, quad(12)))
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
