//! Adjacencies: where a packet leaves and with which Ethernet header.
//!
//! The FIB and the MAC table name a row by its number, so a neighbor that gets resolved, lost or
//! changes its MAC is one store here and none there.
//!
//! A row is four words in half a cache line. What changes while packets use the row changes in one
//! word, so a worker sees the old or the new state, never a mix: the neighbor (kind and destination
//! MAC), the egress (port and source MAC) or the MTU. Everything else needs a new row, put into the
//! FIB in place of the old one.

use super::TableFull;
use super::reclaim::{Limbo, Qsbr};
use super::sync::{AtomicU64, Ordering, Rows};
use crate::frame::BURST_PKTS;
use crate::ids::{AdapterId, AdjacencyId, PortId};
use crate::machine::prefetch;
#[cfg(not(loom))]
use crate::machine::rows;
use crate::wire::ethernet::MacAddr;
use std::sync::Arc;

/// What one row says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adjacency {
    /// What is done with a packet that comes here.
    pub kind: AdjacencyKind,
    /// Egress port.
    pub port: PortId,
    /// Adapter that the packet is counted at, or [`AdapterId::NONE`].
    pub adapter: AdapterId,
    /// Destination MAC, where `kind` rewrites.
    pub destination: MacAddr,
    /// Source MAC, where `kind` rewrites.
    pub source: MacAddr,
    /// Largest L3 packet that may leave by it, bytes.
    pub mtu: u16,
    /// VLAN ID pushed on the way out; 0 for none.
    pub vlan: u16,
    /// IPv4 address, host order, that a neighbor is resolved by; 0: the packet's own destination.
    pub next_hop: u32,
}

/// What is done with a packet that comes to an adjacency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum AdjacencyKind {
    /// Both MACs rewritten, then sent.
    Forward = 1,
    /// Sent as it is: values of the MAC table.
    Bridge = 2,
    /// A connected prefix: resolve the packet's destination.
    Glean = 3,
    /// Resolve `next_hop`.
    Incomplete = 4,
    /// The neighbor did not answer.
    Unreachable = 5,
    /// Not to be forwarded.
    Prohibit = 6,
    /// An address of our own.
    Local = 7,
}

impl AdjacencyKind {
    /// By number; a free row (0) and anything unknown forward nothing.
    #[inline]
    fn from_bits(bits: u64) -> Self {
        match bits {
            1 => Self::Forward,
            2 => Self::Bridge,
            3 => Self::Glean,
            4 => Self::Incomplete,
            5 => Self::Unreachable,
            7 => Self::Local,
            _ => Self::Prohibit,
        }
    }
}

/// Words of a row, each written by control and read by workers. The store that makes a row known is
/// the release store of the FIB cell or MAC slot that names it.
const WORDS: usize = 4;
/// kind in bits 56 to 63, destination in the low 48, its first byte lowest: as it lies in a frame.
const NEIGHBOR: usize = 0;
/// port in bits 48 to 63, inverted so that a row never written names none; source in the low 48, likewise.
const EGRESS: usize = 1;
/// adapter in bits 32 to 63, inverted likewise, MTU in 16 to 31, VLAN in the low 16.
const LIMITS: usize = 2;
/// next hop in the low 32.
const NEXT_HOP: usize = 3;

/// A row as it lies in the table, for the express lane: each question is an instruction or two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Way([u64; WORDS]);

impl Way {
    /// Whether packets are sent by it with both MACs rewritten.
    #[inline]
    pub fn is_forward(&self) -> bool {
        self.0[NEIGHBOR] >> 56 == AdjacencyKind::Forward as u64
    }

    /// Whether frames are sent by it as they are.
    #[inline]
    pub fn is_bridge(&self) -> bool {
        self.0[NEIGHBOR] >> 56 == AdjacencyKind::Bridge as u64
    }

    /// Its [`AdjacencyKind`] as a number; 0 of a free row.
    #[inline]
    pub fn kind(&self) -> u8 {
        (self.0[NEIGHBOR] >> 56) as u8
    }

    /// As [`Adjacency::next_hop`].
    #[inline]
    pub fn next_hop(&self) -> u32 {
        (self.0[NEXT_HOP] & 0xffff_ffff) as u32
    }

    /// Egress port.
    #[inline]
    pub fn port(&self) -> PortId {
        PortId(!((self.0[EGRESS] >> 48) as u16))
    }

    /// Adapter that the packet is counted at.
    #[inline]
    pub fn adapter(&self) -> AdapterId {
        AdapterId(!((self.0[LIMITS] >> 32) as u32))
    }

    /// Both MACs of a frame that leaves by it: its first eight bytes and the eight from byte 6 on, of each of
    /// which the last two are something else.
    #[inline]
    pub fn ethernet(&self) -> [u64; 2] {
        [self.0[NEIGHBOR], self.0[EGRESS]]
    }

