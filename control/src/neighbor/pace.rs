//! A bound on frames per second that holds for every second, whenever the caller's clock ticks.

/// How fast a [`Pace`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Frames a second in the long run; at least 1.
    pub per_s: u32,
    /// Frames at once after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    /// Most frames in any one second.
    pub const fn most_per_s(self) -> u32 {
        self.per_s + self.burst
    }
}

/// A token bucket, as the time at which it will be full again (GCRA, ITU-T I.371).
#[derive(Clone, Debug)]
pub(super) struct Pace {
    interval_us: u64,
    /// How far `full_us` may lie ahead of now for one more frame to go.
    slack_us: u64,
    full_us: u64,
}

impl Pace {
    /// A full bucket.
    pub(super) fn new(rate: Rate) -> Self {
        let interval_us = 1_000_000_u64.div_ceil(u64::from(rate.per_s.max(1)));
        let slack_us = interval_us * u64::from(rate.burst.saturating_sub(1));
        Self { interval_us, slack_us, full_us: 0 }
    }

    /// Takes leave to send one frame now, if there is leave.
    pub(super) fn take(&mut self, now_ms: u64) -> bool {
        let allowed = self.next_ms() <= now_ms;
        if allowed {
            self.full_us = self.full_us.max(now_ms * 1000) + self.interval_us;
        }
        allowed
    }

    /// First time at which a frame may go.
    pub(super) fn next_ms(&self) -> u64 {
        self.full_us.saturating_sub(self.slack_us).div_ceil(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_second_has_more_than_its_frames(
            steps in prop::collection::vec(prop_oneof![4 => 0u64..20, 1 => 0u64..3000], 1..200),
            per_s in 1u32..400,
            burst in 1u32..50,
        ) {
            let rate = Rate { per_s, burst };
            let (mut pace, mut now, mut sent) = (Pace::new(rate), 5, Vec::new());
            for step in steps {
                now += step;
                while pace.take(now) {
                    sent.push(now);
                }
                prop_assert!(pace.next_ms() > now);
            }
            for (first, at) in sent.iter().enumerate() {
                let within = sent[first..].iter().take_while(|t| **t < at + 1000).count();
                prop_assert!(within <= rate.most_per_s() as usize, "{within}");
            }
        }
    }

    #[test]
    fn the_long_run_rate_is_reached() {
        let mut pace = Pace::new(Rate { per_s: 300, burst: 10 });
        let sent: usize = (0..10_000)
            .map(|now| std::iter::repeat(()).take_while(|()| pace.take(now)).count())
            .sum();
        assert!((2990..=3010).contains(&sent), "{sent}");
    }
}
