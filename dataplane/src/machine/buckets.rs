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

/// Looks for each key in the bucket that is its home; answers which are there, and writes the low 48 bits of
/// their values, their ways above. An empty place has the key 0.
#[inline]
pub(crate) fn find(
    buckets: &[Bucket],
    homes: &[u32],
    keys: &[u64; BURST_PKTS],
    into: &mut [u64; BURST_PKTS],
) -> Slots {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    if super::has_avx512() {
        // SAFETY: what it is compiled for has just been found.
        return unsafe { wide::find(buckets, homes, keys, into) };
    }
    find_each(buckets, homes, keys, into)
}

/// The same word by word.
fn find_each(
    buckets: &[Bucket],
    homes: &[u32],
    keys: &[u64; BURST_PKTS],
    into: &mut [u64; BURST_PKTS],
) -> Slots {
    let mut slots = 0;
    for (slot, ((home, key), into)) in homes.iter().zip(keys).zip(into).enumerate() {
        let Some(bucket) = buckets.get(*home as usize) else { continue };
        let (names, values) = bucket.split_at(WAYS);
        if let Some(way) = names.iter().position(|name| name.load(Ordering::Acquire) == *key) {
            *into = values[way].load(Ordering::Acquire) & VALUE_MASK | (way as u64) << WAY_SHIFT;
            slots |= 1 << slot;
        }
    }
    slots
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod wide {
    use super::{BURST_PKTS, Bucket, Slots, VALUE_MASK, WAY_SHIFT, WAYS};
    use std::arch::x86_64::*;
    use std::sync::atomic::Ordering;

    /// All keys of a bucket at a stroke; processors of this kind don't read the value before.
    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn find(
        buckets: &[Bucket],
        homes: &[u32],
        keys: &[u64; BURST_PKTS],
        into: &mut [u64; BURST_PKTS],
    ) -> Slots {
        let mut slots = 0;
        for (slot, ((home, key), into)) in homes.iter().zip(keys).zip(into).enumerate() {
            let Some(bucket) = buckets.get(*home as usize) else { continue };
            // SAFETY: four words at the begin of the bucket, each aligned and so read whole.
            let names = unsafe { _mm256_loadu_si256(bucket.as_ptr().cast()) };
            let found = _mm256_cmpeq_epi64_mask(names, _mm256_set1_epi64x(key.cast_signed()));
            // Where none is, the last one: a word that is there in any case, and no slot says so.
            let way = (u32::from(found) | 1 << (WAYS - 1)).trailing_zeros() as usize;
            let value = bucket[WAYS + way % WAYS].load(Ordering::Acquire) & VALUE_MASK;
            *into = value | (way as u64) << WAY_SHIFT;
            slots |= u32::from(found != 0) << slot;
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_what_one_after_another_are(
            words in prop::collection::vec(prop::array::uniform8(1u64..9), 0..8),
            homes in prop::collection::vec(0u32..9, 0..BURST_PKTS),
            keys in prop::collection::vec(1u64..12, BURST_PKTS),
        ) {
            let buckets: Vec<_> = words.iter().map(|words| words.map(AtomicU64::new)).collect();
            let keys: [u64; BURST_PKTS] = keys.try_into().unwrap();
            let (mut one, mut all) = ([0; BURST_PKTS], [0; BURST_PKTS]);
            let found = find_each(&buckets, &homes, &keys, &mut one);
            prop_assert_eq!(find(&buckets, &homes, &keys, &mut all), found);
            for slot in (0..BURST_PKTS).filter(|slot| found >> slot & 1 != 0) {
                prop_assert_eq!(all[slot], one[slot]);
            }
        }
    }
}
