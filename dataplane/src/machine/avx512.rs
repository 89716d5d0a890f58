//! Loads and stores of 512-bit vectors under safe names, and the turning of rows into columns.

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

/// Writes eight words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_u64(into: &mut [u64; LANES], vector: __m512i) {
    // SAFETY: as above.
    unsafe { _mm512_storeu_epi64(into.as_mut_ptr().cast(), vector) }
}

/// Sixteen rows of 16 bytes: lane `j` of vector `k` holds row `4 j + k`, so that columns come out in order.
#[derive(Clone, Copy)]
pub(crate) struct Quads([__m512i; 4]);

impl Quads {
    /// Rows of zeros.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn zero() -> Self {
        Self([_mm512_setzero_si512(); 4])
    }

    /// Sets rows `k`, `k + 4`, `k + 8` and `k + 12`; `k` counts modulo 4.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn set(&mut self, k: usize, a: __m128i, b: __m128i, c: __m128i, d: __m128i) {
        let quad = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
        let quad = _mm512_inserti32x4::<2>(quad, c);
        self.0[k % 4] = _mm512_inserti32x4::<3>(quad, d);
    }

    /// Words of 32 bits: the first of every row, the second and so on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn columns(self) -> [__m512i; 4] {
        let [a, b, c, d] = self.0;
        let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (low_2, high_2) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(low, high),
            _mm512_unpackhi_epi64(low, high),
            _mm512_unpacklo_epi64(low_2, high_2),
            _mm512_unpackhi_epi64(low_2, high_2),
        ]
    }

    /// The first 64 bits of every row.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn first_words(self) -> [__m512i; 2] {
        let [a, b, c, d] = self.0;
        // Of each four rows the first and second, the third and fourth.
        let (even, odd) = (_mm512_unpacklo_epi64(a, b), _mm512_unpacklo_epi64(c, d));
        let pick = |from: i64| {
            let [a, b] = [from, from + 2];
            let order = _mm512_set_epi64(b + 9, b + 8, b + 1, b, a + 9, a + 8, a + 1, a);
            _mm512_permutex2var_epi64(even, order, odd)
        };
        [pick(0), pick(4)]
    }

    /// Whether any row is not `want` where `mask` is set.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn differ(self, want: [u64; 2], mask: [u64; 2]) -> bool {
        let every = |[low, high]: [u64; 2]| {
            _mm512_broadcast_i32x4(_mm_set_epi64x(high.cast_signed(), low.cast_signed()))
        };
        let (want, mask) = (every(want), every(mask));
        let mut any = _mm512_setzero_si512();
        for rows in self.0 {
            // (rows ^ want) & mask
            any = _mm512_or_si512(any, _mm512_ternarylogic_epi64::<0x28>(rows, want, mask));
        }
        _mm512_test_epi64_mask(any, any) != 0
    }

    /// Whether bytes 6 to 11 of any row, an Ethernet frame's source, are 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(crate) fn has_no_source(self) -> bool {
        let order = _mm_set_epi8(-1, -1, 11, 10, 9, 8, 7, 6, -1, -1, 11, 10, 9, 8, 7, 6);
        let order = _mm512_broadcast_i32x4(order);
        let mut least = _mm512_set1_epi64(-1);
        for rows in self.0 {
            least = _mm512_min_epu64(least, _mm512_shuffle_epi8(rows, order));
        }
        _mm512_testn_epi64_mask(least, least) != 0
    }
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
