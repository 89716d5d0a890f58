//! The running program: everything that control's one thread owns, and its loop.
//!
//! Requests come from the API, frames from the workers (ARP, packets without a next hop), time from
//! the clock. All three end here, one after another, so nothing below needs a lock. What is decided
//! goes out as registry changes, table writes, records and injected frames.

mod account;
mod arp;
mod change;
mod configure;
mod counts;
mod device;
mod join;
mod limits;
mod links;
mod neighbors;
mod service;
mod show;
mod sight;
mod start;

pub use start::{RunOptions, StartError, run};

use crate::accounts::Accounts;
use crate::api::backend::{Action, Answer, Refusal, RefusalKind, Request, Requests};
use crate::api::view::{EventKind, PortLabel};
use crate::config::Config;
use crate::events::Events;
use crate::heartbeat::Beats;
use crate::journal::Store;
use crate::manager::Manager;
use crate::metrics::Baselines;
use crate::neighbor::{AddressClaims, NeighborCache};
use crate::publish::Publisher;
use crate::registry::{AdapterKey, Registry};
use arp::Held;
use dataplane::counters::{AdapterCounts, Counters, PortCounts};
use dataplane::dpdk::{DpdkIo, Eal, Pool};
use dataplane::ids::{AdapterId, PortId};
use device::Device;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Requests answered before frames, timers and the wish to end are looked at again: clients that ask
/// without a pause must not keep ARP waiting.
const REQUESTS_PER_TURN: usize = 4;
/// Frames taken from the workers before requests are looked at again.
const PUNTS_PER_TURN: usize = 256;
/// Between two looks for frames, which workers don't wake control for, as long as some have come lately: what an
/// ARP answer may be late by.
const NAP: Duration = Duration::from_micros(500);
/// The same after a quiet time: each look costs who else runs on this core.
const NAP_MAX: Duration = Duration::from_millis(4);
/// Between two looks at links, failed devices and ages.
const CHORES: Duration = Duration::from_millis(500);
/// Until a port that failed is tried again.
const RETRY: Duration = Duration::from_secs(3);

/// What control's thread owns.
pub struct Appliance {
    eal: Eal,
    pool: Pool,
    config: Config,
    registry: Registry,
    store: Store,
    publisher: Publisher<DpdkIo>,
    devices: BTreeMap<PortLabel, Device>,
    /// Ports whose device could not be opened or went away; tried again now and then.
    failed: BTreeMap<PortLabel, Failure>,
    neighbors: NeighborCache<Held>,
    claims: AddressClaims,
    /// Control's own counters: what it gives up on.
    counters: Arc<Counters>,
    /// From where the counters of ports and adapters count.
    port_baselines: Baselines<PortId, PortCounts>,
    adapter_baselines: Baselines<AdapterId, AdapterCounts>,
    events: RefCell<Events>,
    accounts: Accounts,
    /// As they are on disk, and when they are written next.
    accounts_written: String,
    accounts_due: Instant,
    /// Whether every worker comes round.
    beats: Beats,
    manager: Manager,
    sight: sight::Sight,
    is_forwarding: bool,
    started: Instant,
    /// The same on the wall clock, since the Unix epoch.
    started_at: Duration,
    should_end: Arc<AtomicBool>,
    /// Set by SIGHUP.
    should_reload: Arc<AtomicBool>,
    punt_turn: usize,
    chores_due: Instant,
    /// While the stored state is put in force, at the start or later where a device was missing then:
    /// what it holds was up before this process, so it is announced and not probed.
    is_restoring: bool,
    /// When each address in use elsewhere was last told of.
    conflicts_told: HashMap<Ipv4Addr, u64>,
    /// What was told of each adapter that is over its limit.
    limits_told: HashMap<AdapterKey, limits::Told>,
}

/// Why a port is not open, or not set up.
struct Failure {
    why: String,
    /// When it is tried again.
    due: Instant,
    /// Whether it has been so since the start.
    since_start: bool,
}

impl Failure {
    fn new(why: impl Into<String>, since_start: bool) -> Self {
        Self { why: why.into(), due: Instant::now() + RETRY, since_start }
    }
}

