//! From a probed device to a started port.

use super::device::Device;
use super::queue::Wake;
use super::{AttachSpec, EthRx, EthTx, PortError};
use crate::dpdk::eal::log;
use crate::wire::ethernet::MacAddr;
use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_ether_addr};
use std::ffi::{CStr, c_char, c_int};

/// Ethernet header, one 802.1Q tag and FCS: what a frame has beyond its L3 packet.
const L2_BYTES: u32 = 14 + 4 + 4;
/// Descriptors of a queue where nobody says otherwise.
const DESCRIPTORS: u16 = 1024;
/// For net_tap "descriptors" are the segments that one frame may fill. Each is an iovec of every
/// read, and an mbuf kept ready, so few: five hold a jumbo frame, which a guest may send whatever MTU
/// was set for it. A longer one is an error that the device counts.
const TAP_SEGMENTS: u16 = 5;

/// Drivers that send chained mbufs whole though they don't claim RTE_ETH_TX_OFFLOAD_MULTI_SEGS.
const TAKES_CHAINS_SILENTLY: [&str; 2] = ["net_null", "net_pcap"];

/// What became of the wishes.
pub(super) struct Configured {
    pub(super) driver: String,
    pub(super) if_index: u32,
    pub(super) mtu_range: (u16, u16),
    pub(super) rx: Vec<EthRx>,
    pub(super) tx: Vec<EthTx>,
}

/// Configures and starts `port`. On failure the caller closes it.
pub(super) fn configure(
    port: u16,
    device: &Device,
    spec: &AttachSpec,
) -> Result<Configured, PortError> {
    let info = read_info(&spec.device, port)?;
    let driver = text(info.driver_name);
    let is_tap = device.is_net_tap();
    check_limits(spec, &info, is_tap)?;

    let mut conf = rte_eth_conf::default();
    conf.rxmode.mtu = u32::from(spec.mtu);
    let frame_bytes = u32::from(spec.mtu) + L2_BYTES;
    let first_segment = u32::from(spec.pool.segment_bytes());
    let scatter = info.rx_offload_capa & dpdk_sys::GW_RX_OFFLOAD_SCATTER;
    if is_tap || frame_bytes > first_segment {
        conf.rxmode.offloads |= scatter;
        if scatter == 0 && frame_bytes > first_segment {
            let max = first_segment.saturating_sub(L2_BYTES);
            return Err(PortError::Mtu {
                device: spec.device.clone(),
                mtu: spec.mtu,
                min: info.min_mtu,
                max: u16::try_from(max).unwrap_or(u16::MAX),
            });
        }
    }
    // net_tap "offloads" by reading every payload byte in software; our own check reads 20 bytes.
    if !is_tap {
        conf.rxmode.offloads |= info.rx_offload_capa & dpdk_sys::GW_RX_OFFLOAD_IPV4_CKSUM;
    }
    let takes_chains = info.tx_offload_capa & dpdk_sys::GW_TX_OFFLOAD_MULTI_SEGS;
    conf.txmode.offloads |= takes_chains;
    let hashes = info.flow_type_rss_offloads & dpdk_sys::GW_RSS_IP_TCP_UDP;
    // The kernel spreads a tap's flows over its queues by itself.
    if spec.rx_queues > 1 && hashes != 0 && !is_tap {
        conf.rxmode.mq_mode = dpdk_sys::GW_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = hashes;
    }
    conf.intr_conf.set_rxq(spec.wakes.into());
    let step = |name, call: &mut dyn FnMut() -> c_int| run(&spec.device, name, call);
    // SAFETY: *started*; the structure is as large as the library thinks (*layout*).
    step("configure it", &mut || unsafe {
        dpdk_sys::rte_eth_dev_configure(port, spec.rx_queues, spec.tx_queues, &raw const conf)
    })?;
    let (rx_descriptors, tx_descriptors) = descriptors(port, spec, is_tap)?;
    // SAFETY: *started*. A device of no node says -1, which is the library's "any" (SOCKET_ID_ANY).
    let node = u32::try_from(unsafe { dpdk_sys::rte_eth_dev_socket_id(port) }).unwrap_or(u32::MAX);
    for queue in 0..spec.rx_queues {
        // SAFETY: *started*; no configuration means the driver's defaults; pools are never freed.
        step("set up a receive queue", &mut || unsafe {
            let pool = spec.pool.as_ptr();
            let none = std::ptr::null();
            dpdk_sys::rte_eth_rx_queue_setup(port, queue, rx_descriptors, node, none, pool)
        })?;
    }
    for queue in 0..spec.tx_queues {
        // SAFETY: as above.
        step("set up a transmit queue", &mut || unsafe {
            let none = std::ptr::null();
            dpdk_sys::rte_eth_tx_queue_setup(port, queue, tx_descriptors, node, none)
        })?;
    }
    step("set its MTU", &mut || unless_unsupported(set_mtu(port, spec.mtu)))?;
    if let Some(mac) = spec.mac.filter(|mac| read_mac(port) != Some(*mac)) {
        step("set its MAC address", &mut || set_mac(port, mac))?;
    }
    // SAFETY: *started*.
    step("start it", &mut || unsafe { dpdk_sys::rte_eth_dev_start(port) })?;
    // SAFETY: *started*.
    let link_up = || unsafe { dpdk_sys::rte_eth_dev_set_link_up(port) };
    step("set its link up", &mut || unless_unsupported(link_up()))?;

    let takes_chains = takes_chains != 0 || TAKES_CHAINS_SILENTLY.contains(&driver.as_str());
    Ok(Configured {
        driver,
        if_index: info.if_index,
        mtu_range: (
            info.min_mtu,
            largest_mtu(spec, &info, scatter != 0, is_tap.then_some(rx_descriptors)),
        ),
        rx: (0..spec.rx_queues)
            .map(|queue| EthRx::new(port, queue, wake(port, queue, is_tap, spec.wakes)))
            .collect(),
        tx: (0..spec.tx_queues).map(|queue| EthTx { port, queue, takes_chains }).collect(),
    })
}

