//! The usual world: a LAN with an outside host and a router to a far network, and containers behind
//! the appliance.

use crate::appliance::Appliance;
use crate::config::{Config, tap};
use crate::frames::mac_text;
use crate::host::Host;
use crate::lab::{Bridge, Lab};
use std::path::Path;

/// The server's public address.
pub const SERVER: &str = "192.0.2.1";
/// The outside host on the LAN.
pub const OUT: &str = "192.0.2.50";
/// The LAN's router.
pub const ROUTER: &str = "192.0.2.254";
/// A host behind the router.
pub const FAR: &str = "198.51.100.9";
/// The guests' default gateway.
pub const GATEWAY: &str = "169.254.1.1";

/// How host-routed containers hang on the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// Each on a tap of its own.
    Own,
    /// All on the shared port `venet0`.
    Shared,
}

/// The outside: LAN bridge, a host on it, a router and a far host.
#[derive(Debug)]
pub struct Outside {
    /// The LAN; the uplink is plugged in here.
    pub lan: Bridge,
    /// A host on the LAN, 192.0.2.50 on `eth0`.
    pub out: Host,
    /// The LAN's router, 192.0.2.254 on `eth0` and 198.51.100.1 on `eth1`.
    pub router: Host,
    /// A host behind the router, 198.51.100.9 on `eth0`.
    pub far: Host,
}

impl Outside {
    /// Builds it.
    pub fn new(lab: &Lab) -> Self {
        let lan = lab.bridge("lan");
        let (out, router, far) = (lab.host("out"), lab.host("router"), lab.host("far"));
        lan.plug(lab, &out, "eth0");
        out.address("eth0", "192.0.2.50/24");
        out.run("ip route add default via 192.0.2.254");
        // Addresses outside the LAN's prefix that the operator routes to the server.
        out.run("ip route add 203.0.113.0/24 via 192.0.2.1");
        lan.plug(lab, &router, "eth0");
        router.address("eth0", "192.0.2.254/24");
        router.run("ip route add 203.0.113.0/24 via 192.0.2.1");
        router.sysctl("net.ipv4.ip_forward=1");
        lab.cable(&router, "eth1", &far, "eth0");
        router.address("eth1", "198.51.100.1/24");
        far.address("eth0", "198.51.100.9/24");
        far.run("ip route add default via 198.51.100.1");
        Self { lan, out, router, far }
    }
}

/// A lab with the outside, the appliance and some host-routed containers `ct1`, `ct2`, … whose
/// addresses are 192.0.2.11, .12, …
#[derive(Debug)]
pub struct World {
    /// The running appliance. First, so that it goes before the hosts do.
    pub app: Appliance,
    /// The outside.
    pub outside: Outside,
    /// The containers.
    pub cts: Vec<Host>,
    /// The server itself.
    pub server: Host,
    /// How they are attached.
    pub attach: Attach,
    /// The lab.
    pub lab: Lab,
}

impl World {
    /// `count` containers, registered with no mode.
    #[track_caller]
    pub fn routed(attach: Attach, count: usize) -> Self {
        Self::routed_with(attach, count, |_, config| config)
    }

    /// As [`World::routed`]; `more` extends the configuration, and may make hosts for that.
    #[track_caller]
    pub fn routed_with(
        attach: Attach,
        count: usize,
        more: impl FnOnce(&Lab, Config) -> Config,
    ) -> Self {
        let lab = Lab::new();
        let outside = Outside::new(&lab);
        let cts: Vec<Host> = (1..=count).map(|i| lab.host(&format!("ct{i}"))).collect();
        let mut config = Config::new(&lab).uplink().host();
        if attach == Attach::Shared {
            lab.host("gw-venet");
            config = config.shared();
        }
        for (i, ct) in cts.iter().enumerate() {
            let port = match attach {
                Attach::Own => tap(ct.name(), "eth0"),
                Attach::Shared => "shared:venet0".to_owned(),
            };
            let addresses = Config::addresses(&[&format!("{}/32", address(i + 1))]);
            config = config.container(ct.name()).adapter("eth0", &port, &addresses);
        }
        let app = Appliance::start(&lab, &more(&lab, config), Some(&outside.lan));
        if attach == Attach::Shared {
            for (i, ct) in cts.iter().enumerate() {
                venet(&lab, &format!("add {} {} {}", ct.name(), ct.name(), address(i + 1)));
            }
            crate::paced::lengthen_queues(&lab.known("gw-venet"));
        }
        Self { app, outside, cts, server: lab.server(), attach, lab }
    }

    /// Container `number`, counted from 1.
    pub fn ct(&self, number: usize) -> &Host {
        &self.cts[number - 1]
    }

    /// The containers' interface.
    pub fn iface(&self) -> &'static str {
        match self.attach {
            Attach::Own => "eth0",
            Attach::Shared => "venet0",
        }
    }

    /// The MAC by which the LAN knows us.
    #[track_caller]
    pub fn uplink_mac(&self) -> String {
        mac_text(self.app.mac_on("up0"))
    }

    /// The outside host on the LAN.
    pub fn out(&self) -> &Host {
        &self.outside.out
    }

    /// How many routers of ours stand between a container and the rest: on the shared port the
    /// kernel that carries it counts as one.
    pub fn hops(&self) -> u8 {
        match self.attach {
            Attach::Own => 1,
            Attach::Shared => 2,
        }
    }

    /// Ends the appliance with its books checked.
    #[track_caller]
    pub fn end(mut self) {
        self.app.stop();
    }
}

/// Address of container `number`, counted from 1.
pub fn address(number: usize) -> String {
    format!("192.0.2.{}", 10 + number)
}

/// Registers container `number`, counted from 1, live, on a tap of its own; `keys` are more of the adapter's.
#[track_caller]
pub fn add_container(lab: &Lab, app: &Appliance, number: usize, keys: &str) -> Host {
    let name = format!("ct{number}");
    let host = lab.host(&name);
    app.must(&format!("guest add {name} container"));
    let port = tap(&name, "eth0");
    app.must(&format!("adapter add {name} eth0 port {port} ip {} {keys}", address(number)));
    host
}

/// Runs `configs/venet`.
#[track_caller]
pub fn venet(lab: &Lab, words: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/venet");
    lab.server().run(&format!("{} {words}", script.display()));
}
