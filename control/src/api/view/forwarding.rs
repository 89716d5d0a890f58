//! Routes and neighbors.

use super::{AdapterLabel, PortLabel};
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// Some of the routes, in order of prefix.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RoutePage {
    /// The routes.
    pub routes: Vec<Route>,
    /// There are more: ask again with `after` set to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next: Option<IpNet>,
}

/// One route.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// Destinations that it is for.
    #[schema(value_type = String, example = "203.0.113.64/26")]
    pub prefix: IpNet,
    /// Where it leads.
    pub to: RouteTarget,
    /// The port that it resolves to; absent while it resolves to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortLabel>,
    /// Who asked for it.
    pub source: RouteSource,
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteTarget {
    /// To a next hop.
    Via(IpAddr),
    /// On-link on a port.
    Dev(PortLabel),
    /// To a guest's adapter.
    Adapter(AdapterLabel),
    /// To the appliance itself: an uplink's or a gateway address.
    Local,
    /// Nowhere: dropped and counted.
    Blackhole,
}

/// Who asked for a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteSource {
    /// A registered adapter's address.
    Guest,
    /// An uplink's prefix, or an address of our own.
    Connected,
    /// An uplink's gateway.
    Default,
    /// The operator (`route add`, the file).
    Static,
}

/// Which entry decides for one destination, and what becomes of the packet.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RouteDecision {
    /// The destination asked about.
    #[schema(value_type = String, example = "203.0.113.65")]
    pub ip: IpAddr,
    /// The route that decides; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// The port that the packet leaves by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortLabel>,
    /// The adapter that gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterLabel>,
    /// The address resolved on that port: the next hop, or the destination on-link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next_hop: Option<IpAddr>,
    /// Destination MAC that the packet gets, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mac: Option<MacAddr>,
    /// State of that neighbor, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbor: Option<NeighborState>,
    /// What becomes of the packet now.
    pub verdict: Verdict,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Sent.
    Forward,
    /// Held until the next hop answers.
    Resolve,
    /// For the appliance itself.
    Local,
    /// No route: dropped, with an ICMP error.
    NoRoute,
    /// The next hop does not answer: dropped, with an ICMP error.
    HostUnreachable,
}

/// An IP address and the MAC that it has on a port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Neighbor {
    /// The address.
    #[schema(value_type = String, example = "192.0.2.254")]
    pub ip: IpAddr,
    /// Its MAC, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mac: Option<MacAddr>,
    /// The port that it is on.
    pub port: PortLabel,
    /// How far we trust it.
    pub state: NeighborState,
    /// Packets held for it.
    pub held: u32,
}

/// How far a neighbor is trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NeighborState {
    /// The operator's, or a registered adapter's: never asked.
    Static,
    /// Asked for the first time, no answer yet.
    Resolving,
    /// Answered lately.
    Reachable,
    /// Being asked again; used meanwhile.
    Probing,
    /// Did not answer.
    Failed,
}
