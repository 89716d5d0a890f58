//! vhost-user guests come and go, by the hundred, and so does the appliance under them.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::balance::rows;
use tests::config::tap;
use tests::counts::GUEST_CYCLES;
use tests::dpdk::{EchoGuests, Role};
use tests::frames::{Arp, ethernet, ipv4, mac as mac_of, udp};
use tests::frontend::{Frontend, Memory, Message, NetHeader, Options, feature, protocol, request};
use tests::paced::{Paced, Talker};
use tests::world::address;
use tests::{Appliance, Attach, Config, Lab, World, eventually, within};

const SECOND: Duration = Duration::from_secs(1);

fn socket(lab: &Lab, guest: &str) -> PathBuf {
    lab.dir().join(format!("{guest}.sock"))
}

/// MAC and address of DPDK guest `number`.
fn mac(number: usize) -> String {
    format!("02:00:00:00:{:02x}:{:02x}", number >> 8, number & 0xff)
}

fn guest_ip(number: usize) -> String {
    format!("203.0.113.{number}")
}

/// Adds host-routed DPDK guests `dc1`, `dc2`, …; `options` are the port's.
fn with_guests(lab: &Lab, config: Config, count: usize, options: &str) -> Config {
    (1..=count).fold(config, |config, number| {
        let guest = format!("dc{number}");
        let port = format!("vhost-user,path={}{options}", socket(lab, &guest).display());
        let addresses = Config::addresses(&[&format!("{}/32", guest_ip(number))]);
        let keys = format!("mac = \"{}\"\n{addresses}", mac(number));
        config.container(&guest).adapter("eth0", &port, &keys)
    })
}

fn ports(lab: &Lab, numbers: impl Iterator<Item = usize>) -> Vec<(PathBuf, String)> {
    numbers.map(|number| (socket(lab, &format!("dc{number}")), mac(number))).collect()
}

/// Resident memory in KB and open descriptors.
fn holdings(app: &Appliance) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kb = line.trim().trim_end_matches(" kB").parse().expect("a number");
    let open = std::fs::read_dir(format!("/proc/{}/fd", app.pid())).expect("descriptors").count();
    (kb, open)
}

/// A DPDK guest is killed and started again, again and again: its traffic is back at once, others lose
/// nothing, and nothing of the dead one stays.
fn cycles(role: Role) {
    let options = if role == Role::Listens { ",client" } else { "" };
    let mut world =
        World::routed_with(Attach::Own, 2, |lab, config| with_guests(lab, config, 1, options));
    let mut guest = EchoGuests::start(&world.lab, "dc1", &ports(&world.lab, 1..=1), role);
    world.ct(1).reaches_within(20 * SECOND, &guest_ip(1));
    guest.kill();
    let link = |world: &World| {
        let port = rows(world.app.json("show port info dc1/eth0"));
        port[0]["link"].as_str().expect("a link").to_owned()
    };
    eventually("the link is down", SECOND, || link(&world) == "down");
    world.app.forget_pool();
    let before = holdings(&world.app);
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    let paced = Paced::ring(&[talker(1), talker(2)], 500);
    let mut slowest = Duration::ZERO;
    for cycle in 0..GUEST_CYCLES.now() {
        // From when it is started, which is some 0.3 s before it looks at its socket.
        let begin = Instant::now();
        guest.restart();
        let is_up = || link(&world) == "up";
        assert!(within(2 * SECOND, is_up), "cycle {cycle}: {}", guest.log());
        let left = (2 * SECOND).saturating_sub(begin.elapsed());
        assert!(within(left, || world.ct(1).ping(&guest_ip(1))), "cycle {cycle}");
        slowest = slowest.max(begin.elapsed());
        guest.kill();
        assert!(within(SECOND, || link(&world) == "down"), "cycle {cycle}");
    }
    paced.finish();
    let after = holdings(&world.app);
    println!(
        "{} cycles, traffic back after {slowest:?} at most; resident {} KB before and {} after, \
         descriptors {} and {}",
        GUEST_CYCLES.now(),
        before.0,
        after.0,
        before.1,
        after.1
    );
    assert_eq!(after.1, before.1, "descriptors");
    assert!(after.0 < before.0 + 2_048, "resident memory grew from {} to {} KB", before.0, after.0);
    world.end();
}

