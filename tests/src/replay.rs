//! Captures for DPDK's net_pcap to play: the generators of the benchmarks, which take no core of their own.

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Captures no longer than this are played from memory, whatever is in them.
pub const SNAP_BYTES: u32 = 65_535;
/// Bytes before each frame in a file.
pub const RECORD_HEADER_BYTES: usize = 16;

/// Writes frames, without FCS, in order.
pub fn write(path: &Path, frames: &[Vec<u8>]) -> io::Result<()> {
    let header =
        PcapHeader { datalink: DataLink::ETHERNET, snaplen: SNAP_BYTES, ..Default::default() };
    let file = io::BufWriter::new(File::create(path)?);
    let mut writer = PcapWriter::with_header(file, header).map_err(io::Error::other)?;
    for (number, frame) in (0..).zip(frames) {
        let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let packet = PcapPacket {
            timestamp: Duration::from_micros(number),
            orig_len: len,
            data: Cow::Borrowed(frame),
        };
        writer.write_packet(&packet).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Reads all frames of a capture.
pub fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut reader =
        PcapReader::new(io::BufReader::new(File::open(path)?)).map_err(io::Error::other)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.map_err(io::Error::other)?.data.into_owned());
    }
    Ok(frames)
}

/// As [`read`], of a file whose writer was stopped: what is not whole at its end is left.
pub fn read_whole(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut reader =
        PcapReader::new(io::BufReader::new(File::open(path)?)).map_err(io::Error::other)?;
    let mut frames = Vec::new();
    while let Some(Ok(packet)) = reader.next_packet() {
        frames.push(packet.data.into_owned());
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("some.pcap");
        let frames = vec![vec![1; 60], vec![2; 1514]];
        write(&path, &frames).expect("written");
        assert_eq!(read(&path).expect("read"), frames);
        let file = File::options().write(true).open(&path).expect("the file");
        file.set_len(file.metadata().expect("its length").len() - 1).expect("cut");
        assert!(read(&path).is_err());
        assert_eq!(read_whole(&path).expect("read"), frames[..1]);
    }
}
