//! Size: ten thousand adapters and tens of thousands of changes, whose outcome is the same as with few.
//! Work that grows with the state would run into the runner's limit; how long it takes is no matter here.

use super::*;

fn crowd(registry: &mut Registry, count: u32) {
    let mut batch = Vec::new();
    for n in 0..count {
        let label = format!("g{n}");
        batch.push(guest(&label, GuestKind::Container));
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        batch.push(add(&format!("{label}/eth0"), &format!("port shared:venet0 ip {address}")));
    }
    for part in batch.chunks(1000) {
        registry.apply(part).unwrap();
        registry.settle();
    }
}

#[test]
fn ten_thousand_changes_among_ten_thousand_adapters_leave_what_they_should() {
    let mut registry = registry();
    crowd(&mut registry, 10_000);
    assert_eq!(registry.adapter_count(), 10_000);
    let mut changes = Vec::new();
    for n in 0..2500u32 {
        let label = format!("g{n}/eth0");
        let other = std::net::Ipv4Addr::from(0x0b00_0000 + n);
        changes.push(set(&label, &format!("ip {other}")));
        changes.push(route(
            &format!("{}/32", std::net::Ipv4Addr::from(0x1400_0000 + n)),
            &other.to_string(),
        ));
        changes.push(Change::RouteDel {
            prefix: net(&std::net::Ipv4Addr::from(0x1400_0000 + n).to_string()),
        });
        changes.push(del(&label));
    }
    for batch in changes.chunks(100) {
        registry.apply(batch).unwrap();
        registry.settle();
    }
    assert_eq!(registry.adapter_count(), 7500);
}

#[test]
fn ten_thousand_adapters_come_back_from_disk() {
    let mut registry = registry();
    crowd(&mut registry, 10_000);
    let dir = tempfile::tempdir().unwrap();
    let mut store = crate::journal::Store::open(dir.path()).unwrap();
    store.save(&registry).unwrap();
    registry.apply(&[set("g77/eth0", "ip 11.0.0.1")]).unwrap();
    store.commit(&mut registry).unwrap();
    let stored = store.load().unwrap().unwrap();
    let restored = Registry::restore(stored.document, &[], &[]).unwrap();
    assert_eq!(whole(&restored), whole(&registry));
}

#[test]
fn a_refused_batch_among_five_thousand_adapters_leaves_no_trace() {
    let mut registry = registry();
    crowd(&mut registry, 5_000);
    let before = whole(&registry);
    for _ in 0..2000 {
        let batch = [add("ct1/eth0", "port tap,iface=a"), guest("ct1", GuestKind::Vm)];
        assert!(registry.apply(&batch).is_err());
    }
    assert_eq!(whole(&registry), before);
}

#[test]
fn adapters_and_ports_have_a_limit_that_is_named() {
    let mut registry = registry();
    let batch: Vec<Change> =
        (0..4094).map(|n| add(&format!("ct1/e{n}"), &format!("port tap,iface=i{n}"))).collect();
    registry.apply(&batch).unwrap();
    let more = add("ct1/x", "port tap,iface=x");
    refuses(&mut registry, more, RefusalKind::Limit, "there are 4096 ports already");
    registry.apply(&[add("ct1/x", "port shared:venet0 ip 10.0.0.1")]).unwrap();
}