#[test]
fn a_killed_guest_comes_back_within_two_seconds_and_leaves_nothing_behind() {
    cycles(Role::Connects);
}

#[test]
fn a_killed_guest_that_listens_is_found_again_within_two_seconds_and_leaves_nothing_behind() {
    cycles(Role::Listens);
}

/// The appliance is killed under traffic with fifty guests connected, which listen: it finds each of
/// them again with no action on their side.
#[test]
fn fifty_guests_that_listen_are_found_again_after_kill_9() {
    let mut world =
        World::routed_with(Attach::Own, 1, |lab, config| with_guests(lab, config, 50, ",client"));
    let lab = &world.lab;
    let _programs = [
        EchoGuests::start(lab, "first", &ports(lab, 1..=25), Role::Listens),
        EchoGuests::start(lab, "second", &ports(lab, 26..=50), Role::Listens),
    ];
    let all = |world: &World, limit: Duration| {
        let begin = Instant::now();
        let mut left: Vec<usize> = (1..=50).collect();
        while !left.is_empty() && begin.elapsed() < limit {
            // Once it is over, whoever is left is late.
            left.retain(|number| begin.elapsed() >= limit || !world.ct(1).ping(&guest_ip(*number)));
        }
        (left, begin.elapsed())
    };
    let (missing, _) = all(&world, 60 * SECOND);
    assert_eq!(missing, [0; 0], "guests that do not answer at first");
    world.app.check_books();
    let flood = world.ct(1).spawn(&format!("ping -n -q -i 0.01 {}", guest_ip(7)));
    world.app.kill();
    world.app.launch();
    let (missing, took) = all(&world, 3 * SECOND);
    assert_eq!(missing, [0; 0], "guests that are not back within three seconds");
    println!("fifty guests answer {took:?} after the restart");
    drop(flood);
    world.end();
}

/// Registered vhost-user guests, those of them that are connected, and containers on taps.
const REGISTERED: usize = 500;
const CONNECTED: usize = 300;
const TAPS: usize = 300;

/// The address of the numbered one among guests of a kind; half of each kind is host-routed.
fn crowd_ip(kind: u8, number: usize) -> String {
    format!("198.{kind}.{}.{}", number / 200, number % 200 + 1)
}

fn is_routed(number: usize) -> bool {
    number.is_multiple_of(2)
}

/// An adapter's keys: host-routed, or a member of the network `default`.
fn crowd_keys(kind: u8, number: usize) -> String {
    let addresses = Config::addresses(&[&format!("{}/32", crowd_ip(kind, number))]);
    let mode = match is_routed(number) {
        true => "mode = \"host-routed\"",
        false => "mode = \"virtual-network\"\nnetwork = \"default\"",
    };
    format!("{mode}\n{addresses}")
}

