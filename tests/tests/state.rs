//! What was accepted is on disk whatever happens then, and the configuration file and what runs can be
//! brought together at any time.

use nix::mount::{MsFlags, mount};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tests::appliance::binary;
use tests::counts::JOURNAL_CUTS;
use tests::lab::on_all_cores;
use tests::world::{add_container, address};
use tests::{Appliance, Attach, Config, Lab, Proc, World};

/// System calls that a change on disk is made of.
const CALLS: [&str; 5] = ["write", "fdatasync", "ftruncate", "rename", "fsync"];

/// The files that they are about.
fn files(lab: &Lab) -> Vec<PathBuf> {
    let state = lab.dir().join("state");
    let names = ["state.json", "state.json.next", "state.journal", "state.journal.next"];
    let mut files: Vec<PathBuf> = names.iter().map(|name| state.join(name)).collect();
    files.push(state);
    files
}

/// strace's arguments that end a process before it makes a system call on those files for the `turn`th time.
fn killing(lab: &Lab, call: &str, turn: u32) -> Vec<String> {
    let mut args = vec!["-f".to_owned(), "-qq".to_owned(), "-o".to_owned(), "/dev/null".to_owned()];
    for file in files(lab) {
        args.extend(["-P".to_owned(), file.display().to_string()]);
    }
    args.extend(["-e".to_owned(), format!("inject={call}:signal=KILL:when={turn}")]);
    args
}

/// Waits until strace has taken the process over: its main thread then has a tracer.
#[track_caller]
fn attach(lab: &Lab, app: &Appliance, call: &str, turn: u32) -> Proc {
    let mut strace = Command::new("strace");
    strace.args(killing(lab, call, turn)).args(["-p", &app.pid().to_string()]);
    let strace = on_all_cores(|| Proc::start(&mut strace));
    let status = format!("/proc/{}/status", app.pid());
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        if text.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")) {
            return strace;
        }
        assert!(Instant::now() < end, "strace has not attached");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn guests(app: &Appliance) -> Vec<String> {
    let all = app.json("show guest all");
    let names = all.as_array().expect("a list").iter().map(|guest| guest["guest"].clone());
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// Routes of the operator's.
fn routes(app: &Appliance) -> usize {
    app.must("show config").matches("[[route]]").count()
}

/// Changes, one after another, each killed before another system call that it makes. What was answered before
/// is there after each restart; the change that was not answered is there whole or not at all. Gives the
/// number of kills. `prepare` is done before each, `make` makes the change of this number and tells whether it was answered, `is_whole`
/// whether it is there.
fn kill_at_every_step(
    prepare: impl Fn(&Appliance),
    make: impl Fn(&Appliance, usize) -> bool,
    is_whole: impl Fn(&Appliance, usize) -> bool,
) -> usize {
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &Config::new(&lab).uplink().host(), None);
    let (mut kills, mut number) = (0, 0);
    for call in CALLS {
        for turn in 1.. {
            number += 1;
            app.must(&format!("guest add before-{call}-{turn} container"));
            prepare(&app);
            let before = app.must("show config");
            let mut strace = attach(&lab, &app, call, turn);
            let is_answered = make(&app, number);
            if is_answered {
                drop(strace);
                app.kill();
                app.launch();
                assert!(is_whole(&app, number), "answered, and lost");
                break;
            }
            assert!(has_ended(&mut strace), "refused, and not killed");
            app.kill();
            app.launch();
            if app.must("show config") != before {
                assert!(is_whole(&app, number), "half a change, killed before {call} {turn}");
            }
            kills += 1;
        }
    }
    for call in CALLS {
        assert!(guests(&app).contains(&format!("before-{call}-1")), "{call}");
    }
    app.stop();
    kills
}

