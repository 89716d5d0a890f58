//! Sight into the path: what a worker's cycles go into, how long packets stay.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a worker's cycles went into since its start, by the clock that counts time (the TSC).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Cycles {
    /// Ticks of that clock in a second.
    pub hz: u64,
    /// In turns that found at least one frame.
    pub busy: u64,
    /// In turns that found none: it polls, or sleeps.
    pub idle: u64,
    /// Of those, asleep (`polling = "adaptive"`).
    #[serde(default)]
    pub asleep: u64,
    /// Busy ones for each frame received; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_packet: Option<f64>,
}

/// Bursts of about one size that a worker's receive queues gave it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct BurstSize {
    /// Fewest frames of such a burst.
    pub from: u32,
    /// Most of them.
    pub to: u32,
    /// How many such bursts there were.
    pub bursts: u64,
}

/// How long packets stayed in the appliance's workers: all that came in while it was measured.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    /// Seconds that were measured.
    pub seconds: u64,
    /// Whether they have not passed yet: then there are no times.
    pub measuring: bool,
    /// By worker and way; ways that no packet took are left out.
    pub times: Vec<PathLatency>,
}

/// Time from the moment that a packet was taken from its receive queue until its transmit queue had it, by
/// one way through one worker, nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PathLatency {
    /// The worker's core; absent: all workers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<usize>,
    /// The way.
    pub path: PathKind,
    /// How many packets took it.
    pub packets: u64,
    /// Half of them took no longer than this.
    pub p50_ns: u64,
    /// 90 % of them.
    pub p90_ns: u64,
    /// 99 %.
    pub p99_ns: u64,
    /// 99.9 %.
    pub p99_9_ns: u64,
    /// 99.99 %.
    pub p99_99_ns: u64,
    /// All of them.
    pub max_ns: u64,
}

/// Which way a packet takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// By the router.
    Routed,
    /// In a network, to the one that has the MAC.
    Bridged,
    /// In a network, to all.
    Flooded,
    /// Answered by the appliance itself: echo, ICMP errors.
    Answered,
}
