//! ICMPv6 as far as a network's guard needs it: router and neighbor advertisements (RFC 4861 4.2, 4.4).

use super::ipv6::{self, NEXT_ICMPV6, Upper};

/// Type: router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type: neighbor advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// What an IPv6 packet claims beside its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// Nothing: it is no ICMPv6.
    Other,
    /// Nothing, as ICMPv6 that may come from the unspecified address: solicitations of a host that
    /// checks its address (RFC 4862 5.4) and reports of the groups that it listens to (RFC 3810).
    Unclaiming,
    /// A neighbor advertisement: that the sender has this address.
    Neighbor(u128),
    /// The packet hides what it is, in a chain of extension headers or a message that is cut short.
    Hidden,
}

/// Reads what a packet claims; `packet` is the contiguous bytes behind the Ethernet header. `None` where
/// it is not IPv6.
#[inline]
pub fn claim(packet: &[u8]) -> Option<Claim> {
    Some(match ipv6::upper(packet)? {
        Upper::Protocol { number: NEXT_ICMPV6, bytes } => match bytes {
            // Type, code, checksum and 4 bytes of flags, then the target.
            [NEIGHBOR_ADVERTISEMENT, _, _, _, _, _, _, _, behind @ ..] => {
                let target = behind.first_chunk();
                target.map_or(Claim::Hidden, |it| Claim::Neighbor(u128::from_be_bytes(*it)))
            }
            [NEIGHBOR_ADVERTISEMENT, ..] | [] => Claim::Hidden,
            _ => Claim::Unclaiming,
        },
        Upper::Unfinished => Claim::Hidden,
        // A receiver drops neighbor discovery in fragments (RFC 6980).
        Upper::Protocol { .. } | Upper::LaterFragment | Upper::Nothing => Claim::Other,
    })
}

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
