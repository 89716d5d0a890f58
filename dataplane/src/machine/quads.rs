//! Rows of 16 bytes turned into columns, sixteen at a time.

use std::arch::x86_64::*;

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
