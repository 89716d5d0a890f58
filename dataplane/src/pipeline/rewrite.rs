//! Fourth stage: the bytes that change. Routed packets get TTL less one (checksum by RFC 1624) and
//! the adjacency's two MACs; what leaves on a VLAN gets its tag. Bridged frames stay as they are.

use super::work::{Verdict, Work};
use crate::counters::DropReason;
use crate::frame::{Burst, Frame};
use crate::table::AdjacencyKind;
use crate::wire::ethernet::{self, HEADER_BYTES};
use crate::wire::{ipv4, tag};

/// Rewrites every frame that one adjacency takes out; copies are rewritten where they are made.
pub(super) fn rewrite<F: Frame>(burst: &mut Burst<F>, work: &mut Work) {
    for (slot, frame) in burst.iter_mut().enumerate() {
        let way = &work.adjacency[slot];
        match work.verdicts[slot] {
            Verdict::Send | Verdict::Fragment if way.kind == AdjacencyKind::Forward => {
                let bytes = frame.head_mut();
                ethernet::rewrite(bytes, way.destination, way.source);
                if let Some(packet) = bytes.get_mut(HEADER_BYTES..) {
                    ipv4::decrement_ttl(packet);
                }
            }
            Verdict::Send => {}
            _ => continue,
        }
        let is_tagged = way.vlan != 0 && work.verdicts[slot] == Verdict::Send;
        if is_tagged && !tag::push_tag(frame, way.vlan) {
            work.verdicts[slot] = Verdict::Drop(DropReason::NoHeadroom);
        }
    }
}
