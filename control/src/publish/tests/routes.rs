//! Routes, next hops and neighbors: where they lead when ports come and go.

use super::*;
use dataplane::table::AdjacencyKind;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// A rig whose gateway is a VM on the uplink's own untagged network.
fn gateway_behind_a_vm() -> (Rig, PortId, PortId) {
    let mut rig = Rig::new();
    rig.network_on_uplink("network-add", "lan0", 0);
    rig.adapter_add("net0", json!({"network": "lan0", "mac": mac(5).to_string()}));
    let up0 = rig.port_id(&named("up0"));
    rig.told(|publisher| publisher.neighbor_up(up0, GATEWAY, mac(5)));
    let vm = rig.port_id(&adapter("vm1/net0"));
    (rig, up0, vm)
}

#[test]
fn a_neighbor_behind_a_vm_is_asked_for_on_the_uplink_once_it_is_forgotten() {
    let (mut rig, up0, vm) = gateway_behind_a_vm();
    let way = rig.way("203.0.113.1");
    assert_eq!((way.kind, way.port, way.destination), (AdjacencyKind::Forward, vm, mac(5)));
    rig.told(|publisher| {
        publisher.neighbor_down(up0, GATEWAY);
        Ok(())
    });
    let way = rig.way("203.0.113.1");
    assert_eq!((way.kind, way.port, way.source), (AdjacencyKind::Incomplete, up0, OUR_MAC));
    assert_eq!((way.adapter, way.next_hop), (AdapterId::NONE, GATEWAY.into()));
    assert_eq!(rig.way("192.0.2.254").kind, AdjacencyKind::Glean);
}

#[test]
fn a_neighbor_that_does_not_answer_is_no_longer_behind_the_vm() {
    let (mut rig, up0, _) = gateway_behind_a_vm();
    rig.told(|publisher| publisher.neighbor_unreachable(up0, GATEWAY));
    let way = rig.way("203.0.113.1");
    assert_eq!((way.kind, way.port), (AdjacencyKind::Unreachable, up0));
    assert_eq!(rig.way("192.0.2.254"), way);
}

#[test]
fn a_neighbor_follows_the_vm_that_it_is_behind() {
    let (mut rig, up0, _) = gateway_behind_a_vm();
    rig.lose(&adapter("vm1/net0"));
    assert_eq!(rig.way("203.0.113.1").port, up0, "nobody's port may get its packets");
    rig.regain(&adapter("vm1/net0"));
    let vm = rig.port_id(&adapter("vm1/net0"));
    assert_eq!((rig.way("203.0.113.1").port, rig.way("192.0.2.254").port), (vm, vm));
    let off = json!({"change": "network-set", "network": "lan0", "set": {"attach": "host-only"}});
    rig.change(off);
    assert_eq!(rig.way("203.0.113.1").port, up0);
    rig.network_on_uplink("network-set", "lan0", 0);
    assert_eq!(rig.way("203.0.113.1").port, vm);
}

#[test]
fn the_mtu_of_a_next_hop_is_that_of_the_port_it_leaves_by() {
    let (mut rig, up0, _) = gateway_behind_a_vm();
    let set = json!({"mtu": 1400});
    rig.change(json!({"change": "adapter-set", "guest": "vm1", "adapter": "net0", "wish": set}));
    assert_eq!(rig.way("203.0.113.1").mtu, 1400);
    rig.change(json!({"change": "port-set", "port": "up0", "set": {"mtu": 9000}}));
    assert_eq!(rig.way("203.0.113.1").mtu, 1400);
    rig.told(|publisher| {
        publisher.neighbor_down(up0, GATEWAY);
        publisher.neighbor_up(up0, GATEWAY, mac(6))
    });
    assert_eq!(rig.way("203.0.113.1").mtu, 9000);
}

fn route_add(prefix: &str, via: Value) -> Value {
    json!({"change": "route-add", "prefix": prefix, "via": via})
}

