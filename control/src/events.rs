//! What happened, for operators and their tools: the last so many events, numbered, so that a reader can go on
//! where it stopped and knows what it has missed.

use crate::api::view::{Event, EventKind, EventPage};
use std::collections::VecDeque;
use std::time::Duration;

/// Events that are kept: an hour of a restless host, some 200 kB.
const KEPT: usize = 1_000;

/// The last events.
#[derive(Debug, Default)]
pub struct Events {
    ring: VecDeque<Event>,
    /// Number of the last one.
    last: u64,
}

impl Events {
    /// Adds an event; `at` is since the Unix epoch.
    pub fn push(&mut self, kind: EventKind, at: Duration, text: &str) {
        self.last += 1;
        if self.ring.len() == KEPT {
            self.ring.pop_front();
        }
        let time_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.ring.push_back(Event { number: self.last, time_ms, kind, text: text.to_owned() });
    }

    /// Those after this number, at most so many, oldest first. A number that was not given yet, as a reader
    /// of an earlier run has it, is taken for none.
    pub fn after(&self, number: u64, limit: usize) -> EventPage {
        let number = if number > self.last { 0 } else { number };
        let first = self.ring.front().map_or(self.last + 1, |event| event.number);
        let skipped = usize::try_from((number + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let events: Vec<Event> = self.ring.iter().skip(skipped).take(limit).cloned().collect();
        let last = events.last().map_or(number, |event| event.number);
        EventPage { events, last, missed: first.saturating_sub(number + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: u64) -> Events {
        let mut events = Events::default();
        for n in 1..=count {
            events.push(EventKind::Link, Duration::from_millis(n), &format!("event {n}"));
        }
        events
    }

    fn numbers(page: &EventPage) -> Vec<u64> {
        page.events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped_and_knows_what_it_missed() {
        let page = events(0).after(0, 10);
        assert_eq!((numbers(&page), page.last, page.missed), (vec![], 0, 0));
        let few = events(5);
        let page = few.after(0, 3);
        assert_eq!((numbers(&page), page.last, page.missed), (vec![1, 2, 3], 3, 0));
        let page = few.after(3, 3);
        assert_eq!((numbers(&page), page.last, page.missed), (vec![4, 5], 5, 0));
        assert_eq!((few.after(5, 3).events.len(), few.after(5, 3).last), (0, 5));
        assert_eq!(page.events[0].text, "event 4");
        assert_eq!(page.events[0].time_ms, 4);
        let many = events(KEPT as u64 + 7);
        assert_eq!(many.ring.len(), KEPT);
        let page = many.after(0, 2);
        assert_eq!((numbers(&page), page.missed), (vec![8, 9], 7));
        let page = many.after(5, 1);
        assert_eq!((numbers(&page), page.missed), (vec![8], 2));
        assert_eq!(many.after(7, 1).missed, 0);
        // After a restart numbers begin anew.
        assert_eq!(numbers(&few.after(900, 2)), [1, 2]);
    }
}
