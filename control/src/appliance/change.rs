//! Carries out an accepted change: devices open first, then it is on disk, then it is in force.
//!
//! A batch is one transaction. What can fail is tried before anything is answered or published: the
//! registry refuses contradictions, devices are opened while nobody polls them, the snapshot is
//! written. Only then do tables and records change. A failure on the way takes everything back.

use super::device::{Opened, Wanted};
use super::{Appliance, Failure};
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::PortLabel;
use crate::model::{Change, Mode, PortRole};
use crate::publish::{self, PublishError, port_label};
use crate::registry::{self, Adapter, Effect, Port, ServerPort};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;

type Staged = BTreeMap<PortLabel, Opened>;

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
        if let Err(error) = self.store.save(&self.registry) {
            self.registry.take_back();
            for (label, opened) in staged {
                self.discard(&label, opened);
            }
            let message = format!("not stored, so not done: {error}");
            return Err(Refusal::new(RefusalKind::Unavailable, message));
        }
        self.registry.settle();
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
    fn check_room(&self, effects: &[Effect]) -> Result<(), Refusal> {
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
            Effect::GuestAdded(_)
            | Effect::GuestRemoved(_)
            | Effect::ClassAdded(_)
            | Effect::ClassRemoved(_) => Ok(()),
        }
    }

    fn told(
        &mut self,
        tell: impl FnOnce(&mut publish::Publisher<dataplane::dpdk::DpdkIo>) -> Result<(), PublishError>,
    ) -> Result<(), Refusal> {
        let told = tell(&mut self.publisher);
        told.map_err(|error| Refusal::new(RefusalKind::Internal, error.to_string()))
    }

    /// The port of something that joins: opened before, or now where its predecessor was in the way.
    fn ensure_open(
        &mut self,
        label: &PortLabel,
        staged: &mut Staged,
        wanted: Option<Wanted<'_>>,
    ) -> Result<(), Refusal> {
        let opened = match (staged.remove(label), wanted) {
            _ if self.devices.contains_key(label) => return Ok(()),
            (Some(opened), _) => opened,
            (None, Some(wanted)) => self.open(wanted).inspect_err(|refusal| {
                self.failed
                    .insert(label.clone(), Failure::new(&refusal.message, self.is_restoring));
            })?,
            (None, None) => return Ok(()),
        };
        self.install(label, opened)
    }

    pub(super) fn adapter_in(
        &mut self,
        adapter: &Arc<Adapter>,
        staged: &mut Staged,
    ) -> Result<(), Refusal> {
        self.ensure_open(&port_label(adapter), staged, Wanted::adapter(adapter))?;
        if self.publisher.adapter_id(&adapter.key()).is_some() {
            // It is up already, with its shared port or before its kernel end could be set up.
            return self.configure_adapter(adapter);
        }
        self.told(|p| p.adapter_up(adapter))?;
        if let Some(id) = self.publisher.adapter_id(&adapter.key()) {
            self.cleared_adapters.insert(id, self.raw_adapter_counts(id));
        }
        self.claim_adapter(None, Some(adapter), true);
        self.configure_adapter(adapter)
    }

    fn adapter_changed(&mut self, old: &Arc<Adapter>, new: &Arc<Adapter>) -> Result<(), Refusal> {
        if new.mtu != old.mtu && new.shared_port().is_none() {
            self.set_device_mtu(&port_label(new), new.mtu)?;
        }
        if new.mac != old.mac
            && new.spec.is_tap()
            && let Some(device) = self.devices.get_mut(&port_label(new))
        {
            let set = device.port.set_mac(new.mac);
            set.map_err(|e| Refusal::new(RefusalKind::Conflict, e.to_string()))?;
        }
        if (old.mode, &old.network, old.mac) != (new.mode, &new.network, new.mac) {
            self.forget_behind(&port_label(old));
        }
        self.told(|p| p.adapter_change(new))?;
        self.claim_adapter(Some(old), Some(new), true);
        let is_guest_side_same = old.mode == new.mode
            && old.addresses == new.addresses
            && old.gateways == new.gateways
            && old.mac == new.mac
            && old.mtu == new.mtu;
        if is_guest_side_same { Ok(()) } else { self.configure_adapter(new) }
    }

    fn adapter_out(&mut self, adapter: &Arc<Adapter>) -> Result<(), Refusal> {
        let result = self.adapter_withdraw(adapter);
        if adapter.shared_port().is_none() {
            let label = port_label(adapter);
            self.remove_port(&label, true);
            self.failed.remove(&label);
        }
        result
    }

    /// Takes an adapter out of every table; its port stays open.
    pub(super) fn adapter_withdraw(&mut self, adapter: &Arc<Adapter>) -> Result<(), Refusal> {
        self.claim_adapter(Some(adapter), None, false);
        if adapter.shared_port().is_none() {
            self.forget_behind(&port_label(adapter));
        }
        self.told(|p| p.adapter_down(&adapter.key()))
    }

    pub(super) fn server_in(
        &mut self,
        server: &Arc<ServerPort>,
        staged: &mut Staged,
    ) -> Result<(), Refusal> {
        let label = PortLabel::Server(server.network.clone());
        if !self.devices.contains_key(&label) {
            let wanted = Wanted::server(server, self.registry.gateway_mac());
            self.ensure_open(&label, staged, Some(wanted))?;
            if let Err(refusal) = self.told(|p| p.server_up(server)) {
                self.server_withdraw(server)?;
                self.close_again(&label, &refusal);
                return Err(refusal);
            }
        }
        self.configure_server(server)
    }

    fn server_changed(&mut self, old: &ServerPort, new: &Arc<ServerPort>) -> Result<(), Refusal> {
        if old.spec != new.spec {
            self.server_out(old)?;
            return self.server_in(new, &mut Staged::new());
        }
        self.server_withdraw(old)?;
        self.told(|p| p.server_up(new))?;
        self.configure_server(new)
    }

    /// Takes the server's port on a network out of every table; it stays open.
    pub(super) fn server_withdraw(&mut self, server: &ServerPort) -> Result<(), Refusal> {
        self.forget_behind(&PortLabel::Server(server.network.clone()));
        self.told(|p| p.server_down(server))
    }

    fn server_out(&mut self, server: &ServerPort) -> Result<(), Refusal> {
        let label = PortLabel::Server(server.network.clone());
        let result = self.server_withdraw(server);
        self.remove_port(&label, true);
        self.failed.remove(&label);
        result
    }

    pub(super) fn port_in(&mut self, port: &Arc<Port>, staged: &mut Staged) -> Result<(), Refusal> {
        let label = PortLabel::Named(port.name.clone());
        if !self.devices.contains_key(&label) {
            let wanted = Wanted::named(port, self.registry.gateway_mac());
            self.ensure_open(&label, staged, Some(wanted))?;
            if let Err(refusal) = self.port_publish(port) {
                self.port_withdraw(port)?;
                self.close_again(&label, &refusal);
                return Err(refusal);
            }
            if !port.started {
                self.pause(&label);
            }
        }
        if port.role == PortRole::Uplink {
            self.refresh_host()?;
        }
        self.configure_named(port)
    }

    /// Puts a named port that has just opened into every table.
    fn port_publish(&mut self, port: &Arc<Port>) -> Result<(), Refusal> {
        match port.role {
            PortRole::Uplink => {
                self.told(|p| p.uplink_up(port))?;
                self.claim_uplink(port);
            }
            PortRole::Host => self.told(|p| p.host_up(&port.name))?,
            PortRole::Shared => self.shared_in(&port.name),
        }
        Ok(())
    }

    /// A port that opened and could not be put in force: closed, to be tried whole again.
    fn close_again(&mut self, label: &PortLabel, refusal: &Refusal) {
        self.remove_port(label, false);
        self.failed.insert(label.clone(), Failure::new(&refusal.message, self.is_restoring));
    }

    fn port_out(&mut self, port: &Arc<Port>) -> Result<(), Refusal> {
        let label = PortLabel::Named(port.name.clone());
        let result = self.port_withdraw(port);
        self.remove_port(&label, true);
        self.failed.remove(&label);
        if port.role == PortRole::Uplink {
            self.refresh_host()?;
        }
        result
    }

    /// Takes a named port out of every table; it stays open.
    pub(super) fn port_withdraw(&mut self, port: &Arc<Port>) -> Result<(), Refusal> {
        match port.role {
            PortRole::Uplink => {
                self.forget_port_neighbors(&PortLabel::Named(port.name.clone()));
                self.told(|p| p.uplink_down(port))
            }
            PortRole::Host => self.told(|p| p.host_down()),
            PortRole::Shared => {
                self.hanging_on(&port.name).iter().try_for_each(|adapter| {
                    match self.publisher.adapter_id(&adapter.key()) {
                        Some(_) => self.adapter_withdraw(adapter),
                        None => Ok(()),
                    }
                })
            }
        }
    }

    /// A shared port opens, and with it whoever hangs on it: at the start, after a loss, and those
    /// who were registered while it was away.
    fn shared_in(&mut self, name: &Name) {
        for adapter in self.hanging_on(name) {
            if let Err(refusal) = self.adapter_in(&adapter, &mut Staged::new()) {
                self.event(&refusal.message);
            }
        }
    }

    fn hanging_on(&self, name: &Name) -> Vec<Arc<Adapter>> {
        self.registry.adapters_on(name).cloned().collect()
    }

    fn port_changed(&mut self, old: &Arc<Port>, new: &Arc<Port>) -> Result<(), Refusal> {
        let label = PortLabel::Named(new.name.clone());
        if old.mtu != new.mtu {
            self.set_device_mtu(&label, new.mtu)?;
            self.configure_named(new)?;
        }
        match (old.started, new.started) {
            (true, false) => self.pause(&label),
            (false, true) => self.resume(&label, &new.workers),
            (true, true) if old.workers != new.workers => {
                self.pause(&label);
                self.resume(&label, &new.workers);
            }
            _ => {}
        }
        Ok(())
    }

    fn set_device_mtu(&mut self, label: &PortLabel, mtu: u16) -> Result<(), Refusal> {
        let Some(device) = self.devices.get_mut(label) else { return Ok(()) };
        let set = device.port.set_mtu(mtu);
        set.map_err(|error| Refusal::new(RefusalKind::Conflict, error.to_string()))?;
        self.told(|p| p.set_port_mtu(label, mtu))
    }

    fn pause(&mut self, label: &PortLabel) {
        match self.publisher.pause_port(label) {
            Ok(queues) => {
                if let Some(device) = self.devices.get_mut(label) {
                    device.paused = Some(queues);
                }
            }
            Err(error) => self.event(&format!("port {label}: {error}")),
        }
    }

    fn resume(&mut self, label: &PortLabel, workers: &[Option<usize>]) {
        let Some(queues) = self.devices.get_mut(label).and_then(|device| device.paused.take())
        else {
            return;
        };
        let count = u16::try_from(queues.rx.len()).unwrap_or(1);
        let assignment = self.assign(count, workers);
        if let Err(error) = self.publisher.resume_port(label, queues, assignment) {
            self.event(&format!("port {label}: {error}"));
        }
    }

    /// The uplinks' addresses are the server's: its kernel's end follows them.
    fn refresh_host(&mut self) -> Result<(), Refusal> {
        match self.registry.host_port().cloned() {
            Some(host) => self.configure_named(&host),
            None => Ok(()),
        }
    }
}
