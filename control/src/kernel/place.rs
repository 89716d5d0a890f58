//! Where an interface is: a network namespace.

use super::error::Trouble;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A network namespace.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// The caller's own.
    Here,
    /// A name as `ip netns` knows it: a file in /run/netns.
    Name(String),
    /// A file that names one, such as /proc/PID/ns/net.
    Path(PathBuf),
    /// That of a process.
    Pid(u32),
}

impl Place {
    /// The file that names it; none for the caller's own.
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Here => None,
            Self::Name(name) => Some(PathBuf::from("/run/netns").join(name)),
            Self::Path(path) => Some(path.clone()),
            Self::Pid(pid) => Some(PathBuf::from(format!("/proc/{pid}/ns/net"))),
        }
    }

    /// Moves the calling thread there, for good.
    pub(super) fn enter(&self) -> Result<(), Trouble> {
        let Some(path) = self.path() else { return Ok(()) };
        // Without waiting: the path may name a pipe that nobody writes to.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Trouble::NoPlace { path, reason: reason(&error) });
            }
            Err(error) => return Err(Trouble::Closed { path, reason: reason(&error) }),
        };
        setns(&file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
            let reason = match errno {
                Errno::EINVAL => "not a network namespace",
                other => other.desc(),
            };
            Trouble::Closed { path, reason: reason.to_owned() }
        })
    }
}

fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |n| Errno::from_raw(n).desc().to_owned())
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => write!(out, "our own namespace"),
            Self::Name(name) => write!(out, "namespace {name}"),
            Self::Path(path) => write!(out, "namespace {}", path.display()),
            Self::Pid(pid) => write!(out, "the namespace of process {pid}"),
        }
    }
}
