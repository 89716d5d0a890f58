//! What was counted, by all writers together: since the last `clear` for the operator, since a port or an
//! adapter joined for metrics.

use super::Appliance;
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::PortLabel;
use crate::metrics::DeviceCounts;
use crate::registry::Adapter;
use dataplane::counters::{AdapterCounts, PortCounts};
use dataplane::dpdk::ethdev::EthStats;
use dataplane::ids::{AdapterId, PortId};
use std::sync::Arc;

impl Appliance {
    pub(super) fn clear_stats(&mut self, port: Option<&PortLabel>) -> Result<(), Refusal> {
        let ports: Vec<(PortLabel, PortId)> =
            self.publisher.ports().map(|(label, entry)| (label.clone(), entry.id)).collect();
        let chosen: Vec<_> =
            ports.into_iter().filter(|(label, _)| port.is_none_or(|one| one == label)).collect();
        if let (Some(label), true) = (port, chosen.is_empty()) {
            let message = format!("no port {label}; see `show port info all`");
            return Err(Refusal::new(RefusalKind::NotFound, message));
        }
        for (label, id) in chosen {
            self.port_baselines.clear(id, self.raw_port_counts(id));
            let on_it: Vec<AdapterId> = self.adapters_on(&label).collect();
            for adapter in on_it {
                self.adapter_baselines.clear(adapter, self.raw_adapter_counts(adapter));
            }
            self.reset_device(&label);
        }
        Ok(())
    }

    /// Sets a device's own counters to 0, and keeps for metrics what they were.
    fn reset_device(&mut self, label: &PortLabel) {
        let Some(device) = self.devices.get_mut(label) else { return };
        let before = device.port.stats().map(device_counts).unwrap_or_default();
        match device.port.reset_stats() {
            Ok(()) => device.set_back = device.set_back.plus(before),
            Err(error) => {
                self.event(&format!("the device's own counters of port {label} stay: {error}"));
            }
        }
    }

    /// What a port's device has counted since it opened.
    pub(super) fn device_counts(&self, label: &PortLabel) -> Option<DeviceCounts> {
        let device = self.devices.get(label)?;
        let stats = device.port.stats().ok()?;
        Some(device.set_back.plus(device_counts(stats)))
    }

    /// The numbers of the adapters on a port.
    fn adapters_on<'a>(&'a self, label: &'a PortLabel) -> impl Iterator<Item = AdapterId> + 'a {
        let on = move |adapter: &&Arc<Adapter>| crate::publish::port_label(adapter) == *label;
        self.registry.adapters().filter(on).filter_map(|a| self.publisher.adapter_id(&a.key()))
    }

    /// A port's number means another port from now on.
    pub(super) fn begin_port(&mut self, port: PortId) {
        self.port_baselines.begin(port, self.raw_port_counts(port));
    }

    /// Likewise.
    pub(super) fn begin_adapter(&mut self, adapter: AdapterId) {
        self.adapter_baselines.begin(adapter, self.raw_adapter_counts(adapter));
    }

    /// Counters of all writers, summed, since the program's start.
    pub(super) fn raw_port_counts(&self, port: PortId) -> PortCounts {
        let mut sum = self.counters.port(port);
        self.publisher.workers.ends().iter().for_each(|end| sum.add(&end.counters.port(port)));
        sum
    }

    pub(super) fn raw_adapter_counts(&self, adapter: AdapterId) -> AdapterCounts {
        let mut sum = self.counters.adapter(adapter);
        let ends = self.publisher.workers.ends();
        ends.iter().for_each(|end| sum.add(&end.counters.adapter(adapter)));
        sum
    }

    /// Counters since the last `clear`.
    pub(super) fn port_counts(&self, port: PortId) -> PortCounts {
        let mut counts = self.raw_port_counts(port);
        if let Some(baseline) = self.port_baselines.since_clear(&port) {
            counts.subtract(baseline);
        }
        counts
    }

    pub(super) fn adapter_counts(&self, adapter: AdapterId) -> AdapterCounts {
        let mut counts = self.raw_adapter_counts(adapter);
        if let Some(baseline) = self.adapter_baselines.since_clear(&adapter) {
            counts.subtract(baseline);
        }
        counts
    }

    /// Counters since the port opened, whatever was cleared.
    pub(super) fn port_counts_uncleared(&self, port: PortId) -> PortCounts {
        let mut counts = self.raw_port_counts(port);
        if let Some(baseline) = self.port_baselines.since_begin(&port) {
            counts.subtract(baseline);
        }
        counts
    }

    /// Counters since the adapter joined, whatever was cleared.
    pub(super) fn adapter_counts_uncleared(&self, adapter: AdapterId) -> AdapterCounts {
        let mut counts = self.raw_adapter_counts(adapter);
        if let Some(baseline) = self.adapter_baselines.since_begin(&adapter) {
            counts.subtract(baseline);
        }
        counts
    }
}

fn device_counts(stats: EthStats) -> DeviceCounts {
    DeviceCounts {
        rx_missed: stats.rx_missed,
        rx_errors: stats.rx_errors,
        rx_no_mbuf: stats.rx_no_mbuf,
        tx_errors: stats.tx_errors,
    }
}
