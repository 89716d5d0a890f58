//! Rates and storm limits of adapters (VZ-9).

use super::*;
use crate::model::{ClassRates, Rate};
use RefusalKind::*;
use std::num::{NonZeroU32, NonZeroU64};

fn limit(in_bps: u64, out_bps: u64) -> RateLimit {
    RateLimit { in_bps: NonZeroU64::new(in_bps), out_bps: NonZeroU64::new(out_bps) }
}

fn rate(in_bps: impl Into<Option<u64>>, out_bps: impl Into<Option<u64>>) -> Rate {
    Rate { in_bps: in_bps.into(), out_bps: out_bps.into() }
}

fn class(class: &str, prefix: &str) -> Change {
    Change::ClassAdd { class: name(class), prefixes: vec![net(prefix)] }
}

fn class_del(class: &str) -> Change {
    Change::ClassDel { class: name(class) }
}

fn class_rates(rates: &[(&str, Rate)]) -> AdapterWish {
    let rates: ClassRates = rates.iter().map(|(class, rate)| (name(class), *rate)).collect();
    AdapterWish { class_rate: Some(rates), ..AdapterWish::default() }
}

fn set_wish(wish: AdapterWish) -> Change {
    Change::AdapterSet { guest: name("ct1"), adapter: name("eth0"), wish }
}

fn set_rate(rate: Rate) -> Change {
    set_wish(AdapterWish { rate: Some(rate), ..AdapterWish::default() })
}

fn set_storm(pps: u32) -> Change {
    set_wish(AdapterWish { storm: Some(pps), ..AdapterWish::default() })
}

fn limits(registry: &Registry) -> Limits {
    adapter(registry, "ct1/eth0").limits
}

/// A container with an adapter, and two classes.
fn world() -> Registry {
    let mut registry = registry();
    registry
        .apply(&[
            class("lan", "10.0.0.0/8"),
            class("world", "0.0.0.0/0"),
            add("ct1/eth0", "port tap,iface=a ip 203.0.113.1"),
        ])
        .unwrap();
    registry.settle();
    registry
}

#[test]
fn what_a_wish_leaves_out_stays_and_0_takes_a_limit_away_vz_9() {
    let mut registry = world();
    assert!(limits(&registry).is_none());
    let effects = registry.apply(&[set_rate(rate(10_000_000, None))]).unwrap();
    assert!(matches!(&effects[..], [Effect::AdapterChanged { .. }]), "limits alone are a change");
    assert_eq!(limits(&registry).rate, limit(10_000_000, 0));
    registry.apply(&[set_rate(rate(None, 5_000))]).unwrap();
    assert_eq!(limits(&registry).rate, limit(10_000_000, 5_000));
    assert!(registry.apply(&[set_rate(rate(10_000_000, None))]).unwrap().is_empty());
    registry.apply(&[set_rate(rate(0, None))]).unwrap();
    assert_eq!(limits(&registry).rate, limit(0, 5_000));

    let both = class_rates(&[("lan", rate(1_000, 2_000)), ("world", rate(None, 3_000))]);
    registry.apply(&[set_wish(both)]).unwrap();
    let one = class_rates(&[("lan", rate(None, 0)), ("world", rate(0, 0))]);
    registry.apply(&[set_wish(one)]).unwrap();
    assert_eq!(limits(&registry).classes, [(name("lan"), limit(1_000, 0))].into());

    registry.apply(&[set_storm(1_000_000)]).unwrap();
    assert_eq!(limits(&registry).storm_pps, NonZeroU32::new(1_000_000));
    registry.apply(&[set("ct1/eth0", "mtu 1400")]).unwrap();
    assert_eq!(limits(&registry).storm_pps, NonZeroU32::new(1_000_000));
    let none = class_rates(&[("lan", Rate::NONE)]);
    registry.apply(&[set_wish(none), set_rate(Rate::NONE), set_storm(0)]).unwrap();
    assert!(limits(&registry).is_none());
}

