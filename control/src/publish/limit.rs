//! Rate limits: what the registry holds for each adapter, made into the meters that all workers share.

use super::{Published, Publisher};
use crate::model::Name;
use crate::registry::{Adapter, AdapterKey, Limits, RateLimit};
use dataplane::counters::Traffic;
use dataplane::ids::{AdapterId, ClassId};
use dataplane::io::Io;
use dataplane::pipeline;
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Buffers that may wait at each worker where nobody says how many there are.
const ROOM: usize = 4096;

/// Limits of one adapter.
pub(super) struct Limited {
    /// As they were asked for.
    asked: Limits,
    /// As workers keep them.
    pub(super) kept: Arc<pipeline::Limits>,
}

/// The limits in force. Workers keep any from the first one on until the last one goes.
pub(super) struct Limiting {
    room: usize,
    pub(super) limited: HashMap<AdapterId, Limited>,
}

impl Default for Limiting {
    fn default() -> Self {
        Self { room: ROOM, limited: HashMap::new() }
    }
}

/// One adapter over its limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Over {
    /// Who.
    pub key: AdapterKey,
    /// Frames to the guest that its limits dropped, since they are in force.
    pub dropped_in: u64,
    /// Frames from it.
    pub dropped_out: u64,
}

pub(super) fn made(
    asked: &Limits,
    class_id: impl Fn(&Name) -> Option<ClassId>,
) -> pipeline::Limits {
    let mut limits = pipeline::Limits::default();
    let ways = |rate: &RateLimit| {
        let ways = [(Traffic::ToGuest, rate.in_bps), (Traffic::FromGuest, rate.out_bps)];
        ways.into_iter().filter_map(|(way, bps)| Some((way, bps.map(NonZeroU64::get)?)))
    };
    for (way, bps) in ways(&asked.rate) {
        limits.limit(way, bps);
    }
    for (name, rate) in &asked.classes {
        // One that is not up yet is told of when it is.
        let Some(class) = class_id(name) else { continue };
        for (way, bps) in ways(rate) {
            limits.limit_class(class, way, bps);
        }
    }
    if let Some(per_s) = asked.storm_pps {
        limits.limit_storm(per_s.get());
    }
    limits
}

impl<I: Io> Publisher<I> {
    /// How many buffers may wait at each worker because of limits.
    pub fn set_shaping_room(&mut self, buffers: usize) {
        self.limiting.room = buffers;
    }

    /// An adapter's limits are these from now on. Those that stay the same go on as they are.
    ///
    /// # Errors
    /// A worker does not answer.
    pub(super) fn limit(&mut self, adapter: &Adapter, id: AdapterId) -> Published {
        let before = self.limiting.limited.get(&id).map(|limited| &limited.asked);
        match before {
            Some(before) if *before == adapter.limits => Ok(()),
            None if adapter.limits.is_none() => Ok(()),
            _ => self.limit_anew(id, adapter.limits.clone()),
        }
    }

    fn limit_anew(&mut self, id: AdapterId, asked: Limits) -> Published {
        if asked.is_none() {
            return self.limit_no_more(id);
        }
        if self.limiting.limited.is_empty() {
            self.workers.set_shaping(Some(self.limiting.room))?;
        }
        let kept = Arc::new(made(&asked, |name| self.class_id(name)));
        self.workers.set_limits(id, Some(&kept))?;
        self.limiting.limited.insert(id, Limited { asked, kept });
        Ok(())
    }

    /// An adapter has no limits any more, or is about to give its number back: then nothing that bears the number
    /// waits any longer.
    ///
    /// # Errors
    /// A worker does not answer.
    pub(super) fn limit_no_more(&mut self, id: AdapterId) -> Published {
        if self.limiting.limited.is_empty() {
            return Ok(());
        }
        self.workers.set_limits(id, None)?;
        if self.limiting.limited.remove(&id).is_some() && self.limiting.limited.is_empty() {
            self.workers.set_shaping(None)?;
        }
        Ok(())
    }

    /// A class has a number now: those who have a rate for it keep it.
    pub(super) fn limit_class(&mut self, class: &Name) -> Published {
        let with_class: Vec<(AdapterId, Limits)> = self
            .limiting
            .limited
            .iter()
            .filter(|(_, limited)| limited.asked.classes.contains_key(class))
            .map(|(id, limited)| (*id, limited.asked.clone()))
            .collect();
        with_class.into_iter().try_for_each(|(id, asked)| self.limit_anew(id, asked))
    }

    /// Frames that an adapter's limits have dropped, to it and from it, since they are in force.
    pub fn over_limit(&self, id: AdapterId) -> Option<(u64, u64)> {
        let kept = &self.limiting.limited.get(&id)?.kept;
        Some((kept.dropped(Traffic::ToGuest), kept.dropped(Traffic::FromGuest)))
    }

    /// Adapters whose limits have dropped anything.
    pub fn all_over_limit(&self) -> impl Iterator<Item = Over> + '_ {
        self.limiting.limited.keys().filter_map(|id| {
            let (dropped_in, dropped_out) = self.over_limit(*id)?;
            let key = self.adapter_key(*id)?.clone();
            (dropped_in + dropped_out > 0).then_some(Over { key, dropped_in, dropped_out })
        })
    }
}
