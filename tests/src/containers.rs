//! Containers on one shared port, and an uplink from which a host of the LAN sends to them: what benchmarks
//! of routing have in common.

use crate::appliance::Appliance;
use crate::frames::{IPV4, Mac, UDP, ethernet, ipv4, mac_text, udp};
use crate::lab::Lab;
use crate::ports::{Devices, Forwarder, Rewrite, start_ours};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// Ours on the uplink.
pub const UPLINK: Mac = [2, 0, 0, 0, 0, 1];
/// The LAN's router.
pub const ROUTER: Mac = [2, 0x55, 0, 0, 0, 1];
/// The kernel's end of the shared port.
pub const VENET: Mac = [2, 0, 0, 0, 1, 1];
/// Our address on the uplink.
const ADDRESS: &str = "198.51.100.254/24";

/// The address of a container.
pub fn ip_of(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + number)
}

/// To a container, from a host of the LAN that is the same for each: a flow per container.
pub fn frame(container: u32, payload: &[u8]) -> Vec<u8> {
    let from = format!("198.51.100.{}", 1 + container % 200);
    let to = ip_of(container).to_string();
    ethernet(UPLINK, ROUTER, IPV4, &ipv4(&from, &to, 64, UDP, &udp(1000, 2000, payload)))
}

/// The changes that add a container with an adapter on `port`.
pub fn add(number: u32, port: &str) -> [Value; 2] {
    let name = format!("c{number}");
    let wish = json!({
        "port": port,
        "addresses": [format!("{}/32", ip_of(number))],
        "probe": false,
        "announce": false,
    });
    [
        json!({ "change": "guest-add", "guest": name, "kind": "container" }),
        json!({ "change": "adapter-add", "guest": name, "adapter": "eth0", "wish": wish }),
    ]
}

/// The changes that remove it.
pub fn remove(number: u32) -> [Value; 2] {
    let name = format!("c{number}");
    [
        json!({ "change": "adapter-del", "guest": name, "adapter": "eth0" }),
        json!({ "change": "guest-del", "guest": name }),
    ]
}

/// Those that add the first `count`, on the port [`shared`].
pub fn add_first(count: u32) -> Vec<Value> {
    (0..count).flat_map(|number| add(number, "shared:venet0")).collect()
}

/// The shared port `venet0` on a device, in the appliance's file.
pub fn shared(device: &str) -> String {
    let mac = mac_text(VENET);
    format!(
        "[[port]]\nname = \"venet0\"\nrole = \"shared\"\nmac = \"{mac}\"\ndevice = \"{device}\"\n"
    )
}

/// The uplink `up0` on a device, in the appliance's file.
pub fn uplink(device: &str) -> String {
    let mac = mac_text(UPLINK);
    format!(
        "[[uplink]]\nname = \"up0\"\nmac = \"{mac}\"\naddresses = [\"{ADDRESS}\"]\ndevice = \"{device}\"\n"
    )
}

/// Starts the appliance between two devices, with the first `count` containers.
pub fn start(lab: &Lab, devices: &Devices, count: u32) -> Result<Forwarder, String> {
    let attach = format!(
        "port attach {} name up0 role uplink mac {} ip {ADDRESS}",
        devices.source,
        mac_text(UPLINK)
    );
    let rewrite = |app: &Appliance| Rewrite::Route { to: VENET, from: app.mac_on("venet0") };
    start_ours(lab, devices, &shared(&devices.sink), &add_first(count), &attach, rewrite)
}
