//! The guard on host-routed ports: a guest's own port, the shared port, the server's port.

use super::host::*;
use super::lab::Lab;
use super::packet::{MORE_FRAGMENTS, Packet, Station, who_has};
use crate::counters::{AdapterCounter, DropReason};
use crate::frame::Frame;
use crate::ids::{AdapterId, PortId};
use crate::punt::Punt;
use crate::record::Filters;
use crate::wire::arp::Arp;
use crate::wire::ethernet::MacAddr;
use std::net::Ipv4Addr;

const BROADCAST: MacAddr = MacAddr::BROADCAST;
/// Nobody's address and MAC.
const STRANGER: Station =
    Station { mac: MacAddr([2, 6, 6, 6, 6, 6]), ip: Ipv4Addr::new(203, 0, 113, 200) };

fn from(port: PortId, to: Ipv4Addr) -> Packet {
    Packet::new(at(port), GATEWAY_MAC, to)
}

/// An ARP frame whose Ethernet and ARP senders may differ.
fn arp(source: MacAddr, arp: Arp) -> Vec<u8> {
    arp.frame(BROADCAST, source).to_vec()
}

#[track_caller]
fn is_arp(lab: &mut Lab, port: PortId, frame: &[u8]) {
    let Punt::Arp { frame: punted, network } = lab.punts(port, frame) else { panic!() };
    assert_eq!((punted.bytes(), network, punted.ingress().port), (frame, None, port));
}

#[test]
fn vz_1_a_guest_sends_from_its_own_mac_and_addresses_only() {
    let mut lab = Lab::new();
    let packet = from(C1, at(C2).ip);
    lab.refuses(C1, packet.clone().source_mac(at(C3).mac).bytes(), DropReason::SpoofedMac);
    for other in [at(C3).ip, at(C2).ip, at(VENET).ip, STRANGER.ip, FAR, GLEAN, PROHIBITED] {
        lab.refuses(C1, packet.clone().source(other).bytes(), DropReason::SpoofedIp);
    }
    assert_eq!(lab.path.counters.adapter(adapter_on(C1)).drops(DropReason::SpoofedIp), 7);
    // A prefix that is routed to it is its own to use.
    lab.passes(C1, packet.source(ROUTED_TO_C1).bytes(), C2);
}

#[test]
fn hr_14_a_spoofed_source_draws_no_icmp_error_either() {
    let mut lab = Lab::new();
    lab.refuses(C1, from(C1, FAR).source(at(C3).ip).ttl(1).bytes(), DropReason::SpoofedIp);
    lab.refuses(C1, from(C1, PROHIBITED).source(at(C3).ip).bytes(), DropReason::SpoofedIp);
    let ping = from(C1, GATEWAY_IP).source(at(C3).ip).icmp(8, 0, &[]);
    lab.refuses(C1, ping.bytes(), DropReason::SpoofedIp);
}

#[test]
fn martian_sources_are_dropped_on_every_port() {
    let mut lab = Lab::new();
    for source in
        [[0, 0, 0, 0], [0, 9, 9, 9], [127, 0, 0, 1], [224, 0, 0, 5], [240, 0, 0, 1], [255; 4]]
    {
        for (port, mac) in [
            (C1, GATEWAY_MAC),
            (VENET, GATEWAY_MAC),
            (HOST, GATEWAY_MAC),
            (UP, UP_MAC),
            (W2, UP_MAC),
        ] {
            let packet = Packet::new(at(port), mac, at(C2).ip).source(source.into());
            lab.refuses(port, packet.bytes(), DropReason::MartianSource);
        }
    }
}

#[test]
fn rfc_1812_4_3_2_7_the_broadcast_address_of_a_connected_prefix_is_no_source() {
    let mut lab = Lab::new();
    lab.change(|host| host.routed(C1).filters.ip = false);
    for (port, mac) in [(UP, UP_MAC), (UP2, UP2_MAC), (HOST, GATEWAY_MAC), (W2, UP_MAC)] {
        let packet = Packet::new(at(port), mac, at(C2).ip).source(DIRECTED_BROADCAST);
        lab.refuses(port, packet.clone().bytes(), DropReason::MartianSource);
        // Nor is an error sent to it.
        lab.refuses(port, packet.ttl(1).bytes(), DropReason::MartianSource);
    }
    let packet = from(C1, at(C2).ip).source(DIRECTED_BROADCAST);
    lab.refuses(C1, packet.bytes(), DropReason::MartianSource);
}

