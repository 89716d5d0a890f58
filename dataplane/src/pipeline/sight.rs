//! What the path tells of itself where somebody asks.

use super::Path;
use super::work::Verdict;
use crate::frame::Frame;
use crate::ids::{AdapterId, PortId};
use crate::io::Io;
use crate::sight::latency::{Course, Courses};
use crate::table::AdjacencyKind;
use crate::wire::ethernet::{ETHERTYPE_IPV4, Ethernet, HEADER_BYTES};

impl<I: Io> Path<I> {
    /// Copies a burst that has just come in, where somebody asked for it.
    pub(crate) fn capture_received(&self, port: PortId, burst: &[I::Frame]) {
        let Some(capture) = &self.egress.capture else { return };
        capture.received(port, burst, |frame| self.sender_of(frame));
    }

    /// The adapter that a packet's source is registered to: on a shared port that says who sent it.
    fn sender_of(&self, frame: &I::Frame) -> AdapterId {
        let head = frame.head();
        let is_ipv4 = Ethernet::parse(head).is_some_and(|it| it.ether_type == ETHERTYPE_IPV4);
        let source = head.get(HEADER_BYTES + 12..).and_then(<[u8]>::first_chunk);
        match source.filter(|_| is_ipv4) {
            Some(source) => {
                let id = self.tables.fib.lookup(u32::from_be_bytes(*source));
                self.tables.adjacencies.read(id).adapter
            }
            None => AdapterId::NONE,
        }
    }

    /// Which ways the burst of so many frames took that has just come in by a port.
    pub fn courses(&self, port: PortId, count: usize) -> Courses {
        let mut courses = Courses::default();
        if !self.view.is_forwarding || self.view.port(port).is_none() {
            return courses;
        }
        let work = &self.work;
        let plain = work.lane.plain_slots().count_ones();
        let lane = if work.lane.is_routed() { Course::Routed } else { Course::Bridged };
        courses[lane as usize] = plain;
        // The stages had those that the lane did not pass, one behind the other.
        let others = match self.view.trace {
            None => count.saturating_sub(plain as usize),
            // Or each alone, and no more is known of it.
            Some(_) => 0,
        };
        for (verdict, way) in work.verdicts.iter().zip(&work.adjacency).take(others) {
            let course = match verdict {
                Verdict::Send if way.kind == AdjacencyKind::Bridge => Course::Bridged,
                Verdict::Send | Verdict::Fragment => Course::Routed,
                Verdict::Mirror(_) => Course::Bridged,
                Verdict::Flood(_) | Verdict::FloodAndPunt(_) => Course::Flooded,
                Verdict::Answer | Verdict::Error(..) => Course::Answered,
                _ => continue,
            };
            courses[course as usize] += 1;
        }
        courses
    }
}
