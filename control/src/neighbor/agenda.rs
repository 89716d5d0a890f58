//! When each target is next looked at, and who waits for leave to send on a busy port.
//!
//! Invariant: a target stands in one place: at a time, in its port's lane, or nowhere. A lane is
//! first come, first served, so ten thousand targets that are due at once cost each tick no more
//! than the frames that may go.

use super::Target;
use super::pace::{Pace, Rate};
use dataplane::ids::PortId;
use std::collections::{BTreeMap, BTreeSet};

/// The times and lanes of one state machine.
#[derive(Debug)]
pub(super) struct Agenda {
    rate: Rate,
    places: BTreeMap<Target, Place>,
    timed: BTreeSet<(u64, Target)>,
    lanes: BTreeMap<PortId, Lane>,
    next_ticket: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Timed { due_ms: u64 },
    Waiting { ticket: u64 },
}

#[derive(Debug)]
struct Lane {
    pace: Pace,
    /// By ticket: in order of arrival.
    waiting: BTreeMap<u64, Target>,
}

impl Agenda {
    /// An empty agenda whose lanes send at `rate` each.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            places: BTreeMap::new(),
            timed: BTreeSet::new(),
            lanes: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// The target is next looked at then, and no longer waits to send.
    pub(super) fn at(&mut self, target: Target, due_ms: u64) {
        self.remove(target);
        self.places.insert(target, Place::Timed { due_ms });
        self.timed.insert((due_ms, target));
    }

    /// The target waits for leave to send a frame on its port; it keeps its turn if it waits
    /// already.
    pub(super) fn queue(&mut self, target: Target) {
        if matches!(self.places.get(&target), Some(Place::Waiting { .. })) {
            return;
        }
        self.remove(target);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.places.insert(target, Place::Waiting { ticket });
        let rate = self.rate;
        let lane = self.lanes.entry(target.port);
        lane.or_insert_with(|| Lane { pace: Pace::new(rate), waiting: BTreeMap::new() })
            .waiting
            .insert(ticket, target);
    }

    /// The target is not looked at any more.
    pub(super) fn remove(&mut self, target: Target) {
        match self.places.remove(&target) {
            Some(Place::Timed { due_ms }) => {
                self.timed.remove(&(due_ms, target));
            }
            Some(Place::Waiting { ticket }) => {
                if let Some(lane) = self.lanes.get_mut(&target.port) {
                    lane.waiting.remove(&ticket);
                }
            }
            None => {}
        }
    }

    /// Takes a target out whose time has come.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Target> {
        let (due_ms, target) = self.timed.first().copied()?;
        if due_ms > now_ms {
            return None;
        }
        self.remove(target);
        Some(target)
    }

    /// Takes a target out that may send one frame on its port now, and must.
    pub(super) fn ready(&mut self, now_ms: u64) -> Option<Target> {
        let mut lanes = self.lanes.values_mut();
        let (_, target) = lanes.find_map(|lane| {
            let may_send = !lane.waiting.is_empty() && lane.pace.take(now_ms);
            may_send.then(|| lane.waiting.pop_first()).flatten()
        })?;
        self.places.remove(&target);
        Some(target)
    }

    /// When there is next something due or ready.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let lanes = self.lanes.values().filter(|lane| !lane.waiting.is_empty());
        let ready = lanes.map(|lane| lane.pace.next_ms());
        ready.chain(self.timed.first().map(|(due_ms, _)| *due_ms)).min()
    }

    /// Targets with a time, soonest first.
    pub(super) fn timed(&self) -> impl Iterator<Item = Target> {
        self.timed.iter().map(|(_, target)| *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn target(last: u8) -> Target {
        Target { port: PortId(1), ip: Ipv4Addr::new(192, 0, 2, last) }
    }

    #[test]
    fn who_queues_again_keeps_its_turn() {
        let mut agenda = Agenda::new(Rate { per_s: 100, burst: 1 });
        [1, 2, 1].into_iter().for_each(|last| agenda.queue(target(last)));
        assert_eq!((agenda.ready(0), agenda.ready(9)), (Some(target(1)), None));
        assert_eq!((agenda.next_ms(), agenda.ready(10)), (Some(10), Some(target(2))));
        assert_eq!((agenda.ready(100), agenda.next_ms()), (None, None));
    }

    #[test]
    fn a_target_stands_in_one_place() {
        let mut agenda = Agenda::new(Rate { per_s: 100, burst: 1 });
        agenda.queue(target(1));
        agenda.at(target(1), 50);
        agenda.at(target(1), 40);
        assert_eq!((agenda.ready(30), agenda.due(39), agenda.next_ms()), (None, None, Some(40)));
        assert_eq!((agenda.due(40), agenda.due(60)), (Some(target(1)), None));
        agenda.at(target(1), 70);
        agenda.queue(target(1));
        assert_eq!((agenda.due(80), agenda.ready(80)), (None, Some(target(1))));
        agenda.queue(target(2));
        agenda.remove(target(2));
        assert_eq!(agenda.next_ms(), None);
    }

    #[test]
    fn each_port_has_a_lane_of_its_own() {
        let mut agenda = Agenda::new(Rate { per_s: 100, burst: 1 });
        let other = Target { port: PortId(2), ..target(9) };
        let all = [target(1), target(2), target(3), other];
        all.into_iter().for_each(|target| agenda.queue(target));
        let now = [agenda.ready(0), agenda.ready(0), agenda.ready(0)];
        assert_eq!(now, [Some(target(1)), Some(other), None]);
    }
}
