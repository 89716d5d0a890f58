//! Networks and their MACs.

use super::absent;
use super::guest::label_of;
use crate::api::backend::Refusal;
use crate::api::view::{MacEntry, MacKind, Member, Network, PortLabel, ServerPort};
use crate::appliance::Appliance;
use crate::model::Name;
use crate::publish::port_label;
use crate::registry;
use dataplane::ids::AdapterId;

impl Appliance {
    pub(super) fn networks(&self, name: Option<&Name>) -> Result<Vec<Network>, Refusal> {
        let chosen = self.registry.networks().filter(|n| name.is_none_or(|name| *name == n.name));
        let networks: Vec<Network> = chosen.map(|network| self.network(network)).collect();
        match name {
            Some(name) if networks.is_empty() => Err(absent("network", name, "show network all")),
            _ => Ok(networks),
        }
    }

    fn network(&self, network: &registry::Network) -> Network {
        let learned = self.publisher.learned_count(&network.name);
        let all = self.publisher.macs(network.id()).count();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Network {
            network: network.name.clone(),
            id: network.number,
            attach: network.attach.clone(),
            unknown_unicast: network.unknown_unicast,
            learning: network.learning,
            isolated: network.isolated,
            max_macs: network.max_macs,
            max_macs_per_port: network.max_macs_per_port,
            age_s: network.age_s,
            server: self.registry.server(&network.name).map(|server| ServerPort {
                port: server.spec.to_string(),
                mac: server.mac,
                addresses: server.addresses.clone(),
                link: self.link(&PortLabel::Server(network.name.clone())),
            }),
            members: self
                .registry
                .members(&network.name)
                .map(|adapter| Member {
                    adapter: label_of(adapter),
                    mac: adapter.mac,
                    link: self.link(&port_label(adapter)),
                })
                .collect(),
            static_macs: count(all.saturating_sub(learned)),
            learned_macs: count(learned),
        }
    }

    pub(super) fn macs(&self, name: &Name) -> Result<Vec<MacEntry>, Refusal> {
        let network = self
            .registry
            .network(name)
            .ok_or_else(|| absent("network", name, "show network all"))?;
        let now_s = self.now_s();
        let mut macs: Vec<MacEntry> = Vec::new();
        for (entry, owner) in self.publisher.macs(network.id()) {
            let uplink = network.uplink().map(|(port, _)| PortLabel::Named(port.clone()));
            // The uplink's own MAC is the router's and sits on no port of the network.
            let Some(port) = self.publisher.label(owner.port).cloned().or(uplink) else { continue };
            let is_fixed = self.registry.static_mac(name, entry.mac).is_some();
            let kind = match (owner.is_static, is_fixed) {
                (true, true) => MacKind::Static,
                (true, false) => MacKind::Registered,
                (false, _) => MacKind::Learned,
            };
            let age_s = self.publisher.mac_age_s(network.id(), entry.mac, now_s).map(u64::from);
            macs.push(MacEntry {
                mac: entry.mac,
                port,
                adapter: self.adapter_label(owner.adapter),
                kind,
                age_s: age_s.filter(|_| kind == MacKind::Learned),
            });
        }
        macs.sort_by_key(|entry| entry.mac);
        Ok(macs)
    }

    /// How an adapter is named, by its number.
    pub(super) fn adapter_label(&self, id: AdapterId) -> Option<crate::api::view::AdapterLabel> {
        let key = self.publisher.adapter_key(id)?;
        self.registry.adapter_by_key(key).map(|adapter| label_of(adapter))
    }
}
