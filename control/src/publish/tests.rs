//! The publisher over in-memory ports: what the registry accepts, put in force as the appliance does
//! it, and after each change the question whether anything is still named that is gone.

use super::*;
use crate::model::{Change, PortRole};
use crate::registry::{Adapter, Effect, Identity, Port, Registry, ServerPort};
use crossbeam::queue::ArrayQueue;
use dataplane::counters::Counters;
use dataplane::frame::memory::MemoryPool;
use dataplane::idle::Bell;
use dataplane::io::memory::{MemoryIo, MemoryPort};
use dataplane::pipeline::{Path, Rates};
use dataplane::punt::Inject;
use dataplane::table::Adjacency;
use dataplane::worker::Worker;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

mod limits;
mod networks;
mod ports;
mod routes;

/// Registry, publisher and one worker that takes up every command.
struct Rig {
    registry: Registry,
    publisher: Publisher<MemoryIo>,
    worker: Worker<MemoryIo>,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn mac(last: u8) -> MacAddr {
    MacAddr([0x02, 0, 0x5e, 0x10, 0, last])
}

fn named(port: &str) -> PortLabel {
    PortLabel::Named(name(port))
}

fn adapter(label: &str) -> PortLabel {
    label.parse().unwrap()
}

/// MAC of the uplink and of the host port's near side.
const OUR_MAC: MacAddr = MacAddr([0x02, 0, 0x5e, 0, 0, 1]);

impl Rig {
    /// An uplink with a gateway, and a VM without adapters.
    fn new() -> Rig {
        let fresh = FreshTables::new(1);
        let (worker, end) = worker(&fresh);
        let publisher = Publisher::new(fresh, Workers::new(vec![end])).unwrap();
        let registry = Registry::new(Identity { seed: 7 });
        let mut rig = Rig { registry, publisher, worker };
        rig.changes(json!([
            {"change": "port-attach", "port": "up0", "wish": {
                "device": "net_tap0,iface=up0", "role": "uplink",
                "addresses": ["192.0.2.1/24"], "gateway": ["192.0.2.254"]}},
            {"change": "guest-add", "guest": "vm1", "kind": "vm"},
        ]));
        rig
    }

    fn change(&mut self, change: Value) {
        self.changes(json!([change]));
    }

    #[track_caller]
    fn changes(&mut self, changes: Value) {
        let changes: Vec<Change> = serde_json::from_value(changes).unwrap();
        let effects = self.registry.apply(&changes).unwrap();
        self.registry.settle();
        for effect in &effects {
            self.told(|publisher| publish(publisher, effect));
        }
    }

    /// An adapter of `vm1`: `adapter_add("net0", json!({"network": "lan0"}))`.
    #[track_caller]
    fn adapter_add(&mut self, adapter: &str, wish: Value) {
        let mut wish = wish;
        wish["port"] = format!("tap,iface={adapter}").into();
        let change = json!({"change": "adapter-add", "guest": "vm1", "adapter": adapter});
        let mut change = change;
        change["wish"] = wish;
        self.change(change);
    }

    /// `vlan` of 0 for untagged.
    #[track_caller]
    fn network_on_uplink(&mut self, change: &str, network: &str, vlan: u16) {
        let mut uplink = json!({"port": "up0"});
        if vlan != 0 {
            uplink["vlan"] = vlan.into();
        }
        let attach = json!({"attach": {"uplink": uplink}});
        let mut change = json!({"change": change, "network": network});
        match change["change"].as_str() {
            Some("network-set") => change["set"] = attach,
            _ => change["attach"] = attach["attach"].clone(),
        }
        self.change(change);
    }

    /// Does something while the worker answers, sends what it touched, and looks for loose ends.
    #[track_caller]
    fn told(&mut self, tell: impl FnOnce(&mut Publisher<MemoryIo>) -> Published) {
        self.tries(tell).unwrap();
    }

