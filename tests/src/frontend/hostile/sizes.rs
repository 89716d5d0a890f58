//! A ring's size told at the wrong time: what was laid out, allocated or checked for one size is used
//! with another.

use super::{Case, Outcome, PAUSE, Scene, Start, message, play, verdict};
use crate::frontend::Parts;
use crate::frontend::memory::USER_BASE;
use crate::frontend::message::{Message, NEED_REPLY, request};
use std::io;

pub(super) const CASES: &[Case] = &[
    message("ring-size-never-told", ring_size_never_told),
    message("ring-size-refused-yet-kept", ring_size_refused_yet_kept),
    message("ring-size-grows-under-the-ring", ring_size_grows_under_the_ring),
    message("ring-size-changes-in-traffic", ring_size_changes_in_traffic),
    message("ring-started-again-without-size", ring_started_again_without_size),
];

/// Both rings, or one of them.
fn some_rings(scene: &mut Scene) -> &'static [u32] {
    [&[0u32, 1][..], &[0], &[1]][scene.random.below(3)]
}

fn size(index: u32, size: u32) -> Message {
    Message::state(request::SET_VRING_NUM, index, size)
}

/// All but the size is told, so a ring is of none.
fn ring_size_never_told(scene: &mut Scene) -> io::Result<Outcome> {
    let rings = some_rings(scene);
    scene.altered(|_, plan, _| {
        let index = |m: &Message| u32::from(m.payload.first().copied().unwrap_or(0));
        plan.retain(|m| m.request != request::SET_VRING_NUM || !rings.contains(&index(m)));
    })
}

/// A small ring, then a size that is refused; because an acknowledgement was asked for, the back end
/// says so and goes on with whatever it has stored by then.
fn ring_size_refused_yet_kept(scene: &mut Scene) -> io::Result<Outcome> {
    let rings = some_rings(scene);
    let refused = [0, 3, 255, 32_767, 24_576][scene.random.below(5)];
    let mut start = scene.start()?;
    for index in rings {
        let told = |m: &Message| {
            m.request == request::SET_VRING_NUM && m.payload[..4] == index.to_le_bytes()
        };
        let at = start.plan.iter().position(told).expect("each ring's size is told");
        start.plan[at] = size(*index, 2);
        let flags = NEED_REPLY * u32::from(scene.random.below(4) > 0);
        start.plan.insert(at + 1, size(*index, refused).flag(flags));
    }
    play(&start.channel, &start.plan);
    offer_many(scene, &mut start);
    Ok(verdict(&start.channel))
}

/// More than a small ring holds, and all at once.
fn offer_many(scene: &Scene, start: &mut Start) {
    scene.try_traffic(start);
    let Parts { memory, rings } = &mut start.parts;
    let _ = rings[1].jump(memory, 60);
    std::thread::sleep(PAUSE);
}

/// A ring of two fits where it was told to be, at the very end of memory; then it is said to have
/// thousands.
fn ring_size_grows_under_the_ring(scene: &mut Scene) -> io::Result<Outcome> {
    let rings = some_rings(scene);
    let grown = [256, 4_096, 32_768][scene.random.below(3)];
    let mut start = scene.start()?;
    let end = USER_BASE + start.parts.memory.end();
    // Room for descriptors, used and available of two each.
    let (descriptors, used, available) = (end - 128, end - 64, end - 32);
    for message in &mut start.plan {
        match message.request {
            request::SET_VRING_NUM => message.payload[4..8].copy_from_slice(&2u32.to_le_bytes()),
            request::SET_VRING_ADDR => {
                let index = u32::from(message.payload[0]);
                *message = Message::ring_addresses(index, 0, descriptors, used, available);
            }
            _ => {}
        }
    }
    start.plan.extend(rings.iter().map(|index| size(*index, grown)));
    play(&start.channel, &start.plan);
    // The ring's own idea of where things are no longer holds; the index is what counts.
    let _ = start.parts.memory.store(available - USER_BASE + 2, 40);
    offer_many(scene, &mut start);
    Ok(verdict(&start.channel))
}

fn ring_size_changes_in_traffic(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for _ in 0..8 {
        let index = u32::try_from(scene.random.below(2)).expect("small");
        let sizes = [0, 1, 2, 3, 128, 256, 512, 32_768];
        let flags = NEED_REPLY * u32::from(scene.random.below(2) == 0);
        let told = size(index, sizes[scene.random.below(sizes.len())]).flag(flags);
        guest.channel.send(&told)?;
        for _ in 0..8 {
            guest.send(0, &Default::default(), &scene.good_frame())?;
        }
    }
    std::thread::sleep(PAUSE);
    Ok(verdict(&guest.channel))
}

/// A stopped ring has nothing of its own any more; it is started again, and its size is not told.
fn ring_started_again_without_size(scene: &mut Scene) -> io::Result<Outcome> {
    let rings = some_rings(scene);
    let mut guest = scene.guest()?;
    for index in rings {
        guest.channel.send(&Message::state(request::GET_VRING_BASE, *index, 0))?;
        let messages = guest.parts.rings[*index as usize].messages();
        let others = messages.iter().filter(|m| m.request != request::SET_VRING_NUM).cloned();
        play(&guest.channel, &others.collect::<Vec<_>>());
    }
    for _ in 0..16 {
        guest.send(0, &Default::default(), &scene.good_frame())?;
    }
    std::thread::sleep(PAUSE * 2);
    Ok(verdict(&guest.channel))
}
