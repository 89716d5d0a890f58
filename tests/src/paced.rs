//! Numbered packets at a steady pace between many hosts: what a change elsewhere must not disturb.

use crate::frames::ip;
use crate::host::Host;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PORT: u16 = 7_000;
/// The sender wakes this often and sends what is due.
const TICK: Duration = Duration::from_millis(1);
/// How long the last packets may be under way.
const DRAIN: Duration = Duration::from_secs(5);
/// Packets that an interface's queue holds, so that a worker who is kept from its core for seconds
/// by the rest of the machine costs time and not packets.
const QUEUE_PKTS: u32 = 10_000;

/// One who sends and receives.
#[derive(Clone, Debug)]
pub struct Talker {
    /// The host.
    pub host: Host,
    /// Its address.
    pub ip: String,
}

/// Paced traffic that runs until [`Paced::finish`].
#[derive(Debug)]
pub struct Paced {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    sender: JoinHandle<Vec<u64>>,
    receivers: Vec<JoinHandle<Received>>,
    drain: Arc<AtomicBool>,
}

/// What one talker received.
#[derive(Clone, Debug, Default)]
struct Received {
    next: u64,
    /// The first few numbers that were not the expected one, as (expected, found).
    wrong: Vec<(u64, u64)>,
}

impl Paced {
    /// Each talker sends to the next one, the last to the first; `rate_pps` is for all together.
    pub fn ring(talkers: &[Talker], rate_pps: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let drain = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let sockets: Vec<UdpSocket> = talkers.iter().map(open).collect();
        let received = Arc::new(AtomicU64::new(0));
        let receivers = sockets
            .iter()
            .map(|socket| {
                let socket = socket.try_clone().expect("socket");
                let (drain, count) = (Arc::clone(&drain), Arc::clone(&received));
                std::thread::spawn(move || receive(&socket, &drain, &count))
            })
            .collect();
        let targets: Vec<SocketAddr> = (0..talkers.len())
            .map(|i| SocketAddr::from((ip(&talkers[(i + 1) % talkers.len()].ip), PORT)))
            .collect();
        let (ends, total) = (Arc::clone(&stop), Arc::clone(&sent));
        let sender = std::thread::spawn(move || send(&sockets, &targets, rate_pps, &ends, &total));
        Self { stop, sent, received, sender, receivers, drain }
    }

    /// Packets sent until now.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Packets received until now.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends the exchange: every number must have arrived once and in order.
    #[track_caller]
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("sender");
        let all: u64 = sent.iter().sum();
        crate::within(DRAIN, || self.received.load(Ordering::Relaxed) >= all);
        // Something sent twice would come about now.
        std::thread::sleep(Duration::from_millis(100));
        self.drain.store(true, Ordering::Relaxed);
        let received: Vec<Received> =
            self.receivers.into_iter().map(|r| r.join().expect("receiver")).collect();
        for (from, count) in sent.iter().enumerate() {
            let to = (from + 1) % received.len();
            let got = &received[to];
            assert!(
                got.wrong.is_empty() && got.next == *count,
                "talker {from} sent {count}; talker {to} expected {} at the end; \
                 (expected, found): {:?}",
                got.next,
                got.wrong
            );
        }
        all
    }
}

/// Lengthens the queue of every interface of a host but loopback.
pub(crate) fn lengthen_queues(host: &Host) {
    for line in host.run("ip -o link show").lines() {
        let name = line.split([':', '@']).nth(1).expect("a name").trim();
        if name != "lo" {
            host.run(&format!("ip link set {name} txqueuelen {QUEUE_PKTS}"));
        }
    }
}

fn open(talker: &Talker) -> UdpSocket {
    lengthen_queues(&talker.host);
    let socket = talker.host.udp(ip(&talker.ip), PORT);
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).expect("receive buffer");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
    socket
}

fn send(
    sockets: &[UdpSocket],
    targets: &[SocketAddr],
    rate_pps: u32,
    stop: &AtomicBool,
    total: &AtomicU64,
) -> Vec<u64> {
    let start = Instant::now();
    let mut sent = vec![0u64; sockets.len()];
    let mut all = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let elapsed_us = u64::try_from(start.elapsed().as_micros()).expect("a short time");
        let due = elapsed_us * u64::from(rate_pps) / 1_000_000;
        // A sender that was kept from its core catches up in steps, not in one burst.
        let step = due.saturating_sub(all).min(64);
        for _ in 0..step {
            let from = usize::try_from(all).expect("a count") % sockets.len();
            let mut bytes = [0u8; 64];
            bytes[..8].copy_from_slice(&sent[from].to_be_bytes());
            // A number that the kernel refuses is missed by its receiver, and so found.
            let _ = sockets[from].send_to(&bytes, targets[from]);
            sent[from] += 1;
            all += 1;
        }
        total.store(all, Ordering::Relaxed);
        std::thread::sleep(TICK);
    }
    sent
}

fn receive(socket: &UdpSocket, drain: &AtomicBool, count: &AtomicU64) -> Received {
    let mut received = Received::default();
    let mut bytes = [0u8; 2_048];
    loop {
        match socket.recv(&mut bytes) {
            Ok(length) if length >= 8 => {
                let number = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
                if number != received.next && received.wrong.len() < 8 {
                    received.wrong.push((received.next, number));
                }
                received.next = number + 1;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(_) if drain.load(Ordering::Relaxed) => return received,
            Err(_) => {}
        }
    }
}
