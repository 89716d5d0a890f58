//! The FIB: longest prefix match in one or two loads (DIR-24-8: Gupta, Lin, McKeown, "Routing lookups
//! in hardware at memory access speeds", INFOCOM 1998).
//!
//! A first table has a cell for every value of the address's upper `FIRST` bits. Where prefixes longer
//! than that exist, the cell names a *group*: a block with a cell for every value of the lower
//! `SECOND` bits. A cell carries the length of the prefix that filled it, so that a shorter one added
//! or removed later steps over it, and an update costs as much as the prefix is wide. Cells of 0
//! belong to no prefix but the default route, which is one word of its own: adding it touches no cell.
//!
//! Widths are parameters: loom and the property tests run tables of a few cells.

mod cell;
mod rules;
mod writer;

pub use rules::Rule;
pub use writer::{FibError, FibWriter};

use super::sync::{AtomicU32, Ordering, zeroed_u32};
use crate::ids::AdjacencyId;
use crate::machine::cells;
#[cfg(not(loom))]
use crate::machine::cells::Levels;
use cell::Cell;

/// The IPv4 FIB: 64 MB of first-level cells, groups of 1 kB.
pub type Ipv4Fib = Fib<24, 8>;
/// Its writer.
pub type Ipv4FibWriter = FibWriter<24, 8>;

/// What workers read. Keys are `FIRST + SECOND` bits wide, in host order.
pub struct Fib<const FIRST: u32, const SECOND: u32> {
    /// `1 << FIRST` cells. Written by control with release, loaded with acquire.
    first: Box<[AtomicU32]>,
    /// `groups << SECOND` cells, likewise. A group is filled before a first-level cell names it.
    second: Box<[AtomicU32]>,
    /// Adjacency of the default route, 0 for none; likewise.
    default: AtomicU32,
}

/// Addresses that are looked up together.
pub const KEYS: usize = cells::KEYS;

impl<const FIRST: u32, const SECOND: u32> Fib<FIRST, SECOND> {
    fn new(groups: usize) -> Self {
        const { assert!(FIRST > 0 && FIRST + SECOND <= 32, "keys are 32 bits at most") };
        Self {
            first: zeroed_u32(1 << FIRST),
            second: zeroed_u32(groups << SECOND),
            default: AtomicU32::new(0),
        }
    }

    /// Adjacency of the longest prefix that holds `addr`; [`AdjacencyId::DEFAULT`] (0) if there is
    /// none and no default route either.
    #[inline]
    pub fn lookup(&self, addr: u32) -> AdjacencyId {
        let mut cell = Cell(self.first[Self::first_index(addr)].load(Ordering::Acquire));
        if cell.is_group() {
            cell = Cell(self.second[Self::second_index(cell, addr)].load(Ordering::Acquire));
        }
        match cell.id() {
            0 => AdjacencyId(self.default.load(Ordering::Acquire)),
            id => AdjacencyId(id),
        }
    }

    /// The same for many: `out[i]` for `addrs[i]`, as far as the shorter of the two goes.
    ///
    /// Every first-level load is under way before the first answer is needed, so that a burst costs
    /// about as much memory latency as one packet.
    #[inline]
    pub fn lookup_bulk(&self, addrs: &[u32], out: &mut [AdjacencyId]) {
        let count = addrs.len().min(out.len());
        let out: &mut [u32] = bytemuck::cast_slice_mut(&mut out[..count]);
        // In place: a copy would keep the next look-ups from starting before these end.
        let (bursts, rest) = addrs[..count].as_chunks();
        let (into, rest_into) = out.as_chunks_mut();
        for (addrs, into) in bursts.iter().zip(into) {
            self.lookup_burst(addrs, into);
        }
        if !rest.is_empty() {
            let (mut keys, mut found) = ([0; KEYS], [0; KEYS]);
            keys[..rest.len()].copy_from_slice(rest);
            self.lookup_burst(&keys, &mut found);
            rest_into.copy_from_slice(&found[..rest.len()]);
        }
    }

    /// The same for the addresses of a burst; the answers are numbers of adjacencies.
    #[inline]
    pub fn lookup_burst(&self, addrs: &[u32; KEYS], out: &mut [u32; KEYS]) {
        #[cfg(not(loom))]
        if FIRST + SECOND == 32 {
            let levels = Levels {
                first: &self.first,
                second: &self.second,
                low_bits: SECOND,
                default: self.default.load(Ordering::Acquire),
            };
            return cells::read(levels, addrs, out);
        }
        for (addr, out) in addrs.iter().zip(out) {
            *out = self.lookup(*addr).0;
        }
    }

    #[inline]
    fn first_index(addr: u32) -> usize {
        (addr >> SECOND & (Self::mask(FIRST))) as usize
    }

    #[inline]
    fn second_index(cell: Cell, addr: u32) -> usize {
        ((cell.id() as usize) << SECOND) | (addr & Self::mask(SECOND)) as usize
    }

    /// The low `bits` bits.
    #[inline]
    const fn mask(bits: u32) -> u32 {
        match 1u32.checked_shl(bits) {
            Some(bit) => bit - 1,
            None => u32::MAX,
        }
    }
}
