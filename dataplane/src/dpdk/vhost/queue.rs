//! The queues of a vhost-user port: receive is what the guest sends, transmit what it gets.

use super::super::mbuf::Mbuf;
use super::super::mempool::Pool;
use super::link::{Gate, Kick, Link, QueueCounts};
use crate::counters::DropReason;
use crate::frame::{Burst, Frame};
use crate::io::Unsent;
use crate::wire::offload::Offload;
use dpdk_sys::rte_mbuf;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The library moves at most so many frames a call, however many it is given (`MAX_PKT_BURST` of its
/// virtio_net.c): fewer than that, not fewer than asked for, means that the ring has no more.
const FRAMES_A_CALL: usize = 32;

/// Feature bits by which a guest takes unfinished frames (VIRTIO 1.2, 5.1.3).
const GUEST_CSUM: u32 = 1;
const GUEST_TSO4: u32 = 7;
const GUEST_TSO6: u32 = 8;

/// One ring that the guest sends by (*one poller*).
#[derive(Debug)]
pub struct VhostRx {
    link: Arc<Link>,
    /// Ring pair.
    pair: u16,
    /// Where the copies of the guest's frames come from.
    pool: Pool,
    /// Whether a kick wakes the worker that polls it.
    pub(in crate::dpdk) is_watched: bool,
}

/// All rings that the guest receives by (*one poller*): which of them carries a flow, this handle
/// decides, by the flow's addresses, among those that the guest has enabled.
#[derive(Debug)]
pub struct VhostTx {
    pub(super) link: Arc<Link>,
    /// Where a long segment's link-layer header gets a buffer of its own.
    pub(super) pool: Pool,
}

impl VhostRx {
    pub(super) fn new(link: &Arc<Link>, pair: u16, pool: Pool) -> Self {
        Self { link: link.clone(), pair, pool, is_watched: false }
    }

    /// Readable after a kick.
    pub(in crate::dpdk) fn kicks(&self) -> Option<BorrowedFd<'_>> {
        self.link.kick(self.pair).map(Kick::descriptor)
    }

    /// Has the guest kick when it has something, or no more; whether it will.
    pub(in crate::dpdk) fn arm(&mut self, is_armed: bool) -> bool {
        let Some(kick) = self.link.kick(self.pair) else { return false };
        kick.is_armed.store(is_armed, Ordering::Relaxed);
        let Gate::Open(vid) = self.link.gate() else {
            // Nothing can be taken before the gate opens, and then the relay tells the guest. What the guest has
            // put there by that time is found by the clock.
            return true;
        };
        let ring = self.pair * 2 + 1;
        // SAFETY: *gate*, as in `rx`. The lock that it takes is free: whoever else takes it shuts the gate first.
        unsafe { dpdk_sys::rte_vhost_enable_guest_notification(vid, ring, is_armed.into()) };
        // The guest looks for that after it has made a buffer available; the worker looks for buffers after this.
        fence(Ordering::SeqCst);
        !kick.is_mute()
    }

    #[inline]
    pub(crate) fn rx(&mut self, into: &mut Burst<Mbuf>) -> usize {
        let Gate::Open(vid) = self.link.gate() else { return 0 };
        let (len, room) = (into.len(), into.remaining_capacity());
        // The capacity of a burst is far below.
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        // SAFETY: *gate*: the device stays until this worker has passed its next quiescent point.
        // `Mbuf` is a transparent pointer and there is room for `room` of them behind `len`; the
        // library writes `count` fresh, *owned* ones.
        let count = unsafe {
            let to = into.as_mut_ptr().add(len).cast::<*mut rte_mbuf>();
            let ring = self.pair * 2 + 1;
            let pool = self.pool.as_ptr();
            let count = dpdk_sys::rte_vhost_dequeue_burst(vid, ring, pool, to, room);
            let count = usize::from(count.min(room));
            into.set_len(len + count);
            count
        };
        into[len..].iter_mut().for_each(Mbuf::check_offload);
        if count > 0
            && let Some(counts) = self.link.rx.get(usize::from(self.pair))
        {
            counts.add(&into[len..]);
        }
        count
    }
}

impl VhostTx {
    /// Hands over what the guest takes. It never waits: a guest whose ring is full loses the frame.
    #[inline]
    pub(crate) fn tx(&mut self, burst: &mut Burst<Mbuf>) -> Unsent {
        let vid = match self.link.gate() {
            Gate::Open(vid) => vid,
            // So short that the frames may wait.
            Gate::Paused => return Unsent::Later,
            Gate::Down => return Unsent::NotConnected,
        };
        let pairs = if self.link.pairs == 1 { 1 } else { self.link.pairs_on() };
        while !burst.is_empty() {
            // The one pair that is on need not be the first.
            let pair = if self.link.pairs == 1 { 0 } else { self.pair_of(&burst[0], pairs.max(1)) };
            let run = match pairs {
                0 | 1 => burst.len(),
                _ => burst.iter().take_while(|frame| self.pair_of(frame, pairs) == pair).count(),
            };
            let (ready, fault) = self.prepare(&mut burst[..run]);
            if self.enqueue(vid, pair, burst, ready) < ready {
                return Unsent::Full;
            }
            if let Some(reason) = fault {
                return Unsent::First(reason);
            }
        }
        Unsent::Full
    }

