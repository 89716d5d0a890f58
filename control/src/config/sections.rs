//! The tables of the file, each read into changes.

use super::limits::{read_class_rates, read_rate};
use super::section::{Section, Source};
use super::suggest::nearest;
use super::{Appliance, Polling, eal_faults};
use crate::model::{
    AdapterWish, Change, Filter, GuestKind, MacTarget, Mode, Name, NetworkAttach, NetworkPatch,
    NetworkServer, PortRole, PortWish, UnknownUnicast, Via,
};
use crate::registry::{AGE_S, DEFAULT_NETWORK, MAX_MACS, MTU, QUEUES_MAX, STORM_PPS, VLAN_ID};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use toml::Spanned;
use toml::de::DeTable;

/// Highest core number and one more (RTE_MAX_LCORE).
const CORES: usize = 128;

const ROOT: [&str; 10] = [
    "appliance",
    "uplink",
    "host",
    "port",
    "network",
    "route",
    "neighbor",
    "mac",
    "class",
    "guest",
];
const APPLIANCE: [&str; 10] = [
    "workers",
    "control_core",
    "mbufs",
    "polling",
    "socket",
    "socket_group",
    "metrics",
    "page",
    "state_dir",
    "eal",
];
const UPLINK: [&str; 9] =
    ["name", "device", "addresses", "gateway", "mac", "mtu", "queues", "workers", "probe"];
const HOST: [&str; 7] = ["device", "mac", "mtu", "configure", "netns", "queues", "workers"];
const PORT: [&str; 12] = [
    "name",
    "device",
    "role",
    "netns",
    "mac",
    "mtu",
    "configure",
    "queues",
    "workers",
    "addresses",
    "gateway",
    "probe",
];
const NETWORK: [&str; 10] = [
    "name",
    "uplink",
    "vlan",
    "server",
    "unknown_unicast",
    "learning",
    "isolated",
    "max_macs",
    "max_macs_per_port",
    "age_s",
];
const SERVER: [&str; 3] = ["port", "addresses", "mac"];
const ROUTE: [&str; 3] = ["prefix", "via", "dev"];
const NEIGHBOR: [&str; 3] = ["ip", "mac", "dev"];
const MAC: [&str; 5] = ["mac", "network", "guest", "adapter", "port"];
const CLASS: [&str; 2] = ["name", "prefixes"];
const GUEST: [&str; 3] = ["name", "kind", "adapter"];
const ADAPTER: [&str; 15] = [
    "name",
    "port",
    "mode",
    "network",
    "addresses",
    "mac",
    "host_mac",
    "gateway",
    "mtu",
    "rate",
    "class_rate",
    "storm",
    "filter",
    "announce",
    "probe",
];

const FILTERS: [(&str, Filter); 6] = [
    ("ip", Filter::Ip),
    ("mac", Filter::Mac),
    ("promisc", Filter::Promisc),
    ("dhcp", Filter::Dhcp),
    ("ra", Filter::Ra),
    ("bpdu", Filter::Bpdu),
];

/// A change and the table that asks for it.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Without what is wrong in the table; absent where too little is left, but its name is known.
    pub(super) change: Result<Change, Name>,
    pub(super) section: Section<'a>,
}

/// The top of the file.
pub(super) fn open_root<'a>(source: &'a Source<'a>, root: &'a Spanned<DeTable<'a>>) -> Section<'a> {
    Section::open(source, root.get_ref(), 0..0, String::new(), &ROOT)
}

/// All tables: ports first, then what stands on them, classes before the guests that have rates for them,
/// then what refers to guests.
pub(super) fn read<'a>(root: &Section<'a>) -> (Appliance, Vec<Entry<'a>>) {
    let mut entries = Vec::new();
    let appliance = read_appliance(root);
    for section in root.tables("uplink", &UPLINK) {
        read_port(section, Some(PortRole::Uplink), None, &mut entries);
    }
    if let Some(section) = root.table("host", &HOST) {
        read_port(section, Some(PortRole::Host), "host".parse().ok(), &mut entries);
    }
    for section in root.tables("port", &PORT) {
        read_port(section, None, None, &mut entries);
    }
    for section in root.tables("network", &NETWORK) {
        read_network(section, &mut entries);
    }
    for section in root.tables("class", &CLASS) {
        read_class(section, &mut entries);
    }
    for section in root.tables("guest", &GUEST) {
        read_guest(section, &mut entries);
    }
    for section in root.tables("mac", &MAC) {
        read_mac(section, &mut entries);
    }
    for section in root.tables("neighbor", &NEIGHBOR) {
        read_neighbor(section, &mut entries);
    }
    for section in root.tables("route", &ROUTE) {
        read_route(section, &mut entries);
    }
    (appliance, entries)
}

