//! Adds, changes and removes entries of the MAC table.

use super::hash::KeyedHash;
use super::{MacHit, MacTable, PASSED_SHIFT, STATIC, USED, VALUE_MASK, WAYS, WORDS, passed, slot};
use crate::ids::{AdjacencyId, NetworkId};
use crate::table::TableFull;
use crate::table::reclaim::{Limbo, Qsbr};
use crate::table::sync::{AtomicU64, Ordering};
use crate::wire::ethernet::MacAddr;
use std::sync::Arc;

/// Most entries that [`MacWriter::new`] makes room for.
const MAX_CAPACITY: usize = 1 << 24;

/// The one that writes the table: control.
pub struct MacWriter {
    table: Arc<MacTable>,
    qsbr: Arc<Qsbr>,
    capacity: usize,
    len: usize,
    /// Which slots can't take a new key: in use, or in `limbo`.
    is_taken: Vec<bool>,
    limbo: Limbo<u32>,
}

/// Highest count of entries that went past a bucket.
const PASSED_LIMIT: u64 = u64::MAX >> PASSED_SHIFT;

/// An entry, to be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MacEntry {
    /// The MAC.
    pub mac: MacAddr,
    /// Where it leads.
    pub adjacency: AdjacencyId,
    /// Set by the operator, neither aged nor moved.
    pub is_static: bool,
    /// Second of the last sighting, as [`MacTable::touch`] noted it; 0 for never.
    pub seen_s: u32,
}

impl MacWriter {
    /// An empty table with room for `capacity` entries, at most half full then.
    pub fn new(capacity: usize, qsbr: Arc<Qsbr>) -> Self {
        Self::with_hash(capacity, qsbr, KeyedHash::random())
    }

    /// The same with a known hash key, for tests that must repeat.
    pub fn with_seed(capacity: usize, qsbr: Arc<Qsbr>, seed: u64) -> Self {
        Self::with_hash(capacity, qsbr, KeyedHash::seeded(seed))
    }

    fn with_hash(capacity: usize, qsbr: Arc<Qsbr>, hash: KeyedHash) -> Self {
        let capacity = capacity.clamp(1, MAX_CAPACITY);
        let buckets = (2 * capacity).div_ceil(WAYS).next_power_of_two();
        Self {
            table: Arc::new(MacTable::new(buckets, hash)),
            qsbr,
            capacity,
            len: 0,
            is_taken: vec![false; buckets * WAYS],
            limbo: Limbo::new(),
        }
    }

    /// What workers read.
    pub fn table(&self) -> &Arc<MacTable> {
        &self.table
    }

    /// Adds an entry or changes where it leads; returns where it led. The age of an entry that was
    /// there is kept; a new one counts as never seen until [`MacTable::touch`] is called for it.
    pub fn insert(
        &mut self,
        network: NetworkId,
        mac: MacAddr,
        adjacency: AdjacencyId,
        is_static: bool,
    ) -> Result<Option<AdjacencyId>, TableFull> {
        let key = MacTable::key(network, mac);
        let value = u64::from(adjacency.0) | if is_static { STATIC } else { 0 };
        if let Some(old) = self.table.lookup(network, mac) {
            let (words, way) = self.place(old.slot).ok_or(self.full())?;
            set_value(words, way, value);
            return Ok(Some(old.adjacency));
        }
        let slot = self.take_slot(key)?;
        let (words, way) = self.place(slot).ok_or(self.full())?;
        self.table.seen_s[slot as usize].store(0, Ordering::Relaxed);
        set_value(words, way, value);
        // Release: whoever sees the key sees its value.
        words[way].store(key, Ordering::Release);
        self.count_passed(key, slot, 1);
        self.len += 1;
        Ok(None)
    }

    /// Takes an entry out; returns where it led.
    pub fn remove(&mut self, network: NetworkId, mac: MacAddr) -> Option<AdjacencyId> {
        let MacHit { adjacency, slot, .. } = self.table.lookup(network, mac)?;
        let (words, way) = self.place(slot)?;
        words[way].store(0, Ordering::Release);
        self.count_passed(MacTable::key(network, mac), slot, -1);
        self.limbo.retire(&self.qsbr, slot);
        self.len -= 1;
        Some(adjacency)
    }

    /// The entry itself.
    pub fn find(&self, network: NetworkId, mac: MacAddr) -> Option<MacEntry> {
        let MacHit { adjacency, slot, is_static } = self.table.lookup(network, mac)?;
        Some(MacEntry { mac, adjacency, is_static, seen_s: self.seen_s(slot) })
    }

    /// Seconds since the entry was seen, by the clock that `now_s` and [`MacTable::touch`] share.
    pub fn age_s(&self, network: NetworkId, mac: MacAddr, now_s: u32) -> Option<u32> {
        self.table.lookup(network, mac).map(|hit| now_s.saturating_sub(self.seen_s(hit.slot)))
    }

