//! Transmit side: one buffer a port, so that frames leave in bursts; order within a port is kept.
//!
//! A transmit queue has one worker. For a port whose queue another worker owns, frames are handed to
//! that worker over its bounded ring; full means a counted drop, never a wait.

use super::work::drop_frame;
use super::{Path, segment};
use crate::counters::{Counters, DropReason, PortCounter, Traffic};
use crate::frame::{BURST_PKTS, Burst, Frame, Ingress};
use crate::idle::Bell;
use crate::ids::{AdapterId, ClassId, PortId};
use crate::io::{Io, TxQueue, Unsent};
use crate::machine::columns;
use crate::sight::capture::Capture;
use crate::table::Ways;
use crate::wire::offload::Offload;
use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// A frame on its way to the worker that owns its egress port.
#[derive(Debug)]
pub struct Departure<F> {
    /// Egress port.
    pub port: PortId,
    /// Adapter that it is counted at as sent.
    pub adapter: AdapterId,
    /// The frame.
    pub frame: F,
}

/// A burst of so many frames leaves before the next queue is looked at: waiting for that one's burst would be
/// latency. Fewer wait until the end of the loop, since many guests' single frames leave together.
pub const SEND_AT_ONCE: usize = 4;

/// The ring into one worker.
pub type Departures<F> = Arc<ArrayQueue<Departure<F>>>;

/// How a worker reaches a port.
pub enum TxRoute<I: Io> {
    /// The queue is this worker's own.
    Own(I::Tx),
    /// Another worker owns it.
    Handoff(Handoff<I::Frame>),
}

/// The way to a port of another worker's.
pub struct Handoff<F> {
    /// The ring into that worker.
    pub ring: Departures<F>,
    /// Wakes it.
    pub bell: Arc<Bell>,
}

/// A worker's side of one port's transmission. Made and dropped by control.
pub struct TxPort<I: Io> {
    /// The way out.
    pub route: TxRoute<I>,
    buffer: Burst<I::Frame>,
    /// One for each frame of the buffer.
    notes: ArrayVec<Note, BURST_PKTS>,
    /// So many of the first have been offered to the queue before.
    offered: usize,
    /// Whether `Egress::waiting` names it already.
    is_waiting: bool,
}

/// What a sent frame is counted by: once given to its queue it is no longer ours to read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Note {
    /// Adapter that it is counted at as sent.
    pub(super) adapter: AdapterId,
    /// Port that it came in by.
    pub(super) from: PortId,
    /// Its length.
    pub(super) bytes: u32,
    /// The class that it is counted in.
    pub(super) class: ClassId,
}

/// The same of a burst that came in by one port.
pub(super) struct Notes<'a> {
    pub(super) from: PortId,
    /// Where its frames lead.
    pub(super) ways: &'a Ways,
    /// Their lengths.
    pub(super) bytes: &'a [u32; BURST_PKTS],
    /// What those of the whole burst add up to, if that is known.
    pub(super) sum: Option<u32>,
    /// Their classes.
    pub(super) classes: &'a [ClassId; BURST_PKTS],
    /// Whether there are any.
    pub(super) is_classed: bool,
}

impl Notes<'_> {
    #[inline]
    pub(super) fn note(&self, slot: usize) -> Note {
        let adapter = self.ways.way(slot).adapter();
        Note { adapter, from: self.from, bytes: self.bytes[slot], class: self.classes[slot] }
    }

    /// Counts the first so many frames of a burst of `count` as sent.
    #[inline]
    fn count_sent(&self, counters: &Counters, port: PortId, sent: usize, count: usize) {
        let pkts = sent as u64;
        let bytes = match self.sum.filter(|_| sent == count) {
            Some(sum) => sum.into(),
            None => columns::sum_and_largest(self.bytes, sent).0.into(),
        };
        match self.ways.one_adapter() {
            Some(adapter) => counters.adapter_traffic(adapter, Traffic::ToGuest, pkts, bytes),
            None => {
                let adapter = |slot| self.ways.way(slot).adapter();
                counters.burst_to_guests(adapter, self.bytes, sent);
            }
        }
        if self.is_classed {
            self.count_classes(counters, sent);
        }
        counters.port_add(self.from, PortCounter::Forwarded, pkts);
        counters.port_add(port, PortCounter::TxPkts, pkts);
        counters.port_add(port, PortCounter::TxBytes, bytes);
    }

    /// Apart, so that those who have no classes don't carry it along.
    #[inline(never)]
    fn count_classes(&self, counters: &Counters, sent: usize) {
        for (slot, class) in self.classes.iter().enumerate().take(sent) {
            let (adapter, bytes) = (self.ways.way(slot).adapter(), self.bytes[slot].into());
            counters.class_traffic(adapter, *class, Traffic::ToGuest, 1, bytes);
        }
    }
}

impl<I: Io> TxPort<I> {
    /// An empty buffer in front of `route`.
    pub fn new(route: TxRoute<I>) -> Box<Self> {
        let (buffer, notes) = (Burst::new(), ArrayVec::new());
        Box::new(Self { route, buffer, notes, offered: 0, is_waiting: false })
    }
}

