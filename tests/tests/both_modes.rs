//! What holds in either mode: switching between them (HR-16), addresses that only the operator gives
//! (VZ-1 to VZ-4) and the filters (VZ-6).

use serde_json::json;
use std::time::Duration;
use tests::balance::{adapter, count};
use tests::config::tap;
use tests::counts::MODE_SWITCHES;
use tests::frames::{ARP, Arp, BROADCAST, IPV4, Mac, UDP, ethernet, ip, ipv4, mac, macs, udp};
use tests::paced::{Paced, Talker};
use tests::world::{GATEWAY, OUT, Outside, SERVER, add_container, address};
use tests::{Appliance, Attach, Config, Host, Lab, World, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// Drops of an adapter for one reason.
fn drops(app: &Appliance, guest: &str, reason: &str) -> u64 {
    count(&adapter(app, guest, "eth0")["stats"]["drops"], reason)
}

/// A world of three containers, and a VM on the network `default` with 192.0.2.200.
fn with_a_vm() -> World {
    let world = World::routed_with(Attach::Own, 3, |lab, config| {
        lab.host("vm1");
        config.vm("vm1").adapter("eth0", &tap("vm1", "eth0"), "")
    });
    world.lab.known("vm1").address("eth0", "192.0.2.200/24");
    world
}

fn switches(set_mode: impl Fn(&World, &str)) {
    let world = with_a_vm();
    let vm = world.lab.known("vm1");
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    let paced = Paced::ring(&[talker(2), talker(3)], 1_000);
    world.ct(1).reaches(&address(2));
    for _ in 0..MODE_SWITCHES.now() {
        set_mode(&world, "virtual-network");
        // As a physical NIC, it is configured by the guest itself.
        world.ct(1).address("eth0", &format!("{}/24", address(1)));
        world.ct(1).forget_neighbors();
        world.ct(1).reaches_within(SECOND, "192.0.2.200");
        vm.reaches_within(SECOND, &address(1));
        assert!(!world.ct(2).ping(&address(1)), "no longer routed");
        world.ct(1).run(&format!("ip addr del {}/24 dev eth0", address(1)));
        set_mode(&world, "host-routed");
        world.ct(1).reaches_within(SECOND, &address(2));
        world.ct(2).reaches_within(SECOND, &address(1));
        world.out().reaches_within(SECOND, &address(1));
        assert!(!vm.ping(&address(1)), "no longer bridged");
    }
    assert!(paced.finish() > 500);
    world.end();
}

#[test]
fn hr16_a_guest_changes_mode_by_the_command_line_and_back() {
    switches(|world, mode| {
        world.app.must(&format!("adapter set ct1 eth0 mode {mode}"));
    });
}

#[test]
fn hr16_a_guest_changes_mode_by_the_api_and_back() {
    switches(|world, mode| {
        let body = json!({ "mode": mode }).to_string();
        let path = "/v1/guests/ct1/adapters/eth0";
        let (status, answer) = world.app.api("PATCH", path, &body);
        assert!((200..300).contains(&status), "{status}: {answer}");
    });
}

#[test]
fn vz1_a_source_that_is_not_the_guests_own_is_dropped_and_counted_by_reason() {
    let world = World::routed(Attach::Own, 2);
    let (liar, victim) = (world.ct(1), world.ct(2));
    liar.reaches(&address(2));
    let wire = liar.wire("eth0");
    let gateway = mac(&liar.neighbor(GATEWAY).expect("resolved"));
    let arrived = victim.capture("eth0", "udp");
    let lan = world.server.capture("up0", "udp");
    let send = |from: Mac, source: &str, to: &str| {
        let packet = ipv4(source, to, 64, UDP, &udp(9, 9, b"forged"));
        wire.send(&ethernet(gateway, from, IPV4, &packet));
    };
    let stranger: Mac = [2, 0, 0, 0, 0, 9];
    for to in [address(2), OUT.to_owned()] {
        send(wire.mac(), "192.0.2.99", &to);
        send(wire.mac(), OUT, &to);
        send(stranger, &address(1), &to);
    }
    wire.send(&Arp::request(wire.mac(), &address(2), GATEWAY).frame(BROADCAST));
    wire.send(&Arp::request(stranger, &address(1), GATEWAY).frame_from(BROADCAST, wire.mac()));
    let reasons = [("spoofed-ip", 4), ("spoofed-mac", 2), ("spoofed-arp", 2)];
    for (reason, wanted) in reasons {
        eventually(reason, 3 * SECOND, || drops(&world.app, "ct1", reason) == wanted);
    }
    arrived.finish_empty();
    lan.finish_empty();
    // An address that the guest gives itself is no good either.
    liar.address("eth0", "192.0.2.66/32");
    assert!(!liar.succeeds(&format!("ping -n -q -c 2 -i 0.1 -W 1 -I 192.0.2.66 {}", address(2))));
    assert!(drops(&world.app, "ct1", "spoofed-ip") >= 6);
    liar.reaches(&address(2));
    world.end();
}

#[test]
fn vz2_what_another_guest_holds_is_refused_by_the_holders_name() {
    let world = World::routed(Attach::Own, 1);
    world.lab.host("ct2");
    world.app.must("guest add ct2 container");
    let held = adapter(&world.app, "ct1", "eth0")["guest-side"]["mac"].clone();
    let held = held.as_str().expect("a MAC");
    let own = tap("ct2", "eth0");
    for wish in [
        format!("port {own} ip {}", address(1)),
        format!("port {own} ip 192.0.2.8/29"),
        format!("port {own} ip 192.0.2.99 mac {held}"),
        format!("port {} ip 192.0.2.99", tap("ct1", "eth0")),
    ] {
        let refusal = world.app.refused(&format!("adapter add ct2 eth0 {wish}"));
        assert!(refusal.contains("ct1"), "`{wish}` is refused without the holder: {refusal}");
    }
    // The server's own address has a holder too.
    let refusal = world.app.refused(&format!("adapter add ct2 eth0 port {own} ip {SERVER}"));
    assert!(refusal.contains("up0"), "{refusal}");
    assert!(!world.lab.known("ct2").has_iface("eth0"), "a refusal leaves nothing behind");
    world.ct(1).reaches(SERVER);
    world.end();
}

/// A world without guests, in whose LAN somebody has the address of `ct2`: as the LAN sees it, a guest of another host.
struct Contested {
    app: Appliance,
    outside: Outside,
    holder: Host,
    lab: Lab,
}

/// Addresses are probed there.
fn contested() -> Contested {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    let config = Config::new(&lab).uplink_with("").host();
    let app = Appliance::start(&lab, &config, Some(&outside.lan));
    let holder = lab.host("holder");
    outside.lan.plug(&lab, &holder, "eth0");
    holder.address("eth0", &format!("{}/24", address(2)));
    Contested { app, outside, holder, lab }
}

#[test]
fn vz3_an_address_in_use_on_the_lan_is_found_before_it_is_assigned() {
    let Contested { lab, outside, holder, mut app } = contested();
    let lan = outside.out.capture("eth0", "arp");
    for (n, keys) in [(1, ""), (2, ""), (3, "probe off")] {
        add_container(&lab, &app, n, keys);
    }
    let state =
        |n: usize| adapter(&app, &format!("ct{n}"), "eth0")["guest-side"]["addresses"][0].clone();
    // At once: not yet the LAN's, already the guests' and the server's.
    assert_eq!(state(1)["state"], "probing");
    assert_eq!(state(3)["state"], "up");
    assert!(outside.out.arping("eth0", &address(1)).is_empty(), "not answered while probing");
    lab.known("ct1").reaches(&address(3));
    lab.server().reaches(&address(1));
    eventually("a free address comes up", 12 * SECOND, || state(1)["state"] == "up");
    eventually("a held one is found", 12 * SECOND, || state(2)["state"] == "conflict");
    assert_eq!(state(2)["holder"], holder.mac("eth0").as_str());
    // Some other change makes it no less held.
    app.must("adapter set ct2 eth0 mtu 1400");
    assert_eq!(state(2)["state"], "conflict");
    outside.out.reaches(&address(1));
    assert_eq!(outside.out.arping("eth0", &address(2)), [holder.mac("eth0")]);
    std::thread::sleep(Duration::from_millis(2_500));
    let frames: Vec<Arp> = lan.finish().iter().filter_map(|f| Arp::read(f)).collect();
    let probes = |n: usize| {
        let target = ip(&address(n));
        frames.iter().filter(|a| a.sender_ip.is_unspecified() && a.target_ip == target).count()
    };
    let announcements = |n: usize| {
        let own = ip(&address(n));
        frames.iter().filter(|a| a.sender_ip == own && a.target_ip == own).count()
    };
    assert_eq!((probes(1), announcements(1)), (3, 2), "RFC 5227, 2.1.1 and 2.3");
    assert!(probes(2) >= 1 && announcements(2) == 0, "{} probes for a held one", probes(2));
    assert_eq!((probes(3), announcements(3)), (0, 2), "probe off");
    app.stop();
}

#[test]
fn vz4_addresses_are_announced_on_registration_mode_change_and_link_up() {
    let world = World::routed(Attach::Own, 1);
    let uplink = mac(&world.uplink_mac());
    world.lab.host("ct2");
    world.app.must("guest add ct2 container");
    let announced = |number: usize, what: &str, act: &dyn Fn()| {
        let lan = world.out().capture("eth0", "arp");
        act();
        std::thread::sleep(Duration::from_millis(2_600));
        let own = ip(&address(number));
        let is_ours = |a: &Arp| a.sender_ip == own && a.target_ip == own && a.sender_mac == uplink;
        let seen = lan.finish().iter().filter_map(|f| Arp::read(f)).filter(is_ours).count();
        assert!(seen >= 1, "not announced on {what}");
    };
    let port = tap("ct2", "eth0");
    announced(2, "registration", &|| {
        world.app.must(&format!("adapter add ct2 eth0 port {port} ip {}", address(2)));
    });
    announced(2, "mode change", &|| {
        world.app.must("adapter set ct2 eth0 mode virtual-network");
        world.app.must("adapter set ct2 eth0 mode host-routed");
    });
    announced(1, "link up", &|| {
        world.server.run("ip link set up0 down");
        std::thread::sleep(Duration::from_millis(1_500));
        world.server.run("ip link set up0 up");
    });
    world.end();
}

/// What a migration or a service on several hosts needs: each host's guest has the address, and who of
/// them the LAN talks to is settled elsewhere.
#[test]
fn vz5_an_address_that_is_not_announced_may_be_held_elsewhere_as_well() {
    let Contested { lab, outside, holder, mut app } = contested();
    let lan = outside.out.capture("eth0", "arp");
    for (n, keys) in [(1, "probe off"), (2, "announce off")] {
        add_container(&lab, &app, n, keys);
    }
    let state = || adapter(&app, "ct2", "eth0")["guest-side"]["addresses"][0]["state"].clone();
    assert_eq!(state(), "unannounced");
    // Guests and the server reach the one of this host, the LAN the other, before and after its traffic.
    let is_as_wished = || {
        lab.known("ct1").reaches(&address(2));
        lab.known("ct2").reaches(&address(1));
        lab.server().reaches(&address(2));
        assert_eq!(outside.out.arping("eth0", &address(2)), [holder.mac("eth0")]);
        outside.out.reaches(&address(2));
    };
    is_as_wished();
    // What the holder says on the LAN is no conflict, and no reason to defend.
    holder.run("arping -c 2 -U -I eth0 192.0.2.12");
    is_as_wished();
    assert_eq!(state(), "unannounced");
    assert!(!app.log().contains("is in use by"), "{}", app.log());
    let uplink = mac(app.json("show port info up0")["mac"].as_str().expect("a MAC"));
    let own = ip(&address(2));
    let frames: Vec<Arp> = lan.finish().iter().filter_map(|f| Arp::read(f)).collect();
    let ours = |a: &&Arp| a.sender_mac == uplink;
    let says = frames.iter().filter(ours).filter(|a| a.sender_ip == own || a.target_ip == own);
    assert_eq!(says.count(), 0, "neither probed nor announced nor answered for");
    assert!(frames.iter().filter(ours).any(|a| a.sender_ip == ip(&address(1))), "others are");
    // Announced after all, it is one that is held elsewhere.
    app.must("adapter set ct2 eth0 announce on");
    eventually("the conflict is found", 12 * SECOND, || state() == "conflict");
    app.stop();
}

/// Members of one network: `vm1` with registered addresses and all filters, `vm2` and `vm3` too.
fn members(filters: &[&str]) -> (Lab, Appliance) {
    let lab = Lab::new();
    let mut config = Config::new(&lab).network("a", "");
    for (i, filter) in filters.iter().enumerate() {
        let name = format!("vm{}", i + 1);
        lab.host(&name);
        let keys = format!("network = \"a\"\naddresses = [\"10.0.0.{}/32\"]\n{filter}", i + 1);
        config = config.vm(&name).adapter("eth0", &tap(&name, "eth0"), &keys);
    }
    let app = Appliance::start(&lab, &config, None);
    for i in 1..=filters.len() {
        lab.known(&format!("vm{i}")).address("eth0", &format!("10.0.0.{i}/24"));
    }
    (lab, app)
}

/// Frames with forged sources from `wire` to `to`: by IP, by MAC, by ARP.
fn forgeries(own: Mac, to: Mac) -> [Vec<u8>; 3] {
    let packet = |source| ipv4(source, "10.0.0.2", 64, UDP, &udp(9, 9, b"forged"));
    [
        ethernet(to, own, IPV4, &packet("10.0.0.77")),
        ethernet(to, [2, 0, 0, 0, 0, 9], IPV4, &packet("10.0.0.1")),
        Arp::request(own, "10.0.0.77", "10.0.0.2").frame(to),
    ]
}

#[test]
fn vz6_filters_are_on_by_default_and_can_be_opted_out_of() {
    let (lab, mut app) = members(&["", "", "filter = []"]);
    lab.known("vm1").reaches("10.0.0.2");
    let receiver = lab.known("vm2").wire("eth0");
    for (sender, passes) in [("vm1", false), ("vm3", true)] {
        let wire = lab.known(sender).wire("eth0");
        for (what, frame) in ["ip", "mac", "arp"].iter().zip(forgeries(wire.mac(), receiver.mac()))
        {
            wire.send(&frame);
            let seen = receiver.receive_where(Duration::from_millis(400), |f| f == frame);
            assert_eq!(seen.is_some(), passes, "{what} forged by {sender}");
        }
    }
    for reason in ["spoofed-ip", "spoofed-mac", "spoofed-arp"] {
        assert_eq!(drops(&app, "vm1", reason), 1, "{reason}");
        assert_eq!(drops(&app, "vm3", reason), 0, "{reason}");
    }
    // One by one, live.
    app.must("adapter set vm1 eth0 filter mac,promisc,dhcp,ra,bpdu");
    let wire = lab.known("vm1").wire("eth0");
    let [forged_ip, forged_mac, _] = forgeries(wire.mac(), receiver.mac());
    wire.send(&forged_ip);
    assert!(receiver.receive_where(SECOND, |f| f == forged_ip).is_some(), "ip filter off");
    wire.send(&forged_mac);
    assert!(receiver.receive_where(SECOND / 2, |f| f == forged_mac).is_none(), "mac filter on");
    app.stop();
}

#[test]
fn vz6_only_an_adapter_without_the_promisc_filter_gets_others_unicast() {
    let (lab, mut app) = members(&["", "", "", "filter = [\"ip\", \"mac\"]"]);
    let (filtered, open) = (lab.known("vm3").wire("eth0"), lab.known("vm4").wire("eth0"));
    let own = mac(&lab.known("vm1").mac("eth0"));
    lab.known("vm1").reaches("10.0.0.2");
    let is_theirs = |frame: &[u8]| macs(frame).0 == own && macs(frame).1 != BROADCAST;
    assert!(open.receive_where(SECOND, is_theirs).is_some(), "without the filter");
    assert!(filtered.receive_where(SECOND / 2, is_theirs).is_none(), "with the filter");
    app.stop();
}

#[test]
fn vz6_only_an_adapter_without_the_dhcp_and_ra_filters_is_a_server_of_its_network() {
    let (lab, mut app) = members(&["", "", "filter = [\"ip\", \"mac\", \"promisc\", \"bpdu\"]"]);
    let receiver = lab.known("vm2").wire("eth0");
    for (sender, passes) in [("vm1", false), ("vm3", true)] {
        let wire = lab.known(sender).wire("eth0");
        let source = format!("10.0.0.{}", &sender[2..]);
        // A BOOTP reply with DHCP's magic cookie and an offer.
        let mut offer = vec![0; 240];
        (offer[0], offer[1], offer[2]) = (2, 1, 6);
        offer[236..240].copy_from_slice(&[99, 130, 83, 99]);
        offer.extend_from_slice(&[53, 1, 2, 255]);
        let packet = ipv4(&source, "255.255.255.255", 64, UDP, &udp(67, 68, &offer));
        let reply = ethernet(BROADCAST, wire.mac(), IPV4, &packet);
        wire.send(&reply);
        let seen = receiver.receive_where(SECOND / 2, |f| f == reply).is_some();
        assert_eq!(seen, passes, "DHCP offer by {sender}");
        let advertisement = router_advertisement(wire.mac());
        wire.send(&advertisement);
        let seen = receiver.receive_where(SECOND / 2, |f| f == advertisement).is_some();
        assert_eq!(seen, passes, "router advertisement by {sender}");
    }
    assert_eq!(drops(&app, "vm1", "dhcp-server"), 1);
    assert_eq!(drops(&app, "vm1", "router-advertisement"), 1);
    app.stop();
}

/// An IPv6 router advertisement (RFC 4861) to all nodes; its checksum is not looked at on the way.
fn router_advertisement(from: Mac) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 16, 58, 255];
    packet.extend_from_slice(&"fe80::1".parse::<std::net::Ipv6Addr>().expect("IPv6").octets());
    packet.extend_from_slice(&"ff02::1".parse::<std::net::Ipv6Addr>().expect("IPv6").octets());
    packet.extend_from_slice(&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    ethernet([0x33, 0x33, 0, 0, 0, 1], from, 0x86dd, &packet)
}

