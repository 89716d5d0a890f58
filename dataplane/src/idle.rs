//! Adaptive polling: a worker that has had nothing to do for a while sleeps, so that an idle host does not burn
//! a core. Off unless asked for: a poll-mode worker never sleeps.
//!
//! The longer nothing comes the longer it sleeps. Where each of its queues can tell that it has something
//! ([`crate::io::Readiness::arm`]) the first packet after a silence wakes it, and it looks by itself only now
//! and then ([`NAP_TOLD_NS_MAX`]). A queue that can't tell, of a device without interrupts, is looked at by the
//! clock, and its first packet waits for [`NAP_NS_MAX`] at most, beside what the kernel takes to wake a thread.
//! What control and other workers put into its rings wakes it in any case: they ring its [`Bell`].

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// So long after the last thing to do a worker stays awake, ns: a stream of a thousand packets a second is
/// never waited for.
const AWAKE_NS: u64 = 1_000_000;
/// The first nap, ns; each that nothing comes in doubles the next.
const NAP_NS_MIN: u64 = 50_000;
/// The longest where it has to look for itself, ns.
pub const NAP_NS_MAX: u64 = 600_000;
/// The longest where it is told, ns: a queue that fails to tell is found all the same.
pub const NAP_TOLD_NS_MAX: u64 = 20_000_000;

/// When a worker sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// When there was something to do last.
    busy_ns: u64,
    /// How long the next nap is.
    nap_ns: u64,
}

impl Default for Idle {
    fn default() -> Self {
        Self { busy_ns: 0, nap_ns: NAP_NS_MIN }
    }
}

impl Idle {
    /// Told after each loop whether there was anything to do; whether there has been nothing for so long that
    /// it may sleep.
    pub(crate) fn looked(&mut self, is_busy: bool, now_ns: u64) -> bool {
        if is_busy {
            (self.busy_ns, self.nap_ns) = (now_ns, NAP_NS_MIN);
        }
        now_ns.saturating_sub(self.busy_ns) >= AWAKE_NS
    }

    /// How long to sleep now, and whether it will be told of what comes meanwhile.
    pub(crate) fn nap(&mut self, is_told: bool) -> Duration {
        let longest_ns = if is_told { NAP_TOLD_NS_MAX } else { NAP_NS_MAX };
        let nap_ns = self.nap_ns.min(longest_ns);
        self.nap_ns = (2 * nap_ns).min(longest_ns);
        Duration::from_nanos(nap_ns)
    }
}

/// Whether a worker is to be woken.
///
/// It says that it listens, then looks at its rings once more, and sleeps if they are empty. The other side
/// fills a ring, then looks whether somebody listens. Both have a sequentially consistent fence between the two,
/// so that at least one sees the other (`tests/table_loom.rs` tries every order).
#[derive(Debug)]
pub struct Ear(AtomicBool);

impl Default for Ear {
    fn default() -> Self {
        Self(AtomicBool::new(false))
    }
}

impl Ear {
    /// From now on the worker wants to be woken. It looks at its rings after this and before it sleeps.
    pub fn listen(&self) {
        self.0.store(true, Ordering::Relaxed);
        // Pairs with the one in `is_to_be_woken`.
        fence(Ordering::SeqCst);
    }

