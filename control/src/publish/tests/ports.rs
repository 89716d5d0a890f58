//! Ports: what comes twice, what fails, and in which order workers are told.

use super::*;
use dataplane::table::AdjacencyKind;
use std::time::Duration;

#[test]
fn an_adapter_without_its_port_takes_no_number() {
    let mut rig = Rig::new();
    rig.adapter_add("net0", json!({"network": "default"}));
    let label = adapter("vm1/net0");
    let Noun::Adapter(net0) = rig.noun(&label) else { panic!("{label}") };
    rig.lose(&label);
    let before = rig.publisher.adapters_left();
    let failed = rig.tries(|publisher| publisher.adapter_up(&net0));
    assert!(matches!(failed, Err(PublishError::NoPort(_))), "{failed:?}");
    assert_eq!(rig.publisher.adapters_left(), before);
    rig.regain(&label);
    assert_eq!(rig.publisher.adapters_left(), before - 1);
}

#[test]
fn what_is_up_already_may_come_again() {
    let mut rig = Rig::new();
    rig.change(json!({"change": "port-attach", "port": "host", "wish": {
        "device": "net_tap1,iface=gw-host", "role": "host"}}));
    rig.network_on_uplink("network-add", "lan0", 0);
    rig.adapter_add("net0", json!({"network": "lan0", "filter": []}));
    rig.adapter_add("net1", json!({"mode": "host-routed", "addresses": ["198.51.100.9/32"]}));
    rig.change(json!({"change": "network-server", "network": "lan0", "server": {
        "port": "tap,iface=srv-lan0", "addresses": ["198.51.100.1/24"]}}));
    assert_eq!(rig.learn("lan0", mac(8), &adapter("vm1/net0")), Learned::Added);
    assert_eq!(rig.learn("lan0", mac(9), &named("up0")), Learned::Added);
    let nouns = ["up0", "host", "vm1/net0", "vm1/net1", "network:lan0"];
    let nouns: Vec<Noun> = nouns.iter().map(|label| rig.noun(&label.parse().unwrap())).collect();
    let live = |rig: &Rig| (rig.publisher.adjacencies.live(), rig.publisher.adapters_left());
    let before = live(&rig);
    for noun in &nouns {
        rig.told(|publisher| match noun {
            Noun::Adapter(adapter) => publisher.adapter_up(adapter),
            Noun::Server(server) => publisher.server_up(server),
            Noun::Named(port) if port.role == PortRole::Host => publisher.host_up(&port.name),
            Noun::Named(port) => publisher.uplink_up(port),
        });
        assert_eq!(live(&rig), before);
    }
    assert_eq!(rig.publisher.learned_count(&name("lan0")), 2);
    let up0 = rig.port_id(&named("up0"));
    assert_eq!(rig.publisher.networks[&name("lan0")].members[&up0].learned, 1);
    // Counted once: gone once, gone.
    rig.lose(&named("up0"));
    assert!(rig.publisher.rib().best_match(0xc000_0201).is_none());
    assert!(rig.publisher.rib().best_match(0xcb00_7101).is_none(), "the default route");
}

#[test]
fn the_owner_of_a_transmit_queue_has_it_before_the_others_hand_over() {
    let fresh = FreshTables::new(3);
    let (mut crew, ends): (Vec<_>, Vec<_>) = (0..3).map(|_| worker(&fresh)).unzip();
    let waiting: Vec<_> = ends.iter().map(WorkerEnd::commands).collect();
    let mut workers = Workers::new(ends);
    let port = MemoryPort::new(4);
    let assignment = Assignment { rx: vec![0], owner: 1 };
    std::thread::scope(|scope| {
        let opened = scope
            .spawn(|| workers.open(PortId(0), vec![(0, port.rx())], vec![port.tx()], &assignment));
        while waiting[1]() == 0 {
            std::thread::yield_now();
        }
        // Long enough for one that does not wait to have told everyone.
        std::thread::sleep(Duration::from_millis(50));
        let told: Vec<usize> = waiting.iter().map(|count| count()).collect();
        let is_early = told[0] + told[2] != 0;
        crew[1].obey(0);
        let opened = opened.join().unwrap();
        assert!(!is_early, "told before the owner had its queue: {told:?}");
        opened.unwrap();
    });
    assert_eq!((waiting[0](), waiting[1](), waiting[2]()), (2, 0, 1));
}

