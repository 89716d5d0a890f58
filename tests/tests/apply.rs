//! What `config apply` changes while everything runs: an uplink's addresses and gateway, and what must not begin
//! anew meanwhile, accounts and classes.

use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;
use tests::balance::rows;
use tests::config::tap;
use tests::frames::{Arp, ip};
use tests::world::{FAR, OUT, ROUTER, SERVER, address};
use tests::{Appliance, Attach, Config, Lab, World, eventually};

/// The server's second address, on a prefix of its own.
const MORE: &str = "10.9.0.1";
const MORE_NET: &str = "10.9.0.1/24";
/// The outside host and the router there.
const MORE_OUT: &str = "10.9.0.50";
const MORE_ROUTER: &str = "10.9.0.254";

const ADDRESSES: &str = "addresses = [\"192.0.2.1/24\"]";
const GATEWAY: &str = "gateway = [\"192.0.2.254\"]";

/// `config apply` of this text.
fn apply(world: &World, text: &str) -> String {
    let file = world.lab.dir().join("next.toml");
    fs::write(&file, text).expect("the file");
    format!("config apply {}", file.display())
}

/// A world whose LAN has the second prefix too.
fn world(more: impl FnOnce(&Lab, Config) -> Config) -> World {
    let world = World::routed_with(Attach::Own, 2, more);
    world.out().address("eth0", &format!("{MORE_OUT}/24"));
    world.outside.router.address("eth0", &format!("{MORE_ROUTER}/24"));
    world
}

/// Addresses of the server's kernel.
fn kernel(world: &World) -> Vec<String> {
    let text = world.server.run("ip -4 -o address show dev gw-host");
    let of = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    let mut all: Vec<String> = text.lines().filter_map(of).collect();
    all.sort();
    all
}

/// Waits until the LAN finds an address at the uplink's MAC, and nobody else.
#[track_caller]
fn is_answered(world: &World, ip: &str) {
    let uplink = [world.uplink_mac()];
    eventually(ip, Duration::from_secs(5), || answering(world, ip) == uplink);
}

/// Whom the LAN finds at an address.
fn answering(world: &World, ip: &str) -> Vec<String> {
    world.out().arping("eth0", ip)
}