fn read_appliance(root: &Section<'_>) -> Appliance {
    let mut appliance = Appliance::default();
    let Some(section) = root.table("appliance", &APPLIANCE) else { return appliance };
    if let Some(workers) = section.numbers("workers", 0..=CORES - 1) {
        let twice = workers.iter().enumerate();
        let mut twice =
            twice.filter(|(place, core)| workers.iter().take(*place).any(|x| x == *core));
        if let Some((_, core)) = twice.next() {
            section.refuse("workers", format!("core {core} is given twice; a worker has its own"));
        } else if workers.is_empty() && !section.is_wrong() {
            section.refuse("workers", "is empty; at least one core forwards packets, like [1]");
        }
        appliance.workers = workers;
    }
    if section.is_doubtful("workers") {
        // Which cores were meant is not known: no port's `workers` is measured by them.
        appliance.workers.clear();
    }
    let set = section.number("control_core", 0..=CORES - 1);
    appliance.control_core = set.unwrap_or(appliance.control_core);
    appliance.mbufs = section.number("mbufs", 1024..=1 << 24).unwrap_or(appliance.mbufs);
    const POLLING: [(&str, Polling); 2] =
        [("busy", Polling::Busy), ("adaptive", Polling::Adaptive)];
    appliance.polling = section.choice("polling", &POLLING).unwrap_or(appliance.polling);
    if let Some(path) = absolute_path(&section, "socket", 107) {
        appliance.socket = path.into();
    }
    if let Some(path) = absolute_path(&section, "state_dir", 4000) {
        appliance.state_dir = path.into();
    }
    appliance.socket_group = section.string("socket_group").map(str::to_owned);
    if appliance.socket_group.as_deref() == Some("") {
        section.refuse("socket_group", "is empty; leave it out for root alone");
    }
    appliance.metrics = section.address("metrics", "an address and port, like 127.0.0.1:9650");
    appliance.page = page(&section);
    appliance.eal = section.strings("eal", |text| Ok(text.to_owned())).unwrap_or_default();
    for message in eal_faults(&appliance.eal) {
        section.refuse("eal", message);
    }
    appliance
}

/// Where the page is served: whoever reaches it sees every guest, so nobody from elsewhere does.
fn page(section: &Section<'_>) -> Option<SocketAddr> {
    let address: SocketAddr =
        section.address("page", "an address and port, like 127.0.0.1:9651")?;
    if address.ip().is_loopback() {
        return Some(address);
    }
    let says = "is no loopback address; the page is for this host alone, like 127.0.0.1:9651";
    section.refuse("page", format!("{address} {says}"));
    None
}

fn absolute_path<'a>(section: &Section<'a>, key: &str, longest: usize) -> Option<&'a str> {
    let path = section.string(key)?;
    if path.starts_with('/') && path.len() <= longest && !path.contains('\0') {
        return Some(path);
    }
    section.refuse(key, format!("{path:?} is not an absolute path of at most {longest} bytes"));
    None
}

/// The name of a table.
fn read_name(section: &Section<'_>) -> Option<Name> {
    section.require("name", "1 to 32 of a-z, 0-9, '-', '_', '.'");
    section.parsed("name")
}

/// Adds an entry: the change as far as the table could be read, else its name.
fn push<'a>(
    entries: &mut Vec<Entry<'a>>,
    section: Section<'a>,
    name: Name,
    change: Option<Change>,
) {
    entries.push(Entry { change: change.ok_or(name), section });
}

