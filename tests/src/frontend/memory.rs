//! A guest's memory: one memfd per region, mapped here and handed to the back end.
//!
//! Ring indices are read and written by the mapping, because only there a 16-bit store is one store.
//! Once a file was cut short the mapping is gone, and bytes go by way of the files, where an address
//! past the end is an error and not a signal to this process.

use crate::frontend::message::{Fd, Message, TableRow, memory_table, wrong};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice,
};

/// What is added to a guest's address to make the front-end's own; no page of anybody is there.
pub const USER_BASE: u64 = 0x0000_5a00_0000_0000;
/// Addresses between two regions that belong to none.
const HOLE_BYTES: u64 = 1 << 20;
/// What the machine maps in.
const PAGE_BYTES: u64 = 4_096;

/// One region.
#[derive(Debug)]
struct Region {
    start: u64,
    bytes: u64,
    /// The first byte that nothing was allocated from.
    next: u64,
    file: File,
    fd: Fd,
}

/// A guest's memory.
#[derive(Debug)]
pub struct Memory {
    regions: Vec<Region>,
    mapping: Option<GuestMemoryMmap>,
}

impl Memory {
    /// Regions of the given sizes, rounded up to pages, with holes between them. The first begins at
    /// guest address 0.
    pub fn new(sizes: &[u64]) -> io::Result<Self> {
        let mut regions = Vec::new();
        let mut ranges = Vec::new();
        let mut start = 0;
        for size in sizes {
            let bytes = size.next_multiple_of(PAGE_BYTES);
            let fd = memfd_create("guest-memory", MFdFlags::MFD_CLOEXEC)?;
            let file = File::from(fd);
            file.set_len(bytes)?;
            let fd: Fd = Arc::new(file.try_clone()?.into());
            let length = usize::try_from(bytes).expect("a 64-bit machine");
            let shared = FileOffset::new(file.try_clone()?, 0);
            ranges.push((GuestAddress(start), length, Some(shared)));
            regions.push(Region { start, bytes, next: start, file, fd });
            start += bytes + HOLE_BYTES;
        }
        let mapping = GuestMemoryMmap::from_ranges_with_files(ranges).map_err(io::Error::other)?;
        Ok(Self { regions, mapping: Some(mapping) })
    }

    /// How many regions there are.
    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    /// The first address after the last region.
    pub fn end(&self) -> u64 {
        self.regions.last().map_or(0, |region| region.start + region.bytes)
    }

    /// Sets aside aligned bytes of one region; the guest's address.
    pub fn allocate(&mut self, region: usize, bytes: u64, align: u64) -> io::Result<u64> {
        let region = &mut self.regions[region];
        let at = region.next.next_multiple_of(align);
        if at + bytes > region.start + region.bytes {
            return Err(wrong(format!("a region of {} bytes is too small", region.bytes)));
        }
        region.next = at + bytes;
        Ok(at)
    }

    /// The rows of an honest table, and the descriptor of each.
    pub fn table(&self) -> (Vec<TableRow>, Vec<Fd>) {
        let row = |region: &Region| TableRow {
            guest_address: region.start,
            bytes: region.bytes,
            user_address: USER_BASE + region.start,
            file_offset: 0,
        };
        let fds = self.regions.iter().map(|region| Arc::clone(&region.fd)).collect();
        (self.regions.iter().map(row).collect(), fds)
    }

    /// The honest SET_MEM_TABLE.
    pub fn message(&self) -> Message {
        let (rows, fds) = self.table();
        memory_table(u32::try_from(rows.len()).expect("a few regions"), &rows, &fds)
    }

    /// Cuts the files of all regions to `bytes`, as a front-end that wants to harm does: whoever has
    /// mapped them gets SIGBUS.
    pub fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.mapping = None;
        self.regions.iter().try_for_each(|region| region.file.set_len(bytes))
    }

    /// A second handle of the file of a region, for a thread that changes bytes under way.
    pub fn file(&self, region: usize) -> io::Result<File> {
        self.regions[region].file.try_clone()
    }

    fn place(&self, at: u64, bytes: usize) -> io::Result<(&File, u64)> {
        let end = at.checked_add(u64::try_from(bytes).expect("a 64-bit machine"));
        let holds = |r: &&Region| {
            at >= r.start && end.is_some_and(|end| end <= r.start.saturating_add(r.bytes))
        };
        let region = self.regions.iter().find(holds);
        let region = region.ok_or_else(|| wrong(format!("no memory at {at:#x}")))?;
        Ok((&region.file, at - region.start))
    }

    /// The first region as it is mapped, for whoever counts nanoseconds; guest addresses are offsets in it.
    pub fn first(&self) -> io::Result<VolatileSlice<'_>> {
        let mapping = self.mapping.as_ref().ok_or_else(|| wrong("no mapping".to_owned()))?;
        let bytes = usize::try_from(self.regions[0].bytes).expect("a 64-bit machine");
        mapping.get_slice(GuestAddress(0), bytes).map_err(io::Error::other)
    }

    /// Writes bytes.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(mapping) = &self.mapping {
            return mapping.write_slice(bytes, GuestAddress(at)).map_err(io::Error::other);
        }
        let (file, offset) = self.place(at, bytes.len())?;
        // Writing past its end would make the file longer again.
        if offset + bytes.len() as u64 > file.metadata()?.len() {
            return Err(wrong(format!("the memory at {at:#x} was cut off")));
        }
        file.write_all_at(bytes, offset)
    }

    /// Reads bytes.
    pub fn read(&self, at: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        if let Some(mapping) = &self.mapping {
            mapping.read_slice(&mut bytes, GuestAddress(at)).map_err(io::Error::other)?;
            return Ok(bytes);
        }
        let (file, offset) = self.place(at, count)?;
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Stores an index so that all that was written before it is seen by who loads it.
    pub fn store(&self, at: u64, value: u16) -> io::Result<()> {
        if let Some(mapping) = &self.mapping {
            let address = GuestAddress(at);
            return mapping.store(value, address, Ordering::Release).map_err(io::Error::other);
        }
        self.write(at, &value.to_ne_bytes())
    }

    /// Loads an index; what was written before it by its writer can be read after.
    pub fn load(&self, at: u64) -> io::Result<u16> {
        if let Some(mapping) = &self.mapping {
            return mapping.load(GuestAddress(at), Ordering::Acquire).map_err(io::Error::other);
        }
        let bytes = self.read(at, 2)?;
        Ok(u16::from_ne_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_holes_between_them_and_are_shared_by_their_files() {
        let mut memory = Memory::new(&[1, 8_192]).expect("memory");
        let second = memory.allocate(1, 8_192, 16).expect("room");
        assert_eq!(second, PAGE_BYTES + HOLE_BYTES);
        assert!(memory.allocate(1, 1, 1).is_err());
        assert!(memory.write(PAGE_BYTES, &[1]).is_err());
        memory.store(second, 0x1234).expect("stored");
        let mut bytes = [0; 2];
        memory.file(1).expect("file").read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(u16::from_ne_bytes(bytes), 0x1234);
        assert_eq!(memory.load(second).expect("loaded"), 0x1234);
    }

    #[test]
    fn what_was_cut_off_is_an_error_here_and_no_signal() {
        let mut memory = Memory::new(&[8_192]).expect("memory");
        memory.truncate(0).expect("cut");
        assert!(memory.read(4_096, 1).is_err());
        assert!(memory.write(4_096, &[0]).is_err());
    }
}
