use super::ClaimAction::*;
use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const UPLINK: PortId = PortId(1);
const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);
const PROBED: ClaimWish = ClaimWish { probe: true, announce: true };
const AT_ONCE: ClaimWish = ClaimWish { probe: false, announce: true };
const QUIET: ClaimWish = ClaimWish { probe: true, announce: false };

fn target(number: u16) -> Target {
    let [high, low] = number.to_be_bytes();
    Target { port: UPLINK, ip: Ipv4Addr::new(198, 51, high, low) }
}

struct Bench {
    claims: AddressClaims,
    now_ms: u64,
}

impl Bench {
    fn new() -> Self {
        Self { claims: AddressClaims::new(7), now_ms: 50_000 }
    }

    fn act(
        &mut self,
        call: impl FnOnce(&mut AddressClaims, u64, &mut Vec<ClaimAction>),
    ) -> Vec<ClaimAction> {
        let mut out = Vec::new();
        call(&mut self.claims, self.now_ms, &mut out);
        out
    }

    fn register(&mut self, target: Target, wish: ClaimWish) -> Vec<ClaimAction> {
        self.act(|claims, now, out| claims.register(now, target, wish, out))
    }

    fn withdraw(&mut self, target: Target) -> bool {
        self.claims.withdraw(self.now_ms, target)
    }

    fn hear(&mut self, arp: &Arp) -> Vec<ClaimAction> {
        self.act(|claims, now, out| claims.hear(now, UPLINK, OUR_MAC, arp, out))
    }

    fn pass(&mut self, ms: u64) -> Vec<(u64, ClaimAction)> {
        let (until, mut done) = (self.now_ms + ms, Vec::new());
        while let Some(next) = self.claims.next_ms().filter(|next| *next <= until) {
            self.now_ms = self.now_ms.max(next);
            let now = self.now_ms;
            done.extend(
                self.act(|claims, now, out| claims.tick(now, out)).into_iter().map(|a| (now, a)),
            );
        }
        self.now_ms = until;
        done
    }
}

#[test]
fn vz_3_an_address_is_probed_three_times_before_it_is_up() {
    let (mut bench, who) = (Bench::new(), target(9));
    assert_eq!(bench.register(who, PROBED), [Probe(who)]);
    assert_eq!(bench.claims.status(who), Some(ClaimStatus::Probing));
    let events = bench.pass(20_000);
    let actions: Vec<_> = events.iter().map(|(_, action)| *action).collect();
    assert_eq!(actions, [Probe(who), Probe(who), Up(who), Announce(who), Announce(who)]);
    let at: Vec<u64> = events.iter().map(|(at, _)| *at).collect();
    assert!((1000..=2000).contains(&(at[0] - 50_000)), "{at:?}");
    assert!((1000..=2000).contains(&(at[1] - at[0])), "{at:?}");
    assert_eq!((at[2] - at[1], at[3], at[4] - at[3]), (2000, at[2], 2000));
    assert_eq!(bench.claims.status(who), Some(ClaimStatus::Up));
    assert_eq!(bench.claims.next_ms(), None);
}

#[test]
fn vz_4_without_a_probe_it_is_up_and_announced_at_once() {
    let (mut bench, who) = (Bench::new(), target(9));
    assert_eq!(bench.register(who, AT_ONCE), [Up(who), Announce(who)]);
    assert_eq!(bench.pass(60_000), [(52_000, Announce(who))]);
}

#[test]
fn vz_5_a_quiet_address_sends_nothing() {
    let (mut bench, who) = (Bench::new(), target(9));
    assert_eq!(bench.register(who, QUIET), []);
    assert_eq!(bench.hear(&Arp::announcement(THEIRS, who.ip)), []);
    assert_eq!(bench.act(|claims, now, out| claims.link_up(now, UPLINK, out)), []);
    assert_eq!(bench.claims.status(who), Some(ClaimStatus::Quiet));
    assert_eq!(bench.register(who, PROBED), [Probe(who)]);
    assert_eq!(bench.register(who, QUIET), []);
    assert_eq!(bench.pass(60_000), []);
}

#[test]
fn any_use_of_a_probed_address_is_a_conflict() {
    let (who, other) = (target(9), target(10));
    let uses = [
        Arp::probe(OUR_MAC, who.ip).answer(THEIRS),
        Arp::announcement(THEIRS, who.ip),
        Arp::request(THEIRS, who.ip, other.ip),
        Arp::probe(THEIRS, who.ip),
    ];
    for arp in uses {
        let mut bench = Bench::new();
        bench.register(who, PROBED);
        bench.pass(1500);
        assert_eq!(bench.hear(&arp), [Conflict(who, THEIRS)], "{arp:?}");
        assert_eq!(bench.claims.status(who), Some(ClaimStatus::Conflict(THEIRS)));
        assert_eq!(bench.pass(59_000), []);
    }
    let harmless = [
        Arp::probe(OUR_MAC, who.ip),
        Arp::request(THEIRS, other.ip, who.ip),
        Arp::probe(THEIRS, other.ip),
    ];
    for arp in harmless {
        let mut bench = Bench::new();
        bench.register(who, PROBED);
        assert_eq!(bench.hear(&arp), [], "{arp:?}");
        assert_eq!(bench.claims.status(who), Some(ClaimStatus::Probing));
    }
}

