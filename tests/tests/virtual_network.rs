//! Virtual-network mode (HR-15, VN-2 to VN-14): VM-kind guests on taps, members of networks.

use std::time::Duration;
use tests::balance::{adapter, rows, stats};
use tests::config::tap;
use tests::counts::{NETWORK_MOVES, NUMBERED_FRAMES};
use tests::frames::{BROADCAST, Random, ethernet, mac, macs};
use tests::world::{OUT, Outside, SERVER, address};
use tests::{Appliance, Attach, Config, Host, Lab, VlanHost, World, eventually};

/// EtherType for local experiments: no stack answers it.
const EXPERIMENT: u16 = 0x88b5;

/// Networks with members on taps, an uplink and the server.
struct Networks {
    app: Appliance,
    outside: Outside,
    server: Host,
    lab: Lab,
}

/// Starts with the given networks (name, keys) and VM-kind members (guest, network, address).
fn networks(nets: &[(&str, &str)], members: &[(&str, &str, &str)]) -> Networks {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    let mut config = Config::new(&lab).uplink().host();
    for (name, keys) in nets {
        config = config.network(name, keys);
    }
    for (guest, network, _) in members {
        lab.host(guest);
        let keys = format!("network = \"{network}\"");
        config = config.vm(guest).adapter("eth0", &tap(guest, "eth0"), &keys);
    }
    let app = Appliance::start(&lab, &config, Some(&outside.lan));
    for (guest, _, address) in members {
        lab.known(guest).address("eth0", &format!("{address}/24"));
    }
    let server = lab.server();
    Networks { app, outside, server, lab }
}

impl Networks {
    fn guest(&self, name: &str) -> Host {
        self.lab.known(name)
    }

    fn end(mut self) {
        self.app.stop();
    }
}

#[test]
fn hr15_a_vm_with_no_mode_is_on_the_host_only_default_network() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        lab.host("vm1");
        lab.host("vm2");
        config.vm("vm1").adapter("eth0", &tap("vm1", "eth0"), "").vm("vm2").adapter(
            "eth0",
            &tap("vm2", "eth0"),
            "",
        )
    });
    let row = adapter(&world.app, "vm1", "eth0");
    assert_eq!((&row["mode"], &row["network"]), (&"virtual-network".into(), &"default".into()));
    let network = rows(world.app.json("show network default"));
    assert_eq!(network[0]["attach"], "host-only");
    let (vm1, vm2) = (world.lab.known("vm1"), world.lab.known("vm2"));
    vm1.address("eth0", "10.0.0.1/24");
    vm2.address("eth0", "10.0.0.2/24");
    vm1.reaches("10.0.0.2");
    vm2.reaches("10.0.0.1");
    for to in [OUT, SERVER, &address(1)] {
        vm1.run(&format!("ip route add {to}/32 dev eth0"));
        vm1.never_reaches(to);
    }
    world.end();
}

#[test]
fn vn2_a_routed_guest_gets_a_second_adapter_on_a_network() {
    let world = World::routed_with(Attach::Own, 2, |lab, config| {
        lab.host("vm1");
        let keys = "network = \"lan0\"";
        config.network("lan0", "").vm("vm1").adapter("eth0", &tap("vm1", "eth0"), keys)
    });
    let vm = world.lab.known("vm1");
    vm.address("eth0", "10.0.0.2/24");
    let port = tap("ct1", "eth1");
    world.app.must(&format!("adapter add ct1 eth1 port {port} mode virtual-network network lan0"));
    world.ct(1).address("eth1", "10.0.0.1/24");
    world.ct(1).reaches("10.0.0.2");
    vm.reaches("10.0.0.1");
    world.ct(1).reaches(&address(2));
    world.ct(1).reaches(OUT);
    assert_eq!(adapter(&world.app, "ct1", "eth0")["mode"], "host-routed");
    assert_eq!(adapter(&world.app, "ct1", "eth1")["mode"], "virtual-network");
    world.end();
}