#[test]
fn a_kill_at_every_step_of_a_change_leaves_it_whole_or_out() {
    let name = |number: usize| format!("g{number}");
    let is_whole = |app: &Appliance, number: usize| {
        let there = guests(app);
        there.contains(&name(number)) && there.contains(&format!("{}x", name(number)))
    };
    let make = |app: &Appliance, number: usize| {
        let add = |name: String| {
            format!(r#"{{"change": "guest-add", "guest": "{name}", "kind": "container"}}"#)
        };
        let body = format!("[{}, {}]", add(name(number)), add(format!("{}x", name(number))));
        let socket = app.socket().to_owned();
        // A process that is killed gives no answer, and that is one.
        std::panic::catch_unwind(move || tests::appliance::api(&socket, "POST", "/v1/batch", &body))
            .is_ok_and(|(status, _)| status == 200)
    };
    assert_eq!(kill_at_every_step(|_| (), make, is_whole), 2, "write, fdatasync");
}

/// A change that makes the journal so large that a snapshot takes its place.
#[test]
fn a_kill_at_every_step_of_a_new_snapshot_leaves_the_change_whole_or_out() {
    const ROUTES: usize = 6_000;
    let file = |number: usize| {
        let mut text = String::new();
        for n in 0..ROUTES {
            let (high, low) = (n / 256, n % 256);
            writeln!(text, "10.{high}.{low}.{number}/32 via 192.0.2.254").expect("text");
        }
        text
    };
    // So that the state stays smaller than what is added to it.
    let without = |app: &Appliance| {
        let running = app.must("show config");
        let path = app.config().with_file_name("without.toml");
        fs::write(&path, running.split("\n[[route]]").next().expect("text")).expect("file");
        app.must(&format!("config apply {}", path.display()));
    };
    let make = |app: &Appliance, number: usize| {
        let path = app.config().with_file_name("routes.txt");
        fs::write(&path, file(number)).expect("routes");
        app.ctl(&format!("route load {}", path.display())).is_ok()
    };
    let kills = kill_at_every_step(without, make, |app, _| routes(app) == ROUTES);
    assert_eq!(kills, 11, "the record's two, then snapshot, journal and both their names");
}

#[test]
fn a_kill_at_every_step_of_a_start_loses_nothing() {
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &Config::new(&lab).uplink().host(), None);
    app.must("guest add ct1 container");
    app.must("guest add ct2 vm");
    app.kill();
    let mut kills = 0;
    for call in CALLS {
        for turn in 1.. {
            let mut strace = Command::new("strace");
            strace.args(killing(&lab, call, turn)).arg(binary()).args(["run", "--config"]);
            strace.arg(app.config());
            strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut strace = on_all_cores(|| Proc::start(&mut strace));
            if is_ready(&mut strace, &app) {
                // strace ends with what it runs.
                tests::appliance::api(app.socket(), "POST", "/v1/shutdown", "");
                strace.finish();
                break;
            }
            app.launch();
            assert_eq!(guests(&app), ["ct1", "ct2"], "killed before {call} {turn} of the start");
            app.kill();
            kills += 1;
        }
    }
    assert_eq!(kills, 9, "snapshot, journal and both their names");
    app.launch();
    assert_eq!(guests(&app), ["ct1", "ct2"]);
    app.stop();
}

/// Waits for a process whose end is near.
fn has_ended(process: &mut Proc) -> bool {
    tests::within(Duration::from_secs(5), || !process.is_running())
}

/// Waits for a start's end, one way or the other.
fn is_ready(start: &mut Proc, app: &Appliance) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if !start.is_running() {
            return false;
        }
        if tests::appliance::ctl(app.socket(), "show version").is_ok() {
            return true;
        }
        assert!(Instant::now() < end, "neither killed nor ready");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The pure tests cut at every byte and flip every bit; here the program starts on what is left.
