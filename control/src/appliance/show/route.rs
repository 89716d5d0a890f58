//! Routes, decisions and neighbors.

use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::{
    Neighbor, NeighborState, Route, RouteDecision, RoutePage, RouteSource, RouteTarget, Verdict,
};
use crate::appliance::Appliance;
use crate::model::Via;
use crate::neighbor::{NeighborState as State, Target};
use crate::publish::{Entry, Prefix, Source};
use dataplane::ids::PortId;
use dataplane::table::{Adjacency, AdjacencyKind};
use dataplane::wire::ethernet::MacAddr;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};

impl Appliance {
    pub(super) fn routes(&self, after: Option<IpNet>, limit: usize) -> RoutePage {
        let after = after.and_then(|net| match net {
            IpNet::V4(net) => Some((u32::from(net.network()), net.prefix_len())),
            IpNet::V6(_) => None,
        });
        let mut rows = self.publisher.rib().iter_after(after);
        let routes: Vec<Route> = rows.by_ref().take(limit).map(|row| self.route(row)).collect();
        let next = rows.next().and(routes.last()).map(|route| route.prefix);
        RoutePage { routes, next }
    }

    pub(super) fn route_to(&self, ip: IpAddr) -> Result<RouteDecision, Refusal> {
        let IpAddr::V4(address) = ip else {
            let message = format!("{ip}: IPv6 is bridged in networks, not routed");
            return Err(Refusal::new(RefusalKind::Invalid, message));
        };
        let matched = self.publisher.rib().best_match(address.into());
        let way = matched.and_then(|(_, entry)| self.publisher.way(entry.adjacency));
        let mut decision = RouteDecision {
            ip,
            route: matched.map(|row| self.route(row)),
            port: None,
            adapter: None,
            next_hop: None,
            mac: None,
            neighbor: None,
            verdict: Verdict::NoRoute,
        };
        let Some(way) = way else { return Ok(decision) };
        decision.verdict = verdict(&way);
        decision.port = self.publisher.label(way.port).cloned();
        decision.adapter = self.adapter_label(way.adapter);
        decision.mac = (way.destination != MacAddr::ZERO).then_some(way.destination);
        let next_hop = match (way.kind, way.next_hop) {
            (AdjacencyKind::Glean, _) => Some(address),
            (_, 0) => None,
            (_, hop) => Some(Ipv4Addr::from(hop)),
        };
        decision.next_hop = next_hop.map(IpAddr::V4);
        decision.neighbor = next_hop.and_then(|ip| {
            let port = self.publisher.connected_port(ip).unwrap_or(way.port);
            self.neighbors.state(Target { port, ip }).map(|state| state_of(&state))
        });
        Ok(decision)
    }

    pub(super) fn neighbor_views(&self) -> Vec<Neighbor> {
        let views = self.neighbors.entries().filter_map(|(target, state)| {
            Some(Neighbor {
                ip: IpAddr::V4(target.ip),
                mac: match state {
                    State::Reachable(at) | State::Probing(at) | State::Static(at) => Some(at.mac),
                    State::Incomplete | State::Failed => None,
                },
                port: self.publisher.label(target.port)?.clone(),
                state: state_of(&state),
                held: u32::try_from(self.neighbors.held_for(target)).unwrap_or(u32::MAX),
            })
        });
        views.collect()
    }

    fn route(&self, ((address, len), entry): (Prefix, Entry)) -> Route {
        let address = Ipv4Addr::from(address);
        let prefix = IpNet::V4(Ipv4Net::new(address, len).unwrap_or_default());
        let way = self.publisher.way(entry.adjacency);
        let port = way.map(|way| way.port).filter(|port| *port != PortId::NONE);
        let port = port.and_then(|port| self.publisher.label(port).cloned());
        let next_hop = way.map(|way| Ipv4Addr::from(way.next_hop)).map(IpAddr::V4);
        let dev = || port.clone().map_or(RouteTarget::Blackhole, RouteTarget::Dev);
        let via = || next_hop.map_or(RouteTarget::Blackhole, RouteTarget::Via);
        let (to, source) = match entry.source {
            Source::Local => match way.map(|way| way.kind) {
                Some(AdjacencyKind::Forward) => (dev(), RouteSource::Connected),
                _ => (RouteTarget::Local, RouteSource::Connected),
            },
            Source::Guest => {
                let adapter = way.and_then(|way| self.adapter_label(way.adapter));
                (adapter.map_or(RouteTarget::Blackhole, RouteTarget::Adapter), RouteSource::Guest)
            }
            Source::Connected => (dev(), RouteSource::Connected),
            Source::Default => (via(), RouteSource::Default),
            // In force before a route of the operator's to the same address on the wire.
            Source::Neighbor if self.registry.route(&prefix).is_some() => {
                (dev(), RouteSource::Static)
            }
            Source::Neighbor => (dev(), RouteSource::Connected),
            Source::Static | Source::OnLink => {
                let to = match self.registry.route(&prefix).map(|route| route.via) {
                    Some(Via::NextHop(hop)) => RouteTarget::Via(hop),
                    Some(Via::Dev(_)) | None => dev(),
                };
                (to, RouteSource::Static)
            }
        };
        Route { prefix, to, port, source }
    }
}

fn verdict(way: &Adjacency) -> Verdict {
    match way.kind {
        AdjacencyKind::Forward | AdjacencyKind::Bridge => Verdict::Forward,
        AdjacencyKind::Glean | AdjacencyKind::Incomplete => Verdict::Resolve,
        AdjacencyKind::Unreachable => Verdict::HostUnreachable,
        AdjacencyKind::Local => Verdict::Local,
        AdjacencyKind::Prohibit => Verdict::NoRoute,
    }
}

pub(super) fn state_of(state: &State) -> NeighborState {
    match state {
        State::Incomplete => NeighborState::Resolving,
        State::Reachable(_) => NeighborState::Reachable,
        State::Probing(_) => NeighborState::Probing,
        State::Failed => NeighborState::Failed,
        State::Static(_) => NeighborState::Static,
    }
}
