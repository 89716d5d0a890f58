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
