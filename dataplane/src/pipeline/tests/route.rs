//! Host-routed forwarding (RFC 1812 5.2 and 5.3).

use super::host::*;
use super::lab::Lab;
use super::packet::{MORE_FRAGMENTS, Packet, Station, filler, frame, read, tagged};
use crate::counters::{AdapterCounter, DropReason, PortCounter};
use crate::frame::{ChecksumState, Frame};
use crate::punt::{Inject, Punt};
use crate::record::Attachment;
use crate::table::{Adjacency, AdjacencyKind};
use crate::wire::checksum;
use crate::wire::ethernet::{ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, MacAddr};
use std::net::Ipv4Addr;

/// A packet from a guest to an address.
fn from(port: crate::ids::PortId, to: Ipv4Addr) -> Packet {
    Packet::new(at(port), GATEWAY_MAC, to)
}

#[test]
fn hr_3_guests_reach_each_other_with_both_macs_rewritten_and_ttl_less_one() {
    let mut lab = Lab::new();
    for (a, b) in [(C1, C2), (C2, C1), (C1, C3), (C3, C1), (C2, C3), (C3, C2)] {
        let packet = from(a, at(b).ip);
        let seen = read(&lab.passes(a, packet.bytes(), b));
        assert_eq!((seen.destination_mac, seen.source_mac), (at(b).mac, GATEWAY_MAC));
        assert_eq!((seen.source, seen.destination, seen.ttl), (at(a).ip, at(b).ip, 63));
        assert_eq!((seen.id, seen.payload), (packet.id, packet.payload));
    }
}

#[test]
fn hr_4_the_server_and_a_guest_reach_each_other() {
    let mut lab = Lab::new();
    let seen = read(&lab.passes(C1, from(C1, SERVER_IP).bytes(), HOST));
    assert_eq!((seen.destination_mac, seen.source_mac), (HOST_PEER, GATEWAY_MAC));
    let seen = read(&lab.passes(HOST, from(HOST, at(C1).ip).bytes(), C1));
    assert_eq!((seen.source, seen.destination_mac), (SERVER_IP, at(C1).mac));
    // The server's own traffic leaves by the uplink.
    let seen = read(&lab.passes(HOST, from(HOST, FAR).bytes(), UP));
    assert_eq!((seen.destination_mac, seen.source_mac), (ROUTER_MAC, UP_MAC));
}

#[test]
fn hr_8_hr_9_outgoing_packets_leave_by_the_uplink_with_their_own_source() {
    let mut lab = Lab::new();
    let seen = read(&lab.passes(C1, from(C1, FAR).bytes(), UP));
    assert_eq!((seen.destination_mac, seen.source_mac), (ROUTER_MAC, UP_MAC));
    assert_eq!((seen.source, seen.destination, seen.ttl), (at(C1).ip, FAR, 63));
    // A neighbor on the wire is the next hop itself.
    let seen = read(&lab.passes(C1, from(C1, at(UP).ip).bytes(), UP));
    assert_eq!(seen.destination_mac, at(UP).mac);
    let seen = read(&lab.passes(C1, from(C1, ON_UP2).bytes(), UP2));
    assert_eq!((seen.destination_mac, seen.source_mac), (at(UP2).mac, UP2_MAC));
}

#[test]
fn hr_10_what_comes_for_a_guest_reaches_exactly_that_guest() {
    let mut lab = Lab::new();
    for port in [C1, C2, C3, N1, VENET] {
        let packet = Packet::new(at(UP), UP_MAC, at(port).ip);
        let seen = read(&lab.passes(UP, packet.bytes(), port));
        assert_eq!((seen.destination_mac, seen.source), (at(port).mac, at(UP).ip));
    }
    let packet = Packet::new(at(UP), UP_MAC, ROUTED_TO_C1);
    lab.passes(UP, packet.bytes(), C1);
    lab.passes(UP, Packet::new(at(UP), UP_MAC, SERVER_IP).bytes(), HOST);
}