fn read_port<'a>(
    section: Section<'a>,
    role: Option<PortRole>,
    name: Option<Name>,
    entries: &mut Vec<Entry<'a>>,
) {
    const ROLES: [(&str, PortRole); 3] =
        [("shared", PortRole::Shared), ("uplink", PortRole::Uplink), ("host", PortRole::Host)];
    let Some(name) = name.or_else(|| read_name(&section)) else { return };
    section.require(
        "device",
        "a PCI address like \"0000:3b:00.0\" or a vdev like \"net_tap0,iface=up0\"",
    );
    let role = role.or_else(|| {
        section.require("role", "\"shared\", \"uplink\" or \"host\"");
        section.choice("role", &ROLES)
    });
    let wish = PortWish {
        device: section.string("device").unwrap_or_default().to_owned(),
        role: role.unwrap_or(PortRole::Shared),
        netns: section.string("netns").map(str::to_owned),
        queues: section.number("queues", 1..=QUEUES_MAX),
        mac: section.parsed("mac"),
        mtu: section.number("mtu", MTU),
        addresses: section.prefixes("addresses").unwrap_or_default(),
        gateway: read_addresses(&section, "gateway").unwrap_or_default(),
        probe: section.switch("probe"),
        configure: section.switch("configure"),
        workers: section.numbers("workers", 0..=CORES - 1),
    };
    if role.is_none() {
        section.doubt("role");
    }
    let change = Change::PortAttach { port: name.clone(), wish };
    push(entries, section, name, Some(change));
}

fn read_addresses(section: &Section<'_>, key: &str) -> Option<Vec<IpAddr>> {
    section.strings(key, |text| text.parse().map_err(|_| format!("{text:?} is not an IP address")))
}

fn read_network<'a>(section: Section<'a>, entries: &mut Vec<Entry<'a>>) {
    const POLICIES: [(&str, UnknownUnicast); 3] = [
        ("uplink", UnknownUnicast::Uplink),
        ("flood", UnknownUnicast::Flood),
        ("drop", UnknownUnicast::Drop),
    ];
    let Some(network) = read_name(&section) else { return };
    let port: Option<Name> = section.parsed("uplink");
    let vlan = section.number("vlan", VLAN_ID);
    if section.has("vlan") && !section.has("uplink") {
        section.refuse("vlan", "a VLAN is on an uplink; give uplink = \"NAME\" as well");
    }
    let attach = match port {
        // One with an unknown VLAN must not take the place of the untagged one.
        Some(port) if section.is_doubtful("vlan") => {
            NetworkAttach::Uplink { port, vlan: Some(*VLAN_ID.end()) }
        }
        Some(port) => NetworkAttach::Uplink { port, vlan },
        None => NetworkAttach::HostOnly,
    };
    let mut set = NetworkPatch {
        attach: None,
        unknown_unicast: section.choice("unknown_unicast", &POLICIES),
        learning: section.switch("learning"),
        isolated: section.switch("isolated"),
        max_macs: section.number("max_macs", MAX_MACS),
        max_macs_per_port: section.number("max_macs_per_port", MAX_MACS),
        age_s: section.number("age_s", AGE_S),
    };
    let server = section.table("server", &SERVER);
    // The network default is there already, so that a table of that name sets it.
    let is_default = network.as_str() == DEFAULT_NETWORK;
    let add = Change::NetworkAdd { network: network.clone(), attach: attach.clone() };
    if is_default && attach != NetworkAttach::HostOnly {
        set.attach = Some(attach);
    }
    let part = section.again();
    if !is_default {
        push(entries, section, network.clone(), Some(add));
    }
    if set != NetworkPatch::default() || is_default {
        let change = Change::NetworkSet { network: network.clone(), set };
        push(entries, part, network.clone(), Some(change));
    }
    let Some(section) = server else { return };
    section.require("port", "what the server's port is made of, like \"tap,iface=srv-lan0\"");
    let server = NetworkServer {
        port: section.string("port").unwrap_or_default().to_owned(),
        addresses: section.prefixes("addresses").unwrap_or_default(),
        mac: section.parsed("mac"),
    };
    let change = Change::NetworkServer { network: network.clone(), server: Some(server) };
    push(entries, section, network, Some(change));
}

fn read_guest<'a>(section: Section<'a>, entries: &mut Vec<Entry<'a>>) {
    const KINDS: [(&str, GuestKind); 2] =
        [("container", GuestKind::Container), ("vm", GuestKind::Vm)];
    let guest = read_name(&section);
    section.require("kind", "\"container\" or \"vm\"");
    // A word close to one of them is taken for it, so that the adapters can be looked at; the error
    // stays.
    let kind = section.choice("kind", &KINDS).or_else(|| {
        let word = section.text("kind")?;
        let meant = nearest(word, &KINDS.map(|(word, _)| word))?;
        KINDS.iter().find(|(word, _)| *word == meant).map(|(_, kind)| *kind)
    });
    let adapters = section.tables("adapter", &ADAPTER);
    if let Some(guest) = &guest {
        let change = kind.map(|kind| Change::GuestAdd { guest: guest.clone(), kind });
        push(entries, section, guest.clone(), change);
    }
    for adapter in adapters {
        read_adapter(adapter, guest.as_ref(), entries);
    }
}

