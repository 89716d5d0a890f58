//! Accounting by class (requirements.md, VZ-8).

use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, frame};
use crate::counters::AdapterCounter::{RxBytes, RxPkts, TxBytes, TxPkts};
use crate::ids::{AdapterId, AdjacencyId, ClassId, PortId};
use crate::record::UnknownUnicast;
use crate::table::Ipv4FibWriter;
use crate::wire::ethernet::MacAddr;
use std::net::Ipv4Addr;

const NEAR: ClassId = ClassId(1);
const EIGHTS: ClassId = ClassId(2);
const ONE: ClassId = ClassId(3);

fn lab() -> (Lab, Ipv4FibWriter) {
    let mut lab = Lab::new();
    let classes = classify(&mut lab);
    (lab, classes)
}

/// Gives a lab three classes: `NEAR` 192.0.2.0/24, `EIGHTS` 8.0.0.0/8, and in it `ONE` 8.8.8.9/32.
pub(super) fn classify(lab: &mut Lab) -> Ipv4FibWriter {
    let mut classes = Ipv4FibWriter::new(16, lab.host.qsbr.clone());
    for (class, address, len) in
        [(NEAR, [192, 0, 2, 0], 24), (EIGHTS, [8, 0, 0, 0], 8), (ONE, [8, 8, 8, 9], 32)]
    {
        let id = AdjacencyId(u32::from(class.0));
        classes.insert(u32::from_be_bytes(address), len, id).unwrap();
    }
    lab.path.view.classes = Some(classes.fib().clone());
    classes
}

/// Packets and bytes from the guest, packets and bytes to it.
fn counted(lab: &Lab, adapter: AdapterId, class: ClassId) -> [u64; 4] {
    let counts = lab.path.counters.class(adapter, class);
    [RxPkts, RxBytes, TxPkts, TxBytes].map(|counter| counts.counter(counter))
}

fn bytes(packet: &Packet) -> u64 {
    packet.bytes().len() as u64
}

fn to(port: PortId, address: Ipv4Addr) -> Packet {
    Packet::new(at(port), GATEWAY_MAC, address)
}

#[test]
fn vz_8_what_a_guest_sends_is_counted_by_the_longest_prefix_of_where_it_goes() {
    let (mut lab, _classes) = lab();
    let sent =
        [FAR, Ipv4Addr::new(8, 8, 8, 9), Ipv4Addr::new(8, 1, 1, 1), Ipv4Addr::new(9, 9, 9, 9)];
    let packets = sent.map(|address| to(C1, address));
    // A burst of all, and each alone; the express lane and the stages.
    for is_closed in [false, true] {
        lab.path.work.lane.is_closed = is_closed;
        lab.receive_all(C1, &packets.clone().map(|packet| packet.bytes()));
        assert_eq!(lab.sent(UP).len(), packets.len());
        for packet in &packets {
            lab.passes(C1, packet.bytes(), UP);
        }
    }
    let each = bytes(&packets[0]);
    let c1 = adapter_on(C1);
    assert_eq!(counted(&lab, c1, EIGHTS), [8, 8 * each, 0, 0]);
    assert_eq!(counted(&lab, c1, ONE), [4, 4 * each, 0, 0]);
    assert_eq!(counted(&lab, c1, ClassId::OTHER), [4, 4 * each, 0, 0]);
    assert_eq!(counted(&lab, c1, NEAR), [0; 4]);
}

#[test]
fn vz_8_what_is_delivered_is_counted_by_where_it_came_from() {
    let (mut lab, _classes) = lab();
    for is_closed in [false, true] {
        lab.path.work.lane.is_closed = is_closed;
        let near = Packet::new(at(UP), UP_MAC, at(C1).ip);
        let far = Packet { source: FAR, ..near.clone() };
        let shared = Packet { source: FAR, ..Packet::new(at(UP), UP_MAC, s2().ip) };
        lab.receive_all(UP, &[near.bytes(), far.bytes(), shared.bytes(), far.bytes()]);
        lab.sent_all();
    }
    let each = bytes(&to(C1, FAR));
    assert_eq!(counted(&lab, adapter_on(C1), NEAR), [0, 0, 2, 2 * each]);
    assert_eq!(counted(&lab, adapter_on(C1), EIGHTS), [0, 0, 4, 4 * each]);
    assert_eq!(counted(&lab, S2_ADAPTER, EIGHTS), [0, 0, 2, 2 * each]);
    // Between guests at both.
    lab.passes(C1, to(C1, at(C2).ip).bytes(), C2);
    let class_of_c2 = if at(C2).ip.octets()[..3] == [192, 0, 2] { NEAR } else { ClassId::OTHER };
    assert_eq!(counted(&lab, adapter_on(C1), class_of_c2)[..2], [1, each]);
    assert_eq!(counted(&lab, adapter_on(C2), class_of_c2)[2..], [1, each]);
}