#[test]
fn an_answer_until_the_end_of_the_wait_is_a_conflict() {
    let (mut bench, who) = (Bench::new(), target(9));
    bench.register(who, PROBED);
    let mut probes = 1;
    while probes < 3 {
        probes += bench.pass(10).len();
    }
    bench.pass(1900);
    let answer = Arp::probe(OUR_MAC, who.ip).answer(THEIRS);
    assert_eq!(bench.hear(&answer), [Conflict(who, THEIRS)]);
}

#[test]
fn a_conflict_ends_by_itself_once_the_other_is_gone() {
    let (mut bench, who) = (Bench::new(), target(9));
    bench.register(who, PROBED);
    let theirs = Arp::announcement(THEIRS, who.ip);
    assert_eq!(bench.hear(&theirs), [Conflict(who, THEIRS)]);
    assert_eq!(bench.pass(60_000), [(110_000, Probe(who))]);
    assert_eq!(bench.claims.status(who), Some(ClaimStatus::Conflict(THEIRS)), "seen all along");
    assert_eq!(bench.hear(&theirs), [], "the event was given");
    let later: Vec<_> = bench.pass(70_000).into_iter().map(|(_, action)| action).collect();
    let (probe, announce) = (Probe(who), Announce(who));
    assert_eq!(later, [probe, probe, probe, Up(who), announce, announce]);
}

#[test]
fn an_address_that_is_up_is_defended_every_ten_seconds_at_most() {
    let (mut bench, who) = (Bench::new(), target(9));
    bench.register(who, AT_ONCE);
    bench.pass(5000);
    let theirs = Arp::announcement(THEIRS, who.ip);
    assert_eq!(bench.hear(&theirs), [Contested(who, THEIRS), Announce(who)]);
    for _ in 0..9 {
        bench.pass(1000);
        assert_eq!(bench.hear(&theirs), []);
    }
    bench.pass(1000);
    assert_eq!(bench.hear(&theirs), [Contested(who, THEIRS), Announce(who)]);
    assert_eq!(bench.claims.status(who), Some(ClaimStatus::Up));
    bench.pass(20_000);
    assert_eq!(bench.hear(&Arp::probe(THEIRS, who.ip)), [], "the proxy answers a probe");
}

#[test]
fn a_link_that_comes_up_announces_what_is_up_and_probes_the_rest_anew() {
    let mut bench = Bench::new();
    let (up, probing, conflict) = (target(1), target(2), target(3));
    bench.register(up, AT_ONCE);
    bench.register(conflict, PROBED);
    bench.hear(&Arp::announcement(THEIRS, conflict.ip));
    bench.pass(10_000);
    bench.register(probing, PROBED);
    bench.pass(1999);
    let out = bench.act(|claims, now, out| claims.link_up(now, UPLINK, out));
    assert_eq!(out, [Announce(up), Probe(probing), Probe(conflict)]);
    let mut rest: Vec<_> = bench.pass(20_000).into_iter().map(|(_, action)| action).collect();
    rest.retain(|action| matches!(action, Probe(_)));
    assert_eq!(rest.len(), 4, "two more each");
    let out = bench.act(|claims, now, out| claims.link_up(now, PortId(2), out));
    assert_eq!(out, []);
}

#[test]
fn hr_11_a_withdrawn_address_is_gone_at_once() {
    let (mut bench, who) = (Bench::new(), target(9));
    bench.register(who, AT_ONCE);
    assert!(bench.withdraw(who) && !bench.withdraw(who));
    assert_eq!((bench.claims.status(who), bench.claims.next_ms()), (None, None));
    bench.register(who, PROBED);
    bench.claims.withdraw_port(UPLINK);
    assert_eq!((bench.claims.claims().count(), bench.claims.next_ms()), (0, None));
}

#[test]
fn vz_4_an_address_that_moves_on_this_host_is_announced_and_not_probed() {
    let (mut bench, who) = (Bench::new(), target(9));
    bench.register(who, AT_ONCE);
    bench.withdraw(who);
    bench.pass(MOVE_MS - 1);
    assert_eq!(bench.register(who, PROBED), [Up(who), Announce(who)]);
    bench.withdraw(who);
    bench.pass(MOVE_MS);
    assert_eq!(bench.register(who, PROBED), [Probe(who)], "that was long ago");
    bench.withdraw(who);
    assert_eq!(bench.register(who, PROBED), [Probe(who)], "it was not up");
    let other = target(10);
    bench.register(other, AT_ONCE);
    bench.claims.withdraw_port(UPLINK);
    assert_eq!(bench.register(other, PROBED), [Probe(other)], "another link, for all we know");
}

