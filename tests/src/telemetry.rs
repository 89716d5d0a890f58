//! DPDK's own counters, asked of a running program over its telemetry socket: one question, put alike to
//! the appliance and to each of its peers.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Until a program that was started has its socket.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Until it answers, seconds.
const ANSWER_LIMIT_S: i64 = 5;
/// Between two questions whether something is there yet.
pub const PAUSE: Duration = Duration::from_millis(2);
/// The library's `max_output_len`.
const ANSWER_BYTES: usize = 16_384;
/// An answer that took longer says too little about when it was true.
const PROMPT: Duration = Duration::from_micros(500);
/// How often a reading is asked for again because its answer was late.
const TRIES: usize = 5;

/// A connection to a program's telemetry.
#[derive(Debug)]
pub struct Telemetry {
    socket: OwnedFd,
}

impl Telemetry {
    /// To the program that was started with `--file-prefix PREFIX`, once it is there.
    pub fn of(prefix: &str) -> Result<Self, String> {
        let path = format!("/run/dpdk/{prefix}/dpdk_telemetry.v2");
        let end = Instant::now() + START_LIMIT;
        let telemetry = loop {
            match open(Path::new(&path)) {
                Ok(socket) => break Self { socket },
                Err(error) if Instant::now() >= end => return Err(format!("{path}: {error}")),
                Err(_) => std::thread::sleep(PAUSE),
            }
        };
        // It introduces itself first.
        telemetry.answer()?;
        Ok(telemetry)
    }

    /// Asks, and takes what the answer holds under the question's name.
    pub fn ask(&self, command: &str) -> Result<Value, String> {
        let said = |error| format!("telemetry {command}: {error}");
        send(self.socket.as_raw_fd(), command.as_bytes(), MsgFlags::MSG_NOSIGNAL).map_err(said)?;
        let name = command.split(',').next().unwrap_or_default();
        Ok(self.answer()?[name].take())
    }

    /// The number of the port on a device.
    pub fn port(&self, device: &str) -> Result<u64, String> {
        let ports = self.ask("/ethdev/list")?;
        for port in ports.as_array().into_iter().flatten().filter_map(Value::as_u64) {
            if self.ask(&format!("/ethdev/info,{port}"))?["name"] == device {
                return Ok(port);
            }
        }
        Err(format!("no port on {device}: {ports}"))
    }

    /// Packets that a port has sent so far, and when that was so.
    pub fn sent(&self, port: u64) -> Result<(Instant, u64), String> {
        self.count(port, "opackets")
    }

    /// One of a port's counters (`opackets`, `ipackets`), and when that was so.
    pub fn count(&self, port: u64, counter: &str) -> Result<(Instant, u64), String> {
        let question = format!("/ethdev/stats,{port}");
        let mut best: Option<(Duration, Instant, u64)> = None;
        for _ in 0..TRIES {
            let asked = Instant::now();
            let stats = self.ask(&question)?;
            let took = asked.elapsed();
            let count = stats[counter].as_u64().ok_or_else(|| format!("no {counter}: {stats}"))?;
            if best.is_none_or(|(least, ..)| took < least) {
                best = Some((took, asked + took / 2, count));
            }
            if took < PROMPT {
                break;
            }
        }
        best.map(|(_, at, count)| (at, count)).ok_or_else(|| "never asked".to_owned())
    }

    fn answer(&self) -> Result<Value, String> {
        let mut bytes = vec![0; ANSWER_BYTES];
        let count = recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty())
            .map_err(|error| format!("telemetry: {error}"))?;
        serde_json::from_slice(&bytes[..count]).map_err(|error| format!("telemetry: {error}"))
    }
}

/// What a program counts on some of its ports.
#[derive(Debug)]
pub struct Meter {
    telemetry: Telemetry,
    ports: Vec<u64>,
    counter: &'static str,
}

impl Meter {
    /// Counts on these devices, of the program that was started with `--file-prefix PREFIX`.
    pub fn new(prefix: &str, devices: &[&str], counter: &'static str) -> Result<Self, String> {
        let telemetry = Telemetry::of(prefix)?;
        let ports = devices.iter().map(|device| telemetry.port(device));
        let ports = ports.collect::<Result<_, _>>()?;
        Ok(Self { telemetry, ports, counter })
    }

    /// What was counted on each port so far, and when that was so.
    pub fn read(&self) -> Result<Vec<(Instant, u64)>, String> {
        self.ports.iter().map(|port| self.telemetry.count(*port, self.counter)).collect()
    }

    /// Packets per second on all ports together, within the coming `span`.
    pub fn rate(&self, span: Duration) -> Result<f64, String> {
        let before = self.read()?;
        std::thread::sleep(span);
        let after = self.read()?;
        let rate = |((from, before), (to, after)): (&(Instant, u64), &(Instant, u64))| {
            (after - before) as f64 / (*to - *from).as_secs_f64()
        };
        Ok(before.iter().zip(&after).map(rate).sum())
    }
}

fn open(path: &Path) -> nix::Result<OwnedFd> {
    let kind = SockType::SeqPacket;
    let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_LIMIT_S))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}
