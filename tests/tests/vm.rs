//! Guests that share their memory with the appliance: real VMs, and DPDK containers, beside containers
//! on taps. HR-1, HR-15 to HR-18 and CARD-1 for them.

use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::balance::{adapter, count, rows};
use tests::config::tap;
use tests::counts::{VM_CYCLES, VM_SWITCHES};
use tests::dpdk::Role;
use tests::paced::{Paced, Talker};
use tests::vm::Spec;
use tests::world::{FAR, OUT, SERVER, address};
use tests::{Attach, Config, DpdkContainer, Lab, Nic, Shell, Vm, World, eventually, tcp, within};

const SECOND: Duration = Duration::from_secs(1);

/// The registered MAC of guest `number`.
fn mac(number: usize) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

fn socket(lab: &Lab, guest: &str) -> PathBuf {
    lab.dir().join(format!("{guest}.sock"))
}

/// The specification of a vhost-user port of a guest.
fn vhost(lab: &Lab, guest: &str) -> String {
    format!("vhost-user,path={}", socket(lab, guest).display())
}

/// Adds a guest with an adapter on a vhost-user socket; host-routed with address `number` where
/// `is_routed`.
fn with_guest(lab: &Lab, config: Config, guest: &str, number: usize, is_routed: bool) -> Config {
    let keys = match is_routed {
        true => format!(
            "mode = \"host-routed\"\nmac = \"{}\"\n{}",
            mac(number),
            Config::addresses(&[&format!("{}/32", address(number))])
        ),
        false => format!("mac = \"{}\"", mac(number)),
    };
    config.vm(guest).adapter("eth0", &vhost(lab, guest), &keys)
}

/// Configures a host-routed VM, as its image's cloud-init would.
fn route(vm: &Vm, number: usize) {
    vm.address("eth0", &format!("{}/32", address(number)));
    vm.run("ip route replace 169.254.1.1 dev eth0");
    vm.run("ip route replace default via 169.254.1.1 dev eth0");
}

fn spec(lab: &Lab, guest: &str, number: usize) -> Spec {
    Spec::new(guest).nic(Nic::connecting(&socket(lab, guest), &mac(number)))
}

/// Two VMs at a time, which boot side by side.
fn boot<const N: usize>(lab: &Lab, specs: [Spec; N]) -> [Vm; N] {
    let mut vms = specs.map(|spec| Vm::launch(lab, spec));
    vms.iter_mut().for_each(Vm::booted);
    vms
}

/// The suite of host-routed mode, the same for every kind of guest (HR-1): full mesh, the server, the
/// LAN and beyond, both ways.
fn suite(world: &World, guests: &[(&dyn Shell, usize)]) {
    for (guest, number) in guests {
        for (_, other) in guests.iter().filter(|(_, other)| other != number) {
            guest.reaches(&address(*other));
        }
        for to in [SERVER, OUT, FAR] {
            guest.reaches(to);
        }
        world.server.reaches(&address(*number));
        world.out().reaches(&address(*number));
    }
}

/// Guests 3 and 4 of a routed world: VMs.
fn with_two_vms() -> (World, [Vm; 2]) {
    let world = World::routed_with(Attach::Own, 2, |lab, config| {
        let config = with_guest(lab, config, "vm3", 3, true);
        with_guest(lab, config, "vm4", 4, true)
    });
    let vms = boot(&world.lab, [spec(&world.lab, "vm3", 3), spec(&world.lab, "vm4", 4)]);
    route(&vms[0], 3);
    route(&vms[1], 4);
    (world, vms)
}

#[test]
fn hr1_hr18_card1_one_suite_passes_for_vms_dpdk_containers_and_containers() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        let config = with_guest(lab, config, "vm2", 2, true);
        let config = with_guest(lab, config, "vm3", 3, true);
        with_guest(lab, config, "dc4", 4, true)
    });
    let lab = &world.lab;
    let socket = socket(lab, "dc4");
    let dc4 = DpdkContainer::start(lab, "dc4", &socket, Role::Connects, &mac(4));
    dc4.route(&address(4));
    let [vm2, vm3] = boot(lab, [spec(lab, "vm2", 2), spec(lab, "vm3", 3)]);
    route(&vm2, 2);
    route(&vm3, 3);
    // HR-18: VM to VM, to the server, to the outside, and pairs with either kind of container.
    suite(&world, &[(world.ct(1), 1), (&vm2, 2), (&vm3, 3), (&dc4.host, 4)]);
    // CARD-1: the workers serve them; nobody else has touched a packet.
    for guest in ["vm2", "vm3", "dc4"] {
        let port = rows(world.app.json(&format!("show port info {guest}/eth0")));
        assert_eq!(port[0]["driver"], "vhost-user");
        assert_eq!(port[0]["link"], "up");
        assert_eq!(port[0]["rx-queues"][0]["worker"], 1);
    }
    drop((vm2, vm3, dc4));
    world.end();
}