#[test]
fn an_adapter_of_a_shared_port_is_nowhere_until_it_has_a_number_of_its_own() {
    let mut rig = Rig::new();
    rig.change(json!({"change": "port-attach", "port": "venet0", "wish": {
        "device": "net_tap1,iface=venet0", "role": "shared"}}));
    // Accepted, and not yet in force.
    let change = json!([
        {"change": "guest-add", "guest": "ct1", "kind": "container"},
        {"change": "adapter-add", "guest": "ct1", "adapter": "eth0", "wish": {
            "port": "shared:venet0", "addresses": ["192.0.2.11"]}},
    ]);
    let changes: Vec<Change> = serde_json::from_value(change).unwrap();
    rig.registry.apply(&changes).unwrap();
    let shared = rig.registry.adapter(&name("ct1"), &name("eth0")).unwrap().clone();
    // The port is there, and what passes it is everybody's.
    assert_eq!(rig.publisher.adapter_place(&shared), None);
    rig.told(|publisher| publisher.adapter_up(&shared));
    let number = rig.publisher.adapter_id(&shared.key());
    let port = rig.port_id(&named("venet0"));
    assert!(number.is_some());
    assert_eq!(rig.publisher.adapter_place(&shared), Some((port, number)));
    rig.told(|publisher| publisher.adapter_down(&shared.key()));
    assert_eq!(rig.publisher.adapter_place(&shared), None);
    // One on a port of its own is all that passes there.
    rig.adapter_add("net0", json!({"addresses": ["192.0.2.12"]}));
    let own = rig.registry.adapter(&name("vm1"), &name("net0")).unwrap().clone();
    let place = (rig.port_id(&adapter("vm1/net0")), None);
    assert_eq!(rig.publisher.adapter_place(&own), Some(place));
    rig.lose(&adapter("vm1/net0"));
    assert_eq!(rig.publisher.adapter_place(&own), None);
}

fn link_set(addresses: &[&str], gateway: &[&str]) -> Value {
    let set = json!({"addresses": addresses, "gateway": gateway});
    json!({"change": "port-set", "port": "up0", "set": set})
}

