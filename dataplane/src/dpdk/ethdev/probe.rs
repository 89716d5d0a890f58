//! Finding, making and removing DPDK's devices. Its device lists have no lock: the callers hold one.

use super::device::Device;
use super::{AttachSpec, PortError, configure, kernel};
use crate::dpdk::eal::log;
use dpdk_sys::RTE_MAX_ETHPORTS;
use std::ffi::{CStr, CString, c_int};

/// Finds or makes the ethdev of a device.
pub(super) fn probe(device: &Device, spec: &AttachSpec) -> Result<u16, PortError> {
    let failed = |reason: String| PortError::Probe { device: spec.device.clone(), reason };
    let text = |text: &str| CString::new(text).map_err(|_| failed("zero byte".to_owned()));
    let (name, devargs) = (text(&device.name)?, text(&device.devargs)?);
    if port_by_name(&name).is_some() {
        return Err(PortError::InUse { device: spec.device.clone(), name: device.name.clone() });
    }
    // SAFETY: *started*.
    if u32::from(unsafe { dpdk_sys::rte_eth_dev_count_total() }) >= RTE_MAX_ETHPORTS {
        return Err(PortError::TooManyPorts { device: spec.device.clone() });
    }
    if let Some(interface) = device.argument("iface").filter(|_| device.is_net_tap())
        && kernel::has_carrier(interface).unwrap_or(false)
    {
        // net_tap would join it as one more queue and take part of the other's frames.
        let (device, interface) = (spec.device.clone(), interface.to_owned());
        return Err(PortError::InterfaceInUse { device, interface });
    }
    let logged = log::mark();
    // SAFETY: *started*, and under DEVICES; the text lives through the call.
    let result = unsafe { dpdk_sys::rte_dev_probe(devargs.as_ptr()) };
    if result < 0 {
        return Err(failed(why_not_probed(device, log::reason_since(logged, result), result)));
    }
    port_by_name(&name).ok_or_else(|| failed("it is no Ethernet device".to_owned()))
}

/// Puts EAL's more obscure answers into words that say what would be right.
fn why_not_probed(device: &Device, logged: String, errno: c_int) -> String {
    let words = match -errno {
        libc::EFAULT if logged.contains("parse device") => {
            "no driver has that name, write a PCI address like 0000:3b:00.0 or a vdev like \
             net_tap0,iface=NAME"
        }
        libc::ENODEV if device.is_pci => {
            "no PCI device has that address, or EAL runs with --no-pci"
        }
        _ if !logged.contains("Driver cannot attach") => return logged,
        _ if device.is_pci => {
            "no driver took it, is it bound to vfio-pci (dpdk-devbind.py --status)?"
        }
        _ => "the driver refused it, check its arguments",
    };
    words.to_owned()
}

fn port_by_name(name: &CStr) -> Option<u16> {
    let mut id = 0;
    // SAFETY: *started*; name and id live through the call.
    let found = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
    (found == 0).then_some(id)
}

/// Closes a port that nobody polls and removes its device.
pub(super) fn remove(id: u16, device: &str) -> Result<(), PortError> {
    let info = configure::read_info(device, id)?;
    // SAFETY: *started*; *one poller*: the caller showed every queue handle, or none was made yet.
    // What stop says of a device that never started or is gone doesn't matter.
    unsafe { dpdk_sys::rte_eth_dev_stop(id) };
    // SAFETY: as above.
    configure::run(device, "close it", || unsafe { dpdk_sys::rte_eth_dev_close(id) })?;
    // SAFETY: *started*; devices outlive their ports.
    configure::run(device, "remove it", || unsafe { dpdk_sys::rte_dev_remove(info.device) })
}
