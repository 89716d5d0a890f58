//! Frames for the tests, built field by field so that each field can be wrong.

use crate::wire::arp::Arp;
use crate::wire::checksum;
use crate::wire::ethernet::{ETHERTYPE_IPV4, MacAddr};
use crate::wire::ipv4::{PROTOCOL_ICMP, PROTOCOL_UDP};
use std::net::Ipv4Addr;

/// Somebody with one MAC and one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Station {
    pub(super) mac: MacAddr,
    pub(super) ip: Ipv4Addr,
}

/// An IPv4 packet in an Ethernet frame; right in every field unless told otherwise.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) destination_mac: MacAddr,
    pub(super) source_mac: MacAddr,
    pub(super) ether_type: u16,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) id: u16,
    /// Flags and fragment offset as they stand in the header.
    pub(super) fragment: u16,
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
    /// Bytes behind the packet that are not part of it.
    pub(super) padding: usize,
}

pub(super) const DONT_FRAGMENT: u16 = 0x4000;
pub(super) const MORE_FRAGMENTS: u16 = 0x2000;

/// `count` bytes that differ.
pub(super) fn filler(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

/// A UDP datagram with checksum 0 (none).
pub(super) fn udp(source_port: u16, destination_port: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    let header = [source_port, destination_port, length, 0].map(u16::to_be_bytes);
    [header.as_flattened(), data].concat()
}

/// An ICMP message of 8 bytes and `data`.
pub(super) fn icmp(kind: u8, code: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = [&[kind, code, 0, 0, 0x12, 0x34, 0, 1], data].concat();
    let checksum = checksum::internet(&bytes);
    bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

impl Packet {
    /// A small UDP packet from a station to an address, its frame to `gateway`.
    pub(super) fn new(from: Station, gateway: MacAddr, to: Ipv4Addr) -> Packet {
        Packet {
            destination_mac: gateway,
            source_mac: from.mac,
            ether_type: ETHERTYPE_IPV4,
            source: from.ip,
            destination: to,
            ttl: 64,
            protocol: PROTOCOL_UDP,
            id: 0x4321,
            fragment: 0,
            options: Vec::new(),
            payload: udp(5000, 6000, &filler(64)),
            padding: 0,
        }
    }

    pub(super) fn source(mut self, source: Ipv4Addr) -> Packet {
        self.source = source;
        self
    }

    pub(super) fn source_mac(mut self, mac: MacAddr) -> Packet {
        self.source_mac = mac;
        self
    }

    pub(super) fn towards(mut self, mac: MacAddr) -> Packet {
        self.destination_mac = mac;
        self
    }

    pub(super) fn ttl(mut self, ttl: u8) -> Packet {
        self.ttl = ttl;
        self
    }

    pub(super) fn fragment(mut self, word: u16) -> Packet {
        self.fragment = word;
        self
    }

    pub(super) fn options(mut self, options: &[u8]) -> Packet {
        self.options = options.to_vec();
        self
    }

    pub(super) fn icmp(mut self, kind: u8, code: u8, data: &[u8]) -> Packet {
        self.protocol = PROTOCOL_ICMP;
        self.payload = icmp(kind, code, data);
        self
    }

    pub(super) fn udp(mut self, source_port: u16, destination_port: u16, data: &[u8]) -> Packet {
        self.protocol = PROTOCOL_UDP;
        self.payload = udp(source_port, destination_port, data);
        self
    }

    /// So much payload that the IPv4 packet has `bytes` in all.
    pub(super) fn total(mut self, bytes: usize) -> Packet {
        let data_bytes = bytes - 20 - self.options.len() - 8;
        self.payload = udp(5000, 6000, &filler(data_bytes));
        self
    }

    pub(super) fn padding(mut self, bytes: usize) -> Packet {
        self.padding = bytes;
        self
    }

    /// The frame's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = frame(self.destination_mac, self.source_mac, self.ether_type, &self.packet());
        out.resize(out.len() + self.padding, 0xee);
        out
    }

    /// The IPv4 packet alone.
    pub(super) fn packet(&self) -> Vec<u8> {
        let header_bytes = 20 + self.options.len();
        let total = u16::try_from(header_bytes + self.payload.len()).unwrap();
        let mut out = vec![0x40 | u8::try_from(header_bytes / 4).unwrap(), 0];
        for word in [total, self.id, self.fragment] {
            out.extend(word.to_be_bytes());
        }
        out.extend([self.ttl, self.protocol, 0, 0]);
        out.extend(self.source.octets());
        out.extend(self.destination.octets());
        out.extend(&self.options);
        let checksum = checksum::internet(&out);
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        out.extend(&self.payload);
        out
    }
}

/// A frame with any EtherType and payload.
pub(super) fn frame(
    destination: MacAddr,
    source: MacAddr,
    ether_type: u16,
    payload: &[u8],
) -> Vec<u8> {
    [&destination.0, &source.0, &ether_type.to_be_bytes()[..], payload].concat()
}

/// The frame with an 802.1Q tag pushed.
pub(super) fn tagged(frame: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
    [&frame[..12], &tag, &frame[12..]].concat()
}

/// A broadcast ARP request as a kernel sends it.
pub(super) fn who_has(asker: Station, target: Ipv4Addr) -> Vec<u8> {
    let arp = Arp::request(asker.mac, asker.ip, target);
    arp.frame(MacAddr::BROADCAST, asker.mac).to_vec()
}

/// The fields of a routed packet that left: checks lengths and checksum on the way.
pub(super) struct Seen {
    pub(super) destination_mac: MacAddr,
    pub(super) source_mac: MacAddr,
    pub(super) ttl: u8,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    pub(super) id: u16,
    pub(super) fragment: u16,
    pub(super) payload: Vec<u8>,
}

fn mac(bytes: &[u8]) -> MacAddr {
    MacAddr(bytes.try_into().unwrap())
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    <[u8; 4]>::try_from(bytes).unwrap().into()
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes.try_into().unwrap())
}

/// Reads an untagged frame that holds a whole IPv4 packet without options and nothing else.
pub(super) fn read(frame: &[u8]) -> Seen {
    assert_eq!(word(&frame[12..14]), ETHERTYPE_IPV4);
    let packet = &frame[14..];
    assert_eq!(packet[0], 0x45);
    assert_eq!(checksum::internet(&packet[..20]), 0, "header checksum");
    assert_eq!(usize::from(word(&packet[2..4])), packet.len(), "no padding, nothing cut");
    Seen {
        destination_mac: mac(&frame[..6]),
        source_mac: mac(&frame[6..12]),
        ttl: packet[8],
        source: address(&packet[12..16]),
        destination: address(&packet[16..20]),
        protocol: packet[9],
        id: word(&packet[4..6]),
        fragment: word(&packet[6..8]),
        payload: packet[20..].to_vec(),
    }
}
