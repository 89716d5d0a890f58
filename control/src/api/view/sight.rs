//! Sight into the path: what a worker's cycles go into, how long packets stay, captures, traces.

use super::PortLabel;
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

/// Which way frames go, as the appliance sees it: it receives what a guest sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Frames that come in.
    Rx,
    /// Frames that leave.
    Tx,
    /// All.
    #[default]
    Both,
}

/// A capture that runs, or the last one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Capture {
    /// Its number, from 1 at the program's start.
    pub number: u64,
    /// Port or adapter.
    #[schema(value_type = String)]
    pub target: PortLabel,
    /// Which frames of it.
    pub direction: Direction,
    /// Filter, as it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Bytes kept of each frame at most.
    pub snaplen: u32,
    /// When it started, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Whether it runs.
    pub running: bool,
    /// Frames captured.
    pub packets: u64,
    /// Frames that the capture missed because its reader was slow. They went their way all the same.
    pub dropped: u64,
}

/// The way of packets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Trace {
    /// Guest, adapter or port.
    pub target: String,
    /// Whether it is under way: then no packet is told yet.
    pub tracing: bool,
    /// In the order in which the workers were done with them.
    pub packets: Vec<TracedPacket>,
}

/// The way of one packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TracedPacket {
    /// Core of the worker that had it.
    pub core: usize,
    /// Port that it came in by.
    pub port: String,
    /// Adapter that it came from; absent for what comes from no guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Bytes, as it came in.
    pub bytes: u32,
    /// What it was then.
    pub packet: String,
    /// What became of it.
    pub fate: Fate,
    /// What each stage decided.
    pub steps: Vec<TraceStep>,
}

/// What one stage decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TraceStep {
    /// `classify`, `fib` or `mac` (look-ups), `guard`, `route`, `bridge`, `rewrite`, `egress` or `control`.
    pub stage: String,
    /// Its verdict, the reason of a drop apart: `route`, `send`, `pass`, `drop`, …; of look-ups, the kind of entry.
    pub verdict: String,
    /// The same in words, with the table entry that decided.
    pub text: String,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A transmit queue took it, whole or in pieces.
    Sent,
    /// The worker that owns its way out has it.
    HandedOver,
    /// It was turned into its answer.
    Answered,
    /// Control has it.
    Punted,
    /// It was dropped.
    Dropped,
    /// It waits: for its time under a rate limit, or for a transmit queue that is closed for a moment.
    Waiting,
}
