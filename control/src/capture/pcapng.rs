//! Frames as pcapng (draft-ietf-opsawg-pcapng): one interface, times in nanoseconds, the direction of each
//! frame, and at the end how many were missed.

use dataplane::sight::capture::Slot;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};
use std::borrow::Cow;
use std::time::Duration;

/// Decimal digits of the second (if_tsresol).
const NANOSECONDS: u8 = 9;
/// Bits 0 and 1 of epb_flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// In if_filter, before the text of a filter as libpcap reads it.
const FILTER_TEXT: u8 = 0;

/// What a capture is of.
#[derive(Clone, Debug)]
pub struct About {
    /// The port or adapter.
    pub interface: String,
    /// Bytes kept of each frame at most.
    pub snap_bytes: u32,
    /// The filter's text.
    pub filter: Option<String>,
}

/// Writes blocks; the bytes are fetched by [`Writer::take`].
pub struct Writer(PcapNgWriter<Vec<u8>>);

impl Writer {
    /// Begins with what the capture is of.
    ///
    /// # Errors
    /// None that a vector can cause; the type is the library's.
    pub fn new(about: &About) -> Result<Self, PcapError> {
        let program = concat!("guestway ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(program.into())],
            ..Default::default()
        };
        let mut writer = PcapNgWriter::with_section_header(Vec::new(), section)?;
        let filter = about.filter.as_ref().map(|text| {
            let bytes = [&[FILTER_TEXT], text.as_bytes()].concat();
            InterfaceDescriptionOption::IfFilter(Cow::Owned(bytes))
        });
        let name = InterfaceDescriptionOption::IfName(about.interface.clone().into());
        let resolution = InterfaceDescriptionOption::IfTsResol(NANOSECONDS);
        writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: about.snap_bytes,
            options: [name, resolution].into_iter().chain(filter).collect(),
        })?;
        Ok(Self(writer))
    }

    /// A frame; `time` is since the Unix epoch.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn frame(&mut self, slot: &Slot, time: Duration) -> Result<(), PcapError> {
        let direction = if slot.is_received { INBOUND } else { OUTBOUND };
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: time,
            original_len: slot.wire_bytes,
            data: slot.bytes().into(),
            options: vec![EnhancedPacketOption::Flags(direction)],
        };
        self.0.write_pcapng_block(block).map(|_| ())
    }

    /// The end: frames that were selected, and of those the missed.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn end(&mut self, selected: u64, missed: u64, time: Duration) -> Result<(), PcapError> {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let block = InterfaceStatisticsBlock {
            interface_id: 0,
            timestamp: halves(nanos),
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(selected),
                InterfaceStatisticsOption::IsbIfDrop(missed),
            ],
        };
        self.0.write_pcapng_block(block).map(|_| ())
    }

    /// Bytes written so far and not fetched.
    pub fn waiting(&self) -> usize {
        self.0.get_ref().len()
    }

    /// Fetches them.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.0.get_mut())
    }
}

/// A block's time is two words, the high one first, whatever the byte order (4.6); the library writes one
/// number of 64 bits.
fn halves(nanos: u64) -> u64 {
    if cfg!(target_endian = "little") { nanos.rotate_left(32) } else { nanos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::sight::capture::Feed;
    use pcap_file::pcapng::{Block, PcapNgReader};

    #[test]
    fn what_is_written_is_read_back() {
        let about =
            About { interface: "ct1/eth0".into(), snap_bytes: 64, filter: Some("icmp".into()) };
        let mut writer = Writer::new(&about).unwrap();
        let feed = Feed::of(1, 64);
        let mut slot = feed.take_empty().unwrap();
        let at = Duration::new(1_764_000_000, 123_456_789);
        for (is_received, byte) in [(true, 1), (false, 2)] {
            slot.fill(0, is_received, 1_500, |bytes| {
                bytes[..3].fill(byte);
                3
            });
            writer.frame(&slot, at).unwrap();
        }
        assert!(writer.waiting() > 0);
        let mut bytes = writer.take();
        assert_eq!(writer.waiting(), 0);
        writer.end(5, 3, at).unwrap();
        bytes.extend(writer.take());

        let mut reader = PcapNgReader::new(bytes.as_slice()).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block() {
            blocks.push(block.unwrap().into_owned());
        }
        let [Block::InterfaceDescription(interface), rest @ ..] = blocks.as_slice() else {
            panic!("{blocks:?}");
        };
        assert_eq!((interface.linktype, interface.snaplen), (DataLink::ETHERNET, 64));
        let has = |option| assert!(interface.options.contains(&option), "{interface:?}");
        has(InterfaceDescriptionOption::IfName("ct1/eth0".into()));
        has(InterfaceDescriptionOption::IfTsResol(9));
        has(InterfaceDescriptionOption::IfFilter(b"\0icmp".as_slice().into()));
        let [Block::EnhancedPacket(first), Block::EnhancedPacket(second), end] = rest else {
            panic!("{rest:?}");
        };
        assert_eq!((first.timestamp, first.original_len), (at, 1_500));
        assert_eq!((&*first.data, &*second.data), (&[1, 1, 1][..], &[2, 2, 2][..]));
        assert_eq!(first.options, [EnhancedPacketOption::Flags(1)]);
        assert_eq!(second.options, [EnhancedPacketOption::Flags(2)]);
        let Block::InterfaceStatistics(end) = end else { panic!("{end:?}") };
        assert_eq!(end.timestamp.rotate_right(32), 1_764_000_000_123_456_789);
        assert!(end.options.contains(&InterfaceStatisticsOption::IsbIfDrop(3)));
        assert!(end.options.contains(&InterfaceStatisticsOption::IsbIfRecv(5)));
    }
}