    /// All entries of a network, in no order. Reads the whole table.
    pub fn iter(&self, network: NetworkId) -> impl Iterator<Item = MacEntry> {
        let first = MacTable::key(network, MacAddr::ZERO);
        let buckets =
            (0..self.table.buckets.len()).filter_map(|b| Some((b, self.table.buckets.get(b)?)));
        let slots = buckets.flat_map(|(b, words)| (0..WAYS).map(move |way| (b, words, way)));
        slots.filter_map(move |(bucket, words, way)| {
            let key = words[way].load(Ordering::Relaxed);
            let value = words[WAYS + way].load(Ordering::Relaxed);
            let hit = super::hit(value, slot(bucket, way));
            (key & USED != 0 && key >> 48 == first >> 48).then(|| MacEntry {
                mac: MacAddr::from_u64(key & ((1 << 48) - 1)),
                adjacency: hit.adjacency,
                is_static: hit.is_static,
                seen_s: self.seen_s(hit.slot),
            })
        })
    }

    /// Takes back the slots that no worker can still look at.
    pub fn reclaim(&mut self) {
        for slot in self.limbo.collect(&self.qsbr) {
            self.is_taken[slot as usize] = false;
        }
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries that there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slots that wait for a grace period.
    pub fn retired(&self) -> usize {
        self.limbo.len()
    }

    fn full(&self) -> TableFull {
        TableFull { what: "MAC entries", capacity: self.capacity }
    }

    fn seen_s(&self, slot: u32) -> u32 {
        self.table.seen_s.get(slot as usize).map_or(0, |seen| seen.load(Ordering::Relaxed))
    }

    /// The bucket of a slot, and which of its entries it is.
    fn place(&self, slot: u32) -> Option<(&[AtomicU64; WORDS], usize)> {
        let slot = slot as usize;
        Some((self.table.buckets.get(slot / WAYS)?, slot % WAYS))
    }

    /// The first slot from the home bucket on that may take a new key. Slots in limbo crowd the live
    /// ones, so with an eighth of the capacity there it is time to look who may go.
    fn take_slot(&mut self, key: u64) -> Result<u32, TableFull> {
        if self.len >= self.capacity {
            return Err(self.full());
        }
        if self.limbo.len() > self.capacity / 8 {
            self.reclaim();
        }
        let (home, slots) = (self.table.home(key) * WAYS, self.is_taken.len());
        let mut from_home = (home..slots).chain(0..home);
        let slot = from_home.find(|slot| !self.is_taken[*slot]).ok_or(self.full())?;
        self.is_taken[slot] = true;
        u32::try_from(slot).map_err(|_| self.full())
    }

    /// Counts an entry in or out at every bucket from its home to before the one that it lies in.
    /// A count that ever reached its limit stays there: look-ups then go further than they need to.
    fn count_passed(&self, key: u64, slot: u32, by: i64) {
        let last = slot as usize / WAYS;
        let mut bucket = self.table.home(key);
        while bucket != last {
            if let Some(words) = self.table.buckets.get(bucket)
                && passed(words) < PASSED_LIMIT
            {
                let count = passed(words).saturating_add_signed(by);
                let value = words[WORDS - 1].load(Ordering::Relaxed) & VALUE_MASK;
                words[WORDS - 1].store(value | count << PASSED_SHIFT, Ordering::Release);
            }
            bucket = (bucket + 1) & self.table.mask;
        }
    }
}

/// One store, which leaves the bucket's count as it is. Release: the adjacency was made before.
fn set_value(words: &[AtomicU64; WORDS], way: usize, value: u64) {
    let count = words[WAYS + way].load(Ordering::Relaxed) & !VALUE_MASK;
    words[WAYS + way].store(count | value, Ordering::Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Else look-ups of what is absent would grow longer with every entry that ever was.
    #[test]
    fn the_counts_go_down_as_they_went_up() {
        let mut writer = MacWriter::with_seed(1000, Qsbr::new(1), 1);
        let macs = || (1..1000).map(MacAddr::from_u64);
        let counted = |writer: &MacWriter| {
            let buckets =
                (0..writer.table.buckets.len()).filter_map(|b| writer.table.buckets.get(b));
            buckets.map(passed).sum::<u64>()
        };
        for mac in macs() {
            writer.insert(NetworkId(1), mac, AdjacencyId(1), false).unwrap();
        }
        assert!(counted(&writer) > 0);
        for mac in macs() {
            writer.remove(NetworkId(1), mac).unwrap();
        }
        assert_eq!(counted(&writer), 0);
    }

    /// A fleet's MACs come in a row. No key may take them to places that are in a row too, or all to one.
    #[test]
    fn macs_in_a_row_fall_as_any_others_whatever_the_key() {
        for seed in 0..1_000 {
            let mut writer = MacWriter::with_seed(400, Qsbr::new(1), seed);
            for mac in (0x5254_0000_0000..).map(MacAddr::from_u64).take(400) {
                writer.insert(NetworkId(1), mac, AdjacencyId(1), false).unwrap();
            }
            let buckets =
                (0..writer.table.buckets.len()).filter_map(|b| writer.table.buckets.get(b));
            let strays = buckets.map(passed).sum::<u64>();
            // One in forty is to be expected, since a bucket of four gets 1.6.
            assert!(strays < 80, "key {seed}: {strays} of 400 are not at home");
        }
    }
}