/// 500 guests are registered, 300 of them connected at once, beside 300 containers on taps, in both
/// modes: every one of them passes traffic.
#[test]
fn hundreds_of_guests_and_containers_at_once_each_pass_traffic() {
    raise_descriptor_limit();
    let lab = Lab::new();
    let config = (0..REGISTERED).fold(Config::new(&lab), |config, number| {
        let guest = format!("g{number}");
        let port = format!("vhost-user,path={}", socket(&lab, &guest).display());
        let keys = format!("mac = \"{}\"\n{}", mac(number), crowd_keys(18, number));
        config.container(&guest).adapter("eth0", &port, &keys)
    });
    let names: String = (0..TAPS).map(|number| format!("netns add t{number}\n")).collect();
    let batch = lab.dir().join("namespaces");
    std::fs::write(&batch, names).expect("a batch");
    lab.server().run(&format!("ip -batch {}", batch.display()));
    let config = (0..TAPS).fold(config, |config, number| {
        let guest = format!("t{number}");
        config.container(&guest).adapter("eth0", &tap(&guest, "eth0"), &crowd_keys(19, number))
    });
    let mut app = Appliance::start(&lab, &config, None);
    let options = Options { ring_size: 64, regions: vec![1 << 20], ..Options::default() };
    // The first guest of all has the vhost library open what it keeps.
    let first = Frontend::connect_within(&socket(&lab, "g1"), &options, 5 * SECOND).expect("g1");
    first.stop().expect("stopped");
    eventually("it is gone", SECOND, || {
        rows(app.json("show port info g1/eth0"))[0]["link"] == "down"
    });
    let registered = holdings(&app);
    let begin = Instant::now();
    let mut guests: Vec<Frontend> = (0..CONNECTED)
        .map(|number| {
            let path = socket(&lab, &format!("g{number}"));
            Frontend::connect_within(&path, &options, 5 * SECOND)
                .unwrap_or_else(|e| panic!("guest {number}: {e}"))
        })
        .collect();
    let took = begin.elapsed();
    app.forget_pool();
    let ports = rows(app.json("show port info all"));
    assert_eq!(ports.len(), REGISTERED + TAPS);
    eventually("all links are up", 5 * SECOND, || {
        let ports = rows(app.json("show port info all"));
        ports.iter().filter(|port| port["link"] == "up").count() == CONNECTED + TAPS
    });
    let gateway = mac_of(ports[0]["mac"].as_str().expect("a MAC"));
    for number in 0..CONNECTED {
        // The next one in the same mode.
        let next = (number + 2) % CONNECTED;
        let to = if is_routed(number) { gateway } else { mac_of(&mac(next)) };
        let (from_ip, to_ip) = (crowd_ip(18, number), crowd_ip(18, next));
        let packet = ipv4(&from_ip, &to_ip, 64, 17, &udp(7, 7, &[0x5a; 32]));
        let frame = ethernet(to, mac_of(&mac(number)), 0x0800, &packet);
        // Containers that have just come up tell all members of their network, again and again: what
        // nobody has read yet must not fill the ring.
        guests[next].receive_within(Duration::ZERO, |_| false).expect("a ring");
        assert!(guests[number].send(0, &NetHeader::default(), &frame).expect("a ring"));
        let received = guests[next]
            .receive_within(SECOND, |received| received.frame.len() == frame.len())
            .expect("a ring");
        let received = received.unwrap_or_else(|| panic!("guest {next} got nothing from {number}"));
        assert_eq!(received.frame[..6], mac_of(&mac(next)), "its MAC");
        assert_eq!(received.frame[26..], frame[26..], "addresses and what the packet carries");
    }
    for number in 0..TAPS {
        let host = lab.known(&format!("t{number}"));
        if !is_routed(number) {
            // A member of a network is configured by itself.
            host.run(&format!("ip addr add {}/32 dev eth0", crowd_ip(19, number)));
            host.run("ip route add 198.19.0.0/16 dev eth0");
        }
    }
    for number in 0..TAPS {
        let (host, to) = (lab.known(&format!("t{number}")), crowd_ip(19, (number + 2) % TAPS));
        assert!(within(3 * SECOND, || host.ping(&to)), "container {number} can't reach {to}");
    }
    let connected = holdings(&app);
    println!(
        "{REGISTERED} guests registered and {TAPS} taps: {} MB resident, {} descriptors; {CONNECTED} \
         guests connected in {took:?}: {} MB, {} descriptors",
        registered.0 / 1024,
        registered.1,
        connected.0 / 1024,
        connected.1
    );
    drop(guests);
    eventually("all guests are gone", 10 * SECOND, || {
        let ports = rows(app.json("show port info all"));
        ports.iter().filter(|port| port["link"] == "up").count() == TAPS
    });
    assert_eq!(holdings(&app).1, registered.1, "descriptors");
    app.stop();
}