#[test]
fn vn3_several_adapters_per_guest_and_guests_per_network_none_shared() {
    let world = networks(
        &[("a", ""), ("b", "")],
        &[("vm1", "a", "10.0.1.1"), ("vm2", "a", "10.0.1.2"), ("vm3", "b", "10.0.2.3")],
    );
    let port = tap("vm1", "eth1");
    world.app.must(&format!("adapter add vm1 eth1 port {port} network b"));
    world.guest("vm1").address("eth1", "10.0.2.1/24");
    world.guest("vm1").reaches("10.0.1.2");
    world.guest("vm1").reaches("10.0.2.3");
    world.guest("vm3").never_reaches("10.0.1.2");
    let refusal = world.app.refused(&format!("adapter add vm3 eth1 port {port} network a"));
    assert!(refusal.contains("vm1"), "names the holder: {refusal}");
    assert_eq!(
        rows(world.app.json("show guest vm1"))[0]["adapters"].as_array().map(Vec::len),
        Some(2)
    );
    world.end();
}

#[test]
fn vn4_both_sides_of_an_adapter_are_listed_set_and_deleted_together() {
    let world = networks(&[("a", "")], &[("vm1", "a", "10.0.0.1")]);
    let row = adapter(&world.app, "vm1", "eth0");
    assert_eq!(row["guest-side"]["mac"], world.guest("vm1").mac("eth0").as_str());
    assert_eq!(row["guest-side"]["interface"], "eth0");
    assert!(row["server-side"]["mac"].is_string() && row["server-side"]["port"] == "vm1/eth0");
    assert!(stats(&world.app).contains_key("vm1/eth0"));
    world.app.must("adapter del vm1 eth0");
    let left = rows(world.app.json("show guest vm1"));
    assert_eq!(left[0]["adapters"].as_array().map(Vec::len), Some(0));
    assert!(!stats(&world.app).contains_key("vm1/eth0"), "the server's side is gone");
    assert!(!world.guest("vm1").has_iface("eth0"), "the guest's side is gone");
    world.end();
}

#[test]
fn vn5_the_guest_side_carries_any_protocol_broadcast_and_multicast() {
    let world = networks(
        &[("a", "")],
        &[("vm1", "a", "10.0.0.1"), ("vm2", "a", "10.0.0.2"), ("vm3", "a", "10.0.0.3")],
    );
    let sender = world.guest("vm1").wire("eth0");
    let receivers = [world.guest("vm2").wire("eth0"), world.guest("vm3").wire("eth0")];
    let vm2 = receivers[0].mac();
    assert!(sender.mac() != vm2 && vm2 != receivers[1].mac(), "each its own MAC");
    let multicast = [0x01, 0x00, 0x5e, 1, 2, 3];
    for (to, expected) in [(vm2, [1, 0]), (BROADCAST, [1, 1]), (multicast, [1, 1])] {
        let frame =
            ethernet(to, sender.mac(), EXPERIMENT, b"anything at all, of any protocol, as it is");
        sender.send(&frame);
        for (receiver, copies) in receivers.iter().zip(expected) {
            let mut got = 0;
            while receiver.receive_where(Duration::from_millis(300), |f| f == frame).is_some() {
                got += 1;
            }
            assert_eq!(got, copies, "to {to:?}");
        }
    }
    world.end();
}

#[test]
fn vn5_a_member_has_no_address_or_many_and_ipv6_too() {
    let world = networks(&[("a", "")], &[("vm1", "a", "10.0.0.1"), ("vm2", "a", "10.0.0.2")]);
    let (vm1, vm2) = (world.guest("vm1"), world.guest("vm2"));
    vm1.address("eth0", "10.7.0.1/24");
    vm2.address("eth0", "10.7.0.2/24");
    vm1.reaches("10.0.0.2");
    vm1.reaches("10.7.0.2");
    for (vm, address) in [(&vm1, "fd00::1/64"), (&vm2, "fd00::2/64")] {
        vm.sysctl("net.ipv6.conf.eth0.disable_ipv6=0");
        vm.run(&format!("ip addr add {address} dev eth0 nodad"));
    }
    vm1.reaches("fd00::2");
    vm2.run("ip addr flush dev eth0");
    vm1.never_reaches("10.0.0.2");
    world.end();
}

