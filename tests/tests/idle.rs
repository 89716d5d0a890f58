//! Adaptive polling: an idle worker's core is free, and the first packet after a silence is hardly late.

use std::time::Duration;
use tests::world::address;
use tests::{Attach, World, within};

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

#[test]
fn an_idle_worker_sleeps_and_the_first_packet_after_a_silence_is_there_within_a_millisecond() {
    let time = Duration::from_secs(1);
    let world = World::routed_with(Attach::Own, 2, |_, config| {
        config.replace("control_core = 0", "control_core = 0\npolling = \"adaptive\"")
    });
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
fn without_being_asked_for_a_worker_never_sleeps() {
    let world = World::routed(Attach::Own, 1);
    let busy = within(Duration::from_secs(5), || load(&world, Duration::from_millis(500)) > 0.5);
    assert!(busy, "it polls");
    assert_eq!(world.app.json("show worker")[0]["cycles"]["asleep"], 0);
    world.end();
}
