//! The MAC table: (network, MAC) to adjacency, all networks in one.
//!
//! A bucket is a cache line of four keys and their four values. An entry lives in its home bucket or,
//! where that is full, in the next one with room; each bucket on the way counts the entries that went
//! past it, so that a look-up of something absent stops at the first bucket that nobody passed. An
//! entry never moves.
//!
//! **Not torn.** Key and value are two words. A worker that read a matching key may read the value
//! later, so the slot of a removed entry gets no other key until every worker has passed a quiescent
//! point. Until then its value stays what it was: a match always answers with a value of that key.
//! A new entry's value is stored before its key; changing where an entry leads is one store.
//!
//! **Hostile keys.** Guests choose the MACs that are learned. The hash is keyed by random numbers of
//! this table, so none can work out which ones fall into the same bucket.

mod hash;
mod writer;

pub use writer::{MacEntry, MacWriter};

use super::sync::{AtomicU32, AtomicU64, Ordering, Rows, zeroed_u32};
#[cfg(loom)]
use crate::frame::Slots;
use crate::frame::{BURST_PKTS, first_slots};
use crate::ids::{AdjacencyId, NetworkId};
use crate::machine::buckets;
use crate::machine::prefetch;
use crate::wire::ethernet::MacAddr;
use hash::KeyedHash;

/// Entries of a bucket.
const WAYS: usize = 4;
/// Words of a bucket: keys, then values.
const WORDS: usize = 2 * WAYS;

/// In a key: an entry is here. Keeps the key of network 0 and MAC 0 apart from an empty slot.
const USED: u64 = 1 << 63;
/// In a value: set by the operator, neither aged nor moved.
const STATIC: u64 = 1 << 32;
/// In the last value of a bucket, bits 48 to 63: how many entries went past the bucket.
const PASSED_SHIFT: u32 = 48;
/// The rest of a value.
const VALUE_MASK: u64 = (1 << PASSED_SHIFT) - 1;

/// What workers read.
pub struct MacTable {
    /// Keys and values. Written by control with release, loaded with acquire.
    buckets: Rows<WORDS>,
    /// Second of the last sighting of each slot's entry. Written by workers, read by control; no
    /// other memory hangs on it, so relaxed. Apart from the buckets, whose lines stay clean.
    seen_s: Box<[AtomicU32]>,
    /// Buckets less one; their number is a power of two.
    mask: usize,
    hash: KeyedHash,
}

/// An entry found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MacHit {
    /// Where it leads.
    pub adjacency: AdjacencyId,
    /// Its slot, for [`MacTable::touch`]; good until the next quiescent point.
    pub slot: u32,
    /// Set by the operator, neither aged nor moved.
    pub is_static: bool,
}

impl MacTable {
    fn new(buckets: usize, hash: KeyedHash) -> Self {
        Self {
            buckets: Rows::zeroed(buckets),
            seen_s: zeroed_u32(buckets * WAYS),
            mask: buckets - 1,
            hash,
        }
    }

    /// What [`MacTable::lookup_bulk`] looks for. Never 0.
    #[inline]
    pub fn key(network: NetworkId, mac: MacAddr) -> u64 {
        USED | u64::from(network.0 & 0x7fff) << 48 | mac.to_u64()
    }

    /// One look-up.
    #[inline]
    pub fn lookup(&self, network: NetworkId, mac: MacAddr) -> Option<MacHit> {
        let key = Self::key(network, mac);
        self.find(key, self.home(key))
    }

    /// The same for many: `out[i]` for `keys[i]`, as far as the shorter of the two goes. A key of 0
    /// finds nothing. All home buckets are on their way before the first is compared.
    #[inline]
    pub fn lookup_bulk(&self, keys: &[u64], out: &mut [Option<MacHit>]) {
        for (keys, out) in keys.chunks(BURST_PKTS).zip(out.chunks_mut(BURST_PKTS)) {
            let mut homes = [0; BURST_PKTS];
            for (key, home) in keys.iter().zip(&mut homes) {
                *home = self.home(*key);
                if let Some(bucket) = self.buckets.get(*home) {
                    prefetch(bucket);
                }
            }
            for ((key, home), out) in keys.iter().zip(homes).zip(out) {
                *out = self.find(*key, home);
            }
        }
    }

    /// The numbers of the adjacencies that the first so many MACs of a burst lead to, 0 for those that nobody
    /// has. The MACs are in the low 48 bits, as they lie in frames.
    #[inline]
    pub fn lookup_burst(
        &self,
        network: NetworkId,
        macs: &[u64; BURST_PKTS],
        count: usize,
        out: &mut [u32; BURST_PKTS],
    ) {
        let base = Self::key(network, MacAddr::ZERO);
        #[cfg(not(loom))]
        let missing = buckets::look_up(self.buckets.all(), &self.hash.0, base, macs, count, out);
        #[cfg(loom)]
        let missing = Slots::MAX;
        let mut missing = missing & first_slots(count);
        while missing != 0 {
            let slot = missing.trailing_zeros() as usize % BURST_PKTS;
            missing &= missing - 1;
            // It may have had to go further.
            let key = buckets::key(base, macs[slot]);
            out[slot] = self.find(key, self.home(key)).map_or(0, |hit| hit.adjacency.0);
        }
    }

    /// Notes that the entry in `slot` was seen in second `now_s` of whatever clock control ages by.
    /// A store only when that changes it, so at most one a second and entry.
    #[inline]
    pub fn touch(&self, slot: u32, now_s: u32) {
        if let Some(seen) = self.seen_s.get(slot as usize)
            && seen.load(Ordering::Relaxed) != now_s
        {
            seen.store(now_s, Ordering::Relaxed);
        }
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        self.hash.of(key) & self.mask
    }

    #[inline]
    fn find(&self, key: u64, home: usize) -> Option<MacHit> {
        let mut bucket = home;
        for _ in 0..=self.mask {
            let words = self.buckets.get(bucket)?;
            if let Some(way) = way_of(words, key) {
                let value = words[WAYS + way].load(Ordering::Acquire);
                return Some(hit(value, slot(bucket, way)));
            }
            if passed(words) == 0 {
                return None;
            }
            bucket = (bucket + 1) & self.mask;
        }
        None
    }
}

/// Which entry of a bucket has this key. Acquire: its value was stored before.
#[inline]
fn way_of(words: &[AtomicU64; WORDS], key: u64) -> Option<usize> {
    if key == 0 {
        return None;
    }
    let matches = words[..WAYS].iter().enumerate().fold(0u32, |found, (way, word)| {
        found | u32::from(word.load(Ordering::Acquire) == key) << way
    });
    (matches != 0).then(|| matches.trailing_zeros() as usize)
}

/// How many entries went past a bucket.
#[inline]
fn passed(words: &[AtomicU64; WORDS]) -> u64 {
    words[WORDS - 1].load(Ordering::Acquire) >> PASSED_SHIFT
}

#[inline]
fn slot(bucket: usize, way: usize) -> u32 {
    // The writer makes no table of more than 2^32 slots.
    ((bucket * WAYS + way) as u64 & 0xffff_ffff) as u32
}

#[inline]
fn hit(value: u64, slot: u32) -> MacHit {
    MacHit {
        adjacency: AdjacencyId((value & 0xffff_ffff) as u32),
        slot,
        is_static: value & STATIC != 0,
    }
}
