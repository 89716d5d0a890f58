//! What black-box benchmarks of forwarding have in common: contestants that take turns on the worker's core.
//!
//! All contestants run at once and wait, stopped (SIGSTOP), while one of them has the core. First each one's
//! frames are recorded and compared: a figure of a contestant that forwards wrongly would be none. In
//! [`crate::ports`] frames go from one DPDK device to another, in [`crate::pair`] between two guests.

use crate::appliance::Appliance;
use crate::config::Config;
use crate::lab::Lab;
use crate::measure::{Better, Contestant, Report, take_turns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::time::Duration;

/// Receive and send descriptors of each port.
pub const DESCRIPTORS: u32 = 1024;
/// Packet buffers of each contestant.
pub const MBUFS: u32 = 16_384;
/// Packets of a burst: as many as ours have, for peers that can be told (Open vSwitch can't: 32).
pub const BURST: u32 = 64;
/// Memory of each contestant, MB.
pub const MEMORY_MB: u32 = 256;

/// Our name among the contestants.
pub const OURS: &str = "ours";

/// From SIGCONT until the first reading.
pub(crate) const WARM_UP: Duration = Duration::from_millis(10);
/// Between the two readings of a turn.
pub(crate) const SPAN: Duration = Duration::from_millis(40);
/// Rounds of a contest for rates of packets, of one such turn each: the machine's speed may halve for some
/// tenths of a second.
pub(crate) const ROUNDS: usize = 144;
/// Changes of one batch.
const BATCH: usize = 8192;

/// EAL's arguments for memory: hugepages where `tests/bench` has found some.
pub fn memory() -> &'static str {
    if std::env::var_os("GUESTWAY_BENCH_HUGE").is_some() { "--in-memory" } else { "--no-huge" }
}

/// Who runs and waits for its turns.
pub trait Contender {
    /// How it was started, for the reader.
    fn commands(&self) -> Vec<String>;

    /// Leaves the cores to others.
    fn pause(&self);

    /// A turn, in the figure's unit.
    fn turn(&self) -> f64;

    /// Ends it; an error if it has not done all that it had to.
    fn end(self) -> Result<(), String>;
}

/// Who was started and checked. The inner error: it can't be started here; the outer one: it was, and
/// forwards wrongly.
pub type Started<C> = Result<Result<C, String>, String>;

/// How a contestant is started and checked.
pub struct Entry<'a, C> {
    name: &'static str,
    start: Box<dyn Fn() -> Started<C> + 'a>,
}

impl<'a, C> Entry<'a, C> {
    /// By `start`; `ours`, or the name of a peer.
    pub fn new(name: &'static str, start: impl Fn() -> Started<C> + 'a) -> Self {
        Self { name, start: Box::new(start) }
    }
}

/// What a contest is about: more of it is better.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What is measured.
    pub metric: &'static str,
    /// In what.
    pub unit: &'static str,
    /// How often.
    pub rounds: usize,
}

/// One case: starts and checks every contestant, then lets them take turns. The first is ours and has to
/// start; a peer that doesn't is left out.
pub fn compete<C: Contender>(
    report: &mut Report,
    case: &str,
    figure: Figure,
    entries: &[Entry<'_, C>],
) -> Result<(), String> {
    let mut contenders = Vec::new();
    for Entry { name, start } in entries {
        match start().map_err(|why| format!("{name}, {case}: {why}"))? {
            Ok(contender) => {
                contender.pause();
                for command in contender.commands() {
                    println!("{case}: {name}: {command}");
                }
                contenders.push((*name, contender));
            }
            Err(why) => leave_out(report, case, name, &why)?,
        }
    }
    let mut contestants: Vec<Contestant<'_>> =
        contenders.iter().map(|(name, it)| Contestant::new(name, || it.turn())).collect();
    let samples = take_turns(figure.rounds, &mut contestants);
    drop(contestants);
    report.rows.extend(samples.rows(case, figure.metric, figure.unit, Better::More));
    contenders
        .into_iter()
        .try_for_each(|(name, it)| it.end().map_err(|why| format!("{name}, {case}: {why}")))
}

/// A peer that does not start is told of; ours has to.
fn leave_out(report: &mut Report, case: &str, name: &str, why: &str) -> Result<(), String> {
    let why = format!("{name}, {case}: {why}");
    if name == OURS {
        return Err(why);
    }
    report.left_out.push(why);
    Ok(())
}

/// The appliance as a contestant: killed if the contest ends before its time.
#[derive(Debug)]
pub struct Ours {
    /// It runs.
    pub appliance: Appliance,
    is_over: bool,
}

impl Ours {
    /// Enters it.
    pub fn new(appliance: Appliance) -> Self {
        Self { appliance, is_over: false }
    }

    /// Ends it, once its books are checked.
    pub fn end(mut self) {
        self.appliance.must("stop");
        self.appliance.stop();
        self.is_over = true;
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // What went wrong is told by whoever drops it; an appliance left running would add its own.
        if !self.is_over && !std::thread::panicking() {
            self.appliance.kill();
        }
    }
}

/// What the appliance has dropped, and by reason.
pub(crate) fn dropped(appliance: &Appliance) -> (u64, Value) {
    let drops = appliance.json("show drops");
    (drops["dropped"].as_u64().unwrap_or(0), drops)
}

/// Whether a process has the core.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    kill(pid, signal).expect("a process that runs");
}

