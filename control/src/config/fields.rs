//! Registered items as keys and values of the file: what `render` writes and what `diff` compares.

use super::{Appliance, Polling};
use crate::model::{
    Filter, GuestKind, MacTarget, Mode, Name, NetworkAttach, PortSpec, UnknownUnicast, Via,
};
use crate::registry::{
    Adapter, Class, DEFAULT_GATEWAY, DEFAULT_MTU, Limits, Neighbor, Network, Port, RateLimit,
    Registry, Route, ServerPort, StaticMac,
};
use std::collections::BTreeSet;
use std::fmt::Display;

/// One key of an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    /// As TOML.
    pub(super) value: String,
    /// Whether leaving it out says the same.
    pub(super) is_default: bool,
}

fn field(key: &'static str, value: impl Into<String>, is_default: bool) -> Field {
    Field { key, value: value.into(), is_default }
}

/// Keys of `[appliance]`.
pub(super) fn of_appliance(appliance: &Appliance) -> Vec<Field> {
    let cores: Vec<String> = appliance.workers.iter().map(ToString::to_string).collect();
    let polling = match appliance.polling {
        Polling::Busy => "busy",
        Polling::Adaptive => "adaptive",
    };
    let group = appliance.socket_group.as_ref().map(quoted);
    let metrics = appliance.metrics.map(quoted);
    let optional = |key, value: Option<String>| {
        let is_default = value.is_none();
        field(key, value.unwrap_or_else(|| "none".to_owned()), is_default)
    };
    vec![
        field("workers", format!("[{}]", cores.join(", ")), false),
        field("control_core", appliance.control_core.to_string(), false),
        field("mbufs", appliance.mbufs.to_string(), false),
        field("polling", quoted(polling), appliance.polling == Polling::Busy),
        field("socket", quoted(appliance.socket.display()), false),
        optional("socket_group", group),
        optional("metrics", metrics),
        optional("page", appliance.page.map(quoted)),
        field("state_dir", quoted(appliance.state_dir.display()), false),
        field("eal", list(&appliance.eal), appliance.eal.is_empty()),
    ]
}

/// A TOML basic string.
pub(super) fn quoted(text: impl Display) -> String {
    let mut out = String::from("\"");
    for c in text.to_string().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A TOML array of strings.
pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

pub(super) fn kind(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Container => "container",
        GuestKind::Vm => "vm",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::HostRouted => "host-routed",
        Mode::VirtualNetwork => "virtual-network",
    }
}

fn filter(filter: Filter) -> &'static str {
    match filter {
        Filter::Ip => "ip",
        Filter::Mac => "mac",
        Filter::Promisc => "promisc",
        Filter::Dhcp => "dhcp",
        Filter::Ra => "ra",
        Filter::Bpdu => "bpdu",
    }
}

fn policy(policy: UnknownUnicast) -> &'static str {
    match policy {
        UnknownUnicast::Uplink => "uplink",
        UnknownUnicast::Flood => "flood",
        UnknownUnicast::Drop => "drop",
    }
}

/// Keys of a `[[guest.adapter]]`, its name apart.
pub(super) fn of_adapter(adapter: &Adapter, registry: &Registry) -> Vec<Field> {
    let by_kind = match adapter.kind {
        GuestKind::Container => Mode::HostRouted,
        GuestKind::Vm => Mode::VirtualNetwork,
    };
    let is_shared = matches!(adapter.spec, PortSpec::Shared(_));
    let gateways: &[_] = if adapter.mode == Mode::HostRouted { &[DEFAULT_GATEWAY] } else { &[] };
    let every: BTreeSet<Filter> = all_filters();
    let host_mac = registry.gateway_mac();
    let mut fields = vec![
        field("port", quoted(&adapter.spec), false),
        field("mode", quoted(mode(adapter.mode)), adapter.mode == by_kind),
    ];
    if let Some(network) = &adapter.network {
        let is_default = network.as_str() == crate::registry::DEFAULT_NETWORK;
        fields.push(field("network", quoted(network), is_default));
    }
    fields.extend([
        field("addresses", list(&adapter.addresses), adapter.addresses.is_empty()),
        field("mac", quoted(adapter.mac), adapter.mac_generated || is_shared),
        field("host_mac", quoted(adapter.host_mac), adapter.host_mac == host_mac),
        field("gateway", list(&adapter.gateways), adapter.gateways == gateways),
        field("mtu", adapter.mtu.to_string(), adapter.mtu == DEFAULT_MTU || is_shared),
        field("filter", list(adapter.filter.iter().map(|f| filter(*f))), adapter.filter == every),
        field("announce", adapter.announce.to_string(), adapter.announce),
        field("probe", adapter.probe.to_string(), adapter.probe),
    ]);
    fields.extend(of_limits(&adapter.limits));
    fields
}

/// Limits that there are: a key that is left out says that there is none.
fn of_limits(limits: &Limits) -> impl Iterator<Item = Field> {
    let rate = Some(limits.rate).filter(|rate| !rate.is_none());
    let classes = limits.classes.iter().map(|(class, limit)| (key(class), ways(limit)));
    let classes = Some(&limits.classes).filter(|all| !all.is_empty()).map(|_| inline(classes));
    let rate = rate.map(|rate| field("rate", ways(&rate), false));
    let classes = classes.map(|value| field("class_rate", value, false));
    let storm = limits.storm_pps.map(|pps| field("storm", pps.to_string(), false));
    rate.into_iter().chain(classes).chain(storm)
}

