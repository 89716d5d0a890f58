//! The way of single packets, stage by stage, with the table entries that decided.
//!
//! While a worker has a [`Tracer`], packets that it may be asked for don't take the express lane: the stages,
//! which would pass them alike, have them one by one and leave what they found in a [`Record`].
//! Records lie in a bounded queue with room for as many as were asked for; when it is full it is over.

use super::bpf::Program;
use crate::counters::DropReason;
use crate::frame::{Frame, Slots};
use crate::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use crate::pipeline::Verdict;
use crate::table::{Adjacency, Ways};
use crate::wire::ipv4::Ipv4;
use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// Ports and adapters that may be followed at once.
pub const TARGETS_MAX: usize = 16;
/// Bytes of a frame that a record keeps: Ethernet, a tag, IPv4 with options, ports.
pub const HEAD_BYTES: usize = 96;
/// Egress ports that are kept by name.
const PORTS_MAX: usize = 8;
/// Drop reasons that are kept: each frame has one, copies their own.
const REASONS_MAX: usize = 4;

/// One that is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its port.
    pub port: PortId,
    /// On a port that many adapters share, which.
    pub adapter: Option<AdapterId>,
}

impl Target {
    fn is(&self, port: PortId, adapter: AdapterId) -> bool {
        self.port == port && self.adapter.is_none_or(|one| one == adapter)
    }
}

/// Which packets are traced.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Those of any of these.
    pub targets: ArrayVec<Target, TARGETS_MAX>,
    /// That come in by them.
    pub received: bool,
    /// That leave by them.
    pub sent: bool,
    /// Of those, the ones that pass, as they came in.
    pub filter: Option<Arc<Program>>,
}

/// The first bytes of a frame.
pub type Head = ArrayVec<u8, HEAD_BYTES>;

pub(crate) fn head_of<F: Frame>(frame: &F) -> Head {
    frame.head().iter().copied().take(HEAD_BYTES).collect()
}

/// What the FIB said of an address.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lookup {
    /// Row of the adjacency table.
    pub id: AdjacencyId,
    /// What stood there.
    pub adjacency: Adjacency,
}

/// What the MAC table said of a frame.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MacLookup {
    /// Network that was looked in.
    pub network: NetworkId,
    /// Entry of the destination, and whether it is fixed.
    pub destination: Option<(Lookup, bool)>,
    /// Entry of the source.
    pub source: Option<(Lookup, bool)>,
}

/// What became of a packet. Counted at the port that it came in by, so copies and answers are among it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Ports that got something, the first eight of them.
    pub ports: ArrayVec<PortId, PORTS_MAX>,
    /// Frames that transmit queues took.
    pub forwarded: u64,
    /// Copies that were made.
    pub copies: u64,
    /// Frames that were made because of it: fragments, an answer.
    pub generated: u64,
    /// Frames that control got, or that were sent in pieces.
    pub consumed: u64,
    /// Frames dropped, by reason.
    pub drops: ArrayVec<(DropReason, u64), REASONS_MAX>,
}

/// The way of one packet.
#[derive(Clone, Debug)]
pub struct Record {
    /// The worker's position.
    pub worker: usize,
    /// When, on the workers' clock, ns.
    pub time_ns: u64,
    /// Port that it came in by.
    pub port: PortId,
    /// Adapter that it came from, as the guard found; none for the wire.
    pub adapter: AdapterId,
    /// Bytes, as it came in.
    pub bytes: u32,
    /// The first of them.
    pub head: Head,
    /// After classify.
    pub classified: Verdict,
    /// IPv4 for the router: its header.
    pub ip: Option<Ipv4>,
    /// Likewise: destination and source in the FIB.
    pub routes: Option<[Lookup; 2]>,
    /// After the guard.
    pub guarded: Verdict,
    /// For a network: destination and source in the MAC table.
    pub macs: Option<MacLookup>,
    /// After route and bridge.
    pub decided: Verdict,
    /// The way out, where `decided` has one.
    pub way: Adjacency,
    /// After rewrite.
    pub rewritten: Verdict,
    /// The first bytes by then.
    pub rewritten_head: Head,
    /// After act and egress.
    pub outcome: Outcome,
}

/// Records on their way from the workers; its capacity is how many there will be.
pub type Records = Arc<ArrayQueue<Record>>;

/// A worker's share of a trace.
pub struct Tracer {
    selection: Selection,
    records: Records,
    worker: usize,
}

impl Tracer {
    /// For the worker at this position.
    pub fn new(selection: Selection, records: Records, worker: usize) -> Box<Self> {
        Box::new(Self { selection, records, worker })
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// Of a burst that came in by a port and leads these ways, the frames that may be among those that are asked
    /// for.
    #[cold]
    pub(crate) fn followed<F: Frame>(&self, port: PortId, burst: &[F], ways: &Ways) -> Slots {
        let Selection { targets, received, sent, .. } = &self.selection;
        let came_there = *received && targets.iter().any(|one| one.port == port);
        let leads_there = |slot: usize| {
            let way = ways.way(slot);
            *sent && targets.iter().any(|one| one.is(way.port(), way.adapter()))
        };
        let is_followed =
            |(slot, frame): &(usize, &F)| (came_there || leads_there(*slot)) && self.wants(*frame);
        let followed = burst.iter().enumerate().filter(is_followed);
        followed.fold(0, |slots, (slot, _)| slots | 1 << slot)
    }

    /// Whether a frame may be one of those that are asked for.
    pub(crate) fn wants<F: Frame>(&self, frame: &F) -> bool {
        let wire_bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let filter = self.selection.filter.as_ref();
        !self.records.is_full()
            && filter.is_none_or(|program| program.admits(frame.head(), wire_bytes))
    }

    /// Keeps the way of a packet, if it is one of those.
    pub(crate) fn keep(&self, record: Record) {
        let Selection { targets, received, sent, .. } = &self.selection;
        let came = |one: &Target| one.is(record.port, record.adapter);
        let left = |one: &Target| {
            let leads = |port: &PortId| match one.adapter {
                None => one.port == *port,
                // Which of many on its port: where one way out was decided, that says so.
                Some(_) => one.port == *port && one.is(record.way.port, record.way.adapter),
            };
            record.outcome.ports.iter().any(leads) || one.is(record.way.port, record.way.adapter)
        };
        let is_one = *received && targets.iter().any(came) || *sent && targets.iter().any(left);
        if is_one {
            // Full: another worker was first.
            let _ = self.records.push(record);
        }
    }
}
