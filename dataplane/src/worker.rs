//! A worker: one core that polls its receive queues for ever and takes what comes down the path.
//!
//! Invariant (design.md, 1): it never takes a lock, allocates, logs, waits or makes a system call (a
//! port's own I/O apart, and, where that is asked for, the sleep of an idle worker and the bell by which
//! another that hands it a frame wakes it: [`crate::idle`]). Control speaks to it by [`Command`]s over a
//! bounded lock-free queue, taken up between two bursts; whatever a command displaces (a queue handle, a
//! record, a histogram) goes back over a second queue and is dropped by control. A command is taken only
//! while there is room for what it displaces, so nothing is ever freed here.
//!
//! Because handles and records are moved, not shared, a port is polled by one worker at a time and
//! a frame is judged by one version of its adapter: there is nothing to lock.
//!
//! **Order.** A receive queue moves between workers without loss or reordering: when its handle has
//! come back, all that was received by it has been sent or lies in another worker's ring, and a worker
//! empties its ring before it polls a queue that is new to it.
//!
//! **Reuse.** A port's number means another port only after every worker has taken up the end of the
//! old one, the owner of its transmit queue last. Each empties what waits for it before, so no frame
//! for the old port is sent by the new one.

mod obey;
mod rest;
mod stats;

pub use stats::{BURST_SIZES, WorkerStats, burst_sizes};

use crate::frame::{BURST_PKTS, Burst};
use crate::idle::{Bell, Idle};
use crate::ids::{AdapterId, NetworkId, PortId};
use crate::io::{Io, Readiness, RxQueue};
use crate::pipeline::{Departures, Limits, Path, SEND_AT_ONCE, Shaping, TxPort};
use crate::punt::Inject;
use crate::record::{NetworkRecord, PortRecord};
use crate::sight::capture::Capture;
use crate::sight::latency::Latencies;
use crate::sight::trace::Tracer;
use crate::table::{Ipv4Fib, Reader};
use crossbeam::queue::ArrayQueue;
use hdrhistogram::Histogram;
use stats::{Account, size_class};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Commands and displaced things that may be under way at once, per worker.
const QUEUE_COMMANDS: usize = 1024;
/// Frames that control may have under way to one worker.
const QUEUE_INJECTS: usize = 1024;
/// Frames that other workers may have under way to one worker.
const QUEUE_DEPARTURES: usize = 4096;
/// Loops between two quiescent reports while there is traffic: a report dirties a shared line.
const LOOPS_PER_REPORT: u32 = 64;
/// Longest loop that the histogram resolves, ns; longer ones count as this.
const LOOP_NS_MAX: u64 = 1_000_000_000;
/// An idle loop longer than this is recorded too: something took the core away.
const LOOP_NS_LONG: u64 = 10_000;

/// What control asks of a worker.
pub enum Command<I: Io> {
    /// Poll this queue from now on. It comes back at once ([`Displaced::Rx`]) where the worker has
    /// as many as it can poll ([`PortId::LIMIT`]).
    AddRx {
        /// Its port.
        port: PortId,
        /// Its number on the port.
        queue: u16,
        /// The handle.
        rx: Box<I::Rx>,
    },
    /// Give this queue back ([`Displaced::Rx`]).
    RemoveRx {
        /// Its port.
        port: PortId,
        /// Its number on the port.
        queue: u16,
    },
    /// Reach this port so from now on; the old way comes back flushed, with all sent that waited for
    /// it here. The owner of the transmit queue is told first, and the others once it has taken it up:
    /// what they hand over before would find no way out.
    SetTx {
        /// The port.
        port: PortId,
        /// The way out; `None` closes it.
        tx: Option<Box<TxPort<I>>>,
    },
    /// This record is in force from now on.
    SetPort(PortId, Option<Arc<PortRecord>>),
    /// Likewise.
    SetNetwork(NetworkId, Option<Arc<NetworkRecord>>),
    /// Source address of ICMP errors.
    SetIcmpSource(Ipv4Addr),
    /// Class of each address; `None` while there are no classes.
    SetClasses(Option<Arc<Ipv4Fib>>),
    /// Rate limits are kept from now on; `None` once nobody has one.
    SetShaping(Option<Box<Shaping<I::Frame>>>),
    /// An adapter's limits, or none.
    SetLimits(AdapterId, Option<Arc<Limits>>),
    /// `start` and `stop`.
    SetForwarding(bool),
    /// Record loop times here; the filled histogram comes back.
    SwapHistogram(Box<Histogram<u64>>),
    /// Measure how long packets stay from now on, or no more; what was measured comes back.
    SetLatencies(Option<Box<Latencies>>),
    /// Copy frames from now on, or no more.
    SetCapture(Option<Box<Capture>>),
    /// Write the way of packets down from now on, or no more.
    SetTrace(Option<Box<Tracer>>),
    /// Send what waits, return. What another worker hands over later is lost: take all receive
    /// queues back first.
    Shutdown,
}

