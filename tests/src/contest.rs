//! Black-box benchmarks of forwarding: the appliance and its peers take the same frames from one DPDK
//! device to another on the worker's core, by turns.
//!
//! The frames come from net_pcap, which plays a capture for ever out of memory, and go to net_null, so no
//! generator takes a core. All contestants run at once and wait, stopped (SIGSTOP), while one of them has
//! the core. First each one's frames are recorded and compared: a figure of a contestant that forwards
//! wrongly would be none.

use crate::appliance::Appliance;
use crate::config::Config;
use crate::frames::{Mac, refresh_checksum};
use crate::host::Proc;
use crate::lab::Lab;
use crate::measure::{Better, Contestant, ROUNDS, Report, take_turns_in};
use crate::replay;
use crate::telemetry::Meter;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Receive and send descriptors of each port.
pub const DESCRIPTORS: u32 = 1024;
/// Packet buffers of each contestant.
pub const MBUFS: u32 = 16_384;
/// Packets of a burst.
pub const BURST: u32 = 32;
/// Memory of each contestant, MB.
pub const MEMORY_MB: u32 = 256;

/// Our name among the contestants.
pub const OURS: &str = "ours";

/// A capture is played at least so many frames long, whatever is in it.
const CAPTURE_FRAMES: usize = 256;
/// From SIGCONT until the first reading.
pub(crate) const WARM_UP: Duration = Duration::from_millis(10);
/// Between the two readings of a turn.
pub(crate) const SPAN: Duration = Duration::from_millis(40);
/// Turns of a round. Many short ones: the machine's speed may halve for some tenths of a second, and a
/// round in which that met one contestant alone would say nothing.
pub(crate) const TURNS: usize = 16;
/// Until a contestant has recorded enough.
pub(crate) const RECORD_LIMIT: Duration = Duration::from_secs(20);
/// Changes of one batch.
const BATCH: usize = 8192;
/// Rounds of a capture that are recorded, the last of which is compared: whoever learns has learned.
pub(crate) const RECORD_ROUNDS: usize = 4;

/// EAL's arguments for memory: hugepages where `tests/bench` has found some.
pub fn memory() -> &'static str {
    if std::env::var_os("GUESTWAY_BENCH_HUGE").is_some() { "--in-memory" } else { "--no-huge" }
}

/// Where frames come from and go to, as DPDK vdevs.
#[derive(Clone, Debug)]
pub struct Devices {
    /// Plays a capture for ever.
    pub source: String,
    /// Takes what is forwarded.
    pub sink: String,
}

impl Devices {
    fn playing(capture: &Path, sink: String) -> Self {
        Self { source: format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()), sink }
    }

    /// What is forwarded is dropped.
    pub fn measured(capture: &Path) -> Self {
        Self::playing(capture, "net_null0,no-rx=1".to_owned())
    }

    /// What is forwarded is written to `record`.
    fn recorded(capture: &Path, record: &Path) -> Self {
        Self::playing(capture, format!("net_pcap1,tx_pcap={}", record.display()))
    }

    /// The sink's name to DPDK.
    pub fn sink_name(&self) -> &str {
        self.sink.split(',').next().unwrap_or_default()
    }
}

/// What a contestant does to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewrite {
    /// Nothing.
    None,
    /// Source and destination MAC change places.
    SwapMacs,
    /// A router's work: new MACs, one less to live, the checksum to match.
    Route {
        /// New destination.
        to: Mac,
        /// New source.
        from: Mac,
    },
}

impl Rewrite {
    /// The frame as it must come out.
    pub fn apply(self, frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        match self {
            Self::None => {}
            Self::SwapMacs => frame[..12].rotate_left(6),
            Self::Route { to, from } => {
                frame[..6].copy_from_slice(&to);
                frame[6..12].copy_from_slice(&from);
                frame[22] -= 1;
                refresh_checksum(&mut frame[14..]);
            }
        }
        frame
    }
}

/// The appliance as a contestant: killed if the contest ends before its time.
#[derive(Debug)]
pub struct Ours {
    /// It runs.
    pub appliance: Appliance,
    is_over: bool,
}

impl Ours {
    /// Enters it.
    pub fn new(appliance: Appliance) -> Self {
        Self { appliance, is_over: false }
    }