#[test]
fn a_route_to_the_servers_port_survives_the_loss_of_it() {
    let mut rig = Rig::new();
    rig.change(json!({"change": "port-attach", "port": "host", "wish": {
        "device": "net_tap1,iface=gw-host", "role": "host"}}));
    rig.change(route_add("203.0.113.0/24", json!({"dev": "host"})));
    let host = rig.port_id(&named("host"));
    assert_eq!(rig.way("203.0.113.1").port, host);
    rig.lose(&named("host"));
    assert_eq!(rig.way("203.0.113.1").kind, AdjacencyKind::Prohibit);
    // Whoever takes the row and the port's number.
    rig.adapter_add("net0", json!({"mode": "host-routed", "addresses": ["198.51.100.9/32"]}));
    assert_eq!(rig.way("203.0.113.1").kind, AdjacencyKind::Prohibit);
    rig.regain(&named("host"));
    assert_eq!(rig.way("203.0.113.1").port, rig.port_id(&named("host")));
}

#[test]
fn a_route_to_the_wire_survives_the_loss_of_its_uplink() {
    let mut rig = Rig::new();
    rig.lose(&named("up0"));
    rig.change(route_add("203.0.113.0/24", json!({"dev": "up0"})));
    assert_eq!(rig.way("203.0.113.1").kind, AdjacencyKind::Prohibit);
    for _ in 0..2 {
        rig.regain(&named("up0"));
        let way = rig.way("203.0.113.1");
        assert_eq!((way.kind, way.port), (AdjacencyKind::Glean, rig.port_id(&named("up0"))));
        rig.lose(&named("up0"));
        assert_eq!(rig.way("203.0.113.1").kind, AdjacencyKind::Prohibit);
    }
    rig.change(json!({"change": "route-del", "prefix": "203.0.113.0/24"}));
    rig.regain(&named("up0"));
    assert_eq!(rig.way("203.0.113.1").kind, AdjacencyKind::Incomplete, "the default route's");
}

#[test]
fn a_next_hop_is_where_the_longest_prefix_on_a_wire_is_in_whichever_order_they_come() {
    let mut rig = Rig::new();
    rig.change(json!({"change": "port-attach", "port": "up1", "wish": {
        "device": "net_tap1,iface=up1", "role": "uplink"}}));
    let (up0, up1) = (rig.port_id(&named("up0")), rig.port_id(&named("up1")));
    rig.change(route_add("198.51.100.0/24", json!({"next-hop": "192.0.2.200"})));
    assert_eq!(rig.way("198.51.100.1").port, up0);
    rig.change(route_add("192.0.2.128/25", json!({"dev": "up1"})));
    assert_eq!(rig.way("198.51.100.1").port, up1);
    rig.lose(&named("up1"));
    assert_eq!(rig.way("198.51.100.1").port, up0);
    rig.regain(&named("up1"));
    rig.change(json!({"change": "route-del", "prefix": "192.0.2.128/25"}));
    assert_eq!(rig.way("198.51.100.1").port, up0);
}

#[test]
fn a_route_to_one_address_on_the_wire_gives_way_to_what_is_known_of_it() {
    let mut rig = Rig::new();
    let (up0, ip) = (rig.port_id(&named("up0")), Ipv4Addr::new(203, 0, 113, 9));
    rig.change(route_add("203.0.113.9/32", json!({"dev": "up0"})));
    assert_eq!(rig.way("203.0.113.9").kind, AdjacencyKind::Glean);
    rig.told(|publisher| publisher.neighbor_up(up0, ip, mac(9)));
    let way = rig.way("203.0.113.9");
    assert_eq!((way.kind, way.port, way.destination), (AdjacencyKind::Forward, up0, mac(9)));
    rig.told(|publisher| publisher.neighbor_unreachable(up0, ip));
    assert_eq!(rig.way("203.0.113.9").kind, AdjacencyKind::Unreachable);
    rig.told(|publisher| {
        publisher.neighbor_down(up0, ip);
        Ok(())
    });
    assert_eq!(rig.way("203.0.113.9").kind, AdjacencyKind::Glean);
}
