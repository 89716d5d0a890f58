//! How memory and rings are described: descriptors that are no memory, sizes and addresses that lie.

use super::{Case, Outcome, PAUSE, Scene, message, odd_number, odd_word, play, verdict};
use crate::frames::Random;
use crate::frontend::Options;
use crate::frontend::memory::{Memory, USER_BASE};
use crate::frontend::message::{Fd, Message, NO_FD, TableRow, feature, memory_table, request};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    message("memory-none", memory_none),
    message("memory-is-no-memory", memory_is_no_memory),
    message("memory-read-only", memory_read_only),
    message("memory-cut-before-traffic", memory_cut_before_traffic),
    message("memory-cut-in-traffic", memory_cut_in_traffic),
    message("memory-cut-before-it-is-told", memory_cut_before_it_is_told),
    message("memory-region-lies", memory_region_lies),
    message("memory-region-overflows", memory_region_overflows),
    message("memory-regions-overlap", memory_regions_overlap),
    message("memory-region-count-lies", memory_region_count_lies),
    message("memory-larger-than-its-file", memory_larger_than_its_file),
    message("memory-huge", memory_huge),
    message("memory-told-anew-in-traffic", memory_told_anew_in_traffic),
    message("ring-address-outside", ring_address_outside),
    message("ring-address-misaligned", ring_address_misaligned),
    message("ring-crosses-the-end", ring_crosses_the_end),
    message("rings-overlap", rings_overlap),
    message("ring-size-absurd", ring_size_absurd),
    message("ring-base-absurd", ring_base_absurd),
    message("ring-index-out-of-range", ring_index_out_of_range),
    message("ring-enabled-and-disabled", ring_enabled_and_disabled),
    message("ring-stopped-and-started", ring_stopped_and_started),
    message("owner-reset-in-traffic", owner_reset_in_traffic),
    message("kick-is-no-event", |scene| event_is_odd(scene, request::SET_VRING_KICK)),
    message("call-is-no-event", |scene| event_is_odd(scene, request::SET_VRING_CALL)),
    message("error-is-no-event", |scene| event_is_odd(scene, request::SET_VRING_ERR)),
    message("call-blocks", call_blocks),
    message("log-base-absurd", log_base_absurd),
    message("log-of-traffic-absurd", log_of_traffic_absurd),
];

/// Another SET_MEM_TABLE in place of the right one.
fn with_table(
    scene: &mut Scene,
    alter: impl FnOnce(&mut Random, &mut Vec<TableRow>, &mut Vec<Fd>),
) -> io::Result<Outcome> {
    scene.altered(|random, plan, parts| {
        let (mut rows, mut fds) = parts.memory.table();
        alter(random, &mut rows, &mut fds);
        let count = u32::try_from(rows.len()).expect("a few");
        replace(plan, &memory_table(count, &rows, &fds));
    })
}

/// Puts a message in the place of those with the same request.
fn replace(plan: &mut [Message], message: &Message) {
    for old in plan.iter_mut().filter(|m| m.request == message.request) {
        *old = message.clone();
    }
}

fn memory_none(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|_, plan, _| plan.retain(|m| m.request != request::SET_MEM_TABLE))
}

/// A descriptor that can't be mapped, or whose mapping is of no use.
fn no_memory(random: &mut Random) -> io::Result<Fd> {
    Ok(Arc::new(match random.below(6) {
        0 => std::io::pipe()?.0.into(),
        1 => UnixStream::pair()?.0.into(),
        2 => File::open("/dev/null")?.into(),
        3 => File::open("/")?.into(),
        4 => EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?.into(),
        _ => File::open("/proc/self/status")?.into(),
    }))
}

fn memory_is_no_memory(scene: &mut Scene) -> io::Result<Outcome> {
    let fd = no_memory(&mut scene.random)?;
    with_table(scene, |random, _, fds| {
        let at = random.below(fds.len());
        fds[at] = fd;
    })
}

fn memory_read_only(scene: &mut Scene) -> io::Result<Outcome> {
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().set_len(4 << 20)?;
    let fd: Fd = Arc::new(File::open(file.path())?.into());
    with_table(scene, |_, _, fds| fds.fill(fd))
}

