//! What a batch has made of the tables, key by key: what the journal on disk holds of it, and what a
//! document takes back in when the journal is replayed.
//!
//! A put says what stands under its key now and nothing of how it came there, so replaying decides
//! nothing: no default is filled in again and no MAC is generated again.

use super::Registry;
use super::document::{Document, Keyed};
use super::effect::Undo;
use super::item::{
    Adapter, AdapterKey, Class, Guest, Neighbor, Network, Port, Route, ServerPort, StaticMac,
};
use crate::model::Name;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What stands under one key after a batch: an item, or that there is none any longer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each variant is the item of its name, or the key that has none")]
pub enum Put {
    Port(Port),
    NoPort(Name),
    Network(Network),
    NoNetwork(Name),
    Server(ServerPort),
    NoServer(Name),
    Guest(Guest),
    NoGuest(Name),
    Adapter(Adapter),
    NoAdapter(AdapterKey),
    StaticMac(StaticMac),
    NoStaticMac(Name, MacAddr),
    Neighbor(Neighbor),
    NoNeighbor(IpAddr),
    Route(Route),
    NoRoute(IpNet),
    Class(Class),
    NoClass(Name),
    /// Where the search for a free network number begins.
    NextNetwork(u16),
    /// Fingerprint of the configuration file's registered part, taken over now.
    Imported(Option<u64>),
}

/// What one entry of the undo log is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Port(&'a Name),
    Network(&'a Name),
    Server(&'a Name),
    Guest(&'a Name),
    Adapter(&'a AdapterKey),
    StaticMac(&'a (Name, MacAddr)),
    Neighbor(&'a IpAddr),
    Route(&'a IpNet),
    Class(&'a Name),
    NextNetwork,
    Imported,
}

fn key(undo: &Undo) -> Key<'_> {
    match undo {
        Undo::Port(name, _) => Key::Port(name),
        Undo::Network(name, _) => Key::Network(name),
        Undo::Server(name, _) => Key::Server(name),
        Undo::Guest(name, _) => Key::Guest(name),
        Undo::Adapter(key, _) => Key::Adapter(key),
        Undo::StaticMac(key, _) => Key::StaticMac(key),
        Undo::Neighbor(ip, _) => Key::Neighbor(ip),
        Undo::Route(prefix, _) => Key::Route(prefix),
        Undo::Class(name, _) => Key::Class(name),
        Undo::NextNetwork(_) => Key::NextNetwork,
        Undo::Imported(_) => Key::Imported,
    }
}

/// An item that is shared, as a put; or that it is gone.
fn shared<T: Clone>(item: Option<&Arc<T>>, there: fn(T) -> Put, gone: Put) -> Put {
    item.map_or(gone, |item| there(T::clone(item)))
}

impl Registry {
    /// What has been applied since the last [`Registry::settle`], each key once.
    pub fn puts(&self) -> Vec<Put> {
        let mut seen = BTreeSet::new();
        let touched = self.undo.iter().map(key).filter(|key| seen.insert(*key));
        touched.map(|key| self.put_of(key)).collect()
    }

    fn put_of(&self, key: Key<'_>) -> Put {
        let tables = &self.tables;
        match key {
            Key::Port(name) => shared(tables.ports.get(name), Put::Port, Put::NoPort(name.clone())),
            Key::Network(name) => {
                shared(tables.networks.get(name), Put::Network, Put::NoNetwork(name.clone()))
            }
            Key::Server(name) => {
                shared(tables.servers.get(name), Put::Server, Put::NoServer(name.clone()))
            }
            Key::Guest(name) => {
                let guest = tables.guests.get(name).map(|entry| &entry.guest);
                shared(guest, Put::Guest, Put::NoGuest(name.clone()))
            }
            Key::Adapter(key) => {
                shared(self.adapter_by_key(key), Put::Adapter, Put::NoAdapter(key.clone()))
            }
            Key::StaticMac(key) => match tables.static_macs.get(key) {
                Some(fixed) => Put::StaticMac(fixed.clone()),
                None => Put::NoStaticMac(key.0.clone(), key.1),
            },
            Key::Neighbor(ip) => match tables.neighbors.get(ip) {
                Some(neighbor) => Put::Neighbor(neighbor.clone()),
                None => Put::NoNeighbor(*ip),
            },
            Key::Route(prefix) => match tables.routes.get(prefix) {
                Some(via) => Put::Route(Route { prefix: *prefix, via: via.clone() }),
                None => Put::NoRoute(*prefix),
            },
            Key::Class(name) => {
                shared(tables.classes.get(name), Put::Class, Put::NoClass(name.clone()))
            }
            Key::NextNetwork => Put::NextNetwork(tables.next_network),
            Key::Imported => Put::Imported(self.imported),
        }
    }
}

fn enter<T: Keyed>(table: &mut BTreeMap<T::Key, T>, item: T) {
    table.insert(item.key(), item);
}

impl Document {
    /// Takes in what one batch has made of the tables.
    pub fn replay(&mut self, puts: Vec<Put>) {
        for put in puts {
            self.put(put);
        }
    }

    fn put(&mut self, put: Put) {
        match put {
            Put::Port(item) => enter(&mut self.ports, item),
            Put::NoPort(name) => drop(self.ports.remove(&name)),
            Put::Network(item) => enter(&mut self.networks, item),
            Put::NoNetwork(name) => drop(self.networks.remove(&name)),
            Put::Server(item) => enter(&mut self.servers, item),
            Put::NoServer(name) => drop(self.servers.remove(&name)),
            Put::Guest(item) => enter(&mut self.guests, item),
            Put::NoGuest(name) => drop(self.guests.remove(&name)),
            Put::Adapter(item) => enter(&mut self.adapters, item),
            Put::NoAdapter(key) => drop(self.adapters.remove(&key)),
            Put::StaticMac(item) => enter(&mut self.static_macs, item),
            Put::NoStaticMac(network, mac) => drop(self.static_macs.remove(&(network, mac))),
            Put::Neighbor(item) => enter(&mut self.neighbors, item),
            Put::NoNeighbor(ip) => drop(self.neighbors.remove(&ip)),
            Put::Route(item) => enter(&mut self.routes, item),
            Put::NoRoute(prefix) => drop(self.routes.remove(&prefix)),
            Put::Class(item) => enter(&mut self.classes, item),
            Put::NoClass(name) => drop(self.classes.remove(&name)),
            Put::NextNetwork(number) => self.next_network = number,
            Put::Imported(fingerprint) => self.imported = fingerprint,
        }
    }
}
