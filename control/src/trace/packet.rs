//! A packet in one line, by its first bytes.

use dataplane::wire::arp::Arp;
use dataplane::wire::ethernet::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, Ethernet, HEADER_BYTES,
    TAG_BYTES, Tag,
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a frame says of itself.
pub(super) fn describe(head: &[u8]) -> String {
    let Some(ethernet) = Ethernet::parse(head) else { return "no Ethernet header".to_owned() };
    let (mut text, mut kind) =
        (format!("{} > {}", ethernet.source, ethernet.destination), ethernet.ether_type);
    let mut payload = head.get(HEADER_BYTES..).unwrap_or_default();
    if kind == ETHERTYPE_VLAN
        && let Some(tag) = Tag::parse(head)
    {
        text += &format!(", VLAN {}", tag.vid);
        kind = tag.inner_type;
        payload = payload.get(TAG_BYTES..).unwrap_or_default();
    }
    let inner = match kind {
        ETHERTYPE_IPV4 => ipv4(payload),
        ETHERTYPE_ARP => Arp::parse(payload).map(|arp| match arp.operation {
            1 => format!("ARP who has {} tell {}", arp.target_ip, arp.sender_ip),
            _ => format!("ARP {} is at {}", arp.sender_ip, arp.sender_mac),
        }),
        ETHERTYPE_IPV6 => ipv6(payload),
        _ => None,
    };
    let inner = inner.unwrap_or_else(|| format!("EtherType {kind:#06x}"));
    format!("{text}, {inner}")
}

/// What a rewrite changed.
pub(super) fn difference(before: &[u8], after: &[u8]) -> String {
    if before == after {
        return "as it came".to_owned();
    }
    let ttl = |head: &[u8]| {
        let is_ipv4 = Ethernet::parse(head).is_some_and(|it| it.ether_type == ETHERTYPE_IPV4);
        head.get(HEADER_BYTES + 8).copied().filter(|_| is_ipv4)
    };
    let mut parts = Vec::new();
    if let Some(ethernet) = Ethernet::parse(after) {
        parts.push(format!("{} > {}", ethernet.source, ethernet.destination));
    }
    match (ttl(before), ttl(after)) {
        (Some(was), Some(is)) if was != is => parts.push(format!("ttl {was} > {is}")),
        _ => {}
    }
    let vid = |head: &[u8]| {
        let is_tagged = Ethernet::parse(head).is_some_and(|it| it.ether_type == ETHERTYPE_VLAN);
        Tag::parse(head).filter(|_| is_tagged).map(|tag| tag.vid)
    };
    match (vid(before), vid(after)) {
        (None, Some(vid)) => parts.push(format!("tag {vid} pushed")),
        (Some(vid), None) => parts.push(format!("tag {vid} popped")),
        _ => {}
    }
    parts.join(", ")
}

fn ipv4(packet: &[u8]) -> Option<String> {
    let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let (source, destination) = (address(12)?, address(16)?);
    let header_bytes = usize::from(packet.first()? & 0xf) * 4;
    let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?) & 0x1fff;
    let payload = packet.get(header_bytes..).unwrap_or_default();
    let what = match (fragment, *packet.get(9)?) {
        (0, protocol) => transport(protocol, payload),
        (offset, protocol) => format!("protocol {protocol}, fragment at {}", u32::from(offset) * 8),
    };
    Some(format!("IPv4 {source} > {destination}, {what}, ttl {}", packet.get(8)?))
}

fn ipv6(packet: &[u8]) -> Option<String> {
    let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
    let (source, destination) = (address(8)?, address(24)?);
    let what = transport(*packet.get(6)?, packet.get(40..).unwrap_or_default());
    Some(format!("IPv6 {source} > {destination}, {what}"))
}

fn transport(protocol: u8, payload: &[u8]) -> String {
    let ports = || {
        let [a, b, c, d] = *payload.first_chunk()?;
        Some(format!("{} > {}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    };
    let with_ports = |name: &str| match ports() {
        Some(ports) => format!("{name} {ports}"),
        None => name.to_owned(),
    };
    match (protocol, payload.first()) {
        (1, Some(8)) => "ICMP echo request".to_owned(),
        (1, Some(0)) => "ICMP echo reply".to_owned(),
        (1, Some(kind)) => format!("ICMP type {kind}"),
        (58, Some(kind)) => format!("ICMPv6 type {kind}"),
        (6, _) => with_ports("TCP"),
        (17, _) => with_ports("UDP"),
        (other, _) => format!("protocol {other}"),
    }
}
