//! What stands in the rings: indices, chains, addresses and lengths that lie.

use super::{Case, Outcome, PAUSE, Scene, harmless, odd_half, odd_number, ring};
use crate::frames::Random;
use crate::frontend::header::NetHeader;
use crate::frontend::message::feature;
use crate::frontend::ring::{
    BUFFER_BYTES, DESCRIPTOR_BYTES, Descriptor, INDIRECT, NEXT, Ring, WRITE,
};
use crate::frontend::{Frontend, Options};
use std::io;

pub(super) const CASES: &[Case] = &[
    ring("head-out-of-range", head_out_of_range),
    ring("next-out-of-range", next_out_of_range),
    ring("chain-loops", chain_loops),
    ring("chain-without-end", chain_without_end),
    ring("chain-offered-twice", chain_offered_twice),
    ring("length-zero-at-bad-address", length_zero_at_bad_address),
    ring("length-zero", length_zero),
    ring("address-outside", address_outside),
    ring("address-wraps", address_wraps),
    ring("address-crosses-the-end", address_crosses_the_end),
    ring("length-all-ones", length_all_ones),
    ring("descriptors-random", descriptors_random),
    ring("indirect-table-outside", |scene| indirect(scene, table_outside)),
    ring("indirect-table-uneven", |scene| indirect(scene, table_uneven)),
    ring("indirect-table-empty", |scene| indirect(scene, table_empty)),
    ring("indirect-nested", |scene| indirect(scene, nested)),
    ring("indirect-looped", |scene| indirect(scene, looped)),
    ring("indirect-next-out-of-range", |scene| indirect(scene, next_past_table)),
    ring("indirect-with-next", |scene| indirect(scene, with_next)),
    ring("indirect-never-agreed", indirect_never_agreed),
    ring("available-index-jumps", available_index_jumps),
    ring("available-index-goes-back", available_index_goes_back),
    ring("used-ring-rewritten", used_ring_rewritten),
    ring("ring-flags-changed", ring_flags_changed),
    ring("write-flag-on-sent", write_flag_on_sent),
    ring("write-flag-missing-on-receive", |scene| receive_poisoned(scene, no_write_flag)),
    ring("receive-address-outside", |scene| receive_poisoned(scene, outside)),
    ring("receive-length-zero", |scene| receive_poisoned(scene, zero)),
    ring("receive-one-byte-buffers", |scene| receive_poisoned(scene, one_byte)),
    ring("receive-chain-loops", |scene| receive_poisoned(scene, self_loop)),
    ring("receive-into-the-rings", |scene| receive_poisoned(scene, into_rings)),
    ring("receive-random", |scene| receive_poisoned(scene, |random, _, _| any(random))),
    harmless("frame-cut-short", frame_cut_short),
    harmless("header-split", header_split),
    harmless("one-byte-descriptors", one_byte_descriptors),
    harmless("frame-of-64-kb", frame_of_64_kb),
    ring("frame-of-megabytes", frame_of_megabytes),
    ring("ring-full-of-runts", ring_full_of_runts),
];

/// Writes a chain of `count` descriptors into the ring that a new guest sends on, as `make` has them
/// (it is given the place in the chain, the honest descriptor and the chain itself), and offers it.
fn chain(
    scene: &mut Scene,
    count: usize,
    make: impl Fn(&mut Random, usize, Descriptor, &[u16]) -> Descriptor,
) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    let chain = ring.take(count);
    for (at, index) in chain.iter().enumerate() {
        let next = chain.get(at + 1).copied();
        let honest = Descriptor {
            address: ring.buffer(*index),
            bytes: 128,
            flags: if next.is_some() { NEXT } else { 0 },
            next: next.unwrap_or(0),
        };
        ring.write(memory, *index, &make(&mut scene.random, at, honest, &chain))?;
    }
    ring.offer(memory, chain[0])?;
    Ok(scene.settled(&mut guest))
}

/// As [`chain`] of up to four, one of which is not honest.
fn one_bad(
    scene: &mut Scene,
    make: impl Fn(&mut Random, Descriptor) -> Descriptor,
) -> io::Result<Outcome> {
    let count = 1 + scene.random.below(4);
    let bad = scene.random.below(count);
    chain(
        scene,
        count,
        |random, at, honest, _| {
            if at == bad { make(random, honest) } else { honest }
        },
    )
}

