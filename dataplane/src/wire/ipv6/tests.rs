use super::*;
use crate::wire::{dhcp, icmpv6};
use proptest::prelude::*;

/// A packet whose payload is `headers`, each (next header, bytes behind the next-header byte), then
/// `upper`. The first number is the fixed header's.
fn packet(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[0] = 0x60;
    bytes[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes[6] = first;
    bytes[7] = 255;
    bytes.extend_from_slice(payload);
    bytes
}

const ADVERTISEMENT: [u8; 16] = [134, 0, 0x12, 0x34, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
/// Destination options of 8 bytes, then ICMPv6.
const OPTIONS: [u8; 8] = [NEXT_ICMPV6, 0, 1, 4, 0, 0, 0, 0];

fn is_advertisement(first: u8, parts: &[&[u8]]) -> bool {
    icmpv6::is_router_advertisement(&packet(first, &parts.concat()))
}

#[test]
fn an_advertisement_is_found_behind_any_chain() {
    assert!(is_advertisement(NEXT_ICMPV6, &[&ADVERTISEMENT]));
    assert!(is_advertisement(NEXT_DESTINATION, &[&OPTIONS, &ADVERTISEMENT]));
    let hop_by_hop = [NEXT_DESTINATION, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(is_advertisement(NEXT_HOP_BY_HOP, &[&hop_by_hop, &OPTIONS, &ADVERTISEMENT]));
    let authentication =
        [NEXT_ICMPV6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(is_advertisement(NEXT_AUTHENTICATION, &[&authentication, &ADVERTISEMENT]));
    let first_fragment = [NEXT_ICMPV6, 0, 0, 1, 0, 0, 0, 9];
    assert!(is_advertisement(NEXT_FRAGMENT, &[&first_fragment, &ADVERTISEMENT]));
}

#[test]
fn other_icmpv6_passes() {
    for kind in [128, 129, 133, 135, 136] {
        assert!(!is_advertisement(NEXT_ICMPV6, &[&[kind, 0, 0, 0, 0, 0, 0, 0]]), "type {kind}");
    }
    let authentication = [NEXT_ICMPV6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let solicitation = [133, 0, 0, 0, 0, 0, 0, 0];
    assert!(!is_advertisement(NEXT_AUTHENTICATION, &[&authentication, &solicitation]));
    assert!(!is_advertisement(NEXT_DESTINATION, &[&OPTIONS, &solicitation]));
    assert!(!is_advertisement(NEXT_UDP, &[&ADVERTISEMENT]));
    assert!(!is_advertisement(NEXT_NONE, &[&ADVERTISEMENT]));
}

#[test]
fn a_chain_cut_short_by_its_first_fragment_is_suspicious() {
    // RFC 7113 section 2.2: the options fill the first fragment, the advertisement comes in the
    // next.
    let first = [NEXT_DESTINATION, 0, 0, 1, 0, 0, 0, 9];
    let long = [NEXT_ICMPV6, 3, 1, 28, 0, 0, 0, 0];
    assert!(is_advertisement(NEXT_FRAGMENT, &[&first, &long]));
    assert!(is_advertisement(NEXT_FRAGMENT, &[&[NEXT_ICMPV6, 0, 0, 1, 0, 0, 0, 9]]));
    assert!(is_advertisement(NEXT_HOP_BY_HOP, &[]));
    // What is behind the payload length is padding, not the rest of the chain.
    let mut padded = packet(NEXT_DESTINATION, &OPTIONS);
    padded.extend_from_slice(&[128; 16]);
    assert!(icmpv6::is_router_advertisement(&padded));
}

#[test]
fn a_later_fragment_passes() {
    let later = [NEXT_ICMPV6, 0, 0, 8, 0, 0, 0, 9];
    assert!(!is_advertisement(NEXT_FRAGMENT, &[&later, &ADVERTISEMENT]));
    assert_eq!(upper(&packet(NEXT_FRAGMENT, &later)), Some(Upper::LaterFragment));
}

#[test]
fn what_is_not_ipv6_is_none() {
    let mut bytes = packet(NEXT_ICMPV6, &ADVERTISEMENT);
    assert_eq!(upper(&bytes[..39]), None);
    bytes[0] = 0x45;
    assert_eq!(upper(&bytes), None);
    assert!(!icmpv6::is_router_advertisement(&bytes));
}

#[test]
fn a_dhcpv6_server_is_known_by_its_ports() {
    let udp = |source: u16, destination: u16| {
        let [s0, s1] = source.to_be_bytes();
        let [d0, d1] = destination.to_be_bytes();
        [s0, s1, d0, d1, 0, 12, 0, 0, 7, 0, 0, 1]
    };
    let reply = |parts: &[u8], first| dhcp::is_server_reply_v6(&packet(first, parts));
    assert!(reply(&udp(547, 546), NEXT_UDP));
    assert!(!reply(&udp(546, 547), NEXT_UDP));
    let options = [NEXT_UDP, 0, 1, 4, 0, 0, 0, 0];
    assert!(reply(&[&options[..], &udp(547, 546)].concat(), NEXT_DESTINATION));
    assert!(reply(&udp(547, 546)[..7], NEXT_UDP), "ports that are not there can't be trusted");
    assert!(!reply(&udp(547, 546), 6));
}

/// Numbers that lead somewhere.
const NEXT_HEADERS: [u8; 8] = [0, 43, 44, 51, 60, 135, 58, 17];

proptest! {
    #[test]
    fn any_bytes_come_to_an_end(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        chain in prop::collection::vec(prop::sample::select(&NEXT_HEADERS[..]), 8),
        sound: bool,
    ) {
        if sound && bytes.len() > HEADER_BYTES {
            bytes[0] = 0x60;
            bytes[4] = 0;
            bytes[6] = chain[0];
            for (at, next) in (HEADER_BYTES..bytes.len()).step_by(8).zip(&chain[1..]) {
                bytes[at] = *next;
                if at + 1 < bytes.len() {
                    bytes[at + 1] %= 2;
                }
            }
        }
        let found = upper(&bytes);
        if let Some(Upper::Protocol { bytes: rest, .. }) = found {
            prop_assert!(rest.len() + HEADER_BYTES <= bytes.len());
        }
        prop_assert_eq!(found.is_none(), bytes.len() < HEADER_BYTES || bytes[0] >> 4 != 6);
        icmpv6::is_router_advertisement(&bytes);
        dhcp::is_server_reply_v6(&bytes);
        dhcp::is_server_reply(&bytes);
    }
}
