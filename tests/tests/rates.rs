//! Rate limits per adapter, direction and class (VZ-9), by real UDP and TCP.
//!
//! What is measured are the bits that a wire would carry, at the receiver: a long TCP segment that is handed over
//! whole stands for its pieces.

use std::time::{Duration, Instant};
use tests::counts::RATE_SECONDS;
use tests::world::{FAR, OUT, address};
use tests::{Attach, Host, Proc, World, eventually};

/// Headers of a TCP segment with timestamps, and its data where the MTU is 1500.
const TCP_HEADERS: f64 = 66.0;
const TCP_DATA: f64 = 1448.0;
/// Bytes of a datagram's data.
const DATAGRAM: u32 = 1200;
/// How far from its value a rate may be.
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

/// Bytes and packets that a host has received.
fn received(host: &Host) -> [f64; 2] {
    let text = host.run("cat /proc/net/dev");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("eth0");
    let mut numbers = line.split_whitespace().map(|word| word.parse().expect("a number"));
    [(); 2].map(|()| numbers.next().expect("two numbers"))
}

/// Bits per second that arrive at `to` while an iperf3 with these words sends there.
fn arrives(from: &Host, to: &Host, address: &str, words: &str) -> f64 {
    let _server: Proc = to.spawn("iperf3 -s -1");
    eventually("iperf3 listens", Duration::from_secs(5), || to.run("ss -Hltn").contains(":5201"));
    let limit = RATE_SECONDS.now() + 5;
    let _client =
        from.spawn(&format!("iperf3 -c {address} -t {limit} --connect-timeout 3000 {words}"));
    let before = received(to)[0];
    eventually("it arrives", Duration::from_secs(5), || received(to)[0] > before + 20e3);
    // What was saved up is spent, and the first burst is over.
    std::thread::sleep(Duration::from_millis(500));
    let (start, before) = (Instant::now(), received(to));
    std::thread::sleep(Duration::from_secs_f64(seconds()));
    let (after, elapsed) = (received(to), start.elapsed());
    let [bytes, packets] = [0, 1].map(|at| after[at] - before[at]);
    let on_wire = match words.contains("-u") {
        true => bytes,
        false => (bytes - packets * TCP_HEADERS) * (1.0 + TCP_HEADERS / TCP_DATA),
    };
    on_wire * 8.0 / elapsed.as_secs_f64()
}

/// Both kinds of traffic one way; where there is little time, one of them.
fn check(what: &str, from: &Host, to: &Host, address: &str, want: f64) {
    if RATE_SECONDS.now() < 10 {
        let words = if what.starts_with("in") {
            format!("-u -l {DATAGRAM} -b {:.0}", want * 1.5)
        } else {
            String::new()
        };
        return assert_rate(what, arrives(from, to, address, &words), want);
    }
    assert_rate(&format!("{what}, TCP"), arrives(from, to, address, ""), want);
    // Half as much again is offered.
    let udp = format!("-u -l {DATAGRAM} -b {:.0}", want * 1.5);
    assert_rate(&format!("{what}, UDP"), arrives(from, to, address, &udp), want);
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
    // Over the limit is counted, told and shown.
    app.must("adapter set ct1 eth0 rate out 1M rate in 1M storm 10");
    let shown = app.must("show guest ct1");
    assert!(
        shown.contains("in 1 Mbit/s, out 1 Mbit/s") && shown.contains("10 frames/s"),
        "{shown}"
    );
    ct1.output(&format!("ping -q -f -c 300 -s 1400 -W 1 {near}"));
    let (drops, stats) = (
        app.json("show drops ct1")["drops"].clone(),
        app.json("show guest ct1")["adapters"][0]["stats"].clone(),
    );
    assert!(drops["rate-out"].as_u64().is_some_and(|count| count > 0), "{drops}");
    assert!(stats["over-rate-out"].as_u64().is_some_and(|count| count > 0), "{stats}");
    let is_told = || app.must("show events").contains("ct1/eth0 is over its rate limit");
    eventually("it is told", Duration::from_secs(3), is_told);
    world.end();
}