    /// Whether the guest takes such a frame: it has negotiated that.
    #[inline]
    pub(crate) fn finishes(&self, offload: Offload) -> bool {
        let features = self.link.features.load(Ordering::Relaxed);
        let has = |bit: u32| features & 1 << bit != 0;
        match offload {
            Offload::None => true,
            Offload::Checksum(_) => has(GUEST_CSUM),
            // The family is in the frame; who takes one and not the other gets both in pieces.
            Offload::Segment(..) => has(GUEST_TSO4) && has(GUEST_TSO6),
            Offload::Invalid => false,
        }
    }

    /// Says in the frames what their guest has to finish. How many may be enqueued, and why not the one
    /// behind them.
    fn prepare(&mut self, run: &mut [Mbuf]) -> (usize, Option<DropReason>) {
        for (number, frame) in run.iter_mut().enumerate() {
            let offload = frame.offload();
            if offload == Offload::None {
                continue;
            }
            // It has waited, and the guest that it was finished for has gone meanwhile.
            if !self.finishes(offload) {
                return (number, Some(DropReason::NotConnected));
            }
            if !frame.ask_offload(&mut self.pool) {
                return (number, Some(DropReason::NoMemory));
            }
        }
        (run.len(), None)
    }

    /// Copies the first `run` frames into a ring and frees those that went; how many.
    fn enqueue(&self, vid: i32, pair: u16, burst: &mut Burst<Mbuf>, run: usize) -> usize {
        let mut sent = 0;
        for part in burst[..run].chunks_mut(FRAMES_A_CALL) {
            let count = u16::try_from(part.len()).unwrap_or(u16::MAX);
            // SAFETY: *gate*, as in `rx`. The library copies out of the frames that it takes, the first
            // ones, and keeps none of them.
            let taken = unsafe {
                let from = part.as_mut_ptr().cast::<*mut rte_mbuf>();
                dpdk_sys::rte_vhost_enqueue_burst(vid, pair * 2, from, count)
            };
            sent += usize::from(taken.min(count));
            if taken < count {
                break;
            }
        }
        if let Some(counts) = self.link.tx.get(usize::from(pair)) {
            counts.add(&burst[..sent]);
        }
        let freed = u32::try_from(sent).unwrap_or(0);
        // SAFETY: *owned*; the first `sent` are given back once, and the rest moved into their place.
        unsafe {
            let frames = burst.as_mut_ptr();
            dpdk_sys::rte_pktmbuf_free_bulk(frames.cast::<*mut rte_mbuf>(), freed);
            let rest = burst.len() - sent;
            std::ptr::copy(frames.add(sent), frames, rest);
            burst.set_len(rest);
        }
        sent
    }

    /// The enabled pair that carries a frame's flow, so that a flow keeps its order.
    fn pair_of(&self, frame: &Mbuf, pairs_on: u16) -> u16 {
        let number = u16::try_from(flow_hash(frame.head()) % u32::from(pairs_on)).unwrap_or(0);
        let mut on = (0..self.link.pairs).filter(|pair| self.link.is_pair_on(*pair));
        on.nth(usize::from(number)).unwrap_or(0)
    }
}

/// Equal for all frames of a flow: of an untagged IPv4 packet by its addresses and, where no fragment
/// could lack them, its ports; of anything else by its MACs.
fn flow_hash(head: &[u8]) -> u32 {
    let word = |at: usize| match head.get(at..at + 4) {
        Some(bytes) => u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        None => 0,
    };
    let is_ipv4 = head.get(12..15) == Some(&[8, 0, 0x45]);
    // More fragments, or an offset.
    let is_fragment = word(20) & 0x3fff_0000 != 0;
    let has_ports = matches!(head.get(23), Some(6 | 17)) && !is_fragment;
    let key = match (is_ipv4, has_ports) {
        (true, true) => word(26) ^ word(30).rotate_left(16) ^ word(34),
        (true, false) => word(26) ^ word(30).rotate_left(16),
        _ => word(2) ^ word(8).rotate_left(16),
    };
    // Fibonacci hashing: the high bits depend on all of the key.
    key.wrapping_mul(0x9e37_79b1) >> 16
}

impl QueueCounts {
    /// One writer, so no locked instruction.
    fn add(&self, frames: &[Mbuf]) {
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        for (cell, by) in [(&self.pkts, frames.len() as u64), (&self.bytes, bytes)] {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> (u64, u64) {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        (read(&self.pkts), read(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::flow_hash;

    fn packet(source: u8, port: u16, fragment: u16) -> Vec<u8> {
        let mut bytes = vec![2; 60];
        bytes[12..15].copy_from_slice(&[8, 0, 0x45]);
        bytes[20..22].copy_from_slice(&fragment.to_be_bytes());
        bytes[23] = 17;
        bytes[26] = source;
        bytes[34..36].copy_from_slice(&port.to_be_bytes());
        bytes
    }

    #[test]
    fn a_flow_is_told_by_addresses_and_ports() {
        assert_ne!(flow_hash(&packet(1, 7, 0)), flow_hash(&packet(2, 7, 0)));
        assert_ne!(flow_hash(&packet(1, 7, 0)), flow_hash(&packet(1, 8, 0)));
    }

    #[test]
    fn fragments_of_a_packet_stay_together() {
        let (first, last) = (packet(1, 7, 0x2000), packet(1, 9999, 0x00b9));
        assert_eq!(flow_hash(&first), flow_hash(&last));
    }

    #[test]
    fn short_frames_have_a_hash_too() {
        flow_hash(&[]);
        flow_hash(&[0; 13]);
    }
}