/// Where a file is cut: nothing left, a page, or in the middle.
fn cut(random: &mut Random) -> u64 {
    [0, 4_096, 1 << 16][random.below(3)]
}

fn memory_cut_before_traffic(scene: &mut Scene) -> io::Result<Outcome> {
    let mut start = scene.start()?;
    play(&start.channel, &start.plan);
    start.parts.memory.truncate(cut(&mut scene.random))?;
    scene.try_traffic(&mut start);
    Ok(verdict(&start.channel))
}

fn memory_cut_in_traffic(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for _ in 0..16 {
        guest.send(0, &Default::default(), &scene.good_frame())?;
    }
    guest.parts.memory.truncate(cut(&mut scene.random))?;
    let (ring, memory) = guest.sender(0);
    for _ in 0..4 {
        let _ = ring.jump(memory, 1);
    }
    std::thread::sleep(PAUSE);
    Ok(verdict(&guest.channel))
}

fn memory_cut_before_it_is_told(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, _, parts| {
        let _ = parts.memory.truncate(cut(random));
    })
}

fn memory_region_lies(scene: &mut Scene) -> io::Result<Outcome> {
    with_table(scene, |random, rows, _| {
        let at = random.below(rows.len());
        let number = odd_number(random);
        match random.below(4) {
            0 => rows[at].guest_address = number,
            1 => rows[at].bytes = number,
            2 => rows[at].user_address = number,
            _ => rows[at].file_offset = number,
        }
    })
}

fn memory_region_overflows(scene: &mut Scene) -> io::Result<Outcome> {
    with_table(scene, |random, rows, _| {
        let row = &mut rows[0];
        match random.below(4) {
            // Offset plus size, address plus size: past 2^64, and back to where it looks right.
            0 => row.file_offset = 0u64.wrapping_sub(row.bytes - 4_096),
            1 => row.guest_address = u64::MAX - 4_095,
            2 => row.user_address = u64::MAX - 4_095,
            _ => (row.bytes, row.file_offset) = (u64::MAX - 4_095, 4_096),
        }
    })
}

fn memory_regions_overlap(scene: &mut Scene) -> io::Result<Outcome> {
    with_table(scene, |random, rows, fds| {
        let (row, fd) = (rows[0], Arc::clone(&fds[0]));
        while rows.len() < 8 {
            let moved = 4_096 * random.number().to_le_bytes()[0] as u64;
            let guest_address = row.guest_address + moved;
            rows.push(TableRow { guest_address, ..row });
            fds.push(Arc::clone(&fd));
        }
    })
}

fn memory_region_count_lies(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, parts| {
        let (rows, fds) = parts.memory.table();
        let count = [0, 2, 8, 9, 255, 0x8000_0001, u32::MAX, odd_word(random)][random.below(8)];
        replace(plan, &memory_table(count, &rows, &fds));
    })
}

fn memory_larger_than_its_file(scene: &mut Scene) -> io::Result<Outcome> {
    let file = File::from(memfd_create("short", MFdFlags::MFD_CLOEXEC)?);
    let length = [0, 1, 4_096, 8_191][scene.random.below(4)];
    file.set_len(length)?;
    let fd: Fd = Arc::new(file.into());
    with_table(scene, |_, _, fds| fds.fill(fd))
}

/// Sparse, so it costs the front-end nothing; what does mapping it cost the back end?
fn memory_huge(scene: &mut Scene) -> io::Result<Outcome> {
    let file = File::from(memfd_create("huge", MFdFlags::MFD_CLOEXEC)?);
    let bytes = 1u64 << (36 + scene.random.below(10));
    file.set_len(bytes)?;
    let fd: Fd = Arc::new(file.into());
    with_table(scene, |_, rows, fds| {
        rows.truncate(1);
        fds.truncate(1);
        rows[0].bytes = bytes;
        fds[0] = fd;
    })
}

