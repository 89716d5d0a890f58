//! Random changes in a small world, and after each batch the whole state looked through without an
//! index: what must never be is not there, each look-up says what a scan says, what was refused or
//! taken back left no trace, and the effects alone lead to the same state, and the journal's records too.

use super::*;
use crate::model::Rate;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

const GUESTS: &[&str] = &["g1", "g2", "g3"];
const ADAPTERS: &[&str] = &["a", "b"];
const NETWORKS: &[&str] = &["default", "n1", "n2"];
const PORTS: &[&str] = &["u1", "u2", "s1"];
const ADDRESSES: &[&str] = &[
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.2/24",
    "10.0.0.3/24",
    "10.0.0.0/30",
    "10.0.1.0/24",
    "10.0.1.7",
    "192.0.2.9",
    "192.0.2.1",
    "169.254.1.1",
    "2001:db8::1/64",
];
const SPECS: &[&str] = &[
    "tap,iface=x",
    "tap,iface=y",
    "tap,iface=x,netns=n",
    "tap,iface=z,netns=n",
    "shared:s1",
    "shared:u1",
    "net_null0",
];
const MACS: &[&str] = &["02:00:5e:10:00:01", "02:00:5e:10:00:02", "02:00:5e:10:00:03"];
const PREFIXES: &[&str] =
    &["10.0.0.0/24", "10.0.0.1/32", "10.0.1.0/25", "172.16.0.0/12", "0.0.0.0/0"];
const CLASSES: &[&str] = &["c1", "c2"];
const VIAS: &[&str] = &["10.0.0.1", "10.0.0.2", "10.0.1.7", "192.0.2.9", "u1", "s1"];
const UPLINK_ADDRESSES: &[&str] = &["192.0.2.1/24", "198.18.0.1/24", "10.0.1.1/24"];
const GATEWAYS: &[&str] = &["192.0.2.9", "198.18.0.9", "10.0.1.7"];

