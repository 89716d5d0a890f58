//! Rate limits as workers get them.

use super::*;
use crate::registry::Limits;
use dataplane::counters::Traffic;

impl Rig {
    fn id(&self, adapter: &str) -> AdapterId {
        self.publisher.adapter_id(&key(adapter)).unwrap()
    }

    fn is_kept(&self, adapter: &str) -> bool {
        self.publisher.over_limit(self.id(adapter)).is_some()
    }

    fn set(&mut self, adapter: &str, wish: Value) {
        let change = json!({"change": "adapter-set", "guest": "vm1", "adapter": adapter});
        let mut change = change;
        change["wish"] = wish;
        self.change(change);
    }
}

fn key(adapter: &str) -> AdapterKey {
    AdapterKey { guest: name("vm1"), adapter: name(adapter) }
}

#[test]
fn limits_are_kept_from_the_first_adapter_that_has_one_to_the_last() {
    let mut rig = Rig::new();
    rig.adapter_add("net0", json!({}));
    rig.adapter_add("net1", json!({"rate": {"in": 1_000_000}}));
    assert!(!rig.is_kept("net0") && rig.is_kept("net1"));
    rig.set("net0", json!({"storm": 100}));
    assert!(rig.is_kept("net0"));
    // What stays the same goes on as it is; what changes is new; what moves takes its limits along.
    let kept = |rig: &Rig| Arc::as_ptr(&rig.publisher.limiting.limited[&rig.id("net1")].kept);
    let before = kept(&rig);
    rig.set("net1", json!({"mtu": 1400}));
    rig.set("net1", json!({"mode": "host-routed", "addresses": ["10.0.0.9/32"]}));
    assert_eq!(kept(&rig), before);
    rig.set("net1", json!({"rate": {"out": 2_000_000}}));
    assert_ne!(kept(&rig), before);
    rig.set("net1", json!({"rate": {"in": 0, "out": 0}}));
    assert!(!rig.is_kept("net1"));
    rig.change(json!({"change": "adapter-del", "guest": "vm1", "adapter": "net0"}));
    assert!(rig.publisher.limiting.limited.is_empty());
    // And from the start again.
    rig.set("net1", json!({"rate": {"in": 1_000}}));
    assert!(rig.is_kept("net1"));
    assert_eq!(rig.publisher.over_limit(rig.id("net1")), Some((0, 0)));
    assert_eq!(rig.publisher.all_over_limit().count(), 0);
}

#[test]
fn what_is_asked_for_is_what_workers_keep() {
    let asked: Limits = serde_json::from_value(json!({
        "rate": {"in": 8_000_000},
        "classes": {"near": {"out": 1_000}, "absent": {"in": 1_000}},
        "storm-pps": 10,
    }))
    .unwrap();
    let near = dataplane::ids::ClassId(3);
    let made =
        super::super::limit::made(&asked, |class| (class.as_str() == "near").then_some(near));
    let mut want = dataplane::pipeline::Limits::default();
    want.limit(Traffic::ToGuest, 8_000_000);
    want.limit_class(near, Traffic::FromGuest, 1_000);
    want.limit_storm(10);
    assert_eq!(format!("{made:?}"), format!("{want:?}"));
}
