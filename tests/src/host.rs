//! A host: a network namespace with Linux's own stack, and the tools run inside it.

use crate::capture::Capture;
use crate::raw::Wire;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A network namespace: a guest, an outside host, a router, or the server itself.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    /// None: the lab's own namespace.
    netns: Option<PathBuf>,
}

impl Host {
    pub(crate) fn here(name: &str) -> Self {
        Self { name: name.to_owned(), netns: None }
    }

    pub(crate) fn of_netns(name: &str) -> Self {
        Self { name: name.to_owned(), netns: Some(PathBuf::from("/run/netns").join(name)) }
    }

    /// Its name, which is the namespace's too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside.
    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command");
        let mut command = match &self.netns {
            None => Command::new(program),
            Some(path) => {
                let mut outer = Command::new("nsenter");
                outer.arg(format!("--net={}", path.display())).arg("--").arg(program);
                outer
            }
        };
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs a line inside and takes whatever comes.
    pub fn output(&self, line: &str) -> Output {
        self.command(line).output().unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Runs a line that must succeed; its standard output.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        let output = self.output(line);
        assert!(
            output.status.success(),
            "{}: {line}: {}\n{}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether a line exits 0.
    pub fn succeeds(&self, line: &str) -> bool {
        self.output(line).status.success()
    }

    /// Starts a line and leaves it running; it ends with the returned value at the latest.
    pub fn spawn(&self, line: &str) -> Proc {
        let mut command = self.command(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Proc(Some(command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"))))
    }

    /// Sets `key=value`.
    #[track_caller]
    pub fn sysctl(&self, setting: &str) {
        self.run(&format!("sysctl -qw {setting}"));
    }

    /// Sets `key=value` where the kernel has the key.
    pub fn try_sysctl(&self, setting: &str) {
        self.succeeds(&format!("sysctl -qw {setting}"));
    }

    /// Gives an interface an address and sets it up.
    pub fn address(&self, iface: &str, prefix: &str) {
        self.run(&format!("ip addr replace {prefix} dev {iface}"));
        self.run(&format!("ip link set {iface} up"));
    }

    /// An interface's MAC.
    #[track_caller]
    pub fn mac(&self, iface: &str) -> String {
        let text = self.run(&format!("ip -o link show dev {iface}"));
        let mut words = text.split_whitespace().skip_while(|w| *w != "link/ether");
        words.nth(1).unwrap_or_else(|| panic!("{}: {iface} has no MAC", self.name)).to_owned()
    }

    /// Whether the interface exists.
    pub fn has_iface(&self, iface: &str) -> bool {
        self.succeeds(&format!("ip link show dev {iface}"))
    }

    /// The MAC that this host's kernel has resolved for `ip`.
    pub fn neighbor(&self, ip: &str) -> Option<String> {
        let text = self.run(&format!("ip neigh show {ip}"));
        let mut words = text.split_whitespace().skip_while(|w| *w != "lladdr");
        words.nth(1).map(str::to_owned)
    }

    /// Forgets every resolved neighbor.
    pub fn forget_neighbors(&self) {
        self.run("ip neigh flush all");
    }

    /// One echo request, answered within 300 ms?
    pub fn ping(&self, to: &str) -> bool {
        self.succeeds(&format!("ping -n -q -c 1 -W 0.3 {to}"))
    }

    /// The path to `to` comes to work within `limit`, and then ten more requests in a row are all
    /// answered. One by one, because `ping -c 10` gives the last ones two round trips of time only,
    /// too little for a worker whose core somebody else wants.
    #[track_caller]
    pub fn reaches_within(&self, limit: Duration, to: &str) {
        assert!(crate::within(limit, || self.ping(to)), "{} can't reach {to}", self.name);
        for number in 1..=10 {
            let answered = self.succeeds(&format!("ping -n -q -c 1 -W 3 {to}"));
            assert!(answered, "{} to {to}: request {number} of 10 is not answered", self.name);
        }
    }

    /// As [`Host::reaches_within`] five seconds.
    #[track_caller]
    pub fn reaches(&self, to: &str) {
        self.reaches_within(Duration::from_secs(5), to);
    }

    /// Three echo requests to `to` all stay without an answer.
    #[track_caller]
    pub fn never_reaches(&self, to: &str) {
        let answered = self.succeeds(&format!("ping -n -q -i 0.2 -c 3 -W 1 {to}"));
        assert!(!answered, "{} reaches {to}, which it must not", self.name);
    }

    /// The MACs that answer an ARP request for `ip`, as `arping` sees them within a second.
    pub fn arping(&self, iface: &str, ip: &str) -> Vec<String> {
        let text = self.output(&format!("arping -c 1 -w 1 -I {iface} {ip}"));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        let bracketed = |line: &str| {
            let (_, rest) = line.split_once('[')?;
            Some(rest.split_once(']')?.0.to_lowercase())
        };
        text.lines().filter(|l| l.starts_with("Unicast reply")).filter_map(bracketed).collect()
    }

    /// Runs `work` in a thread that has entered this host.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let netns = self.netns.clone();
        let entered = move || {
            if let Some(path) = netns {
                let file = File::open(&path).expect("namespace");
                setns(file, CloneFlags::CLONE_NEWNET).expect("setns");
            }
            work()
        };
        std::thread::spawn(entered).join().expect("work inside a host")
    }

    /// A UDP socket of this host.
    pub fn udp(&self, ip: Ipv4Addr, port: u16) -> UdpSocket {
        self.inside(move || UdpSocket::bind((ip, port)).expect("udp bind"))
    }

    /// A listening TCP socket of this host.
    pub fn tcp_listener(&self, port: u16) -> TcpListener {
        self.inside(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("tcp bind"))
    }

    /// Sends and receives frames of any bytes by one of this host's interfaces.
    pub fn wire(&self, iface: &str) -> Wire {
        let iface = iface.to_owned();
        self.inside(move || Wire::open(&iface))
    }

    /// Captures what an interface carries, promiscuously, once it returns.
    #[track_caller]
    pub fn capture(&self, iface: &str, filter: &str) -> Capture {
        Capture::start(self, iface, filter)
    }
}

/// A process that ends with this value at the latest.
#[derive(Debug)]
pub struct Proc(Option<Child>);

impl Proc {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not yet waited for")
    }

    /// Asks it to end by `signal`.
    pub fn signal(&mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child().id()).expect("pid"));
        kill(pid, signal).expect("kill");
    }

    /// Waits for it and takes its output.
    pub fn finish(mut self) -> Output {
        self.0.take().expect("not yet waited for").wait_with_output().expect("wait")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// The child, for its pipes.
    pub fn as_child(&mut self) -> &mut Child {
        self.child()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
