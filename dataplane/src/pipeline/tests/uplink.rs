//! Frames from the wire, in the order of design.md, "Uplink frames": what is for the router.

use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, Station, filler, frame, read, tagged, who_has};
use crate::counters::DropReason;
use crate::frame::Frame;
use crate::ids::PortId;
use crate::punt::{Inject, Punt};
use crate::wire::arp::Arp;
use crate::wire::ethernet::{ETHERTYPE_QINQ, ETHERTYPE_VLAN, MacAddr};

fn to_us(to: std::net::Ipv4Addr) -> Packet {
    Packet::new(at(UP), UP_MAC, to)
}

#[test]
fn hr_14_a_source_of_ours_from_the_wire_is_dropped_and_reported() {
    let mut lab = Lab::new();
    for source in [at(C1).ip, at(VENET).ip, ROUTED_TO_C1, SERVER_IP, GATEWAY_IP] {
        let forged = to_us(at(C2).ip).source(source);
        match lab.punts(UP, forged.bytes()) {
            Punt::Conflict { port, source: told, mac } => {
                assert_eq!((port, told, mac), (UP, source, at(UP).mac));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lab.drops(UP), [(DropReason::SpoofedFromUplink, 5)]);
}

#[test]
fn hr_14_a_source_of_ours_from_the_wire_does_not_reach_the_uplinks_network_either() {
    let mut lab = Lab::new();
    let snap = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len() - 12 + 6).unwrap().to_be_bytes();
        [&bytes[..12], &length, &[0xaa, 0xaa, 3, 0, 0, 0], &bytes[12..]].concat()
    };
    for source in [at(C1).ip, at(VENET).ip, ROUTED_TO_C1, SERVER_IP, GATEWAY_IP] {
        let packet = Packet::new(at(UP), at(W1).mac, at(W1).ip).source(source);
        let claim = Arp::announcement(at(UP).mac, source);
        for forged in [
            packet.bytes(),
            snap(&packet.bytes()),
            packet.towards(MacAddr::BROADCAST).bytes(),
            claim.frame(at(W1).mac, at(UP).mac).to_vec(),
        ] {
            let punt = lab.punts(UP, forged);
            let Punt::Conflict { port, source: told, mac } = punt else { panic!("{punt:?}") };
            assert_eq!((port, told, mac), (UP, source, at(UP).mac));
        }
        // Control hears the claim and answers it; members, who would believe it, don't.
        let punt = lab.punts(UP, claim.frame(MacAddr::BROADCAST, at(UP).mac));
        assert!(matches!(punt, Punt::Arp { network: Some(WAN), .. }), "{punt:?}");
    }
    assert_eq!(lab.drops(UP), [(DropReason::SpoofedFromUplink, 20)]);
}

#[test]
fn what_others_on_the_wire_say_reaches_the_uplinks_network() {
    let mut lab = Lab::new();
    let to_w1 = Packet::new(at(UP), at(W1).mac, at(W1).ip);
    for source in [at(UP).ip, GLEAN, FAR, INCOMPLETE, [0, 0, 0, 0].into()] {
        lab.passes(UP, to_w1.clone().source(source).bytes(), W1);
        let said = Arp::announcement(at(UP).mac, source);
        lab.passes(UP, said.frame(at(W1).mac, at(UP).mac), W1);
        lab.receive(UP, said.frame(MacAddr::BROADCAST, at(UP).mac));
        assert_eq!((lab.sent_all().len(), lab.punts.len()), (3, 1), "{source}");
        lab.punts.pop();
    }
    // A probe claims nothing, whatever it asks for.
    lab.receive(UP, Arp::probe(at(UP).mac, at(C1).ip).frame(MacAddr::BROADCAST, at(UP).mac));
    assert_eq!((lab.sent_all().len(), lab.punts.len()), (3, 1));
    lab.punts.pop();
    // An address that a member was heard to use may move to the wire; one registered may not.
    for (member, is_registered) in [(W2, false), (W1, true)] {
        let adapter = adapter_on(member);
        let way = crate::table::Adjacency { adapter, ..lab.host.way(member, at(member).mac) };
        lab.host.route(at(member).ip, 32, way);
        let packet = Packet::new(at(UP), at(WF).mac, at(WF).ip).source(at(member).ip).bytes();
        match is_registered {
            false => drop(lab.passes(UP, packet, WF)),
            true => assert!(matches!(lab.punts(UP, packet), Punt::Conflict { .. })),
        }
    }
    // A VLAN is another world.
    let tagged = tagged(&to_w1.source(at(C1).ip).towards(at(V1).mac).bytes(), ETHERTYPE_VLAN, VID);
    lab.passes(UP, tagged, V1);
}

