//! Rate limits (requirements.md, VZ-9), per adapter, direction and class.
//!
//! A frame of a limited guest, or to one, is given the time at which it may leave and waits for it in a timing
//! wheel of the worker that decided about it. So a limit delays what fits its bounded wait and drops the rest,
//! and TCP keeps to it without losing more than a queue costs it. A guest's frame is charged once, when it is
//! decided that it leaves; a frame to a guest when it is put out, each copy at its own receiver. Bytes are those
//! of the frames as they are on a wire: a long segment counts as the many that it stands for, and where the rate is
//! slow it is cut to them first, so that not all of them are lost or late together.
//!
//! All of it is passed over while nobody has a limit; the express lane leaves limited frames to the stages.

mod limits;
mod meter;
mod wheel;

pub(super) use limits::LimitTable;
pub use limits::Limits;
pub use meter::{Meter, RATE_MAX_BPS, RATE_MIN_BPS};

use super::Path;
use super::account;
use super::egress::Note;
use super::work::{Verdict, drop_frame};
use crate::counters::{DropReason, Traffic};
use crate::frame::{Frame, ROOM_BYTES};
use crate::ids::{AdapterId, ClassId, PortId};
use crate::io::Io;
use crate::wire::offload::Offload;
use std::sync::Arc;
use wheel::Wheel;

/// A frame that waits.
struct Held<F> {
    port: PortId,
    note: Note,
    frame: F,
}

/// A worker's limits and what waits because of them. Made and dropped by control.
pub struct Shaping<F> {
    pub(super) table: LimitTable,
    wheel: Wheel<Held<F>>,
    /// Buffers that may wait, about.
    room: usize,
    /// Those that do.
    buffers: usize,
    /// When the loop began.
    now_ns: u64,
    /// When the frame that is being acted on may leave, as its sender's limits say.
    not_before_ns: u64,
    /// Who is charged as its sender when it is put out, in pieces, and with which class.
    sender: Option<(AdapterId, ClassId)>,
    /// Whether it is charged to its receiver no more.
    is_exempt: bool,
}

impl<F: Frame> Shaping<F> {
    /// No limits yet, and room for about so many buffers of [`ROOM_BYTES`] to wait in.
    pub fn new(room: usize) -> Box<Self> {
        Box::new(Self {
            table: LimitTable::new(),
            wheel: Wheel::new(room),
            room,
            buffers: 0,
            now_ns: 0,
            not_before_ns: 0,
            sender: None,
            is_exempt: false,
        })
    }

    /// Counts a frame that had to wait and found no room at whose limit it was.
    fn add_dropped(&self, reason: DropReason, to: AdapterId, from: AdapterId) {
        let (adapter, way) = match reason {
            DropReason::RateIn => (to, Traffic::ToGuest),
            _ => (from, Traffic::FromGuest),
        };
        if let Some(limits) = self.table.get(adapter) {
            limits.add_dropped(way);
        }
    }

    /// Sets an adapter's limits; returns those that they replace.
    pub fn set(&mut self, adapter: AdapterId, limits: Option<Arc<Limits>>) -> Option<Arc<Limits>> {
        self.table.set(adapter, limits)
    }
}

/// Whose frames are sent before their time.
#[derive(Clone, Copy, Debug)]
pub enum Early {
    /// All.
    All,
    /// Those that came in by this port.
    From(PortId),
    /// Those that leave by this port.
    To(PortId),
    /// Those from and to an adapter.
    Of(AdapterId),
}

impl Early {
    fn takes<F: Frame>(self, held: &Held<F>) -> bool {
        match self {
            Self::All => true,
            Self::From(port) => held.frame.ingress().port == port,
            Self::To(port) => held.port == port,
            Self::Of(adapter) => {
                held.note.adapter == adapter || held.frame.ingress().adapter == adapter
            }
        }
    }
}

