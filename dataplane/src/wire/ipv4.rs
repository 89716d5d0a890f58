//! The IPv4 header (RFC 791), read with the checks that RFC 1812 5.2.2 asks of a router.

use super::checksum;
use crate::counters::DropReason;
use crate::frame::ChecksumState;

/// Bytes of a header without options.
pub const HEADER_BYTES: usize = 20;
/// Bytes of a header with the most options.
pub const HEADER_BYTES_MAX: usize = 60;
/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// TTL of packets that we make (RFC 1700's recommended default).
pub const DEFAULT_TTL: u8 = 64;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A checked header. Addresses are in host order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4 {
    /// Bytes of the header with its options, 20 to 60.
    pub header_bytes: u8,
    /// Bytes of the packet, header included; the frame may be longer by Ethernet padding.
    pub total_bytes: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number of what follows.
    pub protocol: u8,
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Identification.
    pub id: u16,
    /// DF.
    pub dont_fragment: bool,
    /// MF.
    pub more_fragments: bool,
    /// Fragment offset in units of 8 bytes.
    pub fragment_offset: u16,
    /// Type of service, or DSCP and ECN.
    pub tos: u8,
}

impl Ipv4 {
    /// Reads and checks the header of `packet`, the contiguous bytes at the head of a packet of
    /// which `present` bytes are there in all; `checksum` is what the receiving port says of it.
    ///
    /// # Errors
    /// The first check of RFC 1812 5.2.2 that fails, in its order, then RFC 1858's on offset 1:
    /// `Ipv4Truncated`, `Ipv4Header`, `Ipv4Length`, `Ipv4Checksum`, `TinyFragment`.
    #[inline]
    pub fn parse(
        packet: &[u8],
        present: usize,
        checksum: ChecksumState,
    ) -> Result<Ipv4, DropReason> {
        let fixed: &[u8; HEADER_BYTES] = packet.first_chunk().ok_or(DropReason::Ipv4Truncated)?;
        let header_bytes = (fixed[0] & 0xf) * 4;
        if fixed[0] >> 4 != 4 || usize::from(header_bytes) < HEADER_BYTES {
            return Err(DropReason::Ipv4Header);
        }
        let header = packet.get(..header_bytes.into()).ok_or(DropReason::Ipv4Truncated)?;
        let parsed = Self::fields(fixed, header_bytes);
        let total_bytes = usize::from(parsed.total_bytes);
        if total_bytes < header.len() || total_bytes > present || !parsed.fits_a_datagram() {
            return Err(DropReason::Ipv4Length);
        }
        let right = match checksum {
            ChecksumState::Good => true,
            ChecksumState::Bad => false,
            ChecksumState::Unknown => checksum::internet(header) == 0,
        };
        if !right {
            return Err(DropReason::Ipv4Checksum);
        }
        // RFC 1858 asks it for TCP; nothing legitimate sends 8-byte first fragments of any
        // protocol.
        if parsed.fragment_offset == 1 {
            return Err(DropReason::TinyFragment);
        }
        Ok(parsed)
    }

    #[inline]
    fn fields(fixed: &[u8; HEADER_BYTES], header_bytes: u8) -> Ipv4 {
        let [_, tos, t0, t1, i0, i1, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *fixed;
        let fragment = u16::from_be_bytes([f0, f1]);
        Ipv4 {
            header_bytes,
            total_bytes: u16::from_be_bytes([t0, t1]),
            ttl,
            protocol,
            source: u32::from_be_bytes([s0, s1, s2, s3]),
            destination: u32::from_be_bytes([d0, d1, d2, d3]),
            id: u16::from_be_bytes([i0, i1]),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: fragment & OFFSET_MASK,
            tos,
        }
    }

    /// The header without options, checksum set: for packets that we make. `header_bytes` is taken
    /// as 20 whatever it says.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_BYTES] {
        let [t0, t1] = self.total_bytes.to_be_bytes();
        let [i0, i1] = self.id.to_be_bytes();
        let [f0, f1] = self.fragment_word().to_be_bytes();
        let [s0, s1, s2, s3] = self.source.to_be_bytes();
        let [d0, d1, d2, d3] = self.destination.to_be_bytes();
        let (tos, ttl, protocol) = (self.tos, self.ttl, self.protocol);
        let mut header = [
            0x45, tos, t0, t1, i0, i1, f0, f1, ttl, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3,
        ];
        set_checksum(&mut header);
        header
    }

