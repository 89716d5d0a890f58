//! Dense numbers for ports and adapters, reused only after every worker has passed a quiescent point.

use dataplane::table::{Limbo, Qsbr};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Hands out the lowest free number below a limit.
pub(super) struct Ids {
    qsbr: Arc<Qsbr>,
    limit: u32,
    next: u32,
    free: BTreeSet<u32>,
    limbo: Limbo<u32>,
}

impl Ids {
    /// Numbers 0 to `limit - 1`.
    pub(super) fn new(qsbr: Arc<Qsbr>, limit: u32) -> Self {
        Self { qsbr, limit, next: 0, free: BTreeSet::new(), limbo: Limbo::new() }
    }

    /// A free number, or `None` when all are in use.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.reclaim();
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        let id = self.next;
        (id < self.limit).then(|| {
            self.next += 1;
            id
        })
    }

    /// How many have ever been taken: all below this.
    pub(super) fn used(&self) -> u32 {
        self.next
    }

    /// How many can still be taken, those on their way back not counted.
    pub(super) fn left(&self) -> usize {
        (self.limit - self.next) as usize + self.free.len()
    }

    /// Gives a number back.
    pub(super) fn release(&mut self, id: u32) {
        self.limbo.retire(&self.qsbr, id);
    }

    /// Makes numbers free whose grace period is over.
    pub(super) fn reclaim(&mut self) {
        self.free.extend(self.limbo.collect(&self.qsbr));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_waits_for_every_reader_before_it_is_reused() {
        let qsbr = Qsbr::new(2);
        let mut reader = qsbr.register().unwrap();
        let mut ids = Ids::new(qsbr.clone(), 2);
        assert_eq!((ids.take(), ids.take(), ids.take()), (Some(0), Some(1), None));
        ids.release(0);
        assert_eq!(ids.take(), None, "a worker may still look at 0");
        reader.quiescent();
        assert_eq!(ids.take(), Some(0));
    }
}
