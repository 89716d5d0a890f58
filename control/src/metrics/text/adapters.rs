//! Guests' adapters. Directions are the appliance's: what it received, the guest has sent.

use super::super::page::{Page, Sample, count, flag, labels};
use super::super::reading::{AdapterReading, FrontEnds};
use crate::accounts::Traffic;
use crate::api::view::{AddressState, Link};
use crate::model::{Mode, Name};
use dataplane::counters::AdapterCounter;
use prometheus::Result;
use prometheus::proto::LabelPair;

pub(super) fn write(page: &mut Page, adapters: &[AdapterReading]) -> Result<()> {
    page.gauges(
        "guestway_adapter_up",
        "1 while an adapter's link is up, 0 while it is down; absent where its port can't tell.",
        adapters
            .iter()
            .filter(|adapter| adapter.link != Link::Unknown)
            .map(|adapter| (of(adapter), flag(adapter.link == Link::Up))),
    )?;
    page.gauges(
        "guestway_adapter_failed",
        "1 while an adapter's port is not there or has failed; `show port info` says why.",
        adapters.iter().map(|adapter| (of(adapter), flag(adapter.is_failed))),
    )?;
    traffic(page, adapters)?;
    by_class(page, adapters)?;
    page.counters(
        "guestway_adapter_drops_total",
        "Frames from a guest, or made for it, that were dropped, by reason.",
        adapters.iter().flat_map(|adapter| {
            let with = |reason| and(adapter, "reason", reason);
            super::had(|reason| adapter.counts.drops(reason), with)
        }),
    )?;
    page.counters(
        "guestway_adapter_limited_packets_total",
        "Frames that an adapter's rate limits dropped since they are in force, by direction as the guest sees it.",
        adapters.iter().filter_map(|a| Some((a, a.over_limit?))).flat_map(|(adapter, (to, from))| {
            let ways = [("in", to), ("out", from)];
            ways.map(|(way, over)| (and(adapter, "direction", way), count(over)))
        }),
    )?;
    page.gauges(
        "guestway_adapter_addresses",
        "Registered addresses of an adapter by their state on the LAN: up, probing (the LAN is being \
         asked who has them), conflict (another host has them), unannounced (by wish).",
        adapters.iter().flat_map(|adapter| {
            let states = adapter.addresses.iter();
            states.map(|(state, number)| {
                (and(adapter, "state", state_name(*state)), f64::from(*number))
            })
        }),
    )?;
    front_ends(page, adapters)
}

fn of(adapter: &AdapterReading) -> Vec<LabelPair> {
    let mode = match adapter.mode {
        Mode::HostRouted => "host-routed",
        Mode::VirtualNetwork => "virtual-network",
    };
    labels(&[
        ("guest", adapter.guest.as_str()),
        ("adapter", adapter.adapter.as_str()),
        ("mode", mode),
        // An empty label is the same as none.
        ("network", adapter.network.as_ref().map_or("", Name::as_str)),
    ])
}

fn and(adapter: &AdapterReading, name: &str, value: &str) -> Vec<LabelPair> {
    let mut pairs = of(adapter);
    pairs.extend(labels(&[(name, value)]));
    pairs
}

fn state_name(state: AddressState) -> &'static str {
    match state {
        AddressState::Up => "up",
        AddressState::Probing => "probing",
        AddressState::Conflict => "conflict",
        AddressState::Unannounced => "unannounced",
    }
}

fn traffic(page: &mut Page, adapters: &[AdapterReading]) -> Result<()> {
    for (name, help, counter) in [
        (
            "guestway_adapter_receive_packets_total",
            "Frames received from the guest, which it sees as sent.",
            AdapterCounter::RxPkts,
        ),
        (
            "guestway_adapter_receive_bytes_total",
            "Bytes received from the guest, without FCS, which it sees as sent.",
            AdapterCounter::RxBytes,
        ),
        (
            "guestway_adapter_transmit_packets_total",
            "Frames sent to the guest, which it sees as received.",
            AdapterCounter::TxPkts,
        ),
        (
            "guestway_adapter_transmit_bytes_total",
            "Bytes sent to the guest, without FCS, which it sees as received.",
            AdapterCounter::TxBytes,
        ),
    ] {
        let samples = adapters.iter().map(|a| (of(a), count(a.counts.counter(counter))));
        page.counters(name, help, samples)?;
    }
    Ok(())
}

/// Through restarts: an account goes on.
fn by_class(page: &mut Page, adapters: &[AdapterReading]) -> Result<()> {
    let each = |value: fn(&Traffic) -> u64| {
        adapters.iter().flat_map(move |adapter| {
            let classes = adapter.classes.iter();
            classes
                .map(move |(class, traffic)| (and(adapter, "class", class), count(value(traffic))))
        })
    };
    page.counters(
        "guestway_adapter_class_receive_packets_total",
        "IPv4 packets from the guest to a class of destinations; class other is what is in none.",
        each(|traffic| traffic.out_pkts),
    )?;
    page.counters(
        "guestway_adapter_class_receive_bytes_total",
        "Bytes from the guest to a class of destinations, without FCS.",
        each(|traffic| traffic.out_bytes),
    )?;
    page.counters(
        "guestway_adapter_class_transmit_packets_total",
        "IPv4 packets to the guest from a class of destinations.",
        each(|traffic| traffic.in_pkts),
    )?;
    page.counters(
        "guestway_adapter_class_transmit_bytes_total",
        "Bytes to the guest from a class of destinations, without FCS.",
        each(|traffic| traffic.in_bytes),
    )
}

fn front_ends(page: &mut Page, adapters: &[AdapterReading]) -> Result<()> {
    let each = |value: fn(&FrontEnds) -> u32| {
        let on_sockets = adapters.iter().filter_map(|a| Some((a, a.front_ends.as_ref()?)));
        on_sockets.map(move |(adapter, it)| -> Sample { (of(adapter), value(it).into()) })
    };
    page.counters(
        "guestway_adapter_front_end_connects_total",
        "Front-ends that have come to an adapter's vhost-user socket.",
        each(|front_ends| front_ends.connects),
    )?;
    page.counters(
        "guestway_adapter_front_end_resets_total",
        "Front-ends that were cut off for what they did.",
        each(|front_ends| front_ends.resets),
    )
}
