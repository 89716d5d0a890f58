//! Fragmentation of an IPv4 packet (RFC 791, "An Example Fragmentation Procedure"): which pieces,
//! and the header of each. Copying the data is the pipeline's.

use super::ipv4::{HEADER_BYTES, HEADER_BYTES_MAX, Ipv4, set_checksum};
use arrayvec::ArrayVec;

/// Data of every fragment but the last is a multiple of this.
const UNIT_BYTES: usize = 8;

/// The pieces of one packet, first to last.
#[derive(Clone, Debug)]
pub struct Fragments {
    parsed: Ipv4,
    mtu: usize,
    /// Header of the next piece: the original, then the one with copied options only.
    header: ArrayVec<u8, HEADER_BYTES_MAX>,
    later_header: ArrayVec<u8, HEADER_BYTES_MAX>,
    /// First byte of the original packet that no piece has taken.
    start: usize,
}

/// One piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Its header, complete with length, flags, offset and checksum.
    pub header: ArrayVec<u8, HEADER_BYTES_MAX>,
    /// Its data begins at this byte of the original packet, counted from the original's header.
    pub start: usize,
    /// Bytes of data.
    pub data_bytes: usize,
    /// Whether it is not the last of the datagram.
    pub more: bool,
}

impl Fragments {
    /// Plans the pieces of the packet that `parsed` was read from, `packet` being at least its
    /// whole header, for a link of `mtu` bytes. A packet that fits is one piece. `None` where DF
    /// forbids it, the header and 8 bytes do not fit, or the packet ends beyond the longest datagram.
    pub fn plan(packet: &[u8], parsed: &Ipv4, mtu: u16) -> Option<Fragments> {
        let header = packet.get(..parsed.header_bytes.into())?;
        let mtu = usize::from(mtu);
        let fits = usize::from(parsed.total_bytes) <= mtu;
        if !parsed.fits_a_datagram()
            || !fits && (parsed.dont_fragment || mtu < header.len() + UNIT_BYTES)
        {
            return None;
        }
        Some(Fragments {
            parsed: *parsed,
            mtu,
            header: header.try_into().ok()?,
            later_header: later_header(header)?,
            start: header.len(),
        })
    }
}

impl Iterator for Fragments {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        let first_start = usize::from(self.parsed.header_bytes);
        let left = usize::from(self.parsed.total_bytes).checked_sub(self.start)?;
        if left == 0 && self.start > first_start {
            return None;
        }
        let room = self.mtu.saturating_sub(self.header.len());
        let is_last = left <= room;
        let data_bytes = if is_last { left } else { room / UNIT_BYTES * UNIT_BYTES };
        let units = u16::try_from((self.start - first_start) / UNIT_BYTES).ok()?;
        let more = !is_last || self.parsed.more_fragments;
        let piece = Ipv4 {
            fragment_offset: self.parsed.fragment_offset.checked_add(units)?,
            more_fragments: more,
            ..self.parsed
        };
        let mut header = std::mem::replace(&mut self.header, self.later_header.clone());
        let total_bytes = u16::try_from(header.len() + data_bytes).ok()?;
        header[2..4].copy_from_slice(&total_bytes.to_be_bytes());
        header[6..8].copy_from_slice(&piece.fragment_word().to_be_bytes());
        set_checksum(&mut header);
        let start = self.start;
        // One past the end once an empty packet's only piece is out, so that the iterator ends.
        self.start += if is_last { left.max(1) } else { data_bytes };
        Some(Fragment { header, start, data_bytes, more })
    }
}

/// The header of every piece but the first: options only where their copied flag says so (RFC 791
/// 3.1), padded with end-of-list to a multiple of 4. A malformed option ends the list.
fn later_header(header: &[u8]) -> Option<ArrayVec<u8, HEADER_BYTES_MAX>> {
    let (fixed, mut options) = header.split_at_checked(HEADER_BYTES)?;
    let mut out: ArrayVec<u8, HEADER_BYTES_MAX> = fixed.try_into().ok()?;
    while let Some((option, behind)) = split_option(options) {
        if option[0] & 0x80 != 0 {
            out.try_extend_from_slice(option).ok()?;
        }
        options = behind;
    }
    while !out.len().is_multiple_of(4) {
        out.try_push(0).ok()?;
    }
    out[0] = 0x40 | u8::try_from(out.len() / 4).ok()?;
    Some(out)
}

