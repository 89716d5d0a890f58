//! The file's changes, tried on an empty registry: duplicates, dangling names, what doesn't go together.
//!
//! Each change is tried until it is taken: what it is refused for is noted and taken out, or replaced by
//! a value of our own that nobody else has, so that one error doesn't hide the next. What is registered
//! in this way is doubtful, and so is what couldn't be read: a refusal that may only follow from
//! something doubtful is not noted (see `blame`).

use super::Appliance;
use super::blame;
use super::recover::Recovered;
use super::sections::Entry;
use crate::model::{Change, GuestKind, Name, NetworkAttach, PortRole, PortWish};
use crate::registry::{Holder, Identity, Missing, Refusal, RefusalKind, Registry, VLAN_ID};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// What the tables said so far.
struct Trial<'e, 'a> {
    registry: Registry,
    /// Where each thing was registered.
    places: BTreeMap<Missing, &'e Entry<'a>>,
    /// Things that could not be registered as the file has them, or not at all.
    doubtful: BTreeSet<Missing>,
    /// Guests of a kind that is anybody's guess, and with it their adapters' mode.
    of_no_kind: BTreeSet<Name>,
    /// Lines of the file could not be read: anything may be missing because of that.
    is_partial: bool,
    /// Numbers the devices that stand in for others.
    placeholders: usize,
}

