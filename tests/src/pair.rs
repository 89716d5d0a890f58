//! Black-box benchmarks between two guests on vhost-user sockets: the appliance and its peers pass the
//! same frames from each guest to the other on the worker's core, by turns.
//!
//! Both guests are one testpmd on the other core. It feeds each guest's virtio-user port out of a capture
//! that plays for ever and drops, counted, what the guest receives; so a turn tells what has arrived, both
//! ways together. Each contestant has guests of its own, and stops (SIGSTOP) together with them. First its
//! frames are recorded and compared.

use crate::appliance::Appliance;
use crate::balance::{reasons, stats};
use crate::contest::{
    MBUFS, Ours, RECORD_LIMIT, RECORD_ROUNDS, Rewrite, SPAN, TURNS, WARM_UP, batch, config,
    leave_out, memory, process_id,
};
use crate::dpdk::Role;
use crate::frames::{IPV4, Mac, UDP, ethernet, ipv4, mac, mac_text, udp};
use crate::host::Proc;
use crate::lab::Lab;
use crate::measure::{Better, Contestant, ROUNDS, Report, take_turns_in};
use crate::replay;
use crate::telemetry::Meter;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The guests' MACs.
pub const MACS: [Mac; 2] = [[2, 0, 0, 0, 9, 1], [2, 0, 0, 0, 9, 2]];
/// Their addresses.
pub const IPS: [&str; 2] = ["10.9.0.1", "10.9.0.2"];

/// Memory of the guests' program, MB.
const GUESTS_MB: u32 = 128;
/// Bytes of an FCS, which no capture holds.
const FCS_BYTES: usize = 4;
/// Bytes of all headers of a frame.
const HEADER_BYTES: usize = 42;
/// Frames of a capture. Rings and bursts are powers of two: were this one too, a contestant that drops by
/// bursts might drop the same frames each time.
const CAPTURE_FRAMES: u32 = 251;
/// Until guests that are connected receive.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(10);
/// What the appliance may have dropped: more than a guest's ring could take.
const OVERLOAD: [&str; 1] = ["tx-full"];

/// How the appliance connects the two guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It routes between them.
    Routed,
    /// They are members of one virtual network.
    Bridged,
    /// It routes between the first, a guest, and the second, a host of the LAN at the other end of the
    /// uplink.
    Uplink,
}

/// What passes frames between two guests' sockets.
#[derive(Debug)]
pub struct Switch {
    pid: Pid,
    ours: Option<Ours>,
    /// A peer's, for as long as it competes.
    _processes: Vec<Proc>,
    /// What the guests' program does with its sockets.
    role: Role,
    /// Whom each guest sends to.
    to: [Mac; 2],
    /// What becomes of what each guest sends.
    rewrites: [Rewrite; 2],
    commands: Vec<String>,
}

impl Switch {
    /// A peer, whose first process forwards, and by guests' MACs.
    pub fn peer(
        mut processes: Vec<Proc>,
        role: Role,
        rewrites: [Rewrite; 2],
        commands: Vec<String>,
    ) -> Self {
        let pid = process_id(processes[0].as_child().id());
        let to = [MACS[1], MACS[0]];
        Self { pid, ours: None, _processes: processes, role, to, rewrites, commands }
    }

