//! Uplinks, the host port, shared ports.

use super::*;
use RefusalKind::*;

fn uplink(device: &str, addresses: &[&str], gateway: &[&str]) -> Change {
    let mut change = port("up1", PortRole::Uplink, device, addresses);
    if let Change::PortAttach { wish, .. } = &mut change {
        wish.gateway = gateway.iter().map(|text| text.parse().unwrap()).collect();
    }
    change
}

fn altered(change: Change, alter: impl Fn(&mut PortWish)) -> Change {
    let Change::PortAttach { port, mut wish } = change else { panic!("{change:?}") };
    alter(&mut wish);
    Change::PortAttach { port, wish }
}

#[test]
fn an_uplinks_addresses_are_hosts_in_prefixes_of_its_own() {
    let mut registry = registry();
    registry
        .apply(&[
            add("ct1/eth0", "port tap,iface=a ip 203.0.113.1 gateway 198.18.0.9"),
            add("ct1/eth1", "port tap,iface=b ip 198.51.100.255"),
            route("10.0.0.0/8", "203.0.113.1"),
            route("11.0.0.1/32", "203.0.113.1"),
        ])
        .unwrap();
    let tap = "net_tap7,iface=up1";
    for (addresses, gateway, kind, says) in [
        (&["192.0.2.9/24"][..], &[][..], Conflict, "overlaps 192.0.2.1/24 of uplink up0"),
        (&["192.0.2.9/32"], &[], Conflict, "overlaps 192.0.2.1/24 of uplink up0"),
        (&["203.0.113.1/24"], &[], Duplicate, "guest ct1's adapter eth0"),
        (&["203.0.113.0/24"], &[], Invalid, "first or last address"),
        (
            &["198.51.100.1/24"],
            &[],
            Conflict,
            "198.51.100.255, the first or last address of 198.51.100.1/24, is held by ct1/eth1",
        ),
        (&["198.18.0.9/24"], &[], Conflict, "the gateway of ct1/eth0"),
        (&["10.0.0.1/8"], &[], Conflict, "there is a route to 10.0.0.0/8"),
        (&["11.0.0.1/24"], &[], Conflict, "route 11.0.0.1/32 leads away"),
        (&["127.0.0.1/8"], &[], Invalid, "no unicast address"),
        (&["2001:db8::1/64"], &[], Unsupported, "IPv6 is not in this version"),
        (
            &["198.18.0.1/24"],
            &["198.18.0.2", "198.18.0.3"],
            Conflict,
            "uplink up0 has the default route",
        ),
        (&["198.18.0.1/24"], &["198.18.1.2"], Invalid, "in no prefix of uplink up1"),
        (&["198.18.0.1/24"], &["198.18.0.1"], Invalid, "the uplink's own address"),
        (&["198.18.0.1/24"], &["198.18.0.255"], Invalid, "first or last address"),
        (&["198.18.0.1/24"], &["198.18.0.2"], Conflict, "uplink up0 has the default route already"),
        (&["198.18.0.1/24"], &["fe80::1"], Unsupported, "IPv6 is not in this version"),
    ] {
        refuses(&mut registry, uplink(tap, addresses, gateway), kind, says);
    }
    registry
        .apply(&[uplink(tap, &["198.18.0.1/24", "198.18.1.1/31", "198.18.2.1/32"], &[])])
        .unwrap();
    let found = registry.connected("198.18.0.77".parse().unwrap()).unwrap();
    assert_eq!(found.0.name, name("up1"));
}

#[test]
fn one_gateway_per_family() {
    let mut registry = Registry::new(Identity { seed: 1 });
    let two = uplink("net_tap7,iface=up1", &["198.18.0.1/24"], &["198.18.0.2", "198.18.0.3"]);
    refuses(&mut registry, two, Invalid, "at most one gateway per address family");
    registry.apply(&[uplink("net_tap7,iface=up1", &["198.18.0.1/24"], &["198.18.0.2"])]).unwrap();
    let default = route("0.0.0.0/0", "198.18.0.9");
    refuses(&mut registry, default, Conflict, "uplink up1 has the default route already");
}

