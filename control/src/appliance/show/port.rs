//! Ports: what they are, what they counted.

use super::guest::{label_of, peer};
use super::{absent, drop_counts};
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::{
    DeviceStats, Link, PortInfo, PortKind, PortLabel, PortState, PortStats, PortXstats, RxQueue,
    Xstat,
};
use crate::appliance::Appliance;
use crate::model::PortRole;
use crate::publish::{PortEntry, Role, port_label};
use crate::registry;
use dataplane::counters::PortCounter;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) fn kind(role: Role) -> PortKind {
    match role {
        Role::Uplink => PortKind::Uplink,
        Role::Host => PortKind::Host,
        Role::Shared => PortKind::Shared,
        Role::Guest => PortKind::Guest,
        Role::NetworkServer => PortKind::NetworkServer,
    }
}

/// Likewise, of a port that may not be open.
pub(super) fn kind_of(role: PortRole) -> PortKind {
    match role {
        PortRole::Uplink => PortKind::Uplink,
        PortRole::Host => PortKind::Host,
        PortRole::Shared => PortKind::Shared,
    }
}

impl Appliance {
    pub(super) fn port_info(&self, port: Option<&PortLabel>) -> Result<Vec<PortInfo>, Refusal> {
        found(self.port_infos(|label| port.is_none_or(|port| port == label)), port)
    }

    /// Those that are wanted, in order of their labels.
    pub(super) fn port_infos(&self, wanted: impl Fn(&PortLabel) -> bool) -> Vec<PortInfo> {
        let open = self.publisher.ports().filter(|(label, _)| wanted(label));
        let open = open.map(|(label, entry)| self.open_info(label, entry));
        let closed = self.failed.iter().filter(|(label, _)| !self.devices.contains_key(*label));
        let closed = closed.filter(|(label, _)| wanted(label));
        let failed = closed.filter_map(|(label, failure)| self.failed_info(label, &failure.why));
        let mut ports: Vec<PortInfo> = open.chain(failed).collect();
        ports.sort_by(|a, b| a.port.cmp(&b.port));
        ports
    }

    pub(super) fn port_stats(&self, port: Option<&PortLabel>) -> Result<Vec<PortStats>, Refusal> {
        let stats = self.port_stats_of(|label| port.is_none_or(|port| port == label));
        self.known_open(stats.is_empty(), port)?;
        Ok(stats)
    }

    /// Counters of those that are wanted.
    pub(super) fn port_stats_of(&self, wanted: impl Fn(&PortLabel) -> bool) -> Vec<PortStats> {
        let chosen = self.publisher.ports().filter(|(label, _)| wanted(label));
        let stats = chosen.map(|(label, entry)| {
            let counts = self.port_counts(entry.id);
            let device = self.devices.get(label).and_then(|device| device.port.stats().ok());
            PortStats {
                port: label.clone(),
                read_at_ms: self.now_ms(),
                rx_pkts: counts.counter(PortCounter::RxPkts),
                rx_bytes: counts.counter(PortCounter::RxBytes),
                tx_pkts: counts.counter(PortCounter::TxPkts),
                tx_bytes: counts.counter(PortCounter::TxBytes),
                generated: counts.counter(PortCounter::Generated),
                copies: counts.counter(PortCounter::Copies),
                forwarded: counts.counter(PortCounter::Forwarded),
                consumed: counts.counter(PortCounter::Consumed),
                segmented: counts.counter(PortCounter::Segmented),
                dropped: counts.drops_total(),
                drops: drop_counts(|reason| counts.drops(reason)),
                device: device.map(|device| DeviceStats {
                    rx_missed: device.rx_missed,
                    rx_errors: device.rx_errors,
                    rx_nombuf: device.rx_no_mbuf,
                    tx_errors: device.tx_errors,
                }),
            }
        });
        stats.collect()
    }

