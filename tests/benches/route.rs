//! Routing by one worker: from an uplink to host-routed containers on one shared port, against testpmd,
//! which changes nothing or swaps MACs, and Open vSwitch with a flow for each container.

use std::error::Error;
use tests::Lab;
use tests::containers::{VENET, frame, ip_of, start};
use tests::contest::{OURS, compete};
use tests::frames::Mac;
use tests::measure::{Choice, Report};
use tests::peers::{Switching, ovs, testpmd};
use tests::ports::{FORWARDED, capture_of, entry};

/// What Open vSwitch sends by.
const GATEWAY: Mac = [2, 0, 0, 0, 1, 2];

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
        let destinations = (0..count).map(ip_of).collect();
        let flows = Switching::Flows { destinations, to: VENET, from: GATEWAY };
        let frames = capture_of(count, frame);
        let entries = [
            entry(OURS, &lab, &frames, |devices| start(&lab, devices, count)),
            entry("testpmd io", &lab, &frames, |devices| testpmd(&lab, "io", devices)),
            entry("testpmd macswap", &lab, &frames, |devices| testpmd(&lab, "macswap", devices)),
            entry("ovs", &lab, &frames, |devices| ovs(&lab, &flows, devices)),
        ];
        compete(&mut report, case, FORWARDED, &entries)?;
    }
    report.finish(&choice.directory)?;
    Ok(())
}
