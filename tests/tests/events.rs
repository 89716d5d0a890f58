//! What happens is told: by `show events`, by the API, as it happens.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::appliance::binary;
use tests::balance::rows;
use tests::config::vhost_user;
use tests::counts::SILENT_NEIGHBORS;
use tests::frontend::{Frontend, Options};
use tests::world::OUT;
use tests::{Appliance, Attach, Proc, World, eventually};

const SOON: Duration = Duration::from_secs(10);

/// Kind and text of every event so far.
fn events(app: &Appliance) -> Vec<(String, String)> {
    let page = app.json("show events");
    let list = page["events"].as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("a word").to_owned();
    list.map(|event| (text(&event["kind"]), text(&event["text"]))).collect()
}

#[track_caller]
fn happens(app: &Appliance, kind: &str, words: &[&str]) {
    eventually(&format!("{kind}: {words:?}"), SOON, || {
        events(app)
            .iter()
            .any(|(is, text)| is == kind && words.iter().all(|word| text.contains(word)))
    });
}

#[test]
fn what_happens_is_told_with_its_kind_and_as_it_happens() {
    let world = World::routed(Attach::Own, 1);
    let app = &world.app;
    happens(app, "program", &["ready"]);
    // One who follows, from before it happens.
    let mut follow = Command::new(binary());
    follow.args(["ctl", "--socket"]).arg(app.socket()).args(["show", "events", "follow"]);
    let mut follow = Proc::start(follow.stdin(Stdio::null()).stdout(Stdio::piped()));
    let lines = BufReader::new(follow.as_child().stdout.take().expect("a pipe")).lines();
    world.server.run("ip link set up0 down");
    happens(app, "link", &["port up0", "link down"]);
    world.server.run("ip link set up0 up");
    happens(app, "link", &["port up0", "link up"]);
    let followed = lines.map_while(Result::ok).find(|line| line.contains("port up0: link up"));
    let line = followed.expect("it is told while it happens");
    let (at, rest) = line.split_once(' ').expect("a time first");
    assert!(at.starts_with("20") && at.ends_with('Z') && rest.starts_with("link: "), "{line}");
    drop(follow);
    // A registered address that somebody else sends from.
    world.out().address("eth0", "192.0.2.11/32");
    world.out().output("ping -c 2 -W 1 -I 192.0.2.11 192.0.2.1");
    happens(app, "conflict", &["192.0.2.11"]);
    // From any number on, a page at a time, and waiting no longer than asked.
    let all = app.json("show events");
    let last = all["last"].as_u64().expect("a number");
    let (status, body) = app.api("GET", "/v1/events?after=0&limit=1", "");
    let page: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, &page["last"], page["events"].as_array().map(Vec::len)),
        (200, &1.into(), Some(1))
    );
    let began = std::time::Instant::now();
    let (status, body) = app.api("GET", &format!("/v1/events?after={last}&wait=1"), "");
    let page: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &page["events"]), (200, &serde_json::json!([])), "{body}");
    assert!(began.elapsed() >= Duration::from_secs(1), "it waited");
    assert_eq!(app.api("GET", "/v1/events?wait=31", "").0, 400);
    assert_eq!(app.api("GET", "/v1/events?limit=0", "").0, 400);
    world.end();
}

/// A VM that waits for its socket connects as soon as it is there, mostly before control has looked at the new
/// port's link for the first time.
#[test]
fn a_guest_that_comes_at_once_is_told_too() {
    let world = World::routed(Attach::Own, 1);
    let app = &world.app;
    for number in 1..=5 {
        let guest = format!("g{number}");
        let path = world.lab.dir().join(format!("{guest}.sock"));
        app.must(&format!("guest add {guest} vm"));
        app.must(&format!("adapter add {guest} eth0 port {}", vhost_user(&path)));
        let front = Frontend::connect_within(&path, &Options::default(), SOON).expect("a guest");
        happens(app, "link", &[&format!("port {guest}/eth0: link up")]);
        drop(front);
        happens(app, "link", &[&format!("port {guest}/eth0: link down")]);
    }
    world.end();
}

/// A MAC is believed for 75 s at most without a word from its host, which is then asked six times, a second apart.
const SILENCE: Duration = Duration::from_secs(90);

/// Events of kind `neighbor`.
fn of_neighbors(app: &Appliance) -> Vec<String> {
    events(app).into_iter().filter(|(kind, _)| kind == "neighbor").map(|(_, text)| text).collect()
}

/// What `show neighbor` says of an address.
fn state_of(app: &Appliance, ip: &str) -> Option<String> {
    let entries = rows(app.json("show neighbor"));
    let entry = entries.iter().find(|entry| entry["ip"] == ip)?;
    entry["state"].as_str().map(str::to_owned)
}

#[test]
fn a_neighbor_that_answers_no_more_is_told_and_one_that_never_did_is_not() {
    let world = World::routed(Attach::Own, 1);
    let app = &world.app;
    world.ct(1).reaches(OUT);
    assert_eq!(state_of(app, OUT).as_deref(), Some("reachable"));
    // Nobody is there: the guest is told, the operator is not, or a scan of the LAN would fill the list.
    world.ct(1).never_reaches("192.0.2.99");
    eventually("given up", SOON, || state_of(app, "192.0.2.99").as_deref() == Some("failed"));
    // Nor is what the operator has forgotten.
    app.must("neighbor flush");
    assert_eq!(of_neighbors(app), [""; 0]);
    for _ in 0..SILENT_NEIGHBORS.now() {
        world.ct(1).reaches(OUT);
        let last = app.json("show events")["last"].clone();
        // Packets to it go on, so that it is asked for anew after each time that it was given up.
        // Not `-w`, by which the first "host unreachable" would end them.
        let pings = world.ct(1).spawn(&format!("ping -q -i 0.2 -c 600 {OUT}"));
        world.out().run("ip link set eth0 down");
        let lost = format!("port up0: {OUT} does not answer any more");
        eventually("the loss is told", SILENCE, || of_neighbors(app).contains(&lost));
        let (status, body) = app.api("GET", &format!("/v1/events?after={last}"), "");
        let page: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let told = rows(page["events"].clone());
        let (kind, text) = (&told[0]["kind"], &told[0]["text"]);
        assert_eq!((status, kind, text), (200, &"neighbor".into(), &lost.as_str().into()));
        assert!(app.must("show events").contains(&format!("neighbor: {lost}")));
        // Held down for 5 s, then asked again in vain: that is no news.
        eventually("asked again", SOON, || state_of(app, OUT).as_deref() == Some("resolving"));
        eventually("in vain", SOON, || state_of(app, OUT).as_deref() == Some("failed"));
        assert_eq!(of_neighbors(app).len(), 1);
        drop(pings);
        world.out().run("ip link set eth0 up");
        world.ct(1).reaches_within(Duration::from_secs(20), OUT);
    }
    world.end();
}
