//! When a frame may leave so that a rate is kept: the generic cell rate algorithm (ITU-T I.371) as virtual
//! scheduling. Each frame is given the time at which the ones before it are paid for, its earliest departure
//! (as in Carousel, SIGCOMM 2017); who sends it no sooner keeps the rate to the byte.
//!
//! One number is all the state, so workers share it without a lock: each takes its place in line by one
//! compare-and-exchange, whatever share of the traffic it has.

use std::sync::atomic::{AtomicU64, Ordering};

/// Parts of a nanosecond that time is kept in: at 100 Gbit/s the shortest frame takes 5 ns.
const PARTS_PER_NS: u64 = 64;
/// Costs of a byte are kept in so many bits finer parts.
const COST_BITS: u32 = 16;
/// What an idle sender has saved up, ns: as much as a worker that was held up for a moment has to make up for.
const CREDIT_NS: u64 = 10_000_000;
/// The longest wait, ns, while the rate lets so many frames through in it.
const WAIT_NS: u64 = 50_000_000;
/// A wait of at least so many bytes: a TCP sender hands over up to 64 kB at once, and has to find room for one
/// such segment behind another.
const WAIT_BYTES_MIN: u64 = 128 << 10;
/// And of at most so many: memory is everybody's.
const WAIT_BYTES_MAX: u64 = 1 << 20;
/// Below so many bits per second a long segment takes most of a wait, and TCP too long to recover from the loss
/// of one: it is cut first.
const SLOW_BPS: u64 = 50_000_000;
/// The longest wait of all, ns; the wheel reaches further.
pub(super) const WAIT_NS_MAX: u64 = 500_000_000;

/// Slowest rate, bits per second: below, a full frame takes more than a quarter of a minute.
pub const RATE_MIN_BPS: u64 = 1_000;
/// Fastest rate, bits per second.
pub const RATE_MAX_BPS: u64 = 1_000_000_000_000;

/// A rate, and how much of it is taken.
#[derive(Debug)]
pub struct Meter {
    /// What one byte, or event, takes: [`COST_BITS`] finer than parts.
    cost: u64,
    /// How far in the past the next one may have been due, parts.
    credit: u64,
    /// How far in the future it may be, parts.
    wait: u64,
    /// When the next one is due, parts. Written by all workers; no other memory hangs on it, so relaxed.
    due: AtomicU64,
}

impl Meter {
    /// Of bits per second, within [`RATE_MIN_BPS`] and [`RATE_MAX_BPS`]: what is beyond counts as these.
    pub fn rate(bps: u64) -> Self {
        let bps = bps.clamp(RATE_MIN_BPS, RATE_MAX_BPS);
        let bytes_ns = |bytes: u64| bytes * 8 * 1_000_000_000 / bps;
        let wait_ns = WAIT_NS.max(bytes_ns(WAIT_BYTES_MIN)).min(bytes_ns(WAIT_BYTES_MAX));
        Self {
            cost: ((8 * 1_000_000_000 * PARTS_PER_NS) << COST_BITS) / bps,
            credit: CREDIT_NS * PARTS_PER_NS,
            wait: wait_ns.min(WAIT_NS_MAX) * PARTS_PER_NS,
            due: AtomicU64::new(0),
        }
    }

    /// Of events per second, a tenth of a second's at once (8 at least), and none that waits.
    pub fn events(per_s: u32) -> Self {
        let cost = 1_000_000_000 * PARTS_PER_NS / u64::from(per_s.max(1));
        Self {
            cost: cost << COST_BITS,
            credit: (cost * 7).max(100_000_000 * PARTS_PER_NS),
            wait: 0,
            due: AtomicU64::new(0),
        }
    }

    /// Whether long segments are to be cut before they are charged.
    pub fn is_slow(&self) -> bool {
        self.cost > ((8 * 1_000_000_000 * PARTS_PER_NS) << COST_BITS) / SLOW_BPS
    }

    /// When one that comes now is due, unless that is too long to wait.
    fn start(&self, due: u64, now: u64) -> Option<u64> {
        let start = due.max(now.saturating_sub(self.credit));
        (start <= now + self.wait).then_some(start)
    }

    /// Whether one that comes now need not wait too long.
    pub fn has_room(&self, now_ns: u64) -> bool {
        self.start(self.due.load(Ordering::Relaxed), now_ns * PARTS_PER_NS).is_some()
    }

