//! What changes by itself: links, devices that go away, devices that come back.

use super::{Appliance, Failure};
use crate::api::view::EventKind;
use crate::api::view::PortLabel;
use crate::registry::{Adapter, Port, ServerPort};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// What a port label stands for in the registry.
enum Noun {
    Adapter(Arc<Adapter>),
    Server(Arc<ServerPort>),
    Named(Arc<Port>),
}

impl Appliance {
    /// Looks at every device once: lost ones are taken out, link changes are told and acted on.
    pub(super) fn look_at_links(&mut self) {
        let labels: Vec<PortLabel> = self.devices.keys().cloned().collect();
        for label in labels {
            self.tell_events(&label);
            let Some(device) = self.devices.get_mut(&label) else { continue };
            if device.port.is_lost() {
                self.lose(&label);
                continue;
            }
            if device.interface.is_some() && device.port.kernel_interface().is_none() {
                // Moved to a namespace where we can't see its carrier.
                device.is_up = None;
                continue;
            }
            let is_up = device.port.link().map(|link| link.up).unwrap_or(false);
            let before = device.is_up.replace(is_up);
            let connects = device.port.vhost_state().map_or(0, |state| state.connects);
            let is_another = std::mem::replace(&mut device.connects, connects) != connects;
            if before != Some(is_up) {
                self.link_changed(&label, before, is_up);
            } else if is_up && is_another {
                // Gone and back between two looks.
                self.link_changed(&label, Some(false), true);
            }
        }
    }

    /// What a port has to say of its guest.
    fn tell_events(&mut self, label: &PortLabel) {
        let events = self.devices.get(label).map(|device| device.port.take_events());
        for event in events.unwrap_or_default() {
            self.tell(EventKind::Guest, &format!("port {label}: {event}"));
        }
        if self.devices.get(label).is_some_and(|device| device.port.take_moved()) {
            self.tell(EventKind::Guest, &format!("port {label}: its guest was migrated here"));
            self.announce_port(label);
        }
    }

    fn link_changed(&mut self, label: &PortLabel, before: Option<bool>, is_up: bool) {
        if before.is_some() {
            let text = format!("port {label}: link {}", if is_up { "up" } else { "down" });
            self.tell(EventKind::Link, &text);
        }
        if is_up && before == Some(false) {
            self.announce_port(label);
        }
    }

    /// A device went away while it was in use: its port closes, everything else goes on, and it is
    /// tried again until it is back or deregistered.
    fn lose(&mut self, label: &PortLabel) {
        let problem = "its device has gone away";
        self.event(&format!("port {label}: {problem}; trying again until it is back"));
        let withdrawn = match self.noun(label) {
            Some(Noun::Adapter(adapter)) => self.adapter_withdraw(&adapter),
            Some(Noun::Server(server)) => self.server_withdraw(&server),
            Some(Noun::Named(port)) => self.port_withdraw(&port),
            None => Ok(()),
        };
        if let Err(refusal) = withdrawn {
            self.event(&refusal.message);
        }
        self.remove_port(label, false);
        self.failed.insert(label.clone(), Failure::new(problem, false));
    }

    /// Tries the failed device again whose turn is longest overdue: one at a time, because opening one
    /// takes a while.
    pub(super) fn retry_failed(&mut self) {
        let now = Instant::now();
        let overdue = self.failed.iter().filter(|(_, failure)| failure.due <= now);
        let next = overdue.min_by_key(|(_, failure)| failure.due);
        let Some(label) = next.map(|(label, _)| label.clone()) else { return };
        let Some(before) = self.failed.remove(&label) else { return };
        self.is_restoring = before.since_start;
        let mut staged = BTreeMap::new();
        let result = match self.noun(&label) {
            Some(Noun::Adapter(adapter)) => self.adapter_in(&adapter, &mut staged),
            Some(Noun::Server(server)) => self.server_in(&server, &mut staged),
            Some(Noun::Named(port)) => self.port_in(&port, &mut staged),
            None => Ok(()),
        };
        self.is_restoring = false;
        match result {
            Ok(()) => {
                self.tell(EventKind::Link, &format!("port {label}: open"));
                if let Err(error) = self.publisher.finish() {
                    self.event(&error.to_string());
                }
                self.follow_promiscuous();
            }
            Err(refusal) => {
                if refusal.message != before.why {
                    self.event(&refusal.message);
                }
                self.failed.insert(label, Failure::new(refusal.message, before.since_start));
            }
        }
    }

    /// A NIC takes every frame only while a network hangs on it.
    pub(super) fn follow_promiscuous(&mut self) {
        let uplinks: Vec<_> = self.registry.uplinks().map(|port| port.name.clone()).collect();
        for name in uplinks {
            let wanted = self.publisher.wants_promiscuous(&name);
            let Some(device) = self.devices.get_mut(&PortLabel::Named(name.clone())) else {
                continue;
            };
            // A tap sees every frame anyway, and its kernel end is not ours to change.
            let is_due = !device.spec.is_tap() && device.port.is_promiscuous() != wanted;
            if is_due && let Err(error) = device.port.set_promiscuous(wanted) {
                self.event(&format!("port {name}: {error}"));
            }
        }
    }

    fn noun(&self, label: &PortLabel) -> Option<Noun> {
        match label {
            PortLabel::Named(name) => self.registry.port(name).cloned().map(Noun::Named),
            PortLabel::Server(network) => self.registry.server(network).cloned().map(Noun::Server),
            PortLabel::Adapter(label) => {
                self.registry.adapter(&label.guest, &label.adapter).cloned().map(Noun::Adapter)
            }
        }
    }
}
