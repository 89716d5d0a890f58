//! Hostile guests on vhost-user ports: whatever a front-end says or writes, the others' traffic goes on
//! and nothing is left behind.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tests::balance::rows;
use tests::config::{tap, vhost_user};
use tests::counts::HOSTILE_CASES;
use tests::frames::{Arp, BROADCAST, Mac, ip, mac};
use tests::frontend::hostile::{Hostile, Identity};
use tests::frontend::message::HEADER_BYTES;
use tests::frontend::{Channel, Door, Frontend, Message, NetHeader, Options, request};
use tests::paced::{Paced, Talker};
use tests::{Appliance, Config, Host, Lab, eventually, within};

/// Guests on taps, who behave.
const NEIGHBORS: [(&str, &str); 2] = [("ct1", "10.0.0.1"), ("ct2", "10.0.0.2")];
/// Guests on vhost-user ports, with what their MACs end in.
const EVIL: (&str, &str, Mac) = ("evil", "10.0.0.66", [2, 0, 0, 0, 0, 0x66]);
const OTHER: (&str, &str, Mac) = ("other", "10.0.0.77", [2, 0, 0, 0, 0, 0x77]);
/// Numbered packets a second between the neighbors.
const RATE_PPS: u32 = 1_000;
/// How long a neighbor's packets may be stuck after a case.
const STUCK_LIMIT: Duration = Duration::from_secs(1);
/// How long what a guest leaves behind may take to be cleared away.
const CLEAR_LIMIT: Duration = Duration::from_secs(10);

/// How long a front-end that says half a message may keep its place.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// All guests on one network, so that floods reach each of them.
struct Street {
    app: Appliance,
    lab: Lab,
}

impl Street {
    fn new() -> Self {
        let lab = Lab::new();
        let mut config = Config::new(&lab).network("street", "");
        for (name, _) in NEIGHBORS {
            lab.host(name);
            let keys = "mode = \"virtual-network\"\nnetwork = \"street\"";
            config = config.container(name).adapter("eth0", &tap(name, "eth0"), keys);
        }
        for (name, _, mac) in [EVIL, OTHER] {
            let keys = format!("mac = \"{}\"\nnetwork = \"street\"", text(mac));
            let port = vhost_user(&socket(&lab, name));
            config = config.vm(name).adapter("eth0", &port, &keys);
        }
        let app = Appliance::start(&lab, &config, None);
        for (name, ip) in NEIGHBORS {
            let host = lab.known(name);
            host.address("eth0", &format!("{ip}/24"));
            for (_, ip, mac) in [EVIL, OTHER] {
                host.run(&format!("ip neigh replace {ip} lladdr {} dev eth0", text(mac)));
            }
        }
        lab.known("ct1").reaches(NEIGHBORS[1].1);
        Self { app, lab }
    }

    fn neighbor(&self, at: usize) -> Host {
        self.lab.known(NEIGHBORS[at].0)
    }

    /// What the neighbors send each other, and must not lose.
    fn paced(&self) -> Paced {
        let talker =
            |(name, ip): (&str, &str)| Talker { host: self.lab.known(name), ip: ip.into() };
        Paced::ring(&NEIGHBORS.map(talker), RATE_PPS)
    }

    /// The hostile guest, as the others know it.
    fn identity(&self) -> Identity {
        Identity {
            mac: EVIL.2,
            ip: EVIL.1.to_owned(),
            peer_mac: mac(&self.neighbor(0).mac("eth0")),
            peer_ip: NEIGHBORS[0].1.to_owned(),
        }
    }

    /// A guest that behaves comes and is answered by its neighbor within `limit`.
    #[track_caller]
    fn is_served_within(&self, limit: Duration, guest: (&str, &str, Mac)) -> Frontend {
        let begin = Instant::now();
        let path = socket(&self.lab, guest.0);
        let mut last = String::new();
        loop {
            match try_served(&path, guest) {
                Ok(Some(frontend)) => return frontend,
                Ok(None) => last = "set up, but no answer".to_owned(),
                Err(e) => last = format!("{last}; {e}"),
            }
            let took = begin.elapsed();
            assert!(took < limit, "{} is not served within {limit:?}: {last}", guest.0);
        }
    }

    /// Descriptors and mappings of the program.
    fn holdings(&self) -> Holdings {
        let pid = self.app.pid();
        let open = descriptors(pid);
        let fds = open.len();
        let mut kinds = BTreeMap::new();
        for target in open {
            // `socket:[12]` and `anon_inode:[eventfd]` by what they are, not by number.
            let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind);
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("mappings");
        let shared = maps.lines().filter(|line| line.contains("guest-memory")).count();
        Holdings { fds, kinds, maps: maps.lines().count(), guest_maps: shared }
    }

    /// What the program holds once guests have come and gone.
    #[track_caller]
    fn holdings_at_rest(&self) -> Holdings {
        for _ in 0..3 {
            self.is_served_within(CLEAR_LIMIT, EVIL).stop().expect("stopped");
            self.is_served_within(CLEAR_LIMIT, OTHER).stop().expect("stopped");
        }
        eventually("no guest is mapped", CLEAR_LIMIT, || self.holdings().guest_maps == 0);
        self.holdings()
    }

