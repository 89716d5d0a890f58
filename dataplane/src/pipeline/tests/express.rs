//! The express lane and the stages, side by side: what the one passes, the other would have passed alike.

use super::account::classify;
use super::any::{Arrival, Change, PORTS, any_frame, apply, change, likely, run_cases};
use super::host::*;
use super::lab::Lab;
use super::packet::{Packet, filler};
use super::shape::keep_limits;
use crate::counters::{AdapterCounts, ClassCounts, PortCounts, Traffic};
use crate::frame::{BURST_PKTS, Burst};
use crate::ids::{AdapterId, ClassId, PortId};
use crate::pipeline::Early;
use crate::sight::trace::{Selection, Target, Tracer};
use crossbeam::queue::ArrayQueue;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A burst from one port: mostly packets that a station there would send, some of which are anything.
fn burst() -> impl Strategy<Value = Vec<Arrival>> {
    let port = select(PORTS.to_vec());
    port.prop_flat_map(|port| {
        let bytes = prop_oneof![
            6 => plain(port).boxed(),
            2 => likely(port).boxed(),
            1 => any_frame(port).boxed(),
        ];
        let head = prop_oneof![30 => Just(usize::MAX), 1 => 0usize..200];
        let arrival = (bytes, head);
        prop_oneof![
            prop::collection::vec(arrival.clone(), 1..BURST_PKTS + 1),
            prop::collection::vec(arrival, BURST_PKTS),
        ]
        .prop_map(move |frames| {
            let arrival = |(bytes, head_bytes)| Arrival { port, bytes, head_bytes };
            frames.into_iter().map(arrival).collect::<Vec<_>>()
        })
    })
}

/// What goes through most of the time.
fn plain(port: PortId) -> impl Strategy<Value = Vec<u8>> {
    let neighbors = [M1, M2, M3, W1, W2, V1, V2].map(|port| at(port).mac);
    let routers = [GATEWAY_MAC, UP_MAC, UP2_MAC];
    let router = match port {
        UP | W1 | W2 | WF => UP_MAC,
        UP2 => UP2_MAC,
        _ => GATEWAY_MAC,
    };
    let to_mac = prop_oneof![6 => Just(router), 3 => select(neighbors.to_vec()), 1 => select(routers.to_vec())];
    let to = select(
        vec![C1, C2, C3, N1, UP, VENET, HOST, M2, W1]
            .into_iter()
            .map(|port| at(port).ip)
            .chain([FAR, s2().ip, ROUTED_TO_C1])
            .collect::<Vec<_>>(),
    );
    let from = prop_oneof![8 => Just(at(port).ip), 1 => select(vec![s2().ip, FAR, at(C1).ip, at(UP).ip, GLEAN, DIRECTED_BROADCAST])];
    let rest = (2u8..=255, select(vec![6u8, 17]), 0usize..700, 0usize..30, any::<u16>());
    // Now and then of a DHCP server, or cut short.
    let ports = prop::option::weighted(0.1, (select(vec![67u16, 1000]), Just(68u16), 1u8..3));
    (to_mac, to, from, rest, ports).prop_map(move |(mac, to, from, rest, ports)| {
        let (ttl, protocol, data, padding, id) = rest;
        let mut payload = filler(data);
        if let Some((from, to, op)) = ports {
            payload.splice(..payload.len().min(9), udp_head(from, to, op));
        }
        let own = Packet::new(at(port), mac, to);
        let packet = Packet { source: from, ttl, protocol, padding, id, payload, ..own };
        packet.bytes()
    })
}

/// Ports, whatever else, and the first byte behind.
fn udp_head(from: u16, to: u16, op: u8) -> [u8; 9] {
    let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
    [a, b, c, d, 0, 9, 0, 0, op]
}

/// All that can be seen of a lab.
#[derive(PartialEq, Debug)]
struct Seen {
    sent: BTreeMap<PortId, Vec<Vec<u8>>>,
    punts: Vec<String>,
    ports: Vec<PortCounts>,
    adapters: Vec<AdapterCounts>,
    classes: Vec<ClassCounts>,
}

