//! The books: every frame that came in, was made or was copied has left or was dropped under a name,
//! and every mbuf is back where it was.

use crate::appliance::Appliance;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long frames under way and counters not yet flushed may take.
const SETTLE: Duration = Duration::from_secs(3);

/// What the pool held at some time, and with which ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Mbufs that nobody holds.
    pub free: u64,
    /// The ports that held the others in their receive rings.
    pub ports: BTreeSet<String>,
}

impl Pool {
    /// As it is now.
    pub fn read(appliance: &Appliance) -> Self {
        let version = appliance.json("show version");
        let free = version["mbufs-free"].as_u64();
        let free = free.unwrap_or_else(|| panic!("no mbufs-free in {version}"));
        Self { free, ports: stats(appliance).into_keys().collect() }
    }

    /// As it is once nothing is under way: the same ten times in a row.
    pub fn read_at_rest(appliance: &Appliance) -> Self {
        let mut pool = Self::read(appliance);
        let mut same = 0;
        crate::within(SETTLE, || {
            let now = Self::read(appliance);
            same = if now == pool { same + 1 } else { 0 };
            pool = now;
            same == 10
        });
        pool
    }
}

/// The counters of every port, by its label.
pub fn stats(appliance: &Appliance) -> BTreeMap<String, Value> {
    rows(appliance.json("show port stats all"))
        .into_iter()
        .map(|row| (row["port"].as_str().expect("a label").to_owned(), row))
        .collect()
}

/// The rows of a `show`: a list, or one row where one thing was named.
pub fn rows(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(rows) => rows,
        row @ Value::Object(_) => vec![row],
        other => panic!("neither a list nor a row: {other}"),
    }
}

/// A counter of a row; 0 where it is left out.
pub fn count(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or(0)
}

/// The adapter of a guest, as `show guest` has it.
#[track_caller]
pub fn adapter(appliance: &Appliance, guest: &str, adapter: &str) -> Value {
    let guests = rows(appliance.json(&format!("show guest {guest}")));
    let adapters = guests[0]["adapters"].as_array().expect("adapters").clone();
    let found = adapters.into_iter().find(|row| row["adapter"] == adapter);
    found.unwrap_or_else(|| panic!("{guest} has no adapter {adapter}: {guests:?}"))
}

/// Checks the counter identity of a running appliance: per port, and in all unless ports have gone.
/// Then the mbuf pool against `before`, if the ports are the same.
#[track_caller]
pub fn check(appliance: &Appliance, before: &Pool, ports_have_gone: bool) {
    let mut wrong = String::new();
    let settled = crate::within(SETTLE, || {
        wrong = imbalance(&stats(appliance), ports_have_gone);
        wrong.is_empty()
    });
    assert!(settled, "the counters do not add up:\n{wrong}");
    let mut now = before.clone();
    let settled = crate::within(SETTLE, || {
        now = Pool::read(appliance);
        // What was under way at the start (a packet held for its next hop) may be back now.
        now.ports != before.ports || now.free >= before.free
    });
    assert!(settled, "mbufs free: {} at the start, {} at the end", before.free, now.free);
}

/// What does not add up, one line each.
fn imbalance(stats: &BTreeMap<String, Value>, ports_have_gone: bool) -> String {
    let mut wrong = String::new();
    for (port, row) in stats {
        let into = count(row, "rx-pkts") + count(row, "generated") + count(row, "copies");
        let out = count(row, "forwarded") + count(row, "dropped") + count(row, "consumed");
        let named: u64 = reasons(row).values().sum();
        if into != out || named != count(row, "dropped") {
            wrong += &format!("{port}: in {into}, out {out}, drops by reason {named}: {row}\n");
        }
    }
    let all = |key: &str| stats.values().map(|row| count(row, key)).sum::<u64>();
    if !ports_have_gone && all("forwarded") != all("tx-pkts") {
        wrong += &format!("in all: forwarded {}, sent {}\n", all("forwarded"), all("tx-pkts"));
    }
    wrong
}

/// Drops of a row by reason.
pub fn reasons(row: &Value) -> BTreeMap<String, u64> {
    let Some(drops) = row["drops"].as_object() else { return BTreeMap::new() };
    drops.iter().map(|(reason, n)| (reason.clone(), n.as_u64().unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn books_that_do_not_add_up_are_found() {
        let right = json!({"port": "a", "rx-pkts": 5, "generated": 1, "copies": 2, "forwarded": 4,
            "dropped": 3, "consumed": 1, "drops": {"no-route": 3}, "tx-pkts": 4});
        let books = |row: Value| BTreeMap::from([("a".to_owned(), row)]);
        assert_eq!(imbalance(&books(right.clone()), false), "");
        for (key, value) in [("rx-pkts", 6), ("dropped", 2), ("tx-pkts", 5), ("consumed", 0)] {
            let mut row = right.clone();
            row[key] = value.into();
            assert_ne!(imbalance(&books(row), false), "", "{key}");
        }
    }
}
