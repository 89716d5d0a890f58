//! All that is known of each IPv4 prefix, and which of it the FIB holds.
//!
//! Several sources may speak of one prefix: a guest's registration, an address of ours, the
//! operator's route, a resolved neighbor. The one of best preference is in the FIB; when it goes the
//! next takes its place in the same store, so there is no moment without a route.

use dataplane::ids::AdjacencyId;
use dataplane::table::{FibError, Ipv4FibWriter};
use std::collections::BTreeMap;

/// Who says so, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// An address of the appliance or of the server.
    Local,
    /// A registered guest.
    Guest,
    /// A prefix on an uplink's wire.
    Connected,
    /// The operator's route.
    Static,
    /// A neighbor that answered, or did not.
    Neighbor,
    /// The operator's route to an uplink's wire. Behind the neighbor: of a prefix of one address, what
    /// is known of it says more than that it is to be asked for.
    OnLink,
    /// An uplink's gateway.
    Default,
}

/// One thing said of a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Who says so.
    pub source: Source,
    /// Where it leads.
    pub adjacency: AdjacencyId,
}

/// A prefix: address in host order, and length.
pub type Prefix = (u32, u8);

/// The entries, and the FIB that follows them.
pub struct Rib {
    fib: Ipv4FibWriter,
    entries: BTreeMap<Prefix, Vec<Entry>>,
}

impl Rib {
    /// Empty.
    pub fn new(fib: Ipv4FibWriter) -> Self {
        Self { fib, entries: BTreeMap::new() }
    }

    /// The FIB behind it.
    pub fn fib(&self) -> &Ipv4FibWriter {
        &self.fib
    }

    /// Says that `prefix` leads to `adjacency`; replaces what the same source said before.
    ///
    /// # Errors
    /// The FIB's: it is full, or the prefix has host bits. Nothing is changed then.
    pub fn add(&mut self, prefix: Prefix, entry: Entry) -> Result<(), FibError> {
        let known = self.entries.get(&prefix).map(Vec::as_slice).unwrap_or_default();
        let is_best = known.first().is_none_or(|best| entry.source <= best.source);
        if is_best {
            self.fib.insert(prefix.0, prefix.1, entry.adjacency)?;
        }
        let known = self.entries.entry(prefix).or_default();
        match known.binary_search_by_key(&entry.source, |known| known.source) {
            Ok(at) => known[at] = entry,
            Err(at) => known.insert(at, entry),
        }
        Ok(())
    }

    /// Takes back what `source` said of `prefix`; returns it.
    pub fn remove(&mut self, prefix: Prefix, source: Source) -> Option<Entry> {
        let known = self.entries.get_mut(&prefix)?;
        let at = known.binary_search_by_key(&source, |known| known.source).ok()?;
        let removed = known.remove(at);
        match known.first() {
            // Replacing an existing prefix takes no new memory, so it cannot fail.
            Some(best) if at == 0 => drop(self.fib.insert(prefix.0, prefix.1, best.adjacency)),
            Some(_) => {}
            None => {
                self.entries.remove(&prefix);
                self.fib.remove(prefix.0, prefix.1);
            }
        }
        Some(removed)
    }

    /// What `source` says of `prefix`.
    pub fn entry(&self, prefix: Prefix, source: Source) -> Option<Entry> {
        self.entries.get(&prefix)?.iter().find(|entry| entry.source == source).copied()
    }

    /// The entry in force for an address: its prefix and the best entry.
    pub fn best_match(&self, address: u32) -> Option<(Prefix, Entry)> {
        let (network, len, _) = self.fib.best_match(address)?;
        let prefix = (network, len);
        Some((prefix, *self.entries.get(&prefix)?.first()?))
    }

    /// Entries in force, in order of prefix, after `after`.
    pub fn iter_after(&self, after: Option<Prefix>) -> impl Iterator<Item = (Prefix, Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let range = self.entries.range((from, Unbounded));
        range.filter_map(|(prefix, entries)| Some((*prefix, *entries.first()?)))
    }

    /// Everything said, in force or not.
    #[cfg(test)]
    pub(super) fn said(&self) -> impl Iterator<Item = (Prefix, Entry)> {
        let all = self.entries.iter();
        all.flat_map(|(prefix, entries)| entries.iter().map(|entry| (*prefix, *entry)))
    }

    /// Gives back table memory whose grace period is over.
    pub fn reclaim(&mut self) {
        self.fib.reclaim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::table::Qsbr;

    fn entry(source: Source, id: u32) -> Entry {
        Entry { source, adjacency: AdjacencyId(id) }
    }

    #[test]
    fn the_best_source_is_in_the_fib_and_the_next_takes_its_place() {
        let mut rib = Rib::new(Ipv4FibWriter::new(16, Qsbr::new(1)));
        let prefix = (0xc000_0205, 32);
        rib.add(prefix, entry(Source::Neighbor, 5)).unwrap();
        rib.add(prefix, entry(Source::Guest, 2)).unwrap();
        rib.add(prefix, entry(Source::Static, 3)).unwrap();
        let look_up = |rib: &Rib| rib.fib().fib().lookup(prefix.0);
        assert_eq!(look_up(&rib), AdjacencyId(2));
        assert_eq!(rib.remove(prefix, Source::Guest), Some(entry(Source::Guest, 2)));
        assert_eq!(look_up(&rib), AdjacencyId(3));
        assert_eq!(rib.remove(prefix, Source::Neighbor), Some(entry(Source::Neighbor, 5)));
        assert_eq!(look_up(&rib), AdjacencyId(3));
        rib.remove(prefix, Source::Static);
        assert_eq!(look_up(&rib), AdjacencyId::DEFAULT);
        assert_eq!(rib.remove(prefix, Source::Static), None);
    }
}
