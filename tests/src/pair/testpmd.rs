//! Two guests that are one testpmd: what each sends comes out of a capture, and what each receives is
//! dropped, counted.

use super::MACS;
use crate::contest::{MBUFS, memory, process_id, signal};
use crate::dpdk::Role;
use crate::frames::mac_text;
use crate::host::Proc;
use crate::lab::Lab;
use crate::record::Record;
use crate::telemetry::Meter;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// Memory of the guests' program, MB.
const GUESTS_MB: u32 = 128;
/// Until guests that are connected receive.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(10);

/// The two guests.
#[derive(Debug)]
pub struct Guests {
    pid: Pid,
    /// Counts what both receive.
    pub meter: Meter,
    _process: Proc,
    /// How their program was started, for the reader.
    pub command: String,
}

impl Guests {
    /// Starts them on these sockets: each sends its capture for ever. What each receives is dropped, or
    /// written to its record. Returns once both receive.
    pub fn start(
        lab: &Lab,
        name: &str,
        sockets: &[PathBuf; 2],
        role: Role,
        captures: &[PathBuf; 2],
        records: Option<&[Record; 2]>,
    ) -> Result<Self, String> {
        let prefix = format!("guests-{name}-{}", std::process::id());
        if role == Role::Listens {
            // An earlier program has left them behind.
            sockets.iter().for_each(|socket| drop(std::fs::remove_file(socket)));
        }
        let command = command(&prefix, sockets, role, captures, records);
        let path = lab.dir().join(format!("guests-{name}.log"));
        let log = File::create(&path).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut line = lab.server().command(&command);
        line.stdin(Stdio::null()).stdout(log).stderr(errors);
        let mut process = Proc::start(&mut line);
        let pid = process_id(process.as_child().id());
        let said = |error: String| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            format!(
                "guests: {error}: {}",
                text.get(text.len().saturating_sub(1_000)..).unwrap_or("")
            )
        };
        let devices = ["net_virtio_user0", "net_virtio_user1"];
        let meter = Meter::new(&prefix, &devices, "ipackets").map_err(said)?;
        let both_receive =
            || meter.read().is_ok_and(|counts| counts.iter().all(|(_, count)| *count > 0));
        if !crate::within(TRAFFIC_LIMIT, both_receive) {
            return Err(said(format!("they received {:?}", meter.read())));
        }
        Ok(Self { pid, meter, _process: process, command })
    }

    /// Leaves the core to others.
    pub fn pause(&self) {
        signal(self.pid, Signal::SIGSTOP);
    }

    /// Takes it again.
    pub fn resume(&self) {
        signal(self.pid, Signal::SIGCONT);
    }
}

/// How the program is started.
fn command(
    prefix: &str,
    sockets: &[PathBuf; 2],
    role: Role,
    captures: &[PathBuf; 2],
    records: Option<&[Record; 2]>,
) -> String {
    let server = if role == Role::Listens { ",server=1" } else { "" };
    // Shared memory has to be of few files: a vhost back end takes eight.
    let memory = match memory() {
        "--no-huge" => "--no-huge".to_owned(),
        huge => format!("{huge} --single-file-segments"),
    };
    let mut command = format!(
        "dpdk-testpmd --lcores 0@0,1@0 {memory} -m {GUESTS_MB} --no-pci --no-shconf \
         --file-prefix {prefix}"
    );
    for number in 0..2 {
        let record = records.map(|records| format!(",tx_pcap={}", records[number].path.display()));
        command += &format!(
            " --vdev net_pcap{number},rx_pcap={}{},infinite_rx=1 \
             --vdev net_virtio_user{number},mac={},path={}{server}",
            captures[number].display(),
            record.unwrap_or_default(),
            mac_text(MACS[number]),
            sockets[number].display(),
        );
    }
    // Ports in pairs: 0 and 1 are the first guest's.
    command
        + &format!(
            " -- --total-num-mbufs={MBUFS} --forward-mode=io --portlist=0,1,2,3 --auto-start \
             --stats-period=3600"
        )
}
