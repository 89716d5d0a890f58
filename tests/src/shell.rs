//! Commands of a machine with Linux's own stack, be it a network namespace or a virtual machine: those
//! that a test's author would type there, and what is read from their answers.

use std::process::Output;
use std::time::Duration;

/// Where a command line can be run.
pub trait Shell {
    /// The machine's name, for messages.
    fn name(&self) -> &str;

    /// Runs a line there and takes whatever comes.
    fn output(&self, line: &str) -> Output;
}

// Not provided methods of the trait: a call through a vtable forgets its caller, and a failed test should
// name its own line.
impl dyn Shell + '_ {
    /// Runs a line that must succeed; its standard output.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        let output = self.output(line);
        assert!(
            output.status.success(),
            "{}: {line}: {}\n{}{}",
            self.name(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether a line exits 0.
    pub fn succeeds(&self, line: &str) -> bool {
        self.output(line).status.success()
    }

    /// Sets `key=value`.
    #[track_caller]
    pub fn sysctl(&self, setting: &str) {
        self.run(&format!("sysctl -qw {setting}"));
    }

    /// Sets `key=value` where the kernel has the key.
    pub fn try_sysctl(&self, setting: &str) {
        self.succeeds(&format!("sysctl -qw {setting}"));
    }

    /// Gives an interface an address and sets it up.
    pub fn address(&self, iface: &str, prefix: &str) {
        self.run(&format!("ip addr replace {prefix} dev {iface}"));
        self.run(&format!("ip link set {iface} up"));
    }

    /// An interface's MAC.
    #[track_caller]
    pub fn mac(&self, iface: &str) -> String {
        let text = self.run(&format!("ip -o link show dev {iface}"));
        let mut words = text.split_whitespace().skip_while(|w| *w != "link/ether");
        words.nth(1).unwrap_or_else(|| panic!("{}: {iface} has no MAC", self.name())).to_owned()
    }

    /// Whether the interface exists.
    pub fn has_iface(&self, iface: &str) -> bool {
        self.succeeds(&format!("ip link show dev {iface}"))
    }

    /// The MAC that this host's kernel has resolved for `ip`.
    pub fn neighbor(&self, ip: &str) -> Option<String> {
        let text = self.run(&format!("ip neigh show {ip}"));
        let mut words = text.split_whitespace().skip_while(|w| *w != "lladdr");
        words.nth(1).map(str::to_owned)
    }

    /// Forgets every resolved neighbor.
    pub fn forget_neighbors(&self) {
        self.run("ip neigh flush all");
    }

    /// One echo request, answered within 300 ms?
    pub fn ping(&self, to: &str) -> bool {
        self.succeeds(&format!("ping -n -q -c 1 -W 0.3 {to}"))
    }

    /// The path to `to` comes to work within `limit`, and then ten more requests in a row are all
    /// answered. One by one, because `ping -c 10` gives the last ones two round trips of time only,
    /// too little for a worker whose core somebody else wants.
    #[track_caller]
    pub fn reaches_within(&self, limit: Duration, to: &str) {
        assert!(crate::within(limit, || self.ping(to)), "{} can't reach {to}", self.name());
        for number in 1..=10 {
            let answered = self.succeeds(&format!("ping -n -q -c 1 -W 3 {to}"));
            assert!(answered, "{} to {to}: request {number} of 10 is not answered", self.name());
        }
    }

    /// As [`Self::reaches_within`] five seconds.
    #[track_caller]
    pub fn reaches(&self, to: &str) {
        self.reaches_within(Duration::from_secs(5), to);
    }

    /// Three echo requests to `to` all stay without an answer.
    #[track_caller]
    pub fn never_reaches(&self, to: &str) {
        let answered = self.succeeds(&format!("ping -n -q -i 0.2 -c 3 -W 1 {to}"));
        assert!(!answered, "{} reaches {to}, which it must not", self.name());
    }

    /// The MACs that answer an ARP request for `ip`, as `arping` sees them within a second.
    pub fn arping(&self, iface: &str, ip: &str) -> Vec<String> {
        let text = self.output(&format!("arping -c 1 -w 1 -I {iface} {ip}"));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        let bracketed = |line: &str| {
            let (_, rest) = line.split_once('[')?;
            Some(rest.split_once(']')?.0.to_lowercase())
        };
        text.lines().filter(|l| l.starts_with("Unicast reply")).filter_map(bracketed).collect()
    }
}
