//! Instructions per packet, which repeat exactly where times do not: counted under `valgrind --tool=callgrind`
//! and held against a committed baseline.
//!
//! A count depends on the compiler and on what the processor that valgrind plays can do (it knows no AVX-512, so
//! what runs there is the path of machines without), so both are part of the baseline, and counts are compared
//! only where they are the same.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// By how much a way may grow, as a part of its baseline.
pub const GROWTH_MAX: f64 = 0.03;
/// What writes the baseline.
pub const REWRITE: &str = "tests/bench micro --baseline";

/// What was counted, or is to be held against.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Counts {
    /// The compiler, as it names itself.
    pub rustc: String,
    /// The path that the processor was good for.
    pub processor: String,
    /// Instructions per packet of each way.
    pub ways: BTreeMap<String, f64>,
}

impl Counts {
    /// Reads a baseline.
    pub fn read(file: &Path) -> Result<Self, String> {
        let wrong = |why: &dyn fmt::Display| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|why| wrong(&why))?;
        let value: Value = serde_json::from_str(&text).map_err(|why| wrong(&why))?;
        let word = |key: &str| value[key].as_str().map(str::to_owned);
        let count = |(way, count): (&String, &Value)| Some((way.clone(), count.as_f64()?));
        let ways = value["instructions per packet"].as_object();
        ways.and_then(|ways| ways.iter().map(count).collect::<Option<_>>())
            .and_then(|ways| {
                Some(Self { rustc: word("rustc")?, processor: word("processor")?, ways })
            })
            .ok_or_else(|| wrong(&format!("not a baseline; {REWRITE} writes one")))
    }

    /// Writes a baseline, the same bytes for the same counts.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        // As far as they repeat: an instruction a burst is told.
        let ways: BTreeMap<&String, f64> =
            self.ways.iter().map(|(way, count)| (way, (count * 100.0).round() / 100.0)).collect();
        let value = json!({
            "rustc": self.rustc,
            "processor": self.processor,
            "instructions per packet": ways,
        });
        std::fs::write(file, serde_json::to_string_pretty(&value)? + "\n")
    }

    /// What the baseline says to these.
    pub fn compare(&self, baseline: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        for (what, ours, theirs) in [
            ("compiler", &self.rustc, &baseline.rustc),
            ("processor path", &self.processor, &baseline.processor),
        ] {
            if ours != theirs {
                comparison.differs.push(format!("the {what} is {ours}, the baseline's {theirs}"));
            }
        }
        for (way, count) in &self.ways {
            let Some(before) = baseline.ways.get(way) else {
                comparison.wrong.push(format!("{way}: not in the baseline"));
                continue;
            };
            let line = format!("{way}: {before:.2} instructions per packet before, now {count:.2}");
            let growth = count / before - 1.0;
            if growth > GROWTH_MAX {
                comparison.wrong.push(format!("{line} ({:+.1} %)", growth * 100.0));
            } else if growth < -GROWTH_MAX {
                comparison.better.push(format!("{line} ({:+.1} %)", growth * 100.0));
            }
        }
        let gone = baseline.ways.keys().filter(|way| !self.ways.contains_key(*way));
        comparison.wrong.extend(gone.map(|way| format!("{way}: in the baseline, but not counted")));
        comparison
    }
}

/// What comes of a comparison.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Comparison {
    /// Why there is none to make.
    pub differs: Vec<String>,
    /// Ways that grew, and those that only one side has.
    pub wrong: Vec<String>,
    /// Ways that became shorter, by which a later growth would not be seen.
    pub better: Vec<String>,
}

/// Reads how many instructions were counted from what callgrind has written.
pub fn total(profile: &str) -> Option<u64> {
    let line = profile.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ways: &[(&str, f64)]) -> Counts {
        let ways = ways.iter().map(|(way, count)| ((*way).to_owned(), *count)).collect();
        Counts { rustc: "rustc 1".to_owned(), processor: "x86_64, AVX2".to_owned(), ways }
    }

    #[test]
    fn more_than_three_percent_is_wrong_and_less_is_not() {
        let before = counts(&[("routed", 100.0), ("bridged", 100.0), ("punted", 100.0)]);
        let now = counts(&[("routed", 102.9), ("bridged", 103.1), ("punted", 90.0)]);
        let comparison = now.compare(&before);
        assert!(comparison.differs.is_empty());
        assert_eq!(
            comparison.wrong,
            ["bridged: 100.00 instructions per packet before, now 103.10 (+3.1 %)"]
        );
        assert!(comparison.better[0].starts_with("punted"));
    }

    #[test]
    fn another_compiler_or_processor_is_not_compared() {
        let before = counts(&[("routed", 100.0)]);
        let other = Counts { rustc: "rustc 2".to_owned(), ..before.clone() };
        assert_eq!(
            other.compare(&before).differs,
            ["the compiler is rustc 2, the baseline's rustc 1"]
        );
        let other = Counts { processor: "aarch64".to_owned(), ..before.clone() };
        assert_eq!(other.compare(&before).differs.len(), 1);
    }

    #[test]
    fn a_way_that_one_side_lacks_is_wrong() {
        let (one, other) = (counts(&[("routed", 1.0)]), counts(&[("bridged", 1.0)]));
        assert_eq!(one.compare(&other).wrong.len(), 2);
    }

    #[test]
    fn a_baseline_reads_back_and_a_broken_one_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("baseline.json");
        let counts = counts(&[("routed", 93.25), ("bridged", 80.0)]);
        counts.write(&file).expect("written");
        assert_eq!(Counts::read(&file), Ok(counts));
        std::fs::write(&file, "{}").expect("written");
        assert!(Counts::read(&file).is_err_and(|why| why.contains(REWRITE)));
    }

    #[test]
    fn the_total_is_that_of_the_last_dump() {
        assert_eq!(total("events: Ir\nsummary: 12\n\n\ntotals: 5184\n"), Some(5184));
        assert_eq!(total("events: Ir\n"), None);
    }
}
