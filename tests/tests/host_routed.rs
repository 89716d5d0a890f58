//! Host-routed mode (HR-2 to HR-12, HR-19, HR-22): each container an address, the appliance its
//! gateway. Most behaviours are shown twice: on ports of the containers' own and on the shared port.

use std::time::Duration;
use tests::balance::{adapter, count, rows};
use tests::config::tap;
use tests::counts::SHARED_CHURN;
use tests::frames::{addresses, ip, mac, macs};
use tests::paced::{Paced, Talker};
use tests::world::{FAR, GATEWAY, OUT, ROUTER, SERVER, address, venet};
use tests::{Attach, Config, World, eventually, tcp};

#[test]
fn hr2_a_container_with_no_mode_is_host_routed() {
    let world = World::routed(Attach::Own, 1);
    assert_eq!(adapter(&world.app, "ct1", "eth0")["mode"], "host-routed");
    let late = world.lab.host("ct2");
    world.app.must("guest add ct2 container");
    world.app.must(&format!("adapter add ct2 eth0 port {} ip {}", tap("ct2", "eth0"), address(2)));
    assert_eq!(adapter(&world.app, "ct2", "eth0")["mode"], "host-routed");
    late.reaches(&address(1));
    world.end();
}

fn full_mesh(attach: Attach) {
    let world = World::routed(attach, 3);
    for from in 1..=3 {
        for to in (1..=3).filter(|to| *to != from) {
            world.ct(from).reaches(&address(to));
        }
    }
    tcp::converses(world.ct(1), world.ct(3), &address(3));
    world.end();
}

#[test]
fn hr3_three_containers_reach_each_other_on_own_ports() {
    full_mesh(Attach::Own);
}

#[test]
fn hr3_three_containers_reach_each_other_on_the_shared_port() {
    full_mesh(Attach::Shared);
}

fn server_and_guest(attach: Attach) {
    let world = World::routed(attach, 1);
    let (ct, server) = (world.ct(1), &world.server);
    // The server opens first, so that nothing is resolved yet.
    server.reaches(&address(1));
    ct.reaches(SERVER);
    tcp::converses(ct, server, SERVER);
    tcp::converses(server, ct, &address(1));
    // The server's own traffic leaves by the uplink.
    server.reaches(OUT);
    server.reaches(FAR);
    world.out().reaches(SERVER);
    world.end();
}

#[test]
fn hr4_server_and_guest_reach_each_other_on_an_own_port() {
    server_and_guest(Attach::Own);
}

#[test]
fn hr4_server_and_guest_reach_each_other_on_the_shared_port() {
    server_and_guest(Attach::Shared);
}

#[test]
fn hr4_the_server_hears_of_a_guests_smaller_mtu() {
    let world = World::routed(Attach::Own, 1);
    world.server.reaches(&address(1));
    world.app.must("adapter set ct1 eth0 mtu 1400");
    let output = world.server.output(&format!("ping -n -c 3 -i 0.2 -M do -s 1450 {}", address(1)));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("mtu=1400"), "the kernel has learned it: {said}");
    world.end();
}

#[test]
fn hr5_the_shared_port_exists_before_any_container() {
    let world = World::routed(Attach::Shared, 0);
    let info = rows(world.app.json("show port info venet0"));
    assert_eq!((&info[0]["kind"], &info[0]["state"]), (&"shared".into(), &"started".into()));
    let first = world.lab.host("ct1");
    world.app.must("guest add ct1 container");
    world.app.must(&format!("adapter add ct1 eth0 port shared:venet0 ip {}", address(1)));
    venet(&world.lab, &format!("add ct1 ct1 {}", address(1)));
    first.reaches(SERVER);
    world.app.must("guest del ct1");
    assert_eq!(rows(world.app.json("show port info venet0")).len(), 1);
    world.end();
}

#[test]
fn hr5_containers_come_and_go_on_the_shared_port_unnoticed_by_the_others() {
    let world = World::routed(Attach::Shared, 2);
    world.ct(1).reaches(&address(2));
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    let paced = Paced::ring(&[talker(1), talker(2)], 1_000);
    let guest = world.lab.host("ct3");
    for _ in 0..SHARED_CHURN.now() {
        world.app.must("guest add ct3 container");
        world.app.must(&format!("adapter add ct3 eth0 port shared:venet0 ip {}", address(3)));
        venet(&world.lab, &format!("add ct3 ct3 {}", address(3)));
        guest.reaches(&address(1));
        venet(&world.lab, "del ct3 ct3");
        world.app.must("guest del ct3");
    }
    assert!(paced.finish() > 500);
    world.end();
}