    /// The worker is awake.
    pub fn stop_listening(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it is to be woken, by who has just put something into one of its rings. Said once for each time
    /// that it listens: the first to ask wakes it for all.
    pub fn is_to_be_woken(&self) -> bool {
        // Pairs with the one in `listen`.
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// What wakes a worker that sleeps, for whoever has put something into one of its rings.
#[derive(Debug, Default)]
pub struct Bell {
    /// None where the worker never sleeps: then ringing costs a look at that.
    event: OnceLock<EventFd>,
    ear: Ear,
}

impl Bell {
    /// For a worker that may sleep.
    ///
    /// # Errors
    /// The system's, which has no descriptor left.
    pub fn hang(&self) -> io::Result<()> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        // One that hangs already is as good.
        let _ = self.event.set(event);
        Ok(())
    }

    /// Wakes the worker if it sleeps. Called after something was put into one of its rings.
    #[inline]
    pub fn ring(&self) {
        if let Some(event) = self.event.get() {
            self.wake(event);
        }
    }

    #[cold]
    fn wake(&self, event: &EventFd) {
        if self.ear.is_to_be_woken() {
            // It can't be full.
            let _ = event.write(1);
        }
    }

    /// See [`Ear::listen`].
    pub fn listen(&self) {
        self.ear.listen();
    }

    /// See [`Ear::stop_listening`].
    pub fn stop_listening(&self) {
        self.ear.stop_listening();
    }

    /// Whether it is rung, or `time` passes in vain.
    pub fn is_rung_within(&self, time: Duration) -> bool {
        self.sleep([None; 2], time);
        !self.ear.0.load(Ordering::Relaxed)
    }

    /// Sleeps until the bell is rung, one of `others` is readable or the time is over; a signal ends it too.
    pub fn sleep(&self, others: [Option<BorrowedFd<'_>>; 2], time: Duration) {
        let Some(event) = self.event.get() else { return };
        // In the place of one that is absent the bell stands once more.
        let [one, other] = others.map(|fd| fd.unwrap_or(event.as_fd()));
        let mut fds = [event.as_fd(), one, other].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // An error is a signal's: then it looks, and sleeps again.
        let woken = ppoll(&mut fds, Some(TimeSpec::from_duration(time)), None);
        if woken.is_ok_and(|count| count > 0) && fds[0].any() == Some(true) {
            let _ = event.read();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn it_sleeps_longer_and_longer_until_there_is_something_to_do() {
        let mut idle = Idle::default();
        let start_ns = 1_000_000_000;
        assert!(!idle.looked(true, start_ns));
        assert!(!idle.looked(false, start_ns + AWAKE_NS - 1));
        assert!(idle.looked(false, start_ns + AWAKE_NS));
        let naps = |idle: &mut Idle, is_told, count: usize| -> Vec<_> {
            (0..count).map(|_| idle.nap(is_told).as_micros()).collect()
        };
        assert_eq!(naps(&mut idle, false, 6), [50, 100, 200, 400, 600, 600]);
        assert_eq!(naps(&mut idle, true, 7), [600, 1_200, 2_400, 4_800, 9_600, 19_200, 20_000]);
        assert_eq!(naps(&mut idle, false, 1), [600], "a queue that can't tell came in between");
        // One packet, and all begins anew.
        let now_ns = start_ns + 90_000_000;
        assert!(!idle.looked(true, now_ns));
        assert!(!idle.looked(false, now_ns + AWAKE_NS / 2));
        assert!(idle.looked(false, now_ns + AWAKE_NS));
        assert_eq!(naps(&mut idle, true, 2), [50, 100]);
    }

    /// Whoever puts something down and rings is heard, however often the two meet: a sleep that nobody ended
    /// would last a minute, and the test's own clock runs out.
    #[test]
    fn what_was_put_down_before_it_rang_is_never_slept_through() {
        let (bell, put) = (Arc::new(Bell::default()), Arc::new(AtomicU64::new(0)));
        bell.hang().unwrap();
        let (theirs, theirs_put) = (bell.clone(), put.clone());
        let rounds = 20_000;
        let taken = Arc::new(AtomicU64::new(0));
        let theirs_taken = taken.clone();
        let sleeper = std::thread::spawn(move || {
            while theirs_taken.load(Ordering::Acquire) < rounds {
                theirs.listen();
                if theirs_put.load(Ordering::Relaxed) == theirs_taken.load(Ordering::Relaxed) {
                    theirs.sleep([None; 2], Duration::from_secs(60));
                }
                theirs.stop_listening();
                theirs_taken.store(theirs_put.load(Ordering::Acquire), Ordering::Release);
            }
        });
        for round in 1..=rounds {
            put.store(round, Ordering::Release);
            bell.ring();
            while taken.load(Ordering::Acquire) < round {
                std::hint::spin_loop();
            }
        }
        sleeper.join().unwrap();
    }

    #[test]
    fn a_bell_that_was_not_hung_wakes_nobody_and_lets_nobody_sleep() {
        let bell = Bell::default();
        bell.ring();
        bell.sleep([None; 2], Duration::from_secs(60));
    }
}
