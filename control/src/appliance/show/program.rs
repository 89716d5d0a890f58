//! The program itself: version, workers, drops, configuration, classes.

use super::{absent, drop_counts};
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::{
    AdapterDrops, BurstSize, Class, ConfigText, Cycles, Drops, LoopTimes, PortQueue, Version,
    Worker,
};
use crate::appliance::Appliance;
use crate::model::Name;
use crate::publish::WorkerEnd;
use dataplane::counters::{AdapterCounts, DropReason, PortCounter, PortCounts};
use dataplane::dpdk::{DpdkIo, lcore};
use dataplane::worker::{WorkerStats, burst_sizes};
use std::sync::atomic::Ordering;

impl Appliance {
    pub(super) fn version(&self) -> Version {
        Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk: Some(self.eal.version().trim_start_matches("DPDK ").to_owned()),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            forwarding: self.is_forwarding,
            mbufs: self.pool.size(),
            mbufs_free: self.pool.available(),
        }
    }

    pub(super) fn worker_views(&mut self) -> Result<Vec<Worker>, Refusal> {
        // One that stands still would answer nothing; its loop times are those of the last time.
        let beats = &self.beats;
        let collected = self.publisher.workers.collect_loop_times(|at| !beats.is_late(at));
        collected.map_err(|silent| Refusal::new(RefusalKind::Internal, silent.to_string()))?;
        let ends = self.publisher.workers.ends().iter().enumerate();
        Ok(ends.map(|(at, end)| self.worker(at, end)).collect())
    }

    fn worker(&self, at: usize, end: &WorkerEnd<DpdkIo>) -> Worker {
        let stats = end.stats();
        let loops = stats.loops.load(Ordering::Relaxed);
        let busy = stats.busy_loops.load(Ordering::Relaxed);
        let queues = end.queues.iter().filter_map(|(port, queue)| {
            let port = self.publisher.label(*port)?.clone();
            Some(PortQueue { port, queue: *queue })
        });
        let sent = |port| end.counters.port(port).counter(PortCounter::TxPkts);
        let times = end.loop_times.as_deref().map(|times| LoopTimes {
            p50_ns: times.value_at_quantile(0.5),
            p99_ns: times.value_at_quantile(0.99),
            max_ns: times.max(),
        });
        Worker {
            core: end.core,
            queues: queues.collect(),
            loops,
            #[allow(clippy::cast_precision_loss, reason = "a percentage for reading")]
            busy_percent: if loops == 0 { 0.0 } else { busy as f64 * 100.0 / loops as f64 },
            loop_time: times.unwrap_or_default(),
            cycles: cycles(stats, lcore::tsc_hz()),
            bursts: bursts(stats),
            late: self.beats.is_late(at),
            late_beats: self.beats.late_beats(at),
            rx_pkts: stats.pkts.load(Ordering::Relaxed),
            tx_pkts: self.publisher.ports().map(|(_, entry)| sent(entry.id)).sum(),
        }
    }

    pub(super) fn drops(&self, guest: Option<&Name>) -> Result<Drops, Refusal> {
        if let Some(name) = guest.filter(|name| self.registry.guest(name).is_none()) {
            return Err(absent("guest", name, "show guest all"));
        }
        let chosen =
            self.registry.adapters().filter(|adapter| guest.is_none_or(|g| *g == adapter.guest));
        let mut in_all = AdapterCounts::default();
        let mut adapters = Vec::new();
        for adapter in chosen {
            let Some(id) = self.publisher.adapter_id(&adapter.key()) else { continue };
            let counts = self.adapter_counts(id);
            in_all.add(&counts);
            if guest.is_some() || counts.drops_total() > 0 {
                adapters.push(AdapterDrops {
                    adapter: super::guest::label_of(adapter),
                    dropped: counts.drops_total(),
                    drops: drop_counts(|reason| counts.drops(reason)),
                });
            }
        }
        let ports = self.counts_of_all_ports();
        let sum = |reason: DropReason| match guest {
            Some(_) => in_all.drops(reason),
            None => ports.drops(reason),
        };
        let dropped = DropReason::ALL.iter().copied().map(sum).sum();
        Ok(Drops { dropped, drops: drop_counts(sum), adapters })
    }

    /// Counters of all open ports, summed.
    pub(super) fn counts_of_all_ports(&self) -> PortCounts {
        let mut sum = PortCounts::default();
        self.publisher.ports().for_each(|(_, entry)| sum.add(&self.port_counts(entry.id)));
        sum
    }

    pub(super) fn config_text(&self) -> ConfigText {
        ConfigText { text: crate::config::render(&self.config.appliance, &self.registry) }
    }

    pub(super) fn classes(&self, name: Option<&Name>) -> Result<Vec<Class>, Refusal> {
        let chosen = self.registry.classes().filter(|class| name.is_none_or(|n| *n == class.name));
        let classes: Vec<Class> = chosen
            .map(|class| Class { class: class.name.clone(), prefixes: class.prefixes.clone() })
            .collect();
        match name {
            Some(name) if classes.is_empty() => Err(absent("class", name, "show class")),
            _ => Ok(classes),
        }
    }
}

/// The worker's clock is the time stamp counter, told in nanoseconds: this is the way back.
fn cycles(stats: &WorkerStats, hz: u64) -> Cycles {
    let ticks = |ns: u64| {
        let ticks = u128::from(ns) * u128::from(hz) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    };
    let busy_ns = stats.busy_ns.load(Ordering::Relaxed);
    let total_ns = stats.total_ns.load(Ordering::Relaxed);
    let (busy, pkts) = (ticks(busy_ns), stats.pkts.load(Ordering::Relaxed));
    #[allow(clippy::cast_precision_loss, reason = "an average for reading")]
    let per_packet = (pkts > 0).then(|| busy as f64 / pkts as f64);
    let asleep = ticks(stats.slept_ns.load(Ordering::Relaxed));
    Cycles { hz, busy, idle: ticks(total_ns.saturating_sub(busy_ns)), asleep, per_packet }
}

fn bursts(stats: &WorkerStats) -> Vec<BurstSize> {
    let counts = stats.bursts.iter().map(|cell| cell.load(Ordering::Relaxed));
    let sizes = counts.zip(burst_sizes());
    sizes.map(|(bursts, (from, to))| BurstSize { from, to, bursts }).collect()
}