#[test]
fn hr15_a_vm_with_no_mode_is_on_the_host_only_default_network() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        let config = with_guest(lab, config, "vm2", 2, false);
        with_guest(lab, config, "vm3", 3, false)
    });
    let row = adapter(&world.app, "vm2", "eth0");
    assert_eq!((&row["mode"], &row["network"]), (&"virtual-network".into(), &"default".into()));
    let [vm2, vm3] = boot(&world.lab, [spec(&world.lab, "vm2", 2), spec(&world.lab, "vm3", 3)]);
    vm2.address("eth0", "10.0.0.2/24");
    vm3.address("eth0", "10.0.0.3/24");
    vm2.reaches("10.0.0.3");
    vm3.reaches("10.0.0.2");
    for to in [OUT, SERVER, &address(1)] {
        vm2.run(&format!("ip route add {to}/32 dev eth0"));
        vm2.never_reaches(to);
    }
    drop((vm2, vm3));
    world.end();
}

#[test]
fn hr16_a_running_vm_changes_mode_and_back_and_others_lose_nothing() {
    let world = World::routed_with(Attach::Own, 2, |lab, config| {
        lab.host("m4");
        let config = config.vm("m4").adapter("eth0", &tap("m4", "eth0"), "");
        with_guest(lab, config, "vm3", 3, true)
    });
    let member = world.lab.known("m4");
    member.address("eth0", "192.0.2.204/32");
    member.run(&format!("ip route add {} dev eth0", address(3)));
    let [vm] = boot(&world.lab, [spec(&world.lab, "vm3", 3)]);
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    let paced = Paced::ring(&[talker(1), talker(2)], 1_000);
    // Both configurations at once, so that the time is the switch's own.
    route(&vm, 3);
    vm.run("ip route add 192.0.2.204 dev eth0");
    vm.reaches(&address(1));
    for _ in 0..VM_SWITCHES.now() {
        world.app.must("adapter set vm3 eth0 mode virtual-network");
        vm.forget_neighbors();
        vm.reaches_within(SECOND, "192.0.2.204");
        assert!(!world.ct(1).ping(&address(3)), "no longer routed");
        world.app.must("adapter set vm3 eth0 mode host-routed");
        vm.forget_neighbors();
        vm.reaches_within(SECOND, &address(1));
        assert!(!member.ping(&address(3)), "no longer bridged");
    }
    assert!(paced.finish() > 500);
    drop(vm);
    world.end();
}

#[test]
fn hr17_each_vm_has_an_adapter_of_its_own_that_comes_and_goes_alone() {
    let (world, [vm3, vm4]) = with_two_vms();
    vm3.reaches(&address(4));
    let sent = |guest: &str| count(&adapter(&world.app, guest, "eth0")["stats"], "rx-pkts");
    let (before3, before4) = (sent("vm3"), sent("vm4"));
    vm3.run("ping -n -q -c 20 -i 0.05 192.0.2.1");
    eventually("its packets are counted", SECOND, || sent("vm3") >= before3 + 20);
    assert!(sent("vm4") < before4 + 20, "and at no other adapter");
    world.app.must("adapter del vm3 eth0");
    assert!(!socket(&world.lab, "vm3").exists(), "the socket goes with its adapter");
    assert!(!vm3.ping(SERVER));
    vm4.reaches(&address(1));
    // It comes back under its name, and QEMU connects again.
    let (port, mac, ip) = (vhost(&world.lab, "vm3"), mac(3), address(3));
    world.app.must(&format!(
        "adapter add vm3 eth0 port {port} mode host-routed mac {mac} ip {ip}/32 probe off"
    ));
    vm3.reaches(&address(4));
    drop((vm3, vm4));
    world.end();
}

