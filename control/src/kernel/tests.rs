//! Real interfaces in namespaces of our own, made and read back by iproute2, whose answers owe
//! nothing to this module.

use super::*;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, gettid};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const MAC: MacAddr = MacAddr([0x02, 0, 0x5e, 0x10, 0, 1]);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Moves the test's thread to namespaces of its own; says so where it can't.
fn in_own_namespace() -> bool {
    let none: Option<&str> = None;
    let private = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)
    };
    let has_ip = || Command::new("ip").arg("-V").output().is_ok_and(|out| out.status.success());
    if !Uid::effective().is_root() || !has_ip() {
        println!("skipped: it takes root and iproute2");
        return false;
    }
    if let Err(errno) = private() {
        println!("skipped: no namespaces of our own ({errno})");
        return false;
    }
    ip("link set lo up");
    true
}

/// Runs `ip` in the thread's namespace and returns what it prints.
fn ip(arguments: &str) -> String {
    let out = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "ip {arguments}: {said}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// An interface that is down, at a far end that is up.
fn cable(name: &str) {
    ip(&format!("link add {name} type veth peer name far-{name}"));
    ip(&format!("link set far-{name} up"));
}

/// IPv4 addresses of an interface as iproute2 tells them, sorted.
fn ipv4(interface: &str) -> Vec<String> {
    let words = ip(&format!("-4 -o address show dev {interface}"));
    let words: Vec<&str> = words.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "inet");
    let mut addresses: Vec<String> = pairs.map(|pair| pair[1].to_owned()).collect();
    addresses.sort();
    addresses
}

fn default_routes() -> Vec<String> {
    let routes = ip("-4 route show default");
    routes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn nets(addresses: &[&str]) -> Vec<IpNet> {
    addresses.iter().map(|text| text.parse().expect("a prefix")).collect()
}

fn setup(interface: &str, addresses: &[&str]) -> InterfaceSetup {
    InterfaceSetup {
        place: Place::Here,
        interface: interface.to_owned(),
        alternative_name: None,
        mac: None,
        mtu: None,
        addresses: Some(nets(addresses)),
        gateway: None,
        static_neighbor: None,
        up: true,
    }
}

fn host_routed(interface: &str, address: &str) -> InterfaceSetup {
    InterfaceSetup { gateway: Some(GATEWAY), ..setup(interface, &[address]) }
}

fn own_namespace() -> PathBuf {
    std::fs::read_link("/proc/thread-self/ns/net").expect("own namespace")
}

/// Everything that `ip` knows and that `configure` may change.
fn picture(interface: &str) -> String {
    [
        format!("-d link show dev {interface}"),
        format!("-4 address show dev {interface}"),
        format!("neighbor show dev {interface} nud permanent"),
        "-4 route show table all".to_owned(),
    ]
    .map(|question| ip(&question))
    .concat()
}

#[test]
fn a_host_routed_guest_is_set_up_and_a_second_call_changes_nothing() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    let wanted = InterfaceSetup {
        alternative_name: Some("ct1-eth0".to_owned()),
        mac: Some(MAC),
        mtu: Some(1400),
        static_neighbor: Some((GATEWAY, MacAddr([2, 0, 0, 0, 0, 9]))),
        ..host_routed("eth0", "203.0.113.11/32")
    };
    configure(&wanted).expect("configured");

    assert_eq!(ipv4("eth0"), ["203.0.113.11/32"]);
    assert_eq!(default_routes(), ["default via 169.254.1.1 dev eth0 proto 103 onlink"]);
    assert!(
        ip("neighbor show dev eth0").contains("169.254.1.1 lladdr 02:00:00:00:00:09 PERMANENT")
    );
    let by_other_name = ip("link show dev ct1-eth0");
    assert!(by_other_name.contains("mtu 1400"), "{by_other_name}");
    assert!(by_other_name.contains(&MAC.to_string()), "{by_other_name}");

    let seen = state(&Place::Here, "eth0").expect("state");
    assert!(seen.exists && seen.up && seen.carrier, "{seen:?}");
    assert_eq!((seen.mac, seen.mtu), (Some(MAC), Some(1400)));
    assert!(seen.addresses.contains(&nets(&["203.0.113.11/32"])[0]), "{seen:?}");
    assert_eq!(state(&Place::Here, "ct1-eth0").expect("by its other name"), seen);

    let before = picture("eth0");
    configure(&wanted).expect("configured again");
    assert_eq!(picture("eth0"), before);
}

