//! QSBR: when is memory that a worker may still read free for another use?
//!
//! A worker holds nothing of the tables between two bursts. There it reports a *quiescent point*:
//! it copies the number of the current epoch into its own slot. Control takes something out of a
//! table, begins an epoch ([`Qsbr::start_grace`]), and knows that nobody still looks at what it took
//! out once every slot shows that epoch or a later one. Nobody waits for anybody: control looks
//! again later, and keeps what is not yet free in a [`Limbo`].
//!
//! The two orders that matter:
//!
//! * Worker reads a table, then stores its slot (release); control loads the slot (acquire), then
//!   reuses. So the reuse comes after the reads.
//! * Control takes out, then raises the epoch (release); the worker loads the epoch (acquire), then
//!   reads tables. So a worker that shows the epoch no longer finds what was taken out.
//!
//! A worker that sleeps or stops goes *offline* and is not waited for. Its way back is the one place
//! where a store must be seen before a later load: "I am online" before the first look at a table,
//! against control's "taken out" before its look at the slot. Both sides put a sequentially
//! consistent fence between the two, so that at least one sees the other.

use super::sync::{AtomicU64, Ordering, fence};
use crossbeam::utils::CachePadded;
use std::collections::VecDeque;
use std::sync::Arc;

/// Slot of nobody.
const FREE: u64 = 0;
/// Slot of a reader that holds nothing and will look at nothing before it says so.
const OFFLINE: u64 = u64::MAX;

/// The epoch, and what each reader last saw of it.
#[derive(Debug)]
pub struct Qsbr {
    /// Raised by control, read by workers at each quiescent point.
    epoch: CachePadded<AtomicU64>,
    /// A line for each reader, which only that reader writes; control reads all.
    slots: Box<[CachePadded<AtomicU64>]>,
}

/// A moment that every reader has to pass. Later moments are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Grace(u64);

impl Qsbr {
    /// For at most `max_readers` readers at a time.
    pub fn new(max_readers: usize) -> Arc<Self> {
        let slots = (0..max_readers).map(|_| CachePadded::new(AtomicU64::new(FREE))).collect();
        Arc::new(Self { epoch: CachePadded::new(AtomicU64::new(1)), slots })
    }

    /// A new reader, online: it may look at the tables at once. None when all slots are taken.
    pub fn register(self: &Arc<Self>) -> Option<Reader> {
        let seen = self.epoch.load(Ordering::Acquire);
        let slot = self.slots.iter().position(|slot| {
            slot.compare_exchange(FREE, seen, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        // Pairs with the fence in `start_grace`: see the essay.
        fence(Ordering::SeqCst);
        Some(Reader { qsbr: Arc::clone(self), slot, seen })
    }

    /// Begins a grace period for all that this thread has taken out of tables so far.
    pub fn start_grace(&self) -> Grace {
        let grace = Grace(self.epoch.fetch_add(1, Ordering::AcqRel) + 1);
        // Pairs with the fences of readers that come online.
        fence(Ordering::SeqCst);
        grace
    }

    /// Whether every reader has been quiescent since.
    pub fn has_passed(&self, grace: Grace) -> bool {
        grace <= self.passed()
    }

    /// The latest grace period that every reader has passed.
    fn passed(&self) -> Grace {
        let began = self.epoch.load(Ordering::Acquire);
        let slowest = self.slots.iter().map(|slot| match slot.load(Ordering::Acquire) {
            FREE | OFFLINE => began,
            seen => seen,
        });
        Grace(slowest.min().unwrap_or(began).min(began))
    }
}

/// A thread that looks at the tables. Dropping it unregisters.
pub struct Reader {
    qsbr: Arc<Qsbr>,
    slot: usize,
    /// Copy of the slot, so that an unchanged epoch costs no store.
    seen: u64,
}

impl Reader {
    /// Says that this thread holds nothing that it read from a table. One shared load; a store only
    /// when control began an epoch since. Does nothing while offline.
    #[inline]
    pub fn quiescent(&mut self) {
        let epoch = self.qsbr.epoch.load(Ordering::Acquire);
        if epoch != self.seen && self.seen != OFFLINE {
            self.say(epoch);
        }
    }

    /// Says that this thread holds nothing and looks at nothing until [`Reader::set_online`].
    pub fn set_offline(&mut self) {
        self.say(OFFLINE);
    }

    /// Must come before the next look at a table.
    pub fn set_online(&mut self) {
        self.say(self.qsbr.epoch.load(Ordering::Acquire));
        // Pairs with the fence in `start_grace`: see the essay.
        fence(Ordering::SeqCst);
    }

    /// Release: what this thread read before stays before.
    fn say(&mut self, seen: u64) {
        self.seen = seen;
        self.qsbr.slots[self.slot].store(seen, Ordering::Release);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.say(FREE);
    }
}

/// Things taken out, in order, until their grace period has passed.
///
/// Each epoch costs every worker a cache miss, so one epoch serves many: an epoch is begun when
/// [`Limbo::collect`] is called or [`Limbo::BATCH`] things have come together.
pub struct Limbo<T> {
    waiting: VecDeque<(Grace, T)>,
    /// How many at the back wait for an epoch to begin.
    open: usize,
}

impl<T> Default for Limbo<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), open: 0 }
    }
}

impl<T> Limbo<T> {
    /// Things that share an epoch at most.
    pub const BATCH: usize = 64;
    /// Of a thing whose epoch has not begun.
    const NEVER: Grace = Grace(u64::MAX);

    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `thing`, which this thread has taken out: no reader can find it any more.
    pub fn retire(&mut self, qsbr: &Qsbr, thing: T) {
        self.waiting.push_back((Self::NEVER, thing));
        self.open += 1;
        if self.open >= Self::BATCH {
            self.begin(qsbr);
        }
    }

    /// Gives back what no reader can still hold, oldest first. What was retired since the last call
    /// begins its grace period here at the latest. What is not taken from the iterator is dropped.
    pub fn collect(&mut self, qsbr: &Qsbr) -> impl Iterator<Item = T> {
        self.begin(qsbr);
        let passed = if self.waiting.is_empty() { Grace(0) } else { qsbr.passed() };
        let free = self.waiting.partition_point(|(grace, _)| *grace <= passed);
        self.waiting.drain(..free).map(|(_, thing)| thing)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn begin(&mut self, qsbr: &Qsbr) {
        if self.open > 0 {
            let grace = qsbr.start_grace();
            self.waiting.iter_mut().rev().take(self.open).for_each(|(begun, _)| *begun = grace);
            self.open = 0;
        }
    }
}