/// Kills, reboots and rebinds a VM while others talk; and the appliance under a running VM.
#[test]
fn a_vm_is_killed_rebooted_and_rebound_and_the_appliance_restarted_under_it() {
    let mut world =
        World::routed_with(Attach::Own, 2, |lab, config| with_guest(lab, config, "vm3", 3, true));
    let [mut vm] = boot(&world.lab, [spec(&world.lab, "vm3", 3)]);
    route(&vm, 3);
    vm.reaches(&address(1));
    let talker = |n: usize| Talker { host: world.ct(n).clone(), ip: address(n) };
    let paced = Paced::ring(&[talker(1), talker(2)], 1_000);
    for _ in 0..VM_CYCLES.now() {
        vm.kill();
        eventually("the link goes down", SECOND, || {
            rows(world.app.json("show port info vm3/eth0"))[0]["link"] == "down"
        });
        vm.restart();
        route(&vm, 3);
        vm.reaches_within(2 * SECOND, &address(1));
    }
    vm.reboot();
    route(&vm, 3);
    vm.reaches_within(2 * SECOND, &address(1));
    let device = vm.unbind("eth0");
    vm.bind(&device);
    route(&vm, 3);
    vm.reaches_within(2 * SECOND, &address(1));
    // A guest that takes nothing stalls nobody: its ring fills and the rest is dropped.
    vm.signal(Signal::SIGSTOP);
    let flood = world.ct(1).spawn(&format!("ping -n -q -i 0.002 -c 5000 -W 1 {}", address(3)));
    eventually("its ring is full", 10 * SECOND, || {
        world.app.must("show drops ct1").contains("tx-full")
    });
    // As much as a worker that waited for it a moment each time would not get done in minutes.
    let begin = Instant::now();
    assert!(world.ct(1).succeeds(&format!("ping -n -q -f -c 1000 -W 1 {}", address(2))));
    assert!(begin.elapsed() < 5 * SECOND, "others wait for a guest that is stuck");
    drop(flood);
    vm.signal(Signal::SIGCONT);
    vm.reaches(&address(1));
    assert!(paced.finish() > 2_000);
    world.app.check_books();
    world.app.kill();
    world.app.launch();
    // QEMU connects again within a second (reconnect=1), with no action on the guest's side.
    vm.reaches_within(3 * SECOND, &address(1));
    drop(vm);
    world.end();
}

#[test]
fn offloads_are_each_vms_own_and_long_segments_pass_between_those_that_agree() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        let config = with_guest(lab, config, "vm2", 2, true);
        let config = with_guest(lab, config, "vm3", 3, true);
        with_guest(lab, config, "vm4", 4, true)
    });
    let lab = &world.lab;
    let plain = "csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,host_tso4=off,\
                 host_tso6=off";
    let spec4 = Spec::new("vm4").nic(Nic::connecting(&socket(lab, "vm4"), &mac(4)).with(plain));
    let [vm2, vm3, vm4] = boot(lab, [spec(lab, "vm2", 2), spec(lab, "vm3", 3), spec4]);
    for (vm, number) in [(&vm2, 2), (&vm3, 3), (&vm4, 4)] {
        route(vm, number);
        vm.reaches(SERVER);
    }
    // Seen from inside.
    for (vm, state) in [(&vm2, "on"), (&vm3, "on"), (&vm4, "off")] {
        let features = vm.run("ethtool -k eth0");
        for feature in ["tx-checksumming", "tcp-segmentation-offload"] {
            let is_right = features.lines().any(|line| {
                line.strip_prefix(feature)
                    .is_some_and(|rest| rest.starts_with(&format!(": {state}")))
            });
            assert!(is_right, "{}: {feature} is not {state}:\n{features}", vm.name());
        }
    }
    let negotiated =
        |guest: &str| adapter(&world.app, guest, "eth0")["vhost-user"]["features"].clone();
    assert!(negotiated("vm2").to_string().contains("guest-tso4"));
    assert!(!negotiated("vm4").to_string().contains("csum"));
    let cut = || count(&rows(world.app.json("show port stats vm2/eth0"))[0], "segmented");
    let received = |guest: &str| {
        let stats = adapter(&world.app, guest, "eth0")["stats"].clone();
        (count(&stats, "tx-bytes"), count(&stats, "tx-pkts"))
    };
    // Between two that agree long segments pass whole.
    let before = received("vm3");
    let cut_before = cut();
    streams(&vm2, &vm3, 3);
    let after = received("vm3");
    let mean = (after.0 - before.0) / (after.1 - before.1);
    println!("vm2 to vm3: {mean} bytes per frame");
    assert!(mean > 4_000, "{mean} bytes per frame");
    assert_eq!(cut(), cut_before, "nothing to cut");
    // For who takes none, and for a tap, they are cut and their checksums completed.
    streams(&vm2, &vm4, 4);
    assert!(cut() > cut_before);
    let before = received("ct1");
    let listening = world.ct(1).spawn("iperf3 -s -1");
    eventually("iperf3 listens", 5 * SECOND, || world.ct(1).run("ss -Hltn").contains(":5201"));
    let bad = || world.ct(1).run("nstat -asz TcpInCsumErrors");
    let bad_before = bad();
    vm2.run(&format!("iperf3 -c {} -t 3", address(1)));
    drop(listening);
    assert_eq!(bad(), bad_before, "segments with a wrong checksum arrived");
    let after = received("ct1");
    assert!(after.0 - before.0 > 1_000_000);
    streams(&vm4, &vm2, 2);
    drop((vm2, vm3, vm4));
    world.end();
}

