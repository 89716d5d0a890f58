//! The service manager's end of sd_notify(3): what a service tells it.

use crate::lab::Lab;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A service manager that listens.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ServiceManager {
    /// Listens in the lab.
    pub fn new(lab: &Lab) -> Self {
        let path = lab.dir().join("notify.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self { socket, path }
    }

    /// What it puts into a service's environment; `watchdog` is the time after which it would end one that
    /// it does not hear from.
    pub fn environment(&self, watchdog: Duration) -> Vec<(&'static str, String)> {
        let path = self.path.display().to_string();
        vec![("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", watchdog.as_micros().to_string())]
    }

    /// The next that it is told within `limit`.
    pub fn hear(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).expect("a limit");
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).expect("text"))
    }

    /// All that it is told from now on for so long.
    pub fn hear_for(&self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let left = || end.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| (!left().is_zero()).then(|| self.hear(left())).flatten()).collect()
    }

    /// Waits for something that begins so.
    #[track_caller]
    pub fn hears(&self, begin: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        let mut others = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.hear(left) {
                Some(told) if told.starts_with(begin) => return told,
                Some(told) => others.push(told),
                None => panic!("{begin} is not told within {limit:?}, but {others:?}"),
            }
        }
    }
}
