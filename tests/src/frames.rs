//! Frames as bytes, right or forged. Deliberately not the program's own views: two descriptions of
//! one wire format check each other.

use std::net::Ipv4Addr;

/// A MAC address.
pub type Mac = [u8; 6];

/// To everyone.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// Reads `02:00:00:00:00:01`.
pub fn mac(text: &str) -> Mac {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().unwrap_or_else(|| panic!("bad MAC {text}"));
        *byte = u8::from_str_radix(part, 16).unwrap_or_else(|_| panic!("bad MAC {text}"));
    }
    bytes
}

/// Writes `02:00:00:00:00:01`.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads a dotted address.
pub fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap_or_else(|_| panic!("bad address {text}"))
}

/// An Ethernet frame.
pub fn ethernet(to: Mac, from: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The same frame with an 802.1Q tag.
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend_from_slice(&VLAN.to_be_bytes());
    out.extend_from_slice(&vlan.to_be_bytes());
    out.extend_from_slice(&frame[12..]);
    out
}

/// What an ARP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// Sender's MAC.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender_ip: Ipv4Addr,
    /// Target's MAC.
    pub target_mac: Mac,
    /// Target's address.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Who has `target`? Says `sender`.
    pub fn request(sender_mac: Mac, sender_ip: &str, target_ip: &str) -> Self {
        Self {
            operation: 1,
            sender_mac,
            sender_ip: ip(sender_ip),
            target_mac: [0; 6],
            target_ip: ip(target_ip),
        }
    }

    /// `sender_ip` is at `sender_mac`, told to `target`.
    pub fn reply(sender_mac: Mac, sender_ip: &str, target_mac: Mac, target_ip: &str) -> Self {
        Self {
            operation: 2,
            sender_mac,
            sender_ip: ip(sender_ip),
            target_mac,
            target_ip: ip(target_ip),
        }
    }

    /// As a frame from its sender to `to`.
    pub fn frame(&self, to: Mac) -> Vec<u8> {
        self.frame_from(to, self.sender_mac)
    }

    /// As a frame whose Ethernet source need not be the ARP sender.
    pub fn frame_from(&self, to: Mac, from: Mac) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend_from_slice(&self.operation.to_be_bytes());
        bytes.extend_from_slice(&self.sender_mac);
        bytes.extend_from_slice(&self.sender_ip.octets());
        bytes.extend_from_slice(&self.target_mac);
        bytes.extend_from_slice(&self.target_ip.octets());
        bytes.resize(46, 0);
        ethernet(to, from, ARP, &bytes)
    }

    /// Reads a frame, if it is ARP for IPv4 over Ethernet.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let body = frame.get(14..42)?;
        if frame[12..14] != ARP.to_be_bytes() || body[..6] != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        Some(Self {
            operation: u16::from_be_bytes([body[6], body[7]]),
            sender_mac: body[8..14].try_into().ok()?,
            sender_ip: Ipv4Addr::new(body[14], body[15], body[16], body[17]),
            target_mac: body[18..24].try_into().ok()?,
            target_ip: Ipv4Addr::new(body[24], body[25], body[26], body[27]),
        })
    }
}

/// An IPv4 packet with a right checksum.
pub fn ipv4(from: &str, to: &str, ttl: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).expect("a packet of 64 kB at most");
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&[0x12, 0x34, 0, 0, ttl, protocol, 0, 0]);
    bytes.extend_from_slice(&ip(from).octets());
    bytes.extend_from_slice(&ip(to).octets());
    refresh_checksum(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// Makes the header checksum right after a test changed header bytes.
pub fn refresh_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let header = usize::from(packet[0] & 15) * 4;
    let sum = checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A UDP datagram without a checksum (allowed over IPv4, RFC 768).
pub fn udp(from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram of 64 kB at most");
    let mut bytes = Vec::with_capacity(8 + payload.len());
    bytes.extend_from_slice(&from_port.to_be_bytes());
    bytes.extend_from_slice(&to_port.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

/// An ICMP echo request.
pub fn echo(id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(payload);
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// The Internet checksum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// Source and destination of an IPv4 frame.
pub fn addresses(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let header = frame.get(14..34).filter(|_| frame[12..14] == IPV4.to_be_bytes())?;
    let at = |i: usize| Ipv4Addr::new(header[i], header[i + 1], header[i + 2], header[i + 3]);
    Some((at(12), at(16)))
}

/// Source and destination MAC of a frame.
pub fn macs(frame: &[u8]) -> (Mac, Mac) {
    let at = |i: usize| frame[i..i + 6].try_into().expect("six bytes");
    (at(6), at(0))
}

/// A small generator of reproducible bytes (xorshift64*), so that a failure can be run again.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit as u64).expect("below a usize")
    }

    /// Bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number().to_le_bytes()[7]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let packet = ipv4("192.0.2.1", "203.0.113.9", 64, UDP, &udp(1, 2, b"x"));
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(checksum(&echo(7, 9, b"abc")), 0);
    }

    #[test]
    fn an_arp_frame_reads_back() {
        let arp = Arp::reply([2; 6], "192.0.2.1", [4; 6], "192.0.2.9");
        assert_eq!(Arp::read(&arp.frame(BROADCAST)), Some(arp));
        assert_eq!(Arp::read(&ethernet(BROADCAST, [2; 6], IPV4, &[0; 46])), None);
    }

    #[test]
    fn a_tag_goes_between_addresses_and_type() {
        let frame = tagged(&ethernet([1; 6], [2; 6], IPV4, &[9]), 100);
        assert_eq!(&frame[12..], &[0x81, 0, 0, 100, 8, 0, 9]);
    }
}
