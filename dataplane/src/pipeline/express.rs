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
use super::work::count_from_guest;
use crate::counters::Counters;
use crate::frame::{
    BURST_PKTS, Burst, Changes, Frame, Heads, Ingress, Pattern, Slots, first_slots,
};
use crate::ids::{AdapterId, AdjacencyId, PortId};
use crate::io::Io;
use crate::pipeline::Tables;
use crate::record::{Attachment, PortRecord, RoutedAdapter};
use crate::simd::headers::{self, Headers};
use crate::simd::ways::equal;
use crate::table::{AdjacencyKind, Way, Ways};
use crate::wire::dhcp;
use crate::wire::ethernet::HEADER_BYTES;

/// What the lane keeps of a burst, a column for each thing; valid for plain slots.
#[derive(Default)]
pub(super) struct Lane {
    heads: Heads,
    headers: Headers,
    /// What the FIB says of destinations.
    to: [u32; BURST_PKTS],
    /// And of sources.
    from: [u32; BURST_PKTS],
    /// The ways out.
    ways: Ways,
    /// What they and the TTL change.
    changes: Changes,
    /// On a shared port: numbers of the adapters whose sources they are.
    senders: [u32; BURST_PKTS],
}

/// What the lane has decided of a burst.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    /// Frames that it passes.
    pub(super) slots: Slots,
    /// Of those, with Ethernet padding behind the packet.
    padded: Slots,
    /// The one port that all of them leave by, if it is one.
    port: Option<PortId>,
}

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
            Attachment::Uplink(_) => Some((Self::Wire, Pattern::ipv4(own, None))),
            Attachment::Routed(RoutedAdapter { adapter, peer_mac, filters }) => {
                let from = filters.mac.then_some(*peer_mac);
                Some((Self::Guest(*adapter, filters.ip), Pattern::ipv4(own, from)))
            }
            Attachment::Shared { peer_mac } => {
                Some((Self::Shared, Pattern::ipv4(own, Some(*peer_mac))))
            }
            Attachment::Host { peer_mac } => {
                Some((Self::Server, Pattern::ipv4(own, Some(*peer_mac))))
            }
            _ => None,
        }
    }

    /// Whether a source that leads so is the sender's.
    #[inline]
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

/// What is known of the sources that lead to one adjacency.
struct Source {
    adapter: AdapterId,
    is_admitted: bool,
    /// The one that is no host's: the broadcast address of the connected prefix that it lies in; else 0,
    /// which no plain packet comes from.
    except: u32,
}

