//! Metrics: what a scrape says is what was sent and what the API says, Prometheus's own tools take it, and the
//! alerts and the dashboard that come with the appliance name what is there.

use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::balance::{adapter, count};
use tests::config::vhost_user;
use tests::containers::{self, add_first};
use tests::contest::batch;
use tests::frames::{IPV4, UDP, ethernet, ipv4, mac, udp};
use tests::metrics::{ADDRESS, Page, promtool, request, scrape, served};
use tests::world::{OUT, address};
use tests::{Attach, Config, Host, Lab, World, appliance, eventually};

/// Frames that a guest sends under its own name, and under another.
const SENT: u64 = 500;
const FORGED: u64 = 20;

/// Two containers and a VM that nobody has started.
fn world() -> World {
    World::routed_with(Attach::Own, 2, |lab, config| {
        let socket = vhost_user(&lab.dir().join("vm1.sock"));
        served(config).vm("vm1").adapter("eth0", &socket, "")
    })
}

/// Sends from container 1 to container 2, as itself and as somebody else.
fn send(world: &World) {
    let (ct1, wire) = (world.ct(1), world.ct(1).wire("eth0"));
    let to = mac(adapter(&world.app, "ct1", "eth0")["server-side"]["mac"].as_str().expect("a MAC"));
    let frame = |from: &str| {
        let packet = ipv4(from, &address(2), 64, UDP, &udp(7000, 7000, &[7; 100]));
        ethernet(to, mac(&ct1.mac("eth0")), IPV4, &packet)
    };
    let (own, forged) = (frame(&address(1)), frame("198.51.100.66"));
    (0..SENT).for_each(|_| wire.send(&own));
    (0..FORGED).for_each(|_| wire.send(&forged));
}

/// What a guest's own kernel counts at its interface: sent packets and bytes, received packets and bytes.
fn kernel_counts(host: &Host) -> [u64; 4] {
    let text = host.run("ip -s -j link show dev eth0");
    let rows: Value = serde_json::from_str(&text).expect("JSON");
    let stats = &rows[0]["stats64"];
    [("tx", "packets"), ("tx", "bytes"), ("rx", "packets"), ("rx", "bytes")]
        .map(|(way, what)| stats[way][what].as_u64().unwrap_or_else(|| panic!("{text}")))
}

/// The same of its adapter by the appliance: received from it, sent to it.
fn adapter_counts(page: &Page, guest: &str) -> [u64; 4] {
    ["receive_packets", "receive_bytes", "transmit_packets", "transmit_bytes"]
        .map(|what| page.sum(&format!("guestway_adapter_{what}_total"), &[("guest", guest)]))
}

fn growth(before: [u64; 4], after: [u64; 4]) -> [u64; 4] {
    std::array::from_fn(|at| after[at] - before[at])
}

#[test]
fn metrics_count_what_guests_send_and_what_the_api_counts() {
    let world = world();
    world.ct(1).reaches(&address(2));
    world.ct(1).reaches(OUT);
    let (kernels, before) = ([1, 2].map(|n| kernel_counts(world.ct(n))), scrape());
    send(&world);
    let mut after = scrape();
    eventually("all is counted, as the guests' kernels count", Duration::from_secs(5), || {
        after = scrape();
        [1, 2].into_iter().all(|n| {
            let guest = format!("ct{n}");
            let ours = growth(adapter_counts(&before, &guest), adapter_counts(&after, &guest));
            ours == growth(kernels[n - 1], kernel_counts(world.ct(n)))
        })
    });
    let [sent, ..] = growth(adapter_counts(&before, "ct1"), adapter_counts(&after, "ct1"));
    assert!((SENT + FORGED..SENT + FORGED + 10).contains(&sent), "{sent}");
    let forged = [("guest", "ct1"), ("network", ""), ("reason", "spoofed-ip")];
    assert_eq!(after.one("guestway_adapter_drops_total", &forged), FORGED as f64);
    assert_eq!(after.one("guestway_drops_total", &forged[2..]), FORGED as f64);
    assert_eq!(after.one("guestway_drops_total", &[("reason", "tx-full")]), 0.0);
    agrees_with_the_api(&world, &after);

    // What the operator clears is his view's, and no restart.
    world.app.must("clear port stats all");
    assert!(count(&adapter(&world.app, "ct1", "eth0")["stats"], "rx-pkts") < SENT);
    let cleared = scrape();
    for name in ["guestway_adapter_receive_packets_total", "guestway_receive_packets_total"] {
        assert!(cleared.sum(name, &[]) >= after.sum(name, &[]), "{name} went back");
    }
    assert_eq!(cleared.one("guestway_adapter_drops_total", &forged), FORGED as f64);

    // A port that goes takes its own counters along, and nothing of the sums.
    world.app.must("guest del ct1");
    let gone = scrape();
    assert_eq!(gone.sum("guestway_adapter_receive_packets_total", &[("guest", "ct1")]), 0);
    let drops = gone.one("guestway_drops_total", &[("reason", "spoofed-ip")]);
    assert_eq!(drops, FORGED as f64);
    world.app.must("adapter set ct2 eth0 mode virtual-network");
    let bridged = [("guest", "ct2"), ("mode", "virtual-network"), ("network", "default")];
    assert!(scrape().one("guestway_adapter_receive_packets_total", &bridged) > 0.0);
    world.end();
}