fn memory_told_anew_in_traffic(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let sizes: Vec<u64> = (0..guest.parts.memory.regions()).map(|_| 4 << 20).collect();
    let other = Memory::new(&sizes)?;
    for turn in 0..4 + scene.random.below(8) {
        guest.send(0, &Default::default(), &scene.good_frame())?;
        let table = if turn % 2 == 0 { other.message() } else { guest.parts.memory.message() };
        guest.channel.send(&table)?;
    }
    std::thread::sleep(PAUSE);
    Ok(verdict(&guest.channel))
}

/// Changes one of the three addresses in one or all SET_VRING_ADDR.
fn with_address(
    scene: &mut Scene,
    choose: impl Fn(&mut Random, u64, &Memory) -> u64,
) -> io::Result<Outcome> {
    scene.altered(|random, plan, parts| {
        // Where descriptors, used and available stand in the payload.
        let place = [8, 16, 24][random.below(3)];
        for message in plan.iter_mut().filter(|m| m.request == request::SET_VRING_ADDR) {
            let field: [u8; 8] = message.payload[place..place + 8].try_into().expect("8 bytes");
            let address = choose(random, u64::from_le_bytes(field), &parts.memory);
            message.payload[place..place + 8].copy_from_slice(&address.to_le_bytes());
        }
    })
}

fn ring_address_outside(scene: &mut Scene) -> io::Result<Outcome> {
    with_address(scene, |random, address, memory| match random.below(4) {
        0 => USER_BASE + memory.end(),
        1 => USER_BASE - 4_096,
        2 => address.wrapping_add(1 << 40),
        _ => odd_number(random),
    })
}

fn ring_address_misaligned(scene: &mut Scene) -> io::Result<Outcome> {
    with_address(scene, |random, address, _| address + 1 + random.below(15) as u64)
}

fn ring_crosses_the_end(scene: &mut Scene) -> io::Result<Outcome> {
    with_address(scene, |random, _, memory| {
        USER_BASE + memory.end() - [1, 2, 4, 16, 64, 512][random.below(6)]
    })
}

fn rings_overlap(scene: &mut Scene) -> io::Result<Outcome> {
    with_address(scene, |random, _, _| USER_BASE + 64 * random.below(64) as u64)
}

fn ring_size_absurd(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let sizes = [0, 1, 2, 3, 255, 257, 32_768, 65_535, 65_536, u32::MAX, odd_word(random)];
        let size = sizes[random.below(sizes.len())];
        for message in plan.iter_mut().filter(|m| m.request == request::SET_VRING_NUM) {
            message.payload[4..8].copy_from_slice(&size.to_le_bytes());
        }
    })
}

fn ring_base_absurd(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        for message in plan.iter_mut().filter(|m| m.request == request::SET_VRING_BASE) {
            message.payload[4..8].copy_from_slice(&odd_word(random).to_le_bytes());
        }
    })
}

fn ring_index_out_of_range(scene: &mut Scene) -> io::Result<Outcome> {
    let requests = [
        request::SET_VRING_NUM,
        request::SET_VRING_ADDR,
        request::SET_VRING_BASE,
        request::GET_VRING_BASE,
        request::SET_VRING_KICK,
        request::SET_VRING_CALL,
        request::SET_VRING_ERR,
        request::SET_VRING_ENABLE,
    ];
    scene.altered(|random, plan, parts| {
        let number = requests[random.below(requests.len())];
        let indices = [2, 3, 63, 127, 128, 254, 255, 256, 1 << 16, u32::MAX, odd_word(random)];
        let index = indices[random.below(indices.len())];
        let mut payload = index.to_le_bytes().to_vec();
        let length = if number == request::SET_VRING_ADDR { 40 } else { 8 };
        payload.resize(length, 0);
        let mut message = Message::with(number, payload);
        if random.below(2) == 0 {
            message = message.fd(&parts.rings[0].call);
        }
        let at = random.below(plan.len() + 1);
        plan.insert(at, message);
    })
}

fn ring_enabled_and_disabled(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for _ in 0..8 + scene.random.below(64) {
        let index = u32::try_from(scene.random.below(2)).expect("small");
        let state = [0, 1, 0, 1, 2, u32::MAX][scene.random.below(6)];
        guest.channel.send(&Message::state(request::SET_VRING_ENABLE, index, state))?;
        guest.send(0, &Default::default(), &scene.good_frame())?;
    }
    Ok(verdict(&guest.channel))
}