#[test]
fn a_last_record_cut_anywhere_is_a_change_that_was_not_made() {
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &Config::new(&lab), None);
    app.must("guest add ct1 container");
    let journal = lab.dir().join("state/state.journal");
    let start = fs::read(&journal).expect("journal").len();
    app.must("guest add ct2 container");
    app.kill();
    let (whole, state) = (fs::read(&journal).expect("journal"), lab.dir().join("state/state.json"));
    let snapshot = fs::read(&state).expect("snapshot");
    let cuts = whole.len() - start;
    let stride = (cuts / JOURNAL_CUTS.now() as usize).max(1);
    for end in (start..whole.len()).step_by(stride).chain([whole.len()]) {
        fs::write(&state, &snapshot).expect("snapshot");
        fs::write(&journal, &whole[..end]).expect("journal");
        app.launch();
        let there = if end == whole.len() { &["ct1", "ct2"][..] } else { &["ct1"] };
        assert_eq!(guests(&app), there, "cut at {end} of {start} to {}", whole.len());
        app.kill();
    }
    app.launch();
    app.stop();
}

/// Fills what is left of a file system, but for so many bytes.
fn fill(dir: &Path, but: u64) {
    let path = dir.join("ballast");
    let stat = nix::sys::statvfs::statvfs(dir).expect("statvfs");
    let free = stat.blocks_available() * stat.fragment_size();
    fs::write(&path, vec![0_u8; usize::try_from(free - but).expect("size")]).expect("ballast");
}

#[test]
fn a_full_disk_refuses_changes_and_stops_nothing_else() {
    let mut world = {
        let make_room = |lab: &Lab, config: Config| {
            let state = lab.dir().join("state");
            fs::create_dir(&state).expect("state_dir");
            let size = Some("size=1m");
            mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), size).expect("tmpfs");
            config
        };
        World::routed_with(Attach::Own, 2, make_room)
    };
    let state = world.lab.dir().join("state");
    fill(&state, 16 << 10);
    let mut accepted = vec!["ct1".to_owned(), "ct2".to_owned()];
    let refusal = loop {
        let name = format!("full{}", accepted.len());
        match world.app.ctl(&format!("guest add {name} container")) {
            Ok(_) => accepted.push(name),
            Err(refusal) => break refusal,
        }
        assert!(accepted.len() < 1_000, "the disk never gets full");
    };
    assert!(
        refusal.contains("No space left") && refusal.contains("nothing was changed"),
        "{refusal}"
    );
    assert!(accepted.len() > 3, "it was full before the first change");
    accepted.sort();
    let check = |world: &World| {
        let mut found = guests(&world.app);
        found.sort();
        assert_eq!(found, accepted, "what was answered is there, what was refused is not");
        world.ct(1).reaches(&address(2));
    };
    check(&world);
    world.app.kill();
    world.app.launch();
    check(&world);
    let log = world.app.log();
    assert!(log.contains("can't be written"), "the operator is told at the start: {log}");
    world.app.refused("guest add more container");
    check(&world);
    // Room again: changes are taken again, without a restart.
    fs::remove_file(state.join("ballast")).expect("ballast");
    world.app.must("guest add later container");
    world.app.kill();
    world.app.launch();
    assert!(guests(&world.app).contains(&"later".to_owned()));
    world.end();
}

#[test]
fn a_journal_torn_at_its_end_is_cut_and_told() {
    let mut world = World::routed(Attach::Own, 2);
    world.app.must("guest add ct8 container");
    world.app.must("guest add ct9 container");
    world.app.kill();
    let journal = world.lab.dir().join("state/state.journal");
    let whole = fs::read(&journal).expect("journal");
    fs::write(&journal, &whole[..whole.len() - 9]).expect("damage");
    world.app.launch();
    assert_eq!(guests(&world.app), ["ct1", "ct2", "ct8"]);
    let log = world.app.log();
    let aside = "state.journal.cut-1";
    assert!(log.contains("no whole record") && log.contains(aside), "{log}");
    assert!(world.lab.dir().join("state").join(aside).exists());
    world.ct(1).reaches(&address(2));
    world.end();
}

/// A file with a thousand containers on the shared port.
fn crowd(config: Config) -> Config {
    (0..1_000).fold(config, |config, n| {
        let address = format!("198.18.{}.{}/32", n / 250, n % 250 + 1);
        config.container(&format!("c{n}")).adapter(
            "eth0",
            "shared:venet0",
            &Config::addresses(&[&address]),
        )
    })
}

