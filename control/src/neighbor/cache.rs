//! The neighbor cache: which MAC a next hop has, and the packets that wait to know.
//!
//! ```text
//!            resolve, seek              answered             silent for a minute
//!   (none) ──────────────▶ incomplete ──────────▶ reachable ───────────────────▶ probing
//!      ▲                       │                    ▲  ▲         answered           │
//!      │                       │ 3 broadcasts       │  └────────────────────────────┤
//!      │    hold-down over     ▼                    │ heard        3 unicasts,      │
//!      └─────────────────── failed ─────────────────┘              3 broadcasts     │
//!                              ▲                                                    │
//!                              └────────────────────────────────────────────────────┘
//! ```
//!
//! Who may put a MAC in (duties.md, RFC 826): anyone for an entry that waits for one; for a target
//! that nobody asked for only who asks for an address of ours; over another MAC only a reply or an
//! announcement from where the first came, or from the wire over a member of its network and at once,
//! so that no guest diverts what belongs to a host outside; over a static entry nobody.
//!
//! Invariant: every packet given to [`NeighborCache::resolve`] comes back in exactly one action.
//! Invariant: a request for one target goes at most once a second.

use super::Target;
use super::agenda::Agenda;
use super::hold::Hold;
use super::pace::Rate;
use super::random::Random;
use dataplane::ids::{AdapterId, PortId};
use dataplane::wire::arp::{self, Arp};
use dataplane::wire::ethernet::MacAddr;
use std::collections::BTreeMap;

pub use super::hold::{
    IN_ALL as HELD_IN_ALL, LIFE_MS as HELD_LIFE_MS, PER_TARGET as HELD_PER_TARGET,
};

/// Share of a port's ARP frames that looks for neighbors.
pub const FRAMES_PER_S: Rate = Rate { per_s: 120, burst: 30 };
/// Between two requests for one target (RFC 1122 2.3.2.1).
pub const REQUEST_INTERVAL_MS: u64 = 1000;
/// Unicast requests to a MAC that was known before broadcast ones.
pub const UNICAST_PROBES: u8 = 3;
/// Broadcast requests before a neighbor is given up.
pub const BROADCASTS: u8 = 3;
/// A MAC that was just learned stays this long, so that two claimants can't make it flap.
pub const MOVE_LOCK_MS: u64 = 1000;

/// Bounds and times of a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most entries that are not static.
    pub entries: usize,
    /// Most of them without a MAC: incomplete or failed.
    pub unresolved: usize,
    /// Most incomplete ones that one adapter asked for, so that no guest's scan keeps others
    /// waiting.
    pub incomplete_per_adapter: usize,
    /// How long a MAC is believed without a word from it; spread by a quarter either way.
    pub reachable_ms: u64,
    /// How long a neighbor that did not answer is not asked again.
    pub hold_down_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 8192,
            unresolved: 1024,
            incomplete_per_adapter: 32,
            reachable_ms: 60_000,
            hold_down_ms: 5000,
        }
    }
}

/// Where a neighbor was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Station {
    /// Its MAC.
    pub mac: MacAddr,
    /// Port that leads to it: the target's, or that of a member of the uplink's untagged network.
    pub via: PortId,
}

/// What there is to do. Packets come back in one of three.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NeighborAction<P> {
    /// Send an ARP request for the target: to one MAC by its port, or where there is none as a
    /// broadcast on the target's port and its untagged network.
    Request {
        /// Whom to look for.
        target: Target,
        /// Where it was last.
        to: Option<Station>,
    },
    /// Publish: the target is there. Comes before the packets that waited for it.
    Resolved {
        /// Whose MAC.
        target: Target,
        /// Where it is.
        station: Station,
    },
    /// Publish: the target does not answer; workers drop packets for it with ICMP 3/1.
    Unreachable {
        /// Who does not answer.
        target: Target,
        /// Whether it did until now, rather than never: the one is news, the other may be a scan.
        is_lost: bool,
    },
    /// Publish: nothing is known; workers punt packets for it.
    Forgotten {
        /// Who is forgotten.
        target: Target,
    },
    /// Route this packet again: its next hop has a MAC.
    Forward {
        /// The packet.
        packet: P,
    },
    /// Drop this packet with ICMP 3/1: its next hop does not answer.
    Unanswered {
        /// The packet.
        packet: P,
    },
    /// Drop this packet: it waited too long, or there is no room for it.
    Dropped {
        /// The packet.
        packet: P,
    },
}

/// An ARP packet and where it was heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Port of the link: for a network attached untagged, its uplink.
    pub port: PortId,
    /// Port that it came in by.
    pub via: PortId,
    /// The packet.
    pub arp: &'a Arp,
    /// Whether its sender may be learned though nobody asked for it: it asks for an address that we
    /// answer for, and its own is on this link and not one of ours.
    pub learn: bool,
}

