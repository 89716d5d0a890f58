//! What an operator sees at a real terminal: completion, history, pages, an error for each bad word (CARD-5).

use std::time::Duration;
use tests::config::tap;
use tests::world::address;
use tests::{Appliance, Attach, Config, Lab, Terminal, World, binary, eventually};

/// As wide as a window beside another, and as high.
const SIZE: (u16, u16) = (100, 40);

/// `ct1` with an adapter, and so many guests more that they don't fit a screen.
fn many_guests(lab: &Lab) -> Config {
    lab.host("ct1");
    let config = Config::new(lab).network("lan-of-seven", "").container("ct1");
    let config = config.adapter("eth0", &tap("ct1", "eth0"), "addresses = [\"203.0.113.11\"]");
    (10..70).fold(config, |config, number| config.vm(&format!("guest{number}")))
}

fn ctl(app: &Appliance) -> String {
    format!("{} ctl --socket {}", binary().display(), app.socket().display())
}

/// Nothing is typed any more, and the program waits for it.
fn is_prompt(screen: &str) -> bool {
    screen.trim_end().ends_with("\nguestway>")
}

#[test]
fn card5_the_prompt_completes_and_remembers() {
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &many_guests(&lab), None);
    let again = format!("{0}; echo first is over; {0}; echo second is over", ctl(&app));
    let terminal = Terminal::open(&lab, SIZE, &again);
    terminal.shows("guestway>");
    // Words of commands, names of what is there, keys of an adapter.
    terminal.types(&["sho", "Tab", "vers", "Tab", "Enter"]);
    terminal.shows("show version");
    terminal.types(&["show network lan-o", "Tab", "Enter"]);
    terminal.shows("show network lan-of-seven");
    terminal.types(&["adapter set ct", "Tab", "et", "Tab", "fil", "Tab"]);
    terminal.shows("guestway> adapter set ct1 eth0 filter");
    // Ctrl-C drops a line.
    terminal.types(&["C-c", "adapter set ct1 eth0 rat", "Tab", "in 10M", "Enter"]);
    terminal.shows("adapter set ct1 eth0 rate in 10M");
    terminal.types(&["adapter set ct1 eth0 ", "Tab", "Tab"]);
    for key in ["host-mac", "mtu", "gateway", "announce", "class-rate"] {
        terminal.shows(key);
    }
    terminal.types(&["C-c"]);
    // The last command but one again, by arrows; one further back by a part of it.
    terminal.types(&["guest add vm5 vm", "Enter"]);
    eventually("the guest is there", Duration::from_secs(3), || app.ctl("show guest vm5").is_ok());
    terminal.types(&["guest del vm5", "Enter"]);
    eventually("the guest is gone", Duration::from_secs(3), || app.ctl("show guest vm5").is_err());
    terminal.types(&["Up", "Up", "Enter"]);
    eventually("and there again", Duration::from_secs(3), || app.ctl("show guest vm5").is_ok());
    terminal.types(&["C-r", "del vm", "Enter"]);
    eventually("gone again", Duration::from_secs(3), || app.ctl("show guest vm5").is_err());
    // Ctrl-D leaves, and the next prompt remembers.
    terminal.types(&["C-d"]);
    terminal.shows("first is over");
    terminal.becomes("a second prompt", is_prompt);
    terminal.types(&["Up", "Up", "Enter"]);
    eventually("there by history", Duration::from_secs(3), || app.ctl("show guest vm5").is_ok());
    terminal.types(&["quit", "Enter"]);
    terminal.shows("second is over");
    app.stop();
}