impl Source {
    #[inline]
    fn read(tables: &Tables, id: u32, sender: Sender, port: PortId) -> Self {
        let way = tables.adjacencies.way(AdjacencyId(id));
        let is_glean = way.kind() == AdjacencyKind::Glean as u8;
        let except = if is_glean { way.next_hop() } else { 0 };
        Self { adapter: way.adapter(), is_admitted: sender.admits(&way, port), except }
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
) -> Plain {
    let none = Plain { slots: 0, padded: 0, port: None };
    let Some((sender, pattern)) = Sender::of(record) else { return none };
    let slots = F::read_heads(burst, &pattern, &mut lane.heads);
    let found = headers::check(&lane.heads, slots, &mut lane.headers);
    let mut slots = found.plain;
    if slots == 0 {
        return none;
    }
    if matches!(sender, Sender::Guest(..) | Sender::Shared) {
        slots &= !server_replies(burst, found.udp);
    }
    tables.fib.lookup_burst(&lane.headers.destinations, &mut lane.to);
    tables.fib.lookup_burst(&lane.headers.sources, &mut lane.from);
    slots &= admitted(record.id, sender, tables, lane, slots);
    tables.adjacencies.ways(&lane.to, &mut lane.ways);
    let but = if matches!(sender, Sender::Shared) { PortId::NONE } else { record.id };
    slots &= lane.ways.forwarding(&lane.headers.bytes, but);
    let port = lane.ways.way(slots.trailing_zeros() as usize % BURST_PKTS).port();
    let is_one = slots & !lane.ways.by_port(port) == 0;
    if matches!(sender, Sender::Wire) {
        slots &= !to_uplinks(view, lane, slots, is_one.then_some(port));
    }
    if matches!(sender, Sender::Shared) {
        for (slot, frame) in burst.iter_mut().enumerate() {
            if slots >> slot & 1 != 0 {
                let adapter = AdapterId(lane.senders[slot]);
                frame.set_ingress(Ingress { port: record.id, adapter });
                count_from_guest(counters, adapter, 1, frame.len() as u64);
            }
        }
    }
    let Lane { heads, ways, changes, .. } = lane;
    ways.macs(&mut changes.destination, &mut changes.source);
    headers::count_down(&heads.middle, &mut changes.middle);
    Plain { slots, padded: found.padded & slots, port: is_one.then_some(port) }
}

/// Of the UDP packets, those that a DHCP server might have sent: to a client's port, or cut short.
fn server_replies<F: Frame>(burst: &Burst<F>, udp: Slots) -> Slots {
    let mut replies = 0;
    let mut left = udp;
    while left != 0 {
        let slot = left.trailing_zeros() as usize;
        left &= left - 1;
        let packet = burst.get(slot).and_then(|frame| frame.head().get(HEADER_BYTES..));
        replies |= u32::from(packet.is_none_or(dhcp::is_server_reply)) << slot;
    }
    replies
}

/// Which of the slots have a source that is their sender's.
fn admitted(
    port: PortId,
    sender: Sender,
    tables: &Tables,
    lane: &mut Lane,
    slots: Slots,
) -> Slots {
    let sources = &lane.headers.sources;
    // Sources come in runs, most of all from the wire and from a guest alone on its port.
    let first = lane.from[slots.trailing_zeros() as usize % BURST_PKTS];
    let mut last = Source::read(tables, first, sender, port);
    if slots & !equal(&lane.from, first) == 0 {
        lane.senders = [last.adapter.0; BURST_PKTS];
        return if last.is_admitted { !equal(sources, last.except) } else { 0 };
    }
    let mut last_id = first;
    let mut admitted = 0;
    for (slot, id) in lane.from.iter().enumerate() {
        if *id != last_id {
            last = Source::read(tables, *id, sender, port);
            last_id = *id;
        }
        lane.senders[slot] = last.adapter.0;
        admitted |= u32::from(last.is_admitted && sources[slot] != last.except) << slot;
    }
    admitted
}

/// Which of the slots leave by an uplink; `port` if all do by the same.
fn to_uplinks(view: &View, lane: &Lane, slots: Slots, port: Option<PortId>) -> Slots {
    match port {
        Some(port) if view.is_uplink(port) => slots,
        Some(_) => 0,
        None => (0..BURST_PKTS).fold(0, |all, slot| {
            all | u32::from(view.is_uplink(lane.ways.way(slot).port())) << slot
        }),
    }
}

impl<I: Io> Path<I> {
    /// Sends a burst of plain frames on its way; leaves it empty.
    pub(super) fn pass_all(&mut self, from: PortId, plain: Plain, burst: &mut Burst<I::Frame>) {
        let lane = &self.work.lane;
        if plain.padded != 0 {
            burst.iter_mut().enumerate().for_each(|(slot, frame)| lane.trim(slot, plain, frame));
        }
        I::Frame::rewrite_heads(burst, &lane.changes);
        if let Some(port) = plain.port {
            let note = |slot| lane.note(slot, from).1;
            return self.egress.push_all(&self.counters, port, burst, note);
        }
        for (slot, frame) in burst.drain(..).enumerate() {
            let (port, note) = lane.note(slot, from);
            self.egress.push(&self.counters, port, frame, note);
        }
    }

    /// Sends one plain frame on its way.
    pub(super) fn pass(&mut self, from: PortId, plain: Plain, slot: usize, mut frame: I::Frame) {
        let lane = &self.work.lane;
        lane.trim(slot, plain, &mut frame);
        if let Some(head) = frame.head_mut().first_chunk_mut() {
            lane.changes.write(slot, head);
        }
        let (port, note) = lane.note(slot, from);
        self.egress.push(&self.counters, port, frame, note);
    }
}

impl Lane {
    /// Ethernet padding is no part of the packet and must not grow into the next frame.
    #[inline]
    fn trim<F: Frame>(&self, slot: usize, plain: Plain, frame: &mut F) {
        if plain.padded >> slot & 1 != 0 {
            frame.truncate(HEADER_BYTES + self.headers.bytes[slot] as usize);
        }
    }

    #[inline]
    fn note(&self, slot: usize, from: PortId) -> (PortId, Note) {
        let (port, adapter) = self.ways.out(slot);
        let bytes = HEADER_BYTES as u32 + self.headers.bytes[slot];
        (port, Note { adapter, from, bytes })
    }
}

impl Plain {
    /// Whether all frames of a burst of so many are.
    pub(super) fn is_all(&self, count: usize) -> bool {
        self.slots == first_slots(count)
    }
}
