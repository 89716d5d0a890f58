//! What the threads around one vhost-user port share: the workers that poll it, the relay that speaks
//! with the front-end, the library's event thread, and control.
//!
//! **The gate.** A worker calls the library only while the gate is open, and looks once per burst.
//! Whoever closes it waits until each worker has passed a quiescent point since; then no worker is in a
//! burst call on the device, and none enters one. The relay closes it before every message for which
//! the library locks queues, moves memory or ends the device, so that no worker ever waits for one of
//! its locks; the library's own `destroy_device` closes it once more, so that safety does not rest on
//! the relay.

use crate::dpdk::lcore::wait_for_workers;
use crate::table::Qsbr;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events kept for control; more say nothing new.
const EVENTS_MAX: usize = 16;
/// Rings of a device, both directions, at most (the library's VHOST_MAX_VRING).
const RINGS_MAX: usize = 256;

/// What a worker may do with the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gate {
    /// Nobody is connected, or not ready yet.
    Down,
    /// A message is under way: frames wait.
    Paused,
    /// The library's number of the device.
    Open(i32),
}

/// One queue's own counters; one writer.
#[derive(Debug, Default)]
pub(super) struct QueueCounts {
    pub(super) pkts: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    gate: AtomicU64,
    qsbr: Arc<Qsbr>,
    /// The library's number while it has a connection, else negative.
    pub(super) vid: AtomicI32,
    /// Between `new_device` and `destroy_device`.
    is_running: AtomicBool,
    /// Rings that are enabled, a bit each.
    rings: [AtomicU64; RINGS_MAX / 64],
    /// Ring pairs of the adapter.
    pub(super) pairs: u16,
    /// Virtio features that the guest has accepted; 0 while down.
    pub(super) features: AtomicU64,
    /// MTU that the front-end told; 0: none.
    pub(super) front_end_mtu: AtomicU16,
    /// MTU of the adapter.
    pub(super) mtu: AtomicU16,
    /// Front-ends that came.
    pub(super) connects: AtomicU32,
    /// Front-ends that were cut off for what they did.
    pub(super) resets: AtomicU32,
    /// Our copies of the events by which the guest is called, by ring. For [`super::watch`] alone.
    calls: Mutex<Vec<Option<OwnedFd>>>,
    /// What wakes a worker that sleeps, by pair; empty where none ever does.
    kicks: Box<[Kick]>,
    /// One of them made a worker wait.
    pub(super) blocks: AtomicBool,
    /// The guest has been migrated here and wants that told.
    pub(super) has_moved: AtomicBool,
    /// Wakes the relay.
    pub(super) wake: EventFd,
    should_stop: AtomicBool,
    has_ended: Mutex<bool>,
    ended: Condvar,
    events: Mutex<Vec<String>>,
    pub(super) rx: Box<[QueueCounts]>,
    pub(super) tx: Box<[QueueCounts]>,
}

/// How the guest of one ring pair wakes the worker that polls it.
///
/// The event changes with the front-end, on the relay's thread; what the worker waits for is the same always.
#[derive(Debug)]
pub(super) struct Kick {
    /// Has the event, if there is one.
    epoll: Epoll,
    event: Mutex<Option<OwnedFd>>,
    /// The ring runs, and there is no event to listen to.
    is_mute: AtomicBool,
    /// Whether the worker wants to be woken.
    pub(super) is_armed: AtomicBool,
}

