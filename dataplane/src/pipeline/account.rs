//! Accounting by class (requirements.md, VZ-8): what a guest sent, by where it goes; and what was delivered to
//! it, by where it came from. A class is a list of prefixes; the longest that holds the other end's address
//! decides.
//!
//! A frame of a guest is counted once, when it is decided that it leaves: not where it is dropped, turned round
//! or waits for its next hop. A frame to a guest is counted when its queue has taken it.
//!
//! All of it is passed over while there is no class.

use super::Path;
use super::layers;
use super::work::Verdict;
use crate::counters::{Counters, Traffic};
use crate::frame::Frame;
use crate::ids::{AdapterId, ClassId};
use crate::io::Io;
use crate::table::Ipv4Fib;
use crate::wire::ethernet::ETHERTYPE_IPV4;
use crate::wire::ipv4;

/// The class of an address, host order.
#[inline]
pub(super) fn class_of(classes: &Ipv4Fib, address: u32) -> ClassId {
    u8::try_from(classes.lookup(address).0).map_or(ClassId::OTHER, ClassId)
}

/// Counts a packet that a guest sent there.
#[inline]
pub(super) fn sent_to(
    classes: &Ipv4Fib,
    counters: &Counters,
    adapter: AdapterId,
    destination: u32,
    bytes: u32,
) {
    if is_guest(adapter) {
        let class = class_of(classes, destination);
        counters.class_traffic(adapter, class, Traffic::FromGuest, 1, bytes.into());
    }
}

/// Whether an adapter has counters: not that of the wire or the server.
#[inline]
pub(super) fn is_guest(adapter: AdapterId) -> bool {
    adapter.index() < AdapterId::LIMIT
}

/// Whether a frame with this verdict leaves by some port, itself or in pieces.
pub(super) fn leaves(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Send
            | Verdict::Fragment
            | Verdict::Mirror(_)
            | Verdict::Flood(_)
            | Verdict::FloodAndPunt(_)
    )
}

/// Source and destination of an IPv4 packet, under whatever tags.
pub(super) fn addresses<F: Frame>(frame: &F) -> Option<(u32, u32)> {
    let (ether_type, packet) = layers::innermost(frame.head())?;
    (ether_type == ETHERTYPE_IPV4).then(|| ipv4::addresses(packet))?
}

impl<I: Io> Path<I> {
    /// Counts a frame that its verdict lets go.
    #[inline]
    pub(super) fn account_sent(&self, verdict: Verdict, frame: &I::Frame) {
        if let Some(classes) = &self.view.classes {
            count_sent(classes, &self.counters, verdict, frame);
        }
    }

    /// The class that a frame is counted in once it is delivered.
    #[inline]
    pub(super) fn class_delivered(&self, adapter: AdapterId, frame: &I::Frame) -> ClassId {
        match &self.view.classes {
            Some(classes) => class_of_source(classes, adapter, frame),
            None => ClassId::NONE,
        }
    }
}

// Neither grows the path of those who have no classes.

#[inline(never)]
fn count_sent<F: Frame>(classes: &Ipv4Fib, counters: &Counters, verdict: Verdict, frame: &F) {
    let adapter = frame.ingress().adapter;
    if is_guest(adapter)
        && leaves(verdict)
        && let Some((_, destination)) = addresses(frame)
    {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        sent_to(classes, counters, adapter, destination, bytes);
    }
}

#[inline(never)]
fn class_of_source<F: Frame>(classes: &Ipv4Fib, adapter: AdapterId, frame: &F) -> ClassId {
    let ends = is_guest(adapter).then(|| addresses(frame)).flatten();
    ends.map_or(ClassId::NONE, |(source, _)| class_of(classes, source))
}