    pub(super) fn port_xstats(&self, port: Option<&PortLabel>) -> Result<Vec<PortXstats>, Refusal> {
        let chosen = self.devices.iter().filter(|(label, _)| port.is_none_or(|p| p == *label));
        let xstats = chosen.map(|(label, device)| PortXstats {
            port: label.clone(),
            xstats: device
                .port
                .xstats()
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| Xstat { name, value })
                .collect(),
        });
        let xstats: Vec<PortXstats> =
            xstats.filter(|of| port.is_some() || !of.xstats.is_empty()).collect();
        self.known_open(xstats.is_empty(), port)?;
        Ok(xstats)
    }

    /// Says of the one port that was asked about, and that has no counters, why.
    fn known_open(&self, has_none: bool, port: Option<&PortLabel>) -> Result<(), Refusal> {
        let Some(port) = port.filter(|_| has_none) else { return Ok(()) };
        Err(match self.failed.get(port) {
            Some(failure) => {
                let message = format!("port {port} is not open: {}", failure.why);
                Refusal::new(RefusalKind::Unavailable, message)
            }
            None => absent("port", port, "show port info all"),
        })
    }

    fn open_info(&self, label: &PortLabel, entry: &PortEntry) -> PortInfo {
        let device = self.devices.get(label);
        let named = self.named(label);
        let adapter = self.adapter_at(label);
        let is_stopped = device.is_some_and(|device| device.paused.is_some());
        let polled_by = |queue: u16| {
            let ends = self.publisher.workers.ends();
            ends.iter().find(|end| end.queues.contains(&(entry.id, queue))).map(|end| end.core)
        };
        let speed = device.and_then(|device| device.port.link().ok()).map(|link| link.speed_mbps);
        PortInfo {
            port: label.clone(),
            id: Some(entry.id.0),
            kind: kind(entry.role),
            device: device.map(|device| device.spec.to_string()).unwrap_or_default(),
            driver: device.map(|device| device.port.driver().to_owned()),
            state: if is_stopped { PortState::Stopped } else { PortState::Started },
            problem: self.failed.get(label).map(|failure| failure.why.clone()),
            link: self.link(label),
            speed_mbps: speed.filter(|speed| *speed > 0 && *speed < u32::MAX),
            mac: entry.own_mac,
            peer_mac: peer(entry.peer_mac),
            mtu: entry.mtu,
            promiscuous: device.is_some_and(|device| device.port.is_promiscuous()),
            rx_queues: (0..entry.rx_queues)
                .map(|queue| RxQueue { queue, worker: polled_by(queue) })
                .collect(),
            tx_queues: entry.tx_queues,
            netns: device.and_then(|device| device.netns.as_ref()).map(ToString::to_string),
            addresses: named.map(|port| port.addresses.clone()).unwrap_or_default(),
            gateway: named.map(|port| port.gateways.clone()).unwrap_or_default(),
            network: adapter.and_then(|adapter| adapter.network.clone()).or_else(|| match label {
                PortLabel::Server(network) => Some(network.clone()),
                _ => None,
            }),
            adapter: adapter.map(|adapter| label_of(adapter)),
        }
    }

    fn failed_info(&self, label: &PortLabel, why: &str) -> Option<PortInfo> {
        let (mut addresses, mut gateway): (Vec<IpNet>, Vec<IpAddr>) = Default::default();
        let (kind, device, mac, mtu) = match label {
            PortLabel::Named(_) => {
                let port = self.named(label)?;
                addresses.clone_from(&port.addresses);
                gateway.clone_from(&port.gateways);
                (kind_of(port.role), port.spec.to_string(), MacAddr::ZERO, port.mtu)
            }
            PortLabel::Adapter(_) => {
                let adapter = self.adapter_at(label)?;
                (PortKind::Guest, adapter.spec.to_string(), adapter.host_mac, adapter.mtu)
            }
            PortLabel::Server(network) => {
                let server = self.registry.server(network)?;
                (PortKind::NetworkServer, server.spec.to_string(), MacAddr::ZERO, server.mtu)
            }
        };
        Some(PortInfo {
            port: label.clone(),
            id: None,
            kind,
            device,
            driver: None,
            state: PortState::Failed,
            problem: Some(why.to_owned()),
            link: Link::Down,
            speed_mbps: None,
            mac,
            peer_mac: None,
            mtu,
            promiscuous: false,
            rx_queues: Vec::new(),
            tx_queues: 0,
            netns: None,
            addresses,
            gateway,
            adapter: self.adapter_at(label).map(|adapter| label_of(adapter)),
            network: None,
        })
    }

    fn named(&self, label: &PortLabel) -> Option<&Arc<registry::Port>> {
        match label {
            PortLabel::Named(name) => self.registry.port(name),
            _ => None,
        }
    }

    fn adapter_at(&self, label: &PortLabel) -> Option<&Arc<registry::Adapter>> {
        let PortLabel::Adapter(label) = label else { return None };
        let adapter = self.registry.adapter(&label.guest, &label.adapter)?;
        (port_label(adapter) == PortLabel::Adapter(label.clone())).then_some(adapter)
    }
}

fn found<T>(rows: Vec<T>, port: Option<&PortLabel>) -> Result<Vec<T>, Refusal> {
    match port {
        Some(port) if rows.is_empty() => Err(absent("port", port, "show port info all")),
        _ => Ok(rows),
    }
}
