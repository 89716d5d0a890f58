//! Bridging by one worker: from a guest of a virtual network to MACs behind the network's uplink, against
//! testpmd, which changes nothing or swaps MACs, and Open vSwitch as a learning switch.

use serde_json::{Value, json};
use std::error::Error;
use std::net::Ipv4Addr;
use tests::Lab;
use tests::contest::{OURS, compete};
use tests::frames::{IPV4, Mac, UDP, ethernet, ipv4, mac_text, udp};
use tests::measure::{Choice, Report};
use tests::peers::{Switching, ovs, testpmd};
use tests::ports::{Devices, FORWARDED, Forwarder, Rewrite, capture_of, entry, start_ours};

/// The guest that sends.
const GUEST: Mac = [2, 0, 0, 0, 7, 7];
const GUEST_IP: &str = "10.0.0.7";

/// A host behind the uplink.
fn host_mac(number: u32) -> Mac {
    let [.., a, b, c] = number.to_be_bytes();
    [2, 1, 0, a, b, c]
}

/// Each host has its address, as it has its MAC: Open vSwitch finds its flows by both.
fn frame(host: u32, payload: &[u8]) -> Vec<u8> {
    let to = Ipv4Addr::from(0x0a01_0000 + host).to_string();
    let packet = ipv4(GUEST_IP, &to, 64, UDP, &udp(1000, 2000, payload));
    ethernet(host_mac(host), GUEST, IPV4, &packet)
}

fn ours(lab: &Lab, devices: &Devices, hosts: u32) -> Result<Forwarder, String> {
    let ports = format!(
        "[[uplink]]\nname = \"up0\"\ndevice = \"{}\"\nmac = \"02:00:00:00:00:01\"\n\
         [[network]]\nname = \"lan0\"\nuplink = \"up0\"\n\
         [[guest]]\nname = \"vm1\"\nkind = \"vm\"",
        devices.sink
    );
    let entry = |number| {
        let mac = mac_text(host_mac(number));
        json!({ "change": "mac-add", "network": "lan0", "mac": mac, "to": { "port": "up0" } })
    };
    let changes: Vec<Value> = (0..hosts).map(entry).collect();
    let attach = format!(
        "adapter add vm1 eth0 port {} mode virtual-network network lan0 mac {} ip {GUEST_IP}/24",
        devices.source,
        mac_text(GUEST)
    );
    start_ours(lab, devices, &ports, &changes, &attach, |_| Rewrite::None)
}

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::from_arguments();
    let lab = Lab::new();
    let mut report = Report::new("bridge");
    for (case, count) in [("1 MAC", 1), ("256 MACs", 256), ("4,096 MACs", 4096)] {
        if !choice.wants(case) {
            continue;
        }
        let normal = Switching::Normal((0..count).map(host_mac).collect());
        let frames = capture_of(count, frame);
        let entries = [
            entry(OURS, &lab, &frames, |devices| ours(&lab, devices, count)),
            entry("testpmd io", &lab, &frames, |devices| testpmd(&lab, "io", devices)),
            entry("testpmd macswap", &lab, &frames, |devices| testpmd(&lab, "macswap", devices)),
            entry("ovs", &lab, &frames, |devices| ovs(&lab, &normal, devices)),
        ];
        compete(&mut report, case, FORWARDED, &entries)?;
    }
    report.finish(&choice.directory)?;
    Ok(())
}
