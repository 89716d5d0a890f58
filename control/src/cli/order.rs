//! What each command orders: changes, a question to the API, or something of the client's own.

mod limits;
mod ports;

use super::capture::CaptureOrder;
use super::grammar::Values;
use super::grammar::kind::filters;
use crate::api::view::{Direction, PortLabel};
use crate::model::{
    AdapterWish, Change, GuestKind, Mode, Name, NetworkAttach, NetworkPatch, NetworkServer,
    UnknownUnicast, Via,
};
use dataplane::wire::ethernet::MacAddr;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;

pub(super) use ports::*;

/// What is to be done for one command.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Order {
    /// `POST /v1/batch`.
    Change(Vec<Change>),
    /// `POST` to this path.
    Act(String),
    /// `GET` this path and show it as this.
    Show(String, View),
    /// All pages of `GET /v1/routes`.
    ShowRoutes,
    /// Neighbors of IPv4.
    ShowArp,
    /// Starts or stops every port that the operator named.
    AllPorts {
        /// Started, or stopped.
        started: bool,
    },
    /// Another VLAN for a network; on which uplink, the running appliance tells.
    NetworkVlan {
        /// Network.
        network: Name,
        /// VLAN.
        vlan: u16,
        /// What else is set.
        set: NetworkPatch,
    },
    /// A static MAC; what the target is, the running appliance tells.
    MacAdd {
        /// Network.
        network: Name,
        /// MAC.
        mac: MacAddr,
        /// Port, GUEST/ADAPTER, `server`, or an adapter that has its name alone.
        target: String,
    },
    /// Adds the routes of a file.
    LoadRoutes(PathBuf),
    /// Runs the commands of a file.
    Source(PathBuf),
    /// What happened, and what happens until somebody has seen enough.
    Events {
        /// Whether to go on.
        follow: bool,
    },
    /// The way of packets: what is asked for, and the filter as it was typed.
    Trace(TraceOrder),
    /// Captures frames into a file.
    Capture(CaptureOrder),
    /// Draws rates again and again.
    Top {
        /// How often, seconds.
        every_s: u64,
    },
    /// Makes what runs what a configuration file says.
    Apply {
        /// The file.
        file: PathBuf,
        /// Whether to tell only.
        dry_run: bool,
    },
    /// `POST` to this path and show what it did to the configuration.
    Configure(String),
    /// Explains commands.
    Help(Option<String>),
    /// Leaves.
    Quit,
}

/// Whose way is to be told.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct TraceOrder {
    pub(super) target: PortLabel,
    pub(super) direction: Direction,
    pub(super) count: Option<usize>,
    pub(super) seconds: Option<u64>,
    pub(super) filter: Option<String>,
}

impl Order {
    /// Whether it prints what may be long and ends by itself.
    pub(super) fn is_listing(&self) -> bool {
        matches!(
            self,
            Order::Show(..)
                | Order::ShowRoutes
                | Order::ShowArp
                | Order::Events { follow: false }
                | Order::Help(_)
        )
    }
}

/// What an answer is, and so how it is rendered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum View {
    Version,
    Guests,
    Guest,
    Networks,
    Network,
    Ports,
    Port,
    AllPortStats,
    PortStats,
    AllPortXstats,
    PortXstats,
    RouteDecision,
    Neighbors,
    Macs,
    Workers,
    Latency,
    Captures,
    Drops,
    Classes,
    Class,
    Accounts,
    Config,
    ConfigDiff,
}

type Made = Result<Order, String>;

/// What a path segment holds as it is; `/` and `%` are not among it (RFC 3986, 3.3).
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// A path of these segments under `/v1`.
pub(super) fn path(segments: &[&dyn Display]) -> String {
    let mut path = String::from("/v1");
    for segment in segments {
        path.push('/');
        path.push_str(&encoded(segment));
    }
    path
}

/// One segment of a path, or one value of a query.
pub(super) fn encoded(segment: &dyn Display) -> String {
    utf8_percent_encode(&segment.to_string(), SEGMENT).to_string()
}

fn change(change: Change) -> Made {
    Ok(Order::Change(vec![change]))
}

