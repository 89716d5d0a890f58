//! vhost-user ports: guests that share their memory with us. We are the back end, on DPDK's vhost
//! library itself, since one ethdev (net_vhost) per guest would end at RTE_MAX_ETHPORTS.
//!
//! A port has a thread of its own, the [`relay`], that makes the socket and stands between the
//! front-end and the library; [`link`] is what it shares with the workers and control, [`queue`] what a
//! worker calls. [`message`] says what a front-end may send, [`fault`] survives one that takes its
//! memory away, and [`library`] holds the calls into C.
//!
//! Invariant (*gate*): a worker calls the library for a device only between two quiescent points and
//! only if it found the gate open after the first; a device is changed or destroyed only after the gate
//! was closed and every worker has passed a quiescent point.
//!
//! Sources: QEMU, "Vhost-user Protocol"; OASIS, "Virtual I/O Device (VIRTIO) Version 1.2", 5.1; DPDK
//! Programmer's Guide, "Vhost Library".

use super::eal::Eal;
use super::ethdev::{EthStats, LinkState};
use super::mempool::Pool;
use super::port::{Rx, Tx};
use crate::table::Qsbr;
use link::{Gate, Link};
use relay::Meeting;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

mod fault;
mod library;
mod link;
mod message;
mod queue;
mod relay;
mod socket;
mod watch;

pub use queue::{VhostRx, VhostTx};
pub use socket::SocketError;

/// Permission bits of a socket that the operator gives none.
const PERM: u16 = 0o660;
/// Least and largest MTU; the largest is Linux's for a virtio-net device.
const MTU_RANGE: (u16, u16) = (68, 65_535);
/// Bytes of a relay's stack.
const STACK_BYTES: usize = 128 << 10;

/// Virtio features on offer, as far as the library has them (VIRTIO 1.2, 5.1.3 and 6). Not on offer:
/// congestion marks on long segments (the library loses them on their way to a guest) and UDP's.
const FEATURES: u64 = {
    const CSUM: u64 = 1;
    const GUEST_CSUM: u64 = 1 << 1;
    const MTU: u64 = 1 << 3;
    const GUEST_TSO: u64 = 1 << 7 | 1 << 8;
    const HOST_TSO: u64 = 1 << 11 | 1 << 12;
    const MRG_RXBUF: u64 = 1 << 15;
    const CTRL_VQ: u64 = 1 << 17;
    const CTRL_RX: u64 = 1 << 18;
    const GUEST_ANNOUNCE: u64 = 1 << 21;
    const MQ: u64 = 1 << 22;
    const LOG_ALL: u64 = 1 << 26;
    const ANY_LAYOUT: u64 = 1 << 27;
    const INDIRECT_DESC: u64 = 1 << 28;
    const EVENT_IDX: u64 = 1 << 29;
    const PROTOCOL_FEATURES: u64 = 1 << 30;
    const VERSION_1: u64 = 1 << 32;
    const RING_PACKED: u64 = 1 << 34;
    const IN_ORDER: u64 = 1 << 35;
    CSUM | GUEST_CSUM
        | MTU
        | GUEST_TSO
        | HOST_TSO
        | MRG_RXBUF
        | CTRL_VQ
        | CTRL_RX
        | GUEST_ANNOUNCE
        | MQ
        | LOG_ALL
        | ANY_LAYOUT
        | INDIRECT_DESC
        | EVENT_IDX
        | PROTOCOL_FEATURES
        | VERSION_1
        | RING_PACKED
        | IN_ORDER
};

/// A vhost-user port to open.
#[derive(Clone, Debug)]
pub struct VhostSpec {
    /// The socket's path.
    pub path: PathBuf,
    /// The VM monitor listens and we connect; else we listen.
    pub is_client: bool,
    /// Ring pairs, 1 to 128.
    pub pairs: u16,
    /// Group of the socket, by name or number.
    pub group: Option<String>,
    /// Permission bits of the socket; 0660 where absent.
    pub perm: Option<u16>,
    /// MTU of the adapter.
    pub mtu: u16,
    /// Where received frames come from.
    pub pool: Pool,
    /// Whether a frame is to wake a worker that sleeps.
    pub wakes: bool,
    /// Whose quiescent points the gate waits for: those of every worker.
    pub qsbr: Arc<Qsbr>,
}

/// A vhost-user port: what control does with it. Its queues are separate handles.
#[derive(Debug)]
#[must_use = "a port is ended by `detach`"]
pub struct VhostPort {
    device: String,
    link: Arc<Link>,
    relay: JoinHandle<()>,
    /// The socket to remove, where we listen.
    listens_at: Option<PathBuf>,
    /// What `clear` takes off the queues' counters: packets and bytes, received and sent.
    cleared: Vec<[(u64, u64); 2]>,
}

/// A connected front-end, as the operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VhostState {
    /// Frames pass.
    pub is_connected: bool,
    /// Virtio features that the guest has accepted.
    pub features: u64,
    /// MTU that the front-end told, if it did.
    pub front_end_mtu: Option<u16>,
    /// Ring pairs that the guest receives by.
    pub pairs_on: u16,
    /// Ring pairs of the adapter.
    pub pairs: u16,
    /// Front-ends that came.
    pub connects: u32,
    /// Front-ends that were cut off for what they did.
    pub resets: u32,
}