#[test]
fn an_uplinks_addresses_and_gateway_change_while_packets_go_on() {
    let world = world(|_, config| config);
    let before = world.app.must("show config");
    world.ct(1).reaches(&address(2));
    world.ct(1).reaches(FAR);

    // One more. First told, and nothing done.
    let both =
        before.replace(ADDRESSES, &format!("addresses = [\"192.0.2.1/24\", \"{MORE_NET}\"]"));
    let more = apply(&world, &both);
    let dry = world.app.must(&format!("{more} dry-run"));
    assert!(dry.contains("~ port up0 addresses: ") && dry.contains("would be made"), "{dry}");
    assert!(!dry.contains("next start"), "{dry}");
    assert_eq!(world.app.must("show config"), before);
    assert_eq!(kernel(&world), ["192.0.2.1/32"]);
    assert_eq!(answering(&world, MORE), [""; 0]);
    let lan = world.out().capture("eth0", "arp");
    let done = world.app.must(&more);
    assert!(
        done.contains(&format!("~ port up0 addresses: [\"192.0.2.1/24\", \"{MORE_NET}\"]")),
        "{done}"
    );
    assert_eq!(world.app.must(&more).trim(), "no change");
    assert_eq!(kernel(&world), ["10.9.0.1/32", "192.0.2.1/32"]);
    for ip in [MORE, SERVER] {
        is_answered(&world, ip);
        world.out().reaches(ip);
        world.ct(1).reaches(ip);
    }
    world.ct(1).reaches(MORE_OUT);
    world.server.reaches(MORE_OUT);
    let heard = lan.finish();
    let is_announced = |arp: Arp| arp.sender_ip == ip(MORE) && arp.target_ip == ip(MORE);
    assert!(heard.iter().filter_map(|frame| Arp::read(frame)).any(is_announced), "announced");

    // The first one and its gateway go, while a guest talks to another and to the outside.
    let talk = world.ct(1).spawn(&format!("ping -n -q -i 0.02 -c 150 -W 5 {}", address(2)));
    let only = before
        .replace(ADDRESSES, &format!("addresses = [\"{MORE_NET}\"]"))
        .replace(GATEWAY, &format!("gateway = [\"{MORE_ROUTER}\"]"));
    let middle = world.app.must("show config");
    assert!(world.app.must("show neighbor").contains("192.0.2.254"));
    world.app.must(&apply(&world, &only));
    let said = String::from_utf8_lossy(&talk.finish().stdout).into_owned();
    assert!(said.contains("150 received"), "guests notice nothing: {said}");
    let neighbors = world.app.must("show neighbor");
    assert!(!neighbors.contains("192.0.2."), "nobody is on that link any more: {neighbors}");
    assert_eq!(kernel(&world), ["10.9.0.1/32"]);
    assert_eq!(answering(&world, SERVER), [""; 0], "no longer ours");
    is_answered(&world, &address(1));
    world.out().never_reaches(SERVER);
    world.out().reaches(MORE);
    // The router is found by its other address alone.
    let router = &world.outside.router;
    router.run(&format!("ip address del {ROUTER}/24 dev eth0"));
    router.run("ip route add 192.0.2.0/24 dev eth0");
    world.app.must("neighbor flush");
    world.ct(1).reaches(FAR);
    let route = world.app.must(&format!("show route {FAR}"));
    assert!(route.contains(MORE_ROUTER), "{route}");
    let expired = world.ct(1).output(&format!("ping -n -c 1 -t 1 -W 2 {FAR}"));
    let expired = String::from_utf8_lossy(&expired.stdout).into_owned();
    assert!(expired.contains("From 10.9.0.1 "), "errors come from what is ours: {expired}");

    // And back, twice.
    router.address("eth0", &format!("{ROUTER}/24"));
    let back = world.app.must("config rollback");
    assert!(back.contains("~ port up0 gateway: [\"192.0.2.254\"]"), "{back}");
    assert_eq!(world.app.must("show config"), middle);
    assert_eq!(kernel(&world), ["10.9.0.1/32", "192.0.2.1/32"]);
    is_answered(&world, SERVER);
    world.ct(1).reaches(FAR);
    world.ct(1).reaches(OUT);
    world.app.must(&apply(&world, &before));
    assert_eq!(world.app.must("show config"), before);
    assert_eq!(kernel(&world), ["192.0.2.1/32"]);
    world.end();
}

#[test]
fn ports_come_from_the_file_at_a_start_and_keep_what_was_applied_since_it_was_written() {
    let mut world = world(|_, config| config);
    let own = world.app.config().to_owned();
    let text = fs::read_to_string(&own).expect("the file");
    let other = format!("addresses = [\"{MORE_NET}\", \"192.0.2.1/24\"]");
    let before = world.app.must("show config");
    // From another file: it outlives a kill, since the appliance's own says what it said.
    world.app.must(&apply(&world, &before.replace(ADDRESSES, &other)));
    let applied = world.app.must("show config");
    world.app.kill();
    world.app.launch();
    assert_eq!(world.app.must("show config"), applied);
    assert_eq!(kernel(&world), ["10.9.0.1/32", "192.0.2.1/32"]);
    world.out().reaches(MORE);
    world.ct(1).reaches(&address(2));
    // Taken over from its own file, by SIGHUP; and what was rolled back since stays so.
    let only = text.replace(ADDRESSES, &format!("addresses = [\"{MORE_NET}\"]"));
    let only = only.replace(GATEWAY, &format!("gateway = [\"{MORE_ROUTER}\"]"));
    fs::write(&own, &only).expect("the file");
    world.app.signal(Signal::SIGHUP);
    eventually("reloaded", Duration::from_secs(3), || kernel(&world) == ["10.9.0.1/32"]);
    assert_eq!(world.app.json("show config --diff")["same"], true);
    let reloaded = world.app.must("show config");
    world.app.must("config rollback");
    assert_eq!(world.app.must("show config"), applied);
    world.app.kill();
    world.app.launch();
    assert_eq!(world.app.must("show config"), applied);
    // And applied once more.
    world.app.must(&format!("config apply {}", own.display()));
    world.app.kill();
    world.app.launch();
    assert_eq!(world.app.must("show config"), reloaded);
    assert_eq!(kernel(&world), ["10.9.0.1/32"]);
    world.ct(1).reaches(FAR);
    // A file that says something else is what counts, even what it said once before.
    fs::write(&own, &text).expect("the file");
    world.app.kill();
    world.app.launch();
    assert_eq!(world.app.must("show config"), before);
    assert_eq!(kernel(&world), ["192.0.2.1/32"]);
    world.ct(1).reaches(FAR);
    world.end();
}

