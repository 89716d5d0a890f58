//! What an adapter may send and receive: rates, in all and by destination class, and floods.

use super::Registry;
use super::refusal::{Missing, Refusal};
use crate::model::{AdapterWish, ClassRates, Name, Rate, check_rate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;

/// Storm limits that can be asked for, frames per second; 0 asks for the built-in one.
pub(crate) const STORM_PPS: RangeInclusive<u32> = 0..=1_000_000;

/// The limits of one adapter; the default is none. They stay when its mode is switched.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// All of its traffic.
    #[serde(default)]
    pub rate: RateLimit,
    /// Its traffic with the destinations of a class; every class exists and has a limit one way at least.
    #[serde(default)]
    pub classes: BTreeMap<Name, RateLimit>,
    /// Frames per second from the guest that may be flooded: broadcast, multicast and unknown unicast.
    /// Absent: the built-in limit.
    #[serde(default)]
    pub storm_pps: Option<NonZeroU32>,
}

/// A limit each way, bits per second, seen from the guest; absent: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RateLimit {
    /// Towards the guest.
    #[serde(default, rename = "in")]
    pub in_bps: Option<NonZeroU64>,
    /// From the guest.
    #[serde(default, rename = "out")]
    pub out_bps: Option<NonZeroU64>,
}

impl Limits {
    /// Whether there is no limit but the built-in ones.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Rates by class, as one asks for them.
    pub fn class_rates(&self) -> ClassRates {
        let asked = |(class, limit): (&Name, &RateLimit)| Some((class.clone(), limit.asked()?));
        self.classes.iter().filter_map(asked).collect()
    }
}

impl RateLimit {
    /// Whether neither way is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// As one asks for it; none where neither way is limited.
    pub fn asked(&self) -> Option<Rate> {
        let bps = |limit: Option<NonZeroU64>| limit.map(NonZeroU64::get);
        let rate = Rate { in_bps: bps(self.in_bps), out_bps: bps(self.out_bps) };
        (!self.is_none()).then_some(rate)
    }

    /// Lays a rate over it: what it leaves out stays, 0 takes the limit away.
    fn lay(&mut self, field: &'static str, rate: Rate) -> Result<(), Refusal> {
        for (limit, asked) in [(&mut self.in_bps, rate.in_bps), (&mut self.out_bps, rate.out_bps)] {
            let Some(bps) = asked else { continue };
            let bps = check_rate(bps).map_err(|bad| Refusal::invalid(field, bad.to_string()))?;
            *limit = NonZeroU64::new(bps);
        }
        Ok(())
    }
}

impl Registry {
    /// Lays the limits of a wish over those that an adapter has.
    pub(super) fn lay_limits(
        &self,
        limits: &mut Limits,
        wish: &AdapterWish,
    ) -> Result<(), Refusal> {
        if let Some(rate) = wish.rate {
            limits.rate.lay("rate", rate)?;
        }
        for (class, rate) in wish.class_rate.iter().flatten() {
            self.find_class("class_rate", class)?;
            let mut limit = limits.classes.remove(class).unwrap_or_default();
            limit.lay("class_rate", *rate)?;
            if !limit.is_none() {
                limits.classes.insert(class.clone(), limit);
            }
        }
        if let Some(pps) = wish.storm {
            if !STORM_PPS.contains(&pps) {
                let most = STORM_PPS.end();
                let message = format!(
                    "storm {pps} is not from 1 to {most} frames a second, or 0 for the built-in limit"
                );
                return Err(Refusal::invalid("storm", message));
            }
            limits.storm_pps = NonZeroU32::new(pps);
        }
        Ok(())
    }

    /// Refuses limits that name a class that is not there.
    pub(super) fn check_limits(&self, limits: &Limits) -> Result<(), Refusal> {
        limits.classes.keys().try_for_each(|class| self.find_class("class_rate", class))
    }

    fn find_class(&self, field: &'static str, class: &Name) -> Result<(), Refusal> {
        if self.tables.classes.contains_key(class) {
            return Ok(());
        }
        Err(Refusal::missing(field, Missing::Class(class.clone())))
    }
}
