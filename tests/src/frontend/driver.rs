//! A queue pair for many frames a second.
//!
//! Its rings are laid out once: place N of every ring has buffer N, and only an index, a look at the other
//! index and, where frames are not all of one length, a length change from frame to frame.
//!
//! Invariant: the back end gives buffers back in the order in which they were offered, as the vhost library
//! does. It is checked with each frame that is received.

use crate::frontend::Frontend;
use crate::frontend::memory::Memory;
use crate::frontend::message::wrong;
use crate::frontend::ring::{DESCRIPTOR_BYTES, Descriptor, Ring};
use std::io;
use std::sync::atomic::Ordering;
use vm_memory::{Bytes, VolatileSlice};

/// Driver's flag of a ring: do not tell me.
const NO_INTERRUPT: u16 = 1;
/// Where in a descriptor its length is.
const LENGTH_AT: usize = 8;

/// One guest's queue pair.
#[derive(Debug)]
pub struct Driver<'a> {
    memory: VolatileSlice<'a>,
    size: u16,
    send: Places,
    receive: Places,
}

/// Where a ring is.
#[derive(Clone, Copy, Debug)]
struct Places {
    descriptors: usize,
    available: usize,
    used: usize,
    buffers: usize,
    buffer_bytes: usize,
    /// What was offered, and what came back.
    offered: u16,
    returned: u16,
}

fn offset(address: u64) -> usize {
    usize::try_from(address).expect("a 64-bit machine")
}

impl Places {
    fn of(ring: &Ring, offered: u16) -> Self {
        let places = [ring.descriptors, ring.available, ring.used, ring.buffers];
        let [descriptors, available, used, buffers] = places.map(offset);
        let buffer_bytes = ring.buffer_bytes as usize;
        Self { descriptors, available, used, buffers, buffer_bytes, offered, returned: 0 }
    }

    fn buffer(&self, place: u16) -> usize {
        self.buffers + usize::from(place) * self.buffer_bytes
    }
}

impl<'a> Driver<'a> {
    /// Takes over a front-end that was just set up. Every buffer to send from holds `bytes`, header
    /// included, and is as long.
    pub fn new(frontend: &'a Frontend, bytes: &[u8]) -> io::Result<Self> {
        let [receive, send] = [0, 1].map(|number| &frontend.parts.rings[number]);
        let memory = &frontend.parts.memory;
        lay_out(memory, send, bytes)?;
        // All buffers to receive into were offered in order at the set-up.
        let receive = Places::of(receive, receive.available_index());
        let send = Places::of(send, 0);
        let driver =
            Self { memory: memory.first()?, size: frontend.parts.rings[1].size, send, receive };
        driver.want_calls(false, false)?;
        Ok(driver)
    }

    /// The guest's memory, where buffers are by their offsets.
    pub fn memory(&self) -> &VolatileSlice<'a> {
        &self.memory
    }

    fn load(&self, at: usize) -> io::Result<u16> {
        self.memory.load(at, Ordering::Acquire).map_err(io::Error::other)
    }

    fn store(&self, value: impl vm_memory::AtomicAccess, at: usize) -> io::Result<()> {
        self.memory.store(value, at, Ordering::Release).map_err(io::Error::other)
    }

    /// Whether the back end is to tell when it has given a frame, and when it has taken one. It does so of
    /// what it does from now on: what it did before is to be looked for once more.
    pub fn want_calls(&self, of_given: bool, of_taken: bool) -> io::Result<()> {
        for (ring, is_wanted) in [(&self.receive, of_given), (&self.send, of_taken)] {
            self.store(if is_wanted { 0 } else { NO_INTERRUPT }, ring.available)?;
        }
        // The look comes after the wish (virtio 1.2, 2.7.7.2).
        std::sync::atomic::fence(Ordering::SeqCst);
        Ok(())
    }

    /// How many frames can be sent.
    pub fn room(&mut self) -> io::Result<u16> {
        self.send.returned = self.load(self.send.used + 2)?;
        Ok(self.size - self.send.offered.wrapping_sub(self.send.returned))
    }

    /// The buffer of the frame that is sent next.
    pub fn next(&self) -> usize {
        self.send.buffer(self.send.offered % self.size)
    }

    /// Says how long that frame is, header included.
    pub fn set_length(&self, bytes: usize) -> io::Result<()> {
        let place = usize::from(self.send.offered % self.size);
        let at = self.send.descriptors + place * offset(DESCRIPTOR_BYTES) + LENGTH_AT;
        self.store(u32::try_from(bytes).map_err(io::Error::other)?, at)
    }

    /// Lists it; it leaves with the next [`Driver::publish`].
    pub fn push(&mut self) {
        self.send.offered = self.send.offered.wrapping_add(1);
    }

    /// Shows the back end what was listed.
    pub fn publish(&self) -> io::Result<()> {
        self.store(self.send.offered, self.send.available + 2)
    }

    /// How many frames have come and were not yet given back.
    pub fn arrived(&self) -> io::Result<u16> {
        Ok(self.load(self.receive.used + 2)?.wrapping_sub(self.receive.returned))
    }

    /// The buffer of one of them, counted from the first, and how long what is in it is.
    pub fn arrival(&self, number: u16) -> io::Result<(usize, usize)> {
        let place = self.receive.returned.wrapping_add(number) % self.size;
        let at = self.receive.used + 4 + 8 * usize::from(place);
        let word = |at| self.memory.load::<u32>(at, Ordering::Relaxed).map_err(io::Error::other);
        let head = word(at)?;
        if head != u32::from(place) {
            return Err(wrong(format!("buffer {head} came back in place of {place}")));
        }
        Ok((self.receive.buffer(place), word(at + 4)? as usize))
    }

    /// Gives the first of them back.
    pub fn give_back(&mut self, count: u16) -> io::Result<()> {
        self.receive.returned = self.receive.returned.wrapping_add(count);
        self.receive.offered = self.receive.offered.wrapping_add(count);
        self.store(self.receive.offered, self.receive.available + 2)
    }
}

/// Places and buffers of a ring to send on, in order.
fn lay_out(memory: &Memory, ring: &Ring, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    for place in 0..ring.size {
        let address = ring.buffer(place);
        memory.write(address, bytes)?;
        ring.write(memory, place, &Descriptor { address, bytes: length, flags: 0, next: 0 })?;
        memory.write(ring.available + 4 + 2 * u64::from(place), &place.to_le_bytes())?;
    }
    Ok(())
}
