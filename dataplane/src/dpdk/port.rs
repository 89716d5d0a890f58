//! The kinds of port behind one name each: what the workers are monomorphised over.
//!
//! Each name is an enum because Debian's limit of 32 ethdevs is lifted by kinds of our own, and a match
//! on a tag is cheaper than a call through a pointer.

use super::ethdev::{EthPort, EthRx, EthStats, EthTx, LinkState, PortError};
use super::mbuf::Mbuf;
use super::mempool::Pool;
use super::readiness::QueueReadiness;
use super::tap::{TapPort, TapRx, TapTx};
use super::vhost::{VhostPort, VhostRx, VhostState, VhostTx};
use crate::frame::Burst;
use crate::io::{Io, RxQueue, TxQueue, Unsent};
use crate::wire::ethernet::MacAddr;
use crate::wire::offload::Offload;

/// An attached port, control's side of it.
#[derive(Debug)]
pub enum Port {
    /// A DPDK device.
    Ethdev(EthPort),
    /// A guest on a vhost-user socket.
    Vhost(VhostPort),
    /// A tap that we hold.
    Tap(TapPort),
}

/// One receive queue.
#[derive(Debug)]
pub enum Rx {
    /// Of a DPDK device.
    Ethdev(EthRx),
    /// Of a vhost-user port.
    Vhost(VhostRx),
    /// Of a tap.
    Tap(TapRx),
}

/// One transmit queue.
#[derive(Debug)]
pub enum Tx {
    /// Of a DPDK device.
    Ethdev(EthTx),
    /// Of a vhost-user port.
    Vhost(VhostTx),
    /// Of a tap.
    Tap(TapTx),
}

impl Port {
    /// The device as the operator wrote it; a socket's path.
    pub fn device(&self) -> &str {
        match self {
            Self::Ethdev(port) => port.device(),
            Self::Vhost(port) => port.device(),
            Self::Tap(port) => port.device(),
        }
    }

    /// DPDK's name of the driver, such as "net_tap"; "vhost-user" for such a port.
    pub fn driver(&self) -> &str {
        match self {
            Self::Ethdev(port) => port.driver(),
            Self::Vhost(_) => "vhost-user",
            Self::Tap(_) => "tap",
        }
    }

    /// Ends the port; see [`EthPort::detach`].
    ///
    /// # Errors
    /// What the driver says.
    pub fn detach(self, rx: Vec<Rx>, tx: Vec<Tx>) -> Result<(), PortError> {
        match self {
            Self::Ethdev(port) => port.detach(rx, tx),
            Self::Vhost(port) => {
                port.detach(rx, tx);
                Ok(())
            }
            Self::Tap(port) => {
                port.detach(rx, tx);
                Ok(())
            }
        }
    }

    /// The least and the largest MTU that [`Port::set_mtu`] takes.
    pub fn mtu_range(&self) -> (u16, u16) {
        match self {
            Self::Ethdev(port) => port.mtu_range(),
            Self::Vhost(port) => port.mtu_range(),
            Self::Tap(port) => port.mtu_range(),
        }
    }

