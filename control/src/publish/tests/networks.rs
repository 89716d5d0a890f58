//! Networks: what their MACs lead to, and what a change leaves alone.

use super::*;

#[test]
fn a_network_set_up_and_taken_away_leaves_no_loose_end() {
    let mut rig = Rig::new();
    rig.network_on_uplink("network-add", "lan0", 100);
    rig.adapter_add("net0", json!({"network": "lan0"}));
    assert_eq!(rig.learn("lan0", mac(9), &named("up0")), Learned::Added);
    rig.lose(&named("up0"));
    assert_eq!(rig.mac_port("lan0", mac(9)), None);
    rig.regain(&named("up0"));
    rig.lose(&adapter("vm1/net0"));
    rig.regain(&adapter("vm1/net0"));
    rig.change(json!({"change": "adapter-del", "guest": "vm1", "adapter": "net0"}));
    rig.change(json!({"change": "network-del", "network": "lan0"}));
}

fn fix(network: &str, last: u8, to: Value) -> Value {
    json!({"change": "mac-add", "network": network, "mac": mac(last).to_string(), "to": to})
}

#[test]
fn a_fixed_mac_follows_the_wire_and_never_names_a_row_given_up() {
    let mut rig = Rig::new();
    rig.network_on_uplink("network-add", "lan0", 100);
    rig.change(fix("lan0", 1, json!({"port": "up0"})));
    assert_eq!(rig.mac_way("lan0", mac(1)).unwrap().vlan, 100);
    rig.network_on_uplink("network-set", "lan0", 200);
    assert_eq!(rig.mac_way("lan0", mac(1)).unwrap().vlan, 200);
    rig.lose(&named("up0"));
    assert_eq!(rig.mac_way("lan0", mac(1)), None);
    // Whoever takes the rows that are free now.
    rig.adapter_add("net0", json!({"network": "lan0"}));
    assert_eq!(rig.learn("lan0", mac(1), &adapter("vm1/net0")), Learned::Refused);
    rig.regain(&named("up0"));
    assert_eq!(rig.mac_port("lan0", mac(1)), Some(named("up0")));
    let gone = json!({"change": "mac-del", "network": "lan0", "mac": mac(1).to_string()});
    rig.change(gone);
    assert_eq!(rig.mac_way("lan0", mac(1)), None);
}

#[test]
fn a_fixed_mac_follows_its_adapter() {
    let mut rig = Rig::new();
    rig.change(json!({"change": "network-add", "network": "lan0", "attach": "host-only"}));
    rig.adapter_add("net0", json!({"network": "lan0"}));
    rig.change(fix("lan0", 1, json!({"adapter": {"guest": "vm1", "adapter": "net0"}})));
    let at = adapter("vm1/net0");
    assert_eq!(rig.mac_port("lan0", mac(1)), Some(at.clone()));
    rig.lose(&at);
    assert_eq!(rig.mac_port("lan0", mac(1)), None);
    rig.regain(&at);
    assert_eq!(rig.mac_port("lan0", mac(1)), Some(at.clone()));
    let moved = json!({"mac": mac(7).to_string()});
    rig.change(json!({"change": "adapter-set", "guest": "vm1", "adapter": "net0", "wish": moved}));
    assert_eq!(rig.mac_port("lan0", mac(1)), Some(at));
}

#[test]
fn a_mac_fixed_at_the_server_leads_to_its_port() {
    let mut rig = Rig::new();
    rig.change(json!({"change": "network-add", "network": "lan0", "attach": "host-only"}));
    rig.change(json!({"change": "network-server", "network": "lan0", "server": {
        "port": "tap,iface=srv-lan0", "addresses": ["198.51.100.1/24"]}}));
    rig.change(fix("lan0", 1, json!({"port": "server"})));
    let server = PortLabel::Server(name("lan0"));
    assert_eq!(rig.mac_port("lan0", mac(1)), Some(server.clone()));
    rig.lose(&server);
    assert_eq!(rig.mac_port("lan0", mac(1)), None);
    rig.regain(&server);
    assert_eq!(rig.mac_port("lan0", mac(1)), Some(server));
}

#[test]
fn the_mtu_of_a_member_is_in_its_row_and_in_its_record() {
    let mut rig = Rig::new();
    rig.network_on_uplink("network-add", "lan0", 100);
    rig.adapter_add("net0", json!({"network": "lan0", "mac": mac(5).to_string()}));
    assert_eq!(rig.learn("lan0", mac(9), &named("up0")), Learned::Added);
    rig.change(json!({"change": "port-set", "port": "up0", "set": {"mtu": 1400}}));
    assert_eq!(rig.mac_way("lan0", mac(9)).unwrap().mtu, 1400);
    let up0 = rig.port_id(&named("up0"));
    let members = &rig.publisher.networks[&name("lan0")].members;
    assert_eq!(members[&up0].member.mtu, 1400);
    let vm = json!({"mtu": 1300});
    rig.change(json!({"change": "adapter-set", "guest": "vm1", "adapter": "net0", "wish": vm}));
    assert_eq!(rig.mac_way("lan0", mac(5)).unwrap().mtu, 1300);
}

#[test]
fn a_change_of_policy_leaves_a_network_on_its_wire() {
    let mut rig = Rig::new();
    rig.network_on_uplink("network-add", "lan0", 100);
    assert_eq!(rig.learn("lan0", mac(9), &named("up0")), Learned::Added);
    let up0 = rig.port_id(&named("up0"));
    let row = |rig: &Rig| rig.publisher.networks[&name("lan0")].members[&up0].adjacency;
    let before = row(&rig);
    let set = json!({"age-s": 60, "unknown-unicast": "drop"});
    rig.change(json!({"change": "network-set", "network": "lan0", "set": set}));
    assert_eq!(row(&rig), before);
    assert_eq!(rig.mac_port("lan0", mac(9)), Some(named("up0")));
    let record = rig.publisher.networks[&name("lan0")].record();
    assert_eq!(record.unknown_unicast, dataplane::record::UnknownUnicast::Drop);
}

#[test]
fn a_member_has_no_more_than_its_share_of_macs_by_moves_either() {
    let mut rig = Rig::new();
    rig.network_on_uplink("network-add", "lan0", 100);
    let open = json!({"network": "lan0", "filter": []});
    rig.adapter_add("net0", open.clone());
    rig.adapter_add("net1", open);
    let set = json!({"max-macs-per-port": 1});
    rig.change(json!({"change": "network-set", "network": "lan0", "set": set}));
    let (a, b) = (adapter("vm1/net0"), adapter("vm1/net1"));
    assert_eq!(rig.learn("lan0", mac(1), &a), Learned::Added);
    assert_eq!(rig.learn("lan0", mac(2), &b), Learned::Added);
    assert_eq!(rig.learn("lan0", mac(2), &a), Learned::Refused);
    assert_eq!(rig.mac_port("lan0", mac(2)), Some(b));
    assert_eq!(rig.learn("lan0", mac(1), &a), Learned::Added, "it is there already");
}
