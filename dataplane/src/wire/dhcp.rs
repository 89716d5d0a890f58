//! DHCP (RFC 2131) and DHCPv6 (RFC 8415) as far as the guard needs them: does a guest answer as a
//! server?

use super::ipv4::{Ipv4, PROTOCOL_UDP};
use super::ipv6::{self, NEXT_UDP, Upper};
use crate::frame::ChecksumState;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const SERVER_PORT_V6: u16 = 547;
const CLIENT_PORT_V6: u16 = 546;
/// `op` of a message from server to client (RFC 951).
const BOOTREPLY: u8 = 2;
/// `msg-type`s from server to client (RFC 8415 7.3).
const ADVERTISE: u8 = 2;
const REPLY_V6: u8 = 7;
const RECONFIGURE: u8 = 10;

/// Ports of a UDP header, and the first byte behind it.
struct Udp {
    source: u16,
    destination: u16,
    first: Option<u8>,
}

impl Udp {
    #[inline]
    fn parse(bytes: &[u8]) -> Option<Udp> {
        let ([s0, s1, d0, d1, ..], behind) = bytes.split_first_chunk::<8>()?;
        Some(Udp {
            source: u16::from_be_bytes([*s0, *s1]),
            destination: u16::from_be_bytes([*d0, *d1]),
            first: behind.first().copied(),
        })
    }
}

/// Whether an IPv4 packet, given by its contiguous head, is a DHCP server's to a client: UDP from
/// port 67 to 68, or a reply to 68 from any port, since clients look at their own port alone. True
/// also where UDP's ports, or behind port 68 the operation, are not in `packet`: a first fragment may
/// hide them. Fragments but the first are judged by their first.
#[inline]
pub fn is_server_reply(packet: &[u8]) -> bool {
    let Ok(parsed) = Ipv4::parse(packet, usize::MAX, ChecksumState::Good) else { return false };
    if parsed.protocol != PROTOCOL_UDP || parsed.fragment_offset != 0 {
        return false;
    }
    let udp = packet.get(parsed.header_bytes.into()..).and_then(Udp::parse);
    udp.is_none_or(|udp| {
        udp.destination == CLIENT_PORT
            && (udp.source == SERVER_PORT || udp.first.is_none_or(|op| op == BOOTREPLY))
    })
}

/// Whether an IPv4 packet, given by its contiguous head, is a DHCP client's to a server: UDP from
/// port 68 to 67, unfragmented.
#[inline]
pub fn is_client_request(packet: &[u8]) -> bool {
    let Ok(parsed) = Ipv4::parse(packet, usize::MAX, ChecksumState::Good) else { return false };
    let udp = packet.get(parsed.header_bytes.into()..).and_then(Udp::parse);
    parsed.protocol == PROTOCOL_UDP
        && !parsed.is_fragment()
        && udp.is_some_and(|udp| udp.source == CLIENT_PORT && udp.destination == SERVER_PORT)
}

/// Whether an IPv6 packet, given by its contiguous head, is a DHCPv6 server's to a client: UDP from
/// port 547 to 546, or from any port with a type that only servers send. True also where the extension
/// headers, UDP's ports or the type are cut short.
#[inline]
pub fn is_server_reply_v6(packet: &[u8]) -> bool {
    match ipv6::upper(packet) {
        Some(Upper::Protocol { number: NEXT_UDP, bytes }) => Udp::parse(bytes).is_none_or(|udp| {
            let is_servers = |kind| matches!(kind, ADVERTISE | REPLY_V6 | RECONFIGURE);
            udp.destination == CLIENT_PORT_V6
                && (udp.source == SERVER_PORT_V6 || udp.first.is_none_or(is_servers))
        }),
        Some(Upper::Unfinished) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4;

    fn packet(fragment_offset: u16, ports: [u16; 2], op: u8) -> Vec<u8> {
        let header = Ipv4 {
            header_bytes: 20,
            total_bytes: 20 + 9,
            ttl: 64,
            protocol: ipv4::PROTOCOL_UDP,
            source: 0xc000_0201,
            destination: u32::MAX,
            id: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset,
            tos: 0,
        };
        let mut bytes = header.emit().to_vec();
        bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        bytes.extend_from_slice(&[0, 9, 0, 0, op]);
        bytes
    }

    #[test]
    fn a_server_is_known_by_its_ports_or_its_reply() {
        assert!(is_server_reply(&packet(0, [67, 68], 2)));
        assert!(is_server_reply(&packet(0, [67, 68], 1)));
        assert!(is_server_reply(&packet(0, [4000, 68], 2)));
        assert!(!is_server_reply(&packet(0, [68, 67], 1)));
        assert!(!is_server_reply(&packet(0, [4000, 68], 1)));
        assert!(!is_server_reply(&packet(0, [67, 69], 2)));
    }

    #[test]
    fn a_client_is_known_by_its_ports() {
        assert!(is_client_request(&packet(0, [68, 67], 1)));
        assert!(!is_client_request(&packet(0, [67, 68], 2)));
        assert!(!is_client_request(&packet(2, [68, 67], 1)));
        assert!(!is_client_request(&packet(0, [68, 67], 1)[..24]));
    }

    #[test]
    fn fragments_but_the_first_and_other_protocols_pass() {
        assert!(!is_server_reply(&packet(2, [67, 68], 2)));
        let mut tcp = packet(0, [67, 68], 2);
        tcp[9] = ipv4::PROTOCOL_TCP;
        assert!(!is_server_reply(&tcp));
        assert!(!is_server_reply(&[]));
    }

    #[test]
    fn ports_that_are_not_there_are_suspicious() {
        assert!(is_server_reply(&packet(0, [67, 68], 2)[..24]));
        // The operation in a later fragment.
        assert!(is_server_reply(&packet(0, [4000, 68], 2)[..28]));
        assert!(!is_server_reply(&packet(0, [4000, 67], 2)[..28]));
    }

    #[test]
    fn a_dhcpv6_server_is_known_by_its_ports_or_its_type() {
        let to_client = |ports: [u16; 2], data: &[u8]| {
            let udp_bytes = u8::try_from(8 + data.len()).unwrap();
            let mut bytes = vec![0x60, 0, 0, 0, 0, udp_bytes, NEXT_UDP, 64];
            bytes.resize(ipv6::HEADER_BYTES, 0);
            bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
            bytes.extend_from_slice(&[0, udp_bytes, 0, 0]);
            is_server_reply_v6(&[&bytes, data].concat())
        };
        for kind in [2, 7, 10] {
            assert!(to_client([4000, 546], &[kind, 1, 2, 3]), "{kind}");
            assert!(!to_client([546, 547], &[kind, 1, 2, 3]), "{kind}");
        }
        assert!(to_client([547, 546], &[1]) && to_client([4000, 546], &[]));
        for kind in [0, 1, 3, 6, 8, 9, 11, 12, 13] {
            assert!(!to_client([4000, 546], &[kind, 1, 2, 3]), "{kind}");
        }
    }
}
