//! IPv6 (RFC 8200) as far as a network's guard needs it: the fixed header, and what stands at the
//! end of the extension header chain.

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 40;
/// Next header: ICMPv6.
pub const NEXT_ICMPV6: u8 = 58;
/// Next header: UDP.
pub const NEXT_UDP: u8 = 17;

const NEXT_HOP_BY_HOP: u8 = 0;
const NEXT_ROUTING: u8 = 43;
const NEXT_FRAGMENT: u8 = 44;
const NEXT_AUTHENTICATION: u8 = 51;
const NEXT_NONE: u8 = 59;
const NEXT_DESTINATION: u8 = 60;
const NEXT_MOBILITY: u8 = 135;
const NEXT_HIP: u8 = 139;
const NEXT_SHIM6: u8 = 140;

/// Source address of `packet`, contiguous bytes from the fixed header on. `None` where it is not IPv6.
#[inline]
pub fn source(packet: &[u8]) -> Option<u128> {
    let fixed = packet.first_chunk::<HEADER_BYTES>().filter(|fixed| fixed[0] >> 4 == 6)?;
    fixed[8..24].first_chunk().map(|bytes| u128::from_be_bytes(*bytes))
}

/// fe80::/10 (RFC 4291 2.5.6): every host has one on every link, registered with nobody.
#[inline]
pub fn is_link_local(address: u128) -> bool {
    address >> 118 == 0xfe80 >> 6
}

/// What the extension header chain leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upper<'a> {
    /// An upper-layer protocol (or one that hides what follows, as ESP does).
    Protocol {
        /// Its next-header number.
        number: u8,
        /// Its bytes, as many as are contiguous.
        bytes: &'a [u8],
    },
    /// A fragment but the first: harmless without a first one that was judged.
    LaterFragment,
    /// The chain ends with no upper layer.
    Nothing,
    /// The chain is cut short, by the end of the packet or of its first fragment. RFC 7112 forbids
    /// such packets; RFC 7113 has a guard drop them.
    Unfinished,
}

/// Follows the extension headers of `packet`, contiguous bytes from the fixed header on. `None`
/// where it is not IPv6.
pub fn upper(packet: &[u8]) -> Option<Upper<'_>> {
    let (fixed, mut rest) = packet.split_first_chunk::<HEADER_BYTES>()?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    // What is beyond the payload length is Ethernet padding; 0 is a jumbogram (RFC 2675).
    let payload_bytes = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if payload_bytes != 0 {
        rest = &rest[..rest.len().min(payload_bytes)];
    }
    let mut next = fixed[6];
    loop {
        // Ends: each round takes at least 8 bytes off `rest`.
        let bytes = match next {
            NEXT_NONE => return Some(Upper::Nothing),
            NEXT_FRAGMENT => 8,
            NEXT_AUTHENTICATION => match rest {
                [_, words, ..] => (usize::from(*words) + 2) * 4,
                _ => return Some(Upper::Unfinished),
            },
            NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION | NEXT_MOBILITY | NEXT_HIP
            | NEXT_SHIM6 => match rest {
                [_, units, ..] => (usize::from(*units) + 1) * 8,
                _ => return Some(Upper::Unfinished),
            },
            number => return Some(Upper::Protocol { number, bytes: rest }),
        };
        let Some((header, behind)) = rest.split_at_checked(bytes) else {
            return Some(Upper::Unfinished);
        };
        if next == NEXT_FRAGMENT && u16::from_be_bytes([header[2], header[3]]) >> 3 != 0 {
            return Some(Upper::LaterFragment);
        }
        next = header[0];
        rest = behind;
    }
}

#[cfg(test)]
mod tests;