fn read_adapter<'a>(section: Section<'a>, guest: Option<&Name>, entries: &mut Vec<Entry<'a>>) {
    const MODES: [(&str, Mode); 2] =
        [("host-routed", Mode::HostRouted), ("virtual-network", Mode::VirtualNetwork)];
    let name = read_name(&section);
    section.require("port", "what its port is made of, like \"tap,iface=NAME\" or \"shared:PORT\"");
    let wish = AdapterWish {
        port: section.string("port").map(str::to_owned),
        mode: section.choice("mode", &MODES),
        network: section.parsed("network"),
        addresses: section.prefixes("addresses"),
        mac: section.parsed("mac"),
        host_mac: section.parsed("host_mac"),
        gateway: read_addresses(&section, "gateway"),
        mtu: section.number("mtu", MTU),
        filter: section.choices("filter", &FILTERS).map(|list| list.into_iter().collect()),
        announce: section.switch("announce"),
        probe: section.switch("probe"),
        rate: read_rate(&section, "rate"),
        class_rate: read_class_rates(&section),
        storm: section.number("storm", STORM_PPS),
    };
    let (Some(guest), Some(adapter)) = (guest, name) else { return };
    let change = Change::AdapterAdd { guest: guest.clone(), adapter: adapter.clone(), wish };
    push(entries, section, adapter, Some(change));
}

fn read_route<'a>(section: Section<'a>, entries: &mut Vec<Entry<'a>>) {
    section.require("prefix", "the destination, like \"203.0.113.64/26\"");
    let prefix: Option<IpNet> = section.prefix("prefix");
    let next_hop = section.address("via", "an IP address; for a port say dev = \"PORT\"");
    let dev: Option<Name> = section.parsed("dev");
    if section.has("via") && section.has("dev") {
        section.refuse("dev", "a route leads either via a next hop or to a dev; leave one out");
    } else if !section.has("dev") {
        section.require("via", "the next hop's address, or dev = \"PORT\"");
    }
    let via = next_hop.map(Via::NextHop).or(dev.map(Via::Dev));
    if let (Some(prefix), Some(via), false) = (prefix, via, section.is_wrong()) {
        entries.push(Entry { change: Ok(Change::RouteAdd { prefix, via }), section });
    }
}

fn read_neighbor<'a>(section: Section<'a>, entries: &mut Vec<Entry<'a>>) {
    section.require("ip", "the neighbor's address");
    section.require("mac", "the neighbor's MAC");
    section.require("dev", "the uplink that it is on");
    let ip: Option<IpAddr> = section.address("ip", "an IP address");
    let (mac, dev) = (section.parsed("mac"), section.parsed("dev"));
    if let (Some(ip), Some(mac), Some(dev)) = (ip, mac, dev) {
        entries.push(Entry { change: Ok(Change::NeighborAdd { ip, mac, dev }), section });
    }
}

fn read_mac<'a>(section: Section<'a>, entries: &mut Vec<Entry<'a>>) {
    section.require("network", "the network that it is in");
    section.require("mac", "the MAC");
    let (network, mac) = (section.parsed("network"), section.parsed("mac"));
    let guest: Option<Name> = section.parsed("guest");
    let adapter: Option<Name> = section.parsed("adapter");
    let port: Option<Name> = section.parsed("port");
    let to = match (guest, adapter, port) {
        (Some(guest), Some(adapter), None) => Some(MacTarget::Adapter { guest, adapter }),
        (None, None, Some(port)) => Some(MacTarget::Port(port)),
        _ => {
            if !section.is_wrong() {
                section
                    .refuse("", "a MAC is at guest and adapter, or at a port; give one of the two");
            }
            None
        }
    };
    if let (Some(network), Some(mac), Some(to)) = (network, mac, to) {
        entries.push(Entry { change: Ok(Change::MacAdd { network, mac, to }), section });
    }
}

fn read_class<'a>(section: Section<'a>, entries: &mut Vec<Entry<'a>>) {
    let Some(class) = read_name(&section) else { return };
    section.require("prefixes", "a list of destinations, like [\"192.0.2.0/24\"]");
    let prefixes = section.prefixes("prefixes");
    let change = prefixes.map(|prefixes| Change::ClassAdd { class: class.clone(), prefixes });
    push(entries, section, class, change);
}
