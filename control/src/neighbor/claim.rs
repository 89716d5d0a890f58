//! Addresses that we claim on an uplink: probed, announced and defended (RFC 5227).
//!
//! ```text
//!   register ──probe──▶ probing ──3 probes, no answer──▶ up, announced twice ◀── announce again,
//!      │                   │  ▲                           ▲                       link up
//!      │                   ▼  │ every minute              │
//!      │                conflict                          │
//!      ├──────────────────────────────no probe────────────┘
//!      └──no announce──▶ quiet
//! ```
//!
//! Only an address that is up is answered for there. What guests and the server reach is not
//! decided here: they reach an address from its registration on.
//!
//! An address in use by another host stays in conflict, and is probed again every minute so that it
//! comes up by itself once the other is gone; that is seen as conflict all along. An address that
//! is up is never given up (RFC 5227 2.4 (c)): the operator's word stands, and is defended.

use super::Target;
use super::agenda::Agenda;
use super::pace::Rate;
use super::random::Random;
use dataplane::ids::PortId;
use dataplane::wire::arp::Arp;
use dataplane::wire::ethernet::MacAddr;
use std::collections::BTreeMap;

/// Share of a port's ARP frames that probes and announces.
pub const FRAMES_PER_S: Rate = Rate { per_s: 320, burst: 30 };
/// Probes before an address is up (PROBE_NUM).
pub const PROBES: u8 = 3;
/// Least time between two probes (PROBE_MIN).
pub const PROBE_MIN_MS: u64 = 1000;
/// Most time between two probes (PROBE_MAX).
pub const PROBE_MAX_MS: u64 = 2000;
/// Time from the last probe to the first announcement (ANNOUNCE_WAIT).
pub const ANNOUNCE_WAIT_MS: u64 = 2000;
/// Announcements of an address (ANNOUNCE_NUM).
pub const ANNOUNCEMENTS: u8 = 2;
/// Time between two announcements (ANNOUNCE_INTERVAL).
pub const ANNOUNCE_INTERVAL_MS: u64 = 2000;
/// Least time between two defences of one address (DEFEND_INTERVAL).
pub const DEFEND_INTERVAL_MS: u64 = 10_000;
/// An address that was up and comes back within this time has moved on this host. The LAN's own caches
/// hold an address about as long.
pub const MOVE_MS: u64 = 60_000;
/// Addresses remembered for that.
const LEFT_MAX: usize = 65_536;
/// Time after which an address in conflict is probed again (RATE_LIMIT_INTERVAL).
pub const CONFLICT_RETRY_MS: u64 = 60_000;

/// How an address is claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimWish {
    /// Probe it first. Off for what was up before: after a restart, a change of mode or a move on
    /// this host; and where the adapter or the uplink says `probe = false`.
    pub probe: bool,
    /// Answer for it and announce it. Off: it is quiet, and may be held elsewhere too (VZ-5).
    pub announce: bool,
}

/// What an operator sees of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimStatus {
    /// Being probed: not answered for yet.
    Probing,
    /// Answered for.
    Up,
    /// In use by another host: not answered for.
    Conflict(MacAddr),
    /// Not to be answered for.
    Quiet,
}

/// What there is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimAction {
    /// Broadcast a probe on the port ([`Arp::probe`]).
    Probe(Target),
    /// Broadcast an announcement on the port ([`Arp::announcement`]).
    Announce(Target),
    /// Event: the address is answered for from now on.
    Up(Target),
    /// Event: the address is in use by another host.
    Conflict(Target, MacAddr),
    /// Event: another host uses an address that is up; at most one each [`DEFEND_INTERVAL_MS`].
    Contested(Target, MacAddr),
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    status: ClaimStatus,
    next: Step,
    defended_ms: Option<u64>,
}

/// What a claim does when its time comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Probe { sent: u8 },
    Announce { sent: u8 },
    Rest,
}

/// The claims on all uplinks.
#[derive(Debug)]
pub struct AddressClaims {
    claims: BTreeMap<Target, Claim>,
    /// When an address that was up was withdrawn.
    left_ms: BTreeMap<Target, u64>,
    agenda: Agenda,
    random: Random,
}

impl AddressClaims {
    /// No claims. The seed spreads the probes.
    pub fn new(seed: u64) -> Self {
        Self {
            claims: BTreeMap::new(),
            left_ms: BTreeMap::new(),
            agenda: Agenda::new(FRAMES_PER_S),
            random: Random::new(seed),
        }
    }