fn act(segments: &[&dyn Display]) -> Made {
    Ok(Order::Act(path(segments)))
}

fn show(view: View, segments: &[&dyn Display]) -> Made {
    Ok(Order::Show(path(segments), view))
}

pub(super) fn start(_: &Values) -> Made {
    act(&[&"start"])
}

pub(super) fn stop(_: &Values) -> Made {
    act(&[&"stop"])
}

pub(super) fn guest_add(values: &Values) -> Made {
    let kind = match values.text("container|vm") {
        Some("vm") => GuestKind::Vm,
        _ => GuestKind::Container,
    };
    change(Change::GuestAdd { guest: values.need("GUEST")?, kind })
}

pub(super) fn guest_del(values: &Values) -> Made {
    change(Change::GuestDel { guest: values.need("GUEST")? })
}

pub(super) fn show_guest(values: &Values) -> Made {
    match values.text("all|GUEST") {
        None | Some("all") => show(View::Guests, &[&"guests"]),
        Some(guest) => show(View::Guest, &[&"guests", &guest]),
    }
}

/// Reads what `adapter add` and `adapter set` say alike; `port` is where the specification stands.
fn adapter_wish(values: &Values, port: &str) -> Result<AdapterWish, String> {
    Ok(AdapterWish {
        port: values.text(port).map(str::to_owned),
        mode: values.text("mode").map(|word| match word {
            "virtual-network" => Mode::VirtualNetwork,
            _ => Mode::HostRouted,
        }),
        network: values.value("network")?,
        addresses: values.prefixes("ip")?,
        mac: values.value("mac")?,
        host_mac: values.value("host-mac")?,
        gateway: values.addresses("gateway")?,
        mtu: values.value("mtu")?,
        filter: values.text("filter").map(filters).transpose()?,
        announce: values.switch("announce"),
        probe: values.switch("probe"),
        rate: limits::rate(values)?,
        class_rate: limits::class_rates(values)?,
        storm: limits::storm(values)?,
    })
}

pub(super) fn adapter_add(values: &Values) -> Made {
    let wish = adapter_wish(values, "SPEC")?;
    let (guest, adapter) = (values.need("GUEST")?, values.need("ADAPTER")?);
    change(Change::AdapterAdd { guest, adapter, wish })
}

pub(super) fn adapter_set(values: &Values) -> Made {
    if values.only(&["GUEST", "ADAPTER"]) {
        return Err("nothing to set: want KEY VALUE, like mtu 1400 or mode host-routed".into());
    }
    let wish = adapter_wish(values, "port")?;
    let (guest, adapter) = (values.need("GUEST")?, values.need("ADAPTER")?);
    change(Change::AdapterSet { guest, adapter, wish })
}

pub(super) fn adapter_del(values: &Values) -> Made {
    let (guest, adapter) = (values.need("GUEST")?, values.need("ADAPTER")?);
    change(Change::AdapterDel { guest, adapter })
}

pub(super) fn network_add(values: &Values) -> Made {
    let attach = match values.has("PORT") {
        true => {
            NetworkAttach::Uplink { port: values.named_port("PORT")?, vlan: values.value("vlan")? }
        }
        false => NetworkAttach::HostOnly,
    };
    change(Change::NetworkAdd { network: values.need("NET")?, attach })
}

pub(super) fn network_set(values: &Values) -> Made {
    let attach = match (values.has("host-only"), values.has("uplink"), values.has("vlan")) {
        (true, true, _) => return Err("host-only and uplink exclude each other".into()),
        (true, _, true) => return Err("host-only and vlan exclude each other".into()),
        (true, ..) => Some(NetworkAttach::HostOnly),
        (_, true, _) => Some(NetworkAttach::Uplink {
            port: values.named_port("uplink")?,
            vlan: values.value("vlan")?,
        }),
        (false, false, _) => None,
    };
    if values.only(&["NET"]) {
        return Err("nothing to set: want KEY VALUE, like uplink up0 or learning off".into());
    }
    let set = NetworkPatch {
        attach,
        unknown_unicast: values.text("unknown-unicast").map(|word| match word {
            "flood" => UnknownUnicast::Flood,
            "drop" => UnknownUnicast::Drop,
            _ => UnknownUnicast::Uplink,
        }),
        learning: values.switch("learning"),
        isolated: values.switch("isolated"),
        max_macs: values.value("max-macs")?,
        max_macs_per_port: values.value("max-macs-per-port")?,
        age_s: values.value("age")?,
    };
    let network = values.need("NET")?;
    match values.value("vlan")? {
        Some(vlan) if set.attach.is_none() => Ok(Order::NetworkVlan { network, vlan, set }),
        _ => change(Change::NetworkSet { network, set }),
    }
}

