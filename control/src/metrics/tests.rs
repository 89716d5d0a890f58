//! The text: names, help, types, labels and values, and what the files in `configs` make of them.

use super::text;
use super::{
    AdapterReading, DeviceCounts, FrontEnds, NetworkReading, PortReading, Program, Reading,
    WorkerReading,
};
use crate::accounts::{self, Lines};
use crate::api::view::{AddressState, Link, NeighborState, PortKind};
use crate::model::{GuestKind, Mode, Rate};
use dataplane::counters::{AdapterCounts, Counters, DropReason, PortCounter, PortCounts, Traffic};
use dataplane::ids::{AdapterId, PortId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One of everything: `ct1/eth0` host-routed, `vm1/eth0` on `lan0`, ports `up0` and, failed, `up1`.
pub(crate) fn reading() -> Reading {
    let (port, adapter) = counts();
    let network = Some("lan0".parse().unwrap());
    let vm = AdapterReading {
        mode: Mode::VirtualNetwork,
        network,
        link: Link::Unknown,
        is_failed: false,
        counts: AdapterCounts::default(),
        over_limit: Some((3, 4)),
        addresses: BTreeMap::new(),
        front_ends: Some(FrontEnds { connects: 3, resets: 1 }),
        ..container("vm1", &adapter)
    };
    let up1 = PortReading {
        port: "up1".parse().unwrap(),
        link: Link::Down,
        is_failed: true,
        counts: None,
        device: None,
        ..uplink(&port)
    };
    Reading {
        read_at_ms: 5_000,
        program: program(),
        workers: vec![WorkerReading {
            core: 1,
            queues: 4,
            loops: 1_000_000,
            busy_loops: 250_000,
            busy: Duration::from_millis(1500),
            ran: Duration::from_secs(90),
            slept: Duration::from_secs(3),
            rx_pkts: 100,
            bursts: [20, 10, 5, 0, 0, 0, 0],
            late_beats: 2,
        }],
        in_all: port.clone(),
        ports: vec![uplink(&port), up1],
        adapters: vec![container("ct1", &adapter), vm],
        networks: vec![NetworkReading {
            network: "lan0".parse().unwrap(),
            members: 1,
            learned_macs: 2,
            max_macs: 4096,
        }],
        neighbors: BTreeMap::from([(("up0".parse().unwrap(), NeighborState::Reachable), 3)]),
        took: Duration::from_micros(250),
    }
}

fn program() -> Program {
    Program {
        version: crate::api::fake::version(),
        started: Duration::from_millis(1_700_000_000_500),
        guests: [(GuestKind::Container, 1), (GuestKind::Vm, 1)],
        routes: 2,
        fib_groups_free: 131_000,
        macs_free: 65_530,
        held_pkts: 0,
    }
}

fn counts() -> (PortCounts, AdapterCounts) {
    let counters = Counters::new();
    let (port, adapter) = (PortId(0), AdapterId(0));
    counters.port_add(port, PortCounter::RxPkts, 100);
    counters.port_add(port, PortCounter::RxBytes, 6400);
    counters.port_add(port, PortCounter::TxPkts, 93);
    counters.drop_add(port, adapter, DropReason::SpoofedIp, 7);
    counters.adapter_traffic(adapter, Traffic::FromGuest, 12, 1200);
    counters.adapter_traffic(adapter, Traffic::ToGuest, 5, 500);
    (counters.port(port), counters.adapter(adapter))
}

const ACCOUNT: accounts::Traffic =
    accounts::Traffic { in_pkts: 7, in_bytes: 700, out_pkts: 8, out_bytes: 808 };

fn container(guest: &str, counts: &AdapterCounts) -> AdapterReading {
    AdapterReading {
        guest: guest.parse().unwrap(),
        adapter: "eth0".parse().unwrap(),
        mode: Mode::HostRouted,
        network: None,
        link: Link::Up,
        is_failed: false,
        rate: Some(Rate { in_bps: Some(10_000_000), out_bps: None }),
        counts: counts.clone(),
        over_limit: None,
        classes: Lines::from([("lan".to_owned(), ACCOUNT)]),
        addresses: BTreeMap::from([(AddressState::Up, 2), (AddressState::Conflict, 1)]),
        front_ends: None,
    }
}

fn uplink(counts: &PortCounts) -> PortReading {
    PortReading {
        port: "up0".parse().unwrap(),
        kind: PortKind::Uplink,
        link: Link::Up,
        is_failed: false,
        is_stopped: false,
        counts: Some(counts.clone()),
        device: Some(DeviceCounts { rx_missed: 4, ..DeviceCounts::default() }),
    }
}

/// A family as the text has it.
struct Family {
    name: String,
    kind: String,
    /// Labels of each sample with its value.
    samples: BTreeMap<String, f64>,
}

/// Reads the text strictly: each family once, help, then type, then its samples, none of them twice.
fn families(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut lines = text.lines();
    let mut names = BTreeSet::new();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("help");
            assert!(help.ends_with('.') && help.len() > 5, "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (named, kind) = kind.and_then(|rest| rest.split_once(' ')).expect("a type");
            assert_eq!(named, name);
            assert!(names.insert(name.to_owned()), "{name} twice");
            let (name, kind) = (name.to_owned(), kind.to_owned());
            families.push(Family { name, kind, samples: BTreeMap::new() });
            continue;
        }
        let family = families.last_mut().expect("help before a sample");
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let labels = series.strip_prefix(family.name.as_str()).expect("the family's name");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(family.samples.insert(labels.to_owned(), value).is_none(), "twice: {line}");
    }
    families
}