/// How long to sleep when nothing has happened for so long.
fn nap(quiet: Duration) -> Duration {
    (quiet / 8).clamp(NAP, NAP_MAX)
}

impl Appliance {
    /// Runs until SIGTERM, SIGINT or a request to shut down.
    fn serve(&mut self, requests: &Requests) {
        let mut busy_at = Instant::now();
        while !self.should_end.load(Ordering::Relaxed) {
            let mut is_busy = false;
            for _ in 0..REQUESTS_PER_TURN {
                let Some((request, responder)) = requests.try_next() else { break };
                responder.answer(self.answer(request));
                is_busy = true;
            }
            is_busy |= self.take_punts(PUNTS_PER_TURN);
            self.tick();
            if self.should_reload.swap(false, Ordering::Relaxed) {
                self.reload();
            }
            if !is_busy
                && let Some((request, responder)) = requests.next_within(nap(busy_at.elapsed()))
            {
                responder.answer(self.answer(request));
                is_busy = true;
            }
            if is_busy {
                busy_at = Instant::now();
            }
        }
    }

    /// What time brings: ARP's timers each turn, everything slower now and then.
    fn tick(&mut self) {
        self.tick_neighbors();
        self.feed_watchdog();
        self.tick_sight();
        let now = Instant::now();
        if now < self.chores_due {
            return;
        }
        self.chores_due = now + CHORES;
        self.look_at_workers();
        self.publisher.age_macs(self.now_s());
        self.publisher.reclaim();
        self.look_at_links();
        self.retry_failed();
        self.tick_accounts();
        self.tell_limits();
        self.tell_status();
    }

    fn answer(&mut self, request: Request) -> Result<Answer, Refusal> {
        match request {
            Request::Change(changes) => self.change(&changes).map(|()| Answer::Done),
            Request::Show(show) => self.show(show),
            Request::Capture(start) => self.start_capture(*start).map(Answer::Capture),
            Request::Trace(start) => self.start_trace(&start).map(Answer::Tracing),
            Request::Act(action) => self.act(action).map(|()| Answer::Done),
            Request::Configure(what) => self.bring_in_line(what).map(Answer::Configured),
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Refusal> {
        match action {
            Action::Start => self.set_forwarding(true),
            Action::Stop => self.set_forwarding(false),
            Action::ClearStats(port) => self.clear_stats(port.as_ref()),
            Action::NeighborFlush(ip) => {
                self.flush_neighbors(ip);
                Ok(())
            }
            Action::MacFlush(network) => {
                if self.registry.network(&network).is_none() {
                    let message = format!("no network {network}; see `show network all`");
                    return Err(Refusal::new(RefusalKind::NotFound, message));
                }
                self.publisher.mac_flush(&network);
                Ok(())
            }
            Action::CaptureStop(number) => self.stop_capture(number),
            Action::MeasureLatency { seconds } => self.measure_latency(seconds),
            Action::Shutdown => {
                self.should_end.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn set_forwarding(&mut self, is_forwarding: bool) -> Result<(), Refusal> {
        let set = self.publisher.workers.set_forwarding(is_forwarding);
        let settled = set.and_then(|()| self.publisher.workers.settle());
        settled.map_err(|silent| Refusal::new(RefusalKind::Internal, silent.to_string()))?;
        self.is_forwarding = is_forwarding;
        Ok(())
    }

    /// Milliseconds since the start: the clock of ARP's state machines.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Seconds on the workers' clock: the clock of MAC ages.
    fn now_s(&self) -> u32 {
        u32::try_from(start::worker_clock_ns() / 1_000_000_000).unwrap_or(u32::MAX)
    }

    /// Tells the operator that something could not be done, or is otherwise than wished.
    fn event(&self, text: &str) {
        self.tell(EventKind::Failure, text);
    }

    /// Tells the operator what happened: by `show events`, and on standard error, where a service's
    /// journal finds it.
    fn tell(&self, kind: EventKind, text: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.events.borrow_mut().push(kind, at, text);
        // A reader that went away or a full disk must not end the forwarding.
        let _ = writeln!(io::stderr(), "guestway: {text}");
    }
}
