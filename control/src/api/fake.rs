//! A backend for tests: remembers what it was asked and answers with one of everything.

use super::backend::{
    Action, Answer, Backend, CaptureFeed, Configure, Refusal, RefusalKind, Request, Show,
};
use super::server::{self, Server};
use super::view;
use crate::model::{Change, GuestKind, Mode, Name, NetworkAttach, Rate, UnknownUnicast};
use crate::page::Picture;
use dataplane::sight::capture::Feed;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// Guest `ct1` with the adapter `eth0`, network `lan0`, ports `up0` and `venet0`.
#[derive(Default)]
pub(crate) struct Fake {
    asked: Mutex<Vec<Request>>,
}

/// A fake behind a real server on a real socket.
pub(crate) struct Lab {
    pub(crate) fake: Arc<Fake>,
    pub(crate) socket: PathBuf,
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
}

impl Lab {
    pub(crate) fn start() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let fake = Arc::new(Fake::default());
        let socket = server::bind(&path, None).unwrap();
        let server = server::start(socket, fake.clone(), Arc::new(|| ())).unwrap();
        Lab { fake, socket: path, dir, server }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Fake {
    /// What was asked since the last look.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// The changes that were asked for since the last look.
    pub(crate) fn take_changes(&self) -> Vec<Change> {
        let changes = |request| match request {
            Request::Change(changes) => changes,
            _ => vec![],
        };
        self.take().into_iter().flat_map(changes).collect()
    }
}

impl Backend for Fake {
    fn call(&self, request: Request) -> Result<Answer, Refusal> {
        self.asked.lock().unwrap().push(request.clone());
        match request {
            Request::Change(changes) => change(&changes),
            Request::Show(what) => show(what),
            Request::Act(Action::Stop) => {
                std::thread::sleep(Duration::from_secs(5));
                Ok(Answer::Done)
            }
            Request::Act(Action::Shutdown) => {
                Err(Refusal::new(RefusalKind::Unavailable, "not in a test"))
            }
            Request::Capture(start) => match start.target.to_string().as_str() {
                "up0" => {
                    let feed = Arc::new(Feed::of(2, start.snaplen as usize));
                    for bytes in [60, 1_500] {
                        let mut slot = feed.take_empty().unwrap();
                        slot.fill(1_000, bytes == 60, bytes, |room| room.len());
                        feed.put(slot);
                    }
                    feed.close();
                    Ok(Answer::Capture(CaptureFeed { number: 1, feed, clock_ns: || 2_000 }))
                }
                other => Err(Refusal::new(RefusalKind::NotFound, format!("no port {other}"))),
            },
            Request::Trace(_) => Ok(Answer::Tracing(7)),
            Request::Act(_) => Ok(Answer::Done),
            Request::Configure(what) => Ok(Answer::Configured(view::Configured {
                dry_run: matches!(what, Configure::Apply { dry_run: true, .. }),
                lines: vec!["- guest ct1: only running".to_owned()],
                at_start: vec!["~ port up0 queues: 2 in the file, 1 running".to_owned()],
            })),
        }
    }
}

/// Refuses each kind of thing by a telling name.
fn change(changes: &[Change]) -> Result<Answer, Refusal> {
    for (position, change) in changes.iter().enumerate() {
        let refuse = |kind, message: &str| Err(Refusal::of_change(position, kind, message));
        match change {
            Change::GuestAdd { guest, .. } => match guest.as_str() {
                "twice" => return refuse(RefusalKind::Duplicate, "guest twice is there already"),
                "full" => return refuse(RefusalKind::Limit, "no more guests"),
                "wrong" => return refuse(RefusalKind::Invalid, "wrong is wrong"),
                "crash" => panic!("a fault that the test asked for"),
                "taken" => {
                    return refuse(RefusalKind::Conflict, "203.0.113.11 belongs to ct1/eth0");
                }
                _ => {}
            },
            Change::RouteAdd { prefix, .. } if prefix.to_string() == "198.51.100.66/32" => {
                return refuse(RefusalKind::Duplicate, "route 198.51.100.66/32 is there already");
            }
            Change::RouteDel { .. } => return refuse(RefusalKind::NotFound, "no such route"),
            _ => {}
        }
    }
    Ok(Answer::Done)
}

fn known<T>(name: Option<impl ToString>, there: &str, what: T) -> Result<Vec<T>, Refusal> {
    match name.map(|name| name.to_string()) {
        Some(name) if name != there => {
            Err(Refusal::new(RefusalKind::NotFound, format!("no {name} here")))
        }
        _ => Ok(vec![what]),
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A program that has run for a while.
pub(crate) fn version() -> view::Version {
    view::Version {
        version: "0.1.0".into(),
        dpdk: Some("22.11.11".into()),
        pid: 4242,
        uptime_s: 90,
        forwarding: true,
        mbufs: 65_536,
        mbufs_free: 65_000,
    }
}

fn show(what: Show) -> Result<Answer, Refusal> {
    let up0 = || "up0".parse::<view::PortLabel>().unwrap();
    let drops = || view::DropCounts::from([("spoofed-ip".to_owned(), 7)]);
    Ok(match what {
        Show::Version => Answer::Version(version()),
        Show::Guests(guest) => Answer::Guests(known(guest, "ct1", guest_ct1())?),
        Show::Networks(network) => match network {
            Some(network) if network.as_str() == "inner" => {
                let attach = NetworkAttach::HostOnly;
                Answer::Networks(vec![view::Network { network, attach, ..network_lan0() }])
            }
            network => Answer::Networks(known(network, "lan0", network_lan0())?),
        },
        Show::PortInfo(port) => Answer::PortInfo(known(port, "up0", port_up0())?),
        Show::PortStats(port) => Answer::PortStats(known(port, "up0", stats_up0())?),
        Show::PortXstats(port) => {
            let xstats = vec![view::Xstat { name: "rx_good_packets".into(), value: 1_234_567 }];
            Answer::PortXstats(known(port, "up0", view::PortXstats { port: up0(), xstats })?)
        }
        Show::Routes { after, .. } => Answer::Routes(routes(after.is_some())),
        Show::RouteTo(std::net::IpAddr::V6(ip)) => {
            return Err(Refusal::new(RefusalKind::Invalid, format!("{ip} is not routed")));
        }
        Show::RouteTo(ip) => Answer::RouteDecision(Box::new(view::RouteDecision {
            ip,
            route: routes(false).routes.pop(),
            port: Some(up0()),
            adapter: None,
            next_hop: Some("192.0.2.254".parse().unwrap()),
            mac: Some("02:00:00:00:00:fe".parse().unwrap()),
            neighbor: Some(view::NeighborState::Reachable),
            verdict: view::Verdict::Forward,
        })),
        Show::Neighbors => Answer::Neighbors(vec![view::Neighbor {
            ip: "192.0.2.254".parse().unwrap(),
            mac: Some("02:00:00:00:00:fe".parse().unwrap()),
            port: up0(),
            state: view::NeighborState::Reachable,
            held: 0,
        }]),
        Show::Macs(network) => {
            known(Some(network), "lan0", ())?;
            Answer::Macs(vec![view::MacEntry {
                mac: "02:00:00:00:00:01".parse().unwrap(),
                port: "ct1/eth0".parse().unwrap(),
                adapter: "ct1/eth0".parse().ok(),
                kind: view::MacKind::Registered,
                age_s: None,
            }])
        }
        Show::Workers => Answer::Workers(vec![view::Worker {
            core: 1,
            queues: vec![view::PortQueue { port: up0(), queue: 0 }],
            loops: 1_000_000,
            busy_percent: 12.5,
            loop_time: view::LoopTimes { p50_ns: 200, p99_ns: 1500, max_ns: 80_000 },
            cycles: view::Cycles {
                hz: 2_000_000_000,
                busy: 3_100,
                idle: 9_000,
                asleep: 0,
                per_packet: Some(310.0),
            },
            bursts: vec![
                view::BurstSize { from: 1, to: 1, bursts: 4 },
                view::BurstSize { from: 2, to: 3, bursts: 3 },
            ],
            late: false,
            late_beats: 2,
            rx_pkts: 10,
            tx_pkts: 9,
        }]),
        Show::Drops(guest) => {
            known(guest, "ct1", ())?;
            let adapter = "ct1/eth0".parse().unwrap();
            let adapters = vec![view::AdapterDrops { adapter, dropped: 7, drops: drops() }];
            Answer::Drops(view::Drops { dropped: 7, drops: drops(), adapters })
        }
        Show::Config => Answer::ConfigText(view::ConfigText { text: "[appliance]\n".into() }),
        Show::ConfigDiff => Answer::ConfigDiff(view::ConfigDiff {
            file: "/etc/guestway.toml".into(),
            same: false,
            lines: vec!["- guest ct1".into()],
        }),
        Show::Classes(class) => Answer::Classes(known(
            class,
            "near",
            view::Class { class: name("near"), prefixes: vec!["192.0.2.0/24".parse().unwrap()] },
        )?),
        Show::Events { after, .. } => Answer::Events(view::EventPage {
            events: match after {
                0 => vec![view::Event {
                    number: 1,
                    time_ms: 1_764_000_000_123,
                    kind: view::EventKind::Link,
                    text: "port up0: link up".into(),
                }],
                _ => vec![],
            },
            last: 1,
            missed: 0,
        }),
        Show::Accounting(guest) => Answer::Accounts(known(
            guest,
            "ct1",
            view::Account {
                adapter: "ct1/eth0".parse().unwrap(),
                class: "near".into(),
                in_pkts: 1,
                in_bytes: 60,
                out_pkts: 2,
                out_bytes: 120,
            },
        )?),
        Show::Capture => Answer::Captures(vec![view::Capture {
            number: 1,
            target: up0(),
            direction: view::Direction::Both,
            filter: Some("icmp".into()),
            snaplen: 2_048,
            started_ms: 1_764_000_000_123,
            running: true,
            packets: 2,
            dropped: 3,
        }]),
        Show::Trace(number) => Answer::Trace(view::Trace {
            target: format!("trace {number}"),
            tracing: false,
            packets: vec![view::TracedPacket {
                core: 1,
                port: "ct1/eth0".into(),
                adapter: Some("ct1/eth0".into()),
                bytes: 98,
                packet: "IPv4 10.0.0.2 > 10.0.0.3".into(),
                fate: view::Fate::Dropped,
                steps: vec![view::TraceStep {
                    stage: "guard".into(),
                    verdict: "drop".into(),
                    text: "spoofed-ip".into(),
                }],
            }],
        }),
        Show::Latency => Answer::Latency(view::Latency {
            seconds: 1,
            measuring: false,
            times: vec![view::PathLatency {
                core: Some(1),
                path: view::PathKind::Routed,
                packets: 10,
                p50_ns: 1_000,
                p90_ns: 2_000,
                p99_ns: 3_000,
                p99_9_ns: 4_000,
                p99_99_ns: 5_000,
                max_ns: 6_000,
            }],
        }),
        Show::Metrics => Answer::Metrics(Box::new(crate::metrics::tests::reading())),
        Show::Picture => Answer::Picture(Box::new(picture())),
    })
}

fn picture() -> Picture {
    let Ok(Answer::Version(program)) = show(Show::Version) else { panic!("a version") };
    Picture {
        read_at_ns: 90_000_000_000,
        control_held_ns: 250_000,
        program,
        guests: vec![guest_ct1()],
        networks: vec![network_lan0()],
        ports: vec![port_up0()],
        port_stats: vec![stats_up0()],
        stopped: vec![],
        problems: [("vm1/eth0".parse().unwrap(), "no such namespace".to_owned())].into(),
        dropped: 7,
        drops: view::DropCounts::from([("spoofed-ip".to_owned(), 7)]),
    }
}

fn guest_ct1() -> view::Guest {
    view::Guest {
        guest: name("ct1"),
        kind: GuestKind::Container,
        adapters: vec![view::Adapter {
            guest: name("ct1"),
            adapter: name("eth0"),
            mode: Mode::HostRouted,
            network: None,
            port: "tap,iface=ct1-eth0".into(),
            link: view::Link::Up,
            guest_side: view::GuestSide {
                interface: Some("eth0".into()),
                mac: "02:00:00:00:00:01".parse().unwrap(),
                addresses: vec![view::Address {
                    address: "203.0.113.11/32".parse().unwrap(),
                    state: view::AddressState::Probing,
                    holder: None,
                }],
                gateway: vec!["169.254.1.1".parse().unwrap()],
                mtu: 1500,
            },
            server_side: view::ServerSide {
                port: "ct1/eth0".parse().unwrap(),
                mac: "02:00:00:00:00:ff".parse().unwrap(),
            },
            filter: Default::default(),
            announce: true,
            probe: true,
            rate: Some(Rate { in_bps: Some(10_000_000), out_bps: Some(2_500_000) }),
            class_rate: [(name("local"), Rate { in_bps: None, out_bps: Some(1_000) })].into(),
            storm: Some(100),
            vhost_user: None,
            stats: view::AdapterStats { rx_pkts: 5, dropped: 7, ..Default::default() },
        }],
    }
}

fn network_lan0() -> view::Network {
    view::Network {
        network: name("lan0"),
        id: 2,
        attach: NetworkAttach::Uplink { port: name("up0"), vlan: Some(100) },
        unknown_unicast: UnknownUnicast::Uplink,
        learning: true,
        isolated: false,
        max_macs: 4096,
        max_macs_per_port: 64,
        age_s: 300,
        server: Some(view::ServerPort {
            port: "tap,iface=srv-lan0".into(),
            mac: "02:00:00:00:00:aa".parse().unwrap(),
            addresses: vec!["198.51.100.1/24".parse().unwrap()],
            link: view::Link::Up,
        }),
        members: vec![view::Member {
            adapter: "vm1/eth0".parse().unwrap(),
            mac: "02:00:00:00:00:bb".parse().unwrap(),
            link: view::Link::Unknown,
        }],
        static_macs: 3,
        learned_macs: 1,
    }
}

fn port_up0() -> view::PortInfo {
    view::PortInfo {
        port: "up0".parse().unwrap(),
        id: Some(0),
        kind: view::PortKind::Uplink,
        device: "net_tap0,iface=up0".into(),
        driver: Some("net_tap".into()),
        state: view::PortState::Started,
        problem: None,
        link: view::Link::Up,
        speed_mbps: Some(10_000),
        mac: "02:00:00:00:00:10".parse().unwrap(),
        peer_mac: None,
        mtu: 1500,
        promiscuous: false,
        rx_queues: vec![view::RxQueue { queue: 0, worker: Some(1) }],
        tx_queues: 1,
        netns: None,
        addresses: vec!["192.0.2.1/24".parse().unwrap()],
        gateway: vec!["192.0.2.254".parse().unwrap()],
        adapter: None,
        network: None,
    }
}

fn stats_up0() -> view::PortStats {
    view::PortStats {
        port: "up0".parse().unwrap(),
        read_at_ms: 1000,
        rx_pkts: 100,
        rx_bytes: 6400,
        tx_pkts: 90,
        tx_bytes: 5800,
        generated: 1,
        copies: 2,
        segmented: 0,
        forwarded: 90,
        consumed: 6,
        dropped: 7,
        drops: view::DropCounts::from([("no-route".to_owned(), 7)]),
        device: Some(view::DeviceStats::default()),
    }
}

/// Two pages of one route each.
fn routes(second: bool) -> view::RoutePage {
    let (prefix, source) = match second {
        false => ("203.0.113.11/32", view::RouteSource::Guest),
        true => ("203.0.113.64/26", view::RouteSource::Static),
    };
    let prefix = prefix.parse().unwrap();
    view::RoutePage {
        routes: vec![view::Route {
            prefix,
            to: match second {
                false => view::RouteTarget::Adapter("ct1/eth0".parse().unwrap()),
                true => view::RouteTarget::Via("203.0.113.11".parse().unwrap()),
            },
            port: "ct1/eth0".parse().ok(),
            source,
        }],
        next: (!second).then_some(prefix),
    }
}
