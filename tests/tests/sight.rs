//! Sight into the path of a packet: what an operator sees of real traffic.

use tests::balance::rows;
use tests::world::address;
use tests::{Attach, World};

#[test]
fn workers_tell_what_their_cycles_go_into_and_how_long_packets_stay() {
    let world = World::routed(Attach::Own, 2);
    let app = &world.app;
    let ping = format!("ping -q -i 0.01 -c 60 -W 2 {}", address(2));
    world.ct(1).run(&ping);
    // While these go on, it is measured.
    let pings = world.ct(1).spawn(&format!("ping -q -i 0.01 -w 2 {}", address(2)));
    let latency = app.json("show latency seconds 1");
    drop(pings);
    let times = rows(latency["times"].clone());
    let routed = times.iter().find(|row| row["path"] == "routed").expect("pings are routed");
    assert_eq!((&latency["seconds"], &latency["measuring"]), (&1.into(), &false.into()));
    let number = |key: &str| routed[key].as_u64().unwrap_or_else(|| panic!("{key}: {routed}"));
    // Both ways, and a part of a hundred in each second.
    assert!((20..=210).contains(&number("packets")), "{routed}");
    let quantiles = ["p50-ns", "p90-ns", "p99-ns", "p99-9-ns", "p99-99-ns", "max-ns"].map(number);
    assert!(quantiles.is_sorted() && quantiles[0] > 0, "{routed}");
    assert!(quantiles[0] < 50_000_000, "half of them are through in no time: {routed}");
    assert_eq!(app.api("GET", "/v1/latency?seconds=31", "").0, 400);

    let workers = rows(app.json("show worker"));
    let bursts: u64 = workers
        .iter()
        .flat_map(|one| rows(one["bursts"].clone()))
        .map(|size| {
            let (from, to, bursts) = (&size["from"], &size["to"], size["bursts"].as_u64());
            assert!(from.as_u64() <= to.as_u64(), "{size}");
            bursts.expect("a number")
        })
        .sum();
    assert!(bursts >= 120, "a request and its answer are two bursts at least: {workers:?}");
    for one in &workers {
        let cycles = &one["cycles"];
        let number = |key: &str| cycles[key].as_u64().expect("a number");
        assert!(number("hz") > 100_000_000 && number("idle") > number("busy"), "{cycles}");
        let each = cycles["per-packet"].as_f64().expect("a number");
        let pkts = one["rx-pkts"].as_u64().expect("a number");
        assert!(each > 10.0 && pkts > 0, "{one}");
    }
    world.end();
}