#[test]
fn a_change_of_mode_leaves_exactly_the_new_addresses() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    configure(&host_routed("eth0", "203.0.113.11/32")).expect("host-routed");

    configure(&setup("eth0", &["198.51.100.5/24", "10.0.0.5/8"])).expect("in a network");
    assert_eq!(ipv4("eth0"), ["10.0.0.5/8", "198.51.100.5/24"]);
    assert!(default_routes().is_empty(), "{:?}", default_routes());

    // .5 is the first of its prefix: the kernel removes .6 with it, which must come back.
    configure(&setup("eth0", &["198.51.100.6/24"])).expect("another address");
    assert_eq!(ipv4("eth0"), ["198.51.100.6/24"]);

    ip("address add 192.0.2.77/24 dev eth0");
    configure(&host_routed("eth0", "203.0.113.12/32")).expect("back");
    assert_eq!(ipv4("eth0"), ["203.0.113.12/32"]);
    assert_eq!(default_routes().len(), 1);
}

#[test]
fn the_link_local_address_of_ipv6_stays() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    ip("link set eth0 up");
    ip("address replace fe80::1234/64 dev eth0 nodad");
    configure(&host_routed("eth0", "203.0.113.11/32")).expect("configured");
    configure(&setup("eth0", &[])).expect("cleared");
    assert!(ip("-6 address show dev eth0").contains("fe80::1234/64"));
    assert!(ipv4("eth0").is_empty());
}

#[test]
fn with_no_addresses_wanted_what_the_guest_set_itself_stays() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    configure(&host_routed("eth0", "203.0.113.11/32")).expect("host-routed");
    ip("address add 198.51.100.5/24 dev eth0");
    let network = InterfaceSetup { mtu: Some(1300), ..setup("eth0", &[]) };
    configure(&network).expect("in a network");
    assert_eq!(ipv4("eth0"), ["198.51.100.5/24"]);
    assert!(default_routes().is_empty());

    ip("route add default via 198.51.100.1 dev eth0 onlink");
    configure(&network).expect("again");
    assert_eq!(ipv4("eth0"), ["198.51.100.5/24"]);
    assert_eq!(default_routes(), ["default via 198.51.100.1 dev eth0 onlink"]);
}

#[test]
fn an_address_set_by_hand_becomes_ours_once_it_is_wanted() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    ip("address add 203.0.113.11/32 dev eth0");
    configure(&setup("eth0", &["203.0.113.11/32"])).expect("wanted");
    configure(&setup("eth0", &[])).expect("no longer");
    assert!(ipv4("eth0").is_empty());
}

#[test]
fn the_default_route_moves_to_another_gateway_and_from_another_interface() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    cable("other");
    ip("link set other up");
    ip("address add 10.9.0.1/24 dev other");
    ip("route add default via 10.9.0.254");
    configure(&host_routed("eth0", "203.0.113.11/32")).expect("configured");
    assert_eq!(default_routes(), ["default via 169.254.1.1 dev eth0 proto 103 onlink"]);

    let gateway = Some(Ipv4Addr::new(169, 254, 1, 2));
    configure(&InterfaceSetup { gateway, ..setup("eth0", &["203.0.113.11/32"]) }).expect("moved");
    assert_eq!(default_routes(), ["default via 169.254.1.2 dev eth0 proto 103 onlink"]);
}

#[test]
fn another_interface_keeps_its_addresses_and_its_default_route() {
    if !in_own_namespace() {
        return;
    }
    for name in ["eth0", "eth1"] {
        cable(name);
    }
    configure(&host_routed("eth0", "203.0.113.11/32")).expect("eth0");
    configure(&setup("eth1", &["198.51.100.5/24"])).expect("eth1");
    configure(&setup("eth1", &[])).expect("eth1 cleared");
    assert_eq!(ipv4("eth0"), ["203.0.113.11/32"]);
    assert_eq!(default_routes(), ["default via 169.254.1.1 dev eth0 proto 103 onlink"]);
}

