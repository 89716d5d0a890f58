//! Guests and their adapters.

use super::{absent, drop_counts, front_end};
use crate::api::backend::Refusal;
use crate::api::view::{
    Adapter, AdapterLabel, AdapterStats, Address, AddressState, Guest, GuestSide, Link, PortLabel,
    ServerSide, VhostUser,
};
use crate::appliance::Appliance;
use crate::model::{Mode, Name, PortSpec};
use crate::neighbor::{ClaimStatus, Target};
use crate::publish::port_label;
use crate::registry;
use dataplane::counters::AdapterCounter;
use dataplane::wire::ethernet::MacAddr;
use ipnet::IpNet;
use std::net::IpAddr;
use std::num::NonZeroU32;

impl Appliance {
    pub(super) fn guests(&self, name: Option<&Name>) -> Result<Vec<Guest>, Refusal> {
        let chosen = self.registry.guests().filter(|guest| name.is_none_or(|n| *n == guest.name));
        let guests: Vec<Guest> =
            chosen.map(|guest| self.guest(guest, |adapter| self.adapter(adapter))).collect();
        match name {
            Some(name) if guests.is_empty() => Err(absent("guest", name, "show guest all")),
            _ => Ok(guests),
        }
    }

    /// A guest, each of its adapters as `view` has it.
    pub(super) fn guest(
        &self,
        guest: &registry::Guest,
        view: impl Fn(&registry::Adapter) -> Adapter,
    ) -> Guest {
        Guest {
            guest: guest.name.clone(),
            kind: guest.kind,
            adapters: self.registry.adapters_of(&guest.name).map(|a| view(a)).collect(),
        }
    }

    fn adapter(&self, adapter: &registry::Adapter) -> Adapter {
        Adapter { vhost_user: self.vhost_user(adapter), ..self.adapter_brief(adapter) }
    }

    /// Without what is to be given to a VM monitor, which is most of the text.
    pub(super) fn adapter_brief(&self, adapter: &registry::Adapter) -> Adapter {
        let label = port_label(adapter);
        let device = self.devices.get(&label);
        let interface = device.filter(|_| adapter.shared_port().is_none());
        Adapter {
            guest: adapter.guest.clone(),
            adapter: adapter.name.clone(),
            mode: adapter.mode,
            network: adapter.network.clone(),
            port: adapter.spec.to_string(),
            link: self.link(&label),
            guest_side: GuestSide {
                interface: interface.and_then(|device| device.interface.clone()),
                mac: adapter.mac,
                addresses: adapter.addresses.iter().map(|n| self.address(adapter, *n)).collect(),
                gateway: adapter.gateways.clone(),
                mtu: adapter.mtu,
            },
            server_side: ServerSide { port: label, mac: adapter.host_mac },
            filter: adapter.filter.clone(),
            announce: adapter.announce,
            probe: adapter.probe,
            rate: adapter.limits.rate.asked(),
            class_rate: adapter.limits.class_rates(),
            storm: adapter.limits.storm_pps.map(NonZeroU32::get),
            vhost_user: None,
            stats: self.adapter_stats(adapter),
        }
    }

    fn vhost_user(&self, adapter: &registry::Adapter) -> Option<VhostUser> {
        let PortSpec::VhostUser(spec) = &adapter.spec else { return None };
        let device = self.devices.get(&port_label(adapter));
        let state = device.and_then(|device| device.port.vhost_state());
        Some(front_end::describe(adapter, spec, state.as_ref()))
    }

    /// The worst state that an address has on any uplink.
    pub(super) fn address(&self, adapter: &registry::Adapter, net: IpNet) -> Address {
        let (mut state, mut holder) = (AddressState::Up, None);
        if !adapter.announce {
            state = AddressState::Unannounced;
        } else if let (Mode::HostRouted, IpAddr::V4(ip)) = (adapter.mode, net.addr()) {
            let ports = self.registry.uplinks().filter_map(|up| self.named_port(&up.name));
            for port in ports {
                match self.claims.status(Target { port, ip }) {
                    Some(ClaimStatus::Conflict(mac)) => {
                        (state, holder) = (AddressState::Conflict, Some(mac));
                    }
                    Some(ClaimStatus::Probing) if state == AddressState::Up => {
                        state = AddressState::Probing;
                    }
                    _ => {}
                }
            }
        }
        Address { address: net, state, holder }
    }

    fn adapter_stats(&self, adapter: &registry::Adapter) -> AdapterStats {
        let Some(id) = self.publisher.adapter_id(&adapter.key()) else {
            return AdapterStats::default();
        };
        let counts = self.adapter_counts(id);
        let (over_rate_in, over_rate_out) = self.publisher.over_limit(id).unwrap_or_default();
        AdapterStats {
            rx_pkts: counts.counter(AdapterCounter::RxPkts),
            rx_bytes: counts.counter(AdapterCounter::RxBytes),
            tx_pkts: counts.counter(AdapterCounter::TxPkts),
            tx_bytes: counts.counter(AdapterCounter::TxBytes),
            dropped: counts.drops_total(),
            drops: drop_counts(|reason| counts.drops(reason)),
            over_rate_in,
            over_rate_out,
        }
    }

    /// A port's link as it was last seen.
    pub(super) fn link(&self, label: &PortLabel) -> Link {
        match self.devices.get(label).map(|device| device.is_up) {
            Some(Some(true)) => Link::Up,
            Some(None) => Link::Unknown,
            Some(Some(false)) | None => Link::Down,
        }
    }
}

/// How an adapter is named in answers.
pub(super) fn label_of(adapter: &registry::Adapter) -> AdapterLabel {
    AdapterLabel { guest: adapter.guest.clone(), adapter: adapter.name.clone() }
}

/// The far side's MAC, where there is exactly one.
pub(super) fn peer(mac: MacAddr) -> Option<MacAddr> {
    (mac != MacAddr::ZERO).then_some(mac)
}
