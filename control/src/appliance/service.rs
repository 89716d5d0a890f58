//! The appliance as a service: workers that stand still, what the service manager is told, and SIGHUP.

use super::Appliance;
use crate::api::view::EventKind;
use crate::config::{self, Config};
use crate::manager::Manager;
use crate::model::{Name, PortWish};
use crate::privileges::syscalls;
use std::fmt::Write;
use std::sync::atomic::Ordering;

impl Appliance {
    /// From here on there are the system calls that forwarding and live changes need, and no others.
    pub(super) fn confine(&self) -> Result<(), syscalls::ConfineError> {
        let is_xdp = |(_, wish): &(Name, PortWish)| wish.device.starts_with("net_af_xdp");
        let bpf = self.config.ports.iter().any(is_xdp);
        syscalls::confine(syscalls::Extras { bpf })
    }

    /// Tells the service manager, where there is one, that the start is done.
    pub(super) fn tell_ready(&mut self) {
        match Manager::from_env() {
            Ok(manager) => self.manager = manager,
            Err(error) => self.event(&format!("NOTIFY_SOCKET: {error}; nobody is told")),
        }
        let status = self.status();
        self.manager.ready(&status);
    }

    /// Tells of workers that stand still, and of those that go on again.
    pub(super) fn look_at_workers(&mut self) {
        let now_ms = self.now_ms();
        let ends = self.publisher.workers.ends();
        let loops = ends.iter().map(|end| end.stats().loops.load(Ordering::Relaxed));
        for event in self.beats.look(now_ms, loops) {
            if let Some(end) = self.publisher.workers.ends().get(event.worker()) {
                self.tell(EventKind::Worker, &format!("worker on core {} {event}", end.core));
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

    /// What `config apply` does, unless the file registers what it did: changes made live since are meant to
    /// stay then.
    fn take_over(&mut self, config: Config) {
        let file = config.file.display().to_string();
        let is_same = self.registry.imported() == Some(config.fingerprint())
            && self.config.ports == config.ports;
        let done = match self.apply_config(&config, is_same) {
            Ok(done) => done,
            Err(refusal) => return self.event(&format!("reload: {}", refusal.message)),
        };
        let tell = |text: &str| self.tell(EventKind::State, &format!("reload: {text}"));
        done.at_start.iter().for_each(|line| tell(line));
        if is_same {
            return self
                .event(&format!("reload: {file} registers what it did; nothing was changed"));
        }
        self.event(&format!("reload: {file} was taken over, {} differences", done.lines.len()));
        done.lines.iter().for_each(|line| tell(line));
        self.config.ports = config.ports;
        self.config.initial = config.initial;
    }
}
