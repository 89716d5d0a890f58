//! The way of a packet in words: what each stage decided, and by which table entry.

mod packet;

use crate::api::view::{Fate, TraceStep, TracedPacket};
use dataplane::counters::DropReason;
use dataplane::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use dataplane::pipeline::Verdict;
use dataplane::sight::trace::{Lookup, MacLookup, Record};
use dataplane::table::{Adjacency, AdjacencyKind};
use dataplane::wire::icmp::ErrorKind;
use std::net::Ipv4Addr;

/// What the workers' numbers are called.
pub trait Names {
    /// A port.
    fn port(&self, port: PortId) -> String;
    /// An adapter; none for [`AdapterId::NONE`].
    fn adapter(&self, adapter: AdapterId) -> Option<String>;
    /// A network.
    fn network(&self, network: NetworkId) -> String;
    /// A worker's core, by its position.
    fn core(&self, worker: usize) -> usize;
}

/// Puts a record into words.
pub fn explain(record: &Record, names: &dyn Names) -> TracedPacket {
    let story = Story { record, names };
    TracedPacket {
        core: names.core(record.worker),
        port: names.port(record.port),
        adapter: names.adapter(record.adapter),
        bytes: record.bytes,
        packet: packet::describe(&record.head),
        fate: story.fate(),
        steps: story.steps(),
    }
}

struct Story<'a> {
    record: &'a Record,
    names: &'a dyn Names,
}

