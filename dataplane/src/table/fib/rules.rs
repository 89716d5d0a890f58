//! The prefixes themselves, as control knows them: what the cells are computed from.

use crate::ids::AdjacencyId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// One prefix and where it leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rule {
    /// First address, host order.
    pub addr: u32,
    /// Bits that count.
    pub len: u8,
    /// Where it leads.
    pub adjacency: AdjacencyId,
}

/// Lengths 0 to 32.
const LENGTHS: usize = 33;

/// A map for each length. The prefix that covers another one is found by asking the maps of the
/// shorter lengths that are in use: independent reads, which the CPU overlaps.
pub(super) struct Rules {
    by_len: [HashMap<u32, u32, BuildHasherDefault<PrefixHasher>>; LENGTHS],
    /// Bit n: there is a rule of length n.
    used: u64,
    len: usize,
    /// Width of a key.
    bits: u32,
}

impl Rules {
    /// For keys of `bits` bits.
    pub(super) fn new(bits: u32) -> Self {
        Self { by_len: std::array::from_fn(|_| HashMap::default()), used: 0, len: 0, bits }
    }

    /// The bits of `addr` that a prefix of `len` bits keeps.
    pub(super) fn network(&self, addr: u32, len: u8) -> u32 {
        let host_bits = self.bits.saturating_sub(u32::from(len));
        addr & u32::MAX.checked_shl(host_bits).unwrap_or(0) & self.all()
    }

    /// Whether `addr` and `len` are a prefix: no longer than a key, no bit set beyond `len`.
    pub(super) fn is_prefix(&self, addr: u32, len: u8) -> bool {
        u32::from(len) <= self.bits && self.network(addr, len) == addr
    }

    pub(super) fn find(&self, addr: u32, len: u8) -> Option<AdjacencyId> {
        self.by_len.get(usize::from(len))?.get(&addr).copied().map(AdjacencyId)
    }

    /// Returns the one replaced.
    pub(super) fn insert(&mut self, addr: u32, len: u8, id: AdjacencyId) -> Option<AdjacencyId> {
        let old = self.by_len.get_mut(usize::from(len))?.insert(addr, id.0);
        self.used |= 1 << len;
        self.len += usize::from(old.is_none());
        old.map(AdjacencyId)
    }

    pub(super) fn remove(&mut self, addr: u32, len: u8) -> Option<AdjacencyId> {
        let rules = self.by_len.get_mut(usize::from(len))?;
        let old = rules.remove(&addr)?;
        if rules.is_empty() {
            self.used &= !(1 << len);
        }
        self.len -= 1;
        Some(AdjacencyId(old))
    }

    /// The longest rule of at most `max_len` bits that holds `addr`.
    pub(super) fn longest(&self, addr: u32, max_len: u8) -> Option<Rule> {
        let mut lengths = self.used & ((2u64 << max_len.min(32)) - 1);
        while let Some(top) = lengths.checked_ilog2() {
            lengths &= !(1 << top);
            let len = u8::try_from(top).ok()?;
            let network = self.network(addr, len);
            if let Some(adjacency) = self.find(network, len) {
                return Some(Rule { addr: network, len, adjacency });
            }
        }
        None
    }

    /// By address, then by length.
    pub(super) fn sorted(&self) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(self.len);
        for (len, map) in (0u8..).zip(&self.by_len) {
            let rule =
                |(addr, id): (&u32, &u32)| Rule { addr: *addr, len, adjacency: AdjacencyId(*id) };
            rules.extend(map.iter().map(rule));
        }
        rules.sort_unstable();
        rules
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn all(&self) -> u32 {
        u32::MAX.checked_shr(32 - self.bits).unwrap_or(0)
    }
}

/// One multiplication: prefixes come from the operator, not from packets, so nobody can aim at it.
#[derive(Default)]
pub(super) struct PrefixHasher(u64);

impl Hasher for PrefixHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, prefix: u32) {
        let product = (self.0 ^ u64::from(prefix)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The low bits of a prefix are zero and so are the product's; the map uses low and high ones.
        self.0 = product ^ product >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
