//! What runs, as a configuration file: `show config`. Values that are defaults are left out, generated
//! MACs too, so that the text is what an operator would have written.

use super::Appliance;
use super::fields::{
    Field, kind, of_adapter, of_appliance, of_class, of_neighbor, of_network, of_port, of_route,
    of_server, of_static_mac, quoted,
};
use crate::model::PortRole;
use crate::registry::{Identity, Network, Registry};
use std::fmt::Write;

/// The appliance and everything registered, as TOML that [`super::parse`] reads back.
pub fn render(appliance: &Appliance, registry: &Registry) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_all(&mut out, appliance, registry);
    out
}

fn write_all(out: &mut String, appliance: &Appliance, registry: &Registry) -> std::fmt::Result {
    write_appliance(out, appliance)?;
    for port in registry.ports() {
        let head = match port.role {
            PortRole::Uplink => "[[uplink]]",
            PortRole::Host if port.name.as_str() == "host" => "[host]",
            PortRole::Host | PortRole::Shared => "[[port]]",
        };
        writeln!(out, "\n{head}")?;
        if head != "[host]" {
            writeln!(out, "name = {}", quoted(&port.name))?;
        }
        if head == "[[port]]" {
            let role = if port.role == PortRole::Host { "host" } else { "shared" };
            writeln!(out, "role = {}", quoted(role))?;
        }
        write_fields(out, &of_port(port))?;
    }
    write_networks(out, registry)?;
    for guest in registry.guests() {
        writeln!(out, "\n[[guest]]\nname = {}", quoted(&guest.name))?;
        writeln!(out, "kind = {}", quoted(kind(guest.kind)))?;
        for adapter in registry.adapters_of(&guest.name) {
            writeln!(out, "[[guest.adapter]]\nname = {}", quoted(&adapter.name))?;
            write_fields(out, &of_adapter(adapter, registry))?;
        }
    }
    write_rest(out, registry)
}

fn write_appliance(out: &mut String, appliance: &Appliance) -> std::fmt::Result {
    writeln!(out, "[appliance]")?;
    write_fields(out, &of_appliance(appliance))
}

fn write_networks(out: &mut String, registry: &Registry) -> std::fmt::Result {
    let plain = plain_network();
    for network in registry.networks() {
        let fields = plain.iter().flat_map(|plain| of_network(network, plain));
        let fields: Vec<Field> = fields.filter(|field| !field.is_default).collect();
        let server = registry.server(&network.name);
        // The network default is there without being written.
        if network.number == 0 && fields.is_empty() && server.is_none() {
            continue;
        }
        writeln!(out, "\n[[network]]\nname = {}", quoted(&network.name))?;
        write_fields(out, &fields)?;
        if let Some(server) = server {
            writeln!(out, "[network.server]")?;
            write_fields(out, &of_server(server))?;
        }
    }
    Ok(())
}

fn write_rest(out: &mut String, registry: &Registry) -> std::fmt::Result {
    let macs = registry.static_macs().map(|entry| ("mac", of_static_mac(entry)));
    let neighbors = registry.neighbors().map(|entry| ("neighbor", of_neighbor(entry)));
    let routes = registry.routes().map(|entry| ("route", of_route(&entry)));
    let classes = registry.classes().map(|entry| ("class", of_class(entry)));
    for (noun, fields) in macs.chain(neighbors).chain(routes).chain(classes) {
        writeln!(out, "\n[[{noun}]]")?;
        write_fields(out, &fields)?;
    }
    Ok(())
}

fn write_fields(out: &mut String, fields: &[Field]) -> std::fmt::Result {
    let said = fields.iter().filter(|field| !field.is_default);
    said.into_iter().try_for_each(|field| writeln!(out, "{} = {}", field.key, field.value))
}

/// A network with nothing set: the one of an empty registry.
pub(super) fn plain_network() -> Option<Network> {
    let empty = Registry::new(Identity { seed: 0 });
    empty.networks().next().map(|network| Network::clone(network))
}
