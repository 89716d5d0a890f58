//! A tap's descriptors: made, set up and asked. All of it on control's thread.
//!
//! **Queues.** The kernel gives an interface of several queues 256 transmit queues with a queueing
//! discipline each, megabytes for a container that needs one; so a tap of one queue is made without
//! IFF_MULTI_QUEUE. That flag can't be changed later and has to be named again at each opening: an
//! interface found with it (net_tap always sets it) is opened with it. The other flags are set anew by
//! the first descriptor that opens an interface.
//!
//! **In use.** A tap of one queue refuses a second descriptor. One of several would take it as one more
//! queue, and part of the frames would go there; so it is looked at for carrier first, which it has
//! while somebody holds it open.
//!
//! Source: Linux, Documentation/networking/tuntap.rst.

use super::super::ethdev::kernel::{change, has_carrier, name_of, request_for};
use super::super::netns::{Netns, run_in};
use super::error::TapError;
use super::header::HEADER_BYTES;
use super::{QUEUES_MAX, TapSpec};
use crate::wire::ethernet::MacAddr;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::ffi::{c_char, c_int};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// What a tap's reader takes unfinished: checksums and long TCP segments. Not congestion marks on these,
/// nor UDP's.
const OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

/// Opens the interface in the calling thread's namespace, one descriptor a queue, and sets it up. What
/// is new is gone again after a failure: it is made persistent last.
pub(super) fn open(spec: &TapSpec) -> Result<Vec<OwnedFd>, TapError> {
    let iface = || spec.iface.clone();
    if !(1..=QUEUES_MAX).contains(&spec.queues) {
        return Err(TapError::Queues { iface: iface(), asked: spec.queues, max: QUEUES_MAX });
    }
    let step = |step| move |source| TapError::Step { iface: spec.iface.clone(), step, source };
    let (first, flags) = open_first(spec)?;
    let mut queues = vec![first];
    for _ in 1..spec.queues {
        let queue = device(spec)?;
        attach(&queue, &spec.iface, flags).map_err(step("add a queue"))?;
        queues.push(queue);
    }
    let first = &queues[0];
    set_number(first, libc::TUNSETVNETLE, 1).map_err(step("set its byte order"))?;
    let header_bytes = c_int::try_from(HEADER_BYTES).unwrap_or(0);
    set_number(first, libc::TUNSETVNETHDRSZ, header_bytes).map_err(step("set its header"))?;
    set(first, libc::TUNSETOFFLOAD, OFFLOADS.into()).map_err(step("set its offloads"))?;
    if let Some(mac) = spec.mac {
        set_mac(first, mac).map_err(step("set its MAC address"))?;
    }
    set_mtu_here(&spec.iface, spec.mtu).map_err(step("set its MTU"))?;
    bring_up(&spec.iface).map_err(step("bring it up"))?;
    set(first, libc::TUNSETPERSIST, 1).map_err(step("make it persistent"))?;
    Ok(queues)
}

/// The first descriptor, and the flags for more.
fn open_first(spec: &TapSpec) -> Result<(OwnedFd, c_int), TapError> {
    const ONE: c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    const SEVERAL: c_int = ONE | libc::IFF_MULTI_QUEUE;
    let iface = || spec.iface.clone();
    let queue = device(spec)?;
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::EBUSY) => TapError::InUse { iface: iface() },
        Some(libc::EINVAL) if spec.queues > 1 => {
            TapError::OneQueue { iface: iface(), queues: spec.queues }
        }
        Some(libc::EINVAL) => TapError::NoTap { iface: iface() },
        _ => TapError::Step { iface: iface(), step: "make it", source: error },
    };
    if spec.queues == 1 {
        match attach(&queue, &spec.iface, ONE) {
            Ok(()) => return Ok((queue, ONE)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    if has_carrier(&spec.iface).unwrap_or(false) {
        // What is no tap has carrier as well, and is not in use in that sense.
        return Err(match is_tap(&spec.iface) {
            true => TapError::InUse { iface: iface() },
            false => TapError::NoTap { iface: iface() },
        });
    }
    attach(&queue, &spec.iface, SEVERAL).map_err(refused)?;
    Ok((queue, SEVERAL))
}

/// A descriptor that has no interface yet.
fn device(spec: &TapSpec) -> Result<OwnedFd, TapError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let opened = options.open("/dev/net/tun").map(OwnedFd::from);
    opened.map_err(|source| TapError::Device { iface: spec.iface.clone(), source })
}

/// Gives a descriptor its interface, which is made where there is none of that name.
fn attach(queue: &OwnedFd, iface: &str, flags: c_int) -> io::Result<()> {
    let mut request = request_for(iface);
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or(0);
    change(queue.as_raw_fd(), libc::TUNSETIFF, &mut request)?;
    // The kernel replaces "%d" in a name by a number.
    match name_of(&request) == iface {
        true => Ok(()),
        false => Err(io::Error::other("the kernel wants another name")),
    }
}

/// Whether an interface in the calling thread's namespace is a tap.
fn is_tap(iface: &str) -> bool {
    /// struct ethtool_drvinfo of linux/ethtool.h.
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        _others: [u8; 160],
    }
    const ETHTOOL_GDRVINFO: u32 = 3;
    let Ok(socket) = inet_socket() else { return false };
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], _others: [0; 160] };
    let mut request = request_for(iface);
    request.ifr_ifru.ifru_data = (&raw mut info).cast::<c_char>();
    // The kernel writes no more than the structure, which outlives the call.
    let asked = change(socket.as_raw_fd(), libc::SIOCETHTOOL, &mut request);
    asked.is_ok() && info.driver.starts_with(b"tun\0")
}

