//! What a worker needs of a port's queues, whatever kind of port it is.
//!
//! A queue handle is owned by exactly one worker and every call takes `&mut self`: that is the
//! thread rule. Work moves between workers by moving handles (see `worker`), never by a lock.

use crate::counters::DropReason;
use crate::frame::{Burst, Frame, FramePool};
use crate::idle::Bell;
use crate::wire::offload::Offload;
use std::time::Duration;

pub mod memory;

/// One receive queue of a port.
pub trait RxQueue: Send {
    /// The frames it delivers.
    type Frame: Frame;
    /// Adds what has arrived to `into`, up to its room; returns how many. Never waits.
    fn rx(&mut self, into: &mut Burst<Self::Frame>) -> usize;
    /// Whether it may be looked at less often while nothing comes: nothing is lost when it is late.
    fn may_rest(&self) -> bool {
        false
    }
}

/// One transmit queue of a port.
pub trait TxQueue: Send {
    /// The frames it takes.
    type Frame: Frame;
    /// Whether the far end finishes this itself ([`Frame::offload`]); if not, it is done before.
    fn finishes(&self, _offload: Offload) -> bool {
        false
    }
    /// Sends from the front of `burst`, in order, up to the first frame that it could not take: that and
    /// those behind it stay, and the answer says why. Never waits.
    fn tx(&mut self, burst: &mut Burst<Self::Frame>) -> Unsent;
}

/// A worker's own knowledge of which of its receive queues are worth a look, for kinds of queue where a
/// look costs a system call. Queues of other kinds are polled each loop.
pub trait Readiness<Q>: Default + Send {
    /// The worker polls this queue from now on.
    fn watch(&mut self, _queue: &mut Q) {}
    /// The worker gives it away.
    fn forget(&mut self, _queue: &mut Q) {}
    /// Finds out, once a loop, for all queues together. Never waits.
    fn look(&mut self, _now_ns: u64) {}
    /// Whether to poll this queue now. Yes is said once for each time it is found out.
    fn is_due(&mut self, _queue: &Q) -> bool {
        true
    }
    /// The worker is about to sleep: has this queue tell when something comes; whether it will. What is there
    /// already is found by one more look.
    fn arm(&mut self, _queue: &mut Q) -> bool {
        false
    }
    /// It is awake again, and polls.
    fn disarm(&mut self, _queue: &mut Q) {}
    /// Sleeps until a queue that was armed has something, the bell is rung or the time is over.
    fn sleep(&mut self, bell: &Bell, time: Duration) {
        bell.sleep([None; 2], time);
    }
}

/// Every queue is polled each loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysReady;

impl<Q> Readiness<Q> for AlwaysReady {}

/// Why frames stayed, if any did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsent {
    /// The queue is full: they are lost.
    Full,
    /// Nobody is at the other end: they are lost.
    NotConnected,
    /// The queue is closed for a moment: they may wait and be offered again.
    Later,
    /// The first of them is lost, for this reason; those behind it may be offered again.
    First(DropReason),
}

/// The kinds of frame, pool and queue that belong together: DPDK's, or in-memory ones in tests.
pub trait Io: 'static {
    /// Frames.
    type Frame: Frame + 'static;
    /// Pool of a worker.
    type Pool: FramePool<Frame = Self::Frame> + Send + 'static;
    /// Receive queues.
    type Rx: RxQueue<Frame = Self::Frame> + 'static;
    /// Transmit queues.
    type Tx: TxQueue<Frame = Self::Frame> + 'static;
    /// What a worker knows of its receive queues.
    type Readiness: Readiness<Self::Rx> + 'static;
}
