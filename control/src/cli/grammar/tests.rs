//! Every command of the table parses to the order it stands for; every wrong word is named.

use super::*;
use crate::cli::order::{Order, View};
use crate::cli::words::split;
use crate::model::Change;
use serde_json::{Value, json};

fn order(line: &str) -> Result<Order, String> {
    let (command, values) = parse(&split(line).unwrap())?;
    (command.order)(&values)
}

/// The one change that a command orders, as the API's JSON.
fn change(line: &str) -> Value {
    match order(line).unwrap_or_else(|error| panic!("{line}: {error}")) {
        Order::Change(changes) => match changes.as_slice() {
            [one] => serde_json::to_value(one).unwrap(),
            more => panic!("{line}: {more:?}"),
        },
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn changes_are_what_the_api_takes() {
    for (line, want) in [
        (
            "port attach net_tap0,iface=up0 name up0 role uplink queues 2 mac 02:00:00:00:00:10 \
             ip 192.0.2.1/24 ip 198.51.100.1 gateway 192.0.2.254",
            json!({"change": "port-attach", "port": "up0", "wish": {
                "device": "net_tap0,iface=up0", "role": "uplink", "queues": 2,
                "mac": "02:00:00:00:00:10", "addresses": ["192.0.2.1/24", "198.51.100.1/32"],
                "gateway": ["192.0.2.254"]}}),
        ),
        (
            "port attach 0000:3b:00.0 name up1",
            json!({"change": "port-attach", "port": "up1", "wish": {
                "device": "0000:3b:00.0", "role": "uplink", "addresses": [], "gateway": []}}),
        ),
        (
            "port attach net_tap2,iface=venet0 name venet0 netns gw-venet role shared",
            json!({"change": "port-attach", "port": "venet0", "wish": {
                "device": "net_tap2,iface=venet0", "role": "shared", "netns": "gw-venet",
                "addresses": [], "gateway": []}}),
        ),
        ("port detach up0", json!({"change": "port-detach", "port": "up0"})),
        ("port start up0", json!({"change": "port-set", "port": "up0", "set": {"started": true}})),
        ("port stop up0", json!({"change": "port-set", "port": "up0", "set": {"started": false}})),
        (
            "port set up0 mtu 9000",
            json!({"change": "port-set", "port": "up0", "set": {"mtu": 9000}}),
        ),
        (
            "port set up0 queue 1 worker 3",
            json!({"change": "port-set", "port": "up0", "set": {"queue-worker": [1, 3]}}),
        ),
        (
            "port set up0 gateway none ip 192.0.2.1/24 probe off ip 198.51.100.1/25",
            json!({"change": "port-set", "port": "up0", "set": {
                "addresses": ["192.0.2.1/24", "198.51.100.1/25"], "gateway": [], "probe": false}}),
        ),
        (
            "class set near 192.0.2.0/24 10.0.0.0/8",
            json!({"change": "class-set", "class": "near", "prefixes": ["192.0.2.0/24", "10.0.0.0/8"]}),
        ),
        (
            "guest add ct1 container",
            json!({"change": "guest-add", "guest": "ct1", "kind": "container"}),
        ),
        ("guest add vm1 vm", json!({"change": "guest-add", "guest": "vm1", "kind": "vm"})),
        ("guest del ct1", json!({"change": "guest-del", "guest": "ct1"})),
        (
            "adapter add ct1 eth0 port tap,iface=ct1-eth0",
            json!({"change": "adapter-add", "guest": "ct1", "adapter": "eth0",
                   "wish": {"port": "tap,iface=ct1-eth0"}}),
        ),
        (
            "adapter add vm1 eth0 port shared:venet0 probe off announce on filter mac,promisc \
             mtu 1400 gateway 10.0.0.1 host-mac 02:00:00:00:00:02 mac 02:00:00:00:00:01 \
             ip 203.0.113.11/32 ip 203.0.113.12 network lan0 mode virtual-network",
            json!({"change": "adapter-add", "guest": "vm1", "adapter": "eth0", "wish": {
                "port": "shared:venet0", "mode": "virtual-network", "network": "lan0",
                "addresses": ["203.0.113.11/32", "203.0.113.12/32"],
                "mac": "02:00:00:00:00:01", "host-mac": "02:00:00:00:00:02",
                "gateway": ["10.0.0.1"], "mtu": 1400, "filter": ["mac", "promisc"],
                "announce": true, "probe": false}}),
        ),
        (
            "adapter set ct1 eth0 mode host-routed ip none filter none",
            json!({"change": "adapter-set", "guest": "ct1", "adapter": "eth0",
                   "wish": {"mode": "host-routed", "addresses": [], "filter": []}}),
        ),
        (
            "adapter set ct1 eth0 filter all",
            json!({"change": "adapter-set", "guest": "ct1", "adapter": "eth0",
                   "wish": {"filter": ["ip", "mac", "promisc", "dhcp", "ra", "bpdu"]}}),
        ),
        (
            "adapter add ct1 eth0 port x storm 100 class-rate local out 500k rate in 10M \
             class-rate far in none class-rate local in 1mbit rate out 2.5G",
            json!({"change": "adapter-add", "guest": "ct1", "adapter": "eth0", "wish": {
                "port": "x", "rate": {"in": 10_000_000, "out": 2_500_000_000_u64},
                "class-rate": {"far": {"in": 0}, "local": {"in": 1_000_000, "out": 500_000}},
                "storm": 100}}),
        ),
        (
            "adapter set ct1 eth0 rate in none storm none",
            json!({"change": "adapter-set", "guest": "ct1", "adapter": "eth0",
                   "wish": {"rate": {"in": 0}, "storm": 0}}),
        ),
        (
            "adapter del ct1 eth0",
            json!({"change": "adapter-del", "guest": "ct1", "adapter": "eth0"}),
        ),
        (
            "network add lan0 host-only",
            json!({"change": "network-add", "network": "lan0", "attach": "host-only"}),
        ),
        (
            "network add lan0 uplink up0",
            json!({"change": "network-add", "network": "lan0", "attach": {"uplink": {"port": "up0"}}}),
        ),
        (
            "network add lan0 uplink up0 vlan 100",
            json!({"change": "network-add", "network": "lan0",
                   "attach": {"uplink": {"port": "up0", "vlan": 100}}}),
        ),
        (
            "network set lan0 vlan 7 uplink up0 age 60 max-macs 10 max-macs-per-port 2 learning off \
             unknown-unicast flood",
            json!({"change": "network-set", "network": "lan0", "set": {
                "attach": {"uplink": {"port": "up0", "vlan": 7}}, "unknown-unicast": "flood",
                "learning": false, "max-macs": 10, "max-macs-per-port": 2, "age-s": 60}}),
        ),
        (
            "network set lan0 host-only",
            json!({"change": "network-set", "network": "lan0", "set": {"attach": "host-only"}}),
        ),
        ("network del lan0", json!({"change": "network-del", "network": "lan0"})),
        (
            "network server lan0 tap,iface=srv mac 02:00:00:00:00:03 ip 198.51.100.1/24",
            json!({"change": "network-server", "network": "lan0", "server": {
                "port": "tap,iface=srv", "addresses": ["198.51.100.1/24"],
                "mac": "02:00:00:00:00:03"}}),
        ),
        (
            "network server lan0 none",
            json!({"change": "network-server", "network": "lan0", "server": null}),
        ),
        (
            "route add 203.0.113.64/26 via 203.0.113.11",
            json!({"change": "route-add", "prefix": "203.0.113.64/26",
                   "via": {"next-hop": "203.0.113.11"}}),
        ),
        (
            "route add 203.0.113.9 dev up0",
            json!({"change": "route-add", "prefix": "203.0.113.9/32", "via": {"dev": "up0"}}),
        ),
        ("route del 203.0.113.9", json!({"change": "route-del", "prefix": "203.0.113.9/32"})),
        (
            "neighbor add 192.0.2.9 02:00:00:00:00:09 dev up0",
            json!({"change": "neighbor-add", "ip": "192.0.2.9", "mac": "02:00:00:00:00:09",
                   "dev": "up0"}),
        ),
        ("neighbor del 192.0.2.9", json!({"change": "neighbor-del", "ip": "192.0.2.9"})),
        (
            "mac del lan0 02:00:00:00:00:09",
            json!({"change": "mac-del", "network": "lan0", "mac": "02:00:00:00:00:09"}),
        ),
    ] {
        let made = change(line);
        assert_eq!(made, want, "{line}");
        assert!(serde_json::from_value::<Change>(made).is_ok(), "{line}");
    }
}

#[test]
fn questions_and_actions_are_paths_of_the_api() {
    let show = |path: &str, view| Order::Show(path.to_owned(), view);
    let act = |path: &str| Order::Act(path.to_owned());
    for (line, want) in [
        ("start", act("/v1/start")),
        ("stop", act("/v1/stop")),
        ("port start all", Order::AllPorts { started: true }),
        ("port stop all", Order::AllPorts { started: false }),
        ("show port info", show("/v1/ports", View::Ports)),
        ("show port info all", show("/v1/ports", View::Ports)),
        ("show port info up0", show("/v1/ports/up0", View::Port)),
        ("show port stats all", show("/v1/stats", View::AllPortStats)),
        ("show port stats ct1/eth0", show("/v1/ports/ct1%2Feth0/stats", View::PortStats)),
        ("show port stats network:lan0", show("/v1/ports/network:lan0/stats", View::PortStats)),
        ("show port xstats all", show("/v1/xstats", View::AllPortXstats)),
        ("show port xstats up0", show("/v1/ports/up0/xstats", View::PortXstats)),
        ("clear port stats all", act("/v1/stats/clear")),
        ("clear port stats up0", act("/v1/ports/up0/stats/clear")),
        ("show guest", show("/v1/guests", View::Guests)),
        ("show guest all", show("/v1/guests", View::Guests)),
        ("show guest ct1", show("/v1/guests/ct1", View::Guest)),
        ("show network all", show("/v1/networks", View::Networks)),
        ("show network lan0", show("/v1/networks/lan0", View::Network)),
        ("route load /tmp/routes", Order::LoadRoutes("/tmp/routes".into())),
        ("show route", Order::ShowRoutes),
        ("show route all", Order::ShowRoutes),
        ("show route 203.0.113.9", show("/v1/lookup/203.0.113.9", View::RouteDecision)),
        ("show route 2001:db8::1", show("/v1/lookup/2001:db8::1", View::RouteDecision)),
        ("neighbor flush", act("/v1/neighbors/flush")),
        ("neighbor flush 192.0.2.9", act("/v1/neighbors/192.0.2.9/flush")),
        ("arp flush", act("/v1/neighbors/flush")),
        ("show neighbor", show("/v1/neighbors", View::Neighbors)),
        ("show arp", Order::ShowArp),
        ("mac flush lan0", act("/v1/networks/lan0/macs/flush")),
        ("show mac lan0", show("/v1/networks/lan0/macs", View::Macs)),
        (
            "mac add lan0 02:00:00:00:00:09 ct1/eth0",
            Order::MacAdd {
                network: "lan0".parse().unwrap(),
                mac: "02:00:00:00:00:09".parse().unwrap(),
                target: "ct1/eth0".into(),
            },
        ),
        ("show worker", show("/v1/workers", View::Workers)),
        ("show latency", show("/v1/latency", View::Latency)),
        ("show latency seconds 5", show("/v1/latency?seconds=5", View::Latency)),
        ("capture stop", act("/v1/capture/stop")),
        ("show capture", show("/v1/capture", View::Captures)),
        ("show drops", show("/v1/drops", View::Drops)),
        ("show drops ct1", show("/v1/guests/ct1/drops", View::Drops)),
        ("show config", show("/v1/config", View::Config)),
        ("show config --diff", show("/v1/config/diff", View::ConfigDiff)),
        ("show version", show("/v1/version", View::Version)),
        ("source f", Order::Source("f".into())),
        ("help", Order::Help(None)),
        ("help guest", Order::Help(Some("guest".into()))),
        ("quit", Order::Quit),
    ] {
        assert_eq!(order(line), Ok(want), "{line}");
    }
}

#[test]
fn wrong_words_are_named_with_what_would_be_right() {
    for (line, wants) in [
        ("shwo guest", &["unknown command \"shwo\"", "did you mean \"show\"", "help"][..]),
        ("xyzzy", &["unknown command \"xyzzy\"", "try: help"]),
        ("set promisc on", &["unknown command \"set\""]),
        ("show gest", &["unexpected \"gest\" after \"show\"", "guest", "did you mean \"guest\""]),
        ("show", &["\"show\" is not complete", "guest", "worker"]),
        ("start now", &["\"now\" is one word too many after \"start\"", "usage: start"]),
        ("guest add ct1", &["not complete", "container or vm", "usage: guest add"]),
        ("guest add ct1 vmm", &["unexpected \"vmm\"", "container or vm", "did you mean \"vm\""]),
        ("guest add CT1 vm", &["bad GUEST \"CT1\"", "a-z"]),
        ("guest del", &["not complete", "GUEST (a guest's name)"]),
        ("adapter add ct1 eth0 tap,iface=x", &["unexpected \"tap,iface=x\"", "expected port"]),
        ("adapter add ct1 eth0 port x mtoo 5", &["unexpected \"mtoo\"", "did you mean \"mtu\""]),
        ("adapter add ct1 eth0 port x mtu 99999", &["bad BYTES \"99999\"", "from 576 to 9216"]),
        ("port set up0 mtu 100", &["bad BYTES \"100\"", "from 576 to 9216"]),
        ("port attach x name up1 queues 129", &["bad N \"129\"", "from 1 to 128"]),
        ("adapter add ct1 eth0 port x mtu 900 mtu 910", &["mtu is given twice"]),
        ("adapter add ct1 eth0 port x ip 1.2.3", &["bad PREFIX \"1.2.3\"", "203.0.113.64/26"]),
        ("adapter add ct1 eth0 port x mac 02:00", &["bad MAC \"02:00\"", "02:00:5e:10:00:01"]),
        ("adapter add ct1 eth0 port x filter ip,foo", &["no filter \"foo\"", "promisc"]),
        ("adapter add ct1 eth0 port x announce maybe", &["unexpected \"maybe\"", "off or on"]),
        ("adapter set ct1 eth0 rate 10M", &["unexpected \"10M\"", "expected in or out"]),
        (
            "adapter set ct1 eth0 rate in",
            &["not complete", "expected none or BITS (bits per second"],
        ),
        ("adapter set ct1 eth0 rate in 10MB", &["bad BITS \"10MB\"", "500k, 10M or 2.5G"]),
        ("adapter set ct1 eth0 rate in 999", &["bad BITS \"999\"", "from 1k to 1T"]),
        ("adapter set ct1 eth0 rate in 1M rate in 2M", &["rate in is given twice"]),
        ("adapter set ct1 eth0 class-rate in 1M", &["unexpected \"1M\"", "expected in or out"]),
        (
            "adapter set ct1 eth0 class-rate a out 1M class-rate a out none",
            &["class-rate a out is given twice"],
        ),
        ("adapter set ct1 eth0 storm 1000001", &["bad FRAMES", "from 0 to 1000000"]),
        ("adapter set ct1 eth0", &["nothing to set", "KEY VALUE"]),
        ("adapter set ct1 eth0 ip none ip 10.0.0.1", &["ip none leaves no room for ip 10.0.0.1"]),
        ("network add lan0 uplink up0 vlan 4095", &["bad ID \"4095\"", "from 1 to 4094"]),
        ("network add lan0", &["not complete", "host-only or uplink"]),
        ("network set lan0", &["nothing to set"]),
        ("network set lan0 host-only vlan 5", &["host-only and vlan exclude each other"]),
        ("network set lan0 host-only uplink up0", &["exclude each other"]),
        ("route add 10.0.0.0/8 10.0.0.1", &["unexpected \"10.0.0.1\"", "dev or via"]),
        ("route add 10.0.0.0/33 via 10.0.0.1", &["bad PREFIX \"10.0.0.0/33\""]),
        ("show route 10.0.0", &["\"10.0.0\"", "an address like"]),
        ("show port info a/b/c", &["bad PORT \"a/b/c\"", "GUEST/ADAPTER"]),
        ("port detach ct1/eth0", &["belongs to an adapter", "uplink, host or shared"]),
        ("port set up0 speed 5", &["unexpected \"speed\"", "mtu, probe or queue"]),
        ("port set up0", &["mtu"]),
        ("port set up0 ip none ip 192.0.2.1/24", &["none leaves no room"]),
        ("port set up0 queue 0 worker x", &["bad W \"x\"", "a number from 0"]),
        ("mac add lan0 zz up0", &["bad MAC \"zz\""]),
        ("show config --dif", &["unexpected \"--dif\"", "did you mean \"--diff\""]),
        ("port attach net_tap0 up0", &["unexpected \"up0\"", "expected name"]),
    ] {
        let error = order(line).expect_err(line);
        assert!(!error.contains('\n'), "{error}");
        for want in wants {
            assert!(error.contains(want), "{line}: {error:?} lacks {want:?}");
        }
    }
}

#[test]
fn usages_are_sound() {
    for (command, usage) in GRAMMAR.iter() {
        let text = command.usage;
        assert_eq!(text.matches('[').count(), text.matches(']').count(), "{text}");
        assert_eq!(usage.groups.len(), text.matches('[').count(), "{text}");
        assert!(matches!(usage.items.first(), Some(Item::Word(_))), "{text}");
        assert!(command.about.ends_with('.'), "{text}");
        // What stands in capitals is of a known kind; what stands small is a word.
        for word in text.split([' ', '|', '[', ']', '…']).filter(|word| !word.is_empty()) {
            let is_capital = word.chars().all(|c| c.is_ascii_uppercase());
            assert_eq!(is_capital, Kind::of(word).is_some(), "{text}: {word}");
        }
        // What can be left out follows all that can't: groups are the end of the text.
        let rest = text.split_once('[').map_or("", |(_, rest)| rest);
        assert!(rest.is_empty() || text.ends_with([']', '…']), "{text}");
        if !command.creates.is_empty() {
            assert!(text.contains(command.creates), "{text}");
        }
    }
}

#[test]
fn help_tells_all_or_those_with_a_word() {
    assert_eq!(help(None).unwrap().len(), COMMANDS.len());
    let of_guest = help(Some("guest")).unwrap();
    assert!(of_guest.iter().all(|(usage, _)| usage.starts_with("guest ")), "{of_guest:?}");
    let with_vlan = help(Some("vlan")).unwrap();
    assert!(with_vlan.iter().all(|(usage, _)| usage.contains("vlan")) && with_vlan.len() == 2);
    let error = help(Some("gest")).unwrap_err();
    assert!(error.contains("did you mean \"guest\""), "{error}");
}
