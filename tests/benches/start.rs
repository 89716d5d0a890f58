//! Starting: from exec to the first packet that is forwarded, and what memory is resident then, with the
//! state of an earlier life on disk. Nobody to compare with: the figures are seconds and megabytes.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::containers::{self, VENET, add_first, ip_of, shared, uplink};
use tests::contest::{batch, config, memory};
use tests::frames::Random;
use tests::measure::{Choice, Report, Row, median};
use tests::ports::{Devices, Rewrite, capture_of};
use tests::prefixes::internet;
use tests::record::Record;
use tests::telemetry::{PAUSE, Telemetry};
use tests::{Appliance, Config, Lab, replay};

/// Starts of each case.
const STARTS: usize = 9;
/// Routes of a full table.
const ROUTES: usize = 1_000_000;
/// Until the first packet.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A full table behind the guests, each route by the next of them.
fn write_routes(path: &Path, guests: u32) -> std::io::Result<()> {
    let prefixes = internet(ROUTES, &mut Random(1)).into_iter();
    let line = |(prefix, number)| format!("{prefix} via {}\n", ip_of(number));
    // Addresses that the appliance refuses or has itself: loopback, link-local, the guests', the LAN.
    let is_free = |prefix: &tests::prefixes::Prefix| {
        !matches!(prefix.addr >> 24, 0x7f | 0xa9 | 0x0a | 0xc6) && prefix.len > 8
    };
    let lines: String = prefixes.filter(is_free).zip((0..guests).cycle()).map(line).collect();
    std::fs::write(path, lines)
}

/// When a packet has left by the sink.
fn first_packet(prefix: &str, sink: &str) -> Result<Instant, String> {
    let end = Instant::now() + START_LIMIT;
    let telemetry = Telemetry::of(prefix)?;
    loop {
        let sent = telemetry.port(sink).and_then(|port| telemetry.sent(port));
        match sent {
            Ok((at, 1..)) => return Ok(at),
            _ if Instant::now() >= end => return Err(format!("no packet in {START_LIMIT:?}")),
            _ => std::thread::sleep(PAUSE),
        }
    }
}

/// Megabytes in the machine's memory; hugepages, where the packet pool is, are not among them.
fn resident_mb(pid: u32) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The appliance's file, with its ports on these devices.
fn file_of(lab: &Lab, devices: &Devices) -> Config {
    config(lab, &(uplink(&devices.source) + &shared(&devices.sink)))
}

/// Its books are not read: the source never rests.
fn end(appliance: &mut Appliance) {
    let status = appliance.terminate();
    assert!(status.success(), "SIGTERM: {status}\n{}", appliance.log());
}

/// Whether what comes after a start is what has to come.
fn check(
    lab: &Lab,
    appliance: &mut Appliance,
    capture: &Path,
    frames: &[Vec<u8>],
) -> Result<(), Box<dyn Error>> {
    let record = Record::new(&lab.dir().join("record.pcap"));
    let file = file_of(lab, &Devices::recorded(capture, &record.path));
    std::fs::write(appliance.config(), file.as_str())?;
    appliance.launch();
    let rewrite = Rewrite::Route { to: VENET, from: appliance.mac_on("venet0") };
    let wanted: Vec<_> = frames.iter().map(|frame| rewrite.apply(frame)).collect();
    let compared = record.compare(&wanted, || drop(appliance.must("stop")));
    compared.inspect_err(|_| appliance.kill())?;
    Ok(())
}

fn measure(
    lab: &Lab,
    report: &mut Report,
    case: &str,
    guests: u32,
    is_full: bool,
) -> Result<(), Box<dyn Error>> {
    let frames = capture_of(guests, containers::frame);
    let capture = lab.dir().join("frames.pcap");
    replay::write(&capture, &frames)?;
    let _ = std::fs::remove_dir_all(lab.dir().join("state"));
    let devices = Devices::measured(&capture);
    let file = file_of(lab, &devices);
    let mut appliance = Appliance::start(lab, &file, None);
    batch(&appliance, &add_first(guests));
    if is_full {
        let path = lab.dir().join("routes");
        write_routes(&path, guests)?;
        appliance.must(&format!("route load {}", path.display()));
    }
    end(&mut appliance);
    check(lab, &mut appliance, &capture, &frames)?;
    std::fs::write(appliance.config(), file.as_str())?;
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    println!("{case}: ours: guestway run --config FILE, with\n{}", file.as_str());
    for _ in 0..STARTS {
        end(&mut appliance);
        let (prefix, sink) = (format!("lab{}", std::process::id()), devices.sink_name().to_owned());
        let begin = Instant::now();
        let watch = std::thread::spawn(move || first_packet(&prefix, &sink));
        appliance.launch();
        let first = watch.join().map_err(|_| "the watch failed")??;
        seconds.push((first - begin).as_secs_f64());
        megabytes.push(resident_mb(appliance.pid())?);
    }
    end(&mut appliance);
    report.rows.push(Row::alone(case, "first packet after", "s", median(&seconds)));
    if memory() == "--in-memory" {
        report.rows.push(Row::alone(case, "resident memory", "MB", median(&megabytes)));
    } else {
        report.left_out.push(format!("memory, {case}: without hugepages it holds the packet pool"));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::from_arguments();
    let lab = Lab::new();
    let mut report = Report::new("start");
    let cases = [
        ("2 guests", 2, false),
        ("1,000 guests", 1_000, false),
        ("1,000 guests, full table", 1_000, true),
    ];
    for (case, guests, is_full) in cases {
        if choice.wants(case) {
            measure(&lab, &mut report, case, guests, is_full)?;
        }
    }
    report.finish(&choice.directory)?;
    Ok(())
}
