//! Guest to guest over vhost-user by one worker, against testpmd, which looks at nothing, and Open vSwitch
//! with DPDK as a learning switch: frames both ways at once, and TCP from one to the other.

use std::error::Error;
use std::path::PathBuf;
use tests::Lab;
use tests::contest::{OURS, compete};
use tests::measure::{Choice, Report};
use tests::pair::{DELIVERED, Mode, STREAMED, Segments, Switch, entry, stream_entry};
use tests::peers::{ovs_pair, testpmd_pair};

/// Contestants, by name.
const NAMES: [&str; 3] = [OURS, "testpmd io", "ovs"];

/// How one of them is started.
fn start(
    lab: &Lab,
    name: &str,
    mode: Mode,
    segments: Segments,
) -> impl Fn(&[PathBuf; 2]) -> Result<Switch, String> {
    move |sockets| match name {
        // Guests that ask for whole segments get them.
        OURS => Ok(Switch::ours(lab, sockets, mode, "", &[])),
        "ovs" => ovs_pair(lab, sockets, segments),
        _ => testpmd_pair(lab, sockets, segments),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::from_arguments();
    let lab = Lab::new();
    let mut report = Report::new("vhost");
    let modes = [("host-routed", Mode::Routed), ("virtual network", Mode::Bridged)];
    for (length, bytes) in [("64 bytes", 64), ("1,500 bytes", 1_500)] {
        for (way, mode) in modes {
            let case = format!("{length}, {way}");
            if choice.wants(&case) {
                let start = |name| start(&lab, name, mode, Segments::Short);
                let entries = NAMES.map(|name| entry(name, &lab, bytes, start(name)));
                compete(&mut report, &case, DELIVERED, &entries)?;
            }
        }
    }
    for (way, mode) in modes {
        let case = format!("TCP with TSO, {way}");
        if choice.wants(&case) {
            let start = |name| start(&lab, name, mode, Segments::Whole);
            let entries = NAMES.map(|name| stream_entry(name, &lab, start(name)));
            compete(&mut report, &case, STREAMED, &entries)?;
        }
    }
    report.finish(&choice.directory)?;
    Ok(())
}
