//! What the service manager is told: that we are ready, that we reload or stop, how we are, and that we are
//! alive (sd_notify(3), sd_watchdog_enabled(3)).
//!
//! Told by the standard library alone: the crates for it send on a socket that blocks, and a manager that does
//! not read must not hold up ARP and changes. What can't be sent now is lost; the next is sent again.
//!
//! Invariant: time is an argument, milliseconds on any monotonic clock.

use nix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, or nobody where we were not started by one.
#[derive(Debug, Default)]
pub struct Manager {
    way: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Watchdog>,
    /// As last told.
    status: String,
}

/// When the manager wants to hear that we are alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Watchdog {
    every_ms: u64,
    due_ms: u64,
}

impl Watchdog {
    /// `limit_us` as the manager gives it; told at half of it, as sd_watchdog_enabled(3) advises.
    fn new(limit_us: u64) -> Self {
        Self { every_ms: (limit_us / 2000).max(1), due_ms: 0 }
    }

    /// Whether it is to be told now: it is time, and all is well.
    fn take_turn(&mut self, now_ms: u64, is_well: bool) -> bool {
        let is_due = is_well && now_ms >= self.due_ms;
        if is_due {
            self.due_ms = now_ms + self.every_ms;
        }
        is_due
    }
}

impl Manager {
    /// The one that started this process, by NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
    ///
    /// # Errors
    /// It named a socket that can't be one.
    pub fn from_env() -> io::Result<Self> {
        let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return Ok(Self::default()) };
        let number = |key: &str| env::var(key).ok()?.parse::<u64>().ok();
        // The limit may be meant for a process before us.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit_us = number("WATCHDOG_USEC").filter(|limit| *limit > 0 && is_ours);
        Self::new(&socket, limit_us)
    }

    fn new(socket: &OsStr, watchdog_us: Option<u64>) -> io::Result<Self> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        let way = UnixDatagram::unbound()?;
        way.set_nonblocking(true)?;
        let watchdog = watchdog_us.map(Watchdog::new);
        Ok(Self { way: Some((way, address)), watchdog, status: String::new() })
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.way.is_some()
    }

    /// The start, or a reload, is done.
    pub fn ready(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins. It ends with [`Manager::ready`].
    pub fn reloading(&self) {
        // What a manager from systemd 253 on asks for with it, to tell which reload ends.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
        let now_us = now.map_or(0, |now| now.as_micros());
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// How we are, in one line; told where it is not what was told last.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.tell(&format!("STATUS={status}"));
        }
    }

    /// Feeds the watchdog when it is time, unless something is wrong. Called in each of control's turns, so
    /// that it is not fed either while control hangs.
    pub fn feed(&mut self, now_ms: u64, is_well: bool) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.take_turn(now_ms, is_well)) {
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, what: &str) {
        if let Some((way, address)) = &self.way {
            // A manager that is gone or doesn't read is no reason to stop forwarding.
            let _ = way.send_to_addr(what.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    fn pair(watchdog_us: Option<u64>) -> (tempfile::TempDir, UnixDatagram, Manager) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let told = Manager::new(path.as_os_str(), watchdog_us).unwrap();
        (dir, manager, told)
    }

    #[test]
    fn readiness_reload_and_end_are_told_in_the_managers_words() {
        let (_dir, manager, mut told) = pair(None);
        told.ready("forwarding");
        assert_eq!(heard(&manager).unwrap(), "READY=1\nSTATUS=forwarding");
        told.reloading();
        let reloading = heard(&manager).unwrap();
        let now_us = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(now_us.parse::<u64>().unwrap() > 0, "{reloading}");
        told.stopping();
        assert!(heard(&manager).unwrap().starts_with("STOPPING=1\n"));
    }

    #[test]
    fn a_status_is_told_when_it_changes() {
        let (_dir, manager, mut told) = pair(None);
        told.ready("1 guest");
        assert!(heard(&manager).is_some());
        told.status("1 guest");
        assert_eq!(heard(&manager), None);
        told.status("2 guests");
        assert_eq!(heard(&manager).unwrap(), "STATUS=2 guests");
    }

    #[test]
    fn the_watchdog_is_fed_at_half_its_limit_and_only_while_all_is_well() {
        let (_dir, manager, mut told) = pair(Some(2_000_000));
        let mut fed_at = Vec::new();
        for now_ms in (0..10_000).step_by(4) {
            told.feed(now_ms, !(3_500..6_300).contains(&now_ms));
            fed_at.extend(heard(&manager).map(|said| (now_ms, said)));
        }
        let times: Vec<u64> = fed_at.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 1_000, 2_000, 3_000, 6_300, 7_300, 8_300, 9_300]);
        assert!(fed_at.iter().all(|(_, said)| said == "WATCHDOG=1"));
    }

    #[test]
    fn without_a_limit_nothing_is_fed_and_without_a_manager_nothing_is_said() {
        let (_dir, manager, mut told) = pair(None);
        told.feed(0, true);
        assert_eq!(heard(&manager), None);
        let mut nobody = Manager::default();
        assert!(!nobody.is_there());
        nobody.ready("");
        nobody.feed(0, true);
    }

    #[test]
    fn a_manager_that_does_not_read_or_goes_away_holds_nobody_up() {
        let (dir, manager, mut told) = pair(Some(2));
        (0..100_000).for_each(|now_ms| told.feed(now_ms, true));
        drop((manager, dir));
        told.ready("");
    }

    #[test]
    fn an_abstract_name_is_one_with_an_at() {
        let name = format!("guestway-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let mut told = Manager::new(OsStr::new(&format!("@{name}")), None).unwrap();
        told.ready("");
        assert_eq!(heard(&manager).unwrap(), "READY=1\nSTATUS=");
        assert!(Manager::new(OsStr::new(&"x".repeat(200)), None).is_err());
    }
}
