//! Sight into the path, on request: what is lent to the workers, until when, and what came of it.
//!
//! A request starts it and is answered at once; the API asks again until it is done, or reads what the workers
//! write. Time ends it even where nobody asks any more.

mod capture;
mod latency;
mod trace;

use super::Appliance;
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::{AdapterLabel, PortLabel};
use crate::appliance::show::absent;
use crate::publish::port_label;
use crate::registry::AdapterKey;
use dataplane::ids::{AdapterId, PortId};

/// What is under way or was asked for last.
#[derive(Default)]
pub(super) struct Sight {
    latency: latency::Measuring,
    capture: capture::Capturing,
    trace: trace::Tracing,
}

/// A port or an adapter, by the workers' numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Watched {
    port: PortId,
    /// The adapter, where it shares the port with others.
    shared_by: Option<AdapterId>,
}

impl Appliance {
    /// Ends what has lasted long enough.
    pub(super) fn tick_sight(&mut self) {
        self.tick_latency();
        self.tick_capture();
        self.tick_trace();
    }

    /// Gives back what readers wait for: there will be no more.
    pub(super) fn end_sight(&mut self) {
        // There may be none.
        let _ = self.stop_capture(None);
    }

    /// The numbers of what an operator named.
    fn watched(&self, target: &PortLabel) -> Result<Watched, Refusal> {
        let label = match target {
            PortLabel::Adapter(AdapterLabel { guest, adapter }) => {
                let key = AdapterKey { guest: guest.clone(), adapter: adapter.clone() };
                let adapter = self.registry.adapter_by_key(&key);
                let adapter = adapter.ok_or_else(|| absent("adapter", target, "show guest all"))?;
                if let Some((port, shared_by)) = self.publisher.adapter_place(adapter) {
                    return Ok(Watched { port, shared_by });
                }
                port_label(adapter)
            }
            other => other.clone(),
        };
        match self.publisher.port(&label) {
            // It shares this port, and what passes there is others' as long as it is not up.
            Some(_) if label != *target => {
                let message = format!("adapter {target} is not up; see `show guest`");
                Err(Refusal::new(RefusalKind::Conflict, message))
            }
            Some(entry) => Ok(Watched { port: entry.id, shared_by: None }),
            None if self.failed.contains_key(&label) => {
                let message = format!("port {label} is not open; see `show port info {label}`");
                Err(Refusal::new(RefusalKind::Conflict, message))
            }
            None => Err(absent("port", target, "show port info all")),
        }
    }
}