fn ring_stopped_and_started(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    for _ in 0..1 + scene.random.below(6) {
        let at = scene.random.below(2);
        let index = u32::try_from(at).expect("small");
        guest.channel.send(&Message::state(request::GET_VRING_BASE, index, 0))?;
        if scene.random.below(3) > 0 {
            let base = [0, odd_word(&mut scene.random)][scene.random.below(2)];
            guest.channel.send(&Message::state(request::SET_VRING_BASE, index, base))?;
            play(&guest.channel, &guest.parts.rings[at].messages()[2..]);
        }
        guest.send(0, &Default::default(), &scene.good_frame())?;
    }
    Ok(verdict(&guest.channel))
}

fn owner_reset_in_traffic(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = scene.guest()?;
    let number = [request::RESET_OWNER, request::RESET_DEVICE][scene.random.below(2)];
    guest.channel.send(&Message::bare(number))?;
    guest.send(0, &Default::default(), &scene.good_frame())?;
    play(&guest.channel, &guest.parts.plan(&guest.agreed, &Options::default()));
    Ok(verdict(&guest.channel))
}

fn event_is_odd(scene: &mut Scene, number: u32) -> io::Result<Outcome> {
    let fd = no_memory(&mut scene.random)?;
    scene.altered(|random, plan, _| {
        for message in plan.iter_mut().filter(|m| m.request == number) {
            message.payload[1] = 0;
            message.fds = vec![Arc::clone(&fd)];
            if random.below(4) == 0 {
                message.payload[1] = NO_FD.to_le_bytes()[1];
            }
        }
    })
}

/// An event descriptor whose counter is full and that blocks: who signals it waits for ever.
fn call_blocks(scene: &mut Scene) -> io::Result<Outcome> {
    let full = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    full.write(u64::MAX - 1)?;
    let fd: Fd = Arc::new(full.into());
    scene.altered(|_, plan, parts| {
        for ring in &mut parts.rings {
            ring.call = Arc::clone(&fd);
        }
        for message in plan.iter_mut().filter(|m| m.request == request::SET_VRING_CALL) {
            message.fds = vec![Arc::clone(&fd)];
        }
    })
}

fn log_base(random: &mut Random, fd: &Fd) -> Message {
    let size = [0, 1, 4_096, odd_number(random)][random.below(4)];
    let offset = [0, 1, 4_096, odd_number(random)][random.below(4)];
    let payload = [size.to_le_bytes(), offset.to_le_bytes()].concat();
    let mut message = Message::with(request::SET_LOG_BASE, payload);
    message.fds = vec![Arc::clone(fd); [0, 1, 1, 1, 2][random.below(5)]];
    message
}

fn log_base_absurd(scene: &mut Scene) -> io::Result<Outcome> {
    let other = no_memory(&mut scene.random)?;
    scene.altered(|random, plan, parts| {
        let (_, fds) = parts.memory.table();
        for _ in 0..1 + random.below(4) {
            let fd = [&fds[0], &other][random.below(2)];
            let at = random.below(plan.len() + 1);
            plan.insert(at, log_base(random, fd));
            plan.push(Message::bare(request::SET_LOG_FD).fd(fd));
        }
    })
}

/// Every write to the guest is logged, in a log that is too small.
fn log_of_traffic_absurd(scene: &mut Scene) -> io::Result<Outcome> {
    let options = scene.options();
    let features = options.features | feature::LOG_ALL;
    let mut start = scene.start_with(&Options { features, ..options })?;
    let log = Memory::new(&[4_096])?;
    let (_, fds) = log.table();
    start.plan.push(log_base(&mut scene.random, &fds[0]));
    for message in start.plan.iter_mut().filter(|m| m.request == request::SET_VRING_ADDR) {
        // The flag that asks for it, and where the used ring is logged.
        message.payload[4] = 1;
        message.payload[32..40].copy_from_slice(&odd_number(&mut scene.random).to_le_bytes());
    }
    play(&start.channel, &start.plan);
    scene.try_traffic(&mut start);
    Ok(verdict(&start.channel))
}
