//! The file against what runs: what differs, and the changes that would make what runs what the file
//! says.
//!
//! The file is first made into a registry of its own, so that two complete states are compared and a
//! default that the file leaves out counts as said. A MAC that it leaves out matches any.
//!
//! The changes are one batch, in an order in which no step claims what a later one gives up: routes and
//! fixed entries go first, then what is deleted, then addresses and attachments are let go, and only
//! then is anything claimed.

use super::Config;
use super::fields::{Field, of_adapter, of_network, of_port, of_server};
use super::render::plain_network;
use crate::model::{
    AdapterWish, Change, MacTarget, Name, NetworkAttach, NetworkPatch, NetworkServer, Via,
};
use crate::registry::{Adapter, AdapterKey, Network, Refusal, Registry, ServerPort, StaticMac};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// What differs between the file and what runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Diff {
    /// For a person, item by item.
    pub differences: Vec<Difference>,
    /// One batch that makes what runs what the file says. Ports are not in it: they are read from the
    /// file at every start.
    pub changes: Vec<Change>,
}

/// One thing that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Which thing: `guest ct1`, `adapter ct1/eth0 mtu`.
    pub what: String,
    /// What the file says; absent where the file doesn't have it.
    pub file: Option<String>,
    /// What runs; absent where it doesn't.
    pub running: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.running) {
            (Some(file), Some(running)) => {
                write!(out, "~ {}: {file} in the file, {running} running", self.what)
            }
            (Some(_), None) => write!(out, "+ {}: only in the file", self.what),
            (None, _) => write!(out, "- {}: only running", self.what),
        }
    }
}

/// Compares.
///
/// # Errors
/// The file can't be a state together with this appliance's identity; a file that was loaded without
/// error always can.
pub fn diff(config: &Config, running: &Registry) -> Result<Diff, Refusal> {
    let mut wanted = Registry::new(running.identity());
    wanted.apply_from_file(&config.attach_ports())?;
    wanted.apply(&config.initial)?;
    let mut pair = Pair { config, wanted, running, differences: Vec::new() };
    pair.compare();
    let changes = pair.changes();
    Ok(Diff { differences: pair.differences, changes })
}

struct Pair<'a> {
    config: &'a Config,
    wanted: Registry,
    running: &'a Registry,
    differences: Vec<Difference>,
}