/// What a command displaced.
pub enum Displaced<I: Io> {
    /// A queue that is polled no more.
    Rx {
        /// Its port.
        port: PortId,
        /// Its number on the port.
        queue: u16,
        /// The handle, or `None` where this worker did not have it.
        rx: Option<Box<I::Rx>>,
    },
    /// A way out that is used no more.
    Tx {
        /// Its port.
        port: PortId,
        /// The way.
        tx: Option<Box<TxPort<I>>>,
    },
    /// A record that is in force no more.
    Port(Option<Arc<PortRecord>>),
    /// Likewise.
    Network(Option<Arc<NetworkRecord>>),
    /// Classes that are in force no more.
    Classes(Option<Arc<Ipv4Fib>>),
    /// Limits that are kept no more; nothing waits in them.
    Shaping(Option<Box<Shaping<I::Frame>>>),
    /// Likewise an adapter's, or new ones that nobody could keep.
    Limits(Option<Arc<Limits>>),
    /// Loop times since the last swap.
    Histogram(Box<Histogram<u64>>),
    /// How long packets stayed.
    Latencies(Option<Box<Latencies>>),
    /// A capture that copies no more.
    Capture(Option<Box<Capture>>),
    /// A trace that is over.
    Trace(Option<Box<Tracer>>),
    /// An acknowledgement: nothing was displaced.
    Nothing,
}

/// Control's end of a worker.
pub struct WorkerLink<I: Io> {
    /// To the worker.
    pub commands: Arc<ArrayQueue<Command<I>>>,
    /// From the worker.
    pub displaced: Arc<ArrayQueue<Displaced<I>>>,
    /// Frames to send or route.
    pub injects: Arc<ArrayQueue<Inject<I::Frame>>>,
    /// Frames from other workers.
    pub departures: Departures<I::Frame>,
    /// Rung by whoever has put something into a ring.
    pub bell: Arc<Bell>,
    /// The worker's account of itself.
    pub stats: Arc<WorkerStats>,
}

/// With no more queues than that to look at, every burst leaves before the next one is: there is little to be
/// sent together, and what a loop takes is mostly what the few bursts take.
const FEW_QUEUES: usize = 4;
/// Looks in a row at a queue that brought nothing, after which it rests if it may.
const REST_AFTER: u32 = 256;
/// While there is traffic, one of so many resting queues is looked at in each loop: hundreds of idle
/// guests cost the busy ones little, and the first packet of one waits for so many loops at most.
const REST_SHARE: usize = 32;

struct RxSlot<I: Io> {
    port: PortId,
    queue: u16,
    rx: Box<I::Rx>,
    /// Looks in a row that brought nothing.
    empty: u32,
}

/// One worker; moved to its core and run there.
pub struct Worker<I: Io> {
    path: Path<I>,
    /// Those looked at in each loop, then those that rest.
    rx: Vec<RxSlot<I>>,
    /// How many are looked at in each loop.
    awake: usize,
    /// The resting one whose turn is next.
    turn: usize,
    readiness: I::Readiness,
    commands: Arc<ArrayQueue<Command<I>>>,
    displaced: Arc<ArrayQueue<Displaced<I>>>,
    injects: Arc<ArrayQueue<Inject<I::Frame>>>,
    departures: Departures<I::Frame>,
    stats: Arc<WorkerStats>,
    histogram: Box<Histogram<u64>>,
    /// While it is asked how long packets stay.
    latencies: Option<Box<Latencies>>,
    /// Whether bursts take the way of those that somebody looks at.
    is_watched: bool,
    account: Account,
    /// Where it may sleep.
    idle: Option<Idle>,
    /// While its queues are armed: whether each of them tells when something comes.
    armed: Option<bool>,
    bell: Arc<Bell>,
    reader: Reader,
    clock_ns: fn() -> u64,
    /// When the loop began.
    now_ns: u64,
    /// Loops since the last quiescent report.
    since_report: u32,
}

