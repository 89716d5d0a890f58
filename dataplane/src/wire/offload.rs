//! What a guest left undone on a frame, and how it is done in software: the TCP or UDP checksum, and
//! the cutting of one long TCP segment into many (TSO).
//!
//! A guest asks for both by a header beside the frame (VIRTIO 1.2, 5.1.6, struct virtio_net_hdr). What
//! it says there is not trusted: where the transport header begins and how long it is, the frame's own
//! bytes say, and what does not agree with them is refused ([`check`]).

use super::checksum::{fold, sum};
use super::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN};
use super::ipv4;
use super::ipv6;

const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u8 = 60;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
/// Tags that a frame may have before its packet.
const TAGS_MAX: usize = 2;
/// Pieces that one frame may be cut into: 64 KB by the smallest segment that every path carries (RFC
/// 9293, 3.7.1: 536 bytes). More would let one frame of a guest's take hundreds of buffers.
pub const SEGMENTS_MAX: usize = 128;

/// FIN and PSH belong to the last piece, CWR (RFC 3168, 6.1.2) to the first.
const TCP_LAST: u8 = 0x01 | 0x08;
const TCP_FIRST: u8 = 0x80;

/// Lengths of a frame's headers, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers {
    /// Ethernet with its tags.
    pub l2: u8,
    /// IPv4 with options, or IPv6 with extension headers.
    pub l3: u16,
    /// TCP with options, or UDP, which has 8.
    pub l4: u8,
}

/// What is left to do on the way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offload {
    /// Nothing: the frame is complete.
    None,
    /// Its transport checksum; the field holds anything.
    Checksum(Headers),
    /// The same, and its TCP payload is to leave in pieces of at most so many bytes.
    Segment(Headers, u16),
    /// The sender asks for what can't be done.
    Invalid,
}

impl Headers {
    /// All of them, bytes.
    pub fn bytes(self) -> usize {
        usize::from(self.l2) + usize::from(self.l3) + usize::from(self.l4)
    }

    fn l3_start(self) -> usize {
        self.l2.into()
    }

    /// Where the transport header begins.
    pub fn l4_start(self) -> usize {
        self.l3_start() + usize::from(self.l3)
    }

    /// Whether the transport is TCP; else UDP.
    pub fn is_tcp(self) -> bool {
        usize::from(self.l4) != UDP_HEADER_BYTES
    }

    /// Where the transport checksum stands.
    pub fn checksum_at(self) -> usize {
        self.l4_start() + if self.is_tcp() { 16 } else { 6 }
    }

    /// Whether the packet is IPv6; `head` holds the headers.
    pub fn is_ipv6(self, head: &[u8]) -> bool {
        head.get(self.l3_start()).is_some_and(|byte| byte >> 4 == 6)
    }

    /// Where the packet ends, by its own length field.
    pub fn packet_end(self, head: &[u8]) -> usize {
        let at = self.l3_start();
        match self.is_ipv6(head) {
            true => at + ipv6::HEADER_BYTES + usize::from(u16_at(head, at + 4)),
            false => at + usize::from(u16_at(head, at + 2)),
        }
    }
}

impl Offload {
    /// The same on a frame whose link-layer header has another length.
    pub fn with_l2(self, to: impl FnOnce(usize) -> usize) -> Self {
        let moved = |headers: Headers| {
            let l2 = u8::try_from(to(headers.l2.into())).unwrap_or(headers.l2);
            Headers { l2, ..headers }
        };
        match self {
            Self::Checksum(headers) => Self::Checksum(moved(headers)),
            Self::Segment(headers, size) => Self::Segment(moved(headers), size),
            other => other,
        }
    }

    /// Length of the longest packet that a packet of `packet_bytes` becomes on the wire.
    #[inline]
    pub fn packet_bytes(self, packet_bytes: u16) -> u16 {
        match self {
            Self::Segment(headers, size) => {
                headers.l3.saturating_add(headers.l4.into()).saturating_add(size).min(packet_bytes)
            }
            _ => packet_bytes,
        }
    }

