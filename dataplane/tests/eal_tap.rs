//! net_tap: real frames between a kernel interface and us.

#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod eal_lab;

use dataplane::dpdk::eal::log;
use dataplane::dpdk::netns::run_in;
use dataplane::dpdk::readiness::QueueReadiness;
use dataplane::dpdk::{AttachSpec, Netns, PortError, ethdev};
use dataplane::frame::{Burst, Frame};
use dataplane::idle::Bell;
use dataplane::io::{Readiness, RxQueue, TxQueue};
use dataplane::wire::ethernet::MacAddr;
use eal_lab::{
    Elsewhere, bytes_of, enter_private_namespace, ethernet, eventually, expect_in_kernel, frame,
    inject, listen, pool, receive, send, sh, start, start_with,
};
use nix::sys::resource::{Resource, setrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

#[test]
fn frames_pass_both_ways_unchanged() {
    let (eal, mut pool) = start();
    let spec =
        AttachSpec { mac: Some(MAC), mtu: 1400, ..AttachSpec::new("net_tap0,iface=t0", pool) };
    let (port, mut rx, mut tx) = ethdev::attach(eal, &spec).unwrap();
    assert_eq!(port.driver(), "net_tap");
    assert_eq!(port.mac().unwrap(), MAC);
    assert_eq!(port.kernel_interface().as_deref(), Some("t0"));
    let shown = sh("ip link show t0");
    assert!(shown.contains("02:00:00:00:00:07") && shown.contains("mtu 1400"), "{shown}");
    eventually("link up", || port.link().unwrap().up);

    let listener = listen("t0");
    let sent = ethernet(MAC.0, 900);
    send(&mut tx[0], [frame(&mut pool, &sent)]);
    expect_in_kernel(&listener, &sent);

    // The kernel asks for a neighbor that doesn't exist: an ARP request by broadcast.
    sh("ip addr add 192.0.2.1/24 dev t0; ping -c1 -W1 192.0.2.2 || true");
    let arp = receive(&mut rx[0], |frame| frame.head().get(12..14) == Some(&[8, 6]));
    let bytes = bytes_of(&arp);
    assert_eq!((&bytes[..6], &bytes[6..12]), (&[0xff; 6][..], &MAC.0[..]));
    assert_eq!(bytes[38..42], [192, 0, 2, 2]);
    drop(arp);
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_ends_the_sleep_of_the_worker_that_has_the_tap() {
    let (eal, pool) = start();
    let silent = AttachSpec::new("net_tap0,iface=t0", pool);
    let (silent, mut silent_rx, silent_tx) = ethdev::attach(eal, &silent).unwrap();
    let told = AttachSpec { wakes: true, ..AttachSpec::new("net_tap1,iface=t1", pool) };
    let (mut told, mut rx, tx) = ethdev::attach(eal, &told).unwrap();
    sh("sysctl -qw net.ipv6.conf.t1.disable_ipv6=1");
    let mut readiness = QueueReadiness::default();
    readiness.watch(&mut silent_rx[0]);
    assert!(!readiness.arm(&mut silent_rx[0]), "nobody asked for that");
    readiness.forget(&mut silent_rx[0]);
    let bell = Bell::default();
    bell.hang().unwrap();
    let wanted = ethernet([0xff; 6], 60);
    // Stopped and started it is the same.
    for _ in 0..2 {
        readiness.watch(&mut rx[0]);
        assert!(readiness.arm(&mut rx[0]));
        for _ in 0..3 {
            let sender = std::thread::spawn(|| inject("t1", &ethernet([0xff; 6], 60)));
            // The driver has its signal a moment later, and what the kernel says of itself may come first.
            let mut frames = Vec::new();
            while !frames.contains(&wanted) {
                // Far longer than the test may take.
                readiness.sleep(&bell, Duration::from_secs(3_600));
                let mut burst = Burst::new();
                rx[0].rx(&mut burst);
                frames.extend(burst.iter().map(bytes_of));
            }
            sender.join().unwrap();
        }
        readiness.forget(&mut rx[0]);
        told.stop(&rx, &tx).unwrap();
        told.start(&mut rx, &tx).unwrap();
    }
    told.detach(rx, tx).unwrap();
    silent.detach(silent_rx, silent_tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_worker_receives_frame_after_frame() {
    enter_private_namespace();
    let eal = start_with(&[]).unwrap();
    let pool = pool(eal);
    let (port, mut rx, tx) =
        ethdev::attach(eal, &AttachSpec::new("net_tap0,iface=t0", pool)).unwrap();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, counted) = (stop.clone(), count.clone());
    let wanted = ethernet([0xff; 6], 333);
    let sent = wanted.clone();
    let (give_back, back) = std::sync::mpsc::channel();
    let job = move || {
        while !stopped.load(Ordering::Relaxed) {
            let mut burst = Burst::new();
            rx[0].rx(&mut burst);
            let found = burst.iter().filter(|frame| frame.head() == wanted).count();
            counted.fetch_add(found, Ordering::Relaxed);
        }
        give_back.send(rx).unwrap();
    };
    eal.launch(0, Box::new(job)).unwrap();
    for round in 1..=100 {
        inject("t0", &sent);
        eventually("the worker has it", || count.load(Ordering::Relaxed) == round);
    }
    stop.store(true, Ordering::Relaxed);
    eal.wait(0).unwrap();
    port.detach(back.recv().unwrap(), tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

/// Where more signals are pending than may be, the kernel sends SIGIO, whose default ends a process.
#[test]
fn frames_that_nobody_polls_for_end_no_process() {
    enter_private_namespace();
    setrlimit(Resource::RLIMIT_SIGPENDING, 4, 4).unwrap();
    let eal = start_with(&[]).unwrap();
    let pool = pool(eal);
    let (port, mut rx, tx) =
        ethdev::attach(eal, &AttachSpec::new("net_tap0,iface=t0", pool)).unwrap();
    let bytes = ethernet([0xff; 6], 100);
    for _ in 0..100 {
        inject("t0", &bytes);
    }
    dataplane::dpdk::eal::signal::admit_rx_signals().unwrap();
    let mut count = 0;
    eventually("all of them are there", || {
        let mut burst = Burst::new();
        rx[0].rx(&mut burst);
        count += burst.iter().filter(|frame| frame.head() == bytes).count();
        count == 100
    });
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

fn own_netns() -> String {
    sh("readlink /proc/self/ns/net")
}

#[test]
fn a_tap_is_born_in_the_guests_namespace_and_obeys_from_outside() {
    let (eal, mut pool) = start();
    let (home, guest) = (own_netns(), Elsewhere::new());
    let by_pid = guest.netns();
    assert_ne!(guest.sh("readlink /proc/self/ns/net"), home);
    let spec = AttachSpec {
        netns: Some(by_pid.clone()),
        mac: Some(MAC),
        ..AttachSpec::new("net_tap0,iface=eth0", pool)
    };
    let (mut port, mut rx, mut tx) = ethdev::attach(eal, &spec).unwrap();
    assert_eq!(own_netns(), home, "the thread came back");
    sh("! ip link show eth0");
    let shown = guest.sh("ip link show eth0");
    assert!(shown.contains("02:00:00:00:00:07"), "{shown}");

    port.set_mtu(1280).unwrap();
    port.set_mac(MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
    let shown = guest.sh("ip link show eth0");
    assert!(shown.contains("mtu 1280") && shown.contains("02:00:00:00:00:09"), "{shown}");
    eventually("link up", || port.link().unwrap().up);
    guest.sh("ip link set eth0 down");
    assert!(!port.link().unwrap().up);
    port.set_link(true).unwrap();
    eventually("link up again", || port.link().unwrap().up);

    let (inwards, outwards) = (ethernet([0xff; 6], 80), ethernet([2, 0, 0, 0, 0, 9], 90));
    run_in(Some(&by_pid), || inject("eth0", &inwards)).unwrap();
    receive(&mut rx[0], |frame| bytes_of(frame) == inwards);
    let listener = run_in(Some(&by_pid), || listen("eth0")).unwrap();
    send(&mut tx[0], [frame(&mut pool, &outwards)]);
    expect_in_kernel(&listener, &outwards);

    let by_path = Netns::Path(by_pid.path());
    let error = ethdev::attach(
        eal,
        &AttachSpec { netns: Some(by_path), ..AttachSpec::new("net_tap1,iface=eth0", pool) },
    );
    let error = error.unwrap_err();
    assert!(matches!(error, PortError::InterfaceInUse { .. }), "{error}");
    assert_eq!(own_netns(), home, "and after an error too: {error}");
    port.detach(rx, tx).unwrap();
    guest.sh("! ip link show eth0");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_tap_moved_to_another_namespace_carries_on_until_it_is_deleted() {
    let (eal, mut pool) = start();
    let guest = Elsewhere::new();
    let (other, rx_other, tx_other) =
        ethdev::attach(eal, &AttachSpec::new("net_tap1,iface=t1", pool)).unwrap();
    let (port, mut rx, mut tx) =
        ethdev::attach(eal, &AttachSpec::new("net_tap0,iface=t0", pool)).unwrap();
    sh(&format!("ip link set t0 netns {}", guest.pid()));
    guest.sh("ip link set t0 name eth0; ip link set eth0 up");
    assert!(!port.is_lost());
    let bytes = ethernet([0xff; 6], 70);
    run_in(Some(&guest.netns()), || inject("eth0", &bytes)).unwrap();
    receive(&mut rx[0], |frame| bytes_of(frame) == bytes);
    let listener = run_in(Some(&guest.netns()), || listen("eth0")).unwrap();
    send(&mut tx[0], [frame(&mut pool, &bytes)]);
    expect_in_kernel(&listener, &bytes);
    guest.sh("ip link del eth0");
    assert!(port.is_lost() && !other.is_lost());
    port.detach(rx, tx).unwrap();
    assert!(!other.is_lost());
    other.detach(rx_other, tx_other).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_namespace_that_is_none_is_named() {
    let (eal, pool) = start();
    let home = own_netns();
    for (netns, says) in [
        (Netns::Name("gw-no-such".into()), "/run/netns/gw-no-such"),
        (Netns::Pid(u32::MAX), "process 4294967295"),
        (Netns::Path("/etc/passwd".into()), "can't enter it"),
    ] {
        let spec = AttachSpec { netns: Some(netns), ..AttachSpec::new("net_tap0", pool) };
        let error = ethdev::attach(eal, &spec).unwrap_err();
        assert!(matches!(error, PortError::Netns { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(says) && !text.contains('\n'), "{text}");
        assert_eq!(own_netns(), home);
    }
}

#[test]
fn the_thread_comes_back_from_a_namespace_when_it_unwinds() {
    enter_private_namespace();
    let (home, guest) = (own_netns(), Elsewhere::new());
    let unwound = std::panic::catch_unwind(|| run_in(Some(&guest.netns()), || panic!("inside")));
    assert!(unwound.is_err());
    assert_eq!(own_netns(), home);
}

#[test]
fn a_deleted_interface_is_noticed_and_harms_nobody() {
    let (eal, mut pool) = start();
    let (port, mut rx, mut tx) =
        ethdev::attach(eal, &AttachSpec::new("net_tap0,iface=t0", pool)).unwrap();
    let (other, mut rx_other, tx_other) =
        ethdev::attach(eal, &AttachSpec::new("net_tap1,iface=t1", pool)).unwrap();
    assert!(!port.is_lost() && port.link().unwrap().up);
    sh("ip link del t0");
    assert!(port.is_lost() && !port.link().unwrap().up);
    assert_eq!(port.kernel_interface(), None);
    assert!(!other.is_lost());
    // Another interface of that name is not the one we had.
    sh("ip tuntap add dev t0 mode tap");
    assert!(port.is_lost());

    let (held, logged) = (pool.in_use(), log::recent().len());
    for _ in 0..10_000 {
        let mut burst = Burst::new();
        assert_eq!(rx[0].rx(&mut burst), 0);
        burst.push(frame(&mut pool, &ethernet([0xff; 6], 60)));
        tx[0].tx(&mut burst);
        assert_eq!(burst.len(), 1, "not taken, so the caller counts it");
    }
    assert_eq!((pool.in_use(), log::recent().len()), (held, logged), "no mbuf and no line each");
    let bytes = ethernet([0xff; 6], 60);
    inject("t1", &bytes);
    receive(&mut rx_other[0], |frame| bytes_of(frame) == bytes);
    port.detach(rx, tx).unwrap();
    other.detach(rx_other, tx_other).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_can_be_set_is_set_and_shown() {
    let (eal, mut pool) = start();
    let (mut port, mut rx, mut tx) =
        ethdev::attach(eal, &AttachSpec::new("net_tap0,iface=t0", pool)).unwrap();
    let info = port.info().unwrap();
    assert_eq!((info.driver.as_str(), info.max_rx_queues), ("net_tap", 16));
    assert_eq!(port.mtu_range(), (46, 1504));
    port.set_mtu(1504).unwrap();
    assert_eq!(port.mtu().unwrap(), 1504);
    assert!(matches!(port.set_mtu(1505), Err(PortError::Mtu { max: 1504, .. })));
    port.set_promiscuous(true).unwrap();
    assert!(port.is_promiscuous() && sh("ip -d link show t0").contains("PROMISC"));
    port.set_promiscuous(false).unwrap();
    assert!(!port.is_promiscuous());
    port.set_all_multicast(true).unwrap();
    assert!(sh("ip -d link show t0").contains("ALLMULTI"));

    send(&mut tx[0], [frame(&mut pool, &ethernet([0xff; 6], 500))]);
    let bytes = ethernet([0xff; 6], 400);
    inject("t0", &bytes);
    receive(&mut rx[0], |frame| bytes_of(frame) == bytes);
    let stats = port.stats().unwrap();
    assert_eq!((stats.tx_pkts, stats.tx_bytes), (1, 500));
    assert!(stats.rx_pkts >= 1 && stats.rx_bytes >= 400);
    port.reset_stats().unwrap();
    assert_eq!(port.stats().unwrap().tx_pkts, 0);

    port.stop(&rx, &tx).unwrap();
    assert!(!port.link().unwrap().up);
    port.start(&mut rx, &tx).unwrap();
    eventually("link up again", || port.link().unwrap().up);
    inject("t0", &bytes);
    receive(&mut rx[0], |frame| bytes_of(frame) == bytes);
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_persistent_tap_outlives_its_port_and_is_taken_up_again() {
    let (eal, mut pool) = start();
    let spec = |device: &str| AttachSpec { mac: Some(MAC), ..AttachSpec::new(device, pool) };
    let (port, rx, tx) = ethdev::attach(eal, &spec("net_tap0,iface=t0,persist")).unwrap();
    let before = sh("ip -o link show t0 | cut -d: -f1");
    sh("ip addr add 192.0.2.1/32 dev t0");
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
    let shown = sh("ip addr show t0");
    assert!(shown.contains("02:00:00:00:00:07") && shown.contains("192.0.2.1/32"), "{shown}");
    assert!(shown.contains("NO-CARRIER"), "{shown}");

    let (port, mut rx, mut tx) = ethdev::attach(eal, &spec("net_tap1,iface=t0,persist")).unwrap();
    assert_eq!(sh("ip -o link show t0 | cut -d: -f1"), before, "the same interface");
    let bytes = ethernet(MAC.0, 100);
    let listener = listen("t0");
    send(&mut tx[0], [frame(&mut pool, &bytes)]);
    expect_in_kernel(&listener, &bytes);
    inject("t0", &bytes);
    receive(&mut rx[0], |frame| bytes_of(frame) == bytes);
    port.detach(rx, tx).unwrap();
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}
