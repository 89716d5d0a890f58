//! DPDK devices as ports: any PCI address or vdev, attached and detached while the others run.
//!
//! Everything here but the queues' bursts runs on control's thread and may wait for a driver.
//!
//! Known of DPDK 22.11's drivers: net_tap's MTU ends at 1,504 and net_af_packet's and net_memif's at
//! 1,500; net_af_xdp takes 2,048 mbufs per queue at attach and doesn't give them back at detach.

use super::eal::Eal;
use super::mempool::Pool;
use super::netns::{Netns, run_in};
use super::port::{Rx, Tx};
use crate::wire::ethernet::MacAddr;
use dpdk_sys::RTE_MAX_ETHPORTS;
use kernel::KernelInterface;
use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

mod configure;
mod device;
mod error;
pub(super) mod kernel;
mod probe;
mod queue;
mod stats;

pub use device::next_vdev_name;
pub use error::PortError;
pub(super) use queue::Wake;
pub use queue::{EthRx, EthTx};
pub use stats::{DeviceInfo, EthStats, LinkState};

/// A device to attach.
#[derive(Clone, Debug)]
pub struct AttachSpec {
    /// PCI address (`0000:3b:00.0`) or vdev (`net_tap0,iface=up0`), with its arguments.
    pub device: String,
    /// Namespace to do it in, so that a tap's kernel interface is born there.
    pub netns: Option<Netns>,
    /// Receive queues, at least 1.
    pub rx_queues: u16,
    /// Transmit queues, at least 1; on net_tap as many as receive queues.
    pub tx_queues: u16,
    /// Descriptors per queue; 0 for a sensible number. The device's limits are kept.
    pub descriptors: u16,
    /// Largest L3 packet, bytes.
    pub mtu: u16,
    /// Sets the device's MAC. On a tap that is the kernel interface's, so the far side's.
    pub mac: Option<MacAddr>,
    /// Whether a frame is to wake a worker that sleeps, where the driver can.
    pub wakes: bool,
    /// Where received frames come from.
    pub pool: Pool,
}

impl AttachSpec {
    /// One queue each way, an MTU of 1,500, everything else as the device has it.
    pub fn new(device: &str, pool: Pool) -> Self {
        Self {
            device: device.to_owned(),
            netns: None,
            rx_queues: 1,
            tx_queues: 1,
            descriptors: 0,
            mtu: 1500,
            mac: None,
            wakes: false,
            pool,
        }
    }
}

/// An attached device: what control does with it. Its queues are separate handles.
///
/// Dropping it leaves the device running; [`EthPort::detach`] ends it.
#[derive(Debug)]
#[must_use = "a port is ended by `detach`"]
pub struct EthPort {
    id: u16,
    name: String,
    device: String,
    driver: String,
    rx_queues: u16,
    tx_queues: u16,
    /// Least and largest MTU that can be set while attached.
    mtu_range: (u16, u16),
    /// Whether its queues may wake a worker that sleeps.
    wakes: bool,
    /// The kernel's end, where there is one.
    kernel: Option<KernelInterface>,
    /// Descriptors that hold its tap, where it is one.
    taps: Vec<i32>,
}

/// Held while the library's device lists change: they have no lock of their own.
static DEVICES: Mutex<()> = Mutex::new(());

/// Set by DPDK's interrupt thread when a device was unplugged, cleared by attach, read by control.
static UNPLUGGED: [AtomicBool; RTE_MAX_ETHPORTS as usize] =
    [const { AtomicBool::new(false) }; RTE_MAX_ETHPORTS as usize];

/// *layout* of the structures that this module gives to the library.
pub(super) fn check_layout() -> Result<(), String> {
    // SAFETY: these return constants; nothing is needed.
    let pairs = unsafe {
        [
            ("rte_eth_conf", dpdk_sys::gw_sizeof_eth_conf(), size_of::<dpdk_sys::rte_eth_conf>()),
            (
                "rte_eth_dev_info",
                dpdk_sys::gw_sizeof_eth_dev_info(),
                size_of::<dpdk_sys::rte_eth_dev_info>(),
            ),
            (
                "rte_eth_stats",
                dpdk_sys::gw_sizeof_eth_stats(),
                size_of::<dpdk_sys::rte_eth_stats>(),
            ),
            (
                "rte_eth_xstat",
                dpdk_sys::gw_sizeof_eth_xstat(),
                size_of::<dpdk_sys::rte_eth_xstat>(),
            ),
            (
                "rte_eth_xstat_name",
                dpdk_sys::gw_sizeof_eth_xstat_name(),
                size_of::<dpdk_sys::rte_eth_xstat_name>(),
            ),
        ]
    };
    match pairs.iter().find(|(_, in_c, in_rust)| in_c != in_rust) {
        Some((name, in_c, in_rust)) => {
            Err(format!("struct {name} takes {in_c} bytes in C and {in_rust} here"))
        }
        None => Ok(()),
    }
}

