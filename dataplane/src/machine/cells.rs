//! Cells of the FIB for many keys, read all together.

use std::sync::atomic::{AtomicU32, Ordering};

/// Keys of a call.
pub(crate) const KEYS: usize = 32;

/// A two-level table: a cell of the first that has [`GROUP`] set names a group of the second.
#[derive(Clone, Copy)]
pub(crate) struct Levels<'a> {
    /// By the key's upper bits.
    pub(crate) first: &'a [AtomicU32],
    /// By group and the key's lower bits.
    pub(crate) second: &'a [AtomicU32],
    /// How many lower bits there are.
    pub(crate) low_bits: u32,
    /// What a cell with the number 0 stands for.
    pub(crate) default: u32,
}

/// In a cell of the first level: what the others hold is a group.
pub(crate) const GROUP: u32 = 1 << 31;
/// The others that hold a number.
pub(crate) const NUMBER: u32 = (1 << 24) - 1;

/// The number in the last cell of each key.
#[inline]
pub(crate) fn read(levels: Levels<'_>, keys: &[u32; KEYS], into: &mut [u32; KEYS]) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::read(levels, keys, into) };
    }
    read_each(levels, keys, into);
}

/// The same, one after another: each level's loads are all under way before one is needed.
fn read_each(levels: Levels<'_>, keys: &[u32; KEYS], into: &mut [u32; KEYS]) {
    let Levels { first, second, low_bits, default } = levels;
    let at = |cells: &[AtomicU32], index: usize| {
        cells.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed))
    };
    for (key, out) in keys.iter().zip(&mut *into) {
        *out = at(first, (key >> low_bits) as usize);
    }
    std::sync::atomic::fence(Ordering::Acquire);
    for (key, out) in keys.iter().zip(&mut *into) {
        if *out & GROUP != 0 {
            let low = (key & ((1 << low_bits) - 1)) as usize;
            *out = at(second, ((*out & NUMBER) as usize) << low_bits | low);
        }
    }
    std::sync::atomic::fence(Ordering::Acquire);
    for out in into {
        *out = if *out & NUMBER == 0 { default } else { *out & NUMBER };
    }
}

/// A cell, or 0 where there is none.
#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
#[inline]
fn at(cells: &[AtomicU32], index: usize) -> u32 {
    cells.get(index).map_or(0, |cell| cell.load(Ordering::Acquire))
}

