//! Networks, the server's ports on them and fixed MACs.

use super::*;
use RefusalKind::*;

fn server(network: &str, port: &str, addresses: &[&str]) -> Change {
    let addresses = addresses.iter().map(|text| net(text)).collect();
    let server = NetworkServer { port: port.to_owned(), addresses, mac: None };
    Change::NetworkServer { network: name(network), server: Some(server) }
}

fn patch(network: &str, set: NetworkPatch) -> Change {
    Change::NetworkSet { network: name(network), set }
}

fn fix(network: &str, mac: MacAddr, to: &str) -> Change {
    let to = match to.split_once('/') {
        Some((guest, adapter)) => MacTarget::Adapter { guest: name(guest), adapter: name(adapter) },
        None => MacTarget::Port(name(to)),
    };
    Change::MacAdd { network: name(network), mac, to }
}

#[test]
fn the_default_network_always_exists_and_is_host_only() {
    let mut registry = registry();
    let default = registry.network(&name(DEFAULT_NETWORK)).unwrap();
    assert_eq!((default.number, &default.attach), (0, &NetworkAttach::HostOnly));
    refuses(&mut registry, network("default", "", None), Duplicate, "it always does");
    let del = Change::NetworkDel { network: name("default") };
    refuses(&mut registry, del, Conflict, "always exists and can't be deleted");
    let attach = Some(NetworkAttach::Uplink { port: name("up0"), vlan: None });
    let attach = patch("default", NetworkPatch { attach, ..NetworkPatch::default() });
    refuses(&mut registry, attach, Conflict, "network default is host-only");
    let age = patch("default", NetworkPatch { age_s: Some(60), ..NetworkPatch::default() });
    registry.apply(&[age, server("default", "tap,iface=srv", &["10.0.0.1/24"])]).unwrap();
}

#[test]
fn an_uplink_and_vlan_belong_to_one_network_vn_14() {
    let mut registry = registry();
    registry.apply(&[network("lan", "up0", None), network("v5", "up0", Some(5))]).unwrap();
    let on = registry.networks_on(&name("up0")).map(|n| n.name.to_string()).collect::<Vec<_>>();
    assert_eq!(on, ["lan", "v5"]);
    refuses(
        &mut registry,
        network("x", "up0", None),
        Duplicate,
        "untagged frames of uplink up0 are taken by network lan",
    );
    refuses(
        &mut registry,
        network("x", "up0", Some(5)),
        Duplicate,
        "vlan 5 of uplink up0 is taken by network v5",
    );
    refuses(&mut registry, network("lan", "", None), Duplicate, "network lan exists already");
    refuses(&mut registry, network("x", "up0", Some(0)), Invalid, "not from 1 to 4094");
    refuses(&mut registry, network("x", "up0", Some(4095)), Invalid, "not from 1 to 4094");
    refuses(&mut registry, network("x", "up9", None), NotFound, "there is no port up9");
    refuses(&mut registry, network("x", "venet0", None), Conflict, "is no uplink");
    let attach = Some(NetworkAttach::Uplink { port: name("up0"), vlan: Some(5) });
    let move_lan = patch("lan", NetworkPatch { attach, ..NetworkPatch::default() });
    refuses(&mut registry, move_lan.clone(), Duplicate, "taken by network v5");
    registry.apply(&[Change::NetworkDel { network: name("v5") }, move_lan]).unwrap();
    assert_eq!(registry.network_on(&name("up0"), Some(5)).unwrap().name, name("lan"));
    assert!(registry.network_on(&name("up0"), None).is_none());
    let detach = Change::PortDetach { port: name("up0") };
    refuses(&mut registry, detach, Conflict, "network lan is on port up0");
}

#[test]
fn a_number_rests_before_another_network_gets_it() {
    let mut registry = registry();
    let number =
        |registry: &Registry, network: &str| registry.network(&name(network)).unwrap().number;
    registry.apply(&[network("a", "", None), network("b", "", None)]).unwrap();
    assert_eq!((number(&registry, "a"), number(&registry, "b")), (1, 2));
    registry.apply(&[Change::NetworkDel { network: name("a") }, network("a", "", None)]).unwrap();
    assert_eq!(number(&registry, "a"), 3);
    let many: Vec<Change> = (0..4093).map(|n| network(&format!("n{n}"), "", None)).collect();
    registry.apply(&many).unwrap();
    refuses(&mut registry, network("x", "", None), Limit, "there are 4096 networks already");
    registry.apply(&[Change::NetworkDel { network: name("n7") }, network("x", "", None)]).unwrap();
}

#[test]
fn a_network_with_members_stays_and_one_is_named() {
    let mut registry = registry();
    registry
        .apply(&[network("lan0", "", None), add("vm1/net0", "port tap,iface=a network lan0")])
        .unwrap();
    let del = Change::NetworkDel { network: name("lan0") };
    refuses(&mut registry, del.clone(), Conflict, "vm1/net0 is a member of network lan0");
    registry.apply(&[set("vm1/net0", "network default"), del]).unwrap();
    assert_eq!(registry.members(&name("default")).count(), 1);
}

