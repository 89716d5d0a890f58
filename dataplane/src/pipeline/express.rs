//! The express lane: what is true of nearly every packet, asked of a whole burst in few instructions.
//!
//! A *plain* frame is one that every stage would let pass: in one segment and finished; IPv4 for the router,
//! no options, no fragment, header right, TTL to spare, its source its sender's, its way out known, untagged
//! and wide enough. Or, in a network, IPv4 of a member to a MAC in the table. The lane marks plain frames
//! and the way out of each, rewrites them and puts them into their ports' buffers. It drops nothing:
//! what is not plain, or only perhaps, goes through the stages.
//!
//! Invariant: a frame that the lane passes, the stages would pass by the same port with the same bytes,
//! counted alike (`tests/express.rs` compares the two).

use super::Path;
use super::egress::Note;
use super::view::View;
use super::work::{count_from_guest, drop_frame};
use crate::counters::{Counters, DropReason};
use crate::frame::{BURST_PKTS, Burst, Frame, Ingress, PLAIN_BYTES};
use crate::ids::{AdapterId, AdjacencyId, PortId};
use crate::io::Io;
use crate::pipeline::Tables;
use crate::record::{Attachment, PortRecord, RoutedAdapter};
use crate::table::{AdjacencyKind, Way};
use crate::wire::ethernet::{HEADER_BYTES, MacAddr};
use crate::wire::ipv4::{self, PROTOCOL_UDP};

/// Slots of a burst, one bit each.
pub(super) type Slots = u32;

/// The first so many slots.
pub(super) fn first(count: usize) -> Slots {
    match 1u32.checked_shl(u32::try_from(count).unwrap_or(Slots::BITS)) {
        Some(bit) => bit - 1,
        None => Slots::MAX,
    }
}

/// What the lane keeps of a burst: valid for plain slots.
pub(super) struct Lane {
    /// The way out.
    ways: [Way; BURST_PKTS],
    /// Bytes of the packet behind its Ethernet header, padding left out.
    bytes: [u16; BURST_PKTS],
    /// Destinations, then sources.
    keys: [u32; 2 * BURST_PKTS],
    /// What the FIB says of them.
    found: [AdjacencyId; 2 * BURST_PKTS],
    /// On a shared port: whose source it is.
    senders: [AdapterId; BURST_PKTS],
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            ways: [Way::default(); BURST_PKTS],
            bytes: [0; BURST_PKTS],
            keys: [0; 2 * BURST_PKTS],
            found: [AdjacencyId::DEFAULT; 2 * BURST_PKTS],
            senders: [AdapterId::NONE; BURST_PKTS],
        }
    }
}

/// The Ethernet header that plain frames of a port have, as two words of which some bits count.
#[derive(Clone, Copy)]
struct Pattern {
    want: [u64; 2],
    mask: [u64; 2],
    /// The source is anybody's, but not nobody's.
    is_open: bool,
}

impl Pattern {
    /// IPv4 to a MAC, from one, or from any that a station can have.
    fn new(to: MacAddr, from: Option<MacAddr>) -> Self {
        let [a, b, c, d, e, f] = to.0;
        let source = from.unwrap_or(MacAddr::ZERO).0;
        let [g, h, i, j, k, l] = source;
        let [m, n, o, p, q, r] = from.map_or([1, 0, 0, 0, 0, 0], |_| [0xff; 6]);
        let ff = 0xff;
        Self {
            want: [[a, b, c, d, e, f, g, h], [i, j, k, l, 8, 0, 0, 0]].map(u64::from_le_bytes),
            mask: [[ff, ff, ff, ff, ff, ff, m, n], [o, p, q, r, ff, ff, 0, 0]]
                .map(u64::from_le_bytes),
            is_open: from.is_none(),
        }
    }

    #[inline(always)]
    fn fits(&self, head: &[u8; PLAIN_BYTES]) -> bool {
        let (a, b) = (word(head, 0), word(head, 8));
        let differs = (a ^ self.want[0]) & self.mask[0] | (b ^ self.want[1]) & self.mask[1];
        let is_anonymous = self.is_open && a >> 48 == 0 && b & 0xffff_ffff == 0;
        differs == 0 && !is_anonymous
    }
}

