//! Counters: one block per worker, written by that worker alone, summed by control.
//!
//! Invariant: a cell has one writer, so an increment is a relaxed load and a relaxed store, no
//! locked instruction. Readers see each cell whole and never later than the worker's next flush.
//! Invariant (design.md, 4): for every ingress port, and so in all,
//! `rx + generated + copies = forwarded + drops by reason + consumed`, and the sum of `forwarded`
//! over ingress ports equals the sum of `tx_pkts` over egress ports.
//!
//! Memory comes zeroed from the allocator and is touched only where an id is used, so a block for
//! 65,536 adapters costs what the live ones use.

mod reason;

pub use reason::DropReason;

use crate::frame::BURST_PKTS;
use crate::ids::{AdapterId, ClassId, PortId};
use crate::machine::pairs::{self, Cells, bump};
use bytemuck::zeroed_slice_box;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted per port. `rx_*`, `generated`, `copies`, `forwarded` and `consumed` at the port
/// that a frame came in by; `tx_*` at the port that it left by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PortCounter {
    /// Frames received.
    RxPkts,
    /// Bytes received, without FCS.
    RxBytes,
    /// Frames sent.
    TxPkts,
    /// Bytes sent, without FCS.
    TxBytes,
    /// Frames that we made because of one that came in here: ICMP errors, fragments, control's.
    Generated,
    /// Copies made to flood a frame that came in here.
    Copies,
    /// Frames that came in here (or were generated or copied for it) and were sent somewhere.
    Forwarded,
    /// Frames that ended here on purpose: given to control, or sent in pieces that were generated.
    Consumed,
    /// Of those, long TCP segments that were cut because their way out could not.
    Segmented,
}

const PORT_COUNTERS: usize = 9;

/// What is counted per adapter, from the appliance's side: `rx` came from the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum AdapterCounter {
    /// Frames from the guest.
    RxPkts,
    /// Bytes from the guest.
    RxBytes,
    /// Frames to the guest.
    TxPkts,
    /// Bytes to the guest.
    TxBytes,
}

const ADAPTER_COUNTERS: usize = 4;

/// Which way an adapter's traffic goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// `rx_*`.
    FromGuest,
    /// `tx_*`.
    ToGuest,
}
const PORT_STRIDE: usize = PORT_COUNTERS + DropReason::COUNT;

/// One writer's counters: a worker's, or control's own.
pub struct Counters {
    /// `PortId::LIMIT` rows of port counters and drops. Written by one worker, read by control.
    ports: Box<[AtomicU64]>,
    /// `AdapterId::LIMIT` rows of traffic, two to a cache line: each packet is counted here. Likewise.
    adapters: Box<[Cells]>,
    /// `AdapterId::LIMIT` rows of drops. Likewise.
    adapter_drops: Box<[[AtomicU64; DropReason::COUNT]]>,
    /// `AdapterId::LIMIT` rows of traffic by class, as `adapters` for each. Likewise.
    classes: Box<[[Cells; ClassId::LIMIT]]>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// A zeroed block for every possible port and adapter; about 62 MB of address space.
    pub fn new() -> Self {
        Self {
            ports: zeroed_slice_box(PortId::LIMIT * PORT_STRIDE),
            adapters: zeroed_slice_box(AdapterId::LIMIT),
            adapter_drops: zeroed_slice_box(AdapterId::LIMIT),
            classes: zeroed_slice_box(AdapterId::LIMIT),
        }
    }

    /// Adds to a port's counter. A port out of range is ignored.
    #[inline]
    pub fn port_add(&self, port: PortId, counter: PortCounter, by: u64) {
        if let Some(cell) = self.ports.get(port.index() * PORT_STRIDE + counter as usize) {
            bump(cell, by);
        }
    }

    /// Counts frames to or from an adapter's guest, with their bytes. [`AdapterId::NONE`] is ignored.
    #[inline]
    pub fn adapter_traffic(&self, adapter: AdapterId, way: Traffic, pkts: u64, bytes: u64) {
        if let Some(row) = self.adapters.get(adapter.index()) {
            let [received, sent] = row.as_chunks::<2>().0 else { return };
            let pair = if way == Traffic::FromGuest { received } else { sent };
            bump(&pair[0], pkts);
            bump(&pair[1], bytes);
        }
    }

    /// Counts frames of a guest to or from the addresses of a class, with their bytes. [`AdapterId::NONE`] and
    /// [`ClassId::NONE`] are ignored.
    #[inline]
    pub fn class_traffic(
        &self,
        adapter: AdapterId,
        class: ClassId,
        way: Traffic,
        pkts: u64,
        bytes: u64,
    ) {
        let row = self.classes.get(adapter.index()).and_then(|rows| rows.get(class.index()));
        if let Some(row) = row {
            let [received, sent] = row.as_chunks::<2>().0 else { return };
            let pair = if way == Traffic::FromGuest { received } else { sent };
            bump(&pair[0], pkts);
            bump(&pair[1], bytes);
        }
    }

    /// Counts the first so many frames of a burst, each with its bytes, to the guest of its slot's adapter.
    #[inline]
    pub fn burst_to_guests(
        &self,
        adapter: impl Fn(usize) -> AdapterId,
        bytes: &[u32; BURST_PKTS],
        count: usize,
    ) {
        pairs::add_each(&self.adapters, |slot| adapter(slot).index(), bytes, count);
    }

