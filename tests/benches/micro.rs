//! The path of a packet alone, way by way: no device, no DPDK, frames in memory. Times by criterion; the
//! instructions of the same ways are counted by `instructions`.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use dataplane::frame::BURST_PKTS;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::measure::{Choice, Report, Row};
use tests::ways::{Bench, Way, all};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bursts between two looks at the clock, which would else be much of what is measured; few enough that their
/// frames stay in the second-level cache.
const BURSTS: u64 = 32;
/// What criterion calls all of this by.
const GROUP: &str = "path";

fn main() -> Result<()> {
    let choice = Choice::from_arguments();
    let directory = choice.directory.join("criterion");
    let ways: Vec<Way> = all().into_iter().filter(|way| choice.wants(way.name)).collect();
    time(&ways, &directory)?;
    let mut report = Report::new("micro");
    for way in &ways {
        let ns = estimate(&directory, way.name)? / BURST_PKTS as f64;
        report.rows.push(Row::alone(way.name, "packet", "ns", ns));
    }
    report.join(&choice.directory)?;
    Ok(())
}

/// Half a minute for all: seconds each would tell no more on machines whose speed drifts.
fn time(ways: &[Way], directory: &Path) -> Result<()> {
    let mut criterion = Criterion::default()
        .output_directory(directory)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200))
        .sample_size(40);
    let mut group = criterion.benchmark_group(GROUP);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(BURST_PKTS as u64));
    for way in ways {
        let mut bench = Bench::new(usize::try_from(BURSTS)?)?;
        bench.check(way)?;
        group.bench_function(BenchmarkId::from_parameter(way.name), |it| {
            it.iter_custom(|bursts| pass(&mut bench, way, bursts));
        });
    }
    group.finish();
    Ok(())
}

/// How long so many bursts take. To make them and to take them away is no part of it.
fn pass(bench: &mut Bench, way: &Way, bursts: u64) -> Duration {
    let mut taken = Duration::ZERO;
    let mut left = bursts;
    while left > 0 {
        let count = left.min(BURSTS);
        let waiting: Result<Vec<_>> = (0..count).map(|_| bench.burst(way)).collect();
        let mut waiting = waiting.unwrap_or_else(|why| panic!("{}: {why}", way.name));
        let begin = Instant::now();
        waiting.iter_mut().for_each(|burst| bench.pass(way, burst));
        taken += begin.elapsed();
        bench.clear();
        left -= count;
    }
    taken
}

/// Criterion's estimate of the median, nanoseconds for a burst.
fn estimate(directory: &Path, way: &str) -> Result<f64> {
    // What criterion makes a file's name of.
    let name = way.replace([':', '?', '"', '/', '\\', '*', '<', '>', '^', '|'], "_");
    let file: PathBuf = directory.join(GROUP).join(name).join("new/estimates.json");
    let text =
        std::fs::read_to_string(&file).map_err(|why| format!("{}: {why}", file.display()))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    Ok(value["median"]["point_estimate"].as_f64().ok_or("no estimate of the median")?)
}