    /// Ends it, once its books are checked.
    pub fn end(mut self) {
        self.appliance.must("stop");
        self.appliance.stop();
        self.is_over = true;
    }
}

/// A running contestant.
#[derive(Debug)]
pub struct Forwarder {
    pid: Pid,
    meter: Meter,
    /// With what it had dropped before: frames that came while the source was still being attached.
    ours: Option<(Ours, u64)>,
    /// A peer's, for as long as it competes.
    _processes: Vec<Proc>,
    /// What it does to each frame.
    pub rewrite: Rewrite,
    /// How it was started, for the reader.
    pub commands: Vec<String>,
}

impl Forwarder {
    /// A peer, whose first process forwards.
    pub fn peer(
        mut processes: Vec<Proc>,
        prefix: &str,
        devices: &Devices,
        rewrite: Rewrite,
        commands: Vec<String>,
    ) -> Result<Self, String> {
        let pid = processes.first_mut().ok_or("no process")?.as_child().id();
        let meter = Meter::new(prefix, &[devices.sink_name()], "opackets")?;
        let pid = process_id(pid);
        Ok(Self { pid, meter, ours: None, _processes: processes, rewrite, commands })
    }

    /// The appliance, where it is it.
    pub fn appliance(&self) -> Option<&Appliance> {
        self.ours.as_ref().map(|(ours, _)| &ours.appliance)
    }

    /// What ours has dropped since it forwards.
    pub fn lost(&self) -> u64 {
        self.ours.as_ref().map_or(0, |(ours, before)| dropped(&ours.appliance).0 - before)
    }

    /// Leaves the core to others.
    pub fn pause(&self) {
        kill(self.pid, Signal::SIGSTOP).expect("SIGSTOP");
    }

    /// Takes it again.
    pub fn resume(&self) {
        kill(self.pid, Signal::SIGCONT).expect("SIGCONT");
    }

    /// A turn: millions of packets per second that it sent while it had the core.
    pub fn turn(&self) -> f64 {
        self.resume();
        std::thread::sleep(WARM_UP);
        let rate = self.meter.rate(SPAN).expect("a reading");
        self.pause();
        rate / 1e6
    }

