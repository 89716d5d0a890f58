//! `capture`: frames of one port or adapter, copied by the workers for one client.

use super::Watched;
use crate::api::backend::{CaptureFeed, CaptureStart, Refusal, RefusalKind};
use crate::api::view::{self, Direction, EventKind};
use crate::appliance::{Appliance, start};
use dataplane::sight::capture::{Capture, Feed, Selection};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The capture that runs, and the one before.
#[derive(Default)]
pub(super) struct Capturing {
    current: Option<Current>,
    last: Option<view::Capture>,
    /// How many there have been.
    number: u64,
}

struct Current {
    number: u64,
    watched: Watched,
    start: CaptureStart,
    feed: Arc<Feed>,
    started_ms: u64,
}

impl Current {
    fn view(&self, running: bool) -> view::Capture {
        let (selected, dropped) = self.feed.counts();
        view::Capture {
            number: self.number,
            target: self.start.target.clone(),
            direction: self.start.direction,
            filter: self.start.filter.as_ref().map(|filter| filter.text.clone()),
            snaplen: self.start.snaplen,
            started_ms: self.started_ms,
            running,
            packets: selected - dropped.min(selected),
            dropped,
        }
    }
}

impl Appliance {
    /// Begins to capture. One capture runs at a time: what it may hold is bounded.
    pub(in crate::appliance) fn start_capture(
        &mut self,
        start: CaptureStart,
    ) -> Result<CaptureFeed, Refusal> {
        if let Some(current) = &self.sight.capture.current {
            let target = &current.start.target;
            let message = format!("a capture of {target} is running; end it with `capture stop`");
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        let watched = self.watched(&start.target)?;
        let feed = Arc::new(Feed::new(start.snaplen as usize));
        let selection = Selection {
            port: watched.port,
            adapter: watched.shared_by,
            received: start.direction != Direction::Tx,
            sent: start.direction != Direction::Rx,
            filter: start.filter.as_ref().map(|filter| filter.program.clone()),
        };
        let clock_ns = start::worker_clock_ns;
        let lent = self
            .publisher
            .workers
            .lend_captures(|| Capture::new(selection.clone(), feed.clone(), clock_ns));
        lent.map_err(|silent| Refusal::new(RefusalKind::Internal, silent.to_string()))?;
        self.sight.capture.number += 1;
        let number = self.sight.capture.number;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let current = Current { number, watched, start, feed: feed.clone(), started_ms };
        self.sight.capture.current = Some(current);
        Ok(CaptureFeed { number, feed, clock_ns })
    }

    /// Ends the capture of this number, if it still runs, or whichever runs.
    pub(in crate::appliance) fn stop_capture(
        &mut self,
        number: Option<u64>,
    ) -> Result<(), Refusal> {
        let current = &mut self.sight.capture.current;
        let is_meant = |current: &mut Current| number.is_none_or(|one| one == current.number);
        let Some(current) = current.take_if(is_meant) else {
            return match number {
                Some(_) => Ok(()),
                None => Err(Refusal::new(RefusalKind::NotFound, "no capture is running")),
            };
        };
        let beats = &self.beats;
        let taken = self.publisher.workers.take_captures(|at| !beats.is_late(at));
        // Whoever reads goes on to the end of what is there.
        current.feed.close();
        self.sight.capture.last = Some(current.view(false));
        taken.map_err(|silent| Refusal::new(RefusalKind::Internal, silent.to_string()))
    }

    /// Ends a capture whose port has gone: its number may be given to another.
    pub(super) fn tick_capture(&mut self) {
        let Some(current) = &self.sight.capture.current else { return };
        let target = current.start.target.clone();
        if self.watched(&target).is_ok_and(|watched| watched == current.watched) {
            return;
        }
        self.tell(EventKind::State, &format!("capture of {target} ends: its port has gone"));
        if let Err(refusal) = self.stop_capture(None) {
            self.event(&refusal.message);
        }
    }

    /// The capture that runs, else the last one.
    pub(in crate::appliance) fn capture_views(&self) -> Vec<view::Capture> {
        let Capturing { current, last, .. } = &self.sight.capture;
        let current = current.as_ref().map(|current| current.view(true));
        current.or_else(|| last.clone()).into_iter().collect()
    }
}
