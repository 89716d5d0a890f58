//! The limits of an adapter as changes of them.

use crate::model::{ClassRates, Name, Rate};
use crate::registry::{Limits, RateLimit};
use std::collections::BTreeSet;
use std::num::NonZeroU64;

/// Takes the rates for leaving classes away; nothing where there is none.
pub(super) fn let_go(limits: &Limits, leaving: &BTreeSet<Name>) -> Option<ClassRates> {
    let freed = limits.classes.keys().filter(|class| leaving.contains(*class));
    let freed: ClassRates = freed.map(|class| (class.clone(), Rate::NONE)).collect();
    Some(freed).filter(|freed| !freed.is_empty())
}

/// A limit as a rate that says both ways.
pub(super) fn whole(limit: RateLimit) -> Rate {
    let bps = |limit: Option<NonZeroU64>| Some(limit.map_or(0, NonZeroU64::get));
    Rate { in_bps: bps(limit.in_bps), out_bps: bps(limit.out_bps) }
}

/// Rates by class that have to be set where those for leaving classes are gone already.
pub(super) fn class_rates(
    old: &Limits,
    new: &Limits,
    leaving: &BTreeSet<Name>,
) -> Option<ClassRates> {
    let before = |class: &Name| old.classes.get(class).filter(|_| !leaving.contains(class));
    let classes: BTreeSet<&Name> = old.classes.keys().chain(new.classes.keys()).collect();
    let differ = classes.into_iter().filter(|class| before(class) != new.classes.get(*class));
    let limit = |class: &Name| new.classes.get(class).copied().unwrap_or_default();
    let rates: ClassRates = differ.map(|class| (class.clone(), whole(limit(class)))).collect();
    Some(rates).filter(|rates| !rates.is_empty())
}