/// Notes what the registry refuses.
pub(super) fn check(entries: &[Entry<'_>], appliance: &Appliance, recovered: &Recovered) {
    let mut registry = Registry::new(Identity { seed: 0 });
    registry.set_worker_cores(appliance.workers.clone());
    let mut trial = Trial {
        registry,
        places: BTreeMap::new(),
        doubtful: BTreeSet::new(),
        of_no_kind: BTreeSet::new(),
        is_partial: !recovered.dropped.is_empty(),
        placeholders: 0,
    };
    for entry in entries {
        match &entry.change {
            Ok(change) => trial.add(change, entry),
            Err(name) => trial.add_unread(entry, name),
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
        let was_wrong = entry.section.is_wrong();
        let mut attempt = change.clone();
        if let Change::AdapterAdd { guest, wish, .. } = change
            && wish.mode.is_none()
            && (self.is_partial || self.of_no_kind.contains(guest))
        {
            entry.section.doubt("mode");
        }
        if self.is_partial {
            // Its line may be among those that could not be read.
            entry.section.doubt("addresses");
        }
        let port = port_key(change);
        if !entry.section.has(port) || entry.section.is_doubtful(port) {
            self.replace_port(&mut attempt);
        }
        let mut is_refused = false;
        loop {
            let Err(refusal) = self.registry.apply(std::slice::from_ref(&attempt)) else {
                self.registry.settle();
                if let Some(thing) = &thing {
                    self.places.insert(thing.clone(), entry);
                }
                break;
            };
            is_refused = true;
            self.note(&refusal, entry, change);
            // Each round takes something out, so there is a last one.
            if !self.relax(&mut attempt, &refusal, entry) {
                break;
            }
            entry.section.doubt(refusal.field);
        }
        if let (true, Change::GuestAdd { guest, .. }) = (is_refused, change) {
            // A second guest of a name: which of the two an adapter is meant for is not known.
            self.of_no_kind.insert(guest.clone());
        }
        if is_refused || was_wrong {
            self.doubtful.extend(thing);
        }
    }

    /// What a table that can't be read would have registered. A guest of an unknown kind is taken for a
    /// container, for its adapters' sake.
    fn add_unread(&mut self, entry: &'e Entry<'a>, name: &Name) {
        if entry.section.path().starts_with("guest") {
            self.of_no_kind.insert(name.clone());
            self.add(&Change::GuestAdd { guest: name.clone(), kind: GuestKind::Container }, entry);
            self.doubtful.insert(Missing::Guest(name.clone()));
        } else if entry.section.path().starts_with("class") {
            self.doubtful.insert(Missing::Class(name.clone()));
        }
    }

    fn note(&self, refusal: &Refusal, entry: &Entry<'_>, change: &Change) {
        let rests_on_doubt =
            blame::named_by(change).iter().any(|name| self.doubtful.contains(name));
        if blame::is_consequence(refusal, change, &entry.section, rests_on_doubt) {
            return;
        }
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
        if refusal.field == port_key(change) {
            return refusal.kind != RefusalKind::Limit && self.replace_port(change);
        }
        match change {
            Change::AdapterAdd { wish, .. } => match refusal.field {
                "mac" => wish.mac.take().is_some(),
                "host_mac" => wish.host_mac.take().is_some(),
                "gateway" => wish.gateway.take().is_some(),
                "mode" => wish.mode.take().is_some(),
                "mtu" => wish.mtu.take().is_some(),
                "rate" => wish.rate.take().is_some(),
                "class_rate" => match (&refusal.missing, &mut wish.class_rate) {
                    (Some(Missing::Class(class)), Some(rates)) => rates.remove(class).is_some(),
                    _ => wish.class_rate.take().is_some(),
                },
                "storm" => wish.storm.take().is_some(),
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
                // A second host port; a shared one is subject to the same rules.
                "role" => std::mem::replace(&mut wish.role, PortRole::Shared) == PortRole::Host,
                _ => false,
            },
            Change::NetworkAdd { attach, .. } => match (refusal.field, &attach) {
                ("vlan", NetworkAttach::Uplink { port, vlan }) => {
                    let is_free = |id: &u16| self.registry.network_on(port, Some(*id)).is_none();
                    let free = VLAN_ID.rev().find(is_free).filter(|free| Some(*free) != *vlan);
                    let port = port.clone();
                    free.map(|id| *attach = NetworkAttach::Uplink { port, vlan: Some(id) })
                        .is_some()
                }
                ("uplink", NetworkAttach::Uplink { .. }) => {
                    *attach = NetworkAttach::HostOnly;
                    true
                }
                _ => false,
            },
            Change::NetworkServer { server: Some(server), .. } if refusal.field == "mac" => {
                server.mac.take().is_some()
            }
            Change::NetworkSet { set, .. } => match refusal.field {
                "uplink" | "vlan" => set.attach.take().is_some(),
                _ => false,
            },
            _ => false,
        }
    }

    /// Puts a port that nobody else can have in the place of one that is refused; false where that was
    /// done before.
    fn replace_port(&mut self, change: &mut Change) -> bool {
        // A name that the kernel allows and nobody gives.
        const MARK: &str = "~";
        self.placeholders += 1;
        let number = self.placeholders;
        let (spec, stand_in) = match change {
            Change::AdapterAdd { wish, .. } => {
                (wish.port.get_or_insert_default(), format!("tap,iface={MARK}{number}"))
            }
            Change::NetworkServer { server: Some(server), .. } => {
                (&mut server.port, format!("tap,iface={MARK}{number}"))
            }
            Change::PortAttach { wish, .. } => {
                (&mut wish.device, format!("net_tap.{number},iface={MARK}{number}"))
            }
            _ => return false,
        };
        if spec.contains(&format!("iface={MARK}")) {
            return false;
        }
        *spec = stand_in;
        true
    }

    /// Keeps the addresses that can be, and notes each other one. The first of them has been noted.
    fn relax_addresses(&mut self, change: &mut Change, said: &Refusal, entry: &Entry<'_>) -> bool {
        let Some(all) = addresses(change).map(std::mem::take) else { return false };
        let mut good = Vec::new();
        let given = all.len();
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
                    // One over the limit has been told of with the whole.
                    if refusal.message != said.message && refusal.kind != RefusalKind::Limit {
                        self.note(&refusal, entry, change);
                    }
                }
                Err(_) => good.push(net),
            }
        }
        let Some(list) = addresses(change) else { return false };
        let is_less = good.len() < given;
        *list = good;
        is_less
    }
}

/// The key of the port that a change is given, where it is.
fn port_key(change: &Change) -> &'static str {
    match change {
        Change::PortAttach { .. } => "device",
        Change::AdapterAdd { .. } | Change::NetworkServer { .. } => "port",
        _ => "",
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
        Change::ClassAdd { class, .. } => Some(Missing::Class(class.clone())),
        _ => None,
    }
}