/// The first option, never empty, and those behind it; `None` at the end of the list.
fn split_option(options: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = match options {
        // 0 ends the list, 1 is one byte of padding; every other has its length behind its type.
        [0, ..] => None,
        [1, ..] => Some(1),
        [_, bytes, ..] => Some(usize::from(*bytes)).filter(|bytes| *bytes >= 2),
        _ => None,
    };
    options.split_at_checked(bytes?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::DropReason;
    use crate::frame::ChecksumState;
    use crate::wire::checksum;
    use proptest::prelude::*;

    /// A packet with `options` and `data_bytes` of data that differ.
    fn packet(options: &[u8], data_bytes: usize, fragment_word: u16) -> Vec<u8> {
        let header_bytes = HEADER_BYTES + options.len();
        let total = u16::try_from(header_bytes + data_bytes).unwrap();
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = 0x40 | u8::try_from(header_bytes / 4).unwrap();
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes[4..12].copy_from_slice(&[0x12, 0x34, 0, 0, 64, 17, 0, 0]);
        bytes[6..8].copy_from_slice(&fragment_word.to_be_bytes());
        bytes[12..].copy_from_slice(&[192, 0, 2, 1, 198, 51, 100, 1]);
        bytes.extend_from_slice(options);
        set_checksum(&mut bytes);
        bytes.extend((0..data_bytes).map(|i| (i % 251).to_le_bytes()[0]));
        bytes
    }

    fn parse(bytes: &[u8]) -> Ipv4 {
        Ipv4::parse(bytes, bytes.len(), ChecksumState::Unknown).unwrap()
    }

    /// Puts the pieces together as a receiver would, checking each.
    fn reassemble(original: &[u8], plan: Fragments, mtu: usize) -> Vec<u8> {
        let (base, mut data, mut more) = (parse(original), Vec::new(), true);
        for piece in plan {
            assert!(more, "nothing follows the last piece");
            assert_eq!(checksum::internet(&piece.header), 0);
            let mut bytes = piece.header.to_vec();
            bytes.extend_from_slice(&original[piece.start..piece.start + piece.data_bytes]);
            assert!(bytes.len() <= mtu);
            let fields = parse(&bytes);
            assert_eq!(usize::from(fields.total_bytes), bytes.len());
            assert_eq!((fields.id, fields.ttl, fields.source), (base.id, base.ttl, base.source));
            let offset = usize::from(fields.fragment_offset - base.fragment_offset) * 8;
            assert_eq!(offset, data.len());
            data.extend_from_slice(&bytes[fields.header_bytes.into()..]);
            assert_eq!(fields.more_fragments, piece.more);
            more = piece.more;
        }
        assert_eq!(more, base.more_fragments);
        data
    }

    #[test]
    fn a_1500_byte_packet_on_a_1400_byte_link_is_two() {
        let bytes = packet(&[], 1480, 0);
        let pieces: Vec<_> = Fragments::plan(&bytes, &parse(&bytes), 1400).unwrap().collect();
        let lengths: Vec<_> = pieces.iter().map(|p| (p.start, p.data_bytes, p.more)).collect();
        assert_eq!(lengths, [(20, 1376, true), (1396, 104, false)]);
    }

    #[test]
    fn only_options_with_the_copied_flag_go_on() {
        // No-operation, record route (7, not copied), router alert (148, copied).
        let options = [1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0];
        let bytes = packet(&options, 200, 0);
        let pieces: Vec<_> = Fragments::plan(&bytes, &parse(&bytes), 100).unwrap().collect();
        assert_eq!(pieces[0].header[HEADER_BYTES..], options);
        assert_eq!(pieces[1].header[HEADER_BYTES..], [148, 4, 0, 0]);
    }

    #[test]
    fn df_and_a_link_too_narrow_are_refused() {
        let whole = packet(&[], 1480, 0x4000);
        assert!(Fragments::plan(&whole, &parse(&whole), 1400).is_none());
        assert_eq!(Fragments::plan(&whole, &parse(&whole), 1500).unwrap().count(), 1);
        let bytes = packet(&[], 100, 0);
        assert!(Fragments::plan(&bytes, &parse(&bytes), 27).is_none());
        assert!(Fragments::plan(&bytes, &parse(&bytes), 28).is_some());
    }

    #[test]
    fn a_packet_whose_pieces_offsets_would_wrap_is_refused() {
        let bytes = packet(&[], 1480, 0);
        let forged = Ipv4 { fragment_offset: 0x1fff - 1, ..parse(&bytes) };
        assert!(Fragments::plan(&bytes, &forged, 576).is_none());
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole(
            options in prop::collection::vec(any::<[u8; 4]>(), 0..3).prop_map(|o| o.concat()),
            data_bytes in 0usize..3000,
            mtu in 68u16..1600, // RFC 791's least

            offset in 2u16..0x2000,
            word in 0u8..3,
        ) {
            // A whole packet, a first fragment, a later one.
            let (data_bytes, word) = match word {
                0 => (data_bytes, 0),
                1 => (data_bytes / 8 * 8, 0x2000),
                _ => (data_bytes / 8 * 8, 0x2000 | offset),
            };
            let bytes = packet(&options, data_bytes, word);
            let end = usize::from(word & 0x1fff) * 8 + bytes.len();
            let parsed = Ipv4::parse(&bytes, bytes.len(), ChecksumState::Unknown);
            if end > usize::from(u16::MAX) {
                prop_assert_eq!(parsed, Err(DropReason::Ipv4Length));
                return Ok(());
            }
            let plan = Fragments::plan(&bytes, &parsed.unwrap(), mtu).unwrap();
            let data = reassemble(&bytes, plan, mtu.into());
            prop_assert_eq!(&data, &bytes[HEADER_BYTES + options.len()..]);
        }
    }
}