    /// Takes so many bytes' (or events') place in line; answers when they may leave, ns, or nothing where that is
    /// too long to wait.
    pub fn take(&self, bytes: u64, now_ns: u64) -> Option<u64> {
        let now = now_ns * PARTS_PER_NS;
        let cost = (bytes * self.cost) >> COST_BITS;
        let mut taken = None;
        let next = |due| {
            taken = self.start(due, now);
            Some(taken? + cost)
        };
        let _ = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(|start| start / PARTS_PER_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SECOND_NS: u64 = 1_000_000_000;

    /// Bytes that leave within `seconds` where frames of `bytes` come as often as the meter takes them.
    fn sent(meter: &Meter, bytes: u64, start_ns: u64, seconds: u64) -> u64 {
        let end_ns = start_ns + seconds * SECOND_NS;
        let mut sent = 0;
        let mut now_ns = start_ns;
        while now_ns < end_ns {
            while let Some(at_ns) = meter.take(bytes, now_ns) {
                assert!(at_ns <= now_ns + WAIT_NS_MAX);
                sent += if at_ns < end_ns { bytes } else { 0 };
            }
            now_ns += 1_000_000;
        }
        sent
    }

    #[test]
    fn what_leaves_is_the_rate_to_the_byte_and_a_credit_at_first() {
        for bps in [100_000, 10_000_000, 1_000_000_000, 40_000_000_000] {
            for bytes in [64, 1514, 65_000] {
                let meter = Meter::rate(bps);
                let first = sent(&meter, bytes, 7 * SECOND_NS, 10);
                let want = bps / 8 * 10;
                let credit = bps / 8 / 100 + 2 * bytes + want / 1_000;
                assert!((want..=want + credit).contains(&first), "{bps} {bytes}: {first}");
            }
        }
    }

    #[test]
    fn the_wait_is_bounded_in_time_and_bytes() {
        let backlog = |bps: u64| {
            let meter = Meter::rate(bps);
            let times: Vec<u64> = std::iter::from_fn(|| meter.take(1514, SECOND_NS)).collect();
            (times.len() as u64 * 1514, times.last().unwrap().saturating_sub(SECOND_NS))
        };
        let (bytes, wait_ns) = backlog(100_000_000);
        assert!(wait_ns <= WAIT_NS && bytes >= 100_000_000 / 8 / 20, "{bytes} {wait_ns}");
        let (bytes, wait_ns) = backlog(4_000_000);
        assert!(bytes >= WAIT_BYTES_MIN && wait_ns <= WAIT_NS_MAX, "{bytes} {wait_ns}");
        let credit = 100_000_000_000 / 8 / 100;
        let (bytes, _) = backlog(100_000_000_000);
        assert!(bytes <= (WAIT_BYTES_MAX + credit) / 1_000 * 1_001, "{bytes}");
        // The slowest lets one frame at a time through.
        let (bytes, _) = backlog(RATE_MIN_BPS);
        assert_eq!(bytes, 1514);
    }

    #[test]
    fn two_workers_share_one_rate() {
        let meter = Arc::new(Meter::rate(1_000_000_000));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let meter = meter.clone();
                std::thread::spawn(move || sent(&meter, 1514, SECOND_NS, 4))
            })
            .collect();
        let both: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        // Each has a clock of its own, and so the line may be as much longer as they are apart.
        assert!((499_000_000..=2 * 500_000_000).contains(&both), "{both}");
        let due = meter.due.load(Ordering::Relaxed) / PARTS_PER_NS;
        let paid = due - (SECOND_NS - CREDIT_NS);
        assert!((both * 8).abs_diff(paid) <= 60_000_000 + both * 8 / 1000, "{both} {paid}");
    }

    #[test]
    fn events_come_at_their_rate_and_never_wait() {
        let meter = Meter::events(1_000);
        let take = |now_ns| meter.take(1, now_ns).is_some();
        let at_once = (0..1_000).filter(|_| take(SECOND_NS)).count();
        assert!((100..=102).contains(&at_once), "{at_once}");
        let second = (1..=1_000).filter(|ms| take(SECOND_NS + ms * 1_000_000)).count();
        assert!((998..=1_001).contains(&second), "{second}");
        // A slow one still passes a few together.
        let slow = Meter::events(1);
        assert_eq!((0..100).filter(|_| slow.take(1, 100 * SECOND_NS).is_some()).count(), 8);
    }
}
