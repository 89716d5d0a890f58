//! Ports of any driver: what passes, what is refused and in which words, and that nothing leaks.

#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod eal_lab;

use dataplane::counters::DropReason;
use dataplane::dpdk::readiness::QueueReadiness;
use dataplane::dpdk::{AttachSpec, Mbuf, Pool, PoolOps, PoolSpec, PortError, Rx, ethdev};
use dataplane::frame::{BURST_PKTS, Burst, Frame, FramePool};
use dataplane::io::{Readiness, RxQueue, TxQueue, Unsent};
use dataplane::wire::ethernet::MacAddr;
use eal_lab::{
    bytes_of, ethernet, eventually, expect_in_kernel, frame, inject, listen, receive, send, sh,
    start,
};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_null_device_takes_and_gives_for_ever() {
    let (eal, mut pool) = start();
    let (port, mut rx, mut tx) = ethdev::attach(eal, &AttachSpec::new("net_null0", pool)).unwrap();
    assert_eq!(port.driver(), "net_null");
    for _ in 0..1_000 {
        let mut burst = Burst::new();
        assert_eq!(rx[0].rx(&mut burst), BURST_PKTS);
        assert!(burst.iter().all(|frame| frame.len() == 64));
        tx[0].tx(&mut burst);
        assert!(burst.is_empty());
    }
    let stats = port.stats().unwrap();
    let pkts = 1_000 * BURST_PKTS as u64;
    assert_eq!((stats.rx_pkts, stats.tx_pkts), (pkts, pkts));
    let named = port.xstats().unwrap();
    assert!(named.contains(&("rx_good_packets".to_owned(), pkts)), "{named:?}");
    let held: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(rx[0].rx(&mut Burst::new()), 0, "the pool is empty");
    drop(held);
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

/// A capture file (libpcap's own format) of these frames.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for bytes in frames {
        let len = u32::try_from(bytes.len()).unwrap();
        file.extend([0, 0, len, len].map(u32::to_le_bytes).concat());
        file.extend(bytes);
    }
    file
}

