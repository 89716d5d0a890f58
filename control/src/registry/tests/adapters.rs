//! Defaults by kind, what an adapter may hold, its modes.

use super::*;
use RefusalKind::*;

#[test]
fn a_container_is_host_routed_and_a_vm_on_the_default_network_unless_told_hr_2_hr_15() {
    let mut registry = registry();
    registry
        .apply(&[add("ct1/eth0", "port tap,iface=a"), add("vm1/net0", "port tap,iface=b")])
        .unwrap();
    let ct = adapter(&registry, "ct1/eth0");
    assert_eq!((ct.mode, ct.network.clone()), (Mode::HostRouted, None));
    assert_eq!(ct.gateways, [DEFAULT_GATEWAY]);
    assert_eq!((ct.mtu, ct.filter.len(), ct.announce, ct.probe), (1500, 6, true, true));
    assert!(ct.mac_generated && ct.mac.0[0] == 2 && ct.host_mac == registry.gateway_mac());
    let vm = adapter(&registry, "vm1/net0");
    assert_eq!((vm.mode, vm.network), (Mode::VirtualNetwork, Some(name("default"))));
    assert!(vm.gateways.is_empty() && vm.mac != ct.mac);
    registry
        .apply(&[
            add("ct1/eth1", "port tap,iface=c mode virtual-network"),
            add("vm1/net1", "port tap,iface=d mode host-routed ip 203.0.113.9"),
        ])
        .unwrap();
    assert_eq!(adapter(&registry, "ct1/eth1").network, Some(name("default")));
    assert_eq!(adapter(&registry, "vm1/net1").network, None);
}

#[test]
fn what_another_holds_is_refused_with_its_name_vz_2() {
    let mut registry = registry();
    registry
        .apply(&[
            network("lan0", "", None),
            add("ct1/eth0", "port tap,iface=a ip 203.0.113.1 mac 02:00:5e:10:00:01"),
            add("ct1/eth1", "port 0000:3b:00.1 ip 198.51.100.64/26 gateway 198.51.100.1"),
            Change::NetworkServer {
                network: name("lan0"),
                server: Some(NetworkServer {
                    port: "tap,iface=srv".to_owned(),
                    addresses: vec![net("10.0.0.1/24")],
                    mac: Some(mac(9)),
                }),
            },
        ])
        .unwrap();
    let holder = "guest ct1's adapter eth0";
    let gateway_mac = registry.gateway_mac().to_string();
    let venet_mac = registry.kernel_mac(&name("venet0")).unwrap().to_string();
    for (words, kind, says) in [
        ("port tap,iface=b ip 203.0.113.1", Duplicate, holder),
        ("port tap,iface=b ip 203.0.113.0/24", Duplicate, holder),
        ("port tap,iface=b mode virtual-network ip 203.0.113.1/24", Duplicate, holder),
        ("port tap,iface=b ip 198.51.100.65", Duplicate, "guest ct1's adapter eth1"),
        ("port tap,iface=b ip 198.51.100.1", Conflict, "198.51.100.1 is the gateway of ct1/eth1"),
        ("port tap,iface=b ip 192.0.2.1", Duplicate, "taken by port up0"),
        ("port tap,iface=b ip 192.0.2.254", Duplicate, "the gateway behind uplink up0"),
        ("port tap,iface=b ip 10.0.0.1", Duplicate, "the server's port on network lan0"),
        ("port tap,iface=b mac 02:00:5e:10:00:01", Duplicate, holder),
        ("port tap,iface=b host-mac 02:00:5e:10:00:01", Duplicate, holder),
        ("port tap,iface=b mac 02:00:5e:10:00:09", Duplicate, "server's port on network lan0"),
        ("port tap,iface=a", Duplicate, holder),
        ("port net_tap7,iface=a", Duplicate, "interface a is taken by guest ct1's adapter eth0"),
        ("port tap,iface=up0", Duplicate, "interface up0 is taken by port up0"),
        ("port tap,iface=srv", Duplicate, "the server's port on network lan0"),
        ("port 3b:00.1", Duplicate, "device 0000:3b:00.1 is taken by guest ct1's adapter eth1"),
    ] {
        refuses(&mut registry, add("ct2/eth0", words), kind, says);
    }
    for taken in [gateway_mac, venet_mac] {
        let words = format!("port tap,iface=b mac {taken}");
        refuses(&mut registry, add("ct2/eth0", &words), Duplicate, "is taken by");
    }
    let twice = add("ct1/eth0", "port tap,iface=x");
    refuses(&mut registry, twice, Duplicate, "has an adapter eth0 already");
    refuses(&mut registry, guest("ct1", GuestKind::Vm), Duplicate, "guest ct1 exists already");
    // In another namespace an interface of the same name is another one.
    registry
        .apply(&[
            add("ct2/eth0", "port tap,iface=a,netns=ct2"),
            add("ct2/eth1", "port tap,iface=b,netns=ct2,guest-iface=eth1"),
        ])
        .unwrap();
    let clash = add("ct2/eth2", "port tap,iface=c,netns=ct2");
    refuses(&mut registry, clash, Duplicate, "interface eth0 in namespace ct2");
}