/// Opens a port: its socket is there when this returns, and whoever connects is served.
pub fn open(started: Eal, spec: &VhostSpec) -> Result<(VhostPort, Vec<Rx>, Vec<Tx>), SocketError> {
    let path = spec.path.display().to_string();
    let system = |source| SocketError::System { path: path.clone(), source };
    let (meeting, listens_at) = if spec.is_client {
        (Meeting::Connect(spec.path.clone()), None)
    } else {
        let perm = spec.perm.unwrap_or(PERM);
        let listener = socket::listen(&spec.path, spec.group.as_deref(), perm)?;
        (Meeting::Listen(listener), Some(spec.path.clone()))
    };
    watch::start(&spec.qsbr).map_err(system)?;
    let link = Link::new(spec.pairs, spec.mtu, spec.wakes, spec.qsbr.clone()).map_err(system)?;
    let link = Arc::new(link);
    let of_relay = link.clone();
    let relay = std::thread::Builder::new()
        .name("vhost-user".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || relay::run(started, &meeting, &of_relay))
        .map_err(system)?;
    let rx = (0..spec.pairs).map(|pair| Rx::Vhost(VhostRx::new(&link, pair, spec.pool))).collect();
    let tx = vec![Tx::Vhost(VhostTx { link: link.clone(), pool: spec.pool })];
    let cleared = vec![[(0, 0); 2]; usize::from(spec.pairs)];
    Ok((VhostPort { device: path, link, relay, listens_at, cleared }, rx, tx))
}

impl VhostPort {
    /// The socket's path.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Ends the port: the front-end is cut off and the socket removed. Takes every queue handle, so
    /// nobody polls any more.
    pub fn detach(self, rx: Vec<Rx>, tx: Vec<Tx>) {
        if let Some(path) = &self.listens_at {
            let _ = std::fs::remove_file(path);
        }
        self.link.stop();
        // It has nothing to wait for but workers, and they pass.
        let _ = self.relay.join();
        drop((rx, tx));
    }

    /// Receive and transmit queues.
    pub fn queues(&self) -> (u16, u16) {
        (self.link.pairs, 1)
    }

    /// The least and the largest MTU.
    pub fn mtu_range(&self) -> (u16, u16) {
        MTU_RANGE
    }

    /// The adapter's MTU; the guest's own is what its VM monitor was told.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.link.mtu.store(mtu, Ordering::Relaxed);
    }

    /// Up while a guest is connected and ready. A virtual device has no speed.
    pub fn link(&self) -> LinkState {
        LinkState { up: self.link.gate() != Gate::Down, speed_mbps: 0 }
    }

    /// What is known of the front-end.
    pub fn state(&self) -> VhostState {
        let mtu = self.link.front_end_mtu.load(Ordering::Relaxed);
        VhostState {
            is_connected: self.link.gate() != Gate::Down,
            features: self.link.features.load(Ordering::Relaxed),
            front_end_mtu: Some(mtu).filter(|mtu| *mtu > 0),
            pairs_on: self.link.pairs_on(),
            pairs: self.link.pairs,
            connects: self.link.connects.load(Ordering::Relaxed),
            resets: self.link.resets.load(Ordering::Relaxed),
        }
    }

    /// Whether the front-end has said since the last call that its guest was migrated here (SEND_RARP):
    /// its addresses are to be announced. In a network the library's RARP frame does that.
    pub fn take_moved(&self) -> bool {
        self.link.has_moved.swap(false, Ordering::AcqRel)
    }

    /// What happened since the last call and the operator should hear of.
    pub fn take_events(&self) -> Vec<String> {
        self.link.take_events()
    }

    /// Packets and bytes of each pair since the last reset: received, sent.
    fn counts(&self) -> impl Iterator<Item = [(u64, u64); 2]> + '_ {
        let pairs = self.link.rx.iter().zip(self.link.tx.iter()).zip(&self.cleared);
        pairs.map(|((rx, tx), cleared)| {
            let less = |now: (u64, u64), then: (u64, u64)| {
                (now.0.wrapping_sub(then.0), now.1.wrapping_sub(then.1))
            };
            [less(rx.read(), cleared[0]), less(tx.read(), cleared[1])]
        })
    }

    /// All queues together.
    pub fn stats(&self) -> EthStats {
        self.counts().fold(EthStats::default(), |sum, [rx, tx]| EthStats {
            rx_pkts: sum.rx_pkts + rx.0,
            rx_bytes: sum.rx_bytes + rx.1,
            tx_pkts: sum.tx_pkts + tx.0,
            tx_bytes: sum.tx_bytes + tx.1,
            ..sum
        })
    }

    /// Sets the counters to 0.
    pub fn reset_stats(&mut self) {
        let now =
            self.link.rx.iter().zip(self.link.tx.iter()).map(|(rx, tx)| [rx.read(), tx.read()]);
        self.cleared = now.collect();
    }

    /// Per queue, under the names that DPDK's drivers give theirs; and the front-end's comings.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        let per_queue = self.counts().enumerate().flat_map(|(pair, [rx, tx])| {
            [
                (format!("rx_q{pair}_packets"), rx.0),
                (format!("rx_q{pair}_bytes"), rx.1),
                (format!("tx_q{pair}_packets"), tx.0),
                (format!("tx_q{pair}_bytes"), tx.1),
            ]
        });
        let state = self.state();
        let own = [
            ("connects".to_owned(), state.connects.into()),
            ("resets".to_owned(), state.resets.into()),
        ];
        per_queue.chain(own).collect()
    }
}