/// Nothing is under way, so both say the same.
#[track_caller]
fn agrees_with_the_api(world: &World, page: &Page) {
    for guest in ["ct1", "ct2", "vm1"] {
        let stats = &adapter(&world.app, guest, "eth0")["stats"];
        let api = ["rx-pkts", "rx-bytes", "tx-pkts", "tx-bytes"].map(|key| count(stats, key));
        assert_eq!(adapter_counts(page, guest), api, "{guest}");
    }
    let drops = world.app.json("show drops");
    assert_eq!(page.sum("guestway_drops_total", &[]), count(&drops, "dropped"));
    let up0 = &tests::balance::stats(&world.app)["up0"];
    for (metric, key) in [
        ("guestway_port_receive_packets_total", "rx-pkts"),
        ("guestway_port_receive_bytes_total", "rx-bytes"),
        ("guestway_port_transmit_packets_total", "tx-pkts"),
        ("guestway_port_drops_total", "dropped"),
    ] {
        assert_eq!(page.sum(metric, &[("port", "up0")]), count(up0, key), "{metric}");
    }
    let version = world.app.json("show version");
    assert_eq!(page.sum("guestway_mbufs", &[]), count(&version, "mbufs"));
    let worker = &world.app.json("show worker")[0];
    let core = worker["core"].to_string();
    let loops = page.sum("guestway_worker_loops_total", &[("worker", &core)]);
    assert!(loops > 0 && loops <= count(worker, "loops"));
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs promtool on a file or on some text; it must be content and say nothing against it.
#[track_caller]
fn promtool_accepts(words: &[&str], input: &str) -> String {
    let output = promtool(words, input);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {words:?}: {}\n{said}", output.status);
    said
}

#[test]
fn prometheus_own_tools_take_the_text_and_the_alerts_fire() {
    let world = world();
    world.ct(1).reaches(OUT);
    send(&world);
    // Something for a port of the operator's to drop.
    let lan = world.out().wire("eth0");
    let nowhere = ipv4(OUT, "0.1.2.3", 64, UDP, &udp(7000, 7000, &[7; 100]));
    lan.send(&ethernet(world.app.mac_on("up0"), lan.mac(), IPV4, &nowhere));
    eventually("drops are counted", Duration::from_secs(5), || {
        let page = scrape();
        page.has("guestway_adapter_drops_total") && page.has("guestway_port_drops_total")
    });
    let (status, head, text) = request("GET", "/metrics", ADDRESS);
    assert_eq!(status, 200);
    assert!(
        head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let said = promtool_accepts(&["check", "metrics"], &text);
    assert_eq!(said.trim(), "", "promtool has something to say of the metrics");

    let alerts = repository("configs/prometheus/alerts.yml");
    let said = promtool_accepts(&["check", "rules", &alerts.display().to_string()], "");
    assert!(said.contains("SUCCESS"), "{said}");
    let tried = repository("tests/alerts.yml");
    let said = promtool_accepts(&["test", "rules", &tried.display().to_string()], "");
    assert!(said.contains("SUCCESS"), "{said}");

    let dashboard = repository("configs/grafana/guestway.json");
    let dashboard = std::fs::read_to_string(dashboard).expect("the dashboard");
    let queries = world.lab.dir().join("queries.yml");
    std::fs::write(&queries, queries_of(&dashboard)).expect("a file");
    promtool_accepts(&["check", "rules", &queries.display().to_string()], "");

    let alerts = std::fs::read_to_string(alerts).expect("the alerts");
    let page = Page { text };
    for name in metrics_named(&alerts).chain(metrics_named(&dashboard)) {
        assert!(page.has(name), "{name} is named and not served");
    }
    world.end();
}

/// The dashboard's queries as rules, which promtool reads: YAML, of which JSON is a part.
fn queries_of(dashboard: &str) -> String {
    let dashboard: Value = serde_json::from_str(dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let rules: Vec<Value> = targets
        .enumerate()
        .map(|(number, target)| {
            let query = target["expr"].as_str().expect("a query");
            // What Grafana puts in their place.
            let query = query.replace("$__rate_interval", "5m");
            let query = query.replace("$instance", ".*").replace("$guest", ".*");
            json!({ "record": format!("query:{number}"), "expr": query })
        })
        .collect();
    assert!(rules.len() > 30, "{} queries", rules.len());
    json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string()
}

/// The metrics that a file names.
fn metrics_named(file: &str) -> impl Iterator<Item = &str> {
    file.match_indices("guestway_").map(|(at, _)| {
        let rest = &file[at..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn metrics_are_told_to_those_who_name_us_and_can_only_be_read() {
    let lab = Lab::new();
    let config = served(Config::new(&lab));
    let mut app = appliance::Appliance::start(&lab, &config, None);
    assert_eq!(request("GET", "/metrics", "localhost:9650").0, 200);
    assert_eq!(request("HEAD", "/metrics", ADDRESS).2, "");
    assert_eq!(request("GET", "/metrics", "evil.example:9650").0, 421);
    assert_eq!(request("POST", "/metrics", ADDRESS).0, 405);
    assert_eq!(request("GET", "/v1/guests", ADDRESS).0, 404);
    assert_eq!(request("POST", "/v1/shutdown", ADDRESS).0, 404);
    // Start time is the same in each scrape, or each would look like a restart.
    let started = || scrape().one("guestway_start_time_seconds", &[]);
    assert_eq!(started(), started());
    app.stop();
    assert!(std::net::TcpStream::connect(ADDRESS).is_err(), "nobody listens after the end");
}

#[test]
fn without_the_key_nobody_listens_and_a_taken_port_ends_the_start() {
    let lab = Lab::new();
    let mut app = appliance::Appliance::start(&lab, &Config::new(&lab), None);
    assert!(std::net::TcpStream::connect(ADDRESS).is_err());
    app.stop();
    let _taken = TcpListener::bind(ADDRESS).expect("a free port");
    let said = appliance::fails(&lab, &served(Config::new(&lab)));
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.contains("metrics = \"127.0.0.1:9650\": Address already in use"), "{said}");
}

/// How long one scrape of a thousand guests takes in all, and how long control is held by it.
#[test]
fn a_thousand_guests_are_one_answer() {
    let lab = Lab::new();
    lab.host("gw-venet");
    let config = served(Config::new(&lab).shared());
    let mut app = appliance::Appliance::start(&lab, &config, None);
    // Half on the shared port, half on sockets of their own.
    batch(&app, &add_first(500));
    let own = (500..1000).flat_map(|number| {
        containers::add(number, &vhost_user(&lab.dir().join(format!("c{number}.sock"))))
    });
    batch(&app, &own.collect::<Vec<Value>>());
    let mut took = Vec::new();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(110));
        let began = Instant::now();
        let (status, _, text) = request("GET", "/metrics", ADDRESS);
        let (whole, page) = (began.elapsed(), Page { text });
        assert_eq!(status, 200);
        assert_eq!(page.sum("guestway_guests", &[("kind", "container")]), 1000);
        let name = "guestway_adapter_failed";
        assert_eq!(page.text.lines().filter(|line| line.starts_with(name)).count(), 1000);
        let held = page.one("guestway_scrape_control_seconds", &[]);
        took.push((whole, Duration::from_secs_f64(held), page.text.len()));
    }
    println!("scrape in all, control held, bytes: {took:?}");
    took.sort();
    let (whole, held, _) = took[took.len() / 2];
    assert!(whole < Duration::from_millis(500), "{took:?}");
    assert!(held < Duration::from_millis(20), "{took:?}");
    app.stop();
}
