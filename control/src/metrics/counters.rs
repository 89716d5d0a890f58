//! The same reading for `top` and for programs that make rates of it.

use super::{AdapterReading, PortReading, Reading, WorkerReading};
use crate::api::view::{
    AdapterCounters, AdapterLabel, Counters, PortCounters, TrafficCounters, WorkerCounters,
};
use dataplane::counters::{AdapterCounter, AdapterCounts, PortCounter, PortCounts};
use std::time::Duration;

impl From<&Reading> for Counters {
    fn from(reading: &Reading) -> Self {
        let version = &reading.program.version;
        Self {
            read_at_ms: reading.read_at_ms,
            pid: version.pid,
            uptime_s: version.uptime_s,
            forwarding: version.forwarding,
            mbufs: version.mbufs,
            mbufs_free: version.mbufs_free,
            in_all: of_port(&reading.in_all),
            workers: reading.workers.iter().map(worker).collect(),
            ports: reading.ports.iter().map(port).collect(),
            adapters: reading.adapters.iter().map(adapter).collect(),
        }
    }
}

fn worker(worker: &WorkerReading) -> WorkerCounters {
    // 64 bits of nanoseconds are 584 years.
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    WorkerCounters {
        core: worker.core,
        busy_ns: ns(worker.busy),
        run_ns: ns(worker.ran),
        rx_pkts: worker.rx_pkts,
        late_beats: worker.late_beats,
    }
}

fn port(port: &PortReading) -> PortCounters {
    PortCounters {
        port: port.port.clone(),
        kind: port.kind,
        link: port.link,
        traffic: port.counts.as_ref().map(of_port).unwrap_or_default(),
    }
}

fn adapter(adapter: &AdapterReading) -> AdapterCounters {
    AdapterCounters {
        adapter: AdapterLabel { guest: adapter.guest.clone(), adapter: adapter.adapter.clone() },
        network: adapter.network.clone(),
        link: adapter.link,
        rate: adapter.rate,
        traffic: of_adapter(&adapter.counts),
    }
}

fn of_port(counts: &PortCounts) -> TrafficCounters {
    TrafficCounters {
        rx_pkts: counts.counter(PortCounter::RxPkts),
        rx_bytes: counts.counter(PortCounter::RxBytes),
        tx_pkts: counts.counter(PortCounter::TxPkts),
        tx_bytes: counts.counter(PortCounter::TxBytes),
        dropped: counts.drops_total(),
    }
}

fn of_adapter(counts: &AdapterCounts) -> TrafficCounters {
    TrafficCounters {
        rx_pkts: counts.counter(AdapterCounter::RxPkts),
        rx_bytes: counts.counter(AdapterCounter::RxBytes),
        tx_pkts: counts.counter(AdapterCounter::TxPkts),
        tx_bytes: counts.counter(AdapterCounter::TxBytes),
        dropped: counts.drops_total(),
    }
}