fn sample(text: &str, name: &str, labels: &str) -> Option<f64> {
    let families = families(text);
    let family = families.iter().find(|family| family.name == name)?;
    family.samples.get(labels).copied()
}

#[test]
fn every_name_follows_the_rules() {
    let text = text(&reading()).unwrap();
    let families = families(&text);
    assert!(families.len() > 40, "{}", families.len());
    for Family { name, kind, samples } in families {
        let legal = |b: u8| b.is_ascii_lowercase() || b == b'_';
        assert!(name.starts_with("guestway_") && name.bytes().all(legal), "{name}");
        let want = if name.ends_with("_total") { "counter" } else { "gauge" };
        assert_eq!(kind, want, "{name}");
        assert!(!samples.is_empty(), "{name}");
        // Base units, and none in short (prometheus.io, "Metric and label naming").
        let bad = ["ms", "us", "ns", "pkts", "kb", "mb", "percent", "count", "milliseconds"];
        assert!(!name.split('_').any(|part| bad.contains(&part)), "{name}");
        for value in samples.values() {
            assert!(value.is_finite() && *value >= 0.0, "{name} {value}");
        }
    }
}

#[test]
fn labels_are_those_that_are_documented() {
    let known = [
        "guest",
        "adapter",
        "mode",
        "network",
        "port",
        "kind",
        "worker",
        "reason",
        "state",
        "class",
        "direction",
        "version",
        "dpdk",
        "packets",
    ];
    for Family { name, samples, .. } in families(&text(&reading()).unwrap()) {
        for labels in samples.keys() {
            let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            for pair in inner.unwrap_or_default().split(',').filter(|pair| !pair.is_empty()) {
                let (label, _) = pair.split_once('=').unwrap();
                assert!(known.contains(&label), "{name}{labels}");
            }
        }
    }
}

