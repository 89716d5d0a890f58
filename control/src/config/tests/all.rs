//! What is wrong in one table doesn't hide what else is, and blames nobody else.

use super::errors::expect;

#[test]
fn every_key_of_an_adapter_is_judged_whatever_else_is_wrong_with_it() {
    let guest = "[[guest]]\nname = \"ct1\"\nkind = \"container\"\n[[guest.adapter]]\n";
    let text = format!(
        "{guest}name = \"eth0\"\nport = \"tap,iface=ct1\"\nmtu = 90000\n\
         addresses = [\"192.0.2.8/24\"]\nmac = \"01:00:5e:00:00:01\"\n"
    );
    let key = |key: &str| format!("guest[ct1].adapter[eth0].{key}");
    let (port, mtu) = (key("port"), key("mtu"));
    let (addresses, mac) = (key("addresses"), key("mac"));
    expect(
        &text,
        &[
            (7, &mtu, "90000 is not a whole number from 576 to 9216"),
            (8, &addresses, "192.0.2.8/24 has host bits set"),
            (9, &mac, "is no single interface's"),
        ],
    );
    let text = format!(
        "{guest}name = \"eth0\"\nport = \"tap,iface=a-name-that-is-too-long\"\nmtu = 100\n\
         addresses = [\"192.0.2.8/24\", \"192.0.2.9/24\"]\nmac = \"01:00:5e:00:00:01\"\n"
    );
    expect(
        &text,
        &[
            (6, &port, "interface name"),
            (7, &mtu, "100 is not"),
            (8, &addresses, "192.0.2.8/24 has host bits set"),
            (8, &addresses, "192.0.2.9/24 has host bits set"),
            (9, &mac, "is no single interface's"),
        ],
    );
}

#[test]
fn each_of_many_addresses_is_judged() {
    let addresses: Vec<String> = (1..=12).map(|n| format!("\"10.0.{n}.1/24\"")).collect();
    let text = format!(
        "[[guest]]\nname = \"ct1\"\nkind = \"container\"\n[[guest.adapter]]\nname = \"eth0\"\n\
         port = \"tap,iface=ct1\"\naddresses = [{}]\n",
        addresses.join(", ")
    );
    let says: Vec<String> = (1..=12).map(|n| format!("10.0.{n}.1/24 has host bits")).collect();
    let expected: Vec<(usize, &str, &str)> =
        says.iter().map(|says| (7, "guest[ct1].adapter[eth0].addresses", says.as_str())).collect();
    expect(&text, &expected);
}

#[test]
fn adapters_of_a_guest_of_unknown_kind_are_judged_as_far_as_can_be() {
    let text = |kind: &str| {
        format!(
            "[[guest]]\nname = \"ct1\"\nkind = \"{kind}\"\n[[guest.adapter]]\nname = \"eth0\"\n\
             port = \"tap,iface=ct1\"\naddresses = [\"192.0.2.8/24\"]\nmac = \"01:00:5e:00:00:01\"\n"
        )
    };
    let addresses = (7, "guest[ct1].adapter[eth0].addresses", "192.0.2.8/24 has host bits set");
    let mac = (8, "guest[ct1].adapter[eth0].mac", "is no single interface's");
    let kind = (3, "guest[ct1].kind", "is unknown here");
    expect(&text("conteiner"), &[kind, addresses, mac]);
    // What this guest is nobody knows; in a network the address would be right.
    expect(&text("robot"), &[kind, mac]);
}

#[test]
fn every_key_of_an_uplink_is_judged_whatever_else_is_wrong_with_it() {
    let text = r#"[[uplink]]
name = "up0"
device = "net_tap0,iface=up0"
addresses = ["192.0.2.1/24"]
queues = 0
mtu = 3
mac = "01:00:5e:00:00:01"
gateway = ["192.0.2.254", "192.0.2.253"]
[[uplink]]
name = "up1"
device = "0000:3b:00.9"
addresses = ["198.51.100.0/24"]
mac = "01:00:5e:00:00:01"
[appliance]
eal = ["-l", "0", "--lcores", "0@0"]
"#;
    expect(
        text,
        &[
            (5, "uplink[up0].queues", "0 is not a whole number from 1 to 128"),
            (6, "uplink[up0].mtu", "3 is not"),
            (7, "uplink[up0].mac", "is no single interface's"),
            (8, "uplink[up0].gateway", "at most one gateway per address family"),
            (11, "uplink[up1].device", "is no PCI address"),
            (12, "uplink[up1].addresses", "198.51.100.0"),
            (13, "uplink[up1].mac", "is no single interface's"),
            (15, "appliance.eal", "\"-l\" is refused"),
            (15, "appliance.eal", "\"--lcores\" is refused"),
        ],
    );
}

#[test]
fn what_stands_on_a_wrong_table_is_not_blamed_for_it() {
    // Each second table is right, or would be if the first were as it was meant.
    let text = r#"[appliance]
workers = "two"
[[uplink]]
name = "up0"
device = "net_tap0,iface=up0"
addresses = ["192.0.2.300/24"]
gateway = ["192.0.2.254"]
workers = [7]
[[port]]
name = "venet0"
device = "net_tap2,iface=venet0"
role = "shared"
mtu = 90000
[[port]]
name = "other"
device = "net_tap3,iface=other"
role = "sharde"
gateway = ["192.0.2.1"]
[[network]]
name = "lan0"
uplink = "up0"
vlan = 4095
[[network]]
name = "lan1"
uplink = "up0"
[[network]]
name = "lan2"
uplink = "nowhere"
max_macs = 100000
[network.server]
port = "tap,iface=srv-lan2"
mac = "01:00:5e:00:00:01"
[[guest]]
name = "ct1"
kind = "container"
[[guest.adapter]]
name = "eth0"
port = "shared:venet0"
mtu = 9000
addresses = ["203.0.113.11"]
[[guest.adapter]]
name = "eth1"
port = "tap,iface=ct1-eth1"
mode = "vritual-network"
network = "lan1"
addresses = ["198.51.100.8/24"]
gateway = ["198.51.100.1"]
[[guest]]
name = "ct1"
kind = "vm"
[[guest.adapter]]
name = "eth2"
port = "shared:venet0"
[[route]]
prefix = "10.0.0.0/8"
via = "192.0.2.77"
"#;
    expect(
        text,
        &[
            (2, "appliance.workers", "\"two\" is not a list of whole numbers"),
            (6, "uplink[up0].addresses", "192.0.2.300/24"),
            (13, "port[venet0].mtu", "90000 is not"),
            (17, "port[other].role", "\"sharde\" is unknown"),
            (22, "network[lan0].vlan", "4095 is not a whole number from 1 to 4094"),
            (28, "network[lan2].uplink", "there is no port nowhere"),
            (29, "network[lan2].max_macs", "100000 is not a whole number from 0 to 65536"),
            (32, "network[lan2].server.mac", "is no single interface's"),
            (44, "guest[ct1].adapter[eth1].mode", "\"vritual-network\" is unknown"),
            (49, "guest[ct1].name", "guest ct1 exists already"),
        ],
    );
}
