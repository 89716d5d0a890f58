//! Frames of one port or adapter, copied as they come in and leave, for somebody who looks at them elsewhere.
//!
//! A worker takes an empty slot from a bounded queue, copies the frame's first bytes into it and puts it into
//! another. Where there is no empty slot the frame is counted as missed, and goes its way all the same:
//! whoever reads too slowly loses frames of the capture, and nobody loses a packet.

use super::bpf::Program;
use crate::frame::Frame;
use crate::ids::{AdapterId, PortId};
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Memory that the slots take together, about, bytes.
const ROOM_BYTES: usize = 16 << 20;
/// Slots at most, however small.
const SLOTS_MAX: usize = 16_384;

/// What is captured.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Frames that came in by this port or leave by it.
    pub port: PortId,
    /// On a port that many adapters share, of this one alone.
    pub adapter: Option<AdapterId>,
    /// Those that come in.
    pub received: bool,
    /// Those that leave.
    pub sent: bool,
    /// Of those, the ones that pass.
    pub filter: Option<Arc<Program>>,
}

/// A captured frame.
#[derive(Debug)]
pub struct Slot {
    /// When, on the workers' clock, ns.
    pub time_ns: u64,
    /// Whether it came in, and not left.
    pub is_received: bool,
    /// Its length.
    pub wire_bytes: u32,
    bytes: Box<[u8]>,
    count: usize,
}

impl Slot {
    /// Its first bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.count]
    }

    /// Fills it with what `copy` writes and answers the length of.
    pub fn fill(
        &mut self,
        time_ns: u64,
        is_received: bool,
        wire_bytes: u32,
        copy: impl FnOnce(&mut [u8]) -> usize,
    ) {
        self.count = copy(&mut self.bytes).min(self.bytes.len());
        (self.time_ns, self.is_received, self.wire_bytes) = (time_ns, is_received, wire_bytes);
    }
}

/// Slots on their way between the workers and whoever reads them.
#[derive(Debug)]
pub struct Feed {
    free: ArrayQueue<Box<Slot>>,
    full: ArrayQueue<Box<Slot>>,
    /// Frames that were selected, missed ones among them. Written by workers.
    selected: AtomicU64,
    /// Of those, frames for which there was no slot. Likewise.
    missed: AtomicU64,
    /// Whether no worker has it any more. Set by control once, after the last of them gave it back.
    is_closed: AtomicBool,
}

impl Feed {
    /// Empty slots of `snap_bytes` each: 16 MB in all.
    pub fn new(snap_bytes: usize) -> Self {
        let slots = (ROOM_BYTES / snap_bytes.max(1)).clamp(64, SLOTS_MAX);
        Self::of(slots, snap_bytes)
    }

    /// So many of them.
    pub fn of(slots: usize, snap_bytes: usize) -> Self {
        let feed = Self {
            free: ArrayQueue::new(slots),
            full: ArrayQueue::new(slots),
            selected: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        };
        for _ in 0..slots {
            let bytes = vec![0; snap_bytes].into();
            let slot = Slot { time_ns: 0, is_received: false, wire_bytes: 0, bytes, count: 0 };
            feed.give_back(Box::new(slot));
        }
        feed
    }

    /// The next frame. To be given back.
    pub fn next(&self) -> Option<Box<Slot>> {
        self.full.pop()
    }

    /// An empty slot, if there is one.
    pub fn take_empty(&self) -> Option<Box<Slot>> {
        self.free.pop()
    }

    /// Adds a filled one to those that are read.
    pub fn put(&self, slot: Box<Slot>) {
        // There are no more slots than the queue has places.
        let _ = self.full.push(slot);
    }

    /// Gives a slot back to be used again.
    pub fn give_back(&self, slot: Box<Slot>) {
        // There are no more slots than the queue has places.
        let _ = self.free.push(slot);
    }

    /// Frames that were selected so far, and how many of them were missed.
    pub fn counts(&self) -> (u64, u64) {
        // The missed first: they are never more than the selected.
        let missed = self.missed.load(Ordering::Acquire);
        (self.selected.load(Ordering::Acquire), missed)
    }

    /// No worker has it any more.
    pub fn close(&self) {
        // Release: who sees it finds every slot that was filled.
        self.is_closed.store(true, Ordering::Release);
    }

    /// Whether what is in it is all that there will be.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

/// A worker's share of a capture.
pub struct Capture {
    selection: Selection,
    feed: Arc<Feed>,
    clock_ns: fn() -> u64,
}

impl Capture {
    /// Into this feed; `clock_ns` is monotonic.
    pub fn new(selection: Selection, feed: Arc<Feed>, clock_ns: fn() -> u64) -> Box<Self> {
        Box::new(Self { selection, feed, clock_ns })
    }

    /// Copies what has come in by a port. `sender` tells whose a frame is.
    pub(crate) fn received<F: Frame>(
        &self,
        port: PortId,
        burst: &[F],
        sender: impl Fn(&F) -> AdapterId,
    ) {
        let Selection { received, adapter, .. } = &self.selection;
        if !received || port != self.selection.port {
            return;
        }
        let now_ns = (self.clock_ns)();
        let is_its = |frame: &&F| adapter.is_none_or(|adapter| sender(frame) == adapter);
        burst.iter().filter(is_its).for_each(|frame| self.take(frame, true, now_ns));
    }

    /// Copies what is offered to a port's transmit queue. `receiver` tells for whom the frame at a position
    /// is.
    pub(crate) fn sent<F: Frame>(
        &self,
        port: PortId,
        burst: &[F],
        receiver: impl Fn(usize) -> AdapterId,
    ) {
        let Selection { sent, adapter, .. } = &self.selection;
        if !sent || port != self.selection.port {
            return;
        }
        let now_ns = (self.clock_ns)();
        for (position, frame) in burst.iter().enumerate() {
            if adapter.is_none_or(|adapter| receiver(position) == adapter) {
                self.take(frame, false, now_ns);
            }
        }
    }

    fn take<F: Frame>(&self, frame: &F, is_received: bool, time_ns: u64) {
        let wire_bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let filter = self.selection.filter.as_ref();
        if filter.is_some_and(|program| !program.admits(frame.head(), wire_bytes)) {
            return;
        }
        self.feed.selected.fetch_add(1, Ordering::Release);
        let Some(mut slot) = self.feed.take_empty() else {
            self.feed.missed.fetch_add(1, Ordering::Release);
            return;
        };
        slot.fill(time_ns, is_received, wire_bytes, |bytes| frame.copy_out(0, bytes));
        self.feed.put(slot);
    }
}