#[test]
fn an_apply_that_fails_half_way_leaves_addresses_as_they_were() {
    let world = world(|_, config| config);
    let before = world.app.must("show config");
    let changed = before
        .replace(ADDRESSES, &format!("addresses = [\"{MORE_NET}\"]"))
        .replace(GATEWAY, &format!("gateway = [\"{MORE_ROUTER}\"]"));
    // The second of two guests can't be: its namespace is not there.
    let guest = |name: &str, port: &str, ip: &str| {
        format!(
            "\n[[guest]]\nname = \"{name}\"\nkind = \"container\"\n[[guest.adapter]]\n\
             name = \"eth0\"\nport = \"{port}\"\naddresses = [\"{ip}/32\"]\n"
        )
    };
    let more = guest("ct7", "tap,iface=ct7-eth0", "10.9.0.17")
        + &guest("ct8", "tap,iface=ct8-eth0,netns=nowhere", "10.9.0.18");
    let lan = world.out().capture("eth0", "arp and host 10.9.0.1");
    let refused = world.app.refused(&apply(&world, &(changed.clone() + &more)));
    assert!(refused.contains("nothing was changed") && refused.contains("nowhere"), "{refused}");
    let same = |what: &str| {
        assert_eq!(world.app.must("show config"), before, "{what}");
        assert_eq!(kernel(&world), ["192.0.2.1/32"], "{what}");
        is_answered(&world, SERVER);
    };
    same("after a device that can't be opened");
    lan.finish_empty();
    // What contradicts what else the file says is refused as a whole, the dry run too.
    let taken = changed.clone() + &guest("ct7", "tap,iface=ct7-eth0", MORE);
    let refused = world.app.refused(&apply(&world, &taken));
    assert!(refused.contains(MORE), "{refused}");
    let by_route = before
        .replace(ADDRESSES, "addresses = [\"192.0.2.1/24\", \"198.51.100.77/24\"]")
        + "\n[[route]]\nprefix = \"198.51.100.0/24\"\nvia = \"192.0.2.254\"\n";
    let refused = world.app.refused(&format!("{} dry-run", apply(&world, &by_route)));
    assert!(refused.contains("198.51.100.0/24"), "{refused}");
    same("after refusals");
    world.out().reaches(SERVER);
    world.ct(1).reaches(FAR);
    world.end();
}

#[test]
fn guests_inside_an_uplinks_new_prefix_are_probed_or_announced() {
    const OLD: &str = "10.9.0.12";
    const NEW: &str = "10.9.0.13";
    // One guest whose address is on no link yet; addresses are probed.
    let world = world(|lab, config| {
        lab.host("ct3");
        let addresses = Config::addresses(&[&format!("{OLD}/32")]);
        let config = config.replace("probe = false", "");
        config.container("ct3").adapter("eth0", &tap("ct3", "eth0"), &addresses)
    });
    for name in ["ct4", "ct5"] {
        world.lab.host(name);
    }
    let state = |guest: &str| {
        let guest = world.app.json(&format!("show guest {guest}"));
        guest["adapters"][0]["guest-side"]["addresses"][0]["state"].clone()
    };
    assert_eq!(state("ct3"), "up", "nobody there could hear a probe");
    let before = world.app.must("show config");
    let guest = |name: &str, ip: &str| {
        format!(
            "\n[[guest]]\nname = \"{name}\"\nkind = \"container\"\n[[guest.adapter]]\n\
             name = \"eth0\"\nport = \"{}\"\naddresses = [\"{ip}/32\"]\n",
            tap(name, "eth0")
        )
    };
    // The prefix, a guest in it, and one whose address the outside host has.
    let both = format!("addresses = [\"192.0.2.1/24\", \"{MORE_NET}\"]");
    let text = before.replace(ADDRESSES, &both) + &guest("ct4", NEW) + &guest("ct5", MORE_OUT);
    // What is announced at the start is over then.
    std::thread::sleep(Duration::from_secs(4));
    let lan = world.out().capture("eth0", "arp");
    world.app.must(&apply(&world, &text));
    assert_eq!(state("ct3"), "up", "what is up stays up");
    assert_eq!(state("ct4"), "probing");
    assert_eq!(answering(&world, NEW), [""; 0]);
    let patience = Duration::from_secs(12);
    eventually("in use by the outside host", patience, || state("ct5") == "conflict");
    eventually("a free one comes up", patience, || state("ct4") == "up");
    is_answered(&world, NEW);
    let heard: Vec<Arp> = lan.finish().iter().filter_map(|frame| Arp::read(frame)).collect();
    let is_from = |arp: &&Arp, sender: &str, target: &str| {
        arp.sender_ip == ip(sender) && arp.target_ip == ip(target)
    };
    let count = |sender, target| heard.iter().filter(|arp| is_from(arp, sender, target)).count();
    assert_eq!(count("0.0.0.0", NEW), 3, "probed: {heard:#?}");
    assert_eq!(count("0.0.0.0", OLD), 0, "never given up");
    assert!(count(OLD, OLD) >= 1, "the LAN is told of it: {heard:#?}");
    // Off the link again: nobody there can be asked, or object.
    let off = world.app.must("show config").replace(&both, ADDRESSES);
    world.app.must(&apply(&world, &off));
    assert_eq!(state("ct5"), "up");
    world.end();
}

