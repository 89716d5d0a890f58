//! The driver's side of a split virtqueue (virtio 1.2, section 2.7), with every field open to forgery.

use crate::frontend::memory::{Memory, USER_BASE};
use crate::frontend::message::{Fd, Message, NO_FD, request, wrong};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes behind each descriptor that a well-behaved ring offers, if nothing else is asked for.
pub const BUFFER_BYTES: u32 = 2_048;
/// Descriptor flag: the chain goes on at `next`.
pub const NEXT: u16 = 1;
/// Descriptor flag: the device writes here.
pub const WRITE: u16 = 2;
/// Descriptor flag: a table of descriptors.
pub const INDIRECT: u16 = 4;
/// Flag of the used ring: the device looks by itself.
const NO_NOTIFY: u16 = 1;
/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: u64 = 16;

/// One descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub bytes: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`].
    pub flags: u16,
    /// The next one's index.
    pub next: u16,
}

impl Descriptor {
    /// As it stands in memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.address.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// One queue.
#[derive(Debug)]
pub struct Ring {
    /// Its index on the wire: 2 × pair to receive, 2 × pair + 1 to send.
    pub index: u32,
    /// How many descriptors it has.
    pub size: u16,
    /// Where its descriptors are.
    pub descriptors: u64,
    /// Where what is offered is listed.
    pub available: u64,
    /// Where what came back is listed.
    pub used: u64,
    /// Where the buffers are, one for each descriptor.
    pub buffers: u64,
    /// Bytes of each.
    pub buffer_bytes: u32,
    /// Tells the device.
    pub kick: Fd,
    /// The device tells.
    pub call: Fd,
    /// Keeps from the device that there is something: a driver that never kicks.
    pub is_mute: bool,
    free: Vec<u16>,
    /// What is with the device: head and its chain.
    lent: BTreeMap<u16, Vec<u16>>,
    next_available: u16,
    next_used: u16,
}

impl Ring {
    /// Lays a ring and its buffers out; they may come from different regions.
    pub fn new(
        memory: &mut Memory,
        index: u32,
        (size, buffer_bytes): (u16, u32),
        buffers_in: usize,
    ) -> io::Result<Self> {
        let count = u64::from(size);
        let descriptors = memory.allocate(0, count * DESCRIPTOR_BYTES, 4_096)?;
        let available = memory.allocate(0, 6 + 2 * count, 64)?;
        let used = memory.allocate(0, 6 + 8 * count, 64)?;
        let buffers = memory.allocate(buffers_in, count * u64::from(buffer_bytes), 64)?;
        let event = || -> io::Result<Fd> {
            let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
            Ok(Arc::new(EventFd::from_value_and_flags(0, flags)?.into()))
        };
        Ok(Self {
            index,
            size,
            descriptors,
            available,
            used,
            buffers,
            buffer_bytes,
            kick: event()?,
            call: event()?,
            is_mute: false,
            free: (0..size).rev().collect(),
            lent: BTreeMap::new(),
            next_available: 0,
            next_used: 0,
        })
    }

    /// The messages that tell a back end all of it, in the usual order.
    pub fn messages(&self) -> Vec<Message> {
        let index = self.index;
        let at = |address| USER_BASE + address;
        let (descriptors, used, available) =
            (at(self.descriptors), at(self.used), at(self.available));
        let number = |request| Message::number(request, u64::from(index));
        vec![
            Message::state(request::SET_VRING_NUM, index, u32::from(self.size)),
            Message::state(request::SET_VRING_BASE, index, 0),
            Message::ring_addresses(index, 0, descriptors, used, available),
            number(request::SET_VRING_KICK).fd(&self.kick),
            number(request::SET_VRING_CALL).fd(&self.call),
            Message::number(request::SET_VRING_ERR, u64::from(index) | NO_FD),
        ]
    }

    /// Where the buffer of a descriptor is.
    pub fn buffer(&self, descriptor: u16) -> u64 {
        self.buffers + u64::from(descriptor) * u64::from(self.buffer_bytes)
    }

    /// How many descriptors are not with the device.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Writes a descriptor, whatever it says.
    pub fn write(&self, memory: &Memory, index: u16, what: &Descriptor) -> io::Result<()> {
        memory.write(self.descriptors + u64::from(index) * DESCRIPTOR_BYTES, &what.bytes())
    }

    /// Offers a descriptor's index, whatever it is, and tells the device.
    pub fn offer(&mut self, memory: &Memory, head: u16) -> io::Result<()> {
        self.list(memory, head)?;
        self.publish(memory)
    }

    /// Lists an index without showing it yet.
    pub fn list(&mut self, memory: &Memory, head: u16) -> io::Result<()> {
        let slot = u64::from(self.next_available % self.size);
        memory.write(self.available + 4 + 2 * slot, &head.to_le_bytes())?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(())
    }

    /// Shows all that is listed and tells the device.
    pub fn publish(&mut self, memory: &Memory) -> io::Result<()> {
        memory.store(self.available + 2, self.next_available)?;
        self.notify()
    }

    /// Moves the index of what is offered by any step, with nothing behind it.
    pub fn jump(&mut self, memory: &Memory, step: u16) -> io::Result<()> {
        self.next_available = self.next_available.wrapping_add(step);
        self.publish(memory)
    }

    /// Whether the device wants to be told (VIRTIO 1.2, 2.7.10).
    pub fn is_told(&self, memory: &Memory) -> io::Result<bool> {
        Ok(memory.load(self.used)? & NO_NOTIFY == 0)
    }