#[test]
fn applying_a_file_of_a_thousand_guests_twice_changes_nothing_the_second_time() {
    let mut world = World::routed(Attach::Shared, 2);
    let mut config = Config::new(&world.lab).uplink().host().shared();
    for n in [1, 2] {
        let addresses = Config::addresses(&[&format!("{}/32", address(n))]);
        config = config.container(&format!("ct{n}")).adapter("eth0", "shared:venet0", &addresses);
    }
    let file = world.lab.dir().join("crowd.toml");
    fs::write(&file, crowd(config).as_str()).expect("file");
    let apply = format!("config apply {}", file.display());
    let before = world.app.must("show config");
    let dry = world.app.must(&format!("{apply} dry-run"));
    assert!(dry.contains("2000 changes would be made"), "{dry}");
    assert_eq!(world.app.must("show config"), before, "a dry run changes nothing");
    let done = world.app.must(&apply);
    assert!(done.contains("+ guest c999") && done.contains("2000 changes made"), "{done}");
    world.ct(1).reaches(&address(2));
    assert_eq!(world.app.must(&apply).trim(), "no change");
    let after = world.app.must("show config");
    world.app.kill();
    let start = Instant::now();
    world.app.launch();
    let ready = start.elapsed();
    for n in [1, 2] {
        tests::world::venet(&world.lab, &format!("add ct{n} ct{n} {}", address(n)));
    }
    world.ct(1).reaches(&address(2));
    println!("a thousand guests: ready after {ready:?}, forwarding after {:?}", start.elapsed());
    assert_eq!(world.app.must("show config"), after);
    assert_eq!(world.app.must(&apply).trim(), "no change");
    // There and back again.
    let back = world.app.must("config rollback");
    assert!(back.contains("- guest c999") && back.contains("2000 changes made"), "{back}");
    assert_eq!(world.app.must("show config"), before);
    world.ct(1).reaches(&address(2));
    world.app.must("config rollback");
    assert_eq!(world.app.must("show config"), after);
    world.end();
}

#[test]
fn a_file_that_fails_half_way_leaves_everything_as_it_was() {
    let world = World::routed(Attach::Own, 2);
    let refused = world.app.refused("config rollback");
    assert!(refused.contains("nothing to go back to"), "{refused}");
    let running = world.app.must("show config");
    let add = |text: &str| {
        let file = world.lab.dir().join("half.toml");
        fs::write(&file, format!("{running}\n{text}\n")).expect("file");
        format!("config apply {}", file.display())
    };
    // The first guest could be added; the second's namespace is not there.
    let good = "[[guest]]\nname = \"ct7\"\nkind = \"container\"\n[[guest.adapter]]\nname = \"eth0\"\n\
                port = \"tap,iface=ct7-eth0\"\naddresses = [\"192.0.2.17/32\"]";
    let bad = "[[guest]]\nname = \"ct8\"\nkind = \"container\"\n[[guest.adapter]]\nname = \"eth0\"\n\
               port = \"tap,iface=ct8-eth0,netns=nowhere\"\naddresses = [\"192.0.2.18/32\"]";
    let refused = world.app.refused(&add(&format!("{good}\n{bad}")));
    assert!(refused.contains("nothing was changed") && refused.contains("nowhere"), "{refused}");
    assert_eq!(world.app.must("show config"), running);
    assert!(!world.server.succeeds("ip link show ct7-eth0"), "its tap is gone again");
    // One that is wrong in itself names file and line.
    let refused = world.app.refused(&add("[[guest]]\nname = \"ct9\"\nkind = \"box\""));
    assert!(refused.contains("half.toml:") && refused.contains("kind"), "{refused}");
    // One that contradicts itself names the holder.
    let twice = good.replace("ct7", "ct6").replace("192.0.2.17", "192.0.2.11");
    let refused = world.app.refused(&add(&twice));
    assert!(refused.contains("192.0.2.11") && refused.contains("ct1"), "{refused}");
    let refused = world.app.refused("config apply /nowhere.toml");
    assert!(refused.contains("/nowhere.toml"), "{refused}");
    assert_eq!(world.app.must("show config"), running);
    let refused = world.app.refused("config rollback");
    assert!(refused.contains("nothing to go back to"), "what failed is no way back: {refused}");
    world.ct(1).reaches(&address(2));
    world.app.must(&add(good));
    world.app.must("show guest ct7");
    world.app.must("guest del ct7");
    world.end();
}

