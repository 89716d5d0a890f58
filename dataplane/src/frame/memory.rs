//! Frames and a pool in plain memory: what the tests without DPDK run on.
//!
//! They behave as mbufs do where it matters to the pipeline: a fresh frame has a bounded tailroom, a
//! frame may be chained, so that its first segment holds less than all of it, and a pool is bounded.
//! Buffers go back to their pool, so a pool that has warmed up allocates nothing.

use super::{ChecksumState, Frame, FramePool, HEADROOM_BYTES, Ingress, ROOM_BYTES};
use crate::ids::{AdapterId, PortId};
use crate::wire::offload::Offload;
use crossbeam::queue::ArrayQueue;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Buffers that a pool keeps for reuse.
const KEPT_MAX: usize = 8192;

/// A frame as a byte vector with headroom.
pub struct MemoryFrame {
    bytes: Vec<u8>,
    start: usize,
    /// Where the first segment ends, if that is not the end of the frame.
    split: Option<usize>,
    ingress: Ingress,
    checksum: ChecksumState,
    offload: Offload,
    /// The pool it came from, if any.
    pool: Option<Arc<Shared>>,
}

impl MemoryFrame {
    /// A frame in one segment that holds `bytes`, as if received by `port`. Of no pool.
    pub fn new(bytes: &[u8], port: PortId) -> Self {
        let mut frame = Self::empty(Vec::with_capacity(HEADROOM_BYTES + bytes.len()), None);
        frame.bytes.extend_from_slice(bytes);
        frame.ingress.port = port;
        frame
    }

    fn empty(mut buffer: Vec<u8>, pool: Option<Arc<Shared>>) -> Self {
        buffer.clear();
        buffer.resize(HEADROOM_BYTES, 0);
        Self {
            bytes: buffer,
            start: HEADROOM_BYTES,
            split: None,
            ingress: Ingress { port: PortId::NONE, adapter: AdapterId::NONE },
            checksum: ChecksumState::Unknown,
            offload: Offload::None,
            pool,
        }
    }

    /// Sets what the port says of the header checksum.
    pub fn set_ip_checksum(&mut self, state: ChecksumState) {
        self.checksum = state;
    }

    /// Chains the frame: from now on its first segment holds only `head_bytes`. No effect on a frame
    /// that is not longer.
    pub fn chain(&mut self, head_bytes: usize) {
        if head_bytes < self.len() {
            self.split = Some(self.start + head_bytes);
        }
    }

    /// The whole frame, over its segments.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn head_end(&self) -> usize {
        self.split.unwrap_or(self.bytes.len())
    }
}

impl fmt::Debug for MemoryFrame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {:02x?}", self.ingress, self.bytes())
    }
}