#[test]
fn vz6_a_member_without_an_address_yet_may_ask_for_one() {
    let (lab, mut app) = members(&["", ""]);
    let wire = lab.known("vm1").wire("eth0");
    let receiver = lab.known("vm2").wire("eth0");
    let request = udp(68, 67, &[1, 1, 6, 0]);
    let discover = ipv4("0.0.0.0", "255.255.255.255", 64, UDP, &request);
    let asking = ethernet(BROADCAST, wire.mac(), IPV4, &discover);
    let probe = Arp::request(wire.mac(), "0.0.0.0", "10.0.0.1").frame(BROADCAST);
    let plain = ipv4("0.0.0.0", "10.0.0.2", 64, UDP, &udp(9, 9, b"no"));
    let other = ethernet(receiver.mac(), wire.mac(), IPV4, &plain);
    for (what, frame, passes) in
        [("DHCP request", asking, true), ("ARP probe", probe, true), ("else", other, false)]
    {
        wire.send(&frame);
        let seen = receiver.receive_where(SECOND / 2, |f| f == frame).is_some();
        assert_eq!(seen, passes, "{what}");
    }
    app.stop();
}

#[test]
fn vz6_bridge_protocol_frames_of_a_guest_stay_away_from_the_others() {
    let (lab, mut app) =
        members(&["", "", "filter = [\"ip\", \"mac\", \"promisc\", \"dhcp\", \"ra\"]"]);
    let receiver = lab.known("vm2").wire("eth0");
    for (sender, passes) in [("vm1", false), ("vm3", true)] {
        let wire = lab.known(sender).wire("eth0");
        let mut bpdu = ethernet([1, 0x80, 0xc2, 0, 0, 0], wire.mac(), 38, &[0x42, 0x42, 3, 0, 0]);
        bpdu.resize(60, 0);
        wire.send(&bpdu);
        let seen = receiver.receive_where(SECOND / 2, |f| f == bpdu).is_some();
        assert_eq!(seen, passes, "by {sender}");
    }
    assert_eq!(drops(&app, "vm1", "bridge-protocol"), 1);
    app.stop();
}

#[test]
fn vz6_a_routed_guest_may_be_freed_of_its_filters() {
    let world = World::routed(Attach::Own, 2);
    world.ct(1).reaches(&address(2));
    let wire = world.ct(1).wire("eth0");
    let gateway = mac(&world.ct(1).neighbor(GATEWAY).expect("resolved"));
    let packet = ipv4("203.0.113.99", &address(2), 64, UDP, &udp(9, 9, b"x"));
    let frame = ethernet(gateway, wire.mac(), IPV4, &packet);
    let receiver = world.ct(2).wire("eth0");
    let arrives = || {
        wire.send(&frame);
        let is_it = |f: &[u8]| f[12..14] != ARP.to_be_bytes() && f.ends_with(&packet[20..]);
        receiver.receive_where(SECOND / 2, is_it).is_some()
    };
    assert!(!arrives(), "filtered by default");
    world.app.must("adapter set ct1 eth0 filter none");
    assert!(arrives(), "opted out");
    world.end();
}