fn head_out_of_range(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    let heads = [ring.size, ring.size + 1, 1 << 15, u16::MAX, odd_half(&mut scene.random)];
    let head = heads[scene.random.below(heads.len())];
    ring.offer(memory, head)?;
    Ok(scene.settled(&mut guest))
}

fn next_out_of_range(scene: &mut Scene) -> io::Result<Outcome> {
    one_bad(scene, |random, honest| {
        let next = [256, 257, 1 << 15, u16::MAX][random.below(4)];
        Descriptor { flags: NEXT, next, ..honest }
    })
}

fn chain_loops(scene: &mut Scene) -> io::Result<Outcome> {
    let count = 1 + scene.random.below(6);
    chain(scene, count, |random, at, honest, chain| match at + 1 {
        last if last == count => {
            Descriptor { flags: NEXT, next: chain[random.below(count)], ..honest }
        }
        _ => honest,
    })
}

fn chain_without_end(scene: &mut Scene) -> io::Result<Outcome> {
    chain(scene, 200, |_, at, honest, chain| {
        let next = chain[(at + 1) % chain.len()];
        Descriptor { bytes: 1, flags: NEXT, next, ..honest }
    })
}

fn chain_offered_twice(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    let head = ring.take(1)[0];
    let address = ring.buffer(head);
    ring.write(memory, head, &Descriptor { address, bytes: 128, flags: 0, next: 0 })?;
    for _ in 0..2 + scene.random.below(200) {
        ring.list(memory, head)?;
    }
    ring.publish(memory)?;
    Ok(scene.settled(&mut guest))
}

fn length_zero_at_bad_address(scene: &mut Scene) -> io::Result<Outcome> {
    one_bad(scene, |random, honest| Descriptor { address: odd_number(random), bytes: 0, ..honest })
}

fn length_zero(scene: &mut Scene) -> io::Result<Outcome> {
    let count = 1 + scene.random.below(8);
    chain(scene, count, |_, _, honest, _| Descriptor { bytes: 0, ..honest })
}

fn address_outside(scene: &mut Scene) -> io::Result<Outcome> {
    one_bad(scene, |random, honest| Descriptor { address: odd_number(random), ..honest })
}

fn address_wraps(scene: &mut Scene) -> io::Result<Outcome> {
    one_bad(scene, |random, honest| {
        let address = u64::MAX - random.below(256) as u64;
        Descriptor { address, bytes: 4_096, ..honest }
    })
}

fn address_crosses_the_end(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    let head = ring.take(1)[0];
    let address = memory.end() - [1, 11, 12, 13, 64][scene.random.below(5)];
    ring.write(memory, head, &Descriptor { address, bytes: 256, flags: 0, next: 0 })?;
    ring.offer(memory, head)?;
    Ok(scene.settled(&mut guest))
}

fn length_all_ones(scene: &mut Scene) -> io::Result<Outcome> {
    one_bad(scene, |random, honest| {
        let bytes = [u32::MAX, u32::MAX - 11, 1 << 31, (4 << 20) + 1][random.below(4)];
        Descriptor { bytes, ..honest }
    })
}

/// Anything at all.
fn any(random: &mut Random) -> Descriptor {
    Descriptor {
        address: odd_number(random),
        bytes: super::odd_word(random),
        flags: odd_half(random),
        next: odd_half(random),
    }
}

fn descriptors_random(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    for index in 0..ring.size {
        ring.write(memory, index, &any(&mut scene.random))?;
    }
    for _ in 0..1 + scene.random.below(usize::from(ring.size)) {
        let head = scene.random.number().to_le_bytes();
        ring.list(memory, u16::from(head[0]))?;
    }
    ring.publish(memory)?;
    Ok(scene.settled(&mut guest))
}

/// Offers an indirect descriptor, with a table of eight that `make` spoils. Its own descriptor is
/// spoilt too, if `make` wants.
fn indirect(
    scene: &mut Scene,
    make: fn(&mut Random, &mut Descriptor, &mut [Descriptor]),
) -> io::Result<Outcome> {
    let base = scene.options();
    let features = base.features | feature::INDIRECT_DESC;
    let patience = super::SERVED_WITHIN;
    let mut guest = scene.guest_with(&Options { features, patience, ..base })?;
    offer_table(scene, &mut guest, make)
}

