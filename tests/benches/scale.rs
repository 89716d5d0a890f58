//! What others cost: packets per second of one busy pair of guests while many are connected and idle, and of
//! one busy container while many are registered, or come and go. Nobody to compare with but the same
//! appliance without them: they come and go by turns, and `ratio` is the rate with them to that without.

use serde_json::Value;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tests::appliance::api;
use tests::containers::{self, UPLINK, VENET, add, remove};
use tests::contest::{Contender, Ours, batch, config};
use tests::frames::{Mac, mac_text};
use tests::frontend::{Frontend, Options};
use tests::measure::{Better, Choice, Report, Row, Samples, median};
use tests::pair::{Mode, Pair, Switch, sockets};
use tests::ports::{Forwarder, Rewrite, capture_of, checked};
use tests::record::Record;
use tests::telemetry::Meter;
use tests::{Appliance, Lab, replay};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rounds, each with and without. Fewer than elsewhere: thousands of guests take their time.
const ROUNDS: usize = 15;
/// Turns of each half of a round.
const TURNS: usize = 8;
/// Of the busy pair's frames, with their FCS.
const BYTES: usize = 64;
/// A turn of the two workers, who take none but each other's.
const TURN: Duration = Duration::from_millis(40);
/// Until a guest is connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Changes of a batch, and how often there is one: 10,000 in a second.
const BATCH: u32 = 100;
const BATCH_PERIOD: Duration = Duration::from_millis(10);
/// Numbers of guests that come and go, beside those that stay.
const TRANSIENT: u32 = 20_000;

/// Rounds in which `set` brings the load and takes it away.
fn rounds(turn: impl Fn() -> f64, mut set: impl FnMut(bool) -> Result<()>) -> Result<Samples> {
    let mut values = vec![Vec::new(); 2];
    turn();
    for round in 0..ROUNDS {
        // Each round begins with the other half; the load that is there stays for the next one's begin.
        let halves = if round % 2 == 0 { [false, true] } else { [true, false] };
        for is_loaded in halves {
            set(is_loaded)?;
            let sum: f64 = (0..TURNS).map(|_| turn()).sum();
            values[usize::from(!is_loaded)].push(sum / TURNS as f64);
        }
    }
    set(false)?;
    Ok(Samples::new(vec!["ours", "without"], values))
}

fn report_load(report: &mut Report, case: &str, samples: &Samples) {
    let rows = samples.rows(case, "rate, to that without", "Mpps", Better::More);
    for row in rows {
        if let Some((_, without)) = row.peer {
            println!("{case}: {:.2} Mpps with, {without:.2} without", row.ours);
        }
        if row.ratio.is_none() {
            report.left_out.push(format!("ratio, {case}: too noisy"));
        }
        report.rows.push(Row { peer: None, ..row });
    }
}

/// A busy pair among guests that are connected and idle.
fn connected(lab: &Lab, report: &mut Report, cases: &[(&str, u32)]) -> Result<()> {
    let most = cases.iter().map(|(_, count)| count - 2).max().unwrap_or(0);
    let path = |number: u32| lab.dir().join(format!("c{number}.sock"));
    let idle = |number| add(number, &format!("vhost-user,path={}", path(number).display()));
    let changes: Vec<Value> = (0..most).flat_map(idle).collect();
    let busy = sockets(lab, "busy");
    let switch = Switch::ours(lab, &busy, Mode::Routed, "", &changes);
    switch.commands().iter().for_each(|it| println!("connected: ours: {it}"));
    let pair = Pair::start(lab, "busy", &busy, switch, BYTES)??;
    for (case, count) in cases {
        let paths: Vec<PathBuf> = (0..count - 2).map(path).collect();
        let mut guests = Vec::new();
        let samples = rounds(
            || pair.turn(),
            |is_loaded| {
                pair.switch().resume();
                match (is_loaded, guests.is_empty()) {
                    (true, true) => {
                        for path in &paths {
                            let options = Options::default();
                            guests.push(Frontend::connect_within(path, &options, CONNECT_LIMIT)?);
                        }
                    }
                    (false, false) => guests.clear(),
                    _ => {}
                }
                Ok(())
            },
        )?;
        report_load(report, case, &samples);
    }
    pair.end()?;
    Ok(())
}

/// One worker, with a source on an uplink and a container on a shared port, to which frames come as they
/// have to.
fn container(lab: &Lab) -> Result<Forwarder> {
    let frames = capture_of(1, containers::frame);
    let forwarder = checked(lab, &frames, |devices| containers::start(lab, devices, 1))??;
    forwarder.commands.iter().for_each(|it| println!("registered: ours: {it}"));
    Ok(forwarder)
}

