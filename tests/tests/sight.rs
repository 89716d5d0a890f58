//! Sight into the path of a packet: what an operator sees of real traffic.

use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::balance::rows;
use tests::config::tap;
use tests::frames::{IPV4, UDP, ethernet, ip, ipv4, mac};
use tests::stall::Stall;
use tests::world::{OUT, ROUTER, address};
use tests::{Appliance, Attach, Config, Host, Lab, Proc, World, binary, eventually};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn workers_tell_what_their_cycles_go_into_and_how_long_packets_stay() {
    let world = World::routed(Attach::Own, 2);
    let app = &world.app;
    let ping = format!("ping -q -i 0.01 -c 60 -W 2 {}", address(2));
    world.ct(1).run(&ping);
    // While these go on, it is measured.
    let pings = world.ct(1).spawn(&format!("ping -q -i 0.01 -w 2 {}", address(2)));
    let latency = app.json("show latency seconds 1");
    drop(pings);
    let times = rows(latency["times"].clone());
    let routed = times.iter().find(|row| row["path"] == "routed").expect("pings are routed");
    assert_eq!((&latency["seconds"], &latency["measuring"]), (&1.into(), &false.into()));
    let number = |key: &str| routed[key].as_u64().unwrap_or_else(|| panic!("{key}: {routed}"));
    // Both ways, and a part of a hundred in each second.
    assert!((20..=210).contains(&number("packets")), "{routed}");
    let quantiles = ["p50-ns", "p90-ns", "p99-ns", "p99-9-ns", "p99-99-ns", "max-ns"].map(number);
    assert!(quantiles.is_sorted() && quantiles[0] > 0, "{routed}");
    assert!(quantiles[0] < 50_000_000, "half of them are through in no time: {routed}");
    assert_eq!(app.api("GET", "/v1/latency?seconds=31", "").0, 400);

    let workers = rows(app.json("show worker"));
    let bursts: u64 = workers
        .iter()
        .flat_map(|one| rows(one["bursts"].clone()))
        .map(|size| {
            let (from, to, bursts) = (&size["from"], &size["to"], size["bursts"].as_u64());
            assert!(from.as_u64() <= to.as_u64(), "{size}");
            bursts.expect("a number")
        })
        .sum();
    assert!(bursts >= 120, "a request and its answer are two bursts at least: {workers:?}");
    for one in &workers {
        let cycles = &one["cycles"];
        let number = |key: &str| cycles[key].as_u64().expect("a number");
        assert!(number("hz") > 100_000_000 && number("idle") > number("busy"), "{cycles}");
        let each = cycles["per-packet"].as_f64().expect("a number");
        let pkts = one["rx-pkts"].as_u64().expect("a number");
        assert!(each > 10.0 && pkts > 0, "{one}");
    }
    world.end();
}

/// `guestway ctl WORDS`, whose words may hold blanks.
fn ctl(app: &Appliance, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["ctl", "--socket"]).arg(app.socket()).args(words).stdin(Stdio::null());
    command
}

