//! ICMPv6 as far as a network's guard needs it: router advertisements (RFC 4861 4.2).

use super::ipv6::{self, NEXT_ICMPV6, Upper};

/// Type: router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;

/// Whether an IPv6 packet is a router advertisement, or hides whether it is one: a chain of
/// extension headers that ends beyond the packet or its first fragment (RFC 7113 section 3).
/// `packet` is the contiguous bytes behind the Ethernet header.
#[inline]
pub fn is_router_advertisement(packet: &[u8]) -> bool {
    match ipv6::upper(packet) {
        Some(Upper::Protocol { number: NEXT_ICMPV6, bytes }) => {
            bytes.first().is_none_or(|kind| *kind == ROUTER_ADVERTISEMENT)
        }
        Some(Upper::Unfinished) => true,
        _ => false,
    }
}