fn indirect_never_agreed(scene: &mut Scene) -> io::Result<Outcome> {
    let base = scene.options();
    let features = base.features & !feature::INDIRECT_DESC;
    let patience = super::SERVED_WITHIN;
    let mut guest = scene.guest_with(&Options { features, patience, ..base })?;
    offer_table(scene, &mut guest, |_, _, _| {})
}

fn offer_table(
    scene: &mut Scene,
    guest: &mut Frontend,
    make: fn(&mut Random, &mut Descriptor, &mut [Descriptor]),
) -> io::Result<Outcome> {
    let (ring, memory) = guest.sender(0);
    let taken = ring.take(2);
    let (head, place) = (taken[0], ring.buffer(taken[1]));
    let mut table = [Descriptor::default(); 8];
    for (at, row) in table.iter_mut().enumerate() {
        let next = u16::try_from(at + 1).expect("small");
        let flags = if at < 7 { NEXT } else { 0 };
        *row = Descriptor { address: ring.buffer(head), bytes: 64, flags, next };
    }
    let bytes = u32::try_from(8 * DESCRIPTOR_BYTES).expect("small");
    let mut own = Descriptor { address: place, bytes, flags: INDIRECT, next: 0 };
    make(&mut scene.random, &mut own, &mut table);
    let rows: Vec<u8> = table.iter().flat_map(Descriptor::bytes).collect();
    memory.write(place, &rows)?;
    ring.write(memory, head, &own)?;
    ring.offer(memory, head)?;
    Ok(scene.settled(guest))
}

fn table_outside(random: &mut Random, own: &mut Descriptor, _: &mut [Descriptor]) {
    own.address = odd_number(random);
}

fn table_uneven(random: &mut Random, own: &mut Descriptor, _: &mut [Descriptor]) {
    own.bytes = [1, 15, 17, 127, 129, u32::MAX, 1 << 30][random.below(7)];
}

fn table_empty(_: &mut Random, own: &mut Descriptor, _: &mut [Descriptor]) {
    own.bytes = 0;
}

fn nested(random: &mut Random, own: &mut Descriptor, table: &mut [Descriptor]) {
    let at = random.below(table.len());
    table[at] = Descriptor { flags: INDIRECT | table[at].flags, ..*own };
}

fn looped(random: &mut Random, _: &mut Descriptor, table: &mut [Descriptor]) {
    table[7].flags = NEXT;
    table[7].next = u16::try_from(random.below(8)).expect("small");
}

fn next_past_table(random: &mut Random, _: &mut Descriptor, table: &mut [Descriptor]) {
    let at = random.below(table.len());
    table[at].flags = NEXT;
    table[at].next = [8, 9, 255, u16::MAX][random.below(4)];
}

fn with_next(random: &mut Random, own: &mut Descriptor, _: &mut [Descriptor]) {
    own.flags |= NEXT | [0, WRITE][random.below(2)];
    own.next = odd_half(random);
}

fn available_index_jumps(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    let step = [ring.size + 1, 1 << 15, u16::MAX / 2, odd_half(&mut scene.random)];
    ring.jump(memory, step[scene.random.below(4)])?;
    Ok(scene.settled(&mut guest))
}

fn available_index_goes_back(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    ring.jump(memory, 0u16.wrapping_sub(1 + odd_half(&mut scene.random) % 300))?;
    Ok(scene.settled(&mut guest))
}

fn used_ring_rewritten(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for pair_half in 0..2 {
        let bytes = scene.random.bytes(6 + 8 * 256);
        let used = guest.parts.rings[pair_half].used;
        guest.parts.memory.write(used, &bytes)?;
    }
    guest.parts.rings[1].send(&guest.parts.memory, &[0; 80])?;
    std::thread::sleep(PAUSE);
    Ok(scene.settled(&mut guest))
}

fn ring_flags_changed(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for _ in 0..8 {
        for half in 0..2 {
            let Ring { available, used, size, .. } = guest.parts.rings[half];
            // The flags of both, and the event indices behind them.
            for at in [available, used, available + 4 + 2 * u64::from(size)] {
                guest.parts.memory.store(at, odd_half(&mut scene.random))?;
            }
        }
        guest.parts.rings[1].send(&guest.parts.memory, &[0; 80])?;
    }
    Ok(scene.settled(&mut guest))
}

fn write_flag_on_sent(scene: &mut Scene) -> io::Result<Outcome> {
    one_bad(scene, |_, honest| Descriptor { flags: honest.flags | WRITE, ..honest })
}

