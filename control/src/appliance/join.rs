//! What joins, changes and leaves: adapters, the server's ports on networks, named ports. Each puts one
//! thing into the tables or takes it out, its device with it.

use super::change::Staged;
use super::device::Wanted;
use super::{Appliance, Failure};
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::PortLabel;
use crate::model::{Name, PortRole};
use crate::publish::port_label;
use crate::registry::{Adapter, Port, ServerPort};
use std::sync::Arc;

impl Appliance {
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
            self.begin_adapter(id);
            self.account_begins(&adapter.key(), id);
        }
        self.claim_adapter(None, Some(adapter), true);
        self.configure_adapter(adapter)
    }

    pub(super) fn adapter_changed(
        &mut self,
        old: &Arc<Adapter>,
        new: &Arc<Adapter>,
    ) -> Result<(), Refusal> {
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

    pub(super) fn adapter_out(&mut self, adapter: &Arc<Adapter>) -> Result<(), Refusal> {
        let result = self.adapter_withdraw(adapter);
        if adapter.shared_port().is_none() {
            let label = port_label(adapter);
            self.remove_port(&label, true);
            self.failed.remove(&label);
        }
        // One that the same batch adds again under its name goes on with its account.
        if self.registry.adapter_by_key(&adapter.key()).is_none() {
            self.accounts.forget(&adapter.key());
        }
        result
    }

    /// Takes an adapter out of every table; its port stays open.
    pub(super) fn adapter_withdraw(&mut self, adapter: &Arc<Adapter>) -> Result<(), Refusal> {
        self.claim_adapter(Some(adapter), None, false);
        if adapter.shared_port().is_none() {
            self.forget_behind(&port_label(adapter));
        }
        self.account_pauses(&adapter.key());
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

    pub(super) fn server_changed(
        &mut self,
        old: &ServerPort,
        new: &Arc<ServerPort>,
    ) -> Result<(), Refusal> {
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

    pub(super) fn server_out(&mut self, server: &ServerPort) -> Result<(), Refusal> {
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

    pub(super) fn port_out(&mut self, port: &Arc<Port>) -> Result<(), Refusal> {
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

    pub(super) fn port_changed(&mut self, old: &Arc<Port>, new: &Arc<Port>) -> Result<(), Refusal> {
        let label = PortLabel::Named(new.name.clone());
        if old.mtu != new.mtu {
            self.set_device_mtu(&label, new.mtu)?;
        }
        if new.role == PortRole::Uplink {
            self.uplink_changed(old, new)?;
        }
        if (old.mtu, old.configure) != (new.mtu, new.configure) {
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

    /// An uplink's addresses, gateway or probing change: tables first, then who is answered for, then the
    /// server's own end.
    fn uplink_changed(&mut self, old: &Arc<Port>, new: &Arc<Port>) -> Result<(), Refusal> {
        let has_moved = (&old.addresses, &old.gateways) != (&new.addresses, &new.gateways);
        if has_moved && let Err(refusal) = self.told(|p| p.uplink_change(new)) {
            self.port_withdraw(new)?;
            self.close_again(&PortLabel::Named(new.name.clone()), &refusal);
            return Err(refusal);
        }
        if has_moved || old.probe != new.probe {
            // By what it is at the batch's end: a guest that joins meanwhile is probed by that.
            let last = self.registry.port(&new.name).unwrap_or(new).clone();
            self.reclaim_uplink(old, &last);
        }
        if old.addresses != new.addresses { self.refresh_host() } else { Ok(()) }
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