fn see(lab: &Lab) -> Seen {
    let mut sent: BTreeMap<PortId, Vec<Vec<u8>>> = BTreeMap::new();
    for (port, bytes) in lab.sent_all() {
        sent.entry(port).or_default().push(bytes);
    }
    let punts = std::iter::from_fn(|| lab.punts.pop()).map(|punt| format!("{punt:?}")).collect();
    Seen {
        sent,
        punts,
        ports: PORTS.iter().map(|port| lab.counts(*port)).collect(),
        adapters: (0..70).map(|id| lab.path.counters.adapter(AdapterId(id))).collect(),
        classes: (0..70 * 4)
            .map(|n| lab.path.counters.class(AdapterId(n / 4), ClassId((n % 4) as u8)))
            .collect(),
    }
}

fn give(lab: &mut Lab, arrivals: &[Arrival]) {
    let port = arrivals[0].port;
    let mut burst: Burst<_> = Burst::new();
    for arrival in arrivals {
        let Some(mut frame) = lab.pool.frame(&arrival.bytes, port) else { continue };
        frame.chain(arrival.head_bytes);
        burst.push(frame);
    }
    lab.path.run(port, &mut burst, lab.now_ns);
    lab.path.flush();
}

#[test]
fn what_the_lane_passes_the_stages_would_pass_alike() {
    let labs = [(); 2].map(|()| RefCell::new(Lab::new()));
    labs[1].borrow_mut().path.work.lane.is_closed = true;
    let _classes = labs.each_ref().map(|lab| classify(&mut lab.borrow_mut()));
    for lab in &labs {
        let mut lab = lab.borrow_mut();
        keep_limits(&mut lab, 512);
        lab.limit(S2_ADAPTER, |limits| limits.limit(Traffic::FromGuest, 1_000_000));
        lab.limit(adapter_on(C3), |limits| limits.limit(Traffic::ToGuest, 1_000_000));
        lab.limit(adapter_on(M2), |limits| limits.limit(Traffic::ToGuest, 1_000_000));
    }
    let steps = prop::collection::vec((burst(), prop::option::weighted(0.2, change())), 1..8);
    run_cases(600, steps, |steps: Vec<(Vec<Arrival>, Option<Change>)>| {
        for lab in &labs {
            let mut lab = lab.borrow_mut();
            lab.path.release_early(Early::All);
            lab.reset();
            lab.now_ns += 100_000_000;
            let now_ns = lab.now_ns;
            lab.path.release(now_ns);
        }
        for (arrivals, change) in &steps {
            for lab in &labs {
                let mut lab = lab.borrow_mut();
                if let Some(change) = change {
                    apply(&mut lab, change);
                }
                give(&mut lab, arrivals);
            }
            prop_assert_eq!(see(&labs[0].borrow()), see(&labs[1].borrow()));
        }
        Ok(())
    });
    labs.iter().for_each(|lab| drop(lab.borrow_mut().path.set_shaping(None)));
    labs.iter().for_each(|lab| lab.borrow_mut().path.flush());
    let [with, without] = labs.each_ref().map(|lab| lab.borrow().path.work.lane.passed);
    assert!(with > 2_000 && without == 0, "{with}");
}

#[test]
fn a_traced_burst_ends_as_any_other() {
    let labs = [(); 2].map(|()| RefCell::new(Lab::new()));
    let _classes = labs.each_ref().map(|lab| classify(&mut lab.borrow_mut()));
    let records = Arc::new(ArrayQueue::new(BURST_PKTS));
    let target = |port: &PortId| Target { port: *port, adapter: None };
    let targets = [C1, VENET, M1, V1, HOST].iter().map(target).collect();
    let selection = Selection { targets, received: true, sent: true, filter: None };
    labs[1].borrow_mut().path.view.trace = Some(Tracer::new(selection, records.clone(), 0));
    let kept = RefCell::new(0);
    let steps = prop::collection::vec((burst(), prop::option::weighted(0.2, change())), 1..8);
    run_cases(300, steps, |steps: Vec<(Vec<Arrival>, Option<Change>)>| {
        labs.iter().for_each(|lab| lab.borrow_mut().reset());
        for (arrivals, change) in &steps {
            for lab in &labs {
                let mut lab = lab.borrow_mut();
                if let Some(change) = change {
                    apply(&mut lab, change);
                }
                give(&mut lab, arrivals);
            }
            *kept.borrow_mut() += std::iter::from_fn(|| records.pop()).count();
            prop_assert_eq!(see(&labs[0].borrow()), see(&labs[1].borrow()));
        }
        Ok(())
    });
    let passed = labs[1].borrow().path.work.lane.passed;
    assert!(*kept.borrow() > 2_000 && passed > 500, "{} {passed}", kept.borrow());
}