#[test]
fn devices_and_their_details_are_checked() {
    let mut registry = registry();
    let shared = || port("venet1", PortRole::Shared, "net_tap7,iface=venet1", &[]);
    for (change, kind, says) in [
        (port("up0", PortRole::Shared, "net_tap7", &[]), Duplicate, "port up0 exists already"),
        (uplink("net_tap0,iface=x", &[], &[]), Duplicate, "device net_tap0 is taken by port up0"),
        (
            uplink("net_tap7,iface=venet0", &[], &[]),
            Duplicate,
            "interface venet0 is taken by port venet0",
        ),
        (uplink("0000:3b:00", &[], &[]), Invalid, "PCI address"),
        (uplink("shared:venet0", &[], &[]), Invalid, "a named port needs a device"),
        (uplink("vhost-user,path=/a", &[], &[]), Invalid, "is for a guest's adapter"),
        (altered(shared(), |w| w.netns = Some("a/b".to_owned())), Invalid, "namespace"),
        (
            altered(uplink("0000:3b:00.0", &[], &[]), |w| w.netns = Some("x".to_owned())),
            Invalid,
            "is no tap",
        ),
        (
            altered(uplink("tap,iface=u,netns=y", &[], &[]), |w| w.netns = Some("x".to_owned())),
            Invalid,
            "names its namespace itself",
        ),
        (altered(shared(), |w| w.mtu = Some(10)), Invalid, "mtu 10"),
        (altered(shared(), |w| w.mac = Some(MacAddr::BROADCAST)), Invalid, "no single interface's"),
        (altered(shared(), |w| w.queues = Some(0)), Invalid, "1 to 128"),
        (
            altered(shared(), |w| {
                w.queues = Some(1);
                w.workers = Some(vec![1, 2])
            }),
            Invalid,
            "2 workers for 1 queues",
        ),
        (
            altered(shared(), |w| w.addresses = vec![net("10.0.0.1/24")]),
            Invalid,
            "has no addresses",
        ),
        (altered(shared(), |w| w.gateway = vec![DEFAULT_GATEWAY]), Invalid, "has no gateway"),
    ] {
        refuses(&mut registry, change, kind, says);
    }
    registry.set_worker_cores(vec![1, 2]);
    let odd = altered(shared(), |w| w.workers = Some(vec![3]));
    refuses(&mut registry, odd, Invalid, "core 3 is no worker; the workers are 1, 2");
    registry.apply(&[port("host", PortRole::Host, "net_tap8,iface=h", &[])]).unwrap();
    let second = port("host2", PortRole::Host, "net_tap9,iface=i", &[]);
    refuses(&mut registry, second, Conflict, "host is the host port already");
}

#[test]
fn a_taps_mac_is_made_up_and_a_nics_its_own() {
    let mut registry = registry();
    registry.apply(&[uplink("0000:3b:00.0", &[], &[])]).unwrap();
    assert_eq!(registry.port(&name("up1")).unwrap().mac, None);
    assert!(registry.port(&name("up0")).unwrap().mac.is_some());
    assert!(registry.kernel_mac(&name("venet0")).is_some());
    assert_eq!(registry.kernel_mac(&name("up0")), None);
}

#[test]
fn what_is_set_on_a_port_is_checked() {
    let mut registry = registry();
    registry.set_worker_cores(vec![1, 2]);
    let two = altered(uplink("0000:3b:00.0", &[], &[]), |w| w.queues = Some(2));
    registry.apply(&[two]).unwrap();
    let set = |set| Change::PortSet { port: name("up1"), set };
    let plain = PortPatch::default;
    let queue = |queue, core| set(PortPatch { queue_worker: Some((queue, core)), ..plain() });
    refuses(&mut registry, queue(2, 1), NotFound, "has no queue 2; it has 2, from 0");
    refuses(&mut registry, queue(0, 3), Invalid, "core 3 is no worker");
    refuses(&mut registry, set(PortPatch { mtu: Some(1), ..plain() }), Invalid, "mtu 1");
    let none = Change::PortSet { port: name("up9"), set: plain() };
    refuses(&mut registry, none, NotFound, "there is no port up9");
    registry.apply(&[queue(1, 2), set(PortPatch { started: Some(false), ..plain() })]).unwrap();
    let up1 = registry.port(&name("up1")).unwrap();
    assert_eq!((&up1.workers, up1.started), (&vec![None, Some(2)], false));
}