#[test]
fn hr_22_a_packet_between_guests_counts_at_both_adapters() {
    let mut lab = Lab::new();
    let frame = from(C1, at(C2).ip).padding(9).bytes();
    let out = lab.passes(C1, &frame, C2);
    let count = |port, counter| lab.adapter_count(adapter_on(port), counter);
    assert_eq!(count(C1, AdapterCounter::RxPkts), 1);
    assert_eq!(count(C1, AdapterCounter::RxBytes), frame.len() as u64);
    assert_eq!(count(C2, AdapterCounter::TxPkts), 1);
    assert_eq!(count(C2, AdapterCounter::TxBytes), out.len() as u64);
    assert_eq!(lab.counts(C1).counter(PortCounter::Forwarded), 1);
    assert_eq!(lab.counts(C2).counter(PortCounter::TxBytes), out.len() as u64);
}

#[test]
fn a_burst_to_many_places_keeps_its_order_at_each() {
    let mut lab = Lab::new();
    let ways = [C2, C3, UP, HOST, N1, VENET];
    let frames: Vec<_> = (0..96u16)
        .map(|number| Packet { id: number, ..from(C1, at(ways[usize::from(number) % 6]).ip) })
        .map(|packet| packet.bytes())
        .collect();
    lab.receive_all(C1, &frames);
    for (place, port) in ways.into_iter().enumerate() {
        let ids: Vec<_> = lab.sent(port).iter().map(|bytes| usize::from(read(bytes).id)).collect();
        assert_eq!(ids, (0..96).filter(|number| number % 6 == place).collect::<Vec<_>>());
    }
}

#[test]
fn only_frames_to_our_mac_are_routed() {
    let mut lab = Lab::new();
    let packet = from(C1, at(C2).ip);
    lab.refuses(C1, packet.clone().towards(at(C2).mac).bytes(), DropReason::NotForUs);
    for group in [MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
        lab.refuses(C1, packet.clone().towards(group).bytes(), DropReason::RoutedBroadcast);
    }
    let ipv6 = |to| frame(to, at(C1).mac, ETHERTYPE_IPV6, &filler(60));
    lab.refuses(C1, ipv6(GATEWAY_MAC), DropReason::EtherTypeUnsupported);
    lab.refuses(C1, ipv6(MacAddr([0x33, 0x33, 0, 0, 0, 1])), DropReason::RoutedBroadcast);
    for tpid in [ETHERTYPE_VLAN, ETHERTYPE_QINQ] {
        lab.refuses(C1, tagged(&packet.bytes(), tpid, 0), DropReason::VlanUnknown);
    }
    lab.refuses(CLOSED, packet.bytes(), DropReason::PortClosed);
}

#[test]
fn a_frame_with_no_header_or_no_sender_is_dropped() {
    let mut lab = Lab::new();
    let packet = from(C1, at(C2).ip);
    lab.refuses(C1, [], DropReason::EthernetTruncated);
    lab.refuses(C1, &packet.bytes()[..13], DropReason::EthernetTruncated);
    lab.refuses(C1, &packet.bytes()[..14], DropReason::Ipv4Truncated);
    for mac in [MacAddr::ZERO, MacAddr([3, 0, 0, 0, 0, 1])] {
        lab.refuses(C1, packet.clone().source_mac(mac).bytes(), DropReason::EthernetSource);
    }
}

#[test]
fn headers_must_lie_in_the_first_segment() {
    let mut lab = Lab::new();
    let bytes = from(C1, at(C2).ip).total(1500).bytes();
    for (head_bytes, passes) in [(0, 0), (13, 0), (14, 0), (33, 0), (60, 0), (200, 1), (1500, 1)] {
        let mut frame = lab.pool.frame(&bytes, C1).unwrap();
        frame.chain(head_bytes);
        let mut burst = [frame].into_iter().collect();
        lab.path.run(C1, &mut burst, lab.now_ns);
        lab.path.flush();
        let sent = lab.sent(C2);
        assert_eq!(sent.len(), passes, "first segment of {head_bytes}");
        assert!(sent.iter().all(|bytes| read(bytes).payload.len() == 1480));
    }
    assert_eq!(lab.drops(C1), [(DropReason::EthernetTruncated, 5)]);
}

