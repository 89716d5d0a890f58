//! Guests, adapters and networks.

use super::{Out, drops, field, joined, on_off, or_dash, print, table, word};
use crate::api::view::{Adapter, Address, AddressState, Guest, Network, VhostUser};
use crate::model::{NetworkAttach, Rate, shown_rate};
use std::io::{self, Write};

/// Guests, one line per adapter.
pub(super) fn list(out: &mut Out<'_>, guests: &[Guest]) -> io::Result<()> {
    let mut shown =
        table(&["GUEST", "KIND", "ADAPTER", "MODE", "NETWORK", "LINK", "MAC", "ADDRESSES", "PORT"]);
    for guest in guests {
        let head = [guest.guest.to_string(), word(&guest.kind)];
        if guest.adapters.is_empty() {
            let none = std::iter::repeat_n("-".to_owned(), 7);
            shown.add_row(head.clone().into_iter().chain(none));
        }
        for adapter in &guest.adapters {
            let rest = [
                adapter.adapter.to_string(),
                word(&adapter.mode),
                or_dash(adapter.network.as_ref()),
                word(&adapter.link),
                adapter.guest_side.mac.to_string(),
                joined(adapter.guest_side.addresses.iter().map(address)),
                adapter.port.clone(),
            ];
            shown.add_row(head.clone().into_iter().chain(rest));
        }
    }
    print(out, shown, "no guests")
}

/// An address, and its state unless all is well.
fn address(address: &Address) -> String {
    match (address.state, address.holder) {
        (AddressState::Up, _) => address.address.to_string(),
        (state, None) => format!("{} ({})", address.address, word(&state)),
        (state, Some(holder)) => format!("{} ({} with {holder})", address.address, word(&state)),
    }
}

/// One guest, both sides of each adapter.
pub(super) fn one(out: &mut Out<'_>, guest: &Guest) -> io::Result<()> {
    writeln!(out, "guest {} ({})", guest.guest, word(&guest.kind))?;
    guest.adapters.iter().try_for_each(|adapter| one_adapter(out, adapter))
}

fn one_adapter(out: &mut Out<'_>, adapter: &Adapter) -> io::Result<()> {
    let (guest, server) = (&adapter.guest_side, &adapter.server_side);
    let mode = match &adapter.network {
        Some(network) => format!("{}, network {network}", word(&adapter.mode)),
        None => word(&adapter.mode),
    };
    writeln!(out, "adapter {}: {mode}, link {}", adapter.adapter, word(&adapter.link))?;
    field(out, "guest side", or_dash(guest.interface.as_ref()))?;
    field(out, "  MAC", guest.mac)?;
    field(out, "  addresses", joined(guest.addresses.iter().map(address)))?;
    field(out, "  gateway", joined(&guest.gateway))?;
    field(out, "  MTU", guest.mtu)?;
    field(out, "server side", format!("port {} ({})", server.port, adapter.port))?;
    field(out, "  MAC", server.mac)?;
    field(out, "filter", joined(adapter.filter.iter().map(word)))?;
    field(out, "announce", on_off(adapter.announce))?;
    field(out, "probe", on_off(adapter.probe))?;
    limits(out, adapter)?;
    if let Some(vhost) = &adapter.vhost_user {
        vhost_user(out, vhost)?;
    }
    let stats = &adapter.stats;
    field(out, "from guest", format!("{} packets, {} bytes", stats.rx_pkts, stats.rx_bytes))?;
    field(out, "to guest", format!("{} packets, {} bytes", stats.tx_pkts, stats.tx_bytes))?;
    field(out, "dropped", stats.dropped)?;
    if stats.dropped > 0 {
        drops(out, &stats.drops)?;
    }
    Ok(())
}

