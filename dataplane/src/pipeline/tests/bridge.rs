//! Delivery inside a virtual network (IEEE 802.1Q 8.6).

use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, filler, frame, tagged, who_has};
use crate::counters::{AdapterCounter, DropReason, PortCounter};
use crate::ids::PortId;
use crate::pipeline::{Rate, Rates};
use crate::record::UnknownUnicast;
use crate::wire::ethernet::{ETHERTYPE_QINQ, ETHERTYPE_VLAN, MacAddr};

const NOBODY: MacAddr = MacAddr([2, 0xbb, 0, 0, 0, 1]);
const MULTICAST: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 0xfb]);
/// An EtherType that nothing here knows.
const ODD: u16 = 0x88b5;

fn odd(from: PortId, to: MacAddr) -> Vec<u8> {
    frame(to, at(from).mac, ODD, &filler(100))
}

/// Sends a frame in and expects it, unmodified, at exactly these ports.
#[track_caller]
fn reaches(lab: &mut Lab, port: PortId, frame: &[u8], out: &[PortId]) {
    lab.receive(port, frame);
    let sent = lab.sent_all();
    let ports: Vec<_> = sent.iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, out, "{:?}", lab.drops(port));
    assert!(sent.iter().all(|(_, bytes)| bytes == frame), "unmodified");
}

#[test]
fn vn_10_known_unicast_reaches_exactly_its_member_unmodified() {
    let mut lab = Lab::new();
    for (from, to) in [(M1, M2), (M2, M1), (M2, M3), (MS, M1), (M3, MS), (W2, WF), (V1, V2)] {
        for bytes in [0, 1, 46, 1500] {
            let frame = frame(at(to).mac, at(from).mac, ODD, &filler(bytes));
            reaches(&mut lab, from, &frame, &[to]);
        }
    }
    assert_eq!(lab.adapter_count(adapter_on(M1), AdapterCounter::RxPkts), 4);
    assert_eq!(lab.adapter_count(adapter_on(M1), AdapterCounter::TxPkts), 8);
    assert_eq!(lab.adapter_count(adapter_on(MS), AdapterCounter::TxPkts), 4);
}

#[test]
fn vn_5_any_protocol_passes_between_members() {
    let mut lab = Lab::new();
    for ether_type in [0x0000, 0x0026, 0x05ff, 0x0842, 0x6003, 0x86dd, 0x8847, 0x88cc, 0xffff] {
        let frame = frame(at(M3).mac, at(M2).mac, ether_type, &filler(50));
        reaches(&mut lab, M2, &frame, &[M3]);
    }
    // Its own VLANs too, as long as they stay inside.
    for tpid in [ETHERTYPE_VLAN, ETHERTYPE_QINQ] {
        let frame = tagged(&odd(M2, at(M3).mac), tpid, 77);
        reaches(&mut lab, M2, &frame, &[M3]);
    }
}

#[test]
fn vn_10_a_burst_keeps_its_order_at_each_member() {
    let mut lab = Lab::new();
    let to = [at(M2).mac, MacAddr::BROADCAST, at(M3).mac];
    let frames: Vec<_> = (0..64u8)
        .map(|number| frame(to[usize::from(number) % 3], at(M1).mac, ODD, &[number; 50]))
        .collect();
    lab.receive_all(M1, &frames);
    for (place, port) in [(0, M2), (2, M3)] {
        let numbers: Vec<_> = lab.sent(port).iter().map(|frame| frame[20]).collect();
        assert!(numbers.is_sorted());
        let expected = (0..64).filter(|number| [place, 1].contains(&(number % 3)));
        assert_eq!(numbers, expected.collect::<Vec<u8>>());
    }
}

#[test]
fn vn_5_broadcast_and_multicast_reach_all_members_but_the_sender() {
    let mut lab = Lab::new();
    for to in [MacAddr::BROADCAST, MULTICAST, MacAddr([1, 0, 0x5e, 0, 0, 0xfb])] {
        reaches(&mut lab, M1, &odd(M1, to), &[M2, M3, MS]);
        reaches(&mut lab, MS, &odd(MS, to), &[M1, M2, M3]);
        reaches(&mut lab, W1, &odd(W1, to), &[UP, W2, WF]);
        reaches(&mut lab, UP, &odd(UP, to), &[W1, W2, WF]);
    }
    let counts = lab.counts(M1);
    assert_eq!(counts.counter(PortCounter::Copies), 6);
    assert_eq!(counts.counter(PortCounter::Forwarded), 9);
}

