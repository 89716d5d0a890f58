//! What a device counts and says of itself.

use super::configure::{self, text};
use super::{EthPort, PortError};
use std::ffi::c_int;

/// A device's own counters since it started or was reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EthStats {
    /// Frames received.
    pub rx_pkts: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_pkts: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device lost because its queue was full.
    pub rx_missed: u64,
    /// Frames received broken.
    pub rx_errors: u64,
    /// Frames not sent.
    pub tx_errors: u64,
    /// Frames lost because the pool was empty.
    pub rx_no_mbuf: u64,
}

/// The link as the driver sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// Whether frames can pass.
    pub up: bool,
    /// Mbit/s; 0 where unknown.
    pub speed_mbps: u32,
}

/// What a device can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// DPDK's name of the driver.
    pub driver: String,
    /// Receive queues at most.
    pub max_rx_queues: u16,
    /// Transmit queues at most.
    pub max_tx_queues: u16,
    /// Least and largest MTU of the device.
    pub mtu_range: (u16, u16),
    /// Receive offloads, RTE_ETH_RX_OFFLOAD_*.
    pub rx_offloads: u64,
    /// Transmit offloads, RTE_ETH_TX_OFFLOAD_*.
    pub tx_offloads: u64,
    /// Flow kinds that it can hash, RTE_ETH_RSS_*.
    pub rss_hashes: u64,
}

impl EthPort {
    /// The device's own counters.
    pub fn stats(&self) -> Result<EthStats, PortError> {
        let mut stats = dpdk_sys::rte_eth_stats::default();
        // SAFETY: *started*; the structure is as large as the library thinks (*layout*).
        self.step("read its counters", |id| unsafe {
            dpdk_sys::rte_eth_stats_get(id, &raw mut stats)
        })?;
        Ok(EthStats {
            rx_pkts: stats.ipackets,
            rx_bytes: stats.ibytes,
            tx_pkts: stats.opackets,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_mbuf: stats.rx_nombuf,
        })
    }

    /// Sets the device's counters to 0, the extended ones included where the driver can.
    pub fn reset_stats(&mut self) -> Result<(), PortError> {
        // SAFETY: *started*.
        self.step("reset its counters", |id| unsafe { dpdk_sys::rte_eth_stats_reset(id) })?;
        // SAFETY: *started*. A driver without extended counters has none to reset.
        unsafe { dpdk_sys::rte_eth_xstats_reset(self.id) };
        Ok(())
    }

    /// The device's extended counters by name, in its own order.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, PortError> {
        // SAFETY: *started*; with no room given the call returns how many there are.
        let count = unsafe { dpdk_sys::rte_eth_xstats_get_names(self.id, std::ptr::null_mut(), 0) };
        let count = self.count(count)?;
        let mut names = vec![dpdk_sys::rte_eth_xstat_name::default(); count];
        let mut values = vec![dpdk_sys::rte_eth_xstat::default(); count];
        let room = u32::try_from(count).unwrap_or(0);
        // SAFETY: *started*; there is room for as many as we say (*layout*).
        let (named, valued) = unsafe {
            (
                dpdk_sys::rte_eth_xstats_get_names(self.id, names.as_mut_ptr(), room),
                dpdk_sys::rte_eth_xstats_get(self.id, values.as_mut_ptr(), room),
            )
        };
        let filled = self.count(named)?.min(self.count(valued)?).min(count);
        let named = values[..filled].iter().filter_map(|value| {
            let name = names.get(usize::try_from(value.id).ok()?)?;
            Some((text(name.name.as_ptr()), value.value))
        });
        Ok(named.collect())
    }

    /// The link, without waiting for it.
    pub fn link(&self) -> Result<LinkState, PortError> {
        let mut link = dpdk_sys::rte_eth_link::default();
        // SAFETY: *started*; the structure lives through the call.
        self.step("read its link", |id| unsafe {
            dpdk_sys::rte_eth_link_get_nowait(id, &raw mut link)
        })?;
        let speed_mbps = if link.link_speed == u32::MAX { 0 } else { link.link_speed };
        Ok(LinkState { up: link.link_status() == 1, speed_mbps })
    }

    /// What the device can do.
    pub fn info(&self) -> Result<DeviceInfo, PortError> {
        let info = configure::read_info(&self.device, self.id)?;
        Ok(DeviceInfo {
            driver: text(info.driver_name),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            mtu_range: configure::mtu_range(&info),
            rx_offloads: info.rx_offload_capa,
            tx_offloads: info.tx_offload_capa,
            rss_hashes: info.flow_type_rss_offloads,
        })
    }

    fn count(&self, result: c_int) -> Result<usize, PortError> {
        configure::run(&self.device, "read its extended counters", || result)?;
        Ok(usize::try_from(result).unwrap_or(0))
    }
}
