//! Whether every worker still comes round its loop.
//!
//! A worker tells of its loops anyway ([`dataplane::worker::WorkerStats`]); control looks at the numbers now
//! and then, so a heartbeat costs a worker nothing. One whose number stands still is late: told once when it
//! becomes so and once when it beats again, counted, and reason enough not to feed the service manager's
//! watchdog.
//!
//! Invariant: time is an argument, milliseconds on any monotonic clock.

use std::fmt;

/// A worker that has not come round for longer than this is late. A loop takes microseconds; what takes a
/// core away for so long (a stopped virtual machine, a real-time program on the same core) is felt by every
/// guest, and what takes it away for less is in the loop times of `show worker`.
pub const LATE_AFTER_MS: u64 = 1_000;

/// Most that one look adds to a silence, somewhat more than control has between two looks. When the whole
/// machine stood still, or control itself was busy, nobody knows what the worker did meanwhile.
const LOOK_MAX_MS: u64 = 600;

/// What became of a worker's beat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BeatEvent {
    /// It became late.
    Late {
        /// Its position among the workers.
        worker: usize,
        /// For how long it has been silent.
        silent_ms: u64,
    },
    /// It beats again.
    Back {
        /// Its position among the workers.
        worker: usize,
        /// How long it was silent.
        silent_ms: u64,
    },
}

impl BeatEvent {
    /// Position of the worker.
    pub fn worker(&self) -> usize {
        match *self {
            Self::Late { worker, .. } | Self::Back { worker, .. } => worker,
        }
    }
}

/// What follows "worker on core 1".
impl fmt::Display for BeatEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| (ms / 1000, ms % 1000 / 100);
        match *self {
            Self::Late { silent_ms, .. } => {
                let (whole, tenth) = seconds(silent_ms);
                write!(out, "is late: it has not come round for {whole}.{tenth} s")
            }
            Self::Back { silent_ms, .. } => {
                let (whole, tenth) = seconds(silent_ms);
                write!(out, "beats again after {whole}.{tenth} s")
            }
        }
    }
}

/// One worker's.
#[derive(Clone, Debug, Default)]
struct Beat {
    /// Loops as last seen.
    loops: u64,
    /// How long they have been so.
    silent_ms: u64,
    is_late: bool,
    late_beats: u64,
}

/// The beats of all workers.
#[derive(Clone, Debug)]
pub struct Beats {
    beats: Vec<Beat>,
    looked_ms: u64,
}

impl Beats {
    /// So many workers, started now.
    pub fn new(workers: usize, now_ms: u64) -> Self {
        Self { beats: vec![Beat::default(); workers], looked_ms: now_ms }
    }

    /// Looks at the number of loops of each worker, in the order of their positions.
    pub fn look(&mut self, now_ms: u64, loops: impl IntoIterator<Item = u64>) -> Vec<BeatEvent> {
        let passed_ms = now_ms.saturating_sub(self.looked_ms).min(LOOK_MAX_MS);
        self.looked_ms = now_ms;
        let looked = self.beats.iter_mut().enumerate().zip(loops);
        looked.filter_map(|((worker, beat), loops)| beat.look(worker, passed_ms, loops)).collect()
    }

    /// Whether no worker is late.
    pub fn are_all_in_time(&self) -> bool {
        !self.beats.iter().any(|beat| beat.is_late)
    }

    /// Whether the worker at this position is late.
    pub fn is_late(&self, worker: usize) -> bool {
        self.beats.get(worker).is_some_and(|beat| beat.is_late)
    }

    /// How many times it has been late since the start.
    pub fn late_beats(&self, worker: usize) -> u64 {
        self.beats.get(worker).map_or(0, |beat| beat.late_beats)
    }
}

impl Beat {
    fn look(&mut self, worker: usize, passed_ms: u64, loops: u64) -> Option<BeatEvent> {
        if self.loops != loops {
            let silent_ms = self.silent_ms;
            let was_late = std::mem::take(&mut self.is_late);
            (self.loops, self.silent_ms) = (loops, 0);
            return was_late.then_some(BeatEvent::Back { worker, silent_ms });
        }
        self.silent_ms += passed_ms;
        if self.is_late || self.silent_ms <= LATE_AFTER_MS {
            return None;
        }
        self.is_late = true;
        self.late_beats += 1;
        Some(BeatEvent::Late { worker, silent_ms: self.silent_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every half second from `from_ms` on, so many times; the events with their times.
    fn looks(
        beats: &mut Beats,
        from_ms: u64,
        times: u64,
        loops: impl Fn(u64) -> Vec<u64>,
    ) -> Vec<(u64, BeatEvent)> {
        let look = |at: u64| {
            let now_ms = from_ms + at * 500;
            beats.look(now_ms, loops(at)).into_iter().map(move |event| (now_ms, event))
        };
        (0..times).flat_map(look).collect()
    }

    #[test]
    fn a_worker_that_comes_round_is_never_late() {
        let mut beats = Beats::new(2, 0);
        assert_eq!(looks(&mut beats, 500, 100, |at| vec![at + 1, 7 * (at + 1)]), []);
        assert!(beats.are_all_in_time());
        assert_eq!((beats.late_beats(0), beats.late_beats(1)), (0, 0));
    }

    #[test]
    fn a_silent_worker_is_told_once_after_a_second_and_once_when_it_beats_again() {
        let mut beats = Beats::new(2, 0);
        beats.look(500, [1, 1]);
        let events = looks(&mut beats, 1_000, 7, |at| vec![at + 2, 1]);
        assert_eq!(events, [(2_000, BeatEvent::Late { worker: 1, silent_ms: 1_500 })]);
        assert!(!beats.are_all_in_time() && beats.is_late(1) && !beats.is_late(0));
        let events = beats.look(4_500, [10, 2]);
        assert_eq!(events, [BeatEvent::Back { worker: 1, silent_ms: 3_500 }]);
        assert!(beats.are_all_in_time());
        assert_eq!((beats.late_beats(0), beats.late_beats(1)), (0, 1));
        // The next time counts again.
        let events = looks(&mut beats, 5_000, 3, |at| vec![at, 2]);
        assert_eq!(events, [(6_000, BeatEvent::Late { worker: 1, silent_ms: 1_500 })]);
        assert_eq!(beats.late_beats(1), 2);
    }

    #[test]
    fn a_worker_that_never_began_is_late_too() {
        let mut beats = Beats::new(1, 0);
        let events = looks(&mut beats, 500, 4, |_| vec![0]);
        assert_eq!(events, [(1_500, BeatEvent::Late { worker: 0, silent_ms: 1_500 })]);
    }

    #[test]
    fn a_pause_of_the_whole_machine_is_no_workers_fault() {
        let mut beats = Beats::new(1, 0);
        beats.look(500, [1]);
        assert_eq!(beats.look(60_000, [1]), [], "control was away as well");
        assert_eq!(beats.look(60_500, [2]), []);
        assert!(beats.are_all_in_time());
    }

    #[test]
    fn an_event_says_how_long() {
        let late = BeatEvent::Late { worker: 0, silent_ms: 1_500 };
        assert_eq!(late.to_string(), "is late: it has not come round for 1.5 s");
        assert_eq!(
            BeatEvent::Back { worker: 0, silent_ms: 12_060 }.to_string(),
            "beats again after 12.0 s"
        );
    }
}
