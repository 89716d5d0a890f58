//! Guest to guest over vhost-user by one worker, both ways at once, against testpmd, which looks at nothing,
//! and Open vSwitch with DPDK as a learning switch.

use std::error::Error;
use tests::Lab;
use tests::contest::{OURS, compete};
use tests::measure::{Choice, Report};
use tests::pair::{DELIVERED, Mode, Switch, entry};
use tests::peers::{ovs_pair, testpmd_pair};

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::from_arguments();
    let lab = Lab::new();
    let mut report = Report::new("vhost");
    let cases = [
        ("64 bytes, host-routed", 64, Mode::Routed),
        ("64 bytes, virtual network", 64, Mode::Bridged),
        ("1,500 bytes, host-routed", 1_500, Mode::Routed),
        ("1,500 bytes, virtual network", 1_500, Mode::Bridged),
    ];
    for (case, bytes, mode) in cases {
        if !choice.wants(case) {
            continue;
        }
        let entries = [
            entry(OURS, &lab, bytes, |sockets| Ok(Switch::ours(&lab, sockets, mode, "", &[]))),
            entry("testpmd io", &lab, bytes, |sockets| testpmd_pair(&lab, sockets)),
            entry("ovs", &lab, bytes, |sockets| ovs_pair(&lab, sockets)),
        ];
        compete(&mut report, case, DELIVERED, &entries)?;
    }
    report.finish(&choice.directory)?;
    Ok(())
}
