//! What the API asks of the program behind it, and how a request reaches the control thread.
//!
//! The control thread owns everything that a request reads or changes, so a request travels to it
//! over a bounded channel and its answer travels back. The server's threads only wait. The control
//! thread takes requests when it likes ([`Requests::try_next`]) and must answer each one
//! ([`Responder::answer`]); a responder dropped unanswered tells the caller so.
//!
//! Waiting is never by sched_yield: where control shares a core with a worker, Linux from 6.18 on takes
//! a whole time slice off whoever yields to it, and a few yields starve the thread for seconds. So
//! answers and the control thread wait on condition variables.
//!
//! Invariant: a request is either taken by the control thread or given up by its caller, never
//! both. A caller whose time ran out before the request was taken can therefore say that nothing
//! was changed.

use super::view;
use crate::config::Config;
use crate::metrics::Reading;
use crate::model::{Change, Name};
use crate::page::Picture;
use crossbeam::channel::{self, Receiver, Sender};
use dataplane::sight::bpf::Program;
use dataplane::sight::capture::Feed;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use view::PortLabel;

/// One question or order.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Change what is wanted: all of these or none. Answered with [`Answer::Done`] once stored.
    Change(Vec<Change>),
    /// Tell something; changes nothing.
    Show(Show),
    /// Copy frames of a port or an adapter. Answered with [`Answer::Capture`].
    Capture(Box<CaptureStart>),
    /// Write down the way of packets. Answered with [`Answer::Tracing`].
    Trace(Box<TraceStart>),
    /// Do something that is not stored. Answered with [`Answer::Done`].
    Act(Action),
    /// Bring the registered state and a configuration file together. Answered with
    /// [`Answer::Configured`].
    Configure(Configure),
}

/// What can be done with a configuration as a whole.
#[derive(Clone, PartialEq, Debug)]
pub enum Configure {
    /// Make what runs what this says, as one transaction.
    Apply {
        /// What is wanted.
        config: Box<Config>,
        /// Only tell what would be changed.
        dry_run: bool,
    },
    /// Make what runs what it was before the last `Apply` or `Rollback` that changed something.
    Rollback,
    /// Write what runs into the file that the appliance was started with.
    Save,
}

/// What is to be captured.
#[derive(Clone, PartialEq, Debug)]
pub struct CaptureStart {
    /// Port or adapter.
    pub target: PortLabel,
    /// Which frames of it.
    pub direction: view::Direction,
    /// Bytes kept of each at most.
    pub snaplen: u32,
    /// Which of them.
    pub filter: Option<Filter>,
}

/// Whose way is to be written down.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceStart {
    /// Port, adapter, or a guest by its name.
    pub target: PortLabel,
    /// Which packets of it.
    pub direction: view::Direction,
    /// So many of them.
    pub count: usize,
    /// Within so many seconds.
    pub seconds: u64,
    /// Of those, which.
    pub filter: Option<Filter>,
}

/// Which frames.
#[derive(Clone, PartialEq, Debug)]
pub struct Filter {
    /// As it was typed.
    pub text: String,
    /// The same as workers run it.
    pub program: Arc<Program>,
}

/// Where captured frames are to be fetched.
#[derive(Clone, Debug)]
pub struct CaptureFeed {
    /// The capture's number.
    pub number: u64,
    /// The frames.
    pub feed: Arc<Feed>,
    /// The clock that their times are of, ns.
    pub clock_ns: fn() -> u64,
}

impl PartialEq for CaptureFeed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.feed, &other.feed)
    }
}