    /// Length of the longest frame that a frame of `frame_bytes` becomes on the wire.
    #[inline]
    pub fn frame_bytes(self, frame_bytes: usize) -> usize {
        match self {
            Self::Segment(headers, size) => (headers.bytes() + usize::from(size)).min(frame_bytes),
            _ => frame_bytes,
        }
    }
}

/// What may be done of what a sender asks for: its transport checksum, and with `segment` to cut its
/// TCP payload to pieces of so many bytes. `head` is the frame's first contiguous piece, `frame_bytes`
/// the length of all of it.
pub fn check(head: &[u8], frame_bytes: usize, segment: Option<u16>) -> Offload {
    let Some((headers, protocol)) = parse(head) else { return Offload::Invalid };
    let end = headers.packet_end(head);
    let data = end.checked_sub(headers.bytes());
    let Some(data) = data.filter(|_| end <= frame_bytes && headers.bytes() <= head.len()) else {
        return Offload::Invalid;
    };
    match segment {
        None => Offload::Checksum(headers),
        Some(_) if protocol != TCP => Offload::Invalid,
        Some(size) if data <= usize::from(size) => Offload::Checksum(headers),
        Some(size) if usize::from(size) * SEGMENTS_MAX < data => Offload::Invalid,
        Some(size) => Offload::Segment(headers, size),
    }
}

/// Lengths of the headers of a TCP or UDP packet that is no fragment.
fn parse(head: &[u8]) -> Option<(Headers, u8)> {
    let mut l2 = super::ethernet::HEADER_BYTES;
    let mut ether_type = u16_at(head.get(..l2)?, l2 - 2);
    for _ in 0..TAGS_MAX {
        if matches!(ether_type, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            l2 += 4;
            ether_type = u16_at(head.get(..l2)?, l2 - 2);
        }
    }
    let packet = head.get(l2..)?;
    let (l3, protocol) = match ether_type {
        ETHERTYPE_IPV4 => parse_ipv4(packet)?,
        ETHERTYPE_IPV6 => parse_ipv6(packet)?,
        _ => return None,
    };
    let transport = packet.get(l3..)?;
    let l4 = match protocol {
        TCP => usize::from(transport.get(..TCP_HEADER_BYTES)?[12] >> 4) * 4,
        UDP => transport.get(..UDP_HEADER_BYTES).map(|_| UDP_HEADER_BYTES)?,
        _ => return None,
    };
    let is_too_short = protocol == TCP && l4 < TCP_HEADER_BYTES;
    let headers = Headers {
        l2: u8::try_from(l2).ok()?,
        l3: u16::try_from(l3).ok()?,
        l4: u8::try_from(l4).ok()?,
    };
    (!is_too_short && transport.len() >= l4).then_some((headers, protocol))
}

fn parse_ipv4(packet: &[u8]) -> Option<(usize, u8)> {
    let fixed = packet.first_chunk::<{ ipv4::HEADER_BYTES }>()?;
    let header_bytes = usize::from(fixed[0] & 15) * 4;
    let is_whole = u16_at(fixed, 6) & 0x3fff == 0;
    let fits = fixed[0] >> 4 == 4 && header_bytes >= ipv4::HEADER_BYTES && is_whole;
    fits.then_some((header_bytes, fixed[9]))
}

/// Hop-by-hop and destination options may come before; a fragment or a routing header, by which the
/// checksum would be another's, may not.
fn parse_ipv6(packet: &[u8]) -> Option<(usize, u8)> {
    let fixed =
        packet.first_chunk::<{ ipv6::HEADER_BYTES }>().filter(|fixed| fixed[0] >> 4 == 6)?;
    let (mut at, mut next) = (ipv6::HEADER_BYTES, fixed[6]);
    // Ends: each round takes at least 8 bytes of the packet.
    while matches!(next, HOP_BY_HOP | DESTINATION_OPTIONS) {
        let options = packet.get(at..at + 8)?;
        next = options[0];
        at += (usize::from(options[1]) + 1) * 8;
    }
    Some((at, next))
}