impl Pair<'_> {
    fn compare(&mut self) {
        let mut found = Vec::new();
        let (wanted, running) = (&self.wanted, self.running);
        for port in wanted.ports() {
            let what = format!("port {}", port.name);
            match running.port(&port.name) {
                None => only(&mut found, &what, true),
                Some(other) => fields(&mut found, &what, of_port(port), of_port(other)),
            }
        }
        let gone = running.ports().filter(|port| wanted.port(&port.name).is_none());
        gone.for_each(|port| only(&mut found, &format!("port {}", port.name), false));
        compare_networks(&mut found, wanted, running);
        compare_guests(&mut found, wanted, running);
        compare_entries(&mut found, wanted, running);
        self.differences = found;
    }

    /// The batch, in the order that the module's head explains.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let unsettled = self.unsettled();
        self.let_go_entries(&mut changes, &unsettled);
        self.delete_guests(&mut changes);
        self.let_go_claims(&mut changes);
        self.set_networks(&mut changes);
        self.set_guests(&mut changes);
        let doomed = self.running.networks().filter(|n| self.wanted.network(&n.name).is_none());
        changes.extend(doomed.map(|n| Change::NetworkDel { network: n.name.clone() }));
        self.add_entries(&mut changes, &unsettled);
        changes
    }

    /// Whether an adapter of what runs can't become the file's by being set.
    fn is_replaced(&self, old: &Adapter) -> bool {
        let new = self.wanted.adapter(&old.guest, &old.name);
        new.is_none_or(|new| new.spec != old.spec || new.kind != old.kind)
    }

    /// Adapters whose addresses, port or mode change: what leads to them is let go meanwhile.
    fn unsettled(&self) -> BTreeSet<AdapterKey> {
        let moves = |old: &&std::sync::Arc<Adapter>| {
            let new = self.wanted.adapter(&old.guest, &old.name);
            self.is_replaced(old)
                || new.is_some_and(|new| {
                    (new.mode, &new.addresses, &new.network)
                        != (old.mode, &old.addresses, &old.network)
                })
        };
        self.running.adapters().filter(moves).map(|adapter| adapter.key()).collect()
    }

    fn leads_to(&self, via: &Via, adapters: &BTreeSet<AdapterKey>) -> bool {
        let Via::NextHop(ip) = via else { return false };
        self.running.owner_of(*ip).is_some_and(|owner| adapters.contains(&owner.key()))
    }

    fn let_go_entries(&self, changes: &mut Vec<Change>, unsettled: &BTreeSet<AdapterKey>) {
        let (wanted, running) = (&self.wanted, self.running);
        for class in running.classes().filter(|class| !wanted.classes().any(|new| new == *class)) {
            changes.push(Change::ClassDel { class: class.name.clone() });
        }
        for route in running.routes() {
            let stays = wanted.route(&route.prefix).is_some_and(|new| new.via == route.via);
            if !stays || self.leads_to(&route.via, unsettled) {
                changes.push(Change::RouteDel { prefix: route.prefix });
            }
        }
        for old in running.neighbors().filter(|old| wanted.neighbor(old.ip) != Some(*old)) {
            changes.push(Change::NeighborDel { ip: old.ip });
        }
        for old in running.static_macs().filter(|old| !self.stays(old, unsettled)) {
            changes.push(Change::MacDel { network: old.network.clone(), mac: old.mac });
        }
    }

    /// Whether a fixed MAC that runs is the file's too, and what it points to stays where it is.
    fn stays(&self, old: &StaticMac, unsettled: &BTreeSet<AdapterKey>) -> bool {
        let (wanted, running) = (&self.wanted, self.running);
        let is_still = match &old.to {
            MacTarget::Adapter { guest, adapter } => {
                let key = AdapterKey { guest: guest.clone(), adapter: adapter.clone() };
                !unsettled.contains(&key)
            }
            MacTarget::Port(_) => {
                let attach = |registry: &Registry| {
                    registry.network(&old.network).map(|network| network.attach.clone())
                };
                let server = running.server(&old.network);
                let same = server
                    .zip(wanted.server(&old.network))
                    .is_none_or(|(old, new)| same_server(new, old));
                attach(wanted) == attach(running) && same
            }
        };
        is_still && wanted.static_mac(&old.network, old.mac) == Some(old)
    }

    fn delete_guests(&self, changes: &mut Vec<Change>) {
        for guest in self.running.guests() {
            if self.wanted.guest(&guest.name).is_none_or(|new| new.kind != guest.kind) {
                changes.push(Change::GuestDel { guest: guest.name.clone() });
                continue;
            }
            let gone = self.running.adapters_of(&guest.name).filter(|old| self.is_replaced(old));
            changes.extend(gone.map(|old| Change::AdapterDel {
                guest: old.guest.clone(),
                adapter: old.name.clone(),
            }));
        }
    }

    /// Addresses, devices and attachments that something keeps no longer.
    fn let_go_claims(&self, changes: &mut Vec<Change>) {
        for old in self.running.adapters().filter(|old| !self.is_replaced(old)) {
            let Some(new) = self.wanted.adapter(&old.guest, &old.name) else { continue };
            let stays: BTreeSet<IpNet> = new.registered().collect();
            let kept = old.addresses.iter().zip(old.registered());
            let kept: Vec<IpNet> =
                kept.filter(|(_, held)| stays.contains(held)).map(|(net, _)| *net).collect();
            if kept.len() < old.addresses.len() {
                let wish = AdapterWish { addresses: Some(kept), ..AdapterWish::default() };
                changes.push(set_adapter(old, wish));
            }
        }
        for old in self.running.networks() {
            let new = self.wanted.network(&old.name);
            if old.attach != NetworkAttach::HostOnly
                && new.is_none_or(|new| new.attach != old.attach)
            {
                let attach = Some(NetworkAttach::HostOnly);
                let set = NetworkPatch { attach, ..NetworkPatch::default() };
                changes.push(Change::NetworkSet { network: old.name.clone(), set });
            }
        }
        for old in self.running.servers() {
            if self.wanted.server(&old.network).is_none_or(|new| !same_server(new, old)) {
                let network = old.network.clone();
                changes.push(Change::NetworkServer { network, server: None });
            }
        }
    }

    fn set_networks(&self, changes: &mut Vec<Change>) {
        for new in self.wanted.networks() {
            let network = || new.name.clone();
            let plain = plain_network();
            let old = self.running.network(&new.name);
            if old.is_none() {
                changes.push(Change::NetworkAdd { network: network(), attach: new.attach.clone() });
            }
            let base = old.map(AsRef::as_ref).or(plain.as_ref());
            let set = base.map(|base| patch(base, new)).unwrap_or_default();
            let set = NetworkPatch { attach: set.attach.filter(|_| old.is_some()), ..set };
            if set != NetworkPatch::default() {
                changes.push(Change::NetworkSet { network: network(), set });
            }
            let server = self.wanted.server(&new.name);
            if let Some(server) = server
                && self.running.server(&new.name).is_none_or(|old| !same_server(server, old))
            {
                let server = NetworkServer {
                    port: server.spec.to_string(),
                    addresses: server.addresses.clone(),
                    mac: Some(server.mac).filter(|_| !server.mac_generated),
                };
                changes.push(Change::NetworkServer { network: network(), server: Some(server) });
            }
        }
    }

    fn set_guests(&self, changes: &mut Vec<Change>) {
        for old in self.running.adapters().filter(|old| !self.is_replaced(old)) {
            let Some(new) = self.wanted.adapter(&old.guest, &old.name) else { continue };
            let wish = wish(old, new);
            if wish != AdapterWish::default() {
                changes.push(set_adapter(old, wish));
            }
        }
        let is_new = |change: &&Change| match change {
            Change::GuestAdd { guest, kind } => {
                self.running.guest(guest).is_none_or(|old| old.kind != *kind)
            }
            Change::AdapterAdd { guest, adapter, .. } => {
                self.running.adapter(guest, adapter).is_none_or(|old| self.is_replaced(old))
            }
            _ => false,
        };
        changes.extend(self.config.initial.iter().filter(is_new).cloned());
    }

    fn add_entries(&self, changes: &mut Vec<Change>, unsettled: &BTreeSet<AdapterKey>) {
        let running = self.running;
        let is_new = |change: &&Change| match change {
            Change::MacAdd { network, mac, .. } => {
                running.static_mac(network, *mac).is_none_or(|old| !self.stays(old, unsettled))
            }
            Change::NeighborAdd { ip, mac, dev } => {
                running.neighbor(*ip).is_none_or(|old| (old.mac, &old.dev) != (*mac, dev))
            }
            Change::RouteAdd { prefix, via } => {
                let stays = running.route(prefix).is_some_and(|old| old.via == *via);
                !stays || self.leads_to(via, unsettled)
            }
            Change::ClassAdd { class, prefixes } => {
                !running.classes().any(|old| old.name == *class && old.prefixes == *prefixes)
            }
            _ => false,
        };
        changes.extend(self.config.initial.iter().filter(is_new).cloned());
    }
}