/// A limit as a TOML table.
fn ways(limit: &RateLimit) -> String {
    let both = [("in", limit.in_bps), ("out", limit.out_bps)];
    inline(both.into_iter().filter_map(|(way, bps)| Some((way.to_owned(), bps?))))
}

/// A TOML inline table.
fn inline<T: Display>(entries: impl IntoIterator<Item = (String, T)>) -> String {
    let entries = entries.into_iter().map(|(key, value)| format!("{key} = {value}"));
    format!("{{ {} }}", entries.collect::<Vec<String>>().join(", "))
}

/// A name as a TOML key: bare unless it has a point.
fn key(name: &Name) -> String {
    if name.as_str().contains('.') { quoted(name) } else { name.to_string() }
}

fn all_filters() -> BTreeSet<Filter> {
    [Filter::Ip, Filter::Mac, Filter::Promisc, Filter::Dhcp, Filter::Ra, Filter::Bpdu].into()
}

/// Keys of a `[[network]]`, its name and server apart. `plain` is a network with nothing set.
pub(super) fn of_network(network: &Network, plain: &Network) -> Vec<Field> {
    let mut fields = Vec::new();
    if let NetworkAttach::Uplink { port, vlan } = &network.attach {
        fields.push(field("uplink", quoted(port), false));
        fields.extend(vlan.map(|vlan| field("vlan", vlan.to_string(), false)));
    }
    let unknown = network.unknown_unicast;
    let same = unknown == plain.unknown_unicast;
    fields.push(field("unknown_unicast", quoted(policy(unknown)), same));
    let learning = network.learning;
    fields.push(field("learning", learning.to_string(), learning == plain.learning));
    let isolated = network.isolated;
    fields.push(field("isolated", isolated.to_string(), isolated == plain.isolated));
    for (key, value, usual) in [
        ("max_macs", network.max_macs, plain.max_macs),
        ("max_macs_per_port", network.max_macs_per_port, plain.max_macs_per_port),
        ("age_s", network.age_s, plain.age_s),
    ] {
        fields.push(field(key, value.to_string(), value == usual));
    }
    fields
}

/// Keys of a `[network.server]`.
pub(super) fn of_server(server: &ServerPort) -> Vec<Field> {
    vec![
        field("port", quoted(&server.spec), false),
        field("addresses", list(&server.addresses), server.addresses.is_empty()),
        field("mac", quoted(server.mac), server.mac_generated),
    ]
}

/// Keys of a `[[mac]]`.
pub(super) fn of_static_mac(entry: &StaticMac) -> Vec<Field> {
    let mut fields = vec![
        field("network", quoted(&entry.network), false),
        field("mac", quoted(entry.mac), false),
    ];
    match &entry.to {
        MacTarget::Adapter { guest, adapter } => fields.extend([
            field("guest", quoted(guest), false),
            field("adapter", quoted(adapter), false),
        ]),
        MacTarget::Port(port) => fields.push(field("port", quoted(port), false)),
    }
    fields
}

/// Keys of a `[[neighbor]]`.
pub(super) fn of_neighbor(neighbor: &Neighbor) -> Vec<Field> {
    vec![
        field("ip", quoted(neighbor.ip), false),
        field("mac", quoted(neighbor.mac), false),
        field("dev", quoted(&neighbor.dev), false),
    ]
}

/// Keys of a `[[route]]`.
pub(super) fn of_route(route: &Route) -> Vec<Field> {
    let leads = match &route.via {
        Via::NextHop(ip) => field("via", quoted(ip), false),
        Via::Dev(port) => field("dev", quoted(port), false),
    };
    vec![field("prefix", quoted(route.prefix), false), leads]
}

/// Keys of a `[[class]]`.
pub(super) fn of_class(class: &Class) -> Vec<Field> {
    vec![field("name", quoted(&class.name), false), field("prefixes", list(&class.prefixes), false)]
}

/// Keys of an `[[uplink]]`, `[host]` or `[[port]]`, its name and role apart.
pub(super) fn of_port(port: &Port) -> Vec<Field> {
    let mac = port.mac.map_or_else(|| quoted("device"), quoted);
    let workers: Vec<String> =
        port.workers.iter().map_while(|core| *core).map(|c| c.to_string()).collect();
    let netns = port.netns.as_deref().unwrap_or_default();
    vec![
        field("device", quoted(&port.spec), false),
        field("netns", quoted(netns), netns.is_empty()),
        field("addresses", list(&port.addresses), port.addresses.is_empty()),
        field("gateway", list(&port.gateways), port.gateways.is_empty()),
        field("mac", mac, port.mac_generated),
        field("mtu", port.mtu.to_string(), port.mtu == DEFAULT_MTU),
        field("queues", port.queues.to_string(), usize::from(port.queues) == workers.len().max(1)),
        field("workers", format!("[{}]", workers.join(", ")), workers.is_empty()),
        field("probe", port.probe.to_string(), port.probe),
        field("configure", port.configure.to_string(), port.configure),
    ]
}
