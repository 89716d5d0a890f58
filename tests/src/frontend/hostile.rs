//! Hostile front-ends: everything that the other end of a vhost socket can say or write to harm.
//!
//! A [`Case`] is one connection (or a few) that misbehaves in one named way, with its particulars
//! drawn from a generator whose seed is fixed, so that case number N of a run is the same for ever
//! and can be run alone ([`Hostile::case`]). The classes are those of published faults of vhost
//! implementations: what is said on the socket ([`negotiation`]), how memory and rings are described
//! ([`sharing`], [`sizes`]), what stands in the rings ([`rings`], [`flight`]) and in the headers of frames ([`lies`]).
//!
//! What must hold after every case: the program runs and others' traffic goes on; that is for the
//! owner of the run to check, in the function that it gives to [`Hostile::run`]. What must hold
//! besides is the case's [`Must`], and that is checked here.
//!
//! ```text
//! Hostile::run ── number ──▶ Case ── Scene (door, generator) ──▶ Outcome ──▶ Report
//! ```

use crate::frames::{Mac, Random, ethernet, ipv4};
use crate::frontend::header::NetHeader;
use crate::frontend::message::{Channel, Door, Message, feature, protocol, request};
use crate::frontend::{Agreed, Frontend, Options, Parts};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub mod flight;
pub mod lies;
pub mod negotiation;
pub mod rings;
pub mod sharing;
pub mod sizes;

/// How long a hostile connection waits for a message to be taken or answered.
const PATIENCE: Duration = Duration::from_millis(40);
/// How long a front-end that behaves may wait until it is served, whatever was before it.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// How long a frame may take that is sent after a case on the same connection.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);
/// How long a case gives the worker to meet what was left in the rings.
const PAUSE: Duration = Duration::from_millis(3);

/// Where a case misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// On the socket.
    Message,
    /// In shared memory, after a right set-up.
    Ring,
}

/// What must hold after a case, besides that the program runs and that others are not disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// Nothing more: the connection may be cut, or its rings left alone.
    Survive,
    /// The guest did what a driver may do, or lied about a frame of its own only: what it sends next
    /// is taken, on the same connection.
    CarryOn,
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The back end hung up.
    HungUp,
    /// It still answers or still takes what is offered.
    Talks,
    /// Neither.
    Silent,
    /// What was sent next was taken.
    CarriedOn,
    /// The socket could not be reached.
    TurnedAway,
    /// A front-end that behaves was not served, before the case had begun to misbehave.
    NotServed,
}

/// One way to misbehave.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Where.
    pub layer: Layer,
    /// What must hold after it.
    pub must: Must,
    run: fn(&mut Scene) -> io::Result<Outcome>,
}

impl Case {
    /// Whether an outcome is as it must be.
    pub fn allows(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::TurnedAway | Outcome::NotServed => false,
            Outcome::CarriedOn => true,
            _ => self.must == Must::Survive,
        }
    }
}

const fn message(name: &'static str, run: fn(&mut Scene) -> io::Result<Outcome>) -> Case {
    Case { name, layer: Layer::Message, must: Must::Survive, run }
}

const fn ring(name: &'static str, run: fn(&mut Scene) -> io::Result<Outcome>) -> Case {
    Case { name, layer: Layer::Ring, must: Must::Survive, run }
}

const fn harmless(name: &'static str, run: fn(&mut Scene) -> io::Result<Outcome>) -> Case {
    Case { name, layer: Layer::Ring, must: Must::CarryOn, run }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    [negotiation::CASES, sharing::CASES, sizes::CASES, rings::CASES, flight::CASES, lies::CASES]
        .concat()
}

/// Who the hostile guest is to others, and whom it writes to: frames that are taken must look like
/// traffic of its own to get any further.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its registered MAC.
    pub mac: Mac,
    /// Its address.
    pub ip: String,
    /// The MAC that its frames go to.
    pub peer_mac: Mac,
    /// The address that its packets go to.
    pub peer_ip: String,
}

