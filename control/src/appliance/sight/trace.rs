//! `trace`: the way of the next packets of a guest, a port or an adapter.

use crate::api::backend::{Refusal, RefusalKind, TraceStart};
use crate::api::view::{AdapterLabel, Direction, PortLabel, Trace, TracedPacket};
use crate::appliance::Appliance;
use crate::trace::{Names, explain};
use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use dataplane::ids::{AdapterId, NetworkId, PortId};
use dataplane::sight::trace::{Records, Selection, TARGETS_MAX, Target, Tracer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A trace, under way or done.
#[derive(Default)]
pub(super) struct Tracing {
    /// How many there have been: who asks for another one's packets is told.
    number: u64,
    /// When it ends at the latest, and what it has, while it is under way.
    current: Option<(Instant, Records)>,
    target: String,
    packets: Vec<TracedPacket>,
}

impl Appliance {
    /// Begins to trace; its number.
    pub(in crate::appliance) fn start_trace(&mut self, start: &TraceStart) -> Result<u64, Refusal> {
        if self.sight.trace.current.is_some() {
            let message = format!("a trace of {} is running; try again", self.sight.trace.target);
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        let targets = self.trace_targets(&start.target)?;
        let records: Records = Arc::new(ArrayQueue::new(start.count.max(1)));
        let selection = Selection {
            targets,
            received: start.direction != Direction::Tx,
            sent: start.direction != Direction::Rx,
            filter: start.filter.as_ref().map(|filter| filter.program.clone()),
        };
        let lent = self
            .publisher
            .workers
            .lend_tracers(|worker| Tracer::new(selection.clone(), records.clone(), worker));
        lent.map_err(|silent| Refusal::new(RefusalKind::Internal, silent.to_string()))?;
        let until = Instant::now() + Duration::from_secs(start.seconds);
        self.sight.trace = Tracing {
            number: self.sight.trace.number + 1,
            current: Some((until, records)),
            target: start.target.to_string(),
            packets: Vec::new(),
        };
        Ok(self.sight.trace.number)
    }

    /// Ends a trace that has enough, or whose time is over.
    pub(super) fn tick_trace(&mut self) {
        let is_over = |(until, records): &mut (Instant, Records)| {
            records.is_full() || Instant::now() >= *until
        };
        let Some((_, records)) = self.sight.trace.current.take_if(is_over) else { return };
        let beats = &self.beats;
        if let Err(silent) = self.publisher.workers.take_tracers(|at| !beats.is_late(at)) {
            self.event(&format!("trace: {silent}"));
        }
        let told = std::iter::from_fn(|| records.pop()).map(|record| explain(&record, &*self));
        let packets = told.collect();
        self.sight.trace.packets = packets;
    }

    /// What the trace of this number has brought.
    pub(in crate::appliance) fn traced(&self, number: u64) -> Result<Trace, Refusal> {
        let trace = &self.sight.trace;
        if number != trace.number {
            let message = format!("another trace, of {}, was started meanwhile", trace.target);
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        let tracing = trace.current.is_some();
        Ok(Trace { target: trace.target.clone(), tracing, packets: trace.packets.clone() })
    }

    /// A port, an adapter, or all adapters of a guest.
    fn trace_targets(&self, target: &PortLabel) -> Result<ArrayVec<Target, TARGETS_MAX>, Refusal> {
        let guest = match target {
            PortLabel::Named(name) => self.registry.guest(name).filter(|_| {
                // A port of that name is meant first.
                self.publisher.port(target).is_none()
            }),
            _ => None,
        };
        let labels: Vec<PortLabel> = match guest {
            None => vec![target.clone()],
            Some(guest) => {
                let adapters = self.registry.adapters().filter(|one| one.guest == guest.name);
                let label = |guest, adapter| PortLabel::Adapter(AdapterLabel { guest, adapter });
                adapters.map(|one| label(one.guest.clone(), one.name.clone())).collect()
            }
        };
        if labels.is_empty() || labels.len() > TARGETS_MAX {
            let message = format!(
                "guest {target} has {} adapters: want 1 to {TARGETS_MAX}, or name one: {target}/ADAPTER",
                labels.len()
            );
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        let target = |label: &PortLabel| {
            let watched = self.watched(label)?;
            Ok(Target { port: watched.port, adapter: watched.shared_by })
        };
        labels.iter().map(target).collect()
    }
}

impl Names for Appliance {
    fn port(&self, port: PortId) -> String {
        match self.publisher.label(port) {
            Some(label) => label.to_string(),
            None => format!("port {} that has gone", port.0),
        }
    }

    fn adapter(&self, adapter: AdapterId) -> Option<String> {
        match adapter {
            AdapterId::NONE => None,
            AdapterId::SERVER => Some("the server".to_owned()),
            other => self
                .publisher
                .adapter_key(other)
                .map(|key| format!("{}/{}", key.guest, key.adapter)),
        }
    }

    fn network(&self, network: NetworkId) -> String {
        let name = self.publisher.network_name(network);
        name.map_or_else(|| format!("number {}", network.0), ToString::to_string)
    }

    fn core(&self, worker: usize) -> usize {
        self.publisher.workers.ends().get(worker).map_or(0, |end| end.core)
    }
}