/// The captured packets as tshark reads them: of each the given fields, in a line.
fn tshark(file: &Path, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file).args(["-T", "fields", "-E", "separator= "]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("damaged"), "{said}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Waits until the capture runs.
fn capture_runs(app: &Appliance) {
    eventually("the capture runs", SOON, || {
        rows(app.json("show capture")).iter().any(|one| one["running"] == true)
    });
}

#[test]
fn a_capture_holds_one_adapters_packets_and_wireshark_and_tcpdump_read_it() {
    let world = World::routed(Attach::Own, 3);
    let app = &world.app;
    let (own, near) = (address(1), address(2));
    // Neighbors are known before.
    world.ct(1).run(&format!("ping -q -c 1 -W 2 {near}"));
    world.ct(3).run(&format!("ping -q -c 1 -W 2 {near}"));
    let file = world.lab.dir().join("ct1.pcapng");
    let path = file.display().to_string();
    let words = ["capture", "ct1/eth0", "file", &path, "filter", "icmp and not host 192.0.2.254"];
    let running = Proc::start(ctl(app, &words).stdout(Stdio::piped()).stderr(Stdio::piped()));
    capture_runs(app);
    let busy = app.refused("capture up0 file /tmp/never.pcapng");
    assert!(busy.contains("ct1/eth0") && busy.contains("capture stop"), "{busy}");
    // What the filter keeps out: a host, and what is no ICMP.
    world.ct(1).run(&format!("ping -q -i 0.02 -c 3 -W 2 {ROUTER}"));
    let sink = world.ct(2).udp(ip(&near), 7_700);
    sink.set_read_timeout(Some(SOON)).expect("a timeout");
    world.ct(1).udp(ip(&own), 7_700).send_to(b"?", (ip(&near), 7_700)).expect("send");
    sink.recv(&mut [0; 8]).expect("the datagram");
    world.ct(1).run(&format!("ping -q -i 0.02 -c 7 -W 2 {near}"));
    world.ct(3).run(&format!("ping -q -i 0.02 -c 5 -W 2 {near}"));
    world.ct(2).run(&format!("ping -q -c 1 -s 300 -W 2 {own}"));
    let counted = || rows(app.json("show capture"))[0]["packets"] == 16;
    eventually("all are captured", SOON, counted);
    app.must("capture stop");
    let output = running.finish();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("16 packets captured, 0 dropped"), "{said}");
    // Each ping and its answer, as many as were sent and each way in order, and nobody else's.
    let fields =
        ["ip.src", "ip.dst", "icmp.type", "icmp.seq", "frame.len", "frame.packet_flags_direction"];
    let mut seen = tshark(&file, &fields);
    let mut want = Vec::new();
    for sequence in 1..=7 {
        want.push(format!("{own} {near} 8 {sequence} 98 0x00000001"));
        want.push(format!("{near} {own} 0 {sequence} 98 0x00000002"));
    }
    want.push(format!("{near} {own} 8 1 342 0x00000002"));
    want.push(format!("{own} {near} 0 1 342 0x00000001"));
    // An answer may come after the next request where the machine is busy.
    let way = |line: &String| line.ends_with('2');
    seen.sort_by_key(way);
    want.sort_by_key(way);
    assert_eq!(seen, want);
    let times: Vec<f64> = tshark(&file, &["frame.time_epoch"])
        .iter()
        .map(|time| time.parse().expect("a time"))
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(times.is_sorted() && now - 60.0 < times[0] && times[15] <= now, "{times:?} {now}");
    // As tcpdump reads it, with the interface and the filter in the file.
    let text = world.server.run(&format!("tcpdump -n -r {path} icmp[icmptype]=icmp-echo"));
    assert_eq!(text.lines().filter(|line| line.contains("echo request")).count(), 8, "{text}");
    let bytes = std::fs::read(&file).expect("the file");
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"ct1/eth0") && holds(b"icmp and not host"));

    // One way, so many packets, and no file that is there already.
    let again = app.refused(&format!("capture ct1/eth0 file {path}"));
    assert!(again.contains("is there already"), "{again}");
    let pings = world.ct(1).spawn(&format!("ping -q -i 0.02 -w 3 {near}"));
    let file = world.lab.dir().join("tx.pcapng");
    let said =
        app.must(&format!("capture ct1/eth0 file {} tx packets 4 snaplen 60", file.display()));
    assert!(said.contains("packets captured"), "{said}");
    let seen = tshark(&file, &["icmp.type", "frame.cap_len", "frame.len"]);
    assert_eq!(seen, ["0 60 98"; 4]);
    drop(pings);
    // A client that goes takes its capture along.
    let gone = Proc::start(ctl(app, &["capture", "up0", "file", "-"]).stdout(Stdio::piped()));
    capture_runs(app);
    drop(gone);
    let ended = || rows(app.json("show capture"))[0]["running"] == false;
    eventually("the capture of a client that went ends", SOON, ended);
    assert!(app.refused("capture stop").contains("no capture is running"));
    for (words, why) in [
        ("capture nobody file x", "no port nobody"),
        ("capture ct1/eth9 file x", "no adapter ct1/eth9"),
        ("capture up0 file x filter icmpp", "bad filter"),
    ] {
        assert!(app.refused(words).contains(why), "{words}");
    }
    world.end();
}