/// A migration ends here: QEMU says so by SEND_RARP.
#[test]
fn vz4_a_migrated_guest_is_announced_in_either_mode() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        lab.host("m3");
        let config = config.vm("m3").adapter("eth0", &tap("m3", "eth0"), "");
        let port = format!("vhost-user,path={}", socket(lab, "n2").display());
        let config = config.vm("n2").adapter("eth0", &port, &format!("mac = \"{}\"", mac(2)));
        with_guests(lab, config, 1, "").replace(&guest_ip(1), "192.0.2.21")
    });
    let lab = &world.lab;
    let options = Options::default();
    let options =
        Options { protocol_features: options.protocol_features | protocol::RARP, ..options };
    let connect = |guest: &str| {
        Frontend::connect_within(&socket(lab, guest), &options, 5 * SECOND).expect("a front-end")
    };
    let (routed, member) = (connect("dc1"), connect("n2"));
    // The link's own announcements go first.
    std::thread::sleep(Duration::from_millis(3_500));
    let (lan, network) =
        (world.out().capture("eth0", "arp"), lab.known("m3").capture("eth0", "ether proto 0x8035"));
    for (frontend, number) in [(&routed, 1), (&member, 2)] {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&mac_of(&mac(number)));
        let moved = Message::number(request::SEND_RARP, u64::from_le_bytes(bytes));
        frontend.channel.tell(&moved, true).expect("taken");
    }
    std::thread::sleep(Duration::from_millis(2_600));
    let uplink = mac_of(&world.uplink_mac());
    let is_announced = |frame: &Vec<u8>| {
        Arp::read(frame).is_some_and(|arp| {
            arp.sender_ip.to_string() == "192.0.2.21"
                && arp.target_ip == arp.sender_ip
                && arp.sender_mac == uplink
        })
    };
    assert!(lan.finish().iter().any(is_announced), "the LAN hears of the routed one");
    let frames = network.finish();
    let is_of_member = |frame: &Vec<u8>| frame[6..12] == mac_of(&mac(2));
    assert!(frames.iter().any(is_of_member), "the network hears of its member: {frames:02x?}");
    assert!(frames.iter().all(is_of_member), "and of no other");
    drop((routed, member));
    world.end();
}

/// A front-end whose guest is to be migrated away.
fn with_a_log() -> Options {
    let options = Options::default();
    Options {
        features: options.features | feature::LOG_ALL,
        protocol_features: options.protocol_features | protocol::LOG_SHMFD,
        ..options
    }
}

/// A migration begins here: every page of the guest's that is written is marked in its log.
#[test]
fn the_dirty_log_of_a_migration_is_served() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| with_guests(lab, config, 1, ""));
    let options = with_a_log();
    let path = socket(&world.lab, "dc1");
    let mut guest = Frontend::connect_within(&path, &options, 5 * SECOND).expect("a front-end");
    assert!(guest.agreed.has(feature::LOG_ALL) && guest.agreed.speaks(protocol::LOG_SHMFD));
    const LOG_BYTES: u32 = 1 << 20;
    let log = Memory::new(&[LOG_BYTES.into()]).expect("a log");
    let payload = [u64::from(LOG_BYTES).to_ne_bytes(), 0_u64.to_ne_bytes()].concat();
    let message = Message::with(request::SET_LOG_BASE, payload).fd(&log.table().1[0]);
    guest.channel.ask(&message).expect("an answer");
    // Until then nothing came: a page is a bit.
    let dirty = || {
        let bytes = log.read(0, LOG_BYTES as usize).expect("the log");
        bytes.iter().map(|byte| byte.count_ones()).sum::<u32>()
    };
    assert_eq!(dirty(), 0);
    world.ct(1).ping(&guest_ip(1));
    let received = guest.receive_within(SECOND, |received| received.frame.len() >= 98);
    assert!(received.expect("a ring").is_some());
    assert!(dirty() >= 1, "a page was written and is not marked");
    // A log that is taken away while it is written costs that guest its connection, and nobody else
    // anything.
    log.file(0).expect("its file").set_len(0).expect("cut off");
    world.ct(1).ping(&guest_ip(1));
    eventually("the guest is reset", 2 * SECOND, || guest.is_hung_up(Duration::from_millis(1)));
    world.ct(1).reaches(tests::world::OUT);
    drop(guest);
    world.end();
}

