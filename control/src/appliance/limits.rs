//! Tells whose traffic is over its rate limit.

use super::Appliance;
use crate::api::view::EventKind;
use crate::publish::Over;
use std::time::{Duration, Instant};

/// Of one adapter that stays over its limit it is told once in so long.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What was told of an adapter, and when.
pub(super) struct Told {
    over: Over,
    at: Instant,
}

/// What is to be told: frames dropped since `before`, each way that there are any.
fn text(over: &Over, before: Option<&Over>) -> Option<String> {
    // Fewer than before: other limits are in force, which count from 0.
    let since = |now: u64, before: Option<u64>| now.checked_sub(before.unwrap_or(0)).unwrap_or(now);
    let to = since(over.dropped_in, before.map(|before| before.dropped_in));
    let from = since(over.dropped_out, before.map(|before| before.dropped_out));
    let ways = [("to", to), ("from", from)].into_iter().filter(|(_, count)| *count > 0);
    let ways: Vec<String> = ways.map(|(way, count)| format!("{count} frames {way} it")).collect();
    let is_over = !ways.is_empty();
    is_over.then(|| format!("{} is over its rate limit: {} dropped", over.key, ways.join(" and ")))
}

impl Appliance {
    /// Tells of those whose limits have dropped anything since they were told of last.
    pub(super) fn tell_limits(&mut self) {
        let now = Instant::now();
        let all: Vec<Over> = self.publisher.all_over_limit().collect();
        for over in all {
            let before = self.limits_told.get(&over.key);
            if before.is_some_and(|told| now < told.at + TOLD_EVERY) {
                continue;
            }
            let Some(text) = text(&over, before.map(|told| &told.over)) else { continue };
            self.tell(EventKind::Limit, &text);
            self.limits_told.insert(over.key.clone(), Told { over, at: now });
        }
        let registry = &self.registry;
        self.limits_told.retain(|key, _| registry.adapter_by_key(key).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::AdapterKey;

    #[test]
    fn what_was_dropped_since_the_last_time_is_told_by_way() {
        let key = AdapterKey { guest: "ct1".parse().unwrap(), adapter: "eth0".parse().unwrap() };
        let over = |dropped_in, dropped_out| Over { key: key.clone(), dropped_in, dropped_out };
        let told = |now: Over, before: Option<Over>| text(&now, before.as_ref());
        let all = "ct1/eth0 is over its rate limit: 3 frames to it and 5 frames from it dropped";
        assert_eq!(told(over(3, 5), None).as_deref(), Some(all));
        let one = "ct1/eth0 is over its rate limit: 2 frames to it dropped";
        assert_eq!(told(over(5, 5), Some(over(3, 5))).as_deref(), Some(one));
        assert_eq!(told(over(3, 5), Some(over(3, 5))), None);
        // New limits count anew.
        assert_eq!(told(over(2, 0), Some(over(30, 5))).as_deref(), Some(one));
    }
}
