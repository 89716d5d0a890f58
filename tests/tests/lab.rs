//! The lab itself, against Linux's own bridge and router: what the suites rely on works, and what
//! their probes look for is found where it is.

use std::time::Duration;
use tests::frames::{Arp, BROADCAST, ip, mac};
use tests::paced::{Paced, Talker};
use tests::probes::{self, End, Scene};
use tests::world::Outside;
use tests::{Host, Lab, VlanHost, eventually, tcp};

/// Hosts `s1`, `s2`, … on one Linux bridge.
fn switched(lab: &Lab, count: usize) -> Vec<End> {
    let switch = lab.bridge("switch");
    let plug = |i: usize| {
        let host = lab.host(&format!("s{i}"));
        switch.plug(lab, &host, "eth0");
        let ip = format!("192.0.2.{}", 10 + i);
        host.address("eth0", &format!("{ip}/24"));
        End { host, iface: "eth0".to_owned(), ip }
    };
    (1..=count).map(plug).collect()
}

#[test]
fn every_probe_succeeds_against_a_learning_switch() {
    let lab = Lab::new();
    let scene = Scene::switched(&lab);
    for (what, probe) in probes::ALL {
        assert!(probe(&scene), "mallory could not {what}");
    }
}

#[test]
fn no_probe_succeeds_between_separate_switches() {
    let lab = Lab::new();
    let (a_side, b_side) = (lab.bridge("sw1"), lab.bridge("sw2"));
    let end = |name: &str, switch: &tests::lab::Bridge, ip: &str| {
        let host = lab.host(name);
        switch.plug(&lab, &host, "eth0");
        host.address("eth0", &format!("{ip}/24"));
        End { host, iface: "eth0".to_owned(), ip: ip.to_owned() }
    };
    let scene = Scene {
        a: end("s1", &a_side, "192.0.2.11"),
        b: end("s2", &a_side, "192.0.2.12"),
        mallory: end("s3", &b_side, "192.0.2.13"),
    };
    scene.prepare();
    for (what, probe) in probes::ALL {
        assert!(!probe(&scene), "mallory could {what}");
    }
}

#[test]
fn the_outside_routes_and_answers() {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    outside.out.reaches("192.0.2.254");
    outside.out.reaches("198.51.100.9");
    outside.out.never_reaches("192.0.2.77");
    let router = outside.router.mac("eth0");
    assert_eq!(outside.out.arping("eth0", "192.0.2.254"), [router]);
    assert!(outside.out.arping("eth0", "192.0.2.77").is_empty());
}

#[test]
fn a_host_on_a_vlan_meets_only_its_vlan() {
    let lab = Lab::new();
    let lan = lab.bridge("lan");
    let a = VlanHost::plug(&lab, &lan, "v1", 100);
    let b = VlanHost::plug(&lab, &lan, "v2", 100);
    let c = VlanHost::plug(&lab, &lan, "v3", 101);
    let plain = lab.host("plain");
    lan.plug(&lab, &plain, "eth0");
    a.host.address("eth0", "10.0.0.1/24");
    b.host.address("eth0", "10.0.0.2/24");
    c.host.address("eth0", "10.0.0.3/24");
    plain.address("eth0", "10.0.0.4/24");
    let tags = plain.capture("eth0", "vlan 100 and arp");
    a.host.reaches("10.0.0.2");
    a.host.never_reaches("10.0.0.3");
    a.host.never_reaches("10.0.0.4");
    assert!(!tags.finish().is_empty(), "the ARP request is on the wire with its tag");
}

#[test]
fn a_wire_carries_any_bytes_and_a_capture_shows_them() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.cable(&a, "eth0", &b, "eth0");
    let capture = b.capture("eth0", "arp");
    let (from, to) = (a.wire("eth0"), b.wire("eth0"));
    let question = Arp::request(from.mac(), "10.0.0.1", "10.0.0.2");
    from.send(&question.frame(BROADCAST));
    let seen = to.receive(Duration::from_secs(1)).expect("a frame");
    assert_eq!(Arp::read(&seen), Some(question));
    assert_eq!(capture.finish(), [question.frame(BROADCAST)]);
    assert_eq!(from.mac(), mac(&a.mac("eth0")));
}

#[test]
#[should_panic(expected = "1 frames")]
fn a_capture_that_should_be_empty_tells_what_it_saw() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.cable(&a, "eth0", &b, "eth0");
    let capture = b.capture("eth0", "arp");
    a.wire("eth0").send(&Arp::request([2; 6], "10.0.0.1", "10.0.0.2").frame(BROADCAST));
    capture.finish_empty();
}

#[test]
fn paced_packets_between_ten_hosts_arrive_once_and_in_order() {
    let lab = Lab::new();
    let talkers: Vec<Talker> =
        switched(&lab, 10).into_iter().map(|e| Talker { host: e.host, ip: e.ip }).collect();
    let paced = Paced::ring(&talkers, 10_000);
    // Two seconds' worth; a sender that was kept from its core catches up.
    eventually("20,000 are sent", Duration::from_secs(10), || paced.sent() >= 20_000);
    assert!(paced.finish() >= 20_000);
}

#[test]
#[should_panic(expected = "expected")]
fn paced_packets_notice_a_loss() {
    let lab = Lab::new();
    let talkers: Vec<Talker> =
        switched(&lab, 2).into_iter().map(|e| Talker { host: e.host, ip: e.ip }).collect();
    let paced = Paced::ring(&talkers, 1_000);
    std::thread::sleep(Duration::from_millis(300));
    talkers[0].host.run("ip link set eth0 down");
    std::thread::sleep(Duration::from_millis(200));
    talkers[0].host.run("ip link set eth0 up");
    std::thread::sleep(Duration::from_millis(300));
    paced.finish();
}

#[test]
fn tcp_streams_between_two_hosts() {
    let lab = Lab::new();
    let hosts = switched(&lab, 2);
    let rate = tcp::streams_for(2, &hosts[0].host, &hosts[1].host, &hosts[1].ip);
    assert!(rate > 1e6, "{rate}");
}

#[test]
fn a_lab_does_not_see_the_machine() {
    let lab = Lab::new();
    let links = lab.server().run("ip -o link");
    assert_eq!(links.lines().count(), 1, "{links}");
    let other: Host = lab.host("x");
    let _ = other.udp(ip("127.0.0.1"), 1_000);
    assert!(std::fs::read_dir("/run/netns").expect("private").count() == 2);
}
