//! The lab: real hosts around the real appliance, in network namespaces that vanish with the test.
//!
//! One test is one process, and one process is one private world: [`Lab::new`] leaves the machine's
//! network and mount namespaces before anything else happens, so that names, addresses, sockets and
//! run-time files can't meet those of the machine or of another test. A [`Host`] is a namespace with
//! Linux's own stack, driven by the tools that an operator has (`ip`, `ping`, `arping`, `iperf3`,
//! `tcpdump`). A [`Vm`] is a guest with a kernel of its own, in QEMU. The lab's own namespace is *the server*: the appliance runs there, its host port's
//! kernel end is there, and so is the bridge that plays the physical LAN.
//!
//! What the tests never do: look into the program. They know the outer contract (configuration file,
//! commands, answers) and what is on the wire.

pub use appliance::{Appliance, binary};
pub use capture::Capture;
pub use config::Config;
pub use dpdk::DpdkContainer;
pub use host::{Host, Proc};
pub use lab::Lab;
pub use raw::Wire;
pub use shell::Shell;
pub use terminal::Terminal;
pub use vlan::VlanHost;
pub use vm::{Nic, Vm};
pub use world::{Attach, World};

pub mod appliance;
pub mod balance;
pub mod browser;
pub mod capture;
pub mod config;
pub mod containers;
pub mod contest;
pub mod counts;
pub mod dpdk;
pub mod frames;
pub mod frontend;
pub mod host;
pub mod http;
pub mod instructions;
pub mod lab;
pub mod linux;
pub mod measure;
pub mod metrics;
pub mod notify;
pub mod paced;
pub mod page;
pub mod pair;
pub mod peers;
pub mod ports;
pub mod prefixes;
pub mod probes;
pub mod raw;
pub mod record;
pub mod replay;
pub mod shell;
pub mod stall;
#[cfg(feature = "bench")]
pub mod steps;
pub mod tcp;
pub mod telemetry;
pub mod terminal;
pub mod timed;
pub mod vlan;
pub mod vm;
#[cfg(feature = "ways")]
pub mod ways;
pub mod world;

use std::time::{Duration, Instant};

/// Polls until `done` answers true; false when `limit` has passed.
pub fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`within`], as a test's assertion.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, done: impl FnMut() -> bool) {
    assert!(within(limit, done), "not within {limit:?}: {what}");
}