#[test]
fn a_tap_takes_mac_and_mtu_while_it_is_up_and_is_deleted_for_good() {
    if !in_own_namespace() {
        return;
    }
    ip("tuntap add dev ct1-eth0 mode tap");
    configure(&host_routed("ct1-eth0", "203.0.113.11/32")).expect("configured");
    let mac = MacAddr([0x02, 1, 2, 3, 4, 5]);
    let changed = InterfaceSetup {
        mac: Some(mac),
        mtu: Some(9000),
        ..host_routed("ct1-eth0", "203.0.113.11/32")
    };
    configure(&changed).expect("changed while up");
    let seen = state(&Place::Here, "ct1-eth0").expect("state");
    assert_eq!((seen.mac, seen.mtu, seen.up), (Some(mac), Some(9000), true));
    assert!(!seen.carrier, "nobody holds the tap");
    assert_eq!(default_routes().len(), 1);

    delete(&Place::Here, "ct1-eth0").expect("deleted");
    assert!(!exists(&Place::Here, "ct1-eth0"));
    assert_eq!(state(&Place::Here, "ct1-eth0"), Ok(InterfaceState::default()));
    delete(&Place::Here, "ct1-eth0").expect("absent is deleted");
}

#[test]
fn up_left_out_leaves_it_down() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    configure(&InterfaceSetup { up: false, ..setup("eth0", &["192.0.2.1/24"]) }).expect("set");
    assert!(!state(&Place::Here, "eth0").expect("state").up);
}

#[test]
fn an_alternative_name_that_is_taken_is_left_out() {
    if !in_own_namespace() {
        return;
    }
    cable("eth0");
    cable("taken");
    let alternative_name = Some("taken".to_owned());
    configure(&InterfaceSetup { alternative_name, ..setup("eth0", &[]) }).expect("configured");
    assert!(ip("link show dev taken").contains(": taken@"));
    assert_eq!(free_interface_name(&Place::Here, "eth0", "ct1-eth0"), "ct1-eth0");
    assert_eq!(free_interface_name(&Place::Here, "eth1", "ct1-eth1"), "eth1");
}

#[test]
fn errors_name_interface_namespace_and_reason() {
    if !in_own_namespace() {
        return;
    }
    let failed = |setup: &InterfaceSetup| configure(setup).expect_err("refused").to_string();
    assert_eq!(
        failed(&setup("eth7", &[])),
        "interface eth7 in our own namespace: no such interface"
    );
    let nowhere = InterfaceSetup { place: Place::Name("ct9".to_owned()), ..setup("eth0", &[]) };
    assert_eq!(
        failed(&nowhere),
        "interface eth0 in namespace ct9: no such namespace: can't open /run/netns/ct9: No such file \
         or directory"
    );
    assert!(state(&nowhere.place, "eth0").is_err());
    assert!(!exists(&nowhere.place, "eth0") && !place_exists(&nowhere.place));
    delete(&nowhere.place, "eth0").expect("gone with its namespace");

    cable("eth0");
    assert_eq!(
        failed(&InterfaceSetup { mtu: Some(20), ..setup("eth0", &[]) }),
        "interface eth0 in our own namespace: can't set MTU 20: Invalid argument (mtu less than \
         device minimum)"
    );
    let group = InterfaceSetup { mac: Some(MacAddr::BROADCAST), ..setup("eth0", &[]) };
    assert_eq!(
        failed(&group),
        "interface eth0 in our own namespace: can't set MAC ff:ff:ff:ff:ff:ff: Cannot assign \
         requested address"
    );
    assert!(!exists(&Place::Here, "") && !exists(&Place::Here, "a-name-that-is-far-too-long"));
}