#[test]
fn our_own_addresses_are_no_guests_source() {
    let mut lab = Lab::new();
    for own in [GATEWAY_IP, SERVER_IP] {
        lab.refuses(C1, from(C1, at(C2).ip).source(own).bytes(), DropReason::SpoofedIp);
        let s1 = Packet::new(at(VENET), GATEWAY_MAC, at(C2).ip).source(own);
        lab.refuses(VENET, s1.bytes(), DropReason::SpoofedIp);
        let member = |port| Packet::new(at(port), UP_MAC, at(C2).ip).source(own);
        lab.refuses(W2, member(W2).bytes(), DropReason::SpoofedIp);
        lab.refuses(WF, member(WF).bytes(), DropReason::MartianSource);
    }
    // Not even with the filter off.
    lab.change(|host| host.routed(C1).filters.ip = false);
    for own in [GATEWAY_IP, SERVER_IP] {
        lab.refuses(C1, from(C1, at(C2).ip).source(own).bytes(), DropReason::MartianSource);
    }
}

#[test]
fn vz_6_each_filter_of_a_routed_adapter_can_be_switched_off() {
    let mut lab = Lab::new();
    let packet = from(C1, at(C2).ip);
    lab.change(|host| host.routed(C1).filters = Filters { mac: false, ..Filters::ALL });
    lab.passes(C1, packet.clone().source_mac(STRANGER.mac).bytes(), C2);
    let odd = Arp::request(STRANGER.mac, at(C1).ip, GATEWAY_IP);
    is_arp(&mut lab, C1, &arp(at(C1).mac, odd));
    lab.refuses(C1, packet.clone().source(STRANGER.ip).bytes(), DropReason::SpoofedIp);

    lab.change(|host| host.routed(C1).filters = Filters { ip: false, ..Filters::ALL });
    lab.passes(C1, packet.clone().source(STRANGER.ip).bytes(), C2);
    is_arp(&mut lab, C1, &who_has(Station { mac: at(C1).mac, ..STRANGER }, GATEWAY_IP));
    lab.refuses(C1, packet.clone().source_mac(STRANGER.mac).bytes(), DropReason::SpoofedMac);

    lab.change(|host| host.routed(C1).filters = Filters { dhcp: false, ..Filters::ALL });
    lab.passes(C1, packet.udp(67, 68, &[2; 240]).bytes(), C2);
}

#[test]
fn hr_14_arp_is_punted_only_with_the_senders_own_pair() {
    let mut lab = Lab::new();
    let me = at(C1);
    is_arp(&mut lab, C1, &who_has(me, GATEWAY_IP));
    is_arp(&mut lab, C1, &arp(me.mac, Arp::announcement(me.mac, me.ip)));
    is_arp(&mut lab, C1, &arp(me.mac, Arp::announcement(me.mac, ROUTED_TO_C1)));
    // A probe claims nothing.
    is_arp(&mut lab, C1, &arp(me.mac, Arp::probe(me.mac, at(C2).ip)));
    let reply = Arp::request(GATEWAY_MAC, GATEWAY_IP, me.ip).answer(me.mac);
    is_arp(&mut lab, C1, reply.frame(GATEWAY_MAC, me.mac).as_ref());

    let forged = [
        (me.mac, Arp::request(at(C2).mac, me.ip, GATEWAY_IP)),
        (me.mac, Arp::request(me.mac, at(C2).ip, GATEWAY_IP)),
        (me.mac, Arp::announcement(me.mac, GATEWAY_IP)),
        (me.mac, Arp::announcement(me.mac, SERVER_IP)),
        (me.mac, Arp::announcement(me.mac, GLEAN)),
        (me.mac, Arp::probe(at(C2).mac, at(C3).ip)),
        (me.mac, Arp { operation: 2, ..Arp::probe(me.mac, at(C3).ip) }),
    ];
    for (source, forged) in forged {
        lab.refuses(C1, arp(source, forged), DropReason::SpoofedArp);
    }
    let other = arp(at(C2).mac, Arp::request(me.mac, me.ip, GATEWAY_IP));
    lab.refuses(C1, other, DropReason::SpoofedMac);
}

