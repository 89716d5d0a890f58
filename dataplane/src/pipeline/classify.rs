//! First stage: whose frame is it? Ethernet header, VLAN tag on the uplink, own MAC, ARP.
//!
//! Leaves `Route` (with the parsed IPv4 header), `Bridge`, `Arp`, `ArpAndBridge` or `Drop`.

use super::layers::{LAYER_BYTES_MAX, LAYERS_MAX, is_tag};
use super::view::View;
use super::work::{Notice, Verdict, Work};
use crate::counters::DropReason;
use crate::frame::{Burst, Frame};
use crate::ids::NetworkId;
use crate::record::{Attachment, BridgedAdapter, PortRecord, Uplink};
use crate::wire::ethernet::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_VLAN, Ethernet, HEADER_BYTES, MacAddr, Tag,
    is_link_local_group, pop_tag,
};
use crate::wire::ipv4::Ipv4;
use crate::wire::offload::Offload;

/// Headers up to here must lie in a chained frame's first segment: Ethernet, the tags that the guard
/// looks under, IPv4 with options and 20 bytes of what it carries. The ports' own buffers are longer;
/// a guest's descriptors may not be.
const CONTIGUOUS_BYTES: usize = HEADER_BYTES + LAYERS_MAX * LAYER_BYTES_MAX + 60 + 20;

/// Decides for every frame of a burst from one port.
pub(super) fn classify<F: Frame>(
    record: &PortRecord,
    view: &View,
    burst: &mut Burst<F>,
    work: &mut Work,
) {
    for (slot, frame) in burst.iter_mut().enumerate() {
        work.notices[slot] = Notice::None;
        work.verdicts[slot] = match ethernet(frame) {
            Ok(ethernet) => match &record.attachment {
                Attachment::Closed => Verdict::Drop(DropReason::PortClosed),
                Attachment::Routed(_) | Attachment::Shared { .. } | Attachment::Host { .. } => {
                    routed(record, ethernet)
                }
                Attachment::Bridged(BridgedAdapter { network, .. })
                | Attachment::NetworkServer { network, .. } => in_network(*network, view, ethernet),
                Attachment::Uplink(uplink) => wire(record, uplink, view, frame, ethernet),
            },
            Err(reason) => Verdict::Drop(reason),
        };
        if work.verdicts[slot] == Verdict::Route {
            work.verdicts[slot] = parse(frame, &mut work.ip[slot]);
        }
    }
}

/// For packets that have passed before and were held: straight to the header.
pub(super) fn classify_routed<F: Frame>(burst: &Burst<F>, work: &mut Work) {
    for (slot, frame) in burst.iter().enumerate() {
        work.notices[slot] = Notice::None;
        work.verdicts[slot] = parse(frame, &mut work.ip[slot]);
    }
}

fn ethernet<F: Frame>(frame: &F) -> Result<Ethernet, DropReason> {
    let head = frame.head();
    let is_split = head.len() < CONTIGUOUS_BYTES && head.len() < frame.len();
    match Ethernet::parse(head) {
        Some(_) if is_split => Err(DropReason::EthernetTruncated),
        Some(_) if frame.offload() == Offload::Invalid => Err(DropReason::OffloadInvalid),
        Some(ethernet) if ethernet.source.is_group() || ethernet.source == MacAddr::ZERO => {
            Err(DropReason::EthernetSource)
        }
        Some(ethernet) => Ok(ethernet),
        None => Err(DropReason::EthernetTruncated),
    }
}

fn parse<F: Frame>(frame: &F, ip: &mut Ipv4) -> Verdict {
    let packet = frame.head().get(HEADER_BYTES..).unwrap_or_default();
    let present = frame.len().saturating_sub(HEADER_BYTES);
    match Ipv4::parse(packet, present, frame.ip_checksum()) {
        Ok(parsed) => {
            *ip = parsed;
            Verdict::Route
        }
        Err(reason) => Verdict::Drop(reason),
    }
}