    /// The appliance: `ports` in its file beside the two guests, and `changes` as one batch.
    pub fn ours(
        lab: &Lab,
        sockets: &[PathBuf; 2],
        mode: Mode,
        ports: &str,
        changes: &[Value],
    ) -> Self {
        // Each start is a first one.
        let _ = std::fs::remove_dir_all(lab.dir().join("state"));
        let network = "[[network]]\nname = \"lan0\"";
        let guests = match mode {
            Mode::Uplink => uplink(&sockets[1]) + &guest(0, mode, sockets),
            _ => guest(0, mode, sockets) + &guest(1, mode, sockets),
        };
        let config = config(lab, &format!("{network}\n{guests}{ports}"));
        let appliance = Appliance::start(lab, &config, None);
        if mode == Mode::Uplink {
            let host = mac_text(MACS[1]);
            appliance.must(&format!("neighbor add {} {host} dev up0", IPS[1]));
        }
        batch(&appliance, changes);
        let mut commands = vec![format!("guestway run --config FILE, with\n{}", config.as_str())];
        if let Some(last) = changes.last() {
            commands.push(format!("POST /v1/batch, {} changes like {last}", changes.len()));
        }
        let mac_of = |port: &str| {
            let port = appliance.json(&format!("show port info {port}"));
            mac(port["mac"].as_str().unwrap_or_else(|| panic!("no MAC: {port}")))
        };
        // Whom each sends to, which is who its answers come from.
        let to = match mode {
            Mode::Bridged => [MACS[1], MACS[0]],
            Mode::Routed => [mac_of("g0/eth0"), mac_of("g1/eth0")],
            Mode::Uplink => [mac_of("g0/eth0"), mac_of("up0")],
        };
        let rewrites = [1, 0].map(|other: usize| match mode {
            Mode::Bridged => Rewrite::None,
            _ => Rewrite::Route { to: MACS[other], from: to[other] },
        });
        let pid = process_id(appliance.pid());
        let ours = Some(Ours::new(appliance));
        Self { pid, ours, _processes: Vec::new(), role: Role::Connects, to, rewrites, commands }
    }

    /// The appliance, where it is it.
    pub fn appliance(&self) -> Option<&Appliance> {
        self.ours.as_ref().map(|ours| &ours.appliance)
    }

    /// What a guest sends, of `bytes` each with their FCS, and what the other one has to get.
    pub fn frames(&self, guest: usize, bytes: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let frames = frames(guest, self.to[guest], bytes);
        let wanted = frames.iter().map(|frame| self.rewrites[guest].apply(frame)).collect();
        (frames, wanted)
    }

    /// How it was started, for the reader.
    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Leaves the core to others.
    pub fn pause(&self) {
        kill(self.pid, Signal::SIGSTOP).expect("SIGSTOP");
    }

    /// Takes it again.
    pub fn resume(&self) {
        kill(self.pid, Signal::SIGCONT).expect("SIGCONT");
    }

    /// Ends it, after its guests. Ours must have kept its books, and dropped nothing but what guests had
    /// no room for.
    pub fn end(mut self) -> Result<(), String> {
        self.resume();
        let Some(ours) = self.ours.take() else { return Ok(()) };
        let rows = stats(&ours.appliance);
        ours.end();
        for (port, row) in rows {
            let wrong = reasons(&row)
                .into_iter()
                .find(|(reason, count)| *count > 0 && !OVERLOAD.contains(&reason.as_str()));
            if let Some((reason, count)) = wrong {
                return Err(format!("{port} dropped {count} packets, {reason}: {row}"));
            }
        }
        Ok(())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Whoever is asked what went wrong must be able to answer.
        let _ = kill(self.pid, Signal::SIGCONT);
    }
}

/// A guest in the appliance's file.
fn guest(number: usize, mode: Mode, sockets: &[PathBuf; 2]) -> String {
    let (kind, keys) = match mode {
        Mode::Bridged => ("vm", "mode = \"virtual-network\"\nnetwork = \"lan0\""),
        _ => ("container", "mode = \"host-routed\"\nprobe = false\nannounce = false"),
    };
    format!(
        "[[guest]]\nname = \"g{number}\"\nkind = \"{kind}\"\n\
         [[guest.adapter]]\nname = \"eth0\"\nport = \"vhost-user,path={}\"\nmac = \"{}\"\n\
         addresses = [\"{}/32\"]\n{keys}\n",
        sockets[number].display(),
        mac_text(MACS[number]),
        IPS[number]
    )
}

/// An uplink whose other end is a socket, in the appliance's file.
fn uplink(socket: &Path) -> String {
    format!(
        "[[uplink]]\nname = \"up0\"\ndevice = \"net_vhost0,iface={}\"\n\
         addresses = [\"10.9.0.254/24\"]\n",
        socket.display()
    )
}