/// What can be shown. A name that is given and not there is refused as [`RefusalKind::NotFound`].
#[derive(Clone, PartialEq, Debug)]
pub enum Show {
    /// [`Answer::Version`].
    Version,
    /// All guests or one, with adapters: [`Answer::Guests`].
    Guests(Option<Name>),
    /// All networks or one: [`Answer::Networks`].
    Networks(Option<Name>),
    /// All ports or one: [`Answer::PortInfo`].
    PortInfo(Option<PortLabel>),
    /// All ports or one: [`Answer::PortStats`].
    PortStats(Option<PortLabel>),
    /// All ports or one: [`Answer::PortXstats`]. Ports whose device has none are left out of `all`.
    PortXstats(Option<PortLabel>),
    /// Routes in order of prefix: [`Answer::Routes`].
    Routes {
        /// Only those after this one.
        after: Option<IpNet>,
        /// At most so many, 1 to [`ROUTE_PAGE`].
        limit: usize,
    },
    /// Which entry decides for a destination: [`Answer::RouteDecision`].
    RouteTo(IpAddr),
    /// [`Answer::Neighbors`].
    Neighbors,
    /// MACs of a network: [`Answer::Macs`].
    Macs(Name),
    /// [`Answer::Workers`].
    Workers,
    /// In all, or of one guest: [`Answer::Drops`].
    Drops(Option<Name>),
    /// What runs, as a file would say it: [`Answer::ConfigText`].
    Config,
    /// How what runs differs from the file: [`Answer::ConfigDiff`].
    ConfigDiff,
    /// All classes or one: [`Answer::Classes`].
    Classes(Option<Name>),
    /// What happened after the event of this number, at most so many: [`Answer::Events`].
    Events {
        /// Only those after this one.
        after: u64,
        /// At most so many.
        limit: usize,
    },
    /// The capture that runs, else the last one: [`Answer::Captures`].
    Capture,
    /// What the trace of this number brings: [`Answer::Trace`].
    Trace(u64),
    /// What was measured last, or is being measured: [`Answer::Latency`].
    Latency,
    /// Traffic of all guests or one, by class: [`Answer::Accounts`].
    Accounting(Option<Name>),
    /// What metrics are made of: [`Answer::Metrics`].
    Metrics,
    /// What the page draws: [`Answer::Picture`].
    Picture,
}

/// Most routes in one answer: about a millisecond of the control thread's time.
pub const ROUTE_PAGE: usize = 10_000;

/// What can be done that is not a change of what is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Forwarding on.
    Start,
    /// Forwarding off: frames are received, dropped and counted.
    Stop,
    /// Counters of a port (and of the adapters on it) back to 0; of all ports where none is named.
    ClearStats(Option<PortLabel>),
    /// Forget what was learned of one address, or of all; static neighbors stay.
    NeighborFlush(Option<IpAddr>),
    /// Forget a network's learned MACs; registered and static ones stay.
    MacFlush(Name),
    /// Measure for so many seconds how long packets stay, unless that is under way.
    MeasureLatency {
        /// 1 to 30.
        seconds: u64,
    },
    /// End the capture of this number, if it runs, or whichever runs.
    CaptureStop(Option<u64>),
    /// Drain and end the program, as SIGTERM does. Answered before it ends.
    Shutdown,
}

/// What a request is answered with; the variant goes by the request.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each variant is the view of its name")]
pub enum Answer {
    /// The change is stored, or the action is done.
    Done,
    Version(view::Version),
    Guests(Vec<view::Guest>),
    Networks(Vec<view::Network>),
    PortInfo(Vec<view::PortInfo>),
    PortStats(Vec<view::PortStats>),
    PortXstats(Vec<view::PortXstats>),
    Routes(view::RoutePage),
    RouteDecision(Box<view::RouteDecision>),
    Neighbors(Vec<view::Neighbor>),
    Macs(Vec<view::MacEntry>),
    Workers(Vec<view::Worker>),
    Drops(view::Drops),
    ConfigText(view::ConfigText),
    ConfigDiff(view::ConfigDiff),
    Classes(Vec<view::Class>),
    Configured(view::Configured),
    Accounts(Vec<view::Account>),
    Events(view::EventPage),
    Latency(view::Latency),
    Capture(CaptureFeed),
    Captures(Vec<view::Capture>),
    /// Number of the trace that has begun.
    Tracing(u64),
    Trace(view::Trace),
    Metrics(Box<Reading>),
    Picture(Box<Picture>),
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// Something named is not there.
    NotFound,
    /// Something of that name is there already.
    Duplicate,
    /// A value is not legal by itself.
    Invalid,
    /// Legal by itself, not together with what is there: an address that another guest holds.
    Conflict,
    /// A limit is reached.
    Limit,
    /// Not now: busy, or ending.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// A refusal: nothing was changed.
#[derive(
    Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize, utoipa::ToSchema,
)]
#[error("{message}")]
pub struct Refusal {
    /// Its kind.
    pub kind: RefusalKind,
    /// One line: what is wrong, with the value, and what would be right.
    pub message: String,
    /// In a batch: position of the change that is refused, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<usize>,
}

