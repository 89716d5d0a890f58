//! Host-routed guests are protected from each other (HR-13, HR-14). Every probe first succeeds
//! against a plain learning switch in the same lab.

use tests::capture::{describe, names};
use tests::frames::ip;
use tests::probes::{self, Scene};
use tests::world::{FAR, OUT, SERVER, address};
use tests::{Attach, World, tcp};

/// Container 3 listens promiscuously to all that arrives at it, while 1 talks to 2, to the server and
/// to the outside, from the first ARP on.
fn nothing_to_overhear(attach: Attach) {
    let world = World::routed(attach, 3);
    assert!(probes::overhears(&Scene::switched(&world.lab)), "a switch lets it be overheard");
    let third = world.ct(3).capture(world.iface(), "-Q in");
    for host in [world.ct(1), world.ct(2), &world.server, world.out()] {
        host.forget_neighbors();
    }
    world.app.must("neighbor flush");
    for to in [&address(2), SERVER, OUT, FAR] {
        world.ct(1).reaches(to);
    }
    tcp::converses(world.ct(2), world.ct(1), &address(1));
    tcp::converses(world.ct(1), &world.server, SERVER);
    world.server.reaches(&address(1));
    world.out().reaches(&address(1));
    let heard: Vec<String> = third
        .finish()
        .iter()
        .filter(|frame| !names(frame, ip(&address(3))))
        .map(|frame| describe(frame))
        .collect();
    assert!(heard.is_empty(), "container 3 heard {heard:#?}");
    world.end();
}

#[test]
fn hr13_no_third_guest_hears_a_conversation_own_ports() {
    nothing_to_overhear(Attach::Own);
}

#[test]
fn hr13_no_third_guest_hears_a_conversation_shared_port() {
    nothing_to_overhear(Attach::Shared);
}

fn nothing_to_divert(attach: Attach) {
    let world = World::routed(attach, 3);
    let switch = Scene::switched(&world.lab);
    for (what, probe) in probes::ALL {
        assert!(probe(&switch), "mallory could not {what} even on a switch");
    }
    let scene = Scene::in_world(&world);
    world.ct(1).reaches(&address(2));
    for (what, probe) in probes::ALL {
        // Behind the shared port the kernel routes each container's packets: a source MAC ends at the
        // container's own link and nobody else ever sees it.
        if attach == Attach::Shared && what == probes::SOURCE_MAC {
            continue;
        }
        // A guest that hears its own conversations only is what the first probe looks for.
        assert!(!probe(&scene), "mallory could {what}");
        world.ct(1).reaches(&address(2));
    }
    // The attacker has hurt at most itself, and is well again.
    world.ct(3).reaches(&address(1));
    world.out().reaches(&address(2));
    world.end();
}

#[test]
fn hr14_an_active_guest_diverts_nothing_own_ports() {
    nothing_to_divert(Attach::Own);
}

#[test]
fn hr14_an_active_guest_diverts_nothing_shared_port() {
    nothing_to_divert(Attach::Shared);
}

#[test]
fn hr14_a_guest_can_not_take_a_neighbors_address_on_the_lan() {
    let world = World::routed(Attach::Own, 2);
    let uplink = world.uplink_mac();
    world.out().reaches(&address(1));
    let lan = world.server.capture("up0", "arp");
    let wire = world.ct(2).wire("eth0");
    let forged = tests::frames::Arp::request(wire.mac(), &address(1), &address(1));
    let gateway = tests::frames::mac(&world.ct(2).neighbor("169.254.1.1").unwrap_or_else(|| {
        world.ct(2).reaches(SERVER);
        world.ct(2).neighbor("169.254.1.1").expect("resolved")
    }));
    for to in [tests::frames::BROADCAST, gateway] {
        wire.send(&forged.frame(to));
    }
    let claimed: Vec<_> =
        lan.finish().iter().filter(|f| f[6..12] == wire.mac()).map(|f| describe(f)).collect();
    assert!(claimed.is_empty(), "the guest's ARP went to the LAN: {claimed:#?}");
    assert_eq!(world.out().neighbor(&address(1)), Some(uplink));
    let drops = tests::balance::adapter(&world.app, "ct2", "eth0")["stats"]["drops"].clone();
    assert_eq!(drops["spoofed-arp"], 2, "{drops}");
    world.end();
}
