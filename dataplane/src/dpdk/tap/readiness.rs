//! Which taps have something to read: one question to the kernel for all taps of a worker.
//!
//! The worker owns an epoll descriptor. It asks it once a loop, and not more often than every
//! [`INTERVAL_NS`]: a worker that turns in less than a microsecond, because other kinds of port keep it
//! busy or nobody does, would otherwise spend its time asking. A tap that is ready is read once, up to a
//! burst; what is left makes it ready again at the next question, since epoll is level-triggered. So
//! nothing stays unread, and an idle tap costs a look at a bit.
//!
//! Where the kernel has no room for one more descriptor to watch, that queue is read each loop, as if
//! there were no question to ask.

use super::queue::TapRx;
use crate::ids::PortId;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

/// Least time between two questions, ns: what reading one frame takes.
const INTERVAL_NS: u64 = 2_000;
/// Ready taps that one answer names; the kernel begins the next answer with the others.
const EVENTS_MAX: usize = 128;
const WORD_BITS: usize = 64;
const WORDS: usize = PortId::LIMIT / WORD_BITS;

/// A worker's view of its taps. Belongs to one worker.
pub struct TapReadiness {
    /// Made with the first tap.
    epoll: Option<Epoll>,
    /// Taps watched.
    watched: usize,
    /// A bit for each slot that is taken.
    taken: [u64; WORDS],
    /// A bit for each slot whose tap is to be read.
    due: [u64; WORDS],
    events: [EpollEvent; EVENTS_MAX],
    /// When the kernel was last asked.
    asked_ns: u64,
}

impl Default for TapReadiness {
    fn default() -> Self {
        Self {
            epoll: None,
            watched: 0,
            taken: [0; WORDS],
            due: [0; WORDS],
            events: [EpollEvent::empty(); EVENTS_MAX],
            asked_ns: 0,
        }
    }
}

impl fmt::Debug for TapReadiness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TapReadiness").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl TapReadiness {
    /// Watches a queue from now on.
    pub(crate) fn watch(&mut self, queue: &mut TapRx) {
        queue.slot = None;
        if self.epoll.is_none() {
            self.epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok();
        }
        let free = self.taken.iter().position(|word| *word != u64::MAX);
        let (Some(epoll), Some(word), Some(fd)) = (&self.epoll, free, queue.descriptor()) else {
            return;
        };
        let bit = self.taken[word].trailing_ones();
        let Ok(slot) = u16::try_from(word * WORD_BITS + bit as usize) else { return };
        if epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, slot.into())).is_ok() {
            self.taken[word] |= 1 << bit;
            self.watched += 1;
            queue.slot = Some(slot);
        }
    }

    /// Watches it no more.
    pub(crate) fn forget(&mut self, queue: &mut TapRx) {
        let Some(slot) = queue.slot.take() else { return };
        if let (Some(epoll), Some(fd)) = (&self.epoll, queue.descriptor()) {
            // It was added, and is open as long as its handle exists.
            let _ = epoll.delete(fd);
        }
        let (word, mask) = place(slot.into());
        if let (Some(taken), Some(due)) = (self.taken.get_mut(word), self.due.get_mut(word)) {
            *taken &= !mask;
            *due &= !mask;
        }
        self.watched = self.watched.saturating_sub(1);
    }

    /// Readable while one of them has something to read.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().map(|epoll| epoll.0.as_fd())
    }

    /// Asks the kernel, where it is time to and there is anything to ask.
    #[inline]
    pub(crate) fn look(&mut self, now_ns: u64) {
        if self.watched > 0 && now_ns.wrapping_sub(self.asked_ns) >= INTERVAL_NS {
            self.asked_ns = now_ns;
            self.ask();
        }
    }

    fn ask(&mut self) {
        let Some(epoll) = &self.epoll else { return };
        // Interrupted: then at the next loop.
        let count = epoll.wait(&mut self.events, EpollTimeout::ZERO).unwrap_or(0);
        for event in self.events.iter().take(count) {
            let (word, mask) = place(usize::try_from(event.data()).unwrap_or(usize::MAX));
            if let Some(due) = self.due.get_mut(word) {
                *due |= mask;
            }
        }
    }

    /// Whether a queue is to be read now. It is asked for again before the next time.
    #[inline]
    pub(crate) fn is_due(&mut self, queue: &TapRx) -> bool {
        let Some(slot) = queue.slot else { return true };
        let (word, mask) = place(slot.into());
        match self.due.get_mut(word) {
            Some(due) => {
                let is_due = *due & mask != 0;
                *due &= !mask;
                is_due
            }
            None => true,
        }
    }
}

/// A slot's word and its bit in it.
#[inline]
fn place(slot: usize) -> (usize, u64) {
    (slot / WORD_BITS, 1 << (slot % WORD_BITS))
}
