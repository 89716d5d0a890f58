//! Routing by one worker: from an uplink to host-routed containers on one shared port, against testpmd,
//! which changes nothing or swaps MACs, and Open vSwitch with a flow for each container.

use serde_json::{Value, json};
use std::error::Error;
use std::net::Ipv4Addr;
use tests::Lab;
use tests::contest::{Devices, Entry, Forwarder, OURS, Rewrite, capture_of, compete, start_ours};
use tests::frames::{IPV4, Mac, UDP, ethernet, ipv4, mac, mac_text, udp};
use tests::measure::{Choice, Report};
use tests::peers::{Switching, ovs, testpmd};

/// Ours on the uplink.
const UPLINK: Mac = [2, 0, 0, 0, 0, 1];
/// The LAN's router.
const ROUTER: Mac = [2, 0x55, 0, 0, 0, 1];
/// The kernel's end of the shared port.
const VENET: Mac = [2, 0, 0, 0, 1, 1];
/// What Open vSwitch sends by.
const GATEWAY: Mac = [2, 0, 0, 0, 1, 2];

fn guest_ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + number)
}

/// From a host of the LAN, the same for each guest: a flow per guest.
fn frame(guest: u32, payload: &[u8]) -> Vec<u8> {
    let from = format!("198.51.100.{}", 1 + guest % 200);
    let packet = ipv4(&from, &guest_ip(guest).to_string(), 64, UDP, &udp(1000, 2000, payload));
    ethernet(UPLINK, ROUTER, IPV4, &packet)
}

/// A container with an adapter on the shared port.
fn guest(number: u32) -> [Value; 2] {
    let name = format!("g{number}");
    let wish = json!({
        "port": "shared:venet0",
        "addresses": [format!("{}/32", guest_ip(number))],
        "probe": false,
        "announce": false,
    });
    [
        json!({ "change": "guest-add", "guest": name, "kind": "container" }),
        json!({ "change": "adapter-add", "guest": name, "adapter": "eth0", "wish": wish }),
    ]
}

fn ours(lab: &Lab, devices: &Devices, guests: u32) -> Result<Forwarder, String> {
    let ports = format!(
        "[[port]]\nname = \"venet0\"\ndevice = \"{}\"\nrole = \"shared\"\nmac = \"{}\"",
        devices.sink,
        mac_text(VENET)
    );
    let changes: Vec<Value> = (0..guests).flat_map(guest).collect();
    let attach = format!(
        "port attach {} name up0 role uplink mac {} ip 198.51.100.254/24",
        devices.source,
        mac_text(UPLINK)
    );
    start_ours(lab, devices, &ports, &changes, &attach, |app| {
        // What guests get comes from the appliance's own MAC, which it says.
        let port = app.json("show port info venet0");
        let from = mac(port["mac"].as_str().unwrap_or_else(|| panic!("no MAC: {port}")));
        Rewrite::Route { to: VENET, from }
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::from_arguments();
    let lab = Lab::new();
    let mut report = Report::new("route");
    for (case, count) in
        [("1 destination", 1), ("256 destinations", 256), ("4,096 destinations", 4096)]
    {
        if !choice.wants(case) {
            continue;
        }
        let destinations = (0..count).map(guest_ip).collect();
        let flows = Switching::Flows { destinations, to: VENET, from: GATEWAY };
        let entries = [
            Entry::new(OURS, |devices| ours(&lab, devices, count)),
            Entry::new("testpmd io", |devices| testpmd(&lab, "io", devices)),
            Entry::new("testpmd macswap", |devices| testpmd(&lab, "macswap", devices)),
            Entry::new("ovs", |devices| ovs(&lab, &flows, devices)),
        ];
        compete(&lab, &mut report, case, &capture_of(count, frame), &entries)?;
    }
    report.finish(&choice.directory)?;
    Ok(())
}