    #[track_caller]
    fn tries(&mut self, tell: impl FnOnce(&mut Publisher<MemoryIo>) -> Published) -> Published {
        let (publisher, worker) = (&mut self.publisher, &mut self.worker);
        let is_done = AtomicBool::new(false);
        let told = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    worker.obey(0);
                    std::thread::yield_now();
                }
            });
            let told = tell(publisher).and_then(|()| publisher.finish());
            is_done.store(true, Ordering::Release);
            told
        });
        self.worker.obey(0);
        self.publisher.reclaim();
        self.assert_sound();
        told
    }

    /// Everything that a table names is there.
    #[track_caller]
    fn assert_sound(&self) {
        let publisher = &self.publisher;
        let check = |what: String, adjacency| {
            let row = publisher.adjacencies.row(adjacency);
            let row = row.unwrap_or_else(|| panic!("{what} names row {adjacency:?}, given up"));
            let is_open = row.port == PortId::NONE || publisher.label(row.port).is_some();
            assert!(is_open, "{what} leads to {:?}, closed", row.port);
        };
        for ((address, len), entry) in publisher.rib.said() {
            check(format!("{}/{len} {:?}", Ipv4Addr::from(address), entry.source), entry.adjacency);
        }
        for (name, entry) in &publisher.networks {
            for found in publisher.macs.iter(entry.network.id()) {
                check(format!("{} in {}", found.mac, name.as_str()), found.adjacency);
            }
        }
        for (at, hop) in &publisher.routes.hops {
            check(format!("hop {at:?}"), hop.adjacency);
        }
    }

    fn lose(&mut self, label: &PortLabel) {
        let noun = self.noun(label);
        let label = label.clone();
        self.told(|publisher| {
            match &noun {
                Noun::Adapter(adapter) => publisher.adapter_down(&adapter.key())?,
                Noun::Server(server) => publisher.server_down(server)?,
                Noun::Named(port) => port_down(publisher, port)?,
            }
            publisher.close_port(&label).map(drop)
        });
    }

    fn regain(&mut self, label: &PortLabel) {
        let noun = self.noun(label);
        self.told(|publisher| match &noun {
            Noun::Adapter(adapter) => adapter_in(publisher, adapter),
            Noun::Server(server) => server_in(publisher, server),
            Noun::Named(port) => port_in(publisher, port),
        });
    }

    fn noun(&self, label: &PortLabel) -> Noun {
        match label {
            PortLabel::Named(name) => Noun::Named(self.registry.port(name).unwrap().clone()),
            PortLabel::Server(network) => {
                Noun::Server(self.registry.server(network).unwrap().clone())
            }
            PortLabel::Adapter(label) => {
                let found = self.registry.adapter(&label.guest, &label.adapter);
                Noun::Adapter(found.unwrap().clone())
            }
        }
    }

    fn port_id(&self, label: &PortLabel) -> PortId {
        self.publisher.port(label).unwrap().id
    }

    /// The row that a packet to an address meets.
    fn way(&self, address: &str) -> Adjacency {
        let address: Ipv4Addr = address.parse().unwrap();
        let (_, entry) = self.publisher.rib().best_match(address.into()).unwrap();
        self.publisher.way(entry.adjacency).unwrap()
    }

    /// The row of a MAC.
    fn mac_way(&self, network: &str, mac: MacAddr) -> Option<Adjacency> {
        let id = self.publisher.networks[&name(network)].network.id();
        let entry = self.publisher.macs.find(id, mac)?;
        self.publisher.way(entry.adjacency)
    }

    fn mac_port(&self, network: &str, mac: MacAddr) -> Option<PortLabel> {
        self.publisher.label(self.mac_way(network, mac)?.port).cloned()
    }

    fn learn(&mut self, network: &str, mac: MacAddr, at: &PortLabel) -> Learned {
        let id = self.publisher.networks[&name(network)].network.id();
        let port = self.port_id(at);
        self.publisher.learn(id, mac, port, 1)
    }
}

enum Noun {
    Adapter(Arc<Adapter>),
    Server(Arc<ServerPort>),
    Named(Arc<Port>),
}

/// A worker that runs only when it is told to.
fn worker(fresh: &FreshTables) -> (Worker<MemoryIo>, WorkerEnd<MemoryIo>) {
    let (worker, end, _) = worker_with_bell(fresh);
    (worker, end)
}

fn worker_with_bell(fresh: &FreshTables) -> (Worker<MemoryIo>, WorkerEnd<MemoryIo>, Arc<Bell>) {
    let punts = Arc::new(ArrayQueue::new(64));
    let counters = Arc::new(Counters::new());
    let (tables, pool) = (fresh.tables.clone(), MemoryPool::new(64));
    let path = Path::new(tables, counters.clone(), pool, punts.clone(), Rates::default());
    // A reader of nothing of ours: every grace period is over at once, so that a row or number
    // which is given up is the next to be taken.
    let reader = Qsbr::new(1).register().unwrap();
    let (worker, link) = Worker::new(path, reader, || 0).unwrap();
    let bell = link.bell.clone();
    (worker, WorkerEnd::new(1, link, counters, punts), bell)
}