    /// Counts dropped frames at the port and at the adapter that they came from.
    #[inline]
    pub fn drop_add(&self, port: PortId, adapter: AdapterId, reason: DropReason, by: u64) {
        let offset = PORT_COUNTERS + reason as usize;
        if let Some(cell) = self.ports.get(port.index() * PORT_STRIDE + offset) {
            bump(cell, by);
        }
        if let Some(row) = self.adapter_drops.get(adapter.index()) {
            bump(&row[reason as usize], by);
        }
    }

    /// A port's row.
    pub fn port(&self, port: PortId) -> PortCounts {
        let mut counts = PortCounts::default();
        if port.index() < PortId::LIMIT {
            let row = &self.ports[port.index() * PORT_STRIDE..][..PORT_STRIDE];
            let (counters, drops) = row.split_at(PORT_COUNTERS);
            read_row(counters, &mut counts.counters);
            read_row(drops, &mut counts.drops);
        }
        counts
    }

    /// An adapter's traffic with a class.
    pub fn class(&self, adapter: AdapterId, class: ClassId) -> ClassCounts {
        let mut counts = ClassCounts::default();
        let row = self.classes.get(adapter.index()).and_then(|rows| rows.get(class.index()));
        if let Some(row) = row {
            read_row(row, &mut counts.0);
        }
        counts
    }

    /// An adapter's row.
    pub fn adapter(&self, adapter: AdapterId) -> AdapterCounts {
        let mut counts = AdapterCounts::default();
        let rows = self.adapters.get(adapter.index()).zip(self.adapter_drops.get(adapter.index()));
        if let Some((counters, drops)) = rows {
            read_row(counters, &mut counts.counters);
            read_row(drops, &mut counts.drops);
        }
        counts
    }
}

fn read_row(row: &[AtomicU64], into: &mut [u64]) {
    into.iter_mut().zip(row).for_each(|(out, cell)| *out = cell.load(Ordering::Relaxed));
}

/// A port's counters, read or summed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortCounts {
    counters: [u64; PORT_COUNTERS],
    drops: [u64; DropReason::COUNT],
}

/// An adapter's counters, read or summed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterCounts {
    counters: [u64; ADAPTER_COUNTERS],
    drops: [u64; DropReason::COUNT],
}

/// An adapter's traffic with a class, read or summed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassCounts([u64; ADAPTER_COUNTERS]);

impl ClassCounts {
    /// One counter.
    pub fn counter(&self, counter: AdapterCounter) -> u64 {
        self.0[counter as usize]
    }
    /// Adds another block's row.
    pub fn add(&mut self, other: &Self) {
        combine(&mut self.0, &other.0, u64::wrapping_add);
    }
}

impl Default for PortCounts {
    fn default() -> Self {
        Self { counters: [0; PORT_COUNTERS], drops: [0; DropReason::COUNT] }
    }
}

impl Default for AdapterCounts {
    fn default() -> Self {
        Self { counters: [0; ADAPTER_COUNTERS], drops: [0; DropReason::COUNT] }
    }
}

fn combine(to: &mut [u64], from: &[u64], op: impl Fn(u64, u64) -> u64) {
    to.iter_mut().zip(from).for_each(|(a, b)| *a = op(*a, *b));
}

impl PortCounts {
    /// One counter.
    pub fn counter(&self, counter: PortCounter) -> u64 {
        self.counters[counter as usize]
    }
    /// Frames dropped for one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
    /// Frames dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().sum()
    }
    /// Adds another block's row.
    pub fn add(&mut self, other: &Self) {
        combine(&mut self.counters, &other.counters, u64::wrapping_add);
        combine(&mut self.drops, &other.drops, u64::wrapping_add);
    }
    /// Takes a baseline off, as `clear` does.
    pub fn subtract(&mut self, baseline: &Self) {
        combine(&mut self.counters, &baseline.counters, u64::wrapping_sub);
        combine(&mut self.drops, &baseline.drops, u64::wrapping_sub);
    }
}

impl AdapterCounts {
    /// One counter.
    pub fn counter(&self, counter: AdapterCounter) -> u64 {
        self.counters[counter as usize]
    }
    /// Frames dropped for one reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
    /// Frames dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().sum()
    }
    /// Adds another block's row.
    pub fn add(&mut self, other: &Self) {
        combine(&mut self.counters, &other.counters, u64::wrapping_add);
        combine(&mut self.drops, &other.drops, u64::wrapping_add);
    }
    /// Takes a baseline off, as the reuse of an id does.
    pub fn subtract(&mut self, baseline: &Self) {
        combine(&mut self.counters, &baseline.counters, u64::wrapping_sub);
        combine(&mut self.drops, &baseline.drops, u64::wrapping_sub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_is_counted_at_its_port_and_its_adapter_only() {
        let counters = Counters::new();
        counters.drop_add(PortId(3), AdapterId(7), DropReason::SpoofedIp, 2);
        counters.drop_add(PortId(3), AdapterId::NONE, DropReason::NoRoute, 1);
        assert_eq!(counters.port(PortId(3)).drops_total(), 3);
        assert_eq!(counters.adapter(AdapterId(7)).drops(DropReason::SpoofedIp), 2);
        assert_eq!(counters.adapter(AdapterId(6)), AdapterCounts::default());
        assert_eq!(counters.port(PortId(4)), PortCounts::default());
    }
}
