//! `--json`: what each command prints is what the description of the API says of it, key by key.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use tests::{Attach, World, binary};

/// The description that a package has, with the commands at each operation.
fn description() -> Value {
    let dir = tempfile::tempdir().expect("a directory");
    let status = Command::new(binary()).arg("generate").arg(dir.path()).status().expect("generate");
    assert!(status.success(), "{status}");
    let text = std::fs::read(dir.path().join("openapi.json")).expect("openapi.json");
    serde_json::from_slice(&text).expect("JSON")
}

/// A key that is not described is wrong too: an object has no others than those.
fn forbid_others(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.contains_key("properties") && !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".to_owned(), json!(false));
        }
        object.values_mut().for_each(forbid_others);
    } else if let Some(list) = schema.as_array_mut() {
        list.iter_mut().for_each(forbid_others);
    }
}

/// The schema of each form of a command.
fn schemas(description: &Value) -> BTreeMap<String, Value> {
    let mut components = description["components"].clone();
    forbid_others(&mut components);
    let paths = description["paths"].as_object().expect("paths");
    let operations = paths.values().flat_map(|path| path.as_object().expect("methods").values());
    let mut schemas = BTreeMap::new();
    for operation in operations {
        let mut schema =
            operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
        for form in operation["x-guestway-ctl"].as_array().into_iter().flatten() {
            schema["components"] = components.clone();
            schemas.insert(form.as_str().expect("a form").to_owned(), schema.clone());
        }
    }
    schemas
}

#[track_caller]
fn assert_described(line: &str, schema: &Value, text: &str) {
    let answer: Value = serde_json::from_str(text).expect("JSON");
    let validator = jsonschema::validator_for(schema).expect("a schema");
    let wrong: Vec<String> = validator
        .iter_errors(&answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{line}: {wrong:#?}\n{text}");
}

#[test]
fn card5_json_is_as_described_for_every_command() {
    let mut world = World::routed_with(Attach::Own, 2, |_, config| {
        let config = config.network("lan0", "uplink = \"up0\"\nvlan = 7");
        config.text("[[class]]\nname = \"near\"\nprefixes = [\"192.0.2.0/24\"]")
    });
    world.ct(1).reaches("192.0.2.12");
    world.out().reaches("192.0.2.11");
    let vhost = world.lab.dir().join("vm1.sock");
    for line in [
        "guest add vm1 vm".to_owned(),
        format!("adapter add vm1 eth0 port vhost-user,path={} network lan0", vhost.display()),
        "network server lan0 tap,iface=srv-lan0 ip 198.51.100.1/24".to_owned(),
        "adapter set ct1 eth0 rate in 10M class-rate near out 5M storm 100".to_owned(),
        "route add 203.0.113.0/24 via 192.0.2.11".to_owned(),
        "neighbor add 192.0.2.77 02:00:00:00:00:77 dev up0".to_owned(),
        "mac add lan0 02:00:00:00:00:78 up0".to_owned(),
    ] {
        world.app.must(&line);
    }
    let file = world.app.config().display().to_string();
    let names = [
        ("GUEST", "ct1"),
        ("NET", "lan0"),
        ("CLASS", "near"),
        ("IP", "192.0.2.11"),
        ("FILE", file.as_str()),
        ("INTERVAL", "5"),
        ("S", "1"),
    ];
    let schemas = schemas(&description());
    let mut shown = BTreeSet::new();
    for (form, schema) in &schemas {
        let name = |word: &str| {
            let known = names.iter().find(|(place, _)| *place == word);
            known.map_or(word, |(_, name)| name).to_owned()
        };
        // Each kind of port has keys of its own.
        for port in ["up0", "ct1/eth0", "vm1/eth0", "network:lan0"] {
            let words = form.split(' ').map(|word| match word {
                "PORT" => port.to_owned(),
                word => name(word),
            });
            let line = words.collect::<Vec<_>>().join(" ");
            // A trace is told of below, with packets to be traced.
            let is_apart = line.ends_with("follow") || line.starts_with("trace");
            if is_apart || !shown.insert(line.clone()) {
                continue;
            }
            // What a driver keeps of its own, not every port has.
            let Ok(text) = world.app.ctl(&format!("--json {line}")) else {
                assert!(line.contains("xstats") || line == "config rollback", "{line} is refused");
                continue;
            };
            assert_described(&line, schema, &text);
        }
    }
    let traced = schemas.iter().find(|(form, _)| form.starts_with("trace")).expect("trace").1;
    let _pinging = world.ct(1).spawn("ping -i 0.2 -c 20 192.0.2.12");
    let text = world.app.must("--json trace ct1 count 3 seconds 5");
    assert!(text.contains("ICMP"), "{text}");
    assert_described("trace ct1", traced, &text);
    // None is missing, of those that `help` tells.
    for usage in world.app.must("help show").lines().filter(|line| line.starts_with("show ")) {
        let head: Vec<&str> = usage.split(' ').take_while(|word| !word.starts_with('[')).collect();
        let head = head.join(" ");
        assert!(schemas.keys().any(|form| form.starts_with(&head)), "{usage} has no schema");
    }
    assert!(shown.len() > 40, "{shown:?}");
    world.app.must("guest del vm1");
    world.app.stop();
}
