//! The appliance as a service: readiness, watchdog, workers that stand still, reload.

use nix::sys::signal::Signal;
use std::time::Duration;
use tests::appliance::ctl;
use tests::balance::rows;
use tests::config::tap;
use tests::notify::ServiceManager;
use tests::stall::Stall;
use tests::world::{OUT, address};
use tests::{Appliance, Attach, Config, Lab, World, eventually};

const SECOND: Duration = Duration::from_secs(1);

fn times(app: &Appliance, what: &str) -> usize {
    app.log().matches(what).count()
}

#[test]
fn a_worker_that_stands_still_is_told_counted_and_told_again_when_it_goes_on() {
    let world = World::routed(Attach::Own, 2);
    world.ct(1).reaches(&address(2));
    let worker = || rows(world.app.json("show worker"))[0].clone();
    assert_eq!((&worker()["late"], &worker()["late-beats"]), (&false.into(), &0.into()));
    for turn in 1..=2 {
        let stall = Stall::worker(world.app.pid(), 1);
        eventually("it is late", 4 * SECOND, || {
            times(&world.app, "worker on core 1 is late") == turn
        });
        // Control is not held up by it.
        let row = worker();
        assert_eq!((&row["late"], &row["late-beats"]), (&true.into(), &turn.into()), "{row}");
        std::thread::sleep(2 * SECOND);
        drop(stall);
        eventually("it is back", 2 * SECOND, || times(&world.app, "beats again after") == turn);
        let row = worker();
        assert_eq!((&row["late"], &row["late-beats"]), (&false.into(), &turn.into()), "{row}");
        world.ct(1).reaches(&address(2));
        assert_eq!(times(&world.app, "worker on core 1 is late"), turn, "each is told once");
    }
    world.end();
}

#[test]
fn the_service_manager_hears_of_readiness_state_reload_and_end() {
    let lab = Lab::new();
    let manager = ServiceManager::new(&lab);
    let environment = manager.environment(60 * SECOND);
    let socket = lab.dir().join("api.sock");
    // Whoever waits for readiness finds it served and forwarding at once.
    let waiting = std::thread::spawn(move || {
        let ready = manager.hears("READY=1", 20 * SECOND);
        (ctl(&socket, "--json show version"), ready, manager)
    });
    let mut app = Appliance::start_with(&lab, &Config::new(&lab), None, environment);
    let (version, ready, manager) = waiting.join().expect("told");
    assert!(version.expect("served").contains("\"forwarding\":true"));
    assert!(ready.contains("STATUS=forwarding; guests: 0, ports: 0"), "{ready}");
    app.must("guest add ct1 container");
    let status = manager.hears("STATUS=", 2 * SECOND);
    assert!(status.contains("guests: 1"), "{status}");
    app.must("stop");
    let status = manager.hears("STATUS=", 2 * SECOND);
    assert!(status.contains("stopped"), "{status}");
    app.must("start");
    manager.hears("STATUS=forwarding", 2 * SECOND);
    app.signal(Signal::SIGHUP);
    let reloading = manager.hears("RELOADING=1", 2 * SECOND);
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1", 2 * SECOND);
    app.stop();
    manager.hears("STOPPING=1", SECOND);
}

#[test]
fn the_watchdog_is_fed_only_while_every_worker_comes_round() {
    let lab = Lab::new();
    let manager = ServiceManager::new(&lab);
    let environment = manager.environment(2 * SECOND);
    let mut app = Appliance::start_with(&lab, &Config::new(&lab), None, environment);
    manager.hears("READY=1", SECOND);
    let fed = |time: Duration| {
        let told = manager.hear_for(time);
        told.iter().filter(|one| *one == "WATCHDOG=1").count()
    };
    let count = fed(5 * SECOND);
    assert!((4..=6).contains(&count), "each second, and it was {count} times in 5 s");
    let stall = Stall::worker(app.pid(), 1);
    let late = manager.hears("STATUS=", 4 * SECOND);
    assert!(late.contains("worker on core 1 is late"), "{late}");
    assert_eq!(fed(3 * SECOND), 0, "while a worker stands still");
    drop(stall);
    manager.hears("WATCHDOG=1", 2 * SECOND);
    assert!(fed(3 * SECOND) >= 2, "again once it goes on");
    app.stop();
}

