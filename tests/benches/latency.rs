//! How long a frame takes through one worker, and there and back, from guest to guest and from guest to
//! uplink, against testpmd on the same ports at the same offered rates.

use hdrhistogram::Histogram;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tests::Lab;
use tests::contest::OURS;
use tests::frontend::Frontend;
use tests::measure::{Better, Choice, Report, Samples, median, range};
use tests::pair::{Mode, Segments, Switch, sockets};
use tests::peers::testpmd_pair;
use tests::timed::{Timed, Way, check, connect};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Of each frame, with its FCS.
const BYTES: usize = 64;
/// Parts of the slower contestant's loss-free rate.
const LOADS: [(u32, &str); 3] = [(10, "10 %"), (50, "50 %"), (90, "90 %")];
/// What is told of the times, and the metrics' names.
const QUANTILES: [(f64, &str, &str); 3] = [
    (0.5, "through, p50", "round trip, p50"),
    (0.99, "through, p99", "round trip, p99"),
    (0.999, "through, p99.9", "round trip, p99.9"),
];
/// The last of the quantiles is told only where its rounds differ less.
const RANGE_MAX: f64 = 0.5;
/// What took longer counts as this.
const TIME_MAX_NS: u64 = 100_000_000;
/// Rounds of a load.
const ROUNDS: usize = 9;
/// Turns of each contestant in a round: when the machine takes the worker's core for a millisecond, the tail
/// of that turn says nothing.
const TURNS: usize = 600;
/// From SIGCONT until times count.
const WARM_UP: Duration = Duration::from_micros(1_500);
/// That long they do: thousands of frames, so that there is a p99.
const SPAN: Duration = Duration::from_millis(5);
/// No switch passes more than that, one way, packets per second.
const RATE_MAX: f64 = 8e6;
/// Halvings of what the loss-free rate may be.
const HALVINGS: u32 = 8;
/// A rate without loss in one of so many tries is loss-free: what else runs on the machine takes its core
/// from a worker now and then.
const TRIES: usize = 4;
/// Each that long.
const TRY: Duration = Duration::from_millis(15);

/// Times of a turn, by way, nanoseconds.
struct Times([Histogram<u64>; 2]);

impl Times {
    fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, TIME_MAX_NS, 3).expect("three digits");
        Self([histogram(), histogram()])
    }

    fn of(&mut self, way: Way) -> &mut Histogram<u64> {
        &mut self.0[usize::from(way == Way::Round)]
    }

    fn quantiles(&self) -> Quantiles {
        let of = |times: &Histogram<u64>| {
            QUANTILES.map(|(at, ..)| times.value_at_quantile(at) as f64 / 1e3)
        };
        self.0.each_ref().map(of)
    }
}

/// Of a turn, by way, microseconds.
type Quantiles = [[f64; QUANTILES.len()]; 2];

/// A switch that takes its turns while its guests run.
struct Contestant<'a> {
    name: &'static str,
    switch: &'a Switch,
    guests: Timed<'a>,
    times: Times,
}

