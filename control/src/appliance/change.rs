//! Carries out an accepted change: devices open first, then it is on disk, then it is in force.
//!
//! A batch is one transaction. What can fail is tried before anything is answered or published: the
//! registry refuses contradictions, devices are opened while nobody polls them, the journal is
//! written. Only then do tables and records change. A failure on the way takes everything back.

use super::device::{Opened, Wanted};
use super::{Appliance, Failure};
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::{EventKind, PortLabel};
use crate::model::{Change, Mode};
use crate::publish::{self, PublishError, port_label};
use crate::registry::{self, Effect};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// Devices that a batch has opened, by the port that each will be.
pub(super) type Staged = BTreeMap<PortLabel, Opened>;

/// Devices and interfaces that an effect gives back.
fn released(effect: &Effect) -> Vec<String> {
    match effect {
        Effect::AdapterRemoved(adapter) => adapter.spec.occupies(None),
        Effect::ServerRemoved(server) => server.spec.occupies(None),
        Effect::PortDetached(port) => port.spec.occupies(port.netns.as_deref()),
        _ => Vec::new(),
    }
}

impl From<registry::Refusal> for Refusal {
    fn from(refusal: registry::Refusal) -> Self {
        let kind = match refusal.kind {
            registry::RefusalKind::NotFound => RefusalKind::NotFound,
            registry::RefusalKind::Duplicate => RefusalKind::Duplicate,
            registry::RefusalKind::Invalid | registry::RefusalKind::Unsupported => {
                RefusalKind::Invalid
            }
            registry::RefusalKind::Storage => RefusalKind::Unavailable,
            registry::RefusalKind::Conflict => RefusalKind::Conflict,
            registry::RefusalKind::Limit => RefusalKind::Limit,
        };
        Refusal::of_change(refusal.change, kind, refusal.message.clone())
    }
}

impl Appliance {
    /// Carries out a batch, whole or not at all.
    pub(super) fn change(&mut self, changes: &[Change]) -> Result<(), Refusal> {
        let effects = self.registry.apply(changes).map_err(|refusal| {
            let is_single = changes.len() == 1;
            let mut refusal = Refusal::from(refusal);
            if is_single {
                refusal.change = None;
            }
            refusal
        })?;
        let staged = match self.check_room(&effects).and_then(|()| self.stage(&effects)) {
            Ok(staged) => staged,
            Err(refusal) => {
                self.registry.take_back();
                return Err(refusal);
            }
        };
        match self.store.commit(&mut self.registry) {
            Ok(notice) => notice.iter().for_each(|notice| self.tell(EventKind::State, notice)),
            Err(refusal) => {
                for (label, opened) in staged {
                    self.discard(&label, opened);
                }
                let message = format!("not stored, so not done: {}", refusal.message);
                return Err(Refusal::new(RefusalKind::Unavailable, message));
            }
        }
        self.put_in_force(&effects, staged);
        Ok(())
    }

    /// Puts effects in force whose devices are open; what fails now is told and stays registered.
    pub(super) fn put_in_force(&mut self, effects: &[Effect], staged: Staged) {
        let mut staged = staged;
        for effect in effects {
            if let Err(error) = self.publish(effect, &mut staged) {
                self.event(&error.message);
                self.try_later(effect, error);
            }
        }
        // Devices of what the same batch added and removed again.
        for (label, opened) in staged {
            self.discard(&label, opened);
        }
        if let Err(error) = self.publisher.finish() {
            self.event(&error.to_string());
        }
        self.follow_promiscuous();
    }

    /// A port that is open and whose far end could not be set up is set up again with those that could
    /// not be opened.
    fn try_later(&mut self, effect: &Effect, error: Refusal) {
        let label = match effect {
            Effect::AdapterAdded(new) | Effect::AdapterChanged { new, .. }
                if new.shared_port().is_none() =>
            {
                port_label(new)
            }
            Effect::ServerAdded(new) | Effect::ServerChanged { new, .. } => {
                PortLabel::Server(new.network.clone())
            }
            Effect::PortAttached(new) | Effect::PortChanged { new, .. } => {
                PortLabel::Named(new.name.clone())
            }
            _ => return,
        };
        if self.devices.contains_key(&label) {
            let failure = Failure::new(error.message, self.is_restoring);
            self.failed.entry(label).or_insert(failure);
        }
    }

    /// Whether the tables have room for what a batch adds.
    pub(super) fn check_room(&self, effects: &[Effect]) -> Result<(), Refusal> {
        let is_long = |net: &IpNet| matches!(net, IpNet::V4(net) if net.prefix_len() > 24);
        let (mut long, mut macs, mut adapters) = (0, 0, 0);
        for effect in effects {
            match effect {
                Effect::AdapterAdded(new) | Effect::AdapterChanged { new, .. } => {
                    long += new.registered().filter(|net| is_long(net)).count();
                    macs += usize::from(new.mode == Mode::VirtualNetwork);
                    adapters += usize::from(matches!(effect, Effect::AdapterAdded(_)));
                }
                Effect::RouteAdded(route) => long += usize::from(is_long(&route.prefix)),
                // Each address alone, and its prefix.
                Effect::PortAttached(new) | Effect::PortChanged { new, .. } => {
                    let of = |net: &IpNet| 1 + usize::from(is_long(net));
                    long += new.addresses.iter().map(of).sum::<usize>();
                }
                Effect::StaticMacAdded(_) => macs += 1,
                _ => {}
            }
        }
        let limit = |what: &str, left: usize| {
            let message = format!("limit reached: room for {left} more {what}; delete some first");
            Err(Refusal::new(RefusalKind::Limit, message))
        };
        match () {
            () if long > self.publisher.fib_groups_left() => {
                limit("prefixes longer than /24", self.publisher.fib_groups_left())
            }
            () if macs > self.publisher.macs_left() => limit("MACs", self.publisher.macs_left()),
            () if adapters > self.publisher.adapters_left() => {
                limit("adapters", self.publisher.adapters_left())
            }
            () => Ok(()),
        }
    }

