//! Frames and a pool in plain memory: what the tests without DPDK run on.

use super::{ChecksumState, Frame, FramePool, HEADROOM_BYTES, Ingress};
use crate::ids::{AdapterId, PortId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A frame as a byte vector with headroom.
#[derive(Debug)]
pub struct MemoryFrame {
    bytes: Vec<u8>,
    start: usize,
    ingress: Ingress,
    checksum: ChecksumState,
    /// Frames alive of the pool it came from, if any.
    alive: Option<Arc<AtomicUsize>>,
}

impl MemoryFrame {
    /// A frame that holds `bytes`, as if received by `port`.
    pub fn new(bytes: &[u8], port: PortId) -> Self {
        let mut buffer = vec![0; HEADROOM_BYTES];
        buffer.extend_from_slice(bytes);
        Self {
            bytes: buffer,
            start: HEADROOM_BYTES,
            ingress: Ingress { port, adapter: AdapterId::NONE },
            checksum: ChecksumState::Unknown,
            alive: None,
        }
    }

    /// Sets what the port says of the header checksum.
    pub fn set_ip_checksum(&mut self, state: ChecksumState) {
        self.checksum = state;
    }
}

impl Drop for MemoryFrame {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Frame for MemoryFrame {
    fn head(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
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
        let fits = bytes <= self.len();
        if fits {
            self.start += bytes;
        }
        fits
    }

    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start.saturating_add(len));
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        true
    }

    fn copy_out(&self, offset: usize, out: &mut [u8]) -> usize {
        let rest = self.head().get(offset..).unwrap_or_default();
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
}

/// A pool with a bound, so that tests see what exhaustion does and that nothing leaks.
#[derive(Clone, Debug)]
pub struct MemoryPool {
    alive: Arc<AtomicUsize>,
    limit: usize,
}

impl MemoryPool {
    /// A pool of `limit` frames.
    pub fn new(limit: usize) -> Self {
        Self { alive: Arc::default(), limit }
    }

    /// Frames of this pool that are alive.
    pub fn in_use(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// A frame of this pool that holds `bytes`, as if received by `port`.
    pub fn frame(&mut self, bytes: &[u8], port: PortId) -> Option<MemoryFrame> {
        let mut frame = self.alloc()?;
        frame.append(bytes);
        frame.ingress.port = port;
        Some(frame)
    }
}

impl FramePool for MemoryPool {
    type Frame = MemoryFrame;

    fn alloc(&mut self) -> Option<MemoryFrame> {
        if self.alive.load(Ordering::Relaxed) >= self.limit {
            return None;
        }
        self.alive.fetch_add(1, Ordering::Relaxed);
        let mut frame = MemoryFrame::new(&[], PortId::NONE);
        frame.alive = Some(self.alive.clone());
        Some(frame)
    }

    fn copy(&mut self, frame: &MemoryFrame) -> Option<MemoryFrame> {
        let mut copy = self.frame(frame.head(), frame.ingress.port)?;
        copy.ingress = frame.ingress;
        copy.checksum = frame.checksum;
        Some(copy)
    }
}
