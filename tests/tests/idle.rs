//! Adaptive polling: an idle worker's core is free, and the first packet after a silence is hardly late.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::config::vhost_user;
use tests::frames::{echo, ethernet, ipv4, mac};
use tests::frontend::{Frontend, NetHeader, Options};
use tests::world::address;
use tests::{Attach, Config, Lab, World, eventually, within};

const SECOND: Duration = Duration::from_secs(1);
/// A guest on a vhost-user socket, and what it knows its gateway by.
const GUEST_MAC: &str = "02:00:00:00:09:09";
const GATEWAY_MAC: &str = "02:00:00:00:09:01";

fn socket(lab: &Lab) -> PathBuf {
    lab.dir().join("g9.sock")
}

fn with_guest(lab: &Lab, config: Config) -> Config {
    let addresses = Config::addresses(&[&format!("{}/32", address(9))]);
    let keys = format!(
        "mode = \"host-routed\"\nmac = \"{GUEST_MAC}\"\nhost_mac = \"{GATEWAY_MAC}\"\n{addresses}"
    );
    let port = format!("{},queues=2", vhost_user(&socket(lab)));
    config.vm("g9").adapter("eth0", &port, &keys)
}

fn connect(world: &World) -> Frontend {
    Frontend::connect_within(&socket(&world.lab), &Options::default(), 5 * SECOND).expect("a guest")
}

/// An echo request of the guest's to the container, answered; how long that took.
fn round_trip(guest: &mut Frontend, sequence: u16) -> Duration {
    let packet = ipv4(&address(9), &address(1), 64, 1, &echo(9, sequence, &[9; 40]));
    let frame = ethernet(mac(GATEWAY_MAC), mac(GUEST_MAC), 0x0800, &packet);
    let begin = Instant::now();
    assert!(guest.send(0, &NetHeader::default(), &frame).expect("a ring"), "it is full");
    let answer = guest.receive_within(5 * SECOND, |got| {
        let sequence = sequence.to_be_bytes();
        got.frame.get(34) == Some(&0) && got.frame.get(40..42) == Some(&sequence)
    });
    assert!(answer.expect("a ring").is_some(), "no answer to {sequence}");
    begin.elapsed()
}

/// Whether the guest is asked to kick when it has something to send.
fn is_told(guest: &mut Frontend) -> bool {
    let (ring, memory) = guest.sender(0);
    ring.is_told(memory).expect("a ring")
}

/// Time that workers have had of their cores, by the scheduler's account.
fn worker_time(world: &World) -> Duration {
    let tasks = format!("/proc/{}/task", world.app.pid());
    let mut time = Duration::ZERO;
    for task in std::fs::read_dir(tasks).expect("tasks").flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let name = read("comm");
        if name.starts_with("lcore-worker") || name.starts_with("rte-worker") {
            let nanoseconds = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok());
            time += Duration::from_nanos(nanoseconds.expect("nanoseconds"));
        }
    }
    assert!(!time.is_zero(), "there is a worker");
    time
}

/// Share of a core that workers had within so long.
fn load(world: &World, time: Duration) -> f64 {
    let before = worker_time(world);
    std::thread::sleep(time);
    (worker_time(world) - before).as_secs_f64() / time.as_secs_f64()
}

/// Looks by itself that workers take within a second, the few of what happens to come in between included.
fn looks(world: &World) -> u64 {
    let loops = || world.app.json("show worker")[0]["loops"].as_u64().expect("loops");
    let before = loops();
    std::thread::sleep(SECOND);
    loops() - before
}

#[test]
fn an_idle_worker_sleeps_and_the_first_packet_after_a_silence_is_there_within_a_millisecond() {
    let time = SECOND;
    let world = World::routed_with(Attach::Own, 2, |_, config| config.adaptive());
    let (ct1, near) = (world.ct(1), address(2));
    ct1.reaches(&near);
    let idle = || {
        let load = load(&world, time);
        println!("idle: {:.1} % of a core", load * 100.0);
        load
    };
    // A neighbor's message or the kernel's own may come in between.
    assert!(within(5 * time, || idle() < 0.05), "{} of a core", idle());
    let asleep = world.app.json("show worker");
    let cycles = &asleep[0]["cycles"];
    assert!(
        cycles["asleep"].as_u64() > Some(cycles["idle"].as_u64().expect("idle") / 2),
        "{cycles}"
    );
    // Each after a fifth of a second of nothing.
    let text = ct1.run(&format!("ping -n -c 11 -i 0.2 {near}"));
    let mut times: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok())
        .collect();
    times.sort_by(f64::total_cmp);
    println!("round trips after a silence, ms: {times:?}");
    assert!(times.len() == 11 && times[5] < 1.0, "{times:?}");
    // It is awake as long as there is something to do.
    assert!(world.app.json("show worker")[0]["late-beats"] == 0);
    world.end();
}

#[test]
fn a_guest_on_a_socket_kicks_while_the_worker_sleeps_and_only_then() {
    let world =
        World::routed_with(Attach::Own, 1, |lab, config| with_guest(lab, config).adaptive());
    let mut guest = connect(&world);
    round_trip(&mut guest, 0);
    let mut sequence = 0;
    // Each time a silence long enough for it to sleep as long as it does.
    let mut median = |guest: &mut Frontend, is_mute| {
        guest.sender(0).0.is_mute = is_mute;
        let mut times: Vec<_> = (0..15)
            .map(|_| {
                eventually("it sleeps", 5 * SECOND, || is_told(guest));
                std::thread::sleep(Duration::from_millis(100));
                sequence += 1;
                round_trip(guest, sequence)
            })
            .collect();
        times.sort();
        times[7]
    };
    let (told, untold) = (median(&mut guest, false), median(&mut guest, true));
    println!("round trip after a silence: {told:?}, of a guest that never kicks: {untold:?}");
    assert!(told * 2 < untold, "{told:?}, {untold:?} of one that is found by the clock");
    // A front-end that comes instead is no other matter.
    drop(guest);
    let mut guest = connect(&world);
    round_trip(&mut guest, 0);
    let told = median(&mut guest, false);
    assert!(told * 2 < untold, "{told:?}, {untold:?} of one that is found by the clock");
    // While there is something to do it is not to be told.
    let mut sequence = 1_000;
    let is_quiet = || {
        sequence += 1;
        round_trip(&mut guest, sequence);
        !is_told(&mut guest)
    };
    assert!(within(5 * SECOND, is_quiet), "each packet would cost the guest a kick");
    // The pair that it doesn't use has nothing to tell, and need not be looked at.
    let is_left_alone = || load(&world, SECOND) < 0.05 && looks(&world) < 500;
    assert!(within(10 * SECOND, is_left_alone), "{} looks", looks(&world));
    drop(guest);
    world.end();
}

#[test]
fn without_being_asked_for_a_worker_never_sleeps() {
    let world = World::routed_with(Attach::Own, 1, with_guest);
    let mut guest = connect(&world);
    for sequence in 0..20 {
        round_trip(&mut guest, sequence);
        assert!(!is_told(&mut guest));
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(guest);
    let busy = within(Duration::from_secs(5), || load(&world, Duration::from_millis(500)) > 0.5);
    assert!(busy, "it polls");
    assert_eq!(world.app.json("show worker")[0]["cycles"]["asleep"], 0);
    world.end();
}
