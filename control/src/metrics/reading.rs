//! What control's thread reads for one scrape: numbers and shared names, no text.

use crate::accounts::Lines;
use crate::api::view::{AddressState, Link, NeighborState, PortKind, PortLabel, Version};
use crate::model::{GuestKind, Mode, Name, Rate};
use dataplane::counters::{AdapterCounts, PortCounts};
use dataplane::worker::BURST_SIZES;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that a scrape tells, at one time.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// When, milliseconds on a clock that only goes forward.
    pub read_at_ms: u64,
    /// The program itself.
    pub program: Program,
    /// Workers, in order of the configuration.
    pub workers: Vec<WorkerReading>,
    /// Counts of all ports since the program's start, those that have gone among them.
    pub in_all: PortCounts,
    /// Ports that belong to no adapter, in order of their labels.
    pub ports: Vec<PortReading>,
    /// Adapters, in order of guest and name.
    pub adapters: Vec<AdapterReading>,
    /// Networks, in order of their names.
    pub networks: Vec<NetworkReading>,
    /// Entries of the neighbor cache.
    pub neighbors: BTreeMap<(PortLabel, NeighborState), u32>,
    /// What reading all of this took of control's time.
    pub took: Duration,
}

/// The program itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// Versions, forwarding, mbufs.
    pub version: Version,
    /// When it started, since the Unix epoch.
    pub started: Duration,
    /// Guests by kind.
    pub guests: [(GuestKind, u32); 2],
    /// The operator's routes.
    pub routes: u32,
    /// Groups of the FIB that are free: one per /24 that holds anything longer.
    pub fib_groups_free: u32,
    /// Entries that the MAC table still takes, all networks together.
    pub macs_free: u32,
    /// Packets held for neighbors that are being asked.
    pub held_pkts: u32,
}

/// One worker.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerReading {
    /// Its core.
    pub core: usize,
    /// Receive queues that it polls.
    pub queues: u32,
    /// Turns of its loop.
    pub loops: u64,
    /// Of those, with at least one frame.
    pub busy_loops: u64,
    /// Time spent in them.
    pub busy: Duration,
    /// Time since it started.
    pub ran: Duration,
    /// Of that, asleep.
    pub slept: Duration,
    /// Frames taken in.
    pub rx_pkts: u64,
    /// Bursts that its receive queues gave, by size.
    pub bursts: [u64; BURST_SIZES],
    /// Times that it has not come round for more than a second.
    pub late_beats: u64,
}

/// A port that belongs to no adapter.
#[derive(Clone, PartialEq, Debug)]
pub struct PortReading {
    /// How it is called.
    pub port: PortLabel,
    /// What it is for.
    pub kind: PortKind,
    /// State of its link.
    pub link: Link,
    /// Its device is not there or has failed.
    pub is_failed: bool,
    /// Stopped by the operator.
    pub is_stopped: bool,
    /// Since it opened; absent while it is not open.
    pub counts: Option<PortCounts>,
    /// What its device counts.
    pub device: Option<DeviceCounts>,
}

/// What a device loses before we see a frame or after we let go of it, since it opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceCounts {
    /// Frames that it had no descriptor for.
    pub rx_missed: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Receive attempts with no mbuf free.
    pub rx_no_mbuf: u64,
    /// Frames that failed to be sent.
    pub tx_errors: u64,
}

impl DeviceCounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rx_missed: self.rx_missed + other.rx_missed,
            rx_errors: self.rx_errors + other.rx_errors,
            rx_no_mbuf: self.rx_no_mbuf + other.rx_no_mbuf,
            tx_errors: self.tx_errors + other.tx_errors,
        }
    }
}

/// One adapter.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterReading {
    /// Its guest.
    pub guest: Name,
    /// Its name.
    pub adapter: Name,
    /// Its mode.
    pub mode: Mode,
    /// Its network, in virtual-network mode.
    pub network: Option<Name>,
    /// State of its link.
    pub link: Link,
    /// Its port is not there or has failed.
    pub is_failed: bool,
    /// Rate limit of all its traffic.
    pub rate: Option<Rate>,
    /// Since it joined.
    pub counts: AdapterCounts,
    /// Frames that its rate limits dropped, to the guest and from it; absent where it has none.
    pub over_limit: Option<(u64, u64)>,
    /// Its traffic by class, while there are classes.
    pub classes: Lines,
    /// Its addresses by state.
    pub addresses: BTreeMap<AddressState, u32>,
    /// On a vhost-user socket.
    pub front_ends: Option<FrontEnds>,
}

/// Front-ends of a vhost-user socket since it opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrontEnds {
    /// That came.
    pub connects: u32,
    /// Of those, cut off for what they did.
    pub resets: u32,
}

/// One network.
#[derive(Clone, PartialEq, Debug)]
pub struct NetworkReading {
    /// Its name.
    pub network: Name,
    /// Adapters on it.
    pub members: u32,
    /// Learned MACs.
    pub learned_macs: u32,
    /// Most of them that there may be.
    pub max_macs: u32,
}