/// Packets and bytes by class, in and out.
fn account(app: &Appliance, guest: &str, class: &str) -> Option<[u64; 4]> {
    let all = rows(app.json(&format!("show accounting {guest}")));
    let row = all.into_iter().find(|row| row["class"] == class)?;
    Some(
        ["in-pkts", "in-bytes", "out-pkts", "out-bytes"]
            .map(|key| row[key].as_u64().expect("a number")),
    )
}

#[test]
fn vz8_accounts_go_on_where_an_adapter_is_replaced_or_a_class_changes() {
    let mut world = World::routed(Attach::Own, 2);
    world.app.must("class add lan 192.0.2.0/24");
    world.app.must("class add far 198.51.100.0/24");
    world.app.must("adapter set ct1 eth0 class-rate far out 100M");
    world.ct(1).reaches(OUT);
    world.ct(1).reaches(FAR);
    world.ct(2).reaches(OUT);
    // What is under way is counted by and by.
    let counted = |world: &World, class: &str| {
        let (mut last, mut same) = ([0; 4], 0);
        let is_settled = || {
            let now = account(&world.app, "ct1", class).expect(class);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same == 10
        };
        eventually("a count at rest", Duration::from_secs(5), is_settled);
        last
    };
    let [lan, far] = ["lan", "far"].map(|class| counted(&world, class));
    assert!(lan[2] >= 10 && far[2] >= 10, "{lan:?} {far:?}");
    // The port is another: deleted and added in one batch.
    let before = world.app.must("show config");
    let port = tap("ct1", "eth0");
    assert!(before.contains(&port), "{before}");
    let text = before.replace(&port, &port.replace("iface=ct1-eth0", "iface=ct1-other"));
    world.app.must(&apply(&world, &text));
    assert_eq!(["lan", "far"].map(|class| counted(&world, class)), [lan, far]);
    world.ct(1).reaches(OUT);
    let more = counted(&world, "lan");
    assert!(more[2] >= lan[2] + 10, "{more:?} after {lan:?}");
    // One whose prefixes change goes on, with the rate for it in force.
    let text = world.app.must("show config").replace(
        "prefixes = [\"198.51.100.0/24\"]",
        "prefixes = [\"198.51.0.0/16\", \"203.0.113.0/24\"]",
    );
    let done = world.app.must(&apply(&world, &text));
    assert!(done.contains("~ class far") && done.contains("1 change made"), "{done}");
    assert_eq!(counted(&world, "far"), far);
    let guest = world.app.must("show guest ct1");
    assert!(guest.contains("class far"), "{guest}");
    world.ct(1).reaches(FAR);
    let now = counted(&world, "far");
    assert!(now[2] >= far[2] + 10, "{now:?} after {far:?}");
    assert_eq!(world.app.must(&apply(&world, &text)).trim(), "no change");
    // A restart finds both, and whoever is deleted for good begins at nothing.
    world.app.stop();
    world.app.launch();
    let restarted = counted(&world, "far");
    assert!(restarted[2] >= now[2], "{restarted:?} after {now:?}");
    let with = world.app.must("show config");
    world.app.must("guest del ct2");
    world.app.must(&apply(&world, &with));
    assert_eq!(account(&world.app, "ct2", "lan"), Some([0; 4]));
    world.end();
}
