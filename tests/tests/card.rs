//! What the design card asks of the program as a whole (CARD-2 to CARD-7).

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::balance::{adapter, count, rows, stats};
use tests::frames::{Arp, BROADCAST};
use tests::paced::{Paced, Talker};
use tests::world::{OUT, SERVER, address};
use tests::{Attach, Config, Lab, World};

/// A field of /proc/PID/task/TID/status.
fn status_of(pid: u32, task: &str, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{task}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim_start_matches(':').trim().to_owned()
}

/// The program's threads as (id, name).
fn threads(pid: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    tasks
        .map(|entry| {
            let id = entry.expect("a thread").file_name().to_string_lossy().into_owned();
            let name = status_of(pid, &id, "Name");
            (id, name)
        })
        .collect()
}

/// The threads of the workers.
fn workers(pid: u32) -> Vec<String> {
    let is_worker = |(_, name): &(String, String)| name.contains("worker");
    let found: Vec<String> = threads(pid).into_iter().filter(is_worker).map(|(id, _)| id).collect();
    assert!(!found.is_empty(), "no worker among {:?}", threads(pid));
    found
}

#[test]
fn card2_no_update_stops_a_worker_or_makes_it_wait() {
    let world = World::routed(Attach::Own, 2);
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    world.ct(1).reaches(&address(2));
    let paced = Paced::ring(&[talker(1), talker(2)], 2_000);
    let mut file = String::new();
    for n in 0..10_000u32 {
        writeln!(file, "10.{}.{}.0/24 via {}", n / 256, n % 256, address(1)).expect("text");
    }
    let path = world.lab.dir().join("routes");
    std::fs::write(&path, file).expect("the routes");
    let pid = world.app.pid();
    // A thread that takes a contended lock or sleeps gives its core up of its own accord.
    let waits = |task: &String| -> u64 {
        status_of(pid, task, "voluntary_ctxt_switches").parse().expect("a number")
    };
    let before: Vec<u64> = workers(pid).iter().map(waits).collect();
    world.app.must(&format!("route load {}", path.display()));
    world.app.must("adapter set ct1 eth0 mtu 1400");
    world.app.must("neighbor flush");
    world.app.must("network add a host-only");
    world.app.must("network del a");
    let after: Vec<u64> = workers(pid).iter().map(waits).collect();
    assert_eq!(before, after, "a worker waited");
    assert!(paced.finish() > 100);
    let routes = world.app.json("show route 10.39.15.7");
    assert!(routes.to_string().contains("10.39.15.0/24"), "{routes}");
    world.end();
}

#[test]
fn card2_routed_guests_are_found_by_longest_prefix_and_members_by_mac() {
    let world = World::routed(Attach::Own, 2);
    world.app.must(&format!("route add 203.0.113.0/24 via {}", address(1)));
    world.app.must(&format!("route add 203.0.113.64/26 via {}", address(2)));
    world.ct(1).address("lo", "203.0.113.1/32");
    world.ct(2).address("lo", "203.0.113.65/32");
    world.out().reaches("203.0.113.1");
    world.out().reaches("203.0.113.65");
    let capture = world.ct(1).capture("eth0", "host 203.0.113.65");
    world.out().reaches("203.0.113.65");
    capture.finish_empty();
    world.app.must("route del 203.0.113.64/26");
    assert!(!world.out().ping("203.0.113.65"), "now the shorter prefix leads to container 1");
    world.app.must("route del 203.0.113.0/24");
    world.app.refused("route del 203.0.113.0/24");
    world.end();
}

#[test]
fn card3_the_control_thread_registers_and_resolves_while_an_arp_flood_comes_in() {
    let world = World::routed(Attach::Own, 3);
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    world.ct(1).reaches(&address(2));
    let paced = Paced::ring(&[talker(1), talker(2)], 1_000);
    let wire = world.ct(3).wire("eth0");
    let question = Arp::request(wire.mac(), &address(3), "169.254.1.1").frame(BROADCAST);
    let flood = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(2);
        let mut sent = 0u64;
        while Instant::now() < end {
            (0..64).for_each(|_| wire.send(&question));
            sent += 64;
            std::thread::sleep(Duration::from_millis(2));
        }
        sent
    });
    let late = world.lab.host("ct4");
    world.app.must("guest add ct4 container");
    let port = tests::config::tap("ct4", "eth0");
    let asked = Instant::now();
    world.app.must(&format!("adapter add ct4 eth0 port {port} ip {}", address(4)));
    assert!(asked.elapsed() < Duration::from_secs(2), "registered in {:?}", asked.elapsed());
    late.reaches_within(Duration::from_secs(1), OUT);
    assert!(flood.join().expect("flood") > 10_000);
    assert!(paced.finish() > 500);
    let drops = adapter(&world.app, "ct3", "eth0")["stats"]["drops"].clone();
    assert!(count(&drops, "punt-rate") + count(&drops, "punt-full") > 1_000, "{drops}");
    let neighbors = rows(world.app.json("show neighbor"));
    assert!(
        neighbors.iter().any(|row| row["ip"] == OUT && row["mac"].is_string()),
        "{neighbors:?}"
    );
    world.end();
}

