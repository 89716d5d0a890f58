//! From a reading to the text that Prometheus takes (text format 0.0.4): every family with its help, its
//! type, and its labels.
//!
//! Names follow the field's rules: `guestway_`, then the thing, then what is counted, in base units; counters
//! end in `_total`, and nothing else does. Labels are `guest`, `adapter`, `mode` and `network` of an adapter,
//! `port` and `kind` of a port, `worker` (its core), `network`, and `reason` of a drop as `show drops` names
//! it. A reason that a port or an adapter has never had is left out; in all, each is there from the start.

mod adapters;
mod ports;

use super::page::{Page, Sample, count, flag, labels};
use super::reading::{NetworkReading, Program, Reading, WorkerReading};
use crate::api::view::NeighborState;
use crate::model::GuestKind;
use dataplane::counters::{DropReason, PortCounter, PortCounts};
use dataplane::worker::burst_sizes;
use prometheus::Result;

/// Writes a reading down.
///
/// # Errors
/// None that these families can cause; the type is the library's.
pub fn text(reading: &Reading) -> Result<String> {
    let mut page = Page::default();
    program(&mut page, &reading.program)?;
    page.gauge(
        "guestway_scrape_control_seconds",
        "What reading these metrics took of the control thread's time.",
        reading.took.as_secs_f64(),
    )?;
    workers(&mut page, &reading.workers)?;
    in_all(&mut page, &reading.in_all)?;
    ports::write(&mut page, &reading.ports)?;
    adapters::write(&mut page, &reading.adapters)?;
    networks(&mut page, &reading.networks)?;
    neighbors(&mut page, reading)?;
    Ok(page.into_text())
}

fn program(page: &mut Page, program: &Program) -> Result<()> {
    let version = &program.version;
    let dpdk = version.dpdk.as_deref().unwrap_or_default();
    let build = labels(&[("version", &version.version), ("dpdk", dpdk)]);
    page.gauges(
        "guestway_build_info",
        "Versions of guestway and of DPDK beneath it; always 1.",
        [(build, 1.0)],
    )?;
    let started = program.started.as_secs_f64();
    let about_start = "When guestway started, seconds since the Unix epoch.";
    page.gauge("guestway_start_time_seconds", about_start, started)?;
    let about_forwarding = "1 while forwarding is on, 0 after `stop`.";
    page.gauge("guestway_forwarding", about_forwarding, flag(version.forwarding))?;
    let about_mbufs = "Packet buffers in the pool.";
    page.gauge("guestway_mbufs", about_mbufs, version.mbufs.into())?;
    let about_free = "Packet buffers that nothing holds: no queue, ring, device or waiting packet.";
    page.gauge("guestway_mbufs_free", about_free, version.mbufs_free.into())?;
    let guests = program.guests.iter().map(|(kind, number)| {
        let kind = match kind {
            GuestKind::Container => "container",
            GuestKind::Vm => "vm",
        };
        (labels(&[("kind", kind)]), f64::from(*number))
    });
    page.gauges("guestway_guests", "Registered guests by kind.", guests)?;
    let about_routes = "Routes that the operator has added.";
    page.gauge("guestway_routes", about_routes, program.routes.into())?;
    page.gauge(
        "guestway_fib_groups_free",
        "Room in the routing table: /24s that may still get a prefix longer than that.",
        program.fib_groups_free.into(),
    )?;
    let about_macs = "Room in the MAC table, all networks together.";
    page.gauge("guestway_macs_free", about_macs, program.macs_free.into())
}

fn workers(page: &mut Page, workers: &[WorkerReading]) -> Result<()> {
    let each = |value: fn(&WorkerReading) -> f64| {
        workers
            .iter()
            .map(move |worker| (labels(&[("worker", &worker.core.to_string())]), value(worker)))
    };
    page.counters(
        "guestway_worker_loops_total",
        "Turns of a worker's loop; one that does not grow belongs to a worker that stands still.",
        each(|worker| count(worker.loops)),
    )?;
    page.counters(
        "guestway_worker_busy_loops_total",
        "Turns of a worker's loop that found at least one frame.",
        each(|worker| count(worker.busy_loops)),
    )?;
    page.counters(
        "guestway_worker_busy_seconds_total",
        "Time that a worker spent in turns that found at least one frame.",
        each(|worker| worker.busy.as_secs_f64()),
    )?;
    page.counters(
        "guestway_worker_run_seconds_total",
        "Time that a worker has run: it polls, so this is not its load; busy time over this is.",
        each(|worker| worker.ran.as_secs_f64()),
    )?;
    page.counters(
        "guestway_worker_sleep_seconds_total",
        "Of that, asleep because there was nothing to do; 0 where polling is not adaptive.",
        each(|worker| worker.slept.as_secs_f64()),
    )?;
    page.counters(
        "guestway_worker_receive_packets_total",
        "Frames that a worker took in.",
        each(|worker| count(worker.rx_pkts)),
    )?;
    page.counters(
        "guestway_worker_late_beats_total",
        "Times that a worker had not come round its loop for more than a second.",
        each(|worker| count(worker.late_beats)),
    )?;
    let bursts = workers.iter().flat_map(|worker| {
        let sizes = burst_sizes().into_iter().zip(worker.bursts);
        sizes.map(|((from, to), bursts)| {
            let packets = if from == to { from.to_string() } else { format!("{from}-{to}") };
            let labels = labels(&[("worker", &worker.core.to_string()), ("packets", &packets)]);
            (labels, count(bursts))
        })
    });
    page.counters(
        "guestway_worker_receive_bursts_total",
        "Bursts that receive queues gave to a worker, by how many packets each had.",
        bursts,
    )?;
    page.gauges(
        "guestway_worker_queues",
        "Receive queues that a worker polls.",
        each(|worker| worker.queues.into()),
    )
}