/// Attaches a device, configures it and starts it. Returns the port and its queues, in order.
pub fn attach(_started: Eal, spec: &AttachSpec) -> Result<(EthPort, Vec<Rx>, Vec<Tx>), PortError> {
    let mut device = device::Device::parse(&spec.device)?;
    if let Some(mac) = spec.mac.filter(|_| device.takes_mac_argument()) {
        // Otherwise a tap would be born with a random address and change it under the guest.
        device.set_default("mac", &mac.to_string());
    }
    let one_at_a_time = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    let result = run_in(spec.netns.as_ref(), || attach_here(&device, spec))
        .map_err(|source| PortError::Netns { device: spec.device.clone(), source });
    drop(one_at_a_time);
    let (port, configured) = result??;
    let rx = configured.rx.into_iter().map(Rx::Ethdev).collect();
    let tx = configured.tx.into_iter().map(Tx::Ethdev).collect();
    Ok((port, rx, tx))
}

fn attach_here(
    device: &device::Device,
    spec: &AttachSpec,
) -> Result<(EthPort, configure::Configured), PortError> {
    // Nobody else opens a tap meanwhile: what is new afterwards is this one's.
    let taps_before = kernel::tap_descriptors();
    let id = probe::probe(device, spec)?;
    UNPLUGGED[usize::from(id)].store(false, Ordering::Release);
    let (mut wakes, mut configured) = (spec.wakes, configure::configure(id, device, spec));
    if configured.is_err() && wakes {
        // Some drivers do not start with interrupts.
        wakes = false;
        configured = configure::configure(id, device, &AttachSpec { wakes, ..spec.clone() });
    }
    let configured = configured.inspect_err(|_| drop(probe::remove(id, &spec.device)))?;
    // SAFETY: *started*; the function lives as long as the program.
    unsafe {
        dpdk_sys::rte_eth_dev_callback_register(
            id,
            dpdk_sys::RTE_ETH_EVENT_INTR_RMV,
            Some(on_unplugged),
            std::ptr::null_mut(),
        )
    };
    let kernel = match configured.if_index {
        0 => None,
        index => KernelInterface::watch(index).ok(),
    };
    let port = EthPort {
        id,
        name: device.name.clone(),
        device: spec.device.clone(),
        driver: configured.driver.clone(),
        rx_queues: spec.rx_queues,
        tx_queues: spec.tx_queues,
        mtu_range: configured.mtu_range,
        wakes,
        kernel,
        taps: kernel::tap_descriptors()
            .into_iter()
            .filter(|fd| !taps_before.contains(fd))
            .collect(),
    };
    Ok((port, configured))
}

unsafe extern "C" fn on_unplugged(
    port: u16,
    _event: dpdk_sys::rte_eth_event_type,
    _argument: *mut c_void,
    _result: *mut c_void,
) -> c_int {
    if let Some(unplugged) = UNPLUGGED.get(usize::from(port)) {
        unplugged.store(true, Ordering::Release);
    }
    0
}

impl EthPort {
    /// The vdev's name or the PCI address in full.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device as the operator wrote it.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// DPDK's name of the driver, such as "net_tap".
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// DPDK's own number of the port.
    pub fn ethdev_id(&self) -> u16 {
        self.id
    }

    /// Receive and transmit queues.
    pub fn queues(&self) -> (u16, u16) {
        (self.rx_queues, self.tx_queues)
    }

    /// The least and the largest MTU that [`EthPort::set_mtu`] takes.
    pub fn mtu_range(&self) -> (u16, u16) {
        self.mtu_range
    }

    /// Stops the port, closes it and removes the device, giving all its mbufs back. Takes every
    /// queue handle, so nobody polls any more; where some are missing nothing happens to the device
    /// and the port can't be detached any more, which is a bug of the caller's.
    pub fn detach(self, rx: Vec<Rx>, tx: Vec<Tx>) -> Result<(), PortError> {
        self.check_queues(&rx, &tx)?;
        let one_at_a_time = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: *started*; unregisters what `attach_here` registered.
        unsafe {
            dpdk_sys::rte_eth_dev_callback_unregister(
                self.id,
                dpdk_sys::RTE_ETH_EVENT_INTR_RMV,
                Some(on_unplugged),
                std::ptr::null_mut(),
            )
        };
        let result = probe::remove(self.id, &self.device);
        drop(one_at_a_time);
        result
    }

    /// Stops the device. The borrow of every queue handle shows that nobody polls meanwhile; a burst
    /// call between stop and [`EthPort::start`] would meet DPDK's own check and get nothing.
    pub fn stop(&mut self, rx: &[Rx], tx: &[Tx]) -> Result<(), PortError> {
        self.check_queues(rx, tx)?;
        // SAFETY: *started*, *one poller*.
        self.step("stop it", |id| unsafe { dpdk_sys::rte_eth_dev_stop(id) })
    }

