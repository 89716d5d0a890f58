//! The registry, rule by rule and against brute force.

use super::*;
use crate::model::{
    AdapterWish, Change, Filter, GuestKind, MacTarget, Mode, Name, NetworkAttach, NetworkPatch,
    NetworkServer, PortPatch, PortRole, PortWish, Via, parse_prefix,
};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;

mod adapters;
mod brute;
mod limits;
mod networks;
mod ports;
mod scale;

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn net(text: &str) -> IpNet {
    parse_prefix(text).unwrap()
}

pub(super) fn mac(last: u8) -> MacAddr {
    MacAddr([0x02, 0, 0x5e, 0x10, 0, last])
}

/// A wish from words: `port tap,iface=a ip 203.0.113.1 mode host-routed`.
pub(super) fn wish(words: &str) -> AdapterWish {
    let mut wish = AdapterWish::default();
    let words: Vec<&str> = words.split_whitespace().collect();
    for pair in words.chunks(2) {
        let [key, value] = pair else { panic!("{words:?}") };
        match *key {
            "port" => wish.port = Some((*value).to_owned()),
            "mode" if *value == "host-routed" => wish.mode = Some(Mode::HostRouted),
            "mode" => wish.mode = Some(Mode::VirtualNetwork),
            "network" => wish.network = Some(name(value)),
            "ip" => wish.addresses.get_or_insert_default().push(net(value)),
            "mac" => wish.mac = Some(value.parse().unwrap()),
            "host-mac" => wish.host_mac = Some(value.parse().unwrap()),
            "gateway" => wish.gateway.get_or_insert_default().push(value.parse().unwrap()),
            "mtu" => wish.mtu = Some(value.parse().unwrap()),
            _ => panic!("{key}"),
        }
    }
    wish
}

pub(super) fn guest(guest: &str, kind: GuestKind) -> Change {
    Change::GuestAdd { guest: name(guest), kind }
}

/// `add("ct1/eth0", "port … ip …")`
pub(super) fn add(label: &str, words: &str) -> Change {
    let (guest, adapter) = label.split_once('/').unwrap();
    Change::AdapterAdd { guest: name(guest), adapter: name(adapter), wish: wish(words) }
}

pub(super) fn set(label: &str, words: &str) -> Change {
    let (guest, adapter) = label.split_once('/').unwrap();
    Change::AdapterSet { guest: name(guest), adapter: name(adapter), wish: wish(words) }
}

pub(super) fn del(label: &str) -> Change {
    let (guest, adapter) = label.split_once('/').unwrap();
    Change::AdapterDel { guest: name(guest), adapter: name(adapter) }
}

pub(super) fn port(port: &str, role: PortRole, device: &str, addresses: &[&str]) -> Change {
    let wish = PortWish {
        device: device.to_owned(),
        role,
        netns: None,
        queues: None,
        mac: None,
        mtu: None,
        addresses: addresses.iter().map(|text| net(text)).collect(),
        gateway: Vec::new(),
        probe: None,
        configure: None,
        workers: None,
    };
    Change::PortAttach { port: name(port), wish }
}

pub(super) fn network(network: &str, uplink: &str, vlan: Option<u16>) -> Change {
    let attach = match uplink {
        "" => NetworkAttach::HostOnly,
        uplink => NetworkAttach::Uplink { port: name(uplink), vlan },
    };
    Change::NetworkAdd { network: name(network), attach }
}

pub(super) fn route(prefix: &str, via: &str) -> Change {
    let via = via.parse().map_or_else(|_| Via::Dev(name(via)), Via::NextHop);
    Change::RouteAdd { prefix: net(prefix), via }
}

/// An uplink, a shared port, a container and a VM.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::new(Identity { seed: 7 });
    let mut up0 = port("up0", PortRole::Uplink, "net_tap0,iface=up0", &["192.0.2.1/24"]);
    if let Change::PortAttach { wish, .. } = &mut up0 {
        wish.gateway = vec!["192.0.2.254".parse().unwrap()];
    }
    registry
        .apply(&[
            up0,
            port("venet0", PortRole::Shared, "net_tap1,iface=venet0", &[]),
            guest("ct1", GuestKind::Container),
            guest("ct2", GuestKind::Container),
            guest("vm1", GuestKind::Vm),
        ])
        .unwrap();
    registry.settle();
    registry
}