fn other_networks(attach: Attach) {
    let world = World::routed(attach, 1);
    let ct = world.ct(1);
    let routes = ct.run("ip -4 route show");
    let beyond: Vec<_> = routes.lines().filter(|l| !l.starts_with(GATEWAY)).collect();
    let expected = format!("default via {GATEWAY} dev {}", world.iface());
    assert!(beyond.len() == 1 && beyond[0].starts_with(&expected), "{routes}");
    ct.reaches(FAR);
    ct.reaches(OUT);
    world.end();
}

#[test]
fn hr6_a_default_route_is_all_that_a_guest_needs_on_an_own_port() {
    other_networks(Attach::Own);
}

#[test]
fn hr6_a_default_route_is_all_that_a_guest_needs_on_the_shared_port() {
    other_networks(Attach::Shared);
}

/// Echo requests of container 1 as they stand on the LAN on their way to `to`.
fn on_the_wire(world: &World, to: &str) -> Vec<Vec<u8>> {
    world.ct(1).reaches(to);
    let filter = format!("icmp[icmptype]==8 and dst host {to}");
    let capture = world.server.capture("up0", &filter);
    world.ct(1).run(&format!("ping -n -q -c 3 -i 0.05 -t 64 {to}"));
    let frames = capture.finish();
    assert_eq!(frames.len(), 3, "each request is on the wire once");
    frames
}

fn next_hop_and_ttl(attach: Attach) {
    let world = World::routed(attach, 1);
    let uplink = mac(&world.uplink_mac());
    for (to, next_hop) in [(OUT, world.out()), (FAR, &world.outside.router)] {
        for frame in on_the_wire(&world, to) {
            assert_eq!(macs(&frame), (uplink, mac(&next_hop.mac("eth0"))), "towards {to}");
            assert_eq!(frame[14 + 8], 64 - world.hops(), "TTL towards {to}");
        }
    }
    world.end();
}

#[test]
fn hr8_packets_leave_by_the_uplink_to_the_right_next_hop_from_an_own_port() {
    next_hop_and_ttl(Attach::Own);
}

#[test]
fn hr8_packets_leave_by_the_uplink_to_the_right_next_hop_from_the_shared_port() {
    next_hop_and_ttl(Attach::Shared);
}

#[test]
fn hr8_traceroute_shows_the_server_as_the_first_hop() {
    let world = World::routed(Attach::Own, 1);
    world.ct(1).reaches(FAR);
    let text = world.ct(1).run(&format!("traceroute -n -q 1 -w 1 -m 4 {FAR}"));
    let hop = |n: usize| text.lines().nth(n).and_then(|l| l.split_whitespace().nth(1));
    assert_eq!((hop(1), hop(2), hop(3)), (Some(SERVER), Some(ROUTER), Some(FAR)), "{text}");
    world.end();
}

fn not_nat(attach: Attach) {
    let world = World::routed(attach, 1);
    for frame in on_the_wire(&world, FAR) {
        assert_eq!(addresses(&frame), Some((ip(&address(1)), ip(FAR))));
    }
    world.end();
}

#[test]
fn hr9_the_source_address_is_unchanged_on_the_wire_from_an_own_port() {
    not_nat(Attach::Own);
}

#[test]
fn hr9_the_source_address_is_unchanged_on_the_wire_from_the_shared_port() {
    not_nat(Attach::Shared);
}

fn inbound(attach: Attach) {
    let world = World::routed(attach, 3);
    let uplink = mac(&world.uplink_mac());
    world.out().reaches(&address(1));
    let filter = format!("icmp[icmptype]==8 and dst host {}", address(1));
    let lan = world.server.capture("up0", &filter);
    let captures: Vec<_> =
        world.cts.iter().map(|ct| ct.capture(world.iface(), "icmp[icmptype]==8")).collect();
    world.out().run(&format!("ping -n -q -c 3 -i 0.05 {}", address(1)));
    let arrived: Vec<_> = lan.finish().iter().map(|frame| macs(frame).1).collect();
    assert_eq!(arrived, [uplink; 3], "first to the server");
    let got: Vec<usize> = captures.into_iter().map(|c| c.finish().len()).collect();
    assert_eq!(got, [3, 0, 0], "then to exactly its owner");
    world.end();
}

#[test]
fn hr10_packets_for_a_guest_reach_the_server_then_their_owner_on_an_own_port() {
    inbound(Attach::Own);
}

#[test]
fn hr10_packets_for_a_guest_reach_the_server_then_their_owner_on_the_shared_port() {
    inbound(Attach::Shared);
}

