//! The kernel interface of a tap, af_packet or af_xdp port: whether it is free, and still there.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Watches one interface from any namespace: a socket asks in the namespace that it was made in.
#[derive(Debug)]
pub(super) struct KernelInterface {
    socket: OwnedFd,
    index: i32,
}

impl KernelInterface {
    /// The interface with this index in the calling thread's namespace.
    pub(super) fn watch(index: u32) -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { socket, index: i32::try_from(index).unwrap_or(0) })
    }

    /// Its present name; `None` once it was deleted or moved to another namespace.
    pub(super) fn name(&self) -> Option<String> {
        // SAFETY: all zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_ifindex = self.index;
        // SAFETY: the descriptor is open and the kernel writes no more than an ifreq.
        let failed =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
        if failed != 0 {
            return None;
        }
        // SAFETY: the kernel ends the name with a zero byte inside the array.
        let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) };
        Some(name.to_string_lossy().into_owned())
    }
}

/// The open descriptors through which this process holds taps. Each says which interface it has, by
/// any name and in any namespace, and nothing once that was deleted.
pub(super) fn tap_descriptors() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|fd| has_tap(*fd)).collect()
}

/// Whether a descriptor holds a tap that still exists.
pub(super) fn has_tap(fd: i32) -> bool {
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
pub(super) fn has_carrier(name: &str) -> io::Result<bool> {
    const ETHTOOL_GLINK: u32 = 10;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = EthtoolValue { command: ETHTOOL_GLINK, data: 0 };
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the descriptor is open; the kernel reads the name, which ends with a zero byte, and
    // writes no more than the value, which outlives the call.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    Ok(failed == 0 && value.data != 0)
}