pub(super) fn adapter(registry: &Registry, label: &str) -> Adapter {
    let (guest, adapter) = label.split_once('/').unwrap();
    Adapter::clone(registry.adapter(&name(guest), &name(adapter)).unwrap())
}

/// Everything, indexes included.
pub(super) fn whole(registry: &Registry) -> String {
    format!("{:?}", registry.tables)
}

/// Applies one change that must be refused, and leaves no trace.
#[track_caller]
pub(super) fn refused(registry: &mut Registry, change: Change) -> Refusal {
    let before = whole(registry);
    let refusal = registry.apply(&[change]).unwrap_err();
    assert_eq!(whole(registry), before);
    refusal
}

/// The same, with a part of the sentence.
#[track_caller]
pub(super) fn refuses(registry: &mut Registry, change: Change, kind: RefusalKind, says: &str) {
    let refusal = refused(registry, change);
    assert!(refusal.message.contains(says), "{says:?} is not in {:?}", refusal.message);
    assert_eq!(refusal.kind, kind, "{refusal}");
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let mut registry = registry();
    let before = whole(&registry);
    let batch = [
        guest("ct3", GuestKind::Container),
        add("ct3/eth0", "port tap,iface=ct3 ip 203.0.113.3"),
        network("lan0", "up0", Some(5)),
        route("10.0.0.0/8", "203.0.113.3"),
        guest("ct1", GuestKind::Container),
    ];
    let refusal = registry.apply(&batch).unwrap_err();
    assert_eq!((refusal.change, refusal.kind), (4, RefusalKind::Duplicate));
    assert_eq!(whole(&registry), before);
    assert!(!registry.is_unsettled());
    let effects = registry.apply(&batch[..4]).unwrap();
    let kinds: Vec<String> = effects
        .iter()
        .map(|e| format!("{e:?}").split(['(', ' ']).next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["GuestAdded", "AdapterAdded", "NetworkAdded", "RouteAdded"]);
}

#[test]
fn what_is_not_settled_is_taken_back_over_several_batches() {
    let mut registry = registry();
    let before = whole(&registry);
    registry.apply(&[add("ct1/eth0", "port tap,iface=ct1 ip 203.0.113.1")]).unwrap();
    registry
        .apply(&[set("ct1/eth0", "ip 203.0.113.2"), route("10.0.0.0/8", "203.0.113.2")])
        .unwrap();
    assert!(registry.is_unsettled());
    registry.take_back();
    assert_eq!(whole(&registry), before);
    registry.apply(&[add("ct1/eth0", "port tap,iface=ct1")]).unwrap();
    registry.settle();
    registry.take_back();
    assert!(registry.adapter(&name("ct1"), &name("eth0")).is_some());
}

