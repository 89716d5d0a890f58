//! Starting: from exec to the first packet that is forwarded, and what memory is resident then, with the
//! state of an earlier life on disk. Nobody to compare with: the figures are seconds and megabytes.

use serde_json::{Value, json};
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::contest::{Devices, batch, capture_of, config, memory};
use tests::frames::{IPV4, Mac, Random, UDP, ethernet, ipv4, mac_text, udp};
use tests::measure::{Choice, ROUNDS, Report, Row, median};
use tests::prefixes::internet;
use tests::telemetry::{PAUSE, Telemetry};
use tests::{Appliance, Lab, replay};

/// Ours on the uplink.
const UPLINK: Mac = [2, 0, 0, 0, 0, 1];
/// The LAN's router.
const ROUTER: Mac = [2, 0x55, 0, 0, 0, 1];
/// Routes of a full table.
const ROUTES: usize = 1_000_000;
/// Until the first packet.
const START_LIMIT: Duration = Duration::from_secs(20);

fn guest_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + number)
}

fn frame(guest: u32, payload: &[u8]) -> Vec<u8> {
    let to = guest_ip(guest).to_string();
    let packet = ipv4("198.51.100.7", &to, 64, UDP, &udp(1000, 2000, payload));
    ethernet(UPLINK, ROUTER, IPV4, &packet)
}

fn guest(number: u32) -> [Value; 2] {
    let name = format!("g{number}");
    let addresses = [format!("{}/32", guest_ip(number))];
    let wish = json!({ "port": "shared:venet0", "addresses": addresses });
    [
        json!({ "change": "guest-add", "guest": name, "kind": "container" }),
        json!({ "change": "adapter-add", "guest": name, "adapter": "eth0", "wish": wish }),
    ]
}

/// A full table behind the guests, each route by the next of them.
fn write_routes(path: &Path, guests: u32) -> std::io::Result<()> {
    let prefixes = internet(ROUTES, &mut Random(1)).into_iter();
    let line = |(prefix, number)| format!("{prefix} via {}\n", guest_ip(number));
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

fn row(case: &str, metric: &'static str, unit: &'static str, values: &[f64]) -> Row {
    let (ours, case) = (median(values), case.to_owned());
    Row { case, metric, unit, ours, peer: None, ratio: None }
}

/// Its books are not read: the source never rests.
fn end(appliance: &mut Appliance) {
    let status = appliance.terminate();
    assert!(status.success(), "SIGTERM: {status}\n{}", appliance.log());
}

fn measure(
    lab: &Lab,
    report: &mut Report,
    case: &str,
    guests: u32,
    is_full: bool,
) -> Result<(), Box<dyn Error>> {
    let capture = lab.dir().join("frames.pcap");
    replay::write(&capture, &capture_of(guests, frame))?;
    let _ = std::fs::remove_dir_all(lab.dir().join("state"));
    let devices = Devices::measured(&capture);
    let ports = format!(
        "[[uplink]]\nname = \"up0\"\ndevice = \"{}\"\nmac = \"{}\"\n\
         addresses = [\"198.51.100.254/24\"]\n\
         [[port]]\nname = \"venet0\"\ndevice = \"{}\"\nrole = \"shared\"",
        devices.source,
        mac_text(UPLINK),
        devices.sink
    );
    let config = config(lab, &ports);
    let mut appliance = Appliance::start(lab, &config, None);
    let changes: Vec<Value> = (0..guests).flat_map(guest).collect();
    batch(&appliance, &changes);
    if is_full {
        let path = lab.dir().join("routes");
        write_routes(&path, guests)?;
        appliance.must(&format!("route load {}", path.display()));
    }
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    println!("{case}: ours: guestway run --config FILE, with\n{}", config.as_str());
    for _ in 0..ROUNDS {
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
    report.rows.push(row(case, "first packet after", "s", &seconds));
    if memory() == "--in-memory" {
        report.rows.push(row(case, "resident memory", "MB", &megabytes));
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