/// Control stands still, its workers go on: nobody says that all is well.
#[test]
fn the_watchdog_is_not_fed_while_control_stands_still() {
    let lab = Lab::new();
    let manager = ServiceManager::new(&lab);
    let environment = manager.environment(2 * SECOND);
    let mut app = Appliance::start_with(&lab, &Config::new(&lab), None, environment);
    manager.hears("WATCHDOG=1", 3 * SECOND);
    let stall = Stall::control(app.pid());
    manager.hear_for(SECOND / 2);
    assert_eq!(manager.hear_for(3 * SECOND), [""; 0]);
    drop(stall);
    manager.hears("WATCHDOG=1", 2 * SECOND);
    app.stop();
}

#[test]
fn sighup_takes_the_file_over_and_a_file_with_errors_changes_nothing() {
    let world = World::routed(Attach::Own, 2);
    let file = world.app.config().to_owned();
    let text = std::fs::read_to_string(&file).expect("the file");
    let reload = |text: &str, says: &str| {
        std::fs::write(&file, text).expect("the file");
        let before = times(&world.app, says);
        world.app.signal(Signal::SIGHUP);
        eventually(says, 3 * SECOND, || times(&world.app, says) > before);
    };
    world.ct(1).reaches(&address(2));

    // Errors: each is named, and all is as before.
    let config = world.app.must("show config");
    reload(
        &(text.clone() + "\n[[guest]]\nname = \"ct9\"\nkind = \"ship\"\ncolour = 1\n"),
        "nothing was changed",
    );
    let log = world.app.log();
    assert!(log.contains("ship") && log.contains("colour"), "{log}");
    assert_eq!(world.app.must("show config"), config);

    // Good: a new guest, another MTU, one gone; what takes a restart is told.
    world.lab.host("ct3");
    let addresses = Config::addresses(&[&format!("{}/32", address(3))]);
    let more = format!(
        "\n[[guest]]\nname = \"ct3\"\nkind = \"container\"\n[[guest.adapter]]\nname = \"eth0\"\n\
         port = \"{}\"\nmtu = 1400\n{addresses}\n",
        tap("ct3", "eth0")
    );
    let second = text.find("[[guest]]\nname = \"ct2\"").expect("ct2 is last");
    let next = text[..second].replace("mbufs = 16384", "mbufs = 20000") + &more;
    reload(&next, "was taken over");
    let log = world.app.log();
    assert!(log.contains("appliance mbufs") && log.contains("takes effect at a start"), "{log}");
    assert!(log.contains("+ guest ct3") && log.contains("- guest ct2"), "{log}");
    world.app.refused("show guest ct2");
    world.ct(1).reaches(&address(3));
    world.lab.known("ct3").reaches(OUT);
    let diff = world.app.json("show config --diff")["lines"].clone();
    assert!(diff.to_string().contains("mbufs") && rows(diff.clone()).len() == 1, "{diff}");

    // Unchanged since: what was changed live stays.
    world.app.must("guest add ct7 container");
    reload(&next, "registers what it did");
    world.app.must("show guest ct7");

    // What can't be had is refused whole.
    let wrong = next.clone()
        + "\n[[network]]\nname = \"lan5\"\nuplink = \"up0\"\n\n[[guest]]\nname = \"ct8\"\n\
           kind = \"container\"\n[[guest.adapter]]\nname = \"eth0\"\n\
           port = \"tap,iface=ct8-eth0,netns=nowhere\"\naddresses = [\"192.0.2.18/32\"]\n";
    reload(&wrong, "reload: not applied, nothing was changed");
    world.app.must("show guest ct7");
    world.app.refused("show network lan5");
    world.end();
}
