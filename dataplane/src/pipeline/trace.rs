//! A packet whose way is written down: the stages have it alone, and each leaves what it found.

use super::work::{NOWHERE, Verdict, Work};
use super::{Path, Stage, Tables};
use crate::counters::{DropReason, PortCounter, PortCounts};
use crate::frame::{Burst, Frame, Slots};
use crate::ids::{AdjacencyId, PortId};
use crate::io::Io;
use crate::sight::trace::{Lookup, MacLookup, Outcome, Record, Tracer, head_of};
use crate::table::MacHit;
use crate::wire::ethernet::Ethernet;
use arrayvec::ArrayVec;

impl<I: Io> Path<I> {
    /// Plain frames by the lane, the others one by one by the stages, all in order.
    #[cold]
    pub(super) fn run_traced(
        &mut self,
        port: PortId,
        plain: Slots,
        burst: &mut Burst<I::Frame>,
        now_ns: u64,
    ) {
        for (slot, frame) in burst.drain(..).enumerate() {
            if plain >> slot & 1 != 0 {
                self.pass(port, slot, frame);
                continue;
            }
            let mut alone = Burst::new();
            alone.push(frame);
            match self.view.trace.take() {
                Some(trace) => {
                    if trace.wants(&alone[0]) {
                        self.walk(&trace, port, &mut alone, now_ns);
                    } else {
                        self.stages(port, &mut alone, now_ns);
                    }
                    self.view.trace = Some(trace);
                }
                None => self.stages(port, &mut alone, now_ns),
            }
        }
    }

    /// Takes a frame through all stages and keeps what they found.
    fn walk(&mut self, trace: &Tracer, port: PortId, alone: &mut Burst<I::Frame>, now_ns: u64) {
        let mut record = begin(trace, port, &alone[0], now_ns);
        self.decide_seen(port, alone, now_ns, |stage, tables, work, burst| {
            note(&mut record, stage, tables, work, &burst[0]);
        });
        // What waits goes first, so that all that waits behind is this packet's.
        self.flush();
        let waiting: ArrayVec<_, WAITING_MAX> = self.egress.waiting().take(WAITING_MAX).collect();
        let before = self.counters.port(port);
        for frame in alone.drain(..) {
            self.act(port, 0, frame, now_ns);
        }
        let is_its = |(port, count): &(PortId, usize)| {
            let waited = waiting.iter().find(|(other, _)| other == port);
            waited.is_none_or(|(_, before)| count > before)
        };
        let got = self.egress.waiting().filter(is_its).map(|(port, _)| port);
        let mut outcome = Outcome::default();
        outcome.ports.extend(got.take(outcome.ports.capacity()));
        self.flush();
        count(&mut outcome, &before, &self.counters.port(port));
        record.outcome = outcome;
        trace.keep(record);
    }
}

/// Ports with frames that were put off, at most, that are told from this packet's.
const WAITING_MAX: usize = 64;

fn begin<F: Frame>(trace: &Tracer, port: PortId, frame: &F, time_ns: u64) -> Record {
    let unjudged = Verdict::Drop(DropReason::PortClosed);
    Record {
        worker: trace.worker(),
        time_ns,
        port,
        adapter: frame.ingress().adapter,
        bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        head: head_of(frame),
        classified: unjudged,
        ip: None,
        routes: None,
        guarded: unjudged,
        macs: None,
        decided: unjudged,
        way: NOWHERE,
        rewritten: unjudged,
        rewritten_head: head_of(frame),
        outcome: Outcome::default(),
    }
}

/// Writes down what a stage has found.
fn note<F: Frame>(record: &mut Record, stage: Stage, tables: &Tables, work: &Work, frame: &F) {
    let verdict = work.verdicts[0];
    match stage {
        Stage::Classify => record.classified = verdict,
        Stage::LookUp if verdict == Verdict::Route => {
            let ip = work.ip[0];
            record.ip = Some(ip);
            let source = look_up(tables, tables.fib.lookup(ip.source));
            record.routes = Some([look_up(tables, work.to[0]), source]);
        }
        Stage::LookUp => {}
        Stage::Guard => {
            record.guarded = verdict;
            record.adapter = frame.ingress().adapter;
            if let Verdict::Bridge(network) | Verdict::ArpAndBridge(network) = verdict
                && let Some(ethernet) = Ethernet::parse(frame.head())
            {
                let entry = |hit: MacHit| (look_up(tables, hit.adjacency), hit.is_static);
                let of = |mac| tables.macs.lookup(network, mac).map(entry);
                let (destination, source) = (of(ethernet.destination), of(ethernet.source));
                record.macs = Some(MacLookup { network, destination, source });
            }
        }
        Stage::Decide => {
            record.decided = verdict;
            let has_way = matches!(
                verdict,
                Verdict::Send | Verdict::Fragment | Verdict::Resolve | Verdict::Mirror(_)
            );
            record.way = if has_way { work.adjacency[0] } else { NOWHERE };
        }
        Stage::Rewrite => {
            record.rewritten = verdict;
            record.rewritten_head = head_of(frame);
        }
    }
}

fn look_up(tables: &Tables, id: AdjacencyId) -> Lookup {
    Lookup { id, adjacency: tables.adjacencies.read(id) }
}

/// What has been counted since.
fn count(outcome: &mut Outcome, before: &PortCounts, after: &PortCounts) {
    let mut since = after.clone();
    since.subtract(before);
    outcome.forwarded = since.counter(PortCounter::Forwarded);
    outcome.copies = since.counter(PortCounter::Copies);
    outcome.generated = since.counter(PortCounter::Generated);
    outcome.consumed = since.counter(PortCounter::Consumed);
    let drops = DropReason::ALL.iter().map(|reason| (*reason, since.drops(*reason)));
    let had = drops.filter(|(_, count)| *count > 0);
    outcome.drops.extend(had.take(outcome.drops.capacity()));
}