/// Spoils every descriptor that is already offered to receive, and waits for frames to come.
fn receive_poisoned(
    scene: &mut Scene,
    make: fn(&mut Random, Descriptor, u16) -> Descriptor,
) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.receiver(0);
    for index in 0..ring.size {
        let address = ring.buffer(index);
        let honest = Descriptor { address, bytes: BUFFER_BYTES, flags: WRITE, next: 0 };
        ring.write(memory, index, &make(&mut scene.random, honest, index))?;
    }
    ring.notify()?;
    std::thread::sleep(PAUSE * 2);
    Ok(scene.settled(&mut guest))
}

fn no_write_flag(_: &mut Random, honest: Descriptor, _: u16) -> Descriptor {
    Descriptor { flags: 0, ..honest }
}

fn outside(random: &mut Random, honest: Descriptor, _: u16) -> Descriptor {
    Descriptor { address: odd_number(random), ..honest }
}

fn zero(random: &mut Random, honest: Descriptor, _: u16) -> Descriptor {
    let address = [honest.address, odd_number(random)][random.below(2)];
    Descriptor { address, bytes: 0, ..honest }
}

fn one_byte(_: &mut Random, honest: Descriptor, _: u16) -> Descriptor {
    Descriptor { bytes: 1, ..honest }
}

fn self_loop(_: &mut Random, honest: Descriptor, index: u16) -> Descriptor {
    Descriptor { bytes: 16, flags: WRITE | NEXT, next: index, ..honest }
}

/// The device is made to write over the very rings that it reads.
fn into_rings(random: &mut Random, honest: Descriptor, _: u16) -> Descriptor {
    Descriptor { address: 256 * random.below(64) as u64, ..honest }
}

/// A frame shorter than its header, or than an Ethernet header.
fn frame_cut_short(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for length in 1..=guest.agreed.header_bytes() + 14 {
        let (ring, memory) = guest.sender(0);
        ring.send(memory, &vec![0; length])?;
    }
    scene.carries_on(&mut guest)
}

/// A right frame in pieces of the given length.
fn in_pieces(scene: &mut Scene, lengths: &[usize]) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let header = NetHeader::default().bytes(guest.agreed.header_bytes());
    let bytes = [header, scene.good_frame()].concat();
    let mut rest = &bytes[..];
    let mut pieces = Vec::new();
    let mut turn = 0;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(lengths[turn % lengths.len()].min(rest.len()));
        pieces.push(piece);
        rest = left;
        turn += 1;
    }
    let (ring, memory) = guest.sender(0);
    ring.send_pieces(memory, &pieces)?;
    scene.carries_on(&mut guest)
}

fn header_split(scene: &mut Scene) -> io::Result<Outcome> {
    let lengths = [1 + scene.random.below(11), 1 + scene.random.below(30), 40];
    in_pieces(scene, &lengths)
}

fn one_byte_descriptors(scene: &mut Scene) -> io::Result<Outcome> {
    in_pieces(scene, &[1])
}

fn frame_of_64_kb(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let lengths = [65_535, 65_536, 65_549, 65_550, 70_000, 131_072, 500_000];
    let length = lengths[scene.random.below(lengths.len())];
    let header = NetHeader::default().bytes(guest.agreed.header_bytes());
    let mut bytes = [header, scene.good_frame()].concat();
    bytes.resize(length, 0x5a);
    let (ring, memory) = guest.sender(0);
    ring.send(memory, &bytes)?;
    scene.carries_on(&mut guest)
}

/// Many descriptors of much memory each, over and over the same.
fn frame_of_megabytes(scene: &mut Scene) -> io::Result<Outcome> {
    let count = 64 + scene.random.below(180);
    let bytes = [60_000u32, 65_535, 65_536, 1 << 20][scene.random.below(4)];
    chain(scene, count, |_, _, honest, _| Descriptor { address: 0, bytes, ..honest })
}

fn ring_full_of_runts(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let (ring, memory) = guest.sender(0);
    for _ in 0..ring.size {
        let head = ring.take(1);
        let bytes = u32::try_from(scene.random.below(30)).expect("small");
        let address = ring.buffer(head[0]);
        ring.write(memory, head[0], &Descriptor { address, bytes, flags: 0, next: 0 })?;
        ring.lend(memory, head)?;
    }
    Ok(scene.settled(&mut guest))
}