#[test]
fn a_flood_of_conflicts_is_reported_at_its_rate_and_costs_control_nothing_else() {
    let mut lab = Lab::with(2048, 2048, crate::pipeline::Rates::default());
    lab.receive_all(UP, &vec![to_us(at(C2).ip).source(at(C1).ip).bytes(); 1000]);
    assert_eq!(lab.punts.len(), 256);
    // Reports of another port are not used up by it.
    let forged = Packet::new(at(UP2), UP2_MAC, at(C2).ip).source(at(C1).ip);
    lab.receive(UP2, forged.bytes());
    assert_eq!(lab.punts.len(), 257);
}

#[test]
fn an_arp_storm_on_the_wire_does_not_cost_us_the_answers_to_our_requests() {
    let mut lab = Lab::with(8192, 2048, crate::pipeline::Rates::default());
    for port in [UP, UP2] {
        lab.receive_all(port, &vec![who_has(at(port), FAR); 1000]);
        lab.sent_all();
        assert_eq!(std::iter::from_fn(|| lab.punts.pop()).count(), 200);
        let own_mac = lab.host.records[&port].own_mac;
        let answer = Arp::request(own_mac, SERVER_IP, at(port).ip).answer(at(port).mac);
        lab.receive_all(port, &vec![answer.frame(own_mac, at(port).mac).to_vec(); 100]);
        assert_eq!(std::iter::from_fn(|| lab.punts.pop()).count(), 100);
    }
}

#[test]
fn we_are_no_transit_router() {
    let mut lab = Lab::new();
    for to in [FAR, at(UP).ip, ON_UP2, GLEAN, INCOMPLETE, UNREACHABLE] {
        for ttl in [64, 1] {
            let stranger = to_us(to).source([172, 16, 0, 1].into()).ttl(ttl);
            lab.refuses(UP, stranger.bytes(), DropReason::Prohibited);
        }
    }
    let packet = Packet::new(at(UP2), UP2_MAC, at(UP).ip);
    lab.refuses(UP2, packet.bytes(), DropReason::Prohibited);
    // To nowhere: we do say so.
    let seen = read(&lab.passes(UP, to_us(PROHIBITED).bytes(), UP));
    assert_eq!(seen.payload[..2], [3, 0]);
}

#[test]
fn a_priority_tag_counts_as_no_tag() {
    let mut lab = Lab::new();
    for tci in [0, 0x2000, 0xf000] {
        let frame = tagged(&to_us(at(C1).ip).bytes(), ETHERTYPE_VLAN, tci);
        assert_eq!(read(&lab.passes(UP, frame, C1)).destination_mac, at(C1).mac);
        let twice = tagged(&to_us(at(C1).ip).bytes(), ETHERTYPE_VLAN, VID);
        lab.refuses(UP, tagged(&twice, ETHERTYPE_VLAN, tci), DropReason::VlanUnknown);
        // Nor does what is below it reach a member, of whatever network.
        for to in [at(W1).mac, at(V1).mac, MacAddr::BROADCAST] {
            let twice = tagged(&to_us(at(C1).ip).towards(to).bytes(), ETHERTYPE_VLAN, VID);
            lab.refuses(UP, tagged(&twice, ETHERTYPE_VLAN, tci), DropReason::VlanUnknown);
        }
    }
    let arp = tagged(&who_has(at(UP), at(C1).ip), ETHERTYPE_VLAN, 0xe000);
    lab.receive(UP2, arp);
    let Some(Punt::Arp { frame, .. }) = lab.punts.pop() else { panic!() };
    assert_eq!(frame.bytes(), who_has(at(UP), at(C1).ip), "the tag is gone");
}