    /// An address is registered, or its wish changed. What is up stays up while it is to be
    /// announced; what is to be probed no longer is up at once.
    pub fn register(
        &mut self,
        now_ms: u64,
        target: Target,
        wish: ClaimWish,
        out: &mut Vec<ClaimAction>,
    ) {
        let status = self.status(target);
        let wish = ClaimWish { probe: wish.probe && !self.was_up(now_ms, target), ..wish };
        if !wish.announce {
            self.agenda.remove(target);
            self.set(target, ClaimStatus::Quiet, Step::Rest);
        } else if matches!(status, None | Some(ClaimStatus::Quiet)) && wish.probe {
            // RFC 5227's random wait before the first probe is for hosts that are switched on
            // together; here the operator acts, and the pace spreads a batch.
            self.set(target, ClaimStatus::Probing, Step::Probe { sent: 0 });
            self.agenda.queue(target);
        } else if status != Some(ClaimStatus::Up) && !wish.probe {
            self.raise(target, out);
        }
        self.send_ready(now_ms, out);
    }

    /// An address is deregistered: from now on it is not answered for. Nothing is sent: there is no
    /// ARP for "gone". False where it was not claimed.
    pub fn withdraw(&mut self, now_ms: u64, target: Target) -> bool {
        self.agenda.remove(target);
        let claim = self.claims.remove(&target);
        if claim.is_some_and(|claim| claim.status == ClaimStatus::Up) {
            if self.left_ms.len() >= LEFT_MAX {
                self.left_ms.retain(|_, left_ms| now_ms < *left_ms + MOVE_MS);
            }
            if self.left_ms.len() < LEFT_MAX {
                self.left_ms.insert(target, now_ms);
            }
        }
        claim.is_some()
    }

    /// Withdraws every claim on a port. What comes back may be another link: nothing is remembered.
    pub fn withdraw_port(&mut self, port: PortId) {
        for target in self.on_port(port) {
            self.agenda.remove(target);
            self.claims.remove(&target);
        }
        self.left_ms.retain(|target, _| target.port != port);
    }

    /// Whether an address was ours on this link a moment ago: it moves on this host, from one adapter
    /// to another or over the loss of its device, and is not asked for anew.
    fn was_up(&self, now_ms: u64, target: Target) -> bool {
        self.left_ms.get(&target).is_some_and(|left_ms| now_ms < left_ms + MOVE_MS)
    }

    /// An address that is up moved on this host, or its mode changed: announced again.
    pub fn announce_again(&mut self, now_ms: u64, target: Target, out: &mut Vec<ClaimAction>) {
        if self.status(target) == Some(ClaimStatus::Up) {
            self.set(target, ClaimStatus::Up, Step::Announce { sent: 0 });
            self.agenda.queue(target);
        }
        self.send_ready(now_ms, out);
    }

    /// A port's link came up: what is up is announced again, everything else probed from the start,
    /// since nothing sent before can be relied on.
    pub fn link_up(&mut self, now_ms: u64, port: PortId, out: &mut Vec<ClaimAction>) {
        for target in self.on_port(port) {
            let next = match self.status(target) {
                Some(ClaimStatus::Up) => Step::Announce { sent: 0 },
                Some(ClaimStatus::Probing | ClaimStatus::Conflict(_)) => Step::Probe { sent: 0 },
                Some(ClaimStatus::Quiet) | None => continue,
            };
            if let Some(claim) = self.claims.get_mut(&target) {
                claim.next = next;
                self.agenda.queue(target);
            }
        }
        self.send_ready(now_ms, out);
    }