#[test]
fn malformed_arp_and_arp_for_others_never_reaches_control() {
    let mut lab = Lab::new();
    let good = who_has(at(C1), GATEWAY_IP);
    lab.refuses(C1, &good[..41], DropReason::ArpMalformed);
    for byte in [15, 16, 18, 19, 21] {
        let mut bad = good.clone();
        bad[byte] ^= 0x40;
        lab.refuses(C1, bad, DropReason::ArpMalformed);
    }
    let arp = Arp::request(at(C1).mac, at(C1).ip, at(C2).ip);
    lab.refuses(C1, arp.frame(at(C2).mac, at(C1).mac), DropReason::NotForUs);
    let group = MacAddr([1, 0, 0, 0, 0, 1]);
    lab.refuses(C1, arp.frame(group, at(C1).mac), DropReason::RoutedBroadcast);
}

#[test]
fn a_guest_is_no_dhcp_server() {
    let mut lab = Lab::new();
    let packet = from(C1, at(C2).ip);
    for reply in [(67, 68, 2), (67, 68, 1), (4000, 68, 2)] {
        let (source, destination, op) = reply;
        let frame = packet.clone().udp(source, destination, &[op; 240]).bytes();
        lab.refuses(C1, frame, DropReason::DhcpServer);
    }
    // A first fragment that hides what it answers.
    let short = packet.clone().udp(4000, 68, &[]).fragment(MORE_FRAGMENTS);
    let hidden = Packet { payload: short.payload[..4].to_vec(), ..short };
    lab.refuses(C1, hidden.bytes(), DropReason::DhcpServer);
    let s1 = Packet::new(at(VENET), GATEWAY_MAC, at(C2).ip).udp(67, 68, &[2; 240]);
    lab.refuses(VENET, s1.bytes(), DropReason::DhcpServer);
    assert_eq!(lab.path.counters.adapter(S1_ADAPTER).drops(DropReason::DhcpServer), 1);
    lab.passes(C1, packet.clone().udp(68, 67, &[1; 240]).bytes(), C2);
    lab.passes(C1, packet.udp(5353, 68, &[1; 240]).bytes(), C2);
}

#[test]
fn hr_5_on_the_shared_port_the_source_says_which_adapter() {
    let mut lab = Lab::new();
    for (station, adapter) in [(at(VENET), S1_ADAPTER), (s2(), S2_ADAPTER)] {
        let frame = Packet::new(station, GATEWAY_MAC, at(C2).ip).bytes();
        lab.passes(VENET, &frame, C2);
        assert_eq!(lab.adapter_count(adapter, AdapterCounter::RxPkts), 1);
        assert_eq!(lab.adapter_count(adapter, AdapterCounter::RxBytes), frame.len() as u64);
    }
    let frame = Packet::new(at(C2), GATEWAY_MAC, s2().ip).bytes();
    lab.passes(C2, frame, VENET);
    assert_eq!(lab.adapter_count(S2_ADAPTER, AdapterCounter::TxPkts), 1);
    assert_eq!(lab.adapter_count(S1_ADAPTER, AdapterCounter::TxPkts), 0);
}

#[test]
fn hr_14_on_the_shared_port_only_its_own_addresses_and_the_kernels_mac() {
    let mut lab = Lab::new();
    let packet = Packet::new(at(VENET), GATEWAY_MAC, at(C2).ip);
    for other in [at(C1).ip, at(C2).ip, SERVER_IP, FAR, GLEAN, STRANGER.ip, PROHIBITED] {
        lab.refuses(VENET, packet.clone().source(other).bytes(), DropReason::SpoofedIp);
    }
    lab.refuses(VENET, packet.source_mac(at(C1).mac).bytes(), DropReason::SpoofedMac);
    // The other way round: the container's address from a guest's own port.
    let stolen = from(C1, at(C2).ip).source(at(VENET).ip);
    lab.refuses(C1, stolen.bytes(), DropReason::SpoofedIp);
}