/// Eight bytes of a head; `at` is a constant within it.
#[inline(always)]
fn word(head: &[u8; PLAIN_BYTES], at: usize) -> u64 {
    head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// By the first byte of an address: whether some addresses that begin so are not any host's on the
/// Internet. The stages know which.
static IS_SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut first = 0;
    while first < 256 {
        special[first] = matches!(first, 0 | 127 | 169 | 224..);
        first += 1;
    }
    special
};

/// What of a plain packet is looked at again.
struct Plain {
    source: u32,
    destination: u32,
    bytes: u16,
}

/// Reads a header without options, if there is nothing about it that a router acts on.
#[inline(always)]
fn plain(head: &[u8; PLAIN_BYTES], frame_bytes: usize, is_guests: bool) -> Option<Plain> {
    // Version to fragment offset; TTL to source; destination.
    let (start, middle) = (word(head, 14), word(head, 22));
    let end = word(head, 30) & 0xffff_ffff;
    // Version 4 and five words; neither fragment offset nor more fragments.
    let is_whole = start & 0xff3f_0000_0000_00ff == 0x45;
    let bytes = u16::from_be_bytes([head[16], head[17]]);
    let fits = usize::from(bytes) >= ipv4::HEADER_BYTES && usize::from(bytes) + HEADER_BYTES <= frame_bytes;
    let lives = middle & 0xff > 1;
    let is_special = IS_SPECIAL[usize::from(head[26])] | IS_SPECIAL[usize::from(head[30])];
    // To a DHCP client's port, or with no UDP header at all.
    let is_udp = head[23] == PROTOCOL_UDP;
    let is_reply = is_guests && is_udp && (head[36..38] == [0, 68] || bytes < 29);
    (is_whole && fits && lives && !is_special && !is_reply && is_sum_right(start, middle, end))
        .then(|| Plain {
            source: u32::from_be((middle >> 32) as u32),
            destination: u32::from_be(end as u32),
            bytes,
        })
}

/// Whether the header's words add up to a multiple of 0xffff (RFC 1071: in any byte order). They are
/// not all 0.
#[inline(always)]
fn is_sum_right(start: u64, middle: u64, end: u64) -> bool {
    let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
    let sum = halves(start) + halves(middle) + end;
    // Divisible by an odd number: the product with its inverse modulo 2^64 is the quotient (Granlund,
    // Montgomery, "Division by invariant integers using multiplication", PLDI 1994, section 9).
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

/// Of 0xffff modulo 2^64.
const INVERSE: u64 = {
    let mut inverse = 1u64;
    let mut round = 0;
    // Newton: each round doubles the bits that are right.
    while round < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(inverse.wrapping_mul(0xffff)));
        round += 1;
    }
    inverse
};

/// Who sends by a port, and so which sources are its own.
#[derive(Clone, Copy)]
enum Sender {
    /// Anybody but us and those that are registered here.
    Wire,
    /// The adapter alone, if its filter is on.
    Guest(AdapterId, bool),
    /// Whoever is registered behind this port.
    Shared,
    /// Anybody but guests.
    Server,
}

impl Sender {
    fn of(record: &PortRecord) -> Option<(Self, Pattern)> {
        let own = record.own_mac;
        match &record.attachment {
            Attachment::Uplink(_) => Some((Self::Wire, Pattern::new(own, None))),
            Attachment::Routed(RoutedAdapter { adapter, peer_mac, filters }) => {
                let from = filters.mac.then_some(*peer_mac);
                Some((Self::Guest(*adapter, filters.ip), Pattern::new(own, from)))
            }
            Attachment::Shared { peer_mac } => {
                Some((Self::Shared, Pattern::new(own, Some(*peer_mac))))
            }
            Attachment::Host { peer_mac } => {
                Some((Self::Server, Pattern::new(own, Some(*peer_mac))))
            }
            _ => None,
        }
    }

    /// Whether a source that leads so is the sender's, whatever it is but the address `except`.
    #[inline(always)]
    fn admits(self, from: &Way, port: PortId) -> bool {
        let is_forward = from.is_forward();
        let is_owned = is_forward && from.adapter() != AdapterId::NONE;
        let is_ours = from.kind() == AdjacencyKind::Local as u8
            || is_forward && from.adapter() == AdapterId::SERVER;
        match self {
            Self::Wire => !is_ours && !is_owned,
            Self::Guest(adapter, is_checked) => {
                !is_ours && (!is_checked || is_forward && from.adapter() == adapter)
            }
            Self::Shared => is_owned && from.port() == port,
            Self::Server => !is_owned || from.adapter() == AdapterId::SERVER,
        }
    }
}