    /// Sets the MTU; see [`EthPort::set_mtu`].
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        match self {
            Self::Ethdev(port) => port.set_mtu(mtu),
            Self::Vhost(port) => {
                port.set_mtu(mtu);
                Ok(())
            }
            Self::Tap(port) => port.set_mtu(mtu),
        }
    }

    /// Sets the device's MAC. A vhost-user port has none: the front-end's is the guest's own.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_mac(&mut self, mac: MacAddr) -> Result<(), PortError> {
        match self {
            Self::Ethdev(port) => port.set_mac(mac),
            Self::Vhost(_) => Ok(()),
            Self::Tap(port) => port.set_mac(mac),
        }
    }

    /// The device's MAC, where it has one.
    pub fn mac(&self) -> Option<MacAddr> {
        match self {
            Self::Ethdev(port) => port.mac().ok(),
            Self::Vhost(_) => None,
            Self::Tap(port) => port.mac(),
        }
    }

    /// The link as the port sees it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn link(&self) -> Result<LinkState, PortError> {
        match self {
            Self::Ethdev(port) => port.link(),
            Self::Vhost(port) => Ok(port.link()),
            Self::Tap(port) => Ok(port.link()),
        }
    }

    /// Receives every multicast frame; a port that has no MAC of ours always does.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_all_multicast(&mut self, on: bool) -> Result<(), PortError> {
        match self {
            Self::Ethdev(port) => port.set_all_multicast(on),
            Self::Vhost(_) | Self::Tap(_) => Ok(()),
        }
    }

    /// Receives frames for any MAC; a vhost-user port and a tap always do.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        match self {
            Self::Ethdev(port) => port.set_promiscuous(on),
            Self::Vhost(_) | Self::Tap(_) => Ok(()),
        }
    }

    /// Whether it receives frames for any MAC.
    pub fn is_promiscuous(&self) -> bool {
        match self {
            Self::Ethdev(port) => port.is_promiscuous(),
            Self::Vhost(_) | Self::Tap(_) => true,
        }
    }

    /// The kernel interface behind it, if any, by its present name.
    pub fn kernel_interface(&self) -> Option<String> {
        match self {
            Self::Ethdev(port) => port.kernel_interface(),
            Self::Vhost(_) => None,
            Self::Tap(port) => port.kernel_interface(),
        }
    }

    /// Whether the device is gone for good; a guest that left may come back.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Ethdev(port) => port.is_lost(),
            Self::Vhost(_) => false,
            Self::Tap(port) => port.is_lost(),
        }
    }

    /// The device's own counters.
    ///
    /// # Errors
    /// What the driver says.
    pub fn stats(&self) -> Result<EthStats, PortError> {
        match self {
            Self::Ethdev(port) => port.stats(),
            Self::Vhost(port) => Ok(port.stats()),
            Self::Tap(port) => Ok(port.stats()),
        }
    }

    /// Sets them to 0.
    ///
    /// # Errors
    /// What the driver says.
    pub fn reset_stats(&mut self) -> Result<(), PortError> {
        match self {
            Self::Ethdev(port) => port.reset_stats(),
            Self::Vhost(port) => {
                port.reset_stats();
                Ok(())
            }
            Self::Tap(port) => {
                port.reset_stats();
                Ok(())
            }
        }
    }

    /// Extended counters by name.
    ///
    /// # Errors
    /// What the driver says.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, PortError> {
        match self {
            Self::Ethdev(port) => port.xstats(),
            Self::Vhost(port) => Ok(port.xstats()),
            Self::Tap(port) => Ok(port.xstats()),
        }
    }

    /// What is known of the front-end, for a vhost-user port.
    pub fn vhost_state(&self) -> Option<VhostState> {
        match self {
            Self::Ethdev(_) | Self::Tap(_) => None,
            Self::Vhost(port) => Some(port.state()),
        }
    }

    /// Whether its guest was migrated here since the last call; see [`VhostPort::take_moved`].
    pub fn take_moved(&self) -> bool {
        match self {
            Self::Ethdev(_) | Self::Tap(_) => false,
            Self::Vhost(port) => port.take_moved(),
        }
    }

    /// What happened on it since the last call and the operator should hear of.
    pub fn take_events(&self) -> Vec<String> {
        match self {
            Self::Ethdev(_) | Self::Tap(_) => Vec::new(),
            Self::Vhost(port) => port.take_events(),
        }
    }
}

impl RxQueue for Rx {
    type Frame = Mbuf;

    #[inline]
    fn rx(&mut self, into: &mut Burst<Mbuf>) -> usize {
        match self {
            Self::Ethdev(queue) => queue.rx(into),
            Self::Vhost(queue) => queue.rx(into),
            Self::Tap(queue) => queue.rx(into),
        }
    }

    #[inline]
    fn may_rest(&self) -> bool {
        match self {
            // A NIC's queue overflows while nobody looks.
            Self::Ethdev(_) => false,
            // Looked at only when it has something.
            Self::Tap(_) => false,
            // A guest's packets wait in its own memory.
            Self::Vhost(_) => true,
        }
    }
}

impl TxQueue for Tx {
    type Frame = Mbuf;

    #[inline]
    fn finishes(&self, offload: Offload) -> bool {
        match self {
            Self::Ethdev(_) => false,
            Self::Vhost(queue) => queue.finishes(offload),
            Self::Tap(queue) => queue.finishes(offload),
        }
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<Mbuf>) -> Unsent {
        match self {
            Self::Ethdev(queue) => queue.tx(burst),
            Self::Vhost(queue) => queue.tx(burst),
            Self::Tap(queue) => queue.tx(burst),
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
    type Readiness = QueueReadiness;
}
