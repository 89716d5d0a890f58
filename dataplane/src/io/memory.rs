//! Ports in plain memory: a pair of bounded queues in place of a device. With
//! [`MemoryPool`] they stand in for DPDK in the tests of this crate and of control.

use super::{AlwaysReady, Io, RxQueue, TxQueue, Unsent};
use crate::counters::DropReason;
use crate::frame::memory::{MemoryFrame, MemoryPool};
use crate::frame::{Burst, Frame};
use crate::wire::offload::Offload;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// In-memory frames, pools and queues.
#[derive(Debug)]
pub struct MemoryIo;

impl Io for MemoryIo {
    type Frame = MemoryFrame;
    type Pool = MemoryPool;
    type Rx = MemoryRx;
    type Tx = MemoryTx;
    type Readiness = AlwaysReady;
}

/// One direction of a cable, seen from both of its ends.
pub type MemoryWire = Arc<ArrayQueue<MemoryFrame>>;

/// A port with one queue each way. The far end pushes to `to_us` and pops from `from_us`; clones are
/// the same port.
#[derive(Clone, Debug)]
pub struct MemoryPort {
    /// What the appliance is to receive.
    pub to_us: MemoryWire,
    /// What the appliance has sent. Full: its transmit queue takes no more.
    pub from_us: MemoryWire,
    gate: Arc<AtomicU8>,
    looks: Arc<AtomicUsize>,
}

const OPEN: u8 = 0;
const PAUSED: u8 = 1;
const DOWN: u8 = 2;
const FAULTY: u8 = 3;
/// What a queue that finds faults refuses.
pub const FAULTY_BYTES: usize = 99;

impl MemoryPort {
    /// A port that holds `depth` frames each way; at least 1.
    pub fn new(depth: usize) -> Self {
        let wire = || Arc::new(ArrayQueue::new(depth.max(1)));
        Self { to_us: wire(), from_us: wire(), gate: Arc::default(), looks: Arc::default() }
    }

    /// The same as of a guest that finishes frames itself.
    pub fn tx_that_finishes(&self) -> MemoryTx {
        MemoryTx { finishes: true, ..self.tx() }
    }

    /// From now on its transmit queue takes nothing, for this reason; `Full`: takes what there is room for;
    /// `First`: the same, but for frames of [`FAULTY_BYTES`].
    pub fn close(&self, reason: Unsent) {
        let gate = match reason {
            Unsent::Full => OPEN,
            Unsent::Later => PAUSED,
            Unsent::NotConnected => DOWN,
            Unsent::First(_) => FAULTY,
        };
        self.gate.store(gate, Ordering::Relaxed);
    }

    /// The receive queue. Each of several takes what it gets hold of first.
    pub fn rx(&self) -> MemoryRx {
        MemoryRx { wire: self.to_us.clone(), may_rest: false, looks: self.looks.clone() }
    }

    /// The same of a port that loses nothing when it is looked at late.
    pub fn rx_that_may_rest(&self) -> MemoryRx {
        MemoryRx { may_rest: true, ..self.rx() }
    }

    /// How often its receive queues were looked at.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// The transmit queue.
    pub fn tx(&self) -> MemoryTx {
        MemoryTx {
            wire: self.from_us.clone(),
            takes_chains: true,
            gate: self.gate.clone(),
            finishes: false,
        }
    }

    /// The same as of a driver that takes no frame in several buffers.
    pub fn tx_without_chains(&self) -> MemoryTx {
        MemoryTx { takes_chains: false, ..self.tx() }
    }
}

/// Takes frames off a wire.
#[derive(Debug)]
pub struct MemoryRx {
    wire: MemoryWire,
    may_rest: bool,
    looks: Arc<AtomicUsize>,
}

impl RxQueue for MemoryRx {
    type Frame = MemoryFrame;

    fn rx(&mut self, into: &mut Burst<MemoryFrame>) -> usize {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let before = into.len();
        while !into.is_full()
            && let Some(frame) = self.wire.pop()
        {
            into.push(frame);
        }
        into.len() - before
    }

    fn may_rest(&self) -> bool {
        self.may_rest
    }
}

/// Puts frames on a wire.
#[derive(Debug)]
pub struct MemoryTx {
    wire: MemoryWire,
    takes_chains: bool,
    gate: Arc<AtomicU8>,
    finishes: bool,
}

impl TxQueue for MemoryTx {
    type Frame = MemoryFrame;

    fn finishes(&self, _offload: Offload) -> bool {
        self.finishes
    }

    fn tx(&mut self, burst: &mut Burst<MemoryFrame>) -> Unsent {
        match self.gate.load(Ordering::Relaxed) {
            PAUSED => return Unsent::Later,
            DOWN => return Unsent::NotConnected,
            _ => {}
        }
        let finds_faults = self.gate.load(Ordering::Relaxed) == FAULTY;
        let mut unsent = Unsent::Full;
        let mut kept = Burst::new();
        let mut frames = burst.drain(..);
        for frame in &mut frames {
            if !self.takes_chains && frame.head().len() < frame.len() {
                unsent = Unsent::First(DropReason::TxChained);
                kept.push(frame);
                break;
            }
            if finds_faults && frame.len() == FAULTY_BYTES {
                unsent = Unsent::First(DropReason::TxError);
                kept.push(frame);
                break;
            }
            if let Err(back) = self.wire.push(frame) {
                kept.push(back);
                break;
            }
        }
        kept.extend(frames);
        *burst = kept;
        unsent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BURST_PKTS;
    use crate::ids::PortId;

    #[test]
    fn a_full_wire_leaves_the_rest_of_the_burst_in_order() {
        let port = MemoryPort::new(3);
        let mut burst: Burst<_> =
            (0..5u8).map(|number| MemoryFrame::new(&[number], PortId(1))).collect();
        port.tx().tx(&mut burst);
        assert_eq!(burst.iter().map(|frame| frame.head()[0]).collect::<Vec<_>>(), [3, 4]);
        let sent: Vec<_> = std::iter::from_fn(|| port.from_us.pop()).collect();
        assert_eq!(sent.iter().map(|frame| frame.head()[0]).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_receive_queue_fills_what_room_the_burst_has() {
        let port = MemoryPort::new(100);
        for number in 0..72 {
            port.to_us.push(MemoryFrame::new(&[number], PortId(1))).unwrap();
        }
        let mut burst = Burst::new();
        assert_eq!(port.rx().rx(&mut burst), BURST_PKTS);
        assert_eq!(port.rx().rx(&mut burst), 0);
        burst.clear();
        assert_eq!(port.rx().rx(&mut burst), 8);
    }
}