impl Story<'_> {
    fn steps(&self) -> Vec<TraceStep> {
        let record = self.record;
        let mut steps = vec![step("classify", word(record.classified), self.classified())];
        if is_drop(record.classified) {
            steps.push(self.end());
            return steps;
        }
        if let Some([to, from]) = record.routes
            && let Some(ip) = record.ip
        {
            steps.push(self.fib("destination", ip.destination, to));
            steps.push(self.fib("source", ip.source, from));
        }
        steps.push(step("guard", guarded(record.guarded), self.guarded()));
        if is_drop(record.guarded) {
            steps.push(self.end());
            return steps;
        }
        if let Some(macs) = record.macs {
            steps.extend(self.macs(macs));
        }
        let stage = match (record.macs, record.guarded) {
            (Some(_), _) => Some("bridge"),
            (None, Verdict::Route) => Some("route"),
            _ => None,
        };
        if let Some(stage) = stage {
            steps.push(step(stage, word(record.decided), self.decided()));
        }
        if matches!(record.decided, Verdict::Send | Verdict::Fragment) {
            let text = packet::difference(&record.head, &record.rewritten_head);
            steps.push(step("rewrite", word(record.rewritten), text));
        }
        steps.push(self.end());
        steps
    }

    fn classified(&self) -> String {
        match self.record.classified {
            Verdict::Route => "IPv4 for the router".to_owned(),
            Verdict::Bridge(network) => format!("a frame of network {}", self.network(network)),
            Verdict::Arp(None) => "ARP for the appliance".to_owned(),
            Verdict::Arp(Some(network)) => {
                format!("ARP for the appliance, on network {}", self.network(network))
            }
            Verdict::ArpAndBridge(network) => {
                format!("ARP for the appliance and for all of network {}", self.network(network))
            }
            other => because(other),
        }
    }

    fn fib(&self, which: &str, address: u32, to: Lookup) -> TraceStep {
        let address = Ipv4Addr::from(address);
        let text = format!("{which} {address}: {}", self.entry(to));
        step("fib", kind(to.adjacency.kind), text)
    }

    /// An adjacency, as far as its kind has more to say.
    fn entry(&self, Lookup { id, adjacency }: Lookup) -> String {
        let mut text = match id {
            AdjacencyId::DEFAULT => format!("no route, {}", kind(adjacency.kind)),
            AdjacencyId(id) => format!("adjacency {id}, {}", kind(adjacency.kind)),
        };
        let Adjacency { port, destination, source, mtu, vlan, next_hop, .. } = adjacency;
        if port != PortId::NONE {
            text += &format!(" by {}", self.names.port(port));
        }
        if let Some(adapter) = self.names.adapter(adjacency.adapter) {
            text += &format!(", adapter {adapter}");
        }
        if adjacency.kind == AdjacencyKind::Forward {
            text += &format!(", {source} > {destination}");
        }
        if vlan != 0 {
            text += &format!(", VLAN {vlan}");
        }
        if matches!(adjacency.kind, AdjacencyKind::Forward | AdjacencyKind::Bridge) {
            text += &format!(", mtu {mtu}");
        }
        match adjacency.kind {
            AdjacencyKind::Incomplete | AdjacencyKind::Unreachable if next_hop != 0 => {
                text += &format!(", next hop {}", Ipv4Addr::from(next_hop));
            }
            _ => {}
        }
        text
    }

    fn guarded(&self) -> String {
        match self.record.guarded {
            Verdict::Drop(reason) => drop_text(reason),
            _ => match self.names.adapter(self.record.adapter) {
                Some(adapter) => format!("its source may be used by {adapter}"),
                None => "its source may come by this port".to_owned(),
            },
        }
    }

    fn macs(&self, macs: MacLookup) -> [TraceStep; 2] {
        let network = self.network(macs.network);
        let one = |which: &str, entry: Option<(Lookup, bool)>| match entry {
            Some((to, is_fixed)) => {
                let how = if is_fixed { "registered" } else { "learned" };
                let text = format!("{which} on {network}: {}", self.entry(to));
                step("mac", how, text)
            }
            None => step("mac", "unknown", format!("{which} on {network}: no entry")),
        };
        [one("destination", macs.destination), one("source", macs.source)]
    }

    fn decided(&self) -> String {
        let record = self.record;
        let by = || self.names.port(record.way.port);
        match record.decided {
            Verdict::Send => format!("by {}", by()),
            Verdict::Fragment => format!("by {} in pieces of {} bytes", by(), record.way.mtu),
            Verdict::Mirror(network) => {
                format!("to its receiver, and a copy to who sees all of {}", self.network(network))
            }
            Verdict::Flood(network) => format!("to all of network {}", self.network(network)),
            Verdict::FloodAndPunt(network) => {
                format!("to all of network {}, and a copy to control", self.network(network))
            }
            Verdict::Answer => "for an address of the appliance's own".to_owned(),
            Verdict::Resolve => "the next hop's MAC is not known yet".to_owned(),
            other => because(other),
        }
    }

    /// What became of it.
    fn end(&self) -> TraceStep {
        let outcome = &self.record.outcome;
        let mut parts = Vec::new();
        for (reason, count) in &outcome.drops {
            let times = if *count > 1 { format!(" ({count} frames)") } else { String::new() };
            parts.push(format!("{}{times}", reason.name()));
        }
        let fate = self.fate();
        if fate == Fate::Punted {
            parts.push(self.punted());
        }
        if outcome.copies > 0 {
            parts.push(match outcome.copies {
                1 => "1 copy made".to_owned(),
                copies => format!("{copies} copies made"),
            });
        }
        if outcome.generated > 0 {
            parts.push(match self.record.decided {
                Verdict::Error(..) => "the sender is told by ICMP".to_owned(),
                _ => format!("cut into {} frames", outcome.generated),
            });
        }
        if !outcome.ports.is_empty() {
            let names: Vec<String> =
                outcome.ports.iter().map(|port| self.names.port(*port)).collect();
            let queues = if names.len() == 1 { "queue" } else { "queues" };
            let names = names.join(", ");
            parts.push(match fate {
                Fate::HandedOver => format!("to the worker that sends by {names}"),
                _ => format!("to the transmit {queues} of {names}"),
            });
        }
        if parts.is_empty() {
            parts.push(
                "waits, for its time under a rate limit or for its transmit queue".to_owned(),
            );
        }
        let stage = if fate == Fate::Punted { "control" } else { "egress" };
        step(stage, crate::trace::fate(fate), parts.join("; "))
    }

    fn punted(&self) -> String {
        let record = self.record;
        match (record.decided, record.way.kind, record.way.next_hop) {
            (Verdict::Resolve, kind, next_hop) => {
                let asked = match (kind, next_hop, record.ip) {
                    (AdjacencyKind::Glean, _, Some(ip)) | (_, 0, Some(ip)) => ip.destination,
                    _ => next_hop,
                };
                let (asked, port) = (Ipv4Addr::from(asked), self.names.port(record.way.port));
                format!("control has it, and asks by ARP who has {asked} on {port}")
            }
            (Verdict::FloodAndPunt(_), ..) => "control has a copy and may answer".to_owned(),
            _ => "control has it, and answers where it should".to_owned(),
        }
    }

    fn fate(&self) -> Fate {
        let outcome = &self.record.outcome;
        let is_control = matches!(self.record.decided, Verdict::Arp(_) | Verdict::Resolve)
            || self.record.classified == self.record.guarded
                && matches!(self.record.guarded, Verdict::Arp(_));
        match self.record.decided {
            _ if is_control && outcome.consumed > 0 => Fate::Punted,
            Verdict::Error(..) => Fate::Dropped,
            Verdict::Answer if outcome.forwarded > 0 => Fate::Answered,
            _ if outcome.forwarded > 0 => Fate::Sent,
            _ if !outcome.drops.is_empty() => Fate::Dropped,
            _ if outcome.ports.is_empty() => Fate::Waiting,
            _ => Fate::HandedOver,
        }
    }

    fn network(&self, network: NetworkId) -> String {
        self.names.network(network)
    }
}