    /// Nothing of a guest that went is left.
    #[track_caller]
    fn nothing_is_left(&self, before: &Holdings) {
        let mut now = self.holdings();
        let is_back = within(CLEAR_LIMIT, || {
            now = self.holdings();
            now.fds <= before.fds && now.maps <= before.maps && now.guest_maps == 0
        });
        assert!(is_back, "before: {before}\nafter: {now}");
    }

    fn end(mut self) {
        self.app.stop();
    }
}

#[derive(Debug)]
struct Holdings {
    fds: usize,
    /// Descriptors by what they are of.
    kinds: BTreeMap<String, u32>,
    maps: usize,
    guest_maps: usize,
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fds, kinds, maps, guest_maps } = self;
        write!(f, "{fds} descriptors {kinds:?}, {maps} mappings, {guest_maps} of guests")
    }
}

/// What the descriptors of a process are of.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let target = |entry: io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    entries.filter_map(target).map(|path| path.display().to_string()).collect()
}

fn socket(lab: &Lab, guest: &str) -> PathBuf {
    lab.dir().join(format!("{guest}.sock"))
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A new front-end, whose ARP request a neighbor answers: frames pass both ways.
fn try_served(path: &std::path::Path, guest: (&str, &str, Mac)) -> io::Result<Option<Frontend>> {
    let patience = Duration::from_secs(1);
    let mut frontend = Frontend::connect(path, &Options { patience, ..Options::default() })?;
    let (_, own_ip, own_mac) = guest;
    let ask = Arp::request(own_mac, own_ip, NEIGHBORS[0].1).frame(BROADCAST);
    for _ in 0..10 {
        frontend.send(0, &NetHeader::default(), &ask)?;
        let is_answer = |frame: &[u8]| {
            Arp::read(frame).is_some_and(|arp| arp.operation == 2 && arp.target_ip == ip(own_ip))
        };
        let answer = frontend.receive_within(Duration::from_millis(50), |r| is_answer(&r.frame))?;
        if answer.is_some() {
            return Ok(Some(frontend));
        }
    }
    Ok(None)
}

/// Packets to a guest that may be there or not, so that its receive ring is in use.
struct Drizzle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drizzle {
    fn start(socket: UdpSocket, to: &str) -> Self {
        let to = SocketAddr::from((ip(to), 9));
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let pour = move || {
            while !ends.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[0x55; 1_200], to);
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        Self { stop, thread: Some(std::thread::spawn(pour)) }
    }
}

impl Drop for Drizzle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Whether numbered packets come out as they go in.
fn flows(paced: &Paced) -> Result<(), String> {
    let due = paced.sent();
    let is_through = within(STUCK_LIMIT, || paced.received() >= due);
    let missing = due.saturating_sub(paced.received());
    if is_through { Ok(()) } else { Err(format!("{missing} packets of others are stuck")) }
}

#[test]
fn card6_thousands_of_hostile_front_ends_disturb_nobody_and_leave_nothing() {
    disturb_nobody(0..HOSTILE_CASES.now() / 2);
}

#[test]
fn card6_thousands_more_of_hostile_front_ends_disturb_nobody_and_leave_nothing() {
    disturb_nobody(HOSTILE_CASES.now() / 2..HOSTILE_CASES.now());
}

/// Cases of these numbers, one after another.
fn disturb_nobody(numbers: Range<u32>) {
    let mut street = Street::new();
    let before = street.holdings_at_rest();
    street.app.forget_pool();
    let ct2 = street.neighbor(1).udp(ip(NEIGHBORS[1].1), 0);
    let drizzle = Drizzle::start(ct2, EVIL.1);
    let paced = street.paced();
    let hostile = Hostile::new(&[socket(&street.lab, EVIL.0)], street.identity(), 0xbad_9e57)
        .only(|case| is_asked_for(case.name));
    let pid = street.app.pid();
    // By how much the program's descriptors became more while a case ran, for whoever looks for a leak:
    // those of one case may be closed in the next.
    let mut grown: BTreeMap<&str, i64> = BTreeMap::new();
    let mut open = descriptors(pid).len();
    let report = hostile.run(numbers, |case, _| {
        let flowing = match flows(&paced) {
            Err(_) if !is_alive(pid) => Err("the program has ended".to_owned()),
            flowing => flowing,
        };
        let now = descriptors(pid).len();
        *grown.entry(case.name).or_default() += now as i64 - open as i64;
        open = now;
        flowing
    });
    grown.retain(|_, by| *by > 4);
    eprintln!("{report}descriptors grew with {grown:?}");
    assert!(report.broken.is_empty(), "{} cases:\n{}", report.count(), report.broken.join("\n"));
    paced.finish();
    drop(drizzle);
    street.is_served_within(Duration::from_secs(5), EVIL).stop().expect("stopped");
    street.nothing_is_left(&before);
    street.end();
}

/// `GUESTWAY_TEST_CASE` chooses the cases whose names have one of its words in them, or none of its
/// words that begin with `!`.
fn is_asked_for(name: &str) -> bool {
    let asked = std::env::var("GUESTWAY_TEST_CASE").unwrap_or_default();
    let (not, only): (Vec<&str>, Vec<&str>) =
        asked.split_whitespace().partition(|word| word.starts_with('!'));
    not.iter().all(|word| !name.contains(&word[1..]))
        && (only.is_empty() || only.iter().any(|word| name.contains(word)))
}

/// Whether a process runs and is no zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    !matches!(state.flatten(), None | Some('Z' | 'X'))
}