#[test]
fn arp_on_the_shared_port_is_the_kernels() {
    let mut lab = Lab::new();
    let kernel = Station { mac: VENET_PEER, ip: Ipv4Addr::new(169, 254, 1, 2) };
    is_arp(&mut lab, VENET, &who_has(kernel, GATEWAY_IP));
    is_arp(&mut lab, VENET, &who_has(s2(), GATEWAY_IP));
    is_arp(&mut lab, VENET, &arp(VENET_PEER, Arp::probe(VENET_PEER, FAR)));
    for claimed in [at(C1).ip, SERVER_IP, GLEAN] {
        let forged = Arp::announcement(VENET_PEER, claimed);
        lab.refuses(VENET, arp(VENET_PEER, forged), DropReason::SpoofedArp);
    }
    let forged = Arp::announcement(at(C1).mac, s2().ip);
    lab.refuses(VENET, arp(VENET_PEER, forged), DropReason::SpoofedArp);
}

#[test]
fn the_server_may_use_any_address_but_a_guests() {
    let mut lab = Lab::new();
    for own in [SERVER_IP, Ipv4Addr::new(10, 9, 9, 9), STRANGER.ip] {
        lab.passes(HOST, from(HOST, at(C1).ip).source(own).bytes(), C1);
    }
    for guests in [at(C1).ip, at(C2).ip, at(VENET).ip, ROUTED_TO_C1] {
        let frame = from(HOST, at(C1).ip).source(guests).bytes();
        lab.refuses(HOST, frame, DropReason::SpoofedIp);
    }
    lab.refuses(HOST, from(HOST, FAR).source_mac(STRANGER.mac).bytes(), DropReason::SpoofedMac);
    is_arp(&mut lab, HOST, &who_has(at(HOST), GATEWAY_IP));
    let forged = Arp::announcement(STRANGER.mac, SERVER_IP);
    lab.refuses(HOST, arp(HOST_PEER, forged), DropReason::SpoofedArp);
}

#[test]
fn a_guests_arp_flood_is_held_to_its_own_rate() {
    let mut lab = Lab::with(2048, 2048, crate::pipeline::Rates::default());
    lab.receive_all(C1, &vec![who_has(at(C1), GATEWAY_IP); 1000]);
    assert_eq!(lab.punts.len(), 200);
    assert_eq!(lab.drops(C1), [(DropReason::PuntRate, 800)]);
    lab.receive_all(C2, &vec![who_has(at(C2), GATEWAY_IP); 100]);
    assert_eq!(lab.punts.len(), 300);
    assert_eq!(lab.drops(C2), []);
    lab.now_ns += 10_000_000;
    lab.receive_all(C1, &vec![who_has(at(C1), GATEWAY_IP); 100]);
    assert_eq!(lab.punts.len(), 310);
}

#[test]
fn one_container_on_the_shared_port_does_not_use_up_anothers_punts() {
    let mut lab = Lab::with(2048, 2048, crate::pipeline::Rates::default());
    let scan = Packet::new(at(VENET), GATEWAY_MAC, GLEAN).bytes();
    lab.receive_all(VENET, &vec![scan; 1000]);
    assert_eq!(lab.punts.len(), 200);
    let other = Packet::new(s2(), GATEWAY_MAC, GLEAN).bytes();
    lab.receive_all(VENET, &vec![other; 100]);
    assert_eq!(lab.punts.len(), 300);
    lab.receive_all(VENET, &vec![who_has(at(VENET), GATEWAY_IP); 100]);
    assert_eq!(lab.punts.len(), 400);
    assert_eq!(lab.drops(VENET), [(DropReason::PuntRate, 800)]);
    assert_eq!(lab.path.counters.adapter(S1_ADAPTER).drops(DropReason::PuntRate), 800);
}

#[test]
fn a_full_queue_to_control_is_a_counted_drop() {
    let mut lab = Lab::with(1024, 4, crate::pipeline::Rates::default());
    lab.receive_all(C1, &vec![who_has(at(C1), GATEWAY_IP); 5]);
    lab.receive_all(C1, &vec![from(C1, GLEAN).bytes(); 5]);
    assert_eq!(lab.punts.len(), 4);
    assert_eq!(lab.drops(C1), [(DropReason::PuntFull, 6)]);
    assert_eq!(lab.path.counters.adapter(adapter_on(C1)).drops(DropReason::PuntFull), 6);
    assert_eq!(lab.path.counters.adapter(AdapterId(0)).drops_total(), 0);
}
