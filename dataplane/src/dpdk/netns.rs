//! Network namespaces: run something inside one and come back.
//!
//! An interface is born in the namespace of the thread that makes it, so a tap for a container is
//! attached from inside. Only the calling thread moves.

use nix::sched::{CloneFlags, setns};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Which network namespace.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Netns {
    /// A name as `ip netns` knows it: a file in /run/netns.
    Name(String),
    /// A file that names one, such as /proc/PID/ns/net.
    Path(PathBuf),
    /// That of a process.
    Pid(u32),
}

impl Netns {
    /// The file that names it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Name(name) => PathBuf::from("/run/netns").join(name),
            Self::Path(path) => path.clone(),
            Self::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(out, "netns {name}"),
            Self::Path(path) => write!(out, "netns {}", path.display()),
            Self::Pid(pid) => write!(out, "netns of process {pid}"),
        }
    }
}

/// Why a namespace could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// It doesn't exist or may not be opened.
    #[error("{netns}: {source} ({})", netns.path().display())]
    Open {
        /// Which one.
        netns: Netns,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is no network namespace, or the right to enter it is missing.
    #[error("{netns}: can't enter it: {source}")]
    Enter {
        /// Which one.
        netns: Netns,
        /// The system's reason.
        source: io::Error,
    },
    /// The thread's own namespace could not be named or entered again.
    #[error("own network namespace: {0}")]
    Own(io::Error),
}

/// Puts the thread back, also when the closure unwinds.
struct WayBack {
    own: File,
}

impl Drop for WayBack {
    fn drop(&mut self) {
        if setns(&self.own, CloneFlags::CLONE_NEWNET).is_err() {
            // A control thread lost in a guest's namespace would configure the wrong host from now
            // on. Entering the namespace that the thread came from can't fail while `own` is open.
            std::process::abort();
        }
    }
}

/// Runs `inside` in `netns` on the calling thread and comes back, also when it unwinds. `None` runs
/// it where the thread is.
pub fn run_in<T>(netns: Option<&Netns>, inside: impl FnOnce() -> T) -> Result<T, NetnsError> {
    let Some(netns) = netns else { return Ok(inside()) };
    let own = File::open("/proc/thread-self/ns/net").map_err(NetnsError::Own)?;
    let target = File::open(netns.path())
        .map_err(|source| NetnsError::Open { netns: netns.clone(), source })?;
    setns(&target, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| NetnsError::Enter { netns: netns.clone(), source: errno.into() })?;
    let way_back = WayBack { own };
    let result = inside();
    drop(way_back);
    Ok(result)
}
