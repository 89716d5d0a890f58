//! What one scrape of the metrics is told. Only read here: names become labels and numbers text elsewhere, and
//! no worker is asked to answer.

use super::port::{kind, kind_of};
use crate::api::view::{PortKind, PortLabel};
use crate::appliance::Appliance;
use crate::metrics::{
    AdapterReading, FrontEnds, NetworkReading, PortReading, Program, Reading, WorkerReading,
};
use crate::model::GuestKind;
use crate::publish::{WorkerEnd, port_label};
use crate::registry;
use dataplane::counters::PortCounts;
use dataplane::dpdk::DpdkIo;
use dataplane::ids::PortId;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Appliance {
    pub(super) fn reading(&self) -> Reading {
        let began = Instant::now();
        let mut reading = Reading {
            read_at_ms: self.now_ms(),
            program: self.program_reading(),
            workers: self.worker_readings(),
            in_all: self.counts_in_all(),
            ports: self.port_readings(),
            adapters: self.registry.adapters().map(|a| self.adapter_reading(a)).collect(),
            networks: self.registry.networks().map(|n| self.network_reading(n)).collect(),
            neighbors: BTreeMap::new(),
            took: Duration::ZERO,
        };
        for (target, state) in self.neighbors.entries() {
            let Some(port) = self.publisher.label(target.port) else { continue };
            let key = (port.clone(), super::route::state_of(&state));
            *reading.neighbors.entry(key).or_default() += 1;
        }
        reading.took = began.elapsed();
        reading
    }

    fn program_reading(&self) -> Program {
        let number = |kind| count(self.registry.guests().filter(|g| g.kind == kind).count());
        let by_kind = |kind| (kind, number(kind));
        Program {
            version: self.version(),
            started: self.started_at,
            guests: [by_kind(GuestKind::Container), by_kind(GuestKind::Vm)],
            routes: count(self.registry.route_count()),
            fib_groups_free: count(self.publisher.fib_groups_left()),
            macs_free: count(self.publisher.macs_left()),
            held_pkts: count(self.neighbors.held()),
        }
    }

    /// Every row that a port has ever had, its owner gone or not: so the sum never goes back.
    fn counts_in_all(&self) -> PortCounts {
        let mut sum = PortCounts::default();
        let numbers = 0..self.publisher.port_numbers_used();
        numbers.for_each(|number| sum.add(&self.raw_port_counts(PortId(number))));
        sum
    }

    /// The ports that the operator named, and the server's on networks.
    fn port_readings(&self) -> Vec<PortReading> {
        let named = self.registry.ports();
        let named = named.map(|port| (PortLabel::Named(port.name.clone()), kind_of(port.role)));
        let servers = self.registry.servers();
        let servers = servers.map(|server| PortLabel::Server(server.network.clone()));
        let servers = servers.map(|label| (label, PortKind::NetworkServer));
        named.chain(servers).map(|(label, kind)| self.port_reading(label, kind)).collect()
    }

    fn port_reading(&self, port: PortLabel, wanted: PortKind) -> PortReading {
        let open = self.publisher.port(&port);
        PortReading {
            kind: open.map_or(wanted, |entry| kind(entry.role)),
            link: self.link(&port),
            is_failed: self.failed.contains_key(&port),
            is_stopped: self.devices.get(&port).is_some_and(|device| device.paused.is_some()),
            counts: open.map(|entry| self.port_counts_uncleared(entry.id)),
            device: self.device_counts(&port),
            port,
        }
    }

    fn adapter_reading(&self, adapter: &registry::Adapter) -> AdapterReading {
        let label = port_label(adapter);
        let id = self.publisher.adapter_id(&adapter.key());
        let mut addresses = BTreeMap::new();
        for net in &adapter.addresses {
            *addresses.entry(self.address(adapter, *net).state).or_default() += 1;
        }
        let device = self.devices.get(&label);
        let socket = device.and_then(|device| device.port.vhost_state());
        AdapterReading {
            guest: adapter.guest.clone(),
            adapter: adapter.name.clone(),
            mode: adapter.mode,
            network: adapter.network.clone(),
            link: self.link(&label),
            is_failed: self.failed.contains_key(&label),
            rate: adapter.limits.rate.asked(),
            counts: id.map(|id| self.adapter_counts_uncleared(id)).unwrap_or_default(),
            over_limit: id.and_then(|id| self.publisher.over_limit(id)),
            classes: self.class_lines(&adapter.key()),
            addresses,
            front_ends: socket
                .map(|state| FrontEnds { connects: state.connects, resets: state.resets }),
        }
    }

    fn network_reading(&self, network: &registry::Network) -> NetworkReading {
        NetworkReading {
            network: network.name.clone(),
            members: count(self.registry.members(&network.name).count()),
            learned_macs: count(self.publisher.learned_count(&network.name)),
            max_macs: network.max_macs,
        }
    }

    fn worker_readings(&self) -> Vec<WorkerReading> {
        let ends = self.publisher.workers.ends().iter().enumerate();
        ends.map(|(at, end)| worker(end, self.beats.late_beats(at))).collect()
    }
}

fn worker(end: &WorkerEnd<DpdkIo>, late_beats: u64) -> WorkerReading {
    let stats = end.stats();
    WorkerReading {
        core: end.core,
        queues: count(end.queues.len()),
        loops: stats.loops.load(Ordering::Relaxed),
        busy_loops: stats.busy_loops.load(Ordering::Relaxed),
        busy: Duration::from_nanos(stats.busy_ns.load(Ordering::Relaxed)),
        ran: Duration::from_nanos(stats.total_ns.load(Ordering::Relaxed)),
        slept: Duration::from_nanos(stats.slept_ns.load(Ordering::Relaxed)),
        rx_pkts: stats.pkts.load(Ordering::Relaxed),
        bursts: stats.bursts.each_ref().map(|cell| cell.load(Ordering::Relaxed)),
        late_beats,
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
