//! Queue handles: one per queue of an attached device, moved to the worker that polls it.

use super::super::mbuf::Mbuf;
use crate::counters::DropReason;
use crate::frame::Burst;
use crate::io::Unsent;
use dpdk_sys::rte_mbuf;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{BorrowedFd, RawFd};

/// One receive queue (*one poller*).
#[derive(Debug)]
pub struct EthRx {
    pub(super) port: u16,
    pub(super) queue: u16,
    wake: Option<Wake>,
    /// Whether it wakes the worker that polls it.
    pub(in crate::dpdk) is_watched: bool,
    /// Whether an interrupt has ever come.
    has_interrupted: bool,
}

/// How a queue tells that a frame waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::dpdk) enum Wake {
    /// By a descriptor that is readable as long as one does: net_tap's own.
    Tap(RawFd),
    /// By an eventfd that counts its interrupts, once they are on. Nobody reads it: each is an edge.
    Interrupts(RawFd),
}

/// One transmit queue (*one poller*).
#[derive(Debug)]
pub struct EthTx {
    pub(super) port: u16,
    pub(super) queue: u16,
    /// Whether the driver takes chained mbufs. One that doesn't may read past the first segment.
    pub(super) takes_chains: bool,
}

impl EthRx {
    /// Of a device that is started; `wake` if it may wake a worker that sleeps.
    pub(super) fn new(port: u16, queue: u16, wake: Option<Wake>) -> Self {
        Self { port, queue, wake, is_watched: false, has_interrupted: false }
    }

    /// Its number on the port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// After the device was stopped and started: drivers make their descriptors anew.
    pub(super) fn set_wake(&mut self, wake: Option<Wake>) {
        self.wake = wake;
    }

    /// How it tells that a frame waits, where it can; valid as long as this borrow.
    pub(in crate::dpdk) fn wake(&self) -> Option<(Wake, BorrowedFd<'_>)> {
        let wake = self.wake?;
        let (Wake::Tap(fd) | Wake::Interrupts(fd)) = wake;
        // SAFETY: *one poller*: the driver keeps the descriptor of a queue open while its device is started, and
        // that it is as long as this handle exists and isn't borrowed by a stop.
        Some((wake, unsafe { BorrowedFd::borrow_raw(fd) }))
    }

    /// Has it tell; whether it will. A driver that claims interrupts and has none is not relied on: a worker
    /// looks by itself until one has come.
    pub(in crate::dpdk) fn arm(&mut self) -> bool {
        match self.wake.filter(|_| self.is_watched) {
            None => false,
            Some(Wake::Tap(_)) => true,
            // SAFETY: *one poller*.
            Some(Wake::Interrupts(_)) => unsafe {
                dpdk_sys::rte_eth_dev_rx_intr_enable(self.port, self.queue) == 0
                    && self.has_interrupted()
            },
        }
    }

    /// It is polled again.
    pub(in crate::dpdk) fn disarm(&mut self) {
        if self.is_watched && matches!(self.wake, Some(Wake::Interrupts(_))) {
            // SAFETY: *one poller*.
            unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(self.port, self.queue) };
        }
    }

    fn has_interrupted(&mut self) -> bool {
        if !self.has_interrupted
            && let Some((_, fd)) = self.wake()
        {
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            self.has_interrupted = poll(&mut fds, PollTimeout::ZERO) == Ok(1);
        }
        self.has_interrupted
    }

    #[inline]
    pub(crate) fn rx(&mut self, into: &mut Burst<Mbuf>) -> usize {
        let (len, room) = (into.len(), into.remaining_capacity());
        // The capacity of a burst is far below.
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        // SAFETY: *one poller*: the queue is set up and started as long as this handle exists and
        // isn't borrowed by a stop. `Mbuf` is a transparent pointer and there is room for `room` of
        // them behind `len`; the driver writes `count` *owned* ones.
        unsafe {
            let to = into.as_mut_ptr().add(len).cast::<*mut rte_mbuf>();
            let count = usize::from(dpdk_sys::gw_eth_rx_burst(self.port, self.queue, to, room));
            into.set_len(len + count);
            count
        }
    }
}

impl EthTx {
    /// Its number on the port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    #[inline]
    pub(crate) fn tx(&mut self, burst: &mut Burst<Mbuf>) -> Unsent {
        let refused =
            if self.takes_chains { None } else { burst.iter().position(|it| it.segments() != 1) };
        let count = u16::try_from(refused.unwrap_or(burst.len())).unwrap_or(u16::MAX);
        // SAFETY: *one poller*, as in `rx`. The driver takes the first `sent` mbufs over; they are
        // forgotten by moving the rest to the front and shortening the burst.
        unsafe {
            let from = burst.as_mut_ptr();
            let sent = dpdk_sys::gw_eth_tx_burst(
                self.port,
                self.queue,
                from.cast::<*mut rte_mbuf>(),
                count,
            );
            let rest = burst.len() - usize::from(sent);
            std::ptr::copy(from.add(sent.into()), from, rest);
            burst.set_len(rest);
            match refused {
                Some(_) if sent == count => Unsent::First(DropReason::TxChained),
                _ => Unsent::Full,
            }
        }
    }
}
