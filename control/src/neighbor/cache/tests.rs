use super::NeighborAction::*;
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

const WIRE: PortId = PortId(1);
const MEMBER: PortId = PortId(7);
const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OUR_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GUEST: AdapterId = AdapterId(3);

fn target(last: u8) -> Target {
    Target { port: WIRE, ip: Ipv4Addr::new(192, 0, 2, last) }
}

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 9, last])
}

fn station(last: u8) -> Station {
    Station { mac: mac(last), via: WIRE }
}

/// A cache with a clock, whose calls return their actions.
struct Bench {
    cache: NeighborCache<u32>,
    now_ms: u64,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self { cache: NeighborCache::new(limits, 1), now_ms: 10_000 }
    }

    fn act(
        &mut self,
        call: impl FnOnce(&mut NeighborCache<u32>, u64, &mut Actions<u32>),
    ) -> Actions<u32> {
        let mut out = Vec::new();
        call(&mut self.cache, self.now_ms, &mut out);
        out
    }

    fn resolve(&mut self, target: Target, packet: u32) -> Actions<u32> {
        self.act(|cache, now, out| cache.resolve(now, target, GUEST, packet, out))
    }

    fn hear(&mut self, arp: &Arp, via: PortId, learn: bool) -> Actions<u32> {
        let heard = Heard { port: WIRE, via, arp, learn };
        self.act(|cache, now, out| cache.hear(now, &heard, out))
    }

    fn reply(&mut self, ip: Target, mac: MacAddr, via: PortId) -> Actions<u32> {
        self.hear(&Arp::request(OUR_MAC, OUR_IP, ip.ip).answer(mac), via, false)
    }

    /// Lets time pass, ticking only when asked to; what was done, with when.
    fn pass(&mut self, ms: u64) -> Vec<(u64, NeighborAction<u32>)> {
        let (until, mut done) = (self.now_ms + ms, Vec::new());
        while let Some(next) = self.cache.next_ms().filter(|next| *next <= until) {
            self.now_ms = self.now_ms.max(next);
            let now = self.now_ms;
            done.extend(
                self.act(|cache, now, out| cache.tick(now, out)).into_iter().map(|a| (now, a)),
            );
        }
        self.now_ms = until;
        done
    }

    /// Lets time pass with a single tick at its end, as when the loop was held up.
    fn stall(&mut self, ms: u64) -> Vec<(u64, NeighborAction<u32>)> {
        self.now_ms += ms;
        let now = self.now_ms;
        self.act(|cache, now, out| cache.tick(now, out)).into_iter().map(|a| (now, a)).collect()
    }
}

fn bench() -> Bench {
    Bench::new(Limits::default())
}

fn ask(target: Target) -> NeighborAction<u32> {
    Request { target, to: None }
}

#[test]
fn an_answer_releases_the_packets_in_order_after_the_mac() {
    let (mut bench, who) = (bench(), target(9));
    assert_eq!(bench.resolve(who, 1), [ask(who)]);
    assert_eq!(bench.resolve(who, 2), []);
    let resolved = Resolved { target: who, station: station(9) };
    assert_eq!(
        bench.reply(who, mac(9), WIRE),
        [resolved, Forward { packet: 1 }, Forward { packet: 2 }]
    );
    assert_eq!(bench.resolve(who, 3), [Forward { packet: 3 }]);
    assert_eq!(bench.cache.state(who), Some(NeighborState::Reachable(station(9))));
}

#[test]
fn a_silent_neighbor_is_asked_three_times_then_held_down_then_forgotten() {
    let (mut bench, who) = (bench(), target(9));
    bench.resolve(who, 1);
    let mut events = bench.pass(1900);
    bench.resolve(who, 2);
    events.extend(bench.pass(1200));
    assert_eq!(
        events,
        [
            (11_000, Dropped { packet: 1 }),
            (11_000, ask(who)),
            (12_000, ask(who)),
            (12_900, Dropped { packet: 2 }),
            (13_000, Unreachable { target: who, is_lost: false }),
        ]
    );
    assert_eq!(bench.resolve(who, 3), [Unanswered { packet: 3 }]);
    assert_eq!(bench.pass(6000), [(18_000, Forgotten { target: who })]);
    assert_eq!(bench.cache.next_ms(), None);
    assert_eq!(bench.resolve(who, 4), [ask(who)]);
}

