//! The kernel interface of a tap, af_packet or af_xdp port: whether it is free, still there, and up.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::ffi::c_char;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Watches one interface from any namespace: a socket asks in the namespace that it was made in.
#[derive(Debug)]
pub(in crate::dpdk) struct KernelInterface {
    socket: OwnedFd,
    index: i32,
}

impl KernelInterface {
    /// The interface with this index in the calling thread's namespace.
    pub(in crate::dpdk) fn watch(index: u32) -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { socket, index: i32::try_from(index).unwrap_or(0) })
    }

    /// Its present name; `None` once it was deleted or moved to another namespace.
    pub(in crate::dpdk) fn name(&self) -> Option<String> {
        // SAFETY: all zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_ifindex = self.index;
        // SAFETY: the descriptor is open and the kernel writes no more than an ifreq.
        let failed =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
        if failed != 0 {
            return None;
        }
        Some(name_of(&request))
    }

    /// Whether it is up and has carrier; `None` where it has no name.
    pub(in crate::dpdk) fn is_running(&self) -> Option<bool> {
        const RUNNING: i32 = libc::IFF_UP | libc::IFF_RUNNING;
        let mut request = request_for(&self.name()?);
        change(self.socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request).ok()?;
        // SAFETY: the kernel has written this member.
        let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
        Some(flags & RUNNING == RUNNING)
    }
}

/// A request about the interface of this name; what is too long for one is cut off.
pub(in crate::dpdk) fn request_for(name: &str) -> libc::ifreq {
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    request
}

/// The name in a request that the kernel has answered.
pub(in crate::dpdk) fn name_of(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().take_while(|byte| **byte != 0);
    let bytes: Vec<u8> = bytes.map(|byte| byte.to_ne_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Asks by `command`, one that takes an ifreq, on a descriptor.
pub(in crate::dpdk) fn change(
    descriptor: i32,
    command: libc::Ioctl,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: the kernel reads and writes no more than an ifreq, which outlives the call; a descriptor
    // that is none or of another kind is an error.
    match unsafe { libc::ioctl(descriptor, command, std::ptr::from_mut(request)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The open descriptors through which this process holds taps. Each says which interface it has, by
/// any name and in any namespace, and nothing once that was deleted.
pub(in crate::dpdk) fn tap_descriptors() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|fd| has_tap(*fd)).collect()
}

/// Whether a descriptor holds a tap that still exists.
pub(in crate::dpdk) fn has_tap(fd: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let interface = info.lines().find_map(|line| line.strip_prefix("iff:"));
    interface.is_some_and(|name| !name.trim().is_empty())
}

/// struct ethtool_value of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Whether an interface of this name exists in the calling thread's namespace and has carrier. A
/// persistent tap that nobody holds open has none.
pub(in crate::dpdk) fn has_carrier(name: &str) -> io::Result<bool> {
    const ETHTOOL_GLINK: u32 = 10;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = EthtoolValue { command: ETHTOOL_GLINK, data: 0 };
    let mut request = request_for(name);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the descriptor is open; the kernel reads the name, which ends with a zero byte, and
    // writes no more than the value, which outlives the call.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    Ok(failed == 0 && value.data != 0)
}
