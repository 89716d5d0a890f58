//! Memory and connections that change while frames are under way.

use super::{Case, Outcome, PAUSE, SERVED_WITHIN, Scene, ring};
use crate::frontend::header::NetHeader;
use crate::frontend::memory::Memory;
use crate::frontend::message::{Message, feature, request};
use crate::frontend::ring::Ring;
use crate::frontend::{Frontend, Options};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const CASES: &[Case] = &[
    ring("descriptors-change-in-flight", |scene| changes(scene, |ring| ring.descriptors, 256)),
    ring("available-changes-in-flight", |scene| changes(scene, |ring| ring.available, 64)),
    ring("used-changes-in-flight", |scene| changes(scene, |ring| ring.used, 64)),
    ring("headers-change-in-flight", headers_change_in_flight),
    ring("leaves-in-traffic", leaves_in_traffic),
    ring("call-taken-away-in-traffic", call_taken_away_in_traffic),
];

/// Sends while another thread changes bytes of a part of memory.
fn while_changing(
    scene: &mut Scene,
    places: Vec<(u64, u64)>,
    guest: &mut Frontend,
) -> io::Result<Outcome> {
    let file = guest.parts.memory.file(0)?;
    let stop = AtomicBool::new(false);
    let mut random = scene.random.clone();
    scene.random.number();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (start, bytes) = places[random.below(places.len())];
                let at = start + random.number() % bytes;
                let count = 1 + random.below(4);
                // Past the region's end is nothing to be changed.
                let _ = file.write_all_at(&random.bytes(count), at);
            }
        });
        let header = NetHeader::default().bytes(guest.agreed.header_bytes());
        let bytes = [header, scene.good_frame()].concat();
        for _ in 0..24 {
            let (ring, memory) = guest.sender(0);
            // What comes back makes no sense, nor does it matter.
            let _ = ring.take_used(memory);
            let _ = ring.send(memory, &bytes);
            std::thread::sleep(PAUSE / 16);
        }
        stop.store(true, Ordering::Relaxed);
    });
    Ok(scene.settled(guest))
}

fn changes(scene: &mut Scene, place: fn(&Ring) -> u64, bytes: u64) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let places = guest.parts.rings.iter().map(|ring| (place(ring), bytes)).collect();
    while_changing(scene, places, &mut guest)
}

/// The header of each frame, and the headers of its packet, change after they were first read.
fn headers_change_in_flight(scene: &mut Scene) -> io::Result<Outcome> {
    let base = scene.options();
    let features = base.features | feature::OFFLOADS;
    let regions = vec![4 << 20];
    let patience = SERVED_WITHIN;
    let mut guest = scene.guest_with(&Options { features, regions, patience, ..base })?;
    let sender = &guest.parts.rings[1];
    let places = (0..sender.size).map(|index| (sender.buffer(index), 46)).collect();
    while_changing(scene, places, &mut guest)
}

fn leaves_in_traffic(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for _ in 0..1 + scene.random.below(200) {
        guest.send(0, &NetHeader::default(), &scene.good_frame())?;
    }
    if scene.random.below(2) == 0 {
        // Its memory goes with it.
        guest.parts.memory = Memory::new(&[4_096])?;
    }
    Ok(Outcome::HungUp)
}

fn call_taken_away_in_traffic(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for turn in 0..16u64 {
        guest.send(0, &NetHeader::default(), &scene.good_frame())?;
        let mut message = Message::number(request::SET_VRING_CALL, turn % 2);
        if turn % 4 < 2 {
            message.payload[1] = 1;
        } else {
            message = message.fd(&guest.parts.rings[0].call);
        }
        guest.channel.send(&message)?;
    }
    Ok(scene.settled(&mut guest))
}