/// A busy container among registered ones.
fn registered(lab: &Lab, report: &mut Report, cases: &[(&str, u32)]) -> Result<()> {
    let forwarder = container(lab)?;
    for (case, count) in cases {
        let mut is_there = false;
        let samples = rounds(
            || forwarder.turn(),
            |is_loaded| {
                forwarder.resume();
                let appliance = forwarder.appliance().ok_or("no appliance")?;
                if is_loaded != is_there {
                    let numbers = 1..*count;
                    let changes: Vec<Value> = match is_loaded {
                        true => numbers.flat_map(|number| add(number, "shared:venet0")).collect(),
                        false => numbers.flat_map(remove).collect(),
                    };
                    batch(appliance, &changes);
                    is_there = is_loaded;
                }
                Ok(())
            },
        )?;
        report_load(report, case, &samples);
    }
    forwarder.end()?;
    Ok(())
}

/// Makes changes until told to stop; how many, and in what time.
struct Changes {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Duration)>,
}

impl Changes {
    fn start(socket: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (socket, ends) = (socket.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let numbers = TRANSIENT..TRANSIENT + BATCH / 2;
            let added: Vec<Value> =
                numbers.clone().flat_map(|number| add(number, "shared:venet0")).collect();
            let removed: Vec<Value> = numbers.flat_map(remove).collect();
            let bodies = [added, removed].map(|changes| Value::from(changes).to_string());
            let begin = Instant::now();
            let mut batches = 0;
            // All that was added is removed before it ends.
            while !ends.load(Ordering::Relaxed) || batches % 2 == 1 {
                let body = &bodies[batches as usize % 2];
                let (status, answer) = api(&socket, "POST", "/v1/batch", body);
                assert!((200..300).contains(&status), "{status}: {answer}");
                batches += 1;
                std::thread::sleep((BATCH_PERIOD * batches).saturating_sub(begin.elapsed()));
            }
            (batches * BATCH, begin.elapsed())
        });
        Self { stop, thread }
    }

    /// Changes per second.
    fn end(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let (count, took) = self.thread.join().expect("changes");
        f64::from(count) / took.as_secs_f64()
    }
}

/// A busy container while others come and go.
fn changes(lab: &Lab, report: &mut Report, case: &str) -> Result<()> {
    let forwarder = container(lab)?;
    let socket = forwarder.appliance().ok_or("no appliance")?.socket().to_owned();
    let mut under_way: Option<Changes> = None;
    let mut rates = Vec::new();
    let turn = || {
        let rate = forwarder.turn();
        // Changes go on meanwhile.
        forwarder.resume();
        rate
    };
    let samples = rounds(turn, |is_loaded| {
        forwarder.resume();
        match (is_loaded, under_way.take()) {
            (true, None) => under_way = Some(Changes::start(&socket)),
            (true, running) => under_way = running,
            (false, Some(running)) => rates.push(running.end()),
            (false, None) => {}
        }
        Ok(())
    })?;
    report_load(report, case, &samples);
    let lost = forwarder.lost() as f64;
    report.rows.push(Row::alone(case, "changes made", "1/s", median(&rates)));
    report.rows.push(Row::alone(case, "lost by changes", "packets", lost));
    forwarder.end()?;
    Ok(())
}

/// The MAC of the port of a number, where the first one's is `first`.
fn mac_of(first: Mac, number: usize) -> Mac {
    let [a, b, c, d, e, last] = first;
    let [.., step] = number.to_be_bytes();
    [a, b, c, d + step, e, last]
}

/// To the container of its number, by the uplink of its number.
fn frames_of(number: u32) -> Vec<Vec<u8>> {
    let frame = |_, payload: &[u8]| {
        let mut frame = containers::frame(number, payload);
        frame[..6].copy_from_slice(&mac_of(UPLINK, number as usize));
        frame
    };
    capture_of(1, frame)
}