impl Contestant<'_> {
    fn is_loss_free(&mut self, rate_pps: f64) -> io::Result<bool> {
        for _ in 0..TRIES {
            let outcome = self.guests.offer(rate_pps, TRY, |_, _| ())?;
            if outcome.returned == outcome.offered {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The greatest rate, one way, of which everything comes back.
    fn loss_free_rate(&mut self) -> io::Result<f64> {
        self.switch.resume();
        self.guests.offer(1e5, WARM_UP, |_, _| ())?;
        let (mut least, mut most) = (0.0, RATE_MAX);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(least, most);
            if self.is_loss_free(middle)? {
                least = middle;
            } else {
                most = middle;
            }
        }
        self.switch.pause();
        Ok(least)
    }

    /// A turn.
    fn turn(&mut self, rate_pps: f64) -> io::Result<Quantiles> {
        let times = &mut self.times;
        times.0.iter_mut().for_each(Histogram::reset);
        self.switch.resume();
        self.guests.offer(rate_pps, WARM_UP, |_, _| ())?;
        self.guests.offer(rate_pps, SPAN, |way, ns| times.of(way).saturating_record(ns))?;
        self.switch.pause();
        Ok(self.times.quantiles())
    }
}

/// By contestant, round and turn.
type All = Vec<Vec<Vec<Quantiles>>>;

/// Rounds at one load.
fn rounds(contestants: &mut [Contestant<'_>], rate_pps: f64) -> io::Result<All> {
    let mut all: All = vec![vec![Vec::new(); ROUNDS]; contestants.len()];
    for round in 0..ROUNDS {
        for _ in 0..TURNS {
            for (rounds, contestant) in all.iter_mut().zip(&mut *contestants) {
                rounds[round].push(contestant.turn(rate_pps)?);
            }
        }
    }
    Ok(all)
}

fn report_load(report: &mut Report, case: &str, names: &[&'static str], all: &All) {
    for way in 0..2 {
        for (place, (_, through, round)) in QUANTILES.into_iter().enumerate() {
            let turns = |round: &Vec<Quantiles>| -> Vec<f64> {
                round.iter().map(|turn| turn[way][place]).collect()
            };
            let metric = if way == 0 { through } else { round };
            let range = all.iter().map(|rounds| {
                range(&rounds.iter().map(|round| median(&turns(round))).collect::<Vec<_>>())
            });
            let range = range.fold(0.0, f64::max);
            let is_last = place + 1 == QUANTILES.len();
            if is_last && range > RANGE_MAX {
                let part = range * 100.0;
                report.left_out.push(format!("{metric}, {case}: rounds differ by {part:.0} %"));
                continue;
            }
            // Turns are what is compared, one of each contestant after the other.
            let values = all.iter().map(|rounds| rounds.iter().flat_map(turns).collect());
            let samples = Samples::new(names.to_vec(), values.collect());
            report.rows.extend(samples.rows(case, metric, "µs", Better::Less));
        }
    }
}

/// A contestant's switch, its sockets and its connected guests.
type Connected = (&'static str, Switch, [Frontend; 2]);

fn start(
    lab: &Lab,
    case: &str,
    name: &'static str,
    start: impl FnOnce(&[PathBuf; 2]) -> std::result::Result<Switch, String>,
) -> std::result::Result<Connected, String> {
    let sockets = sockets(lab, name.split(' ').next().unwrap_or(name));
    let switch = start(&sockets)?;
    switch.commands().iter().for_each(|it| println!("{case}: {name}: {it}"));
    check(&switch, &sockets, BYTES).map_err(|why| format!("it forwards wrongly: {why}"))?;
    let guests = connect(&sockets).map_err(|error| error.to_string())?;
    switch.pause();
    Ok((name, switch, guests))
}

fn measure(lab: &Lab, report: &mut Report, case: &str, mode: Mode) -> Result<()> {
    let ours = |sockets: &_| Ok(Switch::ours(lab, sockets, mode, "", &[]));
    let mut connected = vec![start(lab, case, OURS, ours)?];
    match start(lab, case, "testpmd io", |sockets| testpmd_pair(lab, sockets, Segments::Short)) {
        Ok(peer) => connected.push(peer),
        Err(why) => report.left_out.push(format!("testpmd io, {case}: {why}")),
    }
    let mut contestants = Vec::new();
    for (name, switch, guests) in &connected {
        let frames = [0, 1].map(|guest| switch.frames(guest, BYTES).0.swap_remove(0));
        let guests = Timed::new(guests, frames.each_ref().map(Vec::as_slice))?;
        contestants.push(Contestant { name, switch, guests, times: Times::new() });
    }
    let names: Vec<&'static str> = contestants.iter().map(|it| it.name).collect();
    let mut slower = f64::INFINITY;
    for contestant in &mut contestants {
        let rate = contestant.loss_free_rate()?;
        println!("{case}: {}: loss-free up to {:.2} Mpps each way", contestant.name, rate / 1e6);
        slower = slower.min(rate);
    }
    for (percent, load) in LOADS {
        let rate = slower * f64::from(percent) / 100.0;
        let case = format!("{case}, {load}");
        println!("{case}: {:.3} Mpps each way", rate / 1e6);
        let all = rounds(&mut contestants, rate)?;
        report_load(report, &case, &names, &all);
    }
    drop(contestants);
    for (name, switch, guests) in connected {
        drop(guests);
        switch.end().map_err(|why| format!("{name}, {case}: {why}"))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let choice = Choice::from_arguments();
    let lab = Lab::new();
    let mut report = Report::new("latency");
    for (case, mode) in [("guest to guest", Mode::Routed), ("guest to uplink", Mode::Uplink)] {
        if choice.wants(case) {
            measure(&lab, &mut report, case, mode)?;
        }
    }
    report.finish(&choice.directory)?;
    Ok(())
}
