//! Third stage, host-routed: where does the packet go? (RFC 1812 5.2 and 5.3.)
//!
//! The look-up of a burst's sources and destinations happens before the guard, which needs the
//! sources; the decision comes after it. A route is an adjacency, and its kind says what to do.

use super::view::View;
use super::work::{Verdict, Work};
use crate::counters::DropReason;
use crate::frame::{BURST_PKTS, Burst, Frame};
use crate::ids::{AdjacencyId, PortId};
use crate::pipeline::Tables;
use crate::record::{Attachment, PortRecord};
use crate::table::{Adjacency, AdjacencyKind};
use crate::wire::ethernet::HEADER_BYTES;
use crate::wire::icmp::ErrorKind;
use crate::wire::ipv4::{self, Ipv4};

/// Looks up source and destination of every routed packet of the burst, all together.
pub(super) fn look_up<F: Frame>(tables: &Tables, burst: &Burst<F>, work: &mut Work) {
    let mut keys = [0u32; 2 * BURST_PKTS];
    let mut found = [AdjacencyId::DEFAULT; 2 * BURST_PKTS];
    let mut slots = [0usize; BURST_PKTS];
    let mut count = 0;
    for slot in 0..burst.len() {
        if work.verdicts[slot] == Verdict::Route {
            keys[2 * count] = work.ip[slot].destination;
            keys[2 * count + 1] = work.ip[slot].source;
            slots[count] = slot;
            count += 1;
        }
    }
    tables.fib.lookup_bulk(&keys[..2 * count], &mut found[..2 * count]);
    for pair in found[..2 * count].chunks_exact(2) {
        tables.adjacencies.prefetch(pair[0]);
        tables.adjacencies.prefetch(pair[1]);
    }
    for (pair, slot) in found[..2 * count].chunks_exact(2).zip(slots) {
        work.to[slot] = pair[0];
        work.from[slot] = tables.adjacencies.read(pair[1]);
    }
}

/// Decides for every routed packet that passed the guard.
pub(super) fn route<F: Frame>(
    record: &PortRecord,
    view: &View,
    tables: &Tables,
    burst: &mut Burst<F>,
    work: &mut Work,
) {
    // Runs of one destination are the rule: the last row read serves until the destination changes.
    let mut last = (AdjacencyId::DEFAULT, tables.adjacencies.read(AdjacencyId::DEFAULT));
    for (slot, frame) in burst.iter_mut().enumerate() {
        if work.verdicts[slot] != Verdict::Route {
            continue;
        }
        if work.to[slot] != last.0 {
            last = (work.to[slot], tables.adjacencies.read(work.to[slot]));
        }
        let ip = work.ip[slot];
        work.adjacency[slot] = last.1;
        let longest = frame.offload().packet_bytes(ip.total_bytes);
        work.verdicts[slot] = decide(record, view, &ip, longest, &last.1);
        if matches!(work.verdicts[slot], Verdict::Send | Verdict::Fragment) {
            // Ethernet padding is no part of the packet and must not grow into the next frame.
            frame.truncate(HEADER_BYTES + usize::from(ip.total_bytes));
        }
    }
}

/// `longest`: bytes of the longest packet that this one becomes on the wire.
fn decide(record: &PortRecord, view: &View, ip: &Ipv4, longest: u16, way: &Adjacency) -> Verdict {
    if way.kind == AdjacencyKind::Local {
        return Verdict::Answer;
    }
    // Source routes and record routes are for us to act on or refuse (RFC 7126): refused, counted.
    if ip.has_options() {
        return Verdict::Drop(DropReason::Ipv4Options);
    }
    // Link-local is never forwarded off its link, multicast and broadcast not at all (RFC 1812 5.3.7).
    if ipv4::is_martian_destination(ip.destination)
        || ipv4::is_limited_broadcast(ip.destination)
        || ipv4::is_multicast(ip.destination)
        || ipv4::is_link_local(ip.destination)
    {
        return Verdict::Drop(DropReason::MartianDestination);
    }
    if ipv4::is_link_local(ip.source) {
        return Verdict::Drop(DropReason::MartianSource);
    }
    if is_back_out(record, view, way) {
        // RFC 1812 would redirect here; guests have one gateway and the wire has its own routers.
        let is_transit = record.attachment.is_uplink();
        return Verdict::Drop(if is_transit {
            DropReason::Prohibited
        } else {
            DropReason::SamePort
        });
    }
    // By way of the router a guest would reach those that its network keeps from it.
    if view.is_isolated(&record.attachment, way.port) {
        return Verdict::Drop(DropReason::Isolated);
    }
    // Before the TTL: nobody is told anything about a broadcast (RFC 1812 4.3.2.7).
    if way.kind == AdjacencyKind::Glean && ip.destination == way.next_hop {
        return Verdict::Drop(DropReason::DirectedBroadcast);
    }
    if ip.ttl <= 1 && way.kind != AdjacencyKind::Prohibit {
        return Verdict::Error(ErrorKind::TimeExceeded, DropReason::TtlExceeded);
    }
    match way.kind {
        AdjacencyKind::Forward if longest > way.mtu => too_big(ip, way.mtu),
        AdjacencyKind::Forward => Verdict::Send,
        AdjacencyKind::Glean | AdjacencyKind::Incomplete => Verdict::Resolve,
        AdjacencyKind::Unreachable => {
            Verdict::Error(ErrorKind::HostUnreachable, DropReason::HostUnreachable)
        }
        _ => Verdict::Error(ErrorKind::NetUnreachable, DropReason::NoRoute),
    }
}

/// No packet leaves by the port it came from, except where many guests share it; and what came from
/// one uplink never leaves by another: we are no transit router.
fn is_back_out(record: &PortRecord, view: &View, way: &Adjacency) -> bool {
    if way.port == PortId::NONE {
        return false;
    }
    match record.attachment {
        Attachment::Shared { .. } => false,
        Attachment::Uplink(_) => {
            way.port == record.id
                || view.port(way.port).is_some_and(|out| out.attachment.is_uplink())
        }
        _ => way.port == record.id,
    }
}

fn too_big(ip: &Ipv4, mtu: u16) -> Verdict {
    if ip.dont_fragment {
        Verdict::Error(ErrorKind::FragmentationNeeded { mtu }, DropReason::TooBig)
    } else {
        Verdict::Fragment
    }
}