#[test]
fn a_file_that_is_no_namespace_is_refused() {
    let place = Place::Path(PathBuf::from("/dev/null"));
    assert!(!place_exists(&place));
    let error = state(&place, "eth0").expect_err("no namespace").to_string();
    if Uid::effective().is_root() {
        assert!(error.ends_with("can't enter /dev/null: not a network namespace"), "{error}");
    }
}

#[test]
fn every_kind_of_place_is_entered_and_the_caller_stays_where_it_is() {
    if !in_own_namespace() {
        return;
    }
    std::fs::create_dir("/run/netns").expect("/run/netns");
    ip("netns add guest");
    ip("link add eth0 type veth peer name eth0 netns guest");
    let guest = Sleeper::in_netns("guest");
    let pid = guest.0.id();
    let home = own_namespace();
    let places = [
        Place::Name("guest".to_owned()),
        Place::Path(PathBuf::from(format!("/proc/{pid}/ns/net"))),
        Place::Pid(pid),
    ];
    for (n, place) in (1..).zip(places) {
        assert!(place_exists(&place), "{place}");
        let address = format!("203.0.113.{n}/32");
        let wanted = InterfaceSetup { place: place.clone(), ..host_routed("eth0", &address) };
        configure(&wanted).unwrap_or_else(|error| panic!("{error}"));
        let seen = ip("-n guest -4 -o address show dev eth0");
        assert!(seen.contains(&address), "{seen}");
        assert!(exists(&place, "eth0"), "{place}");
        assert_eq!(own_namespace(), home);
        assert!(ipv4("eth0").is_empty(), "ours got the guest's addresses");
    }
    delete(&Place::Name("guest".to_owned()), "eth0").expect("deleted");
    assert!(!exists(&Place::Here, "eth0"), "a veth pair goes together");
    drop(guest);
    assert!(!place_exists(&Place::Pid(pid)));
}

#[test]
fn calls_from_several_threads_keep_to_their_namespaces() {
    if !in_own_namespace() {
        return;
    }
    std::fs::create_dir("/run/netns").expect("/run/netns");
    let names: Vec<String> = (0..4).map(|n| format!("guest{n}")).collect();
    for name in &names {
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link add eth0 type veth peer name far"));
    }
    std::thread::scope(|scope| {
        for (n, name) in names.iter().enumerate() {
            scope.spawn(move || {
                for last in 0..5 {
                    let address = format!("203.0.{n}.{last}/32");
                    let place = Place::Name(name.clone());
                    let wanted = InterfaceSetup { place, ..host_routed("eth0", &address) };
                    configure(&wanted).unwrap_or_else(|error| panic!("{error}"));
                }
            });
        }
    });
    for (n, name) in names.iter().enumerate() {
        let seen = ip(&format!("-n {name} -4 -o address show dev eth0"));
        assert_eq!(seen.lines().count(), 1, "{seen}");
        assert!(seen.contains(&format!("203.0.{n}.4/32")), "{seen}");
    }
}

#[test]
fn a_kernel_that_does_not_answer_is_left_behind() {
    let begun = std::time::Instant::now();
    // As in a system call that waits for the kernel's lock: no timer of the thread's own runs.
    let asked = session::ask(&Place::Here, "eth0", async |_| {
        std::thread::sleep(2 * PATIENCE);
        Ok(())
    });
    let error = asked.expect_err("too slow");
    assert!(begun.elapsed() < PATIENCE + PATIENCE / 2);
    assert_eq!(
        error.to_string(),
        "interface eth0 in our own namespace: no answer from the kernel within 5 s"
    );
}

/// A process in a namespace, to be found by its number; ended on drop.
struct Sleeper(Child);

impl Sleeper {
    fn in_netns(name: &str) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, "sleep", "60"]).stdin(Stdio::null());
        let sleeper = Self(command.spawn().expect("sleep"));
        let there = std::fs::metadata(Path::new("/run/netns").join(name)).expect("its file");
        let path = format!("/proc/{}/ns/net", sleeper.0.id());
        // `ip` enters the namespace before it becomes `sleep`.
        for _ in 0..200 {
            if std::fs::metadata(&path).is_ok_and(|own| same_file(&own, &there)) {
                return sleeper;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("thread {}: {path} is not {name}", gettid());
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
