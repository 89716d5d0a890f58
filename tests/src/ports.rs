//! Contests between two DPDK devices: the appliance and its peers take the same frames from one to the other.
//!
//! The frames come from net_pcap, which plays a capture for ever out of memory, and go to net_null, so no
//! generator takes a core.

use crate::appliance::Appliance;
use crate::contest::{
    Contender, Entry, Figure, Ours, ROUNDS, SPAN, Started, WARM_UP, batch, config, dropped,
    process_id, signal,
};
use crate::frames::{Mac, refresh_checksum};
use crate::host::Proc;
use crate::lab::Lab;
use crate::record::Record;
use crate::replay;
use crate::telemetry::Meter;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;

/// What is measured.
pub const FORWARDED: Figure = Figure { metric: "forwarded", unit: "Mpps", rounds: ROUNDS };

/// A capture is played at least so many frames long, whatever is in it.
const CAPTURE_FRAMES: usize = 256;

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
    pub fn recorded(capture: &Path, record: &Path) -> Self {
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

/// A contestant that runs.
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

    /// Takes the core again.
    pub fn resume(&self) {
        signal(self.pid, Signal::SIGCONT);
    }
}

impl Contender for Forwarder {
    fn commands(&self) -> Vec<String> {
        self.commands.clone()
    }

    fn pause(&self) {
        signal(self.pid, Signal::SIGSTOP);
    }

    /// Millions of packets per second that it sent while it had the core.
    fn turn(&self) -> f64 {
        self.resume();
        std::thread::sleep(WARM_UP);
        let rate = self.meter.rate(SPAN).expect("a reading");
        self.pause();
        rate / 1e6
    }

    /// Ours must have kept its books, and dropped nothing on the way.
    fn end(mut self) -> Result<(), String> {
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

/// A contestant between devices: `start` returns once it forwards, or says why it can't.
pub fn entry<'a>(
    name: &'static str,
    lab: &'a Lab,
    frames: &'a [Vec<u8>],
    start: impl Fn(&Devices) -> Result<Forwarder, String> + 'a,
) -> Entry<'a, Forwarder> {
    Entry::new(name, move || checked(lab, frames, &start))
}

/// Starts a contestant twice: first what it makes of the frames is recorded and compared.
pub fn checked(
    lab: &Lab,
    frames: &[Vec<u8>],
    start: impl Fn(&Devices) -> Result<Forwarder, String>,
) -> Started<Forwarder> {
    let said = |error: std::io::Error| error.to_string();
    let capture = lab.dir().join("frames.pcap");
    replay::write(&capture, frames).map_err(said)?;
    let record = Record::new(&lab.dir().join("record.pcap"));
    let recorded = match start(&Devices::recorded(&capture, &record.path)) {
        Ok(forwarder) => forwarder,
        Err(why) => return Ok(Err(why)),
    };
    let wanted: Vec<_> = frames.iter().map(|frame| recorded.rewrite.apply(frame)).collect();
    record
        .compare(&wanted, || recorded.pause())
        .map_err(|why| format!("it forwards wrongly: {why}"))?;
    recorded.end()?;
    Ok(start(&Devices::measured(&capture)))
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
}
