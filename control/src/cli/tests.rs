//! Commands against a real server over a real socket, with a backend that only tests have.

use super::client::Client;
use super::complete::{Candidates, candidates};
use super::session::{Flow, Session, Stop};
use super::terminal::Process;
use super::words::split;
use crate::api::backend::{Action, Request};
use crate::api::fake::Lab;
#[cfg(feature = "dpdk")]
use crate::api::view;
use crate::model::{Change, MacTarget, NetworkAttach};
use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;

/// What a command prints.
fn run(lab: &Lab, line: &str) -> Result<String, String> {
    let client = Client::new(&lab.socket).unwrap();
    let mut out = Vec::new();
    let mut session = Session::new(&client, false, &mut out);
    match session.execute(&split(line).unwrap()) {
        Ok(_) => Ok(String::from_utf8(out).unwrap()),
        Err(Stop::Wrong(message)) => Err(message),
        Err(other) => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_show_prints_what_it_is_asked() {
    let lab = Lab::start();
    for (line, wants) in [
        ("show version", &["guestway 0.1.0", "22.11.11", "forwarding on"][..]),
        ("show guest all", &["GUEST", "ct1", "host-routed", "203.0.113.11/32 (probing)"]),
        ("show guest ct1", &["guest side", "server side", "169.254.1.1", "spoofed-ip|dropped"]),
        ("show guest ct1", &["rate:            in 10 Mbit/s, out 2.5 Mbit/s", "storm:  "]),
        ("show guest ct1", &["class local:   out 1 kbit/s", "100 frames/s"]),
        ("show network", &["lan0", "up0, VLAN 100", "tap,iface=srv-lan0"]),
        ("show network lan0", &["vm1/eth0", "198.51.100.1/24", "300 s", "3 static, 1 learned"]),
        ("show port info all", &["up0", "uplink", "net_tap0,iface=up0", "0@1"]),
        ("show port info up0", &["10000 Mbit/s", "192.0.2.1/24", "promiscuous:"]),
        ("show port stats all", &["RX-packets: 100", "TX-bytes:   5800", "dropped no-route: 7"]),
        ("show port stats up0", &["RX-packets: 100"]),
        ("show port xstats up0", &["rx_good_packets: 1234567"]),
        ("show port xstats all", &["port up0"]),
        ("show route", &["203.0.113.11/32 adapter ct1/eth0", "203.0.113.64/26 via 203.0.113.11"]),
        ("show route 203.0.113.9", &["203.0.113.9: forward", "192.0.2.254", "reachable"]),
        ("show neighbor", &["192.0.2.254", "02:00:00:00:00:fe", "up0", "reachable"]),
        ("show arp", &["192.0.2.254"]),
        ("show mac lan0", &["02:00:00:00:00:01", "ct1/eth0", "registered"]),
        ("show worker", &["up0 q0", "12.5%", "1500", "CYCLES/packet", "2-3", "310"]),
        ("show capture", &["running", "up0", "icmp", "2048"]),
        ("show latency", &["P99.99 ns", "routed", "5000"]),
        ("show latency seconds 2", &["6000"]),
        ("show drops", &["dropped: 7", "spoofed-ip", "ct1/eth0"]),
        ("show drops ct1", &["spoofed-ip 7"]),
        ("show config", &["[appliance]"]),
        ("show config --diff", &["+ only in /etc/guestway.toml", "- guest ct1"]),
        ("show class", &["near", "192.0.2.0/24"]),
        ("show class near", &["192.0.2.0/24"]),
        ("show accounting", &["ct1/eth0", "near", "120"]),
        ("show accounting ct1", &["OUT bytes"]),
        ("show events", &["2025-11-24T16:00:00.123Z link: port up0: link up"]),
        ("help mac", &["mac add NET MAC TARGET"]),
    ] {
        let printed = run(&lab, line).unwrap_or_else(|error| panic!("{line}: {error}"));
        for want in wants {
            let is_there = want.split('|').any(|one| printed.contains(one));
            assert!(is_there, "{line} lacks {want:?}:\n{printed}");
        }
        if !line.starts_with("help") {
            let json: Value = serde_json::from_str(&run(&lab, &format!("{line} --json")).unwrap())
                .unwrap_or_else(|error| panic!("{line} --json: {error}"));
            assert!(json.is_object() || json.is_array(), "{line}");
        }
    }
    let all: Value = serde_json::from_str(&run(&lab, "--json show route").unwrap()).unwrap();
    assert_eq!(all["routes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_second_look_at_counters_shows_a_rate() {
    let lab = Lab::start();
    let client = Client::new(&lab.socket).unwrap();
    let mut out = Vec::new();
    let mut session = Session::new(&client, false, &mut out);
    let words = split("show port stats up0").unwrap();
    session.execute(&words).unwrap();
    session.execute(&words).unwrap();
    let printed = String::from_utf8(out).unwrap();
    assert_eq!(printed.matches("Rx-pps: 0").count(), 1, "{printed}");
}

#[test]
fn changes_and_actions_reach_the_backend() {
    let lab = Lab::start();
    assert_eq!(run(&lab, "guest add ct2 container").unwrap(), "");
    assert_eq!(lab.fake.take_changes().len(), 1);
    run(&lab, "start").unwrap();
    assert_eq!(lab.fake.take(), [Request::Act(Action::Start)]);
    run(&lab, "port stop all").unwrap();
    let changes = lab.fake.take_changes();
    assert!(matches!(changes.as_slice(), [Change::PortSet { .. }]), "{changes:?}");
}

#[test]
fn the_target_of_a_static_mac_is_what_bears_its_name() {
    let lab = Lab::start();
    let target = |text: &str| {
        let done = run(&lab, &format!("mac add lan0 02:00:00:00:00:09 {text}"));
        done.map(|_| match lab.fake.take_changes().as_slice() {
            [Change::MacAdd { to, .. }] => to.clone(),
            other => panic!("{other:?}"),
        })
    };
    let adapter =
        MacTarget::Adapter { guest: "ct1".parse().unwrap(), adapter: "eth0".parse().unwrap() };
    assert_eq!(target("ct1/eth0"), Ok(adapter.clone()));
    assert_eq!(target("eth0"), Ok(adapter));
    assert_eq!(target("up0"), Ok(MacTarget::Port("up0".parse().unwrap())));
    assert_eq!(target("server"), Ok(MacTarget::Port("server".parse().unwrap())));
    assert!(target("eth9").unwrap_err().contains("no port and no adapter eth9"));
    assert!(target("UP").unwrap_err().contains("bad name"));
}

#[test]
fn refusals_are_one_line_and_suggest_the_nearest_name() {
    let lab = Lab::start();
    let error = run(&lab, "guest add twice vm").unwrap_err();
    assert_eq!(error, "guest twice is there already");
    let error = run(&lab, "show guest ct2").unwrap_err();
    assert!(error.contains("no ct2 here") && error.contains("did you mean \"ct1\""), "{error}");
    let error = run(&lab, "show mac lam0").unwrap_err();
    assert!(error.contains("did you mean \"lan0\""), "{error}");
    let error = run(&lab, "show port stats up9").unwrap_err();
    assert!(error.contains("did you mean \"up0\""), "{error}");
    let error = run(&lab, "route del 10.0.0.0/8").unwrap_err();
    assert_eq!(error, "no such route");
}

#[test]
fn routes_of_a_file_are_added_and_every_bad_line_is_named() {
    let lab = Lab::start();
    let load = |text: &str| {
        let file = lab.file("routes", text);
        run(&lab, &format!("route load {}", file.display()))
    };
    let many: String = (0..25_000u32)
        .map(|n| format!("10.{}.{}.0/24 via 192.0.2.254\n", n >> 8, n & 255))
        .collect();
    assert_eq!(load(&many).unwrap(), "25000 routes added\n");
    let asked = lab.fake.take();
    let sizes: Vec<usize> = asked
        .iter()
        .map(|request| match request {
            Request::Change(changes) => changes.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [10_000, 10_000, 5000]);

    let error = load("10.0.0.0/8 via 1.2.3.4\nrubbish\n10.0.0.1/8 via 1.2.3.4\n").unwrap_err();
    assert!(error.contains("nothing added: line 2: ") && error.contains("; line 3: "), "{error}");
    assert!(lab.fake.take().is_empty());

    let error =
        load("10.0.0.0/8 dev up0\n198.51.100.66 dev up0\n10.0.0.0/9 dev up0\n").unwrap_err();
    assert!(error.contains("2 of 3 routes added: line 2: route 198.51.100.66/32"), "{error}");
    let error = run(&lab, "route load /no/such/file").unwrap_err();
    assert!(error.contains("/no/such/file: No such file"), "{error}");
    assert_eq!(load("# nothing\n").unwrap(), "0 routes added\n");
}

#[test]
fn a_file_of_commands_stops_at_the_first_that_fails() {
    let lab = Lab::start();
    let source = |name: &str, text: &str| {
        let file = lab.file(name, text);
        run(&lab, &format!("source {}", file.display()))
    };
    let good = "# two guests\nguest add a vm\n\n  guest add b container # the second\n";
    source("good", good).unwrap();
    assert_eq!(lab.fake.take_changes().len(), 2);
    let error = source("bad", "guest add a vm\nguest add b bird\nguest add c vm\n").unwrap_err();
    assert!(error.contains("bad:2: unexpected \"bird\""), "{error}");
    assert_eq!(lab.fake.take_changes().len(), 1);
    source("quits", "quit\nguest add c vm\n").unwrap();
    assert!(lab.fake.take_changes().is_empty());
    let own = lab.dir.path().join("loop");
    let error = source("loop", &format!("source {}\n", own.display())).unwrap_err();
    assert!(error.contains("source each other"), "{error}");
}

#[test]
fn completion_offers_words_and_names_that_are_there() {
    let lab = Lab::start();
    let client = Client::new(&lab.socket).unwrap();
    let words = |line: &str| match candidates(&client, line) {
        Candidates::Words(_, words) => words,
        Candidates::Files => vec!["FILES".into()],
    };
    assert_eq!(words("gu"), ["guest"]);
    assert_eq!(words("guest "), ["add", "del"]);
    assert_eq!(words("guest del "), ["ct1"]);
    assert!(words("guest add ").is_empty(), "a new guest has no name yet");
    assert_eq!(words("guest add new "), ["container", "vm"]);
    assert_eq!(words("adapter del ct1 "), ["eth0"]);
    assert!(words("adapter del other ").is_empty());
    assert!(words("adapter add ct1 ").is_empty());
    assert_eq!(words("adapter set ct1 eth0 mode "), ["host-routed", "virtual-network"]);
    let keys = words("adapter set ct1 eth0 mtu 1400 ");
    assert!(keys.contains(&"mode".into()) && !keys.contains(&"mtu".into()), "{keys:?}");
    assert_eq!(words("adapter set ct1 eth0 rate "), ["in", "out"]);
    assert_eq!(words("adapter set ct1 eth0 class-rate "), ["near"]);
    assert_eq!(words("adapter set ct1 eth0 class-rate local "), ["in", "out"]);
    assert_eq!(words("adapter set ct1 eth0 class-rate local in "), ["none"]);
    let again = words("adapter set ct1 eth0 rate in 1M ");
    assert!(again.contains(&"rate".into()) && again.contains(&"class-rate".into()), "{again:?}");
    assert_eq!(words("show port stats "), ["all", "up0"]);
    assert_eq!(words("network set lan0 uplink "), ["up0"]);
    assert_eq!(words("show mac l"), ["lan0"]);
    assert_eq!(words("mac add lan0 02:00:00:00:00:09 "), ["ct1/eth0", "server", "up0"]);
    assert_eq!(words("source "), ["FILES"]);
    assert!(words("nonsense ").is_empty());
    assert!(words("start ").is_empty());
    assert_eq!(candidates(&client, "show gu"), Candidates::Words(5, vec!["guest".into()]));

    let nobody = Client::new(&lab.dir.path().join("none")).unwrap();
    assert_eq!(candidates(&nobody, "guest del "), Candidates::Words(10, vec![]));
}

#[test]
fn nobody_listening_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let client = Client::new(&path).unwrap();
    let error = client.get("/v1/version").unwrap_err().to_string();
    assert!(error.contains("no guestway answers on") && error.contains("guestway run"), "{error}");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = client.get("/v1/version").unwrap_err().to_string();
    assert!(error.contains("no guestway answers on"), "{error}");
    let words = ["show".to_owned(), "version".to_owned()];
    assert_eq!(super::run_ctl(&path, false, &words), ExitCode::FAILURE);
}

#[test]
fn output_that_nobody_reads_is_no_fault() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lab = Lab::start();
    let client = Client::new(&lab.socket).unwrap();
    let mut out = Closed;
    let mut session = Session::new(&client, false, &mut out);
    let stopped = session.execute(&split("show version").unwrap());
    assert!(matches!(stopped, Err(Stop::OutputClosed)));
}

#[test]
fn one_word_holds_a_whole_command_and_quit_ends() {
    let lab = Lab::start();
    let client = Client::new(&lab.socket).unwrap();
    let mut out = Vec::new();
    let mut session = Session::new(&client, false, &mut out);
    assert_eq!(session.execute(&[]).unwrap(), Flow::Continue);
    assert_eq!(session.execute(&split("quit").unwrap()).unwrap(), Flow::Quit);
    assert_eq!(super::run_ctl(&lab.socket, true, &["show version".to_owned()]), ExitCode::SUCCESS);
}

#[test]
fn a_blank_of_several_bytes_ends_a_word_at_the_prompt_too() {
    let lab = Lab::start();
    let client = Client::new(&lab.socket).unwrap();
    let line = "show\u{a0}vers";
    let found = candidates(&client, line);
    assert_eq!(found, Candidates::Words(line.len() - 4, vec!["version".to_owned()]));
    assert!(matches!(candidates(&client, "guest\u{3000}"), Candidates::Words(8, _)));
}

#[test]
fn a_vlan_alone_is_set_on_the_uplink_that_the_network_has() {
    let lab = Lab::start();
    run(&lab, "network set lan0 vlan 5 learning off").unwrap();
    let changes = lab.fake.take_changes();
    let [Change::NetworkSet { set, .. }] = &changes[..] else { panic!("{changes:?}") };
    let attach = NetworkAttach::Uplink { port: "up0".parse().unwrap(), vlan: Some(5) };
    assert_eq!((&set.attach, set.learning), (&Some(attach), Some(false)));
    let refused = run(&lab, "network set inner vlan 5").unwrap_err();
    assert!(refused.contains("host-only and has no VLAN") && !refused.contains('\n'), "{refused}");
    assert!(run(&lab, "network set lan9 vlan 5").unwrap_err().contains("no lan9"));
}

#[test]
fn a_capture_is_written_to_a_file_of_its_own() {
    let lab = Lab::start();
    let file = lab.dir.path().join("c.pcapng");
    let line = format!("capture up0 file {} packets 5 seconds 9", file.display());
    let said = run(&lab, &line).unwrap();
    assert!(said.contains("2 packets captured, 3 dropped"), "{said}");
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a], "a section header first");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    // What is there is not touched.
    let refused = run(&lab, &line).unwrap_err();
    assert!(refused.contains("is there already"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    // What was refused leaves no file.
    let none = lab.dir.path().join("none.pcapng");
    let refused = run(&lab, &format!("capture up9 file {}", none.display())).unwrap_err();
    assert!(refused.contains("up9") && !none.exists(), "{refused}");
    assert!(run(&lab, "capture up0 file /nowhere/c").unwrap_err().contains("cannot make"));
    let full = run(&lab, "capture up0 file /dev/full").unwrap_err();
    assert!(full.contains("is there already"), "{full}");
}

#[test]
fn at_the_prompt_a_capture_ends_by_itself() {
    let lab = Lab::start();
    let client = Client::new(&lab.socket).unwrap();
    let mut out = Vec::new();
    let mut session = Session::at_prompt(&client, false, &mut out, Process::Client);
    let words = split("capture up0 file - packets 5").unwrap();
    assert!(matches!(session.execute(&words), Err(Stop::Wrong(way)) if way.contains("seconds S")));
    assert!(session.execute(&split("capture up0 file - packets 5 seconds 5").unwrap()).is_ok());
    assert_eq!(out[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
}

#[cfg(feature = "dpdk")]
#[test]
fn a_filter_is_compiled_before_it_is_sent() {
    let lab = Lab::start();
    let wrong = run(&lab, "capture up0 file - filter \"icmp nd\"").unwrap_err();
    assert!(wrong.contains("bad filter") && lab.fake.take().is_empty(), "{wrong}");
    let file = lab.dir.path().join("icmp.pcapng");
    let file = file.display();
    run(&lab, &format!("capture up0 file {file} rx filter \"icmp\" snaplen 100")).unwrap();
    let asked = lab.fake.take();
    let [Request::Capture(start), ..] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((start.snaplen, start.direction), (100, view::Direction::Rx));
    assert_eq!(start.filter.as_ref().map(|filter| filter.text.as_str()), Some("icmp"));
}

#[test]
fn a_trace_is_told_step_by_step() {
    let lab = Lab::start();
    let told = run(&lab, "trace ct1 rx count 3").unwrap();
    assert!(told.contains("packet 1: dropped, 98 bytes by ct1/eth0, worker on core 1"), "{told}");
    assert!(told.contains("  guard     drop         spoofed-ip"), "{told}");
    let asked = lab.fake.take();
    let [Request::Trace(start), ..] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((start.count, start.seconds, start.target.to_string().as_str()), (3, 10, "ct1"));
    let json: Value = serde_json::from_str(&run(&lab, "trace ct1/eth0 --json").unwrap()).unwrap();
    assert_eq!(json["packets"][0]["fate"], "dropped");
    assert!(run(&lab, "trace ct1 count 1001").unwrap_err().contains("1 to 1000"));
}