#[test]
fn vz_8_only_what_leaves_is_counted_as_sent_and_only_what_arrives_as_delivered() {
    let (mut lab, _classes) = lab();
    let c1 = adapter_on(C1);
    // Spoofed, without a route, too old, for us, waiting for its next hop.
    let spoofed = Packet { source: FAR, ..to(C1, FAR) };
    let old = Packet { ttl: 1, ..to(C1, FAR) };
    for packet in [spoofed, old, to(C1, PROHIBITED), to(C1, GATEWAY_IP), to(C1, INCOMPLETE)] {
        lab.receive(C1, packet.bytes());
    }
    lab.sent_all();
    while lab.punts.pop().is_some() {}
    for class in [NEAR, EIGHTS, ONE, ClassId::OTHER] {
        assert_eq!(counted(&lab, c1, class)[..2], [0, 0], "{class:?}");
    }
    // What C2's queue does not take was sent and not delivered.
    let (fill, each) = (lab.ports[&C2].from_us.capacity() + 10, bytes(&to(C1, at(C2).ip)));
    let frames = vec![to(C1, at(C2).ip).bytes(); fill];
    lab.receive_all(C1, &frames);
    let sum = |adapter, at: usize| -> u64 {
        let all = [NEAR, EIGHTS, ONE, ClassId::OTHER];
        all.into_iter().map(|class| counted(&lab, adapter, class)[at]).sum()
    };
    let taken = lab.ports[&C2].from_us.len() as u64;
    assert!(taken < fill as u64);
    assert_eq!((sum(c1, 0), sum(c1, 1)), (fill as u64, fill as u64 * each));
    assert_eq!((sum(adapter_on(C2), 2), sum(adapter_on(C2), 3)), (taken, taken * each));
}

#[test]
fn vz_8_members_of_networks_are_counted_alike_and_other_protocols_not_at_all() {
    let (mut lab, _classes) = lab();
    let packet = |source: Ipv4Addr, destination: Ipv4Addr| {
        let own = Packet::new(at(M1), at(M2).mac, destination);
        Packet { source, ..own }
    };
    for is_closed in [false, true] {
        lab.path.work.lane.is_closed = is_closed;
        lab.passes(M1, packet(at(M1).ip, FAR).bytes(), M2);
    }
    let each = bytes(&packet(at(M1).ip, FAR));
    assert_eq!(counted(&lab, adapter_on(M1), EIGHTS), [2, 2 * each, 0, 0]);
    assert_eq!(counted(&lab, adapter_on(M2), ClassId::OTHER), [0, 0, 2, 2 * each]);
    // A flood is one frame sent, and one delivered to each guest.
    lab.change(|host| host.network(LAN).unknown_unicast = UnknownUnicast::Flood);
    let group = packet(at(M1).ip, FAR).towards(MacAddr::BROADCAST);
    lab.receive(M1, group.bytes());
    assert_eq!(counted(&lab, adapter_on(M1), EIGHTS)[0], 3);
    for port in [M2, M3] {
        let more = if port == M2 { 2 } else { 0 };
        assert_eq!(counted(&lab, adapter_on(port), ClassId::OTHER)[2], more + 1);
    }
    lab.receive(M1, frame(at(M2).mac, at(M1).mac, 0x88b5, &[7; 60]));
    let all: u64 = (0..ClassId::LIMIT)
        .map(|class| counted(&lab, adapter_on(M1), ClassId(u8::try_from(class).unwrap()))[0])
        .sum();
    assert_eq!(all, 3);
}

#[test]
fn without_classes_nothing_is_counted() {
    let mut lab = Lab::new();
    lab.passes(C1, to(C1, FAR).bytes(), UP);
    assert_eq!(counted(&lab, adapter_on(C1), ClassId::OTHER), [0; 4]);
}