/// TCP from one VM to another for three seconds, in which no segment arrives with a wrong checksum.
#[track_caller]
fn streams(client: &Vm, server: &Vm, number: usize) {
    let bad = || server.run("awk '/^Tcp: [0-9]/ {print $NF}' /proc/net/snmp");
    let before = bad();
    let job = server.spawn("iperf3 -s -1");
    eventually("iperf3 listens", 5 * SECOND, || server.succeeds("netstat -tln | grep :5201"));
    let text = client.run(&format!("iperf3 -c {} -t 3", address(number)));
    println!("{} to {}: {}", client.name(), server.name(), text.lines().rev().nth(3).unwrap_or(""));
    assert!(server.finish(job, 5 * SECOND).status.success());
    assert_eq!(bad(), before, "segments with a wrong checksum arrived");
}

#[test]
fn a_vm_that_listens_is_found_again_with_queues_of_its_own_and_packed_rings() {
    let mut world = World::routed_with(Attach::Own, 1, |lab, config| {
        let keys = |number: usize| {
            let addresses = Config::addresses(&[&format!("{}/32", address(number))]);
            format!("mode = \"host-routed\"\nmac = \"{}\"\n{addresses}", mac(number))
        };
        let port = |guest: &str| format!("{},client,queues=2", vhost(lab, guest));
        let config = config.vm("vm2").adapter("eth0", &port("vm2"), &keys(2));
        config.vm("vm3").adapter("eth0", &port("vm3"), &keys(3))
    });
    let lab = &world.lab;
    let nic = |guest: &str, number| Nic::listening(&socket(lab, guest), &mac(number)).queues(2);
    let two = Spec::new("vm2").cores(2).nic(nic("vm2", 2));
    let packed = Spec::new("vm3").nic(nic("vm3", 3).with("packed=on,host_mtu=1400"));
    let [vm2, vm3] = boot(lab, [two, packed]);
    route(&vm2, 2);
    route(&vm3, 3);
    vm2.reaches(&address(3));
    vm2.reaches(&address(1));
    // Several queues follow what the guest enables.
    let state = |guest: &str| adapter(&world.app, guest, "eth0")["vhost-user"].clone();
    assert_eq!(state("vm2")["queue-pairs"], 2);
    vm2.run("ethtool -L eth0 combined 2");
    eventually("both are in use", SECOND, || state("vm2")["queue-pairs-on"] == 2);
    vm2.reaches(&address(1));
    world.ct(1).reaches(&address(2));
    vm2.run("ethtool -L eth0 combined 1");
    eventually("one is in use", SECOND, || state("vm2")["queue-pairs-on"] == 1);
    vm2.reaches(&address(1));
    // The MTU is the front-end's.
    assert_eq!(state("vm3")["front-end-mtu"], 1400);
    assert!(vm3.run("ip link show eth0").contains("mtu 1400"));
    assert!(state("vm3")["features"].to_string().contains("packed"));
    // We connect again by ourselves.
    world.app.kill();
    world.app.launch();
    let limit = 3 * SECOND;
    assert!(within(limit, || vm2.ping(&address(1))), "not found again within {limit:?}");
    drop((vm2, vm3));
    world.end();
}

