//! Rights that the process gives away, and when.
//!
//! **Capabilities.** Before DPDK starts, and so before there is a second thread or a byte of a guest's, the
//! process keeps those of [`KEPT`] and gives all others away for good: from the permitted, effective,
//! inheritable, ambient and bounding sets. All threads are born with what is left. Those that read bytes of
//! others, which are the workers and the API's, then give away that too ([`keep_none`]); control is left
//! with it, since live changes need it.
//!
//! **System calls.** Once the ports of the start are open, every thread is held to those that forwarding and
//! live changes need ([`syscalls`]).
//!
//! Neither can be undone by whoever takes over the process, nor by a program that it starts: no_new_privs is
//! set, and there is no way to start one.

pub mod syscalls;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use std::fs;

/// What live changes need, for as long as the process lives.
const KEPT: [Capability; 7] = [
    // Taps, and the kernel's end of them by netlink.
    Capability::CAP_NET_ADMIN,
    // Packet sockets, of net_af_packet.
    Capability::CAP_NET_RAW,
    // Entering guests' network namespaces (setns(2)); physical addresses of memory (/proc/self/pagemap).
    Capability::CAP_SYS_ADMIN,
    // Naming the namespace of a process of another user (`netns=pid=N`, /proc/N/ns/net).
    Capability::CAP_SYS_PTRACE,
    // Memory that a NIC reads and writes is locked, beyond RLIMIT_MEMLOCK.
    Capability::CAP_IPC_LOCK,
    // Sockets that a VM monitor of another user listens on, and directories of other users for ours.
    Capability::CAP_DAC_OVERRIDE,
    // The group of a socket (`group=G`).
    Capability::CAP_CHOWN,
];

/// VFIO without an IOMMU opens for this one alone (Documentation/driver-api/vfio.rst).
const WITHOUT_IOMMU: Capability = Capability::CAP_SYS_RAWIO;
const UNSAFE_MODE: &str = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";

/// Rights could not be given away.
#[derive(Debug, thiserror::Error)]
#[error("can't give away what is not needed: {why}")]
pub struct PrivilegeError {
    why: String,
}

impl From<CapsError> for PrivilegeError {
    fn from(error: CapsError) -> Self {
        Self { why: error.to_string() }
    }
}

/// Gives away, for this thread and for those that it makes from now on, every capability but those that
/// the running appliance needs, and the way back.
///
/// # Errors
/// The kernel refuses.
pub fn keep_needed() -> Result<(), PrivilegeError> {
    nix::sys::prctl::set_no_new_privs()
        .map_err(|errno| PrivilegeError { why: format!("no_new_privs: {errno}") })?;
    let mut kept: CapsHashSet = KEPT.into_iter().collect();
    if fs::read_to_string(UNSAFE_MODE).is_ok_and(|mode| mode.trim() == "Y") {
        kept.insert(WITHOUT_IOMMU);
    }
    // In a container that leaves out CAP_SETPCAP the bounding set is the container's.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::runtime::thread_all_supported().difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    keep(&kept)
}

/// Gives away every capability of this thread.
///
/// # Errors
/// As [`keep_needed`].
pub fn keep_none() -> Result<(), PrivilegeError> {
    keep(&CapsHashSet::new())
}

fn keep(kept: &CapsHashSet) -> Result<(), PrivilegeError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = permitted.intersection(kept).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}