/// Rates each way, in all and by class, and the storm limit where it is not the built-in one.
fn limits(out: &mut dyn Write, adapter: &Adapter) -> io::Result<()> {
    let ways = |rate: &Rate| {
        let both = [("in", rate.in_bps), ("out", rate.out_bps)];
        joined(both.iter().filter_map(|(way, bps)| Some(format!("{way} {}", shown_rate((*bps)?)))))
    };
    field(out, "rate", or_dash(adapter.rate.as_ref().map(ways)))?;
    let over = [("in", adapter.stats.over_rate_in), ("out", adapter.stats.over_rate_out)];
    let over = over.iter().filter(|(_, count)| *count > 0);
    let over: Vec<String> = over.map(|(way, count)| format!("{way} {count}")).collect();
    if !over.is_empty() {
        field(out, "  dropped", format!("{} frames", over.join(", ")))?;
    }
    for (class, rate) in &adapter.class_rate {
        field(out, &format!("  class {class}"), ways(rate))?;
    }
    match adapter.storm {
        None => Ok(()),
        Some(pps) => field(out, "storm", format!("{pps} frames/s")),
    }
}

/// A vhost-user socket: who is there, and what to give to whom one wants there.
fn vhost_user(out: &mut dyn Write, vhost: &VhostUser) -> io::Result<()> {
    let state = if vhost.connected { "connected" } else { "not connected" };
    let counts = format!("{} came, {} reset", vhost.connects, vhost.resets);
    field(out, "front-end", format!("{state} ({counts})"))?;
    if vhost.connected {
        field(out, "  features", joined(&vhost.features))?;
        let queues = format!("{} of {} in use", vhost.queue_pairs_on, vhost.queue_pairs);
        field(out, "  queue pairs", queues)?;
        field(out, "  MTU", or_dash(vhost.front_end_mtu.as_ref()))?;
    }
    let texts = [
        ("QEMU", vhost.qemu.join("\n")),
        ("libvirt", vhost.libvirt.clone()),
        ("cloud-hypervisor", vhost.cloud_hypervisor.clone()),
        ("DPDK", vhost.dpdk.clone()),
    ];
    for (name, text) in texts {
        writeln!(out, "  {name}:")?;
        text.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
    }
    Ok(())
}

fn attach(attach: &NetworkAttach) -> String {
    match attach {
        NetworkAttach::HostOnly => "host-only".into(),
        NetworkAttach::Uplink { port, vlan: None } => format!("{port}, untagged"),
        NetworkAttach::Uplink { port, vlan: Some(vlan) } => format!("{port}, VLAN {vlan}"),
    }
}

/// Networks, one line each.
pub(super) fn networks(out: &mut Out<'_>, networks: &[Network]) -> io::Result<()> {
    let mut shown = table(&["NETWORK", "ID", "UPLINK", "SERVER", "MEMBERS", "MACS"]);
    for network in networks {
        let macs = network.static_macs + network.learned_macs;
        shown.add_row([
            network.network.to_string(),
            network.id.to_string(),
            attach(&network.attach),
            or_dash(network.server.as_ref().map(|server| &server.port)),
            network.members.len().to_string(),
            macs.to_string(),
        ]);
    }
    print(out, shown, "no networks")
}

/// One network in full.
pub(super) fn network(out: &mut Out<'_>, network: &Network) -> io::Result<()> {
    writeln!(out, "network {} (id {})", network.network, network.id)?;
    field(out, "uplink", attach(&network.attach))?;
    field(out, "unknown unicast", word(&network.unknown_unicast))?;
    field(out, "learning", on_off(network.learning))?;
    field(out, "guests isolated", on_off(network.isolated))?;
    let (most, per_port) = (network.max_macs, network.max_macs_per_port);
    field(
        out,
        "MACs",
        format!("{} static, {} learned", network.static_macs, network.learned_macs),
    )?;
    field(out, "most learned", format!("{most}, {per_port} per port"))?;
    field(out, "forgotten after", format!("{} s", network.age_s))?;
    match &network.server {
        None => field(out, "server", "-")?,
        Some(server) => {
            let addresses = joined(&server.addresses);
            let link = word(&server.link);
            field(out, "server", format!("{}, link {link}", server.port))?;
            field(out, "  MAC", server.mac)?;
            field(out, "  addresses", addresses)?;
        }
    }
    let mut members = table(&["MEMBER", "MAC", "LINK"]);
    for member in &network.members {
        members.add_row([member.adapter.to_string(), member.mac.to_string(), word(&member.link)]);
    }
    print(out, members, "no members")
}