/// The body of every answer that is not a success.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: Refusal,
}

impl Refusal {
    /// A refusal of the request as a whole.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), change: None }
    }

    /// A refusal because of the change at this position of a batch.
    pub fn of_change(change: usize, kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), change: Some(change) }
    }
}

/// Whoever answers requests. Called from several threads; blocks until there is an answer.
pub trait Backend: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: Request) -> Result<Answer, Refusal>;
}

/// A request on its way, with the way back.
struct Pending {
    request: Request,
    /// Set once: by the control thread when it takes the request, or by the caller when it gives up.
    settled: Arc<AtomicBool>,
    reply: Responder,
}

/// Settles a request for one side; `false` when the other side was first.
fn settle(flag: &AtomicBool) -> bool {
    // AcqRel: whoever loses must see the winner's word before it acts on it; nothing else hangs on it.
    !flag.swap(true, Ordering::AcqRel)
}

/// The [`Backend`] of the running program: the control thread at the other end of a channel.
#[derive(Clone)]
pub struct ChannelBackend {
    requests: Sender<Pending>,
    bell: Arc<Bell>,
    patience: Duration,
}

/// The control thread's end.
pub struct Requests {
    requests: Receiver<Pending>,
    bell: Arc<Bell>,
}

/// Owes one answer.
pub struct Responder(Arc<Reply>);

/// One answer on its way back.
#[derive(Default)]
struct Reply {
    state: Mutex<ReplyState>,
    changed: Condvar,
}

#[derive(Default)]
enum ReplyState {
    #[default]
    Awaited,
    Here(Result<Answer, Refusal>),
    /// The responder is gone and said nothing.
    Dropped,
}

impl Reply {
    /// A panic elsewhere leaves the state whole: it is set in one step.
    fn lock(&self) -> MutexGuard<'_, ReplyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: ReplyState) {
        let mut current = self.lock();
        if matches!(*current, ReplyState::Awaited) {
            *current = state;
            self.changed.notify_all();
        }
    }

    /// Waits until there is an answer, or none will come, or the time is over.
    fn wait(&self, deadline: Instant) -> ReplyState {
        let mut state = self.lock();
        while matches!(*state, ReplyState::Awaited) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *state)
    }
}

