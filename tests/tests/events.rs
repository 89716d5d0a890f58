//! What happens is told: by `show events`, by the API, as it happens.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::appliance::binary;
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