fn step(stage: &str, verdict: &str, text: String) -> TraceStep {
    TraceStep { stage: stage.to_owned(), verdict: verdict.to_owned(), text }
}

fn is_drop(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Drop(_))
}

fn guarded(verdict: Verdict) -> &'static str {
    if is_drop(verdict) { "drop" } else { "pass" }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Route => "route",
        Verdict::Bridge(_) => "bridge",
        Verdict::Arp(_) => "arp",
        Verdict::ArpAndBridge(_) => "arp-and-bridge",
        Verdict::Send => "send",
        Verdict::Fragment => "fragment",
        Verdict::Mirror(_) => "mirror",
        Verdict::Flood(_) => "flood",
        Verdict::FloodAndPunt(_) => "flood-and-punt",
        Verdict::Answer => "answer",
        Verdict::Resolve => "resolve",
        Verdict::Error(..) => "error",
        Verdict::Drop(_) => "drop",
    }
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Sent => "sent",
        Fate::HandedOver => "handed-over",
        Fate::Answered => "answered",
        Fate::Punted => "punted",
        Fate::Dropped => "dropped",
        Fate::Waiting => "waiting",
    }
}

fn kind(kind: AdjacencyKind) -> &'static str {
    match kind {
        AdjacencyKind::Forward => "forward",
        AdjacencyKind::Bridge => "bridge",
        AdjacencyKind::Glean => "glean",
        AdjacencyKind::Incomplete => "incomplete",
        AdjacencyKind::Unreachable => "unreachable",
        AdjacencyKind::Prohibit => "prohibit",
        AdjacencyKind::Local => "local",
    }
}

fn because(verdict: Verdict) -> String {
    match verdict {
        Verdict::Drop(reason) => drop_text(reason),
        Verdict::Error(kind, reason) => {
            let icmp = match kind {
                ErrorKind::TimeExceeded => "time exceeded",
                ErrorKind::NetUnreachable => "net unreachable",
                ErrorKind::HostUnreachable => "host unreachable",
                ErrorKind::FragmentationNeeded { .. } => "fragmentation needed",
                ErrorKind::Prohibited => "prohibited",
            };
            format!("{}: ICMP {icmp}", reason.name())
        }
        other => word(other).to_owned(),
    }
}

fn drop_text(reason: DropReason) -> String {
    reason.name().to_owned()
}

#[cfg(test)]
mod tests;