#[test]
fn card5_every_bad_word_is_named_with_what_would_be_right() {
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &many_guests(&lab), None);
    let terminal = Terminal::open(&lab, (200, 40), &ctl(&app));
    terminal.shows("guestway>");
    for (line, wants) in [
        // Command, subcommand, key.
        ("shwo guest", &["unknown command \"shwo\"", "did you mean \"show\"?", "try: help"][..]),
        ("show guset", &["\"guset\" after \"show\"", "did you mean \"guest\"?"]),
        ("adapter set ct1 eth0 mttu 1400", &["\"mttu\"", "did you mean \"mtu\"?"]),
        // Value: too large, of another form, not of the choice, too slow.
        ("adapter set ct1 eth0 mtu 99999", &["bad BYTES \"99999\"", "a number from"]),
        ("adapter set ct1 eth0 ip 300.1.2.3", &["\"300.1.2.3\"", "a prefix like"]),
        ("adapter set ct1 eth0 mac 02:00", &["\"02:00\"", "a MAC like"]),
        ("adapter set ct1 eth0 mode routed", &["\"routed\"", "host-routed or virtual-network"]),
        ("adapter set ct1 eth0 rate in 10x", &["\"10x\"", "500k, 10M"]),
        ("adapter set ct1 eth0 filter mca", &["\"mca\"", "ip,mac,promisc"]),
        // Missing, too much, twice.
        ("adapter set ct1 eth0 mtu", &["is not complete", "a number from"]),
        ("guest add vm9", &["is not complete", "container or vm"]),
        ("show version now", &["\"now\" is one word too many"]),
        ("adapter set ct1 eth0 mtu 1400 mtu 1500", &["mtu is given twice"]),
        // What is not there.
        ("show guest ct11", &["no guest ct11", "did you mean \"ct1\"?"]),
        ("adapter set ct1 eth0 network lan-of-six", &["lan-of-six"]),
    ] {
        terminal.types(&["C-l", line, "Enter"]);
        let screen = terminal.becomes(line, |screen| {
            screen.starts_with(&format!("guestway> {line}\n")) && is_prompt(screen)
        });
        for want in wants {
            assert!(screen.contains(want), "{want:?} is not said of {line:?}:\n{screen}");
        }
    }
    terminal.types(&["C-l", "help adapter", "Enter"]);
    let help = terminal.becomes("help", is_prompt);
    for want in ["adapter add GUEST ADAPTER port SPEC", "adapter del GUEST ADAPTER", "[mtu BYTES]"]
    {
        assert!(help.contains(want), "{want:?}:\n{help}");
    }
    assert!(!help.contains("network add"), "{help}");
    terminal.types(&["C-d"]);
    app.stop();
}

/// A list of guests that begins with `ct1` and goes on; nothing after it.
fn is_first_page(screen: &str) -> bool {
    screen.contains("guest10") && !screen.contains("guest69")
}

#[test]
fn card5_long_listings_come_in_pages_and_wide_ones_fit() {
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &many_guests(&lab), None);
    let ctl = ctl(&app);
    let commands = format!(
        "{ctl} show guest all; echo left with $?; PAGER='head -n 3' {ctl} show guest all; echo read 3 with $?; \
         PAGER='echo paged; cat' {ctl} show version; echo short with $?; \
         {ctl} show guest all --json; echo whole; exec {ctl}"
    );
    let terminal = Terminal::open(&lab, SIZE, &commands);
    // One command, as git does; left in the middle.
    let screen = terminal.becomes("the first page", is_first_page);
    // What has no room beside the rest stands beneath, and what is not there takes no line.
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines[0].starts_with("GUEST ") && lines[0].ends_with("  ADDRESSES"), "{screen}");
    assert!(lines[2].starts_with("ct1 ") && lines[2].ends_with(" 203.0.113.11/32"), "{screen}");
    let beneath = "    tap,iface=ct1-eth0,netns=ct1,guest-iface=eth0";
    assert_eq!((lines[1], lines[3]), ("    PORT", beneath), "{screen}");
    assert!(lines[4].starts_with("guest10 ") && lines[5].starts_with("guest11 "), "{screen}");
    terminal.types(&["q"]);
    terminal.shows("left with 0");
    // Another pager, that has enough before the end; what programs read comes in no pages.
    terminal.shows("read 3 with 0");
    terminal.shows("short with 0");
    assert!(!terminal.all().contains("paged"), "what fits comes in no pages");
    terminal.shows("whole");
    // The same at the prompt, to the end.
    terminal.becomes("the prompt", is_prompt);
    terminal.types(&["C-l", "show guest all", "Enter"]);
    terminal.becomes("the first page", is_first_page);
    terminal.types(&["Space"]);
    terminal.becomes("the end", |screen| screen.contains("guest69"));
    terminal.types(&["q"]);
    terminal.becomes("the prompt", is_prompt);
    // What fits is no page.
    terminal.types(&["C-l", "show version", "Enter"]);
    let screen = terminal.becomes("the version and the prompt", is_prompt);
    assert!(screen.contains("DPDK"), "{screen}");
    terminal.types(&["quit", "Enter"]);
    app.stop();
}