pub(super) fn network_del(values: &Values) -> Made {
    change(Change::NetworkDel { network: values.need("NET")? })
}

pub(super) fn network_server(values: &Values) -> Made {
    let server = NetworkServer {
        port: values.need_text("SPEC")?.to_owned(),
        addresses: values.prefixes("ip")?.unwrap_or_default(),
        mac: values.value("mac")?,
    };
    change(Change::NetworkServer { network: values.need("NET")?, server: Some(server) })
}

pub(super) fn network_server_none(values: &Values) -> Made {
    change(Change::NetworkServer { network: values.need("NET")?, server: None })
}

pub(super) fn show_network(values: &Values) -> Made {
    match values.text("all|NET") {
        None | Some("all") => show(View::Networks, &[&"networks"]),
        Some(network) => show(View::Network, &[&"networks", &network]),
    }
}

fn need_prefix(values: &Values) -> Result<ipnet::IpNet, String> {
    super::grammar::prefix(values.need_text("PREFIX")?)
}

pub(super) fn route_add(values: &Values) -> Made {
    let via = match values.has("IP") {
        true => Via::NextHop(values.need("IP")?),
        false => Via::Dev(values.named_port("PORT")?),
    };
    change(Change::RouteAdd { prefix: need_prefix(values)?, via })
}

pub(super) fn route_del(values: &Values) -> Made {
    change(Change::RouteDel { prefix: need_prefix(values)? })
}

pub(super) fn route_load(values: &Values) -> Made {
    Ok(Order::LoadRoutes(values.need_text("FILE")?.into()))
}

pub(super) fn show_routes(_: &Values) -> Made {
    Ok(Order::ShowRoutes)
}

pub(super) fn show_route_to(values: &Values) -> Made {
    show(View::RouteDecision, &[&"lookup", &values.need::<IpAddr>("IP")?])
}

pub(super) fn neighbor_add(values: &Values) -> Made {
    let (ip, mac) = (values.need("IP")?, values.need("MAC")?);
    change(Change::NeighborAdd { ip, mac, dev: values.named_port("PORT")? })
}

pub(super) fn neighbor_del(values: &Values) -> Made {
    change(Change::NeighborDel { ip: values.need("IP")? })
}

pub(super) fn neighbor_flush(values: &Values) -> Made {
    match values.value::<IpAddr>("IP")? {
        None => act(&[&"neighbors", &"flush"]),
        Some(ip) => act(&[&"neighbors", &ip, &"flush"]),
    }
}

pub(super) fn show_neighbors(_: &Values) -> Made {
    show(View::Neighbors, &[&"neighbors"])
}

pub(super) fn show_arp(_: &Values) -> Made {
    Ok(Order::ShowArp)
}

pub(super) fn mac_add(values: &Values) -> Made {
    Ok(Order::MacAdd {
        network: values.need("NET")?,
        mac: values.need("MAC")?,
        target: values.need_text("TARGET")?.to_owned(),
    })
}

pub(super) fn mac_del(values: &Values) -> Made {
    change(Change::MacDel { network: values.need("NET")?, mac: values.need("MAC")? })
}

pub(super) fn mac_flush(values: &Values) -> Made {
    act(&[&"networks", &values.need_text("NET")?, &"macs", &"flush"])
}

pub(super) fn show_macs(values: &Values) -> Made {
    show(View::Macs, &[&"networks", &values.need_text("NET")?, &"macs"])
}

pub(super) fn class_add(values: &Values) -> Made {
    let prefixes = values.prefixes("PREFIX")?.unwrap_or_default();
    change(Change::ClassAdd { class: values.need("CLASS")?, prefixes })
}

