//! A private world for one test.

use crate::host::Host;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;
use std::fs::File;
use std::path::Path;
use tempfile::TempDir;

/// Name of the lab's own namespace.
const SERVER: &str = "server";

/// A network and mount namespace of our own, with what a test builds in it.
///
/// Invariant: everything that is started from the thread that made the lab (and from threads that it
/// starts) lives in these namespaces, so dropping the process drops the world.
#[derive(Debug)]
pub struct Lab {
    dir: TempDir,
    /// Held for the lab's life: the worker's core is one lab's at a time, in whatever run it is.
    _turn: File,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Leaves the machine's namespaces. To be called first in a test, in its main thread.
    pub fn new() -> Self {
        let turn = File::create(std::env::temp_dir().join("guestway-lab.lock")).expect("lock file");
        turn.lock().expect("our turn");
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .expect("a lab needs root: unshare of network and mounts");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("private mounts");
        // Everything that programs keep under /run (ip's namespace names, DPDK's files, the default
        // API socket) becomes the lab's own.
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs on /run");
        std::fs::create_dir("/run/netns").expect("/run/netns");
        let own = Path::new("/run/netns").join(SERVER);
        std::fs::write(&own, "").expect("a mount point");
        mount(Some("/proc/thread-self/ns/net"), &own, none, MsFlags::MS_BIND, none)
            .expect("a name for our namespace");
        if crate::appliance::wants_hugepages() {
            std::fs::create_dir_all("/dev/hugepages").expect("/dev/hugepages");
            mount(Some("none"), "/dev/hugepages", Some("hugetlbfs"), MsFlags::empty(), none)
                .expect("hugetlbfs");
        }
        let dir = tempfile::tempdir().expect("a private directory");
        let lab = Self { dir, _turn: turn };
        quieten(&lab.server());
        keep_to(&cores_of_hosts());
        lab
    }

    /// A directory that vanishes with the lab.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The server itself: the namespace that the appliance runs in.
    pub fn server(&self) -> Host {
        Host::here(SERVER)
    }

    /// A new host with nothing but loopback.
    pub fn host(&self, name: &str) -> Host {
        self.server().run(&format!("ip netns add {name}"));
        let host = Host::of_netns(name);
        quieten(&host);
        host
    }

    /// A host that was made before.
    pub fn known(&self, name: &str) -> Host {
        Host::of_netns(name)
    }

    /// A Linux bridge in the server's namespace: the physical LAN, or a plain learning switch to
    /// compare with. It has no addresses and answers nothing.
    pub fn bridge(&self, name: &str) -> Bridge {
        let server = self.server();
        server.run(&format!(
            "ip link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ));
        server.run(&format!("ip link set {name} arp off up"));
        Bridge { name: name.to_owned() }
    }

    /// A cable between two hosts.
    pub fn cable(&self, a: &Host, a_iface: &str, b: &Host, b_iface: &str) {
        // Born under names that can't clash, then named by each side.
        self.server().run(&format!(
            "ip link add {a_iface} netns {} type veth peer name {b_iface} netns {}",
            a.name(),
            b.name()
        ));
        a.run(&format!("ip link set {a_iface} up"));
        b.run(&format!("ip link set {b_iface} up"));
    }
}

/// A Linux bridge in the server's namespace.
#[derive(Clone, Debug)]
pub struct Bridge {
    name: String,
}

impl Bridge {
    /// Its interface name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Plugs a host in, on a veth that the host calls `iface`.
    pub fn plug(&self, lab: &Lab, host: &Host, iface: &str) {
        let port = format!("p-{}", host.name());
        lab.cable(host, iface, &lab.server(), &port);
        self.enslave(&port);
    }

    /// Plugs in an interface of the server's namespace.
    pub fn enslave(&self, iface: &str) {
        assert!(self.try_enslave(iface), "{iface} can't be plugged into {}", self.name);
    }

    /// As [`Bridge::enslave`]; false while the interface does not exist.
    pub fn try_enslave(&self, iface: &str) -> bool {
        let server = Host::here(SERVER);
        server.succeeds(&format!("ip link set {iface} master {} up", self.name))
    }
}

/// The core of the one worker (config.rs).
const WORKER_CORE: usize = 1;

/// Cores that the lab's hosts run on: all but the worker's, which must have its core to itself. Two
/// workers leave none free, so there they share.
fn cores_of_hosts() -> CpuSet {
    let mut cores = all_cores();
    if !crate::config::two_workers() {
        cores.unset(WORKER_CORE).expect("a core number");
    }
    cores
}

pub(crate) fn all_cores() -> CpuSet {
    let mut cores = CpuSet::new();
    let count = std::fs::read_dir("/sys/devices/system/cpu")
        .expect("the machine's cores")
        .filter_map(|entry| {
            entry.ok()?.file_name().into_string().ok()?.strip_prefix("cpu")?.parse().ok()
        })
        .inspect(|core: &usize| cores.set(*core).expect("a core number"))
        .count();
    assert!(count > 1, "a lab needs two cores: one for the worker, one for its hosts");
    cores
}

/// Keeps this thread, and what it starts from now on, to some cores.
pub(crate) fn keep_to(cores: &CpuSet) {
    sched_setaffinity(Pid::from_raw(0), cores).expect("affinity");
}

/// Runs `start` with every core to choose from: what it starts may take the worker's.
pub fn on_all_cores<T>(start: impl FnOnce() -> T) -> T {
    keep_to(&all_cores());
    let started = start();
    keep_to(&cores_of_hosts());
    started
}

/// No traffic but what a test asks for: no IPv6 chatter, no bridged frame through netfilter.
fn quieten(host: &Host) {
    host.run("ip link set lo up");
    for key in [
        "net.ipv6.conf.all.disable_ipv6=1",
        "net.ipv6.conf.default.disable_ipv6=1",
        "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.default.rp_filter=0",
    ] {
        host.sysctl(key);
    }
    for key in ["iptables", "ip6tables", "arptables"] {
        host.try_sysctl(&format!("net.bridge.bridge-nf-call-{key}=0"));
    }
}