#[test]
fn rfc_1812_5_2_2_header_checks_each_have_their_reason() {
    let good = from(C1, at(C2).ip).bytes();
    let mut lab = Lab::new();
    let mut with = |at: usize, value: u8, reason| {
        let mut bytes = good.clone();
        bytes[14 + at] = value;
        if at != 10 {
            bytes[24..26].fill(0);
            let end = 14 + 20.min(bytes.len() - 14);
            let sum = checksum::internet(&bytes[14..end]);
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        lab.refuses(C1, bytes, reason);
    };
    with(0, 0x65, DropReason::Ipv4Header);
    with(0, 0x44, DropReason::Ipv4Header);
    with(10, good[24] ^ 1, DropReason::Ipv4Checksum);
    with(2, 0xff, DropReason::Ipv4Length);
    with(3, 19, DropReason::Ipv4Length);
    lab.refuses(C1, &good[..14 + 19], DropReason::Ipv4Truncated);
    lab.refuses(C1, &good[..good.len() - 1], DropReason::Ipv4Length);
}

#[test]
fn the_ports_word_on_the_checksum_is_taken() {
    let mut lab = Lab::new();
    let good = from(C1, at(C2).ip).bytes();
    let mut bad = good.clone();
    bad[24] ^= 1;
    for (bytes, state, passes) in [
        (&good, ChecksumState::Bad, 0),
        (&good, ChecksumState::Good, 1),
        (&bad, ChecksumState::Good, 1),
    ] {
        let mut frame = lab.pool.frame(bytes, C1).unwrap();
        frame.set_ip_checksum(state);
        lab.path.run(C1, &mut [frame].into_iter().collect(), lab.now_ns);
        lab.path.flush();
        assert_eq!(lab.sent(C2).len(), passes, "{state:?}");
    }
    assert_eq!(lab.drops(C1), [(DropReason::Ipv4Checksum, 1)]);
}

#[test]
fn the_incremental_checksum_is_right_for_every_ttl_and_any_id() {
    let mut lab = Lab::new();
    for ttl in 2..=255u8 {
        for id in [0, 1, 0x00ff, 0xfeff, 0xff00, 0xffff] {
            // `read` checks the header's checksum.
            let packet = Packet { id, ..from(C1, at(C2).ip).ttl(ttl) };
            assert_eq!(read(&lab.passes(C1, packet.bytes(), C2)).ttl, ttl - 1);
        }
    }
    // Every value of the checksum itself, 0x0000 and 0xfffe among them.
    for id in 0..=u16::MAX {
        let packet = Packet { id, ..from(C1, at(C2).ip) };
        assert_eq!(read(&lab.passes(C1, packet.bytes(), C2)).id, id);
    }
}

#[test]
fn ethernet_padding_does_not_travel() {
    let mut lab = Lab::new();
    let packet = from(C1, at(C2).ip).total(40).padding(20);
    let out = lab.passes(C1, packet.bytes(), C2);
    assert_eq!((packet.bytes().len(), out.len()), (74, 54));
    assert_eq!(read(&out).payload, packet.payload);
}

#[test]
fn options_are_a_counted_drop() {
    let mut lab = Lab::new();
    for options in [&[1u8, 1, 1, 0][..], &[148, 4, 0, 0], &[131, 7, 4, 8, 8, 8, 8, 0]] {
        lab.refuses(C1, from(C1, at(C2).ip).options(options).bytes(), DropReason::Ipv4Options);
        // For ourselves neither.
        let ping = from(C1, GATEWAY_IP).options(options).icmp(8, 0, &[]);
        lab.refuses(C1, ping.bytes(), DropReason::LocalUnsupported);
    }
}

#[test]
fn rfc_1812_5_3_7_destinations_that_are_no_single_host_are_dropped() {
    let mut lab = Lab::new();
    for to in [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [239, 255, 255, 250],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [169, 254, 7, 7],
    ] {
        lab.refuses(C1, from(C1, to.into()).bytes(), DropReason::MartianDestination);
        // Not even worth an ICMP error.
        lab.refuses(C1, from(C1, to.into()).ttl(1).bytes(), DropReason::MartianDestination);
    }
}

#[test]
fn rfc_2644_directed_broadcasts_are_dropped() {
    let mut lab = Lab::new();
    for ttl in [64, 1] {
        let packet = from(C1, DIRECTED_BROADCAST).ttl(ttl);
        lab.refuses(C1, packet.bytes(), DropReason::DirectedBroadcast);
    }
}

#[test]
fn fragments_are_forwarded_as_they_are_and_offset_one_is_dropped() {
    let mut lab = Lab::new();
    for word in [MORE_FRAGMENTS, MORE_FRAGMENTS | 2, 185, MORE_FRAGMENTS | 0x4000] {
        let packet = from(C1, at(C2).ip).fragment(word);
        let seen = read(&lab.passes(C1, packet.bytes(), C2));
        assert_eq!((seen.fragment, seen.payload), (word, packet.payload));
    }
    for word in [1, MORE_FRAGMENTS | 1] {
        let packet = from(C1, at(C2).ip).fragment(word);
        lab.refuses(C1, packet.bytes(), DropReason::TinyFragment);
    }
}

#[test]
fn nothing_goes_back_out_by_its_own_port_except_where_guests_share_it() {
    let mut lab = Lab::new();
    lab.refuses(C1, from(C1, ROUTED_TO_C1).bytes(), DropReason::SamePort);
    lab.refuses(C1, from(C1, at(C1).ip).bytes(), DropReason::SamePort);
    lab.refuses(HOST, from(HOST, SERVER_IP).bytes(), DropReason::SamePort);
    // HR-5: container to container over venet0.
    let seen = read(&lab.passes(VENET, from(VENET, s2().ip).bytes(), VENET));
    assert_eq!((seen.destination_mac, seen.source_mac, seen.ttl), (VENET_PEER, GATEWAY_MAC, 63));
    assert_eq!(lab.adapter_count(S1_ADAPTER, AdapterCounter::RxPkts), 1);
    assert_eq!(lab.adapter_count(S2_ADAPTER, AdapterCounter::TxPkts), 1);
}

#[test]
fn an_unknown_neighbor_is_resolved_by_its_own_address() {
    let mut lab = Lab::new();
    let frame = from(C1, GLEAN).padding(6).bytes();
    match lab.punts(C1, &frame) {
        Punt::Resolve { frame: held, port, next_hop } => {
            assert_eq!((port, next_hop), (UP, GLEAN));
            assert_eq!(held.bytes(), frame, "untouched");
            assert_eq!((held.ingress().port, held.ingress().adapter), (C1, adapter_on(C1)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.counts(C1).counter(PortCounter::Consumed), 1);
}

#[test]
fn a_next_hop_without_a_mac_is_resolved_by_its_address() {
    let mut lab = Lab::new();
    for to in [BEHIND_INCOMPLETE, INCOMPLETE] {
        let punt = lab.punts(C1, from(C1, to).bytes());
        let is_right = matches!(punt, Punt::Resolve { port: UP, next_hop: INCOMPLETE, .. });
        assert!(is_right, "{to}: {punt:?}");
    }
}

#[test]
fn an_incomplete_row_without_a_next_hop_means_the_destination() {
    let mut lab = Lab::new();
    let way = Adjacency { kind: AdjacencyKind::Incomplete, ..lab.host.way(UP, MacAddr::ZERO) };
    lab.host.route(Ipv4Addr::new(100, 127, 0, 0), 24, way);
    let to = Ipv4Addr::new(100, 127, 0, 8);
    let punt = lab.punts(C1, from(C1, to).bytes());
    assert!(matches!(punt, Punt::Resolve { next_hop, .. } if next_hop == to), "{punt:?}");
}

#[test]
fn a_held_packet_goes_on_once_its_neighbor_is_known() {
    let mut lab = Lab::new();
    let Punt::Resolve { frame, .. } = lab.punts(C1, from(C1, GLEAN).bytes()) else { panic!() };
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    lab.host.route(GLEAN, 32, lab.host.way(UP, mac));
    lab.path.inject(Inject::Route { frame }, lab.now_ns);
    lab.path.flush();
    let sent = lab.sent_all();
    assert_eq!(sent.len(), 1);
    let seen = read(&sent[0].1);
    assert_eq!((sent[0].0, seen.destination_mac, seen.ttl), (UP, mac, 63));
    assert_eq!((seen.source, seen.destination), (at(C1).ip, GLEAN));
}

#[test]
fn a_held_packet_of_an_unknown_neighbor_ends_in_host_unreachable() {
    let mut lab = Lab::new();
    let Punt::Resolve { frame, .. } = lab.punts(C1, from(C1, GLEAN).bytes()) else { panic!() };
    let lost = Adjacency { kind: AdjacencyKind::Unreachable, ..lab.host.way(UP, MacAddr::ZERO) };
    lab.host.route(GLEAN, 32, lost);
    lab.path.inject(Inject::Route { frame }, lab.now_ns);
    lab.path.flush();
    let sent = lab.sent_all();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].0, &read(&sent[0].1).payload[..2]), (C1, &[3, 1][..]));
}

#[test]
fn a_packet_that_control_could_not_resolve_does_not_come_back_to_it() {
    let mut lab = Lab::new();
    for to in [GLEAN, INCOMPLETE, BEHIND_INCOMPLETE] {
        let Punt::Resolve { frame, .. } = lab.punts(C1, from(C1, to).bytes()) else { panic!() };
        lab.path.inject(Inject::Route { frame }, lab.now_ns);
        lab.path.flush();
        assert!(lab.punts.is_empty() && lab.sent_all().is_empty());
    }
    assert_eq!(lab.drops(C1), [(DropReason::Unresolved, 3)]);
    assert_eq!(lab.path.counters.adapter(adapter_on(C1)).drops(DropReason::Unresolved), 3);
}

#[test]
fn a_held_packet_of_an_adapter_that_left_its_port_goes_nowhere() {
    let mut lab = Lab::new();
    let held = |lab: &mut Lab, port, packet: Packet| match lab.punts(port, packet.bytes()) {
        Punt::Resolve { frame, .. } => frame,
        other => panic!("{other:?}"),
    };
    let frames = [(); 2].map(|()| held(&mut lab, C1, from(C1, GLEAN)));
    let shared = held(&mut lab, VENET, Packet::new(at(VENET), GATEWAY_MAC, GLEAN));
    lab.host.route(GLEAN, 32, lab.host.way(UP, at(UP).mac));
    let [first, second] = frames;
    lab.change(|host| host.routed(C1).adapter = adapter_on(C2));
    lab.path.inject(Inject::Route { frame: first }, lab.now_ns);
    lab.change(|host| host.records.get_mut(&C1).unwrap().attachment = Attachment::Closed);
    lab.path.inject(Inject::Route { frame: second }, lab.now_ns);
    lab.path.flush();
    assert_eq!(lab.sent_all(), []);
    assert_eq!(lab.drops(C1), [(DropReason::PortClosed, 2)]);
    // A shared port has many adapters and no one of its own.
    lab.path.inject(Inject::Route { frame: shared }, lab.now_ns);
    lab.path.flush();
    assert_eq!(lab.sent(UP).len(), 1);
}

#[test]
fn stop_stops_everything_and_held_packets_too() {
    let mut lab = Lab::new();
    let Punt::Resolve { frame, .. } = lab.punts(C1, from(C1, GLEAN).bytes()) else { panic!() };
    lab.host.route(GLEAN, 32, lab.host.way(UP, at(UP).mac));
    lab.path.view.is_forwarding = false;
    lab.refuses(C1, from(C1, at(C2).ip).bytes(), DropReason::Stopped);
    lab.path.inject(Inject::Route { frame }, lab.now_ns);
    lab.path.flush();
    assert_eq!(lab.sent_all(), []);
    assert_eq!(lab.counts(C1).drops(DropReason::Stopped), 2);
    lab.path.view.is_forwarding = true;
    lab.passes(C1, from(C1, at(C2).ip).bytes(), C2);
}

#[test]
fn a_route_change_takes_effect_with_the_next_burst() {
    let mut lab = Lab::new();
    let moved = Station { mac: MacAddr([2, 7, 7, 7, 7, 7]), ..at(C2) };
    lab.passes(C1, from(C1, moved.ip).bytes(), C2);
    lab.host.route(moved.ip, 32, lab.host.way(C3, moved.mac));
    lab.passes(C1, from(C1, moved.ip).bytes(), C3);
}
