//! Third stage, virtual network: which member is the frame for? (IEEE 802.1Q 8.)
//!
//! Every inside MAC is registered, so an unknown one is outside: no inside member is flooded with
//! another's unicast unless its network is told to.

use super::layers::is_tag;
use super::view::View;
use super::work::{NOWHERE, Notice, Verdict, Work};
use crate::counters::DropReason;
use crate::frame::{BURST_PKTS, Burst, Frame};
use crate::ids::PortId;
use crate::pipeline::Tables;
use crate::record::{Attachment, NetworkRecord, PortRecord, UnknownUnicast};
use crate::table::{Adjacency, AdjacencyKind, MacHit, MacTable};
use crate::wire::ethernet::{Ethernet, HEADER_BYTES, TAG_BYTES, is_link_local_group};

/// Decides for every bridged frame that passed the guard.
pub(super) fn bridge<F: Frame>(
    record: &PortRecord,
    view: &View,
    tables: &Tables,
    burst: &mut Burst<F>,
    work: &mut Work,
    now_ns: u64,
) {
    let is_bridged =
        |verdict: &Verdict| matches!(verdict, Verdict::Bridge(_) | Verdict::ArpAndBridge(_));
    if !work.verdicts[..burst.len()].iter().any(is_bridged) {
        return;
    }
    let mut keys = [0u64; 2 * BURST_PKTS];
    let mut found = [None; 2 * BURST_PKTS];
    let mut slots = [0usize; BURST_PKTS];
    let mut count = 0;
    for (slot, frame) in burst.iter().enumerate() {
        let network = match work.verdicts[slot] {
            Verdict::Bridge(network) | Verdict::ArpAndBridge(network) => network,
            _ => continue,
        };
        if let Some(ethernet) = Ethernet::parse(frame.head()) {
            keys[2 * count] = MacTable::key(network, ethernet.destination);
            keys[2 * count + 1] = MacTable::key(network, ethernet.source);
            slots[count] = slot;
            count += 1;
        }
    }
    tables.macs.lookup_bulk(&keys[..2 * count], &mut found[..2 * count]);
    for (pair, slot) in found[..2 * count].chunks_exact(2).zip(slots) {
        let verdict = work.verdicts[slot];
        let (Verdict::Bridge(id) | Verdict::ArpAndBridge(id)) = verdict else { continue };
        let frame = &burst[slot];
        let Some((network, ethernet)) = view.network(id).zip(Ethernet::parse(frame.head())) else {
            work.verdicts[slot] = Verdict::Drop(DropReason::NetworkUnknown);
            continue;
        };
        let segment = Segment { record, network, tables, view };
        work.verdicts[slot] = match segment.source(&ethernet, pair[1], now_ns) {
            Err(reason) => Verdict::Drop(reason),
            Ok(notice) => {
                work.notices[slot] = notice;
                match verdict {
                    Verdict::ArpAndBridge(_) => Verdict::FloodAndPunt(id),
                    _ if ethernet.destination.is_group() => Verdict::Flood(id),
                    _ => match segment.unicast(frame, &ethernet, pair[0]) {
                        Ok((verdict, way)) => {
                            work.adjacency[slot] = way;
                            verdict
                        }
                        Err(reason) => Verdict::Drop(reason),
                    },
                }
            }
        };
    }
}

/// One network as seen from one of its ports.
struct Segment<'a> {
    record: &'a PortRecord,
    network: &'a NetworkRecord,
    tables: &'a Tables,
    view: &'a View,
}

