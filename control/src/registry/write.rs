//! Writing with a way back: each write goes to its table, into the undo log, and out as an effect.

use super::Registry;
use super::effect::{Effect, Undo};
use super::item::{
    Adapter, AdapterKey, Class, Guest, Neighbor, Network, Port, Route, ServerPort, StaticMac,
};
use crate::model::{Name, Via};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

impl Registry {
    pub(super) fn write_guest(&mut self, name: &Name, new: Option<Guest>) {
        let new = new.map(Arc::new);
        let old = self.tables.put_guest(name, new.clone());
        self.effects.extend(new.map(Effect::GuestAdded));
        self.effects.extend(old.clone().map(Effect::GuestRemoved));
        self.undo.push(Undo::Guest(name.clone(), old));
    }

    pub(super) fn write_adapter(&mut self, key: &AdapterKey, new: Option<Adapter>) {
        let new = new.map(Arc::new);
        let old = self.tables.put_adapter(key, new.clone());
        self.effects.extend(match (old.clone(), new) {
            (None, Some(new)) => Some(Effect::AdapterAdded(new)),
            (Some(old), Some(new)) => Some(Effect::AdapterChanged { old, new }),
            (Some(old), None) => Some(Effect::AdapterRemoved(old)),
            (None, None) => None,
        });
        self.undo.push(Undo::Adapter(key.clone(), old));
    }

    pub(super) fn write_network(&mut self, name: &Name, new: Option<Network>) {
        let new = new.map(Arc::new);
        let old = self.tables.put_network(name, new.clone());
        self.effects.extend(match (old.clone(), new) {
            (None, Some(new)) => Some(Effect::NetworkAdded(new)),
            (Some(old), Some(new)) => Some(Effect::NetworkChanged { old, new }),
            (Some(old), None) => Some(Effect::NetworkRemoved(old)),
            (None, None) => None,
        });
        self.undo.push(Undo::Network(name.clone(), old));
    }

    pub(super) fn write_server(&mut self, network: &Name, new: Option<ServerPort>) {
        let new = new.map(Arc::new);
        let old = self.tables.put_server(network, new.clone());
        self.effects.extend(match (old.clone(), new) {
            (None, Some(new)) => Some(Effect::ServerAdded(new)),
            (Some(old), Some(new)) => Some(Effect::ServerChanged { old, new }),
            (Some(old), None) => Some(Effect::ServerRemoved(old)),
            (None, None) => None,
        });
        self.undo.push(Undo::Server(network.clone(), old));
    }

    pub(super) fn write_port(&mut self, name: &Name, new: Option<Port>) {
        let new = new.map(Arc::new);
        let old = self.tables.put_port(name, new.clone());
        self.effects.extend(match (old.clone(), new) {
            (None, Some(new)) => Some(Effect::PortAttached(new)),
            (Some(old), Some(new)) => Some(Effect::PortChanged { old, new }),
            (Some(old), None) => Some(Effect::PortDetached(old)),
            (None, None) => None,
        });
        self.undo.push(Undo::Port(name.clone(), old));
    }

    pub(super) fn write_route(&mut self, prefix: &IpNet, new: Option<Via>) {
        let old = self.tables.put_route(prefix, new.clone());
        let route = |via| Route { prefix: *prefix, via };
        self.effects.extend(old.clone().map(route).map(Effect::RouteRemoved));
        self.effects.extend(new.map(route).map(Effect::RouteAdded));
        self.undo.push(Undo::Route(*prefix, old));
    }

    pub(super) fn write_neighbor(&mut self, ip: IpAddr, new: Option<Neighbor>) {
        let old = self.tables.put_neighbor(ip, new.clone());
        self.effects.extend(old.clone().map(Effect::NeighborRemoved));
        self.effects.extend(new.map(Effect::NeighborAdded));
        self.undo.push(Undo::Neighbor(ip, old));
    }

    pub(super) fn write_static_mac(&mut self, key: &(Name, MacAddr), new: Option<StaticMac>) {
        let old = self.tables.put_static_mac(key, new.clone());
        self.effects.extend(old.clone().map(Effect::StaticMacRemoved));
        self.effects.extend(new.map(Effect::StaticMacAdded));
        self.undo.push(Undo::StaticMac(key.clone(), old));
    }

    pub(super) fn write_class(&mut self, name: &Name, new: Option<Class>) {
        let new = new.map(Arc::new);
        let old = self.tables.put_class(name, new.clone());
        self.effects.extend(match (old.clone(), new) {
            (None, Some(new)) => Some(Effect::ClassAdded(new)),
            (Some(old), Some(new)) => Some(Effect::ClassChanged { old, new }),
            (Some(old), None) => Some(Effect::ClassRemoved(old)),
            (None, None) => None,
        });
        self.undo.push(Undo::Class(name.clone(), old));
    }

    pub(super) fn write_next_network(&mut self, next: u16) {
        self.undo.push(Undo::NextNetwork(self.tables.next_network));
        self.tables.next_network = next;
    }

    /// Writes the log backwards until it is as long as it was at `start`.
    pub(super) fn roll_back(&mut self, start: usize) {
        self.effects.clear();
        let tables = &mut self.tables;
        for undo in self.undo.drain(start..).rev() {
            match undo {
                Undo::Guest(name, old) => drop(tables.put_guest(&name, old)),
                Undo::Adapter(key, old) => drop(tables.put_adapter(&key, old)),
                Undo::Network(name, old) => drop(tables.put_network(&name, old)),
                Undo::Server(name, old) => drop(tables.put_server(&name, old)),
                Undo::Port(name, old) => drop(tables.put_port(&name, old)),
                Undo::Route(prefix, old) => drop(tables.put_route(&prefix, old)),
                Undo::Neighbor(ip, old) => drop(tables.put_neighbor(ip, old)),
                Undo::StaticMac(key, old) => drop(tables.put_static_mac(&key, old)),
                Undo::Class(name, old) => drop(tables.put_class(&name, old)),
                Undo::NextNetwork(next) => tables.next_network = next,
                Undo::Imported(fingerprint) => self.imported = fingerprint,
            }
        }
    }

    /// What an empty registry needs to become this one: the start of publishing.
    pub fn everything(&self) -> Vec<Effect> {
        let mut all: Vec<Effect> = Vec::new();
        all.extend(self.ports().cloned().map(Effect::PortAttached));
        all.extend(self.networks().cloned().map(Effect::NetworkAdded));
        all.extend(self.servers().cloned().map(Effect::ServerAdded));
        all.extend(self.guests().cloned().map(Effect::GuestAdded));
        all.extend(self.classes().cloned().map(Effect::ClassAdded));
        all.extend(self.adapters().cloned().map(Effect::AdapterAdded));
        all.extend(self.static_macs().cloned().map(Effect::StaticMacAdded));
        all.extend(self.neighbors().cloned().map(Effect::NeighborAdded));
        all.extend(self.routes().map(Effect::RouteAdded));
        all
    }
}
