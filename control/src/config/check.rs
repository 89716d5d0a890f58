//! The file's changes, tried on an empty registry: duplicates, dangling names, what doesn't go together.

use super::Appliance;
use super::recover::Recovered;
use super::sections::Entry;
use crate::model::{Change, Name, PortWish};
use crate::registry::{Holder, Identity, Missing, Refusal, RefusalKind, Registry};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// Most errors that are sought in one table: each costs another try.
const TRIES: usize = 8;

/// What the tables said so far.
struct Trial<'e, 'a> {
    registry: Registry,
    /// Where each thing was registered.
    places: BTreeMap<Missing, &'e Entry<'a>>,
    /// Things that are in the file but could not be registered: that they are missing is no news.
    doubtful: BTreeSet<Missing>,
    /// Lines of the file could not be read: anything may be missing because of that.
    is_partial: bool,
}

/// Notes what the registry refuses.
pub(super) fn check(entries: &[Entry<'_>], appliance: &Appliance, recovered: &Recovered) {
    let mut registry = Registry::new(Identity { seed: 0 });
    registry.set_worker_cores(appliance.workers.clone());
    let is_partial = !recovered.dropped.is_empty();
    let (places, doubtful) = (BTreeMap::new(), BTreeSet::new());
    let mut trial = Trial { registry, places, doubtful, is_partial };
    for entry in entries {
        match &entry.change {
            Ok(change) => trial.add(change, entry),
            Err(name) => trial.doubt_table(entry, name),
        }
    }
}

/// The ports, and the changes that are registered at the first start.
pub(super) fn split(entries: Vec<Entry<'_>>) -> (Vec<(Name, PortWish)>, Vec<Change>) {
    let (mut ports, mut initial) = (Vec::new(), Vec::new());
    for change in entries.into_iter().filter_map(|entry| entry.change.ok()) {
        match change {
            Change::PortAttach { port, wish } => ports.push((port, wish)),
            other => initial.push(other),
        }
    }
    (ports, initial)
}

impl<'e, 'a> Trial<'e, 'a> {
    /// Applies a change; where it is refused, notes that and tries again without the key at fault, so
    /// that what else is wrong with it is found too.
    fn add(&mut self, change: &Change, entry: &'e Entry<'a>) {
        let thing = subject(change);
        let guest = match change {
            Change::AdapterAdd { guest, .. } => Some(Missing::Guest(guest.clone())),
            _ => None,
        };
        if guest.is_some_and(|guest| self.doubtful.contains(&guest)) {
            // It has no guest to be tried on; what it could collide with is not known.
            self.doubtful.extend(thing);
            return;
        }
        let mut attempt = change.clone();
        for _ in 0..TRIES {
            let Err(refusal) = self.registry.apply(std::slice::from_ref(&attempt)) else {
                self.registry.settle();
                self.places.extend(thing.map(|thing| (thing, entry)));
                return;
            };
            self.note(&refusal, entry, change);
            if !self.relax(&mut attempt, &refusal, entry) {
                break;
            }
        }
        let known = thing.as_ref().is_some_and(|thing| self.places.contains_key(thing));
        if !known || matches!(change, Change::GuestAdd { .. }) {
            self.doubtful.extend(thing);
        }
    }

    /// What a table that can't be read would have registered.
    fn doubt_table(&mut self, entry: &Entry<'_>, name: &Name) {
        let path = entry.section.path();
        let thing = match path.split(['[', '.']).next().unwrap_or_default() {
            "network" => Missing::Network(name.clone()),
            "guest" if path.contains("].adapter") => {
                let guest = path.split(['[', ']']).nth(1).and_then(|guest| guest.parse().ok());
                let Some(guest) = guest else { return };
                Missing::Adapter(guest, name.clone())
            }
            "guest" => Missing::Guest(name.clone()),
            "class" => return,
            _ => Missing::Port(name.clone()),
        };
        self.doubtful.insert(thing);
    }

    fn note(&self, refusal: &Refusal, entry: &Entry<'_>, change: &Change) {
        if let Some(missing) = &refusal.missing
            && (self.is_partial || self.doubtful.contains(missing))
        {
            return;
        }
        // An address that nobody is found to have may be one of an adapter or uplink that is wrong.
        let via = matches!(change, Change::RouteAdd { .. }) && refusal.field == "via";
        if via
            && refusal.kind == RefusalKind::Conflict
            && (self.is_partial || !self.doubtful.is_empty())
        {
            return;
        }
        let message = match self.first_place(refusal, change) {
            Some(line) => format!("{} (line {line})", refusal.message),
            None => refusal.message.clone(),
        };
        entry.section.refuse(refusal.field, message);
    }

    /// The line of what was there first.
    fn first_place(&self, refusal: &Refusal, change: &Change) -> Option<usize> {
        if refusal.kind != RefusalKind::Duplicate {
            return None;
        }
        let first = match &refusal.holder {
            Some(Holder::Adapter(key)) => Missing::Adapter(key.guest.clone(), key.adapter.clone()),
            Some(Holder::Server(network)) => Missing::Network(network.clone()),
            Some(Holder::Port(port) | Holder::Router(port)) => Missing::Port(port.clone()),
            Some(Holder::Appliance) => return None,
            None => subject(change).filter(|_| refusal.field == "name")?,
        };
        Some(self.places.get(&first)?.section.line(refusal.field))
    }

    /// Takes the key at fault out of a change; whether there is something left to try.
    fn relax(&mut self, change: &mut Change, refusal: &Refusal, entry: &Entry<'_>) -> bool {
        if refusal.field == "addresses" {
            return self.relax_addresses(change, refusal, entry);
        }
        match change {
            Change::AdapterAdd { wish, .. } => match refusal.field {
                "mac" => wish.mac.take().is_some(),
                "host_mac" => wish.host_mac.take().is_some(),
                "gateway" => wish.gateway.take().is_some(),
                "mtu" => wish.mtu.take().is_some(),
                "rate" => wish.rate.take().is_some(),
                "network" => wish.network.take().is_some(),
                _ => false,
            },
            Change::PortAttach { wish, .. } => match refusal.field {
                "mac" => wish.mac.take().is_some(),
                "gateway" => !std::mem::take(&mut wish.gateway).is_empty(),
                "mtu" => wish.mtu.take().is_some(),
                "queues" => wish.queues.take().is_some(),
                "workers" => wish.workers.take().is_some(),
                "netns" => wish.netns.take().is_some(),
                _ => false,
            },
            Change::NetworkServer { server: Some(server), .. } if refusal.field == "mac" => {
                server.mac.take().is_some()
            }
            Change::NetworkSet { set, .. } => match refusal.field {
                "max_macs" => set.max_macs.take().is_some(),
                "max_macs_per_port" => set.max_macs_per_port.take().is_some(),
                "age_s" => set.age_s.take().is_some(),
                _ => false,
            },
            _ => false,
        }
    }

    /// Keeps the addresses that can be, and notes each other one. The first of them has been noted.
    fn relax_addresses(&mut self, change: &mut Change, said: &Refusal, entry: &Entry<'_>) -> bool {
        let Some(all) = addresses(change).map(std::mem::take) else { return false };
        let mut good = Vec::new();
        let mut bad = 0;
        for net in all {
            let mut attempt = change.clone();
            let Some(list) = addresses(&mut attempt) else { return false };
            list.extend(good.iter().copied().chain([net]));
            match self.registry.apply(&[attempt]) {
                Ok(_) => {
                    self.registry.take_back();
                    good.push(net);
                }
                Err(refusal) if refusal.field == "addresses" => {
                    bad += 1;
                    if refusal.message != said.message && bad < TRIES {
                        self.note(&refusal, entry, change);
                    }
                }
                Err(_) => good.push(net),
            }
        }
        let Some(list) = addresses(change) else { return false };
        *list = good;
        bad > 0
    }
}

/// The addresses that a change gives.
fn addresses(change: &mut Change) -> Option<&mut Vec<IpNet>> {
    match change {
        Change::AdapterAdd { wish, .. } => wish.addresses.as_mut(),
        Change::PortAttach { wish, .. } => Some(&mut wish.addresses),
        Change::NetworkServer { server: Some(server), .. } => Some(&mut server.addresses),
        _ => None,
    }
}

/// What a change is about, where others can refer to it.
fn subject(change: &Change) -> Option<Missing> {
    match change {
        Change::GuestAdd { guest, .. } => Some(Missing::Guest(guest.clone())),
        Change::AdapterAdd { guest, adapter, .. } => {
            Some(Missing::Adapter(guest.clone(), adapter.clone()))
        }
        Change::NetworkAdd { network, .. } => Some(Missing::Network(network.clone())),
        Change::PortAttach { port, .. } => Some(Missing::Port(port.clone())),
        _ => None,
    }
}
