//! Ports: what comes twice, what fails, and in which order workers are told.

use super::*;
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