/// What an operator sees of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NeighborState {
    /// Asked for, not answered yet.
    Incomplete,
    /// Heard of lately.
    Reachable(Station),
    /// Not heard of for a while and being asked; still used.
    Probing(Station),
    /// Did not answer; not asked for a while.
    Failed,
    /// Set by the operator.
    Static(Station),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Incomplete {
        asked: u8,
        asker: AdapterId,
    },
    /// `asked` of 0 is reachable, more is probing.
    Known {
        station: Station,
        asked: u8,
        moved_ms: u64,
    },
    Failed,
    Static(Station),
}

impl State {
    fn station(&self) -> Option<Station> {
        match self {
            State::Known { station, .. } | State::Static(station) => Some(*station),
            State::Incomplete { .. } | State::Failed => None,
        }
    }
}

/// The cache. `P` is the packet type: a frame in the appliance, a number in tests.
#[derive(Debug)]
pub struct NeighborCache<P> {
    limits: Limits,
    entries: BTreeMap<Target, State>,
    /// Entries that are not static.
    dynamic: usize,
    /// Entries that are incomplete or failed.
    unresolved: usize,
    /// Incomplete entries by who asked first.
    incomplete: BTreeMap<AdapterId, usize>,
    hold: Hold<P>,
    agenda: Agenda,
    random: Random,
}

type Actions<P> = Vec<NeighborAction<P>>;

