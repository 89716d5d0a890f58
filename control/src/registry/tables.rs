//! The tables of what is registered, and the indexes over them. Each table is written through one
//! function here that keeps its indexes true and gives back what stood there before; whether a write
//! is legal has been decided by then.

use super::index::{Claims, Holder, Index};
use super::item::{
    Adapter, AdapterKey, Class, DEFAULT_GATEWAY, Guest, Neighbor, Network, Port, ServerPort,
    StaticMac,
};
use crate::model::{MacTarget, Mode, Name, PortRole, Via};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A guest and its adapters.
#[derive(Debug)]
pub(super) struct GuestEntry {
    pub(super) guest: Arc<Guest>,
    pub(super) adapters: BTreeMap<Name, Arc<Adapter>>,
}

/// Everything registered.
#[derive(Debug)]
pub(super) struct Tables {
    /// MAC of our side on every port that has no other; never changes.
    pub(super) gateway_mac: MacAddr,
    /// Where the search for a free network number begins.
    pub(super) next_network: u16,
    pub(super) guests: BTreeMap<Name, GuestEntry>,
    pub(super) networks: BTreeMap<Name, Arc<Network>>,
    pub(super) servers: BTreeMap<Name, Arc<ServerPort>>,
    pub(super) ports: BTreeMap<Name, Arc<Port>>,
    pub(super) routes: BTreeMap<IpNet, Via>,
    pub(super) neighbors: BTreeMap<IpAddr, Neighbor>,
    pub(super) static_macs: BTreeMap<(Name, MacAddr), StaticMac>,
    pub(super) classes: BTreeMap<Name, Arc<Class>>,
    // Indexes: each a function of the tables above.
    pub(super) index: Index,
    pub(super) adapter_count: usize,
    /// Adapters on a port of their own.
    pub(super) own_port_count: usize,
    pub(super) by_shared_port: BTreeMap<Name, BTreeSet<AdapterKey>>,
    pub(super) members: BTreeMap<Name, BTreeSet<AdapterKey>>,
    pub(super) network_numbers: BTreeMap<u16, Name>,
    pub(super) attached: BTreeMap<(Name, Option<u16>), Name>,
    pub(super) uplinks: BTreeSet<Name>,
    /// Host-routed adapters' own gateways, the default one apart.
    pub(super) gateways: BTreeMap<IpAddr, BTreeSet<AdapterKey>>,
    /// How many routes go by each next hop and by each port.
    pub(super) via_counts: BTreeMap<IpAddr, usize>,
    pub(super) dev_counts: BTreeMap<Name, usize>,
    /// How many networks have a static entry for a MAC.
    pub(super) static_mac_counts: BTreeMap<MacAddr, usize>,
    pub(super) static_macs_of: BTreeMap<AdapterKey, BTreeSet<(Name, MacAddr)>>,
    pub(super) prefix_classes: BTreeMap<IpNet, Name>,
    /// Adapters with a rate for a class.
    pub(super) limited: BTreeMap<Name, BTreeSet<AdapterKey>>,
}

impl Tables {
    pub(super) fn new(gateway_mac: MacAddr) -> Self {
        let mut index = Index::default();
        let gateway = Claims {
            spans: vec![(IpNet::from(DEFAULT_GATEWAY), Holder::Appliance)],
            macs: vec![(gateway_mac, "mac")],
            devices: Vec::new(),
        };
        index.enter(gateway, &Holder::Appliance);
        Self {
            gateway_mac,
            next_network: 0,
            guests: BTreeMap::new(),
            networks: BTreeMap::new(),
            servers: BTreeMap::new(),
            ports: BTreeMap::new(),
            routes: BTreeMap::new(),
            neighbors: BTreeMap::new(),
            static_macs: BTreeMap::new(),
            classes: BTreeMap::new(),
            index,
            adapter_count: 0,
            own_port_count: 0,
            by_shared_port: BTreeMap::new(),
            members: BTreeMap::new(),
            network_numbers: BTreeMap::new(),
            attached: BTreeMap::new(),
            uplinks: BTreeSet::new(),
            gateways: BTreeMap::new(),
            via_counts: BTreeMap::new(),
            dev_counts: BTreeMap::new(),
            static_mac_counts: BTreeMap::new(),
            static_macs_of: BTreeMap::new(),
            prefix_classes: BTreeMap::new(),
            limited: BTreeMap::new(),
        }
    }

    /// Writes a guest. It is removed only once its adapters are.
    pub(super) fn put_guest(&mut self, name: &Name, new: Option<Arc<Guest>>) -> Option<Arc<Guest>> {
        match new {
            None => self.guests.remove(name).map(|entry| entry.guest),
            Some(guest) => {
                let adapters = BTreeMap::new();
                let old = self.guests.insert(name.clone(), GuestEntry { guest, adapters });
                old.map(|entry| entry.guest)
            }
        }
    }

    /// Writes an adapter of a guest that exists.
    pub(super) fn put_adapter(
        &mut self,
        key: &AdapterKey,
        new: Option<Arc<Adapter>>,
    ) -> Option<Arc<Adapter>> {
        let adapters = &mut self.guests.get_mut(&key.guest)?.adapters;
        let old = match &new {
            Some(adapter) => adapters.insert(key.adapter.clone(), adapter.clone()),
            None => adapters.remove(&key.adapter),
        };
        if let Some(old) = &old {
            self.index.remove(&Claims::of_adapter(old, self.gateway_mac));
            self.count_adapter(key, old, false);
        }
        if let Some(new) = &new {
            let claims = Claims::of_adapter(new, self.gateway_mac);
            self.index.enter(claims, &Holder::Adapter(key.clone()));
            self.count_adapter(key, new, true);
        }
        old
    }