    /// Whether the devices that are open can carry what a batch asks of them.
    fn check_mtus(&self, effects: &[Effect]) -> Result<(), Refusal> {
        for effect in effects {
            let (label, mtu) = match effect {
                Effect::AdapterChanged { old, new } if old.mtu != new.mtu => {
                    (port_label(new), new.mtu)
                }
                Effect::PortChanged { old, new } if old.mtu != new.mtu => {
                    (PortLabel::Named(new.name.clone()), new.mtu)
                }
                _ => continue,
            };
            let Some(device) = self.devices.get(&label) else { continue };
            let (least, most) = device.port.mtu_range();
            if !(least..=most).contains(&mtu) {
                let driver = device.port.driver();
                let message =
                    format!("{label}: MTU {mtu} is outside what {driver} takes, {least} to {most}");
                return Err(Refusal::new(RefusalKind::Invalid, message));
            }
        }
        Ok(())
    }

    /// Opens every device that a batch needs; on failure closes those opened.
    fn stage(&mut self, effects: &[Effect]) -> Result<Staged, Refusal> {
        self.check_mtus(effects)?;
        let gateway_mac = self.registry.gateway_mac();
        let mut staged = Staged::new();
        let leaving: Vec<String> = effects.iter().flat_map(released).collect();
        for effect in effects {
            let wanted = match effect {
                Effect::AdapterAdded(adapter) => {
                    Wanted::adapter(adapter).map(|wanted| (port_label(adapter), wanted))
                }
                Effect::ServerAdded(server) => {
                    let label = PortLabel::Server(server.network.clone());
                    Some((label, Wanted::server(server, gateway_mac)))
                }
                Effect::PortAttached(port) => {
                    let label = PortLabel::Named(port.name.clone());
                    Some((label, Wanted::named(port, gateway_mac)))
                }
                _ => None,
            };
            let Some((label, wanted)) = wanted else { continue };
            // What the batch itself takes from another, or adds twice, is opened when that has gone.
            let is_taken_over = wanted.occupies().iter().any(|held| leaving.contains(held));
            if is_taken_over || staged.contains_key(&label) {
                continue;
            }
            match self.open(wanted) {
                Ok(opened) => drop(staged.insert(label, opened)),
                Err(refusal) => {
                    for (label, opened) in staged {
                        self.discard(&label, opened);
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(staged)
    }

    fn publish(&mut self, effect: &Effect, staged: &mut Staged) -> Result<(), Refusal> {
        match effect {
            Effect::AdapterAdded(adapter) => self.adapter_in(adapter, staged),
            Effect::AdapterChanged { old, new } => self.adapter_changed(old, new),
            Effect::AdapterRemoved(adapter) => self.adapter_out(adapter),
            Effect::NetworkAdded(network) => self.told(|p| p.network_up(network)),
            Effect::NetworkChanged { old, new } => {
                if old.attach != new.attach {
                    self.forget_members(old);
                }
                self.told(|p| p.network_change(new))
            }
            Effect::NetworkRemoved(network) => {
                self.forget_members(network);
                self.told(|p| p.network_down(&network.name))
            }
            Effect::ServerAdded(server) => self.server_in(server, staged),
            Effect::ServerChanged { old, new } => self.server_changed(old, new),
            Effect::ServerRemoved(server) => self.server_out(server),
            Effect::PortAttached(port) => self.port_in(port, staged),
            Effect::PortChanged { old, new } => self.port_changed(old, new),
            Effect::PortDetached(port) => self.port_out(port),
            Effect::RouteAdded(route) => self.told(|p| p.route_up(route)),
            Effect::RouteRemoved(route) => {
                self.publisher.route_down(route);
                Ok(())
            }
            Effect::NeighborAdded(neighbor) => {
                self.fix_neighbor(neighbor);
                Ok(())
            }
            Effect::NeighborRemoved(neighbor) => {
                self.release_neighbor(neighbor);
                Ok(())
            }
            Effect::StaticMacAdded(fixed) => self.told(|p| p.static_mac_up(fixed)),
            Effect::StaticMacRemoved(fixed) => {
                self.publisher.static_mac_down(fixed);
                Ok(())
            }
            Effect::ClassAdded(class) => self.class_in(class),
            Effect::ClassChanged { old, new } => self.class_changed(old, new),
            Effect::ClassRemoved(class) => self.class_out(class),
            Effect::GuestAdded(_) | Effect::GuestRemoved(_) => Ok(()),
        }
    }

    pub(super) fn told(
        &mut self,
        tell: impl FnOnce(&mut publish::Publisher<dataplane::dpdk::DpdkIo>) -> Result<(), PublishError>,
    ) -> Result<(), Refusal> {
        let told = tell(&mut self.publisher);
        told.map_err(|error| Refusal::new(RefusalKind::Internal, error.to_string()))
    }
}
