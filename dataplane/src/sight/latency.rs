//! How long packets stay in a worker: from the moment that their burst was taken from the receive queue
//! until what waited for transmit queues has been given to them.
//!
//! Not in it: what a device, a guest's ring or the kernel adds at either end; for a port that another worker
//! owns, the time in that worker's ring; what control holds or answers; a frame that a transmit queue put
//! off to a later loop.

use hdrhistogram::{CreationError, Histogram};

use crate::ids::PortId;

/// Longest time that is resolved, ns; longer ones count as this.
const LATENCY_NS_MAX: u64 = 10_000_000_000;
/// Significant digits that are kept of each.
const DIGITS: u8 = 3;

/// Which way packets took. Those that were dropped or given to control took none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Course {
    /// By the router.
    Routed,
    /// In a network, to the one that has the MAC.
    Bridged,
    /// In a network, to all.
    Flooded,
    /// Answered by the appliance: echo, ICMP errors.
    Answered,
}

impl Course {
    /// All of them, in order of their numbers.
    pub const ALL: [Course; 4] = [Self::Routed, Self::Bridged, Self::Flooded, Self::Answered];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// Frames of a burst by the way that they took.
pub type Courses = [u32; Course::COUNT];

/// A burst that has been judged and may not have left.
struct Pending {
    since_ns: u64,
    frames: Courses,
}

/// Times that one worker measures: of every frame while it has this.
pub struct Latencies {
    times: [Histogram<u64>; Course::COUNT],
    /// Bursts since the last flush; never longer than its capacity, which is one for each receive queue.
    pending: Vec<Pending>,
}

impl Latencies {
    /// Empty histograms, 10 s wide and exact to three digits; some 700 kB.
    ///
    /// # Errors
    /// None for these constants; the type is the library's.
    pub fn new() -> Result<Box<Self>, CreationError> {
        let empty = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)?;
        let times = std::array::from_fn(|_| empty.clone());
        Ok(Box::new(Self { times, pending: Vec::with_capacity(PortId::LIMIT) }))
    }

    /// Nanoseconds that frames of a course took.
    pub fn times(&self, course: Course) -> &Histogram<u64> {
        &self.times[course as usize]
    }

    /// Adds what another has measured.
    pub fn add(&mut self, other: &Self) {
        for (sum, times) in self.times.iter_mut().zip(&other.times) {
            // Same bounds on both sides, so it always fits.
            let _ = sum.add(times);
        }
    }

    /// A burst that was received at `since_ns` has been judged.
    pub(crate) fn judged(&mut self, since_ns: u64, frames: Courses) {
        // More would allocate. There is no more than a burst of each queue between two flushes.
        if self.pending.len() < self.pending.capacity() {
            self.pending.push(Pending { since_ns, frames });
        }
    }

    /// All that waited has left.
    pub(crate) fn flushed(&mut self, now_ns: u64) {
        for Pending { since_ns, frames } in self.pending.drain(..) {
            let took_ns = now_ns.saturating_sub(since_ns).clamp(1, LATENCY_NS_MAX);
            for (times, count) in self.times.iter_mut().zip(frames) {
                if count > 0 {
                    let _ = times.record_n(took_ns, count.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_told_apart_by_when_they_came_and_by_their_course() {
        let mut latencies = Latencies::new().unwrap();
        latencies.judged(1_000, [3, 0, 0, 0]);
        latencies.judged(1_500, [0, 2, 0, 1]);
        latencies.flushed(2_000);
        latencies.flushed(9_000);
        let of = |course| (latencies.times(course).len(), latencies.times(course).max());
        assert_eq!(of(Course::Routed), (3, 1_000));
        assert_eq!(of(Course::Bridged), (2, 500));
        assert_eq!(of(Course::Flooded), (0, 0));
        assert_eq!(of(Course::Answered), (1, 500));
    }

    #[test]
    fn what_is_pending_never_outgrows_its_room() {
        let mut latencies = Latencies::new().unwrap();
        let room = latencies.pending.capacity();
        (0..room + 10).for_each(|_| latencies.judged(1, [1, 0, 0, 0]));
        assert_eq!(latencies.pending.capacity(), room);
        latencies.flushed(2);
        assert_eq!(latencies.times(Course::Routed).len(), room as u64);
    }

    #[test]
    fn a_clock_that_stood_still_and_a_worker_that_did_are_counted_too() {
        let mut latencies = Latencies::new().unwrap();
        latencies.judged(5, [1, 0, 0, 0]);
        latencies.flushed(5);
        latencies.judged(5, [1, 0, 0, 0]);
        latencies.flushed(u64::MAX);
        assert_eq!(latencies.times(Course::Routed).len(), 2);
        assert!(latencies.times(Course::Routed).max() >= LATENCY_NS_MAX);
    }
}
