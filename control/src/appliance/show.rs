//! Answers to `show`: what is wanted, from the registry; what is in force, from the publisher; what is
//! counted, from the workers.

mod front_end;
mod guest;
mod metrics;
mod network;
mod page;
mod port;
mod program;
mod route;

use super::Appliance;
use crate::api::backend::{Answer, Refusal, RefusalKind, Show};
use crate::api::view::DropCounts;
use dataplane::counters::DropReason;
use std::fmt::Display;

impl Appliance {
    pub(super) fn show(&mut self, show: Show) -> Result<Answer, Refusal> {
        Ok(match show {
            Show::Version => Answer::Version(self.version()),
            Show::Guests(name) => Answer::Guests(self.guests(name.as_ref())?),
            Show::Networks(name) => Answer::Networks(self.networks(name.as_ref())?),
            Show::PortInfo(port) => Answer::PortInfo(self.port_info(port.as_ref())?),
            Show::PortStats(port) => Answer::PortStats(self.port_stats(port.as_ref())?),
            Show::PortXstats(port) => Answer::PortXstats(self.port_xstats(port.as_ref())?),
            Show::Routes { after, limit } => Answer::Routes(self.routes(after, limit)),
            Show::RouteTo(ip) => Answer::RouteDecision(Box::new(self.route_to(ip)?)),
            Show::Neighbors => Answer::Neighbors(self.neighbor_views()),
            Show::Macs(network) => Answer::Macs(self.macs(&network)?),
            Show::Workers => Answer::Workers(self.worker_views()?),
            Show::Drops(guest) => Answer::Drops(self.drops(guest.as_ref())?),
            Show::Config => Answer::ConfigText(self.config_text()),
            Show::ConfigDiff => Answer::ConfigDiff(self.config_diff()?),
            Show::Events { after, limit } => {
                Answer::Events(self.events.borrow().after(after, limit))
            }
            Show::Accounting(guest) => Answer::Accounts(self.account_views(guest.as_ref())?),
            Show::Classes(name) => Answer::Classes(self.classes(name.as_ref())?),
            Show::Capture => Answer::Captures(self.capture_views()),
            Show::Trace(number) => Answer::Trace(self.traced(number)?),
            Show::Latency => Answer::Latency(self.latency()),
            Show::Metrics => Answer::Metrics(Box::new(self.reading())),
            Show::Picture => Answer::Picture(Box::new(self.picture()?)),
        })
    }
}

/// What is asked for by a name that is not there.
pub(super) fn absent(what: &str, name: impl Display, list: &str) -> Refusal {
    Refusal::new(RefusalKind::NotFound, format!("no {what} {name}; see `{list}`"))
}

/// Drops by reason, zeros left out.
fn drop_counts(of: impl Fn(DropReason) -> u64) -> DropCounts {
    let counts = DropReason::ALL.iter().copied().map(|reason| (reason, of(reason)));
    let counts = counts.filter(|(_, count)| *count > 0);
    counts.map(|(reason, count)| (reason.name().to_owned(), count)).collect()
}
