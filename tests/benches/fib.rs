//! Look-ups and updates of the FIB, against DPDK's `rte_fib` and `rte_lpm` in the same process.

mod oracle;

use dataplane::dpdk::oracle::{FibLookup, RteFib, RteLpm, heap_bytes};
use dataplane::ids::AdjacencyId;
use dataplane::table::{Ipv4Fib, Ipv4FibWriter, Qsbr};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use oracle::{BULK, eal, per_item};
use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::frames::Random;
use tests::measure::{Better, Choice, Contestant, Report, Row, median, take_turns};
use tests::prefixes::{Prefix, hosts, internet};

/// Many short ones: the speed of a shared machine changes within seconds.
const ROUNDS: usize = 144;
/// Addresses looked up in a turn.
const LOOK_UPS: usize = 1 << 20;
/// Routes changed in a turn.
const UPDATES: usize = 20_000;
/// Next hops that routes point to.
const NEXT_HOPS: u32 = 1_000;

/// All tables with the same routes.
struct Tables {
    ours: Ipv4FibWriter,
    scalar: RteFib,
    vector: Option<RteFib>,
    lpm: Option<RteLpm>,
    /// Memory of ours and of `scalar`, control's part included.
    bytes: [u64; 2],
}

/// Memory of this process that is there.
fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * 4096)
}

/// Each prefix with its next hop.
fn each_hop(
    prefixes: &[Prefix],
    mut add: impl FnMut(&Prefix, u32) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    (0..).zip(prefixes).try_for_each(|(number, prefix)| add(prefix, number % NEXT_HOPS + 1))
}

impl Tables {
    fn fill(prefixes: &[Prefix], name: &str, with_lpm: bool) -> Result<Self, Box<dyn Error>> {
        let eal = eal()?;
        let routes = u32::try_from(prefixes.len() + 1_024)?;
        let groups = 1 << 15;
        let vector = oracle::has_vector();
        // One after another: what each of the first two takes is seen from outside.
        let before = resident_bytes()?;
        let mut ours = Ipv4FibWriter::new(groups as usize, Qsbr::new(1));
        each_hop(prefixes, |prefix, hop| {
            ours.insert(prefix.addr, prefix.len, AdjacencyId(hop))?;
            Ok(())
        })?;
        let ours_bytes = resident_bytes()?.saturating_sub(before);
        let before = heap_bytes(eal);
        let mut scalar = RteFib::new(eal, &format!("{name}-s"), routes, groups, FibLookup::Scalar)?;
        each_hop(prefixes, |prefix, hop| Ok(scalar.add(prefix.addr, prefix.len, hop)?))?;
        let bytes = [ours_bytes, heap_bytes(eal).saturating_sub(before)];
        let mut tables = Self {
            ours,
            scalar,
            vector: vector
                .then(|| RteFib::new(eal, &format!("{name}-v"), routes, groups, FibLookup::Vector))
                .transpose()?,
            lpm: with_lpm.then(|| RteLpm::new(eal, name, routes, groups)).transpose()?,
            bytes,
        };
        each_hop(prefixes, |prefix, hop| {
            if let Some(vector) = &mut tables.vector {
                vector.add(prefix.addr, prefix.len, hop)?;
            }
            if let Some(lpm) = &mut tables.lpm {
                lpm.add(prefix.addr, prefix.len, hop)?;
            }
            Ok(())
        })?;
        Ok(tables)
    }

    /// All of them answer alike.
    fn check(&self, addrs: &[u32]) -> Result<(), Box<dyn Error>> {
        let mut ours = vec![AdjacencyId(0); addrs.len()];
        self.ours.fib().lookup_bulk(addrs, &mut ours);
        let mut wide = vec![0; addrs.len()];
        for fib in [Some(&self.scalar), self.vector.as_ref()].into_iter().flatten() {
            fib.lookup_bulk(&mut addrs.to_vec(), &mut wide);
            if ours.iter().zip(&wide).any(|(ours, theirs)| u64::from(ours.0) != *theirs) {
                return Err("rte_fib answers otherwise".into());
            }
        }
        if let Some(lpm) = &self.lpm {
            let mut narrow = vec![0; addrs.len()];
            lpm.lookup_bulk(addrs, &mut narrow);
            if ours.iter().zip(&narrow).any(|(ours, theirs)| ours.0 != *theirs) {
                return Err("rte_lpm answers otherwise".into());
            }
        }
        Ok(())
    }
}

fn look_up(fib: &Ipv4Fib, addrs: &[u32]) -> f64 {
    let mut out = [AdjacencyId(0); BULK];
    per_item(addrs.len(), || {
        for addrs in addrs.chunks_exact(BULK) {
            fib.lookup_bulk(addrs, &mut out);
            black_box(&out);
        }
    })
}

fn look_up_rte(fib: &RteFib, addrs: &mut [u32]) -> f64 {
    let mut out = [0; BULK];
    per_item(addrs.len(), || {
        for addrs in addrs.chunks_exact_mut(BULK) {
            fib.lookup_bulk(addrs, &mut out);
            black_box(&out);
        }
    })
}

fn look_up_lpm(lpm: &RteLpm, addrs: &[u32]) -> f64 {
    let mut out = [0; BULK];
    per_item(addrs.len(), || {
        for addrs in addrs.chunks_exact(BULK) {
            lpm.lookup_bulk(addrs, &mut out);
            black_box(&out);
        }
    })
}

