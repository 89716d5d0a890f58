//! TCP at full rate: no stall, no bad checksum at the receiver.

use tests::config::tap;
use tests::world::{OUT, address};
use tests::{Attach, World, tcp};

#[test]
fn iperf_hr3_between_two_routed_guests() {
    let world = World::routed(Attach::Own, 2);
    world.ct(1).reaches(&address(2));
    let rate = tcp::streams(world.ct(1), world.ct(2), &address(2));
    assert!(rate > 50e6, "{rate} bit/s");
    world.end();
}

#[test]
fn iperf_hr5_between_two_guests_on_the_shared_port() {
    let world = World::routed(Attach::Shared, 2);
    world.ct(1).reaches(&address(2));
    let rate = tcp::streams(world.ct(1), world.ct(2), &address(2));
    assert!(rate > 50e6, "{rate} bit/s");
    world.end();
}

#[test]
fn iperf_vn10_between_two_members_of_a_network() {
    let world = World::routed_with(Attach::Own, 0, |lab, config| {
        lab.host("vm1");
        lab.host("vm2");
        let config = config.vm("vm1").adapter("eth0", &tap("vm1", "eth0"), "");
        config.vm("vm2").adapter("eth0", &tap("vm2", "eth0"), "")
    });
    let (vm1, vm2) = (world.lab.known("vm1"), world.lab.known("vm2"));
    vm1.address("eth0", "10.0.0.1/24");
    vm2.address("eth0", "10.0.0.2/24");
    vm1.reaches("10.0.0.2");
    let rate = tcp::streams(&vm1, &vm2, "10.0.0.2");
    assert!(rate > 50e6, "{rate} bit/s");
    world.end();
}

#[test]
fn iperf_hr8_from_a_guest_to_the_outside() {
    let world = World::routed(Attach::Own, 1);
    world.ct(1).reaches(OUT);
    let rate = tcp::streams(world.ct(1), world.out(), OUT);
    assert!(rate > 50e6, "{rate} bit/s");
    world.end();
}

#[test]
fn iperf_hr10_from_the_outside_to_a_guest() {
    let world = World::routed(Attach::Own, 1);
    world.out().reaches(&address(1));
    let rate = tcp::streams(world.out(), world.ct(1), &address(1));
    assert!(rate > 50e6, "{rate} bit/s");
    world.end();
}
