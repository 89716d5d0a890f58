//! The kernel's end of a tap: MAC, MTU, addresses and routes.

use super::{place_of, refuse};
use crate::api::backend::Refusal;
use crate::api::view::PortLabel;
use crate::appliance::Appliance;
use crate::kernel::{self, InterfaceSetup, Place};
use crate::model::{Mode, PortSpec};
use crate::registry::{Adapter, DEFAULT_GATEWAY, Port as NamedPort, ServerPort};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

impl Appliance {
    /// Sets up the guest's end of an adapter's tap: MAC, MTU, and addresses and default route where
    /// it is host-routed; in a network they are the guest's own business.
    pub(in crate::appliance) fn configure_adapter(&self, adapter: &Adapter) -> Result<(), Refusal> {
        let PortSpec::Tap(tap) = &adapter.spec else { return Ok(()) };
        let Some(device) = self.devices.get(&crate::publish::port_label(adapter)) else {
            return Ok(());
        };
        let Some(interface) = &device.interface else { return Ok(()) };
        let place = device.netns.as_ref().map_or(Place::Here, place_of);
        // Without a namespace the interface is born in ours, for the operator to move to the guest:
        // its addresses are the guest's business then, and once it has moved everything is.
        if device.netns.is_none() && !kernel::exists(&place, interface) {
            return Ok(());
        }
        let is_routed = adapter.mode == Mode::HostRouted;
        let is_ours_to_address = tap.configure && device.netns.is_some() && is_routed;
        let gateway = adapter.gateways.iter().find_map(ipv4_of);
        // Back in a network the guest keeps what it had, and changes it as it likes.
        let addresses = is_ours_to_address
            .then(|| adapter.addresses.iter().filter_map(|net| guest_address(*net)).collect());
        self.configure(&InterfaceSetup {
            place,
            interface: interface.clone(),
            alternative_name: device.netns.as_ref().and(tap.alternative_name()).map(str::to_owned),
            mac: Some(adapter.mac),
            mtu: Some(adapter.mtu),
            addresses,
            gateway: gateway.filter(|_| is_ours_to_address),
            static_neighbor: None,
            up: tap.configure,
        })
    }

    /// Sets up the server's end of its port on a network.
    pub(in crate::appliance) fn configure_server(
        &self,
        server: &ServerPort,
    ) -> Result<(), Refusal> {
        let Some(device) = self.devices.get(&PortLabel::Server(server.network.clone())) else {
            return Ok(());
        };
        let Some(interface) = device.interface.clone().filter(|_| server.spec.is_tap()) else {
            return Ok(());
        };
        if matches!(&server.spec, PortSpec::Tap(tap) if !tap.configure) {
            return Ok(());
        }
        self.configure(&InterfaceSetup {
            place: device.netns.as_ref().map_or(Place::Here, place_of),
            interface,
            alternative_name: None,
            mac: Some(server.mac),
            mtu: Some(server.mtu),
            addresses: Some(server.addresses.clone()),
            gateway: None,
            static_neighbor: None,
            up: true,
        })
    }

    /// Sets up the kernel's end of a named port: of the host port with the uplinks' addresses and
    /// the server's default route, of a shared port with its default route; an uplink's is the LAN's.
    pub(in crate::appliance) fn configure_named(&self, port: &NamedPort) -> Result<(), Refusal> {
        use crate::model::PortRole;
        let Some(device) = self.devices.get(&PortLabel::Named(port.name.clone())) else {
            return Ok(());
        };
        let is_wanted = port.configure && port.spec.is_tap() && port.role != PortRole::Uplink;
        let Some(interface) = device.interface.clone().filter(|_| is_wanted) else {
            return Ok(());
        };
        let uplinks = self.registry.uplinks().flat_map(|uplink| uplink.addresses.iter());
        let addresses = uplinks.filter_map(|net| guest_address(IpNet::from(net.addr())));
        let is_host = port.role == PortRole::Host;
        let gateway = ipv4_of(&DEFAULT_GATEWAY);
        let own_mac = self.registry.gateway_mac();
        self.configure(&InterfaceSetup {
            place: device.netns.as_ref().map_or(Place::Here, place_of),
            interface,
            alternative_name: None,
            mac: port.mac,
            mtu: Some(port.mtu),
            addresses: Some(addresses.filter(|_| is_host).collect()),
            gateway,
            // A shared port's kernel routes for others and has no address to ask with.
            static_neighbor: gateway.filter(|_| !is_host).map(|gateway| (gateway, own_mac)),
            up: true,
        })
    }

    fn configure(&self, setup: &InterfaceSetup) -> Result<(), Refusal> {
        kernel::configure(setup).map_err(|error| refuse(error.to_string()))
    }
}

fn ipv4_of(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

/// What an interface gets of a registered prefix: a single address. A whole prefix that is routed to a
/// guest is its own to use.
fn guest_address(net: IpNet) -> Option<IpNet> {
    matches!(net, IpNet::V4(net) if net.prefix_len() == 32).then_some(net)
}
