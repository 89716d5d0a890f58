//! A host: a network namespace with Linux's own stack, and the tools run inside it.

use crate::capture::Capture;
use crate::raw::Wire;
use crate::shell::Shell;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

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

    /// Starts a line and leaves it running; it ends with the returned value at the latest.
    pub fn spawn(&self, line: &str) -> Proc {
        let mut command = self.command(line);
        Proc::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
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

impl Shell for Host {
    /// The namespace's name too.
    fn name(&self) -> &str {
        &self.name
    }

    fn output(&self, line: &str) -> Output {
        self.command(line).output().unwrap_or_else(|e| panic!("{line}: {e}"))
    }
}

/// A host's commands are called on the host itself.
impl Deref for Host {
    type Target = dyn Shell;

    fn deref(&self) -> &Self::Target {
        self
    }
}

/// A process that ends with this value at the latest.
#[derive(Debug)]
pub struct Proc(Option<Child>);

impl Proc {
    /// Starts a command.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))))
    }

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