#[test]
fn addresses_that_no_adapter_can_have_are_refused_with_what_would_be_right() {
    let mut registry = registry();
    for (words, says) in [
        (
            "ip 203.0.113.11/24",
            "a host-routed adapter has 203.0.113.11/32, or the whole prefix 203.0.113.0/24",
        ),
        ("ip 127.0.0.1", "no unicast address"),
        ("ip 0.0.0.1", "no unicast address"),
        ("ip 224.0.0.1", "no unicast address"),
        ("ip 255.255.255.255", "no unicast address"),
        ("ip 240.0.0.0/8", "no unicast address"),
        ("ip 169.254.7.7", "link-local"),
        ("ip 168.0.0.0/7", "a length of 8 to 32"),
        ("ip 203.0.113.1 ip 203.0.113.1", "given twice"),
        ("ip 203.0.113.0/28 ip 203.0.113.1", "overlap; give the larger one alone"),
        (
            "mode virtual-network ip 10.0.0.0/24",
            "is a whole prefix; in a network an adapter has addresses, like 10.0.0.1/24",
        ),
        ("mode virtual-network ip 10.0.0.255/24", "first or last address"),
        ("mode virtual-network ip ff02::1", "no unicast address"),
        ("mac 01:00:5e:00:00:01", "no single interface's"),
        ("mac 00:00:00:00:00:00", "no single interface's"),
        ("mtu 575", "mtu 575 is not from 576 to 9216"),
        ("mtu 9217", "mtu 9217 is not from 576 to 9216"),
        ("gateway 169.254.1.1 gateway 169.254.1.1", "given twice"),
        ("gateway 224.0.0.1", "no unicast address"),
        ("network default", "for default say mode virtual-network as well"),
    ] {
        let change = add("ct1/eth0", &format!("port tap,iface=a {words}"));
        refuses(&mut registry, change, Invalid, says);
    }
    for (words, says) in [
        ("ip 192.0.2.255", "first or last address of a prefix on uplink up0"),
        ("ip 192.0.2.0", "first or last address of a prefix on uplink up0"),
        ("ip 203.0.113.1 gateway 203.0.113.1", "is an address of guest ct1's adapter eth0"),
        ("ip 203.0.113.1 gateway 192.0.2.254", "the gateway behind uplink up0"),
        ("ip 203.0.113.1 gateway 192.0.2.1", "is an address of port up0"),
    ] {
        let change = add("ct1/eth0", &format!("port tap,iface=a {words}"));
        refuses(&mut registry, change, Conflict, says);
    }
    let six = add("ct1/eth0", "port tap,iface=a ip 2001:db8::1");
    refuses(&mut registry, six, Unsupported, "routing of IPv6 is not in this version");
    let six = add("vm1/net0", "port tap,iface=a ip 2001:db8::1/64 ip fe80::1/64");
    registry.apply(&[six]).unwrap();
    for (port, kind, says) in [
        ("vhost-user,path=a", Invalid, "an absolute path"),
        ("virtio-user", Invalid, "is missing"),
        ("shared:none", NotFound, "there is no port none"),
        ("shared:up0", Conflict, "is no shared port"),
        ("0000:3b:00.9", Invalid, "PCI address"),
    ] {
        refuses(&mut registry, add("ct1/eth0", &format!("port {port}")), kind, says);
    }
    refuses(&mut registry, add("ct1/eth0", "mtu 1500"), Invalid, "bad port");
    let nobody = add("ct9/eth0", "port tap,iface=a");
    refuses(&mut registry, nobody, NotFound, "there is no guest ct9: guest add ct9");
    let nowhere = add("vm1/net1", "port tap,iface=x network lan9");
    refuses(&mut registry, nowhere, NotFound, "there is no network lan9");
}

