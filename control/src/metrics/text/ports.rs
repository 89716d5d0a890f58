//! Ports that belong to no adapter: uplinks, the host port, shared ports, the server's on networks. What a
//! guest's own port counts is its adapter's, so that a thousand guests are not told twice.

use super::super::page::{Page, Sample, count, flag, labels};
use super::super::reading::{DeviceCounts, PortReading};
use crate::api::view::{Link, PortKind};
use dataplane::counters::PortCounter;
use prometheus::Result;
use prometheus::proto::LabelPair;

pub(super) fn write(page: &mut Page, ports: &[PortReading]) -> Result<()> {
    state(page, ports)?;
    traffic(page, ports)?;
    let drops = ports.iter().filter_map(|port| Some((port, port.counts.as_ref()?)));
    let drops = drops.flat_map(|(port, counts)| {
        let with = |reason| {
            let mut labels = of(port);
            labels.extend(super::labels(&[("reason", reason)]));
            labels
        };
        super::had(|reason| counts.drops(reason), with)
    });
    page.counters(
        "guestway_port_drops_total",
        "Frames that a port received, or that were made for it, and that were dropped, by reason.",
        drops,
    )?;
    devices(page, ports)
}

fn kind_name(kind: PortKind) -> &'static str {
    match kind {
        PortKind::Uplink => "uplink",
        PortKind::Host => "host",
        PortKind::Shared => "shared",
        PortKind::Guest => "guest",
        PortKind::NetworkServer => "network-server",
    }
}

fn of(port: &PortReading) -> Vec<LabelPair> {
    labels(&[("port", &port.port.to_string()), ("kind", kind_name(port.kind))])
}

fn state(page: &mut Page, ports: &[PortReading]) -> Result<()> {
    page.gauges(
        "guestway_port_up",
        "1 while a port's link is up, 0 while it is down; absent where the port can't tell.",
        ports
            .iter()
            .filter(|port| port.link != Link::Unknown)
            .map(|port| (of(port), flag(port.link == Link::Up))),
    )?;
    page.gauges(
        "guestway_port_failed",
        "1 while a port's device is not there or has failed; `show port info` says why.",
        ports.iter().map(|port| (of(port), flag(port.is_failed))),
    )?;
    page.gauges(
        "guestway_port_stopped",
        "1 while a port is stopped by the operator.",
        ports.iter().map(|port| (of(port), flag(port.is_stopped))),
    )
}

fn traffic(page: &mut Page, ports: &[PortReading]) -> Result<()> {
    for (name, help, counter) in [
        (
            "guestway_port_receive_packets_total",
            "Frames that a port received.",
            PortCounter::RxPkts,
        ),
        (
            "guestway_port_receive_bytes_total",
            "Bytes that a port received, without FCS.",
            PortCounter::RxBytes,
        ),
        ("guestway_port_transmit_packets_total", "Frames that a port sent.", PortCounter::TxPkts),
        (
            "guestway_port_transmit_bytes_total",
            "Bytes that a port sent, without FCS.",
            PortCounter::TxBytes,
        ),
    ] {
        let samples = ports.iter().filter_map(|port| {
            let counts = port.counts.as_ref()?;
            Some((of(port), count(counts.counter(counter))))
        });
        page.counters(name, help, samples)?;
    }
    Ok(())
}

/// What is lost before we see it, or after we let go of it.
fn devices(page: &mut Page, ports: &[PortReading]) -> Result<()> {
    let each = |value: fn(&DeviceCounts) -> u64| {
        let counted = ports.iter().filter_map(|port| Some((port, port.device.as_ref()?)));
        counted.map(move |(port, device)| -> Sample { (of(port), count(value(device))) })
    };
    page.counters(
        "guestway_port_device_receive_missed_packets_total",
        "Frames that a port's device lost because its queue was full.",
        each(|device| device.rx_missed),
    )?;
    page.counters(
        "guestway_port_device_receive_errors_total",
        "Frames that a port's device received broken.",
        each(|device| device.rx_errors),
    )?;
    page.counters(
        "guestway_port_device_receive_no_mbuf_total",
        "Frames that a port's device could not receive because the pool was empty.",
        each(|device| device.rx_no_mbuf),
    )?;
    page.counters(
        "guestway_port_device_transmit_errors_total",
        "Frames that a port's device failed to send.",
        each(|device| device.tx_errors),
    )
}