/// Which frames of a burst are plain packets for the router.
pub(super) fn routed<F: Frame>(
    record: &PortRecord,
    view: &View,
    tables: &Tables,
    counters: &Counters,
    burst: &mut Burst<F>,
    lane: &mut Lane,
) -> Slots {
    let Some((sender, pattern)) = Sender::of(record) else { return 0 };
    let is_guests = matches!(sender, Sender::Guest(..) | Sender::Shared);
    let mut slots = 0;
    for (slot, frame) in burst.iter().enumerate() {
        if let Some(head) = frame.plain_head()
            && pattern.fits(head)
            && let Some(packet) = plain(head, frame.len(), is_guests)
        {
            slots |= 1 << slot;
            lane.keys[slot] = packet.destination;
            lane.keys[BURST_PKTS + slot] = packet.source;
            lane.bytes[slot] = packet.bytes;
        }
    }
    if slots == 0 {
        return 0;
    }
    let count = burst.len();
    let (keys, found) = (&lane.keys, &mut lane.found);
    let (to, from) = found.split_at_mut(BURST_PKTS);
    tables.fib.lookup_bulk(&keys[..count], &mut to[..count]);
    tables.fib.lookup_bulk(&keys[BURST_PKTS..][..count], &mut from[..count]);
    let is_wire = matches!(sender, Sender::Wire);
    let may_return = matches!(sender, Sender::Shared);
    // Sources come in runs, most of all from the wire and from a guest alone on its port.
    let mut last = Source::read(tables, AdjacencyId::DEFAULT, sender, record.id);
    for slot in 0..count {
        let way = tables.adjacencies.way(to[slot]);
        if from[slot] != last.id {
            last = Source::read(tables, from[slot], sender, record.id);
        }
        let port = way.port();
        let is_back_out = port == record.id && !may_return || is_wire && view.is_uplink(port);
        let passes = way.is_forward()
            && way.takes_untagged(lane.bytes[slot].into())
            && !is_back_out
            && last.is_admitted
            && last.except != keys[BURST_PKTS + slot];
        slots &= !(u32::from(!passes) << slot);
        lane.ways[slot] = way;
        lane.senders[slot] = last.adapter;
    }
    if may_return {
        for (slot, frame) in burst.iter_mut().enumerate() {
            if slots >> slot & 1 != 0 {
                let adapter = lane.senders[slot];
                frame.set_ingress(Ingress { port: record.id, adapter });
                count_from_guest(counters, adapter, 1, frame.len() as u64);
            }
        }
    }
    slots
}

/// What is known of the sources that lead to one adjacency.
struct Source {
    id: AdjacencyId,
    adapter: AdapterId,
    is_admitted: bool,
    /// The one that is no host's: the broadcast address of the connected prefix that it lies in; else 0,
    /// which no plain packet comes from.
    except: u32,
}

impl Source {
    #[inline(always)]
    fn read(tables: &Tables, id: AdjacencyId, sender: Sender, port: PortId) -> Self {
        let way = tables.adjacencies.way(id);
        let is_glean = way.kind() == AdjacencyKind::Glean as u8;
        let except = if is_glean { way.next_hop() } else { 0 };
        Self { id, adapter: way.adapter(), is_admitted: sender.admits(&way, port), except }
    }
}

impl<I: Io> Path<I> {
    /// Sends a plain frame on its way.
    #[inline(always)]
    pub(super) fn pass(&mut self, from: PortId, slot: usize, mut frame: I::Frame) {
        let way = self.work.lane.ways[slot];
        let packet_bytes = usize::from(self.work.lane.bytes[slot]);
        let bytes = HEADER_BYTES + packet_bytes;
        if frame.len() != bytes {
            // Ethernet padding is no part of the packet and must not grow into the next frame.
            frame.truncate(bytes);
        }
        if let Some(head) = frame.head_mut().first_chunk_mut::<26>() {
            if let Some(header) = head.first_chunk_mut() {
                way.rewrite_ipv4(header);
            }
            ipv4::count_down(head);
        }
        let note = Note { adapter: way.adapter(), from, bytes: packet_bytes as u32 + HEADER_BYTES as u32 };
        self.egress.push(&self.counters, way.port(), frame, note);
    }
}