fn proxy_arp(attach: Attach) {
    let world = World::routed(attach, 2);
    let uplink = world.uplink_mac();
    for n in [1, 2] {
        assert_eq!(world.out().arping("eth0", &address(n)), vec![uplink.clone()], "container {n}");
    }
    for unregistered in ["192.0.2.77", ROUTER, "169.254.1.1", "203.0.113.5"] {
        let answers = world.out().arping("eth0", unregistered);
        assert!(!answers.contains(&uplink), "{unregistered} is not ours to answer for");
    }
    world.out().reaches(&address(1));
    assert_eq!(world.out().neighbor(&address(1)), Some(uplink.clone()));
    world.app.must("adapter del ct1 eth0");
    std::thread::sleep(Duration::from_secs(1));
    assert!(world.out().arping("eth0", &address(1)).is_empty(), "no longer answered");
    assert_eq!(world.out().arping("eth0", &address(2)), [uplink], "the other one still is");
    world.app.must("guest del ct2");
    std::thread::sleep(Duration::from_secs(1));
    assert!(world.out().arping("eth0", &address(2)).is_empty(), "its guest is deregistered");
    world.end();
}

#[test]
fn hr11_the_lan_resolves_registered_guests_to_the_server_own_ports() {
    proxy_arp(Attach::Own);
}

#[test]
fn hr11_the_lan_resolves_registered_guests_to_the_server_shared_port() {
    proxy_arp(Attach::Shared);
}

fn inside_only(attach: Attach) {
    let world = World::routed(attach, 2);
    let uplink =
        world.server.capture("up0", &format!("host {} or host {}", address(1), address(2)));
    world.ct(1).reaches(&address(2));
    world.ct(2).reaches(&address(1));
    uplink.finish_empty();
    world.server.run("ip link set up0 down");
    let link = || rows(world.app.json("show port info up0"))[0]["link"].clone();
    eventually("the uplink is seen down", Duration::from_secs(5), || link() == "down");
    world.ct(1).reaches(&address(2));
    world.ct(2).reaches(&address(1));
    world.ct(1).never_reaches(OUT);
    world.server.run("ip link set up0 up");
    world.ct(1).reaches(OUT);
    world.end();
}

#[test]
fn hr12_guest_to_guest_needs_no_uplink_own_ports() {
    inside_only(Attach::Own);
}

#[test]
fn hr12_guest_to_guest_needs_no_uplink_shared_port() {
    inside_only(Attach::Shared);
}

#[test]
fn hr19_a_link_local_gateway_outside_the_guests_prefix_works() {
    let world = World::routed(Attach::Own, 1);
    let ct = world.ct(1);
    assert!(ct.run("ip -4 addr show dev eth0").contains("192.0.2.11/32"));
    ct.reaches(GATEWAY);
    ct.reaches(OUT);
    let gateway = ct.neighbor(GATEWAY).expect("resolved");
    assert_ne!(gateway, ct.mac("eth0"), "the gateway's MAC is the appliance's");
    world.end();
}

#[test]
fn hr19_a_conventional_prefix_and_gateway_work_by_proxy_arp() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        lab.host("ct2");
        let port = tap("ct2", "eth0") + ",configure=off";
        config.container("ct2").adapter("eth0", &port, &Config::addresses(&["192.0.2.12/32"]))
    });
    let ct = world.lab.known("ct2");
    ct.address("eth0", "192.0.2.12/24");
    ct.run(&format!("ip route add default via {ROUTER}"));
    for to in [&address(1), SERVER, OUT, ROUTER, FAR] {
        ct.reaches(to);
    }
    world.ct(1).reaches("192.0.2.12");
    world.out().reaches("192.0.2.12");
    assert!(ct.succeeds("arping -D -q -c 2 -w 2 -I eth0 192.0.2.12"), "its own address is free");
    world.end();
}

fn both_counters(attach: Attach) {
    let world = World::routed(attach, 2);
    world.ct(1).reaches(&address(2));
    let stats = |guest: &str| adapter(&world.app, guest, "eth0")["stats"].clone();
    let before = (stats("ct1"), stats("ct2"));
    world.ct(1).run(&format!("ping -n -q -c 20 -i 0.01 -s 1000 -w 3 {}", address(2)));
    let arrived = || count(&stats("ct1"), "tx-pkts") >= count(&before.0, "tx-pkts") + 20;
    eventually("all answers are counted", Duration::from_secs(3), arrived);
    let after = (stats("ct1"), stats("ct2"));
    for key in ["rx-pkts", "tx-pkts"] {
        let grew = |a: &serde_json::Value, b: &serde_json::Value| count(b, key) - count(a, key);
        let (one, two) = (grew(&before.0, &after.0), grew(&before.1, &after.1));
        // A neighbor's probe may come between.
        assert!((20..=24).contains(&one) && (20..=24).contains(&two), "{key}: {one} and {two}");
    }
    let bytes = count(&after.1, "tx-bytes") - count(&before.1, "tx-bytes");
    assert!(bytes >= 20 * 1042, "{bytes} bytes to container 2");
    world.end();
}

#[test]
fn hr22_traffic_between_two_guests_shows_in_both_adapters_own_ports() {
    both_counters(Attach::Own);
}

#[test]
fn hr22_traffic_between_two_guests_shows_in_both_adapters_shared_port() {
    both_counters(Attach::Shared);
}