/// Bytes that a change is read from: proptest makes and shrinks the bytes, since strategies of whole
/// changes would take longer to compile than all else.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % limit
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn name(&mut self, names: &[&str]) -> Name {
        name(self.pick(names))
    }

    fn maybe<T>(&mut self, one_in: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(one_in) == 0).then(|| make(self))
    }

    fn mac(&mut self) -> MacAddr {
        self.pick(MACS).parse().unwrap()
    }

    fn nets(&mut self, from: &[&str]) -> Vec<IpNet> {
        (0..self.below(3)).map(|_| net(self.pick(from))).collect()
    }

    fn wish(&mut self) -> AdapterWish {
        AdapterWish {
            mode: self.maybe(2, |dice| dice.pick(&[Mode::HostRouted, Mode::VirtualNetwork])),
            addresses: self.maybe(2, |dice| dice.nets(ADDRESSES)),
            network: self.maybe(3, |dice| dice.name(NETWORKS)),
            mac: self.maybe(3, Self::mac),
            gateway: self.maybe(5, |dice| {
                vec![dice.pick(&["169.254.1.1", "10.0.0.2", "10.9.9.9"]).parse().unwrap()]
            }),
            host_mac: self.maybe(9, Self::mac),
            announce: self.maybe(5, |_| false),
            rate: self.maybe(4, Self::rate),
            class_rate: self.maybe(3, |dice| {
                (0..dice.below(3)).map(|_| (dice.name(CLASSES), dice.rate())).collect()
            }),
            storm: self.maybe(5, |dice| dice.pick(&[0, 1, 1_000_000])),
            ..AdapterWish::default()
        }
    }

    fn rate(&mut self) -> Rate {
        let bps = [Some(0), Some(0), Some(1), Some(1_000), Some(5_000), None];
        Rate { in_bps: self.pick(&bps), out_bps: self.pick(&bps) }
    }

    fn attach(&mut self) -> NetworkAttach {
        if self.below(3) == 0 {
            return NetworkAttach::HostOnly;
        }
        let vlan = self.maybe(2, |dice| dice.pick(&[1, 2]));
        NetworkAttach::Uplink { port: self.name(PORTS), vlan }
    }

    fn change(&mut self) -> Change {
        let (guest, adapter) = (self.name(GUESTS), self.name(ADAPTERS));
        match self.below(32) {
            0..3 => {
                let kind = self.pick(&[GuestKind::Container, GuestKind::Vm]);
                Change::GuestAdd { guest, kind }
            }
            3 => Change::GuestDel { guest },
            4..11 => {
                let port = Some(self.pick(SPECS).to_owned());
                Change::AdapterAdd { guest, adapter, wish: AdapterWish { port, ..self.wish() } }
            }
            11..16 => Change::AdapterSet { guest, adapter, wish: self.wish() },
            16..18 => Change::AdapterDel { guest, adapter },
            _ => self.other_change(guest, adapter),
        }
    }

    fn other_change(&mut self, guest: Name, adapter: Name) -> Change {
        let network = self.name(NETWORKS);
        match self.below(18) {
            0 => Change::NetworkAdd { network, attach: self.attach() },
            1 => {
                let set = NetworkPatch { attach: Some(self.attach()), ..NetworkPatch::default() };
                Change::NetworkSet { network, set }
            }
            2 | 3 => {
                let server = self.maybe(2, |dice| NetworkServer {
                    port: dice.pick(SPECS).to_owned(),
                    addresses: dice.nets(ADDRESSES),
                    mac: None,
                });
                Change::NetworkServer { network, server }
            }
            4 => Change::NetworkDel { network },
            5 => {
                let which = self.pick(PORTS);
                let is_shared = which == "s1";
                let role = if is_shared { PortRole::Shared } else { PortRole::Uplink };
                let address = self.pick(UPLINK_ADDRESSES);
                let addresses: &[&str] = if is_shared { &[] } else { &[address] };
                port(which, role, &format!("net_tap_{which},iface={which}"), addresses)
            }
            6 => Change::PortDetach { port: self.name(PORTS) },
            7 => {
                let set = PortPatch {
                    mtu: self.maybe(3, |dice| dice.pick(&[1400, 1500])),
                    addresses: self.maybe(2, |dice| dice.nets(UPLINK_ADDRESSES)),
                    gateway: self.maybe(3, |dice| {
                        (0..dice.below(2)).map(|_| net(dice.pick(GATEWAYS)).addr()).collect()
                    }),
                    ..PortPatch::default()
                };
                Change::PortSet { port: self.name(PORTS), set }
            }
            8 => route(self.pick(PREFIXES), self.pick(VIAS)),
            9 => Change::RouteDel { prefix: net(self.pick(PREFIXES)) },
            10 => Change::NeighborAdd {
                ip: net(self.pick(ADDRESSES)).addr(),
                mac: self.mac(),
                dev: self.name(PORTS),
            },
            11 => Change::NeighborDel { ip: net(self.pick(ADDRESSES)).addr() },
            12 => {
                let to = match self.below(3) {
                    0 => MacTarget::Port(self.name(&["u1", "server"])),
                    _ => MacTarget::Adapter { guest, adapter },
                };
                Change::MacAdd { network, mac: self.mac(), to }
            }
            13 => Change::MacDel { network, mac: self.mac() },
            14 | 15 => {
                let prefixes = vec![net(self.pick(PREFIXES))];
                Change::ClassAdd { class: self.name(CLASSES), prefixes }
            }
            16 => Change::ClassSet { class: self.name(CLASSES), prefixes: self.nets(PREFIXES) },
            _ => Change::ClassDel { class: self.name(CLASSES) },
        }
    }
}

/// A world with something in it.
fn world() -> Registry {
    let mut registry = Registry::new(Identity { seed: 3 });
    registry
        .apply(&[
            port("u1", PortRole::Uplink, "net_tap_u1,iface=u1", &["192.0.2.1/24"]),
            port("s1", PortRole::Shared, "net_tap_s1,iface=s1", &[]),
            guest("g1", GuestKind::Container),
            guest("g2", GuestKind::Vm),
            network("n1", "u1", Some(1)),
        ])
        .unwrap();
    registry.settle();
    registry
}

/// What a snapshot of it says.
fn document(registry: &Registry) -> Document {
    serde_json::from_str(&serde_json::to_string(registry).unwrap()).unwrap()
}