#[test]
fn a_container_and_a_vm_are_told_as_they_are() {
    let text = text(&reading()).unwrap();
    for line in [
        "# HELP guestway_adapter_receive_packets_total Frames received from the guest, which it sees as sent.",
        "# TYPE guestway_adapter_receive_packets_total counter",
        r#"guestway_adapter_receive_packets_total{guest="ct1",adapter="eth0",mode="host-routed",network=""} 12"#,
        r#"guestway_adapter_receive_packets_total{guest="vm1",adapter="eth0",mode="virtual-network",network="lan0"} 0"#,
        r#"guestway_adapter_transmit_bytes_total{guest="ct1",adapter="eth0",mode="host-routed",network=""} 500"#,
        r#"guestway_adapter_class_receive_packets_total{guest="ct1",adapter="eth0",mode="host-routed",network="",class="lan"} 8"#,
        r#"guestway_adapter_class_transmit_bytes_total{guest="ct1",adapter="eth0",mode="host-routed",network="",class="lan"} 700"#,
        r#"guestway_adapter_drops_total{guest="ct1",adapter="eth0",mode="host-routed",network="",reason="spoofed-ip"} 7"#,
        r#"guestway_adapter_addresses{guest="ct1",adapter="eth0",mode="host-routed",network="",state="conflict"} 1"#,
        r#"guestway_adapter_front_end_resets_total{guest="vm1",adapter="eth0",mode="virtual-network",network="lan0"} 1"#,
        r#"guestway_adapter_up{guest="ct1",adapter="eth0",mode="host-routed",network=""} 1"#,
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\nis not in\n{text}");
    }
    // Its port can't tell.
    assert!(!text.contains(r#"guestway_adapter_up{guest="vm1""#), "{text}");
}

#[test]
fn program_workers_and_ports_are_told_in_base_units() {
    let text = text(&reading()).unwrap();
    for (name, labels, value) in [
        ("guestway_build_info", r#"{version="0.1.0",dpdk="22.11.11"}"#, 1.0),
        ("guestway_start_time_seconds", "", 1_700_000_000.5),
        ("guestway_scrape_control_seconds", "", 0.000_25),
        ("guestway_mbufs_free", "", 65_000.0),
        ("guestway_guests", r#"{kind="container"}"#, 1.0),
        ("guestway_worker_busy_seconds_total", r#"{worker="1"}"#, 1.5),
        ("guestway_worker_loops_total", r#"{worker="1"}"#, 1_000_000.0),
        ("guestway_worker_late_beats_total", r#"{worker="1"}"#, 2.0),
        ("guestway_receive_packets_total", "", 100.0),
        ("guestway_port_up", r#"{port="up1",kind="uplink"}"#, 0.0),
        ("guestway_port_failed", r#"{port="up1",kind="uplink"}"#, 1.0),
        ("guestway_port_receive_bytes_total", r#"{port="up0",kind="uplink"}"#, 6400.0),
        ("guestway_port_device_receive_missed_packets_total", r#"{port="up0",kind="uplink"}"#, 4.0),
        ("guestway_network_learned_macs", r#"{network="lan0"}"#, 2.0),
        ("guestway_neighbors", r#"{port="up0",state="reachable"}"#, 3.0),
    ] {
        assert_eq!(sample(&text, name, labels), Some(value), "{name}{labels}");
    }
    let up1 = r#"{port="up1",kind="uplink"}"#;
    assert_eq!(sample(&text, "guestway_port_receive_packets_total", up1), None, "not open");
}

#[test]
fn each_reason_is_there_in_all_and_only_had_ones_at_adapters_and_ports() {
    let text = text(&reading()).unwrap();
    let families = families(&text);
    let samples = |name: &str| {
        let found = families.iter().find(|family| family.name == name);
        found.map_or_else(BTreeMap::new, |family| family.samples.clone())
    };
    assert_eq!(samples("guestway_drops_total").len(), DropReason::COUNT);
    assert_eq!(samples("guestway_drops_total")[r#"{reason="no-route"}"#], 0.0);
    assert_eq!(samples("guestway_drops_total")[r#"{reason="spoofed-ip"}"#], 7.0);
    assert_eq!(samples("guestway_adapter_drops_total").len(), 1);
    assert_eq!(samples("guestway_port_drops_total").len(), 1);
    let limited = samples("guestway_adapter_limited_packets_total");
    let values: Vec<f64> = limited.values().copied().collect();
    assert_eq!(values, [3.0, 4.0]);
}

#[test]
fn a_thousand_guests_are_some_ten_lines_each() {
    let one = reading();
    let adapters = (0..1000).map(|n| AdapterReading {
        guest: format!("guest-{n}").parse().unwrap(),
        ..one.adapters[0].clone()
    });
    let many = Reading { adapters: adapters.collect(), ..one };
    let text = text(&many).unwrap();
    assert_eq!(families(&text).iter().map(|family| family.samples.len()).max(), Some(2000));
    assert!(text.len() < 2 << 20, "{} bytes", text.len());
}

/// The files that Prometheus and Grafana load name only what there is.
#[test]
fn alerts_and_dashboard_name_what_is_there() {
    let text = text(&reading()).unwrap();
    let there: BTreeSet<String> = families(&text).into_iter().map(|family| family.name).collect();
    let alerts = include_str!("../../../configs/prometheus/alerts.yml");
    let dashboard = include_str!("../../../configs/grafana/guestway.json");
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    for (file, least) in [(alerts, 10), (dashboard, 15)] {
        let named = metrics_named(file);
        assert!(named.len() >= least, "{named:?}");
        for name in named {
            assert!(there.contains(name), "{name} is no metric");
        }
    }
}

/// The metrics that a file names.
fn metrics_named(file: &str) -> BTreeSet<&str> {
    let starts = file.match_indices("guestway_").map(|(at, _)| &file[at..]);
    let names = starts.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    names.collect()
}
