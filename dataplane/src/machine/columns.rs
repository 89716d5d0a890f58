//! Columns of a burst: which of its words are a certain one, and what they add up to.

use crate::frame::{BURST_PKTS, Slots};

/// A word of each slot.
pub(crate) type Column = [u32; BURST_PKTS];

/// Which of the first `count` words are this one. Bits behind are undefined.
#[inline]
pub(crate) fn matches(words: &Column, count: usize, word: u32) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::matches(words, word) };
    }
    matches_each(super::worth_a_look(words, count), word)
}

#[inline]
fn matches_each(words: &[u32], word: u32) -> Slots {
    let bit = |(slot, it): (usize, &u32)| Slots::from(*it == word) << slot;
    words.iter().enumerate().map(bit).fold(0, |all, one| all | one)
}

/// Whether all of the first so many words are this one, as far as the mask goes.
#[inline]
pub(crate) fn are_all(words: &Column, count: usize, word: u32, mask: u32) -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::are_all(words, count, word, mask) };
    }
    are_all_each(words, count, word, mask)
}

fn are_all_each(words: &Column, count: usize, word: u32, mask: u32) -> bool {
    words.iter().take(count).fold(0, |differs, it| differs | (it & mask ^ word)) == 0
}

/// What the first so many words add up to, and the largest of them; each is below 2^24, as a frame's length is.
#[inline]
pub(crate) fn sum_and_largest(words: &Column, count: usize) -> (u32, u32) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::sum_and_largest(words, count) };
    }
    sum_and_largest_each(words, count)
}

fn sum_and_largest_each(words: &Column, count: usize) -> (u32, u32) {
    let words = words.iter().take(count);
    words.fold((0, 0), |(sum, largest), word| (sum + word, largest.max(*word)))
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::load_u32;
    use super::{Column, Slots};
    use crate::frame::first_slots;
    use std::arch::x86_64::*;

    /// Words of a vector.
    const GROUP: usize = 16;

    #[target_feature(enable = "avx512f")]
    pub(super) fn matches(words: &Column, word: u32) -> Slots {
        let word = _mm512_set1_epi32(word.cast_signed());
        let groups = words.as_chunks::<GROUP>().0.iter().enumerate();
        groups.fold(0, |slots, (group, words)| {
            slots | Slots::from(_mm512_cmpeq_epi32_mask(load_u32(words), word)) << (group * GROUP)
        })
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn are_all(words: &Column, count: usize, word: u32, mask: u32) -> bool {
        let (word, mask) =
            (_mm512_set1_epi32(word.cast_signed()), _mm512_set1_epi32(mask.cast_signed()));
        let groups = words.as_chunks::<GROUP>().0.iter().enumerate();
        let differ = groups.fold(0, |slots, (group, words)| {
            let words = _mm512_and_si512(load_u32(words), mask);
            slots | Slots::from(_mm512_cmpneq_epi32_mask(words, word)) << (group * GROUP)
        });
        differ & first_slots(count) == 0
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn sum_and_largest(words: &Column, count: usize) -> (u32, u32) {
        let slots = first_slots(count);
        let (mut sum, mut largest) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let groups = words.as_chunks::<GROUP>().0.iter().enumerate();
        for (group, words) in groups.take(count.div_ceil(GROUP)) {
            let here = (slots >> (group * GROUP) & 0xffff) as u16;
            let words = _mm512_maskz_mov_epi32(here, load_u32(words));
            sum = _mm512_add_epi32(sum, words);
            largest = _mm512_max_epu32(largest, words);
        }
        (_mm512_reduce_add_epi32(sum).cast_unsigned(), _mm512_reduce_max_epu32(largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::first_slots;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            words in prop::collection::vec(prop_oneof![0u32..3, 0u32..1 << 24], BURST_PKTS),
            word in 0u32..3,
            count in 0..=BURST_PKTS,
        ) {
            let words: Column = words.try_into().unwrap();
            let found = matches(&words, count, word) & first_slots(count);
            prop_assert_eq!(found, matches_each(&words[..count], word));
            for (word, mask) in [(word, 3), (words[0] & 1, 1)] {
                let all = are_all(&words, count, word, mask);
                prop_assert_eq!(all, are_all_each(&words, count, word, mask));
            }
            prop_assert_eq!(sum_and_largest(&words, count), sum_and_largest_each(&words, count));
        }
    }
}
