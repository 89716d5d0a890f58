//! Adaptive polling: a worker that has had nothing to do for a while sleeps between two looks, so that an idle
//! host does not burn a core. Off unless asked for: a poll-mode worker never sleeps.
//!
//! The longer nothing comes the longer it sleeps, up to [`NAP_NS_MAX`]: what the first packet after a silence
//! waits for at most, beside what the kernel takes to wake a thread. Commands of control wait as long.

use std::time::Duration;

/// So long after the last thing to do a worker stays awake, ns: a stream of a thousand packets a second is
/// never waited for.
const AWAKE_NS: u64 = 1_000_000;
/// The first nap, ns; each that nothing comes in doubles the next.
const NAP_NS_MIN: u64 = 50_000;
/// The longest, ns.
pub const NAP_NS_MAX: u64 = 600_000;

/// When a worker sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Puts the calling thread to sleep.
    sleep: fn(Duration),
    /// When there was something to do last.
    busy_ns: u64,
    /// How long the next nap is.
    nap_ns: u64,
}

impl Idle {
    /// Sleeps by this function.
    pub fn new(sleep: fn(Duration)) -> Self {
        Self { sleep, busy_ns: 0, nap_ns: NAP_NS_MIN }
    }

    /// Told after each loop whether there was anything to do; sleeps if there has been nothing for so long.
    /// Answers whether it did.
    pub(crate) fn looked(&mut self, is_busy: bool, now_ns: u64) -> bool {
        if is_busy {
            (self.busy_ns, self.nap_ns) = (now_ns, NAP_NS_MIN);
        }
        if now_ns.saturating_sub(self.busy_ns) < AWAKE_NS {
            return false;
        }
        (self.sleep)(Duration::from_nanos(self.nap_ns));
        self.nap_ns = (2 * self.nap_ns).min(NAP_NS_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn slept_ns(idle: &mut Idle, is_busy: bool, now_ns: u64) -> u64 {
        SLEPT.set(Duration::ZERO);
        let has_slept = idle.looked(is_busy, now_ns);
        assert_eq!(has_slept, !SLEPT.get().is_zero());
        SLEPT.get().subsec_nanos().into()
    }

    #[test]
    fn it_sleeps_longer_and_longer_until_there_is_something_to_do() {
        let mut idle = Idle::new(|time| SLEPT.set(time));
        let start_ns = 1_000_000_000;
        assert_eq!(slept_ns(&mut idle, true, start_ns), 0);
        assert_eq!(slept_ns(&mut idle, false, start_ns + AWAKE_NS - 1), 0);
        let naps: Vec<u64> =
            (0..6).map(|n| slept_ns(&mut idle, false, start_ns + AWAKE_NS + n)).collect();
        assert_eq!(naps, [50_000, 100_000, 200_000, 400_000, 600_000, 600_000]);
        // One packet, and all begins anew.
        let now_ns = start_ns + 9_000_000;
        assert_eq!(slept_ns(&mut idle, true, now_ns), 0);
        assert_eq!(slept_ns(&mut idle, false, now_ns + AWAKE_NS / 2), 0);
        assert_eq!(slept_ns(&mut idle, false, now_ns + AWAKE_NS), NAP_NS_MIN);
    }
}