pub(super) fn class_set(values: &Values) -> Made {
    let prefixes = values.prefixes("PREFIX")?.unwrap_or_default();
    change(Change::ClassSet { class: values.need("CLASS")?, prefixes })
}

pub(super) fn class_del(values: &Values) -> Made {
    change(Change::ClassDel { class: values.need("CLASS")? })
}

pub(super) fn show_classes(values: &Values) -> Made {
    match values.text("CLASS") {
        None => show(View::Classes, &[&"classes"]),
        Some(class) => show(View::Class, &[&"classes", &class]),
    }
}

pub(super) fn show_accounting(values: &Values) -> Made {
    match values.text("GUEST") {
        None => show(View::Accounts, &[&"accounting"]),
        Some(guest) => show(View::Accounts, &[&"guests", &guest, &"accounting"]),
    }
}

pub(super) fn show_events(values: &Values) -> Made {
    Ok(Order::Events { follow: values.has("follow") })
}

pub(super) fn top(values: &Values) -> Made {
    Ok(Order::Top { every_s: values.value("every")?.unwrap_or(1) })
}

pub(super) fn show_workers(_: &Values) -> Made {
    show(View::Workers, &[&"workers"])
}

pub(super) fn show_latency(values: &Values) -> Made {
    let path = path(&[&"latency"]);
    let path = match values.text("seconds") {
        Some(seconds) => format!("{path}?seconds={seconds}"),
        None => path,
    };
    Ok(Order::Show(path, View::Latency))
}

pub(super) fn capture(values: &Values) -> Made {
    Ok(Order::Capture(CaptureOrder {
        target: values.need("PORT")?,
        direction: direction(values),
        snaplen: values.value("snaplen")?,
        packets: values.value("packets")?,
        seconds: values.value("seconds")?,
        filter: values.text("filter").map(str::to_owned),
        file: values.need_text("FILE")?.into(),
    }))
}

pub(super) fn trace(values: &Values) -> Made {
    Ok(Order::Trace(TraceOrder {
        target: values.need("GUEST|PORT")?,
        direction: direction(values),
        count: values.value("count")?,
        seconds: values.value("seconds")?,
        filter: values.text("filter").map(str::to_owned),
    }))
}

fn direction(values: &Values) -> Direction {
    match values.text("rx|tx|both") {
        Some("rx") => Direction::Rx,
        Some("tx") => Direction::Tx,
        _ => Direction::Both,
    }
}

pub(super) fn capture_stop(_: &Values) -> Made {
    act(&[&"capture", &"stop"])
}

pub(super) fn show_capture(_: &Values) -> Made {
    show(View::Captures, &[&"capture"])
}

pub(super) fn show_drops(values: &Values) -> Made {
    match values.text("GUEST") {
        None => show(View::Drops, &[&"drops"]),
        Some(guest) => show(View::Drops, &[&"guests", &guest, &"drops"]),
    }
}

pub(super) fn show_config(values: &Values) -> Made {
    match values.has("--diff") {
        false => show(View::Config, &[&"config"]),
        true => show(View::ConfigDiff, &[&"config", &"diff"]),
    }
}

pub(super) fn config_apply(values: &Values) -> Made {
    let file = values.need_text("FILE")?.into();
    Ok(Order::Apply { file, dry_run: values.has("dry-run") })
}

pub(super) fn config_rollback(_: &Values) -> Made {
    Ok(Order::Configure(path(&[&"config", &"rollback"])))
}

pub(super) fn save(_: &Values) -> Made {
    Ok(Order::Configure(path(&[&"config", &"save"])))
}

pub(super) fn show_version(_: &Values) -> Made {
    show(View::Version, &[&"version"])
}

pub(super) fn source(values: &Values) -> Made {
    Ok(Order::Source(values.need_text("FILE")?.into()))
}

pub(super) fn help(values: &Values) -> Made {
    Ok(Order::Help(values.text("WORD").map(str::to_owned)))
}

pub(super) fn quit(_: &Values) -> Made {
    Ok(Order::Quit)
}