#[test]
fn what_needs_a_start_is_told_and_ports_come_and_go_with_the_file() {
    let world = World::routed(Attach::Own, 1);
    let running = world.app.must("show config");
    let file = world.lab.dir().join("ports.toml");
    let apply = format!("config apply {}", file.display());
    let more = "[[port]]\nname = \"venet0\"\nrole = \"shared\"\ndevice = \"net_tap7,iface=venet0\"\n\
                [[guest]]\nname = \"ct5\"\nkind = \"container\"\n[[guest.adapter]]\nname = \"eth0\"\n\
                port = \"shared:venet0\"\naddresses = [\"192.0.2.15/32\"]\n";
    let other = running.replace("mbufs = 16384", "mbufs = 32768");
    fs::write(&file, format!("{other}\n{more}")).expect("file");
    let done = world.app.must(&apply);
    assert!(done.contains("3 changes made"), "{done}");
    let later = done.split("not before the next start:").nth(1).expect("what needs a start");
    assert!(later.contains("appliance mbufs: 32768 in the file, 16384 running"), "{done}");
    assert!(world.server.succeeds("ip link show venet0"));
    fs::write(&file, &running).expect("file");
    world.app.must(&apply);
    assert!(!world.server.succeeds("ip link show venet0"));
    assert_eq!(world.app.must("show config"), running);
    world.end();
}

#[test]
fn save_writes_what_runs_and_keeps_the_operators_comments() {
    let mut world = World::routed(Attach::Own, 2);
    let path = world.app.config().to_owned();
    let text = fs::read_to_string(&path).expect("the file");
    let text = text
        .replace("[[uplink]]", "# The rack's switch, port 7.\n[[uplink]]")
        .replace("name = \"ct1\"", "name = \"ct1\"       # the web server")
        .replace("name = \"ct2\"", "name = \"ct2\"       # goes soon");
    fs::write(&path, &text).expect("the file");
    assert_eq!(world.app.json("show config --diff")["same"], true);
    assert_eq!(world.app.must("save").trim(), "no change");
    assert_eq!(fs::read_to_string(&path).expect("the file"), text, "not a byte");
    world.app.must("guest del ct2");
    world.app.must("adapter set ct1 eth0 mtu 1400");
    add_container(&world.lab, &world.app, 3, "");
    world.app.must("network add lan7 host-only");
    world.app.must(&format!("route add 203.0.113.0/24 via {}", address(3)));
    assert_eq!(world.app.json("show config --diff")["same"], false);
    let said = world.app.must("save");
    assert!(said.contains("~ adapter ct1/eth0 mtu: 1500 in the file, 1400 running"), "{said}");
    let saved = fs::read_to_string(&path).expect("the file");
    assert!(saved.contains("# The rack's switch, port 7.\n[[uplink]]"), "{saved}");
    assert!(
        saved.contains("name = \"ct1\"       # the web server") && !saved.contains("ct2"),
        "{saved}"
    );
    assert_eq!(world.app.json("show config --diff")["same"], true, "{saved}");
    let running = world.app.must("show config");
    // A host that is set up by this file alone is the same.
    world.app.stop();
    fs::remove_dir_all(world.lab.dir().join("state")).expect("state");
    world.app.launch();
    assert_eq!(world.app.must("show config"), running);
    world.ct(1).reaches(&address(3));
    world.end();
}