/// A histogram as workers use it: 3 significant digits up to a second, fixed size.
///
/// # Errors
/// None for these constants; the type is the library's.
pub fn loop_histogram() -> Result<Box<Histogram<u64>>, hdrhistogram::CreationError> {
    Histogram::new_with_bounds(1, LOOP_NS_MAX, 3).map(Box::new)
}

impl<I: Io> Worker<I> {
    /// A worker over `path`, and control's end of it. `clock_ns` is monotonic.
    ///
    /// # Errors
    /// None for the constants used; the type is the histogram library's.
    pub fn new(
        path: Path<I>,
        reader: Reader,
        clock_ns: fn() -> u64,
    ) -> Result<(Self, WorkerLink<I>), hdrhistogram::CreationError> {
        let link = WorkerLink {
            commands: Arc::new(ArrayQueue::new(QUEUE_COMMANDS)),
            displaced: Arc::new(ArrayQueue::new(QUEUE_COMMANDS)),
            injects: Arc::new(ArrayQueue::new(QUEUE_INJECTS)),
            departures: Arc::new(ArrayQueue::new(QUEUE_DEPARTURES)),
            bell: Arc::default(),
            stats: Arc::default(),
        };
        let worker = Self {
            path,
            rx: Vec::with_capacity(PortId::LIMIT),
            awake: 0,
            turn: 0,
            readiness: I::Readiness::default(),
            commands: link.commands.clone(),
            displaced: link.displaced.clone(),
            injects: link.injects.clone(),
            departures: link.departures.clone(),
            stats: link.stats.clone(),
            histogram: loop_histogram()?,
            latencies: None,
            is_watched: false,
            account: Account::default(),
            idle: None,
            armed: None,
            bell: link.bell.clone(),
            reader,
            clock_ns,
            now_ns: 0,
            since_report: 0,
        };
        Ok((worker, link))
    }

    /// Polls until control says [`Command::Shutdown`].
    pub fn run(mut self) {
        let mut burst = Burst::new();
        self.now_ns = (self.clock_ns)();
        while self.turn(&mut burst) {}
    }

    /// Once round, commands and the account of it included. False: shut down.
    #[inline]
    pub fn turn(&mut self, burst: &mut Burst<I::Frame>) -> bool {
        let then_ns = self.now_ns;
        if !self.commands.is_empty() && !self.obey(then_ns) {
            return false;
        }
        let pkts = self.poll(burst, then_ns);
        self.since_report += 1;
        // An idle worker reports each time: control may be waiting for it and nothing is lost.
        if pkts == 0 || self.since_report >= LOOPS_PER_REPORT {
            self.since_report = 0;
            self.reader.quiescent();
            self.account.publish(&self.stats);
        }
        self.now_ns = (self.clock_ns)();
        self.account(pkts, self.now_ns.saturating_sub(then_ns));
        if self.idle.is_some() {
            self.rest(pkts > 0);
        }
        true
    }

    /// Once round: every receive queue, what control and other workers ask for, then all buffers out.
    /// Returns the frames taken in.
    pub fn poll(&mut self, burst: &mut Burst<I::Frame>, now_ns: u64) -> usize {
        // What has waited for its time is older than all else.
        self.path.release(now_ns);
        // What was handed over or held is older than what the queues have now. No more than so many:
        // neither ring can keep the worker from its ports.
        let mut pkts = self.take_in(BURST_PKTS, QUEUE_DEPARTURES / 4, now_ns);
        self.readiness.look(now_ns);
        let mut at = 0;
        while at < self.awake {
            if !self.readiness.is_due(&self.rx[at].rx) {
                at += 1;
                continue;
            }
            let count = self.take(at, burst, now_ns);
            pkts += count;
            let slot = &mut self.rx[at];
            slot.empty = if count > 0 { 0 } else { slot.empty.saturating_add(1) };
            if slot.empty >= REST_AFTER && slot.rx.may_rest() {
                self.awake -= 1;
                self.rx.swap(at, self.awake);
            } else {
                at += 1;
            }
        }
        pkts += self.look_at_resting(burst, pkts > 0, now_ns);
        self.path.flush();
        if let Some(latencies) = &mut self.latencies {
            latencies.flushed((self.clock_ns)());
        }
        pkts
    }