/// All ports of a worker.
pub struct Egress<I: Io> {
    ports: Box<[Option<Box<TxPort<I>>>]>,
    /// Ports with something in their buffer.
    waiting: Vec<PortId>,
    /// Whether a burst, however short, leaves before the next queue is looked at.
    pub(crate) is_prompt: bool,
    /// While frames are copied.
    pub(crate) capture: Option<Box<Capture>>,
}

impl<I: Io> Default for Egress<I> {
    fn default() -> Self {
        Self {
            ports: (0..PortId::LIMIT).map(|_| None).collect(),
            waiting: Vec::with_capacity(PortId::LIMIT),
            is_prompt: false,
            capture: None,
        }
    }
}

impl<I: Io> Egress<I> {
    /// Whether there is a way out to this port.
    pub fn has(&self, port: PortId) -> bool {
        self.ports.get(port.index()).is_some_and(Option::is_some)
    }

    /// Ports that something waits for, and how many frames.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (PortId, usize)> + '_ {
        let count = |port: &PortId| match self.ports.get(port.index()) {
            Some(Some(out)) => out.buffer.len(),
            _ => 0,
        };
        self.waiting.iter().map(move |port| (*port, count(port)))
    }

    /// Puts a frame into its port's buffer.
    #[inline]
    pub(super) fn push(&mut self, counters: &Counters, port: PortId, frame: I::Frame, note: Note) {
        let Some(Some(out)) = self.ports.get_mut(port.index()) else {
            return drop_frame(counters, frame, DropReason::EgressClosed);
        };
        if !out.is_waiting {
            out.is_waiting = true;
            self.waiting.push(port);
        }
        if out.buffer.is_full() {
            // Its queue asked for a moment (`Unsent::Later`), and that lasts.
            return drop_frame(counters, frame, DropReason::TxFull);
        }
        out.buffer.push(frame);
        out.notes.push(note);
        if out.buffer.is_full() {
            flush(counters, port, out, self.capture.as_deref());
        }
    }

    /// The same for a burst, which does not wait if it has [`SEND_AT_ONCE`] frames or [`Egress::is_prompt`].
    /// Leaves it empty; where each frame came in is noted in those that stay.
    #[inline]
    pub(super) fn push_all(
        &mut self,
        counters: &Counters,
        port: PortId,
        burst: &mut Burst<I::Frame>,
        notes: &Notes<'_>,
        ingress: impl Fn(usize) -> Ingress,
    ) {
        let count = burst.len();
        if let Some(Some(out)) = self.ports.get_mut(port.index())
            && let TxRoute::Own(queue) = &mut out.route
            && out.buffer.is_empty()
            && (count >= SEND_AT_ONCE || self.is_prompt)
        {
            if let Some(capture) = &self.capture {
                capture.sent(port, burst, |slot| notes.ways.way(slot).adapter());
            }
            let unsent = queue.tx(burst);
            let sent = count - burst.len();
            notes.count_sent(counters, port, sent, count);
            if burst.is_empty() {
                return;
            }
            for (slot, frame) in (sent..count).zip(burst.iter_mut()) {
                frame.set_ingress(ingress(slot));
            }
            out.notes.extend((sent..count).map(|slot| notes.note(slot)));
            std::mem::swap(&mut out.buffer, burst);
            settle(counters, port, out, unsent);
            out.offered = out.buffer.len();
            if !out.buffer.is_empty() && !out.is_waiting {
                out.is_waiting = true;
                self.waiting.push(port);
            }
            return;
        }
        for (slot, mut frame) in burst.drain(..).enumerate() {
            frame.set_ingress(ingress(slot));
            self.push(counters, port, frame, notes.note(slot));
        }
    }
}

impl<I: Io> Path<I> {
    /// Puts a frame into its port's buffer, complete as far as the other end does not complete it.
    #[inline]
    pub(super) fn send(&mut self, port: PortId, adapter: AdapterId, frame: I::Frame) {
        let offload = frame.offload();
        let is_done = offload == Offload::None || self.finishes(port, offload);
        if is_done && !(self.shaping.is_some() && self.cuts(adapter, &frame)) {
            return self.put(port, adapter, frame);
        }
        segment::finish(self, port, adapter, frame);
    }

    /// Whether what is left to do on a frame is done beyond this worker's queue for the port.
    fn finishes(&self, port: PortId, offload: Offload) -> bool {
        match self.egress.ports.get(port.index()) {
            Some(Some(out)) => match &out.route {
                TxRoute::Own(queue) => queue.finishes(offload),
                TxRoute::Handoff(_) => true,
            },
            // There is no way out at all.
            _ => true,
        }
    }

    /// Puts a frame into its port's buffer as it is.
    #[inline]
    pub(super) fn put(&mut self, port: PortId, adapter: AdapterId, frame: I::Frame) {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let class = self.class_delivered(adapter, &frame);
        let note = Note { adapter, from: frame.ingress().port, bytes, class };
        if self.shaping.is_some() {
            return self.shape(port, frame, note);
        }
        self.egress.push(&self.counters, port, frame, note);
    }