#[test]
fn packets_that_wait_when_it_fails_are_unanswered() {
    let (mut bench, who) = (bench(), target(9));
    bench.resolve(who, 1);
    bench.pass(2500);
    bench.resolve(who, 2);
    assert_eq!(
        bench.pass(600),
        [(13_000, Unreachable { target: who, is_lost: false }), (13_000, Unanswered { packet: 2 })]
    );
}

#[test]
fn eight_packets_wait_per_target_and_the_oldest_goes() {
    let (mut bench, who) = (bench(), target(9));
    for packet in 0..8 {
        bench.resolve(who, packet);
    }
    assert_eq!(bench.resolve(who, 8), [Dropped { packet: 0 }]);
    assert_eq!(bench.cache.held(), HELD_PER_TARGET);
}

#[test]
fn two_hundred_and_fifty_six_packets_wait_in_all_and_the_oldest_goes() {
    let limits = Limits { incomplete_per_adapter: 1000, ..Limits::default() };
    let mut bench = Bench::new(limits);
    for packet in 0..256_u32 {
        let out = bench.resolve(target((packet / 8 + 1).to_le_bytes()[0]), packet);
        assert!(!out.iter().any(|action| matches!(action, Dropped { .. })));
    }
    let out = bench.resolve(target(200), 256);
    assert!(out.contains(&Dropped { packet: 0 }));
    assert_eq!(bench.cache.held(), HELD_IN_ALL);
}

#[test]
fn a_known_mac_is_checked_by_three_unicasts_then_three_broadcasts() {
    let (mut bench, who) = (bench(), target(9));
    bench.resolve(who, 1);
    bench.reply(who, mac(9), WIRE);
    let events = bench.pass(85_000);
    let times: Vec<u64> = events.iter().map(|(at, _)| *at).collect();
    assert!((45_000..=75_000).contains(&(times[0] - 10_000)), "{times:?}");
    assert!(times[..7].windows(2).all(|pair| pair[1] == pair[0] + 1000), "{times:?}");
    let actions: Vec<_> = events.into_iter().map(|(_, action)| action).collect();
    let unicast = Request { target: who, to: Some(station(9)) };
    let unreachable = Unreachable { target: who, is_lost: true };
    let forgotten = Forgotten { target: who };
    let asked = [unicast.clone(), unicast.clone(), unicast, ask(who), ask(who), ask(who)];
    assert_eq!(actions[..6], asked);
    assert_eq!(actions[6], unreachable);
    assert!(actions.get(7).is_none_or(|action| *action == forgotten));
}

#[test]
fn a_word_from_a_neighbor_being_probed_is_enough() {
    let (mut bench, who) = (bench(), target(9));
    bench.resolve(who, 1);
    bench.reply(who, mac(9), WIRE);
    while bench.cache.state(who) == Some(NeighborState::Reachable(station(9))) {
        bench.pass(500);
    }
    assert_eq!(bench.resolve(who, 2), [Forward { packet: 2 }], "still used while probed");
    // Any ARP packet from the same pair, as RFC 826 merges it; no new publication.
    let asks_another = Arp::request(mac(9), who.ip, target(77).ip);
    assert_eq!(bench.hear(&asks_another, WIRE, false), []);
    assert_eq!(bench.cache.state(who), Some(NeighborState::Reachable(station(9))));
    assert_eq!(bench.pass(40_000), []);
}

#[test]
fn a_stranger_is_learned_only_where_it_asks_for_us() {
    let mut bench = bench();
    let stranger = Arp::request(mac(9), target(9).ip, OUR_IP);
    assert_eq!(bench.hear(&stranger, WIRE, false), []);
    assert_eq!(bench.hear(&Arp::announcement(mac(9), target(9).ip), WIRE, false), []);
    assert_eq!(bench.cache.entries().count(), 0);
    let resolved = Resolved { target: target(9), station: station(9) };
    assert_eq!(bench.hear(&stranger, WIRE, true), [resolved]);
}

#[test]
fn a_probe_teaches_nothing() {
    let mut bench = bench();
    assert_eq!(bench.hear(&Arp::probe(mac(9), target(9).ip), WIRE, true), []);
    assert_eq!(bench.cache.entries().count(), 0);
}

