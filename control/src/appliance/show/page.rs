//! What the page draws, read at one time.

use super::drop_counts;
use crate::api::backend::Refusal;
use crate::api::view::PortLabel;
use crate::appliance::Appliance;
use crate::page::Picture;
use std::time::{Duration, Instant};

impl Appliance {
    pub(super) fn picture(&self) -> Result<Picture, Refusal> {
        let began = Instant::now();
        // Guests' own ports are told by their adapters.
        let is_the_hosts = |label: &PortLabel| !matches!(label, PortLabel::Adapter(_));
        let in_all = self.counts_of_all_ports();
        let guests = self.registry.guests();
        let stopped = self.devices.iter().filter(|(_, device)| device.paused.is_some());
        let mut picture = Picture {
            read_at_ns: nanoseconds(began.duration_since(self.started)),
            control_held_ns: 0,
            program: self.version(),
            guests: guests.map(|guest| self.guest(guest, |a| self.adapter_brief(a))).collect(),
            networks: self.networks(None)?,
            ports: self.port_infos(is_the_hosts),
            port_stats: self.port_stats_of(is_the_hosts),
            stopped: stopped.map(|(label, _)| label.clone()).collect(),
            problems: self.failed.iter().map(|(port, at)| (port.clone(), at.why.clone())).collect(),
            dropped: in_all.drops_total(),
            drops: drop_counts(|reason| in_all.drops(reason)),
        };
        picture.control_held_ns = nanoseconds(began.elapsed());
        Ok(picture)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