    /// An ARP packet was heard on a port where addresses are claimed, whose MAC is `own_mac`.
    pub fn hear(
        &mut self,
        now_ms: u64,
        port: PortId,
        own_mac: MacAddr,
        arp: &Arp,
        out: &mut Vec<ClaimAction>,
    ) {
        if arp.sender_mac == own_mac {
            return;
        }
        // RFC 5227 2.1.1: any use of the address, or another host's probe for it.
        let ip = if arp.is_probe() { arp.target_ip } else { arp.sender_ip };
        let target = Target { port, ip };
        let Some(claim) = self.claims.get_mut(&target) else { return };
        match (claim.status, claim.next) {
            (ClaimStatus::Probing | ClaimStatus::Conflict(_), Step::Probe { .. }) => {
                if claim.status == ClaimStatus::Probing {
                    out.push(ClaimAction::Conflict(target, arp.sender_mac));
                }
                claim.status = ClaimStatus::Conflict(arp.sender_mac);
                claim.next = Step::Rest;
                self.agenda.at(target, now_ms + CONFLICT_RETRY_MS);
            }
            // A probe for it is no use of it: the proxy's answer tells the prober.
            (ClaimStatus::Up, next) if !arp.is_probe() => {
                let lately = |at_ms: u64| now_ms < at_ms + DEFEND_INTERVAL_MS;
                if claim.defended_ms.is_some_and(lately) {
                    return;
                }
                claim.defended_ms = Some(now_ms);
                out.push(ClaimAction::Contested(target, arp.sender_mac));
                if next == Step::Rest {
                    claim.next = Step::Announce { sent: ANNOUNCEMENTS - 1 };
                }
                // Announcements that are under way serve as the defence, the next one at once.
                self.agenda.queue(target);
            }
            _ => {}
        }
        self.send_ready(now_ms, out);
    }

    /// Does what is due by now. Harmless at any time; needed by [`Self::next_ms`].
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<ClaimAction>) {
        while let Some(target) = self.agenda.due(now_ms) {
            let Some(claim) = self.claims.get_mut(&target) else { continue };
            match claim.next {
                Step::Probe { sent: PROBES.. } => self.raise(target, out),
                Step::Probe { .. } | Step::Announce { .. } => self.agenda.queue(target),
                Step::Rest if matches!(claim.status, ClaimStatus::Conflict(_)) => {
                    claim.next = Step::Probe { sent: 0 };
                    self.agenda.queue(target);
                }
                Step::Rest => {}
            }
        }
        self.send_ready(now_ms, out);
    }

    /// When [`Self::tick`] is next needed; `None` while there is nothing to wait for.
    pub fn next_ms(&self) -> Option<u64> {
        self.agenda.next_ms()
    }

    /// How an address stands on a port; `None` where it is not claimed.
    pub fn status(&self, target: Target) -> Option<ClaimStatus> {
        self.claims.get(&target).map(|claim| claim.status)
    }

    /// All claims, by port and address.
    pub fn claims(&self) -> impl Iterator<Item = (Target, ClaimStatus)> {
        self.claims.iter().map(|(target, claim)| (*target, claim.status))
    }

    /// From now on the address is answered for, and it is announced.
    fn raise(&mut self, target: Target, out: &mut Vec<ClaimAction>) {
        self.set(target, ClaimStatus::Up, Step::Announce { sent: 0 });
        self.agenda.queue(target);
        out.push(ClaimAction::Up(target));
    }

    /// Sends what the ports' pace allows.
    fn send_ready(&mut self, now_ms: u64, out: &mut Vec<ClaimAction>) {
        while let Some(target) = self.agenda.ready(now_ms) {
            let Some(claim) = self.claims.get_mut(&target) else { continue };
            let wait_ms = match &mut claim.next {
                Step::Probe { sent } => {
                    *sent += 1;
                    out.push(ClaimAction::Probe(target));
                    let spread_ms = self.random.up_to(PROBE_MAX_MS - PROBE_MIN_MS);
                    if *sent < PROBES { PROBE_MIN_MS + spread_ms } else { ANNOUNCE_WAIT_MS }
                }
                Step::Announce { sent } => {
                    *sent += 1;
                    out.push(ClaimAction::Announce(target));
                    if *sent >= ANNOUNCEMENTS {
                        claim.next = Step::Rest;
                        continue;
                    }
                    ANNOUNCE_INTERVAL_MS
                }
                Step::Rest => continue,
            };
            self.agenda.at(target, now_ms + wait_ms);
        }
    }

    fn set(&mut self, target: Target, status: ClaimStatus, next: Step) {
        let claim = self.claims.entry(target).or_insert(Claim { status, next, defended_ms: None });
        (claim.status, claim.next) = (status, next);
    }

    fn on_port(&self, port: PortId) -> Vec<Target> {
        self.claims.range(Target::all_on(port)).map(|(target, _)| *target).collect()
    }
}

#[cfg(test)]
mod tests;