fn check_limits(spec: &AttachSpec, info: &rte_eth_dev_info, is_tap: bool) -> Result<(), PortError> {
    let device = || spec.device.clone();
    for (direction, asked, max) in [
        ("receive", spec.rx_queues, info.max_rx_queues),
        ("transmit", spec.tx_queues, info.max_tx_queues),
    ] {
        if asked == 0 || asked > max {
            return Err(PortError::Queues { device: device(), direction, asked, max });
        }
    }
    if is_tap && spec.rx_queues != spec.tx_queues {
        return Err(PortError::QueuePairs {
            device: device(),
            rx: spec.rx_queues,
            tx: spec.tx_queues,
        });
    }
    let (min, max) = mtu_range(info);
    if !(min..=max).contains(&spec.mtu) {
        return Err(PortError::Mtu { device: device(), mtu: spec.mtu, min, max });
    }
    Ok(())
}

/// The largest MTU that can be set without attaching anew.
fn largest_mtu(
    spec: &AttachSpec,
    info: &rte_eth_dev_info,
    scatter: bool,
    tap_segments: Option<u16>,
) -> u16 {
    let segment = u32::from(spec.pool.segment_bytes());
    let room = match tap_segments {
        Some(count) => segment * u32::from(count),
        None if scatter => u32::MAX,
        None => segment,
    };
    let room = room.saturating_sub(L2_BYTES).min(u32::from(mtu_range(info).1));
    u16::try_from(room).unwrap_or(u16::MAX)
}

/// Least and largest MTU that the library lets a device have: its own limits, and its longest frame
/// less the header that its limits imply or, where it names no largest MTU, header and FCS.
pub(super) fn mtu_range(info: &rte_eth_dev_info) -> (u16, u16) {
    let named = u32::from(info.max_mtu);
    let overhead = if info.max_mtu != u16::MAX && info.max_rx_pktlen > named {
        info.max_rx_pktlen - named
    } else {
        dpdk_sys::RTE_ETHER_HDR_LEN + dpdk_sys::RTE_ETHER_CRC_LEN
    };
    let max = named.min(info.max_rx_pktlen.saturating_sub(overhead));
    (info.min_mtu, u16::try_from(max).unwrap_or(u16::MAX))
}

