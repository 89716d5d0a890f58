//! The guard inside a network: which frames a member may send (requirements.md, VZ-6).

use super::host::*;
use super::lab::Lab;
use super::packet::{MORE_FRAGMENTS, Packet, filler, frame, tagged, who_has};
use crate::counters::DropReason;
use crate::ids::PortId;
use crate::record::Filters;
use crate::wire::arp::Arp;
use crate::wire::ethernet::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, MacAddr,
};
use std::net::Ipv4Addr;

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// A packet from one member to another, addressed to its MAC.
fn packet(from: PortId, to: PortId) -> Packet {
    Packet::new(at(from), at(to).mac, at(to).ip)
}

/// An IPv6 packet: next header, then its bytes.
fn ipv6(from: PortId, to: PortId, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let fixed = [0x60, 0, 0, 0, length[0], length[1], next, 255];
    let addresses = [0x20u8; 32];
    frame(at(to).mac, at(from).mac, ETHERTYPE_IPV6, &[&fixed[..], &addresses, payload].concat())
}

/// The same from a source address.
fn ipv6_from(source: u128, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ipv6(M2, M3, next, payload);
    bytes[14 + 8..14 + 24].copy_from_slice(&source.to_be_bytes());
    bytes
}

fn advertisement(from: PortId, to: PortId) -> Vec<u8> {
    ipv6(from, to, 58, &[134, 0, 0, 0, 64, 0, 7, 8])
}

/// The same frame in every disguise that some receiver takes off: tags of all kinds, one or two, and
/// LLC/SNAP (RFC 1042), alone and behind a tag.
fn disguised(plain: &[u8]) -> Vec<Vec<u8>> {
    let snap = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len() - 12 + 6).unwrap().to_be_bytes();
        [&bytes[..12], &length, &[0xaa, 0xaa, 3, 0, 0, 0], &bytes[12..]].concat()
    };
    let vlan = |bytes: &[u8], vid| tagged(bytes, ETHERTYPE_VLAN, vid);
    vec![
        vlan(plain, 0),
        vlan(plain, 0xe000),
        vlan(plain, 5),
        tagged(plain, ETHERTYPE_QINQ, 0),
        vlan(&vlan(plain, 0), 0),
        tagged(&vlan(plain, 7), ETHERTYPE_QINQ, 8),
        tagged(plain, 0x9100, 0),
        snap(plain),
        vlan(&snap(plain), 0),
        snap(&vlan(plain, 0)),
    ]
}

/// Refused as it is and in every disguise.
#[track_caller]
fn refuses_all(lab: &mut Lab, port: PortId, plain: &[u8], reason: DropReason) {
    lab.refuses(port, plain, reason);
    for (number, hidden) in disguised(plain).into_iter().enumerate() {
        let before = lab.counts(port).drops(reason);
        lab.receive(port, &hidden);
        assert_eq!(lab.sent_all(), [], "disguise {number}");
        assert_eq!(lab.counts(port).drops(reason), before + 1, "disguise {number}");
    }
}

#[track_caller]
fn passes_all(lab: &mut Lab, port: PortId, plain: &[u8], out: PortId) {
    assert_eq!(lab.passes(port, plain, out), plain);
    for hidden in disguised(plain) {
        assert_eq!(lab.passes(port, &hidden, out), hidden);
    }
}

#[test]
fn vz_6_the_mac_filter_holds_a_member_to_its_mac() {
    let mut lab = Lab::new();
    let forged = packet(M2, M3).source_mac(at(M1).mac).bytes();
    refuses_all(&mut lab, M2, &forged, DropReason::SpoofedMac);
    lab.change(|host| host.bridged(M2).filters.mac = false);
    let unknown = packet(M2, M3).source_mac(MacAddr([2, 1, 1, 1, 1, 1])).bytes();
    passes_all(&mut lab, M2, &unknown, M3);
}

