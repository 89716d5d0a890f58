//! The path of a packet, top to bottom.
//!
//! A burst comes from one port, so everything that depends on the port is read once. First the [`express`]
//! lane looks for the frames that every stage would let pass, which most are, all of them at once. The
//! others go through the stages: each decides for the whole burst and leaves one [`Verdict`] per frame;
//! only the last one acts. Look-ups of a burst go together so that their memory latency overlaps. A
//! verdict once final is passed over by the stages behind it, so a frame is dropped, sent or given to
//! control exactly once.
//!
//! ```text
//!           ┌───────────── express lane: plain frames ────────────┐
//! rx burst ─┴▶ classify ─▶ guard ─▶ route ─┐                      ▼
//!                 │                 bridge ┴▶ rewrite ─▶ act ─▶ egress ─▶ tx burst per port
//!                 └─ ARP ─▶ punt to control
//! ```

mod account;
mod act;
mod answer;
mod bridge;
mod classify;
mod egress;
mod express;
mod fragment;
mod guard;
mod layers;
mod limit;
mod rewrite;
mod route;
mod segment;
mod shape;
mod sight;
#[cfg(test)]
mod tests;
mod trace;
mod view;
mod work;

pub use egress::{Departure, Departures, Handoff, SEND_AT_ONCE, TxPort, TxRoute};
pub use limit::{Rate, Rates};
pub use shape::{Early, Limits, Meter, RATE_MAX_BPS, RATE_MIN_BPS, Shaping};
pub use view::{LINK_LOCAL_GATEWAY, View};
pub use work::Verdict;

use crate::counters::{Counters, DropReason, PortCounter};
use crate::frame::{Burst, Frame, Ingress, Slots, first_slots};
use crate::ids::{AdapterId, PortId};
use crate::io::Io;
use crate::punt::{Inject, Punt};
use crate::record::{Attachment, PortRecord};
use crate::table::{AdjacencyTable, Ipv4Fib, MacTable};
use crossbeam::queue::ArrayQueue;
use express::Arrival;
use std::sync::Arc;
use work::Work;

/// The tables that all workers read and control writes.
#[derive(Clone)]
pub struct Tables {
    /// Prefix to adjacency.
    pub fib: Arc<Ipv4Fib>,
    /// Egress port and rewrite of each next hop.
    pub adjacencies: Arc<AdjacencyTable>,
    /// (network, MAC) to adjacency.
    pub macs: Arc<MacTable>,
}

/// Stages that leave something to be seen; route and bridge never have the same frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Classify,
    LookUp,
    Guard,
    Decide,
    Rewrite,
}

/// One worker's path: everything that a frame meets between rx and tx.
pub struct Path<I: Io> {
    /// Port and network records; replaced between bursts.
    pub view: View,
    /// Shared, read only.
    pub tables: Tables,
    /// This worker's own block.
    pub counters: Arc<Counters>,
    /// Where copies, fragments and ICMP errors come from.
    pub pool: I::Pool,
    /// Transmit side: one entry a port.
    pub egress: egress::Egress<I>,
    /// To control; full means a counted drop.
    pub punts: Arc<ArrayQueue<Punt<I::Frame>>>,
    /// Token buckets of punts, learning and ICMP errors.
    pub limits: limit::Limits,
    /// Rate limits of adapters, and what waits because of them, while anybody has one.
    pub shaping: Option<Box<Shaping<I::Frame>>>,
    work: Work,
}

impl<I: Io> Path<I> {
    /// A path with no ports.
    pub fn new(
        tables: Tables,
        counters: Arc<Counters>,
        pool: I::Pool,
        punts: Arc<ArrayQueue<Punt<I::Frame>>>,
        rates: Rates,
    ) -> Self {
        Self {
            view: View::default(),
            tables,
            counters,
            pool,
            egress: egress::Egress::default(),
            punts,
            limits: limit::Limits::new(rates),
            shaping: None,
            work: Work::default(),
        }
    }

    /// Takes a burst that `port` received through all stages; `now_ns` is monotonic. Leaves it empty.
    #[inline]
    pub fn run(&mut self, port: PortId, burst: &mut Burst<I::Frame>, now_ns: u64) {
        let Some((record, plan)) = self.view.arrival(port).filter(|_| self.view.is_forwarding)
        else {
            return self.refuse(port, burst);
        };
        let (view, tables, counters) = (&self.view, &self.tables, &*self.counters);
        let limits = self.shaping.as_ref().map(|shaping| &shaping.table);
        let at = Arrival { record, plan, view, tables, limits, counters };
        express::look(&at, burst, &mut self.work.lane);
        let plain = self.work.lane.plain_slots();
        if plain == first_slots(burst.len()) {
            self.pass_all(port, burst);
        } else if self.view.trace.is_some() {
            self.run_traced(port, plain, burst, now_ns);
        } else if plain == 0 {
            self.stages(port, burst, now_ns);
        } else {
            self.mixed(port, plain, burst, now_ns);
        }
    }

    /// Plain frames by the lane, the others by the stages, all in order.
    fn mixed(&mut self, port: PortId, plain: Slots, burst: &mut Burst<I::Frame>, now_ns: u64) {
        let (mut slots, mut others) = (Burst::new(), Burst::new());
        for (slot, frame) in burst.drain(..).enumerate() {
            if plain >> slot & 1 != 0 {
                slots.push(Ok((slot, frame)));
            } else {
                slots.push(Err(others.len()));
                others.push(frame);
            }
        }
        self.decide(port, &mut others, now_ns);
        let mut others = others.into_iter();
        for slot in slots {
            match slot {
                Ok((slot, frame)) => self.pass(port, slot, frame),
                Err(slot) => {
                    if let Some(frame) = others.next() {
                        self.act(port, slot, frame, now_ns);
                    }
                }
            }
        }
    }

