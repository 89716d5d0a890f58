//! `configs/venet` on its own: a Linux router stands where the appliance would be, so that what the
//! script promises of the kernel's side is seen without the program.

use tests::frames::{IPV4, UDP, ethernet, ip, ipv4, mac, udp};
use tests::world::venet;
use tests::{Host, Lab};

/// The far end of venet0, and two containers on it.
struct Carried {
    router: Host,
    c1: Host,
    c2: Host,
    lab: Lab,
}

fn carried() -> Carried {
    let lab = Lab::new();
    let (router, space) = (lab.host("router"), lab.host("gw-venet"));
    lab.cable(&router, "r0", &space, "venet0");
    router.address("r0", "169.254.1.1/32");
    router.sysctl("net.ipv4.ip_forward=1");
    router.sysctl("net.ipv4.conf.r0.send_redirects=0");
    router.sysctl("net.ipv4.conf.all.send_redirects=0");
    let (c1, c2) = (lab.host("c1"), lab.host("c2"));
    venet(&lab, "add c1 c1 192.0.2.11");
    venet(&lab, "add c2.with-a-longer-name c2 192.0.2.12");
    router.run("ip route add 169.254.1.2/32 dev r0");
    for address in ["192.0.2.11", "192.0.2.12"] {
        router.run(&format!("ip route add {address}/32 via 169.254.1.2 dev r0 onlink"));
    }
    Carried { router, c1, c2, lab }
}

#[test]
fn hr5_container_to_container_goes_through_the_port() {
    let world = carried();
    let passing = world.router.capture("r0", "icmp");
    world.c1.reaches("192.0.2.12");
    world.c2.reaches("192.0.2.11");
    assert!(passing.finish().len() >= 80, "each request and each reply, in and out");
    world.router.run("ip link set r0 down");
    world.c1.never_reaches("192.0.2.12");
}

#[test]
fn hr14_a_container_on_the_port_speaks_with_its_own_address_only() {
    let world = carried();
    world.c1.reaches("192.0.2.12");
    let passing = world.router.capture("r0", "udp");
    let wire = world.c1.wire("venet0");
    let next_hop = mac(&world.c1.neighbor("169.254.1.1").expect("resolved"));
    for source in ["192.0.2.12", "192.0.2.99", "169.254.1.2", "169.254.1.1"] {
        let packet = ipv4(source, "192.0.2.12", 64, UDP, &udp(9, 9, b"forged"));
        wire.send(&ethernet(next_hop, wire.mac(), IPV4, &packet));
    }
    passing.finish_empty();
}

#[test]
fn hr19_a_container_with_a_wide_prefix_finds_its_neighbors_by_proxy_arp() {
    let world = carried();
    world.c1.run("ip addr del 192.0.2.11/32 dev venet0");
    world.c1.address("venet0", "192.0.2.11/24");
    world.c1.reaches("192.0.2.12");
    assert!(world.c1.arping("venet0", "192.0.2.11").is_empty(), "its own address is not answered");
}

#[test]
fn hr5_a_container_comes_and_goes_without_the_others_noticing() {
    let world = carried();
    let socket = world.c2.udp(ip("192.0.2.12"), 7);
    venet(&world.lab, "del c1 c1");
    world.c2.never_reaches("192.0.2.11");
    venet(&world.lab, "add c1 c1 192.0.2.11");
    venet(&world.lab, "add c1 c1 192.0.2.21");
    world.router.run("ip route add 192.0.2.21/32 via 169.254.1.2 dev r0 onlink");
    world.c2.reaches("192.0.2.11");
    world.c2.reaches("192.0.2.21");
    drop(socket);
}
