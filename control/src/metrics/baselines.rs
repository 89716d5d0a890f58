//! From where counters count.
//!
//! The cells that workers write only ever grow, and a number is used again for another port or adapter. So
//! what was there before is taken off: for everybody what was counted under the number before it meant this
//! one, for the operator what was there at his last `clear`. Metrics don't see the latter, because a counter
//! that goes back means a restart to whoever reads them.

use std::collections::HashMap;
use std::hash::Hash;

/// What to take off the counts `C` of each port or adapter `K`.
#[derive(Debug)]
pub struct Baselines<K, C> {
    /// Counted under its number before; absent where that is nothing.
    begun: HashMap<K, C>,
    /// Counted at the last `clear` since.
    cleared: HashMap<K, C>,
}

impl<K, C> Default for Baselines<K, C> {
    fn default() -> Self {
        Self { begun: HashMap::new(), cleared: HashMap::new() }
    }
}

impl<K: Eq + Hash, C: Default + PartialEq> Baselines<K, C> {
    /// The number means another one from now on; `counts` were its predecessors'.
    pub fn begin(&mut self, id: K, counts: C) {
        self.cleared.remove(&id);
        if counts == C::default() {
            self.begun.remove(&id);
        } else {
            self.begun.insert(id, counts);
        }
    }

    /// The operator wants to see it count from here.
    pub fn clear(&mut self, id: K, counts: C) {
        self.cleared.insert(id, counts);
    }

    /// What to take off for metrics.
    pub fn since_begin(&self, id: &K) -> Option<&C> {
        self.begun.get(id)
    }

    /// What to take off for the operator.
    pub fn since_clear(&self, id: &K) -> Option<&C> {
        self.cleared.get(id).or_else(|| self.begun.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_is_the_operators_alone() {
        let mut baselines = Baselines::default();
        baselines.begin(1, 0);
        assert_eq!((baselines.since_begin(&1), baselines.since_clear(&1)), (None, None));
        baselines.clear(1, 50);
        assert_eq!((baselines.since_begin(&1), baselines.since_clear(&1)), (None, Some(&50)));
    }

    #[test]
    fn a_number_used_again_begins_at_0_for_everybody() {
        let mut baselines = Baselines::default();
        baselines.clear(1, 50);
        baselines.begin(1, 80);
        assert_eq!((baselines.since_begin(&1), baselines.since_clear(&1)), (Some(&80), Some(&80)));
        baselines.clear(1, 90);
        assert_eq!((baselines.since_begin(&1), baselines.since_clear(&1)), (Some(&80), Some(&90)));
    }
}