#[test]
fn a_mac_moves_by_reply_or_announcement_but_not_by_a_request() {
    let (mut bench, who) = (bench(), target(9));
    bench.resolve(who, 1);
    bench.reply(who, mac(9), WIRE);
    assert_eq!(bench.reply(who, mac(8), WIRE), [], "just learned");
    bench.pass(1000);
    assert_eq!(bench.hear(&Arp::request(mac(8), who.ip, OUR_IP), WIRE, true), []);
    let moved = Resolved { target: who, station: station(8) };
    assert_eq!(bench.hear(&Arp::announcement(mac(8), who.ip), WIRE, false), [moved]);
    bench.pass(1000);
    let moved = Resolved { target: who, station: station(7) };
    assert_eq!(bench.reply(who, mac(7), WIRE), [moved]);
}

#[test]
fn a_member_takes_nothing_from_the_wire_but_the_wire_from_a_member() {
    let (mut bench, who) = (bench(), target(254));
    bench.resolve(who, 1);
    bench.reply(who, mac(1), WIRE);
    bench.pass(2000);
    assert_eq!(bench.reply(who, mac(66), MEMBER), []);
    assert_eq!(bench.hear(&Arp::announcement(mac(66), who.ip), MEMBER, true), []);
    let (mut bench, inside) = (self::bench(), Station { mac: mac(66), via: MEMBER });
    bench.resolve(who, 1);
    bench.reply(who, mac(66), MEMBER);
    assert_eq!(bench.cache.state(who), Some(NeighborState::Reachable(inside)));
    assert_eq!(bench.reply(who, mac(1), WIRE), [Resolved { target: who, station: station(1) }]);
    bench.pass(2000);
    assert_eq!(bench.reply(who, mac(66), MEMBER), []);
}

#[test]
fn who_was_behind_a_member_goes_with_it() {
    let mut bench = bench();
    let (inside, outside) = (target(31), target(32));
    for (who, number, via) in [(inside, 31, MEMBER), (outside, 32, WIRE)] {
        bench.resolve(who, 1);
        bench.reply(who, mac(number), via);
    }
    assert_eq!(
        bench.act(|cache, _, out| cache.remove_port(MEMBER, out)),
        [Forgotten { target: inside }]
    );
    bench.resolve(inside, 1);
    bench.reply(inside, mac(31), MEMBER);
    assert_eq!(
        bench.act(|cache, _, out| cache.remove_behind_members(outside.port, out)),
        [Forgotten { target: inside }]
    );
    assert!(bench.cache.state(outside).is_some());
}

#[test]
fn a_failed_neighbor_that_speaks_is_back_at_once() {
    let (mut bench, who) = (bench(), target(9));
    bench.resolve(who, 1);
    bench.pass(4000);
    assert_eq!(bench.cache.state(who), Some(NeighborState::Failed));
    let back = Resolved { target: who, station: station(9) };
    assert_eq!(bench.hear(&Arp::announcement(mac(9), who.ip), WIRE, false), [back]);
}

#[test]
fn a_static_entry_is_never_asked_moved_or_flushed() {
    let (mut bench, who) = (bench(), target(9));
    bench.resolve(who, 1);
    let set = bench.act(|cache, _, out| cache.set_static(who, station(5), out));
    assert_eq!(set, [Resolved { target: who, station: station(5) }, Forward { packet: 1 }]);
    assert_eq!(bench.pass(200_000), []);
    assert_eq!(bench.reply(who, mac(9), WIRE), []);
    assert_eq!(bench.act(|cache, _, out| cache.flush(|_| true, out)), []);
    assert_eq!(bench.resolve(who, 2), [Forward { packet: 2 }]);
    let removed = bench.act(|cache, _, out| assert!(cache.remove(who, out)));
    assert_eq!(removed, [Forgotten { target: who }]);
    bench.act(|cache, _, out| assert!(!cache.remove(who, out)));
}

#[test]
fn flush_forgets_what_was_learned_and_leaves_what_is_being_asked() {
    let mut bench = bench();
    bench.resolve(target(9), 1);
    bench.reply(target(9), mac(9), WIRE);
    bench.resolve(target(10), 2);
    let flushed = bench.act(|cache, _, out| cache.flush(|_| true, out));
    assert_eq!(flushed, [Forgotten { target: target(9) }]);
    assert_eq!(bench.cache.state(target(10)), Some(NeighborState::Incomplete));
}

