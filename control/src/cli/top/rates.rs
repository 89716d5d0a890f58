//! Two readings of the counters make rates.

use crate::api::view::{AdapterLabel, Counters, Link, PortKind, TrafficCounters, WorkerCounters};
use crate::model::{Name, Rate};
use std::collections::HashMap;
use std::hash::Hash;

/// Traffic per second. `rx` came in: from a guest, from the wire.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Flow {
    /// Bits per second, without FCS.
    pub(super) rx_bps: f64,
    /// Frames per second.
    pub(super) rx_pps: f64,
    pub(super) tx_bps: f64,
    pub(super) tx_pps: f64,
    /// Of what came in, dropped per second.
    pub(super) drops_pps: f64,
}

/// One adapter. It has no flow until it was there at two readings.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct AdapterRow {
    pub(super) adapter: AdapterLabel,
    pub(super) network: Option<Name>,
    pub(super) link: Link,
    pub(super) limit: Option<Rate>,
    pub(super) flow: Option<Flow>,
}

/// One port that belongs to no adapter.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct PortRow {
    pub(super) port: String,
    pub(super) kind: PortKind,
    pub(super) link: Link,
    pub(super) flow: Option<Flow>,
}

/// One worker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct WorkerRow {
    pub(super) core: usize,
    /// Part of its time that it had something to do, 0 to 1; absent while it stands still too.
    pub(super) load: Option<f64>,
    /// Frames taken in per second.
    pub(super) pps: Option<f64>,
    /// It has become late between the two readings.
    pub(super) is_late: bool,
}

/// Everything between two readings.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Rates {
    pub(super) in_all: Option<Flow>,
    pub(super) workers: Vec<WorkerRow>,
    pub(super) ports: Vec<PortRow>,
    pub(super) adapters: Vec<AdapterRow>,
}

impl Rates {
    /// What there is now, and how much since the reading before. Without one, or where counts began anew (another
    /// process, an adapter that has come back), there is no rate.
    pub(super) fn between(before: Option<&Counters>, now: &Counters) -> Self {
        let before = before.filter(|before| before.pid == now.pid);
        let seconds = before
            .map_or(0.0, |before| float(now.read_at_ms.saturating_sub(before.read_at_ms)) / 1000.0);
        let Some(before) = before.filter(|_| seconds > 0.0) else {
            return Self::new(now, |_| None, |_| None, |_| None, None);
        };
        let workers = by(&before.workers, |worker| worker.core, |worker| *worker);
        let ports = by(&before.ports, |port| &port.port, |port| port.traffic);
        let adapters = by(&before.adapters, |one| &one.adapter, |one| one.traffic);
        let in_all = flow(&before.in_all, &now.in_all, seconds);
        Self::new(
            now,
            |worker| Some((*workers.get(&worker.core)?, seconds)),
            |port| flow(ports.get(&port.port)?, &port.traffic, seconds),
            |one| flow(adapters.get(&one.adapter)?, &one.traffic, seconds),
            in_all,
        )
    }

    fn new(
        now: &Counters,
        worker: impl Fn(&WorkerCounters) -> Option<(WorkerCounters, f64)>,
        port: impl Fn(&crate::api::view::PortCounters) -> Option<Flow>,
        adapter: impl Fn(&crate::api::view::AdapterCounters) -> Option<Flow>,
        in_all: Option<Flow>,
    ) -> Self {
        let workers = now.workers.iter().map(|one| worker_row(worker(one), one));
        let ports = now.ports.iter().map(|one| PortRow {
            port: one.port.to_string(),
            kind: one.kind,
            link: one.link,
            flow: port(one),
        });
        let adapters = now.adapters.iter().map(|one| AdapterRow {
            adapter: one.adapter.clone(),
            network: one.network.clone(),
            link: one.link,
            limit: one.rate,
            flow: adapter(one),
        });
        Self {
            in_all,
            workers: workers.collect(),
            ports: ports.collect(),
            adapters: adapters.collect(),
        }
    }
}

fn by<'a, T, K: Eq + Hash, V>(
    all: &'a [T],
    key: impl Fn(&'a T) -> K,
    value: impl Fn(&'a T) -> V,
) -> HashMap<K, V> {
    all.iter().map(|one| (key(one), value(one))).collect()
}

/// None where a count has gone back.
fn flow(before: &TrafficCounters, now: &TrafficCounters, seconds: f64) -> Option<Flow> {
    let per_second = |of: fn(&TrafficCounters) -> u64| {
        of(now).checked_sub(of(before)).map(|more| float(more) / seconds)
    };
    Some(Flow {
        rx_bps: per_second(|traffic| traffic.rx_bytes)? * 8.0,
        rx_pps: per_second(|traffic| traffic.rx_pkts)?,
        tx_bps: per_second(|traffic| traffic.tx_bytes)? * 8.0,
        tx_pps: per_second(|traffic| traffic.tx_pkts)?,
        drops_pps: per_second(|traffic| traffic.dropped)?,
    })
}

fn worker_row(before: Option<(WorkerCounters, f64)>, now: &WorkerCounters) -> WorkerRow {
    let idle = WorkerRow { core: now.core, load: None, pps: None, is_late: false };
    let Some((before, seconds)) = before else { return idle };
    let since = |of: fn(&WorkerCounters) -> u64| of(now).checked_sub(of(&before)).map(float);
    let ran = since(|worker| worker.run_ns).filter(|ran| *ran > 0.0);
    let busy = since(|worker| worker.busy_ns);
    WorkerRow {
        // The two are written one after the other, so that one may be a turn ahead.
        load: busy.zip(ran).map(|(busy, ran)| (busy / ran).min(1.0)),
        pps: since(|worker| worker.rx_pkts).map(|pkts| pkts / seconds),
        is_late: now.late_beats > before.late_beats,
        ..idle
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for reading")]
fn float(count: u64) -> f64 {
    count as f64
}