    /// Whether a frame of `packet_bytes` behind its Ethernet header fits and leaves without a tag.
    #[inline]
    pub fn takes_untagged(&self, packet_bytes: u32) -> bool {
        let limits = self.0[LIMITS];
        limits & 0xffff == 0 && u64::from(packet_bytes) <= limits >> 16 & 0xffff
    }
}

/// Rows of a burst.
#[derive(Clone)]
pub struct Ways {
    rows: [[u64; WORDS]; BURST_PKTS],
    /// Bits in which any differs from the first.
    differs: [u64; WORDS],
}

impl Default for Ways {
    fn default() -> Self {
        Self { rows: [[0; WORDS]; BURST_PKTS], differs: [0; WORDS] }
    }
}

impl Ways {
    /// All of them, and behind those of the burst any others.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Way> + '_ {
        self.rows.iter().map(|row| Way(*row))
    }

    /// One of them.
    #[inline]
    pub fn way(&self, slot: usize) -> Way {
        Way(self.rows[slot])
    }

    /// The first, if all are the same but for the MACs, the adapter and the next hop.
    #[inline]
    pub fn alike(&self) -> Option<Way> {
        let differs = self.differs[NEIGHBOR] >> 56
            | self.differs[EGRESS] >> 48
            | self.differs[LIMITS] & 0xffff_ffff;
        (differs == 0).then(|| self.way(0))
    }
}

impl Ways {
    /// The adapter of all of them, if it is one.
    #[inline]
    pub fn one_adapter(&self) -> Option<AdapterId> {
        (self.differs[LIMITS] >> 32 == 0).then(|| self.way(0).adapter())
    }
}

/// A MAC in the low 48 bits, first byte lowest.
fn wire_order(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline]
fn mac_of(word: u64) -> MacAddr {
    let [a, b, c, d, e, f, ..] = word.to_le_bytes();
    MacAddr([a, b, c, d, e, f])
}

/// What workers read.
pub struct AdjacencyTable {
    rows: Rows<WORDS>,
}

impl AdjacencyTable {
    /// One row. One that is free, reserved or out of range reads as [`AdjacencyKind::Prohibit`], by no
    /// port and of no adapter.
    #[inline]
    pub fn read(&self, id: AdjacencyId) -> Adjacency {
        decode(self.way(id).0)
    }

    /// The same, not taken apart.
    #[inline]
    pub fn way(&self, id: AdjacencyId) -> Way {
        Way(match self.rows.get(id.index()) {
            Some(row) => row.each_ref().map(|word| word.load(Ordering::Relaxed)),
            None => [0; WORDS],
        })
    }

    /// The rows of the first `count` numbers.
    #[inline]
    pub fn ways(&self, numbers: &[u32; BURST_PKTS], count: usize, into: &mut Ways) {
        #[cfg(not(loom))]
        {
            rows::read(self.rows.all(), numbers, count, &mut into.rows, &mut into.differs);
        }
        #[cfg(loom)]
        for (number, row) in numbers.iter().zip(&mut into.rows).take(count) {
            *row = self.way(AdjacencyId(*number)).0;
            into.differs = [u64::MAX; WORDS];
        }
    }

    /// Begins to load a row into the cache.
    #[inline]
    pub fn prefetch(&self, id: AdjacencyId) {
        if let Some(row) = self.rows.get(id.index()) {
            prefetch(row);
        }
    }

    /// Rows that there are, the reserved one included.
    pub fn capacity(&self) -> usize {
        self.rows.len()
    }
}

fn neighbor_word(kind: AdjacencyKind, destination: MacAddr) -> u64 {
    (kind as u64) << 56 | wire_order(destination)
}

fn egress_word(port: PortId, source: MacAddr) -> u64 {
    u64::from(!port.0) << 48 | wire_order(source)
}

fn limits_word(adapter: AdapterId, mtu: u16, vlan: u16) -> u64 {
    u64::from(!adapter.0) << 32 | u64::from(mtu) << 16 | u64::from(vlan)
}

fn encode(row: &Adjacency) -> [u64; WORDS] {
    [
        neighbor_word(row.kind, row.destination),
        egress_word(row.port, row.source),
        limits_word(row.adapter, row.mtu, row.vlan),
        u64::from(row.next_hop),
    ]
}

#[inline]
fn decode(words: [u64; WORDS]) -> Adjacency {
    Adjacency {
        kind: AdjacencyKind::from_bits(words[NEIGHBOR] >> 56),
        destination: mac_of(words[NEIGHBOR]),
        port: PortId(!((words[EGRESS] >> 48) as u16)),
        source: mac_of(words[EGRESS]),
        adapter: AdapterId(!((words[LIMITS] >> 32) as u32)),
        mtu: (words[LIMITS] >> 16 & 0xffff) as u16,
        vlan: (words[LIMITS] & 0xffff) as u16,
        next_hop: (words[NEXT_HOP] & 0xffff_ffff) as u32,
    }
}