#[test]
fn a_port_that_goes_takes_what_is_on_it_and_behind_it() {
    let mut bench = bench();
    bench.resolve(target(9), 1);
    bench.resolve(target(10), 2);
    bench.reply(target(10), mac(10), MEMBER);
    let gone = bench.act(|cache, _, out| cache.remove_port(MEMBER, out));
    assert_eq!(gone, [Forgotten { target: target(10) }]);
    let gone = bench.act(|cache, _, out| cache.remove_port(WIRE, out));
    assert_eq!(gone, [Forgotten { target: target(9) }, Dropped { packet: 1 }]);
    assert_eq!(bench.cache.next_ms(), None);
}

#[test]
fn one_adapters_scan_leaves_room_for_others() {
    let mut bench = bench();
    let refused: usize = (1..=200)
        .map(|last| bench.resolve(target(last), last.into()))
        .filter(|out| matches!(out[..], [Dropped { .. }]))
        .count();
    assert_eq!(refused, 200 - 32);
    let other = AdapterId(4);
    let out = bench.act(|cache, now, out| cache.resolve(now, target(250), other, 1, out));
    assert!(!out.contains(&Dropped { packet: 1 }));
    bench.pass(1000);
    let mut ours = bench.act(|cache, now, out| cache.seek(now, target(251), out));
    ours.extend(bench.pass(20).into_iter().map(|(_, action)| action));
    assert!(ours.contains(&ask(target(251))), "asked within 20 ms");
}

#[test]
fn when_full_the_oldest_failed_entry_gives_way() {
    let limits = Limits { unresolved: 2, ..Limits::default() };
    let mut bench = Bench::new(limits);
    bench.resolve(target(1), 1);
    bench.pass(500);
    bench.resolve(target(2), 2);
    assert_eq!(bench.resolve(target(3), 3), [Dropped { packet: 3 }], "nothing may give way");
    bench.pass(4000);
    assert_eq!(bench.resolve(target(3), 3), [Forgotten { target: target(1) }, ask(target(3))]);
    assert_eq!(bench.cache.entries().count(), 2);
}

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Stall(u64),
    Resolve { last: u8, asker: u32 },
    Reply { last: u8, mac: u8, member: bool },
    Claim { last: u8, mac: u8, member: bool },
    Ask { last: u8, mac: u8 },
    Static { last: u8 },
    Remove { last: u8 },
    Flush,
    RemovePort { member: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let last = 1u8..40;
    prop_oneof![
        4 => (0u64..1500).prop_map(Op::Pass),
        1 => (0u64..60_000).prop_map(Op::Pass),
        2 => (0u64..5000).prop_map(Op::Stall),
        20 => (last.clone(), 0u32..4).prop_map(|(last, asker)| Op::Resolve { last, asker }),
        4 => (last.clone(), 0u8..3, any::<bool>())
            .prop_map(|(last, mac, member)| Op::Reply { last, mac, member }),
        2 => (last.clone(), 0u8..3, any::<bool>())
            .prop_map(|(last, mac, member)| Op::Claim { last, mac, member }),
        2 => (last.clone(), 0u8..3).prop_map(|(last, mac)| Op::Ask { last, mac }),
        1 => last.clone().prop_map(|last| Op::Static { last }),
        1 => last.prop_map(|last| Op::Remove { last }),
        1 => Just(Op::Flush),
        1 => any::<bool>().prop_map(|member| Op::RemovePort { member }),
    ]
}

/// What the actions so far amount to.
#[derive(Default)]
struct Ledger {
    given: u32,
    returned: BTreeSet<u32>,
    published: BTreeMap<Target, Option<Station>>,
    requests: Vec<(u64, Target)>,
    /// Targets whose history an operator cut off: asked again at once.
    restarted: BTreeSet<Target>,
}

impl Ledger {
    fn note(&mut self, now_ms: u64, action: NeighborAction<u32>, by_operator: bool) {
        match action {
            Request { target, .. } => {
                let same = |(_, other): &&(u64, Target)| *other == target;
                if let Some((last, _)) = self.requests.iter().rev().find(same)
                    && !self.restarted.remove(&target)
                {
                    assert!(now_ms >= last + REQUEST_INTERVAL_MS, "asked again too soon");
                }
                self.requests.push((now_ms, target));
                let most = FRAMES_PER_S.most_per_s() as usize;
                let lately = self.requests.iter().filter(|(at, _)| at + 1000 > now_ms);
                assert!(lately.count() <= most, "too many requests in a second");
            }
            Resolved { target, station } => {
                self.published.insert(target, Some(station));
            }
            Unreachable { target, is_lost } => {
                let was = self.published.insert(target, None);
                assert_eq!(is_lost, matches!(was, Some(Some(_))), "lost is who had answered");
            }
            Forgotten { target } => {
                self.published.remove(&target);
                if by_operator {
                    self.restarted.insert(target);
                }
            }
            Forward { packet } | Unanswered { packet } | Dropped { packet } => {
                assert!(packet < self.given && self.returned.insert(packet), "returned twice");
            }
        }
    }
}