impl Kick {
    fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            event: Mutex::default(),
            is_mute: AtomicBool::new(false),
            is_armed: AtomicBool::new(false),
        })
    }

    /// Readable after a kick.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Whether the present guest uses the ring and has no event for it. One that it doesn't use has nothing to
    /// tell.
    pub(super) fn is_mute(&self) -> bool {
        self.is_mute.load(Ordering::Relaxed)
    }

    /// The guest has a ring run, with such an event.
    fn set(&self, event: Option<OwnedFd>) {
        let is_heard = self.replace(event);
        self.is_mute.store(!is_heard, Ordering::Relaxed);
    }

    /// Nobody uses the ring.
    fn forget(&self) {
        self.replace(None);
        self.is_mute.store(false, Ordering::Relaxed);
    }

    /// Listens to this event instead of the one before; whether it does.
    fn replace(&self, event: Option<OwnedFd>) -> bool {
        let mut slot = lock(&self.event);
        if let Some(before) = slot.take() {
            // The front-end may keep it open, so closing ours would not end it.
            let _ = self.epoll.delete(before);
        }
        // Nobody reads it: each kick is an edge.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        let listen = |event: &OwnedFd| self.epoll.add(event, EpollEvent::new(flags, 0)).is_ok();
        let is_heard = event.as_ref().is_some_and(listen);
        *slot = event;
        is_heard
    }
}

/// Whether the guest sends by this ring: odd ones (VIRTIO 1.2, 5.1.2).
fn is_sent_by(ring: usize) -> bool {
    ring % 2 == 1
}

const DOWN: u64 = 0;
const PAUSED: u64 = 1;
const OPEN: u64 = 2;

impl Link {
    pub(super) fn new(pairs: u16, mtu: u16, wakes: bool, qsbr: Arc<Qsbr>) -> io::Result<Self> {
        let kicks = if wakes { pairs } else { 0 };
        let counts = || (0..pairs).map(|_| QueueCounts::default()).collect();
        Ok(Self {
            gate: AtomicU64::new(DOWN),
            qsbr,
            vid: AtomicI32::new(-1),
            is_running: AtomicBool::new(false),
            rings: Default::default(),
            pairs,
            features: AtomicU64::new(0),
            front_end_mtu: AtomicU16::new(0),
            mtu: AtomicU16::new(mtu),
            connects: AtomicU32::new(0),
            resets: AtomicU32::new(0),
            calls: Mutex::new((0..pairs * 2).map(|_| None).collect()),
            kicks: (0..kicks).map(|_| Kick::new()).collect::<io::Result<_>>()?,
            blocks: AtomicBool::new(false),
            has_moved: AtomicBool::new(false),
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            should_stop: AtomicBool::new(false),
            has_ended: Mutex::new(true),
            ended: Condvar::new(),
            events: Mutex::new(Vec::new()),
            rx: counts(),
            tx: counts(),
        })
    }

    /// What a worker may do, for one burst.
    #[inline]
    pub(super) fn gate(&self) -> Gate {
        // Acquire: who finds it open finds what was written before it was opened.
        match self.gate.load(Ordering::Acquire) {
            DOWN => Gate::Down,
            PAUSED => Gate::Paused,
            open => Gate::Open(i32::try_from(open - OPEN).unwrap_or(i32::MAX)),
        }
    }

    /// Opens the gate; the device is there and nobody changes it.
    pub(super) fn open(&self, vid: i32) {
        self.gate.store(OPEN + u64::from(vid.unsigned_abs()), Ordering::Release);
    }

    /// Keeps workers out for the length of a message; returns when none is in a burst.
    pub(super) fn pause(&self) {
        if let Gate::Open(_) = self.gate() {
            self.gate.store(PAUSED, Ordering::Release);
            wait_for_workers(&self.qsbr);
        }
    }

    /// Keeps workers out until it is opened again; returns when none is in a burst.
    pub(super) fn shut(&self) {
        if self.gate.swap(DOWN, Ordering::AcqRel) != DOWN {
            wait_for_workers(&self.qsbr);
        }
    }

    /// Whether the library has a device that is ready for bursts.
    pub(super) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    pub(super) fn set_running(&self, is_running: bool) {
        self.is_running.store(is_running, Ordering::Release);
    }

