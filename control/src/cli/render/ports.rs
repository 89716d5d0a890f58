//! Ports: testpmd's habits.

use super::{Out, align_right, field, joined, on_off, or_dash, print, table, word};
use crate::api::view::{PortInfo, PortLabel, PortStats, PortXstats, RxQueue};
use std::collections::HashMap;
use std::io::{self, Write};

/// The counters that were shown last, by port: the next time they make a rate.
#[derive(Default)]
pub(in crate::cli) struct Rates(HashMap<PortLabel, PortStats>);

/// Ports, one line each.
pub(super) fn list(out: &mut Out<'_>, ports: &[PortInfo]) -> io::Result<()> {
    let mut shown =
        table(&["PORT", "ID", "KIND", "STATE", "LINK", "MAC", "MTU", "QUEUES", "DRIVER", "DEVICE"]);
    align_right(&mut shown, [1, 6]);
    for port in ports {
        shown.add_row([
            port.port.to_string(),
            or_dash(port.id),
            word(&port.kind),
            word(&port.state),
            word(&port.link),
            port.mac.to_string(),
            port.mtu.to_string(),
            queues(&port.rx_queues),
            or_dash(port.driver.as_ref()),
            port.device.clone(),
        ]);
    }
    print(out, shown, "no ports")?;
    for port in ports {
        if let Some(problem) = &port.problem {
            writeln!(out, "port {}: {problem}", port.port)?;
        }
    }
    Ok(())
}

/// `0@1`: queue 0 polled by the worker on core 1.
fn queues(queues: &[RxQueue]) -> String {
    joined(queues.iter().map(|queue| format!("{}@{}", queue.queue, or_dash(queue.worker))))
}

/// One port in full.
pub(super) fn one(out: &mut dyn Write, port: &PortInfo) -> io::Result<()> {
    writeln!(out, "port {} (id {}, {})", port.port, or_dash(port.id), word(&port.kind))?;
    field(out, "device", &port.device)?;
    field(out, "driver", or_dash(port.driver.as_ref()))?;
    field(out, "state", word(&port.state))?;
    if let Some(problem) = &port.problem {
        field(out, "problem", problem)?;
    }
    field(out, "link", word(&port.link))?;
    if let Some(speed) = port.speed_mbps {
        field(out, "speed", format!("{speed} Mbit/s"))?;
    }
    field(out, "MAC", port.mac)?;
    field(out, "peer's MAC", or_dash(port.peer_mac))?;
    field(out, "MTU", port.mtu)?;
    field(out, "promiscuous", on_off(port.promiscuous))?;
    field(out, "rx queues", queues(&port.rx_queues))?;
    field(out, "tx queues", port.tx_queues)?;
    if let Some(netns) = &port.netns {
        field(out, "namespace", netns)?;
    }
    if !port.addresses.is_empty() {
        field(out, "addresses", joined(&port.addresses))?;
    }
    if !port.gateway.is_empty() {
        field(out, "gateway", joined(&port.gateway))?;
    }
    if let Some(adapter) = &port.adapter {
        field(out, "adapter", adapter)?;
    }
    if let Some(network) = &port.network {
        field(out, "network", network)?;
    }
    Ok(())
}

/// Counters of one port, and the rate since they were shown last.
pub(super) fn stats(out: &mut Out<'_>, stats: PortStats, rates: &mut Rates) -> io::Result<()> {
    let device = stats.device.clone().unwrap_or_default();
    let rows = [
        [
            ("RX-packets", stats.rx_pkts),
            ("RX-missed", device.rx_missed),
            ("RX-bytes", stats.rx_bytes),
        ],
        [
            ("RX-errors", device.rx_errors),
            ("RX-nombuf", device.rx_nombuf),
            ("RX-dropped", stats.dropped),
        ],
        [
            ("TX-packets", stats.tx_pkts),
            ("TX-errors", device.tx_errors),
            ("TX-bytes", stats.tx_bytes),
        ],
        [
            ("Forwarded", stats.forwarded),
            ("Consumed", stats.consumed),
            ("Generated", stats.generated),
        ],
    ];
    writeln!(out, "port {}", stats.port)?;
    for row in rows {
        let cells = row.map(|(name, value)| format!("{:<11} {value:<15}", format!("{name}:")));
        writeln!(out, "  {}", cells.join(" ").trim_end())?;
    }
    let row = [("Copies", stats.copies), ("Segmented", stats.segmented)];
    let cells = row.map(|(name, value)| format!("{:<11} {value:<15}", format!("{name}:")));
    writeln!(out, "  {}", cells.join(" ").trim_end())?;
    for (reason, count) in &stats.drops {
        writeln!(out, "  dropped {reason}: {count}")?;
    }
    if let Some(before) = rates.0.get(&stats.port) {
        throughput(out, before, &stats)?;
    }
    rates.0.insert(stats.port.clone(), stats);
    Ok(())
}

fn throughput(out: &mut dyn Write, before: &PortStats, now: &PortStats) -> io::Result<()> {
    let elapsed_ms = u128::from(now.read_at_ms.saturating_sub(before.read_at_ms).max(1));
    // Counters cleared in between count from 0 again: no rate below 0.
    let per_second = |before: u64, now: u64, scale: u128| {
        u128::from(now.saturating_sub(before)) * scale * 1000 / elapsed_ms
    };
    writeln!(out, "  since the last look, {elapsed_ms} ms ago:")?;
    for (name, pkts, bytes) in [
        ("Rx", (before.rx_pkts, now.rx_pkts), (before.rx_bytes, now.rx_bytes)),
        ("Tx", (before.tx_pkts, now.tx_pkts), (before.tx_bytes, now.tx_bytes)),
    ] {
        let (pps, bps) = (per_second(pkts.0, pkts.1, 1), per_second(bytes.0, bytes.1, 8));
        writeln!(out, "  {name}-pps: {pps:<15} {name}-bps: {bps}")?;
    }
    Ok(())
}

/// Extended statistics of one port; zeros too, as the driver has them.
pub(super) fn xstats(out: &mut Out<'_>, xstats: &PortXstats) -> io::Result<()> {
    writeln!(out, "port {}", xstats.port)?;
    for one in &xstats.xstats {
        writeln!(out, "  {}: {}", one.name, one.value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::view::{Link, PortKind, PortState};

    #[test]
    fn why_a_port_failed_stands_below_the_table() {
        let port = |name: &str, problem: Option<&str>| PortInfo {
            port: name.parse().unwrap(),
            id: problem.is_none().then_some(7),
            kind: PortKind::Uplink,
            device: "net_tap0,iface=up0".into(),
            driver: None,
            state: if problem.is_some() { PortState::Failed } else { PortState::Started },
            problem: problem.map(str::to_owned),
            link: Link::Down,
            speed_mbps: None,
            mac: "02:00:00:00:00:10".parse().unwrap(),
            peer_mac: None,
            mtu: 1500,
            promiscuous: false,
            rx_queues: vec![],
            tx_queues: 0,
            netns: None,
            addresses: vec![],
            gateway: vec![],
            adapter: None,
            network: None,
        };
        let mut out = Vec::new();
        list(&mut Out::new(&mut out), &[port("up0", None), port("up1", Some("no such device"))])
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("\nport up1: no such device\n"), "{text}");
        let failed: Vec<&str> =
            text.lines().nth(2).unwrap_or_default().split_whitespace().take(2).collect();
        assert_eq!(failed, ["up1", "-"], "{text}");
    }
}
