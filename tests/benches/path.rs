//! The path of a packet in this process, one worker over net_pcap and net_null, beside a loop that does
//! nothing but receive and send on such devices: what each case costs beyond that is the path's own.
//! With `--count` its instructions instead, function by function, each counted as it runs.

#[allow(dead_code, reason = "shared by benchmarks that each need a part")]
mod oracle;

use dataplane::counters::Counters;
use dataplane::dpdk::ethdev::{AttachSpec, attach};
use dataplane::dpdk::{DpdkIo, Eal, Pool, PoolOps, PoolSpec, Rx, Tx, lcore};
use dataplane::frame::{BURST_PKTS, Burst};
use dataplane::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use dataplane::io::{RxQueue, TxQueue};
use dataplane::pipeline::{Path, Rates, Tables, TxPort, TxRoute};
use dataplane::record::{
    Attachment, BridgedAdapter, Filters, Member, MemberKind, NetworkRecord, PortRecord,
    UnknownUnicast, Uplink,
};
use dataplane::table::{Adjacency, AdjacencyKind, AdjacencyWriter, Ipv4FibWriter, MacWriter, Qsbr};
use dataplane::wire::ethernet::MacAddr;
use dataplane::worker::{Command, Worker};
use oracle::{eal, per_item};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tests::frames::{ethernet, ipv4, udp};
use tests::measure::{Better, Choice, Contestant, Report, take_turns};
use tests::{replay, steps};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Times round the loop of a sample.
const TURNS: usize = 2_000;
/// Many short rounds: the speed of a shared machine changes within seconds.
const ROUNDS: usize = 501;

const UP: PortId = PortId(1);
const VENET: PortId = PortId(2);
const GUEST: PortId = PortId(3);
const UP_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const VENET_MAC: MacAddr = MacAddr([2, 0, 0, 0, 5, 1]);
const VENET_PEER: MacAddr = MacAddr([2, 0, 0, 0, 5, 5]);
const GUEST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 7, 7]);
const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

fn now_ns() -> u64 {
    // Good enough for a clock that nothing depends on.
    lcore::now_tsc() / 2
}

fn guest_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + number)
}

fn guest_mac(number: u32) -> MacAddr {
    MacAddr::from_u64(0x0200_0100_0000 + u64::from(number))
}

fn routed_frames(count: u32) -> Vec<Vec<u8>> {
    let frame = |number| {
        let to = guest_ip(number).to_string();
        let packet = ipv4("198.51.100.7", &to, 64, 17, &udp(1000, 2000, &[7; 18]));
        ethernet(UP_MAC.0, ROUTER.0, 0x0800, &packet)
    };
    (0..count).map(frame).collect()
}

fn bridged_frames(count: u32) -> Vec<Vec<u8>> {
    let frame = |number| {
        let packet = ipv4("10.0.0.7", "10.0.0.8", 64, 17, &udp(1000, 2000, &[7; 18]));
        ethernet(guest_mac(number).0, GUEST_MAC.0, 0x0800, &packet)
    };
    (0..count).map(frame).collect()
}

struct Devices {
    eal: Eal,
    pool: Pool,
    dir: tempfile::TempDir,
    next: u32,
}

impl Devices {
    /// A device that plays frames for ever and one that swallows what it gets.
    fn pair(&mut self, frames: &[Vec<u8>]) -> Result<(Rx, Tx)> {
        let number = self.next;
        self.next += 1;
        let file = self.dir.path().join(format!("{number}.pcap"));
        replay::write(
            &file,
            &frames.iter().cycle().take(frames.len().max(256)).cloned().collect::<Vec<_>>(),
        )?;
        let source = format!("net_pcap{number},rx_pcap={},infinite_rx=1", file.display());
        let sink = format!("net_null{number},no-rx=1");
        let (_, rx, _) = attach(self.eal, &AttachSpec::new(&source, self.pool))?;
        let (_, _, tx) = attach(self.eal, &AttachSpec::new(&sink, self.pool))?;
        let one = |name: &str| format!("no queue of {name}");
        let rx = rx.into_iter().next().ok_or_else(|| one(&source))?;
        Ok((rx, tx.into_iter().next().ok_or_else(|| one(&sink))?))
    }
}

fn adjacency(kind: AdjacencyKind, port: PortId, adapter: AdapterId) -> Adjacency {
    Adjacency {
        kind,
        port,
        adapter,
        destination: VENET_PEER,
        source: VENET_MAC,
        mtu: 1500,
        vlan: 0,
        next_hop: 0,
    }
}

