//! Packets that wait for their next hop's MAC (RFC 1122 2.3.2.2).

use super::Target;
use std::collections::VecDeque;

/// Most packets held for one target.
pub const PER_TARGET: usize = 8;
/// Most packets held in all.
pub const IN_ALL: usize = 256;
/// How long a packet is held.
pub const LIFE_MS: u64 = 1000;

/// Held packets, oldest first. So few that a walk over all of them is the simplest index.
#[derive(Debug)]
pub(super) struct Hold<P>(VecDeque<Held<P>>);

#[derive(Debug)]
struct Held<P> {
    target: Target,
    since_ms: u64,
    packet: P,
}

impl<P> Hold<P> {
    /// Holds nothing.
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Holds a packet; gives back the oldest of its target or of all where that is one too many.
    pub(super) fn push(&mut self, now_ms: u64, target: Target, packet: P) -> Option<P> {
        let of_target = self.count(target);
        let oldest = if of_target >= PER_TARGET {
            self.0.iter().position(|held| held.target == target)
        } else {
            (self.0.len() >= IN_ALL).then_some(0)
        };
        let dropped = oldest.and_then(|at| self.0.remove(at));
        self.0.push_back(Held { target, since_ms: now_ms, packet });
        dropped.map(|held| held.packet)
    }

    /// Takes the packets of one target out, oldest first.
    pub(super) fn take(&mut self, target: Target) -> Vec<P> {
        let (taken, kept) =
            std::mem::take(&mut self.0).into_iter().partition(|held| held.target == target);
        self.0 = kept;
        let taken: VecDeque<Held<P>> = taken;
        taken.into_iter().map(|held| held.packet).collect()
    }

    /// Takes a packet out whose life is over.
    pub(super) fn expired(&mut self, now_ms: u64) -> Option<P> {
        if self.next_ms()? > now_ms {
            return None;
        }
        self.0.pop_front().map(|held| held.packet)
    }

    /// When the oldest packet's life is over.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.0.front().map(|held| held.since_ms + LIFE_MS)
    }

    /// Packets held for one target.
    pub(super) fn count(&self, target: Target) -> usize {
        self.0.iter().filter(|held| held.target == target).count()
    }

    /// Packets held.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
