//! How often each repeated thing is done: one table, one column for CI and one for a long run.
//!
//! `tests/run long` sets `GUESTWAY_TEST_COUNTS=long`.

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// In CI.
    pub ci: u32,
    /// In `tests/run long`.
    pub long: u32,
}

/// Live changes while ten guests exchange paced traffic.
pub const SOAK_CHANGES: Count = Count { ci: 2_000, long: 10_000 };
/// Attach and detach cycles of an adapter with a port of its own.
pub const ATTACH_CYCLES: Count = Count { ci: 10, long: 200 };
/// Numbered packets a second in the soak, all guests together.
pub const SOAK_PPS: Count = Count { ci: 10_000, long: 10_000 };
/// Mode switches there and back.
pub const MODE_SWITCHES: Count = Count { ci: 3, long: 50 };
/// Moves of an adapter between two networks.
pub const NETWORK_MOVES: Count = Count { ci: 4, long: 100 };
/// Frames of random bytes and length.
pub const RANDOM_FRAMES: Count = Count { ci: 20_000, long: 1_000_000 };
/// Forged source MACs of a MAC flood.
pub const FLOOD_MACS: Count = Count { ci: 5_000, long: 100_000 };
/// Frames through a network, compared byte by byte.
pub const NUMBERED_FRAMES: Count = Count { ci: 2_000, long: 100_000 };
/// Seconds of iperf3 per pair.
pub const IPERF_SECONDS: Count = Count { ci: 10, long: 30 };
/// Seconds over which a limited rate is measured, for each kind of traffic and way.
pub const RATE_SECONDS: Count = Count { ci: 1, long: 10 };
/// Containers that come and go on the shared port while another pair talks.
pub const SHARED_CHURN: Count = Count { ci: 5, long: 50 };
/// Hostile vhost-user front-ends, one after another, half of them in each of two tests.
pub const HOSTILE_CASES: Count = Count { ci: 5_000, long: 100_000 };
/// Places at which the journal's last record is cut before a start.
pub const JOURNAL_CUTS: Count = Count { ci: 5, long: 1_000 };

/// Neighbors that fall silent while their packets go on, each of which takes a minute or more.
pub const SILENT_NEIGHBORS: Count = Count { ci: 0, long: 1 };

/// Requests that are made up for each operation of the API and way of making them up, at most.
pub const API_EXAMPLES: Count = Count { ci: 10, long: 300 };

/// Kills and restarts of a VM's QEMU.
pub const VM_CYCLES: Count = Count { ci: 2, long: 20 };
/// Kills and restarts of a DPDK guest's program, in each of two tests.
pub const GUEST_CYCLES: Count = Count { ci: 10, long: 500 };
/// Mode switches of a running VM there and back.
pub const VM_SWITCHES: Count = Count { ci: 3, long: 50 };

impl Count {
    /// The column in force.
    pub fn now(self) -> u32 {
        match std::env::var("GUESTWAY_TEST_COUNTS").as_deref() {
            Ok("long") => self.long,
            _ => self.ci,
        }
    }
}
