//! The program itself: version, workers, drops in all, configuration, classes.

use super::{AdapterLabel, BurstSize, Cycles, DropCounts, PortLabel};
use crate::model::Name;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Version {
    /// Version of guestway.
    pub version: String,
    /// Version of DPDK that it runs on; absent where it runs without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpdk: Option<String>,
    /// Process ID.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Whether forwarding is on (`start`, `stop`).
    pub forwarding: bool,
    /// Size of the packet pool, mbufs.
    pub mbufs: u32,
    /// Of those, not in use: in no queue, ring, cache of a device or hold.
    pub mbufs_free: u32,
}

/// One worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Worker {
    /// Its core.
    pub core: usize,
    /// Receive queues that it polls.
    pub queues: Vec<PortQueue>,
    /// Turns of its loop.
    pub loops: u64,
    /// Turns that found something to do, percent.
    pub busy_percent: f64,
    /// How long its turns took.
    pub loop_time: LoopTimes,
    /// What its cycles went into.
    pub cycles: Cycles,
    /// Bursts that it received, by size.
    pub bursts: Vec<BurstSize>,
    /// Whether it has not come round for more than a second now.
    pub late: bool,
    /// How many times that was so since the start.
    pub late_beats: u64,
    /// Frames received.
    pub rx_pkts: u64,
    /// Frames sent.
    pub tx_pkts: u64,
}

/// A receive queue of a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PortQueue {
    /// The port.
    pub port: PortLabel,
    /// Its queue.
    pub queue: u16,
}

/// Distribution of the time that one turn of a worker's loop took, nanoseconds. Turns that found
/// nothing to do count only where they took long: something took the core away.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LoopTimes {
    /// Half of the turns were no longer than this.
    pub p50_ns: u64,
    /// 99 of 100 turns were no longer than this.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What was dropped, and at whom.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Drops {
    /// Frames dropped in all; of one guest where one was named.
    pub dropped: u64,
    /// The same by reason.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub drops: DropCounts,
    /// The same by adapter. Frames that came in by no adapter (an uplink, the server) are in the
    /// sums above alone. Adapters without a drop are left out unless their guest was named.
    pub adapters: Vec<AdapterDrops>,
}

/// Frames dropped that came from one adapter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AdapterDrops {
    /// The adapter.
    pub adapter: AdapterLabel,
    /// In all.
    pub dropped: u64,
    /// By reason.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub drops: DropCounts,
}

/// The configuration that runs, as a file would say it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigText {
    /// TOML.
    pub text: String,
}

/// How what runs differs from the configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigDiff {
    /// Path of the file.
    pub file: String,
    /// Nothing differs.
    pub same: bool,
    /// One line per difference: `+` is only in the file, `-` only running, `~` differs.
    pub lines: Vec<String>,
}

/// What an event is about.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A port's link came up or went down.
    Link,
    /// A guest's front-end came, went, or was cut off.
    Guest,
    /// An address is in use elsewhere.
    Conflict,
    /// A neighbor does not answer any more.
    Neighbor,
    /// A guest has more traffic than its rate limit lets through.
    Limit,
    /// A worker is late.
    Worker,
    /// Something could not be done, and is tried again or given up.
    Failure,
    /// What is stored.
    State,
    /// The program itself.
    Program,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Its number, from 1 at the program's start.
    pub number: u64,
    /// When, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What it is about.
    pub kind: EventKind,
    /// One line.
    pub text: String,
}

/// Events in order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Number of the last of them, to go on after.
    pub last: u64,
    /// How many between were not kept so long.
    pub missed: u64,
}

/// What bringing a configuration file and what runs together did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Configured {
    /// Whether it is told only.
    pub dry_run: bool,
    /// One line per difference that is gone now, or would be: `+` was only in the file, `-` only
    /// running, `~` differed. Empty: nothing was to be changed.
    pub lines: Vec<String>,
    /// One line per difference that stays until the next start.
    pub at_start: Vec<String>,
}

/// Traffic of one adapter with one class, as the guest sees it. It goes on through restarts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    /// The adapter.
    pub adapter: AdapterLabel,
    /// The class; `all` for everything, `other` for IPv4 that is in no class while there are classes.
    pub class: String,
    /// Packets to the guest.
    pub in_pkts: u64,
    /// Bytes to the guest, without FCS.
    pub in_bytes: u64,
    /// Packets from the guest: `all` counts what it sent, the others what of it was let through.
    pub out_pkts: u64,
    /// Bytes from the guest, without FCS.
    pub out_bytes: u64,
}

/// A destination class.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Class {
    /// Its name.
    pub class: Name,
    /// Destinations that belong to it.
    #[schema(value_type = Vec<String>)]
    pub prefixes: Vec<IpNet>,
}
