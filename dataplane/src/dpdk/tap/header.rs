//! The header beside each frame of a tap (linux/virtio_net.h, struct virtio_net_hdr; VIRTIO 1.2,
//! 5.1.6): what its sender left undone. Little endian, as the device is told at its opening.

use crate::wire::offload::{Headers, Offload};

/// Bytes of it: that without `num_buffers`, which a tap doesn't use.
pub(super) const HEADER_BYTES: usize = 10;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// A flag beside the kind: congestion marks. Not on offer, and without it the kind still says it all.
const GSO_ECN: u8 = 0x80;

/// What a sender says in it. Nothing of that is checked yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    /// Where a checksum is to be completed: where summing begins, and where the result goes.
    pub(super) checksum: Option<(usize, usize)>,
    /// Length of the pieces that the payload is to be cut to.
    pub(super) segment: Option<u16>,
}

impl Asked {
    /// Reads a header.
    #[inline]
    pub(super) fn read(header: &[u8; HEADER_BYTES]) -> Self {
        let field = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let start = usize::from(field(6));
        let checksum =
            (header[0] & NEEDS_CSUM != 0).then(|| (start, start + usize::from(field(8))));
        let is_long = header[1] & !GSO_ECN != GSO_NONE;
        Self { checksum, segment: is_long.then(|| field(4)) }
    }

    /// Whether the checksum is the frame's outermost transport checksum, the one that its headers show.
    pub(super) fn is_outermost(self, headers: Headers) -> bool {
        let place = (headers.l4_start(), headers.checksum_at());
        self.checksum.is_none_or(|asked| asked == place)
    }
}

/// The header for a frame with this left to do; `head` holds the frame's own headers.
#[inline]
pub(super) fn write(offload: Offload, head: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (headers, size) = match offload {
        Offload::None | Offload::Invalid => return header,
        Offload::Checksum(headers) => (headers, None),
        Offload::Segment(headers, size) => (headers, Some(size)),
    };
    let mut put = |at: usize, value: usize| {
        // All are lengths within a frame's headers.
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        header[at..at + 2].copy_from_slice(&value.to_le_bytes());
    };
    put(6, headers.l4_start());
    put(8, headers.checksum_at() - headers.l4_start());
    if let Some(size) = size {
        put(2, headers.bytes());
        put(4, size.into());
        header[1] = if headers.is_ipv6(head) { GSO_TCPV6 } else { GSO_TCPV4 };
    }
    header[0] = NEEDS_CSUM;
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Headers = Headers { l2: 14, l3: 20, l4: 32 };

    #[test]
    fn what_is_written_is_read_again() {
        let mut head = [0; 66];
        head[14] = 0x45;
        let header = write(Offload::Segment(TCP, 1448), &head);
        assert_eq!(header, [1, GSO_TCPV4, 66, 0, 0xa8, 5, 34, 0, 16, 0]);
        let asked = Asked::read(&header);
        assert_eq!(asked, Asked { checksum: Some((34, 50)), segment: Some(1448) });
        assert!(asked.is_outermost(TCP));
        head[14] = 0x60;
        assert_eq!(write(Offload::Segment(TCP, 1448), &head)[1], GSO_TCPV6);
    }

    #[test]
    fn udp_has_its_checksum_elsewhere() {
        let udp = Headers { l2: 14, l3: 20, l4: 8 };
        let header = write(Offload::Checksum(udp), &[0; 42]);
        assert_eq!(header, [1, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
    }

    #[test]
    fn a_complete_frame_asks_for_nothing() {
        let header = write(Offload::None, &[]);
        assert_eq!(header, [0; HEADER_BYTES]);
        assert_eq!(Asked::read(&header), Asked { checksum: None, segment: None });
    }

    #[test]
    fn the_checksum_of_a_packet_in_a_tunnel_is_not_the_outermost() {
        let asked = Asked::read(&[1, 0, 0, 0, 0, 0, 84, 0, 16, 0]);
        assert!(!asked.is_outermost(TCP));
    }

    #[test]
    fn congestion_marks_do_not_hide_the_kind() {
        let asked = Asked::read(&[1, GSO_TCPV4 | GSO_ECN, 66, 0, 100, 0, 34, 0, 16, 0]);
        assert_eq!(asked.segment, Some(100));
        assert_eq!(Asked::read(&[0, GSO_ECN, 0, 0, 100, 0, 0, 0, 0, 0]).segment, None);
    }
}
