//! Buckets of the MAC table for a burst's keys, searched all together.

use crate::frame::{BURST_PKTS, Slots};
use std::sync::atomic::{AtomicU64, Ordering};

/// A cache line: four keys, then their values, whose low half is the number that is looked for.
pub(crate) type Bucket = [AtomicU64; 8];
/// Keys of a bucket.
const WAYS: usize = 4;

/// What keys are hashed by: `sum = add + low * (key's lower half) + high * (its upper half)`, then the upper half
/// of `mix * (sum ^ sum >> 32)`, all modulo 2^64.
#[derive(Clone, Copy)]
pub(crate) struct Hash {
    pub(crate) add: u64,
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) mix: u64,
}

impl Hash {
    #[inline]
    pub(crate) fn of(&self, key: u64) -> u32 {
        let low = self.low.wrapping_mul(key & 0xffff_ffff);
        let high = self.high.wrapping_mul(key >> 32);
        let sum = self.add.wrapping_add(low).wrapping_add(high);
        (self.mix.wrapping_mul(sum ^ sum >> 32) >> 32) as u32
    }
}

/// The key of a MAC, which is in the low 48 bits as it lies in a frame, first byte lowest.
#[inline]
pub(crate) fn key(base: u64, mac: u64) -> u64 {
    base | mac.swap_bytes() >> 16
}

/// Looks for the first `count` keys, each in the bucket that is its home by the hash. Writes the low halves of
/// their values; answers which are 0 or not there, for which it writes 0. Words and bits behind are undefined.
/// There are 2^n buckets. A key is not 0.
#[inline]
pub(crate) fn look_up(
    buckets: &[Bucket],
    hash: &Hash,
    base: u64,
    macs: &[u64; BURST_PKTS],
    count: usize,
    into: &mut [u32; BURST_PKTS],
) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::is_for_vectors(count) && buckets.len().is_power_of_two() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::look_up(buckets, hash, base, macs, count, into) };
    }
    look_up_each(buckets, hash, base, macs, count, into)
}

/// The same key by key: all buckets are on their way before the first is compared.
fn look_up_each(
    buckets: &[Bucket],
    hash: &Hash,
    base: u64,
    macs: &[u64; BURST_PKTS],
    count: usize,
    into: &mut [u32; BURST_PKTS],
) -> Slots {
    let mask = buckets.len().wrapping_sub(1);
    let mut wanted = [(0, 0); BURST_PKTS];
    for (mac, wanted) in macs.iter().zip(&mut wanted).take(count) {
        let key = key(base, *mac);
        let home = hash.of(key) as usize & mask;
        *wanted = (key, home);
        if let Some(bucket) = buckets.get(home) {
            super::prefetch(bucket);
        }
    }
    let mut missing = 0;
    for (slot, ((key, home), into)) in wanted.iter().zip(into).enumerate().take(count) {
        *into = buckets.get(*home).map_or(0, |bucket| number_in(bucket, *key));
        missing |= Slots::from(*into == 0) << slot;
    }
    missing
}