    /// Takes up a frame that another worker handed over, and has charged.
    pub fn depart(&mut self, departure: Departure<I::Frame>) {
        self.exempt(true);
        self.send(departure.port, departure.adapter, departure.frame);
        self.exempt(false);
    }

    /// Sends what waits in every buffer. Called once a loop. A port whose queue is closed for a moment
    /// keeps its frames until the next one.
    #[inline]
    pub fn flush(&mut self) {
        if self.egress.waiting.is_empty() {
            return;
        }
        let (ports, counters) = (&mut self.egress.ports, &self.counters);
        let capture = self.egress.capture.as_deref();
        self.egress.waiting.retain(|port| {
            let Some(Some(out)) = ports.get_mut(port.index()) else { return false };
            flush(counters, *port, out, capture);
            out.is_waiting = !out.buffer.is_empty();
            out.is_waiting
        });
    }

    /// Whether anything waits to be sent.
    pub fn is_waiting(&self) -> bool {
        !self.egress.waiting.is_empty() || self.waiting() > 0
    }

    /// Sets a port's way out; returns the one that it replaces. Flush first: what the old queue did not
    /// take by then is dropped.
    pub fn set_way(&mut self, port: PortId, way: Option<Box<TxPort<I>>>) -> Option<Box<TxPort<I>>> {
        let Some(slot) = self.egress.ports.get_mut(port.index()) else { return way };
        let mut before = std::mem::replace(slot, way);
        if let Some(out) = &mut before {
            for frame in out.buffer.drain(..) {
                drop_frame(&self.counters, frame, DropReason::EgressClosed);
            }
            out.notes.clear();
        }
        before
    }
}

/// Empties a buffer: sent frames are counted at both ends, what the queue did not take is dropped,
/// since waiting would be latency for everyone else. Only a queue that is closed for a moment leaves
/// them there, up to a burst.
fn flush<I: Io>(counters: &Counters, port: PortId, out: &mut TxPort<I>, capture: Option<&Capture>) {
    if out.buffer.is_empty() {
        return;
    }
    match &mut out.route {
        TxRoute::Own(queue) => {
            if let Some(capture) = capture {
                let notes = &out.notes[out.offered..];
                capture.sent(port, &out.buffer[out.offered..], |slot| notes[slot].adapter);
            }
            let before = out.buffer.len();
            let unsent = queue.tx(&mut out.buffer);
            let sent = before - out.buffer.len();
            count_sent(counters, port, out.notes.drain(..sent));
            settle(counters, port, out, unsent);
            out.offered = out.buffer.len();
        }
        TxRoute::Handoff(Handoff { ring, bell }) => {
            for (frame, note) in out.buffer.drain(..).zip(&out.notes) {
                if let Err(back) = ring.push(Departure { port, adapter: note.adapter, frame }) {
                    drop_frame(counters, back.frame, DropReason::HandoffFull);
                }
            }
            out.notes.clear();
            bell.ring();
        }
    }
}

/// Deals with what a queue left in the buffer, for the reason that it gave.
fn settle<I: Io>(counters: &Counters, port: PortId, out: &mut TxPort<I>, unsent: Unsent) {
    let mut unsent = unsent;
    let reason = loop {
        if out.buffer.is_empty() {
            return;
        }
        match unsent {
            Unsent::Full => break DropReason::TxFull,
            Unsent::NotConnected => break DropReason::NotConnected,
            Unsent::Later => return,
            // Each turn takes at least one out of the buffer.
            Unsent::First(reason) => {
                if let Some(frame) = out.buffer.pop_at(0) {
                    drop_frame(counters, frame, reason);
                }
                out.notes.pop_at(0);
            }
        }
        let TxRoute::Own(queue) = &mut out.route else { return };
        let before = out.buffer.len();
        unsent = queue.tx(&mut out.buffer);
        let sent = before - out.buffer.len();
        count_sent(counters, port, out.notes.drain(..sent));
    };
    for frame in out.buffer.drain(..) {
        drop_frame(counters, frame, reason);
    }
    out.notes.clear();
}

/// Counts frames as sent, what they came in by for each run of the same: in most bursts there is one.
#[inline]
fn count_sent(counters: &Counters, port: PortId, notes: impl Iterator<Item = Note>) {
    let (mut pkts, mut bytes) = (0, 0);
    let (mut from, mut run) = (PortId::NONE, 0);
    for note in notes {
        counters.adapter_traffic(note.adapter, Traffic::ToGuest, 1, note.bytes.into());
        if note.class != ClassId::NONE {
            let (adapter, bytes) = (note.adapter, note.bytes.into());
            counters.class_traffic(adapter, note.class, Traffic::ToGuest, 1, bytes);
        }
        bytes += u64::from(note.bytes);
        pkts += 1;
        if note.from != from {
            counters.port_add(from, PortCounter::Forwarded, run);
            (from, run) = (note.from, 0);
        }
        run += 1;
    }
    counters.port_add(from, PortCounter::Forwarded, run);
    counters.port_add(port, PortCounter::TxPkts, pkts);
    counters.port_add(port, PortCounter::TxBytes, bytes);
}
