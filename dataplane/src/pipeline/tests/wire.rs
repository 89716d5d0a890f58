//! A network on the uplink: tags, the wire's own MACs, what may cross, and what is routed.

use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, filler, frame, read, tagged, who_has};
use crate::counters::{DropReason, PortCounter};
use crate::frame::Frame;
use crate::ids::{AdapterId, PortId};
use crate::punt::{Inject, Punt};
use crate::record::{Attachment, Filters};
use crate::wire::arp::Arp;
use crate::wire::ethernet::{ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, MacAddr};

const NOBODY: MacAddr = MacAddr([2, 0xbb, 0, 0, 0, 1]);
const ODD: u16 = 0x88b5;
/// A tag of older switches.
const LEGACY_QINQ: u16 = 0x9100;

fn odd(from: PortId, to: MacAddr) -> Vec<u8> {
    frame(to, at(from).mac, ODD, &filler(100))
}

fn ports(sent: &[(PortId, Vec<u8>)]) -> Vec<PortId> {
    sent.iter().map(|(port, _)| *port).collect()
}

#[test]
fn vn_14_a_tag_is_popped_from_the_wire_and_pushed_towards_it() {
    let mut lab = Lab::new();
    for tci in [VID, 0xe000 | VID, 0x1000 | VID] {
        let inner = odd(UP, at(V1).mac);
        let seen = lab.passes(UP, tagged(&inner, ETHERTYPE_VLAN, tci), V1);
        assert_eq!(seen, inner);
    }
    let out = lab.passes(V1, odd(V1, NOBODY), UP);
    assert_eq!(out, tagged(&odd(V1, NOBODY), ETHERTYPE_VLAN, VID));
    // A broadcast: tagged on the wire, untagged to the other member.
    let frame = odd(V1, MacAddr::BROADCAST);
    lab.receive(V1, &frame);
    let on_wire = tagged(&frame, ETHERTYPE_VLAN, VID);
    assert_eq!(lab.sent_all(), [(UP, on_wire), (V2, frame)]);
    // And back: to both members, not to those of other networks.
    let frame = odd(UP, MacAddr::BROADCAST);
    lab.receive(UP, tagged(&frame, ETHERTYPE_VLAN, VID));
    assert_eq!(lab.sent_all(), [(V1, frame.clone()), (V2, frame)]);
    // What control floods is tagged as well.
    let bytes = who_has(at(V1), FAR);
    let frame = lab.pool.frame(&bytes, V1).unwrap();
    lab.path.inject(Inject::Flood { network: VLAN, frame }, lab.now_ns);
    lab.path.flush();
    assert_eq!(lab.sent_all(), [(UP, tagged(&bytes, ETHERTYPE_VLAN, VID)), (V2, bytes)]);
}

#[test]
fn without_headroom_a_tag_is_a_counted_drop() {
    let mut lab = Lab::new();
    for to in [NOBODY, MacAddr::BROADCAST] {
        let mut frame = lab.pool.frame(&odd(V1, to)[..14], V1).unwrap();
        assert!(frame.grow_front(crate::frame::HEADROOM_BYTES));
        frame.head_mut()[..14].copy_from_slice(&odd(V1, to)[..14]);
        lab.path.run(V1, &mut [frame].into_iter().collect(), lab.now_ns);
        lab.path.flush();
    }
    // The broadcast's copy has headroom of its own.
    assert_eq!(ports(&lab.sent_all()), [UP, V2]);
    assert_eq!(lab.drops(V1), [(DropReason::NoHeadroom, 1)]);
}

#[test]
fn vlan_hopping_a_guests_own_tag_never_reaches_the_wire() {
    let mut lab = Lab::new();
    for (port, network) in [(WF, WAN), (V1, VLAN)] {
        for tpid in [ETHERTYPE_VLAN, ETHERTYPE_QINQ, LEGACY_QINQ] {
            for vid in [0, 1, VID, 200] {
                let unknown = tagged(&odd(port, NOBODY), tpid, vid);
                lab.refuses(port, unknown, DropReason::VlanUnknown);
                lab.receive(port, tagged(&odd(port, MacAddr::BROADCAST), tpid, vid));
                assert!(!ports(&lab.sent_all()).contains(&UP), "{network:?} {tpid:04x} {vid}");
            }
        }
    }
    // Mirroring and flooding do not open a way either.
    lab.change(|host| host.make_promiscuous(WAN, W2));
    lab.receive(WF, tagged(&odd(WF, NOBODY), ETHERTYPE_VLAN, VID));
    assert!(!ports(&lab.sent_all()).contains(&UP));
}