#[test]
fn vn_11_vn_14_networks_never_meet() {
    let mut lab = Lab::new();
    // The MAC of another network's member is nobody's here.
    lab.refuses(M1, odd(M1, at(W1).mac), DropReason::UnknownUnicast);
    lab.refuses(M1, odd(M1, UP_MAC), DropReason::UnknownUnicast);
    lab.refuses(UP, odd(UP, at(M1).mac), DropReason::NotMember);
    lab.refuses(UP, odd(UP, at(V1).mac), DropReason::NotMember);
    let on_vlan = tagged(&odd(UP, at(W1).mac), ETHERTYPE_VLAN, VID);
    lab.refuses(UP, on_vlan, DropReason::NotMember);
    let to_w1 = lab.passes(V1, odd(V1, at(W1).mac), UP);
    assert_eq!(to_w1, tagged(&odd(V1, at(W1).mac), ETHERTYPE_VLAN, VID));
}

#[test]
fn unknown_unicast_goes_by_the_networks_policy() {
    let mut lab = Lab::new();
    reaches(&mut lab, W1, &odd(W1, NOBODY), &[UP]);
    lab.refuses(UP, odd(UP, NOBODY), DropReason::NotMember);
    lab.refuses(M1, odd(M1, NOBODY), DropReason::UnknownUnicast);

    for network in [LAN, WAN] {
        lab.change(|host| host.network(network).unknown_unicast = UnknownUnicast::Flood);
    }
    // Not to a guest that is held to its registered MAC, unless it is promiscuous (VZ-6).
    reaches(&mut lab, W1, &odd(W1, NOBODY), &[UP, WF]);
    reaches(&mut lab, UP, &odd(UP, NOBODY), &[WF]);
    reaches(&mut lab, M1, &odd(M1, NOBODY), &[MS]);
    lab.refuses(MS, odd(MS, NOBODY), DropReason::NoReceiver);
    reaches(&mut lab, M1, &odd(M1, at(M3).mac), &[M3]);
    reaches(&mut lab, M1, &odd(M1, MULTICAST), &[M2, M3, MS]);
    lab.change(|host| {
        host.bridged(M2).filters.mac = false;
        host.make_promiscuous(LAN, M3);
    });
    reaches(&mut lab, M1, &odd(M1, NOBODY), &[M2, M3, MS]);

    for network in [LAN, WAN] {
        lab.change(|host| host.network(network).unknown_unicast = UnknownUnicast::Drop);
    }
    lab.refuses(W1, odd(W1, NOBODY), DropReason::UnknownUnicast);
    lab.refuses(UP, odd(UP, NOBODY), DropReason::NotMember);
    lab.refuses(M1, odd(M1, NOBODY), DropReason::UnknownUnicast);
    reaches(&mut lab, W1, &odd(W1, at(W2).mac), &[W2]);
}

#[test]
fn vz_6_a_promiscuous_member_sees_all_unicast_once_and_others_none() {
    let mut lab = Lab::new();
    lab.change(|host| host.make_promiscuous(WAN, W2));
    reaches(&mut lab, W1, &odd(W1, at(WF).mac), &[W2, WF]);
    reaches(&mut lab, UP, &odd(UP, at(W1).mac), &[W1, W2]);
    reaches(&mut lab, W1, &odd(W1, NOBODY), &[UP, W2]);
    // Not its own, not twice, not another network's.
    reaches(&mut lab, W2, &odd(W2, at(W1).mac), &[W1]);
    reaches(&mut lab, W1, &odd(W1, at(W2).mac), &[W2]);
    reaches(&mut lab, W1, &odd(W1, MacAddr::BROADCAST), &[UP, W2, WF]);
    reaches(&mut lab, V1, &odd(V1, at(V2).mac), &[V2]);
    // It may bridge for MACs that nobody has seen yet.
    reaches(&mut lab, UP, &odd(UP, NOBODY), &[W2]);
    lab.change(|host| host.make_promiscuous(LAN, M3));
    reaches(&mut lab, M1, &odd(M1, NOBODY), &[M3]);
    lab.refuses(M3, odd(M3, NOBODY), DropReason::NoReceiver);
}

#[test]
fn vn_8_a_frame_larger_than_a_members_mtu_is_dropped_for_that_member() {
    let mut lab = Lab::new();
    lab.change(|host| {
        let network = host.network(LAN);
        network.members.iter_mut().filter(|m| m.port == M2).for_each(|m| m.mtu = 1000);
        let way = crate::table::Adjacency { mtu: 1000, ..bridge_way(&guest(M2)) };
        host.add_mac(LAN, at(M2).mac, way, true);
    });
    let sized = |to, bytes| frame(to, at(M1).mac, ODD, &filler(bytes));
    reaches(&mut lab, M1, &sized(at(M2).mac, 1000), &[M2]);
    lab.refuses(M1, sized(at(M2).mac, 1001), DropReason::TooBig);
    reaches(&mut lab, M1, &sized(MacAddr::BROADCAST, 1001), &[M3, MS]);
    reaches(&mut lab, M1, &sized(MacAddr::BROADCAST, 1500), &[M3, MS]);
    lab.refuses(M1, sized(MacAddr::BROADCAST, 1501), DropReason::TooBig);
    // A tag is no part of the packet.
    let tagged = tagged(&sized(at(M2).mac, 1000), ETHERTYPE_VLAN, 5);
    reaches(&mut lab, M1, &tagged, &[M2]);
}

