//! The kinds of port behind one name each: what the workers are monomorphised over.
//!
//! One kind so far. Each name is an enum from the start because the limit of 32 ethdevs will be
//! lifted by kinds of our own, and a match on a tag is cheaper than a call through a pointer.

use super::ethdev::{EthPort, EthRx, EthTx};
use super::mbuf::Mbuf;
use super::mempool::Pool;
use crate::frame::Burst;
use crate::io::{Io, RxQueue, TxQueue};

/// An attached port, control's side of it.
#[derive(Debug)]
pub enum Port {
    /// A DPDK device.
    Ethdev(EthPort),
}

/// One receive queue.
#[derive(Debug)]
pub enum Rx {
    /// Of a DPDK device.
    Ethdev(EthRx),
}

/// One transmit queue.
#[derive(Debug)]
pub enum Tx {
    /// Of a DPDK device.
    Ethdev(EthTx),
}

impl RxQueue for Rx {
    type Frame = Mbuf;

    #[inline]
    fn rx(&mut self, into: &mut Burst<Mbuf>) -> usize {
        match self {
            Self::Ethdev(queue) => queue.rx(into),
        }
    }
}

impl TxQueue for Tx {
    type Frame = Mbuf;

    #[inline]
    fn takes(&self, frame: &Mbuf) -> bool {
        match self {
            Self::Ethdev(queue) => queue.takes(frame),
        }
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<Mbuf>) {
        match self {
            Self::Ethdev(queue) => queue.tx(burst),
        }
    }
}

/// Frames, pool and queues of the appliance.
pub struct DpdkIo;

impl Io for DpdkIo {
    type Frame = Mbuf;
    type Pool = Pool;
    type Rx = Rx;
    type Tx = Tx;
}