proptest! {
    #[test]
    fn bounds_hold_and_every_packet_comes_back_once(ops in prop::collection::vec(op(), 1..400)) {
        drive(ops);
    }
}

fn drive(ops: Vec<Op>) {
    let limits =
        Limits { entries: 16, unresolved: 12, incomplete_per_adapter: 5, ..Limits::default() };
    let (mut bench, mut ledger) = (Bench::new(limits), Ledger::default());
    for op in ops {
        let via = |member| if member { MEMBER } else { WIRE };
        let by_operator =
            matches!(op, Op::Static { .. } | Op::Remove { .. } | Op::Flush | Op::RemovePort { .. });
        let mut done = Vec::new();
        match op {
            Op::Pass(ms) => done = bench.pass(ms),
            Op::Stall(ms) => done = bench.stall(ms),
            _ => {
                let out = match op {
                    Op::Pass(_) | Op::Stall(_) => Vec::new(),
                    Op::Resolve { last, asker } => {
                        ledger.given += 1;
                        let packet = ledger.given - 1;
                        bench.act(|c, now, out| {
                            c.resolve(now, target(last), AdapterId(asker), packet, out)
                        })
                    }
                    Op::Reply { last, mac: m, member } => {
                        bench.reply(target(last), mac(m), via(member))
                    }
                    Op::Claim { last, mac: m, member } => {
                        bench.hear(&Arp::announcement(mac(m), target(last).ip), via(member), false)
                    }
                    Op::Ask { last, mac: m } => {
                        bench.hear(&Arp::request(mac(m), target(last).ip, OUR_IP), WIRE, true)
                    }
                    Op::Static { last } => {
                        bench.act(|c, _, out| c.set_static(target(last), station(99), out))
                    }
                    Op::Remove { last } => bench.act(|c, _, out| {
                        c.remove(target(last), out);
                    }),
                    Op::Flush => {
                        bench.act(|c, _, out| c.flush(|target| target.ip.octets()[3] % 2 == 0, out))
                    }
                    Op::RemovePort { member } => {
                        bench.act(|c, _, out| c.remove_port(via(member), out))
                    }
                };
                done.extend(out.into_iter().map(|action| (bench.now_ms, action)));
            }
        }
        for (at, action) in done {
            ledger.note(at, action, by_operator);
        }

        let count = |kind: fn(&NeighborState) -> bool| {
            bench.cache.entries().filter(|(_, s)| kind(s)).count()
        };
        assert!(count(|s| !matches!(s, NeighborState::Static(_))) <= 16);
        assert!(count(|s| matches!(s, NeighborState::Incomplete | NeighborState::Failed)) <= 12);
        assert!(bench.cache.held() <= HELD_IN_ALL);
        assert_eq!(ledger.given as usize, ledger.returned.len() + bench.cache.held());
        let published: BTreeMap<_, _> = bench
            .cache
            .entries()
            .filter_map(|(target, state)| match state {
                NeighborState::Reachable(s)
                | NeighborState::Probing(s)
                | NeighborState::Static(s) => Some((target, Some(s))),
                NeighborState::Failed => Some((target, None)),
                NeighborState::Incomplete => None,
            })
            .collect();
        assert_eq!(&published, &ledger.published, "workers know what the cache knows");
    }
    // Left alone, all that is not static and does not answer ends, and so do its packets.
    for (at, action) in bench.pass(200_000) {
        ledger.note(at, action, false);
    }
    assert_eq!(ledger.given as usize, ledger.returned.len());
    assert!(bench.cache.entries().all(|(_, state)| matches!(state, NeighborState::Static(_))));
    assert_eq!(bench.cache.next_ms(), None);
    assert!(bench.cache.incomplete.is_empty());
    assert_eq!((bench.cache.dynamic, bench.cache.unresolved), (0, 0));
}