/// The same for one key.
#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
#[inline]
fn read_one(levels: Levels<'_>, key: u32) -> u32 {
    let Levels { first, second, low_bits, default } = levels;
    let mut cell = at(first, (key >> low_bits) as usize);
    if cell & GROUP != 0 {
        let low = (key & ((1 << low_bits) - 1)) as usize;
        cell = at(second, ((cell & NUMBER) as usize) << low_bits | low);
    }
    if cell & NUMBER == 0 { default } else { cell & NUMBER }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::{are_alike, gather_u32, load_u32, store_u32};
    use super::{GROUP, KEYS, Levels, NUMBER};
    use std::arch::x86_64::*;
    use std::sync::atomic::Ordering;

    /// Processors of this kind don't reorder loads, so a group is read after the cell that names it.
    #[target_feature(enable = "avx512f")]
    pub(super) fn read(levels: Levels<'_>, keys: &[u32; KEYS], into: &mut [u32; KEYS]) {
        if are_alike(keys) {
            // One sender's packets, or one receiver's.
            return into.fill(super::read_one(levels, keys[0]));
        }
        let dwords = |value: u32| _mm512_set1_epi32(value.cast_signed());
        let low_bits = _mm_cvtsi32_si128(levels.low_bits.cast_signed());
        let low = dwords((1 << levels.low_bits) - 1);
        let ([keys_a, keys_b], _) = keys.as_chunks::<16>() else { return };
        let (keys_a, keys_b) = (load_u32(keys_a), load_u32(keys_b));
        let (index_a, index_b) =
            (_mm512_srl_epi32(keys_a, low_bits), _mm512_srl_epi32(keys_b, low_bits));
        let index = _mm512_broadcastd_epi32(_mm512_castsi512_si128(index_a));
        let differ =
            _mm512_cmpneq_epi32_mask(index_a, index) | _mm512_cmpneq_epi32_mask(index_b, index);
        if differ == 0 {
            return read_neighbors(levels, keys, into);
        }
        let mut a = gather_u32(levels.first, index_a);
        let mut b = gather_u32(levels.first, index_b);
        let second = |cells: __m512i, keys: __m512i| {
            let group = _mm512_sll_epi32(_mm512_and_si512(cells, dwords(NUMBER)), low_bits);
            _mm512_or_si512(group, _mm512_and_si512(keys, low))
        };
        let (more_a, more_b) = (groups(a), groups(b));
        if more_a != 0 {
            // Lanes without a group look at the first one's place in vain.
            let index = _mm512_maskz_mov_epi32(more_a, second(a, keys_a));
            a = _mm512_mask_mov_epi32(a, more_a, gather_u32(levels.second, index));
        }
        if more_b != 0 {
            let index = _mm512_maskz_mov_epi32(more_b, second(b, keys_b));
            b = _mm512_mask_mov_epi32(b, more_b, gather_u32(levels.second, index));
        }
        let number = |cells: __m512i| {
            let is_none = _mm512_testn_epi32_mask(cells, dwords(NUMBER));
            let number = _mm512_and_si512(cells, dwords(NUMBER));
            _mm512_mask_mov_epi32(number, is_none, dwords(levels.default))
        };
        if let ([into_a, into_b], _) = into.as_chunks_mut::<16>() {
            store_u32(into_a, number(a));
            store_u32(into_b, number(b));
        }
    }

    /// Of one cell of the first level, as the guests of a host mostly are: its group fits the first cache, where
    /// a load by each key is sooner done than a gather.
    #[inline]
    fn read_neighbors(levels: Levels<'_>, keys: &[u32; KEYS], into: &mut [u32; KEYS]) {
        let cell = super::at(levels.first, (keys[0] >> levels.low_bits) as usize);
        let number = |cell: u32| if cell & NUMBER == 0 { levels.default } else { cell & NUMBER };
        if cell & GROUP == 0 {
            return into.fill(number(cell));
        }
        let mask = (1 << levels.low_bits) - 1;
        let start = ((cell & NUMBER) as usize) << levels.low_bits;
        let Some(group) = levels.second.get(start..=start + mask) else {
            return into.fill(levels.default);
        };
        for (key, into) in keys.iter().zip(into) {
            // SAFETY: an index of the low bits is at most the mask, which is the group's last.
            let cell = unsafe { group.get_unchecked(*key as usize & mask) };
            *into = number(cell.load(Ordering::Relaxed));
        }
    }

    /// Lanes of which the top bit, [`GROUP`], is set.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn groups(cells: __m512i) -> __mmask16 {
        _mm512_test_epi32_mask(cells, _mm512_set1_epi32(GROUP.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            first in prop::collection::vec(prop_oneof![0u32..1 << 30, (0u32..5).prop_map(|g| GROUP | g)], 16),
            second in prop::collection::vec(0u32..1 << 30, 64),
            keys in prop::collection::vec(prop_oneof![9 => 0u32..256, 1 => any::<u32>()], KEYS),
            alike in 0..4,
        ) {
            let cells = |words: Vec<u32>| words.into_iter().map(AtomicU32::new).collect::<Vec<_>>();
            let (first, second) = (cells(first), cells(second));
            let levels = Levels { first: &first, second: &second, low_bits: 4, default: 7 };
            let mut keys: [u32; KEYS] = keys.try_into().unwrap();
            keys = match alike {
                0 => [keys[0]; KEYS],
                1 => keys.map(|key| keys[0] & !15 | key & 15),
                _ => keys,
            };
            let (mut one, mut all) = ([1; KEYS], [2; KEYS]);
            read_each(levels, &keys, &mut one);
            read(levels, &keys, &mut all);
            prop_assert_eq!(one, all);
        }
    }
}
