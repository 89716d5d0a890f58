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
