//! What the appliance says itself: ICMP errors (RFC 1812 4.3) and echo replies.

use super::host::*;
use super::lab::Lab;
use super::packet::{DONT_FRAGMENT, MORE_FRAGMENTS, Packet, Seen, icmp, read};
use crate::counters::{AdapterCounter, DropReason, PortCounter};
use crate::ids::PortId;
use crate::pipeline::Rates;
use crate::record::Attachment;
use crate::table::{Adjacency, AdjacencyKind};
use crate::wire::checksum;
use crate::wire::ethernet::MacAddr;
use crate::wire::ipv4::PROTOCOL_ICMP;

fn from(port: PortId, to: std::net::Ipv4Addr) -> Packet {
    Packet::new(at(port), GATEWAY_MAC, to)
}

/// Sends a packet and expects one ICMP error back by the same port, about exactly this packet.
#[track_caller]
fn error_about(lab: &mut Lab, port: PortId, packet: &Packet, reason: DropReason) -> Seen {
    let before = lab.counts(port);
    let out = lab.passes(port, packet.bytes(), port);
    let mut counts = lab.counts(port);
    counts.subtract(&before);
    assert_eq!((counts.drops(reason), counts.drops_total()), (1, 1), "{:?}", lab.drops(port));
    assert_eq!(counts.counter(PortCounter::Generated), 1);
    let seen = read(&out);
    assert_eq!((seen.protocol, checksum::internet(&seen.payload)), (PROTOCOL_ICMP, 0));
    // The uplink's address is the server's own; its kernel would take an error from it for forged.
    let source = if [HOST, MS].contains(&port) { GATEWAY_IP } else { SERVER_IP };
    assert_eq!((seen.source, seen.destination), (source, packet.source));
    assert_eq!(
        (seen.destination_mac, seen.source_mac),
        (packet.source_mac, packet.destination_mac)
    );
    let original = packet.packet();
    assert!(seen.payload.len() <= 576 - 20);
    assert_eq!(seen.payload[8..], original[..original.len().min(576 - 28)]);
    seen
}

#[test]
fn ttl_0_and_1_are_time_exceeded_and_2_passes() {
    let mut lab = Lab::new();
    for ttl in [0, 1] {
        let packet = from(C1, at(C2).ip).ttl(ttl);
        let seen = error_about(&mut lab, C1, &packet, DropReason::TtlExceeded);
        assert_eq!(seen.payload[..2], [11, 0]);
        let packet = Packet::new(at(UP), UP_MAC, at(C1).ip).ttl(ttl);
        error_about(&mut lab, UP, &packet, DropReason::TtlExceeded);
        error_about(&mut lab, HOST, &from(HOST, FAR).ttl(ttl), DropReason::TtlExceeded);
        // Unresolved next hops are behind us as well.
        error_about(&mut lab, C1, &from(C1, GLEAN).ttl(ttl), DropReason::TtlExceeded);
    }
    assert_eq!(read(&lab.passes(C1, from(C1, at(C2).ip).ttl(2).bytes(), C2)).ttl, 1);
}

#[test]
fn no_route_is_net_unreachable_and_a_dead_neighbor_host_unreachable() {
    let mut lab = Lab::new();
    let seen = error_about(&mut lab, C1, &from(C1, PROHIBITED), DropReason::NoRoute);
    assert_eq!(seen.payload[..2], [3, 0]);
    let seen = error_about(&mut lab, C1, &from(C1, UNREACHABLE), DropReason::HostUnreachable);
    assert_eq!(seen.payload[..2], [3, 1]);
    lab.host.fib.remove(0, 0);
    let seen = error_about(&mut lab, C1, &from(C1, FAR), DropReason::NoRoute);
    assert_eq!(seen.payload[..2], [3, 0]);
}

#[test]
fn too_big_with_df_is_fragmentation_needed_with_the_mtu() {
    let mut lab = Lab::new();
    let packet = from(C1, at(N1).ip).fragment(DONT_FRAGMENT).total(577);
    let seen = error_about(&mut lab, C1, &packet, DropReason::TooBig);
    assert_eq!(seen.payload[..2], [3, 4]);
    assert_eq!(seen.payload[6..8], 576u16.to_be_bytes());
    lab.passes(C1, from(C1, at(N1).ip).fragment(DONT_FRAGMENT).total(576).bytes(), N1);
}

#[test]
fn hr_4_errors_to_the_server_come_from_an_address_that_is_not_its_own() {
    let mut lab = Lab::new();
    let packet = from(HOST, at(N1).ip).fragment(DONT_FRAGMENT).total(577);
    let seen = error_about(&mut lab, HOST, &packet, DropReason::TooBig);
    assert_eq!((seen.source, &seen.payload[..2]), (GATEWAY_IP, &[3, 4][..]));
    lab.change(|host| {
        let record = host.records.get_mut(&MS).unwrap();
        let (peer_mac, adapter) = (at(MS).mac, adapter_on(MS));
        record.attachment = Attachment::NetworkServer { network: WAN, peer_mac, adapter };
    });
    let packet = Packet::new(at(MS), UP_MAC, at(C1).ip).ttl(1);
    error_about(&mut lab, MS, &packet, DropReason::TtlExceeded);
}

#[test]
fn errors_to_a_container_on_the_shared_port_count_at_its_adapter() {
    let mut lab = Lab::new();
    let packet = Packet::new(s2(), GATEWAY_MAC, FAR).ttl(1);
    error_about(&mut lab, VENET, &packet, DropReason::TtlExceeded);
    assert_eq!(lab.adapter_count(S2_ADAPTER, AdapterCounter::TxPkts), 1);
    let drops = lab.path.counters.adapter(S2_ADAPTER).drops(DropReason::TtlExceeded);
    assert_eq!(drops, 1);
}

