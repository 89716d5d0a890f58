//! The kernel's end of a tap, set up by netlink: names, MAC, MTU, addresses, default route.
//!
//! A guest's interface lives in the guest's namespace. Each call runs in a thread of its own that
//! enters that namespace, asks and ends, so the caller never leaves its own; and it waits at most
//! [`PATIENCE`], because the kernel may hold the lock of its network configuration for long.
//!
//! **What is ours.** Every address and route that we set carries our protocol number, as a routing
//! daemon's do (`ip address` and `ip route` show it as `proto 103`). A guest in a virtual network,
//! or one with `configure = off`, sets addresses of its own, and we meet them again at each change
//! of MTU and at each restart. So no addresses wanted means none of *ours*: what the guest set
//! itself stays. Addresses wanted means exactly those, because any other source address would only
//! be dropped by the guard. Kernels before 5.18 forget the mark of an address: there a guest that
//! leaves host-routed mode keeps its old address until it is given others.
//!
//! IPv4 only: IPv6 addresses are neither set nor removed, the kernel's link-local ones included.

use dataplane::wire::ethernet::MacAddr;
use ipnet::{IpNet, Ipv4Net};
use rtnetlink::{Handle, LinkUnspec};
use std::net::Ipv4Addr;

pub use error::{KernelError, Trouble};
pub use place::Place;
pub use session::PATIENCE;

mod error;
mod inet;
mod link;
mod place;
mod session;
#[cfg(test)]
mod tests;

/// What an interface is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceSetup {
    /// Namespace in which it is.
    pub place: Place,
    /// Its name there; it must exist.
    pub interface: String,
    /// A second name by which it can be called too; left out where another interface has it.
    pub alternative_name: Option<String>,
    /// MAC; `None` leaves it.
    pub mac: Option<MacAddr>,
    /// MTU in bytes; `None` leaves it.
    pub mtu: Option<u16>,
    /// Its IPv4 addresses: exactly these; where there are none, what we set before is removed. `None`
    /// leaves them.
    pub addresses: Option<Vec<IpNet>>,
    /// Next hop of the default route, on-link: it need not be inside any prefix of the interface.
    /// `None` removes the default route that we set on this interface before.
    pub gateway: Option<Ipv4Addr>,
    /// A permanent neighbor entry, for an interface with no address to resolve the gateway from.
    pub static_neighbor: Option<(Ipv4Addr, MacAddr)>,
    /// Bring it up; `false` leaves it as it is.
    pub up: bool,
}

/// What an interface is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct InterfaceState {
    /// It is there. If not, the rest is empty.
    pub exists: bool,
    /// Somebody brought it up.
    pub up: bool,
    /// The far side is there; a tap's is the process that holds it.
    pub carrier: bool,
    /// MAC, where it has one.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Addresses of both families with their prefix lengths.
    pub addresses: Vec<IpNet>,
}

/// Makes the interface what `setup` says. What is so already is not touched, so that it can be
/// called again at any time, also with another setup while traffic flows.
pub fn configure(setup: &InterfaceSetup) -> Result<(), KernelError> {
    let wanted = setup.clone();
    session::ask(&setup.place, &setup.interface, async move |kernel| settle(&kernel, &wanted).await)
}

/// The order matters: a new MAC drops neighbor entries, a route needs the interface up, and the
/// last address that goes takes the interface's routes with it.
async fn settle(kernel: &Handle, wanted: &InterfaceSetup) -> Result<(), Trouble> {
    let link = link::find(kernel, &wanted.interface).await?.ok_or(Trouble::NoInterface)?;
    if let Some(name) = wanted.alternative_name.as_deref().filter(|name| !link.is_called(name)) {
        link::add_name(kernel, link.index, name).await?;
    }
    let change = || LinkUnspec::new_with_index(link.index);
    if let Some(mac) = wanted.mac.filter(|mac| link.mac != Some(*mac)) {
        let message = change().address(mac.0.to_vec());
        link::change(kernel, message, &format!("set MAC {mac}")).await?;
    }
    if let Some(mtu) = wanted.mtu.map(u32::from).filter(|mtu| link.mtu != Some(*mtu)) {
        link::change(kernel, change().mtu(mtu), &format!("set MTU {mtu}")).await?;
    }
    if wanted.up && !link.is_up {
        link::change(kernel, change().up(), "bring it up").await?;
    }
    if let Some(addresses) = &wanted.addresses {
        inet::settle_addresses(kernel, link.index, &ipv4_of(addresses)).await?;
    }
    inet::settle_default_route(kernel, link.index, wanted.gateway).await?;
    if let Some((ip, mac)) = wanted.static_neighbor {
        inet::set_neighbor(kernel, link.index, ip, mac).await?;
    }
    Ok(())
}

fn ipv4_of(addresses: &[IpNet]) -> Vec<Ipv4Net> {
    let ipv4 = |net: &IpNet| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    };
    addresses.iter().filter_map(ipv4).collect()
}

/// Deletes an interface. One that is not there is deleted already, and so is one whose namespace is
/// gone: a namespace takes its taps with it.
pub fn delete(place: &Place, interface: &str) -> Result<(), KernelError> {
    let name = interface.to_owned();
    let asked = session::ask(place, interface, async move |kernel| {
        let Some(link) = link::find(&kernel, &name).await? else { return Ok(()) };
        link::delete(&kernel, link.index).await
    });
    match asked {
        Err(KernelError { trouble: Trouble::NoPlace { .. }, .. }) => Ok(()),
        result => result,
    }
}

/// Looks at an interface. One that is not there is no error; a namespace that is not there is.
pub fn state(place: &Place, interface: &str) -> Result<InterfaceState, KernelError> {
    let name = interface.to_owned();
    session::ask(place, interface, async move |kernel| {
        let Some(link) = link::find(&kernel, &name).await? else {
            return Ok(InterfaceState::default());
        };
        let held = inet::addresses(&kernel, link.index).await?;
        Ok(InterfaceState {
            exists: true,
            up: link.is_up,
            carrier: link.has_carrier,
            mac: link.mac,
            mtu: link.mtu,
            addresses: held.into_iter().map(|address| address.net).collect(),
        })
    })
}

/// Is there an interface that can be called `interface`, by its name or by an alternative one?
/// Where the kernel can't be asked, there is none.
pub fn exists(place: &Place, interface: &str) -> bool {
    let name = interface.to_owned();
    let found =
        session::ask(place, interface, async move |kernel| link::find(&kernel, &name).await);
    matches!(found, Ok(Some(_)))
}

/// Is there such a namespace, and may we enter it?
pub fn place_exists(place: &Place) -> bool {
    session::enter(place).is_ok()
}

/// `preferred`, or `fallback` where an interface of that name is in `place` already.
pub fn free_interface_name(place: &Place, preferred: &str, fallback: &str) -> String {
    let name = if exists(place, preferred) { fallback } else { preferred };
    name.to_owned()
}