fn measure_look_ups(report: &mut Report, case: &str, tables: &Tables, addrs: &[u32]) {
    let (mut scalars, mut vectors) = (addrs.to_vec(), addrs.to_vec());
    let mut contestants = vec![Contestant::new("ours", || look_up(tables.ours.fib(), addrs))];
    contestants
        .push(Contestant::new("rte_fib scalar", || look_up_rte(&tables.scalar, &mut scalars)));
    if let Some(vector) = &tables.vector {
        contestants
            .push(Contestant::new("rte_fib vector", move || look_up_rte(vector, &mut vectors)));
    }
    if let Some(lpm) = &tables.lpm {
        contestants.push(Contestant::new("rte_lpm", || look_up_lpm(lpm, addrs)));
    }
    let samples = take_turns(ROUNDS, &mut contestants);
    report.rows.extend(samples.rows(case, "look-up", "ns", Better::Less));
}

/// Changes of where routes lead and routes that go and come back, while another core looks up.
fn measure_updates(report: &mut Report, case: &str, tables: &mut Tables, prefixes: &[Prefix]) {
    let fib = tables.ours.fib().clone();
    let stop = AtomicBool::new(false);
    let mut random = Random(7);
    let chosen: Vec<Prefix> =
        (0..UPDATES).map(|_| prefixes[random.below(prefixes.len())]).collect();
    let addrs: Vec<u32> = chosen.iter().map(|prefix| prefix.address(&mut random)).collect();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| longest_pause_ns(&fib, &addrs, &stop));
        let Tables { ours, scalar, .. } = &mut *tables;
        let mut turn = 0;
        let mut contestants = [
            Contestant::new("ours", || {
                turn += 1;
                per_item(UPDATES * 2, || {
                    for prefix in &chosen {
                        ours.remove(prefix.addr, prefix.len);
                        let hop = AdjacencyId(turn % NEXT_HOPS + 1);
                        let _ = black_box(ours.insert(prefix.addr, prefix.len, hop));
                    }
                    ours.reclaim();
                })
            }),
            Contestant::new("rte_fib scalar", || {
                per_item(UPDATES * 2, || {
                    for prefix in &chosen {
                        let _ = scalar.delete(prefix.addr, prefix.len);
                        let _ = black_box(scalar.add(prefix.addr, prefix.len, 5));
                    }
                })
            }),
        ];
        let samples = take_turns(ROUNDS, &mut contestants);
        report.rows.extend(samples.rows(case, "update", "ns", Better::Less));
        stop.store(true, Ordering::Relaxed);
        let longest_ns = reader.join().expect("a reader");
        report.rows.push(Row::alone(case, "longest pause in a ms", "ns", longest_ns));
    });
}

/// Looks up until told to stop, on a core that the writer does not use. The longest pause of each
/// millisecond, in which hundreds of routes change, of which the median is ours: what the host of this
/// machine takes now and then is not.
fn longest_pause_ns(fib: &Ipv4Fib, addrs: &[u32], stop: &AtomicBool) -> f64 {
    let mut core = CpuSet::new();
    let is_apart = core.set(0).and_then(|()| sched_setaffinity(Pid::from_raw(0), &core));
    if let Err(error) = is_apart {
        eprintln!("the reader has no core of its own: {error}");
    }
    let mut out = [AdjacencyId(0); BULK];
    let mut longest = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let (mut last, mut longest_ns) = (begin, 0);
        while begin.elapsed() < Duration::from_millis(1) {
            for addrs in addrs.chunks_exact(BULK).take(100) {
                fib.lookup_bulk(addrs, &mut out);
                black_box(&out);
                let now = Instant::now();
                longest_ns = longest_ns.max((now - last).as_nanos());
                last = now;
            }
        }
        longest.push(longest_ns as f64);
    }
    median(&longest)
}

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::from_arguments();
    let mut report = Report::new("fib");
    let mut random = Random(1);
    let cases = [
        ("1,000 /32s", hosts(1_000, &mut random), true),
        ("100,000 /32s", hosts(100_000, &mut random), true),
        ("full table", internet(1_000_000, &mut random), false),
    ];
    for (case, prefixes, with_lpm) in &cases {
        if !with_lpm {
            let why = format!("rte_lpm, {case}: an add scans every rule of the same length");
            report.left_out.push(why);
        }
        let mut tables = Tables::fill(prefixes, &case.replace([' ', ',', '/'], ""), *with_lpm)?;
        // What a small table takes is lost in what the process takes anyway.
        if !with_lpm && choice.wants(&format!("{case}, memory")) {
            let [ours, theirs] = tables.bytes.map(|bytes| bytes as f64 / 1e6);
            report.rows.push(Row {
                peer: Some(("rte_fib scalar", theirs)),
                ratio: Some(theirs / ours),
                ..Row::alone(case, "memory", "MB", ours)
            });
        }
        let orders = oracle::orders(prefixes.len(), LOOK_UPS, &mut random);
        for (order, numbers) in orders {
            let addrs: Vec<u32> =
                numbers.iter().map(|number| prefixes[*number].address(&mut random)).collect();
            tables.check(&addrs)?;
            let case = format!("{case}, {order}");
            if choice.wants(&case) {
                measure_look_ups(&mut report, &case, &tables, &addrs);
            }
        }
        if choice.wants(&format!("{case}, update")) {
            measure_updates(&mut report, case, &mut tables, prefixes);
        }
    }
    report.finish(&choice.directory)?;
    Ok(())
}