/// HR-15 to HR-17 for guests that share their memory and need no VM, whatever their rings are like.
#[test]
fn hr15_hr16_hr17_hold_for_guests_with_split_and_packed_rings_in_order_and_not() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        let config = with_guest(lab, config, "dc2", 2, false);
        with_guest(lab, config, "dc3", 3, false)
    });
    let lab = &world.lab;
    let start = |name: &str, number, options: &str| {
        let socket = socket(lab, name);
        DpdkContainer::start_with(lab, name, &socket, Role::Connects, &mac(number), options)
    };
    let dc2 = start("dc2", 2, "in_order=1,mrg_rxbuf=1");
    let mut dc3 = start("dc3", 3, "packed_vq=1,in_order=0,mrg_rxbuf=0");
    let features =
        |guest: &str| adapter(&world.app, guest, "eth0")["vhost-user"]["features"].to_string();
    dc2.host.address("eth0", &format!("{}/24", address(2)));
    dc3.host.address("eth0", &format!("{}/24", address(3)));
    // Members of the host-only network `default`, as nothing else was said.
    dc2.host.reaches(&address(3));
    assert!(!world.ct(1).ping(&address(3)));
    assert!(features("dc2").contains("in-order") && !features("dc2").contains("packed"));
    assert!(features("dc3").contains("packed") && !features("dc3").contains("in-order"));
    // One of them becomes host-routed while it runs.
    let ip = address(3);
    world.app.must(&format!("adapter set dc3 eth0 mode host-routed ip {ip}/32 probe off"));
    dc3.host.run(&format!("ip addr del {ip}/24 dev eth0"));
    dc3.route(&ip);
    dc3.host.forget_neighbors();
    dc3.host.reaches_within(SECOND, &address(1));
    assert!(!dc2.host.ping(&ip), "no longer bridged");
    // Each has a port of its own: one ends, the other goes on.
    world.app.must("adapter del dc2 eth0");
    world.ct(1).reaches(&ip);
    dc3.kill();
    drop(dc2);
    world.end();
}

/// The median round trip of so many echo requests of a VM's, ms.
fn median_ms(vm: &Vm, count: usize, interval: &str) -> f64 {
    let text = vm.run(&format!("ping -n -c {count} -i {interval} {}", address(1)));
    let mut times: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(times.len(), count, "{text}");
    times.sort_by(f64::total_cmp);
    times[count / 2]
}

/// A Linux guest's driver asks by an index whether to kick (VIRTIO_F_EVENT_IDX), on either kind of ring.
#[test]
fn a_worker_that_sleeps_is_woken_by_vms_with_split_and_with_packed_rings() {
    let world = World::routed_with(Attach::Own, 1, |lab, config| {
        let config = with_guest(lab, config, "vm2", 2, true);
        with_guest(lab, config.adaptive(), "vm3", 3, true)
    });
    let lab = &world.lab;
    let nic = Nic::connecting(&socket(lab, "vm3"), &mac(3)).with("packed=on");
    let [vm2, vm3] = boot(lab, [spec(lab, "vm2", 2), Spec::new("vm3").nic(nic)]);
    for (vm, number) in [(&vm2, 2), (&vm3, 3)] {
        route(vm, number);
        vm.reaches(&address(1));
        let (awake, asleep) = (median_ms(vm, 100, "0.002"), median_ms(vm, 21, "0.2"));
        println!("{}: {awake} ms one after another, {asleep} ms after a silence", vm.name());
        // One that did not wake it would be found by the clock: after half of 20 ms, mostly.
        assert!(asleep < awake + 5.0, "{asleep} ms after a silence, {awake} ms before");
    }
    let is_asleep = |world: &World| {
        let slept = |world: &World| {
            let cycles = world.app.json("show worker")[0]["cycles"].clone();
            ["asleep", "idle"].map(|name| cycles[name].as_u64().expect("cycles"))
        };
        let before = slept(world);
        std::thread::sleep(SECOND);
        let after = slept(world);
        // What it sleeps is of its idle cycles.
        10 * (after[0] - before[0]) > 9 * (after[1] - before[1])
    };
    assert!(within(10 * SECOND, || is_asleep(&world)), "{}", world.app.json("show worker"));
    drop((vm2, vm3));
    world.end();
}

/// TCP between a DPDK container and a container, at full rate.
#[test]
fn iperf_hr3_between_a_dpdk_container_and_a_container() {
    let world =
        World::routed_with(Attach::Own, 1, |lab, config| with_guest(lab, config, "dc2", 2, true));
    let lab = &world.lab;
    let dc2 = DpdkContainer::start(lab, "dc2", &socket(lab, "dc2"), Role::Connects, &mac(2));
    dc2.route(&address(2));
    dc2.host.reaches(&address(1));
    let rate = tcp::streams_for(5, &dc2.host, world.ct(1), &address(1));
    assert!(rate > 20e6, "{rate} bit/s");
    drop(dc2);
    world.end();
}
