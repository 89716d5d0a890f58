//! ICMP (RFC 792): the errors that a router sends (RFC 1812 4.3) and the echo that it answers.

use super::checksum;
use super::ipv4::{self, Ipv4, PROTOCOL_ICMP};
use crate::frame::ChecksumState;

/// Bytes of an ICMP header.
pub const HEADER_BYTES: usize = 8;
/// Most bytes of an error packet, IPv4 header included (RFC 1812 4.3.2.3).
pub const ERROR_BYTES_MAX: usize = 576;

/// Type: echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type: destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Type: source quench (deprecated by RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Type: redirect.
pub const REDIRECT: u8 = 5;
/// Type: echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type: time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// Precedence "internetwork control" (RFC 1812 4.3.2.5) in the type of service.
const PRECEDENCE_CONTROL: u8 = 0xc0;
/// Bits of the type of service that an error takes over from its subject.
const TOS_MASK: u8 = 0x1e;

/// Whether an ICMP type is an error's: nothing is ever sent about one.
#[inline]
pub fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// The errors that we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// 11/0: the TTL ran out in transit.
    TimeExceeded,
    /// 3/0: no route.
    NetUnreachable,
    /// 3/1: the next hop does not answer.
    HostUnreachable,
    /// 3/4: larger than the next link and DF set (RFC 1191).
    FragmentationNeeded {
        /// What the next link takes, bytes.
        mtu: u16,
    },
    /// 3/13: forbidden by the operator.
    Prohibited,
}

impl ErrorKind {
    /// Type, code and the next-hop MTU field (RFC 1191 4).
    fn fields(self) -> (u8, u8, u16) {
        match self {
            Self::TimeExceeded => (TIME_EXCEEDED, 0, 0),
            Self::NetUnreachable => (UNREACHABLE, 0, 0),
            Self::HostUnreachable => (UNREACHABLE, 1, 0),
            Self::FragmentationNeeded { mtu } => (UNREACHABLE, 4, mtu),
            Self::Prohibited => (UNREACHABLE, 13, 0),
        }
    }
}

/// Whether an error may be sent about a packet (RFC 1812 4.3.2.7): not about an ICMP error, a
/// fragment but the first, a multicast or limited-broadcast destination, nor to a source that is no
/// single host. `packet` is the contiguous head of the packet that `parsed` was read from. That its
/// frame was a link-layer broadcast, or its destination a directed one, is for the caller to know.
#[inline]
pub fn may_answer(packet: &[u8], parsed: &Ipv4) -> bool {
    let first = parsed.fragment_offset == 0;
    let unicast = !ipv4::is_multicast(parsed.destination)
        && !ipv4::is_limited_broadcast(parsed.destination)
        && !ipv4::is_martian_source(parsed.source);
    // A type that is not there can't be shown to be no error.
    let about_error = parsed.protocol == PROTOCOL_ICMP
        && payload(packet, parsed).and_then(|icmp| icmp.first()).is_none_or(|kind| is_error(*kind));
    first && unicast && !about_error
}

/// Writes a complete IPv4 packet with an ICMP error about `original`, the contiguous head of a
/// packet that [`Ipv4::parse`] accepted: its header and as much as fits [`ERROR_BYTES_MAX`] in all.
/// Returns its length; 0, and nothing written, where `out` can't hold it with the original's header
/// and 8 bytes, or `original` is no IPv4 packet.
pub fn error_packet(out: &mut [u8], kind: ErrorKind, from: u32, original: &[u8]) -> usize {
    // The port's word for the checksum: it was checked before, and the TTL may be changed since.
    let Ok(parsed) = Ipv4::parse(original, usize::MAX, ChecksumState::Good) else { return 0 };
    let quote = &original[..original.len().min(parsed.total_bytes.into())];
    let room = out.len().min(ERROR_BYTES_MAX).saturating_sub(ipv4::HEADER_BYTES + HEADER_BYTES);
    if room < quote.len().min(usize::from(parsed.header_bytes) + 8) {
        return 0;
    }
    let quote = &quote[..quote.len().min(room)];
    let total = ipv4::HEADER_BYTES + HEADER_BYTES + quote.len();
    let Ok(total_bytes) = u16::try_from(total) else { return 0 };
    let header = Ipv4 {
        header_bytes: 20,
        total_bytes,
        ttl: ipv4::DEFAULT_TTL,
        protocol: PROTOCOL_ICMP,
        source: from,
        destination: parsed.source,
        // Never fragmented, so the identification means nothing (RFC 6864 4.1).
        id: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        tos: PRECEDENCE_CONTROL | parsed.tos & TOS_MASK,
    };
    let (ip, icmp) = out[..total].split_at_mut(ipv4::HEADER_BYTES);
    ip.copy_from_slice(&header.emit());
    let (icmp_type, code, mtu) = kind.fields();
    let [mtu_high, mtu_low] = mtu.to_be_bytes();
    icmp[..HEADER_BYTES].copy_from_slice(&[icmp_type, code, 0, 0, 0, 0, mtu_high, mtu_low]);
    icmp[HEADER_BYTES..].copy_from_slice(quote);
    let checksum = checksum::internet(icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    total
}

/// Turns an echo request that [`Ipv4::parse`] accepted into its reply, in place: addresses swapped,
/// a fresh TTL, both checksums updated, the data not read. False, and nothing changed, for anything
/// else, for fragments (we reassemble nothing), for options and for what is not from and to single
/// hosts. A request whose ICMP checksum is wrong makes a reply whose checksum is wrong.
#[inline]
pub fn turn_echo(packet: &mut [u8]) -> bool {
    let Ok(parsed) = Ipv4::parse(packet, usize::MAX, ChecksumState::Good) else { return false };
    let is_echo = parsed.protocol == PROTOCOL_ICMP
        && !parsed.is_fragment()
        && !parsed.has_options()
        && may_answer(packet, &parsed)
        && usize::from(parsed.total_bytes) >= ipv4::HEADER_BYTES + HEADER_BYTES;
    let (ip, icmp) = match packet.split_first_chunk_mut::<{ ipv4::HEADER_BYTES }>() {
        Some((ip, icmp)) if is_echo => (ip, icmp),
        _ => return false,
    };
    let Some(icmp) = icmp.first_chunk_mut::<HEADER_BYTES>() else { return false };
    if icmp[..2] != [ECHO_REQUEST, 0] {
        return false;
    }
    ip[12..16].copy_from_slice(&parsed.destination.to_be_bytes());
    ip[16..20].copy_from_slice(&parsed.source.to_be_bytes());
    ipv4::set_ttl(ip, ipv4::DEFAULT_TTL);
    icmp[0] = ECHO_REPLY;
    let old = u16::from_be_bytes([icmp[2], icmp[3]]);
    let new = checksum::update(old, u16::from(ECHO_REQUEST) << 8, u16::from(ECHO_REPLY) << 8);
    icmp[2..4].copy_from_slice(&new.to_be_bytes());
    true
}

/// What follows the header, as far as it is contiguous and within the packet.
#[inline]
fn payload<'a>(packet: &'a [u8], parsed: &Ipv4) -> Option<&'a [u8]> {
    let end = packet.len().min(parsed.total_bytes.into());
    packet.get(parsed.header_bytes.into()..end)
}

#[cfg(test)]
mod tests;