#[test]
fn vz_6_with_registered_addresses_a_member_sends_from_those_only() {
    let mut lab = Lab::new();
    passes_all(&mut lab, M1, &packet(M1, M2).bytes(), M2);
    for source in [OTHER, at(M2).ip, FAR, UNSPECIFIED, [127, 0, 0, 1].into()] {
        let forged = packet(M1, M2).source(source).bytes();
        refuses_all(&mut lab, M1, &forged, DropReason::SpoofedIp);
    }
    // A prefix counts whole.
    lab.change(|host| host.bridged(M1).ipv4 = [(0x0a01_0000, 0xffff_0000)].into());
    passes_all(&mut lab, M1, &packet(M1, M2).source([10, 1, 255, 3].into()).bytes(), M2);
    let outside = packet(M1, M2).source([10, 2, 0, 3].into()).bytes();
    refuses_all(&mut lab, M1, &outside, DropReason::SpoofedIp);
    lab.change(|host| host.bridged(M1).filters.ip = false);
    passes_all(&mut lab, M1, &outside, M2);
}

#[test]
fn vz_6_without_registered_addresses_any_source_passes() {
    let mut lab = Lab::new();
    for source in [OTHER, at(M1).ip, FAR, UNSPECIFIED] {
        passes_all(&mut lab, M2, &packet(M2, M3).source(source).bytes(), M3);
    }
    passes_all(&mut lab, M2, &ipv6(M2, M3, 17, &filler(40)), M3);
}

#[test]
fn vz_6_with_registered_ipv6_addresses_a_member_sends_from_those_only() {
    const OWN: u128 = 0x2001_0db8 << 96 | 0x10;
    const OTHERS: u128 = 0x2001_0db8 << 96 | 0x11;
    const LINK_LOCAL: u128 = 0xfe80 << 112 | 0x99;
    let mut lab = Lab::new();
    let data = filler(40);
    passes_all(&mut lab, M2, &ipv6_from(OTHERS, 17, &data), M3);
    lab.change(|host| host.bridged(M2).ipv6 = [(OWN, u128::MAX)].into());
    let claims = |source, target: u128| {
        ipv6_from(source, 58, &[&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &target.to_be_bytes()].concat())
    };
    let solicits =
        |source| ipv6_from(source, 58, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &[1; 16]].concat());
    for source in [OWN, LINK_LOCAL, LINK_LOCAL | 0x3f << 112] {
        passes_all(&mut lab, M2, &ipv6_from(source, 17, &data), M3);
        passes_all(&mut lab, M2, &solicits(source), M3);
        passes_all(&mut lab, M2, &claims(source, OWN), M3);
        passes_all(&mut lab, M2, &claims(OWN, source), M3);
        refuses_all(&mut lab, M2, &claims(source, OTHERS), DropReason::SpoofedIp);
        // A target that is not there, or that a chain of headers hides.
        let cut = ipv6_from(source, 58, &claims(source, OWN)[54..60]);
        refuses_all(&mut lab, M2, &cut, DropReason::SpoofedIp);
        lab.change(|host| host.bridged(M2).filters.ra = false);
        let hidden = ipv6_from(source, 44, &[60, 0, 0, 1, 0, 0, 0, 9]);
        lab.change(|host| host.bridged(M2).filters.dhcp = false);
        refuses_all(&mut lab, M2, &hidden, DropReason::SpoofedIp);
    }
    for source in [OTHERS, 1, 0xfec0 << 112, 0xfe7f << 112] {
        refuses_all(&mut lab, M2, &ipv6_from(source, 17, &data), DropReason::SpoofedIp);
        refuses_all(&mut lab, M2, &solicits(source), DropReason::SpoofedIp);
        refuses_all(&mut lab, M2, &claims(source, OWN), DropReason::SpoofedIp);
    }
    // From nobody: a check whether an address is free (RFC 4862 5.4), and nothing that claims one.
    passes_all(&mut lab, M2, &solicits(0), M3);
    refuses_all(&mut lab, M2, &ipv6_from(0, 17, &data), DropReason::SpoofedIp);
    refuses_all(&mut lab, M2, &claims(0, OWN), DropReason::SpoofedIp);
    refuses_all(&mut lab, M2, &ipv6_from(OWN, 17, &data)[..50], DropReason::SpoofedIp);
    // Per family, and only where the filter is on.
    passes_all(&mut lab, M2, &packet(M2, M3).source(OTHER).bytes(), M3);
    lab.change(|host| host.bridged(M2).filters.ip = false);
    passes_all(&mut lab, M2, &ipv6_from(OTHERS, 17, &data), M3);
}