#[test]
fn errors_to_a_member_of_the_uplinks_network_carry_the_uplinks_mac() {
    let mut lab = Lab::new();
    let packet = Packet::new(at(W1), UP_MAC, at(C1).ip).ttl(1);
    let seen = error_about(&mut lab, W1, &packet, DropReason::TtlExceeded);
    assert_eq!((seen.destination_mac, seen.source_mac), (at(W1).mac, UP_MAC));
}

#[test]
fn rfc_1812_4_3_2_7_nothing_is_said_about_errors_and_later_fragments() {
    let mut lab = Lab::new();
    let expired = || from(C1, at(C2).ip).ttl(1);
    for kind in [3, 4, 5, 11, 12] {
        lab.refuses(C1, expired().icmp(kind, 0, &[0; 28]).bytes(), DropReason::TtlExceeded);
    }
    for word in [2, MORE_FRAGMENTS | 2, 0x1ff0] {
        lab.refuses(C1, expired().fragment(word).bytes(), DropReason::TtlExceeded);
    }
    // An ICMP packet that hides its type.
    let hidden = Packet { payload: Vec::new(), ..expired().icmp(8, 0, &[]) };
    lab.refuses(C1, hidden.bytes(), DropReason::TtlExceeded);
    // But about a ping and a first fragment.
    error_about(&mut lab, C1, &expired().icmp(8, 0, &[1, 2]), DropReason::TtlExceeded);
    error_about(&mut lab, C1, &expired().fragment(MORE_FRAGMENTS), DropReason::TtlExceeded);
}

#[test]
fn one_guest_gets_no_more_errors_than_its_rate_and_another_gets_its_own() {
    let mut lab = Lab::with(1024, 1024, Rates::default());
    let burst = |port| vec![from(port, FAR).ttl(1).bytes(); 300];
    lab.receive_all(C1, &burst(C1));
    assert_eq!(lab.sent(C1).len(), 50);
    lab.receive_all(C2, &burst(C2));
    assert_eq!(lab.sent(C2).len(), 50);
    // Containers on one port have one bucket each.
    for (station, port) in [(at(VENET), VENET), (s2(), VENET)] {
        let frame = Packet::new(station, GATEWAY_MAC, FAR).ttl(1).bytes();
        lab.receive_all(port, &vec![frame; 300]);
        assert_eq!(lab.sent(port).len(), 50);
    }
    // In all 200 at once; then 100 a second each.
    lab.receive_all(C3, &burst(C3));
    assert_eq!(lab.sent(C3).len(), 0);
    lab.now_ns += 100_000_000;
    lab.receive_all(C1, &burst(C1));
    assert_eq!(lab.sent(C1).len(), 10);
    assert_eq!(lab.counts(C1).drops(DropReason::TtlExceeded), 600);
}

#[test]
fn with_an_empty_pool_the_drop_is_counted_and_no_error_made() {
    let mut lab = Lab::with(1, 8, Rates::default());
    lab.refuses(C1, from(C1, FAR).ttl(1).bytes(), DropReason::TtlExceeded);
    assert_eq!(lab.counts(C1).counter(PortCounter::Generated), 0);
}

#[test]
fn an_echo_request_to_the_gateway_is_answered_and_nothing_else() {
    let mut lab = Lab::new();
    for (port, own_mac) in
        [(C1, GATEWAY_MAC), (VENET, GATEWAY_MAC), (HOST, GATEWAY_MAC), (UP, UP_MAC), (W1, UP_MAC)]
    {
        for data in [&[][..], &[7; 33], &[1; 1400]] {
            let ping = Packet::new(at(port), own_mac, GATEWAY_IP).icmp(8, 0, data).ttl(1);
            let seen = read(&lab.passes(port, ping.bytes(), port));
            assert_eq!((seen.destination_mac, seen.source_mac), (at(port).mac, own_mac));
            assert_eq!((seen.source, seen.destination), (GATEWAY_IP, at(port).ip));
            assert_eq!((seen.ttl, seen.payload), (64, icmp(0, 0, data)));
        }
    }
    let to_us = || from(C1, GATEWAY_IP);
    for other in [
        to_us(),
        to_us().udp(68, 67, &[1]),
        Packet { protocol: 6, ..to_us() },
        to_us().icmp(0, 0, &[]),
        to_us().icmp(8, 1, &[]),
        to_us().icmp(13, 0, &[0; 12]),
        to_us().icmp(8, 0, &[]).fragment(MORE_FRAGMENTS),
        to_us().icmp(8, 0, &[]).fragment(8),
        Packet { payload: vec![8, 0, 0, 0], ..to_us().icmp(8, 0, &[]) },
    ] {
        lab.refuses(C1, other.bytes(), DropReason::LocalUnsupported);
    }
}

#[test]
fn without_a_host_port_the_uplinks_address_answers_echo() {
    let mut lab = Lab::new();
    let local = Adjacency { kind: AdjacencyKind::Local, ..lab.host.way(UP, MacAddr::ZERO) };
    lab.host.route(SERVER_IP, 32, local);
    for (port, own_mac) in [(UP, UP_MAC), (C1, GATEWAY_MAC)] {
        let ping = Packet::new(at(port), own_mac, SERVER_IP).icmp(8, 0, &[1, 2, 3]);
        let seen = read(&lab.passes(port, ping.bytes(), port));
        assert_eq!((seen.source, seen.payload), (SERVER_IP, icmp(0, 0, &[1, 2, 3])));
        assert_eq!(seen.source_mac, own_mac);
    }
}
