//! Plain frames of a network: from one of its members, whose source MAC and address are right, to a MAC in
//! the table. They leave as they are.

use super::{Arrival, Lane, server_replies};
use crate::frame::{BURST_PKTS, Burst, Frame, Slots, WORD_SOURCE};
use crate::ids::NetworkId;
use crate::machine::columns;
use crate::machine::headers::{self, ETHERNET_BYTES, MAC_MASK};
use crate::pipeline::View;
use crate::record::{Attachment, BridgedAdapter, PortRecord};
use crate::table::Way;

/// A member whose frames the lane can judge.
pub(super) struct Member<'a> {
    adapter: &'a BridgedAdapter,
    network: NetworkId,
    /// The router's MAC as it lies in frames, whose frames are not for the network; or one that is a group's.
    router: u64,
    /// Whether other guests of the network are out of its reach.
    is_isolated: bool,
}

impl<'a> Member<'a> {
    /// Not where sources are learned, where an address is right by more than the adapter's own list, or
    /// where somebody gets copies.
    #[inline]
    pub(super) fn of(record: &'a PortRecord, view: &View) -> Option<Self> {
        let Attachment::Bridged(adapter) = &record.attachment else { return None };
        let network = view.network(adapter.network)?;
        let is_listed = !adapter.filters.ip || !adapter.ipv4.is_empty();
        let is_plain = adapter.filters.mac && is_listed && network.promiscuous.is_empty();
        let router = network.router_mac.map_or(MAC_MASK, |mac| {
            let [a, b, c, d, e, f] = mac.0;
            u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
        });
        // Without a list, on a network with a router, other guests' addresses are not to be used.
        let is_free = adapter.filters.ip || network.router_mac.is_none();
        let is_isolated = network.is_isolated;
        (is_plain && is_free).then_some(Self { adapter, network: network.id, router, is_isolated })
    }

    /// Which of the sources, as they lie in frames, are the adapter's own.
    #[inline]
    fn owns(&self, sources: &[u32; BURST_PKTS], count: usize) -> Slots {
        if !self.adapter.filters.ip {
            return Slots::MAX;
        }
        if let [(network, mask)] = *self.adapter.ipv4 {
            let (network, mask) = (u32::to_be(network), u32::to_be(mask));
            if columns::are_all(sources, count, network, mask) {
                return Slots::MAX;
            }
        }
        sources.iter().enumerate().take(count).fold(0, |slots, (slot, source)| {
            let source = u32::from_be(*source);
            let mut listed = self.adapter.ipv4.iter();
            let is_own = listed.any(|(network, mask)| source & mask == *network);
            slots | Slots::from(is_own) << slot
        })
    }
}

/// Which of the slots are plain frames for another member.
#[inline]
pub(super) fn bridged<F: Frame>(
    at: &Arrival<'_>,
    member: &Member<'_>,
    slots: Slots,
    burst: &Burst<F>,
    lane: &mut Lane,
) {
    let Arrival { record, tables, view, .. } = *at;
    let count = burst.len();
    let Lane { heads, to, ways, longest, .. } = &mut *lane;
    let mut slots = slots & member.owns(&heads.words[WORD_SOURCE], count);
    slots &= !headers::to_mac(&heads.to, count, member.router);
    if member.adapter.filters.dhcp {
        slots &= !server_replies(burst, headers::to_clients(heads, count) & slots);
    }
    if slots == 0 {
        return;
    }
    tables.macs.lookup_burst(member.network, &heads.to, count, to);
    tables.adjacencies.ways(to, count, ways);
    let takes = |way: &Way, bytes: u32| {
        let packet_bytes = bytes.saturating_sub(ETHERNET_BYTES);
        way.is_bridge() && way.port() != record.id && way.takes_untagged(packet_bytes)
    };
    if member.is_isolated {
        let is_kept_from =
            |slot: &usize| view.is_isolated(&record.attachment, ways.way(*slot).port());
        let kept_from = (0..count).filter(is_kept_from).fold(0, |kept, slot| kept | 1 << slot);
        slots &= !kept_from;
    }
    let alike = ways.alike().filter(|way| takes(way, *longest));
    if alike.is_none() {
        slots = (0..count).filter(|slot| slots >> slot & 1 != 0).fold(0, |passed, slot| {
            passed | Slots::from(takes(&ways.way(slot), heads.bytes[slot])) << slot
        });
    }
    if let Some(trace) = &view.trace {
        slots &= !trace.followed(record.id, burst, ways);
    }
    lane.sender = Some(member.adapter.adapter);
    if let Some(limits) = at.limits {
        slots &= lane.unlimited(limits, record.id, slots);
    }
    lane.plain.slots = slots;
    lane.plain.port = alike.map(|way| way.port());
    lane.plain.is_routed = false;
}