#[test]
fn vz_6_0_0_0_0_passes_in_dhcp_requests_and_arp_probes_only() {
    let mut lab = Lab::new();
    let nobody = packet(M1, M2).source(UNSPECIFIED);
    passes_all(&mut lab, M1, &nobody.clone().udp(68, 67, &[1; 240]).bytes(), M2);
    for (source, destination) in [(67, 67), (68, 68), (69, 67), (68, 53)] {
        let other = nobody.clone().udp(source, destination, &[1; 240]).bytes();
        refuses_all(&mut lab, M1, &other, DropReason::SpoofedIp);
    }
    let fragment = nobody.clone().udp(68, 67, &[1; 240]).fragment(MORE_FRAGMENTS).bytes();
    refuses_all(&mut lab, M1, &fragment, DropReason::SpoofedIp);
    refuses_all(&mut lab, M1, &nobody.icmp(8, 0, &[]).bytes(), DropReason::SpoofedIp);
    let probe = Arp::probe(at(M1).mac, OTHER).frame(at(M2).mac, at(M1).mac);
    passes_all(&mut lab, M1, &probe, M2);
}

#[test]
fn vz_6_arp_from_a_member_carries_its_own_pair() {
    let mut lab = Lab::new();
    let me = at(M1);
    let sent = |arp: Arp| arp.frame(at(M2).mac, me.mac);
    passes_all(&mut lab, M1, &sent(Arp::request(me.mac, me.ip, OTHER)), M2);
    for forged in [
        Arp::request(at(M3).mac, me.ip, OTHER),
        Arp::request(me.mac, OTHER, at(M2).ip),
        Arp::announcement(me.mac, at(M2).ip),
        Arp::probe(at(M3).mac, OTHER),
    ] {
        refuses_all(&mut lab, M1, &sent(forged), DropReason::SpoofedArp);
    }
    let mut malformed = sent(Arp::request(me.mac, me.ip, OTHER)).to_vec();
    malformed[16] = 0x40;
    refuses_all(&mut lab, M1, &malformed, DropReason::ArpMalformed);
    // Without addresses the IP is free, the MAC is not.
    let arp = Arp::request(at(M2).mac, OTHER, at(M3).ip);
    passes_all(&mut lab, M2, &arp.frame(at(M3).mac, at(M2).mac), M3);
    let forged = Arp { sender_mac: me.mac, ..arp }.frame(at(M3).mac, at(M2).mac);
    refuses_all(&mut lab, M2, &forged, DropReason::SpoofedArp);
    // With no filter even what is no ARP for IPv4 passes.
    lab.change(|host| host.bridged(M1).filters = Filters::NONE);
    passes_all(&mut lab, M1, &malformed, M2);
}

#[test]
fn vz_6_a_member_is_no_dhcp_server_unless_allowed() {
    let mut lab = Lab::new();
    let offer = packet(M2, M3).udp(67, 68, &[2; 240]).bytes();
    let offer6 = ipv6(M2, M3, 17, &[2, 35, 2, 34, 0, 12, 0, 0, 2, 0, 0, 0]);
    for frame in [&offer, &offer6] {
        refuses_all(&mut lab, M2, frame, DropReason::DhcpServer);
    }
    lab.change(|host| host.bridged(M2).filters.dhcp = false);
    for frame in [&offer, &offer6] {
        passes_all(&mut lab, M2, frame, M3);
    }
}