impl<P> NeighborCache<P> {
    /// An empty cache. The seed spreads the times at which entries are probed.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            dynamic: 0,
            unresolved: 0,
            incomplete: BTreeMap::new(),
            hold: Hold::new(),
            agenda: Agenda::new(FRAMES_PER_S),
            random: Random::new(seed),
        }
    }

    /// A packet has a next hop whose MAC its worker did not know. `asker` sent it; the server
    /// ([`AdapterId::SERVER`]) and we ourselves ([`AdapterId::NONE`]) have no bound of our own.
    pub fn resolve(
        &mut self,
        now_ms: u64,
        target: Target,
        asker: AdapterId,
        packet: P,
        out: &mut Actions<P>,
    ) {
        match self.entries.get(&target).copied() {
            // The worker had not seen the MAC yet when it punted.
            Some(State::Known { .. } | State::Static(_)) => {
                return out.push(NeighborAction::Forward { packet });
            }
            Some(State::Failed) => return out.push(NeighborAction::Unanswered { packet }),
            Some(State::Incomplete { .. }) => {}
            None if self.begin(now_ms, target, asker, out) => {}
            None => return out.push(NeighborAction::Dropped { packet }),
        }
        let dropped = self.hold.push(now_ms, target, packet);
        out.extend(dropped.map(|packet| NeighborAction::Dropped { packet }));
    }

    /// Looks for a target before there is a packet for it, as for a gateway at start.
    pub fn seek(&mut self, now_ms: u64, target: Target, out: &mut Actions<P>) {
        if !self.entries.contains_key(&target) {
            self.begin(now_ms, target, AdapterId::NONE, out);
        }
    }

    /// An ARP packet was heard on a link where we look for neighbors.
    pub fn hear(&mut self, now_ms: u64, heard: &Heard<'_>, out: &mut Actions<P>) {
        // A probe's sender has no address yet.
        if heard.arp.sender_ip.is_unspecified() {
            return;
        }
        let target = Target { port: heard.port, ip: heard.arp.sender_ip };
        let station = Station { mac: heard.arp.sender_mac, via: heard.via };
        match self.entries.get(&target).copied() {
            None if heard.learn && self.has_room(out) => {
                self.learn(now_ms, target, station, out);
            }
            Some(State::Incomplete { .. } | State::Failed) => {
                self.learn(now_ms, target, station, out);
            }
            Some(State::Known { station: known, moved_ms, .. }) => {
                if known == station {
                    self.confirm(now_ms, target, station, moved_ms);
                } else if may_move(known, heard)
                    && (is_wire_over_member(known, heard) || now_ms >= moved_ms + MOVE_LOCK_MS)
                {
                    self.learn(now_ms, target, station, out);
                }
            }
            None | Some(State::Static(_)) => {}
        }
    }

    /// Does what is due by now. Harmless at any time; needed by [`Self::next_ms`].
    pub fn tick(&mut self, now_ms: u64, out: &mut Actions<P>) {
        while let Some(packet) = self.hold.expired(now_ms) {
            out.push(NeighborAction::Dropped { packet });
        }
        while let Some(target) = self.agenda.due(now_ms) {
            match self.entries.get(&target) {
                Some(State::Incomplete { asked: BROADCASTS.., .. }) => {
                    self.fail(now_ms, target, out);
                }
                Some(State::Known { asked, .. }) if *asked >= UNICAST_PROBES + BROADCASTS => {
                    self.fail(now_ms, target, out);
                }
                Some(State::Incomplete { .. } | State::Known { .. }) => self.agenda.queue(target),
                Some(State::Failed) => self.forget(target, out),
                Some(State::Static(_)) | None => {}
            }
        }
        self.send_ready(now_ms, out);
    }

    /// When [`Self::tick`] is next needed; `None` while there is nothing to wait for.
    pub fn next_ms(&self) -> Option<u64> {
        self.agenda.next_ms().into_iter().chain(self.hold.next_ms()).min()
    }

    /// The operator says where a target is: never asked, never learned, until it is removed.
    pub fn set_static(&mut self, target: Target, station: Station, out: &mut Actions<P>) {
        self.agenda.remove(target);
        self.set(target, Some(State::Static(station)));
        self.release(target, station, out);
    }

    /// Removes one entry, static or not; false where there is none.
    pub fn remove(&mut self, target: Target, out: &mut Actions<P>) -> bool {
        let found = self.entries.contains_key(&target);
        if found {
            self.forget(target, out);
        }
        found
    }

    /// Removes the entries that were learned, or failed, and match; those being asked for go on.
    pub fn flush(&mut self, matches: impl Fn(Target) -> bool, out: &mut Actions<P>) {
        self.forget_all(out, |target, state| {
            matches(target) && matches!(state, State::Known { .. } | State::Failed)
        });
    }

    /// A port is gone: so is every entry on it or behind it.
    pub fn remove_port(&mut self, port: PortId, out: &mut Actions<P>) {
        self.forget_all(out, |target, state| {
            target.port == port || state.station().is_some_and(|station| station.via == port)
        });
    }

    /// The members of a port's untagged network are no longer on its link: what was heard behind them
    /// is forgotten.
    pub fn remove_behind_members(&mut self, port: PortId, out: &mut Actions<P>) {
        self.forget_all(out, |target, state| {
            target.port == port && state.station().is_some_and(|station| station.via != port)
        });
    }

    /// One entry.
    pub fn state(&self, target: Target) -> Option<NeighborState> {
        self.entries.get(&target).map(|state| view(*state))
    }

    /// All entries, by port and address.
    pub fn entries(&self) -> impl Iterator<Item = (Target, NeighborState)> {
        self.entries.iter().map(|(target, state)| (*target, view(*state)))
    }

    /// Packets held now.
    pub fn held(&self) -> usize {
        self.hold.len()
    }

    /// Packets held now for one target.
    pub fn held_for(&self, target: Target) -> usize {
        self.hold.count(target)
    }

    /// Makes an incomplete entry and asks; false where a bound forbids it.
    fn begin(
        &mut self,
        now_ms: u64,
        target: Target,
        asker: AdapterId,
        out: &mut Actions<P>,
    ) -> bool {
        let asked_for = self.incomplete.get(&asker).copied().unwrap_or_default();
        let is_guests = !matches!(asker, AdapterId::NONE | AdapterId::SERVER);
        let bounded = is_guests && asked_for >= self.limits.incomplete_per_adapter;
        if bounded || !self.has_room(out) || !self.has_unresolved_room(out) {
            return false;
        }
        self.set(target, Some(State::Incomplete { asked: 0, asker }));
        self.agenda.queue(target);
        self.send_ready(now_ms, out);
        true
    }

    fn has_room(&mut self, out: &mut Actions<P>) -> bool {
        self.dynamic < self.limits.entries || self.forget_oldest_failed(out)
    }

    fn has_unresolved_room(&mut self, out: &mut Actions<P>) -> bool {
        self.unresolved < self.limits.unresolved || self.forget_oldest_failed(out)
    }

    /// A failed entry says only "not again so soon", so it is the one to give way.
    fn forget_oldest_failed(&mut self, out: &mut Actions<P>) -> bool {
        let is_failed = |target: &Target| matches!(self.entries.get(target), Some(State::Failed));
        let oldest = self.agenda.timed().find(is_failed);
        if let Some(target) = oldest {
            self.forget(target, out);
        }
        oldest.is_some()
    }

    fn learn(&mut self, now_ms: u64, target: Target, station: Station, out: &mut Actions<P>) {
        self.confirm(now_ms, target, station, now_ms);
        self.release(target, station, out);
    }

    fn confirm(&mut self, now_ms: u64, target: Target, station: Station, moved_ms: u64) {
        self.set(target, Some(State::Known { station, asked: 0, moved_ms }));
        let spread_ms = self.random.up_to(self.limits.reachable_ms / 2);
        let believed_ms = self.limits.reachable_ms - self.limits.reachable_ms / 4 + spread_ms;
        self.agenda.at(target, now_ms + believed_ms);
    }

    fn release(&mut self, target: Target, station: Station, out: &mut Actions<P>) {
        out.push(NeighborAction::Resolved { target, station });
        let held = self.hold.take(target);
        out.extend(held.into_iter().map(|packet| NeighborAction::Forward { packet }));
    }

    fn fail(&mut self, now_ms: u64, target: Target, out: &mut Actions<P>) {
        let is_lost = matches!(self.entries.get(&target), Some(State::Known { .. }));
        self.set(target, Some(State::Failed));
        self.agenda.at(target, now_ms + self.limits.hold_down_ms);
        out.push(NeighborAction::Unreachable { target, is_lost });
        let held = self.hold.take(target);
        out.extend(held.into_iter().map(|packet| NeighborAction::Unanswered { packet }));
        if self.unresolved > self.limits.unresolved {
            self.forget_oldest_failed(out);
        }
    }

    fn forget(&mut self, target: Target, out: &mut Actions<P>) {
        self.agenda.remove(target);
        self.set(target, None);
        out.push(NeighborAction::Forgotten { target });
        let held = self.hold.take(target);
        out.extend(held.into_iter().map(|packet| NeighborAction::Dropped { packet }));
    }

    fn forget_all(&mut self, out: &mut Actions<P>, which: impl Fn(Target, &State) -> bool) {
        let chosen = self.entries.iter().filter(|(target, state)| which(**target, state));
        let chosen: Vec<Target> = chosen.map(|(target, _)| *target).collect();
        chosen.into_iter().for_each(|target| self.forget(target, out));
    }

    /// Sends what the ports' pace allows.
    fn send_ready(&mut self, now_ms: u64, out: &mut Actions<P>) {
        while let Some(target) = self.agenda.ready(now_ms) {
            let to = match self.entries.get_mut(&target) {
                Some(State::Incomplete { asked, .. }) => {
                    *asked += 1;
                    None
                }
                Some(State::Known { asked, station, .. }) => {
                    *asked += 1;
                    (*asked <= UNICAST_PROBES).then_some(*station)
                }
                Some(State::Failed | State::Static(_)) | None => continue,
            };
            out.push(NeighborAction::Request { target, to });
            self.agenda.at(target, now_ms + REQUEST_INTERVAL_MS);
        }
    }

    /// The one place where an entry changes its kind, so that the counts stay right.
    fn set(&mut self, target: Target, state: Option<State>) {
        let old = match state {
            Some(state) => self.entries.insert(target, state),
            None => self.entries.remove(&target),
        };
        let is_dynamic = |state: &Option<State>| {
            usize::from(state.is_some_and(|state| !matches!(state, State::Static(_))))
        };
        let is_unresolved = |state: &Option<State>| {
            usize::from(matches!(state, Some(State::Incomplete { .. } | State::Failed)))
        };
        self.dynamic = self.dynamic + is_dynamic(&state) - is_dynamic(&old);
        self.unresolved = self.unresolved + is_unresolved(&state) - is_unresolved(&old);
        if let Some(State::Incomplete { asker, .. }) = state {
            *self.incomplete.entry(asker).or_default() += 1;
        }
        if let Some(State::Incomplete { asker, .. }) = old
            && let Some(count) = self.incomplete.get_mut(&asker)
        {
            *count -= 1;
            if *count == 0 {
                self.incomplete.remove(&asker);
            }
        }
    }
}

/// Whether what was heard may replace a MAC that is known.
fn may_move(known: Station, heard: &Heard<'_>) -> bool {
    let claims = heard.arp.operation == arp::REPLY || heard.arp.is_announcement();
    claims && (heard.via == known.via || heard.via == heard.port)
}

/// Whether the wire takes an address back that a member has claimed. It need not wait: who answers
/// first is not who is right, and a member can't take it away again.
fn is_wire_over_member(known: Station, heard: &Heard<'_>) -> bool {
    known.via != heard.port && heard.via == heard.port
}

fn view(state: State) -> NeighborState {
    match state {
        State::Incomplete { .. } => NeighborState::Incomplete,
        State::Known { station, asked: 0, .. } => NeighborState::Reachable(station),
        State::Known { station, .. } => NeighborState::Probing(station),
        State::Failed => NeighborState::Failed,
        State::Static(station) => NeighborState::Static(station),
    }
}

#[cfg(test)]
mod tests;