/// As signals want it.
pub(crate) fn process_id(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("a process id"))
}

/// The appliance's file, with the memory that each contestant has.
pub fn config(lab: &Lab, ports: &str) -> Config {
    let words = format!(r#""{}", "-m", "{MEMORY_MB}""#, memory());
    Config::new(lab)
        .replace(r#""--no-huge", "-m", "256""#, &words)
        .replace("mbufs = 16384", &format!("mbufs = {MBUFS}"))
        .text(ports)
}

/// Makes changes, as few transactions as there can be.
pub fn batch(appliance: &Appliance, changes: &[Value]) {
    for changes in changes.chunks(BATCH) {
        let (status, answer) =
            appliance.api("POST", "/v1/batch", &Value::from(changes).to_string());
        assert!((200..300).contains(&status), "{status}: {answer}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Notes what is done with it.
    struct Noted<'a>(char, &'a RefCell<String>);

    impl Contender for Noted<'_> {
        fn commands(&self) -> Vec<String> {
            Vec::new()
        }
        fn pause(&self) {
            self.1.borrow_mut().push('-');
        }
        fn turn(&self) -> f64 {
            self.1.borrow_mut().push(self.0);
            1.0
        }
        fn end(self) -> Result<(), String> {
            self.1.borrow_mut().push('.');
            if self.0 == 'c' { Err("it has lost some".to_owned()) } else { Ok(()) }
        }
    }

    fn contest(
        names: [&'static str; 2],
        second: Started<char>,
    ) -> (Result<(), String>, Report, String) {
        let notes = RefCell::new(String::new());
        let mut report = Report::new("some");
        let noted = |it: char| Noted(it, &notes);
        let entries = [
            Entry::new(names[0], || Ok(Ok(noted('a')))),
            Entry::new(names[1], || second.clone().map(|it| it.map(noted))),
        ];
        let figure = Figure { metric: "done", unit: "times", rounds: 6 };
        let result = compete(&mut report, "case", figure, &entries);
        drop(entries);
        (result, report, notes.into_inner())
    }

    #[test]
    fn all_are_started_before_the_first_turn_and_ended_after_the_last() {
        let (result, report, notes) = contest([OURS, "peer"], Ok(Ok('b')));
        assert_eq!((result, notes.as_str()), (Ok(()), "--ababababababab.."));
        assert_eq!(report.rows[0].ratio, Some(1.0));
    }

    #[test]
    fn a_peer_that_is_not_there_is_left_out_and_ours_is_not() {
        let absent = Ok(Err("not installed".to_owned()));
        let (result, report, _) = contest([OURS, "peer"], absent.clone());
        assert_eq!((result, report.rows.len()), (Ok(()), 0));
        assert_eq!(report.left_out, ["peer, case: not installed"]);
        assert!(contest(["peer", OURS], absent).0.is_err());
    }

    #[test]
    fn who_forwards_wrongly_or_loses_frames_ends_the_benchmark() {
        let wrong = Err("wanted [1], came [2]".to_owned());
        assert_eq!(
            contest([OURS, "peer"], wrong).0,
            Err("peer, case: wanted [1], came [2]".to_owned())
        );
        assert_eq!(
            contest([OURS, "peer"], Ok(Ok('c'))).0,
            Err("peer, case: it has lost some".to_owned())
        );
    }
}
