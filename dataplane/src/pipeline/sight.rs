//! What the path tells of itself where somebody asks.

use super::Path;
use super::work::Verdict;
use crate::ids::PortId;
use crate::io::Io;
use crate::sight::latency::{Course, Courses};
use crate::table::AdjacencyKind;

impl<I: Io> Path<I> {
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
        let others = count.saturating_sub(plain as usize);
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