/// A log that is described wrongly costs its guest the connection, at once and whether or not anything
/// is written then.
#[test]
fn a_log_that_is_not_as_it_is_told_is_refused() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| with_guests(lab, config, 1, ""));
    let options = with_a_log();
    let path = socket(&world.lab, "dc1");
    const LOG_BYTES: u64 = 1 << 20;
    for (bytes, offset) in [
        (LOG_BYTES, 4_096),
        (LOG_BYTES, 1 << 40),
        (LOG_BYTES, u64::MAX - 8),
        (LOG_BYTES * 2, 0),
        (u64::MAX, 0),
        (0, 0),
    ] {
        let guest = Frontend::connect_within(&path, &options, 5 * SECOND).expect("a front-end");
        assert!(guest.agreed.has(feature::LOG_ALL));
        let log = Memory::new(&[LOG_BYTES]).expect("a log");
        let payload = [bytes.to_ne_bytes(), offset.to_ne_bytes()].concat();
        let message = Message::with(request::SET_LOG_BASE, payload).fd(&log.table().1[0]);
        // It may be hung up before the answer.
        let _ = guest.channel.tell(&message, true);
        let _ = world.ct(1).ping(&guest_ip(1));
        let is_refused = guest.is_hung_up(2 * SECOND);
        assert!(is_refused, "{bytes} bytes from {offset} on, and still connected");
        world.ct(1).reaches(tests::world::OUT);
    }
    world.end();
}

/// The socket of a port has the group and the mode that were asked for, and what can't be is refused.
#[test]
fn sockets_are_as_asked_for_or_refused() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixListener;
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &Config::new(&lab), None);
    app.must("guest add vm1 vm");
    let add = |port: &str| app.ctl(&format!("adapter add vm1 eth0 port vhost-user,path={port}"));
    let refused = |port: &str, says: &str| {
        let error = add(port).expect_err(port);
        assert!(error.contains(says), "{port}: {error}");
        assert!(app.must("show guest vm1").lines().count() == 1, "{port}: nothing was added");
    };
    let dir = lab.dir().display();
    std::fs::write(lab.dir().join("file"), "").expect("a file");
    let _listener = UnixListener::bind(lab.dir().join("taken")).expect("a listener");
    refused("relative.sock", "an absolute path");
    refused(&format!("/{}", "x".repeat(107)), "at most 107 bytes");
    refused(&format!("{dir}/none/vm1.sock"), "No such file or directory");
    refused(&format!("{dir}/file"), "something that is no socket is in its place");
    refused(&format!("{dir}/taken"), "another program listens on it");
    refused(&format!("{dir}/vm1.sock,group=nobody-knows-it"), "no group nobody-knows-it");
    refused(&format!("{dir}/vm1.sock,perm=888"), "octal");
    refused("/proc/vm1.sock", "/proc/vm1.sock");
    assert!(lab.dir().join("file").is_file(), "what was there stays");

    // One that its owner has left behind is nobody's.
    drop(UnixListener::bind(lab.dir().join("vm1.sock")).expect("a listener"));
    add(&format!("{dir}/vm1.sock,group=daemon,perm=0620")).expect("added");
    let made = std::fs::metadata(lab.dir().join("vm1.sock")).expect("the socket");
    assert!(made.file_type().is_socket());
    assert_eq!((made.permissions().mode() & 0o777, made.gid()), (0o620, 1));
    app.must("guest add vm2 vm");
    let error = app.refused(&format!("adapter add vm2 eth0 port vhost-user,path={dir}/vm1.sock"));
    assert!(error.contains("guest vm1's adapter eth0"), "names who has it: {error}");
    app.must("adapter del vm1 eth0");
    assert!(!lab.dir().join("vm1.sock").exists(), "it goes with its adapter");
    let others = std::fs::read_dir(lab.dir()).expect("the directory").flatten();
    assert!(others.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
    app.stop();
}

/// Each front-end here holds a handful.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).expect("limit");
}
