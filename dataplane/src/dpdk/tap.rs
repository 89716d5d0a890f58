//! Taps: containers whose kernel interface we hold. A descriptor per queue on /dev/net/tun, without an
//! ethdev, since one of those (net_tap) per container would end at RTE_MAX_ETHPORTS and would cost a
//! system call per loop and idle tap.
//!
//! The interface is born in the container's namespace and outlives us: [`device`] makes it or takes up
//! the one that an earlier run left. Frames carry a [`header`] that says what their sender left undone,
//! so that checksums and long TCP segments pass unfinished between containers, and between a container
//! and a VM. [`queue`] is what a worker calls, [`readiness`] tells it which taps are worth a read.

use super::eal::Eal;
use super::ethdev::kernel::KernelInterface;
use super::ethdev::{EthStats, LinkState, PortError};
use super::mempool::Pool;
use super::netns::{Netns, run_in};
use super::port::{Rx, Tx};
use crate::wire::ethernet::MacAddr;
use crossbeam::utils::CachePadded;
use queue::QueueCounts;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod device;
mod error;
mod header;
mod queue;
mod readiness;

pub use error::TapError;
pub use queue::{TapRx, TapTx};
pub use readiness::TapReadiness;

/// Least and largest MTU; the largest is what Linux lets a tap have.
const MTU_RANGE: (u16, u16) = (68, 65_521);
/// Queues of one interface at most (Linux, MAX_TAP_QUEUES).
const QUEUES_MAX: u16 = 256;
/// The longest frame: a packet of 64 KB and a link-layer header with two tags.
const FRAME_BYTES_MAX: usize = 65_535 + 14 + 8;

/// A tap to open.
#[derive(Clone, Debug)]
pub struct TapSpec {
    /// The interface's name; it is made where there is none.
    pub iface: String,
    /// Where it is or is to be born; the calling thread's own namespace where absent.
    pub netns: Option<Netns>,
    /// Receive queues, 1 to 256, a descriptor each.
    pub queues: u16,
    /// Transmit handles, one for each worker that sends; they share the descriptors.
    pub writers: u16,
    /// Largest L3 packet, bytes.
    pub mtu: u16,
    /// The interface's MAC, so the container's; `None` leaves it.
    pub mac: Option<MacAddr>,
    /// Where received frames come from.
    pub pool: Pool,
}

impl TapSpec {
    /// One queue each way in the calling thread's namespace, an MTU of 1,500, any MAC.
    pub fn new(iface: &str, pool: Pool) -> Self {
        let (iface, netns, mac) = (iface.to_owned(), None, None);
        Self { iface, netns, queues: 1, writers: 1, mtu: 1500, mac, pool }
    }
}

/// What the handles of one tap share.
#[derive(Debug)]
struct Link {
    /// A descriptor for each queue; closed with the last handle.
    queues: Box<[OwnedFd]>,
    /// Of each receive queue.
    rx: Box<[CachePadded<QueueCounts>]>,
    /// Of each transmit handle.
    tx: Box<[CachePadded<QueueCounts>]>,
}

/// A tap: what control does with it. Its queues are separate handles.
#[derive(Debug)]
#[must_use = "a port is ended by `detach`"]
pub struct TapPort {
    iface: String,
    link: Arc<Link>,
    /// Sees the interface as long as it stays where it was born.
    kernel: KernelInterface,
    /// What `clear` takes off the counters.
    cleared: Counts,
}

/// Counters at one moment.
#[derive(Clone, Debug, Default)]
struct Counts {
    rx: Vec<QueueCount>,
    tx: Vec<QueueCount>,
}

/// Of one queue: packets, bytes, errors, times without an mbuf.
type QueueCount = [u64; 4];

/// Makes the interface or takes up an existing one. Nothing of ours holds it yet; when this fails, what
/// was new is gone again.
///
/// # Errors
/// A namespace, a name or a right that is missing, or an interface that somebody else has.
pub fn open(_started: Eal, spec: &TapSpec) -> Result<(TapPort, Vec<Rx>, Vec<Tx>), TapError> {
    let inside = run_in(spec.netns.as_ref(), || {
        let kernel =
            |source| TapError::Step { iface: spec.iface.clone(), step: "watch it", source };
        let queues = device::open(spec)?;
        let watch = KernelInterface::watch(device::index(&spec.iface)).map_err(kernel)?;
        Ok((queues, watch))
    });
    let (queues, kernel) =
        inside.map_err(|source| TapError::Netns { iface: spec.iface.clone(), source })??;
    let counts = |count: u16| (0..count).map(|_| CachePadded::default()).collect();
    let writers = spec.writers.max(1);
    let link =
        Arc::new(Link { queues: queues.into(), rx: counts(spec.queues), tx: counts(writers) });
    let rx = (0..spec.queues).map(|queue| Rx::Tap(TapRx::new(&link, queue.into(), spec.pool)));
    let tx = (0..writers).map(|writer| Tx::Tap(TapTx::new(&link, writer.into())));
    let (rx, tx) = (rx.collect(), tx.collect());
    let cleared = link.counts();
    Ok((TapPort { iface: spec.iface.clone(), link, kernel, cleared }, rx, tx))
}