fn inet_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Inet, SockType::Datagram, flags, None)?)
}

fn set_mtu_here(iface: &str, mtu: u16) -> io::Result<()> {
    let mut request = request_for(iface);
    request.ifr_ifru.ifru_mtu = mtu.into();
    change(inet_socket()?.as_raw_fd(), libc::SIOCSIFMTU, &mut request)
}

fn bring_up(iface: &str) -> io::Result<()> {
    let socket = inet_socket()?;
    let mut request = request_for(iface);
    change(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has written this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | i16::try_from(libc::IFF_UP).unwrap_or(0);
    change(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request)
}

/// Sets the interface's MAC, whatever its name and namespace are by now.
pub(super) fn set_mac(queue: &OwnedFd, mac: MacAddr) -> io::Result<()> {
    let mut request = request_for("");
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: Default::default() };
    for (to, from) in address.sa_data.iter_mut().zip(mac.0) {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_hwaddr = address;
    change(queue.as_raw_fd(), libc::SIOCSIFHWADDR, &mut request)
}

/// The interface's MAC.
pub(super) fn mac(queue: &OwnedFd) -> Option<MacAddr> {
    let mut request = request_for("");
    change(queue.as_raw_fd(), libc::SIOCGIFHWADDR, &mut request).ok()?;
    // SAFETY: the kernel has written this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut bytes = [0; 6];
    for (to, from) in bytes.iter_mut().zip(address.sa_data) {
        *to = from.to_ne_bytes()[0];
    }
    Some(MacAddr(bytes))
}

/// The interface's present name, in whichever namespace.
fn name(queue: &OwnedFd) -> io::Result<String> {
    let mut request = request_for("");
    change(queue.as_raw_fd(), libc::TUNGETIFF, &mut request)?;
    Ok(name_of(&request))
}

/// Sets the interface's MTU, whatever its name and namespace are by now.
pub(super) fn set_mtu(queue: &OwnedFd, mtu: u16) -> io::Result<()> {
    // SAFETY: the command takes no argument and answers with a new descriptor.
    let netns = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETDEVNETNS) };
    if netns < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: nobody else knows of the descriptor that this call has made.
    let netns = unsafe { OwnedFd::from_raw_fd(netns) };
    let path = format!("/proc/thread-self/fd/{}", netns.as_raw_fd());
    let iface = name(queue)?;
    run_in(Some(&Netns::Path(path.into())), || set_mtu_here(&iface, mtu))
        .map_err(io::Error::other)?
}

/// Whether the interface has been deleted. Asks without the kernel's lock on network configuration.
pub(super) fn is_deleted(queue: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(queue.as_fd(), PollFlags::empty())];
    let answered = poll(&mut asked, PollTimeout::ZERO);
    answered.is_ok() && asked[0].revents().is_some_and(|says| says.contains(PollFlags::POLLERR))
}

/// The interface's index, for as long as it stays in the namespace that it was made in.
pub(super) fn index(iface: &str) -> u32 {
    nix::net::if_::if_nametoindex(iface).unwrap_or(0)
}

/// A command whose argument is a number.
fn set(queue: &OwnedFd, command: libc::Ioctl, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the commands that are given here read no memory.
    match unsafe { libc::ioctl(queue.as_raw_fd(), command, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A command whose argument points to a number.
fn set_number(queue: &OwnedFd, command: libc::Ioctl, value: c_int) -> io::Result<()> {
    // SAFETY: the commands that are given here read one int, which lives through the call.
    match unsafe { libc::ioctl(queue.as_raw_fd(), command, &raw const value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