#[test]
fn a_frame_for_its_own_side_is_dropped() {
    let mut lab = Lab::new();
    lab.refuses(M1, odd(M1, at(M1).mac), DropReason::BridgeSamePort);
    lab.change(|host| {
        let wire = host.networks[&WAN].uplink.unwrap();
        host.add_mac(WAN, NOBODY, bridge_way(&wire), false);
    });
    lab.refuses(UP, odd(UP, NOBODY), DropReason::BridgeSamePort);
    reaches(&mut lab, W1, &odd(W1, NOBODY), &[UP]);
}

#[test]
fn a_network_that_is_gone_or_empty_is_a_counted_drop() {
    let mut lab = Lab::new();
    lab.change(|host| host.network(VLAN).members = Box::default());
    lab.refuses(V1, odd(V1, MacAddr::BROADCAST), DropReason::NoReceiver);
    for network in [LAN, WAN, VLAN] {
        lab.path.view.set_network(network, None);
    }
    for port in [M1, MS, W1, V1, UP] {
        lab.refuses(port, odd(port, MacAddr::BROADCAST), DropReason::NetworkUnknown);
    }
    let on_vlan = tagged(&odd(UP, at(V1).mac), ETHERTYPE_VLAN, VID);
    lab.refuses(UP, on_vlan, DropReason::NetworkUnknown);
}

#[test]
fn vn_6_a_member_that_moves_takes_its_traffic_with_it() {
    let mut lab = Lab::new();
    lab.change(|host| {
        host.macs.remove(LAN, at(M3).mac);
        let network = host.network(LAN);
        network.members = network.members.iter().copied().filter(|m| m.port != M3).collect();
        host.bridged(M3).network = VLAN;
        let network = host.network(VLAN);
        network.members = network.members.iter().copied().chain([guest(M3)]).collect();
        host.add_mac(VLAN, at(M3).mac, bridge_way(&guest(M3)), true);
    });
    lab.refuses(M1, odd(M1, at(M3).mac), DropReason::UnknownUnicast);
    reaches(&mut lab, M1, &odd(M1, MacAddr::BROADCAST), &[M2, MS]);
    reaches(&mut lab, V1, &odd(V1, at(M3).mac), &[M3]);
    lab.refuses(M3, odd(M3, at(M3).mac), DropReason::BridgeSamePort);
    reaches(&mut lab, M3, &odd(M3, at(V2).mac), &[V2]);
}

#[test]
fn copies_that_the_pool_cannot_give_are_counted_losses() {
    let mut lab = Lab::with(2, 64, Rates::default());
    lab.receive(M1, odd(M1, MacAddr::BROADCAST));
    // One buffer was free: one copy and the frame itself were sent.
    assert_eq!(lab.sent_all().len(), 2);
    assert_eq!(lab.drops(M1), [(DropReason::NoMemory, 1)]);
    assert_eq!(lab.path.counters.adapter(adapter_on(M1)).drops(DropReason::NoMemory), 1);
}

#[test]
fn a_members_broadcast_storm_is_held_to_its_rate_and_hinders_no_other() {
    let flood = Rate { per_s: 1_000, burst: 20 };
    let rates = Rates { flood, flood_wire: Rate { burst: 50, ..flood }, ..Rates::default() };
    let mut lab = Lab::with(1024, 1024, rates);
    let storm = |port, to| vec![odd(port, to); 100];
    lab.receive_all(M1, &storm(M1, MacAddr::BROADCAST));
    assert_eq!((lab.sent(M2).len(), lab.sent(MS).len()), (20, 20));
    assert_eq!(lab.drops(M1), [(DropReason::FloodRate, 80)]);
    assert_eq!(lab.path.counters.adapter(adapter_on(M1)).drops(DropReason::FloodRate), 80);
    assert_eq!(lab.counts(M1).counter(PortCounter::Copies), 20 * 2);
    // Nor does it cost the sender what goes to one member, or another member its own.
    lab.sent_all();
    reaches(&mut lab, M1, &odd(M1, at(M2).mac), &[M2]);
    reaches(&mut lab, M2, &odd(M2, MacAddr::BROADCAST), &[M1, M3, MS]);
    lab.now_ns += 5_000_000;
    lab.receive_all(M1, &storm(M1, MacAddr::BROADCAST));
    assert_eq!(lab.sent(M2).len(), 5);
    // Unknown unicast that goes to all is the same load; the wire has a rate of its own.
    lab.change(|host| host.network(WAN).unknown_unicast = UnknownUnicast::Flood);
    lab.receive_all(W1, &storm(W1, NOBODY));
    lab.receive_all(UP, &storm(UP, MULTICAST));
    assert_eq!(lab.drops(W1), [(DropReason::FloodRate, 80)]);
    assert_eq!(lab.drops(UP), [(DropReason::FloodRate, 50)]);
}