#[test]
fn routes_lead_somewhere_or_are_refused() {
    let mut registry = registry();
    registry
        .apply(&[
            add("ct1/eth0", "port tap,iface=ct1 ip 203.0.113.1 ip 198.51.100.64/26"),
            add("vm1/net0", "port tap,iface=vm1 ip 10.1.0.1/24"),
        ])
        .unwrap();
    use RefusalKind::*;
    for (prefix, via, kind, says) in [
        ("10.0.0.1/8", "203.0.113.1", Invalid, "has host bits set; the prefix is 10.0.0.0/8"),
        ("10.0.0.0/8", "203.0.113.9", Conflict, "neither a guest's address nor in a prefix"),
        ("10.0.0.0/8", "10.1.0.1", Conflict, "guest vm1's adapter net0, which is in a network"),
        ("10.0.0.0/8", "192.0.2.1", Conflict, "an address of port up0, which is no router"),
        ("10.0.0.0/8", "169.254.1.1", Conflict, "the appliance's gateway"),
        ("10.0.0.0/8", "up9", NotFound, "there is no port up9"),
        ("10.0.0.0/8", "venet0", Conflict, "is shared by guests"),
        ("10.0.0.0/8", "2001:db8::1", Invalid, "another address family"),
        ("2001:db8::/32", "2001:db8::1", Unsupported, "IPv6 is not in this version"),
        ("203.0.113.1/32", "192.0.2.9", Conflict, "taken by guest ct1's adapter eth0"),
        ("198.51.100.80/28", "192.0.2.9", Conflict, "which holds 198.51.100.64/26"),
        ("192.0.2.0/24", "203.0.113.1", Conflict, "is connected at uplink up0"),
        ("0.0.0.0/0", "203.0.113.1", Conflict, "uplink up0 has the default route"),
        ("127.0.0.0/8", "203.0.113.1", Invalid, "no unicast address"),
        ("224.0.0.0/4", "203.0.113.1", Invalid, "no unicast address"),
    ] {
        refuses(&mut registry, route(prefix, via), kind, says);
    }
    registry
        .apply(&[route("10.0.0.0/8", "203.0.113.1"), route("11.0.0.0/8", "192.0.2.9")])
        .unwrap();
    registry.apply(&[route("12.0.0.0/8", "up0"), route("203.0.113.0/24", "192.0.2.9")]).unwrap();
    refuses(&mut registry, route("10.0.0.0/8", "up0"), Duplicate, "via 203.0.113.1 already");
    let gone = Change::RouteDel { prefix: net("13.0.0.0/8") };
    refuses(&mut registry, gone, NotFound, "there is no route 13.0.0.0/8");
    // Whatever a route leads to stays while it does.
    for change in [
        del("ct1/eth0"),
        Change::GuestDel { guest: name("ct1") },
        set("ct1/eth0", "ip 203.0.113.2"),
        set("ct1/eth0", "mode virtual-network ip 203.0.113.1"),
    ] {
        refuses(&mut registry, change, Conflict, "route 10.0.0.0/8 goes via 203.0.113.1");
    }
    let detach = Change::PortDetach { port: name("up0") };
    refuses(&mut registry, detach.clone(), Conflict, "route 12.0.0.0/8 is on port up0");
    registry.apply(&[Change::RouteDel { prefix: net("12.0.0.0/8") }]).unwrap();
    refuses(&mut registry, detach, Conflict, "goes via 192.0.2.9");
}

#[test]
fn neighbors_are_on_uplinks_and_nobody_elses() {
    let mut registry = registry();
    registry
        .apply(&[add("ct1/eth0", "port tap,iface=ct1 ip 192.0.2.7 gateway 192.0.2.8")])
        .unwrap();
    let neighbor = |ip: &str, dev: &str, mac| Change::NeighborAdd {
        ip: ip.parse().unwrap(),
        mac,
        dev: name(dev),
    };
    use RefusalKind::*;
    refuses(
        &mut registry,
        neighbor("192.0.2.7", "up0", mac(1)),
        Duplicate,
        "guest ct1's adapter eth0",
    );
    refuses(
        &mut registry,
        neighbor("192.0.2.8", "up0", mac(1)),
        Conflict,
        "gateway of the appliance",
    );
    refuses(&mut registry, neighbor("192.0.2.1", "up0", mac(1)), Duplicate, "port up0");
    refuses(&mut registry, neighbor("192.0.2.9", "venet0", mac(1)), Conflict, "is no uplink");
    refuses(&mut registry, neighbor("192.0.2.9", "up0", MacAddr::BROADCAST), Invalid, "no single");
    refuses(&mut registry, neighbor("224.0.0.1", "up0", mac(1)), Invalid, "no unicast address");
    registry
        .apply(&[neighbor("192.0.2.9", "up0", mac(1)), neighbor("192.0.2.254", "up0", mac(2))])
        .unwrap();
    refuses(&mut registry, neighbor("192.0.2.9", "up0", mac(3)), Duplicate, "already");
    let clash = add("ct2/eth0", "port tap,iface=ct2 ip 192.0.2.9");
    refuses(&mut registry, clash, Conflict, "fixed neighbor on up0");
    let gone = Change::NeighborDel { ip: "192.0.2.10".parse().unwrap() };
    refuses(&mut registry, gone, NotFound, "no fixed neighbor");
}