    /// Flags and offset as they stand in the header.
    #[inline]
    pub(super) fn fragment_word(&self) -> u16 {
        let flag = |set, bit| if set { bit } else { 0 };
        self.fragment_offset & OFFSET_MASK
            | flag(self.dont_fragment, DONT_FRAGMENT)
            | flag(self.more_fragments, MORE_FRAGMENTS)
    }

    /// Whether it is part of a larger packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Whether it ends within the longest datagram (RFC 791 3.1). A fragment that doesn't can only be
    /// forged: cut further, its last pieces would have offsets beyond the field and turn into first ones.
    #[inline]
    pub(super) fn fits_a_datagram(&self) -> bool {
        let start = usize::from(self.fragment_offset) * 8;
        start + usize::from(self.total_bytes) <= usize::from(u16::MAX)
    }

    /// Whether it carries options.
    #[inline]
    pub fn has_options(&self) -> bool {
        usize::from(self.header_bytes) > HEADER_BYTES
    }
}

/// Computes and stores the checksum of a whole header; no effect where it is shorter than 20 bytes.
#[inline]
pub(super) fn set_checksum(header: &mut [u8]) {
    if header.len() >= HEADER_BYTES {
        header[10..12].fill(0);
        let checksum = checksum::internet(header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Takes one off the TTL of a packet whose TTL is known to be at least 1, and updates the checksum
/// (RFC 1624). No effect where it is shorter than a header or the TTL is 0.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) {
    if let Some(header) = packet.first_chunk_mut::<HEADER_BYTES>() {
        let ttl = header[8].saturating_sub(1);
        set_ttl(header, ttl);
    }
}

/// The same of the third word of a header as it lies there (TTL, protocol, checksum), whose TTL is not 0.
#[inline]
pub fn counted_down(word: u32) -> u32 {
    // In this byte order a TTL less by 1 is a word less by 1, and so a checksum more by 1, with the
    // carry to the other end; 0xffff, which RFC 1624 never gives, is 0.
    let sum = (word >> 16) + 1;
    let sum = if sum >= 0xffff { sum - 0xffff } else { sum };
    word.wrapping_sub(1) & 0xffff | sum << 16
}

/// Sets the TTL and updates the checksum.
#[inline]
pub(super) fn set_ttl(header: &mut [u8; HEADER_BYTES], ttl: u8) {
    let old = u16::from_be_bytes([header[8], header[9]]);
    header[8] = ttl;
    let new = u16::from_be_bytes([header[8], header[9]]);
    let checksum = checksum::update(u16::from_be_bytes([header[10], header[11]]), old, new);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Source and destination, host order, of what says that it is an IPv4 packet.
#[inline]
pub fn addresses(packet: &[u8]) -> Option<(u32, u32)> {
    let fixed: &[u8; HEADER_BYTES] = packet.first_chunk()?;
    let [.., a, b, c, d, e, f, g, h] = *fixed;
    let ends = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    (fixed[0] >> 4 == 4).then_some(ends)
}

/// Whether a packet from `source` may not be forwarded (RFC 1812 5.3.7): 0/8, 127/8, 224/4 and
/// 240/4, limited broadcast included. Our own addresses and directed broadcasts are for the caller
/// to know.
#[inline]
pub fn is_martian_source(source: u32) -> bool {
    source >= 0xe000_0000 || is_this_network(source) || is_loopback(source)
}

/// Whether a packet to `destination` may not be forwarded (RFC 1812 5.3.7): 0/8, 127/8 and 240/4.
/// Multicast and limited broadcast are not martian, only not unicast: ask [`is_multicast`] and
/// [`is_limited_broadcast`].
#[inline]
pub fn is_martian_destination(destination: u32) -> bool {
    let reserved = destination >= 0xf000_0000 && !is_limited_broadcast(destination);
    reserved || is_this_network(destination) || is_loopback(destination)
}

/// 224/4.
#[inline]
pub fn is_multicast(address: u32) -> bool {
    address >> 28 == 0xe
}

/// 169.254/16 (RFC 3927): never forwarded off its link.
#[inline]
pub fn is_link_local(address: u32) -> bool {
    address >> 16 == 0xa9fe
}

/// 255.255.255.255.
#[inline]
pub fn is_limited_broadcast(address: u32) -> bool {
    address == u32::MAX
}

#[inline]
fn is_this_network(address: u32) -> bool {
    address >> 24 == 0
}

#[inline]
fn is_loopback(address: u32) -> bool {
    address >> 24 == 127
}

#[cfg(test)]
mod tests;