/// What a row is used for at present; control's own knowledge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    Live,
    Retired,
}

/// The one that writes the table: control.
pub struct AdjacencyWriter {
    table: Arc<AdjacencyTable>,
    qsbr: Arc<Qsbr>,
    /// One for each row that was ever used; row 0 is reserved.
    uses: Vec<Use>,
    free: Vec<u32>,
    limbo: Limbo<u32>,
    live: usize,
}

impl AdjacencyWriter {
    /// Rows that suffice for every adapter and a neighbor or two each.
    pub const DEFAULT_CAPACITY: usize = 1 << 18;

    /// A table of `capacity` rows (at most 2^24, what a FIB cell can name), one of them reserved.
    pub fn new(capacity: usize, qsbr: Arc<Qsbr>) -> Self {
        let rows = Rows::zeroed(capacity.clamp(1, 1 << 24));
        Self {
            table: Arc::new(AdjacencyTable { rows }),
            qsbr,
            uses: vec![Use::Retired],
            free: Vec::new(),
            limbo: Limbo::new(),
            live: 0,
        }
    }

    /// What workers read.
    pub fn table(&self) -> &Arc<AdjacencyTable> {
        &self.table
    }

    /// Takes a free row. Nothing names it until its number is put into the FIB or the MAC table.
    pub fn add(&mut self, adjacency: Adjacency) -> Result<AdjacencyId, TableFull> {
        let id = self.take()?;
        for (index, word) in encode(&adjacency).into_iter().enumerate() {
            self.store(id, index, word);
        }
        self.live += 1;
        Ok(id)
    }

    /// What a live row says.
    pub fn row(&self, id: AdjacencyId) -> Option<Adjacency> {
        self.is_live(id).then(|| self.table.read(id))
    }

    /// The neighbor was resolved, lost or moved. False when `id` is not live.
    pub fn set_neighbor(
        &mut self,
        id: AdjacencyId,
        kind: AdjacencyKind,
        destination: MacAddr,
    ) -> bool {
        self.is_live(id) && self.store(id, NEIGHBOR, neighbor_word(kind, destination))
    }

    /// The egress port changed or got another MAC. False when `id` is not live.
    pub fn set_egress(&mut self, id: AdjacencyId, port: PortId, source: MacAddr) -> bool {
        self.is_live(id) && self.store(id, EGRESS, egress_word(port, source))
    }

    /// The largest packet changed. False when `id` is not live.
    pub fn set_mtu(&mut self, id: AdjacencyId, mtu: u16) -> bool {
        let Some(Adjacency { adapter, vlan, .. }) = self.row(id) else { return false };
        self.store(id, LIMITS, limits_word(adapter, mtu, vlan))
    }

    /// Gives a row up that the FIB and the MAC table no longer name. It keeps what it says until
    /// every worker has passed a quiescent point. One that is not live is left alone.
    pub fn retire(&mut self, id: AdjacencyId) {
        if self.is_live(id) {
            self.uses[id.index()] = Use::Retired;
            self.live -= 1;
            self.limbo.retire(&self.qsbr, id.0);
        }
    }

    /// Frees the rows whose grace period has passed.
    pub fn reclaim(&mut self) {
        for row in self.limbo.collect(&self.qsbr) {
            if let Some(words) = self.table.rows.get(AdjacencyId(row).index()) {
                // Nobody names the row any more; should somebody, it leads nowhere.
                words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            }
            self.uses[AdjacencyId(row).index()] = Use::Free;
            self.free.push(row);
        }
    }

    /// Rows in use.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Rows that wait for a grace period.
    pub fn retired(&self) -> usize {
        self.limbo.len()
    }

    fn is_live(&self, id: AdjacencyId) -> bool {
        self.uses.get(id.index()) == Some(&Use::Live)
    }

    fn take(&mut self) -> Result<AdjacencyId, TableFull> {
        let capacity = self.table.rows.len();
        if self.free.is_empty() && self.uses.len() >= capacity {
            self.reclaim();
        }
        if let Some(row) = self.free.pop() {
            self.uses[AdjacencyId(row).index()] = Use::Live;
            return Ok(AdjacencyId(row));
        }
        let row = u32::try_from(self.uses.len()).ok().filter(|_| self.uses.len() < capacity);
        let row = row.ok_or(TableFull { what: "adjacencies", capacity })?;
        self.uses.push(Use::Live);
        Ok(AdjacencyId(row))
    }

    /// Release: what a new state relies on, a port record say, was made before it.
    fn store(&self, id: AdjacencyId, word: usize, value: u64) -> bool {
        let row: Option<&[AtomicU64; WORDS]> = self.table.rows.get(id.index());
        row.map(|row| row[word].store(value, Ordering::Release)).is_some()
    }
}
