//! The header before each frame on a ring: `virtio_net_hdr` (virtio 1.2, section 5.1.6).

/// Flag: the checksum from `checksum_start` on is left to the device.
pub const NEEDS_CSUM: u8 = 1;
/// No segmentation.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// UDP fragmentation.
pub const GSO_UDP: u8 = 3;
/// TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// UDP segmentation.
pub const GSO_UDP_L4: u8 = 5;
/// Congestion seen; goes with a TCP type.
pub const GSO_ECN: u8 = 0x80;

/// What is said about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetHeader {
    /// [`NEEDS_CSUM`] and others.
    pub flags: u8,
    /// One of the `GSO_` types.
    pub gso_type: u8,
    /// Bytes of all headers.
    pub header_bytes: u16,
    /// Bytes of payload in each segment.
    pub gso_bytes: u16,
    /// Where the checksum begins.
    pub checksum_start: u16,
    /// Where, from there, it is to be written.
    pub checksum_offset: u16,
    /// How many buffers a received frame takes (with mergeable buffers).
    pub buffers: u16,
}

impl NetHeader {
    /// As it stands before a frame: 12 bytes, or the 10 of a device older than virtio 1.0 without
    /// mergeable buffers.
    pub fn bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![self.flags, self.gso_type];
        for word in [
            self.header_bytes,
            self.gso_bytes,
            self.checksum_start,
            self.checksum_offset,
            self.buffers,
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Reads one; None if there are too few bytes.
    pub fn read(bytes: &[u8], length: usize) -> Option<Self> {
        let mut full = bytes.get(..length)?.to_vec();
        full.resize(12, 0);
        let word = |at: usize| u16::from_le_bytes([full[at], full[at + 1]]);
        Some(Self {
            flags: full[0],
            gso_type: full[1],
            header_bytes: word(2),
            gso_bytes: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
            buffers: word(10),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_the_short_one_has_no_buffer_count() {
        let header = NetHeader { gso_bytes: 0x1234, buffers: 3, ..NetHeader::default() };
        assert_eq!(NetHeader::read(&header.bytes(12), 12), Some(header));
        let short = NetHeader::read(&header.bytes(10), 10).expect("ten bytes");
        assert_eq!((short.gso_bytes, short.buffers), (0x1234, 0));
        assert_eq!(NetHeader::read(&header.bytes(10), 12), None);
    }
}