#[test]
fn vn6_an_adapter_moves_between_networks_and_its_mac_with_it() {
    let world = networks(
        &[("a", ""), ("b", "")],
        &[("vm1", "a", "10.0.0.1"), ("vm2", "a", "10.0.0.2"), ("vm3", "b", "10.0.0.3")],
    );
    let vm1 = world.guest("vm1");
    vm1.reaches("10.0.0.2");
    let moved = vm1.mac("eth0");
    let holds = |network: &str| {
        let macs = rows(world.app.json(&format!("show mac {network}")));
        macs.iter().any(|row| row["mac"] == moved.as_str())
    };
    for turn in 0..NETWORK_MOVES.now() {
        let (to, from, near, far) = match turn % 2 {
            0 => ("b", "a", "10.0.0.3", "10.0.0.2"),
            _ => ("a", "b", "10.0.0.2", "10.0.0.3"),
        };
        world.app.must(&format!("adapter set vm1 eth0 network {to}"));
        vm1.reaches_within(Duration::from_secs(1), near);
        assert!(holds(to) && !holds(from), "the MAC is in {to} alone");
        assert!(!vm1.ping(far), "{far} is out of reach now");
    }
    world.end();
}

#[test]
fn vn7_the_server_takes_part_in_a_network_by_a_port_of_its_own() {
    let server_port =
        "[network.server]\nport = \"tap,iface=srv-a\"\naddresses = [\"10.0.0.254/24\"]";
    let world = networks(&[("a", server_port)], &[("vm1", "a", "10.0.0.1")]);
    let vm1 = world.guest("vm1");
    vm1.reaches("10.0.0.254");
    world.server.reaches("10.0.0.1");
    let shown = rows(world.app.json("show network a"))[0]["server"].clone();
    assert_eq!(vm1.neighbor("10.0.0.254").as_deref(), shown["mac"].as_str(), "{shown}");
    assert_eq!(world.server.mac("srv-a"), shown["mac"].as_str().expect("a MAC"));
    // Live: off the network, and on another one.
    world.app.must("network add b host-only");
    world.app.must("network server b tap,iface=srv-b ip 10.9.0.254/24");
    world.app.must("adapter set vm1 eth0 network b");
    vm1.address("eth0", "10.9.0.1/24");
    vm1.reaches("10.9.0.254");
    vm1.never_reaches("10.0.0.254");
    world.end();
}

