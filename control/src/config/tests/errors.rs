//! Every error in one run, each with its line and key and what would be right.

use super::*;

fn errors(text: &str) -> Vec<String> {
    match parse(file(), text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// Each expected error is a line, a key and a part of its message; there are no others.
pub(super) fn expect(text: &str, expected: &[(usize, &str, &str)]) {
    let found = errors(text);
    for (line, key, says) in expected {
        let head = if key.is_empty() {
            format!("/etc/guestway.toml:{line}: ")
        } else {
            format!("/etc/guestway.toml:{line}: {key}: ")
        };
        let hit = found.iter().any(|error| error.starts_with(&head) && error.contains(says));
        assert!(hit, "no error {head}…{says}… in\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), expected.len(), "{}", found.join("\n"));
}

#[test]
fn every_error_is_found_in_one_run_with_line_and_key() {
    let text = r#"[appliance]
workers = [0, 200]
mbufs = "many"
sokcet = "/run/x.sock"
metrics = "localhost"
eal = ["-l", "1"]

[[uplink]]
name = "up0"
device = "0000:3b:00.9"
addresses = ["192.0.2.1/24"]

[[network]]
name = "Lan0"

[[network]]
name = "lan1"
vlan = 5

[[guest]]
name = "ct1"
kind = "conteiner"

[[guest]]
name = "ct2"
kind = "container"
[[guest.adapter]]
name = "eth0"
port = "tap,iface=ct2"
adresses = ["203.0.113.300"]
mtu = 65536
filter = ["ip", "mack"]
[[guest.adapter]]
name = "eth1"
mode = "bridged"

[[route]]
prefix = "10.0.0.0/8"

[[gest]]
name = "ct3"
"#;
    expect(
        text,
        &[
            (2, "appliance.workers", "200 is not a whole number from 0 to 127"),
            (3, "appliance.mbufs", "\"many\" is not a whole number from 1024"),
            (4, "appliance.sokcet", "unknown key; did you mean socket?"),
            (5, "appliance.metrics", "\"localhost\" is not an address and port"),
            (6, "appliance.eal", "\"-l\" is refused: cores are given by"),
            (10, "uplink[up0].device", "is no PCI address"),
            (14, "network[Lan0].name", "bad name \"Lan0\""),
            (18, "network[lan1].vlan", "give uplink"),
            (22, "guest[ct1].kind", "one of container, vm"),
            (30, "guest[ct2].adapter[eth0].adresses", "did you mean addresses?"),
            (31, "guest[ct2].adapter[eth0].mtu", "65536 is not"),
            (32, "guest[ct2].adapter[eth0].filter", "\"mack\" is unknown"),
            (33, "guest[ct2].adapter[eth1]", "port is missing"),
            (35, "guest[ct2].adapter[eth1].mode", "host-routed, virtual-network"),
            (37, "route[10.0.0.0/8]", "via is missing"),
            (40, "gest", "did you mean guest?"),
        ],
    );
}

#[test]
fn what_the_registry_refuses_is_found_with_the_lines_of_both() {
    let text = r#"
[[uplink]]
name = "up0"
device = "net_tap0,iface=up0"
addresses = ["192.0.2.1/24"]
gateway = ["198.51.100.1"]

[[uplink]]
name = "up1"
device = "net_tap0,iface=up1"

[[port]]
name = "venet0"
device = "net_tap2,iface=venet0"
role = "shared"

[[guest]]
name = "ct1"
kind = "container"
[[guest.adapter]]
name = "eth0"
port = "tap,iface=ct1-eth0"
addresses = ["203.0.113.11/32"]
mac = "02:00:5e:10:00:01"

[[guest]]
name = "ct1"
kind = "vm"

[[guest]]
name = "ct2"
kind = "container"
[[guest.adapter]]
name = "eth0"
port = "tap,iface=ct1-eth0"
[[guest.adapter]]
name = "eth1"
port = "tap,iface=ct2-eth1"
addresses = ["203.0.113.8/29", "203.0.113.12/24", "192.0.2.1"]
mac = "02:00:5e:10:00:01"
mtu = 100
[[guest.adapter]]
name = "eth2"
port = "tap,iface=ct2-eth2"
mode = "virtual-network"
network = "nowhere"
[[guest.adapter]]
name = "eth3"
port = "shared:venet1"
rate = { in = 1000000 }
class_rate = { local = { in = 1000000 } }

[[route]]
prefix = "10.0.0.1/8"
via = "203.0.113.11"
"#;
    expect(
        text,
        &[
            (6, "uplink[up0].gateway", "198.51.100.1 is in no prefix of uplink up0"),
            (10, "uplink[up1].device", "device net_tap0 is taken by port up0"),
            (
                27,
                "guest[ct1].name",
                "guest ct1 exists already; names are unique on a host (line 18)",
            ),
            (
                35,
                "guest[ct2].adapter[eth0].port",
                "taken by guest ct1's adapter eth0; only shared:PORT can be named twice (line 22)",
            ),
            (
                39,
                "guest[ct2].adapter[eth1].addresses",
                "203.0.113.8/29 overlaps 203.0.113.11, which is taken by guest ct1's adapter eth0 (line 23)",
            ),
            (39, "guest[ct2].adapter[eth1].addresses", "203.0.113.12/24 has host bits set"),
            (39, "guest[ct2].adapter[eth1].addresses", "192.0.2.1 is taken by port up0 (line 5)"),
            (
                40,
                "guest[ct2].adapter[eth1].mac",
                "taken by guest ct1's adapter eth0; leave it out to have one generated (line 24)",
            ),
            (41, "guest[ct2].adapter[eth1].mtu", "100 is not a whole number from 576 to 9216"),
            (46, "guest[ct2].adapter[eth2].network", "there is no network nowhere"),
            (49, "guest[ct2].adapter[eth3].port", "there is no port venet1"),
            (51, "guest[ct2].adapter[eth3].class_rate", "there is no class local"),
            (
                54,
                "route[10.0.0.1/8].prefix",
                "10.0.0.1/8 has host bits set; the prefix is 10.0.0.0/8",
            ),
        ],
    );
}

#[test]
fn one_cause_is_reported_once() {
    // The network, the shared port and the guest are wrong; what stands on them is not blamed.
    let text = r#"
[[port]]
name = "venet0"
device = "net_tap2,iface=a-name-that-is-too-long"
role = "shared"
[[network]]
name = "lan0"
uplink = "nowhere"
[[guest]]
name = "ct1"
kind = "container"
[[guest.adapter]]
name = "eth0"
port = "shared:venet0"
addresses = ["203.0.113.11"]
[[guest.adapter]]
name = "eth1"
port = "tap,iface=ct1-eth1"
mode = "virtual-network"
network = "lan0"
[[route]]
prefix = "10.0.0.0/8"
via = "203.0.113.11"
[[mac]]
network = "lan0"
mac = "02:00:5e:10:00:01"
guest = "ct1"
adapter = "eth1"
"#;
    expect(
        text,
        &[
            (4, "port[venet0].device", "interface name"),
            (8, "network[lan0].uplink", "there is no port nowhere"),
        ],
    );
}

#[test]
fn a_syntax_error_does_not_hide_what_follows() {
    let text = r#"[appliance]
workers = [1
mbufs = 65536

[[guest]]
name = "ct1
kind = "container"

[[guest]]
name = "ct2"
kind = "robot"
[[guest.adapter]]
name = "eth0"
port =
mtu = 1
[[guest.adapter]]
name = eth1
port = "tap,iface=x y"
mode = "virtual-network"
mode = "host-routed"
[host
device = "net_tap1,iface=h"
[[network]]
name = "lan0"
uplink = "up7"
"#;
    expect(
        text,
        &[
            (3, "", "not TOML: missing comma"),
            (6, "", "not TOML: invalid basic string"),
            (11, "guest[ct2].kind", "\"robot\" is unknown"),
            (14, "", "not TOML"),
            (15, "guest[ct2].adapter[eth0].mtu", "1 is not a whole number from 576"),
            (17, "", "not TOML: string values must be quoted"),
            (20, "", "not TOML: duplicate key"),
            (21, "", "not TOML: unclosed table"),
        ],
    );
    expect("a = 1\na = 2\n", &[(1, "a", "unknown key"), (2, "", "duplicate key")]);
    let twice = "[host]\ndevice = \"net_tap1,iface=h\"\n[host]\nmtu = 1400\n";
    expect(twice, &[(3, "", "duplicate key")]);
}

#[test]
fn the_page_is_for_this_host_alone() {
    for (address, says) in [
        ("0.0.0.0:9651", "0.0.0.0:9651 is no loopback address"),
        (
            "192.0.2.1:9651",
            "192.0.2.1:9651 is no loopback address; the page is for this host alone",
        ),
        ("[::]:9651", "[::]:9651 is no loopback address"),
        ("[::ffff:127.0.0.1]:9651", "is no loopback address"),
        ("localhost:9651", "\"localhost:9651\" is not an address and port"),
        ("127.0.0.1", "\"127.0.0.1\" is not an address and port"),
        ("127.0.0.1:99999", "\"127.0.0.1:99999\" is not an address and port"),
    ] {
        let text = format!("[appliance]\npage = \"{address}\"\n");
        expect(&text, &[(2, "appliance.page", says)]);
    }
    for address in ["127.0.0.1:9651", "127.1.2.3:80", "[::1]:9651"] {
        let text = format!("[appliance]\npage = \"{address}\"\n");
        assert_eq!(good(&text).appliance.page, Some(address.parse().unwrap()));
    }
    assert_eq!(good("[appliance]\n").appliance.page, None);
}

#[test]
fn wrong_types_are_named_with_what_was_written() {
    let text = r#"
guest = "ct1"
network = [1, 2]
[appliance]
workers = 1
control_core = 0.5
state_dir = true
socket = "relative.sock"
[host]
device = ["x"]
[[class]]
name = "local"
prefixes = [1, "10.0.0.1/8"]
"#;
    expect(
        text,
        &[
            (2, "guest", "\"ct1\" is not an array of tables: [[guest]]"),
            (3, "network", "1 is not an array of tables"),
            (3, "network", "2 is not an array of tables"),
            (5, "appliance.workers", "1 is not a list of whole numbers"),
            (6, "appliance.control_core", "0.5 is not a whole number from 0 to 127"),
            (7, "appliance.state_dir", "true is not a string in quotes"),
            (8, "appliance.socket", "not an absolute path"),
            (10, "host.device", "a list is not a string in quotes"),
            (13, "class[local].prefixes", "1 is not a string in quotes"),
            (13, "class[local].prefixes", "10.0.0.1/8 has host bits set"),
        ],
    );
}

#[test]
fn later_features_and_unknown_forms_are_refused_clearly() {
    let text = r#"
[[guest]]
name = "vm1"
kind = "vm"
[[guest.adapter]]
name = "a"
port = "vhost-user,path=vm1.sock"
[[guest.adapter]]
name = "b"
port = "virtio-user,path=/run/vm1/"
[[guest.adapter]]
name = "c"
port = "tap,iface=vm1-c"
[[guest.adapter]]
name = "d"
port = "tap,iface=vm1-d"
rate = { up = 5 }
[[guest.adapter]]
name = "e"
port = "tap,iface=vm1-e"
mode = "host-routed"
addresses = ["2001:db8::1"]
"#;
    expect(
        text,
        &[
            (7, "guest[vm1].adapter[a].port", "an absolute path"),
            (10, "guest[vm1].adapter[b].port", "an absolute path"),
            (17, "guest[vm1].adapter[d].rate.up", "unknown key; the keys here are in, out"),
            (22, "guest[vm1].adapter[e].addresses", "routing of IPv6 is not in this version"),
        ],
    );
}

#[test]
fn unreadable_files_are_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &Path| match load(path) {
        Ok(_) => panic!("{} was read", path.display()),
        Err(errors) => {
            assert_eq!(errors.len(), 1);
            errors[0].to_string()
        }
    };
    assert!(said(&dir.path().join("none.toml")).contains("can't be read: No such file"));
    assert!(said(dir.path()).ends_with("is a directory; a configuration is a file"));
    let path = dir.path().join("latin1.toml");
    std::fs::write(&path, b"[appliance]\n# caf\xe9\n").unwrap();
    assert!(said(&path).ends_with(":2: is not UTF-8 text from this line on"));
    assert!(said(Path::new("/dev/zero")).contains("is larger than 16 MiB"));
    let path = dir.path().join("deep.toml");
    let mut deep = std::fs::File::create(&path).unwrap();
    deep.write_all(b"a = ").and_then(|()| deep.write_all(&[b'['; 100_000])).unwrap();
    assert!(load(&path).is_err());
}

#[test]
fn no_text_makes_the_reader_fail_otherwise_than_by_errors() {
    // Every cut of a valid file, and every line of it left out or doubled.
    let lines: Vec<&str> = CONTRACT.lines().collect();
    for at in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(at);
        let _ = parse(file(), &fewer.join("\n"));
        let mut more = lines.clone();
        more.insert(at, lines[at]);
        let _ = parse(file(), &more.join("\n"));
    }
    for (at, _) in CONTRACT.char_indices() {
        let _ = parse(file(), &CONTRACT[..at]);
    }
}