#[test]
fn a_mode_is_switched_there_and_back_with_addresses_and_gateway_hr_16() {
    let mut registry = registry();
    registry.apply(&[network("lan0", "up0", None)]).unwrap();
    let words =
        "port tap,iface=a network lan0 ip 192.0.2.7/24 ip 2001:db8::7/64 gateway 192.0.2.254";
    registry.apply(&[add("vm1/net0", words)]).unwrap();
    let before = adapter(&registry, "vm1/net0");
    let effects = registry.apply(&[set("vm1/net0", "mode host-routed")]).unwrap();
    assert!(matches!(&effects[..], [Effect::AdapterChanged { .. }]));
    let routed = adapter(&registry, "vm1/net0");
    assert_eq!((routed.mode, &routed.network), (Mode::HostRouted, &None));
    assert_eq!(routed.addresses, [net("192.0.2.7/32")]);
    assert_eq!(routed.gateways, [DEFAULT_GATEWAY]);
    assert_eq!(routed.mac, before.mac);
    registry.apply(&[set("vm1/net0", "mode virtual-network network lan0")]).unwrap();
    let back = adapter(&registry, "vm1/net0");
    assert_eq!((&back.addresses, &back.gateways), (&before.addresses, &before.gateways));
    assert_eq!(back.network, before.network);
    // Without a network named it is the default one.
    registry
        .apply(&[set("vm1/net0", "mode host-routed"), set("vm1/net0", "mode virtual-network")])
        .unwrap();
    assert_eq!(adapter(&registry, "vm1/net0").network, Some(name("default")));
    // To set what is set already changes nothing.
    let again = registry.apply(&[set("vm1/net0", "mode virtual-network")]).unwrap();
    assert!(again.is_empty());
}

#[test]
fn a_switch_that_would_cut_the_guest_off_is_refused() {
    let mut registry = registry();
    registry.apply(&[add("vm1/net0", "port tap,iface=a ip 2001:db8::7/64")]).unwrap();
    let switch = set("vm1/net0", "mode host-routed");
    refuses(&mut registry, switch, Conflict, "has no IPv4 address to be routed by");
    registry.apply(&[set("vm1/net0", "mode host-routed ip 203.0.113.7")]).unwrap();
    registry.apply(&[add("ct1/eth0", "port tap,iface=b ip 203.0.113.64/26")]).unwrap();
    let switch = set("ct1/eth0", "mode virtual-network");
    refuses(&mut registry, switch, Invalid, "is a whole prefix");
}

#[test]
fn the_port_of_an_adapter_stays() {
    let mut registry = registry();
    registry.apply(&[add("ct1/eth0", "port tap,iface=a ip 203.0.113.1")]).unwrap();
    let other = set("ct1/eth0", "port tap,iface=b");
    refuses(&mut registry, other, Invalid, "is tap,iface=a and stays so for its life");
    assert!(registry.apply(&[set("ct1/eth0", "port tap,iface=a")]).unwrap().is_empty());
    let mut all =
        wish("mtu 1400 mac 02:00:5e:10:00:05 host-mac 02:00:5e:10:00:06 gateway 10.9.9.9");
    all.filter = Some([Filter::Ip].into());
    (all.announce, all.probe) = (Some(false), Some(false));
    let change = Change::AdapterSet { guest: name("ct1"), adapter: name("eth0"), wish: all };
    registry.apply(&[change]).unwrap();
    let set = adapter(&registry, "ct1/eth0");
    assert_eq!((set.mtu, set.mac, set.host_mac), (1400, mac(5), mac(6)));
    assert!(!set.mac_generated && !set.announce && !set.probe && set.filter.len() == 1);
    assert_eq!(set.addresses, [net("203.0.113.1")]);
    let gone = self::set("ct1/eth9", "mtu 1400");
    refuses(&mut registry, gone, NotFound, "guest ct1 has no adapter eth9");
}

