//! The file: what it is read into, what is wrong with it and where, and how it goes with a state.

use super::*;
use crate::model::{AdapterWish, Mode, NetworkAttach};
use crate::registry::{Document, Identity, Origin, Registry};
use std::io::Write as _;

mod all;
mod errors;
mod limits;
mod save;
mod start;

/// The example of the outer contract, whole.
const CONTRACT: &str = r#"
[appliance]
workers = [1]                 # cores
control_core = 0
mbufs = 65536
socket = "/run/guestway/api.sock"
socket_group = "guestway"
metrics = "127.0.0.1:9650"    # TCP, read only; off when absent
page = "127.0.0.1:9651"       # likewise, on loopback only
state_dir = "/var/lib/guestway"
eal = ["--no-huge", "-m", "512"]

[[uplink]]
name = "up0"
device = "0000:3b:00.0"       # or a vdev: "net_tap0,iface=up0"
addresses = ["192.0.2.1/24"]  # the server's public address
gateway = ["192.0.2.254"]     # at most one per address family

[host]                        # the server itself
device = "net_tap1,iface=gw-host"

[[port]]                      # a port that carries many adapters
name = "venet0"
device = "net_tap2,iface=venet0"
netns = "gw-venet"
role = "shared"

[[network]]
name = "lan0"
uplink = "up0"                # without it: host-only
vlan = 100                    # without it: untagged
[network.server]              # the server's own side (optional)
port = "tap,iface=srv-lan0"
addresses = ["198.51.100.1/24"]

[[route]]
prefix = "203.0.113.64/26"
via = "203.0.113.11"

[[class]]
name = "local"
prefixes = ["192.0.2.0/24"]

[[guest]]
name = "ct1"
kind = "container"
[[guest.adapter]]
name = "eth0"
port = "tap,iface=ct1-eth0"
mode = "host-routed"          # or "virtual-network" with network = "lan0"
addresses = ["203.0.113.11/32"]
"#;

pub(super) fn file() -> &'static Path {
    Path::new("/etc/guestway.toml")
}

pub(super) fn good(text: &str) -> Config {
    parse(file(), text).unwrap_or_else(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// A registry as a first start makes it.
pub(super) fn started(config: &Config) -> Registry {
    plan_start(config, None, false).unwrap().registry
}

/// What a restart reads.
pub(super) fn stored(registry: &Registry) -> Document {
    serde_json::from_str(&serde_json::to_string(registry).unwrap()).unwrap()
}

#[test]
fn the_contracts_example_is_read_whole() {
    let config = good(CONTRACT);
    assert_eq!(config.appliance.metrics, Some("127.0.0.1:9650".parse().unwrap()));
    assert_eq!(config.appliance.page, Some("127.0.0.1:9651".parse().unwrap()));
    assert_eq!(config.appliance.eal, ["--no-huge", "-m", "512"]);
    let names: Vec<&str> = config.ports.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["up0", "host", "venet0"]);
    let registry = started(&config);
    assert_eq!(registry.guests().count(), 1);
    let lan0 = registry.network(&"lan0".parse().unwrap()).unwrap();
    let attach = NetworkAttach::Uplink { port: "up0".parse().unwrap(), vlan: Some(100) };
    assert_eq!(lan0.attach, attach);
    assert!(registry.server(&lan0.name).is_some());
    assert_eq!(registry.route_count(), 1);
    assert!(registry.ports().all(|port| port.origin == Origin::File));
}

#[test]
fn an_empty_file_has_the_contracts_defaults() {
    let config = good("");
    assert_eq!(config.appliance, Appliance::default());
    assert_eq!(config.appliance.mbufs, 65_536);
    assert_eq!(config.appliance.socket, Path::new("/run/guestway/api.sock"));
    assert_eq!(config.appliance.state_dir, Path::new("/var/lib/guestway"));
    assert_eq!((config.appliance.control_core, &config.appliance.workers[..]), (0, &[1][..]));
}

#[test]
fn the_ready_configurations_are_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "toml") {
            let config = load(&path).unwrap_or_else(|errors| panic!("{errors:#?}"));
            assert!(!config.ports.is_empty(), "{}", path.display());
            assert!(started(&config).adapter_count() > 0, "{}", path.display());
            seen.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["bare-metal.toml", "lab.toml", "vlans.toml"] {
        assert!(seen.iter().any(|file| file == name), "{name} is not among {seen:?}");
    }
}

#[test]
fn the_configuration_that_the_service_begins_with_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/systemd/guestway.toml");
    let config = load(&file).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(config.appliance.socket, Appliance::default().socket);
    assert_eq!(config.appliance.state_dir, Appliance::default().state_dir);
}

#[test]
fn what_runs_is_rendered_as_a_file_that_reads_back_the_same() {
    let text = format!(
        "{CONTRACT}
[[guest.adapter]]
name = \"eth1\"
port = \"tap,iface=ct1-eth1,netns=ct1\"
mode = \"virtual-network\"
network = \"lan0\"
addresses = [\"198.51.100.5/24\", \"2001:db8::5/64\"]
mac = \"02:00:5e:10:00:01\"
host_mac = \"02:00:5e:10:00:02\"
gateway = [\"198.51.100.1\"]
mtu = 1400
filter = [\"ip\", \"bpdu\"]
announce = false
probe = false

[[network]]
name = \"default\"
unknown_unicast = \"flood\"
age_s = 60

[[mac]]
network = \"lan0\"
mac = \"02:00:5e:10:00:03\"
guest = \"ct1\"
adapter = \"eth1\"

[[neighbor]]
ip = \"192.0.2.77\"
mac = \"02:00:5e:10:00:04\"
dev = \"up0\"
"
    );
    let config = good(&text);
    let registry = started(&config);
    let rendered = render(&config.appliance, &registry);
    let again = good(&rendered);
    assert_eq!(again.appliance, config.appliance);
    let found = diff(&again, &registry).unwrap();
    assert_eq!(found, Diff::default(), "{rendered}");
    let all = ["mac = \"02:00:5e:10:00:01\"", "filter = [\"ip\", \"bpdu\"]", "announce = false"];
    assert!(all.iter().all(|line| rendered.contains(line)), "{rendered}");
    assert!(!rendered.contains("mtu = 1500"), "defaults are left out:\n{rendered}");
}

#[test]
fn a_virtual_network_adapter_is_read_with_its_mode() {
    let config = good(
        "[[guest]]\nname = \"vm1\"\nkind = \"vm\"\n[[guest.adapter]]\nname = \"net0\"\n\
         port = \"tap,iface=vm1\"\n",
    );
    let registry = started(&config);
    let adapter = registry.adapters().next().unwrap();
    assert_eq!(adapter.mode, Mode::VirtualNetwork);
    assert_eq!(adapter.network.as_ref().unwrap().as_str(), "default");
}

#[test]
fn eal_arguments_are_good_where_the_start_takes_them() {
    let faults =
        |args: &[&str]| eal_faults(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
    let ours = ["--lco=0@0", "-vl0", "-s1", "--proc-type=secondary", "-l", "-c0xf", "--main-lcore"];
    assert_eq!(faults(&ours).len(), ours.len(), "each is told of");
    let theirs =
        ["--no-huge", "-m", "512", "--log-level=8", "--vdev=net_null0", "--legacy-mem", "-n"];
    assert_eq!(faults(&theirs), [""; 0]);
}