#[test]
fn unknown_and_double_tags_are_dropped() {
    let mut lab = Lab::new();
    let bytes = to_us(at(C1).ip).bytes();
    for vid in [1, 99, 101, 4094, 4095] {
        lab.refuses(UP, tagged(&bytes, ETHERTYPE_VLAN, vid), DropReason::VlanUnknown);
    }
    lab.refuses(UP, tagged(&bytes, ETHERTYPE_QINQ, VID), DropReason::VlanUnknown);
    lab.refuses(UP, tagged(&bytes, ETHERTYPE_QINQ, 0), DropReason::VlanUnknown);
    // Nor does a tag lead to the router: our MAC is no member of the tagged network.
    lab.refuses(UP, tagged(&bytes, ETHERTYPE_VLAN, VID), DropReason::NotMember);
}

#[test]
fn a_tag_that_is_cut_short_is_dropped() {
    let mut lab = Lab::new();
    let bytes = tagged(&to_us(at(C1).ip).bytes(), ETHERTYPE_VLAN, 0);
    for len in 14..18 {
        lab.refuses(UP, &bytes[..len], DropReason::EthernetTruncated);
    }
    lab.refuses(UP, &bytes[..18], DropReason::Ipv4Truncated);
}

#[test]
fn an_uplink_without_an_untagged_network_hears_only_what_is_for_us() {
    let mut lab = Lab::new();
    let peer = at(UP2);
    let packet = Packet::new(peer, UP2_MAC, at(C1).ip);
    lab.passes(UP2, packet.bytes(), C1);
    lab.refuses(UP2, packet.clone().towards(at(W1).mac).bytes(), DropReason::NotForUs);
    lab.refuses(UP2, packet.towards(MacAddr::BROADCAST).bytes(), DropReason::RoutedBroadcast);
    let arp = who_has(peer, at(C1).ip);
    assert!(matches!(lab.punts(UP2, &arp), Punt::Arp { network: None, .. }));
    let reply = Arp::request(UP2_MAC, SERVER_IP, peer.ip).answer(peer.mac);
    let punt = lab.punts(UP2, reply.frame(UP2_MAC, peer.mac));
    assert!(matches!(punt, Punt::Arp { network: None, .. }));
}

#[test]
fn bridge_protocol_frames_from_the_wire_go_nowhere() {
    let mut lab = Lab::new();
    for last in 0..=0x0f {
        let group = MacAddr([1, 0x80, 0xc2, 0, 0, last]);
        let bpdu = frame(group, at(UP).mac, 0x88cc, &filler(50));
        for port in [UP, UP2] {
            lab.refuses(port, &bpdu, DropReason::BridgeProtocol);
        }
        lab.refuses(UP, tagged(&bpdu, ETHERTYPE_VLAN, VID), DropReason::BridgeProtocol);
        lab.refuses(UP, tagged(&bpdu, ETHERTYPE_VLAN, 0), DropReason::BridgeProtocol);
    }
}

#[test]
fn control_sends_what_it_likes_and_it_is_counted() {
    let mut lab = Lab::new();
    let station = Station { mac: UP_MAC, ip: SERVER_IP };
    let bytes = who_has(station, GLEAN);
    for port in [UP, C1, VENET] {
        let frame = lab.pool.frame(&bytes, port).unwrap();
        lab.path.inject(Inject::Send { port, frame }, lab.now_ns);
        lab.path.flush();
        assert_eq!(lab.sent_all(), [(port, bytes.clone())]);
    }
    // A frame of nobody's counts at the port that it leaves by, so that the sums stay right.
    let frame = lab.pool.frame(&bytes, PortId::NONE).unwrap();
    lab.path.inject(Inject::Send { port: UP, frame }, lab.now_ns);
    lab.path.flush();
    assert_eq!(lab.sent(UP).len(), 1);
    // A port that is gone.
    let frame = lab.pool.frame(&bytes, UP).unwrap();
    assert_eq!(frame.ingress().port, UP);
    lab.path.inject(Inject::Send { port: PortId(99), frame }, lab.now_ns);
    assert_eq!(lab.drops(UP), [(DropReason::EgressClosed, 1)]);
}
