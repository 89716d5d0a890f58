//! The changes that make what runs what the file says: one batch, in an order in which no step claims
//! what a later one gives up. Routes and fixed entries go first, then what is deleted, then addresses,
//! attachments and prefixes of classes are let go, and only then is anything claimed: ports, networks,
//! classes, guests, entries.

use super::{Pair, limits};
use crate::config::render::plain_network;
use crate::model::{
    AdapterWish, Change, MacTarget, Mode, Name, NetworkAttach, NetworkPatch, NetworkServer, Via,
};
use crate::registry::{Adapter, AdapterKey, Holder, Network, Registry, ServerPort, StaticMac};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;

impl Pair<'_> {
    /// The batch, in the order that the module's head explains.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let unsettled = self.unsettled();
        let leaving = self.leaving_classes();
        self.let_go_entries(&mut changes, &unsettled);
        self.delete_guests(&mut changes);
        self.let_go_claims(&mut changes, &leaving);
        self.let_go_classes(&mut changes, &leaving);
        self.set_ports(&mut changes);
        self.set_networks(&mut changes);
        self.set_classes(&mut changes, &leaving);
        self.set_guests(&mut changes, &leaving);
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

    /// Whether a next hop is out of reach meanwhile: at an adapter that is let go, or on an uplink's link that
    /// is.
    fn is_cut(&self, via: &Via, unsettled: &BTreeSet<AdapterKey>) -> bool {
        let Via::NextHop(ip) = via else { return false };
        match self.running.owner_of(*ip) {
            Some(owner) if unsettled.contains(&owner.key()) => true,
            Some(owner) if owner.mode == Mode::HostRouted => false,
            _ => self.is_off_link(*ip),
        }
    }

    fn let_go_entries(&self, changes: &mut Vec<Change>, unsettled: &BTreeSet<AdapterKey>) {
        let (wanted, running) = (&self.wanted, self.running);
        for route in running.routes() {
            let stays = wanted.route(&route.prefix).is_some_and(|new| new.via == route.via);
            if !stays || self.is_cut(&route.via, unsettled) {
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

    /// Addresses, rates, devices and attachments that something keeps no longer.
    fn let_go_claims(&self, changes: &mut Vec<Change>, leaving: &BTreeSet<Name>) {
        for old in self.running.adapters().filter(|old| !self.is_replaced(old)) {
            let Some(new) = self.wanted.adapter(&old.guest, &old.name) else { continue };
            let stays: BTreeSet<IpNet> = new.registered().collect();
            let kept = old.addresses.iter().zip(old.registered());
            let kept: Vec<IpNet> =
                kept.filter(|(_, held)| stays.contains(held)).map(|(net, _)| *net).collect();
            // A gateway that becomes somebody's address.
            let is_taken = |ip: &IpAddr| {
                let holder = self.wanted.holder_of(*ip).map(|(_, holder)| holder);
                !new.gateways.contains(ip) && holder.is_some_and(|by| *by != Holder::Appliance)
            };
            let gateways = old.gateways.iter().copied().filter(|ip| !is_taken(ip));
            let gateways: Vec<IpAddr> = gateways.collect();
            let wish = AdapterWish {
                addresses: Some(kept).filter(|kept| kept.len() < old.addresses.len()),
                gateway: Some(gateways).filter(|kept| kept.len() < old.gateways.len()),
                class_rate: limits::let_go(&old.limits, leaving),
                ..AdapterWish::default()
            };
            if wish != AdapterWish::default() {
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

    fn set_guests(&self, changes: &mut Vec<Change>, leaving: &BTreeSet<Name>) {
        for old in self.running.adapters().filter(|old| !self.is_replaced(old)) {
            let Some(new) = self.wanted.adapter(&old.guest, &old.name) else { continue };
            let wish = wish(old, new, leaving);
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
                !stays || self.is_cut(via, unsettled)
            }
            _ => false,
        };
        changes.extend(self.config.initial.iter().filter(is_new).cloned());
    }
}

fn set_adapter(adapter: &Adapter, wish: AdapterWish) -> Change {
    Change::AdapterSet { guest: adapter.guest.clone(), adapter: adapter.name.clone(), wish }
}

/// What has to be set on an adapter, its rates for leaving classes gone; nothing where they agree.
fn wish(old: &Adapter, new: &Adapter, leaving: &BTreeSet<Name>) -> AdapterWish {
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
        rate: differing(false, &old.limits.rate, &new.limits.rate).map(limits::whole),
        class_rate: limits::class_rates(&old.limits, &new.limits, leaving),
        storm: differing(false, &old.limits.storm_pps, &new.limits.storm_pps)
            .map(|pps| pps.map_or(0, NonZeroU32::get)),
        ..AdapterWish::default()
    }
}

pub(super) fn differing<T: PartialEq + Clone>(always: bool, old: &T, new: &T) -> Option<T> {
    (always || old != new).then(|| new.clone())
}

fn patch(old: &Network, new: &Network) -> NetworkPatch {
    NetworkPatch {
        attach: differing(false, &old.attach, &new.attach),
        unknown_unicast: differing(false, &old.unknown_unicast, &new.unknown_unicast),
        learning: differing(false, &old.learning, &new.learning),
        isolated: differing(false, &old.isolated, &new.isolated),
        max_macs: differing(false, &old.max_macs, &new.max_macs),
        max_macs_per_port: differing(false, &old.max_macs_per_port, &new.max_macs_per_port),
        age_s: differing(false, &old.age_s, &new.age_s),
    }
}

fn same_server(new: &ServerPort, old: &ServerPort) -> bool {
    let same_mac = new.mac_generated || new.mac == old.mac;
    same_mac && new.spec == old.spec && new.addresses == old.addresses
}
