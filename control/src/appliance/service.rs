//! The appliance as a service: workers that stand still, what the service manager is told, and SIGHUP.

use super::Appliance;
use crate::config::{self, Config, Difference};
use crate::registry::Origin;
use std::fmt::Write;
use std::sync::atomic::Ordering;

impl Appliance {
    /// Tells of workers that stand still, and of those that go on again.
    pub(super) fn look_at_workers(&mut self) {
        let now_ms = self.now_ms();
        let ends = self.publisher.workers.ends();
        let loops = ends.iter().map(|end| end.stats().loops.load(Ordering::Relaxed));
        for event in self.beats.look(now_ms, loops) {
            if let Some(end) = self.publisher.workers.ends().get(event.worker()) {
                self.event(&format!("worker on core {} {event}", end.core));
            }
        }
    }

    /// The watchdog is fed while control turns and every worker does.
    pub(super) fn feed_watchdog(&mut self) {
        self.manager.feed(self.now_ms(), self.beats.are_all_in_time());
    }

    /// Tells the service manager how it is, where that has changed.
    pub(super) fn tell_status(&mut self) {
        if self.manager.is_there() {
            let status = self.status();
            self.manager.status(&status);
        }
    }

    /// How it is, in one line.
    pub(super) fn status(&self) -> String {
        let mut status = String::from(if self.is_forwarding { "forwarding" } else { "stopped" });
        let (guests, ports) = (self.registry.guests().count(), self.devices.len());
        // Writing to a string can't fail.
        let _ = write!(status, "; guests: {guests}, ports: {ports}");
        if !self.failed.is_empty() {
            let _ = write!(status, ", failed ports: {}", self.failed.len());
        }
        let ends = self.publisher.workers.ends().iter().enumerate();
        for (_, end) in ends.filter(|(at, _)| self.beats.is_late(*at)) {
            let _ = write!(status, "; worker on core {} is late", end.core);
        }
        status
    }

    /// SIGHUP: the configuration file is read again, and what it registers is put in force.
    pub(super) fn reload(&mut self) {
        self.manager.reloading();
        match config::load(&self.config.file) {
            Ok(config) => self.take_over(config),
            Err(errors) => {
                errors.iter().for_each(|error| self.event(&error.to_string()));
                self.event("reload: the file has errors; nothing was changed");
            }
        }
        let status = self.status();
        self.manager.ready(&status);
    }

    /// Makes what is registered what a file says, as one batch. What is read at the start only is told.
    fn take_over(&mut self, config: Config) {
        let file = config.file.display().to_string();
        let diff = match config::diff(&config, &self.registry) {
            Ok(diff) => diff,
            Err(refusal) => return self.event(&format!("reload: nothing was changed: {refusal}")),
        };
        let (ports, others): (Vec<_>, Vec<_>) =
            diff.differences.iter().partition(|one| one.what.starts_with("port "));
        for key in self.config.appliance.differing_keys(&config.appliance) {
            self.event(&format!("reload: [appliance] {key} has changed, which takes a restart"));
        }
        for port in ports.into_iter().filter(|port| !self.is_live_port(port)) {
            self.event(&format!("reload: takes a restart: {port}"));
        }
        let fingerprint = config.fingerprint();
        // Changes made live since it was taken over are meant to stay.
        if self.registry.imported() == Some(fingerprint) {
            return self
                .event(&format!("reload: {file} registers what it did; nothing was changed"));
        }
        if let Err(refusal) = self.change(&diff.changes) {
            return self.event(&format!("reload: nothing was changed: {}", refusal.message));
        }
        self.event(&format!("reload: {file} was taken over, {} differences", others.len()));
        others.iter().for_each(|one| self.event(&format!("reload: {one}")));
        self.config.ports = config.ports;
        self.config.initial = config.initial;
        self.registry.set_imported(fingerprint);
        if let Err(error) = self.store.save(&self.registry) {
            // What was changed is stored; that it came from the file is not, and the next start says so.
            self.event(&error.to_string());
        }
    }

    /// Whether a difference is only that a port was attached by a command: no file has to name it.
    fn is_live_port(&self, difference: &Difference) -> bool {
        let is_of_operator = |name: &str| {
            let mut ports = self.registry.ports();
            ports.any(|port| port.name.as_str() == name && port.origin == Origin::Operator)
        };
        difference.file.is_none()
            && difference.what.strip_prefix("port ").is_some_and(is_of_operator)
    }
}