    /// One queue's burst, all the way.
    #[inline]
    fn take(&mut self, at: usize, burst: &mut Burst<I::Frame>, now_ns: u64) -> usize {
        let slot = &mut self.rx[at];
        let count = slot.rx.rx(burst);
        if count > 0 {
            self.account.bursts[size_class(count)] += 1;
            let is_prompt = self.awake <= FEW_QUEUES;
            self.path.egress.is_prompt = is_prompt;
            if self.is_watched {
                self.take_watched(at, burst, now_ns);
                return count;
            }
            self.path.run(slot.port, burst, now_ns);
            if count >= SEND_AT_ONCE || is_prompt {
                self.path.flush();
            }
        }
        count
    }

    /// The same way for a burst that is copied, or whose time is taken.
    #[cold]
    fn take_watched(&mut self, at: usize, burst: &mut Burst<I::Frame>, now_ns: u64) {
        let since_ns = (self.clock_ns)();
        let (port, count) = (self.rx[at].port, burst.len());
        self.path.capture_received(port, burst);
        self.path.run(port, burst, now_ns);
        let courses = self.path.courses(port, count);
        let is_sent = count >= SEND_AT_ONCE || self.path.egress.is_prompt;
        if is_sent {
            self.path.flush();
        }
        if let Some(latencies) = &mut self.latencies {
            latencies.judged(since_ns, courses);
            if is_sent {
                latencies.flushed((self.clock_ns)());
            }
        }
    }

    /// A share of the resting queues in turn, or all of them where there is nothing else to do. One
    /// that has something wakes up.
    fn look_at_resting(
        &mut self,
        burst: &mut Burst<I::Frame>,
        is_busy: bool,
        now_ns: u64,
    ) -> usize {
        let resting = self.rx.len() - self.awake;
        let looks = if is_busy { resting.div_ceil(REST_SHARE) } else { resting };
        let mut pkts = 0;
        for _ in 0..looks {
            if !(self.awake..self.rx.len()).contains(&self.turn) {
                self.turn = self.awake;
            }
            // The last one's waking leaves none.
            if self.turn >= self.rx.len() {
                break;
            }
            let count = self.take(self.turn, burst, now_ns);
            pkts += count;
            if count > 0 {
                self.rx[self.turn].empty = 0;
                self.rx.swap(self.turn, self.awake);
                self.awake += 1;
            }
            self.turn += 1;
        }
        pkts
    }

    /// Takes up what control and other workers have put there, as far as it is there now and at most
    /// so many frames of each.
    #[inline]
    fn take_in(&mut self, injects_max: usize, departures_max: usize, now_ns: u64) -> usize {
        if self.injects.is_empty() && self.departures.is_empty() {
            return 0;
        }
        let injects = self.injects.len().min(injects_max);
        for inject in (0..injects).map_while(|_| self.injects.pop()) {
            self.path.inject(inject, now_ns);
        }
        let departures = self.departures.len().min(departures_max);
        for departure in (0..departures).map_while(|_| self.departures.pop()) {
            self.path.depart(departure);
        }
        injects + departures
    }

    #[inline]
    fn account(&mut self, pkts: usize, loop_ns: u64) {
        let account = &mut self.account;
        account.loops += 1;
        account.total_ns += loop_ns;
        if pkts > 0 {
            account.busy_loops += 1;
            account.busy_ns += loop_ns;
            account.pkts += pkts as u64;
        }
        if pkts > 0 || loop_ns > LOOP_NS_LONG {
            self.histogram.saturating_record(loop_ns);
        }
    }
}
