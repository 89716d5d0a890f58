//! Frames and queues for measuring: as [`dataplane::io::memory`]'s, but a frame is moved by its address, as an mbuf
//! is, and a queue takes a burst at a stroke. What they cost of their own is little beside what the path does.

use dataplane::frame::memory::{MemoryFrame, MemoryPool};
use dataplane::frame::{Burst, ChecksumState, Frame, FramePool, Ingress};
use dataplane::ids::PortId;
use dataplane::io::{AlwaysReady, Io, RxQueue, TxQueue, Unsent};
use dataplane::wire::offload::Offload;
use std::sync::{Arc, Mutex, PoisonError};

/// The kinds that belong together.
#[derive(Debug)]
pub struct BoxedIo;

impl Io for BoxedIo {
    type Frame = BoxedFrame;
    type Pool = BoxedPool;
    type Rx = NoRx;
    type Tx = Sink;
    type Readiness = AlwaysReady;
}

/// A frame in memory, of which only the address moves.
#[derive(Debug)]
pub struct BoxedFrame(Box<MemoryFrame>);

impl Frame for BoxedFrame {
    #[inline]
    fn head(&self) -> &[u8] {
        self.0.head()
    }
    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        self.0.head_mut()
    }
    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }
    fn grow_front(&mut self, bytes: usize) -> bool {
        self.0.grow_front(bytes)
    }
    fn shrink_front(&mut self, bytes: usize) -> bool {
        self.0.shrink_front(bytes)
    }
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
    fn append(&mut self, bytes: &[u8]) -> bool {
        self.0.append(bytes)
    }
    fn copy_out(&self, offset: usize, out: &mut [u8]) -> usize {
        self.0.copy_out(offset, out)
    }
    #[inline]
    fn ingress(&self) -> Ingress {
        self.0.ingress()
    }
    #[inline]
    fn set_ingress(&mut self, ingress: Ingress) {
        self.0.set_ingress(ingress);
    }
    #[inline]
    fn ip_checksum(&self) -> ChecksumState {
        self.0.ip_checksum()
    }
    #[inline]
    fn offload(&self) -> Offload {
        self.0.offload()
    }
    fn set_offload(&mut self, offload: Offload) {
        self.0.set_offload(offload);
    }
}

/// Where they come from.
#[derive(Clone, Debug)]
pub struct BoxedPool(MemoryPool);

impl BoxedPool {
    /// A pool of `limit` frames.
    pub fn new(limit: usize) -> Self {
        Self(MemoryPool::new(limit))
    }

    /// A frame that holds `bytes`, as if received by `port`.
    pub fn frame(&mut self, bytes: &[u8], port: PortId) -> Option<BoxedFrame> {
        self.0.frame(bytes, port).map(|frame| BoxedFrame(Box::new(frame)))
    }

    /// Frames that are alive.
    pub fn in_use(&self) -> usize {
        self.0.in_use()
    }
}

impl FramePool for BoxedPool {
    type Frame = BoxedFrame;

    fn alloc(&mut self) -> Option<BoxedFrame> {
        self.0.alloc().map(|frame| BoxedFrame(Box::new(frame)))
    }

    fn copy(&mut self, frame: &BoxedFrame) -> Option<BoxedFrame> {
        self.0.copy(&frame.0).map(|frame| BoxedFrame(Box::new(frame)))
    }
}

/// Bursts are given to the path by hand.
#[derive(Debug)]
pub struct NoRx;

impl RxQueue for NoRx {
    type Frame = BoxedFrame;

    fn rx(&mut self, _into: &mut Burst<BoxedFrame>) -> usize {
        0
    }
}

/// Takes all that it is given and keeps it; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Sink(Arc<Mutex<Vec<BoxedFrame>>>);

impl Sink {
    /// With room for so many frames, so that to take them allocates nothing.
    pub fn new(frames: usize) -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(frames))))
    }

    /// Gives up what it has taken; answers how many there were.
    pub fn clear(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).count()
    }
}

impl TxQueue for Sink {
    type Frame = BoxedFrame;

    #[inline]
    fn tx(&mut self, burst: &mut Burst<BoxedFrame>) -> Unsent {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(burst.drain(..));
        Unsent::Full
    }
}
