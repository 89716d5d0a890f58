//! Rate limits per adapter, direction and class (VZ-9), by real UDP and TCP.
//!
//! A rate is of bits on a wire: TCP's is its payload's times what headers add to a full segment.

use serde_json::Value;
use std::time::{Duration, Instant};
use tests::counts::RATE_SECONDS;
use tests::world::{FAR, OUT, address};
use tests::{Attach, Host, World, eventually};

/// Full frame and payload of a TCP segment with timestamps, MTU 1500.
const TCP_OVERHEAD: f64 = 1514.0 / 1448.0;
/// Bytes of a datagram's data, and of its frame.
const DATAGRAM: u32 = 1200;
/// How far from its value a rate may be, over 10 s. What is saved up while idle is a part of a shorter time.
const TOLERANCE: f64 = 0.03;

/// Rates, bits per second.
fn rates() -> Vec<f64> {
    match RATE_SECONDS.now() {
        10.. => vec![2e6, 50e6, 400e6],
        _ => vec![30e6],
    }
}

fn seconds() -> f64 {
    RATE_SECONDS.now().into()
}

#[track_caller]
fn assert_rate(what: &str, measured: f64, want: f64) {
    println!("{what}: {:.3} of {:.3} Mbit/s", measured / 1e6, want / 1e6);
    assert!((measured / want - 1.0).abs() <= TOLERANCE, "{what}: {measured} bit/s, want {want}");
}

fn received_bytes(host: &Host) -> f64 {
    host.run("cat /sys/class/net/eth0/statistics/rx_bytes").trim().parse().expect("a number")
}

/// iperf3's server on `host`, once it listens.
fn serving(host: &Host) -> tests::host::Proc {
    let serving = host.spawn("iperf3 -s -1");
    let listens = || host.run("ss -Hltn").contains(":5201");
    eventually("iperf3 listens", Duration::from_secs(5), listens);
    serving
}

/// Bits per second that arrive of a UDP stream that offers half as much again.
fn udp(from: &Host, to: &Host, address: &str, offered: f64) -> f64 {
    let _serving = serving(to);
    let limit = seconds() + 2.0;
    let _client = from.spawn(&format!(
        "iperf3 -c {address} -u -l {DATAGRAM} -b {offered:.0} -t {limit} --connect-timeout 3000"
    ));
    let before = received_bytes(to);
    eventually("it arrives", Duration::from_secs(5), || received_bytes(to) > before + 50e3);
    // What was saved up is spent.
    std::thread::sleep(Duration::from_millis(500));
    let (start, bytes) = (Instant::now(), received_bytes(to));
    std::thread::sleep(Duration::from_secs_f64(seconds()));
    (received_bytes(to) - bytes) * 8.0 / start.elapsed().as_secs_f64()
}

/// Bits per second that arrive of a TCP stream as it is on a wire; its first second is not counted.
fn tcp(from: &Host, to: &Host, address: &str) -> f64 {
    let _serving = serving(to);
    let text = from.run(&format!(
        "timeout {} iperf3 -c {address} -t {} -O 1 -J --connect-timeout 3000",
        seconds() + 20.0,
        seconds()
    ));
    let report: Value = serde_json::from_str(&text).expect("iperf3 -J");
    let received = &report["end"]["sum_received"]["bits_per_second"];
    received.as_f64().expect("a rate") * TCP_OVERHEAD
}

/// Both kinds of traffic one way.
fn check(what: &str, from: &Host, to: &Host, address: &str, want: f64) {
    assert_rate(&format!("{what}, TCP"), tcp(from, to, address), want);
    assert_rate(&format!("{what}, UDP"), udp(from, to, address, want * 1.5), want);
}

#[test]
fn vz9_a_guest_keeps_to_its_rate_each_way_and_by_class() {
    let world = World::routed(Attach::Own, 2);
    let (app, ct1, ct2) = (&world.app, world.ct(1), world.ct(2));
    let (own, near) = (address(1), address(2));
    ct1.reaches(&near);
    ct1.reaches(OUT);
    app.must("class add far 198.51.100.0/24");
    for rate in rates() {
        app.must(&format!("adapter set ct1 eth0 rate out {rate:.0} rate in {:.0}", rate * 0.8));
        check("out, to a guest", ct1, ct2, &near, rate);
        check("in, from the LAN", world.out(), ct1, &own, rate * 0.8);
        app.must(&format!("adapter set ct1 eth0 class-rate far out {:.0}", rate / 2.0));
        check("out, to a class", ct1, &world.outside.far, FAR, rate / 2.0);
        // Who has no limit is not held up.
        ct2.reaches(OUT);
        app.must("adapter set ct1 eth0 rate out none rate in none class-rate far out none");
    }
    // Over the limit is told, counted at the sender and shown at the receiver.
    let drops = app.json("show drops ct1")["drops"].clone();
    assert!(drops["rate-out"].as_u64().is_some_and(|count| count > 0), "{drops}");
    let events = app.must("show events");
    assert!(events.contains("ct1/eth0 is over its rate limit"), "{events}");
    world.end();
}
