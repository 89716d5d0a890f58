//! The UNIX sockets of the vhost-user protocol: making them, and messages with file descriptors.

use super::message::{HEADER_BYTES, Message};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    recvmsg, sendmsg, socket,
};
use nix::sys::stat::{Mode, SFlag, fstat, lstat};
use nix::unistd::{Gid, Group};
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Why a socket can't be made at a path.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another program listens there.
    #[error("socket {0}: another program listens on it")]
    InUse(String),
    /// It is a file, a directory or the like.
    #[error("socket {0}: something that is no socket is in its place")]
    NoSocket(String),
    /// No such group.
    #[error("socket {path}: no group {group} on this machine")]
    NoGroup {
        /// Of the socket.
        path: String,
        /// As asked for.
        group: String,
    },
    /// The system's reason.
    #[error("socket {path}: {source}")]
    System {
        /// Of the socket.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Listens on `path` with this group and these permission bits. A socket that nobody listens on any
/// more (its owner was killed) is replaced.
pub(super) fn listen(
    path: &Path,
    group: Option<&str>,
    perm: u16,
) -> Result<UnixListener, SocketError> {
    let text = || path.display().to_string();
    let system = |source: io::Error| SocketError::System { path: text(), source };
    let gid = group.map(|name| gid_of(name, &text())).transpose()?;
    if let Ok(found) = lstat(path) {
        if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFSOCK {
            return Err(SocketError::NoSocket(text()));
        }
        match connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(system)?;
            }
            // Its queue is full, so somebody listens.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(system(error)),
            Ok(_) | Err(_) => return Err(SocketError::InUse(text())),
        }
    }
    // Born beside its place, so that nobody finds it there before its permissions are right.
    let newborn = path.with_file_name(format!(
        ".guestway-{}-{}",
        std::process::id(),
        path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    ));
    let _ = std::fs::remove_file(&newborn);
    let bind_at = if newborn.as_os_str().len() <= 107 { newborn.as_path() } else { path };
    let listener = UnixListener::bind(bind_at).map_err(system)?;
    let finish = || -> io::Result<()> {
        nix::unistd::chown(bind_at, None, gid)?;
        let mode = Mode::from_bits_truncate(perm.into());
        nix::sys::stat::fchmodat(
            AT_FDCWD,
            bind_at,
            mode,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )?;
        listener.set_nonblocking(true)?;
        if bind_at != path {
            std::fs::rename(bind_at, path)?;
        }
        Ok(())
    };
    finish().map_err(|error| {
        let _ = std::fs::remove_file(bind_at);
        system(error)
    })?;
    Ok(listener)
}

/// Connects without waiting: a listener whose queue is full would have us wait until it takes somebody
/// out of it.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(made.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(made))
}

fn gid_of(name: &str, path: &str) -> Result<Gid, SocketError> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name)
        .map_err(|errno| SocketError::System { path: path.to_owned(), source: errno.into() })?;
    let missing = || SocketError::NoGroup { path: path.to_owned(), group: name.to_owned() };
    Ok(found.ok_or_else(missing)?.gid)
}

/// What [`wait`] has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ready {
    /// The socket is ready, or its other end is closed.
    Socket,
    /// Somebody else wants to come in.
    Door,
    /// Somebody wakes us.
    Woken,
    /// Neither, in that time.
    TimedOut,
}

/// Waits until a socket is ready, or `wake` is written to, or somebody is at the `door`, or so many
/// milliseconds have passed.
pub(super) fn wait(
    socket: Option<BorrowedFd<'_>>,
    events: PollFlags,
    wake: &EventFd,
    door: Option<&UnixListener>,
    millis: Option<u16>,
) -> io::Result<Ready> {
    let timeout = millis.map_or(PollTimeout::NONE, PollTimeout::from);
    let mut fds = vec![PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
    fds.extend(socket.map(|socket| PollFd::new(socket, events)));
    let sockets = fds.len();
    fds.extend(door.map(|door| PollFd::new(door.as_fd(), PollFlags::POLLIN)));
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Ok(Ready::TimedOut),
            Ok(_) if fds[0].any() == Some(true) => {
                let _ = wake.read();
                return Ok(Ready::Woken);
            }
            Ok(_) if fds[1..sockets].iter().any(|fd| fd.any() == Some(true)) => {
                return Ok(Ready::Socket);
            }
            Ok(_) => return Ok(Ready::Door),
        }
    }
}

/// Descriptors that one message can carry (the kernel's SCM_MAX_FD). There is room for all: those that
/// are too many are to be counted and closed, and of a list that is cut nothing can be said.
const DESCRIPTORS_MAX: usize = 253;

/// The first bytes of a message and the descriptors that came with them.
pub(super) fn receive_header(
    socket: &UnixStream,
    into: &mut [u8; HEADER_BYTES],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            // SAFETY: the kernel has just made these descriptors for us.
            descriptors.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((received.bytes, descriptors))
}

/// Sends a message with descriptors, as far as the socket takes it; the bytes that it took.
pub(super) fn send(
    socket: &UnixStream,
    bytes: &[u8],
    descriptors: &[OwnedFd],
) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let parts = [IoSlice::new(bytes)];
    Ok(sendmsg::<()>(socket.as_raw_fd(), &parts, control, flags, None)?)
}

/// Reads what is there, at most as much as there is room for; 0 at the end of the stream.
pub(super) fn read_some(mut socket: &UnixStream, into: &mut [u8]) -> io::Result<usize> {
    socket.read(into)
}

/// Whether a descriptor is a file that holds so many bytes and that can be mapped for both.
pub(super) fn check_memory_file(file: &OwnedFd, needs: u64) -> Result<(), &'static str> {
    let status = fstat(file).map_err(|_| "can't be looked at")?;
    if SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
        return Err("is no shared memory");
    }
    if u64::try_from(status.st_size).unwrap_or(0) < needs {
        return Err("is larger than its file");
    }
    let flags = fcntl(file, FcntlArg::F_GETFL).map_err(|_| "can't be looked at")?;
    if OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE != OFlag::O_RDWR {
        return Err("is not open for reading and writing");
    }
    Ok(())
}

/// Checks that a descriptor is an eventfd, and sees to it that writing to it does not wait. One who
/// shares it can undo that: see [`super::watch`].
pub(super) fn check_event(event: &OwnedFd) -> Result<(), &'static str> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", event.as_raw_fd()));
    if link.ok().is_none_or(|name| name.as_os_str() != "anon_inode:[eventfd]") {
        return Err("is no eventfd");
    }
    let flags = fcntl(event, FcntlArg::F_GETFL).map_err(|_| "can't be looked at")?;
    let flags = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
    fcntl(event, FcntlArg::F_SETFL(flags)).map(drop).map_err(|_| "can't be set")
}

/// A message of the library's or to it; both ends are ours, so that it is whole.
pub(super) fn parse(header: &[u8; HEADER_BYTES], payload: Vec<u8>) -> Message {
    let (request, flags, _) = Message::parse_header(*header);
    Message { request, flags, payload }
}