fn silent_channel(street: &Street) -> Channel {
    let path = socket(&street.lab, EVIL.0);
    Door::Connect(path).open(Duration::from_millis(200)).expect("a connection")
}

/// While a front-end stalls, another comes and its frames pass within a second.
#[track_caller]
fn another_is_served(street: &Street) {
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..3 {
        street.is_served_within(Duration::from_secs(1), OTHER).stop().expect("stopped");
    }
}

#[test]
fn card6_a_front_end_that_falls_silent_stops_no_other() {
    let street = Street::new();
    let before = street.holdings_at_rest();
    let paced = street.paced();
    let channel = silent_channel(&street);
    let message = Message::number(request::SET_FEATURES, 0);
    channel.send_bytes(&message.bytes()[..HEADER_BYTES], &[]).expect("a header");
    another_is_served(&street);
    // Half a message is never completed by one who means well.
    let begin = Instant::now();
    assert!(channel.is_cut_off(STALL_LIMIT), "a front-end that stalls is never cut off");
    eprintln!("cut off after {:?}", begin.elapsed());
    street.is_served_within(Duration::from_secs(5), EVIL).stop().expect("stopped");
    let channel = silent_channel(&street);
    let many = Message::bare(request::GET_FEATURES).bytes().repeat(100);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end && channel.send_bytes(&many, &[]).is_ok() {}
    another_is_served(&street);
    // Whether or not it was cut off: its place is free once it leaves.
    drop(channel);
    street.is_served_within(Duration::from_secs(5), EVIL).stop().expect("stopped");
    assert!(paced.finish() > 0);
    street.nothing_is_left(&before);
    street.end();
}

/// What a guest is called by is written to by a worker, which must never wait in that.
#[test]
fn card6_a_call_that_is_no_event_is_refused() {
    let street = Street::new();
    let before = street.holdings_at_rest();
    let paced = street.paced();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let (full, other_end) = UnixStream::pair().expect("a pair");
    let null = File::open("/dev/null").expect("it");
    let events: [OwnedFd; 3] = [writer.into(), full.into(), null.into()];
    // A write to either of the first two waits for ever then.
    for event in &events[..2] {
        let set = |flags| fcntl(event, FcntlArg::F_SETFL(flags)).expect("flags");
        set(OFlag::O_NONBLOCK);
        let mut end = File::from(event.try_clone().expect("another handle"));
        while end.write(&[0; 4_096]).is_ok() || end.write(&[0]).is_ok() {}
        set(OFlag::empty());
    }
    for event in events {
        let evil = street.is_served_within(Duration::from_secs(5), EVIL);
        let message = Message::number(request::SET_VRING_CALL, 0).fd(&Arc::new(event));
        // It may be hung up before the answer.
        let _ = evil.channel.tell(&message, true);
        street.neighbor(0).output(&format!("ping -n -q -c 3 -i 0.1 -W 0.1 {}", EVIL.1));
        assert!(evil.is_hung_up(CLEAR_LIMIT), "still connected");
        another_is_served(&street);
    }
    drop((reader, other_end));
    assert!(paced.finish() > 0);
    street.nothing_is_left(&before);
    street.end();
}

#[test]
fn card6_memory_that_is_cut_off_resets_that_guest_only() {
    let mut street = Street::new();
    let before = street.holdings_at_rest();
    street.app.forget_pool();
    let paced = street.paced();
    let mut other = street.is_served_within(Duration::from_secs(5), OTHER);
    for bytes in [0, 4_096, 1 << 16, 0] {
        let mut evil = street.is_served_within(Duration::from_secs(5), EVIL);
        evil.parts.memory.truncate(bytes).expect("cut");
        // The worker looks at the rings at the latest now.
        street.neighbor(0).succeeds(&format!("ping -n -q -c 3 -i 0.1 -W 0.1 {}", EVIL.1));
        assert!(evil.is_hung_up(CLEAR_LIMIT), "cut to {bytes} bytes, and still connected");
        assert!(is_alive(street.app.pid()), "the program has ended: {}", street.app.log());
        // The others' connections and frames are as they were.
        assert!(!other.is_hung_up(Duration::ZERO));
        assert!(other.send(0, &NetHeader::default(), &[0xff; 64]).expect("right"));
        assert!(other.is_sent_within(0, Duration::from_secs(1)).expect("right"));
    }
    let port = rows(street.app.json("show port info evil/eth0"))[0].clone();
    assert_ne!(port["state"], "up", "{port}");
    street.is_served_within(Duration::from_secs(5), EVIL).stop().expect("stopped");
    other.stop().expect("stopped");
    assert!(paced.finish() > 0);
    street.nothing_is_left(&before);
    street.end();
}
