//! Token buckets: punts and floods per port, learning, and ICMP errors per guest and in all.
//!
//! Each worker has its own, so no line is shared. A guest's port is served by one worker, so its
//! bucket is exact; a limit "in all" is per worker.
//!
//! What a guest provokes is charged to its adapter, also where many share a port. On the wire
//! broadcasts have a bucket of their own: a storm of them must not cost us the answers to our own ARP
//! requests, or all guests lose their next hop.

use crate::frame::Ingress;
use crate::ids::{AdapterId, PortId};

/// Events a second, and how many may come at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Events per second.
    pub per_s: u32,
    /// Burst, events.
    pub burst: u32,
}

/// The limits in force, per worker.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Punted frames per adapter; of what is no guest's, unicast and broadcast each, per ingress port.
    pub punt: Rate,
    /// Reports of sources to learn and of conflicts, per ingress port.
    pub notice: Rate,
    /// Flooded frames, per ingress port that is not the wire. Each costs a copy per member on a worker
    /// that serves others too, so the rate is what the ARP and multicast of one guest never reach.
    pub flood: Rate,
    /// The same per uplink, where a whole LAN talks by one port.
    pub flood_wire: Rate,
    /// ICMP errors per port that provoked them (RFC 1812 4.3.2.8).
    pub icmp: Rate,
    /// ICMP errors in all.
    pub icmp_all: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            punt: Rate { per_s: 1_000, burst: 200 },
            notice: Rate { per_s: 1_000, burst: 256 },
            flood: Rate { per_s: 20_000, burst: 2_000 },
            flood_wire: Rate { per_s: 50_000, burst: 5_000 },
            icmp: Rate { per_s: 100, burst: 50 },
            icmp_all: Rate { per_s: 1_000, burst: 200 },
        }
    }
}

/// One bucket, in event-nanoseconds: an event costs `1e9 / per_s`.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Time up to which events are paid for. A bucket that was idle has it in the past.
    paid_until_ns: u64,
}

impl Bucket {
    /// Generic cell rate algorithm (ITU-T I.371): whether one more event conforms.
    #[inline]
    fn take(&mut self, rate: Rate, now_ns: u64) -> bool {
        let cost_ns = (1_000_000_000 / u64::from(rate.per_s.max(1))).max(1);
        let depth_ns = cost_ns * u64::from(rate.burst);
        let start = self.paid_until_ns.max(now_ns);
        let fits = start - now_ns < depth_ns;
        if fits {
            self.paid_until_ns = start + cost_ns;
        }
        fits
    }
}

/// A worker's buckets.
pub struct Limits {
    rates: Rates,
    punt: Box<[Bucket]>,
    punt_group: Box<[Bucket]>,
    punt_adapter: Box<[Bucket]>,
    flood: Box<[Bucket]>,
    icmp: Box<[Bucket]>,
    icmp_adapter: Box<[Bucket]>,
    icmp_all: Bucket,
    notice: Box<[Bucket]>,
}

impl Limits {
    pub(super) fn new(rates: Rates) -> Self {
        let buckets = |count| vec![Bucket::default(); count].into();
        Self {
            rates,
            punt: buckets(PortId::LIMIT),
            punt_group: buckets(PortId::LIMIT),
            punt_adapter: buckets(AdapterId::LIMIT),
            flood: buckets(PortId::LIMIT),
            icmp: buckets(PortId::LIMIT),
            icmp_adapter: buckets(AdapterId::LIMIT),
            icmp_all: Bucket::default(),
            notice: buckets(PortId::LIMIT),
        }
    }

    /// Whether control may get one more frame from there; `is_group`: it was a broadcast.
    pub(super) fn punt(&mut self, from: Ingress, is_group: bool, now_ns: u64) -> bool {
        let bucket = match self.punt_adapter.get_mut(from.adapter.index()) {
            Some(bucket) => Some(bucket),
            None if is_group => self.punt_group.get_mut(from.port.index()),
            None => self.punt.get_mut(from.port.index()),
        };
        bucket.is_some_and(|bucket| bucket.take(self.rates.punt, now_ns))
    }

    /// Whether one more frame from `port` may go to all members of a network.
    pub(super) fn flood(&mut self, port: PortId, is_wire: bool, now_ns: u64) -> bool {
        let rate = if is_wire { self.rates.flood_wire } else { self.rates.flood };
        self.flood.get_mut(port.index()).is_some_and(|bucket| bucket.take(rate, now_ns))
    }

    /// Whether control may be told of one more source seen on `port`. A bucket each, so that a guest
    /// that makes up sources hides no other's.
    pub(super) fn notice(&mut self, port: PortId, now_ns: u64) -> bool {
        self.notice.get_mut(port.index()).is_some_and(|b| b.take(self.rates.notice, now_ns))
    }

    /// Whether one more ICMP error may answer a frame of this adapter, or of this port where the
    /// frame is no guest's.
    pub(super) fn icmp(&mut self, port: PortId, adapter: AdapterId, now_ns: u64) -> bool {
        let own = match self.icmp_adapter.get_mut(adapter.index()) {
            Some(bucket) => Some(bucket),
            None => self.icmp.get_mut(port.index()),
        };
        own.is_some_and(|bucket| bucket.take(self.rates.icmp, now_ns))
            && self.icmp_all.take(self.rates.icmp_all, now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { per_s: 100, burst: 5 };
        let mut bucket = Bucket::default();
        let start_ns = 7_000_000_000;
        assert_eq!((0..50).filter(|_| bucket.take(rate, start_ns)).count(), 5);
        let one_second =
            (1..=1000).filter(|ms| bucket.take(rate, start_ns + ms * 1_000_000)).count();
        assert_eq!(one_second, 100);
    }

    #[test]
    fn one_guest_cannot_use_up_anothers_errors() {
        let mut limits = Limits::new(Rates::default());
        let mut taken =
            |adapter| (0..1000).filter(|_| limits.icmp(PortId(1), AdapterId(adapter), 1)).count();
        assert_eq!(taken(1), 50);
        assert_eq!(taken(2), 50);
    }
}
