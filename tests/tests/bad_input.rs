//! Wrong input: one clear line, exit 1 (78) or a counted event, nothing else disturbed.

use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use tests::appliance::{ctl, fails, fails_as, failure};
use tests::balance::{count, rows, stats};
use tests::config::tap;
use tests::counts::RANDOM_FRAMES;
use tests::frames::{
    BROADCAST, IPV4, Mac, Random, UDP, ethernet, ipv4, mac, refresh_checksum, udp,
};
use tests::paced::{Paced, Talker};
use tests::world::{GATEWAY, address};
use tests::{Appliance, Attach, Config, Lab, World, binary, eventually};

/// A start that must fail with one line that holds all of `says`.
#[track_caller]
fn refuses(lab: &Lab, config: &Config, says: &[&str]) {
    let said = fails(lab, config);
    assert_one_line(&said, says);
}

#[track_caller]
fn assert_one_line(said: &str, says: &[&str]) {
    let ours: Vec<&str> = said.lines().collect();
    assert_eq!(ours.len(), 1, "one line, not:\n{said}");
    for wanted in says {
        assert!(ours[0].contains(wanted), "{wanted:?} is not in: {}", ours[0]);
    }
}

#[test]
fn every_error_of_a_file_is_told_in_one_run_with_line_and_key() {
    let lab = Lab::new();
    let text = r#"[appliance]
workers = [1]
control_core = "zero"
surprise = 1

[[uplink]]
name = "UP"
device = "net_tap0,iface=up0"

[[uplink]]
name = "up1"
device = "0000:3b:00"

[[uplink]]
name = "up2"
device = "net_tap2,iface=up2"
addresses = ["192.0.2.1/33"]

[[guest]]
name = "ct1"
kind = "jail"

[[guest]]
name = "ct2"
kind = "container"
[[guest.adapter]]
name = "eth0"
port = "tap,iface=a"
addresses = ["192.0.2.8/24"]
[[guest.adapter]]
name = "eth1"
port = "tap,iface=b"
mtu = 90000
"#;
    let path = lab.dir().join("bad.toml");
    std::fs::write(&path, text).expect("file");
    let output =
        lab.server().output(&format!("{} check --config {}", binary().display(), path.display()));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong = [
        (3, "control_core"),
        (4, "surprise"),
        (7, "name"),
        (12, "device"),
        (17, "addresses"),
        (21, "kind"),
        (29, "addresses"),
        (33, "mtu"),
    ];
    for (line, key) in wrong {
        let place = format!("bad.toml:{line}");
        let found = said.lines().any(|l| l.contains(&place) && l.contains(key));
        assert!(found, "no error at {place} about {key}:\n{said}");
    }
    assert!(said.lines().count() <= wrong.len() + 1, "one line each:\n{said}");
}