/// All that holds addresses, by scan.
fn held(registry: &Registry) -> Vec<(IpNet, String)> {
    let mut all = vec![(IpNet::from(DEFAULT_GATEWAY), "appliance".to_owned())];
    for adapter in registry.adapters() {
        all.extend(adapter.registered().map(|net| (net, adapter.key().to_string())));
    }
    for server in registry.servers() {
        all.extend(
            server.addresses.iter().map(|net| (net.addr().into(), server.network.to_string())),
        );
    }
    for port in registry.uplinks() {
        all.extend(port.addresses.iter().map(|net| (net.addr().into(), port.name.to_string())));
    }
    all
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// What must hold of every state.
fn look_through(registry: &Registry) {
    let held = held(registry);
    for (place, (net, holder)) in held.iter().enumerate() {
        for (other, second) in held.iter().take(place) {
            assert!(!overlap(net, other), "{net} of {holder} and {other} of {second}");
        }
    }
    let mut macs = vec![registry.gateway_mac()];
    let mut devices: Vec<String> = Vec::new();
    for adapter in registry.adapters() {
        match adapter.shared_port() {
            None => macs.push(adapter.mac),
            Some(port) => {
                let port = registry.port(port).expect("the shared port exists");
                assert_eq!((Some(adapter.mac), adapter.mtu), (port.mac, port.mtu));
                assert_eq!(adapter.mode, Mode::HostRouted);
            }
        }
        macs.extend(Some(adapter.host_mac).filter(|mac| *mac != registry.gateway_mac()));
        devices.extend(adapter.spec.occupies(None));
        assert_eq!(adapter.network.is_some(), adapter.mode == Mode::VirtualNetwork);
        let network = adapter.network.as_ref().map(|network| registry.network(network));
        assert!(
            network.is_none_or(|network| network.is_some()),
            "{} is in no network",
            adapter.key()
        );
        assert_eq!(registry.guest(&adapter.guest).map(|guest| guest.kind), Some(adapter.kind));
    }
    for server in registry.servers() {
        macs.push(server.mac);
        devices.extend(server.spec.occupies(None));
        assert!(registry.network(&server.network).is_some());
    }
    for port in registry.ports() {
        macs.extend(port.mac);
        devices.extend(port.spec.occupies(port.netns.as_deref()));
    }
    for mac in &macs {
        assert!(registry.holder_of_mac(*mac).is_some());
        assert!(registry.static_macs().all(|entry| entry.mac != *mac), "{mac} is held and fixed");
    }
    assert_eq!(macs.len(), macs.iter().collect::<BTreeSet<_>>().len(), "a MAC twice");
    assert_eq!(devices.len(), devices.iter().collect::<BTreeSet<_>>().len(), "a device twice");
    look_through_limits(registry);
    look_through_networks(registry);
    look_through_ways(registry);
}

fn look_through_limits(registry: &Registry) {
    let mut limited: BTreeMap<Name, BTreeSet<AdapterKey>> = BTreeMap::new();
    for adapter in registry.adapters() {
        for (class, limit) in &adapter.limits.classes {
            assert!(registry.classes().any(|found| found.name == *class), "{class}");
            assert!(!limit.is_none(), "{} has an empty rate for {class}", adapter.key());
            limited.entry(class.clone()).or_default().insert(adapter.key());
        }
    }
    assert_eq!(registry.tables.limited, limited);
}

fn look_through_networks(registry: &Registry) {
    assert!(
        registry.network(&name("default")).is_some_and(|n| n.attach == NetworkAttach::HostOnly)
    );
    let networks: Vec<_> = registry.networks().collect();
    let numbers: BTreeSet<u16> = networks.iter().map(|network| network.number).collect();
    assert_eq!(numbers.len(), networks.len());
    let places: Vec<_> = networks.iter().filter_map(|network| network.uplink()).collect();
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len());
    for network in &networks {
        if let Some((port, vlan)) = network.uplink() {
            assert!(registry.port(port).is_some_and(|port| port.role == PortRole::Uplink));
            assert_eq!(
                registry.network_on(port, vlan).map(|found| &found.name),
                Some(&network.name)
            );
        }
        let members: Vec<_> = registry.members(&network.name).map(|member| member.key()).collect();
        let scanned = registry.adapters().filter(|a| a.network.as_ref() == Some(&network.name));
        assert_eq!(members, scanned.map(|member| member.key()).collect::<Vec<_>>());
    }
    for entry in registry.static_macs() {
        let network = registry.network(&entry.network).expect("a fixed MAC's network exists");
        match &entry.to {
            MacTarget::Adapter { guest, adapter } => {
                let target =
                    registry.adapter(guest, adapter).expect("a fixed MAC's adapter exists");
                assert_eq!(target.network.as_ref(), Some(&entry.network));
            }
            MacTarget::Port(port) => {
                let uplink = network.uplink().is_some_and(|(uplink, _)| uplink == port);
                assert!(uplink || registry.server(&entry.network).is_some());
            }
        }
    }
}

