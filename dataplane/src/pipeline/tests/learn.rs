//! Sources in a network: noticed, refreshed, refused.

use super::host::*;
use super::lab::Lab;
use super::packet::{filler, frame, tagged};
use crate::counters::DropReason;
use crate::ids::{AdapterId, PortId};
use crate::punt::Punt;
use crate::wire::ethernet::{ETHERTYPE_VLAN, MacAddr};

const INNER: MacAddr = MacAddr([2, 0xcc, 0, 0, 0, 1]);
const ODD: u16 = 0x88b5;

fn from(source: MacAddr, to: PortId) -> Vec<u8> {
    frame(at(to).mac, source, ODD, &filler(46))
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.change(|host| {
        host.network(WAN).learning = true;
        host.network(VLAN).learning = true;
    });
    lab
}

/// Sends a frame in, expects it to arrive, and returns what control is told.
#[track_caller]
fn notice(lab: &mut Lab, port: PortId, frame: &[u8]) -> Option<(MacAddr, PortId, AdapterId)> {
    lab.receive(port, frame);
    assert_eq!(lab.sent_all().len(), 1, "{:?}", lab.drops(port));
    assert!(lab.punts.len() <= 1);
    lab.punts.pop().map(|punt| match punt {
        Punt::Learn { mac, port, adapter, .. } => (mac, port, adapter),
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_new_source_on_a_learning_member_is_told_to_control() {
    let mut lab = lab();
    let told = notice(&mut lab, WF, &from(INNER, W1));
    assert_eq!(told, Some((INNER, WF, adapter_on(WF))));
    assert_eq!(notice(&mut lab, UP, &from(INNER, W1)), Some((INNER, UP, AdapterId::NONE)));
    let on_vlan = tagged(&from(INNER, V1), ETHERTYPE_VLAN, VID);
    assert_eq!(notice(&mut lab, UP, &on_vlan), Some((INNER, UP, AdapterId::NONE)));
    // The registered one is no news.
    assert_eq!(notice(&mut lab, WF, &from(at(WF).mac, W1)), None);
}

#[test]
fn nothing_is_learned_where_learning_is_off_or_the_mac_filter_on() {
    let mut lab = lab();
    lab.change(|host| host.network(WAN).learning = false);
    assert_eq!(notice(&mut lab, WF, &from(INNER, W1)), None);
    assert_eq!(notice(&mut lab, UP, &from(INNER, W1)), None);
    lab.refuses(W2, from(INNER, W1), DropReason::SpoofedMac);
    lab.refuses(M1, from(INNER, M2), DropReason::SpoofedMac);
    assert_eq!(notice(&mut lab, V1, &from(at(V1).mac, V2)), None);
}

#[test]
fn a_learned_source_is_refreshed_where_it_is_and_reported_where_it_moves() {
    let mut lab = lab();
    let way = bridge_way(&guest(WF));
    lab.change(|host| host.add_mac(WAN, INNER, way, false));
    lab.now_ns = 50_000_000_000;
    assert_eq!(notice(&mut lab, WF, &from(INNER, W1)), None);
    assert_eq!(lab.host.macs.age_s(WAN, INNER, 60), Some(10));
    lab.now_ns = 55_900_000_000;
    assert_eq!(notice(&mut lab, WF, &from(INNER, W1)), None);
    assert_eq!(lab.host.macs.age_s(WAN, INNER, 60), Some(5));
    // Seen on the wire: control decides, the age stays.
    lab.now_ns = 58_000_000_000;
    assert_eq!(notice(&mut lab, UP, &from(INNER, W1)), Some((INNER, UP, AdapterId::NONE)));
    assert_eq!(lab.host.macs.age_s(WAN, INNER, 60), Some(5));
    // Being a destination is no sighting.
    lab.passes(W1, frame(INNER, at(W1).mac, ODD, &filler(46)), WF);
    assert_eq!(lab.host.macs.age_s(WAN, INNER, 60), Some(5));
}

#[test]
fn hr_14_a_registered_mac_seen_elsewhere_is_dropped() {
    let mut lab = lab();
    for stolen in [at(W1).mac, at(W2).mac, UP_MAC] {
        lab.refuses(WF, from(stolen, W1), DropReason::SpoofedMac);
        lab.refuses(UP, from(stolen, W1), DropReason::SpoofedFromUplink);
        let broadcast = frame(MacAddr::BROADCAST, stolen, ODD, &filler(46));
        lab.refuses(WF, broadcast, DropReason::SpoofedMac);
    }
}

#[test]
fn hr_14_a_mac_flood_is_reported_at_its_rate_and_hides_nobody_elses() {
    let mut lab = Lab::with(4096, 4096, crate::pipeline::Rates::default());
    lab.change(|host| host.network(WAN).learning = true);
    let flood = |lab: &mut Lab, port: PortId| {
        let made_up = |n: u16| {
            let [high, low] = n.to_be_bytes();
            from(MacAddr([2, 0xdd, port.0.to_be_bytes()[1], 0, high, low]), W1)
        };
        lab.receive_all(port, &(0..2000).map(made_up).collect::<Vec<_>>());
        assert_eq!(lab.sent(W1).len(), 2000, "forwarded all the same");
    };
    flood(&mut lab, WF);
    assert_eq!(lab.punts.len(), 256);
    flood(&mut lab, UP);
    assert_eq!(lab.punts.len(), 512);
}
