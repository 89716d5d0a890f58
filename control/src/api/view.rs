//! What every `show` answers: plain data with a stable JSON form, documented in the OpenAPI document.
//!
//! Keys are written as the command line and the wishes of `model` write them (`max-macs`), values of
//! choice likewise (`host-routed`). A key that does not apply is left out, never null. Counters are
//! 64 bits wide and count since the program's start or the last `clear`.

mod counters;
mod forwarding;
mod guest;
mod label;
mod network;
mod port;
mod program;
mod sight;

pub use counters::{AdapterCounters, Counters, PortCounters, TrafficCounters, WorkerCounters};
pub use forwarding::{
    Neighbor, NeighborState, Route, RouteDecision, RoutePage, RouteSource, RouteTarget, Verdict,
};
pub use guest::{
    Adapter, AdapterStats, Address, AddressState, Guest, GuestSide, Link, ServerSide, VhostUser,
};
pub use label::{AdapterLabel, BadLabel, PortLabel};
pub use network::{MacEntry, MacKind, Member, Network, ServerPort};
pub use port::{DeviceStats, PortInfo, PortKind, PortState, PortStats, PortXstats, RxQueue, Xstat};
pub use program::{
    Account, AdapterDrops, Class, ConfigDiff, ConfigText, Configured, Drops, Event, EventKind,
    EventPage, LoopTimes, PortQueue, Version, Worker,
};
pub use sight::{
    BurstSize, Capture, Cycles, Direction, Fate, Latency, PathKind, PathLatency, Trace, TraceStep,
    TracedPacket,
};

use std::collections::BTreeMap;

/// Frames dropped, by the stable name of the reason (`DropReason::name`); zeros are left out.
pub type DropCounts = BTreeMap<String, u64>;
