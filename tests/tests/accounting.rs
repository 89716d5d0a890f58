//! Traffic accounts by destination class (VZ-8), against what real hosts sent.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;
use tests::balance::rows;
use tests::frames::ip;
use tests::world::{FAR, OUT, address};
use tests::{Appliance, Attach, Host, World, eventually, within};

const PORT: u16 = 7_700;
/// Bytes of a datagram, and of the frame that carries it.
const DATA_BYTES: usize = 200;
const FRAME_BYTES: u64 = 14 + 20 + 8 + 200;
/// For what is under way to be counted.
const SETTLED: Duration = Duration::from_secs(3);

/// Packets and bytes, in and out.
type Line = [u64; 4];

/// A guest's accounts by class.
fn accounts(app: &Appliance, guest: &str) -> BTreeMap<String, Line> {
    let line = |row: serde_json::Value| {
        let number = |key: &str| row[key].as_u64().expect("a number");
        let class = row["class"].as_str().expect("a class").to_owned();
        (class, ["in-pkts", "in-bytes", "out-pkts", "out-bytes"].map(number))
    };
    rows(app.json(&format!("show accounting {guest}"))).into_iter().map(line).collect()
}

/// Waits until a class counts this.
#[track_caller]
fn counts(app: &Appliance, guest: &str, class: &str, want: Line) {
    let is_there = || accounts(app, guest).get(class) == Some(&want);
    assert!(within(SETTLED, is_there), "{guest} {class}: {want:?}, not {:?}", accounts(app, guest));
}

/// Sends so many datagrams, no faster than anybody's queue.
fn send(from: &UdpSocket, to: &str, count: u64) {
    for n in 0..count {
        from.send_to(&[7; DATA_BYTES], (ip(to), PORT)).expect("send");
        if n % 50 == 49 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A socket that takes what comes and answers nothing.
fn sink(host: &Host, address: &str) -> UdpSocket {
    host.udp(ip(address), PORT)
}

fn both(pkts_in: u64, pkts_out: u64) -> Line {
    [pkts_in, pkts_in * FRAME_BYTES, pkts_out, pkts_out * FRAME_BYTES]
}

#[test]
fn vz8_traffic_is_counted_per_guest_and_class_to_the_packet_and_survives() {
    let mut world = World::routed(Attach::Own, 2);
    let app = &world.app;
    app.must("class add lan 192.0.2.0/24");
    app.must("class add world 0.0.0.0/0");
    app.must("class add far 198.51.100.0/24 203.0.113.0/24");
    let refused = app.refused("class add again 192.0.2.0/24");
    assert!(refused.contains("lan"), "names the holder: {refused}");
    app.refused("class add other 10.0.0.0/8");
    let (own, near, out) = (address(1), address(2), OUT);
    let ct1 = sink(world.ct(1), &own);
    let ct2 = sink(world.ct(2), &near);
    let outside = sink(world.out(), out);
    let far = sink(&world.outside.far, FAR);
    // Neighbors are resolved by these, and counted.
    send(&ct1, out, 1);
    send(&ct1, FAR, 1);
    counts(app, "ct1", "lan", both(0, 1));
    counts(app, "ct1", "far", both(0, 1));
    send(&ct1, FAR, 301);
    send(&ct1, out, 200);
    send(&ct1, &near, 77);
    send(&far, &own, 1_003);
    send(&outside, &own, 44);
    send(&ct2, &own, 5);
    counts(app, "ct1", "far", both(1_003, 302));
    counts(app, "ct1", "lan", both(44 + 5, 201 + 77));
    counts(app, "ct2", "lan", both(77, 5));
    assert_eq!(accounts(app, "ct1")["world"], [0; 4], "the longest prefix decides");
    assert_eq!(accounts(app, "ct1")["other"], [0; 4]);
    // What was not let through was not sent.
    let forged = world.ct(1).wire("eth0");
    let gateway = tests::frames::mac(
        app.json("show guest ct1")["adapters"][0]["server-side"]["mac"].as_str().expect("a MAC"),
    );
    let packet = tests::frames::ipv4("192.0.2.77", FAR, 64, tests::frames::UDP, &[0; 40]);
    let frame = tests::frames::ethernet(gateway, forged.mac(), tests::frames::IPV4, &packet);
    forged.send(&frame);
    eventually("the forged one is dropped", SETTLED, || {
        app.json("show drops ct1")["drops"]["spoofed-ip"] == 1
    });
    counts(app, "ct1", "far", both(1_003, 302));
    // A clear of the ports' counters is none of the accounts'.
    app.must("clear port stats all");
    counts(app, "ct1", "far", both(1_003, 302));
    let all = accounts(app, "ct1")["all"];
    // An end and a start; a class goes and comes anew.
    world.app.stop();
    world.app.launch();
    let app = &world.app;
    counts(app, "ct1", "far", both(1_003, 302));
    let since = accounts(app, "ct1")["all"];
    assert!(since.iter().zip(all).all(|(now, before)| *now >= before), "{since:?} after {all:?}");
    // Its neighbors are to be found again.
    send(&ct1, FAR, 1);
    counts(app, "ct1", "far", both(1_003, 303));
    send(&ct1, FAR, 9);
    counts(app, "ct1", "far", both(1_003, 312));
    app.must("class del far");
    send(&ct1, FAR, 4);
    counts(app, "ct1", "world", both(0, 4));
    app.must("class add distant 198.51.100.0/24");
    counts(app, "ct1", "distant", both(0, 0));
    send(&ct1, FAR, 6);
    counts(app, "ct1", "distant", both(0, 6));
    assert!(!accounts(app, "ct1").contains_key("far"));
    // Killed, it has what was written last.
    std::thread::sleep(Duration::from_secs(11));
    world.app.kill();
    world.app.launch();
    counts(&world.app, "ct1", "distant", both(0, 6));
    // A guest that is registered anew begins at nothing.
    world.app.must("adapter del ct2 eth0");
    let port = tests::config::tap("ct2", "eth0");
    world.app.must(&format!("adapter add ct2 eth0 port {port} ip {near}"));
    assert_eq!(accounts(&world.app, "ct2")["lan"][0], 0);
    world.end();
}