/// Bytes of a frame on a wire: a long segment is cut, and each piece has all headers.
fn wire_bytes<F: Frame>(frame: &F) -> u64 {
    let bytes = frame.len();
    let more = match frame.offload() {
        Offload::Segment(headers, size) => {
            let data = bytes.saturating_sub(headers.bytes());
            let pieces = data.div_ceil(usize::from(size).max(1));
            pieces.saturating_sub(1) * headers.bytes()
        }
        _ => 0,
    };
    (bytes + more) as u64
}

/// Whether a frame is a TCP segment that stands for many.
fn is_long<F: Frame>(frame: &F) -> bool {
    matches!(frame.offload(), Offload::Segment(..))
}

/// Buffers that a frame takes, about.
fn buffers<F: Frame>(frame: &F) -> usize {
    frame.len().div_ceil(ROOM_BYTES).max(1)
}

// None of these grows the path of those who have no limits.

impl<I: Io> Path<I> {
    /// Charges a frame to its sender; false where that is over its limit. To be asked once for each frame that
    /// `act` takes up.
    #[inline(never)]
    pub(super) fn admit(&mut self, verdict: Verdict, frame: &I::Frame, now_ns: u64) -> bool {
        let Some(shaping) = &mut self.shaping else { return true };
        (shaping.not_before_ns, shaping.sender) = (0, None);
        let limits = shaping.table.get(frame.ingress().adapter);
        let Some(limits) = limits.filter(|_| account::leaves(verdict)) else { return true };
        let class = match (&self.view.classes, account::addresses(frame)) {
            (Some(classes), Some((_, destination))) => account::class_of(classes, destination),
            _ => ClassId::NONE,
        };
        let is_one_way = matches!(verdict, Verdict::Send | Verdict::Fragment);
        if is_one_way && is_long(frame) && limits.is_slow(Traffic::FromGuest, class) {
            shaping.sender = Some((frame.ingress().adapter, class));
            return true;
        }
        match limits.book(Traffic::FromGuest, class, wire_bytes(frame), now_ns) {
            Some(at_ns) => shaping.not_before_ns = at_ns,
            None => {
                limits.add_dropped(Traffic::FromGuest);
                return false;
            }
        }
        true
    }

    /// Whether a long segment is cut for a rate that is slow, its sender's or its receiver's.
    pub(super) fn cuts(&self, adapter: AdapterId, frame: &I::Frame) -> bool {
        let Some(shaping) = &self.shaping else { return false };
        if shaping.is_exempt || !is_long(frame) {
            return false;
        }
        let limits = shaping.table.get(adapter);
        let class = || self.class_delivered(adapter, frame);
        shaping.sender.is_some()
            || limits.is_some_and(|limits| limits.is_slow(Traffic::ToGuest, class()))
    }

    /// Charges a frame to its receiver and puts it out when it may leave.
    #[inline(never)]
    pub(super) fn shape(&mut self, port: PortId, frame: I::Frame, note: Note) {
        let Some(shaping) = &mut self.shaping else {
            return self.egress.push(&self.counters, port, frame, note);
        };
        if shaping.is_exempt {
            return self.egress.push(&self.counters, port, frame, note);
        }
        let (mut at_ns, mut reason) = (shaping.not_before_ns, DropReason::RateOut);
        let bytes = wire_bytes(&frame);
        let sender =
            shaping.sender.and_then(|(adapter, class)| Some((shaping.table.get(adapter)?, class)));
        if let Some((limits, class)) = sender {
            match limits.book(Traffic::FromGuest, class, bytes, shaping.now_ns) {
                Some(due_ns) => at_ns = due_ns,
                None => {
                    limits.add_dropped(Traffic::FromGuest);
                    return drop_frame(&self.counters, frame, DropReason::RateOut);
                }
            }
        }
        if let Some(limits) = shaping.table.get(note.adapter) {
            let Some(due_ns) = limits.book(Traffic::ToGuest, note.class, bytes, shaping.now_ns)
            else {
                limits.add_dropped(Traffic::ToGuest);
                return drop_frame(&self.counters, frame, DropReason::RateIn);
            };
            if due_ns > at_ns {
                (at_ns, reason) = (due_ns, DropReason::RateIn);
            }
        }
        if shaping.wheel.is_due(at_ns) {
            return self.egress.push(&self.counters, port, frame, note);
        }
        let buffers = buffers(&frame);
        if shaping.buffers + buffers > shaping.room {
            shaping.add_dropped(reason, note.adapter, frame.ingress().adapter);
            return drop_frame(&self.counters, frame, reason);
        }
        match shaping.wheel.hold(at_ns, Held { port, note, frame }) {
            Ok(()) => shaping.buffers += buffers,
            Err(held) => {
                shaping.add_dropped(reason, note.adapter, held.frame.ingress().adapter);
                drop_frame(&self.counters, held.frame, reason);
            }
        }
    }

