//! What the stages leave for each other: one verdict per frame of the burst, and what they read.

use super::View;
use super::express::Lane;
use crate::counters::{Counters, DropReason, Traffic};
use crate::frame::{BURST_PKTS, Frame};
use crate::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use crate::table::{Adjacency, AdjacencyKind};
use crate::wire::ethernet::MacAddr;
use crate::wire::icmp::ErrorKind;
use crate::wire::ipv4::Ipv4;

/// What is to become of a frame, as far as the stages have decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// IPv4 for the router; `Work::ip` holds its header.
    Route,
    /// For the members of a network.
    Bridge(NetworkId),
    /// ARP for control alone.
    Arp(Option<NetworkId>),
    /// ARP for control and for the members of a network.
    ArpAndBridge(NetworkId),
    /// Final: out by `Work::adjacency`, rewritten (`route`) or as it is (`bridge`).
    Send,
    /// Final: out by `Work::adjacency` in pieces of its MTU.
    Fragment,
    /// Final: out by `Work::adjacency`, if it names a port, and a copy to promiscuous members.
    Mirror(NetworkId),
    /// Final: to every member of a network but the one it came from.
    Flood(NetworkId),
    /// Final: to every member, and a copy to control.
    FloodAndPunt(NetworkId),
    /// Final: turned round, back out by the port it came from.
    Answer,
    /// Final: to control, because the next hop has no MAC yet.
    Resolve,
    /// Final: dropped, and the sender told by an ICMP error.
    Error(ErrorKind, DropReason),
    /// Final: dropped.
    Drop(DropReason),
}

/// One burst's decisions. Arrays rather than a struct per frame, so that a stage touches only what
/// it works on. Kept from burst to burst: a slot is valid only where its verdict says so.
pub(super) struct Work {
    /// Per frame.
    pub(super) verdicts: [Verdict; BURST_PKTS],
    /// Where the verdict is or was `Route`: the parsed header.
    pub(super) ip: [Ipv4; BURST_PKTS],
    /// Likewise: what the FIB says of its destination.
    pub(super) to: [AdjacencyId; BURST_PKTS],
    /// Likewise: what the FIB says of its source.
    pub(super) from: [Adjacency; BURST_PKTS],
    /// Where the verdict is `Send`, `Fragment` or `Resolve`: the way out.
    pub(super) adjacency: [Adjacency; BURST_PKTS],
    /// Reports of learning and of address conflicts that `act` passes on.
    pub(super) notices: [Notice; BURST_PKTS],
    /// The express lane's own.
    pub(super) lane: Lane,
}

/// Something that control should hear of, beside the frame's verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Notice {
    /// Nothing.
    None,
    /// The source is new or has moved in a learning network.
    Learn(NetworkId, MacAddr),
    /// A source of ours came in by an uplink.
    Conflict(u32, MacAddr),
}

impl Default for Work {
    fn default() -> Self {
        Self {
            verdicts: [Verdict::Drop(DropReason::PortClosed); BURST_PKTS],
            ip: [UNREAD; BURST_PKTS],
            to: [AdjacencyId::DEFAULT; BURST_PKTS],
            from: [NOWHERE; BURST_PKTS],
            adjacency: [NOWHERE; BURST_PKTS],
            notices: [Notice::None; BURST_PKTS],
            lane: Lane::default(),
        }
    }
}

/// A header that no stage has read.
const UNREAD: Ipv4 = Ipv4 {
    header_bytes: 20,
    total_bytes: 20,
    ttl: 0,
    protocol: 0,
    source: 0,
    destination: 0,
    id: 0,
    dont_fragment: false,
    more_fragments: false,
    fragment_offset: 0,
    tos: 0,
};

/// No way out: what a missing row reads as.
pub(super) const NOWHERE: Adjacency = Adjacency {
    kind: AdjacencyKind::Prohibit,
    port: PortId::NONE,
    adapter: AdapterId::NONE,
    destination: MacAddr::ZERO,
    source: MacAddr::ZERO,
    mtu: 0,
    vlan: 0,
    next_hop: 0,
};

/// The adapter that a port stands for, if it stands for one.
#[inline]
pub(super) fn adapter_of(view: &View, port: PortId) -> AdapterId {
    view.port(port).map_or(AdapterId::NONE, |record| record.attachment.adapter())
}

/// Counts a guest's frames as received.
#[inline]
pub(super) fn count_from_guest(counters: &Counters, adapter: AdapterId, pkts: u64, bytes: u64) {
    counters.adapter_traffic(adapter, Traffic::FromGuest, pkts, bytes);
}

/// Drops a frame, counted at where it came from.
#[inline]
pub(super) fn drop_frame<F: Frame>(counters: &Counters, frame: F, reason: DropReason) {
    let from = frame.ingress();
    counters.drop_add(from.port, from.adapter, reason, 1);
}