    /// Every stage.
    fn stages(&mut self, port: PortId, burst: &mut Burst<I::Frame>, now_ns: u64) {
        self.decide(port, burst, now_ns);
        for (slot, frame) in burst.drain(..).enumerate() {
            self.act(port, slot, frame, now_ns);
        }
    }

    /// Every stage but the last.
    fn decide(&mut self, port: PortId, burst: &mut Burst<I::Frame>, now_ns: u64) {
        self.decide_seen(port, burst, now_ns, |_, _, _, _| {});
    }

    /// The same; `see` is shown what each has left.
    #[inline(always)]
    fn decide_seen(
        &mut self,
        port: PortId,
        burst: &mut Burst<I::Frame>,
        now_ns: u64,
        mut see: impl FnMut(Stage, &Tables, &Work, &Burst<I::Frame>),
    ) {
        let ingress = Ingress { port, adapter: work::adapter_of(&self.view, port) };
        let Some(record) = self.view.port(port) else {
            return self.drop_all(ingress, burst, DropReason::PortClosed);
        };
        burst.iter_mut().for_each(|frame| frame.set_ingress(ingress));
        let work = &mut self.work;
        classify::classify(record, &self.view, burst, work);
        see(Stage::Classify, &self.tables, work, burst);
        route::look_up(&self.tables, burst, work);
        see(Stage::LookUp, &self.tables, work, burst);
        guard::guard(record, &self.view, &self.tables, &self.counters, burst, work);
        see(Stage::Guard, &self.tables, work, burst);
        route::route(record, &self.view, &self.tables, burst, work);
        bridge::bridge(record, &self.view, &self.tables, burst, work, now_ns);
        see(Stage::Decide, &self.tables, work, burst);
        rewrite::rewrite(burst, work);
        see(Stage::Rewrite, &self.tables, work, burst);
    }

    /// Takes up a frame of control's.
    pub fn inject(&mut self, inject: Inject<I::Frame>, now_ns: u64) {
        self.charge_nobody();
        match inject {
            Inject::Send { port, mut frame } => {
                if frame.ingress().port == PortId::NONE {
                    // Made for this port and because of nobody: its row is where the sums stay right.
                    frame.set_ingress(Ingress { port, adapter: AdapterId::NONE });
                }
                self.counters.port_add(frame.ingress().port, PortCounter::Generated, 1);
                self.exempt(true);
                self.send(port, work::adapter_of(&self.view, port), frame);
                self.exempt(false);
            }
            Inject::Flood { network, frame } => {
                let from = frame.ingress().port;
                self.counters.port_add(from, PortCounter::Generated, 1);
                self.flood(network, from, frame);
            }
            Inject::Route { frame } => {
                let from = frame.ingress().port;
                self.counters.port_add(from, PortCounter::Generated, 1);
                self.resume(from, frame, now_ns);
            }
        }
    }

    /// The path from the look-up on, for a packet that passed the guard before it waited.
    fn resume(&mut self, port: PortId, frame: I::Frame, now_ns: u64) {
        let ingress = frame.ingress();
        let mut burst = Burst::new();
        burst.push(frame);
        let record = self.view.port(port).filter(|record| is_still_there(record, ingress.adapter));
        let Some(record) = record else {
            return self.drop_all(ingress, &mut burst, DropReason::PortClosed);
        };
        if !self.view.is_forwarding {
            return self.drop_all(ingress, &mut burst, DropReason::Stopped);
        }
        let work = &mut self.work;
        classify::classify_routed(&burst, work);
        route::look_up(&self.tables, &burst, work);
        route::route(record, &self.view, &self.tables, &mut burst, work);
        if work.verdicts[0] == Verdict::Resolve {
            // Control has done what it could. Asked again it would do the same, for ever.
            work.verdicts[0] = Verdict::Drop(DropReason::Unresolved);
        }
        rewrite::rewrite(&mut burst, work);
        for (slot, frame) in burst.into_iter().enumerate() {
            self.act(port, slot, frame, now_ns);
        }
    }

    /// Counts a burst as received and drops it: nothing is forwarded, by this port or at all.
    #[cold]
    fn refuse(&mut self, port: PortId, burst: &mut Burst<I::Frame>) {
        let bytes = burst.iter().map(|frame| frame.len() as u64).sum();
        let pkts = burst.len() as u64;
        let (reason, adapter) = match self.view.port(port) {
            Some(record) => {
                express::arrive(record, &self.counters, pkts, bytes);
                (DropReason::Stopped, record.attachment.adapter())
            }
            None => {
                self.counters.port_add(port, PortCounter::RxPkts, pkts);
                self.counters.port_add(port, PortCounter::RxBytes, bytes);
                (DropReason::PortClosed, AdapterId::NONE)
            }
        };
        self.drop_all(Ingress { port, adapter }, burst, reason);
    }

    /// Drops a burst that has just come in, or that knows where it did.
    fn drop_all(&mut self, ingress: Ingress, burst: &mut Burst<I::Frame>, reason: DropReason) {
        for mut frame in burst.drain(..) {
            frame.set_ingress(ingress);
            work::drop_frame(&self.counters, frame, reason);
        }
    }
}

/// Whether the adapter that sent a held packet is still the one on its port: its addresses may be
/// another's by now. On a shared port the source address tells them apart, and the guard did.
fn is_still_there(record: &PortRecord, adapter: AdapterId) -> bool {
    match record.attachment {
        Attachment::Closed => false,
        Attachment::Shared { .. } => true,
        _ => record.attachment.adapter() == adapter,
    }
}