#[test]
fn a_reader_that_is_too_slow_misses_frames_that_are_counted_and_no_packet_is_lost() {
    let world = World::routed(Attach::Own, 2);
    let app = &world.app;
    let (own, near) = (address(1), address(2));
    world.ct(1).run(&format!("ping -q -c 1 -W 2 {near}"));
    let words = ["capture", "ct1/eth0", "file", "-", "snaplen", "65600"];
    let mut reader = Proc::start(ctl(app, &words).stdout(Stdio::piped()));
    capture_runs(app);
    // Nobody reads, so the pipe is full soon, then the sockets, then the queue of 255 frames.
    let sender = world.ct(1).udp(ip(&own), 7_700);
    let sink = world.ct(2).udp(ip(&near), 7_700);
    let drops = || rows(app.json("show capture"))[0]["dropped"].as_u64().expect("a number");
    let (mut sent, mut heard) = (0u64, 0u64);
    sink.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 2_000];
    while drops() == 0 {
        for _ in 0..20 {
            sender.send_to(&[7; 1_400], (ip(&near), 7_700)).expect("send");
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
        heard += std::iter::from_fn(|| sink.recv(&mut buffer).ok()).count() as u64;
        assert!(sent < 20_000, "never missed");
    }
    eventually("all datagrams arrive", SOON, || {
        heard += std::iter::from_fn(|| sink.recv(&mut buffer).ok()).count() as u64;
        heard == sent
    });
    let (dropped, mut file) = (drops(), Vec::new());
    app.must("capture stop");
    reader.as_child().stdout.take().expect("a pipe").read_to_end(&mut file).expect("the capture");
    let last = &rows(app.json("show capture"))[0];
    let (captured, missed) = (last["packets"].as_u64(), last["dropped"].as_u64());
    assert!(missed >= Some(dropped) && captured > Some(0), "{last}");
    let path = world.lab.dir().join("slow.pcapng");
    std::fs::write(&path, &file).expect("a file");
    assert_eq!(Some(tshark(&path, &["frame.number"]).len() as u64), captured);
    // isb_ifdrop, in the last block.
    let option = [&5u16.to_ne_bytes()[..], &8u16.to_ne_bytes(), &missed.unwrap_or(0).to_ne_bytes()];
    let option = option.concat();
    assert!(file[file.len() - 60..].windows(option.len()).any(|window| window == option));
    world.end();
}

/// Traces, does something again and again until that is over, and gives the packets.
fn traced(app: &Appliance, words: &[&str], mut act: impl FnMut()) -> Vec<Value> {
    let words = [&["--json", "trace"], words].concat();
    let mut command = ctl(app, &words);
    let mut trace = Proc::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    while trace.is_running() {
        act();
    }
    let output = trace.finish();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    rows(answer["packets"].clone())
}

/// What a packet's stages decided, and why.
fn steps(packet: &Value) -> Vec<String> {
    let text = |step: &Value, key: &str| step[key].as_str().expect("a text").to_owned();
    let line = |step: Value| {
        format!("{} {}: {}", text(&step, "stage"), text(&step, "verdict"), text(&step, "text"))
    };
    rows(packet["steps"].clone()).into_iter().map(line).collect()
}

/// The stages are these in this order, and each tells of all of this.
#[track_caller]
fn tells(packet: &Value, fate: &str, want: &[(&str, &[&str])]) {
    let steps = steps(packet);
    let fits = |(step, (stage, words)): (&String, &(&str, &[&str]))| {
        step.starts_with(stage) && words.iter().all(|word| step.contains(word))
    };
    let is_so = steps.len() == want.len() && steps.iter().zip(want).all(fits);
    assert!(packet["fate"] == fate && is_so, "{fate} {want:#?}, not {packet:#}");
}