#[test]
fn a_port_in_use_stays_and_its_user_is_named() {
    let mut registry = registry();
    registry.apply(&[add("ct1/eth0", "port shared:venet0")]).unwrap();
    let detach = |port: &str| Change::PortDetach { port: name(port) };
    refuses(&mut registry, detach("venet0"), Conflict, "adapter ct1/eth0 is on port venet0");
    let fixed =
        Change::NeighborAdd { ip: "192.0.2.5".parse().unwrap(), mac: mac(1), dev: name("up0") };
    registry.apply(&[del("ct1/eth0"), detach("venet0"), fixed]).unwrap();
    refuses(&mut registry, detach("up0"), Conflict, "neighbor 192.0.2.5 is on port up0");
    refuses(&mut registry, detach("up9"), NotFound, "there is no port up9");
}

fn link(port: &str, addresses: &[&str], gateway: &[&str]) -> Change {
    let addresses = Some(addresses.iter().map(|text| net(text)).collect());
    let gateway = Some(gateway.iter().map(|text| text.parse().unwrap()).collect());
    Change::PortSet {
        port: name(port),
        set: PortPatch { addresses, gateway, ..Default::default() },
    }
}

#[test]
fn an_uplinks_addresses_change_as_far_as_its_surroundings_let_them() {
    let mut registry = registry();
    let fixed =
        Change::NeighborAdd { ip: "192.0.2.5".parse().unwrap(), mac: mac(1), dev: name("up0") };
    registry
        .apply(&[
            uplink("net_tap7,iface=up1", &["198.18.0.1/24"], &[]),
            add("ct1/eth0", "port tap,iface=a ip 203.0.113.1 gateway 198.19.0.9"),
            add("ct1/eth1", "port tap,iface=b ip 198.51.100.255"),
            route("10.0.0.0/8", "192.0.2.77"),
            fixed,
        ])
        .unwrap();
    for (addresses, gateway, kind, says) in [
        (&["192.0.2.1/24", "198.18.0.9/25"][..], &[][..], Conflict, "of uplink up1"),
        (&["203.0.113.1/24"], &[], Duplicate, "guest ct1's adapter eth0"),
        (&["192.0.2.1/24", "198.51.100.1/24"], &[], Conflict, "held by ct1/eth1"),
        (&["192.0.2.1/24", "198.19.0.9/24"], &[], Conflict, "the gateway of ct1/eth0"),
        (&["192.0.2.5/24"], &[], Conflict, "a fixed neighbor on up0"),
        (&["192.0.2.77/24"], &[], Conflict, "route 10.0.0.0/8 goes via 192.0.2.77"),
        (&["198.19.0.1/24"], &[], Conflict, "route 10.0.0.0/8 goes via 192.0.2.77"),
        (&["192.0.2.1/24", "192.0.2.1/25"], &[], Invalid, "given twice"),
        (&["192.0.2.1/24"], &["198.19.0.2"], Invalid, "in no prefix of uplink up0"),
        (&["192.0.2.1/24"], &["192.0.2.1"], Invalid, "the uplink's own address"),
        (&["2001:db8::1/64"], &[], Unsupported, "IPv6 is not in this version"),
    ] {
        refuses(&mut registry, link("up0", addresses, gateway), kind, says);
    }
    let on_host = link("venet0", &["192.0.2.9/24"], &[]);
    refuses(&mut registry, on_host, Invalid, "port venet0 has no addresses");
    let second = || link("up1", &["198.18.0.1/24"], &["198.18.0.2"]);
    refuses(&mut registry, second(), Conflict, "uplink up0 has the default route already");
    // Its own prefixes, neighbors, gateway and MAC are no hindrance; two addresses may be of one prefix.
    let more = &["192.0.2.2/24", "192.0.2.1/24", "198.51.100.9/25"];
    let effects = registry.apply(&[link("up0", more, &["192.0.2.253"])]).unwrap();
    assert!(matches!(effects.as_slice(), [Effect::PortChanged { .. }]), "{effects:?}");
    let up0 = registry.port(&name("up0")).unwrap();
    assert_eq!(up0.addresses, more.map(net));
    assert_eq!(registry.apply(&[link("up0", more, &["192.0.2.253"])]), Ok(vec![]));
    let holder =
        |ip: &str| registry.holder_of(ip.parse().unwrap()).map(|(_, holder)| holder.clone());
    assert_eq!(holder("192.0.2.2"), Some(Holder::Port(name("up0"))));
    assert_eq!(holder("192.0.2.253"), Some(Holder::Router(name("up0"))));
    assert_eq!(holder("192.0.2.254"), None, "the gateway before is nobody now");
    registry.apply(&[link("up0", &["192.0.2.2/24"], &[]), second()]).unwrap();
}