#[test]
fn vn8_parameters_of_both_sides_are_set_and_shown() {
    let world = networks(&[("a", "")], &[("vm1", "a", "10.0.0.1"), ("vm2", "a", "10.0.0.2")]);
    world
        .app
        .must("adapter set vm1 eth0 mac 02:00:00:00:01:01 mtu 1400 host-mac 02:00:00:00:01:02");
    world.app.must("adapter set vm1 eth0 ip 10.0.0.1/32 ip 10.0.0.9/32 gateway 10.0.0.254");
    let row = adapter(&world.app, "vm1", "eth0");
    assert_eq!(row["guest-side"]["mac"], "02:00:00:00:01:01");
    assert_eq!(row["guest-side"]["mtu"], 1400);
    assert_eq!(row["guest-side"]["gateway"][0], "10.0.0.254");
    assert_eq!(row["server-side"]["mac"], "02:00:00:00:01:02");
    let addresses: Vec<_> = row["guest-side"]["addresses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a["address"].as_str())
        .collect();
    assert_eq!(addresses, ["10.0.0.1/32", "10.0.0.9/32"]);
    let vm1 = world.guest("vm1");
    assert_eq!(vm1.mac("eth0"), "02:00:00:00:01:01");
    assert!(vm1.run("ip link show dev eth0").contains("mtu 1400"));
    world.guest("vm2").forget_neighbors();
    vm1.reaches("10.0.0.2");
    world.end();
}

#[test]
fn vn10_every_frame_arrives_once_in_order_and_unmodified() {
    let world = networks(&[("a", "")], &[("vm1", "a", "10.0.0.1"), ("vm2", "a", "10.0.0.2")]);
    let (from, to) = (world.guest("vm1").wire("eth0"), world.guest("vm2").wire("eth0"));
    let mut random = Random(10);
    let frames: Vec<Vec<u8>> = (0..NUMBERED_FRAMES.now())
        .map(|_| {
            let length = 46 + random.below(1_455);
            ethernet(to.mac(), from.mac(), EXPERIMENT, &random.bytes(length))
        })
        .collect();
    let own = from.mac();
    for burst in frames.chunks(32) {
        burst.iter().for_each(|frame| from.send(frame));
        for expected in burst {
            let found = to.receive_where(Duration::from_secs(1), |f| macs(f).0 == own);
            assert!(found.as_ref() == Some(expected), "{} bytes wanted", expected.len());
        }
    }
    assert_eq!(to.receive_where(Duration::from_millis(200), |f| macs(f).0 == own), None);
    world.end();
}

#[test]
fn vn10_the_link_state_of_a_tap_is_followed() {
    let world = networks(&[("a", "")], &[("vm1", "a", "10.0.0.1")]);
    let vm1 = world.guest("vm1");
    let link = || adapter(&world.app, "vm1", "eth0")["link"].clone();
    eventually("link up", Duration::from_secs(3), || link() == "up");
    vm1.run("ip link set eth0 down");
    eventually("link down", Duration::from_secs(3), || link() == "down");
    vm1.run("ip link set eth0 up");
    eventually("link up again", Duration::from_secs(3), || link() == "up");
    world.end();
}

#[test]
fn vn11_a_host_only_network_never_touches_the_lan() {
    let server_port =
        "[network.server]\nport = \"tap,iface=srv-a\"\naddresses = [\"192.0.2.61/24\"]";
    let world =
        networks(&[("a", server_port)], &[("vm1", "a", "192.0.2.62"), ("vm2", "a", "192.0.2.63")]);
    let (vm1, vm2) = (world.guest("vm1"), world.guest("vm2"));
    let lan = world.outside.out.capture("eth0", "host 192.0.2.62 or ether proto 0x88b5");
    vm1.reaches("192.0.2.63");
    vm1.reaches("192.0.2.61");
    vm1.never_reaches(OUT);
    let wire = vm2.wire("eth0");
    for to in [BROADCAST, mac(&world.outside.out.mac("eth0"))] {
        wire.send(&ethernet(to, wire.mac(), EXPERIMENT, &[0; 46]));
    }
    lan.finish_empty();
    world.end();
}

#[test]
fn vn14_an_untagged_network_is_on_the_lan_by_its_own_macs() {
    let world = networks(&[("lan0", "uplink = \"up0\"")], &[("vm1", "lan0", "192.0.2.71")]);
    let vm1 = world.guest("vm1");
    vm1.reaches(OUT);
    world.outside.out.reaches("192.0.2.71");
    assert_eq!(world.outside.out.neighbor("192.0.2.71"), Some(vm1.mac("eth0")));
    assert_eq!(vm1.neighbor(OUT), Some(world.outside.out.mac("eth0")));
    // The server is on the same LAN: it meets its own member without the wire.
    vm1.reaches(SERVER);
    world.end();
}

#[test]
fn vn14_a_network_on_a_vlan_meets_that_vlan_only() {
    let world = networks(
        &[("v100", "uplink = \"up0\"\nvlan = 100"), ("v200", "uplink = \"up0\"\nvlan = 200")],
        &[("vm1", "v100", "10.0.0.1"), ("vm2", "v200", "10.0.0.2")],
    );
    let peer = VlanHost::plug(&world.lab, &world.outside.lan, "far100", 100);
    peer.host.address("eth0", "10.0.0.9/24");
    let other = VlanHost::plug(&world.lab, &world.outside.lan, "far300", 300);
    other.host.address("eth0", "10.0.0.8/24");
    let vm1 = world.guest("vm1");
    vm1.reaches("10.0.0.9");
    peer.host.reaches("10.0.0.1");
    let tagged = world.outside.out.capture("eth0", "vlan 100 and arp");
    vm1.never_reaches("10.0.0.2");
    vm1.never_reaches("10.0.0.8");
    world.guest("vm2").never_reaches("10.0.0.9");
    other.host.never_reaches("10.0.0.1");
    assert!(!tagged.finish().is_empty(), "broadcasts leave with the tag");
    world.end();
}

#[test]
fn vn14_two_host_only_networks_are_unreachable_at_l2() {
    let world =
        networks(&[("a", ""), ("b", "")], &[("vm1", "a", "10.0.0.1"), ("vm2", "b", "10.0.0.2")]);
    let (vm1, vm2) = (world.guest("vm1"), world.guest("vm2"));
    let other = vm2.capture("eth0", "-Q in");
    vm1.never_reaches("10.0.0.2");
    let wire = vm1.wire("eth0");
    for to in [BROADCAST, [0x01, 0, 0x5e, 0, 0, 1], mac(&vm2.mac("eth0"))] {
        wire.send(&ethernet(to, wire.mac(), EXPERIMENT, &[0; 46]));
    }
    other.finish_empty();
    world.end();
}

#[test]
fn vz7_isolated_guests_reach_the_server_and_the_lan_and_not_each_other() {
    let server = "uplink = \"up0\"\n[network.server]\nport = \"tap,iface=srv-lan0\"\n\
                  addresses = [\"10.0.0.254/24\"]";
    let world = networks(
        &[("lan0", server)],
        &[("vm1", "lan0", "10.0.0.1"), ("vm2", "lan0", "10.0.0.2"), ("vm3", "lan0", "10.0.0.3")],
    );
    let out = &world.outside.out;
    out.address("eth0", "10.0.0.50/24");
    let others = |reach: bool| {
        for guest in ["vm1", "vm2", "vm3"] {
            let guest = world.guest(guest);
            guest.reaches("10.0.0.254");
            guest.reaches("10.0.0.50");
        }
        for (from, to) in [("vm1", "10.0.0.2"), ("vm2", "10.0.0.3"), ("vm3", "10.0.0.1")] {
            // An old answer must not stand in for a new one.
            world.guest(from).run("ip neigh flush dev eth0");
            match reach {
                true => world.guest(from).reaches(to),
                false => world.guest(from).never_reaches(to),
            }
        }
    };
    others(true);
    world.app.must("network set lan0 isolated on");
    assert_eq!(rows(world.app.json("show network lan0"))[0]["isolated"], true);
    // Not a frame of one guest's arrives at another, with the MAC known or not.
    let (vm1, vm2) = (world.guest("vm1").wire("eth0"), world.guest("vm2").wire("eth0"));
    for to in [vm2.mac(), BROADCAST, [0x33, 0x33, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0x77]] {
        let frame = ethernet(to, vm1.mac(), EXPERIMENT, &[7; 60]);
        vm1.send(&frame);
        let seen = vm2.receive_where(Duration::from_millis(300), |f| f == frame);
        assert!(seen.is_none(), "to {to:02x?}");
    }
    let drops = world.app.json("show drops vm1");
    assert_eq!(drops["drops"]["isolated"], 1, "{drops}");
    others(false);
    // It is the network's own, and survives.
    let mut world = world;
    world.app.stop();
    world.app.launch();
    assert_eq!(rows(world.app.json("show network lan0"))[0]["isolated"], true);
    world.app.must("network set lan0 isolated off");
    world.guest("vm1").reaches("10.0.0.2");
    world.end();
}
