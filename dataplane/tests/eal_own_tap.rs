//! Taps of our own: real frames between a kernel interface and us.

#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod eal_lab;

use dataplane::dpdk::netns::run_in;
use dataplane::dpdk::readiness::QueueReadiness;
use dataplane::dpdk::tap;
use dataplane::dpdk::{
    AttachSpec, Eal, Mbuf, Netns, Port, Rx, TapError, TapPort, TapSpec, Tx, ethdev,
};
use dataplane::frame::{Burst, Frame};
use dataplane::idle::Bell;
use dataplane::io::{Readiness, RxQueue, TxQueue, Unsent};
use dataplane::wire::checksum;
use dataplane::wire::ethernet::MacAddr;
use dataplane::wire::offload::Offload;
use eal_lab::{
    Elsewhere, bytes_of, ethernet, eventually, expect_in_kernel, frame, inject, listen, receive,
    send, sh, start,
};
use nix::sys::socket::{MsgFlags, send as send_raw, setsockopt};
use nix::{setsockopt_impl, sockopt_impl};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

type Opened = (TapPort, Vec<Rx>, Vec<Tx>);

fn open(eal: Eal, spec: &TapSpec) -> Opened {
    tap::open(eal, spec).unwrap()
}

/// What a TCP sender makes of one large write.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 3).to_le_bytes()[0] ^ (at >> 11).to_le_bytes()[0]).collect()
}

