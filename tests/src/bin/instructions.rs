//! Counts the instructions that a packet takes on each way through the path, and holds them against
//! `tests/instructions.json`.
//!
//! ```text
//! instructions              counts and compares
//! instructions --baseline   counts and writes the baseline
//! instructions --count WAY  what valgrind runs: the way, and nothing else that is counted
//! ```
//!
//! Counted is all of [`Bench::pass`]: the whole path of a burst, and the frames and queues in memory that stand in
//! for a device's. Ends with 0, with 1 where a way has
//! grown, and with 77 where there is nothing to compare with.

use dataplane::frame::{BURST_PKTS, Burst};
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use tests::instructions::{Counts, REWRITE, total};
use tests::measure::{Choice, Report, Row};
use tests::ways::io::BoxedFrame;
use tests::ways::{Bench, Way, all};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Pass = fn(&mut Bench, &Way, &mut Burst<BoxedFrame>);

const BASELINE: &str = "tests/instructions.json";
/// Bursts before the first that is counted: what is made once is made.
const WARM_UP_BURSTS: usize = 8;
/// Bursts that are counted.
const BURSTS: usize = 64;
/// As test harnesses have it: skipped.
const SKIPPED: u8 = 77;

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--count", name] => count(name).map(|()| ExitCode::SUCCESS),
        ["--baseline"] => {
            count_all()?.write(Path::new(BASELINE))?;
            println!("written: {BASELINE}");
            Ok(ExitCode::SUCCESS)
        }
        [] => compare(),
        _ => Err("what is wanted? nothing, or --baseline".into()),
    }
}

fn compare() -> Result<ExitCode> {
    let now = count_all()?;
    let comparison = now.compare(&Counts::read(Path::new(BASELINE))?);
    if !comparison.differs.is_empty() {
        println!("skipped, no baseline for this: {}", comparison.differs.join("; "));
        return Ok(ExitCode::from(SKIPPED));
    }
    for better in &comparison.better {
        println!("shorter, {REWRITE} keeps it so: {better}");
    }
    for wrong in &comparison.wrong {
        println!("wrong: {wrong}");
    }
    if comparison.wrong.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("if it is meant to be so: {REWRITE}, in the same commit");
    Ok(ExitCode::FAILURE)
}

/// Counts every way, prints the table and adds it to the report of `micro`.
fn count_all() -> Result<Counts> {
    let mut counts = Counts { rustc: rustc()?, ..Counts::default() };
    let mut report = Report::new("micro");
    for way in all() {
        let (instructions, processor) = under_valgrind(way.name)?;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let ours = instructions as f64 / (BURSTS * BURST_PKTS) as f64;
        counts.processor = processor;
        counts.ways.insert(way.name.to_owned(), ours);
        report.rows.push(Row::alone(way.name, "instructions", "per packet", ours));
    }
    println!("{}; {} (valgrind knows no AVX-512)", counts.rustc, counts.processor);
    report.join(&Choice::from_arguments().directory)?;
    Ok(counts)
}

fn rustc() -> Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(program).arg("--version").output()?;
    let mut name = String::from_utf8(said.stdout)?.trim().to_owned();
    // Built otherwise than the workspace says, it is as good as another compiler.
    for (key, value) in std::env::vars().filter(|(key, _)| key.starts_with("CARGO_PROFILE_")) {
        name.push_str(&format!(", {key}={value}"));
    }
    Ok(name)
}

/// Runs this program again for one way; answers what was counted, and on which path.
fn under_valgrind(way: &str) -> Result<(u64, String)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("profile");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--quiet"])
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(["--count", way])
        // Variables lie on the stack, and where the rest of it begins must not depend on them.
        .env_clear()
        .output()
        .map_err(|why| format!("valgrind: {why}"))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        return Err(format!("{way}: {}: {said}", run.status).into());
    }
    let profile = std::fs::read_to_string(&file)?;
    let counted = total(&profile).filter(|count| *count > 0);
    let counted = counted.ok_or_else(|| format!("{way}: valgrind has counted nothing"))?;
    Ok((counted, String::from_utf8(run.stdout)?.trim().to_owned()))
}

/// What valgrind finds the counted part by.
const COUNTED: &str = "a_burst_that_is_counted";

/// Lets bursts take a way, and says which path the processor is good for.
fn count(name: &str) -> Result<()> {
    let way = all().into_iter().find(|way| way.name == name).ok_or("no such way")?;
    let mut bench = Bench::new(2)?;
    bench.check(&way)?;
    // By address, so that there is one copy of the path, counted or not.
    let pass: Pass = black_box(Bench::pass);
    for number in 0..WARM_UP_BURSTS + BURSTS {
        let mut burst = bench.burst(&way)?;
        match number < WARM_UP_BURSTS {
            true => pass(&mut bench, &way, &mut burst),
            false => a_burst_that_is_counted(pass, &mut bench, &way, &mut burst),
        }
        bench.clear();
    }
    println!("{}", processor());
    Ok(())
}

#[inline(never)]
fn a_burst_that_is_counted(
    pass: Pass,
    bench: &mut Bench,
    way: &Way,
    burst: &mut Burst<BoxedFrame>,
) {
    pass(bench, way, burst);
}

fn processor() -> String {
    let arch = std::env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    {
        let simd = [
            ("AVX-512", is_x86_feature_detected!("avx512f")),
            ("AVX2", is_x86_feature_detected!("avx2")),
            ("SSE4.2", is_x86_feature_detected!("sse4.2")),
        ];
        if let Some((simd, _)) = simd.into_iter().find(|(_, is_there)| *is_there) {
            return format!("{arch}, {simd}");
        }
    }
    arch.to_owned()
}