    /// Ends it. Ours must have kept its books, and dropped nothing on the way.
    pub fn end(mut self) -> Result<(), String> {
        self.resume();
        let Some((ours, dropped_before)) = self.ours.take() else { return Ok(()) };
        let (dropped, drops) = dropped(&ours.appliance);
        ours.end();
        match dropped - dropped_before {
            0 => Ok(()),
            more => Err(format!("packets were dropped, {more} of these: {drops}")),
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // Whoever is asked what went wrong must be able to answer.
        let _ = kill(self.pid, Signal::SIGCONT);
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // What went wrong is told by whoever drops it; an appliance left running would add its own.
        if !self.is_over && !std::thread::panicking() {
            self.appliance.kill();
        }
    }
}

fn dropped(appliance: &Appliance) -> (u64, Value) {
    let drops = appliance.json("show drops");
    (drops["dropped"].as_u64().unwrap_or(0), drops)
}

/// As signals want it.
pub(crate) fn process_id(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a process id"))
}

/// The appliance's file, with the memory that each contestant has.
pub fn config(lab: &Lab, ports: &str) -> Config {
    let words = format!(r#""{}", "-m", "{MEMORY_MB}""#, memory());
    Config::new(lab)
        .replace(r#""--no-huge", "-m", "256""#, &words)
        .replace("mbufs = 16384", &format!("mbufs = {MBUFS}"))
        .text(ports)
}

/// Makes changes, as few transactions as there can be.
pub fn batch(appliance: &Appliance, changes: &[Value]) {
    for changes in changes.chunks(BATCH) {
        let (status, answer) =
            appliance.api("POST", "/v1/batch", &Value::from(changes).to_string());
        assert!((200..300).contains(&status), "{status}: {answer}");
    }
}

/// Starts the appliance: `ports` in its file, `changes` as one batch, and last `attach`, the command that
/// brings the source. `rewrite` is asked once it runs.
pub fn start_ours(
    lab: &Lab,
    devices: &Devices,
    ports: &str,
    changes: &[Value],
    attach: &str,
    rewrite: impl FnOnce(&Appliance) -> Rewrite,
) -> Result<Forwarder, String> {
    // Each start is a first one.
    let _ = std::fs::remove_dir_all(lab.dir().join("state"));
    let config = config(lab, ports);
    let appliance = Appliance::start(lab, &config, None);
    batch(&appliance, changes);
    appliance.must(attach);
    let commands = vec![
        format!("guestway run --config FILE, with\n{}", config.as_str()),
        format!("POST /v1/batch, {} changes like {}", changes.len(), changes[changes.len() - 1]),
        format!("guestway ctl {attach}"),
    ];
    let rewrite = rewrite(&appliance);
    let pid = process_id(appliance.pid());
    let (dropped_before, _) = dropped(&appliance);
    let ours = Some((Ours::new(appliance), dropped_before));
    let meter =
        Meter::new(&format!("lab{}", std::process::id()), &[devices.sink_name()], "opackets")?;
    Ok(Forwarder { pid, meter, ours, _processes: Vec::new(), rewrite, commands })
}

/// Starts a contestant; why not, where it can't.
type Start<'a> = Box<dyn Fn(&Devices) -> Result<Forwarder, String> + 'a>;

/// How a contestant is started.
pub struct Entry<'a> {
    name: &'static str,
    start: Start<'a>,
}

impl<'a> Entry<'a> {
    /// By `start`, which returns once it forwards; `ours`, or the name of a peer.
    pub fn new(
        name: &'static str,
        start: impl Fn(&Devices) -> Result<Forwarder, String> + 'a,
    ) -> Self {
        Self { name, start: Box::new(start) }
    }
}

/// One case: checks every contestant, then lets them take turns. The first is ours and has to start; a
/// peer that doesn't is left out.
pub fn compete(
    lab: &Lab,
    report: &mut Report,
    case: &str,
    frames: &[Vec<u8>],
    entries: &[Entry<'_>],
) -> Result<(), String> {
    let capture = lab.dir().join("frames.pcap");
    replay::write(&capture, frames).map_err(|error| error.to_string())?;
    let devices = Devices::measured(&capture);
    let mut forwarders = Vec::new();
    let mut able = Vec::new();
    for entry in entries {
        match check(lab, &capture, frames, entry)? {
            Ok(()) => able.push(entry),
            Err(why) => leave_out(report, case, entry.name, &why)?,
        }
    }
    for entry in able {
        let forwarder = match (entry.start)(&devices) {
            Ok(forwarder) => forwarder,
            Err(why) => {
                leave_out(report, case, entry.name, &why)?;
                continue;
            }
        };
        forwarder.pause();
        for command in &forwarder.commands {
            println!("{case}: {}: {command}", entry.name);
        }
        forwarders.push((entry.name, forwarder));
    }
    let mut contestants: Vec<Contestant<'_>> =
        forwarders.iter().map(|(name, it)| Contestant::new(name, || it.turn())).collect();
    let samples = take_turns_in(ROUNDS, TURNS, &mut contestants);
    drop(contestants);
    report.rows.extend(samples.rows(case, "forwarded", "Mpps", Better::More));
    forwarders
        .into_iter()
        .try_for_each(|(name, it)| it.end().map_err(|why| format!("{name}, {case}: {why}")))
}

/// A peer that does not start is told of; ours has to.
pub(crate) fn leave_out(
    report: &mut Report,
    case: &str,
    name: &str,
    why: &str,
) -> Result<(), String> {
    let why = format!("{name}, {case}: {why}");
    if name == OURS {
        return Err(why);
    }
    report.left_out.push(why);
    Ok(())
}

/// Records what a contestant makes of the frames. The inner error: it does not start; the outer one: it
/// does, and forwards wrongly.
fn check(
    lab: &Lab,
    capture: &Path,
    frames: &[Vec<u8>],
    entry: &Entry<'_>,
) -> Result<Result<(), String>, String> {
    let record = lab.dir().join("record.pcap");
    let _ = std::fs::remove_file(&record);
    let forwarder = match (entry.start)(&Devices::recorded(capture, &record)) {
        Ok(forwarder) => forwarder,
        Err(why) => return Ok(Err(why)),
    };
    let wanted: usize = frames.iter().map(|frame| frame.len() + replay::RECORD_HEADER_BYTES).sum();
    let wanted = (wanted * RECORD_ROUNDS) as u64;
    let recorded = || std::fs::metadata(&record).is_ok_and(|file| file.len() > wanted);
    let is_enough = crate::within(RECORD_LIMIT, recorded);
    forwarder.pause();
    let came = replay::read_whole(&record).map_err(|error| error.to_string())?;
    let wanted: Vec<_> = frames.iter().map(|frame| forwarder.rewrite.apply(frame)).collect();
    let verdict = if is_enough {
        is_last_round(&wanted, &came)
    } else {
        Err(format!("it forwarded {} frames in {RECORD_LIMIT:?}", came.len()))
    };
    verdict.map_err(|why| format!("{} forwards wrongly: {why}", entry.name))?;
    forwarder.end()?;
    std::fs::remove_file(&record).map_err(|error| error.to_string())?;
    Ok(Ok(()))
}

/// Whether the end of what came is one whole round of what was wanted, in order, from any frame on.
fn is_last_round(wanted: &[Vec<u8>], came: &[Vec<u8>]) -> Result<(), String> {
    let begin = came.len().checked_sub(wanted.len()).ok_or("too few frames")?;
    let last = &came[begin..];
    let first = last.first().ok_or("no frames")?;
    let Some(at) = wanted.iter().position(|frame| frame == first) else {
        return Err(format!("nobody wanted {first:02x?}; the first wanted is {:02x?}", wanted[0]));
    };
    let expected = wanted.iter().cycle().skip(at);
    match last.iter().zip(expected).find(|(came, wanted)| came != wanted) {
        None => Ok(()),
        Some((came, wanted)) => Err(format!("wanted {wanted:02x?}, came {came:02x?}")),
    }
}

/// One frame per destination, in order and again until the capture is long enough; the number of the
/// frame is its payload, so that no two are alike.
pub fn capture_of(destinations: u32, frame: impl Fn(u32, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let count = CAPTURE_FRAMES.max(destinations as usize);
    let one = |(number, destination)| frame(destination, &payload(number));
    (0..).zip((0..destinations).cycle()).take(count).map(one).collect()
}

/// What fills a frame up to 60 bytes, 64 with its FCS.
fn payload(number: u32) -> [u8; 18] {
    let mut payload = [b'x'; 18];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{IPV4, UDP, checksum, ethernet, ipv4, udp};

    fn frame(number: u32, payload: &[u8]) -> Vec<u8> {
        let to = std::net::Ipv4Addr::from(0x0a01_0000 + number).to_string();
        ethernet([2; 6], [4; 6], IPV4, &ipv4("192.0.2.1", &to, 64, UDP, &udp(1, 2, payload)))
    }

    #[test]
    fn a_capture_is_of_short_frames_no_two_alike() {
        for (destinations, count) in [(1, 256), (256, 256), (300, 300)] {
            let frames = capture_of(destinations, frame);
            assert_eq!(frames.len(), count);
            assert!(frames.iter().all(|frame| frame.len() == 60));
            let distinct: std::collections::HashSet<_> = frames.iter().collect();
            assert_eq!(distinct.len(), count);
        }
    }

    #[test]
    fn a_routed_frame_has_new_macs_and_a_right_checksum() {
        let before = frame(7, &[1; 18]);
        let after = Rewrite::Route { to: [6; 6], from: [8; 6] }.apply(&before);
        assert_eq!((&after[..6], &after[6..12], after[22]), (&[6; 6][..], &[8; 6][..], 63));
        assert_eq!(checksum(&after[14..34]), 0);
        assert_eq!(after[26..], before[26..]);
        assert_eq!(Rewrite::None.apply(&before), before);
        assert_eq!(Rewrite::SwapMacs.apply(&before)[..12], [[4; 6], [2; 6]].concat());
    }

    #[test]
    fn a_round_begins_anywhere_and_misses_nothing() {
        let wanted: Vec<Vec<u8>> = (0..4).map(|n| vec![n]).collect();
        let came = |numbers: &[u8]| numbers.iter().map(|n| vec![*n]).collect::<Vec<_>>();
        assert_eq!(is_last_round(&wanted, &came(&[1, 3, 0, 1, 2, 3, 0])), Ok(()));
        for wrong in [&[0, 1, 2][..], &[0, 1, 3, 0], &[0, 2, 1, 3], &[0, 1, 2, 9], &[9, 0, 1, 2]] {
            assert!(is_last_round(&wanted, &came(wrong)).is_err(), "{wrong:?}");
        }
    }
}