#[test]
fn bridge_protocol_frames_never_reach_the_wire_from_a_guest() {
    let mut lab = Lab::new();
    lab.change(|host| host.bridged(V1).filters = Filters::NONE);
    for last in [0, 1, 2, 3, 0x0e, 0x0f] {
        let group = MacAddr([1, 0x80, 0xc2, 0, 0, last]);
        let bpdu = |port| frame(group, at(port).mac, 0x0026, &filler(38));
        lab.refuses(W1, bpdu(W1), DropReason::BridgeProtocol);
        // Without the filter to other guests, never to the wire.
        lab.receive(WF, bpdu(WF));
        assert_eq!(ports(&lab.sent_all()), [W1, W2]);
        lab.receive(V1, bpdu(V1));
        assert_eq!(ports(&lab.sent_all()), [V2]);
    }
    let beyond = frame(MacAddr([1, 0x80, 0xc2, 0, 0, 0x10]), at(W1).mac, ODD, &filler(38));
    lab.receive(W1, beyond);
    assert_eq!(ports(&lab.sent_all()), [UP, W2, WF]);
}

#[test]
fn arp_broadcasts_of_the_untagged_network_reach_members_and_control() {
    let mut lab = Lab::new();
    for (port, others) in [(W1, [UP, W2, WF]), (UP, [W1, W2, WF])] {
        let bytes = who_has(at(port), at(W2).ip);
        lab.receive(port, &bytes);
        assert_eq!(lab.sent_all(), others.map(|port| (port, bytes.clone())));
        match lab.punts.pop() {
            Some(Punt::Arp { frame, network }) => {
                assert_eq!((frame.bytes(), network), (&bytes[..], Some(WAN)));
                assert_eq!(frame.ingress().port, port);
            }
            other => panic!("{other:?}"),
        }
    }
    // On a tagged or a host-only network they are the members' alone.
    for port in [V1, M1] {
        lab.receive(port, who_has(at(port), at(V2).ip));
        assert!(!lab.sent_all().is_empty() && lab.punts.is_empty());
    }
    // An answer to the router is control's, one to a member that member's.
    let answer = Arp::request(UP_MAC, SERVER_IP, at(W1).ip).answer(at(W1).mac);
    let punt = lab.punts(W1, answer.frame(UP_MAC, at(W1).mac));
    assert!(matches!(punt, Punt::Arp { network: Some(WAN), .. }));
    lab.passes(W1, answer.frame(at(W2).mac, at(W1).mac), W2);
    let answer = Arp::request(UP_MAC, SERVER_IP, at(UP).ip).answer(at(UP).mac);
    let punt = lab.punts(UP, answer.frame(UP_MAC, at(UP).mac));
    assert!(matches!(punt, Punt::Arp { network: None, .. }));
    // A flood at its rate: the members still get every frame.
    lab.receive_all(W1, &vec![who_has(at(W1), FAR); 250]);
    assert_eq!((lab.punts.len(), lab.sent(W2).len()), (198, 250));
    // What control did not get was never copied, so it is no loss.
    assert_eq!(lab.drops(W1), []);
    assert_eq!(lab.counts(W1).counter(PortCounter::Copies), 3 + 198 + 250 * 2);
}

#[test]
fn what_members_send_to_the_routers_mac_is_routed() {
    let mut lab = Lab::new();
    for port in [W1, W2, WF] {
        let packet = Packet::new(at(port), UP_MAC, at(C1).ip);
        let seen = read(&lab.passes(port, packet.bytes(), C1));
        assert_eq!((seen.source, seen.destination_mac, seen.ttl), (at(port).ip, at(C1).mac, 63));
        let seen = read(&lab.passes(port, Packet::new(at(port), UP_MAC, FAR).bytes(), UP));
        assert_eq!((seen.source_mac, seen.destination_mac), (UP_MAC, ROUTER_MAC));
        lab.passes(port, Packet::new(at(port), UP_MAC, SERVER_IP).bytes(), HOST);
        let ipv6 = frame(UP_MAC, at(port).mac, ETHERTYPE_IPV6, &filler(60));
        lab.refuses(port, ipv6, DropReason::EtherTypeUnsupported);
    }
    // A tag in front makes it nobody's.
    let hidden = tagged(&Packet::new(at(WF), UP_MAC, at(C1).ip).bytes(), ETHERTYPE_VLAN, 0);
    lab.refuses(WF, hidden, DropReason::EtherTypeUnsupported);
}

