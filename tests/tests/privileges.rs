//! What the running appliance may still do: as much as live changes need, and no more.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;
use tests::world::{OUT, address};
use tests::{Appliance, Attach, World, eventually};

/// Capabilities by their numbers (linux/capability.h).
const NAMES: [(&str, u32); 8] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_IPC_LOCK", 14),
    ("CAP_SYS_RAWIO", 17),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
];

/// The capabilities that the unit leaves to the service.
fn of_unit() -> u64 {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/systemd/guestway.service");
    let text = std::fs::read_to_string(unit).expect("the unit");
    let line = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bit = |name: &str| {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        1_u64 << known.unwrap_or_else(|| panic!("{name} is in the unit")).1
    };
    line.expect("a set").split(' ').map(bit).sum()
}

/// Of each thread its name and what the kernel says of its rights.
fn threads(app: &Appliance) -> Vec<(String, BTreeMap<String, String>)> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", app.pid())).expect("threads");
    let status = |path: &Path| {
        let text = std::fs::read_to_string(path.join("status")).expect("status");
        let pairs = text.lines().filter_map(|line| line.split_once(":\t"));
        pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
    };
    tasks
        .flatten()
        .map(|task| {
            let status: BTreeMap<String, String> = status(&task.path());
            (status["Name"].clone(), status)
        })
        .collect()
}

#[test]
fn every_thread_has_given_away_what_it_does_not_need() {
    let world = World::routed(Attach::Own, 1);
    world.ct(1).reaches(OUT);
    let (kept, none) = (format!("{:016x}", of_unit()), format!("{:016x}", 0));
    let threads = threads(&world.app);
    assert!(threads.len() >= 4, "{threads:?}");
    for (name, status) in &threads {
        let own = match name.as_str() {
            // Those that read what others have written.
            name if ["worker", "api", "metrics", "page"].iter().any(|of| name.contains(of)) => {
                &none
            }
            _ => &kept,
        };
        for (key, value) in [
            ("CapPrm", own.as_str()),
            ("CapEff", own),
            ("CapInh", &none),
            ("CapAmb", &none),
            ("CapBnd", &kept),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status[key], value, "{key} of thread {name}");
        }
    }
    for begin in ["api", "lcore-worker", "dpdk-worker"] {
        let is_there = threads.iter().any(|(name, _)| name.starts_with(begin));
        assert!(is_there || begin.contains("worker"), "{begin} among {threads:?}");
    }
    assert!(threads.iter().any(|(name, _)| name.contains("worker")));
    world.end();
}

#[test]
fn live_changes_go_on_without_the_rest() {
    let world = World::routed(Attach::Own, 1);
    let (lab, app) = (&world.lab, &world.app);
    let theirs = lab.dir().join("theirs");
    const NOBODY: u32 = 65_534;
    let give = |path: &Path| {
        std::fs::create_dir(path).expect("a directory");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).expect("its mode");
        chown(path, Some(NOBODY), Some(NOBODY)).expect("its owner");
    };
    give(&theirs);

    // A container in a namespace that is named by a process of somebody else.
    lab.host("ct2");
    let sleeper = lab
        .known("ct2")
        .spawn(&format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups sleep 600"));
    let mut sleeper = sleeper;
    let pid = sleeper.as_child().id();
    let is_asleep = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        text.contains("Name:\tsleep")
    };
    eventually("it sleeps as somebody else", Duration::from_secs(3), is_asleep);
    app.must("guest add ct2 container");
    app.must(&format!("adapter add ct2 eth0 port tap,iface=ct2-eth0,pid={pid} ip {}", address(2)));
    world.ct(1).reaches(&address(2));
    lab.known("ct2").reaches(OUT);

    // A socket in a directory of somebody else, for a group that root is not in.
    let socket = theirs.join("vm1.sock");
    app.must("guest add vm1 vm");
    app.must(&format!(
        "adapter add vm1 eth0 port vhost-user,path={},group=daemon",
        socket.display()
    ));
    assert!(socket.exists());
    app.must("adapter del vm1 eth0");
    assert!(!socket.exists());

    // Ports of DPDK's: a tap, and a packet socket on an interface that is there.
    app.must("port attach net_tap9,iface=late0 name late0 ip 198.51.100.1/24");
    assert!(world.server.has_iface("late0"));
    world.server.run("ip link add pk0 type veth peer name pk1");
    app.must("port attach net_af_packet0,iface=pk0 name pk0 ip 198.51.101.1/24");
    app.must("port detach pk0");
    app.must("port detach late0");
    app.must("adapter set ct2 eth0 mode virtual-network");
    app.must("guest del ct2");
    drop(sleeper);
    world.ct(1).reaches(OUT);
    world.end();
}
