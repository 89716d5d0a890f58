//! The sleep of a worker that has nothing to do: see [`crate::idle`].

use super::Worker;
use crate::idle::Idle;
use crate::io::{Io, Readiness};
use std::io;

impl<I: Io> Worker<I> {
    /// Lets it sleep while there is nothing to do.
    ///
    /// # Errors
    /// The system's, which has no descriptor left for the bell.
    pub fn let_sleep(&mut self) -> io::Result<()> {
        self.bell.hang()?;
        self.idle = Some(Idle::default());
        Ok(())
    }

    /// Sleeps where there has been nothing to do for a while. What waits to be sent is something.
    ///
    /// First its queues are armed, and it looks at them all once more: what came before is found by that, what
    /// comes later wakes it.
    #[inline(never)]
    pub(super) fn rest(&mut self, is_busy: bool) {
        let is_busy = is_busy || self.path.is_waiting() || !self.commands.is_empty();
        let Some(idle) = &mut self.idle else { return };
        if !idle.looked(is_busy, self.now_ns) {
            if self.armed.take().is_some() {
                self.rx.iter_mut().for_each(|slot| self.readiness.disarm(&mut slot.rx));
            }
            return;
        }
        let Some(is_told) = self.armed else {
            let mut is_told = true;
            for slot in &mut self.rx {
                is_told &= self.readiness.arm(&mut slot.rx);
            }
            self.armed = Some(is_told);
            return;
        };
        let nap = idle.nap(is_told);
        self.bell.listen();
        // They may have been filled before anybody could hear that it listens.
        if self.commands.is_empty() && self.injects.is_empty() && self.departures.is_empty() {
            // It holds nothing of any table, and is not waited for.
            self.reader.set_offline();
            self.readiness.sleep(&self.bell, nap);
            self.reader.set_online();
        }
        self.bell.stop_listening();
        let since_ns = self.now_ns;
        self.now_ns = (self.clock_ns)();
        let slept_ns = self.now_ns.saturating_sub(since_ns);
        self.account.slept_ns += slept_ns;
        self.account.total_ns += slept_ns;
    }
}