/// The low half of a key's value, 0 where the key is not there.
#[inline]
fn number_in(bucket: &Bucket, key: u64) -> u32 {
    let (names, values) = bucket.split_at(WAYS);
    let found = names.iter().enumerate().fold(0u32, |found, (way, name)| {
        found | u32::from(name.load(Ordering::Acquire) == key) << way
    });
    match values.get(found.trailing_zeros() as usize) {
        Some(value) => (value.load(Ordering::Acquire) & 0xffff_ffff) as u32,
        None => 0,
    }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::super::avx512::{LANES, load_u32, load_u64, store_u64};
    use super::{BURST_PKTS, Bucket, Hash, Slots, WAYS};
    use std::arch::x86_64::*;
    use std::hint::black_box;

    const WORDS: usize = 2 * WAYS;
    /// Keys looked for without a look at the count.
    const STEP: usize = 8;

    #[inline]
    fn index(place: u64) -> usize {
        // Words of 64 bits are as long as pointers here.
        usize::try_from(place).unwrap_or(0)
    }

    /// All keys of a bucket at a stroke; processors of this kind don't read the value before.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn look_up(
        buckets: &[Bucket],
        hash: &Hash,
        base: u64,
        macs: &[u64; BURST_PKTS],
        count: usize,
        into: &mut [u32; BURST_PKTS],
    ) -> Slots {
        let words = buckets.as_ptr().cast::<u64>();
        let steps = count.div_ceil(STEP);
        let (mut keys, mut places) = ([0; BURST_PKTS], [0; BURST_PKTS]);
        let every = |word: u64| _mm512_set1_epi64(word.cast_signed());
        // Of each word the low six bytes the other way round.
        let swap = _mm_set_epi8(-1, -1, 8, 9, 10, 11, 12, 13, -1, -1, 0, 1, 2, 3, 4, 5);
        let swap = _mm512_broadcast_i32x4(swap);
        let (base, mask) = (every(base), every(buckets.len() as u64 - 1));
        let [add, low, high, mix] = [hash.add, hash.low, hash.high, hash.mix].map(every);
        let each = macs.as_chunks().0.iter().zip(keys.as_chunks_mut().0);
        for ((macs, keys), places) in each.zip(places.as_chunks_mut().0).take(steps) {
            let key = _mm512_or_si512(base, _mm512_shuffle_epi8(load_u64(macs), swap));
            store_u64(keys, key);
            let low = _mm512_mullo_epi64(low, _mm512_and_si512(key, every(0xffff_ffff)));
            let high = _mm512_mullo_epi64(high, _mm512_srli_epi64::<32>(key));
            let sum = _mm512_add_epi64(add, _mm512_add_epi64(low, high));
            let mixed = _mm512_xor_si512(sum, _mm512_srli_epi64::<32>(sum));
            let mixed = _mm512_mullo_epi64(mix, mixed);
            let home = _mm512_and_si512(_mm512_srli_epi64::<32>(mixed), mask);
            // The bucket's first word.
            store_u64(places, _mm512_slli_epi64::<{ WORDS.ilog2() }>(home));
        }
        // In memory, where each is one load away.
        let (keys, places) = (black_box(&keys), black_box(&places));
        for places in places.as_chunks::<STEP>().0.iter().take(steps) {
            for place in places {
                _mm_prefetch::<_MM_HINT_T0>(words.wrapping_add(index(*place)).cast());
            }
        }
        let each = keys.as_chunks::<STEP>().0.iter().zip(places.as_chunks::<STEP>().0);
        let each = each.zip(into.as_chunks_mut::<STEP>().0);
        for ((keys, places), into) in each.take(steps) {
            for ((key, place), into) in keys.iter().zip(places).zip(into) {
                // SAFETY: an index masked by the last one is at most that, and there is one: eight words from
                // there on, each aligned and so read whole.
                let (names, values) = unsafe {
                    let bucket = words.add(index(*place));
                    (_mm256_loadu_si256(bucket.cast()), _mm256_loadu_si256(bucket.add(WAYS).cast()))
                };
                let found = _mm256_cmpeq_epi64_mask(names, _mm256_set1_epi64x(key.cast_signed()));
                let value = _mm256_maskz_compress_epi64(found, values);
                // Volatile, else words are put together in vectors first, which costs more.
                let into = &raw mut *into;
                // SAFETY: a live word of the array.
                unsafe { into.write_volatile(_mm256_cvtsi256_si32(value).cast_unsigned()) };
            }
        }
        into.as_chunks().0.iter().enumerate().fold(0, |slots, (group, words)| {
            let words = load_u32(words);
            slots | Slots::from(_mm512_testn_epi32_mask(words, words)) << (group * 2 * LANES)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::first_slots;
    use proptest::prelude::*;

    const BASE: u64 = 1 << 63 | 5 << 48;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            names in prop::collection::vec(prop::array::uniform4(0u64..9), 1..9),
            values in prop::collection::vec(prop::array::uniform4(any::<u64>()), 9),
            words in any::<[u64; 4]>(),
            macs in prop::collection::vec(prop_oneof![9 => 0u64..12, 1 => any::<u64>()], BURST_PKTS),
            count in 0..=BURST_PKTS,
        ) {
            let [add, low, high, mix] = words;
            let hash = Hash { add, low, high, mix };
            let buckets: Vec<Bucket> = names.iter().zip(&values).map(|(names, values)| {
                let [a, b, c, d] = names.map(|name| key(BASE, name));
                let [e, f, g, h] = *values;
                [a, b, c, d, e, f, g, h].map(AtomicU64::new)
            }).collect();
            // A power of two of them.
            let buckets = &buckets[..1 << buckets.len().ilog2()];
            let macs: [u64; BURST_PKTS] = macs.try_into().unwrap();
            let (mut one, mut all) = ([7; BURST_PKTS], [7; BURST_PKTS]);
            let missing = look_up_each(buckets, &hash, BASE, &macs, count, &mut one);
            let missing_all = look_up(buckets, &hash, BASE, &macs, count, &mut all);
            prop_assert_eq!(&all[..count], &one[..count]);
            prop_assert_eq!(missing & first_slots(count), missing_all & first_slots(count));
        }
    }
}
