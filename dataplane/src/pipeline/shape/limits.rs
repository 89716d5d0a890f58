//! What each adapter may send and get: its own rates and those by class, and how much it may have flooded.

use super::meter::Meter;
use crate::counters::Traffic;
use crate::ids::{AdapterId, ClassId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Limits of one way.
#[derive(Debug, Default)]
struct Way {
    all: Option<Meter>,
    classes: [Option<Meter>; ClassId::LIMIT],
    /// Frames that were over. Written by all workers.
    dropped: AtomicU64,
}

/// Limits of one adapter, shared by all workers.
#[derive(Debug, Default)]
pub struct Limits {
    from_guest: Way,
    to_guest: Way,
    /// Frames that may go to all members of a network.
    storm: Option<Meter>,
}

impl Limits {
    /// Limits all traffic of one way to so many bits per second.
    pub fn limit(&mut self, way: Traffic, bps: u64) {
        self.way_mut(way).all = Some(Meter::rate(bps));
    }

    /// The same for the traffic with a class, beside what limits all. An unknown class is ignored.
    pub fn limit_class(&mut self, class: ClassId, way: Traffic, bps: u64) {
        if let Some(meter) = self.way_mut(way).classes.get_mut(class.index()) {
            *meter = Some(Meter::rate(bps));
        }
    }

    /// Lets so many frames a second go to all members of a network, in place of what every port may.
    pub fn limit_storm(&mut self, per_s: u32) {
        self.storm = Some(Meter::events(per_s));
    }

    /// Frames of one way that were over their limit since these limits are in force.
    pub fn dropped(&self, way: Traffic) -> u64 {
        self.way(way).dropped.load(Ordering::Relaxed)
    }

    pub(super) fn storm(&self) -> Option<&Meter> {
        self.storm.as_ref()
    }

    pub(super) fn add_dropped(&self, way: Traffic) {
        self.way(way).dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// When a frame may leave, ns: both its class's rate and that of all are kept. Nothing where it would wait
    /// for too long.
    pub(super) fn book(
        &self,
        way: Traffic,
        class: ClassId,
        bytes: u64,
        now_ns: u64,
    ) -> Option<u64> {
        let way = self.way(way);
        let by_class = way.classes.get(class.index()).and_then(Option::as_ref);
        let meters = [by_class, way.all.as_ref()];
        let mut meters = meters.into_iter().flatten();
        // What one refuses takes nothing of the other.
        if !meters.clone().all(|meter| meter.has_room(now_ns)) {
            return None;
        }
        meters.try_fold(0, |at_ns, meter| Some(meter.take(bytes, now_ns)?.max(at_ns)))
    }

    /// Whether long segments are to be cut before they are booked.
    pub(super) fn is_slow(&self, way: Traffic, class: ClassId) -> bool {
        let way = self.way(way);
        let by_class = way.classes.get(class.index()).and_then(Option::as_ref);
        [by_class, way.all.as_ref()].into_iter().flatten().any(Meter::is_slow)
    }

    fn way(&self, way: Traffic) -> &Way {
        match way {
            Traffic::FromGuest => &self.from_guest,
            Traffic::ToGuest => &self.to_guest,
        }
    }

    fn way_mut(&mut self, way: Traffic) -> &mut Way {
        match way {
            Traffic::FromGuest => &mut self.from_guest,
            Traffic::ToGuest => &mut self.to_guest,
        }
    }
}

/// The limits of all adapters, as one worker knows them.
pub(in crate::pipeline) struct LimitTable {
    limits: Box<[Option<Arc<Limits>>]>,
    /// A bit for each adapter that has any: 8 kB, which stay in the first cache.
    limited: Box<[u64]>,
}

impl LimitTable {
    pub(super) fn new() -> Self {
        Self {
            limits: (0..AdapterId::LIMIT).map(|_| None).collect(),
            limited: vec![0; AdapterId::LIMIT / 64].into(),
        }
    }

    /// Whether an adapter has limits.
    #[inline]
    pub(in crate::pipeline) fn is_limited(&self, adapter: AdapterId) -> bool {
        let word = self.limited.get(adapter.index() / 64);
        word.is_some_and(|word| word >> (adapter.index() % 64) & 1 != 0)
    }

    pub(super) fn get(&self, adapter: AdapterId) -> Option<&Arc<Limits>> {
        self.limits.get(adapter.index())?.as_ref()
    }

    /// Sets an adapter's limits; returns those that they replace. Out of range: returns the new ones.
    pub(super) fn set(
        &mut self,
        adapter: AdapterId,
        limits: Option<Arc<Limits>>,
    ) -> Option<Arc<Limits>> {
        let (index, bit) = (adapter.index() / 64, 1 << (adapter.index() % 64));
        let Some(slot) = self.limits.get_mut(adapter.index()) else { return limits };
        if let Some(word) = self.limited.get_mut(index) {
            *word = if limits.is_some() { *word | bit } else { *word & !bit };
        }
        std::mem::replace(slot, limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_meter_refuses_takes_nothing_of_the_other() {
        let (class, now_ns) = (ClassId(1), 1_000_000_000);
        let mut limits = Limits::default();
        limits.limit(Traffic::FromGuest, 1_000);
        limits.limit_class(class, Traffic::FromGuest, 1_000_000_000);
        let book = || limits.book(Traffic::FromGuest, class, 1514, now_ns);
        assert!(book().is_some());
        assert!((0..10_000).all(|_| book().is_none()));
        assert!(limits.from_guest.classes[1].as_ref().is_some_and(|meter| meter.has_room(now_ns)));
    }
}