#[test]
fn card5_the_verbs_of_testpmd_do_what_they_do_there() {
    let world = World::routed(Attach::Own, 2);
    let app = &world.app;
    world.ct(1).reaches(&address(2));
    assert!(app.must("show port stats all").contains("up0"));
    app.must("stop");
    assert!(!world.ct(1).ping(&address(2)), "stopped");
    assert!(count(&stats(app)["ct1/eth0"]["drops"], "stopped") > 0);
    app.must("start");
    world.ct(1).reaches(&address(2));
    app.must("clear port stats all");
    app.must("port stop up0");
    assert!(!world.ct(1).ping(OUT), "the uplink is stopped");
    app.must("port start up0");
    world.ct(1).reaches(OUT);
    app.must("port set up0 mtu 1400");
    assert_eq!(rows(app.json("show port info up0"))[0]["mtu"], 1400);
    app.must("port attach net_null0 name null0 role shared");
    assert_eq!(rows(app.json("show port info null0"))[0]["driver"], "net_null");
    app.must("port detach null0");
    app.refused("show port info null0");
    assert!(app.must("show config").contains("[[guest]]"));
    assert!(app.must("help").contains("show"));
    assert!(app.must("help adapter").contains("adapter add"));
    world.end();
}

#[test]
fn card5_every_show_answers_in_json_too() {
    let world = World::routed(Attach::Own, 1);
    world.ct(1).reaches(OUT);
    for words in [
        "show port info all",
        "show port stats all",
        "show port xstats all",
        "show port info up0",
        "show guest all",
        "show guest ct1",
        "show network all",
        "show network default",
        "show route",
        "show route all",
        "show route 192.0.2.11",
        "show neighbor",
        "show mac default",
        "show worker",
        "show drops",
        "show drops ct1",
        "show config",
        "show config --diff",
        "show version",
    ] {
        assert!(!world.app.must(words).trim_end().is_empty(), "{words}");
        let _ = world.app.json(words);
    }
    assert!(world.app.must("show arp").contains(OUT));
    world.end();
}

#[test]
fn card6_the_whole_appliance_runs_on_taps_with_or_without_hugepages() {
    let world = World::routed(Attach::Own, 1);
    for port in ["up0", "host"] {
        let info = rows(world.app.json("show port info all"));
        let row = info.iter().find(|row| row["port"] == port || row["kind"] == port);
        let row = row.unwrap_or_else(|| panic!("no {port}: {info:?}"));
        assert_eq!((&row["driver"], &row["link"]), (&"net_tap".into(), &"up".into()));
    }
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", world.app.pid())).expect("maps");
    assert_eq!(maps.contains("/dev/hugepages"), tests::appliance::wants_hugepages());
    world.ct(1).reaches(SERVER);
    world.end();
}

#[test]
fn card7_the_packages_are_there_and_the_top_level_is_the_fixed_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).expect("Cargo.lock");
    for package in
        ["dpdk-sys", "libc", "core_affinity", "crossbeam", "clap", "hdrhistogram", "bindgen"]
    {
        assert!(lock.contains(&format!("name = \"{package}\"\n")), "{package}");
    }
    let expected = [
        "Cargo.lock",
        "Cargo.toml",
        "Dockerfile",
        "LICENSE",
        "README.md",
        "configs",
        "control",
        "dataplane",
        "dpdk-sys",
        "tests",
    ];
    let mut found: Vec<String> = std::fs::read_dir(&root)
        .expect("the repository")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !name.starts_with("target"))
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn card7_the_packages_serve_a_purpose_that_can_be_seen() {
    let world = World::routed(Attach::Own, 2);
    world.ct(1).reaches(&address(2));
    // hdrhistogram: the distribution of a worker's loop times.
    for worker in rows(world.app.json("show worker")) {
        let time = &worker["loop-time"];
        let (p50, p99, max) = (count(time, "p50-ns"), count(time, "p99-ns"), count(time, "max-ns"));
        assert!(0 < p50 && p50 <= p99 && p99 <= max, "{worker}");
        assert!(count(&worker, "loops") > 1_000, "{worker}");
    }
    // core_affinity: the API's threads are where control is, off the workers' cores.
    let pid = world.app.pid();
    let busy = workers(pid);
    if !tests::config::two_workers() {
        for (id, name) in threads(pid) {
            let cores = status_of(pid, &id, "Cpus_allowed_list");
            let expected = if busy.contains(&id) { "1" } else { "0" };
            // DPDK's own service threads are placed by DPDK.
            let is_dpdks =
                name.starts_with("rte_") || name.starts_with("eal-") || name.contains("intr");
            assert!(is_dpdks || cores == expected, "{name} on {cores}");
        }
    }
    world.end();
}

#[test]
fn card2_a_port_with_one_queue_is_shared_by_two_workers_without_locks() {
    // Ports of one queue each, spread over the workers; frames cross from one to the other.
    let world = World::routed(Attach::Own, 4);
    let talkers: Vec<Talker> =
        (1..=4).map(|n| Talker { host: world.ct(n).clone(), ip: address(n) }).collect();
    for n in 1..=4 {
        world.ct(n).reaches(&address(n % 4 + 1));
    }
    let paced = Paced::ring(&talkers, 4_000);
    std::thread::sleep(Duration::from_secs(1));
    let polled = rows(world.app.json("show worker"));
    assert!(polled.iter().all(|worker| worker["queues"].as_array().is_some_and(|q| !q.is_empty())));
    if let [one, other] = &polled[..] {
        let queue = one["queues"][0]["port"].as_str().expect("a port");
        let core = other["core"].as_u64().expect("a core");
        world.app.must(&format!("port set {queue} queue 0 worker {core}"));
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(paced.finish() > 4_000);
    world.end();
}

#[test]
fn card4_the_examples_are_accepted_by_check() {
    let lab = Lab::new();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(configs).expect("configs") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "toml") {
            let program = tests::binary();
            lab.server().run(&format!("{} check --config {}", program.display(), path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 3, "bare metal, a lab on taps, networks on VLANs");
    let _ = Config::new(&lab);
}