#[test]
fn an_adapter_comes_with_limits_and_keeps_them_in_its_other_mode() {
    let mut registry = world();
    let mut wish = class_rates(&[("lan", rate(1_000, 2_000))]);
    wish.rate = Some(rate(7_000, 8_000));
    wish.storm = Some(9);
    wish.port = Some("tap,iface=b".to_owned());
    wish.addresses = Some(vec![net("203.0.113.2")]);
    let change = Change::AdapterAdd { guest: name("ct2"), adapter: name("eth0"), wish };
    registry.apply(&[change]).unwrap();
    let before = adapter(&registry, "ct2/eth0").limits;
    assert_eq!(before.rate, limit(7_000, 8_000));
    registry.apply(&[set("ct2/eth0", "mode virtual-network")]).unwrap();
    assert_eq!(adapter(&registry, "ct2/eth0").limits, before);
    registry.apply(&[set("ct2/eth0", "mode host-routed")]).unwrap();
    assert_eq!(adapter(&registry, "ct2/eth0").limits, before);
}

#[test]
fn limits_out_of_bounds_and_of_no_class_are_refused() {
    let mut registry = world();
    for (change, kind, says) in [
        (set_rate(rate(999, None)), Invalid, "999 bit/s is no rate to limit to: from 1 kbit/s"),
        (set_rate(rate(None, 1_000_000_000_001)), Invalid, "to 1 Tbit/s, or 0 for none"),
        (set_wish(class_rates(&[("lan", rate(1, 1))])), Invalid, "1 bit/s is no rate"),
        (set_storm(1_000_001), Invalid, "storm 1000001 is not from 1 to 1000000"),
        (
            set_wish(class_rates(&[("lan", rate(1_000, None)), ("wan", rate(1_000, None))])),
            NotFound,
            "there is no class wan: class add wan PREFIX",
        ),
        (set_wish(class_rates(&[("wan", Rate::NONE)])), NotFound, "there is no class wan"),
        (
            set_wish(class_rates(&[("other", rate(1_000, None))])),
            NotFound,
            "there is no class other",
        ),
    ] {
        refuses(&mut registry, change, kind, says);
    }
    let change = set_wish(class_rates(&[("wan", rate(1_000, None))]));
    let refusal = registry.apply(&[change]).unwrap_err();
    assert_eq!((refusal.field, refusal.missing), ("class_rate", Some(Missing::Class(name("wan")))));
}

#[test]
fn a_class_goes_once_no_adapter_has_a_rate_for_it() {
    let mut registry = world();
    let limited = set_wish(class_rates(&[("lan", rate(1_000, None))]));
    registry.apply(&[limited]).unwrap();
    registry.settle();
    let says = "ct1/eth0 has a rate for class lan; take it away first: adapter set ct1 eth0 \
                class-rate lan in none class-rate lan out none";
    refuses(&mut registry, class_del("lan"), Conflict, says);
    registry.apply(&[class_del("world")]).unwrap();
    let none = set_wish(class_rates(&[("lan", Rate::NONE)]));
    let wrong_way_round = registry.apply(&[class_del("lan"), none.clone()]).unwrap_err();
    assert_eq!(wrong_way_round.change, 0);
    registry.apply(&[none, class_del("lan")]).unwrap();
    registry.take_back();
    refuses(&mut registry, class_del("lan"), Conflict, "ct1/eth0 has a rate");
    registry.apply(&[del("ct1/eth0"), class_del("lan")]).unwrap();
    registry.take_back();
    registry.apply(&[Change::GuestDel { guest: name("ct1") }, class_del("lan")]).unwrap();
}

#[test]
fn limits_are_stored_and_a_state_without_any_is_read() {
    let mut registry = world();
    let bare = serde_json::to_string(&registry).unwrap();
    assert!(!bare.contains("limits"), "{bare}");
    let back = Registry::restore(serde_json::from_str(&bare).unwrap(), &[], &[]).unwrap();
    assert!(limits(&back).is_none());
    let mut wish = class_rates(&[("lan", rate(1_000, None))]);
    (wish.rate, wish.storm) = (Some(rate(None, 2_000)), Some(3));
    registry.apply(&[set_wish(wish)]).unwrap();
    let stored = serde_json::to_string(&registry).unwrap();
    let back = Registry::restore(serde_json::from_str(&stored).unwrap(), &[], &[]).unwrap();
    assert_eq!(whole(&back), whole(&registry));
    // A state that contradicts itself is no state.
    let wrong = stored.replace("\"name\":\"lan\"", "\"name\":\"nal\"");
    let refusal = Registry::restore(serde_json::from_str(&wrong).unwrap(), &[], &[]).unwrap_err();
    assert_eq!(refusal.message, "there is no class lan: class add lan PREFIX");
}
