//! Guest to guest over vhost-user by one worker, both ways at once, against testpmd, which looks at nothing,
//! and Open vSwitch with DPDK as a learning switch.

use std::error::Error;
use tests::Lab;
use tests::contest::OURS;
use tests::measure::{Choice, Report};
use tests::pair::{Entry, Mode, Switch, compete};
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
            Entry::new(OURS, |sockets| Ok(Switch::ours(&lab, sockets, mode, "", &[]))),
            Entry::new("testpmd io", |sockets| testpmd_pair(&lab, sockets)),
            Entry::new("ovs", |sockets| ovs_pair(&lab, sockets)),
        ];
        compete(&lab, &mut report, case, bytes, &entries)?;
    }
    report.finish(&choice.directory)?;
    Ok(())
}
