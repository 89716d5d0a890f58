//! Everything that is counted of traffic, read at one time: two answers give rates.

use super::{AdapterLabel, Link, PortKind, PortLabel};
use crate::model::{Name, Rate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Traffic and load of everything, at one time. Counts begin with the program, those of a port or an adapter when
/// it joins, and never go back: `clear port stats` does not touch them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// When they were read, milliseconds on a clock that only goes forward.
    pub read_at_ms: u64,
    /// Process ID: with another one all counts began anew.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Whether forwarding is on (`start`, `stop`).
    pub forwarding: bool,
    /// Size of the packet pool, mbufs.
    pub mbufs: u32,
    /// Of those, not in use.
    pub mbufs_free: u32,
    /// Of all ports, those that have gone among them.
    pub in_all: TrafficCounters,
    /// Workers, in order of the configuration.
    pub workers: Vec<WorkerCounters>,
    /// Ports that belong to no adapter, in order of their names.
    pub ports: Vec<PortCounters>,
    /// Adapters, in order of guest and name.
    pub adapters: Vec<AdapterCounters>,
}

/// Traffic of a port or an adapter; `rx` came in, from the guest for instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TrafficCounters {
    /// Frames received.
    pub rx_pkts: u64,
    /// Bytes received, without FCS.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_pkts: u64,
    /// Bytes sent, without FCS.
    pub tx_bytes: u64,
    /// Frames that came in there and were dropped.
    pub dropped: u64,
}

/// One worker's load. It polls, so its core is always busy: time in turns that found frames, over time, is the
/// load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WorkerCounters {
    /// Its core.
    pub core: usize,
    /// Time in turns that found at least one frame, nanoseconds.
    pub busy_ns: u64,
    /// Time since it started, nanoseconds.
    pub run_ns: u64,
    /// Frames taken in.
    pub rx_pkts: u64,
    /// Times that it has not come round its loop for more than a second.
    pub late_beats: u64,
}

/// One port's traffic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PortCounters {
    /// How it is called.
    pub port: PortLabel,
    /// What it is for.
    pub kind: PortKind,
    /// State of its link.
    pub link: Link,
    /// Its traffic; 0 while it is not open.
    pub traffic: TrafficCounters,
}

/// One adapter's traffic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AdapterCounters {
    /// The adapter.
    pub adapter: AdapterLabel,
    /// Its network, in virtual-network mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Name>,
    /// State of its link.
    pub link: Link,
    /// Rate limit of all its traffic, bits per second each way; a way that is absent has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Its traffic: `rx` came from the guest.
    pub traffic: TrafficCounters,
}
