//! Sight into the path, on request: what is lent to the workers, until when, and what came of it.
//!
//! A request starts it and is answered at once; the API asks again until it is done. Time ends it even where
//! nobody asks any more.

mod latency;

use super::Appliance;

/// What is under way or was asked for last.
#[derive(Default)]
pub(super) struct Sight {
    latency: latency::Measuring,
}

impl Appliance {
    /// Ends what has lasted long enough.
    pub(super) fn tick_sight(&mut self) {
        self.tick_latency();
    }
}