/// A port on which all that is not ARP or IPv4 for our MAC is out of place.
fn routed(record: &PortRecord, ethernet: Ethernet) -> Verdict {
    match ethernet.ether_type {
        ETHERTYPE_ARP if ethernet.destination == record.own_mac => Verdict::Arp(None),
        ETHERTYPE_ARP if ethernet.destination == MacAddr::BROADCAST => Verdict::Arp(None),
        _ if ethernet.destination.is_group() => Verdict::Drop(DropReason::RoutedBroadcast),
        _ if ethernet.destination != record.own_mac => Verdict::Drop(DropReason::NotForUs),
        ETHERTYPE_IPV4 => Verdict::Route,
        ether_type if is_tag(ether_type) => Verdict::Drop(DropReason::VlanUnknown),
        _ => Verdict::Drop(DropReason::EtherTypeUnsupported),
    }
}

/// A frame from a member of a network: for the router, for the others, or both.
fn in_network(network: NetworkId, view: &View, ethernet: Ethernet) -> Verdict {
    let Some(network) = view.network(network) else {
        return Verdict::Drop(DropReason::NetworkUnknown);
    };
    let Some(router_mac) = network.router_mac else {
        return Verdict::Bridge(network.id);
    };
    let is_for_router = ethernet.destination == router_mac;
    match ethernet.ether_type {
        ETHERTYPE_ARP if is_for_router => Verdict::Arp(Some(network.id)),
        ETHERTYPE_ARP if ethernet.destination == MacAddr::BROADCAST => {
            Verdict::ArpAndBridge(network.id)
        }
        ETHERTYPE_IPV4 if is_for_router => Verdict::Route,
        _ if is_for_router => Verdict::Drop(DropReason::EtherTypeUnsupported),
        _ => Verdict::Bridge(network.id),
    }
}

/// A frame from the wire, in the order of design.md, "Uplink frames".
fn wire<F: Frame>(
    record: &PortRecord,
    uplink: &Uplink,
    view: &View,
    frame: &mut F,
    ethernet: Ethernet,
) -> Verdict {
    let mut ethernet = ethernet;
    if is_tag(ethernet.ether_type) && ethernet.ether_type != ETHERTYPE_VLAN {
        return Verdict::Drop(DropReason::VlanUnknown);
    }
    if ethernet.ether_type == ETHERTYPE_VLAN {
        let Some(tag) = Tag::parse(frame.head()) else {
            return Verdict::Drop(DropReason::EthernetTruncated);
        };
        let network = uplink.vlans.binary_search_by_key(&tag.vid, |entry| entry.0);
        // VID 0 carries a priority only and counts as untagged (802.1Q 9.6).
        let network = match (tag.vid, network) {
            (0, _) => None,
            (_, Ok(found)) => Some(uplink.vlans[found].1),
            (_, Err(_)) => return Verdict::Drop(DropReason::VlanUnknown),
        };
        if !pop_tag(frame) {
            return Verdict::Drop(DropReason::EthernetTruncated);
        }
        ethernet.ether_type = tag.inner_type;
        match network.map(|network| view.network(network)) {
            Some(_) if is_link_local_group(ethernet.destination) => {
                return Verdict::Drop(DropReason::BridgeProtocol);
            }
            Some(Some(network)) => return Verdict::Bridge(network.id),
            Some(None) => return Verdict::Drop(DropReason::NetworkUnknown),
            None if is_tag(ethernet.ether_type) => {
                return Verdict::Drop(DropReason::VlanUnknown);
            }
            None => {}
        }
    }
    if is_link_local_group(ethernet.destination) {
        return Verdict::Drop(DropReason::BridgeProtocol);
    }
    let is_broadcast = ethernet.destination == MacAddr::BROADCAST;
    if ethernet.destination == record.own_mac {
        return routed(record, ethernet);
    }
    match (uplink.untagged, ethernet.ether_type) {
        (Some(network), ETHERTYPE_ARP) if is_broadcast => Verdict::ArpAndBridge(network),
        (Some(network), _) => Verdict::Bridge(network),
        (None, _) => routed(record, ethernet),
    }
}