fn set_adapter(adapter: &Adapter, wish: AdapterWish) -> Change {
    Change::AdapterSet { guest: adapter.guest.clone(), adapter: adapter.name.clone(), wish }
}

/// What has to be set on an adapter; nothing where they agree.
fn wish(old: &Adapter, new: &Adapter) -> AdapterWish {
    let switched = old.mode != new.mode;
    let moved = switched || old.network != new.network;
    AdapterWish {
        mode: Some(new.mode).filter(|_| switched),
        network: new.network.clone().filter(|_| moved),
        addresses: differing(switched, &old.addresses, &new.addresses),
        mac: Some(new.mac).filter(|mac| !new.mac_generated && *mac != old.mac),
        host_mac: differing(false, &old.host_mac, &new.host_mac),
        gateway: differing(switched, &old.gateways, &new.gateways),
        mtu: differing(false, &old.mtu, &new.mtu).filter(|_| new.shared_port().is_none()),
        filter: differing(false, &old.filter, &new.filter),
        announce: differing(false, &old.announce, &new.announce),
        probe: differing(false, &old.probe, &new.probe),
        ..AdapterWish::default()
    }
}

fn differing<T: PartialEq + Clone>(always: bool, old: &T, new: &T) -> Option<T> {
    (always || old != new).then(|| new.clone())
}

fn patch(old: &Network, new: &Network) -> NetworkPatch {
    NetworkPatch {
        attach: differing(false, &old.attach, &new.attach),
        unknown_unicast: differing(false, &old.unknown_unicast, &new.unknown_unicast),
        learning: differing(false, &old.learning, &new.learning),
        max_macs: differing(false, &old.max_macs, &new.max_macs),
        max_macs_per_port: differing(false, &old.max_macs_per_port, &new.max_macs_per_port),
        age_s: differing(false, &old.age_s, &new.age_s),
    }
}

fn same_server(new: &ServerPort, old: &ServerPort) -> bool {
    let same_mac = new.mac_generated || new.mac == old.mac;
    same_mac && new.spec == old.spec && new.addresses == old.addresses
}

fn only(found: &mut Vec<Difference>, what: &str, in_file: bool) {
    let side = |here: bool| here.then(String::new);
    let (file, running) = (side(in_file), side(!in_file));
    found.push(Difference { what: what.to_owned(), file, running });
}

