//! What a member of the LAN's network, or whoever inherits its port, could divert or overhear of
//! others' traffic, and does not (HR-13, HR-14).

use std::time::Duration;
use tests::balance::rows;
use tests::config::tap;
use tests::frames::{Arp, mac};
use tests::world::{FAR, ROUTER, add_container, address, venet};
use tests::{Attach, Host, World, eventually};

/// Two containers and a VM `vm1` without registered addresses on the network that shares the wire.
fn lan_with_a_member() -> (World, Host) {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        lab.host("vm1");
        let keys = "mode = \"virtual-network\"\nnetwork = \"lan0\"";
        let config = config.network("lan0", "uplink = \"up0\"").vm("vm1");
        config.adapter("eth0", &tap("vm1", "eth0"), keys)
    });
    let member = world.lab.known("vm1");
    (world, member)
}

/// Registers `ct9` on a port of its own.
fn newcomer(world: &World) -> Host {
    add_container(&world.lab, &world.app, 9, "")
}

#[test]
fn hr14_a_member_of_the_lan_can_not_take_the_gateways_place() {
    let (world, member) = lan_with_a_member();
    world.ct(1).reaches(FAR);
    // The gateway is silent, so that the forger is the only one who answers for it.
    world.outside.router.run("ip link set eth0 down");
    world.app.must(&format!("neighbor flush {ROUTER}"));
    let stolen = member.capture("eth0", &format!("host {FAR}"));
    let uplink = mac(&world.uplink_mac());
    let wire = member.wire("eth0");
    for _ in 0..10 {
        world.ct(1).succeeds(&format!("ping -n -c 1 -W 0.1 {FAR}"));
        wire.send(&Arp::reply(wire.mac(), ROUTER, uplink, "192.0.2.1").frame(uplink));
        wire.send(&Arp::request(wire.mac(), ROUTER, "192.0.2.1").frame(tests::frames::BROADCAST));
    }
    stolen.finish_empty();
    world.outside.router.run("ip link set eth0 up");
    world.outside.router.run("ip route replace 203.0.113.0/24 via 192.0.2.1");
    world.ct(1).reaches_within(Duration::from_secs(15), FAR);
    world.end();
}

#[test]
fn hr13_who_was_heard_behind_a_port_is_forgotten_with_it() {
    let (mut world, member) = lan_with_a_member();
    let inside = "192.0.2.60";
    member.address("eth0", &format!("{inside}/24"));
    world.ct(1).reaches(inside);
    world.app.must("adapter del vm1 eth0");
    let heir = newcomer(&world);
    let inherited = heir.capture("eth0", &format!("host {inside}"));
    world.ct(1).never_reaches(inside);
    inherited.finish_empty();
    world.app.forget_pool();
    world.end();
}

#[test]
fn hr13_a_lost_shared_port_leaves_nothing_to_inherit_and_comes_back_with_its_guests() {
    let mut world = World::routed(Attach::Shared, 2);
    world.ct(1).reaches(&address(2));
    let state = || rows(world.app.json("show port info venet0"))[0]["state"].clone();
    world.lab.known("gw-venet").run("ip link del venet0");
    eventually("the port is lost", Duration::from_secs(5), || state() == "failed");
    let heir = newcomer(&world);
    let inherited = heir.capture("eth0", &format!("host {} or host {}", address(1), address(2)));
    world.server.never_reaches(&address(1));
    eventually("the port is back", Duration::from_secs(15), || state() == "started");
    for n in 1..=2 {
        venet(&world.lab, &format!("add ct{n} ct{n} {}", address(n)));
    }
    world.ct(1).reaches_within(Duration::from_secs(5), &address(2));
    world.server.reaches(&address(1));
    inherited.finish_empty();
    world.app.forget_pool();
    world.end();
}

#[test]
fn hr14_a_members_probes_keep_no_guests_address_off_the_lan() {
    let (mut world, member) = lan_with_a_member();
    let wire = member.wire("eth0");
    newcomer(&world);
    let state = || {
        let shown = tests::balance::adapter(&world.app, "ct9", "eth0");
        shown["guest-side"]["addresses"][0]["state"].clone()
    };
    let is_up = tests::within(Duration::from_secs(12), || {
        wire.send(
            &Arp::request(wire.mac(), "0.0.0.0", &address(9)).frame(tests::frames::BROADCAST),
        );
        state() == "up"
    });
    assert!(is_up, "{}", state());
    world.out().reaches(&address(9));
    world.app.forget_pool();
    world.end();
}
