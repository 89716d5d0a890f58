//! Ports: what they are, what they counted.

use super::{AdapterLabel, DropCounts, Link, PortLabel};
use crate::model::Name;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortKind {
    /// Towards the LAN.
    Uplink,
    /// The server's kernel.
    Host,
    /// Carries many host-routed adapters.
    Shared,
    /// One guest adapter's own.
    Guest,
    /// The server's own on a virtual network.
    NetworkServer,
}

/// Whether a port is polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// Polled by its workers.
    Started,
    /// Stopped by the operator.
    Stopped,
    /// Its device is not there or has failed; `problem` says why.
    Failed,
}

/// One port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PortInfo {
    /// How it is called.
    pub port: PortLabel,
    /// Its number in tables and counters; absent while it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// What it is for.
    pub kind: PortKind,
    /// Device as it was asked for.
    #[schema(example = "net_tap0,iface=up0")]
    pub device: String,
    /// Driver, `net_tap` for instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Whether it is polled.
    pub state: PortState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// State of its link.
    pub link: Link,
    /// Speed, Mbit/s, where the device tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
    /// The MAC by which the far side addresses us.
    #[schema(value_type = String, example = "02:00:5e:10:00:fe")]
    pub mac: MacAddr,
    /// The MAC of the far side, where there is exactly one: a guest's or the kernel's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub peer_mac: Option<MacAddr>,
    /// Largest packet, bytes.
    pub mtu: u16,
    /// Whether the device takes every frame.
    pub promiscuous: bool,
    /// Receive queues and who polls them.
    pub rx_queues: Vec<RxQueue>,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Namespace in which its tap was born.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Uplink: the server's public addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpNet>,
    /// Uplink: next hops of the default routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub gateway: Vec<IpAddr>,
    /// Guest port: its adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterLabel>,
    /// The network that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Name>,
}

/// A receive queue and its worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RxQueue {
    /// Queue number.
    pub queue: u16,
    /// Core of the worker that polls it; absent while nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<usize>,
}

/// A port's counters. Of every frame exactly one end is counted:
/// `rx + generated + copies = forwarded + dropped + consumed`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PortStats {
    /// How the port is called.
    pub port: PortLabel,
    /// When this was read, milliseconds on a clock that only goes forward: two answers give a rate.
    pub read_at_ms: u64,
    /// Frames received.
    pub rx_pkts: u64,
    /// Bytes received, without FCS.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_pkts: u64,
    /// Bytes sent, without FCS.
    pub tx_bytes: u64,
    /// Frames that we made because of one that came in here.
    pub generated: u64,
    /// Copies made to flood frames that came in here.
    pub copies: u64,
    /// Frames that came in here and were sent somewhere.
    pub forwarded: u64,
    /// Frames that came in here and ended here on purpose: given to control, or sent in pieces.
    pub consumed: u64,
    /// Of those, long TCP segments cut in software because their way out could not.
    pub segmented: u64,
    /// Frames that came in here and were dropped.
    pub dropped: u64,
    /// The same by reason.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub drops: DropCounts,
    /// What the device itself counts, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceStats>,
}

/// What a device counts before we see a frame or after we let go of it (rte_eth_stats).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceStats {
    /// Frames that it had no descriptor for.
    pub rx_missed: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Receive attempts with no mbuf free.
    pub rx_nombuf: u64,
    /// Frames that failed to be sent.
    pub tx_errors: u64,
}

/// A port's extended statistics, as its driver names them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PortXstats {
    /// How the port is called.
    pub port: PortLabel,
    /// The values, in the driver's order.
    pub xstats: Vec<Xstat>,
}

/// One extended statistic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Xstat {
    /// The driver's name for it.
    #[schema(example = "rx_good_packets")]
    pub name: String,
    /// Its value.
    pub value: u64,
}
