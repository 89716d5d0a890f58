//! What the operator was told is done is found again after a stop and after kill -9.

use nix::sys::signal::Signal;
use tests::balance::{adapter, rows};
use tests::world::{OUT, add_container, address, venet};
use tests::{Attach, World};

/// Registers a second container and a route, live.
fn change(world: &World) {
    add_container(&world.lab, &world.app, 2, "mtu 1400");
    world.app.must("network add lan7 host-only");
    world.app.must(&format!("route add 203.0.113.0/24 via {}", address(2)));
}

fn is_as_it_was(world: &World, config: &str, mac: &serde_json::Value) {
    assert_eq!(world.app.must("show config"), config);
    let row = adapter(&world.app, "ct2", "eth0");
    assert_eq!(&row["guest-side"]["mac"], mac, "a generated MAC is stored");
    assert_eq!(row["guest-side"]["mtu"], 1400);
    world.ct(1).reaches(&address(2));
    world.lab.known("ct2").reaches(OUT);
    world.out().reaches(&address(2));
}

#[test]
fn a_restart_finds_every_accepted_change() {
    let mut world = World::routed(Attach::Own, 1);
    change(&world);
    let config = world.app.must("show config");
    let mac = adapter(&world.app, "ct2", "eth0")["guest-side"]["mac"].clone();
    is_as_it_was(&world, &config, &mac);
    world.app.stop();
    world.app.launch();
    is_as_it_was(&world, &config, &mac);
    world.end();
}

#[test]
fn kill_9_right_after_the_answer_loses_nothing() {
    let mut world = World::routed(Attach::Own, 1);
    change(&world);
    let config = world.app.must("show config");
    let mac = adapter(&world.app, "ct2", "eth0")["guest-side"]["mac"].clone();
    world.app.kill();
    world.app.launch();
    is_as_it_was(&world, &config, &mac);
    world.app.must("guest del ct2");
    world.app.kill();
    world.app.launch();
    world.app.refused("show guest ct2");
    world.end();
}

#[test]
fn the_shared_port_carries_its_containers_again_after_a_restart() {
    let mut world = World::routed(Attach::Shared, 2);
    world.ct(1).reaches(&address(2));
    world.app.stop();
    // Without the appliance there is no way round it from container to container.
    world.ct(1).never_reaches(&address(2));
    world.app.launch();
    for n in [1, 2] {
        venet(&world.lab, &format!("add ct{n} ct{n} {}", address(n)));
    }
    world.ct(1).reaches(&address(2));
    world.end();
}

#[test]
fn a_file_changed_since_its_import_is_reported_and_not_applied() {
    let mut world = World::routed(Attach::Own, 1);
    assert!(
        world.app.must("show config --diff").trim().is_empty()
            || world.app.json("show config --diff")["same"] == true
    );
    let path = world.app.config().to_owned();
    let text = std::fs::read_to_string(&path).expect("the file");
    world.app.stop();
    std::fs::write(&path, text + "\n[[guest]]\nname = \"ct7\"\nkind = \"container\"\n")
        .expect("file");
    world.app.launch();
    world.app.refused("show guest ct7");
    let diff = world.app.json("show config --diff");
    assert_eq!(diff["same"], false);
    assert!(diff["lines"].to_string().contains("ct7"), "{diff}");
    let log = world.app.log();
    assert!(log.contains("was changed") && log.contains("ct7"), "said at start: {log}");
    world.end();
}

#[test]
fn a_state_file_that_is_damaged_is_named_and_not_overwritten() {
    let mut world = World::routed(Attach::Own, 1);
    world.app.stop();
    let state = world.lab.dir().join("state");
    let file = state.join("state.json");
    let whole = std::fs::read(&file).expect("snapshot");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("damage");
    let config = tests::Config::new(&world.lab).uplink().host();
    let said = tests::appliance::fails(&world.lab, &config);
    assert!(said.contains("state.json") && said.contains("damaged"), "said: {said}");
    assert_eq!(std::fs::read(&file).expect("snapshot").len(), whole.len() / 2);
}

#[test]
fn sigterm_while_traffic_flows_drains_and_exits_0() {
    let mut world = World::routed(Attach::Own, 2);
    world.ct(1).reaches(&address(2));
    let flow = world.ct(1).spawn(&format!("ping -n -q -i 0.002 {}", address(2)));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let status = world.app.terminate();
    assert!(status.success(), "{status}: {}", world.app.log());
    drop(flow);
    // SIGINT, as from a terminal, is the same.
    world.app.launch();
    assert!(!rows(world.app.json("show guest all")).is_empty());
    world.app.signal(Signal::SIGINT);
    assert!(world.app.terminate().success());
}