#[test]
fn vz_1_to_the_router_nobody_may_use_anothers_address_not_even_unregistered_or_unfiltered() {
    let mut lab = Lab::new();
    for port in [W2, WF] {
        for stolen in [at(C1).ip, at(C2).ip, at(VENET).ip, ROUTED_TO_C1] {
            let packet = Packet::new(at(port), UP_MAC, at(C3).ip).source(stolen);
            lab.refuses(port, packet.bytes(), DropReason::SpoofedIp);
        }
    }
    let packet = Packet::new(at(W1), UP_MAC, at(C3).ip).source(at(W2).ip);
    lab.refuses(W1, packet.bytes(), DropReason::SpoofedIp);
    let packet = Packet::new(at(W2), UP_MAC, at(C3).ip).source_mac(at(W1).mac);
    lab.refuses(W2, packet.bytes(), DropReason::SpoofedMac);
    // Its own address may be in the FIB, as that of a member that routed guests talk to.
    let way = crate::table::Adjacency { adapter: adapter_on(W2), ..lab.host.way(W2, at(W2).mac) };
    lab.host.route(at(W2).ip, 32, way);
    lab.passes(W2, Packet::new(at(W2), UP_MAC, at(C3).ip).bytes(), C3);
    lab.passes(C3, Packet::new(at(C3), GATEWAY_MAC, at(W2).ip).bytes(), W2);
    let packet = Packet::new(at(WF), UP_MAC, at(C3).ip).source(at(W2).ip);
    lab.refuses(WF, packet.bytes(), DropReason::SpoofedIp);
}

#[test]
fn hr_14_on_the_uplinks_network_no_member_claims_an_address_of_ours_or_a_guests() {
    let mut lab = Lab::new();
    let on_wire = at(UP).mac;
    for stolen in [at(C1).ip, at(VENET).ip, ROUTED_TO_C1, SERVER_IP, GATEWAY_IP] {
        let claim = Arp::announcement(at(W2).mac, stolen);
        for to in [MacAddr::BROADCAST, on_wire, at(W1).mac] {
            lab.refuses(W2, claim.frame(to, at(W2).mac), DropReason::SpoofedArp);
        }
        let packet = Packet::new(at(W2), on_wire, at(UP).ip).source(stolen);
        lab.refuses(W2, packet.bytes(), DropReason::SpoofedIp);
        let hidden = tagged(&packet.towards(at(W1).mac).bytes(), ETHERTYPE_VLAN, 0);
        lab.refuses(W2, hidden, DropReason::SpoofedIp);
    }
    // With no address registered every other is its own to use.
    for own in [at(W2).ip, GLEAN, FAR] {
        let claim = Arp::announcement(at(W2).mac, own);
        lab.passes(W2, claim.frame(at(W1).mac, at(W2).mac), W1);
        lab.passes(W2, Packet::new(at(W2), on_wire, at(UP).ip).source(own).bytes(), UP);
    }
    lab.passes(W2, Arp::probe(at(W2).mac, at(C1).ip).frame(at(W1).mac, at(W2).mac), W1);
    // A VLAN is another world, and the filter can be switched off.
    lab.passes(V1, Packet::new(at(V1), at(V2).mac, FAR).source(at(C1).ip).bytes(), V2);
    lab.passes(WF, Packet::new(at(WF), on_wire, at(UP).ip).source(at(C1).ip).bytes(), UP);
}

#[test]
fn vn_7_the_servers_port_on_a_network_is_guarded_as_the_server_is() {
    let mut lab = Lab::new();
    lab.refuses(MS, frame(at(M1).mac, NOBODY, ODD, &[]), DropReason::SpoofedMac);
    lab.change(|host| {
        let record = host.records.get_mut(&MS).unwrap();
        let (peer_mac, adapter) = (at(MS).mac, adapter_on(MS));
        record.attachment = Attachment::NetworkServer { network: WAN, peer_mac, adapter };
    });
    let packet = Packet::new(at(MS), UP_MAC, at(C1).ip);
    lab.passes(MS, packet.bytes(), C1);
    lab.passes(MS, packet.clone().source(SERVER_IP).bytes(), C1);
    for stolen in [at(C2).ip, at(VENET).ip] {
        lab.refuses(MS, packet.clone().source(stolen).bytes(), DropReason::SpoofedIp);
    }
    for martian in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1]] {
        let frame = packet.clone().source(martian.into()).bytes();
        lab.refuses(MS, frame, DropReason::MartianSource);
    }
    assert_ne!(adapter_on(MS), AdapterId::SERVER);
}

#[test]
fn registered_macs_from_the_wire_are_forged() {
    let mut lab = Lab::new();
    for (mac, to) in
        [(at(W1).mac, at(W2).mac), (at(W1).mac, MacAddr::BROADCAST), (UP_MAC, at(W2).mac)]
    {
        lab.refuses(UP, frame(to, mac, ODD, &filler(46)), DropReason::SpoofedFromUplink);
    }
    let on_vlan = tagged(&frame(at(V2).mac, at(V1).mac, ODD, &filler(46)), ETHERTYPE_VLAN, VID);
    lab.refuses(UP, on_vlan, DropReason::SpoofedFromUplink);
    // On another network the MAC is somebody else's to use.
    lab.passes(UP, frame(at(W2).mac, at(V1).mac, ODD, &filler(46)), W2);
}
