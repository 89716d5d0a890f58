//! Queue handles: one per queue of an attached device, moved to the worker that polls it.

use super::super::mbuf::Mbuf;
use crate::counters::DropReason;
use crate::frame::Burst;
use crate::io::Unsent;
use dpdk_sys::rte_mbuf;
use std::os::fd::{BorrowedFd, RawFd};

/// One receive queue (*one poller*).
#[derive(Debug)]
pub struct EthRx {
    pub(super) port: u16,
    pub(super) queue: u16,
    /// A descriptor of the driver's that is readable while a frame waits; only net_tap has one.
    pub(super) tap: Option<RawFd>,
    /// Whether it wakes the worker that polls it.
    pub(in crate::dpdk) is_watched: bool,
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
    /// Its number on the port.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// What is readable while a frame waits, for whoever waits for it.
    pub(in crate::dpdk) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: *one poller*: the driver keeps the descriptor of a queue that is set up open, and it is that as
        // long as this handle exists.
        self.tap.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
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
