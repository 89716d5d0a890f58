//! A worker's path on one [`Host`], and the far end of every port.

use super::host::Host;
use crate::counters::{AdapterCounter, Counters, DropReason, PortCounter, PortCounts};
use crate::frame::Burst;
use crate::frame::memory::{MemoryFrame, MemoryPool};
use crate::ids::{AdapterId, NetworkId, PortId};
use crate::io::memory::{MemoryIo, MemoryPort};
use crate::pipeline::{Path, Rates, TxPort, TxRoute};
use crate::punt::Punt;
use crate::record::{NetworkRecord, PortRecord};
use crate::table::Reader;
use crossbeam::queue::ArrayQueue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The host with one worker's path, and the far end of every port.
pub(super) struct Lab {
    pub(super) host: Host,
    pub(super) path: Path<MemoryIo>,
    pub(super) pool: MemoryPool,
    pub(super) punts: Arc<ArrayQueue<Punt<MemoryFrame>>>,
    pub(super) ports: BTreeMap<PortId, MemoryPort>,
    pub(super) now_ns: u64,
    /// Records at the start.
    start: (BTreeMap<PortId, PortRecord>, BTreeMap<NetworkId, NetworkRecord>),
    _reader: Reader,
}

impl Lab {
    pub(super) fn new() -> Lab {
        Lab::with(1024, 256, Rates::default())
    }

    /// A lab whose pool, whose every wire and whose punt queue hold so much.
    pub(super) fn with(pool_frames: usize, depth: usize, rates: Rates) -> Lab {
        let host = Host::new();
        let pool = MemoryPool::new(pool_frames);
        let punts = Arc::new(ArrayQueue::new(depth));
        let mut path = host.path(pool.clone(), punts.clone(), rates);
        let mut ports = BTreeMap::new();
        for id in host.records.keys() {
            let port = MemoryPort::new(depth);
            path.set_way(*id, Some(TxPort::new(TxRoute::Own(port.tx()))));
            ports.insert(*id, port);
        }
        let reader = host.qsbr.register().unwrap();
        let start = (host.records.clone(), host.networks.clone());
        Lab { host, path, pool, punts, ports, now_ns: 1_000_000_000, start, _reader: reader }
    }

    /// Changes records and puts them in force.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Host)) {
        change(&mut self.host);
        self.host.put_in_force(&mut self.path);
    }

    /// A burst arrives at a port, goes all the way and leaves.
    pub(super) fn receive_all(&mut self, port: PortId, frames: &[Vec<u8>]) {
        for chunk in frames.chunks(crate::frame::BURST_PKTS) {
            let frames = chunk.iter().map(|bytes| self.pool.frame(bytes, port).unwrap());
            let mut burst: Burst<_> = frames.collect();
            self.path.run(port, &mut burst, self.now_ns);
            assert!(burst.is_empty());
            self.path.flush();
        }
    }

    pub(super) fn receive(&mut self, port: PortId, frame: impl AsRef<[u8]>) {
        self.receive_all(port, &[frame.as_ref().to_vec()]);
    }

    /// Frames that left by a port since the last look.
    pub(super) fn sent(&self, port: PortId) -> Vec<Vec<u8>> {
        let sent = std::iter::from_fn(|| self.ports[&port].from_us.pop());
        sent.map(|frame| frame.bytes().to_vec()).collect()
    }

    /// All frames that left since the last look, with their ports.
    pub(super) fn sent_all(&self) -> Vec<(PortId, Vec<u8>)> {
        let of = |port: PortId| self.sent(port).into_iter().map(move |bytes| (port, bytes));
        self.ports.keys().flat_map(|port| of(*port)).collect()
    }

    /// Sends a frame in and expects exactly one out, by `out`, and nothing for control.
    #[track_caller]
    pub(super) fn passes(&mut self, port: PortId, frame: impl AsRef<[u8]>, out: PortId) -> Vec<u8> {
        self.receive(port, frame);
        assert!(self.punts.is_empty(), "{:?}", self.punts.pop());
        let mut sent = self.sent_all();
        let drops = self.drops(port);
        assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [out], "{drops:?}");
        sent.remove(0).1
    }

    /// Sends a frame in and expects nothing out and one drop, counted at the port for this reason.
    #[track_caller]
    pub(super) fn refuses(&mut self, port: PortId, frame: impl AsRef<[u8]>, reason: DropReason) {
        let before = self.counts(port);
        self.receive(port, frame);
        let mut since = self.counts(port);
        since.subtract(&before);
        assert_eq!(self.sent_all(), [], "nothing leaves");
        assert!(self.punts.is_empty(), "{:?}", self.punts.pop());
        assert_eq!(since.drops(reason), 1, "{reason:?}, but {:?}", self.drops(port));
        assert_eq!(since.drops_total(), 1);
    }

    /// Sends a frame in and expects it at control and nowhere else.
    #[track_caller]
    pub(super) fn punts(&mut self, port: PortId, frame: impl AsRef<[u8]>) -> Punt<MemoryFrame> {
        self.receive(port, frame);
        assert_eq!(self.sent_all(), [], "nothing leaves");
        assert_eq!(self.punts.len(), 1, "{:?}", self.drops(port));
        self.punts.pop().unwrap()
    }

    pub(super) fn counts(&self, port: PortId) -> PortCounts {
        self.path.counters.port(port)
    }

    /// Reasons that frames from a port were dropped for.
    pub(super) fn drops(&self, port: PortId) -> Vec<(DropReason, u64)> {
        let counts = self.counts(port);
        let of = |reason: &DropReason| (*reason, counts.drops(*reason));
        DropReason::ALL.iter().map(of).filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn adapter_count(&self, adapter: AdapterId, counter: AdapterCounter) -> u64 {
        self.path.counters.adapter(adapter).counter(counter)
    }
}

impl Lab {
    /// The counters balance and no frame is lost or kept.
    #[track_caller]
    pub(super) fn check(&self) {
        assert_balance(&[&self.path.counters]);
        while self.punts.pop().is_some() {}
        for port in self.ports.values() {
            while port.from_us.pop().is_some() {}
        }
        assert_eq!(self.pool.in_use(), 0, "every frame went back to the pool");
    }

    /// Records and ports as they were at the start; counters and time go on.
    pub(super) fn reset(&mut self) {
        self.path.flush();
        self.sent_all();
        while self.punts.pop().is_some() {}
        (self.host.records, self.host.networks) = self.start.clone();
        self.host.put_in_force(&mut self.path);
        self.path.view.is_forwarding = true;
        for (id, port) in &self.ports {
            self.path.set_way(*id, Some(TxPort::new(TxRoute::Own(port.tx()))));
        }
    }
}

impl Drop for Lab {
    /// Every test's last check.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// design.md, invariant 4, over the counter blocks of all workers together.
#[track_caller]
pub(super) fn assert_balance(blocks: &[&Arc<Counters>]) {
    let (mut forwarded, mut sent) = (0, 0);
    for port in (0..100).map(PortId) {
        let mut counts = PortCounts::default();
        blocks.iter().for_each(|block| counts.add(&block.port(port)));
        let count = |counter| counts.counter(counter);
        let came =
            count(PortCounter::RxPkts) + count(PortCounter::Generated) + count(PortCounter::Copies);
        let went =
            count(PortCounter::Forwarded) + counts.drops_total() + count(PortCounter::Consumed);
        assert_eq!(came, went, "port {port:?}: {counts:?}");
        forwarded += count(PortCounter::Forwarded);
        sent += count(PortCounter::TxPkts);
    }
    assert_eq!(forwarded, sent, "what is forwarded somewhere is sent somewhere");
}