    /// Nothing is left of the front-end.
    pub(super) fn forget_front_end(&self) {
        self.set_running(false);
        self.features.store(0, Ordering::Relaxed);
        self.front_end_mtu.store(0, Ordering::Relaxed);
        self.blocks.store(false, Ordering::Relaxed);
        lock(&self.calls).iter_mut().for_each(|call| *call = None);
        self.kicks.iter().for_each(Kick::forget);
        self.rings.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// A ring was enabled or disabled by the front-end. Called with the library's queue locks held.
    pub(super) fn set_ring(&self, ring: u16, is_on: bool) {
        let (word, bit) = (usize::from(ring / 64), 1 << (ring % 64));
        let Some(word) = self.rings.get(word) else { return };
        if is_on {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether the ring by which the guest receives on this pair is enabled.
    #[inline]
    pub(super) fn is_pair_on(&self, pair: u16) -> bool {
        let ring = pair * 2;
        let word = self.rings.get(usize::from(ring / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (ring % 64)) != 0)
    }

    /// Pairs that the guest receives on at present.
    pub(super) fn pairs_on(&self) -> u16 {
        (0..self.pairs).map(|pair| u16::from(self.is_pair_on(pair))).sum()
    }

    /// A connection with the library begins or has ended.
    pub(super) fn set_ended(&self, has_ended: bool) {
        *lock(&self.has_ended) = has_ended;
        self.ended.notify_all();
    }

    /// Waits until the library has let go of its connection; false when it has not in time.
    pub(super) fn wait_ended(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut has_ended = lock(&self.has_ended);
        while !*has_ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.ended.wait_timeout(has_ended, left);
            has_ended = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The event by which the guest is called about a ring.
    pub(super) fn set_call(&self, ring: usize, event: Option<OwnedFd>) {
        if let Some(call) = lock(&self.calls).get_mut(ring) {
            *call = event;
        }
    }

    /// The event by which the guest tells that it has put something into a ring.
    pub(super) fn set_kick(&self, ring: usize, event: Option<OwnedFd>) {
        if let Some(kick) = self.kicks.get(ring / 2).filter(|_| is_sent_by(ring)) {
            kick.set(event);
        }
    }

    /// What wakes a worker that sleeps, where one ever does.
    pub(super) fn kick(&self, pair: u16) -> Option<&Kick> {
        self.kicks.get(usize::from(pair))
    }

    /// Whether the guest is to kick for this ring.
    pub(super) fn is_armed(&self, ring: u16) -> bool {
        let kick = self.kick(ring / 2).filter(|_| is_sent_by(ring.into()));
        kick.is_some_and(|kick| kick.is_armed.load(Ordering::Relaxed))
    }

    /// Looks for an event that is full, so that a worker who wrote to it waits, empties it and has the
    /// front-end cut off; whether there was one.
    pub(super) fn release_worker(&self) -> bool {
        let mut found = false;
        for call in lock(&self.calls).iter().flatten() {
            let mut fds = [PollFd::new(call.as_fd(), PollFlags::POLLOUT)];
            let is_full = poll(&mut fds, PollTimeout::ZERO) == Ok(0);
            if is_full {
                // Whoever waits in a write goes on; one who reads in our place has emptied it.
                let mut count = [0; 8];
                let _ = nix::unistd::read(call, &mut count);
                found = true;
            }
        }
        if found {
            self.blocks.store(true, Ordering::Release);
            let _ = self.wake.write(1);
        }
        found
    }

    /// Tells the relay to end.
    pub(super) fn stop(&self) {
        self.should_stop.store(true, Ordering::Release);
        // It can't be full: nobody writes so often.
        let _ = self.wake.write(1);
    }

    pub(super) fn should_stop(&self) -> bool {
        self.should_stop.load(Ordering::Acquire)
    }

    /// Something that the operator should hear of.
    pub(super) fn tell(&self, text: impl Into<String>) {
        let mut events = lock(&self.events);
        if events.len() < EVENTS_MAX {
            events.push(text.into());
        }
    }

    pub(super) fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.events))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
