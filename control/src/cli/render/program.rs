//! The program itself.

use super::{Out, align_right, joined, on_off, or_dash, print, table};
use crate::api::view::{Account, Class, ConfigDiff, Configured, Drops, EventPage, Version, Worker};
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

/// Queues of a worker that are named: hundreds of guests would fill the terminal.
const QUEUES_SHOWN: usize = 6;

/// What runs.
pub(super) fn version(out: &mut dyn Write, version: &Version) -> io::Result<()> {
    writeln!(
        out,
        "guestway {}, DPDK {}, pid {}, up {} s, forwarding {}, {} of {} mbufs free",
        version.version,
        // The library calls itself "DPDK 22.11.11".
        or_dash(version.dpdk.as_ref().map(|dpdk| dpdk.trim_start_matches("DPDK "))),
        version.pid,
        version.uptime_s,
        on_off(version.forwarding),
        version.mbufs_free,
        version.mbufs
    )
}

/// Workers, one line each.
pub(super) fn workers(out: &mut Out<'_>, workers: &[Worker]) -> io::Result<()> {
    let mut shown = table(&[
        "CORE", "QUEUES", "RX", "TX", "LOOPS", "BUSY", "P50 ns", "P99 ns", "MAX ns", "LATE",
    ]);
    align_right(&mut shown, [0, 2, 3, 4, 5, 6, 7, 8, 9]);
    for worker in workers {
        let queues = worker.queues.iter().map(|one| format!("{} q{}", one.port, one.queue));
        let more = worker.queues.len().saturating_sub(QUEUES_SHOWN);
        let more = (more > 0).then(|| format!("{more} more (show port info all)"));
        shown.add_row([
            worker.core.to_string(),
            joined(queues.take(QUEUES_SHOWN).chain(more)),
            worker.rx_pkts.to_string(),
            worker.tx_pkts.to_string(),
            worker.loops.to_string(),
            format!("{:.1}%", worker.busy_percent),
            worker.loop_time.p50_ns.to_string(),
            worker.loop_time.p99_ns.to_string(),
            worker.loop_time.max_ns.to_string(),
            match worker.late {
                true => format!("{} (now)", worker.late_beats),
                false => worker.late_beats.to_string(),
            },
        ]);
    }
    print(out, shown, "no workers")?;
    super::sight::cycles(out, workers)
}

/// Drops in all and by adapter.
pub(super) fn drops(out: &mut Out<'_>, drops: &Drops) -> io::Result<()> {
    writeln!(out, "dropped: {}", drops.dropped)?;
    if drops.dropped > 0 {
        super::drops(out, &drops.drops)?;
    }
    if drops.adapters.is_empty() {
        return Ok(());
    }
    let mut shown = table(&["ADAPTER", "DROPPED", "REASONS"]);
    align_right(&mut shown, [1]);
    for one in &drops.adapters {
        let reasons = one.drops.iter().map(|(reason, count)| format!("{reason} {count}"));
        shown.add_row([one.adapter.to_string(), one.dropped.to_string(), joined(reasons)]);
    }
    print(out, shown, "")
}

/// Classes, one line each.
pub(super) fn classes(out: &mut Out<'_>, classes: &[Class]) -> io::Result<()> {
    let mut shown = table(&["CLASS", "PREFIXES"]);
    for class in classes {
        shown.add_row([class.class.to_string(), joined(&class.prefixes)]);
    }
    print(out, shown, "no classes")
}

/// Traffic, one line for each adapter and class.
pub(super) fn accounts(out: &mut Out<'_>, accounts: &[Account]) -> io::Result<()> {
    let mut shown =
        table(&["ADAPTER", "CLASS", "IN packets", "IN bytes", "OUT packets", "OUT bytes"]);
    align_right(&mut shown, [2, 3, 4, 5]);
    for one in accounts {
        shown.add_row([
            one.adapter.to_string(),
            one.class.clone(),
            one.in_pkts.to_string(),
            one.in_bytes.to_string(),
            one.out_pkts.to_string(),
            one.out_bytes.to_string(),
        ]);
    }
    print(out, shown, "no adapters")
}

/// How what runs differs from the file.
pub(super) fn config_diff(out: &mut dyn Write, diff: &ConfigDiff) -> io::Result<()> {
    if diff.same {
        return writeln!(out, "the same as {}", diff.file);
    }
    writeln!(out, "- only running, + only in {}, ~ differs:", diff.file)?;
    diff.lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// What bringing the file and what runs together did.
pub(crate) fn configured(out: &mut dyn Write, done: &Configured) -> io::Result<()> {
    done.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    match (done.lines.len(), done.dry_run) {
        (0, _) => writeln!(out, "no change")?,
        (1, true) => writeln!(out, "1 change would be made")?,
        (1, false) => writeln!(out, "1 change made")?,
        (count, true) => writeln!(out, "{count} changes would be made")?,
        (count, false) => writeln!(out, "{count} changes made")?,
    }
    if !done.at_start.is_empty() {
        writeln!(out, "not before the next start:")?;
    }
    done.at_start.iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Events, one line each.
pub(crate) fn events(out: &mut dyn Write, page: &EventPage) -> io::Result<()> {
    if page.missed > 0 {
        writeln!(out, "({} events before these were not kept)", page.missed)?;
    }
    page.events.iter().try_for_each(|event| {
        let at = UNIX_EPOCH + Duration::from_millis(event.time_ms);
        let (at, kind) = (humantime::format_rfc3339_millis(at), super::word(&event.kind));
        writeln!(out, "{at} {kind}: {}", event.text)
    })
}