    /// Starts it again.
    pub fn start(&mut self, rx: &mut [Rx], tx: &[Tx]) -> Result<(), PortError> {
        self.check_queues(rx, tx)?;
        // SAFETY: *started*, *one poller*.
        self.step("start it", |id| unsafe { dpdk_sys::rte_eth_dev_start(id) })?;
        let is_tap = self.driver == "net_tap";
        for queue in rx {
            if let Rx::Ethdev(queue) = queue {
                queue.set_wake(configure::wake(self.id, queue.queue, is_tap, self.wakes));
            }
        }
        Ok(())
    }

    /// Sets the link administratively up or down; safe while workers poll.
    pub fn set_link(&mut self, up: bool) -> Result<(), PortError> {
        // SAFETY: *started*.
        self.step("set its link", |id| unsafe {
            if up {
                dpdk_sys::rte_eth_dev_set_link_up(id)
            } else {
                dpdk_sys::rte_eth_dev_set_link_down(id)
            }
        })
    }

    /// Sets the MTU; on a tap the kernel interface's as well. Some drivers want the port stopped.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        let (min, max) = self.mtu_range;
        if !(min..=max).contains(&mtu) {
            return Err(PortError::Mtu { device: self.device.clone(), mtu, min, max });
        }
        self.step("set its MTU", |id| configure::set_mtu(id, mtu))
    }

    /// The MTU as DPDK knows it.
    pub fn mtu(&self) -> Result<u16, PortError> {
        let mut mtu = 0;
        // SAFETY: *started*; the number lives through the call.
        self.step("read its MTU", |id| unsafe { dpdk_sys::rte_eth_dev_get_mtu(id, &raw mut mtu) })?;
        Ok(mtu)
    }

    /// Sets the device's MAC; on a tap the kernel interface's, so the far side's.
    pub fn set_mac(&mut self, mac: MacAddr) -> Result<(), PortError> {
        self.step("set its MAC address", |id| configure::set_mac(id, mac))
    }

    /// The device's MAC.
    pub fn mac(&self) -> Result<MacAddr, PortError> {
        let mac = configure::read_mac(self.id);
        self.step("read its MAC address", |_| if mac.is_some() { 0 } else { -libc::ENODEV })?;
        Ok(mac.unwrap_or_default())
    }

    /// Receives frames for any MAC, or only for its own, broadcast and the multicast it was told.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        // SAFETY: *started*.
        self.step("set promiscuous mode", |id| unsafe {
            if on {
                dpdk_sys::rte_eth_promiscuous_enable(id)
            } else {
                dpdk_sys::rte_eth_promiscuous_disable(id)
            }
        })
    }

    /// Whether it receives frames for any MAC.
    pub fn is_promiscuous(&self) -> bool {
        // SAFETY: *started*.
        unsafe { dpdk_sys::rte_eth_promiscuous_get(self.id) == 1 }
    }

    /// Receives every multicast frame.
    pub fn set_all_multicast(&mut self, on: bool) -> Result<(), PortError> {
        // SAFETY: *started*.
        self.step("set all-multicast mode", |id| unsafe {
            if on {
                dpdk_sys::rte_eth_allmulticast_enable(id)
            } else {
                dpdk_sys::rte_eth_allmulticast_disable(id)
            }
        })
    }

    /// The kernel interface behind a tap, af_packet or af_xdp port, by its present name.
    pub fn kernel_interface(&self) -> Option<String> {
        self.kernel.as_ref()?.name()
    }

    /// Whether the device is gone for good: unplugged, or its kernel interface deleted. A tap that was
    /// moved to another namespace goes on carrying frames and is not lost. What is left to do is to
    /// detach.
    pub fn is_lost(&self) -> bool {
        let unplugged = UNPLUGGED.get(usize::from(self.id));
        // SAFETY: *started*.
        let removed = || unsafe { dpdk_sys::rte_eth_dev_is_removed(self.id) == 1 };
        unplugged.is_some_and(|flag| flag.load(Ordering::Acquire))
            || self.is_interface_gone()
            || removed()
    }

    fn is_interface_gone(&self) -> bool {
        if self.taps.is_empty() {
            return self.kernel.as_ref().is_some_and(|kernel| kernel.name().is_none());
        }
        !self.taps.iter().any(|fd| kernel::has_tap(*fd))
    }

    fn check_queues(&self, rx: &[Rx], tx: &[Tx]) -> Result<(), PortError> {
        let own_rx = rx.iter().filter(|queue| matches!(queue, Rx::Ethdev(q) if q.port == self.id));
        let own_tx = tx.iter().filter(|queue| matches!(queue, Tx::Ethdev(q) if q.port == self.id));
        let given = own_rx.count() + own_tx.count();
        let needed = usize::from(self.rx_queues) + usize::from(self.tx_queues);
        if given == needed {
            return Ok(());
        }
        Err(PortError::QueuesMissing { device: self.device.clone(), given, needed })
    }

    fn step(&self, step: &'static str, call: impl FnOnce(u16) -> c_int) -> Result<(), PortError> {
        configure::run(&self.device, step, || call(self.id))
    }
}
