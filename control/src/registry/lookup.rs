//! Questions that publishing, ARP and the API ask of the registry.

use super::index::Holder;
use super::item::{
    Adapter, AdapterKey, Class, Guest, Neighbor, Network, Port, Route, ServerPort, StaticMac,
};
use super::{Identity, Registry};
use crate::model::{Name, PortRole};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

impl Registry {
    /// What sets this appliance apart from others.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// MAC of our side on every port that has no other; generated once and stored.
    pub fn gateway_mac(&self) -> MacAddr {
        self.tables.gateway_mac
    }

    /// All guests by name.
    pub fn guests(&self) -> impl Iterator<Item = &Arc<Guest>> {
        self.tables.guests.values().map(|entry| &entry.guest)
    }

    /// One guest.
    pub fn guest(&self, name: &Name) -> Option<&Arc<Guest>> {
        self.tables.guests.get(name).map(|entry| &entry.guest)
    }

    /// All adapters, by guest and name.
    pub fn adapters(&self) -> impl Iterator<Item = &Arc<Adapter>> {
        self.tables.guests.values().flat_map(|entry| entry.adapters.values())
    }

    /// The adapters of one guest, by name; none where there is no such guest.
    pub fn adapters_of(&self, guest: &Name) -> impl Iterator<Item = &Arc<Adapter>> {
        self.tables.guests.get(guest).into_iter().flat_map(|entry| entry.adapters.values())
    }

    /// One adapter.
    pub fn adapter(&self, guest: &Name, adapter: &Name) -> Option<&Arc<Adapter>> {
        self.tables.guests.get(guest)?.adapters.get(adapter)
    }

    /// One adapter by its key.
    pub fn adapter_by_key(&self, key: &AdapterKey) -> Option<&Arc<Adapter>> {
        self.adapter(&key.guest, &key.adapter)
    }

    /// How many adapters there are.
    pub fn adapter_count(&self) -> usize {
        self.tables.adapter_count
    }

    /// The adapters on a shared port.
    pub fn adapters_on(&self, port: &Name) -> impl Iterator<Item = &Arc<Adapter>> {
        let keys = self.tables.by_shared_port.get(port).into_iter().flatten();
        keys.filter_map(|key| self.adapter_by_key(key))
    }

    /// The adapters that are members of a network.
    pub fn members(&self, network: &Name) -> impl Iterator<Item = &Arc<Adapter>> {
        let keys = self.tables.members.get(network).into_iter().flatten();
        keys.filter_map(|key| self.adapter_by_key(key))
    }

    /// All networks by name.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.tables.networks.values()
    }

    /// One network.
    pub fn network(&self, name: &Name) -> Option<&Arc<Network>> {
        self.tables.networks.get(name)
    }

    /// The network of an uplink's untagged frames, or of a VLAN on it.
    pub fn network_on(&self, uplink: &Name, vlan: Option<u16>) -> Option<&Arc<Network>> {
        self.network(self.tables.attached.get(&(uplink.clone(), vlan))?)
    }

    /// All networks that are attached to an uplink, untagged first, then by VLAN.
    pub fn networks_on(&self, uplink: &Name) -> impl Iterator<Item = &Arc<Network>> {
        let all = (uplink.clone(), None)..=(uplink.clone(), Some(u16::MAX));
        self.tables.attached.range(all).filter_map(|(_, name)| self.network(name))
    }

    /// The server's port on a network.
    pub fn server(&self, network: &Name) -> Option<&Arc<ServerPort>> {
        self.tables.servers.get(network)
    }

    /// All of the server's ports on networks.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<ServerPort>> {
        self.tables.servers.values()
    }

    /// All named ports.
    pub fn ports(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.tables.ports.values()
    }

    /// One named port.
    pub fn port(&self, name: &Name) -> Option<&Arc<Port>> {
        self.tables.ports.get(name)
    }

    /// All uplinks.
    pub fn uplinks(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.tables.uplinks.iter().filter_map(|name| self.port(name))
    }

    /// The host port, if there is one.
    pub fn host_port(&self) -> Option<&Arc<Port>> {
        self.ports().find(|port| port.role == PortRole::Host)
    }

    /// All routes by prefix.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        let table = self.tables.routes.iter();
        table.map(|(prefix, via)| Route { prefix: *prefix, via: via.clone() })
    }

    /// How many routes there are.
    pub fn route_count(&self) -> usize {
        self.tables.routes.len()
    }

    /// The operator's route to exactly this prefix.
    pub fn route(&self, prefix: &IpNet) -> Option<Route> {
        let via = self.tables.routes.get(prefix)?.clone();
        Some(Route { prefix: *prefix, via })
    }

    /// All fixed neighbors by address.
    pub fn neighbors(&self) -> impl Iterator<Item = &Neighbor> {
        self.tables.neighbors.values()
    }

    /// The fixed neighbor with this address.
    pub fn neighbor(&self, ip: IpAddr) -> Option<&Neighbor> {
        self.tables.neighbors.get(&ip)
    }

    /// All fixed MACs by network and MAC.
    pub fn static_macs(&self) -> impl Iterator<Item = &StaticMac> {
        self.tables.static_macs.values()
    }

    /// Where a MAC is fixed in a network.
    pub fn static_mac(&self, network: &Name, mac: MacAddr) -> Option<&StaticMac> {
        self.tables.static_macs.get(&(network.clone(), mac))
    }

    /// All classes by name.
    pub fn classes(&self) -> impl Iterator<Item = &Arc<Class>> {
        self.tables.classes.values()
    }

    /// The class that has exactly this prefix.
    pub fn class_of(&self, prefix: &IpNet) -> Option<&Name> {
        self.tables.prefix_classes.get(prefix)
    }

    /// Who holds an address, and the prefix that it is held by.
    pub fn holder_of(&self, ip: IpAddr) -> Option<(&IpNet, &Holder)> {
        self.tables.index.holder_of(ip)
    }

    /// The adapter that an address is registered to.
    pub fn owner_of(&self, ip: IpAddr) -> Option<&Arc<Adapter>> {
        match self.tables.index.holder_of(ip)? {
            (_, Holder::Adapter(key)) => self.adapter_by_key(key),
            _ => None,
        }
    }

    /// Who holds a MAC: an adapter's guest or server side, a server port, a named port, or the
    /// appliance.
    pub fn holder_of_mac(&self, mac: MacAddr) -> Option<&Holder> {
        self.tables.index.holder_of_mac(mac)
    }

    /// The uplink with a connected prefix that contains the address.
    pub fn connected(&self, ip: IpAddr) -> Option<(&Arc<Port>, &IpNet)> {
        self.uplinks().find_map(|port| {
            port.addresses.iter().find(|net| net.contains(&ip)).map(|net| (port, net))
        })
    }
}
