//! Measuring on machines whose speed drifts: contestants take turns in rounds of one run, and what is
//! told is a ratio, the median over the rounds, or nothing where the rounds do not agree.

use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// Rounds of a benchmark, at least.
pub const ROUNDS: usize = 9;
/// Half of the rounds' ratios lie within this part of their median, or there is no ratio to tell.
const SPREAD_MAX: f64 = 0.15;

/// What is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Better {
    /// Rates.
    More,
    /// Times, cycles, memory.
    Less,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Where the JSON goes.
    pub directory: PathBuf,
    words: Vec<String>,
}

impl Choice {
    /// The words are parts of cases' names; cargo's own `--bench` is none.
    pub fn from_arguments() -> Self {
        let words = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        let directory = std::env::var_os("GUESTWAY_BENCH_DIR").map(PathBuf::from);
        Self { directory: directory.unwrap_or_else(|| "target/bench".into()), words }
    }

    /// Whether a case is among them; without words all are.
    pub fn wants(&self, case: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| case.contains(word.as_str()))
    }
}

/// Somebody who does the work once and says how he did, in the row's unit.
pub struct Contestant<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contestant<'a> {
    /// By `run`; `ours`, or the name of a peer.
    pub fn new(name: &'static str, run: impl FnMut() -> f64 + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// What each contestant made in each round.
#[derive(Clone, Debug)]
pub struct Samples {
    names: Vec<&'static str>,
    /// By contestant, then by round.
    values: Vec<Vec<f64>>,
}

/// Lets all of them run once to warm up and then `rounds` times, each round from another one on.
pub fn take_turns(rounds: usize, contestants: &mut [Contestant<'_>]) -> Samples {
    take_turns_in(rounds, 1, contestants)
}

/// As [`take_turns`], with several turns in a round, of which each contestant's mean is taken.
pub fn take_turns_in(rounds: usize, turns: usize, contestants: &mut [Contestant<'_>]) -> Samples {
    let count = contestants.len();
    let mut values = vec![Vec::with_capacity(rounds); count];
    contestants.iter_mut().for_each(|contestant| {
        (contestant.run)();
    });
    for round in 0..rounds {
        let mut sums = vec![0.0; count];
        for turn in 0..turns * count {
            let at = (round + turn / count + turn) % count;
            sums[at] += (contestants[at].run)();
        }
        for (values, sum) in values.iter_mut().zip(sums) {
            values.push(sum / turns as f64);
        }
    }
    Samples { names: contestants.iter().map(|contestant| contestant.name).collect(), values }
}

impl Samples {
    /// Of contestants, the first of whom is ours, and what each made in each round.
    pub fn new(names: Vec<&'static str>, values: Vec<Vec<f64>>) -> Self {
        Self { names, values }
    }

    /// How far the rounds of a contestant lie apart, as a part of their median.
    pub fn range(&self, contestant: usize) -> f64 {
        let values = &self.values[contestant];
        (quantile(values, 1.0) - quantile(values, 0.0)) / median(values)
    }

    /// Rows of the first contestant, who is ours, against each of the others.
    pub fn rows(
        &self,
        case: &str,
        metric: &'static str,
        unit: &'static str,
        better: Better,
    ) -> Vec<Row> {
        let peers = self.names.iter().zip(&self.values).skip(1);
        let row = |(name, theirs): (&&'static str, &Vec<f64>)| {
            let ours = &self.values[0];
            let ratios: Vec<f64> = ours
                .iter()
                .zip(theirs)
                .map(|(ours, theirs)| match better {
                    Better::More => ours / theirs,
                    Better::Less => theirs / ours,
                })
                .collect();
            Row {
                case: case.to_owned(),
                metric,
                unit,
                ours: median(ours),
                peer: Some((name, median(theirs))),
                ratio: agreed(&ratios),
            }
        };
        peers.map(row).collect()
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    // Nearest rank: a value that was measured.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let rank = (last as f64 * at).round() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

/// The median of ratios that agree.
fn agreed(ratios: &[f64]) -> Option<f64> {
    let middle = median(ratios);
    let spread = (quantile(ratios, 0.75) - quantile(ratios, 0.25)) / middle;
    (middle.is_finite() && spread <= SPREAD_MAX).then_some(middle)
}

/// One line of a benchmark's table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// What was measured.
    pub metric: &'static str,
    /// In what.
    pub unit: &'static str,
    /// Our median.
    pub ours: f64,
    /// The peer and its median; `None` where there is none to compare with.
    pub peer: Option<(&'static str, f64)>,
    /// How many times better we are, than the peer or than `metric` says where there is none; `None` where
    /// there is nothing to compare with or the rounds do not agree.
    pub ratio: Option<f64>,
}

/// A benchmark's table.
#[derive(Clone, Debug)]
pub struct Report {
    /// The benchmark.
    pub name: &'static str,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Rows that were left out, and why.
    pub left_out: Vec<String>,
}

impl Report {
    /// With nothing in it yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new(), left_out: Vec::new() }
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "case": row.case,
                "metric": row.metric,
                "unit": row.unit,
                "ours": row.ours,
                "peer": row.peer.map(|(_, value)| value),
                "peer_name": row.peer.map(|(name, _)| name),
                "ratio": row.ratio,
            })
        };
        json!({ "name": self.name, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }

    /// Prints the table and writes it to `directory`.
    pub fn finish(&self, directory: &Path) -> std::io::Result<()> {
        print!("{self}");
        std::fs::create_dir_all(directory)?;
        let text = serde_json::to_string_pretty(&self.json())?;
        std::fs::write(directory.join(format!("{}.json", self.name)), text + "\n")
    }

    /// Prints the table and adds it to what another program has written of the same benchmark; rows of the
    /// metrics that are here take the place of those that are there.
    pub fn join(&self, directory: &Path) -> std::io::Result<()> {
        print!("{self}");
        std::fs::create_dir_all(directory)?;
        let file = directory.join(format!("{}.json", self.name));
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        let before: Value = serde_json::from_str(&before).unwrap_or_default();
        let is_other = |row: &&Value| self.rows.iter().all(|ours| row["metric"] != ours.metric);
        let others = before["rows"].as_array().into_iter().flatten().filter(is_other).cloned();
        let mut value = self.json();
        if let Some(rows) = value["rows"].as_array_mut() {
            rows.splice(0..0, others);
        }
        std::fs::write(file, serde_json::to_string_pretty(&value)? + "\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = self.rows.iter().map(|row| row.case.len()).max().unwrap_or(0).max(4);
        writeln!(
            out,
            "{:case$}  {:24}  {:>12}  {:>12}  {:16}  RATIO",
            "CASE", "METRIC", "OURS", "PEER", "PEER NAME"
        )?;
        for row in &self.rows {
            let metric = format!("{}, {}", row.metric, row.unit);
            write!(out, "{:case$}  {metric:24}  {:>12.2}", row.case, row.ours)?;
            let Some((name, value)) = row.peer else {
                match row.ratio {
                    Some(ratio) => writeln!(out, "  {:12}  {:16}  {ratio:.2}", "", "")?,
                    None => writeln!(out)?,
                }
                continue;
            };
            write!(out, "  {value:>12.2}  {name:16}")?;
            match row.ratio {
                Some(ratio) => writeln!(out, "  {ratio:.2}")?,
                None => writeln!(out, "  too noisy")?,
            }
        }
        self.left_out.iter().try_for_each(|why| writeln!(out, "left out: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ours: &[f64], peer: &[f64]) -> Samples {
        Samples {
            names: vec!["ours", "rte_fib scalar"],
            values: vec![ours.to_vec(), peer.to_vec()],
        }
    }

    #[test]
    fn a_ratio_says_how_many_times_better_we_are() {
        let samples = of(&[10.0, 11.0, 9.0], &[20.0, 22.0, 18.0]);
        let less = &samples.rows("all", "look-up", "ns", Better::Less)[0];
        assert_eq!(
            (less.ours, less.peer, less.ratio),
            (10.0, Some(("rte_fib scalar", 20.0)), Some(2.0))
        );
        assert_eq!(samples.rows("all", "rate", "Mpps", Better::More)[0].ratio, Some(0.5));
    }

    #[test]
    fn a_drift_that_both_share_is_no_noise_and_one_that_they_do_not_is() {
        let drifting = of(&[10.0, 20.0, 30.0, 40.0], &[20.0, 40.0, 60.0, 80.0]);
        assert_eq!(drifting.rows("all", "look-up", "ns", Better::Less)[0].ratio, Some(2.0));
        let noisy = of(&[10.0, 10.0, 10.0, 10.0], &[20.0, 40.0, 60.0, 80.0]);
        assert_eq!(noisy.rows("all", "look-up", "ns", Better::Less)[0].ratio, None);
    }

    #[test]
    fn all_take_turns_and_each_round_begins_with_another() {
        let order = std::cell::RefCell::new(String::new());
        let mut both = [
            Contestant::new("ours", || {
                order.borrow_mut().push('a');
                1.0
            }),
            Contestant::new("rte_lpm", || {
                order.borrow_mut().push('b');
                2.0
            }),
        ];
        let samples = take_turns(2, &mut both);
        assert_eq!(*order.borrow(), "ababba");
        assert_eq!(samples.values, [[1.0, 1.0], [2.0, 2.0]]);
        order.borrow_mut().clear();
        let samples = take_turns_in(1, 2, &mut both);
        drop(both);
        assert_eq!(*order.borrow(), "ababba");
        assert_eq!(samples.values, [[1.0], [2.0]]);
    }

    #[test]
    fn a_report_is_read_by_programs_and_by_people() {
        let mut report = Report::new("fib");
        report.rows = of(&[1.0], &[3.0]).rows("few", "look-up", "ns", Better::Less);
        report.left_out.push("rte_lpm: too slow to fill".to_owned());
        let row = &report.json()["rows"][0];
        assert_eq!((&row["peer_name"], &row["ratio"]), (&json!("rte_fib scalar"), &json!(3.0)));
        let text = report.to_string();
        assert!(
            text.contains("few") && text.contains("3.00") && text.contains("too slow"),
            "{text}"
        );
        let dir = tempfile::tempdir().expect("a directory");
        report.finish(dir.path()).expect("written");
        let text = std::fs::read_to_string(dir.path().join("fib.json")).expect("the file");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), report.json());
    }

    #[test]
    fn what_joins_replaces_its_own_metric_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let row = |metric, ours| Row {
            case: "all".to_owned(),
            metric,
            unit: "ns",
            ours,
            peer: None,
            ratio: None,
        };
        for (metric, ours) in [("time", 1.0), ("instructions", 2.0), ("time", 3.0)] {
            let mut report = Report::new("micro");
            report.rows.push(row(metric, ours));
            report.join(dir.path()).expect("written");
        }
        let text = std::fs::read_to_string(dir.path().join("micro.json")).expect("the file");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let told = |at: usize| (&value["rows"][at]["metric"], &value["rows"][at]["ours"]);
        assert_eq!(value["rows"].as_array().map(Vec::len), Some(2));
        assert_eq!(told(0), (&json!("instructions"), &json!(2.0)));
        assert_eq!(told(1), (&json!("time"), &json!(3.0)));
    }
}