    /// Tells the device.
    pub fn notify(&self) -> io::Result<()> {
        if self.is_mute {
            return Ok(());
        }
        match nix::unistd::write(&self.kick, &1u64.to_ne_bytes()) {
            // A full counter has told it already.
            Ok(_) | Err(nix::errno::Errno::EAGAIN) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Offers every free descriptor as a receive buffer of its own.
    pub fn fill(&mut self, memory: &Memory) -> io::Result<()> {
        while let Some(index) = self.free.pop() {
            let address = self.buffer(index);
            let buffer = Descriptor { address, bytes: self.buffer_bytes, flags: WRITE, next: 0 };
            self.write(memory, index, &buffer)?;
            self.lent.insert(index, vec![index]);
            self.list(memory, index)?;
        }
        self.publish(memory)
    }

    /// Copies bytes into a chain of as many descriptors as they take and offers it; false if too few
    /// are free.
    pub fn send(&mut self, memory: &Memory, bytes: &[u8]) -> io::Result<bool> {
        let pieces: Vec<&[u8]> = bytes.chunks(self.buffer_bytes as usize).collect();
        self.send_pieces(memory, &pieces)
    }

    /// As [`Ring::send`], with the bytes cut into descriptors as the caller likes (each piece no longer
    /// than a buffer).
    pub fn send_pieces(&mut self, memory: &Memory, pieces: &[&[u8]]) -> io::Result<bool> {
        if pieces.is_empty() || pieces.len() > self.free.len() {
            return Ok(false);
        }
        let chain = self.take(pieces.len());
        for (at, piece) in pieces.iter().enumerate() {
            let address = self.buffer(chain[at]);
            memory.write(address, piece)?;
            let next = chain.get(at + 1).copied();
            let flags = if next.is_some() { NEXT } else { 0 };
            let bytes = u32::try_from(piece.len()).expect("a piece that fits a buffer");
            let descriptor = Descriptor { address, bytes, flags, next: next.unwrap_or(0) };
            self.write(memory, chain[at], &descriptor)?;
        }
        let head = chain[0];
        self.lent.insert(head, chain);
        self.offer(memory, head)?;
        Ok(true)
    }

    /// Takes free descriptors that the caller will fill in and give by [`Ring::lend`].
    pub fn take(&mut self, count: usize) -> Vec<u16> {
        self.free.split_off(self.free.len().saturating_sub(count))
    }

    /// Offers a chain that the caller wrote.
    pub fn lend(&mut self, memory: &Memory, chain: Vec<u16>) -> io::Result<()> {
        let Some(head) = chain.first().copied() else { return Ok(()) };
        self.lent.insert(head, chain);
        self.offer(memory, head)
    }

    /// The next chain that came back: its head and how many bytes were written to it. The descriptors
    /// are free again. A head that was not with the device is an error: the back end's fault.
    pub fn take_used(&mut self, memory: &Memory) -> io::Result<Option<(u16, u32)>> {
        if memory.load(self.used + 2)? == self.next_used {
            return Ok(None);
        }
        let slot = u64::from(self.next_used % self.size);
        let entry = memory.read(self.used + 4 + 8 * slot, 8)?;
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("4 bytes"));
        self.next_used = self.next_used.wrapping_add(1);
        let head = u16::try_from(word(0)).ok();
        let chain = head.and_then(|head| Some((head, self.lent.remove(&head)?)));
        let Some((head, chain)) = chain else {
            return Err(wrong(format!("queue {}: {} was never offered", self.index, word(0))));
        };
        self.free.extend(chain);
        Ok(Some((head, word(4))))
    }

    /// The index up to which the device has given back.
    pub fn used_index(&self, memory: &Memory) -> io::Result<u16> {
        memory.load(self.used + 2)
    }

    /// The index up to which descriptors are offered.
    pub fn available_index(&self) -> u16 {
        self.next_available
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device_returns(memory: &Memory, ring: &Ring, at: u16, head: u32, bytes: u32) {
        let slot = u64::from(at % ring.size);
        let entry = [head.to_le_bytes(), bytes.to_le_bytes()].concat();
        memory.write(ring.used + 4 + 8 * slot, &entry).expect("written");
        memory.store(ring.used + 2, at.wrapping_add(1)).expect("stored");
    }

    #[test]
    fn a_long_frame_is_a_chain_that_comes_back_as_one() {
        let mut memory = Memory::new(&[1 << 20]).expect("memory");
        let mut ring = Ring::new(&mut memory, 1, (8, BUFFER_BYTES), 0).expect("a ring");
        assert!(ring.send(&memory, &[7; 5_000]).expect("sent"));
        assert_eq!((ring.free(), memory.load(ring.available + 2).expect("index")), (5, 1));
        assert!(!ring.send(&memory, &[0; 6 * 2_048]).expect("too long"));
        let head = memory.load(ring.available + 4).expect("head");
        device_returns(&memory, &ring, 0, u32::from(head), 0);
        assert_eq!(ring.take_used(&memory).expect("right"), Some((head, 0)));
        assert_eq!((ring.free(), ring.take_used(&memory).expect("none")), (8, None));
    }

    #[test]
    fn a_head_that_was_never_offered_is_the_back_ends_fault() {
        let mut memory = Memory::new(&[1 << 20]).expect("memory");
        let mut ring = Ring::new(&mut memory, 1, (8, BUFFER_BYTES), 0).expect("a ring");
        for (at, head) in [(0, 3), (1, 70_000)] {
            device_returns(&memory, &ring, at, head, 0);
            assert!(ring.take_used(&memory).is_err());
        }
    }
}
