//! What runs, written into the file that the operator keeps. Only what differs is touched: comments, the
//! order of tables and keys, and values that are written in another way but say the same stay as they
//! are. What no longer runs goes with the comments above it; what is new goes behind its like.
//!
//! A key is touched by the same rule as `show config --diff` reports it, so afterwards the file and what
//! runs agree, but for what takes effect at a start only.

mod tables;

use super::fields::{
    Field, kind, of_adapter, of_class, of_neighbor, of_network, of_port, of_route, of_server,
    of_static_mac, quoted,
};
use super::render::plain_network;
use super::{Config, Difference, parse};
use crate::model::{Name, PortRole, parse_prefix};
use crate::registry::{
    AdapterKey, DEFAULT_NETWORK, Guest, Identity, Network, Port, Registry, StaticMac,
};
use dataplane::wire::ethernet::MacAddr;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;
use toml_edit::{DocumentMut, Table};

/// Both sides of one table of the file, by what the table is called.
type Sides = BTreeMap<String, (Option<Vec<Field>>, Option<Vec<Field>>)>;

/// The file's text with what runs in it.
///
/// # Errors
/// One line: the text is no configuration, or is written in a form that this can't take up.
pub fn merge(file: &Path, text: &str, running: &Registry) -> Result<String, String> {
    let config = parse(file, text).map_err(|errors| first(&errors))?;
    if differing(&config, running)?.is_none() {
        return Ok(text.to_owned());
    }
    let wanted = state_of(&config, running.identity())?;
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    let root = document.as_table_mut();
    merge_ports(root, &wanted, running)?;
    merge_networks(root, &wanted, running)?;
    merge_guests(root, &wanted, running)?;
    merge_entries(root, &wanted, running)?;
    let merged = document.to_string();
    let again = parse(file, &merged).map_err(|errors| first(&errors))?;
    match differing(&again, running)? {
        None => Ok(merged),
        Some(difference) => Err(format!(
            "{} is written in a form that can't be kept up to date ({difference}); `show config` \
             prints what runs",
            file.display()
        )),
    }
}

/// Replaces a file's text: the old one or the new one is there, whatever happens. A link stays one.
///
/// # Errors
/// The system's.
pub fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let dir = file.parent().unwrap_or(Path::new("/"));
    let meta = fs::metadata(&file)?;
    let mut next = tempfile::Builder::new().prefix(".guestway-").tempfile_in(dir)?;
    next.write_all(text.as_bytes())?;
    next.as_file().set_permissions(meta.permissions())?;
    fchown(next.as_file(), Some(meta.uid()), Some(meta.gid()))?;
    next.as_file().sync_all()?;
    next.persist(&file)?;
    File::open(dir)?.sync_all()
}

/// The first of a file's errors, and how to see the others.
pub(crate) fn first(errors: &[super::ConfigError]) -> String {
    match errors {
        [] => "the file can't be read".to_owned(),
        [one] => one.to_string(),
        [one, others @ ..] => format!(
            "{one} (and {} more: guestway check --config {})",
            others.len(),
            one.file.display()
        ),
    }
}

/// What the file says and does not run, were it started anew too.
fn differing(config: &Config, running: &Registry) -> Result<Option<Difference>, String> {
    let found = super::diff(config, running).map_err(|refusal| refusal.message)?;
    Ok(found.differences.into_iter().next())
}

fn state_of(config: &Config, identity: Identity) -> Result<Registry, String> {
    let mut state = Registry::new(identity);
    let attached = state.apply_from_file(&config.attach_ports()).map(drop);
    let applied = attached.and_then(|()| state.apply(&config.initial).map(drop));
    applied.map_err(|refusal| refusal.message)?;
    Ok(state)
}

/// How a port's table is called.
fn port_noun(port: &Port) -> &'static str {
    match port.role {
        PortRole::Uplink => "uplink",
        PortRole::Host if port.name.as_str() == "host" => "host",
        PortRole::Host | PortRole::Shared => "port",
    }
}

fn merge_ports(root: &mut Table, wanted: &Registry, running: &Registry) -> Result<(), String> {
    for noun in ["uplink", "port"] {
        let fields = |port: &Port| {
            let mut fields = vec![said("name", quoted(&port.name))];
            if noun == "port" {
                let role = if port.role == PortRole::Host { "host" } else { "shared" };
                fields.push(said("role", quoted(role)));
            }
            fields.extend(of_port(port));
            fields
        };
        let of = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
            let ports = registry.ports().filter(|port| port_noun(port) == noun);
            ports.map(|port| (port.name.to_string(), fields(port))).collect()
        };
        tables::merge_all(root, noun, &sides(of(wanted), of(running)), &by_name)?;
    }
    let host = |registry: &Registry| {
        let port = registry.ports().find(|port| port_noun(port) == "host");
        port.map(|port| of_port(port))
    };
    tables::merge_one(root, "host", host(wanted), host(running))
}