fn look_through_ways(registry: &Registry) {
    let held = held(registry);
    for text in ADDRESSES.iter().chain(VIAS).filter_map(|text| parse_prefix(text).ok()) {
        let ip = text.addr();
        let scanned = held.iter().find(|(net, _)| net.contains(&ip)).map(|(net, _)| *net);
        let found = registry.holder_of(ip).map(|(net, _)| *net);
        assert_eq!(found, scanned.or(found.filter(|_| is_router(registry, ip))), "{ip}");
        let owner = registry.adapters().find(|a| a.registered().any(|net| net.contains(&ip)));
        assert_eq!(registry.owner_of(ip).map(|a| a.key()), owner.map(|a| a.key()));
    }
    for route in registry.routes() {
        match &route.via {
            Via::Dev(port) => assert!(registry.port(port).is_some()),
            Via::NextHop(ip) => {
                let is_uplinks = |port: &Arc<Port>| port.addresses.iter().any(|n| n.addr() == *ip);
                assert!(!registry.uplinks().any(is_uplinks), "{route:?} goes via ourselves");
                let owner = registry.owner_of(*ip);
                let routed = owner.is_some_and(|owner| owner.mode == Mode::HostRouted);
                assert!(routed || registry.connected(*ip).is_some(), "{route:?} leads nowhere");
            }
        }
        let covering = held.iter().find(|(net, _)| net.contains(&route.prefix));
        assert!(covering.is_none(), "{route:?} leads away {covering:?}");
    }
    for port in registry.uplinks() {
        for ip in &port.gateways {
            assert!(port.addresses.iter().any(|net| net.contains(ip)), "{ip} is off the link");
        }
    }
    let gateways: usize = registry.uplinks().map(|port| port.gateways.len()).sum();
    assert!(gateways <= 1, "two default routes");
    for neighbor in registry.neighbors() {
        assert!(registry.port(&neighbor.dev).is_some());
        let there = registry.connected(neighbor.ip);
        assert!(there.is_none_or(|(port, _)| port.name == neighbor.dev), "{neighbor:?}");
        assert!(registry.owner_of(neighbor.ip).is_none());
    }
}

fn is_router(registry: &Registry, ip: IpAddr) -> bool {
    registry.uplinks().any(|port| port.gateways.contains(&ip))
}

/// What a reader of effects alone knows.
#[derive(Default, PartialEq, Debug)]
struct Mirror {
    items: BTreeMap<String, String>,
}

impl Mirror {
    fn swap(&mut self, key: String, old: Option<String>, new: Option<String>) {
        let before = match new {
            Some(new) => self.items.insert(key.clone(), new),
            None => self.items.remove(&key),
        };
        assert_eq!(before, old, "{key}");
    }