#[test]
fn card5_run_with_i_opens_the_prompt_and_quit_ends_it_all() {
    let lab = Lab::new();
    let path = lab.dir().join("i.toml");
    std::fs::write(&path, many_guests(&lab).as_str()).expect("file");
    // Should it not end, it ends all the same: a worker that spins on would starve the tests behind this one.
    let run = format!(
        "timeout --foreground 60 {} run --config {} -i",
        binary().display(),
        path.display()
    );
    let line = format!(
        "before=$(stty -g); {run}; echo ended with $?; [ $before = $(stty -g) ] && echo terminal as before"
    );
    let terminal = Terminal::open(&lab, SIZE, &line);
    terminal.shows("guestway>");
    // The appliance can start no program, and shows the pages itself.
    terminal.types(&["show guest all", "Enter"]);
    terminal.becomes("the first page", is_first_page);
    terminal.types(&["Space"]);
    terminal.becomes("the end", |screen| screen.contains("guest69"));
    terminal.types(&["q", "show version", "Enter"]);
    terminal.shows("DPDK");
    terminal.types(&["C-c", "quit", "Enter"]);
    terminal.shows("ended with 0");
    terminal.shows("terminal as before");
}

#[test]
fn top_shows_the_rates_of_now_and_gives_the_terminal_back() {
    let mut world = World::routed(Attach::Own, 2);
    world.ct(1).reaches(&address(2));
    let (ctl, pid) = (ctl(&world.app), world.lab.dir().join("top.pid"));
    let line = format!(
        "before=$(stty -g); same() {{ [ $before = $(stty -g) ] && echo $1, terminal as before; read go; }}; \
         {ctl} top; echo left with $?; same q; \
         sh -c 'echo $$ >{}; exec {ctl} top every 2'; same TERM; {ctl} top; same window",
        pid.display()
    );
    let terminal = Terminal::open(&world.lab, (100, 30), &line);
    let quiet = terminal.becomes("a picture", |screen| row(screen, "ct2/eth0").is_some());
    assert!(quiet.contains("core 1") && row(&quiet, "up0").is_some(), "{quiet}");
    // Frames to the guest per second, once there are some.
    let to_ct2 = |screen: &str| {
        let words = row(screen, "ct2/eth0")?;
        number(words.get(3)?).filter(|rate| *rate >= 50.0)
    };
    assert_eq!(to_ct2(&quiet), None, "{quiet}");
    world.app.must("adapter set ct2 eth0 rate in 100M");
    let flood = world.ct(1).spawn(&format!("ping -q -i 0.005 -w 4 {}", address(2)));
    let is_busy = |screen: &str| {
        let limit = row(screen, "ct2/eth0").and_then(|words| words.last().cloned());
        to_ct2(screen).is_some() && limit.as_deref() == Some("100M/-")
    };
    let busy = terminal.becomes("a flood, and its limit", is_busy);
    assert!(to_ct2(&busy).is_some_and(|rate| rate <= 400.0), "{busy}");
    drop(flood);
    terminal.becomes("quiet again", |screen| to_ct2(screen).is_none());
    // Another size, another order, and out.
    terminal.tmux("resize-window -x 70 -y 12");
    terminal.types(&["r"]);
    terminal.becomes("the last first", |screen| {
        let (first, last) = (screen.find("ct1/eth0"), screen.find("ct2/eth0"));
        last.is_some() && last < first && !screen.contains("LIMIT")
    });
    terminal.types(&["q"]);
    terminal.shows("left with 0");
    terminal.shows("q, terminal as before");
    // A signal ends it as well.
    terminal.tmux("resize-window -x 100 -y 30");
    terminal.types(&["Enter"]);
    terminal.becomes("a picture", |screen| screen.contains("every 2 s"));
    world.server.run(&format!("kill -TERM {}", std::fs::read_to_string(pid).expect("its id")));
    terminal.shows("TERM, terminal as before");
    // An appliance that is gone is told, and does not end it.
    terminal.types(&["Enter"]);
    terminal.becomes("a picture", |screen| screen.contains("every 1 s"));
    world.app.stop();
    terminal.becomes("nobody answers", |screen| screen.starts_with("no guestway answers on"));
    terminal.types(&["C-c"]);
    terminal.shows("window, terminal as before");
}

/// The words of the line that begins with one.
fn row(screen: &str, first: &str) -> Option<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    screen.lines().map(words).find(|words| words.first().is_some_and(|word| word == first))
}

/// A rate as it is shown: `12`, `1.23k`.
fn number(shown: &str) -> Option<f64> {
    let (digits, factor) = match shown.strip_suffix('k') {
        Some(digits) => (digits, 1000.0),
        None => (shown, 1.0),
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}
