//! What a worker says of itself.

use crate::frame::BURST_PKTS;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sizes of bursts are counted by their power of two: 1, 2 to 3, 4 to 7, …, [`BURST_PKTS`].
pub const BURST_SIZES: usize = BURST_PKTS.ilog2() as usize + 1;

/// The fewest and the most frames of bursts of each size.
pub fn burst_sizes() -> [(u32, u32); BURST_SIZES] {
    // The last has one size alone: no burst is longer.
    const _: () = assert!(BURST_PKTS.is_power_of_two());
    let most =
        |size: usize| -> u32 { if size + 1 < BURST_SIZES { (2 << size) - 1 } else { 1 << size } };
    std::array::from_fn(|size| (1 << size, most(size)))
}

/// What a worker says of itself. Written by it alone, read by control; relaxed unless it says other.
#[derive(Default)]
pub struct WorkerStats {
    /// Times round the loop.
    pub loops: AtomicU64,
    /// Of those, with at least one frame.
    pub busy_loops: AtomicU64,
    /// Time spent in them, ns.
    pub busy_ns: AtomicU64,
    /// Time in all since the start, ns.
    pub total_ns: AtomicU64,
    /// Of that, asleep.
    pub slept_ns: AtomicU64,
    /// Frames taken in.
    pub pkts: AtomicU64,
    /// Bursts that receive queues gave, by size.
    pub bursts: [AtomicU64; BURST_SIZES],
    /// Commands taken up; a command is in force once this has passed its number. Stored with release:
    /// who loads it with acquire finds what those commands displaced.
    pub commands: AtomicU64,
}

/// What the worker has counted and not yet put into [`WorkerStats`].
#[derive(Clone, Copy, Default)]
pub(super) struct Account {
    pub(super) loops: u64,
    pub(super) busy_loops: u64,
    pub(super) busy_ns: u64,
    pub(super) total_ns: u64,
    pub(super) slept_ns: u64,
    pub(super) pkts: u64,
    pub(super) bursts: [u64; BURST_SIZES],
}

impl Account {
    /// Puts what has been counted where control reads it.
    pub(super) fn publish(&self, stats: &WorkerStats) {
        let Account { loops, busy_loops, busy_ns, total_ns, slept_ns, pkts, bursts } = *self;
        for (cell, value) in [
            (&stats.loops, loops),
            (&stats.busy_loops, busy_loops),
            (&stats.busy_ns, busy_ns),
            (&stats.total_ns, total_ns),
            (&stats.slept_ns, slept_ns),
            (&stats.pkts, pkts),
        ] {
            cell.store(value, Ordering::Relaxed);
        }
        for (cell, value) in stats.bursts.iter().zip(bursts) {
            cell.store(value, Ordering::Relaxed);
        }
    }
}

/// Which size a burst of so many frames is counted as.
#[inline]
pub(super) fn size_class(count: usize) -> usize {
    (count.max(1).ilog2() as usize).min(BURST_SIZES - 1)
}