    fn follow(&mut self, effect: &Effect) {
        fn told<T: std::fmt::Debug>(item: &T) -> Option<String> {
            Some(format!("{item:?}"))
        }
        let adapter = |a: &Arc<Adapter>| format!("adapter {}", a.key());
        let network = |n: &Arc<Network>| format!("network {}", n.name);
        let server = |s: &Arc<ServerPort>| format!("server {}", s.network);
        let port = |p: &Arc<Port>| format!("port {}", p.name);
        let route = |r: &Route| format!("route {}", r.prefix);
        let neighbor = |n: &Neighbor| format!("neighbor {}", n.ip);
        let entry = |m: &StaticMac| format!("mac {} {}", m.network, m.mac);
        match effect {
            Effect::GuestAdded(g) => self.swap(format!("guest {}", g.name), None, told(g)),
            Effect::GuestRemoved(g) => self.swap(format!("guest {}", g.name), told(g), None),
            Effect::AdapterAdded(a) => self.swap(adapter(a), None, told(a)),
            Effect::AdapterChanged { old, new } => self.swap(adapter(old), told(old), told(new)),
            Effect::AdapterRemoved(a) => self.swap(adapter(a), told(a), None),
            Effect::NetworkAdded(n) => self.swap(network(n), None, told(n)),
            Effect::NetworkChanged { old, new } => self.swap(network(old), told(old), told(new)),
            Effect::NetworkRemoved(n) => self.swap(network(n), told(n), None),
            Effect::ServerAdded(s) => self.swap(server(s), None, told(s)),
            Effect::ServerChanged { old, new } => self.swap(server(old), told(old), told(new)),
            Effect::ServerRemoved(s) => self.swap(server(s), told(s), None),
            Effect::PortAttached(p) => self.swap(port(p), None, told(p)),
            Effect::PortChanged { old, new } => self.swap(port(old), told(old), told(new)),
            Effect::PortDetached(p) => self.swap(port(p), told(p), None),
            Effect::RouteAdded(r) => self.swap(route(r), None, told(r)),
            Effect::RouteRemoved(r) => self.swap(route(r), told(r), None),
            Effect::NeighborAdded(n) => self.swap(neighbor(n), None, told(n)),
            Effect::NeighborRemoved(n) => self.swap(neighbor(n), told(n), None),
            Effect::StaticMacAdded(m) => self.swap(entry(m), None, told(m)),
            Effect::StaticMacRemoved(m) => self.swap(entry(m), told(m), None),
            Effect::ClassAdded(c) => self.swap(format!("class {}", c.name), None, told(c)),
            Effect::ClassChanged { old, new } => {
                self.swap(format!("class {}", old.name), told(old), told(new));
            }
            Effect::ClassRemoved(c) => self.swap(format!("class {}", c.name), told(c), None),
        }
    }

    fn of(effects: &[Effect]) -> Self {
        let mut mirror = Self::default();
        effects.iter().for_each(|effect| mirror.follow(effect));
        mirror
    }
}

/// A refusal of an address because it is held is true: somebody else does hold it.
fn check_truth(registry: &Registry, batch: &[Change], refusal: &Refusal) {
    let wanted = match &batch[refusal.change] {
        Change::AdapterAdd { wish, .. } | Change::AdapterSet { wish, .. } => wish.addresses.clone(),
        _ => None,
    };
    let is_first = refusal.change == 0;
    let Some(wanted) = wanted.filter(|_| is_first && refusal.kind == RefusalKind::Duplicate) else {
        return;
    };
    if refusal.field == "addresses" {
        let held = held(registry);
        let clash = wanted.iter().any(|net| {
            let alone = IpNet::from(net.addr());
            held.iter().any(|(other, _)| overlap(net, other) || overlap(&alone, other))
        });
        assert!(clash, "{refusal}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_keep_the_state_true(
        batches in prop::collection::vec(prop::collection::vec(any::<[u8; 28]>(), 1..4), 1..60),
    ) {
        let mut registry = world();
        let mut mirror = Mirror::of(&registry.everything());
        let mut journaled = document(&registry);
        for batch in &batches {
            let read = |bytes: &[u8; 28]| Dice(bytes.iter()).change();
            let batch: &Vec<Change> = &batch.iter().map(read).collect();
            let before = whole(&registry);
            match registry.apply(batch) {
                Err(refusal) => {
                    assert_eq!(whole(&registry), before);
                    assert!(!refusal.message.is_empty() && !refusal.message.contains('\n'));
                    check_truth(&registry, batch, &refusal);
                }
                Ok(effects) => {
                    look_through(&registry);
                    let after = whole(&registry);
                    registry.take_back();
                    assert_eq!(whole(&registry), before);
                    assert_eq!(registry.apply(batch).as_ref(), Ok(&effects));
                    assert_eq!(whole(&registry), after);
                    let record = serde_json::to_string(&registry.puts()).unwrap();
                    journaled.replay(serde_json::from_str(&record).unwrap());
                    registry.settle();
                    effects.iter().for_each(|effect| mirror.follow(effect));
                    assert_eq!(&mirror, &Mirror::of(&registry.everything()));
                }
            }
        }
        for stored in [document(&registry), journaled] {
            let again = Registry::restore(stored, &[], &[]).unwrap();
            assert_eq!(whole(&again), whole(&registry));
        }
    }
}
