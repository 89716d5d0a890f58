//! The lab's own vhost-user front-end against DPDK's back end, so that what the suites rely on is
//! known to work: frames pass testpmd's two vhost ports both ways, unmodified and in order.
//!
//! Left out of the usual run, because it is about the lab and needs `dpdk-testpmd` (package dpdk-dev):
//! `cargo nextest run -p tests --run-ignored only --test frontend`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::frames::{BROADCAST, Random, ethernet};
use tests::frontend::hostile::{Hostile, Identity};
use tests::frontend::{Door, Frontend, NetHeader, Options, feature};
use tests::lab::on_all_cores;
use tests::{Host, Lab};

const EXPERIMENT: u16 = 0x88b5;
/// What DPDK's library alone does not survive, or not with its only thread and worker free.
const DEADLY: [&str; 5] = [
    "call-blocks",
    "memory-cut-before-it-is-told",
    "memory-cut-before-traffic",
    "memory-cut-in-traffic",
    "memory-larger-than-its-file",
];
const PATIENCE: Duration = Duration::from_secs(10);

/// testpmd that forwards between two vhost ports, until it is dropped.
struct Testpmd {
    child: std::process::Child,
}

impl Testpmd {
    fn start(server: &Host, paths: [&Path; 2], keys: &str) -> Self {
        let [a, b] = paths.map(|path| path.display().to_string());
        let mut command = server.command(&format!(
            "dpdk-testpmd --no-huge -m 512 --no-pci --no-shconf --file-prefix fe{} -l 0,1 \
             --vdev net_vhost0,iface={a}{keys} --vdev net_vhost1,iface={b}{keys} -- -i \
             --auto-start --forward-mode=io --total-num-mbufs=16384 --no-mlockall --rxq=2 --txq=2",
            std::process::id()
        ));
        command.stdin(std::process::Stdio::piped());
        let child = on_all_cores(|| command.spawn()).expect("dpdk-testpmd");
        Self { child }
    }

    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        if let Some(input) = self.child.stdin.as_mut() {
            let _ = input.write_all(b"quit\n");
        }
        if !tests::within(Duration::from_secs(5), || !self.is_running()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn paths(lab: &Lab) -> [PathBuf; 2] {
    ["a.sock", "b.sock"].map(|name| lab.dir().join(name))
}

/// Sends numbered frames of many lengths on every pair of `from`: each arrives at `to` once, byte for
/// byte, and in the order of its pair.
fn passes(from: &mut Frontend, to: &mut Frontend, pairs: usize, longest: usize) {
    let mut random = Random(0xfe);
    let primed = tests::within(PATIENCE, || {
        let frame = ethernet(BROADCAST, [2, 0, 0, 0, 0, 9], EXPERIMENT, &[0xee; 46]);
        from.send(0, &NetHeader::default(), &frame).expect("sent");
        to.receive_within(Duration::from_millis(50), |r| r.frame == frame).expect("right").is_some()
    });
    assert!(primed, "nothing passes");
    while to
        .receive_within(Duration::from_millis(200), |r| r.frame[14] == 0xee)
        .expect("right")
        .is_some()
    {}
    for number in 0..500u32 {
        let pair = number as usize % pairs;
        let mut payload = number.to_be_bytes().to_vec();
        let length = 42 + random.below(longest - 60);
        payload.extend(random.bytes(length));
        let frame = ethernet(BROADCAST, [2, 0, 0, 0, 0, 9], EXPERIMENT, &payload);
        assert!(from.send(pair, &NetHeader::default(), &frame).expect("sent"), "ring full");
        let got = to.receive_within(PATIENCE, |_| true).expect("right");
        let got = got.unwrap_or_else(|| panic!("frame {number} is lost"));
        assert!(got.frame == frame, "frame {number} is changed: {} bytes", got.frame.len());
    }
    for pair in 0..pairs {
        assert!(from.is_sent_within(pair, PATIENCE).expect("right"));
    }
}

#[test]
#[ignore = "about the lab itself, and needs dpdk-testpmd"]
fn frames_pass_testpmd_both_ways() {
    let lab = Lab::new();
    let [a, b] = paths(&lab);
    let mut testpmd = Testpmd::start(&lab.server(), [&a, &b], ",queues=2");
    // One region and many, and a plain guest beside one that merges buffers, come and go.
    for regions in [vec![4 << 20], vec![1 << 20, 2 << 20, 2 << 20, 3 << 20]] {
        let options = Options { regions, ..Options::default() };
        let open = |path| Frontend::connect_within(path, &options, PATIENCE).expect("set up");
        let (mut left, mut right) = (open(&a), open(&b));
        assert!(left.agreed.has(feature::VERSION_1 | feature::MRG_RXBUF));
        passes(&mut left, &mut right, 1, 1_500);
        passes(&mut right, &mut left, 1, 1_500);
        assert!(testpmd.is_running());
        left.stop().expect("stopped");
        drop(right);
    }
}

#[test]
#[ignore = "about the lab itself, and needs dpdk-testpmd"]
fn several_pairs_and_offloads_pass_testpmd() {
    let lab = Lab::new();
    let [a, b] = paths(&lab);
    let _testpmd = Testpmd::start(&lab.server(), [&a, &b], ",queues=2,tso=1");
    let mut options = Options::multiqueue(2);
    options.features |= feature::OFFLOADS;
    let open = |path| Frontend::connect_within(path, &options, PATIENCE).expect("set up");
    let (mut left, mut right) = (open(&a), open(&b));
    assert!(left.agreed.has(feature::CSUM));
    passes(&mut left, &mut right, 2, 9_000);
    passes(&mut right, &mut left, 2, 9_000);
}

#[test]
#[ignore = "about the lab itself, and needs dpdk-testpmd"]
fn a_back_end_that_connects_is_let_in() {
    let lab = Lab::new();
    let [a, b] = paths(&lab);
    let doors = [&a, &b].map(|path| Door::listen(path).expect("bound"));
    let _testpmd = Testpmd::start(&lab.server(), [&a, &b], ",queues=2,client=1");
    let options = Options { patience: PATIENCE, ..Options::default() };
    let [mut left, mut right] =
        doors.each_ref().map(|door| Frontend::open(door, &options).expect("set up"));
    passes(&mut left, &mut right, 1, 1_500);
}

/// The cases get to where they misbehave: each is run a few times against a back end that is known.
/// `GUESTWAY_TEST_CASE` chooses those whose names have it in them.
#[test]
#[ignore = "about the lab itself, and needs dpdk-testpmd"]
fn hostile_cases_reach_testpmd() {
    let lab = Lab::new();
    let [a, b] = paths(&lab);
    let mut testpmd = Testpmd::start(&lab.server(), [&a, &b], ",queues=2,tso=1");
    let options = Options::default();
    let mut sink = Frontend::connect_within(&b, &options, PATIENCE).expect("set up");
    assert!(tests::within(PATIENCE, || a.exists()));
    let identity = Identity {
        mac: [2, 0, 0, 0, 0, 9],
        ip: "10.0.0.9".to_owned(),
        peer_mac: [2, 0, 0, 0, 0, 8],
        peer_ip: "10.0.0.8".to_owned(),
    };
    let name = std::env::var("GUESTWAY_TEST_CASE").unwrap_or_default();
    let hostile = Hostile::new(&[a], identity, 0xe11)
        .only(|case| !DEADLY.contains(&case.name) && case.name.contains(&name));
    let report = hostile.run(0..600, |_, _| {
        // What it sends comes out here, and something goes back for it to receive.
        while sink.receive(0).map_err(|e| e.to_string())?.is_some() {}
        let _ = sink.send(0, &NetHeader::default(), &[0xff; 64]);
        if testpmd.is_running() { Ok(()) } else { Err("testpmd has ended".to_owned()) }
    });
    eprintln!("{report}");
    assert!(report.broken.is_empty());
}