impl Identity {
    /// A frame of this guest with an IPv4 packet of the given protocol.
    pub fn frame(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let packet = ipv4(&self.ip, &self.peer_ip, 64, protocol, payload);
        ethernet(self.peer_mac, self.mac, crate::frames::IPV4, &packet)
    }
}

/// A guest that misbehaves in every way, again and again.
#[derive(Debug)]
pub struct Hostile {
    doors: Vec<Door>,
    identity: Identity,
    cases: Vec<Case>,
    seed: u64,
}

impl Hostile {
    /// For the sockets that a back end listens on.
    pub fn new(paths: &[PathBuf], identity: Identity, seed: u64) -> Self {
        Self::by(paths.iter().cloned().map(Door::Connect).collect(), identity, seed)
    }

    /// By any doors.
    pub fn by(doors: Vec<Door>, identity: Identity, seed: u64) -> Self {
        assert!(!doors.is_empty(), "a hostile guest needs a door");
        Self { doors, identity, cases: cases(), seed }
    }

    /// Keeps the cases that `wanted` accepts.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&Case) -> bool) -> Self {
        self.cases.retain(wanted);
        assert!(!self.cases.is_empty(), "no case is left");
        self
    }

    /// Case number `number` of a run with this seed, alone: which it was, and what became of it.
    pub fn case(&self, number: u32) -> (Case, Outcome) {
        let at = usize::try_from(number).expect("a count");
        let case = self.cases[at % self.cases.len()];
        let door = &self.doors[(at / self.cases.len()) % self.doors.len()];
        let mut random = Random((self.seed ^ (u64::from(number) << 20)) | 1);
        for _ in 0..4 {
            random.number();
        }
        let mut scene = Scene { door, identity: &self.identity, random, trouble: None };
        let outcome = (case.run)(&mut scene);
        // An error is the back end's refusal to go on, unless it came before any misbehaviour.
        (case, scene.trouble.unwrap_or_else(|| outcome.unwrap_or(Outcome::HungUp)))
    }

    /// Runs `count` cases over all classes. After each, `holds` says whether the world is as it must
    /// be, or what is wrong with it, which ends the run.
    pub fn run(
        &self,
        numbers: Range<u32>,
        mut holds: impl FnMut(&Case, Outcome) -> Result<(), String>,
    ) -> Report {
        let mut report = Report::default();
        for number in numbers {
            let begin = Instant::now();
            let (case, outcome) = self.case(number);
            let took = begin.elapsed();
            report.add(case.name, outcome, took);
            let held = holds(&case, outcome);
            if !case.allows(outcome) || held.is_err() {
                let why = held.as_ref().err().map_or("", String::as_str);
                let name = case.name;
                let line = format!("case {number}, {name}: {outcome:?} after {took:?} {why}");
                report.broken.push(line);
            }
            if held.is_err() {
                break;
            }
        }
        report
    }
}

/// How often a case ended how, and its longest time.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs by outcome.
    pub outcomes: BTreeMap<Outcome, u32>,
    /// The longest run.
    pub longest: Duration,
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By case.
    pub tallies: BTreeMap<&'static str, Tally>,
    /// What was not as it must be, one line each.
    pub broken: Vec<String>,
}

impl Report {
    fn add(&mut self, name: &'static str, outcome: Outcome, took: Duration) {
        let tally = self.tallies.entry(name).or_default();
        *tally.outcomes.entry(outcome).or_default() += 1;
        tally.longest = tally.longest.max(took);
    }

    /// How many cases ran.
    pub fn count(&self) -> u32 {
        self.tallies.values().flat_map(|tally| tally.outcomes.values()).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, tally) in &self.tallies {
            writeln!(f, "{name:<36} {:?}, {:?} at most", tally.outcomes, tally.longest)?;
        }
        self.broken.iter().try_for_each(|line| writeln!(f, "BROKEN: {line}"))
    }
}