fn worker(pool: Pool, rx: (PortId, Rx), tx: (PortId, Tx), count: u32) -> Result<Worker<DpdkIo>> {
    let qsbr = Qsbr::new(2);
    let mut fib = Ipv4FibWriter::new(1 << 12, qsbr.clone());
    let mut adjacencies = AdjacencyWriter::new(1 << 14, qsbr.clone());
    let mut macs = MacWriter::new(1 << 14, qsbr.clone());
    let lan = adjacencies.add(adjacency(AdjacencyKind::Glean, UP, AdapterId::NONE))?;
    fib.insert(0xc633_6400, 24, lan)?;
    for number in 0..count {
        let adapter = AdapterId(number + 10);
        let to = adjacencies.add(adjacency(AdjacencyKind::Forward, VENET, adapter))?;
        fib.insert(guest_ip(number).into(), 32, to)?;
        let to: AdjacencyId =
            adjacencies.add(adjacency(AdjacencyKind::Bridge, UP, AdapterId::NONE))?;
        macs.insert(NetworkId(1), guest_mac(number), to, true)?;
    }
    let tables = Tables {
        fib: fib.fib().clone(),
        adjacencies: adjacencies.table().clone(),
        macs: macs.table().clone(),
    };
    let punts = Arc::new(crossbeam::queue::ArrayQueue::new(1024));
    let path = Path::new(tables, Arc::new(Counters::new()), pool, punts, Rates::default());
    let reader = qsbr.register().ok_or("no reader")?;
    let (mut worker, link) = Worker::new(path, reader, now_ns)?;
    let record =
        |id, own_mac, attachment| Some(Arc::new(PortRecord { id, own_mac, mtu: 1500, attachment }));
    let wire =
        Member { port: UP, adapter: AdapterId::NONE, vlan: 0, kind: MemberKind::Uplink, mtu: 1500 };
    let network = NetworkRecord {
        id: NetworkId(1),
        members: Box::new([wire]),
        promiscuous: Box::new([]),
        uplink: Some(wire),
        unknown_unicast: UnknownUnicast::Drop,
        learning: false,
        is_isolated: false,
        router_mac: Some(UP_MAC),
    };
    let guest = BridgedAdapter {
        adapter: AdapterId(1),
        network: NetworkId(1),
        peer_mac: GUEST_MAC,
        filters: Filters::ALL,
        ipv4: Box::new([(0x0a00_0007, u32::MAX)]),
        ipv6: Box::new([]),
    };
    let uplink = Uplink { untagged: None, vlans: Box::new([]) };
    let commands = [
        Command::SetPort(UP, record(UP, UP_MAC, Attachment::Uplink(uplink))),
        Command::SetPort(
            VENET,
            record(VENET, VENET_MAC, Attachment::Shared { peer_mac: VENET_PEER }),
        ),
        Command::SetPort(GUEST, record(GUEST, UP_MAC, Attachment::Bridged(guest))),
        Command::SetNetwork(NetworkId(1), Some(Arc::new(network))),
        Command::SetTx { port: tx.0, tx: Some(TxPort::new(TxRoute::Own(tx.1))) },
        Command::AddRx { port: rx.0, queue: 0, rx: Box::new(rx.1) },
    ];
    for command in commands {
        link.commands.push(command).map_err(|_| "a full queue")?;
    }
    worker.obey(0);
    // Tables outlive the worker, whose rows they are.
    std::mem::forget((fib, adjacencies, macs, link));
    Ok(worker)
}

/// A case: its name, whose frames, from and to which port, how many destinations.
type Case = (&'static str, fn(u32) -> Vec<Vec<u8>>, PortId, PortId, u32);

const CASES: [Case; 5] = [
    ("route, 1", routed_frames, UP, VENET, 1),
    ("route, 256", routed_frames, UP, VENET, 256),
    ("route, 4096", routed_frames, UP, VENET, 4096),
    ("bridge, 256", bridged_frames, GUEST, UP, 256),
    ("bridge, 4096", bridged_frames, GUEST, UP, 4096),
];

/// Times round the loop that are counted, which takes half a minute.
const TURNS_COUNTED: usize = 16;

/// Prints each wanted case's instructions for a packet by function, those of `io` as one.
fn count(choice: &Choice) -> Result<()> {
    for (case, ..) in CASES.iter().filter(|(case, ..)| choice.wants(case)) {
        let counts = steps::count(&[case], 2)?;
        let [ours, io] = &counts[..] else { return Err("two parts".into()) };
        let packets = (TURNS_COUNTED * BURST_PKTS) as f64;
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>() as f64 / packets;
        println!("{case}: {:.1} instructions per packet, io {:.1}", sum(ours), sum(io));
        let mut rows: Vec<_> = ours.iter().collect();
        rows.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        for (name, times) in rows.into_iter().take(30) {
            println!("{:8.2}  {name}", *times as f64 / packets);
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let choice = Choice::from_arguments();
    if std::env::args().any(|word| word == "--count") {
        return count(&choice);
    }
    let eal = eal()?;
    let mut devices = Devices {
        eal,
        pool: Pool::create(eal, &PoolSpec::new("path", 32_767, PoolOps::RingMpMc))?,
        dir: tempfile::tempdir()?,
        next: 0,
    };
    let mut report = Report::new("path");
    for (case, frames, from, to, count) in CASES {
        if !choice.wants(case) {
            continue;
        }
        let frames = frames(count);
        let (rx, tx) = devices.pair(&frames)?;
        let (mut io_rx, mut io_tx) = devices.pair(&frames)?;
        let mut worker = worker(devices.pool, (from, rx), (to, tx), count)?;
        let mut burst = Burst::new();
        let mut io_burst = Burst::new();
        if steps::is_counted() {
            let mut ours = |turns| {
                for _ in 0..turns {
                    worker.turn(&mut burst);
                }
            };
            let mut io = |turns| {
                for _ in 0..turns {
                    io_rx.rx(&mut io_burst);
                    io_tx.tx(&mut io_burst);
                }
            };
            ours(TURNS);
            io(TURNS);
            steps::work_through(&mut [&mut || ours(TURNS_COUNTED), &mut || io(TURNS_COUNTED)])?;
            return Ok(());
        }
        let ghz = lcore::tsc_hz() as f64 / 1e9;
        let mut contestants = [
            Contestant::new("ours", || {
                ghz * per_item(TURNS * BURST_PKTS, || {
                    for _ in 0..TURNS {
                        worker.turn(&mut burst);
                    }
                })
            }),
            Contestant::new("io", || {
                ghz * per_item(TURNS * BURST_PKTS, || {
                    for _ in 0..TURNS {
                        io_rx.rx(&mut io_burst);
                        io_tx.tx(&mut io_burst);
                    }
                })
            }),
        ];
        let samples = take_turns(ROUNDS, &mut contestants);
        report.rows.extend(samples.rows(case, "packet", "cycles", Better::Less));
    }
    report.finish(&choice.directory)?;
    Ok(())
}