    fn count_adapter(&mut self, key: &AdapterKey, adapter: &Adapter, present: bool) {
        step(&mut self.adapter_count, present);
        match adapter.shared_port() {
            Some(port) => mark(&mut self.by_shared_port, port, key, present),
            None => step(&mut self.own_port_count, present),
        }
        if let Some(network) = &adapter.network {
            mark(&mut self.members, network, key, present);
        }
        for class in adapter.limits.classes.keys() {
            mark(&mut self.limited, class, key, present);
        }
        if adapter.mode == Mode::HostRouted {
            for gateway in adapter.gateways.iter().filter(|ip| **ip != DEFAULT_GATEWAY) {
                mark(&mut self.gateways, gateway, key, present);
            }
        }
    }

    pub(super) fn put_network(
        &mut self,
        name: &Name,
        new: Option<Arc<Network>>,
    ) -> Option<Arc<Network>> {
        let old = put(&mut self.networks, name, new.clone());
        if let Some(old) = &old {
            self.network_numbers.remove(&old.number);
            if let Some((port, vlan)) = old.uplink() {
                self.attached.remove(&(port.clone(), vlan));
            }
        }
        if let Some(new) = &new {
            self.network_numbers.insert(new.number, name.clone());
            if let Some((port, vlan)) = new.uplink() {
                self.attached.insert((port.clone(), vlan), name.clone());
            }
        }
        old
    }

    pub(super) fn put_server(
        &mut self,
        network: &Name,
        new: Option<Arc<ServerPort>>,
    ) -> Option<Arc<ServerPort>> {
        let old = put(&mut self.servers, network, new.clone());
        if let Some(old) = &old {
            self.index.remove(&Claims::of_server(old));
        }
        if let Some(new) = &new {
            self.index.enter(Claims::of_server(new), &Holder::Server(network.clone()));
        }
        old
    }

    pub(super) fn put_port(&mut self, name: &Name, new: Option<Arc<Port>>) -> Option<Arc<Port>> {
        let old = put(&mut self.ports, name, new.clone());
        if let Some(old) = &old {
            self.index.remove(&Claims::of_port(old));
            self.uplinks.remove(name);
        }
        if let Some(new) = &new {
            self.index.enter(Claims::of_port(new), &Holder::Port(name.clone()));
            if new.role == PortRole::Uplink {
                self.uplinks.insert(name.clone());
            }
        }
        old
    }

    pub(super) fn put_route(&mut self, prefix: &IpNet, new: Option<Via>) -> Option<Via> {
        let old = put(&mut self.routes, prefix, new.clone());
        if let Some(old) = &old {
            self.count_route(old, false);
        }
        if let Some(new) = &new {
            self.count_route(new, true);
        }
        old
    }

    fn count_route(&mut self, via: &Via, present: bool) {
        match via {
            Via::NextHop(ip) => tally(&mut self.via_counts, ip, present),
            Via::Dev(port) => tally(&mut self.dev_counts, port, present),
        }
    }

    pub(super) fn put_neighbor(&mut self, ip: IpAddr, new: Option<Neighbor>) -> Option<Neighbor> {
        put(&mut self.neighbors, &ip, new)
    }

    pub(super) fn put_static_mac(
        &mut self,
        key: &(Name, MacAddr),
        new: Option<StaticMac>,
    ) -> Option<StaticMac> {
        let old = put(&mut self.static_macs, key, new.clone());
        for (entry, present) in [(&old, false), (&new, true)] {
            let Some(entry) = entry else { continue };
            tally(&mut self.static_mac_counts, &entry.mac, present);
            if let MacTarget::Adapter { guest, adapter } = &entry.to {
                let owner = AdapterKey { guest: guest.clone(), adapter: adapter.clone() };
                mark(&mut self.static_macs_of, &owner, key, present);
            }
        }
        old
    }

    pub(super) fn put_class(&mut self, name: &Name, new: Option<Arc<Class>>) -> Option<Arc<Class>> {
        let old = put(&mut self.classes, name, new.clone());
        for prefix in old.iter().flat_map(|class| &class.prefixes) {
            self.prefix_classes.remove(prefix);
        }
        for prefix in new.iter().flat_map(|class| &class.prefixes) {
            self.prefix_classes.insert(*prefix, name.clone());
        }
        old
    }
}

/// Inserts or removes, by whether there is a value.
fn put<K: Ord + Clone, V>(table: &mut BTreeMap<K, V>, key: &K, new: Option<V>) -> Option<V> {
    match new {
        Some(value) => table.insert(key.clone(), value),
        None => table.remove(key),
    }
}

/// Enters or takes out a member; a set that becomes empty goes, so that equal tables have equal
/// indexes.
fn mark<K: Ord + Clone, M: Ord + Clone>(
    sets: &mut BTreeMap<K, BTreeSet<M>>,
    key: &K,
    member: &M,
    present: bool,
) {
    if present {
        sets.entry(key.clone()).or_default().insert(member.clone());
    } else if let Some(set) = sets.get_mut(key) {
        set.remove(member);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

fn tally<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K, present: bool) {
    let count = counts.entry(key.clone()).or_default();
    step(count, present);
    if *count == 0 {
        counts.remove(key);
    }
}

fn step(count: &mut usize, up: bool) {
    *count = if up { count.saturating_add(1) } else { count.saturating_sub(1) };
}