fn descriptors(port: u16, spec: &AttachSpec, is_tap: bool) -> Result<(u16, u16), PortError> {
    let wish = if spec.descriptors == 0 { DESCRIPTORS } else { spec.descriptors };
    if is_tap {
        let segment = u32::from(spec.pool.segment_bytes()).max(1);
        let needed = (u32::from(spec.mtu) + L2_BYTES).div_ceil(segment);
        return Ok((TAP_SEGMENTS.max(u16::try_from(needed).unwrap_or(TAP_SEGMENTS)), wish));
    }
    let (mut rx, mut tx) = (wish, wish);
    // SAFETY: *started*; both numbers live through the call.
    run(&spec.device, "size its queues", || unsafe {
        dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &raw mut rx, &raw mut tx)
    })?;
    Ok((rx, tx))
}

/// How a queue of a started device tells that a frame waits, where that is wanted and it can.
pub(super) fn wake(port: u16, queue: u16, is_tap: bool, is_wanted: bool) -> Option<Wake> {
    if !is_wanted {
        return None;
    }
    // SAFETY: *started*; numbers that it does not know give an error. Where the driver has no interrupts the
    // first call says so, and the second would log it as a fault.
    unsafe {
        let has_any = is_tap || dpdk_sys::rte_eth_dev_rx_intr_disable(port, queue) == 0;
        if !has_any {
            return None;
        }
        let fd = dpdk_sys::rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue);
        (fd >= 0).then_some(if is_tap { Wake::Tap(fd) } else { Wake::Interrupts(fd) })
    }
}

/// Makes one call to the library; a negative answer is an error with what the library logged.
pub(super) fn run(
    device: &str,
    step: &'static str,
    call: impl FnOnce() -> c_int,
) -> Result<(), PortError> {
    let logged = log::mark();
    match call() {
        errno if errno < 0 => Err(PortError::Step {
            device: device.to_owned(),
            step,
            reason: log::reason_since(logged, errno),
        }),
        _ => Ok(()),
    }
}

/// What a device says of itself.
pub(super) fn read_info(device: &str, port: u16) -> Result<rte_eth_dev_info, PortError> {
    let mut info = rte_eth_dev_info::default();
    // SAFETY: *started*; the structure is as large as the library thinks (*layout*).
    run(device, "read its properties", || unsafe {
        dpdk_sys::rte_eth_dev_info_get(port, &raw mut info)
    })?;
    Ok(info)
}

/// Sets the MTU; on a tap the kernel interface's.
pub(super) fn set_mtu(port: u16, mtu: u16) -> c_int {
    // SAFETY: *started*.
    unsafe { dpdk_sys::rte_eth_dev_set_mtu(port, mtu) }
}

/// Sets the device's own MAC; on a tap the kernel interface's.
pub(super) fn set_mac(port: u16, mac: MacAddr) -> c_int {
    let mut address = rte_ether_addr { addr_bytes: mac.0 };
    // SAFETY: *started*; the address lives through the call.
    unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(port, &raw mut address) }
}

/// The device's own MAC.
pub(super) fn read_mac(port: u16) -> Option<MacAddr> {
    let mut address = rte_ether_addr::default();
    // SAFETY: *started*; the address lives through the call.
    let failed = unsafe { dpdk_sys::rte_eth_macaddr_get(port, &raw mut address) };
    (failed == 0).then_some(MacAddr(address.addr_bytes))
}

fn unless_unsupported(result: c_int) -> c_int {
    if result == -libc::ENOTSUP { 0 } else { result }
}

/// A text of the library's; empty where there is none.
pub(super) fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the library's texts end with a zero byte and outlive this call.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
