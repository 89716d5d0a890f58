//! What guestway is compared with, on the same core, devices, burst and descriptors: DPDK's testpmd, which
//! looks at nothing, and Open vSwitch with DPDK.

use crate::contest::{BURST, DESCRIPTORS, MBUFS, MEMORY_MB, memory};
use crate::dpdk::Role;
use crate::frames::{Mac, mac_text};
use crate::host::Proc;
use crate::lab::{Lab, on_all_cores};
use crate::pair::{Segments, Switch};
use crate::ports::{Devices, Forwarder, Rewrite};
use serde_json::{Deserializer, Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Open vSwitch with DPDK, as Debian installs it beside the one without.
const VSWITCHD: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
/// The layout of its configuration.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Until testpmd listens on its guests' sockets.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
/// Until its database listens.
const DATABASE_LIMIT: Duration = Duration::from_secs(10);

/// Starts testpmd in a forwarding mode that changes nothing (`io`) or swaps MACs (`macswap`).
pub fn testpmd(lab: &Lab, mode: &str, devices: &Devices) -> Result<Forwarder, String> {
    let rewrite = match mode {
        "io" => Rewrite::None,
        "macswap" => Rewrite::SwapMacs,
        other => return Err(format!("no mode that is compared: {other}")),
    };
    let (source, sink) = (&devices.source, &devices.sink);
    let prefix = format!("testpmd-{mode}-{}", std::process::id());
    let line = format!(
        "dpdk-testpmd --lcores 0@0,1@1 {} -m {MEMORY_MB} --no-pci --no-shconf \
         --file-prefix {prefix} --vdev {source} --vdev {sink} \
         -- --total-num-mbufs={MBUFS} --forward-mode={mode} --burst={BURST} \
         --rxd={DESCRIPTORS} --txd={DESCRIPTORS} --portlist=0,1 --auto-start --stats-period=3600",
        memory()
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    let dir = lab.dir().join(&prefix);
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let process = spawn(words[0], &words[1..], &dir)?;
    Forwarder::peer(vec![process], &prefix, devices, rewrite, vec![line.clone()])
        .map_err(|error| format!("{error}: {}", log(&dir, words[0])))
}

/// Starts testpmd in mode `io` between two guests' sockets, on which it listens.
pub fn testpmd_pair(
    lab: &Lab,
    sockets: &[PathBuf; 2],
    segments: Segments,
) -> Result<Switch, String> {
    let prefix = format!("testpmd-vhost-{}", std::process::id());
    let more = match segments {
        Segments::Short => "",
        // What is left to do of a received frame is said as of one to send, so that mode `io`, which looks
        // at nothing, passes that on too.
        Segments::Whole => ",tso=1,legacy-ol-flags=1",
    };
    let [first, second] = sockets.each_ref().map(|socket| format!("{}{more}", socket.display()));
    let line = format!(
        "dpdk-testpmd --lcores 0@0,1@1 {} -m {MEMORY_MB} --no-pci --no-shconf \
         --file-prefix {prefix} --vdev net_vhost0,iface={first} --vdev net_vhost1,iface={second} \
         -- --total-num-mbufs={MBUFS} --forward-mode=io --burst={BURST} \
         --rxd={DESCRIPTORS} --txd={DESCRIPTORS} --portlist=0,1 --disable-link-check --auto-start \
         --stats-period=3600",
        memory()
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    let dir = lab.dir().join(&prefix);
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let process = spawn(words[0], &words[1..], &dir)?;
    let is_listening = || sockets.iter().all(|socket| socket.exists());
    if !crate::within(LISTEN_LIMIT, is_listening) {
        return Err(format!("testpmd does not listen: {}", log(&dir, words[0])));
    }
    Ok(Switch::peer(vec![process], Role::Connects, [Rewrite::None; 2], vec![line.clone()]))
}

/// Starts Open vSwitch as a learning switch that connects to two guests' sockets.
pub fn ovs_pair(lab: &Lab, sockets: &[PathBuf; 2], segments: Segments) -> Result<Switch, String> {
    let mut switch = Ovs::prepare(lab, segments)?;
    for (name, socket) in ["p1", "p2"].iter().zip(sockets) {
        let path = format!("options:vhost-server-path={}", socket.display());
        switch.add(name, &["type=dpdkvhostuserclient", &path])?;
    }
    let Ovs { processes, commands, .. } = switch;
    Ok(Switch::peer(processes, Role::Listens, [Rewrite::None; 2], commands))
}

/// Starts a program as the appliance is started: before anybody else on the worker's core. `own` is where
/// it keeps its files and its log.
fn spawn(program: &str, arguments: &[&str], own: &Path) -> Result<Proc, String> {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    if !found.is_ok_and(|found| found.status.success()) {
        return Err(format!("{program} is not installed"));
    }
    let log = File::create(log_file(own, program)).map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new("nice");
    command.args(["-n", "-19", program]).args(arguments).env("OVS_RUNDIR", own);
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    Ok(on_all_cores(|| Proc::start(&mut command)))
}

/// The end of what a program has printed.
fn log(own: &Path, program: &str) -> String {
    let text = std::fs::read(log_file(own, program)).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(1_000)..]).into_owned()
}

/// A command as it would be typed.
fn shown(words: &[&str]) -> String {
    let quoted = |word: &&str| match word.contains([' ', '"']) {
        true => format!("'{word}'"),
        false => (*word).to_owned(),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn log_file(dir: &Path, program: &str) -> PathBuf {
    dir.join(format!("{}.log", program.rsplit('/').next().unwrap_or(program)))
}

/// How Open vSwitch finds where a frame goes.
#[derive(Clone, Debug)]
pub enum Switching {
    /// A flow for each destination, with a router's actions.
    Flows {
        /// What is sent to.
        destinations: Vec<Ipv4Addr>,
        /// New destination.
        to: Mac,
        /// New source.
        from: Mac,
    },
    /// A learning switch (`NORMAL`) that knows these by static entries, so that it floods nothing.
    Normal(Vec<Mac>),
}

/// Starts Open vSwitch with DPDK, without a service manager.
pub fn ovs(lab: &Lab, switching: &Switching, devices: &Devices) -> Result<Forwarder, String> {
    let mut switch = Ovs::prepare(lab, Segments::Short)?;
    switch.add_port("p2", 2, &devices.sink)?;
    let rewrite = match switching {
        Switching::Flows { destinations, to, from } => {
            switch.add_flows(destinations, *to, *from)?;
            Rewrite::Route { to: *to, from: *from }
        }
        Switching::Normal(macs) => {
            switch.add_macs(macs)?;
            Rewrite::None
        }
    };
    // The last thing: from here on frames come.
    switch.add_port("p1", 1, &devices.source)?;
    let Ovs { dir, prefix, processes, commands } = switch;
    let started = Forwarder::peer(processes, &prefix, devices, rewrite, commands);
    started.map_err(|error| format!("{error}: {}", log(&dir, VSWITCHD)))
}

struct Ovs {
    dir: PathBuf,
    prefix: String,
    processes: Vec<Proc>,
    commands: Vec<String>,
}

impl Ovs {
    /// Starts it with an empty bridge `br0`.
    fn prepare(lab: &Lab, segments: Segments) -> Result<Self, String> {
        if !Path::new(VSWITCHD).exists() {
            return Err(format!("{VSWITCHD} is not installed"));
        }
        let dir = tempfile::Builder::new().prefix("ovs").tempdir_in(lab.dir());
        let dir = dir.map_err(|error| error.to_string())?.keep();
        let prefix = format!("ovs-{}", std::process::id());
        let mut switch = Self { dir, prefix, processes: Vec::new(), commands: Vec::new() };
        let (database, socket) = (switch.file("conf.db"), switch.file("db.sock"));
        switch.run(&["ovsdb-tool", "create", &database, SCHEMA])?;
        let remote = format!("--remote=punix:{socket}");
        let control = format!("--unixctl={}", switch.file("db.ctl"));
        let server = switch.start("ovsdb-server", &[&database, &remote, &control])?;
        if !crate::within(DATABASE_LIMIT, || UnixStream::connect(&socket).is_ok()) {
            return Err(format!(
                "ovsdb-server does not listen: {}",
                log(&switch.dir, "ovsdb-server")
            ));
        }
        // It adds --in-memory by itself unless it sees this.
        let legacy = if memory() == "--no-huge" { " --legacy-mem" } else { "" };
        let extra = format!(
            "other_config:dpdk-extra={}{legacy} -m {MEMORY_MB} --no-pci --no-shconf --file-prefix {}",
            memory(),
            switch.prefix
        );
        switch.vsctl(&["--no-wait", "init"])?;
        switch.vsctl(&[
            "--no-wait",
            "set",
            "Open_vSwitch",
            ".",
            "other_config:dpdk-init=true",
            &extra,
            &format!("other_config:userspace-tso-enable={}", segments == Segments::Whole),
            "other_config:dpdk-lcore-mask=0x1",
            "other_config:pmd-cpu-mask=0x2",
            // The smallest pool that it makes, some 19,000 packet buffers: nearest to the others'.
            "other_config:per-port-memory=true",
            // What it has learned of flows outlasts the others' turns.
            "other_config:max-idle=3600000",
        ])?;
        let remote = format!("unix:{socket}");
        let control = format!("--unixctl={}", switch.file("switch.ctl"));
        let forwarder = switch.start(VSWITCHD, &[&remote, &control])?;
        switch.processes = vec![forwarder, server];
        switch.vsctl(&[
            "add-br",
            "br0",
            "--",
            "set",
            "Bridge",
            "br0",
            "datapath_type=netdev",
            "other_config:mac-table-size=65536",
        ])?;
        Ok(switch)
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Starts a program that stays.
    fn start(&mut self, program: &str, arguments: &[&str]) -> Result<Proc, String> {
        self.commands.push(format!("{program} {}", arguments.join(" ")));
        spawn(program, arguments, &self.dir)
    }

    /// Runs a program to its end.
    fn run(&mut self, words: &[&str]) -> Result<String, String> {
        let line = shown(words);
        self.commands.push(line.clone());
        self.ask(words).map_err(|error| format!("{line}: {error}; {}", log(&self.dir, VSWITCHD)))
    }

    /// As [`Ovs::run`], of what only looks.
    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("OVS_RUNDIR", &self.dir).stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("{}: {error}", words[0]))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn vsctl(&mut self, words: &[&str]) -> Result<String, String> {
        let database = format!("--db=unix:{}", self.file("db.sock"));
        self.run(&[&["ovs-vsctl", &database, "--timeout=20"], words].concat())
    }

    /// Adds a port of the bridge, whatever it is on.
    fn add(&mut self, name: &str, what: &[&str]) -> Result<(), String> {
        let add = ["add-port", "br0", name, "--", "set", "Interface", name];
        self.vsctl(&[&add[..], what].concat()).map(drop)
    }

    /// Adds a port of the bridge on a DPDK device.
    fn add_port(&mut self, name: &str, number: u32, device: &str) -> Result<(), String> {
        let request = format!("ofport_request={number}");
        let device = format!("options:dpdk-devargs=\"{device}\"");
        let rx = format!("options:n_rxq_desc={DESCRIPTORS}");
        let tx = format!("options:n_txq_desc={DESCRIPTORS}");
        self.add(name, &["type=dpdk", &request, &device, &rx, &tx])?;
        let number = number.to_string();
        let database = format!("--db=unix:{}", self.file("db.sock"));
        match self.ask(&["ovs-vsctl", &database, "get", "Interface", name, "ofport"])?.trim() {
            got if got == number => Ok(()),
            got => Err(format!("port {name} is {got}: {}", log(&self.dir, VSWITCHD))),
        }
    }

    fn add_flows(&mut self, destinations: &[Ipv4Addr], to: Mac, from: Mac) -> Result<(), String> {
        let (to, from) = (mac_text(to), mac_text(from));
        let mut flows = String::new();
        for destination in destinations {
            let _ = writeln!(
                flows,
                "ip,nw_dst={destination} \
                 actions=mod_dl_src:{from},mod_dl_dst:{to},dec_ttl,output:2"
            );
        }
        let path = self.file("flows");
        std::fs::write(&path, &flows).map_err(|error| error.to_string())?;
        self.run(&["ovs-ofctl", "del-flows", "br0"])?;
        self.run(&["ovs-ofctl", "add-flows", "br0", &path])?;
        let first = flows.lines().next().unwrap_or_default().to_owned();
        self.commands.push(format!("{} flows like: {first}", destinations.len()));
        Ok(())
    }

    /// Over one connection: a process for each (`ovs-appctl fdb/add`) would take a minute.
    fn add_macs(&mut self, macs: &[Mac]) -> Result<(), String> {
        let path = self.file("switch.ctl");
        let mut stream = UnixStream::connect(&path).map_err(|error| format!("{path}: {error}"))?;
        let answers = stream.try_clone().map_err(|error| error.to_string())?;
        let mut answers = Deserializer::from_reader(BufReader::new(answers)).into_iter::<Value>();
        for (id, mac) in (0..).zip(macs) {
            let wish = json!({ "id": id, "method": "fdb/add", "params": ["br0", "p2", "0", mac_text(*mac)] });
            stream.write_all(wish.to_string().as_bytes()).map_err(|error| error.to_string())?;
            let answer = answers.next().ok_or("fdb/add: no answer")?;
            let answer = answer.map_err(|error| format!("fdb/add: {error}"))?;
            if !answer["error"].is_null() {
                return Err(format!("fdb/add: {answer}"));
            }
        }
        let first = macs.first().copied().map(mac_text).unwrap_or_default();
        self.commands.push(format!(
            "ovs-appctl -t {path} fdb/add br0 p2 0 {first}, and so on: {} MACs",
            macs.len()
        ));
        Ok(())
    }
}