/// The two guests.
#[derive(Debug)]
pub struct Guests {
    pid: Pid,
    meter: Meter,
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
        records: Option<&[PathBuf; 2]>,
    ) -> Result<Self, String> {
        let prefix = format!("guests-{name}-{}", std::process::id());
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
            if role == Role::Listens {
                let _ = std::fs::remove_file(&sockets[number]);
            }
            let record = records.map(|records| format!(",tx_pcap={}", records[number].display()));
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
        command += &format!(
            " -- --total-num-mbufs={MBUFS} --forward-mode=io --portlist=0,1,2,3 --auto-start \
             --stats-period=3600"
        );
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
        kill(self.pid, Signal::SIGSTOP).expect("SIGSTOP");
    }

    /// Takes it again.
    pub fn resume(&self) {
        kill(self.pid, Signal::SIGCONT).expect("SIGCONT");
    }
}

/// A switch with its guests.
#[derive(Debug)]
pub struct Pair {
    // Guests leave before the one they are connected to.
    guests: Guests,
    switch: Switch,
}

impl Pair {
    /// Checks what the switch makes of each guest's frames, of `bytes` each with their FCS, and starts
    /// guests that do nothing but count. The inner error: it does not start; the outer one: it does, and
    /// forwards wrongly.
    pub fn start(
        lab: &Lab,
        name: &str,
        sockets: &[PathBuf; 2],
        switch: Switch,
        bytes: usize,
    ) -> Result<Result<Self, String>, String> {
        let frames = [0, 1].map(|number| switch.frames(number, bytes));
        let captures = [0, 1].map(|number| lab.dir().join(format!("{name}{number}.pcap")));
        for (path, (frames, _)) in captures.iter().zip(&frames) {
            replay::write(path, frames).map_err(|error| error.to_string())?;
        }
        let records = [0, 1].map(|number| lab.dir().join(format!("record{number}.pcap")));
        let start = |records| Guests::start(lab, name, sockets, switch.role, &captures, records);
        let guests = match start(Some(&records)) {
            Ok(guests) => guests,
            Err(why) => return Ok(Err(why)),
        };
        let wanted: usize =
            frames[0].0.iter().map(|it| it.len() + replay::RECORD_HEADER_BYTES).sum();
        let wanted = (wanted * RECORD_ROUNDS) as u64;
        let is_long =
            |record: &PathBuf| std::fs::metadata(record).is_ok_and(|it| it.len() > wanted);
        let is_enough = crate::within(RECORD_LIMIT, || records.iter().all(is_long));
        guests.pause();
        for (sender, (_, wanted)) in frames.iter().enumerate() {
            is_delivered(wanted, &records[1 - sender])
                .and_then(|()| if is_enough { Ok(()) } else { Err("too few frames".to_owned()) })
                .map_err(|why| format!("{name} forwards wrongly from guest {sender}: {why}"))?;
        }
        drop(guests);
        for record in &records {
            std::fs::remove_file(record).map_err(|error| error.to_string())?;
        }
        Ok(start(None).map(|guests| Self { guests, switch }))
    }

    /// What connects the guests.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Leaves both cores to others.
    pub fn pause(&self) {
        self.guests.pause();
        self.switch.pause();
    }

    /// A turn: millions of packets per second that the guests received while they had the cores.
    pub fn turn(&self) -> f64 {
        self.switch.resume();
        self.guests.resume();
        std::thread::sleep(WARM_UP);
        let rate = self.guests.meter.rate(SPAN).expect("a reading");
        self.pause();
        rate / 1e6
    }

    /// Ends both.
    pub fn end(self) -> Result<(), String> {
        self.guests.resume();
        self.switch.resume();
        let Self { guests, switch } = self;
        drop(guests);
        switch.end()
    }
}

/// What a guest sends: one flow to the other, with the frame's number as payload, so that no two are alike.
fn frames(guest: usize, to: Mac, bytes: usize) -> Vec<Vec<u8>> {
    let frame = |number: u32| {
        let mut payload = vec![b'x'; bytes - FCS_BYTES - HEADER_BYTES];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let datagram = udp(1000, 2000, &payload);
        let packet = ipv4(IPS[guest], IPS[1 - guest], 64, UDP, &datagram);
        ethernet(to, MACS[guest], IPV4, &packet)
    };
    (0..CAPTURE_FRAMES).map(frame).collect()
}