#[test]
fn a_storm_of_arp_is_held_to_the_rate_and_control_still_hears_its_share() {
    let flood = Rate { per_s: 1_000, burst: 20 };
    let mut lab = Lab::with(1024, 1024, Rates { flood, ..Rates::default() });
    lab.receive_all(W1, &vec![who_has(at(W1), FAR); 100]);
    assert_eq!((lab.sent(W2).len(), lab.punts.len()), (20, 100));
    assert_eq!(lab.drops(W1), [(DropReason::FloodRate, 80)]);
}

#[test]
fn ipv4_inside_a_network_is_not_touched() {
    let mut lab = Lab::new();
    // Not even what a router would drop: TTL 1, options, a wrong checksum, padding.
    let packet = Packet::new(at(M1), at(M2).mac, at(M2).ip).ttl(1).options(&[1, 1, 1, 0]);
    reaches(&mut lab, M1, &packet.clone().padding(10).bytes(), &[M2]);
    let mut bytes = packet.bytes();
    bytes[24] ^= 0xff;
    reaches(&mut lab, M1, &bytes, &[M2]);
}

#[test]
fn vz_7_guests_of_an_isolated_network_reach_the_server_and_the_wire_alone() {
    let mut lab = Lab::new();
    for network in [LAN, WAN, VLAN] {
        lab.change(|host| host.network(network).is_isolated = true);
    }
    for (from, to) in [(M1, M2), (M2, M1), (W1, W2), (WF, W1), (V1, V2)] {
        lab.refuses(from, odd(from, at(to).mac), DropReason::Isolated);
        let packet = Packet::new(at(from), at(to).mac, at(to).ip);
        lab.refuses(from, packet.bytes(), DropReason::Isolated);
    }
    // The server's port and the wire are no guests, and nobody is kept from hearing them.
    for (from, to) in [(M1, MS), (MS, M2), (UP, W1)] {
        reaches(&mut lab, from, &odd(from, at(to).mac), &[to]);
    }
    for to in [MacAddr::BROADCAST, MULTICAST] {
        reaches(&mut lab, M1, &odd(M1, to), &[MS]);
        reaches(&mut lab, MS, &odd(MS, to), &[M1, M2, M3]);
        reaches(&mut lab, W1, &odd(W1, to), &[UP]);
        reaches(&mut lab, UP, &odd(UP, to), &[W1, W2, WF]);
    }
    // Nor does a member that wants every frame get another guest's, nor does unknown unicast.
    lab.change(|host| host.make_promiscuous(LAN, M3));
    reaches(&mut lab, M1, &odd(M1, at(MS).mac), &[MS]);
    reaches(&mut lab, MS, &odd(MS, at(M1).mac), &[M1, M3]);
    lab.change(|host| host.network(LAN).unknown_unicast = UnknownUnicast::Flood);
    reaches(&mut lab, M1, &odd(M1, NOBODY), &[MS]);
}

#[test]
fn vz_7_the_router_is_no_way_round() {
    let mut lab = Lab::new();
    // As a neighbor that control has resolved.
    lab.change(|host| {
        let way = host.way(W2, at(W2).mac);
        host.route(at(W2).ip, 32, way);
    });
    lab.passes(W1, Packet::new(at(W1), UP_MAC, at(W2).ip).bytes(), W2);
    lab.change(|host| host.network(WAN).is_isolated = true);
    let around = |to: PortId| Packet::new(at(W1), UP_MAC, at(to).ip).bytes();
    lab.refuses(W1, around(W2), DropReason::Isolated);
    // Guests of other modes and networks are reached as before.
    lab.passes(W1, around(C1), C1);
}

#[test]
fn vz_7_a_burst_to_guests_and_others_is_parted() {
    let mut lab = Lab::new();
    lab.change(|host| host.network(LAN).is_isolated = true);
    let packet = |to: PortId| Packet::new(at(M1), at(to).mac, at(to).ip).bytes();
    let frames: Vec<_> = (0..60).map(|n| packet(if n % 3 == 0 { MS } else { M2 })).collect();
    lab.receive_all(M1, &frames);
    assert_eq!(lab.sent(MS).len(), 20);
    assert_eq!(lab.sent(M2), Vec::<Vec<u8>>::new());
    assert_eq!(lab.counts(M1).drops(DropReason::Isolated), 40);
}