/// Of all ports, guests' own and those that have gone among them. The books: receive + generated + copied =
/// forwarded + drops + consumed.
fn in_all(page: &mut Page, counts: &PortCounts) -> Result<()> {
    for (name, help, counter) in [
        (
            "guestway_receive_packets_total",
            "Frames received by all ports, guests' among them.",
            PortCounter::RxPkts,
        ),
        (
            "guestway_receive_bytes_total",
            "Bytes received by all ports, without FCS.",
            PortCounter::RxBytes,
        ),
        ("guestway_transmit_packets_total", "Frames sent by all ports.", PortCounter::TxPkts),
        (
            "guestway_transmit_bytes_total",
            "Bytes sent by all ports, without FCS.",
            PortCounter::TxBytes,
        ),
        (
            "guestway_generated_packets_total",
            "Frames that the appliance made: ICMP errors, fragments, ARP.",
            PortCounter::Generated,
        ),
        ("guestway_copied_packets_total", "Copies made to flood frames.", PortCounter::Copies),
        (
            "guestway_forwarded_packets_total",
            "Frames received, made or copied that were sent.",
            PortCounter::Forwarded,
        ),
        (
            "guestway_consumed_packets_total",
            "Frames that ended on purpose: given to control, or sent in pieces.",
            PortCounter::Consumed,
        ),
        (
            "guestway_segmented_packets_total",
            "Of the consumed, long TCP segments cut because their way out could not.",
            PortCounter::Segmented,
        ),
    ] {
        page.counters(name, help, [(Vec::new(), count(counts.counter(counter)))])?;
    }
    let reasons = DropReason::ALL.iter().copied();
    page.counters(
        "guestway_drops_total",
        "Frames dropped by all ports, by reason.",
        reasons.map(|why| (labels(&[("reason", why.name())]), count(counts.drops(why)))),
    )
}

/// The reasons that something had, each with its count and the labels that `with` makes of it.
fn had(
    of: impl Fn(DropReason) -> u64,
    with: impl Fn(&'static str) -> Vec<prometheus::proto::LabelPair>,
) -> Vec<Sample> {
    let counted = DropReason::ALL.iter().copied().map(|reason| (reason, of(reason)));
    let had = counted.filter(|(_, number)| *number > 0);
    had.map(|(reason, number)| (with(reason.name()), count(number))).collect()
}

fn networks(page: &mut Page, networks: &[NetworkReading]) -> Result<()> {
    let each = |value: fn(&NetworkReading) -> u32| {
        networks.iter().map(move |network| {
            (labels(&[("network", network.network.as_str())]), f64::from(value(network)))
        })
    };
    page.gauges(
        "guestway_network_members",
        "Adapters on a virtual network.",
        each(|network| network.members),
    )?;
    page.gauges(
        "guestway_network_learned_macs",
        "MACs that a virtual network has learned.",
        each(|network| network.learned_macs),
    )?;
    page.gauges(
        "guestway_network_learned_macs_limit",
        "Most MACs that a virtual network learns (`max-macs`).",
        each(|network| network.max_macs),
    )
}

fn neighbors(page: &mut Page, reading: &Reading) -> Result<()> {
    let neighbors = reading.neighbors.iter().map(|((port, state), number)| {
        let state = match state {
            NeighborState::Static => "static",
            NeighborState::Resolving => "resolving",
            NeighborState::Reachable => "reachable",
            NeighborState::Probing => "probing",
            NeighborState::Failed => "failed",
        };
        (labels(&[("port", &port.to_string()), ("state", state)]), f64::from(*number))
    });
    page.gauges("guestway_neighbors", "Entries of the neighbor cache by state.", neighbors)?;
    page.gauge(
        "guestway_neighbor_held_packets",
        "Packets held until their next hop answers.",
        reading.program.held_pkts.into(),
    )
}
