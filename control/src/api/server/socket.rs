//! The listening UNIX socket: born closed to others, opened to one group, refused when in use.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_address, connect, listen,
    socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Group, chown};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Longest path of a UNIX socket on Linux, bytes (unix(7): `sun_path` is 108 with its closing zero).
const PATH_LIMIT: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("another guestway answers on {0}; stop it, or name another socket")]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0} is there and is no socket; remove it, or name another socket")]
    NotASocket(PathBuf),
    /// The path does not fit a socket address.
    #[error("socket path {path} has {length} bytes; at most {PATH_LIMIT} are possible")]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// No such group.
    #[error("socket_group {0:?} does not exist; create it with: groupadd --system {0}")]
    NoGroup(String),
    /// The system said no.
    #[error("cannot {action} {path}: {error}")]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its reason.
        error: io::Error,
    },
}

/// A listening socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct BoundSocket {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode: a file that somebody put there since is not ours to remove.
    identity: (u64, u64),
}

/// Listens on `path`: mode 0660, of `group` where one is named. Creates the directory, removes a
/// socket that nobody answers on.
pub fn bind(path: &Path, group: Option<&str>) -> Result<BoundSocket, SocketError> {
    let system =
        |action, error: io::Error| SocketError::System { action, path: path.to_owned(), error };
    let address = UnixAddr::new(path).map_err(|_| SocketError::TooLong {
        path: path.to_owned(),
        length: path.as_os_str().len(),
    })?;
    let group = group.map(find_group).transpose()?;
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_passable(directory).map_err(|error| system("create the directory of", error))?;
    }
    remove_stale(path, &address)?;

    let listening = stream_socket().map_err(|errno| system("make a socket for", errno.into()))?;
    // The file is born with the mode that the unbound socket has: nobody else connects before the
    // group is set.
    fchmod(&listening, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| system("set the mode of", errno.into()))?;
    bind_address(listening.as_raw_fd(), &address).map_err(|errno| match errno {
        Errno::EADDRINUSE => SocketError::InUse(path.to_owned()),
        other => system("listen on", other.into()),
    })?;
    let metadata = fs::symlink_metadata(path).map_err(|error| system("look at", error))?;
    let bound = BoundSocket {
        socket: listening,
        path: path.to_owned(),
        identity: (metadata.dev(), metadata.ino()),
    };
    if group.is_some() {
        chown(path, None, group).map_err(|errno| system("set the group of", errno.into()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .map_err(|error| system("set the mode of", error))?;
    let backlog = Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN);
    listen(&bound.socket, backlog).map_err(|errno| system("listen on", errno.into()))?;
    Ok(bound)
}

impl BoundSocket {
    /// The listener, non-blocking.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.socket.try_clone().map(UnixListener::from)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours {
            // Left behind, it is a stale one that the next start removes.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a directory and those above it where they are not there, each open to be passed by everybody
/// whatever the umask: who may connect is the socket's own matter.
fn make_passable(directory: &Path) -> io::Result<()> {
    let made: Vec<&Path> = directory
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
        .collect();
    fs::create_dir_all(directory)?;
    made.into_iter()
        .try_for_each(|path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
}

fn find_group(name: &str) -> Result<Gid, SocketError> {
    let found = Group::from_name(name).ok().flatten();
    found.map(|group| group.gid).ok_or_else(|| SocketError::NoGroup(name.to_owned()))
}

fn stream_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

/// Removes a socket that nobody answers on (kill -9 leaves one).
fn remove_stale(path: &Path, address: &UnixAddr) -> Result<(), SocketError> {
    let system =
        |action, error: io::Error| SocketError::System { action, path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(SocketError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", error)),
    }
    let probe = stream_socket().map_err(|errno| system("make a socket for", errno.into()))?;
    match connect(probe.as_raw_fd(), address) {
        // Not blocking, so a listener whose backlog is full says EAGAIN: it is alive.
        Ok(()) | Err(Errno::EAGAIN) => Err(SocketError::InUse(path.to_owned())),
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(|error| system("remove the stale socket", error))
        }
        Err(errno) => Err(system("connect to", errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/api.sock");
        let first = bind(&path, None).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o660);
        let refused = bind(&path, None).unwrap_err();
        assert!(refused.to_string().contains("another guestway answers on"), "{refused}");
        assert!(UnixStream::connect(&path).is_ok());
        drop(first);
        assert!(!path.exists());

        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&path, None).unwrap());
    }

    #[test]
    fn directories_of_ours_can_be_passed_under_any_umask() {
        let dir = tempfile::tempdir().unwrap();
        let mode =
            |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
        fs::create_dir(dir.path().join("theirs")).unwrap();
        let theirs = fs::Permissions::from_mode(0o700);
        fs::set_permissions(dir.path().join("theirs"), theirs).unwrap();
        let before = nix::sys::stat::umask(Mode::from_bits_truncate(0o027));
        let bound = bind(&dir.path().join("theirs/a/b/api.sock"), None);
        nix::sys::stat::umask(before);
        drop(bound.unwrap());
        assert_eq!([mode("theirs"), mode("theirs/a"), mode("theirs/a/b")], [0o700, 0o755, 0o755]);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(bind(&file, None), Err(SocketError::NotASocket(_))));
        assert!(file.exists());
        let below = file.join("api.sock");
        assert!(bind(&below, None).unwrap_err().to_string().contains("cannot create"));
        let long = dir.path().join("x".repeat(120));
        assert!(bind(&long, None).unwrap_err().to_string().contains("at most 107"));
        let path = dir.path().join("s");
        let refused = bind(&path, Some("no-such-group-here")).unwrap_err();
        assert!(refused.to_string().contains("groupadd --system no-such-group-here"), "{refused}");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_put_there_since_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let bound = bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(bound);
        assert!(path.exists());
    }
}
