//! Routes, neighbors and MACs.

use super::{Out, align_right, field, or_dash, print, table, word};
use crate::api::view::{MacEntry, Neighbor, Route, RouteDecision, RouteTarget};
use std::io::{self, Write};

fn target(to: &RouteTarget) -> String {
    match to {
        RouteTarget::Via(ip) => format!("via {ip}"),
        RouteTarget::Dev(port) => format!("dev {port}"),
        RouteTarget::Adapter(adapter) => format!("adapter {adapter}"),
        RouteTarget::Local => "local".into(),
        RouteTarget::Blackhole => "blackhole".into(),
    }
}

fn route_line(route: &Route) -> String {
    let port = or_dash(route.port.as_ref());
    format!("{} {} port {port} source {}", route.prefix, target(&route.to), word(&route.source))
}

/// A page of routes, one line each: pages make one list, so columns don't depend on their widths.
pub(in crate::cli) fn routes(
    out: &mut dyn Write,
    routes: &[Route],
    is_first: bool,
) -> io::Result<()> {
    if is_first && routes.is_empty() {
        return writeln!(out, "no routes");
    }
    routes.iter().try_for_each(|route| writeln!(out, "{}", route_line(route)))
}

/// What becomes of packets to one destination.
pub(super) fn decision(out: &mut dyn Write, decision: &RouteDecision) -> io::Result<()> {
    writeln!(out, "{}: {}", decision.ip, word(&decision.verdict))?;
    field(out, "route", decision.route.as_ref().map_or_else(|| "none".into(), route_line))?;
    field(out, "port", or_dash(decision.port.as_ref()))?;
    if let Some(adapter) = &decision.adapter {
        field(out, "adapter", adapter)?;
    }
    if let Some(next_hop) = decision.next_hop {
        field(out, "next hop", next_hop)?;
    }
    field(out, "MAC", or_dash(decision.mac))?;
    if let Some(neighbor) = decision.neighbor {
        field(out, "neighbor", word(&neighbor))?;
    }
    Ok(())
}

/// Neighbors, one line each.
pub(in crate::cli) fn neighbors(out: &mut Out<'_>, neighbors: &[Neighbor]) -> io::Result<()> {
    let mut shown = table(&["IP", "MAC", "PORT", "STATE", "HELD"]);
    align_right(&mut shown, [4]);
    for neighbor in neighbors {
        shown.add_row([
            neighbor.ip.to_string(),
            or_dash(neighbor.mac),
            neighbor.port.to_string(),
            word(&neighbor.state),
            neighbor.held.to_string(),
        ]);
    }
    print(out, shown, "no neighbors")
}

/// MACs of a network, one line each.
pub(super) fn macs(out: &mut Out<'_>, macs: &[MacEntry]) -> io::Result<()> {
    let mut shown = table(&["MAC", "PORT", "ADAPTER", "KIND", "AGE"]);
    align_right(&mut shown, [4]);
    for entry in macs {
        shown.add_row([
            entry.mac.to_string(),
            entry.port.to_string(),
            or_dash(entry.adapter.as_ref()),
            word(&entry.kind),
            or_dash(entry.age_s),
        ]);
    }
    print(out, shown, "no MACs")
}