#[test]
fn what_is_set_on_a_network_is_within_limits() {
    let mut registry = registry();
    registry.apply(&[network("lan0", "", None)]).unwrap();
    let plain = NetworkPatch::default;
    for (set, says) in [
        (NetworkPatch { age_s: Some(9), ..plain() }, "age_s 9 is not from 10 to 86400"),
        (NetworkPatch { max_macs: Some(65_537), ..plain() }, "max_macs 65537 is not from 0"),
        (NetworkPatch { max_macs_per_port: Some(65_537), ..plain() }, "max_macs_per_port 65537"),
    ] {
        refuses(&mut registry, patch("lan0", set), Invalid, says);
    }
    let set = NetworkPatch { learning: Some(false), max_macs: Some(0), ..plain() };
    registry.apply(&[patch("lan0", set)]).unwrap();
    let lan0 = registry.network(&name("lan0")).unwrap();
    assert_eq!((lan0.learning, lan0.max_macs, lan0.age_s), (false, 0, 300));
    assert!(registry.apply(&[patch("lan0", plain())]).unwrap().is_empty());
    refuses(&mut registry, patch("lan9", plain()), NotFound, "there is no network lan9");
}

#[test]
fn the_servers_port_is_held_like_a_guests_vn_7() {
    let mut registry = registry();
    registry
        .apply(&[
            network("lan0", "", None),
            add("ct1/eth0", "port tap,iface=a ip 203.0.113.1 gateway 10.0.0.9"),
        ])
        .unwrap();
    refuses(
        &mut registry,
        server("lan0", "tap,iface=a", &[]),
        Duplicate,
        "guest ct1's adapter eth0",
    );
    refuses(
        &mut registry,
        server("lan0", "tap,iface=s", &["203.0.113.1/24"]),
        Duplicate,
        "203.0.113.1 is taken",
    );
    refuses(
        &mut registry,
        server("lan0", "tap,iface=s", &["10.0.0.9/24"]),
        Conflict,
        "gateway of ct1/eth0",
    );
    refuses(
        &mut registry,
        server("lan0", "tap,iface=s", &["10.0.0.0/24"]),
        Invalid,
        "first or last",
    );
    refuses(&mut registry, server("lan0", "shared:venet0", &[]), Invalid, "a port of its own");
    refuses(
        &mut registry,
        server("lan9", "tap,iface=s", &[]),
        NotFound,
        "there is no network lan9",
    );
    let effects = registry.apply(&[server("lan0", "tap,iface=s", &["10.0.0.1/24"])]).unwrap();
    assert!(matches!(&effects[..], [Effect::ServerAdded(_)]));
    let before = registry.server(&name("lan0")).unwrap().mac;
    let effects = registry.apply(&[server("lan0", "tap,iface=s", &["10.0.0.2/24"])]).unwrap();
    assert!(matches!(&effects[..], [Effect::ServerChanged { .. }]));
    assert_eq!(registry.server(&name("lan0")).unwrap().mac, before);
    // Another port is another thing.
    let effects = registry.apply(&[server("lan0", "tap,iface=t", &["10.0.0.2/24"])]).unwrap();
    assert!(matches!(&effects[..], [Effect::ServerRemoved(_), Effect::ServerAdded(_)]));
    let off = Change::NetworkServer { network: name("lan0"), server: None };
    let effects = registry.apply(&[off.clone(), off]).unwrap();
    assert!(matches!(&effects[..], [Effect::ServerRemoved(_)]));
}

#[test]
fn fixed_macs_move_with_their_adapter_vn_6() {
    let mut registry = registry();
    registry
        .apply(&[
            network("a", "up0", Some(1)),
            network("b", "up0", Some(2)),
            add("vm1/net0", "port tap,iface=x network a"),
            add("vm1/net1", "port tap,iface=y network b mac 02:00:5e:10:00:07"),
            fix("a", mac(1), "vm1/net0"),
            fix("a", mac(2), "up0"),
            fix("b", mac(2), "up0"),
        ])
        .unwrap();
    refuses(&mut registry, fix("a", mac(1), "up0"), Duplicate, "fixed at vm1/net0 already");
    refuses(&mut registry, fix("a", mac(7), "vm1/net0"), Duplicate, "guest vm1's adapter net1");
    refuses(&mut registry, fix("a", mac(3), "vm1/net1"), Conflict, "no member of network a");
    refuses(&mut registry, fix("a", mac(3), "venet0"), Conflict, "no port of network a");
    refuses(&mut registry, fix("a", mac(3), "server"), Conflict, "no port of network a");
    refuses(&mut registry, fix("a", MacAddr::BROADCAST, "up0"), Invalid, "no single interface's");
    let held = add("ct1/eth0", "port tap,iface=z mac 02:00:5e:10:00:01");
    refuses(&mut registry, held, Duplicate, "fixed in network a");
    let effects = registry.apply(&[set("vm1/net0", "network b")]).unwrap();
    assert!(matches!(
        &effects[..],
        [Effect::AdapterChanged { .. }, Effect::StaticMacRemoved(_), Effect::StaticMacAdded(_)]
    ));
    assert!(registry.static_mac(&name("b"), mac(1)).is_some());
    // In host-routed mode there is no network for them.
    registry.apply(&[set("vm1/net0", "mode host-routed ip 203.0.113.1")]).unwrap();
    assert!(registry.static_macs().all(|entry| entry.mac != mac(1)));
    // A port's go with the attachment.
    let attach = Some(NetworkAttach::HostOnly);
    registry.apply(&[patch("b", NetworkPatch { attach, ..NetworkPatch::default() })]).unwrap();
    assert!(registry.static_mac(&name("b"), mac(2)).is_none());
    registry.apply(&[Change::NetworkDel { network: name("a") }]).unwrap();
    assert_eq!(registry.static_macs().count(), 0);
    let gone = Change::MacDel { network: name("b"), mac: mac(2) };
    refuses(&mut registry, gone, NotFound, "network b has no fixed MAC");
}