/// Where a case takes place.
#[derive(Debug)]
pub struct Scene<'a> {
    door: &'a Door,
    identity: &'a Identity,
    random: Random,
    /// What went wrong before the case had begun.
    trouble: Option<Outcome>,
}

/// A connection with all that a right set-up would say, not yet said.
struct Start {
    channel: Channel,
    agreed: Agreed,
    parts: Parts,
    plan: Vec<Message>,
}

impl Scene<'_> {
    /// A new connection.
    fn open(&mut self) -> io::Result<Channel> {
        self.door.open(PATIENCE).inspect_err(|_| self.trouble = Some(Outcome::TurnedAway))
    }

    /// Options with a random choice of what a guest may want.
    fn options(&mut self) -> Options {
        let base = Options::default();
        let optional = feature::OFFLOADS | feature::INDIRECT_DESC | feature::EVENT_IDX;
        let regions =
            [vec![4 << 20], vec![1 << 20, 1 << 20, 2 << 20]][self.random.below(2)].clone();
        let features = base.features | (self.random.number() & optional);
        Options { regions, features, patience: PATIENCE, ..base }
    }

    /// A connection on which features were asked for and nothing was set. The back end may be busy
    /// with what was before, so its answer has time.
    fn start(&mut self) -> io::Result<Start> {
        let options = self.options();
        self.start_with(&options)
    }

    fn start_with(&mut self, options: &Options) -> io::Result<Start> {
        let slow = self.door.open(SERVED_WITHIN);
        let slow = slow.inspect_err(|_| self.trouble = Some(Outcome::TurnedAway))?;
        let agreed = Agreed::ask(&slow, options);
        let agreed = agreed.inspect_err(|_| self.trouble = Some(Outcome::NotServed))?;
        let channel = slow.with_patience(PATIENCE)?;
        let parts = Parts::new(options)?;
        let plan = parts.plan(&agreed, options);
        Ok(Start { channel, agreed, parts, plan })
    }

    /// A right set-up with something changed in what is said, then an attempt at traffic.
    fn altered(
        &mut self,
        alter: impl FnOnce(&mut Random, &mut Vec<Message>, &mut Parts),
    ) -> io::Result<Outcome> {
        let mut start = self.start()?;
        alter(&mut self.random, &mut start.plan, &mut start.parts);
        play(&start.channel, &start.plan);
        self.try_traffic(&mut start);
        Ok(verdict(&start.channel))
    }

    /// As [`Scene::altered`], with one message put in somewhere.
    fn inserted(&mut self, extra: Message) -> io::Result<Outcome> {
        self.altered(|random, plan, _| {
            let at = random.below(plan.len() + 1);
            plan.insert(at, extra);
        })
    }

    /// Offers receive buffers and a few frames, if the memory lets us, and gives the worker time.
    fn try_traffic(&self, start: &mut Start) {
        let header = NetHeader::default().bytes(start.agreed.header_bytes());
        let bytes = [header, self.good_frame()].concat();
        let Parts { memory, rings } = &mut start.parts;
        for ring in rings.iter_mut().step_by(2) {
            let _ = ring.fill(memory);
        }
        for ring in rings.iter_mut().skip(1).step_by(2) {
            for _ in 0..4 {
                let _ = ring.send(memory, &bytes);
            }
        }
        std::thread::sleep(PAUSE);
    }

    /// A frame that nobody could object to.
    fn good_frame(&self) -> Vec<u8> {
        self.identity.frame(crate::frames::UDP, &crate::frames::udp(9, 9, &[0; 64]))
    }

    /// A guest that was set up rightly and whose frames are being taken.
    fn guest(&mut self) -> io::Result<Frontend> {
        let options = Options { patience: SERVED_WITHIN, ..self.options() };
        self.guest_with(&options)
    }

    fn guest_with(&mut self, options: &Options) -> io::Result<Frontend> {
        let end = Instant::now() + SERVED_WITHIN;
        loop {
            let served = self.try_guest(options);
            match served {
                Ok(Some(guest)) => return Ok(guest),
                _ if Instant::now() < end => std::thread::sleep(PAUSE),
                Err(e) => {
                    self.trouble = Some(Outcome::NotServed);
                    return Err(e);
                }
                Ok(None) => {
                    self.trouble = Some(Outcome::NotServed);
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }

    fn try_guest(&mut self, options: &Options) -> io::Result<Option<Frontend>> {
        let mut guest = Frontend::open(self.door, options)?;
        guest.send(0, &NetHeader::default(), &self.good_frame())?;
        let is_taken = guest.is_sent_within(0, TAKEN_WITHIN)?;
        Ok(is_taken.then_some(guest))
    }

    /// What became of a guest whose rings were misused: does the device get to the end of them?
    fn settled(&self, guest: &mut Frontend) -> Outcome {
        let (ring, memory) = guest.sender(0);
        let wanted = ring.available_index();
        let end = Instant::now() + PAUSE;
        while Instant::now() < end {
            if ring.used_index(memory).is_ok_and(|used| used == wanted) {
                return Outcome::Talks;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        if guest.is_hung_up(Duration::ZERO) { Outcome::HungUp } else { Outcome::Silent }
    }

    /// What became of a guest that may go on: is what it sends next taken?
    fn carries_on(&self, guest: &mut Frontend) -> io::Result<Outcome> {
        let is_sent = guest.is_sent_within(0, TAKEN_WITHIN)?
            && guest.send(0, &NetHeader::default(), &self.good_frame())?
            && guest.is_sent_within(0, TAKEN_WITHIN)?;
        if is_sent {
            return Ok(Outcome::CarriedOn);
        }
        Ok(if guest.is_hung_up(Duration::ZERO) { Outcome::HungUp } else { Outcome::Silent })
    }

    /// A number that code is likely to be wrong about.
    fn odd_number(&mut self) -> u64 {
        odd_number(&mut self.random)
    }
}

/// A number that code is likely to be wrong about.
fn odd_number(random: &mut Random) -> u64 {
    let any = random.number();
    let edge = 1u64 << random.below(64);
    let edges = [0, 1, u64::MAX, any, edge, edge - 1, edge + 1, u64::MAX - 4_095, 4_095];
    edges[random.below(edges.len())]
}

/// The low half of a number that code is likely to be wrong about.
fn odd_word(random: &mut Random) -> u32 {
    u32::try_from(odd_number(random) & u64::from(u32::MAX)).expect("32 bits")
}

/// The low quarter of a number that code is likely to be wrong about.
fn odd_half(random: &mut Random) -> u16 {
    u16::try_from(odd_number(random) & u64::from(u16::MAX)).expect("16 bits")
}

/// Says it all, as far as the back end listens.
fn play(channel: &Channel, plan: &[Message]) {
    for message in plan {
        if channel.send(message).is_err() {
            return;
        }
    }
}

/// What the back end has made of what was said.
fn verdict(channel: &Channel) -> Outcome {
    if channel.send(&Message::bare(request::GET_FEATURES)).is_err() {
        return Outcome::HungUp;
    }
    loop {
        match channel.reply() {
            Ok(reply) if reply.request == request::GET_FEATURES => return Outcome::Talks,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Outcome::Silent,
            Err(_) => return Outcome::HungUp,
        }
    }
}

/// Whether acknowledgements were agreed on.
fn has_acks(agreed: &Agreed) -> bool {
    agreed.speaks(protocol::REPLY_ACK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let all = cases();
        let names: BTreeSet<&str> = all.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn a_guest_that_may_go_on_must_and_nobody_may_be_turned_away() {
        let any = message("any", |_| Ok(Outcome::Talks));
        assert!(any.allows(Outcome::HungUp) && !any.allows(Outcome::TurnedAway));
        let lie = harmless("lie", |_| Ok(Outcome::Talks));
        assert!(lie.allows(Outcome::CarriedOn) && !lie.allows(Outcome::HungUp));
    }
}