#[test]
fn frames_pass_both_ways_unchanged() {
    let (eal, mut pool) = start();
    let spec = TapSpec { mac: Some(MAC), mtu: 1400, ..TapSpec::new("t0", pool) };
    let (port, mut rx, mut tx) = open(eal, &spec);
    assert_eq!((port.mac(), port.kernel_interface().as_deref()), (Some(MAC), Some("t0")));
    let shown = sh("ip -d link show t0");
    assert!(shown.contains("02:00:00:00:00:07") && shown.contains("mtu 1400"), "{shown}");
    assert!(shown.contains("persist on") && !shown.contains("multi_queue"), "{shown}");
    eventually("link up", || port.link().up);

    let listener = listen("t0");
    for len in [60, 61, 900, 1414] {
        let sent = ethernet(MAC.0, len);
        send(&mut tx[0], [frame(&mut pool, &sent)]);
        expect_in_kernel(&listener, &sent);
        let sent = ethernet([0xff; 6], len);
        inject("t0", &sent);
        drop(receive(&mut rx[0], |frame| bytes_of(frame) == sent));
    }
    let stats = port.stats();
    assert_eq!((stats.tx_pkts, stats.tx_bytes), (4, 60 + 61 + 900 + 1414));
    assert!(stats.rx_pkts >= 4 && stats.rx_bytes >= 60 + 61 + 900 + 1414, "{stats:?}");
    let named: Vec<_> = port.xstats().into_iter().map(|(name, _)| name).collect();
    assert!(named.contains(&"rx_q0_packets".to_owned()), "{named:?}");
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_of_9000_bytes_is_a_chain_and_short_ones_follow() {
    let (eal, mut pool) = start();
    let (port, mut rx, mut tx) = open(eal, &TapSpec { mtu: 9000, ..TapSpec::new("t0", pool) });
    let (long, short) = (ethernet([0xff; 6], 9014), ethernet([0xff; 6], 70));
    let listener = listen("t0");
    // The second long one is expected to be long.
    for bytes in [&short, &long, &long, &short, &short, &long] {
        inject("t0", bytes);
        let got = receive(&mut rx[0], |frame| bytes_of(frame) == **bytes);
        assert_eq!(got.segments(), if bytes.len() > 2048 { 5 } else { 1 });
        send(&mut tx[0], [got]);
        expect_in_kernel(&listener, bytes);
    }
    let mut nothing = Burst::new();
    while rx[0].rx(&mut nothing) > 0 {
        nothing.clear();
    }
    assert_eq!(pool.in_use(), 0, "nothing is kept while idle");
    send(&mut tx[0], [frame(&mut pool, &short)]);
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

/// Carries all between two taps, on the calling thread, until told to stop. Counts long frames.
fn forward(ends: &mut [(Vec<Rx>, Vec<Tx>); 2], stop: &AtomicBool) -> usize {
    let mut long = 0;
    while !stop.load(Ordering::Relaxed) {
        for from in 0..2 {
            let mut burst = Burst::<Mbuf>::new();
            ends[from].0[0].rx(&mut burst);
            long += burst.iter().filter(|f| matches!(f.offload(), Offload::Segment(..))).count();
            for frame in &burst {
                let is_right = frame.offload() != Offload::Invalid;
                assert!(is_right, "{frame:?}: {:x?}", &frame.head()[..frame.head().len().min(80)]);
            }
            let tx = &mut ends[1 - from].1[0];
            assert!(burst.iter().all(|frame| tx.finishes(frame.offload())));
            tx.tx(&mut burst);
        }
    }
    long
}

/// Two namespaces, a tap each, joined by [`forward`]; a few MB over TCP from one to the other.
fn a_stream_arrives_whole(family: &str) {
    let (eal, pool) = start();
    let guests = [Elsewhere::new(), Elsewhere::new()];
    let spec = |at: usize| TapSpec {
        netns: Some(guests[at].netns()),
        mac: Some(MacAddr([2, 0, 0, 0, 1, at.to_le_bytes()[0]])),
        ..TapSpec::new("eth0", pool)
    };
    let (port0, rx0, tx0) = open(eal, &spec(0));
    let (port1, rx1, tx1) = open(eal, &spec(1));
    let (net, len) = if family == "4" { ("192.0.2.", 24) } else { ("2001:db8::", 64) };
    for (at, guest) in guests.iter().enumerate() {
        guest.sh(&format!("ip addr add {net}{}/{len} dev eth0 nodad", at + 1));
    }
    let server = if family == "4" { "192.0.2.2:7000" } else { "[2001:db8::2]:7000" };
    let sent = pattern(8 << 20);
    let stop = Arc::new(AtomicBool::new(false));
    let listener = run_in(Some(&guests[1].netns()), || TcpListener::bind(server)).unwrap().unwrap();
    let (netns, bytes, is_over) = (guests[0].netns(), sent.clone(), stop.clone());
    let sender = std::thread::spawn(move || {
        let mut stream = run_in(Some(&netns), || TcpStream::connect(server)).unwrap().unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut got = Vec::new();
        let read = stream.read_to_end(&mut got);
        is_over.store(true, Ordering::Relaxed);
        read.unwrap();
        got
    });
    let mut ends = [(rx0, tx0), (rx1, tx1)];
    let before = Instant::now();
    let long = forward(&mut ends, &stop);
    let got = receiver.join().unwrap();
    sender.join().unwrap();
    println!("{} MB in {:?}, {long} long frames", got.len() >> 20, before.elapsed());
    assert!(got == sent, "{} of {} bytes, or others", got.len(), sent.len());
    assert!(long > 10, "{long} long frames");
    let [(rx0, tx0), (rx1, tx1)] = ends;
    assert_eq!((port0.stats().tx_errors, port1.stats().tx_errors), (0, 0));
    port0.detach(rx0, tx0);
    port1.detach(rx1, tx1);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_tcp_stream_passes_in_long_frames() {
    a_stream_arrives_whole("4");
}

#[test]
fn a_tcp_stream_over_ipv6_passes_in_long_frames() {
    a_stream_arrives_whole("6");
}

/// Cut and summed in software, as it would be for a port that finishes nothing.
#[test]
fn what_the_kernel_left_undone_can_be_done_in_software() {
    let (eal, pool) = start();
    let (port, mut rx, tx) = open(eal, &TapSpec { mac: Some(MAC), ..TapSpec::new("t0", pool) });
    sh("ip addr add 192.0.2.1/24 dev t0; ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev t0");
    let socket = std::net::UdpSocket::bind("192.0.2.1:5000").unwrap();
    socket.send_to(&pattern(333), "192.0.2.2:5001").unwrap();
    let is_ours =
        |frame: &Mbuf| frame.head().get(12..14) == Some(&[8, 0]) && frame.head()[23] == 17;
    let mut got = receive(&mut rx[0], is_ours);
    let Offload::Checksum(headers) = got.offload() else { panic!("{:?}", got.offload()) };
    assert_eq!((headers.l2, headers.l3, headers.l4), (14, 20, 8));
    dataplane::wire::offload::complete_checksum(got.head_mut(), headers, 0);
    let bytes = bytes_of(&got);
    assert_eq!(bytes[42..], pattern(333));
    let mut pseudo = bytes[26..34].to_vec();
    pseudo.extend([0, 17]);
    pseudo.extend(&bytes[38..40]);
    pseudo.extend(&bytes[34..]);
    assert_eq!(checksum::internet(&pseudo), 0);
    drop(got);
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

sockopt_impl!(
    /// Each frame has a header beside it.
    PacketVnetHdr,
    SetOnly,
    libc::SOL_PACKET,
    libc::PACKET_VNET_HDR,
    bool
);

/// A container's packet socket may put anything into the header beside its frame.
#[test]
fn a_header_that_lies_is_found_out() {
    let (eal, pool) = start();
    let (port, mut rx, tx) = open(eal, &TapSpec { mac: Some(MAC), ..TapSpec::new("t0", pool) });
    let socket = listen("t0");
    setsockopt(&socket, PacketVnetHdr, &true).unwrap();
    // A checksum somewhere in a frame of no protocol that we know: done as asked.
    let mut bytes = ethernet([0xff; 6], 100);
    bytes[50..52].fill(0);
    let mut with_header = vec![1, 0, 0, 0, 0, 0, 20, 0, 30, 0];
    with_header.extend(&bytes);
    let sent = send_raw(socket.as_raw_fd(), &with_header, MsgFlags::empty()).unwrap();
    assert_eq!(sent, with_header.len());
    let got = receive(&mut rx[0], |frame| frame.head().get(12..14) == Some(&[0x88, 0xb5]));
    assert_eq!(got.offload(), Offload::None);
    let got_bytes = bytes_of(&got);
    assert_eq!(checksum::internet(&got_bytes[20..]), 0);
    assert_eq!((&got_bytes[..50], &got_bytes[52..]), (&bytes[..50], &bytes[52..]));
    drop(got);
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_idle_tap_is_not_read_and_a_ready_one_is_read_until_it_is_empty() {
    let (eal, pool) = start();
    let (port, mut rx, tx) = open(eal, &TapSpec::new("t0", pool));
    sh("sysctl -qw net.ipv6.conf.t0.disable_ipv6=1");
    let (other, mut rx_other, tx_other) = open(eal, &TapSpec::new("t1", pool));
    sh("sysctl -qw net.ipv6.conf.t1.disable_ipv6=1");
    let mut burst = Burst::new();
    // What the kernel says of itself at first.
    for queue in [&mut rx[0], &mut rx_other[0]] {
        while queue.rx(&mut burst) > 0 {
            burst.clear();
        }
    }
    let mut readiness = QueueReadiness::default();
    assert!(Readiness::is_due(&mut readiness, &rx[0]), "not watched: always worth a try");
    Readiness::watch(&mut readiness, &mut rx[0]);
    Readiness::watch(&mut readiness, &mut rx_other[0]);
    let mut now_ns = 0;
    let mut look = |readiness: &mut QueueReadiness| {
        now_ns += 1_000_000;
        Readiness::<Rx>::look(readiness, now_ns);
    };
    look(&mut readiness);
    assert!(!Readiness::is_due(&mut readiness, &rx[0]));
    assert!(!Readiness::is_due(&mut readiness, &rx_other[0]));
    for _ in 0..200 {
        inject("t0", &ethernet([0xff; 6], 60));
    }
    let mut got = 0;
    for round in 0..4 {
        look(&mut readiness);
        assert!(!Readiness::is_due(&mut readiness, &rx_other[0]));
        assert!(Readiness::is_due(&mut readiness, &rx[0]), "round {round}: {got} came");
        assert!(!Readiness::is_due(&mut readiness, &rx[0]), "once for each look");
        got += rx[0].rx(&mut burst);
        burst.clear();
    }
    assert_eq!(got, 200);
    look(&mut readiness);
    assert!(!Readiness::is_due(&mut readiness, &rx[0]), "nothing is left");
    // Given away with something unread, and taken again: it is found at once.
    inject("t0", &ethernet([0xff; 6], 60));
    Readiness::forget(&mut readiness, &mut rx[0]);
    let mut second = QueueReadiness::default();
    Readiness::watch(&mut second, &mut rx[0]);
    look(&mut second);
    assert!(Readiness::is_due(&mut second, &rx[0]));
    Readiness::forget(&mut second, &mut rx[0]);
    Readiness::forget(&mut readiness, &mut rx_other[0]);
    port.detach(rx, tx);
    other.detach(rx_other, tx_other);
    sh("ip link del t0; ip link del t1");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_ends_the_sleep_of_the_worker_that_has_the_tap() {
    let (eal, pool) = start();
    let (port, mut rx, tx) = open(eal, &TapSpec::new("t0", pool));
    sh("sysctl -qw net.ipv6.conf.t0.disable_ipv6=1");
    let mut burst = Burst::new();
    let mut readiness = QueueReadiness::default();
    assert!(!readiness.arm(&mut rx[0]), "not watched: it can't tell");
    readiness.watch(&mut rx[0]);
    assert!(readiness.arm(&mut rx[0]));
    while rx[0].rx(&mut burst) > 0 {
        burst.clear();
    }
    let bell = Bell::default();
    bell.hang().unwrap();
    // Far longer than the test may take.
    let night = Duration::from_secs(3_600);
    for _ in 0..3 {
        let sender = std::thread::spawn(|| inject("t0", &ethernet([0xff; 6], 60)));
        readiness.sleep(&bell, night);
        sender.join().unwrap();
        assert_eq!(rx[0].rx(&mut burst), 1);
        burst.clear();
    }
    // One that was there before is no other matter.
    inject("t0", &ethernet([0xff; 6], 60));
    readiness.sleep(&bell, night);
    assert_eq!(rx[0].rx(&mut burst), 1);
    burst.clear();
    // Nothing comes: the time it is.
    let begin = Instant::now();
    readiness.sleep(&bell, Duration::from_millis(30));
    assert!(begin.elapsed() >= Duration::from_millis(30));
    readiness.disarm(&mut rx[0]);
    readiness.forget(&mut rx[0]);
    assert!(!readiness.arm(&mut rx[0]));
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn it_outlives_its_port_and_is_taken_up_again() {
    let (eal, mut pool) = start();
    let spec = TapSpec { mac: Some(MAC), ..TapSpec::new("t0", pool) };
    let (port, rx, tx) = open(eal, &spec);
    let before = sh("ip -o link show t0 | cut -d: -f1");
    sh("ip addr add 192.0.2.1/32 dev t0");
    port.detach(rx, tx);
    assert_eq!(pool.in_use(), 0);
    let shown = sh("ip addr show t0");
    assert!(shown.contains("192.0.2.1/32") && shown.contains("NO-CARRIER"), "{shown}");
    let (port, mut rx, mut tx) = open(eal, &spec);
    assert_eq!(sh("ip -o link show t0 | cut -d: -f1"), before, "the same interface");
    let bytes = ethernet(MAC.0, 100);
    let listener = listen("t0");
    send(&mut tx[0], [frame(&mut pool, &bytes)]);
    expect_in_kernel(&listener, &bytes);
    inject("t0", &bytes);
    drop(receive(&mut rx[0], |frame| bytes_of(frame) == bytes));
    let error = tap::open(eal, &spec).unwrap_err();
    assert!(matches!(error, TapError::InUse { .. }), "{error}");
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

/// Earlier versions had their taps from net_tap, which makes them for several queues.
#[test]
fn what_net_tap_left_is_taken_up() {
    let (eal, mut pool) = start();
    let (port, rx, tx) =
        ethdev::attach(eal, &AttachSpec::new("net_tap0,iface=t0,persist", pool)).unwrap();
    let spec = TapSpec::new("t0", pool);
    let error = tap::open(eal, &spec).unwrap_err();
    assert!(matches!(error, TapError::InUse { .. }), "{error}");
    port.detach(rx, tx).unwrap();
    let before = sh("ip -o link show t0 | cut -d: -f1");
    let (port, mut rx, mut tx) = open(eal, &spec);
    assert_eq!(sh("ip -o link show t0 | cut -d: -f1"), before, "the same interface");
    assert!(matches!(tap::open(eal, &spec), Err(TapError::InUse { .. })));
    let bytes = ethernet([0xff; 6], 100);
    let listener = listen("t0");
    send(&mut tx[0], [frame(&mut pool, &bytes)]);
    expect_in_kernel(&listener, &bytes);
    inject("t0", &bytes);
    drop(receive(&mut rx[0], |frame| bytes_of(frame) == bytes));
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn several_queues_share_the_frames() {
    let (eal, mut pool) = start();
    let spec = TapSpec { queues: 4, writers: 6, ..TapSpec::new("t0", pool) };
    let (port, mut rx, mut tx) = open(eal, &spec);
    assert_eq!((rx.len(), tx.len()), (4, 6));
    sh("ip addr add 192.0.2.1/24 dev t0; ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev t0");
    for port in 6000..6064 {
        let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.send_to(b"x", ("192.0.2.2", port)).unwrap();
    }
    let mut counts = [0; 4];
    eventually("all have come", || {
        for (queue, count) in rx.iter_mut().zip(&mut counts) {
            let mut burst = Burst::<Mbuf>::new();
            queue.rx(&mut burst);
            *count += burst.iter().filter(|f| f.head().get(12..14) == Some(&[8, 0])).count();
        }
        counts.iter().sum::<usize>() == 64
    });
    assert!(counts.iter().filter(|count| **count > 0).count() >= 2, "{counts:?}");
    let listener = listen("t0");
    for (number, queue) in tx.iter_mut().enumerate() {
        let bytes = ethernet([0xff; 6], 100 + number);
        send(queue, [frame(&mut pool, &bytes)]);
        expect_in_kernel(&listener, &bytes);
    }
    assert_eq!(port.stats().tx_pkts, 6);
    port.detach(rx, tx);
    let error = tap::open(eal, &TapSpec { queues: 0, ..TapSpec::new("t9", pool) }).unwrap_err();
    assert!(matches!(error, TapError::Queues { .. }), "{error}");
    // Now for one queue alone.
    let (port, rx, tx) = open(eal, &TapSpec::new("t0", pool));
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn it_is_born_in_the_guests_namespace_and_obeys_wherever_it_goes() {
    let (eal, mut pool) = start();
    let (guest, third) = (Elsewhere::new(), Elsewhere::new());
    let spec = TapSpec { netns: Some(guest.netns()), mac: Some(MAC), ..TapSpec::new("eth0", pool) };
    let (mut port, mut rx, mut tx) = open(eal, &spec);
    sh("! ip link show eth0");
    port.set_mtu(1280).unwrap();
    port.set_mac(MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
    let shown = guest.sh("ip link show eth0");
    assert!(shown.contains("mtu 1280") && shown.contains("02:00:00:00:00:09"), "{shown}");
    eventually("link up", || port.link().up);
    guest.sh("ip link set eth0 down");
    assert!(!port.link().up && !port.is_lost());
    let mut burst: Burst<_> = [frame(&mut pool, &ethernet([0xff; 6], 60))].into_iter().collect();
    assert_eq!((tx[0].tx(&mut burst), burst.len()), (Unsent::NotConnected, 1));
    burst.clear();
    guest.sh("ip link set eth0 up");
    eventually("link up again", || port.link().up);

    guest.sh(&format!("ip link set eth0 netns {}", third.pid()));
    third.sh("ip link set eth0 name lan0; ip link set lan0 up");
    assert!(!port.is_lost() && port.kernel_interface().is_none());
    port.set_mtu(1300).unwrap();
    port.set_mac(MacAddr([2, 0, 0, 0, 0, 10])).unwrap();
    let shown = third.sh("ip link show lan0");
    assert!(shown.contains("mtu 1300") && shown.contains("02:00:00:00:00:0a"), "{shown}");
    let bytes = ethernet([0xff; 6], 70);
    run_in(Some(&third.netns()), || inject("lan0", &bytes)).unwrap();
    drop(receive(&mut rx[0], |frame| bytes_of(frame) == bytes));
    let listener = run_in(Some(&third.netns()), || listen("lan0")).unwrap();
    send(&mut tx[0], [frame(&mut pool, &bytes)]);
    expect_in_kernel(&listener, &bytes);

    third.sh("ip link del lan0");
    assert!(port.is_lost() && !port.link().up && port.mac().is_none());
    assert!(port.set_mtu(1400).is_err() && port.set_mac(MAC).is_err());
    let held = pool.in_use();
    for _ in 0..1000 {
        let mut burst = Burst::new();
        assert_eq!(rx[0].rx(&mut burst), 0);
        burst.push(frame(&mut pool, &bytes));
        assert_eq!((tx[0].tx(&mut burst), burst.len()), (Unsent::NotConnected, 1));
    }
    assert_eq!(pool.in_use(), held);
    assert_eq!(Port::Tap(port).driver(), "tap");
    drop((rx, tx));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_stands_in_the_way_is_named_and_nothing_is_left() {
    let (eal, pool) = start();
    sh(
        "ip link add b0 type bridge; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up",
    );
    sh("ip tuntap add dev one mode tap; ip tuntap add dev tun0 mode tun");
    let spec = |iface: &str| TapSpec::new(iface, pool);
    for (spec, says) in [
        (spec("b0"), "interface b0 exists and is no tap"),
        (spec("v0"), "interface v0 exists and is no tap"),
        (spec("tun0"), "interface tun0 exists and is no tap"),
        (TapSpec { queues: 2, ..spec("one") }, "interface one exists and is no tap of several"),
        (TapSpec { queues: 300, ..spec("t0") }, "1 to 256 queues, not 300"),
        (spec("t%d"), "interface t%d: can't make it: the kernel wants another name"),
        (TapSpec { netns: Some(Netns::Name("gw-none".into())), ..spec("t0") }, "netns gw-none"),
        (TapSpec { mtu: 10, ..spec("t0") }, "interface t0: can't set its MTU"),
        (TapSpec { mac: Some(MacAddr([1; 6])), ..spec("t0") }, "can't set its MAC address"),
    ] {
        let error = tap::open(eal, &spec).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
    sh("! ip link show t0; ! ip link show t%d; test $(ip -o link | wc -l) = 6");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_empty_pool_loses_nothing_that_was_not_read() {
    let (eal, mut pool) = start();
    let (port, mut rx, tx) = open(eal, &TapSpec::new("t0", pool));
    let bytes = ethernet([0xff; 6], 100);
    let mut held = Vec::new();
    let mut burst = Burst::new();
    while rx[0].rx(&mut burst) > 0 {
        burst.clear();
    }
    while let Some(frame) = dataplane::frame::FramePool::alloc(&mut pool) {
        held.push(frame);
    }
    for _ in 0..2 {
        inject("t0", &bytes);
        assert_eq!(rx[0].rx(&mut burst), 0);
    }
    assert_eq!(port.stats().rx_no_mbuf, 2);
    drop(held);
    eventually("both are there", || {
        rx[0].rx(&mut burst);
        burst.iter().filter(|frame| bytes_of(frame) == bytes).count() == 2
    });
    burst.clear();
    port.detach(rx, tx);
    sh("ip link del t0");
    assert_eq!(pool.in_use(), 0);
}
