//! Configuration files for the appliance under test, in the operator's own words.
//!
//! Addresses: the LAN is 192.0.2.0/24, the server 192.0.2.1, its router 192.0.2.254. Core 1 is the
//! worker's and core 0 control's, as the machines that run the tests have two.

use crate::lab::Lab;
use std::fmt::Write;

/// A configuration under construction; each method appends a section.
#[derive(Clone, Debug)]
pub struct Config {
    text: String,
    taps: usize,
}

impl Config {
    /// `[appliance]`, with socket and state in the lab's directory.
    pub fn new(lab: &Lab) -> Self {
        let workers = if two_workers() { "[0, 1]" } else { "[1]" };
        let memory = if crate::appliance::wants_hugepages() {
            r#""-m", "256""#
        } else {
            r#""--no-huge", "-m", "256""#
        };
        let dir = lab.dir().display();
        let prefix = format!("lab{}", std::process::id());
        let polling = if workers_sleep() { "polling = \"adaptive\"\n" } else { "" };
        let text = format!(
            r#"[appliance]
workers = {workers}
control_core = 0
{polling}mbufs = 16384
socket = "{dir}/api.sock"
state_dir = "{dir}/state"
eal = [{memory}, "--no-pci", "--no-shconf", "--file-prefix", "{prefix}"]
"#
        );
        Self { text, taps: 0 }
    }

    fn tap(&mut self, iface: &str) -> String {
        self.taps += 1;
        format!("net_tap{},iface={iface}", self.taps - 1)
    }

    /// Any text.
    pub fn text(mut self, text: &str) -> Self {
        self.text.push('\n');
        self.text.push_str(text);
        self.text.push('\n');
        self
    }

    /// The uplink `up0` with the server's public address; guests' addresses are not probed, so that
    /// they are up at once.
    pub fn uplink(self) -> Self {
        self.uplink_with("probe = false")
    }

    /// As [`Config::uplink`], with further keys.
    pub fn uplink_with(mut self, keys: &str) -> Self {
        let device = self.tap("up0");
        self.text(&format!(
            r#"[[uplink]]
name = "up0"
device = "{device}"
addresses = ["192.0.2.1/24"]
gateway = ["192.0.2.254"]
{keys}"#
        ))
    }

    /// The server's own port; the kernel's end is `gw-host`.
    pub fn host(mut self) -> Self {
        let device = self.tap("gw-host");
        self.text(&format!("[host]\ndevice = \"{device}\""))
    }

    /// The shared port `venet0`, whose kernel end lives in the namespace `gw-venet`.
    pub fn shared(mut self) -> Self {
        let device = self.tap("venet0");
        self.text(&format!(
            r#"[[port]]
name = "venet0"
device = "{device}"
netns = "gw-venet"
role = "shared""#
        ))
    }

    /// A network; `keys` say what it is attached to.
    pub fn network(self, name: &str, keys: &str) -> Self {
        self.text(&format!("[[network]]\nname = \"{name}\"\n{keys}"))
    }

    /// A container; the adapters that follow are its.
    pub fn container(self, name: &str) -> Self {
        self.text(&format!("[[guest]]\nname = \"{name}\"\nkind = \"container\""))
    }

    /// A virtual machine; the adapters that follow are its.
    pub fn vm(self, name: &str) -> Self {
        self.text(&format!("[[guest]]\nname = \"{name}\"\nkind = \"vm\""))
    }

    /// An adapter of the guest before it.
    pub fn adapter(self, name: &str, port: &str, keys: &str) -> Self {
        self.text(&format!("[[guest.adapter]]\nname = \"{name}\"\nport = \"{port}\"\n{keys}"))
    }

    /// Workers sleep while there is nothing to do.
    pub fn adaptive(self) -> Self {
        // They do already.
        if workers_sleep() {
            return self;
        }
        self.replace("control_core = 0", "control_core = 0\npolling = \"adaptive\"")
    }

    /// The file's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Replaces a piece of the text that must be there.
    #[track_caller]
    pub fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "{from:?} is not in the configuration");
        self.text = self.text.replace(from, to);
        self
    }

    /// `addresses = […]`.
    pub fn addresses(list: &[&str]) -> String {
        let mut text = String::from("addresses = [");
        for (i, address) in list.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(text, "{comma}\"{address}\"").expect("writing to a string");
        }
        text + "]"
    }
}

/// Whether this run is the one with two workers.
pub fn two_workers() -> bool {
    std::env::var("GUESTWAY_TEST_WORKERS").as_deref() == Ok("2")
}

/// Whether this run is the one whose workers sleep while there is nothing to do.
pub fn workers_sleep() -> bool {
    std::env::var("GUESTWAY_TEST_POLLING").as_deref() == Ok("adaptive")
}

/// The specification of a tap of its own for the guest in the namespace `netns`.
pub fn tap(netns: &str, guest_iface: &str) -> String {
    format!("tap,iface={netns}-{guest_iface},netns={netns},guest-iface={guest_iface}")
}

/// The specification of a vhost-user port that listens on `path`.
pub fn vhost_user(path: &std::path::Path) -> String {
    format!("vhost-user,path={}", path.display())
}