/// The transport checksum of a packet: `head` holds its headers, `transport_sum` is the sum (see
/// [`sum`]) of all from the transport header on, the checksum field taken as 0, and `transport_bytes`
/// its length. Sources: RFC 9293, 3.1; RFC 768; RFC 8200, 8.1.
fn transport_checksum(
    head: &[u8],
    headers: Headers,
    transport_sum: u64,
    transport_bytes: usize,
) -> u16 {
    let pseudo = pseudo_sum(head, headers, transport_bytes);
    match !fold(transport_sum + pseudo) {
        // 0 would say that there is none (RFC 768).
        0 if !headers.is_tcp() => 0xffff,
        checksum => checksum,
    }
}

/// The sum of the pseudo header of a packet whose transport header and data have so many bytes.
fn pseudo_sum(head: &[u8], headers: Headers, transport_bytes: usize) -> u64 {
    let at = headers.l3_start();
    let addresses = match headers.is_ipv6(head) {
        true => at + 8..at + 40,
        false => at + 12..at + 20,
    };
    let protocol = if headers.is_tcp() { TCP } else { UDP };
    sum(head.get(addresses).unwrap_or_default()) + u64::from(protocol) + transport_bytes as u64
}

/// Stores in `head` what a kernel that completes the checksum itself wants to find in its field: the
/// sum of the pseudo header, length included, not complemented. (Linux, include/linux/skbuff.h,
/// CHECKSUM_PARTIAL; VIRTIO 1.2, 5.1.6.2.)
pub fn store_pseudo_sum(head: &mut [u8], headers: Headers) {
    let transport_bytes = headers.packet_end(head).saturating_sub(headers.l4_start());
    let pseudo = fold(pseudo_sum(head, headers, transport_bytes));
    put_u16(head, headers.checksum_at(), pseudo);
}

/// Completes the transport checksum in `head`. `rest_sum` is the sum of what of the packet lies behind
/// `head`, which then has to be of even length from the transport header on; 0 where nothing does.
pub fn complete_checksum(head: &mut [u8], headers: Headers, rest_sum: u64) {
    let (start, end) = (headers.l4_start(), headers.packet_end(head));
    let at = headers.checksum_at();
    let Some(field) = head.get_mut(at..at + 2) else { return };
    field.fill(0);
    let contiguous = head.get(start..end.min(head.len())).unwrap_or_default();
    let checksum =
        transport_checksum(head, headers, sum(contiguous) + rest_sum, end.saturating_sub(start));
    if let Some(field) = head.get_mut(at..at + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Makes a copy of a long frame's headers, with `data_bytes` of its data behind them, the packet that
/// begins `offset` bytes into the data. `piece` holds both; lengths, sequence number, flags, IPv4
/// identification and both checksums are set.
pub fn finish_piece(piece: &mut [u8], headers: Headers, offset: usize, number: u16, is_last: bool) {
    let (l3, l4) = (headers.l3_start(), headers.l4_start());
    let packet_bytes = u16::try_from(piece.len().saturating_sub(l3)).unwrap_or(u16::MAX);
    if headers.is_ipv6(piece) {
        let payload = packet_bytes.saturating_sub(40);
        put_u16(piece, l3 + 4, payload);
    } else {
        put_u16(piece, l3 + 2, packet_bytes);
        let id = u16_at(piece, l3 + 4).wrapping_add(number);
        put_u16(piece, l3 + 4, id);
        if let Some(header) = piece.get_mut(l3..l4) {
            ipv4::set_checksum(header);
        }
    }
    if let Some(sequence) = piece.get_mut(l4 + 4..l4 + 8).and_then(|s| s.first_chunk_mut::<4>()) {
        let by = u32::try_from(offset).unwrap_or(u32::MAX);
        *sequence = u32::from_be_bytes(*sequence).wrapping_add(by).to_be_bytes();
    }
    if let Some(flags) = piece.get_mut(l4 + 13) {
        if !is_last {
            *flags &= !TCP_LAST;
        }
        if number > 0 {
            *flags &= !TCP_FIRST;
        }
    }
    complete_checksum(piece, headers, 0);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
