//! Ten thousand changes while ten unchanged guests exchange numbered packets: every number arrives
//! once and in order, the books balance, and all memory is back.

use serde_json::{Value, json};
use std::time::Duration;
use tests::config::tap;
use tests::counts::{ATTACH_CYCLES, SOAK_CHANGES, SOAK_PPS};
use tests::frames::Random;
use tests::paced::{Paced, Talker};
use tests::world::address;
use tests::{Appliance, Attach, World, within};

/// Guests that talk and are never changed.
const TALKERS: usize = 10;
/// Guests that come, change and go.
const VISITORS: usize = 50;
/// Changes in one batch; a batch is one transaction and one snapshot on disk.
const BATCH: usize = 10;

fn talkers(world: &World) -> Vec<Talker> {
    (1..=TALKERS).map(|n| Talker { host: world.ct(n).clone(), ip: address(n) }).collect()
}

/// Sends changes as one transaction.
#[track_caller]
fn batch(app: &Appliance, changes: &[Value]) {
    let (status, answer) = app.api("POST", "/v1/batch", &Value::from(changes).to_string());
    assert!((200..300).contains(&status), "{status}: {answer}: {changes:?}");
}

/// A visitor's state, so that each change asked for is a legal one.
#[derive(Clone, Copy, Default)]
struct Visitor {
    is_there: bool,
    is_bridged: bool,
    network: usize,
    has_route: bool,
    has_neighbor: bool,
}

const NETWORKS: [&str; 2] = ["soak-a", "soak-b"];

/// The next change of a visitor on the shared port: add, move its address, route, neighbor, delete.
fn next_change(random: &mut Random, number: usize, visitor: &mut Visitor) -> Value {
    let guest = format!("visitor{number}");
    let ip = format!("10.1.0.{number}/32");
    if !visitor.is_there {
        visitor.is_there = true;
        let wish = json!({ "port": "shared:venet0", "addresses": [ip] });
        return json!({ "change": "adapter-add", "guest": guest, "adapter": "eth0", "wish": wish });
    }
    let prefix = format!("10.2.{number}.0/24");
    match random.below(5) {
        0 if !visitor.has_route => {
            visitor.has_route = true;
            let via = json!({ "next-hop": format!("10.1.0.{number}") });
            json!({ "change": "route-add", "prefix": prefix, "via": via })
        }
        1 if visitor.has_route => {
            visitor.has_route = false;
            json!({ "change": "route-del", "prefix": prefix })
        }
        2 => {
            let spare = format!("10.3.{}.{number}/32", random.below(200));
            let wish = json!({ "addresses": [ip, spare] });
            json!({ "change": "adapter-set", "guest": guest, "adapter": "eth0", "wish": wish })
        }
        3 if !visitor.has_route => {
            visitor.is_there = false;
            json!({ "change": "adapter-del", "guest": guest, "adapter": "eth0" })
        }
        _ => {
            let ip = format!("192.0.2.{}", 200 + number);
            visitor.has_neighbor = !visitor.has_neighbor;
            if !visitor.has_neighbor {
                return json!({ "change": "neighbor-del", "ip": ip });
            }
            let mac = format!("02:00:00:00:01:{:02x}", random.below(250));
            json!({ "change": "neighbor-add", "ip": ip, "mac": mac, "dev": "up0" })
        }
    }
}

/// A change of the one visitor with a port of its own: its mode there and back, its network.
fn next_move(turn: usize, mover: &mut Visitor) -> Value {
    let wish = match turn % 4 {
        0 | 2 => {
            mover.is_bridged = true;
            mover.network = 1 - mover.network;
            json!({ "mode": "virtual-network", "network": NETWORKS[mover.network] })
        }
        1 => {
            mover.network = 1 - mover.network;
            json!({ "network": NETWORKS[mover.network] })
        }
        _ => {
            mover.is_bridged = false;
            json!({ "mode": "host-routed" })
        }
    };
    json!({ "change": "adapter-set", "guest": "mover", "adapter": "eth0", "wish": wish })
}

#[test]
fn card2_thousands_of_changes_disturb_no_packet_of_the_unchanged() {
    let mut world = World::routed_with(Attach::Own, TALKERS, |lab, config| {
        lab.host("gw-venet");
        lab.host("mover");
        let config = config.shared().network(NETWORKS[0], "").network(NETWORKS[1], "");
        let addresses = "addresses = [\"10.1.1.1/32\"]";
        config.container("mover").adapter("eth0", &tap("mover", "eth0"), addresses)
    });
    for n in 1..=TALKERS {
        world.ct(n).reaches(&address(n % TALKERS + 1));
    }
    let add =
        |n| json!({ "change": "guest-add", "guest": format!("visitor{n}"), "kind": "container" });
    batch(&world.app, &(1..=VISITORS).map(add).collect::<Vec<_>>());
    // Nothing is held for a neighbor any more: from here on the pool must come back exactly.
    std::thread::sleep(Duration::from_millis(1_500));
    world.app.forget_pool();

    let rate = SOAK_PPS.now();
    let paced = Paced::ring(&talkers(&world), rate);
    let mut random = Random(0x50a7);
    let mut visitors = [Visitor::default(); VISITORS + 1];
    let mut mover = Visitor::default();
    let mut done = 0;
    let wanted = SOAK_CHANGES.now() as usize;
    while done < wanted {
        let mut changes: Vec<Value> = (1..BATCH)
            .map(|_| {
                let number = 1 + random.below(VISITORS);
                next_change(&mut random, number, &mut visitors[number])
            })
            .collect();
        changes.push(next_move(done / BATCH, &mut mover));
        batch(&world.app, &changes);
        done += changes.len();
    }
    // The exchange goes on for a second at least, however fast the changes were.
    assert!(within(Duration::from_secs(5), || paced.sent() > u64::from(rate)));
    assert!(paced.finish() > u64::from(rate));

    let remove = |n| json!({ "change": "guest-del", "guest": format!("visitor{n}") });
    let routes = (1..=VISITORS)
        .filter(|n| visitors[*n].has_route)
        .map(|n| json!({ "change": "route-del", "prefix": format!("10.2.{n}.0/24") }));
    batch(&world.app, &routes.collect::<Vec<_>>());
    batch(&world.app, &(1..=VISITORS).map(remove).collect::<Vec<_>>());
    world.end();
}

#[test]
fn card2_ports_attach_and_detach_while_the_others_talk() {
    let mut world = World::routed(Attach::Own, TALKERS);
    for n in 1..=TALKERS {
        world.ct(n).reaches(&address(n % TALKERS + 1));
    }
    let guest = world.lab.host("guest");
    world.app.must("guest add guest container");
    std::thread::sleep(Duration::from_millis(1_500));
    world.app.forget_pool();
    let paced = Paced::ring(&talkers(&world), SOAK_PPS.now());
    let port = tap("guest", "eth0");
    for turn in 0..ATTACH_CYCLES.now() {
        world.app.must(&format!("adapter add guest eth0 port {port} ip 10.1.0.1"));
        if turn % 10 == 0 {
            guest.reaches(&address(1));
        }
        world.app.must("adapter del guest eth0");
    }
    assert!(paced.finish() > 1_000);
    // The pool is where it was: the ports are the same as after the start.
    world.end();
}
