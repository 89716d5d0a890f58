//! Sight into the path.

use super::{Out, align_right, or_dash, print, table, word};
use crate::api::view::{BurstSize, Capture, Latency, Trace, Worker};
use std::io::{self, Write};
use std::path::Path;

/// What workers' cycles go into, one line each.
pub(super) fn cycles(out: &mut Out<'_>, workers: &[Worker]) -> io::Result<()> {
    let Some(first) = workers.first() else { return Ok(()) };
    let size = |size: &BurstSize| match size.from == size.to {
        true => size.from.to_string(),
        false => format!("{}-{}", size.from, size.to),
    };
    let sizes: Vec<String> = first.bursts.iter().map(size).collect();
    let fixed = ["CORE", "BUSY cycles", "IDLE cycles", "ASLEEP", "CYCLES/packet"];
    let headings: Vec<&str> = fixed.into_iter().chain(sizes.iter().map(String::as_str)).collect();
    let mut shown = table(&headings);
    align_right(&mut shown, 0..headings.len());
    for worker in workers {
        let cycles = &worker.cycles;
        let per_packet = cycles.per_packet.map_or_else(|| "-".into(), |n| format!("{n:.0}"));
        let [busy, idle, asleep] =
            [cycles.busy, cycles.idle, cycles.asleep].map(|count| count.to_string());
        let fixed = [worker.core.to_string(), busy, idle, asleep, per_packet];
        let bursts = worker.bursts.iter().map(|size| size.bursts.to_string());
        shown.add_row(fixed.into_iter().chain(bursts));
    }
    let ghz = first.cycles.hz / 1_000_000;
    writeln!(
        out,
        "\nsince the start, at {ghz} MHz; to the right: bursts of so many packets received"
    )?;
    print(out, shown, "")
}

/// How long packets stayed, one line for each worker and way.
pub(super) fn latency(out: &mut Out<'_>, latency: &Latency) -> io::Result<()> {
    let mut shown = table(&[
        "CORE",
        "PATH",
        "PACKETS",
        "P50 ns",
        "P90 ns",
        "P99 ns",
        "P99.9 ns",
        "P99.99 ns",
        "MAX ns",
    ]);
    align_right(&mut shown, [0, 2, 3, 4, 5, 6, 7, 8]);
    for one in &latency.times {
        let times = [one.packets, one.p50_ns, one.p90_ns, one.p99_ns, one.p99_9_ns, one.p99_99_ns];
        let core = one.core.map_or_else(|| "all".into(), |core| core.to_string());
        let times = times.into_iter().chain([one.max_ns]).map(|number| number.to_string());
        shown.add_row([core, word(&one.path)].into_iter().chain(times));
    }
    print(out, shown, &format!("no packet left within {} s", latency.seconds))
}

/// The capture that runs or ran.
pub(super) fn captures(out: &mut Out<'_>, captures: &[Capture]) -> io::Result<()> {
    let mut shown =
        table(&["CAPTURE", "OF", "DIRECTION", "SNAPLEN", "PACKETS", "DROPPED", "FILTER"]);
    align_right(&mut shown, [3, 4, 5]);
    for one in captures {
        shown.add_row([
            if one.running { "running" } else { "ended" }.to_owned(),
            one.target.to_string(),
            word(&one.direction),
            one.snaplen.to_string(),
            one.packets.to_string(),
            one.dropped.to_string(),
            or_dash(one.filter.as_ref()),
        ]);
    }
    print(out, shown, "no capture")
}

/// What a capture brought.
pub(crate) fn captured(out: &mut dyn Write, done: &Capture, file: &Path) -> io::Result<()> {
    let Capture { packets, dropped, .. } = done;
    writeln!(
        out,
        "{packets} packets captured, {dropped} dropped by the capture, in {}",
        file.display()
    )
}

/// The way of packets, a paragraph each.
pub(crate) fn trace(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    if trace.packets.is_empty() {
        return writeln!(out, "no packet of {} within the time", trace.target);
    }
    for (number, one) in (1..).zip(&trace.packets) {
        let adapter = one.adapter.as_ref().filter(|adapter| **adapter != one.port);
        let adapter = adapter.map(|adapter| format!(", adapter {adapter}")).unwrap_or_default();
        let fate = word(&one.fate);
        writeln!(
            out,
            "packet {number}: {fate}, {} bytes by {}{adapter}, worker on core {}",
            one.bytes, one.port, one.core
        )?;
        writeln!(out, "  {}", one.packet)?;
        for step in &one.steps {
            writeln!(out, "  {:<9} {:<12} {}", step.stage, step.verdict, step.text)?;
        }
    }
    Ok(())
}