#[test]
fn classes_share_no_prefix() {
    let mut registry = registry();
    let class = |class: &str, prefixes: &[&str]| Change::ClassAdd {
        class: name(class),
        prefixes: prefixes.iter().map(|text| net(text)).collect(),
    };
    registry.apply(&[class("a", &["10.0.0.0/8", "2001:db8::/32"])]).unwrap();
    use RefusalKind::*;
    refuses(&mut registry, class("a", &["11.0.0.0/8"]), Duplicate, "class a exists");
    refuses(&mut registry, class("b", &["10.0.0.0/8"]), Duplicate, "in class a already");
    refuses(&mut registry, class("b", &["10.0.0.1/8"]), Invalid, "host bits");
    refuses(&mut registry, class("b", &["10.1.0.0/16", "10.1.0.0/16"]), Invalid, "twice");
    refuses(&mut registry, class("b", &[]), Invalid, "needs a prefix");
    registry.apply(&[class("b", &["10.1.0.0/16"]), Change::ClassDel { class: name("a") }]).unwrap();
    let gone = Change::ClassDel { class: name("a") };
    refuses(&mut registry, gone, NotFound, "there is no class a");
    let set = |class: &str, prefixes: &[&str]| Change::ClassSet {
        class: name(class),
        prefixes: prefixes.iter().map(|text| net(text)).collect(),
    };
    registry.apply(&[class("c", &["12.0.0.0/8"])]).unwrap();
    refuses(&mut registry, set("a", &["11.0.0.0/8"]), NotFound, "there is no class a");
    refuses(&mut registry, set("b", &["12.0.0.0/8"]), Duplicate, "in class c already");
    refuses(&mut registry, set("b", &[]), Invalid, "needs a prefix");
    let effects = registry.apply(&[set("b", &["11.0.0.0/8", "10.1.0.0/16"])]).unwrap();
    assert!(matches!(effects.as_slice(), [Effect::ClassChanged { .. }]), "{effects:?}");
    assert_eq!(registry.class_of(&net("11.0.0.0/8")), Some(&name("b")));
    assert_eq!(registry.apply(&[set("b", &["11.0.0.0/8", "10.1.0.0/16"])]), Ok(vec![]));
    registry.apply(&[set("b", &["11.0.0.0/8"]), set("c", &["10.1.0.0/16"])]).unwrap();
    assert_eq!(registry.class_of(&net("10.1.0.0/16")), Some(&name("c")));
}

#[test]
fn a_document_restores_everything_but_the_log() {
    let mut registry = registry();
    registry
        .apply(&[
            network("lan0", "up0", Some(5)),
            add("ct1/eth0", "port shared:venet0 ip 203.0.113.1"),
            add("vm1/net0", "port tap,iface=vm1 network lan0 ip 10.0.0.5/24"),
            set("vm1/net0", "mode host-routed"),
            route("10.0.0.0/8", "203.0.113.1"),
        ])
        .unwrap();
    let text = serde_json::to_string(&registry).unwrap();
    let document: Document = serde_json::from_str(&text).unwrap();
    let mut again = Registry::restore(document, &[], &[]).unwrap();
    assert_eq!(whole(&again), whole(&registry));
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    again.apply(&[set("vm1/net0", "mode virtual-network network lan0")]).unwrap();
    assert_eq!(adapter(&again, "vm1/net0").addresses, [net("10.0.0.5/24")]);
}

#[test]
fn words_of_the_commands_are_no_names() {
    let mut registry = registry();
    use RefusalKind::Invalid;
    let says = "is a word of the commands";
    refuses(&mut registry, guest("all", GuestKind::Vm), Invalid, says);
    refuses(&mut registry, network("all", "", None), Invalid, says);
    for word in ["all", "server"] {
        refuses(&mut registry, port(word, PortRole::Shared, "net_tap7", &[]), Invalid, says);
    }
}