#[test]
fn a_worker_that_sleeps_is_woken_for_a_command_and_for_a_frame() {
    let fresh = FreshTables::new(1);
    let (mut worker, end, bell) = worker_with_bell(&fresh);
    worker.let_sleep().unwrap();
    let mut workers = Workers::new(vec![end]);
    let patience = Duration::from_secs(10);
    bell.listen();
    workers.set_forwarding(true).unwrap();
    assert!(bell.is_rung_within(patience));
    bell.listen();
    let (port, mut pool) = (PortId(0), MemoryPool::new(1));
    let frame = pool.frame(&[0; 60], port).unwrap();
    assert!(workers.inject(port, Inject::Send { port, frame }).is_ok());
    assert!(bell.is_rung_within(patience));
}

/// What the appliance does for an effect, devices left out.
fn publish(publisher: &mut Publisher<MemoryIo>, effect: &Effect) -> Published {
    match effect {
        Effect::AdapterAdded(adapter) => adapter_in(publisher, adapter),
        Effect::AdapterChanged { old, new } => {
            if old.mtu != new.mtu {
                publisher.set_port_mtu(&port_label(new), new.mtu)?;
            }
            publisher.adapter_change(new)
        }
        Effect::AdapterRemoved(adapter) => {
            publisher.adapter_down(&adapter.key())?;
            publisher.close_port(&port_label(adapter)).map(drop)
        }
        Effect::NetworkAdded(network) => publisher.network_up(network),
        Effect::NetworkChanged { new, .. } => publisher.network_change(new),
        Effect::NetworkRemoved(network) => publisher.network_down(&network.name),
        Effect::ServerAdded(server) => server_in(publisher, server),
        Effect::ServerChanged { old, new } => {
            publisher.server_down(old)?;
            publisher.server_up(new)
        }
        Effect::ServerRemoved(server) => {
            publisher.server_down(server)?;
            publisher.close_port(&PortLabel::Server(server.network.clone())).map(drop)
        }
        Effect::PortAttached(port) => port_in(publisher, port),
        Effect::PortChanged { new, .. } => {
            publisher.set_port_mtu(&PortLabel::Named(new.name.clone()), new.mtu)?;
            publisher.uplink_change(new)
        }
        Effect::ClassAdded(class) => publisher.class_up(class).map(drop),
        Effect::ClassChanged { old, new } => publisher.class_change(old, new, |_| false),
        Effect::ClassRemoved(class) => publisher.class_down(class),
        Effect::PortDetached(port) => {
            port_down(publisher, port)?;
            publisher.close_port(&PortLabel::Named(port.name.clone())).map(drop)
        }
        Effect::RouteAdded(route) => publisher.route_up(route),
        Effect::RouteRemoved(route) => {
            publisher.route_down(route);
            Ok(())
        }
        Effect::StaticMacAdded(fixed) => publisher.static_mac_up(fixed),
        Effect::StaticMacRemoved(fixed) => {
            publisher.static_mac_down(fixed);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn open(publisher: &mut Publisher<MemoryIo>, label: PortLabel, facts: PortFacts) -> Published {
    let port = MemoryPort::new(4);
    let assignment = Assignment::spread(1, 0, 1);
    publisher.open_port(label, facts, vec![port.rx()], vec![port.tx()], assignment).map(drop)
}

fn adapter_in(publisher: &mut Publisher<MemoryIo>, adapter: &Arc<Adapter>) -> Published {
    let facts = PortFacts {
        role: Role::Guest,
        own_mac: adapter.host_mac,
        peer_mac: adapter.mac,
        mtu: adapter.mtu,
    };
    open(publisher, port_label(adapter), facts)?;
    publisher.adapter_up(adapter)
}

fn server_in(publisher: &mut Publisher<MemoryIo>, server: &ServerPort) -> Published {
    let facts = PortFacts {
        role: Role::NetworkServer,
        own_mac: OUR_MAC,
        peer_mac: server.mac,
        mtu: server.mtu,
    };
    open(publisher, PortLabel::Server(server.network.clone()), facts)?;
    publisher.server_up(server)
}

fn port_in(publisher: &mut Publisher<MemoryIo>, port: &Port) -> Published {
    let role = match port.role {
        PortRole::Uplink => Role::Uplink,
        PortRole::Host => Role::Host,
        PortRole::Shared => Role::Shared,
    };
    let peer_mac = port.mac.unwrap_or(MacAddr::ZERO);
    let facts = PortFacts { role, own_mac: OUR_MAC, peer_mac, mtu: port.mtu };
    open(publisher, PortLabel::Named(port.name.clone()), facts)?;
    match role {
        Role::Uplink => publisher.uplink_up(port),
        Role::Host => publisher.host_up(&port.name),
        _ => Ok(()),
    }
}

fn port_down(publisher: &mut Publisher<MemoryIo>, port: &Port) -> Published {
    match port.role {
        PortRole::Uplink => publisher.uplink_down(port),
        PortRole::Host => publisher.host_down(),
        PortRole::Shared => Ok(()),
    }
}