impl Link {
    fn counts(&self) -> Counts {
        let read = |counts: &CachePadded<QueueCounts>| {
            let cells = [&counts.pkts, &counts.bytes, &counts.errors, &counts.no_mbuf];
            cells.map(|cell| cell.load(Ordering::Relaxed))
        };
        Counts { rx: self.rx.iter().map(read).collect(), tx: self.tx.iter().map(read).collect() }
    }
}

impl TapPort {
    /// The interface's name as it was opened.
    pub fn device(&self) -> &str {
        &self.iface
    }

    /// Lets the interface go; it stays, without carrier. Takes every queue handle, so nobody polls any
    /// more, and all mbufs go back.
    pub fn detach(self, rx: Vec<Rx>, tx: Vec<Tx>) {
        drop((rx, tx));
    }

    /// Receive queues and transmit handles.
    pub fn queues(&self) -> (usize, usize) {
        (self.link.rx.len(), self.link.tx.len())
    }

    /// The least and the largest MTU.
    pub fn mtu_range(&self) -> (u16, u16) {
        MTU_RANGE
    }

    /// Sets the interface's MTU, wherever it is by now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        let (min, max) = MTU_RANGE;
        if !(min..=max).contains(&mtu) {
            return Err(PortError::Mtu { device: self.iface.clone(), mtu, min, max });
        }
        self.step("set its MTU", |queue| device::set_mtu(queue, mtu))
    }

    /// Sets the interface's MAC, wherever it is by now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_mac(&mut self, mac: MacAddr) -> Result<(), PortError> {
        self.step("set its MAC address", |queue| device::set_mac(queue, mac))
    }

    /// The interface's MAC; `None` once it was deleted.
    pub fn mac(&self) -> Option<MacAddr> {
        device::mac(self.link.queues.first()?)
    }

    /// Up while the interface is up, as far as it can be seen from where it was born. A virtual device
    /// has no speed.
    pub fn link(&self) -> LinkState {
        LinkState { up: self.kernel.is_running().unwrap_or(false), speed_mbps: 0 }
    }

    /// The interface's present name; `None` once it was deleted or moved to another namespace.
    pub fn kernel_interface(&self) -> Option<String> {
        self.kernel.name()
    }

    /// Whether the interface was deleted. One that was moved to another namespace goes on.
    pub fn is_lost(&self) -> bool {
        self.link.queues.first().is_none_or(device::is_deleted)
    }

    /// Counters since the last reset.
    fn counts(&self) -> Counts {
        let less = |now: Vec<QueueCount>, then: &[QueueCount]| {
            let pairs = now.into_iter().zip(then);
            let differ = |(now, then): (QueueCount, &QueueCount)| {
                std::array::from_fn(|at| now[at].wrapping_sub(then[at]))
            };
            pairs.map(differ).collect()
        };
        let Counts { rx, tx } = self.link.counts();
        Counts { rx: less(rx, &self.cleared.rx), tx: less(tx, &self.cleared.tx) }
    }

    /// All queues together.
    pub fn stats(&self) -> EthStats {
        let Counts { rx, tx } = self.counts();
        let total = |queues: &[QueueCount], at: usize| queues.iter().map(|queue| queue[at]).sum();
        EthStats {
            rx_pkts: total(&rx, 0),
            rx_bytes: total(&rx, 1),
            rx_errors: total(&rx, 2),
            rx_no_mbuf: total(&rx, 3),
            tx_pkts: total(&tx, 0),
            tx_bytes: total(&tx, 1),
            tx_errors: total(&tx, 2),
            rx_missed: 0,
        }
    }

    /// Sets the counters to 0.
    pub fn reset_stats(&mut self) {
        self.cleared = self.link.counts();
    }

    /// Per queue, under the names that DPDK's drivers give theirs.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        let Counts { rx, tx } = self.counts();
        let both = [("rx", rx), ("tx", tx)].into_iter();
        let named = both.flat_map(|(way, queues)| {
            queues.into_iter().enumerate().flat_map(move |(number, counts)| {
                let names = ["packets", "bytes", "errors"].into_iter().zip(counts);
                names.map(move |(name, value)| (format!("{way}_q{number}_{name}"), value))
            })
        });
        named.collect()
    }

    fn step(
        &self,
        step: &'static str,
        call: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> Result<(), PortError> {
        let gone = || io::Error::from_raw_os_error(libc::ENODEV);
        let result = self.link.queues.first().ok_or_else(gone).and_then(call);
        result.map_err(|error| PortError::Step {
            device: self.iface.clone(),
            step,
            reason: error.to_string(),
        })
    }
}