#[test]
fn a_file_that_is_missing_unreadable_or_no_toml_is_named() {
    let lab = Lab::new();
    let check = |path: &str| {
        let output = lab.server().output(&format!("{} check --config {path}", binary().display()));
        assert_eq!(output.status.code(), Some(1), "{path}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert_one_line(&check("/nowhere/g.toml"), &["/nowhere/g.toml"]);
    assert_one_line(&check("/"), &["/"]);
    let path = lab.dir().join("g.toml");
    std::fs::write(&path, "[appliance\nworkers = [1]\n").expect("file");
    let said = check(&path.display().to_string());
    assert!(said.contains("g.toml:1"), "{said}");
    std::fs::write(&path, [0xff, 0xfe, 0x00]).expect("file");
    assert!(check(&path.display().to_string()).contains("UTF-8"));
}

#[test]
fn what_is_illegal_together_is_refused_by_name() {
    let lab = Lab::new();
    lab.host("ct1");
    lab.host("ct2");
    let one = |addresses: &str| {
        Config::new(&lab).container("ct1").adapter("eth0", &tap("ct1", "eth0"), addresses)
    };
    let address = "addresses = [\"192.0.2.11/32\"]";
    let port = tap("ct2", "eth0");
    refuses(&lab, &one(address).container("ct1"), &["ct1"]);
    refuses(
        &lab,
        &one(address).container("ct2").adapter("eth0", &port, address),
        &["192.0.2.11", "ct1"],
    );
    let wider = "addresses = [\"192.0.2.8/29\"]";
    refuses(
        &lab,
        &one(address).container("ct2").adapter("eth0", &port, wider),
        &["192.0.2.8/29", "ct1"],
    );
    refuses(&lab, &one("addresses = [\"192.0.2.11/24\"]"), &["192.0.2.11/24", "192.0.2.0/24"]);
    refuses(
        &lab,
        &one(&format!("{address}\nnetwork = \"nowhere\"\nmode = \"virtual-network\"")),
        &["nowhere"],
    );
    let other = "addresses = [\"192.0.2.12/32\"]";
    refuses(&lab, &one(address).vm("vm1").adapter("eth0", "shared:venet9", other), &["venet9"]);
}

/// By which a service manager knows that there is nothing to wait for (EX_CONFIG).
#[test]
fn the_exit_code_says_whether_it_is_the_configuration() {
    let lab = Lab::new();
    let code = |config: &Config| failure(&lab, config, &mut Command::new(binary())).0;
    assert_eq!(
        code(&Config::new(&lab).text("[[guest]]\nname = \"ct1\"\nkind = \"ship\"")),
        Some(78)
    );
    let device = "[[uplink]]\nname = \"up0\"\ndevice = \"net_nosuch0\"";
    assert_eq!(code(&Config::new(&lab).text(device)), Some(1));
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let lab = Lab::new();
    let with = |device: &str| {
        Config::new(&lab).text(&format!(
            "[[uplink]]\nname = \"up0\"\ndevice = \"{device}\"\naddresses = [\"192.0.2.1/24\"]"
        ))
    };
    refuses(&lab, &with("0000:ff:1f.7"), &["0000:ff:1f.7"]);
    refuses(&lab, &with("0000:zz:00.0"), &["0000:zz:00.0"]);
    refuses(&lab, &with("net_nosuch0"), &["net_nosuch0"]);
    refuses(&lab, &with("net_af_packet0,iface=nosuch"), &["net_af_packet0"]);
}

#[test]
fn a_guest_whose_namespace_is_not_there_yet_is_told_and_tried_again() {
    let mut world = World::routed_with(Attach::Own, 1, |_, config| {
        let addresses = "addresses = [\"192.0.2.12/32\"]";
        config.container("late").adapter("eth0", &tap("late", "eth0"), addresses)
    });
    world.ct(1).reaches(tests::world::SERVER);
    let port = rows(world.app.json("show port info late/eth0"))[0].clone();
    assert_eq!(port["state"], "failed");
    assert!(port["problem"].as_str().is_some_and(|why| why.contains("late")), "{port}");
    let late = world.lab.host("late");
    late.reaches_within(Duration::from_secs(10), &address(1));
    world.app.forget_pool();
    world.end();
}

#[test]
fn a_used_socket_is_not_stolen_and_a_stale_one_is_taken() {
    let lab = Lab::new();
    let config = Config::new(&lab);
    let mut first = Appliance::start(&lab, &config, None);
    let second = Config::new(&lab).replace("/state\"", "/state2\"").replace("\"lab", "\"second");
    refuses(&lab, &second, &["api.sock"]);
    first.must("show version");
    // A socket that nobody answers is what kill -9 leaves.
    first.kill();
    assert!(first.socket().exists());
    first.launch();
    first.stop();
    assert!(!first.socket().exists(), "a clean end takes the socket away");
    // Something else on that path is not ours to remove.
    let other = UnixListener::bind(first.socket()).expect("bind");
    refuses(&lab, &config, &["api.sock"]);
    drop(other);
}

#[test]
fn two_few_hugepages_are_told_as_such() {
    let lab = Lab::new();
    let config = Config::new(&lab);
    let config = if tests::appliance::wants_hugepages() {
        config.replace(r#""-m", "256""#, r#""-m", "65536""#)
    } else {
        config.replace(r#""--no-huge", "#, "")
    };
    refuses(&lab, &config, &["hugepages"]);
}

#[test]
fn without_root_one_line_says_so() {
    let lab = Lab::new();
    let config = Config::new(&lab).uplink();
    // Nobody must be able to read the file, to get as far as the question.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(lab.dir(), mode).expect("permissions");
    let copy = lab.dir().join("guestway");
    std::fs::copy(binary(), &copy).expect("a copy that nobody may run");
    let said = fails_as(&lab, &config, Command::new(copy).uid(65_534).gid(65_534));
    assert_one_line(&said, &["root"]);
}

#[test]
fn arguments_that_are_ours_are_refused_among_eals() {
    let lab = Lab::new();
    for argument in ["-l", "-c", "--lcores", "--main-lcore"] {
        let config = Config::new(&lab)
            .replace("\"--no-pci\"", &format!("\"--no-pci\", \"{argument}\", \"0\""));
        refuses(&lab, &config, &[argument]);
    }
    let unknown = Config::new(&lab).replace("\"--no-pci\"", "\"--no-pci\", \"--no-such-option\"");
    refuses(&lab, &unknown, &["DPDK did not start", "--no-such-option"]);
}

#[test]
fn wrong_commands_are_one_line_and_change_nothing() {
    let world = World::routed(Attach::Own, 1);
    let before = world.app.must("show config");
    for (words, says) in [
        ("frobnicate", "frobnicate"),
        ("show", "show"),
        ("show port stats nosuch", "nosuch"),
        ("guest add CT9 container", "CT9"),
        ("guest add ct1 container", "ct1"),
        ("guest add ct9 jail", "jail"),
        ("guest del nosuch", "nosuch"),
        ("adapter add nosuch eth0 port tap,iface=x", "nosuch"),
        ("adapter set ct1 eth0 mtu 1", "mtu"),
        ("adapter set ct1 eth0 mac 01:00:5e:00:00:01", "01:00:5e:00:00:01"),
        ("adapter set ct1 eth0 network nosuch", "nosuch"),
        ("network add default host-only", "default"),
        ("network del default", "default"),
        ("network add n uplink nosuch", "nosuch"),
        ("network add n uplink up0 vlan 4095", "4095"),
        ("route add 10.0.0.1/8 via 192.0.2.11", "10.0.0.0/8"),
        ("route add 10.0.0.0/8 via 203.0.113.9", "203.0.113.9"),
        ("route del 10.9.0.0/16", "10.9.0.0/16"),
        ("neighbor add 192.0.2.9 nonsense dev up0", "nonsense"),
        ("port detach up9", "up9"),
        ("port set up0 mtu 100000", "100000"),
        ("route load /nowhere", "/nowhere"),
    ] {
        let said = world.app.refused(words);
        assert!(said.contains(says), "`{words}`: {says:?} is not in: {said}");
    }
    assert_eq!(world.app.must("show config"), before);
    let error = ctl(std::path::Path::new("/nowhere/api.sock"), "show version").expect_err("nobody");
    assert!(error.contains("/nowhere/api.sock"), "{error}");
    world.end();
}

#[test]
fn the_api_survives_nonsense() {
    let world = World::routed(Attach::Own, 1);
    for (method, path, body, status) in [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/v1/version", "", 405),
        ("POST", "/v1/batch", "{", 400),
        ("POST", "/v1/batch", "[{\"change\":\"no-such\"}]", 400),
        ("PATCH", "/v1/guests/ct1/adapters/eth0", "{\"mtu\": \"big\"}", 400),
        ("PATCH", "/v1/guests/ct1/adapters/nosuch", "{\"mtu\": 1400}", 404),
    ] {
        let (got, answer) = world.app.api(method, path, body);
        let is_near = got == status || (status == 400 && got == 422);
        assert!(is_near, "{method} {path}: {got}: {answer}");
    }
    // A batch is all or nothing.
    let batch = r#"[{"change":"guest-add","guest":"ct8","kind":"container"},
                    {"change":"guest-del","guest":"nosuch"}]"#;
    let (status, answer) = world.app.api("POST", "/v1/batch", batch);
    assert!((400..500).contains(&status) && answer.contains("nosuch"), "{status}: {answer}");
    world.app.refused("show guest ct8");
    world.end();
}

#[test]
fn a_port_that_disappears_while_running_disturbs_nobody_else() {
    let world = World::routed(Attach::Own, 3);
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    world.ct(1).reaches(&address(2));
    let paced = Paced::ring(&[talker(1), talker(2)], 1_000);
    world.ct(3).run("ip link del eth0");
    let state = || rows(world.app.json("show port info ct3/eth0"))[0]["state"].clone();
    eventually("the port is seen as failed", Duration::from_secs(5), || state() == "failed");
    assert!(!world.ct(1).ping(&address(3)));
    std::thread::sleep(Duration::from_millis(300));
    assert!(paced.finish() > 300);
    // It can be taken away and attached anew.
    world.app.must("adapter del ct3 eth0");
    let port = tap("ct3", "eth0");
    world.app.must(&format!("adapter add ct3 eth0 port {port} ip {}", address(3)));
    world.ct(3).reaches(&address(1));
    world.end();
}

/// A frame that is nearly right: a packet with some bytes changed, often with its checksum mended.
fn nearly_right(random: &mut Random, to: Mac, from: Mac) -> Vec<u8> {
    let length = 8 + random.below(64);
    let payload = random.bytes(length);
    let mut packet = ipv4(&address(1), &address(2), 64, UDP, &udp(1, 2, &payload));
    for _ in 0..1 + random.below(3) {
        let at = random.below(packet.len().min(28));
        packet[at] = random.bytes(1)[0];
    }
    if random.below(2) == 0
        && usize::from(packet[0] & 15) * 4 <= packet.len()
        && packet[0] & 15 >= 5
    {
        refresh_checksum(&mut packet);
    }
    packet.truncate(random.below(packet.len()) + 1);
    let ether_type = [IPV4, IPV4, IPV4, 0x0806, 0x8100, 0x86dd, 38][random.below(7)];
    ethernet(to, from, ether_type, &packet)
}

#[test]
fn frames_of_any_bytes_and_length_are_counted_and_harmless() {
    let world = World::routed_with(Attach::Own, 3, |lab, config| {
        lab.host("vm1");
        lab.host("vm2");
        let config = config.vm("vm1").adapter("eth0", &tap("vm1", "eth0"), "filter = []");
        config.vm("vm2").adapter("eth0", &tap("vm2", "eth0"), "")
    });
    world.lab.known("vm1").run("ip link set eth0 up");
    world.ct(1).reaches(&address(2));
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    let paced = Paced::ring(&[talker(2), talker(3)], 500);
    let mut random = Random(0xbad);
    let senders = [
        (world.ct(1).wire("eth0"), mac(&world.ct(1).neighbor(GATEWAY).expect("resolved"))),
        (world.lab.known("vm1").wire("eth0"), BROADCAST),
        (world.out().wire("eth0"), mac(&world.uplink_mac())),
    ];
    // What the guests send; the LAN's own switch keeps some of the outside's frames for itself.
    let counted = || {
        let stats = stats(&world.app);
        ["ct1/eth0", "vm1/eth0"].map(|port| count(&stats[port], "rx-pkts")).iter().sum::<u64>()
    };
    let before = counted();
    let mut sent_by_guests = 0;
    for number in 0..RANDOM_FRAMES.now() {
        let sender = number as usize % senders.len();
        let (wire, relay) = &senders[sender];
        let to = [*relay, BROADCAST, [1, 0x80, 0xc2, 0, 0, 3]][random.below(3)];
        let frame = if random.below(2) == 0 {
            let (length, low) = (random.below(1_500), random.bytes(1)[0]);
            ethernet(to, wire.mac(), u16::from_be_bytes([8, low]), &random.bytes(length))
        } else {
            nearly_right(&mut random, to, wire.mac())
        };
        wire.send(&frame);
        sent_by_guests += u64::from(sender < 2);
        // A tap's queue holds 1,000: no more is under way than it can.
        if number % 600 == 599 {
            let all = || counted() - before >= sent_by_guests;
            eventually("every frame is counted", Duration::from_secs(10), all);
        }
    }
    assert!(paced.finish() > 100);
    world.ct(1).reaches(&address(2));
    world.ct(1).reaches(tests::world::OUT);
    world.end();
}