/// Whether what was recorded is all of what was wanted, again and again, and no other IPv4. More is sent
/// than can be received, so frames are missing here and there.
fn is_delivered(wanted: &[Vec<u8>], record: &Path) -> Result<(), String> {
    let mut came = replay::read_whole(record).map_err(|error| error.to_string())?;
    came.retain(|frame| frame[12..14] == IPV4.to_be_bytes());
    let known: HashSet<&Vec<u8>> = wanted.iter().collect();
    if let Some(other) = came.iter().find(|frame| !known.contains(frame)) {
        return Err(format!("nobody wanted {other:02x?}; the first wanted is {:02x?}", wanted[0]));
    }
    let came: HashSet<&Vec<u8>> = came.iter().collect();
    match wanted.iter().find(|frame| !came.contains(frame)) {
        None => Ok(()),
        Some(missing) => Err(format!("never came: {missing:02x?}")),
    }
}

/// Starts a contestant on two sockets; why not, where it can't.
type Start<'a> = Box<dyn Fn(&[PathBuf; 2]) -> Result<Switch, String> + 'a>;

/// How a contestant is started.
pub struct Entry<'a> {
    name: &'static str,
    start: Start<'a>,
}

impl<'a> Entry<'a> {
    /// By `start`; `ours`, or the name of a peer.
    pub fn new(
        name: &'static str,
        start: impl Fn(&[PathBuf; 2]) -> Result<Switch, String> + 'a,
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
    bytes: usize,
    entries: &[Entry<'_>],
) -> Result<(), String> {
    let mut pairs = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        let name = format!("pair{place}");
        let sockets = sockets(lab, &name);
        let started = match (entry.start)(&sockets) {
            Ok(switch) => {
                switch.commands.iter().for_each(|it| println!("{case}: {}: {it}", entry.name));
                Pair::start(lab, &name, &sockets, switch, bytes)
                    .map_err(|why| format!("{}, {case}: {why}", entry.name))?
            }
            Err(why) => Err(why),
        };
        match started {
            Ok(pair) => {
                println!("{case}: {}: its guests: {}", entry.name, pair.guests.command);
                pair.pause();
                pairs.push((entry.name, pair));
            }
            Err(why) => leave_out(report, case, entry.name, &why)?,
        }
    }
    let mut contestants: Vec<Contestant<'_>> =
        pairs.iter().map(|(name, pair)| Contestant::new(name, || pair.turn())).collect();
    let samples = take_turns_in(ROUNDS, TURNS, &mut contestants);
    drop(contestants);
    report.rows.extend(samples.rows(case, "delivered", "Mpps", Better::More));
    pairs
        .into_iter()
        .try_for_each(|(name, pair)| pair.end().map_err(|why| format!("{name}, {case}: {why}")))
}

/// The sockets of a contestant's guests; nothing of an earlier one is left there.
pub fn sockets(lab: &Lab, name: &str) -> [PathBuf; 2] {
    let sockets = [0, 1].map(|number| lab.dir().join(format!("{name}-{number}.sock")));
    for socket in &sockets {
        let _ = std::fs::remove_file(socket);
    }
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_long_as_asked_with_their_fcs() {
        for bytes in [64, 1_500] {
            let frames = frames(0, MACS[1], bytes);
            assert!(frames.iter().all(|frame| frame.len() == bytes - FCS_BYTES));
        }
    }

    #[test]
    fn a_missing_frame_and_a_changed_one_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = dir.path().join("record.pcap");
        let wanted = frames(0, MACS[1], 64);
        let mut arp = wanted[0].clone();
        arp[13] = 6;
        let twice = [&wanted[..], &[arp], &wanted[7..]].concat();
        replay::write(&record, &twice).expect("written");
        assert_eq!(is_delivered(&wanted, &record), Ok(()));
        replay::write(&record, &wanted[1..]).expect("written");
        assert!(is_delivered(&wanted, &record).is_err());
        let mut changed = wanted.clone();
        changed[3][22] = 63;
        replay::write(&record, &[&wanted[..], &changed].concat()).expect("written");
        assert!(is_delivered(&wanted, &record).is_err());
    }
}