#[test]
fn vz_6_a_member_is_no_ipv6_router_unless_allowed() {
    let mut lab = Lab::new();
    let ra = advertisement(M2, M3);
    // Behind an extension header, and behind one that is cut short.
    let behind = ipv6(M2, M3, 0, &[58, 0, 0, 0, 0, 0, 0, 0, 134, 0, 0, 0, 64, 0, 7, 8]);
    let cut = ipv6(M2, M3, 0, &[58, 9, 0, 0, 0, 0, 0, 0]);
    for frame in [&ra, &behind, &cut] {
        refuses_all(&mut lab, M2, frame, DropReason::RouterAdvertisement);
    }
    passes_all(&mut lab, M2, &ipv6(M2, M3, 58, &[135, 0, 0, 0, 0, 0, 0, 0]), M3);
    lab.change(|host| host.bridged(M2).filters.ra = false);
    passes_all(&mut lab, M2, &ra, M3);
}

#[test]
fn vz_6_bridge_protocol_frames_from_a_member_are_dropped_unless_allowed() {
    let mut lab = Lab::new();
    let bpdu = frame(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), at(M2).mac, 0x0026, &filler(38));
    refuses_all(&mut lab, M2, &bpdu, DropReason::BridgeProtocol);
    lab.change(|host| host.bridged(M2).filters.bpdu = false);
    lab.receive(M2, &bpdu);
    assert_eq!(lab.sent_all().len(), 3);
}

#[test]
fn a_frame_under_more_tags_than_the_guard_looks_behind_is_dropped() {
    let mut lab = Lab::new();
    let mut deep = packet(M2, M3).bytes();
    for _ in 0..3 {
        deep = tagged(&deep, ETHERTYPE_VLAN, 0);
    }
    let deeper = tagged(&deep, ETHERTYPE_VLAN, 0);
    lab.passes(M2, &deep, M3);
    lab.refuses(M2, &deeper, DropReason::VlanUnknown);
    lab.refuses(M2, &deep[..20], DropReason::VlanUnknown);
    lab.change(|host| host.bridged(M2).filters = Filters::NONE);
    lab.passes(M2, &deeper, M3);
}

#[test]
fn short_packets_do_not_slip_through() {
    let mut lab = Lab::new();
    let whole = packet(M1, M2).source(OTHER).bytes();
    for len in 14..30 {
        lab.refuses(M1, &whole[..len], DropReason::Ipv4Truncated);
    }
    lab.refuses(M1, &whole[..30], DropReason::SpoofedIp);
    let arp = who_has(at(M2), OTHER);
    for len in 14..42 {
        lab.refuses(M2, &arp[..len], DropReason::ArpMalformed);
    }
    assert_eq!((ETHERTYPE_ARP, ETHERTYPE_IPV4), (0x0806, 0x0800));
    // A DHCP server whose ports are cut off by the end of the frame.
    let offer = packet(M2, M3).udp(67, 68, &[2; 240]).bytes();
    lab.refuses(M2, &offer[..14 + 22], DropReason::DhcpServer);
}

#[test]
fn headers_in_a_second_segment_are_not_guessed() {
    let mut lab = Lab::new();
    let bytes = packet(M1, M2).source(OTHER).total(1400).bytes();
    for head_bytes in [0, 14, 26, 34, 60] {
        let mut frame = lab.pool.frame(&bytes, M1).unwrap();
        frame.chain(head_bytes);
        lab.path.run(M1, &mut [frame].into_iter().collect(), lab.now_ns);
        lab.path.flush();
        assert_eq!(lab.sent_all(), []);
    }
    assert_eq!(lab.drops(M1), [(DropReason::EthernetTruncated, 5)]);
}