fn merge_networks(root: &mut Table, wanted: &Registry, running: &Registry) -> Result<(), String> {
    let plain = plain_network();
    let fields = |network: &Network| {
        let name = said("name", quoted(&network.name));
        let keys = plain.iter().flat_map(|plain| of_network(network, plain));
        std::iter::once(name).chain(keys).collect::<Vec<Field>>()
    };
    // The network `default` is there without being written.
    let is_written = tables::has(root, "network", DEFAULT_NETWORK);
    let is_said = |registry: &Registry, network: &Network| {
        network.number != 0
            || is_written
            || registry.server(&network.name).is_some()
            || fields(network).iter().skip(1).any(|field| !field.is_default)
    };
    let of = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
        let networks = registry.networks().filter(|network| is_said(registry, network));
        networks.map(|network| (network.name.to_string(), fields(network))).collect()
    };
    tables::merge_all(root, "network", &sides(of(wanted), of(running)), &by_name)?;
    tables::for_each(root, "network", |table| {
        let Some(name) = by_name(table).and_then(|name| name.parse::<Name>().ok()) else {
            return Ok(());
        };
        let server = |registry: &Registry| registry.server(&name).map(|server| of_server(server));
        tables::merge_one(table, "server", server(wanted), server(running))
    })
}

fn merge_guests(root: &mut Table, wanted: &Registry, running: &Registry) -> Result<(), String> {
    let of = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
        let fields = |guest: &Guest| {
            vec![said("name", quoted(&guest.name)), said("kind", quoted(kind(guest.kind)))]
        };
        registry.guests().map(|guest| (guest.name.to_string(), fields(guest))).collect()
    };
    tables::merge_all(root, "guest", &sides(of(wanted), of(running)), &by_name)?;
    tables::for_each(root, "guest", |table| {
        let Some(guest) = by_name(table).and_then(|name| name.parse::<Name>().ok()) else {
            return Ok(());
        };
        let of = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
            let fields = |key: &AdapterKey| {
                let keys = registry.adapter_by_key(key).map(|one| of_adapter(one, registry));
                std::iter::once(said("name", quoted(&key.adapter)))
                    .chain(keys.unwrap_or_default())
                    .collect()
            };
            let keys = registry.adapters_of(&guest).map(|adapter| adapter.key());
            keys.map(|key| (key.adapter.to_string(), fields(&key))).collect()
        };
        tables::merge_all(table, "adapter", &sides(of(wanted), of(running)), &by_name)
    })
}

fn merge_entries(root: &mut Table, wanted: &Registry, running: &Registry) -> Result<(), String> {
    let macs = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
        let id = |entry: &StaticMac| format!("{} {}", entry.network, entry.mac);
        registry.static_macs().map(|entry| (id(entry), of_static_mac(entry))).collect()
    };
    let by_mac = |table: &Table| {
        let mac: MacAddr = text(table, "mac")?.parse().ok()?;
        Some(format!("{} {mac}", text(table, "network")?))
    };
    tables::merge_all(root, "mac", &sides(macs(wanted), macs(running)), &by_mac)?;
    let neighbors = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
        registry.neighbors().map(|entry| (entry.ip.to_string(), of_neighbor(entry))).collect()
    };
    let by_ip = |table: &Table| {
        let ip: IpAddr = text(table, "ip")?.parse().ok()?;
        Some(ip.to_string())
    };
    tables::merge_all(root, "neighbor", &sides(neighbors(wanted), neighbors(running)), &by_ip)?;
    let routes = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
        registry.routes().map(|route| (route.prefix.to_string(), of_route(&route))).collect()
    };
    let by_prefix = |table: &Table| Some(parse_prefix(text(table, "prefix")?).ok()?.to_string());
    tables::merge_all(root, "route", &sides(routes(wanted), routes(running)), &by_prefix)?;
    let classes = |registry: &Registry| -> Vec<(String, Vec<Field>)> {
        registry.classes().map(|class| (class.name.to_string(), of_class(class))).collect()
    };
    tables::merge_all(root, "class", &sides(classes(wanted), classes(running)), &by_name)
}

fn said(key: &'static str, value: String) -> Field {
    Field { key, value, is_default: false }
}

fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str()
}

fn by_name(table: &Table) -> Option<String> {
    text(table, "name").map(str::to_owned)
}

fn sides(file: Vec<(String, Vec<Field>)>, running: Vec<(String, Vec<Field>)>) -> Sides {
    let mut all = Sides::new();
    file.into_iter().for_each(|(id, fields)| all.entry(id).or_default().0 = Some(fields));
    running.into_iter().for_each(|(id, fields)| all.entry(id).or_default().1 = Some(fields));
    all
}