#[test]
fn a_shared_port_gives_its_adapters_mac_and_mtu_hr_5() {
    let mut registry = registry();
    registry
        .apply(&[
            add("ct1/eth0", "port shared:venet0 ip 203.0.113.1"),
            add("ct2/eth0", "port shared:venet0 ip 203.0.113.2"),
        ])
        .unwrap();
    let kernel = registry.kernel_mac(&name("venet0")).unwrap();
    assert!(registry.adapters_on(&name("venet0")).all(|adapter| adapter.mac == kernel));
    for (label, words, says) in [
        ("vm1/a", "mode host-routed", "a VM has a port of its own"),
        ("ct1/a", "mode virtual-network", "carries routed packets only"),
        ("ct1/a", "mac 02:00:5e:10:00:01", "has the port's MAC"),
        ("ct1/a", "host-mac 02:00:5e:10:00:01", "the server side of venet0"),
        ("ct1/a", "mtu 1400", "has the port's MTU, 1500"),
    ] {
        let change = add(label, &format!("port shared:venet0 {words}"));
        refuses(&mut registry, change, Conflict, says);
    }
    let switch = set("ct1/eth0", "mode virtual-network");
    refuses(&mut registry, switch, Conflict, "carries routed packets only");
    let patch = PortPatch { mtu: Some(9000), ..PortPatch::default() };
    let effects = registry.apply(&[Change::PortSet { port: name("venet0"), set: patch }]).unwrap();
    assert_eq!(effects.len(), 3);
    assert_eq!(adapter(&registry, "ct2/eth0").mtu, 9000);
    registry.apply(&[Change::GuestDel { guest: name("ct1") }]).unwrap();
    assert_eq!(registry.adapters_on(&name("venet0")).count(), 1);
}

#[test]
fn a_deleted_guest_takes_its_adapters_along_and_comes_back_with_its_mac() {
    let mut registry = registry();
    let eth0 = add("ct1/eth0", "port tap,iface=a ip 203.0.113.1");
    registry.apply(std::slice::from_ref(&eth0)).unwrap();
    let before = adapter(&registry, "ct1/eth0").mac;
    registry.apply(&[Change::GuestDel { guest: name("ct1") }]).unwrap();
    assert!(registry.owner_of("203.0.113.1".parse().unwrap()).is_none());
    assert_eq!(registry.adapter_count(), 0);
    registry.apply(&[guest("ct1", GuestKind::Container), eth0]).unwrap();
    assert_eq!(adapter(&registry, "ct1/eth0").mac, before);
    let gone = Change::GuestDel { guest: name("ct9") };
    refuses(&mut registry, gone, NotFound, "there is no guest ct9");
}

#[test]
fn the_owner_of_an_address_is_found_by_any_of_its_addresses() {
    let mut registry = registry();
    registry
        .apply(&[
            add("ct1/eth0", "port tap,iface=a ip 203.0.113.64/26 ip 203.0.113.1"),
            add("vm1/net0", "port tap,iface=b ip 10.0.0.5/24"),
        ])
        .unwrap();
    let owner =
        |ip: &str| registry.owner_of(ip.parse().unwrap()).map(|owner| owner.key().to_string());
    assert_eq!(owner("203.0.113.64").as_deref(), Some("ct1/eth0"));
    assert_eq!(owner("203.0.113.127").as_deref(), Some("ct1/eth0"));
    assert_eq!(owner("203.0.113.128"), None);
    assert_eq!(owner("203.0.113.1").as_deref(), Some("ct1/eth0"));
    assert_eq!(owner("10.0.0.5").as_deref(), Some("vm1/net0"));
    assert_eq!(owner("10.0.0.6"), None, "an on-link prefix is not held");
    assert_eq!(owner("192.0.2.1"), None);
}