#[test]
fn registering_again_changes_only_what_differs() {
    let (mut bench, who) = (Bench::new(), target(9));
    bench.register(who, PROBED);
    assert_eq!(bench.register(who, PROBED), []);
    assert_eq!(bench.register(who, AT_ONCE), [Up(who), Announce(who)], "probe switched off");
    bench.pass(5000);
    assert_eq!(bench.register(who, AT_ONCE), []);
    assert_eq!(bench.register(who, PROBED), []);
    assert_eq!(bench.act(|claims, now, out| claims.announce_again(now, who, out)), [Announce(who)]);
    assert_eq!(bench.pass(60_000).len(), 1);
}

#[test]
fn ten_thousand_addresses_are_announced_in_turn_at_the_pace() {
    let mut bench = Bench::new();
    for number in 0..10_000 {
        let registered = bench.register(target(number), AT_ONCE);
        assert!(registered.contains(&Up(target(number))), "up before its turn to be announced");
    }
    let sent: Vec<_> = bench
        .pass(120_000)
        .into_iter()
        .filter(|(_, action)| matches!(action, Announce(_)))
        .collect();
    assert!((19_900..=20_000).contains(&sent.len()), "{}", sent.len());
    let last_ms = sent.last().map(|(at, _)| at - 50_000).unwrap_or_default();
    assert!((62_000..64_000).contains(&last_ms), "{last_ms}");
}

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Register { number: u16, count: u16, wish: ClaimWish },
    Withdraw { number: u16 },
    Hear { number: u16, kind: u8 },
    LinkUp,
    AnnounceAgain { number: u16 },
}

fn op() -> impl Strategy<Value = Op> {
    let number = 0u16..20;
    prop_oneof![
        4 => (0u64..3000).prop_map(Op::Pass),
        1 => (0u64..70_000).prop_map(Op::Pass),
        4 => (number.clone(), 1u16..300, any::<bool>(), prop::bool::weighted(0.8)).prop_map(
            |(number, count, probe, announce)| {
            let wish = ClaimWish { probe, announce };
            Op::Register { number, count, wish }
        }
        ),
        1 => number.clone().prop_map(|number| Op::Withdraw { number }),
        4 => (number.clone(), 0u8..4).prop_map(|(number, kind)| Op::Hear { number, kind }),
        1 => Just(Op::LinkUp),
        1 => number.prop_map(|number| Op::AnnounceAgain { number }),
    ]
}

proptest! {
    #[test]
    fn frames_stay_in_pace_and_only_what_is_up_is_announced(
        ops in prop::collection::vec(op(), 1..80),
    ) {
        drive(ops);
    }
}

fn drive(ops: Vec<Op>) {
    let (mut bench, mut frames) = (Bench::new(), Vec::new());
    for op in ops {
        let done = match op {
            Op::Pass(ms) => bench.pass(ms),
            op => {
                let out = match op {
                    Op::Register { number, count, wish } => (number..number + count)
                        .flat_map(|n| bench.register(target(n), wish))
                        .collect(),
                    Op::Withdraw { number } => {
                        bench.withdraw(target(number));
                        Vec::new()
                    }
                    Op::Hear { number, kind } => {
                        let ip = target(number).ip;
                        bench.hear(&match kind {
                            0 => Arp::probe(THEIRS, ip),
                            1 => Arp::announcement(THEIRS, ip),
                            2 => Arp::probe(OUR_MAC, ip).answer(THEIRS),
                            _ => Arp::announcement(OUR_MAC, ip),
                        })
                    }
                    Op::LinkUp => bench.act(|claims, now, out| claims.link_up(now, UPLINK, out)),
                    Op::AnnounceAgain { number } => bench
                        .act(|claims, now, out| claims.announce_again(now, target(number), out)),
                    Op::Pass(_) => Vec::new(),
                };
                out.into_iter().map(|action| (bench.now_ms, action)).collect()
            }
        };
        frames.extend(
            done.iter().filter(|(_, a)| matches!(a, Probe(_) | Announce(_))).map(|(at, _)| *at),
        );
        for (target, status) in bench.claims.claims() {
            let about = |action: &ClaimAction| match action {
                Announce(of) if *of == target => Some(true),
                Probe(of) if *of == target => Some(false),
                _ => None,
            };
            if let Some(announced) = done.iter().rev().find_map(|(_, action)| about(action)) {
                assert_eq!(announced, status == ClaimStatus::Up);
            }
        }
    }
    for (first, at) in frames.iter().enumerate() {
        let within = frames[first..].iter().take_while(|t| **t < at + 1000).count();
        assert!(within <= FRAMES_PER_S.most_per_s() as usize, "{} in a second", within);
    }
    // Left alone, everything to be announced is up and quiet falls.
    bench.pass(400_000);
    assert!(bench.claims.claims().all(|(_, s)| matches!(s, ClaimStatus::Up | ClaimStatus::Quiet)));
    assert_eq!(bench.claims.next_ms(), None);
}