/// Wakes the control thread for a request.
#[derive(Default)]
struct Bell {
    has_rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until it has rung since the last time, or so long.
    fn wait(&self, patience: Duration) {
        let has_rung = self.lock();
        let waited = self.changed.wait_timeout_while(has_rung, patience, |has_rung| !*has_rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.has_rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests that may wait for the control thread; more are told to come back.
const QUEUE: usize = 64;

/// A backend and the control thread's end of it. `patience` is how long a caller waits in all; the
/// program uses [`PATIENCE`].
pub fn channel(patience: Duration) -> (ChannelBackend, Requests) {
    let (sender, receiver) = channel::bounded(QUEUE);
    let bell = Arc::<Bell>::default();
    let requests = Requests { requests: receiver, bell: bell.clone() };
    (ChannelBackend { requests: sender, bell, patience }, requests)
}

/// How long a caller waits for the control thread. Attaching a slow NIC takes seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

impl Backend for ChannelBackend {
    fn call(&self, request: Request) -> Result<Answer, Refusal> {
        let unavailable = |message: String| Refusal::new(RefusalKind::Unavailable, message);
        let deadline = Instant::now() + self.patience;
        let answer = Arc::<Reply>::default();
        let settled = Arc::new(AtomicBool::new(false));
        let reply = Responder(answer.clone());
        let pending = Pending { request, settled: settled.clone(), reply };
        self.requests.send_deadline(pending, deadline).map_err(|error| {
            unavailable(if error.is_timeout() {
                "busy: too many requests wait; nothing was changed, try again".into()
            } else {
                "guestway is ending; nothing was changed".into()
            })
        })?;
        self.bell.ring();
        let seconds = self.patience.as_secs();
        match answer.wait(deadline) {
            ReplyState::Here(answer) => answer,
            ReplyState::Awaited if settle(&settled) => Err(unavailable(format!(
                "busy: not begun within {seconds} s; nothing was changed, try again"
            ))),
            ReplyState::Awaited => Err(unavailable(format!(
                "begun but not done within {seconds} s; look whether it took effect"
            ))),
            ReplyState::Dropped if settle(&settled) => {
                Err(unavailable("guestway is ending; nothing was changed".into()))
            }
            ReplyState::Dropped => {
                Err(Refusal::new(RefusalKind::Internal, "the request was dropped unanswered"))
            }
        }
    }
}

impl Requests {
    /// The next request, if one waits. Never blocks.
    pub fn try_next(&self) -> Option<(Request, Responder)> {
        loop {
            let pending = self.requests.try_recv().ok()?;
            if let Some(taken) = take(pending) {
                return Some(taken);
            }
        }
    }

    /// The next request, waited for at most so long.
    pub fn next_within(&self, patience: Duration) -> Option<(Request, Responder)> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(taken) = self.try_next() {
                return Some(taken);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.bell.wait(left);
        }
    }
}

/// Takes a request unless its caller has given up.
fn take(pending: Pending) -> Option<(Request, Responder)> {
    settle(&pending.settled).then_some((pending.request, pending.reply))
}

impl Responder {
    /// Answers. A caller that has gone meanwhile is no error. Never blocks.
    pub fn answer(self, answer: Result<Answer, Refusal>) {
        self.0.set(ReplyState::Here(answer));
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.set(ReplyState::Dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn an_answer_travels_back_to_its_caller() {
        let (backend, requests) = channel(PATIENCE);
        let control = thread::spawn(move || {
            let (request, responder) = requests.next_within(PATIENCE).unwrap();
            assert_eq!(request, Request::Act(Action::Start));
            responder.answer(Ok(Answer::Done));
        });
        assert_eq!(backend.call(Request::Act(Action::Start)), Ok(Answer::Done));
        control.join().unwrap();
    }

    /// It may nap for longer than its callers wait.
    #[test]
    fn a_request_wakes_control() {
        let (backend, requests) = channel(Duration::from_secs(5));
        let control = thread::spawn(move || {
            let (_, responder) = requests.next_within(PATIENCE).unwrap();
            responder.answer(Ok(Answer::Done));
        });
        // So that it has nothing to do and sleeps.
        thread::sleep(Duration::from_millis(100));
        assert_eq!(backend.call(Request::Act(Action::Stop)).unwrap(), Answer::Done);
        control.join().unwrap();
    }

    #[test]
    fn a_request_given_up_is_never_carried_out() {
        let (backend, requests) = channel(Duration::from_millis(20));
        let refusal = backend.call(Request::Change(vec![])).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Unavailable);
        assert!(refusal.message.contains("nothing was changed"), "{refusal}");
        assert!(requests.try_next().is_none());
    }

    #[test]
    fn a_request_taken_and_late_is_not_called_unchanged() {
        let (backend, requests) = channel(Duration::from_millis(50));
        let control = thread::spawn(move || {
            let taken = requests.next_within(PATIENCE).unwrap();
            thread::sleep(Duration::from_millis(200));
            taken.1.answer(Ok(Answer::Done));
        });
        let refusal = backend.call(Request::Act(Action::Stop)).unwrap_err();
        assert!(refusal.message.contains("look whether"), "{refusal}");
        control.join().unwrap();
    }

    #[test]
    fn a_dropped_responder_and_a_gone_control_thread_are_told_apart() {
        let (backend, requests) = channel(PATIENCE);
        let control = thread::spawn(move || drop(requests.next_within(PATIENCE)));
        let refusal = backend.call(Request::Act(Action::Stop)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Internal);
        control.join().unwrap();
        let refusal = backend.call(Request::Act(Action::Stop)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Unavailable);
    }

    #[test]
    fn a_full_queue_makes_callers_wait_and_then_refuses() {
        let (backend, requests) = channel(Duration::from_millis(100));
        thread::scope(|scope| {
            for _ in 0..QUEUE + 3 {
                scope.spawn(|| backend.call(Request::Show(Show::Version)).unwrap_err());
            }
        });
        assert!(requests.try_next().is_none());
    }
}