#[test]
fn captures_are_read_and_written_byte_for_byte() {
    let (eal, pool) = start();
    let directory = std::env::temp_dir();
    let path = |name: &str| directory.join(format!("gw-{}-{name}", std::process::id()));
    let frames: Vec<Vec<u8>> = (0..100).map(|index| ethernet([0xff; 6], 60 + index * 14)).collect();
    std::fs::write(path("in"), capture(&frames)).unwrap();
    let (input, output) = (path("in"), path("out"));
    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let (port, mut rx, mut tx) = ethdev::attach(eal, &AttachSpec::new(&device, pool)).unwrap();
    let mut received = Vec::new();
    eventually("all frames are read", || {
        let mut burst = Burst::new();
        rx[0].rx(&mut burst);
        received.extend(burst.iter().map(bytes_of));
        tx[0].tx(&mut burst);
        received.len() == frames.len()
    });
    assert_eq!(received, frames);
    port.detach(rx, tx).unwrap();
    let written = std::fs::read(&output).unwrap();
    let mut rest = &written[24..];
    for wanted in &frames {
        let (record, behind) = rest.split_at(16 + wanted.len());
        assert_eq!(&record[16..], wanted);
        rest = behind;
    }
    assert!(rest.is_empty());
    assert_eq!(pool.in_use(), 0);
    [input, output].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

#[test]
fn a_kernel_interface_is_a_port_by_af_packet() {
    let (eal, mut pool) = start();
    sh("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up");
    // Asked for what it has not: to wake a worker.
    let spec = AttachSpec { wakes: true, ..AttachSpec::new("net_af_packet0,iface=v0", pool) };
    let (port, mut rx, mut tx) = ethdev::attach(eal, &spec).unwrap();
    assert_eq!(port.kernel_interface().as_deref(), Some("v0"));
    let mut readiness = QueueReadiness::default();
    readiness.watch(&mut rx[0]);
    assert!(!readiness.arm(&mut rx[0]), "it is looked at by the clock");
    readiness.disarm(&mut rx[0]);
    readiness.forget(&mut rx[0]);
    let inwards = ethernet([0xff; 6], 200);
    inject("v1", &inwards);
    receive(&mut rx[0], |frame| bytes_of(frame) == inwards);
    let listener = listen("v1");
    let outwards = ethernet([0xff; 6], 300);
    send(&mut tx[0], [frame(&mut pool, &outwards)]);
    expect_in_kernel(&listener, &outwards);
    assert!(!port.is_lost());
    sh("ip link del v0");
    assert!(port.is_lost());
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

/// af_xdp copies a frame's whole length from its first segment, so a chain must not reach it.
#[test]
fn a_driver_without_chains_gets_none() {
    let (eal, mut pool) = start();
    sh("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up");
    // Its fill queue of 2,048 comes from the pool.
    let large = PoolSpec::new("large", 8191, PoolOps::RingMtRts);
    let large = Pool::create(eal, &large).unwrap();
    let xdp = AttachSpec::new("net_af_xdp0,iface=v0", large);
    let (port, mut rx, mut tx) = ethdev::attach(eal, &xdp).unwrap();
    let tap = AttachSpec::new("net_tap0,iface=t0", pool);
    let (other, mut rx_other, tx_other) = ethdev::attach(eal, &tap).unwrap();
    sh("ip link set t0 mtu 4000");

    let inwards = ethernet([0xff; 6], 200);
    inject("v1", &inwards);
    receive(&mut rx[0], |frame| bytes_of(frame) == inwards);

    let jumbo = ethernet([0xff; 6], 3000);
    let mut burst = Burst::new();
    let frames: Vec<Vec<u8>> = (0..4).map(|index| ethernet([0xff; 6], 100 + index)).collect();
    for (index, bytes) in frames.iter().enumerate() {
        if index % 2 == 1 {
            inject("t0", &jumbo);
            burst.push(receive(&mut rx_other[0], |frame| frame.segments() == 2));
        }
        burst.push(frame(&mut pool, bytes));
    }
    let listener = listen("v1");
    // What stays begins with the chain, and once that is taken out the next ones go.
    let chained = Unsent::First(DropReason::TxChained);
    assert_eq!(tx[0].tx(&mut burst), chained);
    assert_eq!(burst.iter().map(Mbuf::segments).collect::<Vec<_>>(), [2, 1, 1, 2, 1]);
    burst.remove(0);
    assert_eq!(tx[0].tx(&mut burst), chained);
    assert_eq!(burst.iter().map(Mbuf::segments).collect::<Vec<_>>(), [2, 1]);
    burst.remove(0);
    assert_eq!(tx[0].tx(&mut burst), Unsent::Full);
    assert!(burst.is_empty());
    for bytes in &frames {
        expect_in_kernel(&listener, bytes);
    }
    port.detach(rx, tx).unwrap();
    other.detach(rx_other, tx_other).unwrap();
    // Not of the other pool: af_xdp of DPDK 22.11 leaves its fill queue behind.
    assert_eq!(pool.in_use(), 0);
}

/// Our virtio-user as the front-end of another process, as a DPDK container's or a VM's back end.
#[test]
fn a_virtio_user_port_meets_a_vhost_user_back_end() {
    let (eal, mut pool) = start();
    let path = std::env::temp_dir().join(format!("gw-vhost-{}", std::process::id()));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_echoes", "--ignored", "--nocapture", "-q"])
        .env("GW_VHOST_PATH", &path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the back end listens", || path.exists());
    let device = format!("net_virtio_user0,path={},queues=1", path.display());
    let mac = Some(MacAddr([2, 0, 0, 0, 0, 5]));
    let spec = AttachSpec { mac, wakes: true, ..AttachSpec::new(&device, pool) };
    let (port, mut rx, mut tx) = ethdev::attach(eal, &spec).unwrap();
    let bytes = ethernet([0xff; 6], 800);
    let mut found = false;
    eventually("the echo", || {
        send(&mut tx[0], [frame(&mut pool, &bytes)]);
        let mut burst = Burst::new();
        rx[0].rx(&mut burst);
        found |= burst.iter().any(|frame| bytes_of(frame) == bytes);
        found
    });
    // Its interrupts are relied on once one has come.
    let mut readiness = QueueReadiness::default();
    readiness.watch(&mut rx[0]);
    assert!(!readiness.arm(&mut rx[0]));
    eventually("an interrupt", || {
        send(&mut tx[0], [frame(&mut pool, &bytes)]);
        rx[0].rx(&mut Burst::new());
        readiness.arm(&mut rx[0])
    });
    readiness.disarm(&mut rx[0]);
    readiness.forget(&mut rx[0]);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
#[ignore = "the child of the test above"]
fn child_echoes() {
    // The parent is pinned to one core.
    let mut cores = CpuSet::new();
    (0..2).for_each(|core| cores.set(core).unwrap());
    sched_setaffinity(Pid::from_raw(0), &cores).unwrap();
    let (eal, pool) = start();
    let path = std::env::var("GW_VHOST_PATH").unwrap();
    let device = format!("net_vhost0,iface={path},queues=1");
    let (port, mut rx, mut tx) = ethdev::attach(eal, &AttachSpec::new(&device, pool)).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let seen = ended.clone();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        seen.store(true, Ordering::Relaxed);
    });
    while !ended.load(Ordering::Relaxed) {
        let mut burst = Burst::new();
        rx[0].rx(&mut burst);
        tx[0].tx(&mut burst);
    }
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn two_memif_ports_of_one_process_meet() {
    let (eal, mut pool) = start();
    let socket = format!("gw-memif-{}", std::process::id());
    let device = |index: u16, role: &str| {
        format!("net_memif{index},role={role},id=0,socket={socket},socket-abstract=yes")
    };
    let (server, rx_a, mut tx_a) = ethdev::attach(
        eal,
        &AttachSpec { wakes: true, ..AttachSpec::new(&device(0, "server"), pool) },
    )
    .unwrap();
    let (client, mut rx_b, tx_b) =
        ethdev::attach(eal, &AttachSpec::new(&device(1, "client"), pool)).unwrap();
    eventually("they connect", || server.link().unwrap().up && client.link().unwrap().up);
    let bytes = ethernet([0xff; 6], 700);
    let mut burst = Burst::from_iter([frame(&mut pool, &bytes)]);
    eventually("the frame passes", || {
        // The server sends into buffers that the client's polling offers.
        tx_a[0].tx(&mut burst);
        let mut received = Burst::new();
        rx_b[0].rx(&mut received);
        received.iter().any(|frame| bytes_of(frame) == bytes)
    });
    assert!(burst.is_empty());
    client.detach(rx_b, tx_b).unwrap();
    server.detach(rx_a, tx_a).unwrap();
    eventually("every mbuf is back", || pool.in_use() == 0);
}

#[test]
fn the_limit_of_32_is_named_when_met() {
    let (eal, pool) = start();
    let mut ports = Vec::new();
    for index in 0..32 {
        let spec =
            AttachSpec { descriptors: 32, ..AttachSpec::new(&format!("net_null{index}"), pool) };
        ports.push(ethdev::attach(eal, &spec).unwrap());
    }
    let one_more = AttachSpec::new("net_null32", pool);
    let error = ethdev::attach(eal, &one_more).unwrap_err();
    assert!(matches!(error, PortError::TooManyPorts { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "can't attach \"net_null32\": DPDK was built with RTE_MAX_ETHPORTS=32, and so many are attached"
    );
    let (port, rx, tx) = ports.pop().unwrap();
    port.detach(rx, tx).unwrap();
    ports.push(ethdev::attach(eal, &one_more).expect("there is room again"));
    for (port, rx, tx) in ports {
        port.detach(rx, tx).unwrap();
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn devices_come_and_go_without_a_trace() {
    let (eal, mut pool) = start();
    let mut before = (0, 0);
    for round in 0..20 {
        let device = format!("{},iface=t0", ethdev::next_vdev_name("net_tap"));
        let spec = AttachSpec { rx_queues: 2, tx_queues: 2, ..AttachSpec::new(&device, pool) };
        let (port, mut rx, mut tx) = ethdev::attach(eal, &spec).unwrap();
        let inwards = ethernet([0xff; 6], 100);
        inject("t0", &inwards);
        let mut found = false;
        eventually("a frame on either queue", || {
            for queue in &mut rx {
                let mut burst = Burst::new();
                queue.rx(&mut burst);
                found |= burst.iter().any(|frame| bytes_of(frame) == inwards);
            }
            found
        });
        send(&mut tx[round % 2], [frame(&mut pool, &inwards)]);
        port.detach(rx, tx).unwrap();
        assert_eq!(pool.in_use(), 0, "round {round}");
        sh("! ip link show t0");
        let now = (open_files(), threads());
        if round > 0 {
            assert_eq!(now, before, "round {round}: files and threads");
        }
        before = now;
    }
}

#[test]
fn a_bad_device_is_one_clear_line_and_disturbs_nothing() {
    let (eal, pool) = start();
    let good = AttachSpec::new("net_tap0,iface=t0", pool);
    let (port, rx, tx) = ethdev::attach(eal, &good).unwrap();
    sh("ip link add v9 type veth peer name v8");
    let (held, files) = (pool.in_use(), open_files());
    let cases = [
        ("", "the name is empty"),
        ("nosuchdriver0", "no driver has that name, write a PCI address like"),
        ("fe:1f.7", "no PCI device has that address"),
        ("zz:00.0", "no driver has that name, write a PCI address like"),
        ("00:99.0", "not a PCI address like 0000:3b:00.0"),
        ("net_tap0,iface=t9", "net_tap0 is attached already"),
        ("net_tap1,iface=name-of-more-than-15-bytes", "name-of-more-than-15-bytes"),
        ("net_pcap0,rx_pcap=/no/such/file", "/no/such/file"),
        ("net_af_packet0,iface=nosuch", "nosuch"),
        ("net_null0,nosuch=1", "the driver refused it, check its arguments"),
        ("net_tap1,iface=lo", "the interface lo exists and is in use"),
        ("net_tap1,iface=t0", "the interface t0 exists and is in use"),
        ("net_tap1,iface=v9", "v9"),
    ];
    for (device, says) in cases {
        let error = ethdev::attach(eal, &AttachSpec::new(device, pool)).unwrap_err();
        let text = error.to_string();
        println!("{text}");
        assert!(text.contains(says) && !text.contains('\n'), "{device}: {text}");
    }
    let wishes = [
        (AttachSpec { mtu: 9000, ..AttachSpec::new("net_tap1", pool) }, "46 to 1504"),
        (AttachSpec { mtu: 20, ..AttachSpec::new("net_tap1", pool) }, "46 to 1504"),
        (AttachSpec { rx_queues: 2, ..AttachSpec::new("net_tap1", pool) }, "as many"),
        (AttachSpec { rx_queues: 0, ..AttachSpec::new("net_tap1", pool) }, "1 to 16"),
        (AttachSpec { tx_queues: 99, ..AttachSpec::new("net_tap1", pool) }, "1 to 16"),
        (
            AttachSpec {
                mac: Some(MacAddr([1, 0, 0, 0, 0, 1])),
                ..AttachSpec::new("net_ring1", pool)
            },
            "MAC",
        ),
    ];
    for (spec, says) in wishes {
        let text = ethdev::attach(eal, &spec).unwrap_err().to_string();
        println!("{text}");
        assert!(text.contains(says) && !text.contains('\n'), "{text}");
    }
    assert_eq!((pool.in_use(), open_files()), (held, files), "nothing stayed behind");
    sh("! ip link show dtap0");
    let again = AttachSpec::new("net_tap1", pool);
    let (second, rx_second, tx_second) = ethdev::attach(eal, &again).expect("the name is free");
    second.detach(rx_second, tx_second).unwrap();
    port.detach(rx, tx).unwrap();
}

#[test]
fn a_port_ends_only_with_all_its_queues() {
    let (eal, pool) = start();
    let (one, rx_one, tx_one) = ethdev::attach(eal, &AttachSpec::new("net_null0", pool)).unwrap();
    let (mut two, mut rx_two, tx_two) =
        ethdev::attach(eal, &AttachSpec::new("net_null1", pool)).unwrap();
    assert!(matches!(
        two.stop(&rx_one, &tx_two),
        Err(PortError::QueuesMissing { given: 1, needed: 2, .. })
    ));
    two.stop(&rx_two, &tx_two).unwrap();
    two.start(&mut rx_two, &tx_two).unwrap();
    let error = one.detach(rx_two, tx_one).unwrap_err();
    assert!(matches!(error, PortError::QueuesMissing { given: 1, needed: 2, .. }), "{error}");
    let mut rest: Vec<Rx> = rx_one;
    assert_eq!(rest[0].rx(&mut Burst::new()), BURST_PKTS, "it runs on");
}
