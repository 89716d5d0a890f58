//! Measuring on machines whose speed drifts: contestants take turns in rounds of one run, and what is
//! told is a ratio, the median over the rounds, or nothing where the rounds do not say well enough where
//! that is.
//!
//! Rounds are short and many. A drift is then shared by all turns of a round and is not in its ratio; a
//! round in which the machine stood still for one contestant alone is one odd ratio among many, which
//! moves a mean and not a median.

use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// How sure it is that a ratio's interval holds it.
const CONFIDENCE: f64 = 0.95;
/// The interval lies within this part of the ratio on both sides, or there is no ratio to tell.
const MARGIN: f64 = 0.05;

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

/// Lets all of them run once to warm up and then `rounds` times, always in the same order: who came after
/// himself would find his tables still in the caches, and only in every other round.
pub fn take_turns(rounds: usize, contestants: &mut [Contestant<'_>]) -> Samples {
    let mut values = vec![Vec::with_capacity(rounds); contestants.len()];
    contestants.iter_mut().for_each(|contestant| {
        (contestant.run)();
    });
    for _ in 0..rounds {
        for (values, contestant) in values.iter_mut().zip(&mut *contestants) {
            values.push((contestant.run)());
        }
    }
    Samples { names: contestants.iter().map(|contestant| contestant.name).collect(), values }
}

impl Samples {
    /// Of contestants, the first of whom is ours, and what each made in each round.
    pub fn new(names: Vec<&'static str>, values: Vec<Vec<f64>>) -> Self {
        Self { names, values }
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
            let alone = Row::alone(case, metric, unit, median(ours));
            let (middle, interval) = (median(&ratios), interval(&ratios));
            let ratio = interval.is_some_and(|it| is_narrow(middle, it)).then_some(middle);
            Row { peer: Some((name, median(theirs))), ratio, interval, ..alone }
        };
        peers.map(row).collect()
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// How far values lie apart, as a part of their median.
pub fn range(values: &[f64]) -> f64 {
    (quantile(values, 1.0) - quantile(values, 0.0)) / median(values)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let sorted = sorted(values);
    let last = sorted.len().saturating_sub(1);
    // Nearest rank: a value that was measured.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let rank = (last as f64 * at).round() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

/// Where the median lies of whatever `values` are a sample of, with [`CONFIDENCE`] and for any
/// distribution: between the k-th least and the k-th greatest of them. So many of n lie below the median
/// as heads come of n coins, and k is the greatest for which fewer than k heads are rare enough. `None`
/// of five and less, whose least and greatest are not far enough apart.
///
/// Source: H. A. David, H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1; J.-Y. Le Boudec,
/// Performance Evaluation of Computer and Communication Systems, theorem 2.1.
fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let (sorted, count) = (sorted(values), values.len());
    // How likely exactly `k` heads are, as a logarithm, and `k` and fewer.
    let mut exactly = -(count as f64) * std::f64::consts::LN_2;
    let (mut at_most, mut k) = (exactly.exp(), 0);
    while k < count / 2 && at_most <= (1.0 - CONFIDENCE) / 2.0 {
        exactly += ((count - k) as f64 / (k + 1) as f64).ln();
        k += 1;
        at_most += exactly.exp();
    }
    let least = sorted.get(k.checked_sub(1)?)?;
    Some((*least, *sorted.get(count - k)?))
}

/// Whether an interval says well enough where its middle is.
fn is_narrow(middle: f64, (least, most): (f64, f64)) -> bool {
    least >= middle * (1.0 - MARGIN) && most <= middle * (1.0 + MARGIN)
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
    /// there is nothing to compare with or the rounds do not say it well enough.
    pub ratio: Option<f64>,
    /// Where the ratio lies.
    pub interval: Option<(f64, f64)>,
}

impl Row {
    /// A figure of ours that nothing is compared with.
    pub fn alone(case: &str, metric: &'static str, unit: &'static str, ours: f64) -> Self {
        let case = case.to_owned();
        Self { case, metric, unit, ours, peer: None, ratio: None, interval: None }
    }

    /// The ratio with its interval, as the table has it.
    fn told(&self) -> String {
        match (self.ratio, self.interval) {
            (Some(ratio), Some((least, most))) => format!("{ratio:.2}  ({least:.2} to {most:.2})"),
            (Some(ratio), None) => format!("{ratio:.2}"),
            (None, Some((least, most))) => format!("too noisy: {least:.2} to {most:.2}"),
            (None, None) if self.peer.is_some() => "too few rounds".to_owned(),
            (None, None) => String::new(),
        }
    }
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
            match row.peer {
                Some((name, value)) => write!(out, "  {value:>12.2}  {name:16}")?,
                None => write!(out, "  {:12}  {:16}", "", "")?,
            }
            writeln!(out, "  {}", row.told())?;
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
        let samples = of(&[10.0, 11.0, 9.0].repeat(2), &[20.0, 22.0, 18.0].repeat(2));
        let less = &samples.rows("all", "look-up", "ns", Better::Less)[0];
        assert_eq!(
            (less.ours, less.peer, less.ratio),
            (10.0, Some(("rte_fib scalar", 20.0)), Some(2.0))
        );
        assert_eq!(samples.rows("all", "rate", "Mpps", Better::More)[0].ratio, Some(0.5));
    }

    fn ratio(ours: &[f64], peer: &[f64]) -> Option<f64> {
        of(ours, peer).rows("all", "look-up", "ns", Better::Less)[0].ratio
    }

    #[test]
    fn a_drift_that_both_share_is_no_noise_and_one_that_they_do_not_is() {
        let drift: Vec<f64> = (10..40).map(f64::from).collect();
        let doubled: Vec<f64> = drift.iter().map(|value| value * 2.0).collect();
        assert_eq!(ratio(&drift, &doubled), Some(2.0));
        assert_eq!(ratio(&[20.0; 30], &doubled), None);
    }

    #[test]
    fn many_rounds_outvote_those_that_met_one_contestant_alone() {
        let hit = |number: usize| if number.is_multiple_of(4) { 40.0 } else { 20.0 };
        let peer = |rounds| (0..rounds).map(hit).collect::<Vec<_>>();
        assert_eq!(ratio(&[10.0; 100], &peer(100)), Some(2.0));
        // Of nine, of which three were hit, it could be that most are.
        assert_eq!(ratio(&[10.0; 9], &peer(9)), None);
    }

    /// As in the tables of the sources: k of n for 95 %.
    #[test]
    fn the_median_of_what_was_sampled_lies_between_two_samples() {
        let told = |count: u32| interval(&(1..=count).rev().map(f64::from).collect::<Vec<_>>());
        assert_eq!(told(5), None);
        assert_eq!(told(6), Some((1.0, 6.0)));
        assert_eq!(told(9), Some((2.0, 8.0)));
        assert_eq!(told(30), Some((10.0, 21.0)));
        assert_eq!(told(100), Some((40.0, 61.0)));
        // Two to the power of so many is more than a number holds.
        assert_eq!(told(2_000), Some((956.0, 1_045.0)));
        assert_eq!(interval(&[]), None);
    }

    #[test]
    fn a_ratio_is_told_only_where_its_interval_is_narrow() {
        assert!(is_narrow(1.0, (0.96, 1.04)));
        assert!(!is_narrow(1.0, (0.94, 1.0)) && !is_narrow(1.0, (1.0, 1.06)));
        assert!(is_narrow(20.0, (19.5, 20.5)) && !is_narrow(f64::NAN, (1.0, 1.0)));
    }

    #[test]
    fn all_take_turns_and_nobody_two_in_a_row() {
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
        assert_eq!(*order.borrow(), "ababab");
        drop(both);
        assert_eq!(samples.values, [[1.0, 1.0], [2.0, 2.0]]);
    }

    #[test]
    fn a_report_is_read_by_programs_and_by_people() {
        let mut report = Report::new("fib");
        report.rows = of(&[1.0; 6], &[3.0; 6]).rows("few", "look-up", "ns", Better::Less);
        report.rows.extend(of(&[1.0; 6], &[1.0, 2.0].repeat(3)).rows(
            "few",
            "add",
            "ns",
            Better::Less,
        ));
        report.rows.extend(of(&[1.0], &[1.0]).rows("few", "remove", "ns", Better::Less));
        report.left_out.push("rte_lpm: too slow to fill".to_owned());
        let row = &report.json()["rows"][0];
        assert_eq!((&row["peer_name"], &row["ratio"]), (&json!("rte_fib scalar"), &json!(3.0)));
        let text = report.to_string();
        for told in
            ["3.00  (3.00 to 3.00)", "too noisy: 1.00 to 2.00", "too few rounds", "too slow"]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        report.finish(dir.path()).expect("written");
        let text = std::fs::read_to_string(dir.path().join("fib.json")).expect("the file");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), report.json());
    }

    #[test]
    fn what_joins_replaces_its_own_metric_only() {
        let dir = tempfile::tempdir().expect("a directory");
        for (metric, ours) in [("time", 1.0), ("instructions", 2.0), ("time", 3.0)] {
            let mut report = Report::new("micro");
            report.rows.push(Row::alone("all", metric, "ns", ours));
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
