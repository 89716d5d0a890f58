//! `show latency`: all workers measure for a while, and what they measured is put together.

use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::{Latency, PathKind, PathLatency};
use crate::appliance::Appliance;
use crate::publish::WorkerSilent;
use dataplane::sight::latency::{Course, Latencies};
use std::time::{Duration, Instant};

/// Longest time that is measured at once.
const SECONDS_MAX: u64 = 30;

/// A measurement, under way or done.
#[derive(Default)]
pub(super) struct Measuring {
    /// When it ends, while it is under way.
    until: Option<Instant>,
    /// Which workers take part: one that stands still would answer nothing.
    takes_part: Vec<bool>,
    seconds: u64,
    times: Vec<PathLatency>,
}

impl Appliance {
    /// Begins to measure, unless it is under way: then who asks gets what comes of that.
    pub(in crate::appliance) fn measure_latency(&mut self, seconds: u64) -> Result<(), Refusal> {
        if !(1..=SECONDS_MAX).contains(&seconds) {
            let message = format!("seconds {seconds}: want 1 to {SECONDS_MAX}");
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
        if self.sight.latency.until.is_some() {
            return Ok(());
        }
        let workers = self.publisher.workers.count();
        let takes_part: Vec<bool> = (0..workers).map(|at| !self.beats.is_late(at)).collect();
        let lent = self.publisher.workers.lend_latencies(|at| takes_part.get(at) == Some(&true));
        lent.map_err(internal)?;
        let until = Some(Instant::now() + Duration::from_secs(seconds));
        self.sight.latency = Measuring { until, takes_part, seconds, times: Vec::new() };
        Ok(())
    }

    /// Ends a measurement whose time is over.
    pub(super) fn tick_latency(&mut self) {
        if self.sight.latency.until.is_none_or(|until| Instant::now() < until) {
            return;
        }
        let takes_part = std::mem::take(&mut self.sight.latency.takes_part);
        let measured =
            self.publisher.workers.take_latencies(|at| takes_part.get(at) == Some(&true));
        self.sight.latency.until = None;
        match measured {
            Ok(measured) => self.sight.latency.times = put_together(&measured),
            Err(silent) => self.event(&format!("latency was not measured: {silent}")),
        }
    }

    /// What was measured last.
    pub(in crate::appliance) fn latency(&self) -> Latency {
        let Measuring { until, seconds, times, .. } = &self.sight.latency;
        Latency { seconds: *seconds, measuring: until.is_some(), times: times.clone() }
    }
}

fn internal(silent: WorkerSilent) -> Refusal {
    Refusal::new(RefusalKind::Internal, silent.to_string())
}

/// By worker and way, and where there are several workers by way alone.
fn put_together(measured: &[(usize, Box<Latencies>)]) -> Vec<PathLatency> {
    let of = |core: Option<usize>, times: &Latencies| {
        let rows = Course::ALL.map(|course| row(core, course, times));
        rows.into_iter().filter(|row| row.packets > 0).collect::<Vec<_>>()
    };
    let mut rows: Vec<PathLatency> =
        measured.iter().flat_map(|(core, times)| of(Some(*core), times)).collect();
    if measured.len() > 1
        && let Ok(mut sum) = Latencies::new()
    {
        measured.iter().for_each(|(_, times)| sum.add(times));
        rows.extend(of(None, &sum));
    }
    rows
}

fn row(core: Option<usize>, course: Course, times: &Latencies) -> PathLatency {
    let times = times.times(course);
    PathLatency {
        core,
        path: match course {
            Course::Routed => PathKind::Routed,
            Course::Bridged => PathKind::Bridged,
            Course::Flooded => PathKind::Flooded,
            Course::Answered => PathKind::Answered,
        },
        packets: times.len(),
        p50_ns: times.value_at_quantile(0.5),
        p90_ns: times.value_at_quantile(0.9),
        p99_ns: times.value_at_quantile(0.99),
        p99_9_ns: times.value_at_quantile(0.999),
        p99_99_ns: times.value_at_quantile(0.9999),
        max_ns: times.max(),
    }
}