    /// Whether a frame may go to all members of a network, by its sender's own limit, if it has one.
    pub(super) fn storm(&self, adapter: AdapterId, now_ns: u64) -> Option<bool> {
        let limits = self.shaping.as_ref()?.table.get(adapter)?;
        limits.storm().map(|storm| storm.take(1, now_ns).is_some())
    }

    /// Frames that control makes, or that another worker has charged already: not charged, and not held.
    #[inline]
    pub(super) fn exempt(&mut self, is_exempt: bool) {
        if let Some(shaping) = &mut self.shaping {
            shaping.is_exempt = is_exempt;
        }
    }

    /// What is put out from here on is nobody's that is charged as a sender.
    #[inline]
    pub(super) fn charge_nobody(&mut self) {
        if let Some(shaping) = &mut self.shaping {
            (shaping.not_before_ns, shaping.sender) = (0, None);
        }
    }

    /// Puts out what has waited long enough. Called once a loop, before anything is taken in: what came in
    /// first leaves first.
    #[inline]
    pub fn release(&mut self, now_ns: u64) {
        if self.shaping.is_some() {
            self.release_due(now_ns);
        }
    }

    #[inline(never)]
    fn release_due(&mut self, now_ns: u64) {
        let Some(shaping) = &mut self.shaping else { return };
        shaping.now_ns = now_ns;
        while let Some(Held { port, note, frame }) = shaping.wheel.take_due(now_ns) {
            shaping.buffers -= buffers(&frame);
            self.egress.push(&self.counters, port, frame, note);
        }
    }

    /// Puts out what waits, before its time: somebody is about to leave, and nothing is lost for it.
    pub fn release_early(&mut self, early: Early) {
        let Some(shaping) = &mut self.shaping else { return };
        let Shaping { wheel, buffers: waiting, .. } = &mut **shaping;
        let (egress, counters) = (&mut self.egress, &self.counters);
        wheel.take_if(
            |held| early.takes(held),
            |Held { port, note, frame }| {
                *waiting -= buffers(&frame);
                egress.push(counters, port, frame, note);
            },
        );
    }

    /// Frames that wait.
    pub fn waiting(&self) -> usize {
        self.shaping.as_ref().map_or(0, |shaping| shaping.wheel.held())
    }

    /// Limits from now on, or none any more; returns what they replace, with nothing left waiting in it.
    pub fn set_shaping(
        &mut self,
        shaping: Option<Box<Shaping<I::Frame>>>,
    ) -> Option<Box<Shaping<I::Frame>>> {
        self.release_early(Early::All);
        std::mem::replace(&mut self.shaping, shaping)
    }

    /// An adapter's limits from now on; returns those that they replace, or the new ones where there is no
    /// [`Shaping`].
    pub fn set_limits(
        &mut self,
        adapter: AdapterId,
        limits: Option<Arc<Limits>>,
    ) -> Option<Arc<Limits>> {
        self.release_early(Early::Of(adapter));
        match &mut self.shaping {
            Some(shaping) => shaping.set(adapter, limits),
            None => limits,
        }
    }
}