/// The appliance with two workers, and for each an uplink with a source and a shared port with a container.
/// All devices are generator-free, so that both cores are the workers'.
fn start_two(lab: &Lab, frames: &[Vec<Vec<u8>>; 2], sinks: &[String; 2]) -> Result<Ours> {
    let _ = std::fs::remove_dir_all(lab.dir().join("state"));
    let mut ports = String::new();
    for (number, (frames, sink)) in frames.iter().zip(sinks).enumerate() {
        let capture = lab.dir().join(format!("frames{number}.pcap"));
        replay::write(&capture, frames)?;
        ports += &format!(
            "[[uplink]]\nname = \"up{number}\"\nmac = \"{}\"\n\
             device = \"net_pcap{number},rx_pcap={},infinite_rx=1\"\n\
             addresses = [\"198.51.10{number}.254/24\"]\n\
             [[port]]\nname = \"venet{number}\"\nrole = \"shared\"\nmac = \"{}\"\n\
             device = \"{sink}\"\n",
            mac_text(mac_of(UPLINK, number)),
            capture.display(),
            mac_text(mac_of(VENET, number)),
        );
    }
    let config = config(lab, &ports).replace("workers = [1]", "workers = [0, 1]");
    println!("two workers: ours: guestway run --config FILE, with\n{}", config.as_str());
    let ours = Ours::new(Appliance::start(lab, &config, None));
    share_core(ours.appliance.pid())?;
    let changes: Vec<Value> =
        (0..2).flat_map(|number| add(number, &format!("shared:venet{number}"))).collect();
    batch(&ours.appliance, &changes);
    Ok(ours)
}

/// Gives each worker an uplink, or the second one both.
fn share_out(ours: &Ours, is_each: bool) {
    let first = u8::from(!is_each);
    for (port, worker) in [("up0", first), ("up1", 1)] {
        ours.appliance.must(&format!("port set {port} queue 0 worker {worker}"));
    }
    std::thread::sleep(TURN);
}

/// Whether frames come as they have to, in both orders.
fn check_two(lab: &Lab, frames: &[Vec<Vec<u8>>; 2]) -> Result<()> {
    for is_each in [false, true] {
        let records =
            [0, 1].map(|number| Record::new(&lab.dir().join(format!("record{number}.pcap"))));
        let sink = |number: usize| {
            format!("net_pcap{},tx_pcap={}", number + 2, records[number].path.display())
        };
        let ours = start_two(lab, frames, &[sink(0), sink(1)])?;
        for (record, frames) in records.iter().zip(frames) {
            record.fill(frames)?;
        }
        share_out(&ours, is_each);
        for (number, (record, frames)) in records.into_iter().zip(frames).enumerate() {
            let from = ours.appliance.mac_on(&format!("venet{number}"));
            let rewrite = Rewrite::Route { to: mac_of(VENET, number), from };
            let wanted: Vec<_> = frames.iter().map(|frame| rewrite.apply(frame)).collect();
            record.compare(&wanted, || drop(ours.appliance.must("stop")))?;
        }
        ours.end();
    }
    Ok(())
}

/// Two pairs of ports on one worker, and each on its own.
fn two_workers(lab: &Lab, report: &mut Report, case: &str) -> Result<()> {
    let frames = [0, 1].map(frames_of);
    check_two(lab, &frames)?;
    let sinks = [0, 1].map(|number| format!("net_null{number},no-rx=1"));
    let ours = start_two(lab, &frames, &sinks)?;
    let prefix = format!("lab{}", std::process::id());
    let meter = Meter::new(&prefix, &["net_null0", "net_null1"], "opackets")?;
    let turn = || meter.rate(TURN).expect("a reading") / 1e6;
    let samples = rounds(turn, |is_each| {
        share_out(&ours, is_each);
        Ok(())
    })?;
    report_load(report, case, &samples);
    ours.end();
    Ok(())
}

/// A worker that is on everybody's core goes before nobody.
fn share_core(pid: u32) -> Result<()> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.file_name();
        let status = Command::new("renice").args(["-n", "0", "-p"]).arg(task).output()?.status;
        if !status.success() {
            return Err("renice fails".into());
        }
    }
    Ok(())
}

/// Front-ends hold some ten descriptors each.
fn raise_descriptor_limit() -> nix::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard)
}

fn main() -> Result<()> {
    let choice = Choice::from_arguments();
    raise_descriptor_limit()?;
    let lab = Lab::new();
    let mut report = Report::new("scale");
    let wanted = |cases: &[(&'static str, u32)]| -> Vec<(&'static str, u32)> {
        cases.iter().copied().filter(|(case, _)| choice.wants(case)).collect()
    };
    let cases = wanted(&[("30 connected", 30), ("100 connected", 100), ("300 connected", 300)]);
    if !cases.is_empty() {
        connected(&lab, &mut report, &cases)?;
    }
    let cases = wanted(&[
        ("100 registered", 100),
        ("1,000 registered", 1_000),
        ("10,000 registered", 10_000),
    ]);
    if !cases.is_empty() {
        registered(&lab, &mut report, &cases)?;
    }
    let case = "10,000 changes per second";
    if choice.wants(case) {
        changes(&lab, &mut report, case)?;
    }
    // The rate of two to that of one.
    let case = "two workers, two pairs of ports";
    if choice.wants(case) {
        two_workers(&lab, &mut report, case)?;
    }
    report.finish(&choice.directory)?;
    Ok(())
}