/// Notes the keys that differ. A key that only one of them has differs from nothing.
fn fields(found: &mut Vec<Difference>, what: &str, file: Vec<Field>, running: Vec<Field>) {
    let value = |fields: &[Field], key| {
        fields.iter().find(|field| field.key == key).map(|field| field.value.clone())
    };
    let keys: BTreeSet<&str> = file.iter().chain(&running).map(|field| field.key).collect();
    for key in keys {
        let left_out = file.iter().any(|field| field.key == key && field.is_default);
        let (new, old) = (value(&file, key), value(&running, key));
        if new == old || (key == "mac" && left_out) {
            continue;
        }
        let said = |value: Option<String>| Some(value.unwrap_or_else(|| "none".to_owned()));
        let what = format!("{what} {key}");
        found.push(Difference { what, file: said(new), running: said(old) });
    }
}

fn compare_networks(found: &mut Vec<Difference>, wanted: &Registry, running: &Registry) {
    let plain = plain_network();
    let keys = |network: &Network| {
        plain.as_ref().map(|plain| of_network(network, plain)).unwrap_or_default()
    };
    let names = |registry: &Registry| registry.networks().map(|n| n.name.clone()).collect();
    let (new, old): (BTreeSet<Name>, BTreeSet<Name>) = (names(wanted), names(running));
    for name in new.union(&old) {
        let what = format!("network {name}");
        match (wanted.network(name), running.network(name)) {
            (Some(new), Some(old)) => fields(found, &what, keys(new), keys(old)),
            (new, _) => only(found, &what, new.is_some()),
        }
        let what = format!("{what} server");
        match (wanted.server(name), running.server(name)) {
            (Some(new), Some(old)) => fields(found, &what, of_server(new), of_server(old)),
            (None, None) => {}
            (new, _) => only(found, &what, new.is_some()),
        }
    }
}

fn compare_guests(found: &mut Vec<Difference>, wanted: &Registry, running: &Registry) {
    let names = |registry: &Registry| registry.guests().map(|g| g.name.clone()).collect();
    let (new, old): (BTreeSet<Name>, BTreeSet<Name>) = (names(wanted), names(running));
    for name in new.union(&old) {
        match (wanted.guest(name), running.guest(name)) {
            (Some(new), Some(old)) if new.kind != old.kind => {
                let kind = |kind| Some(super::fields::kind(kind).to_owned());
                let what = format!("guest {name} kind");
                found.push(Difference { what, file: kind(new.kind), running: kind(old.kind) });
            }
            (Some(_), Some(_)) => {}
            (new, _) => only(found, &format!("guest {name}"), new.is_some()),
        }
    }
    let keys = |registry: &Registry| registry.adapters().map(|a| a.key()).collect();
    let (new, old): (BTreeSet<AdapterKey>, BTreeSet<AdapterKey>) = (keys(wanted), keys(running));
    for key in new.union(&old) {
        let what = format!("adapter {key}");
        match (wanted.adapter_by_key(key), running.adapter_by_key(key)) {
            (Some(new), Some(old)) => {
                fields(found, &what, of_adapter(new, wanted), of_adapter(old, running));
            }
            (new, _) => only(found, &what, new.is_some()),
        }
    }
}

/// Routes, neighbors, fixed MACs and classes.
fn compare_entries(found: &mut Vec<Difference>, wanted: &Registry, running: &Registry) {
    let entries = |registry: &Registry| -> std::collections::BTreeMap<String, String> {
        let via = |via: &Via| match via {
            Via::NextHop(ip) => format!("via {ip}"),
            Via::Dev(port) => format!("dev {port}"),
        };
        let routes = registry.routes().map(|r| (format!("route {}", r.prefix), via(&r.via)));
        let neighbors = registry.neighbors().map(|n| {
            let ip: IpAddr = n.ip;
            (format!("neighbor {ip}"), format!("{} dev {}", n.mac, n.dev))
        });
        let macs = registry
            .static_macs()
            .map(|m| (format!("mac {} {}", m.network, m.mac), format!("{:?}", m.to)));
        let classes = registry
            .classes()
            .map(|c| (format!("class {}", c.name), super::fields::list(&c.prefixes)));
        routes.chain(neighbors).chain(macs).chain(classes).collect()
    };
    let (new, old) = (entries(wanted), entries(running));
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    for what in names {
        match (new.get(what), old.get(what)) {
            (Some(file), Some(running)) if file == running => {}
            (Some(file), Some(running)) => found.push(Difference {
                what: what.clone(),
                file: Some(file.clone()),
                running: Some(running.clone()),
            }),
            (file, _) => only(found, what, file.is_some()),
        }
    }
}