impl Drop for MemoryFrame {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            // More than are kept: the buffer goes back to the allocator.
            let _ = pool.kept.push(std::mem::take(&mut self.bytes));
            pool.alive.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Frame for MemoryFrame {
    fn head(&self) -> &[u8] {
        &self.bytes[self.start..self.head_end()]
    }

    fn head_mut(&mut self) -> &mut [u8] {
        let end = self.head_end();
        &mut self.bytes[self.start..end]
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn grow_front(&mut self, bytes: usize) -> bool {
        match self.start.checked_sub(bytes) {
            Some(start) => {
                self.start = start;
                true
            }
            None => false,
        }
    }

    fn shrink_front(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.head().len();
        if fits {
            self.start += bytes;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start.saturating_add(len));
        self.split = self.split.filter(|split| *split < self.bytes.len());
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let end = self.bytes.len() + bytes.len();
        let fits = self.pool.is_none() || end <= HEADROOM_BYTES + ROOM_BYTES;
        if self.split.is_some() || !fits {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    fn copy_out(&self, offset: usize, out: &mut [u8]) -> usize {
        let rest = self.bytes().get(offset..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        count
    }

    fn ingress(&self) -> Ingress {
        self.ingress
    }

    fn set_ingress(&mut self, ingress: Ingress) {
        self.ingress = ingress;
    }

    fn ip_checksum(&self) -> ChecksumState {
        self.checksum
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn set_offload(&mut self, offload: Offload) {
        self.offload = offload;
    }
}

/// A pool with a bound, so that tests see what exhaustion does and that nothing leaks. Clones share
/// the bound.
#[derive(Clone, Debug)]
pub struct MemoryPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Frames alive. Written by whoever takes or drops one.
    alive: AtomicUsize,
    limit: usize,
    /// Buffers of dropped frames.
    kept: ArrayQueue<Vec<u8>>,
}

impl MemoryPool {
    /// A pool of `limit` frames.
    pub fn new(limit: usize) -> Self {
        let kept = ArrayQueue::new(limit.clamp(1, KEPT_MAX));
        Self(Arc::new(Shared { alive: AtomicUsize::new(0), limit, kept }))
    }

    /// Frames of this pool that are alive.
    pub fn in_use(&self) -> usize {
        self.0.alive.load(Ordering::Acquire)
    }

    /// A frame of this pool that holds `bytes`, as if received by `port`; chained where it is longer
    /// than [`ROOM_BYTES`].
    pub fn frame(&mut self, bytes: &[u8], port: PortId) -> Option<MemoryFrame> {
        let mut frame = self.alloc()?;
        frame.bytes.extend_from_slice(bytes);
        frame.chain(ROOM_BYTES);
        frame.ingress.port = port;
        Some(frame)
    }
}

impl FramePool for MemoryPool {
    type Frame = MemoryFrame;

    fn alloc(&mut self) -> Option<MemoryFrame> {
        let Shared { alive, limit, kept } = &*self.0;
        let more = |count: usize| (count < *limit).then_some(count + 1);
        alive.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let fresh = || Vec::with_capacity(HEADROOM_BYTES + ROOM_BYTES);
        Some(MemoryFrame::empty(kept.pop().unwrap_or_else(fresh), Some(self.0.clone())))
    }

    fn copy(&mut self, frame: &MemoryFrame) -> Option<MemoryFrame> {
        let mut copy = self.frame(frame.bytes(), frame.ingress.port)?;
        copy.ingress = frame.ingress;
        copy.checksum = frame.checksum;
        copy.offload = frame.offload;
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_no_more_than_its_limit_and_takes_back() {
        let mut pool = MemoryPool::new(2);
        let (first, second) = (pool.alloc(), pool.alloc());
        assert!(first.is_some() && second.is_some() && pool.alloc().is_none());
        drop(first);
        assert_eq!(pool.in_use(), 1);
        assert!(pool.alloc().is_some());
    }

    #[test]
    fn a_chained_frame_shows_its_first_segment_and_copies_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
        let mut pool = MemoryPool::new(4);
        let mut frame = pool.frame(&bytes, PortId(1)).unwrap();
        assert_eq!((frame.head().len(), frame.len()), (ROOM_BYTES, 3000));
        assert!(!frame.append(&[1]));
        assert_eq!(pool.copy(&frame).unwrap().bytes(), bytes);
        let mut out = [0; 10];
        assert_eq!(frame.copy_out(2045, &mut out), 10);
        assert_eq!(out, bytes[2045..2055]);
        frame.truncate(100);
        assert_eq!(frame.head(), &bytes[..100]);
        frame.chain(14);
        assert!(!frame.shrink_front(15) && frame.shrink_front(14));
        assert!(frame.head().is_empty() && frame.len() == 86);
    }

    #[test]
    fn a_fresh_frame_has_the_tailroom_of_a_segment() {
        let mut frame = MemoryPool::new(1).alloc().unwrap();
        assert!(frame.append(&[0; ROOM_BYTES]));
        assert!(!frame.append(&[0]));
    }
}