#[test]
fn a_trace_shows_the_way_of_a_routed_a_bridged_a_dropped_and_a_punted_packet() {
    let world = World::routed_with(Attach::Own, 2, |lab, config| {
        ["vm1", "vm2"].iter().fold(config, |config, vm| {
            lab.host(vm);
            config.vm(vm).adapter("eth0", &tap(vm, "eth0"), "")
        })
    });
    let (vm1, vm2) = (world.lab.known("vm1"), world.lab.known("vm2"));
    vm1.address("eth0", "10.9.0.1/24");
    vm2.address("eth0", "10.9.0.2/24");
    let app = &world.app;
    let (own, near) = (address(1), address(2));
    let ping = |from: &Host, to: &str| {
        from.output(&format!("ping -q -c 1 -W 1 {to}"));
    };
    ping(world.ct(1), &near);
    vm1.reaches("10.9.0.2");

    let packets =
        traced(app, &["ct1", "rx", "count", "1", "filter", "icmp[icmptype] == 8"], || {
            ping(world.ct(1), &near);
        });
    let [routed] = packets.as_slice() else { panic!("one was asked for: {packets:?}") };
    let said = routed["packet"].as_str().expect("a text");
    assert!(said.ends_with(&format!("IPv4 {own} > {near}, ICMP echo request, ttl 64")), "{said}");
    assert_eq!((&routed["port"], &routed["bytes"]), (&"ct1/eth0".into(), &98.into()));
    let (to, from) = (format!("destination {near}: adjacency"), format!("source {own}: adjacency"));
    tells(
        routed,
        "sent",
        &[
            ("classify route", &[]),
            ("fib forward", &[&to, "forward by ct2/eth0, adapter ct2/eth0", "mtu 1500"]),
            ("fib forward", &[&from, "by ct1/eth0"]),
            ("guard pass", &["may be used by ct1/eth0"]),
            ("route send", &["by ct2/eth0"]),
            ("rewrite send", &["ttl 64 > 63"]),
            ("egress sent", &["to the transmit queue of ct2/eth0"]),
        ],
    );
    // From whoever it comes, and not what it answers.
    let to_it = traced(app, &["ct2/eth0", "tx", "count", "2", "filter", "icmp"], || {
        ping(world.ct(1), &near);
    });
    assert_eq!(to_it.len(), 2);
    for packet in to_it {
        assert_eq!((&packet["port"], &packet["fate"]), (&"ct1/eth0".into(), &"sent".into()));
    }

    let packets =
        traced(app, &["vm1", "rx", "count", "2", "filter", "icmp"], || ping(&vm1, "10.9.0.2"));
    assert!(packets.iter().all(|packet| packet["port"] == "vm1/eth0"), "{packets:#?}");
    tells(
        &packets[0],
        "sent",
        &[
            ("classify bridge", &["network default"]),
            ("guard pass", &["vm1/eth0"]),
            ("mac registered", &["destination on default: adjacency", "bridge by vm2/eth0"]),
            ("mac registered", &["source on default", "by vm1/eth0"]),
            ("bridge send", &["by vm2/eth0"]),
            ("rewrite send", &["as it came"]),
            ("egress sent", &["to the transmit queue of vm2/eth0"]),
        ],
    );

    let wire = world.ct(1).wire("eth0");
    let gateway = mac(app.json("show guest ct1")["adapters"][0]["server-side"]["mac"]
        .as_str()
        .expect("a MAC"));
    let packet = ipv4("192.0.2.77", OUT, 64, UDP, &[0; 40]);
    let forged = ethernet(gateway, wire.mac(), IPV4, &packet);
    let packets = traced(app, &["ct1", "count", "1", "filter", "src host 192.0.2.77"], || {
        wire.send(&forged);
        std::thread::sleep(Duration::from_millis(20));
    });
    tells(
        &packets[0],
        "dropped",
        &[
            ("classify route", &[]),
            ("fib", &["destination 192.0.2.50"]),
            ("fib", &["source 192.0.2.77"]),
            ("guard drop", &["spoofed-ip"]),
            ("egress dropped", &["spoofed-ip"]),
        ],
    );

    let packets = traced(app, &["ct1", "rx", "count", "1", "filter", "arp"], || {
        world.ct(1).output("arping -q -c 1 -w 1 -I eth0 169.254.1.1");
    });
    assert!(
        packets[0]["packet"].as_str().is_some_and(|said| said.contains("ARP who has 169.254.1.1"))
    );
    tells(
        &packets[0],
        "punted",
        &[
            ("classify arp", &["for the appliance"]),
            ("guard pass", &[]),
            ("control punted", &["control has it, and answers"]),
        ],
    );
    let socket = world.ct(1).udp(ip(&own), 7_700);
    let unknown =
        traced(app, &["ct1", "rx", "count", "1", "filter", "udp and dst host 192.0.2.99"], || {
            socket.send_to(b"?", (ip("192.0.2.99"), 9)).expect("send");
            std::thread::sleep(Duration::from_millis(20));
        });
    let told = steps(&unknown[0]);
    assert!(
        unknown[0]["fate"] == "punted" && told.iter().any(|step| step.starts_with("fib glean")),
        "{told:?}"
    );
    let last = told.last().expect("a step");
    assert!(last.contains("asks by ARP who has 192.0.2.99 on up0"), "{last}");

    // As an operator reads it; and it ends by itself.
    let pings = world.ct(1).spawn(&format!("ping -q -i 0.02 -w 3 {near}"));
    let text = app.must("trace ct1 count 4");
    assert_eq!(text.matches("packet ").count(), 4, "{text}");
    drop(pings);
    let nothing = app.must("trace vm2 count 1 seconds 1 filter tcp");
    assert!(nothing.contains("no packet of vm2"), "{nothing}");
    assert!(app.refused("trace nobody").contains("nobody"));
    world.end();
}