#[test]
fn an_uplinks_addresses_and_gateway_change_while_it_is_up() {
    let mut rig = Rig::new();
    rig.change(json!({"change": "port-attach", "port": "host", "wish": {
        "device": "net_tap1,iface=gw-host", "role": "host"}}));
    let (up0, host) = (rig.port_id(&named("up0")), rig.port_id(&named("host")));
    let route =
        json!({"change": "route-add", "prefix": "10.0.0.0/8", "via": {"next-hop": "192.0.2.9"}});
    rig.change(route);
    let source = |rig: &Rig| rig.publisher.routes.icmp_source.map(|ip| ip.to_string());
    assert_eq!(source(&rig).as_deref(), Some("192.0.2.1"));
    let rows = rig.publisher.adjacencies.live();
    let hop = rig.publisher.rib().best_match(0x0a00_0001).unwrap().1.adjacency;
    // One more; the default route moves.
    rig.change(link_set(&["192.0.2.1/24", "198.51.100.1/24"], &["198.51.100.254"]));
    assert_eq!((rig.way("198.51.100.1").port, rig.way("192.0.2.1").port), (host, host));
    let on_link = rig.way("198.51.100.7");
    assert_eq!((on_link.kind, on_link.port), (AdjacencyKind::Glean, up0));
    let gateway = |last: u32| u32::from(Ipv4Addr::new(198, 51, 100, 0)) + last;
    assert_eq!(rig.way("203.0.113.1").next_hop, gateway(254));
    assert_eq!(source(&rig).as_deref(), Some("192.0.2.1"), "the first is still ours");
    // The first one's place is taken by another of its prefix, which never goes.
    rig.change(link_set(&["198.51.100.1/24", "192.0.2.2/24"], &["198.51.100.254"]));
    assert_eq!(rig.way("192.0.2.1").kind, AdjacencyKind::Glean, "nobody's, and on the link");
    assert_eq!(rig.way("192.0.2.2").port, host);
    assert_eq!(source(&rig).as_deref(), Some("198.51.100.1"));
    let now = rig.publisher.rib().best_match(0x0a00_0001).unwrap().1.adjacency;
    assert_eq!(now, hop, "what goes by that prefix is not touched");
    // Its prefix goes, and with it what it led to.
    rig.change(json!({"change": "route-del", "prefix": "10.0.0.0/8"}));
    rig.change(link_set(&["198.51.100.1/24"], &[]));
    assert!(rig.publisher.rib().best_match(0xc000_0202).is_none(), "neither ours nor on a link");
    assert!(rig.publisher.rib().best_match(0xcb00_7101).is_none(), "no default route");
    rig.change(link_set(&[], &[]));
    assert_eq!(source(&rig), None);
    // There again, all is as it was.
    rig.change(link_set(&["192.0.2.1/24"], &["192.0.2.254"]));
    rig.change(
        json!({"change": "route-add", "prefix": "10.0.0.0/8", "via": {"next-hop": "192.0.2.9"}}),
    );
    assert_eq!(rig.publisher.adjacencies.live(), rows);
    assert_eq!(source(&rig).as_deref(), Some("192.0.2.1"));
    // What has changed is what leaves with it.
    rig.change(json!({"change": "route-del", "prefix": "10.0.0.0/8"}));
    rig.change(link_set(&["192.0.2.1/24", "198.51.100.1/24"], &["198.51.100.254"]));
    rig.lose(&named("up0"));
    for gone in ["192.0.2.1", "198.51.100.1", "198.51.100.9", "203.0.113.1"] {
        let gone: Ipv4Addr = gone.parse().unwrap();
        assert!(rig.publisher.rib().best_match(gone.into()).is_none(), "{gone}");
    }
    rig.regain(&named("up0"));
    assert_eq!(rig.way("203.0.113.1").next_hop, gateway(254));
}

#[test]
fn a_class_changes_its_prefixes_and_keeps_its_number() {
    let mut rig = Rig::new();
    let class = |change: &str, class: &str, prefixes: &[&str]| json!({"change": change, "class": class, "prefixes": prefixes});
    let of = |rig: &Rig, ip: [u8; 4]| {
        let table = rig.publisher.classes.table.as_ref().unwrap();
        table.fib().lookup(u32::from(Ipv4Addr::from(ip))).0
    };
    rig.change(class("class-add", "c", &["10.0.0.0/8", "11.0.0.0/8"]));
    rig.change(class("class-add", "d", &["12.0.0.0/8"]));
    assert_eq!(
        [of(&rig, [10, 0, 0, 1]), of(&rig, [11, 0, 0, 1]), of(&rig, [12, 0, 0, 1])],
        [1, 1, 2]
    );
    rig.change(class("class-set", "c", &["13.0.0.0/8", "10.0.0.0/8"]));
    assert_eq!(
        [of(&rig, [10, 0, 0, 1]), of(&rig, [11, 0, 0, 1]), of(&rig, [13, 0, 0, 1])],
        [1, 0, 1]
    );
    // One that another class has at the batch's end is never in none.
    let whole = |prefixes: &[&str]| crate::registry::Class {
        name: name("c"),
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
    };
    let (old, new) = (whole(&["10.0.0.0/8", "13.0.0.0/8"]), whole(&["10.0.0.0/8"]));
    rig.told(|publisher| publisher.class_change(&old, &new, |_| true));
    assert_eq!(of(&rig, [13, 0, 0, 1]), 1);
    rig.told(|publisher| publisher.class_change(&old, &new, |_| false));
    assert_eq!(of(&rig, [13, 0, 0, 1]), 0);
}
