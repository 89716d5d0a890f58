//! What differs, item by item and key by key.

use super::Difference;
use crate::config::fields::{Field, kind, list, of_adapter, of_network, of_port, of_server};
use crate::config::render::plain_network;
use crate::model::{Name, Via};
use crate::registry::{AdapterKey, Network, Port, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Keys of a port that are set while it runs.
const LIVE: [&str; 5] = ["addresses", "gateway", "mtu", "probe", "configure"];

/// Everything that differs between the state that the file makes and what runs.
pub(super) fn compare(wanted: &Registry, running: &Registry) -> Vec<Difference> {
    let mut found = Vec::new();
    compare_ports(&mut found, wanted, running);
    compare_networks(&mut found, wanted, running);
    compare_guests(&mut found, wanted, running);
    compare_entries(&mut found, wanted, running);
    found
}

fn compare_ports(found: &mut Vec<Difference>, wanted: &Registry, running: &Registry) {
    for port in wanted.ports() {
        let what = format!("port {}", port.name);
        let Some(other) = running.port(&port.name) else {
            only(found, &what, true);
            continue;
        };
        // A port that is made of another device or has other queues is another port: what hangs on it
        // would have to go first.
        let is_same_kind = port.role == other.role;
        let pick = |port: &Port, live: bool| -> Vec<Field> {
            let is_live = |field: &Field| is_same_kind && LIVE.contains(&field.key);
            of_port(port).into_iter().filter(|field| is_live(field) == live).collect()
        };
        fields(found, &what, pick(port, true), pick(other, true));
        let live = found.len();
        if !is_same_kind {
            let said = |port: &Port| Some(format!("{:?}", port.role).to_lowercase());
            let (file, running) = (said(port), said(other));
            let what = format!("{what} role");
            found.push(Difference { what, file, running, needs_start: true });
        }
        fields(found, &what, pick(port, false), pick(other, false));
        found.iter_mut().skip(live).for_each(|difference| difference.needs_start = true);
    }
    let gone = running.ports().filter(|port| wanted.port(&port.name).is_none());
    gone.for_each(|port| only(found, &format!("port {}", port.name), false));
}

fn only(found: &mut Vec<Difference>, what: &str, in_file: bool) {
    let side = |here: bool| here.then(String::new);
    let (file, running) = (side(in_file), side(!in_file));
    found.push(Difference { what: what.to_owned(), file, running, needs_start: false });
}

/// Notes the keys that differ. A key that only one of them has differs from nothing.
pub(super) fn fields(
    found: &mut Vec<Difference>,
    what: &str,
    file: Vec<Field>,
    running: Vec<Field>,
) {
    let value = |fields: &[Field], key| {
        fields.iter().find(|field| field.key == key).map(|field| field.value.clone())
    };
    let keys: BTreeSet<&str> = file.iter().chain(&running).map(|field| field.key).collect();
    for key in keys {
        let left_out = file.iter().any(|field| field.key == key && field.is_default);
        let (new, old) = (value(&file, key), value(&running, key));
        if new == old || (key == "mac" && left_out) {
            continue;
        }
        let said = |value: Option<String>| Some(value.unwrap_or_else(|| "none".to_owned()));
        let what = format!("{what} {key}");
        let (file, running) = (said(new), said(old));
        found.push(Difference { what, file, running, needs_start: false });
    }
}

fn compare_networks(found: &mut Vec<Difference>, wanted: &Registry, running: &Registry) {
    let plain = plain_network();
    let keys = |network: &Network| {
        plain.as_ref().map(|plain| of_network(network, plain)).unwrap_or_default()
    };
    let names = |registry: &Registry| registry.networks().map(|n| n.name.clone()).collect();
    let (new, old): (BTreeSet<Name>, BTreeSet<Name>) = (names(wanted), names(running));
    for name in new.union(&old) {
        let what = format!("network {name}");
        match (wanted.network(name), running.network(name)) {
            (Some(new), Some(old)) => fields(found, &what, keys(new), keys(old)),
            (new, _) => only(found, &what, new.is_some()),
        }
        let what = format!("{what} server");
        match (wanted.server(name), running.server(name)) {
            (Some(new), Some(old)) => fields(found, &what, of_server(new), of_server(old)),
            (None, None) => {}
            (new, _) => only(found, &what, new.is_some()),
        }
    }
}

fn compare_guests(found: &mut Vec<Difference>, wanted: &Registry, running: &Registry) {
    let names = |registry: &Registry| registry.guests().map(|g| g.name.clone()).collect();
    let (new, old): (BTreeSet<Name>, BTreeSet<Name>) = (names(wanted), names(running));
    for name in new.union(&old) {
        match (wanted.guest(name), running.guest(name)) {
            (Some(new), Some(old)) if new.kind != old.kind => {
                let said = |guest| Some(kind(guest).to_owned());
                let (file, running) = (said(new.kind), said(old.kind));
                let what = format!("guest {name} kind");
                found.push(Difference { what, file, running, needs_start: false });
            }
            (Some(_), Some(_)) => {}
            (new, _) => only(found, &format!("guest {name}"), new.is_some()),
        }
    }
    let keys = |registry: &Registry| registry.adapters().map(|a| a.key()).collect();
    let (new, old): (BTreeSet<AdapterKey>, BTreeSet<AdapterKey>) = (keys(wanted), keys(running));
    for key in new.union(&old) {
        let what = format!("adapter {key}");
        match (wanted.adapter_by_key(key), running.adapter_by_key(key)) {
            (Some(new), Some(old)) => {
                fields(found, &what, of_adapter(new, wanted), of_adapter(old, running));
            }
            (new, _) => only(found, &what, new.is_some()),
        }
    }
}

/// Routes, neighbors, fixed MACs and classes.
fn compare_entries(found: &mut Vec<Difference>, wanted: &Registry, running: &Registry) {
    let entries = |registry: &Registry| -> BTreeMap<String, String> {
        let via = |via: &Via| match via {
            Via::NextHop(ip) => format!("via {ip}"),
            Via::Dev(port) => format!("dev {port}"),
        };
        let routes = registry.routes().map(|r| (format!("route {}", r.prefix), via(&r.via)));
        let neighbors = registry.neighbors().map(|n| {
            let ip: IpAddr = n.ip;
            (format!("neighbor {ip}"), format!("{} dev {}", n.mac, n.dev))
        });
        let macs = registry
            .static_macs()
            .map(|m| (format!("mac {} {}", m.network, m.mac), format!("{:?}", m.to)));
        let classes = registry.classes().map(|c| (format!("class {}", c.name), list(&c.prefixes)));
        routes.chain(neighbors).chain(macs).chain(classes).collect()
    };
    let (new, old) = (entries(wanted), entries(running));
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    for what in names {
        match (new.get(what), old.get(what)) {
            (Some(file), Some(running)) if file == running => {}
            (Some(file), Some(running)) => found.push(Difference {
                what: what.clone(),
                file: Some(file.clone()),
                running: Some(running.clone()),
                needs_start: false,
            }),
            (file, _) => only(found, what, file.is_some()),
        }
    }
}