/// DPDK's own sight: its telemetry, for as long as its run-time files are not switched off (`--no-shconf`), and with
/// hugepages its secondary processes. `check` knows.
#[test]
fn dpdks_tools_tell_of_the_ports() {
    let lab = Lab::new();
    let lan = lab.bridge("lan");
    let config = Config::new(&lab).uplink().replace(r#""--no-shconf", "#, "");
    let mut app = Appliance::start(&lab, &config, Some(&lan));
    let prefix = format!("lab{}", std::process::id());
    let mut command = Command::new("dpdk-telemetry.py");
    command.args(["-f", &prefix]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut asked = Proc::start(&mut command);
    let mut stdin = asked.as_child().stdin.take().expect("a pipe");
    stdin.write_all(b"/ethdev/list\n/ethdev/info,0\n/eal/params\nquit\n").expect("a pipe");
    drop(stdin);
    let output = asked.finish();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("net_tap0") && said.contains("/ethdev/list"),
        "{said}"
    );
    let checked = lab.server().run(&format!(
        "{} check --config {}",
        tests::binary().display(),
        app.config().display()
    ));
    assert!(checked.contains("dpdk-telemetry.py can look into it"), "{checked}");
    if tests::appliance::wants_hugepages() {
        assert!(checked.contains("dpdk-proc-info can look into it"), "{checked}");
        let info = format!("timeout 20 dpdk-proc-info --file-prefix {prefix} --no-pci -- --stats");
        let said = lab.server().run(&info);
        assert!(said.contains("RX-packets"), "{said}");
        assert!(checked.contains("dpdk-dumpcap can look into it"), "{checked}");
    } else {
        assert!(checked.contains("dpdk-proc-info can't: --no-huge"), "{checked}");
        assert!(checked.contains("dpdk-dumpcap can't: --no-huge"), "{checked}");
    }
    app.stop();
}

/// With hugepages `dpdk-dumpcap` has an uplink's packets copied, and gets its memory back only when no worker writes there
/// any more. Without them it is turned away and nothing else happens.
#[test]
fn dpdks_tools_capture_what_an_uplink_carries() {
    let lab = Lab::new();
    let lan = lab.bridge("lan");
    let out = lab.host("out");
    lan.plug(&lab, &out, "eth0");
    out.address("eth0", &format!("{OUT}/24"));
    let config = Config::new(&lab).uplink().replace(r#""--no-shconf", "#, "");
    let mut app = Appliance::start(&lab, &config, Some(&lan));
    let ping = |count: u32| out.run(&format!("ping -q -i 0.01 -W 2 -c {count} 192.0.2.1"));
    ping(1);
    // It looks at the machine's devices, and has no argument to say which not.
    lab.server().run("mount -t tmpfs none /sys/bus/pci/devices");
    let file = lab.dir().join("dumpcap.pcapng");
    let path = file.display();
    let line =
        format!("dpdk-dumpcap --file-prefix lab{} -i 0 -f icmp -w {path}", std::process::id());
    if !tests::appliance::wants_hugepages() {
        assert!(!lab.server().succeeds(&format!("timeout -s KILL 20 {line}")));
        ping(3);
        return app.stop();
    }
    let mut dumpcap = lab.server().spawn(&line);
    let written = || std::fs::metadata(&file).map_or(0, |file| file.len());
    // A section and an interface are some 200 bytes.
    eventually("dpdk-dumpcap writes packets", Duration::from_secs(20), || {
        ping(1);
        written() > 400
    });
    ping(50);
    let stall = Stall::worker(app.pid(), 1);
    dumpcap.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_secs(1));
    assert!(dumpcap.is_running(), "it freed what a worker may still write to");
    drop(stall);
    let ended = dumpcap.finish();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && said.contains("/0 (100.0)"), "{said}");
    let count = |filter: &str| {
        let all = lab.server().run(&format!("tshark -n -r {path} -Y icmp.type=={filter}"));
        all.lines().filter(|line| line.contains("ICMP")).count()
    };
    let (asked, answered) = (count("8"), count("0"));
    assert!(asked >= 51 && asked == answered, "{asked} asked, {answered} answered");
    ping(3);
    app.stop();
}