impl Segment<'_> {
    /// Refreshes, reports or refuses a source; `hit` is its entry.
    fn source(
        &self,
        ethernet: &Ethernet,
        hit: Option<MacHit>,
        now_ns: u64,
    ) -> Result<Notice, DropReason> {
        let from_wire = self.record.attachment.is_uplink();
        let learns = match &self.record.attachment {
            Attachment::Bridged(adapter) => !adapter.filters.mac,
            _ => from_wire,
        };
        if !learns {
            return Ok(Notice::None);
        }
        if let Some(hit) = hit {
            if self.tables.adjacencies.read(hit.adjacency).port == self.record.id {
                let now_s = u32::try_from(now_ns / 1_000_000_000).unwrap_or(u32::MAX);
                self.tables.macs.touch(hit.slot, now_s);
                return Ok(Notice::None);
            }
            // A registered MAC has one place; seen elsewhere it is forged, or there is a loop.
            if hit.is_static {
                return Err(match from_wire {
                    true => DropReason::SpoofedFromUplink,
                    false => DropReason::SpoofedMac,
                });
            }
        }
        let is_news = self.network.learning;
        Ok(if is_news { Notice::Learn(self.network.id, ethernet.source) } else { Notice::None })
    }

    /// The way of a unicast frame; `hit` is its destination's entry.
    fn unicast<F: Frame>(
        &self,
        frame: &F,
        ethernet: &Ethernet,
        hit: Option<MacHit>,
    ) -> Result<(Verdict, Adjacency), DropReason> {
        let way = match hit {
            Some(hit) => self.tables.adjacencies.read(hit.adjacency),
            None => match self.unknown()? {
                Some(way) => way,
                None => return Ok((Verdict::Flood(self.network.id), NOWHERE)),
            },
        };
        if way.port == self.record.id {
            return Err(DropReason::BridgeSamePort);
        }
        if self.network.is_isolated && self.view.is_isolated(&self.record.attachment, way.port) {
            return Err(DropReason::Isolated);
        }
        if way.port != PortId::NONE {
            fits(frame, ethernet, self.network, way.port, way.mtu)?;
        }
        let is_watched = !self.network.promiscuous.is_empty();
        Ok((if is_watched { Verdict::Mirror(self.network.id) } else { Verdict::Send }, way))
    }

    /// The way of a frame to a MAC that nobody has; `None` means everybody.
    fn unknown(&self) -> Result<Option<Adjacency>, DropReason> {
        let from_wire = self.record.attachment.is_uplink();
        match (self.network.unknown_unicast, self.network.uplink) {
            (UnknownUnicast::Flood, _) => Ok(None),
            (UnknownUnicast::ToUplink, Some(wire)) if !from_wire => Ok(Some(Adjacency {
                kind: AdjacencyKind::Bridge,
                port: wire.port,
                adapter: wire.adapter,
                mtu: wire.mtu,
                vlan: wire.vlan,
                ..NOWHERE
            })),
            // Promiscuous members may themselves bridge for MACs that nobody has seen yet.
            (UnknownUnicast::ToUplink, _) if !self.network.promiscuous.is_empty() => {
                Ok(Some(NOWHERE))
            }
            _ if from_wire => Err(DropReason::NotMember),
            _ => Err(DropReason::UnknownUnicast),
        }
    }
}

/// Whether a frame may leave towards a member: its MTU, and on the wire no tag of the guest's own,
/// which would hop into another network, nor a bridge protocol frame.
pub(super) fn fits<F: Frame>(
    frame: &F,
    ethernet: &Ethernet,
    network: &NetworkRecord,
    to: PortId,
    mtu: u16,
) -> Result<(), DropReason> {
    let is_tagged = is_tag(ethernet.ether_type);
    let header = if is_tagged { HEADER_BYTES + TAG_BYTES } else { HEADER_BYTES };
    if network.uplink.is_some_and(|wire| wire.port == to) {
        if is_tagged {
            return Err(DropReason::VlanUnknown);
        }
        if is_link_local_group(ethernet.destination) {
            return Err(DropReason::BridgeProtocol);
        }
    }
    let bytes = frame.offload().frame_bytes(frame.len());
    if bytes > usize::from(mtu) + header { Err(DropReason::TooBig) } else { Ok(()) }
}
