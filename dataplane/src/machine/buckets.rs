//! Buckets of the MAC table for many keys, searched all together.

use crate::frame::{BURST_PKTS, Slots};
use std::sync::atomic::{AtomicU64, Ordering};

/// A cache line: four keys, then their values.
pub(crate) type Bucket = [AtomicU64; 8];
const VALUE_MASK: u64 = (1 << WAY_SHIFT) - 1;
/// Keys of a bucket.
pub(crate) const WAYS: usize = 4;

/// Where in what [`find`] writes the way of the bucket is; values are shorter.
pub(crate) const WAY_SHIFT: u32 = 48;

/// Looks for each of the first `count` keys in the bucket that is its home. Writes the low 48 bits of their
/// values, their ways above, and 0 for those that are not there. Words behind are undefined.
#[inline]
pub(crate) fn find(
    buckets: &[Bucket],
    homes: &[u32; BURST_PKTS],
    keys: &[u64; BURST_PKTS],
    count: usize,
    into: &mut [u64; BURST_PKTS],
) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() && buckets.len().is_power_of_two() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::find(buckets, homes, keys, count, into) };
    }
    find_each(buckets, homes, keys, count, into);
}

/// The same word by word.
fn find_each(
    buckets: &[Bucket],
    homes: &[u32; BURST_PKTS],
    keys: &[u64; BURST_PKTS],
    count: usize,
    into: &mut [u64; BURST_PKTS],
) {
    for ((home, key), into) in homes.iter().zip(keys).zip(into).take(count) {
        let Some(bucket) = buckets.get(*home as usize) else { continue };
        let (names, values) = bucket.split_at(WAYS);
        let way = names.iter().position(|name| name.load(Ordering::Acquire) == *key);
        *into = way.map_or(0, |way| {
            values[way].load(Ordering::Acquire) & VALUE_MASK | (way as u64) << WAY_SHIFT
        });
    }
}

/// Which words are 0.
#[inline]
pub(crate) fn zeros(words: &[u64; BURST_PKTS]) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::zeros(words) };
    }
    zeros_each(words)
}

fn zeros_each(words: &[u64; BURST_PKTS]) -> Slots {
    let bit = |(slot, word): (usize, &u64)| Slots::from(*word == 0) << slot;
    words.iter().enumerate().map(bit).fold(0, |all, one| all | one)
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::{LANES, load_u64};
    use super::{BURST_PKTS, Bucket, Slots, VALUE_MASK, WAY_SHIFT, WAYS};
    use std::arch::x86_64::*;
    use std::sync::atomic::Ordering;

    /// Keys looked for without a look at the count.
    const STEP: usize = 8;

    /// All keys of a bucket at a stroke; processors of this kind don't read the value before. There are 2^n buckets.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn find(
        buckets: &[Bucket],
        homes: &[u32; BURST_PKTS],
        keys: &[u64; BURST_PKTS],
        count: usize,
        into: &mut [u64; BURST_PKTS],
    ) {
        let mask = buckets.len() - 1;
        let one = |home: &u32, key: &u64, into: &mut u64| {
            // SAFETY: an index masked by the last one is at most that; there is one.
            let bucket = unsafe { buckets.get_unchecked(*home as usize & mask) };
            // SAFETY: four words at the begin of the bucket, each aligned and so read whole.
            let names = unsafe { _mm256_loadu_si256(bucket.as_ptr().cast()) };
            let found = _mm256_cmpeq_epi64_mask(names, _mm256_set1_epi64x(key.cast_signed()));
            // Where none is, the last one: a word that is there in any case.
            let way = (u32::from(found) | 1 << (WAYS - 1)).trailing_zeros() as usize;
            // SAFETY: the last bit set is one of the four lowest.
            let value = unsafe { bucket.get_unchecked(WAYS + way) }.load(Ordering::Acquire);
            let hit = value & VALUE_MASK | (way as u64) << WAY_SHIFT;
            *into = if found == 0 { 0 } else { hit };
        };
        let places = homes.as_chunks::<STEP>().0.iter().zip(keys.as_chunks::<STEP>().0);
        let steps = places.zip(into.as_chunks_mut::<STEP>().0);
        for ((homes, keys), into) in steps.take(count.div_ceil(STEP)) {
            for ((home, key), into) in homes.iter().zip(keys).zip(into) {
                one(home, key, into);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn zeros(words: &[u64; BURST_PKTS]) -> Slots {
        words.as_chunks().0.iter().enumerate().fold(0, |slots, (group, words)| {
            let words = load_u64(words);
            slots | Slots::from(_mm512_testn_epi64_mask(words, words)) << (group * LANES)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            words in prop::collection::vec(prop::array::uniform8(1u64..9), 0..9),
            homes in prop::collection::vec(0u32..8, BURST_PKTS),
            keys in prop::collection::vec(1u64..12, BURST_PKTS),
            count in 0..=BURST_PKTS,
        ) {
            let buckets: Vec<_> = words.iter().map(|words| words.map(AtomicU64::new)).collect();
            let keys: [u64; BURST_PKTS] = keys.try_into().unwrap();
            let limit = u32::try_from(buckets.len()).unwrap().max(1);
            let homes: Vec<_> = homes.iter().map(|home| home % limit).collect();
            let homes: [u32; BURST_PKTS] = homes.try_into().unwrap();
            let (mut one, mut all) = ([7; BURST_PKTS], [7; BURST_PKTS]);
            find_each(&buckets, &homes, &keys, count, &mut one);
            find(&buckets, &homes, &keys, count, &mut all);
            prop_assert_eq!(&all[..count], &one[..count]);
            prop_assert_eq!(zeros(&one), zeros_each(&one));
        }
    }
}
