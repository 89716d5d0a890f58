//! What the tests on real DPDK share: EAL without hugepages or PCI, a pool, and a network namespace.
//!
//! EAL starts once per process, so each test wants a process of its own: `cargo nextest` gives it one.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use dataplane::dpdk::netns::run_in;
use dataplane::dpdk::{Eal, EalError, EalOptions, Mbuf, Netns, Pool, PoolOps, PoolSpec, Rx, Tx};
use dataplane::frame::{Burst, Frame, FramePool};
use dataplane::io::{RxQueue, TxQueue};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send as send_raw, socket,
};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Mbufs of the tests' pool.
pub(crate) const MBUFS: u32 = 2047;

/// EAL's arguments of every test; the prefix keeps processes apart.
pub(crate) fn options(extra: &[&str]) -> EalOptions {
    let prefix = format!("gw-test-{}", std::process::id());
    // A limit, because on hugepages memory grows and one test would take the others' share.
    let huge = ["--in-memory", "--socket-limit", "160"];
    let memory = if with_hugepages() { &huge[..] } else { &["--no-huge"] };
    let rest = ["--no-pci", "--no-shconf", "-m", "128", "--file-prefix", &prefix];
    EalOptions {
        control_core: 0,
        worker_cores: vec![1],
        extra: memory.iter().chain(&rest).chain(extra).map(|text| (*text).to_owned()).collect(),
    }
}

/// Whether the tests shall run on hugepages, which somebody reserved: GUESTWAY_TEST_HUGEPAGES is set.
fn with_hugepages() -> bool {
    std::env::var_os("GUESTWAY_TEST_HUGEPAGES").is_some()
}

/// A namespace of this test's own, then EAL, with the calling thread polling.
pub(crate) fn start() -> (Eal, Pool) {
    enter_private_namespace();
    let eal = start_with(&[]).expect("EAL");
    dataplane::dpdk::eal::signal::admit_rx_signals().expect("signals");
    (eal, pool(eal))
}

pub(crate) fn start_with(extra: &[&str]) -> Result<Eal, EalError> {
    Eal::start(&options(extra))
}

pub(crate) fn pool(eal: Eal) -> Pool {
    Pool::create(eal, &PoolSpec::new("test", MBUFS, PoolOps::RingMtRts)).expect("pool")
}

/// Nothing that a test does can reach the machine's own interfaces.
pub(crate) fn enter_private_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root is needed");
    sh("ip link set lo up");
}

/// Runs a shell command in the calling thread's namespace and returns what it printed.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {text}{errors}");
    text
}

/// Polls `is_so` for at most twenty seconds, which a busy machine may need to run a worker at all.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A frame of the pool with these bytes.
pub(crate) fn frame(pool: &mut Pool, bytes: &[u8]) -> Mbuf {
    let mut frame = pool.alloc().expect("an mbuf");
    assert!(frame.append(bytes));
    frame
}

/// An Ethernet frame from 02:…:01 of the experimental type 0x88b5, `len` bytes in all.
pub(crate) fn ethernet(destination: [u8; 6], len: usize) -> Vec<u8> {
    let mut bytes = destination.to_vec();
    bytes.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    bytes.extend((bytes.len()..len).map(|index| index.to_le_bytes()[0]));
    bytes
}

/// Polls until a frame satisfies `wanted`; others are dropped.
pub(crate) fn receive(rx: &mut Rx, mut wanted: impl FnMut(&Mbuf) -> bool) -> Mbuf {
    let mut found = None;
    eventually("the frame arrives", || {
        let mut burst = Burst::new();
        rx.rx(&mut burst);
        found = found.take().or_else(|| burst.into_iter().find(&mut wanted));
        found.is_some()
    });
    found.expect("checked")
}

/// Sends frames, all of which must be taken.
pub(crate) fn send(tx: &mut Tx, frames: impl IntoIterator<Item = Mbuf>) {
    let mut burst: Burst<Mbuf> = frames.into_iter().collect();
    tx.tx(&mut burst);
    assert!(burst.is_empty(), "{} frames were not sent", burst.len());
}

/// All bytes of a frame, over its segments.
pub(crate) fn bytes_of(frame: &Mbuf) -> Vec<u8> {
    let mut bytes = vec![0; frame.len()];
    assert_eq!(frame.copy_out(0, &mut bytes), bytes.len());
    bytes
}

/// A packet socket on an interface of the calling thread's namespace.
pub(crate) fn listen(interface: &str) -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let raw = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
    // The address holds the index and no more that bind needs.
    let wanted = |one: &InterfaceAddress| {
        one.interface_name == interface && one.address.is_some_and(|a| a.as_link_addr().is_some())
    };
    let found = getifaddrs().unwrap().find(wanted).and_then(|one| one.address);
    bind(raw.as_raw_fd(), found.unwrap().as_link_addr().unwrap()).unwrap();
    raw
}

/// Makes the kernel send these bytes out by an interface.
pub(crate) fn inject(interface: &str, bytes: &[u8]) {
    let sent = send_raw(listen(interface).as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}

/// Waits until the kernel received exactly these bytes.
pub(crate) fn expect_in_kernel(listener: &OwnedFd, wanted: &[u8]) {
    let mut buffer = vec![0; 10_000];
    eventually("the kernel receives the frame", || {
        let count = recv(listener.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap_or(0);
        buffer[..count] == *wanted
    });
}

/// A process in a network namespace of its own; gone with this value.
pub(crate) struct Elsewhere(Child);

impl Elsewhere {
    pub(crate) fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep 120"])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut ready = [0; 5];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn netns(&self) -> Netns {
        Netns::Pid(self.pid())
    }

    pub(crate) fn sh(&self, command: &str) -> String {
        run_in(Some(&self.netns()), || sh(command)).unwrap()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait().map(drop)).unwrap();
    }
}
