//! What is said on the socket: features, order, framing, descriptors, and requests out of place.

use super::{
    Case, Outcome, PAUSE, Scene, Start, has_acks, message, odd_half, odd_number, odd_word, play,
    verdict,
};
use crate::frames::Random;
use crate::frontend::message::{
    Fd, HEADER_BYTES, MAX_FDS, Message, NEED_REPLY, NO_FD, REPLY, feature, protocol, request,
};
use crate::frontend::{Options, Parts};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    message("features-without-version-1", features_without_version_1),
    message("features-none", |scene| with_features(scene, |_, _| 0)),
    message("features-never-offered", |scene| {
        with_features(scene, |random, offered| !offered | random.number())
    }),
    message("features-random", |scene| with_features(scene, |random, _| random.number())),
    message("features-packed-ring", |scene| {
        with_features(scene, |_, agreed| agreed | feature::RING_PACKED)
    }),
    message("features-set-while-running", features_set_while_running),
    message("protocol-features-never-offered", protocol_features_never_offered),
    message("steps-shuffled", steps_shuffled),
    message("step-left-out", step_left_out),
    message("step-said-twice", step_said_twice),
    message("all-said-again", all_said_again),
    message("leaves-at-a-step", leaves_at_a_step),
    message("leaves-at-once", |scene| scene.open().map(|_| Outcome::HungUp)),
    message("many-connections-at-once", many_connections_at_once),
    message("fds-too-many", fds_too_many),
    message("fds-where-none-belong", fds_where_none_belong),
    message("fds-missing", fds_missing),
    message("fds-on-every-message", fds_on_every_message),
    message("request-unknown", request_unknown),
    message("request-random", request_random),
    message("version-wrong", version_wrong),
    message("reply-sent-to-back-end", |scene| flagged(scene, REPLY)),
    message("reply-wanted-always", |scene| flagged(scene, NEED_REPLY)),
    message("payload-too-big", payload_too_big),
    message("payload-too-small", payload_too_small),
    message("payload-length-lies", payload_length_lies),
    message("header-cut-short", header_cut_short),
    message("header-then-silence", header_then_silence),
    message("payload-cut-short", payload_cut_short),
    message("bytes-one-by-one", bytes_one_by_one),
    message("replies-never-read", replies_never_read),
    message("noise", noise),
    message("iotlb-messages", iotlb_messages),
    message("postcopy-messages", postcopy_messages),
    message("config-messages", config_messages),
    message("memory-slot-messages", memory_slot_messages),
    message("inflight-messages", inflight_messages),
    message("status-messages", status_messages),
    message("rarp-messages", rarp_messages),
    message("mtu-absurd", mtu_absurd),
    message("crypto-messages", crypto_messages),
    message("back-end-channel-odd", back_end_channel_odd),
];

fn with_features(
    scene: &mut Scene,
    choose: fn(&mut Random, agreed: u64) -> u64,
) -> io::Result<Outcome> {
    let mut start = scene.start()?;
    let features = choose(&mut scene.random, start.agreed.features);
    for message in start.plan.iter_mut().filter(|m| m.request == request::SET_FEATURES) {
        message.payload = features.to_le_bytes().to_vec();
    }
    start.agreed.features = features;
    play(&start.channel, &start.plan);
    scene.try_traffic(&mut start);
    Ok(verdict(&start.channel))
}

fn features_without_version_1(scene: &mut Scene) -> io::Result<Outcome> {
    let options = scene.options();
    let mut features = options.features & !feature::VERSION_1;
    if scene.random.below(2) == 0 {
        features &= !feature::MRG_RXBUF;
    }
    let mut start = scene.start_with(&Options { features, ..options })?;
    play(&start.channel, &start.plan);
    scene.try_traffic(&mut start);
    Ok(verdict(&start.channel))
}

fn features_set_while_running(scene: &mut Scene) -> io::Result<Outcome> {
    let guest = scene.guest()?;
    for _ in 0..4 {
        let bits = guest.agreed.features & !(1 << scene.random.below(40));
        guest.channel.send(&Message::number(request::SET_FEATURES, bits))?;
    }
    Ok(verdict(&guest.channel))
}

fn protocol_features_never_offered(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let bits = [u64::MAX, random.number(), protocol::PAGEFAULT | protocol::CONFIG];
        let bits = bits[random.below(bits.len())];
        for message in plan.iter_mut().filter(|m| m.request == request::SET_PROTOCOL_FEATURES) {
            message.payload = bits.to_le_bytes().to_vec();
        }
    })
}

fn steps_shuffled(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        for _ in 0..1 + random.below(plan.len()) {
            let (a, b) = (random.below(plan.len()), random.below(plan.len()));
            plan.swap(a, b);
        }
    })
}

fn step_left_out(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let at = random.below(plan.len());
        plan.remove(at);
    })
}

fn step_said_twice(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let step = plan[random.below(plan.len())].clone();
        for _ in 0..1 + random.below(8) {
            let at = random.below(plan.len() + 1);
            plan.insert(at, step.clone());
        }
    })
}

fn all_said_again(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let once = plan.clone();
        for _ in 0..1 + random.below(4) {
            plan.extend(once.clone());
        }
    })
}

fn leaves_at_a_step(scene: &mut Scene) -> io::Result<Outcome> {
    let start = scene.start()?;
    let at = scene.random.below(start.plan.len() + 1);
    play(&start.channel, &start.plan[..at]);
    Ok(Outcome::HungUp)
}

/// Several front-ends on one socket, of which the back end may serve one or more: none may harm another.
fn many_connections_at_once(scene: &mut Scene) -> io::Result<Outcome> {
    let options = scene.options();
    let mut starts = vec![scene.start_with(&options)?];
    let agreed = starts[0].agreed;
    for _ in 0..1 + scene.random.below(6) {
        // Whether anybody listens to this one is not known, so nothing is asked.
        let channel = scene.open()?;
        let parts = Parts::new(&options)?;
        let plan = parts.plan(&agreed, &options);
        starts.push(Start { channel, agreed, parts, plan });
    }
    for start in &mut starts {
        play(&start.channel, &start.plan);
        scene.try_traffic(start);
    }
    while !starts.is_empty() {
        let leaver = scene.random.below(starts.len());
        starts.swap_remove(leaver);
    }
    Ok(Outcome::HungUp)
}

/// Some descriptor or other.
fn any_fd(random: &mut Random) -> io::Result<Fd> {
    Ok(Arc::new(match random.below(3) {
        0 => std::fs::File::open("/dev/null")?.into(),
        1 => std::io::pipe()?.0.into(),
        _ => UnixStream::pair()?.0.into(),
    }))
}

fn fds_too_many(scene: &mut Scene) -> io::Result<Outcome> {
    let fd = any_fd(&mut scene.random)?;
    scene.altered(|random, plan, _| {
        let many = [2, 8, 9, 32, MAX_FDS][random.below(5)];
        let at = random.below(plan.len());
        plan[at].fds = vec![fd; many];
    })
}

fn fds_where_none_belong(scene: &mut Scene) -> io::Result<Outcome> {
    let fd = any_fd(&mut scene.random)?;
    scene.altered(|random, plan, _| {
        let bare: Vec<usize> = (0..plan.len()).filter(|at| plan[*at].fds.is_empty()).collect();
        let at = bare[random.below(bare.len())];
        plan[at].fds = vec![fd; 1 + random.below(8)];
    })
}

fn fds_missing(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let laden: Vec<usize> = (0..plan.len()).filter(|at| !plan[*at].fds.is_empty()).collect();
        let at = laden[random.below(laden.len())];
        plan[at].fds.clear();
    })
}

fn fds_on_every_message(scene: &mut Scene) -> io::Result<Outcome> {
    let fd = any_fd(&mut scene.random)?;
    let channel = scene.open()?;
    for number in 0..request::END {
        let payload = scene.random.bytes(8);
        let mut message = Message::with(number, payload);
        message.fds = vec![Arc::clone(&fd); 1 + scene.random.below(8)];
        if channel.send(&message).is_err() {
            break;
        }
    }
    Ok(verdict(&channel))
}

fn request_unknown(scene: &mut Scene) -> io::Result<Outcome> {
    let numbers = [0, request::END, request::END + 1, 1_000, 1 << 31, u32::MAX];
    let number = numbers[scene.random.below(numbers.len())];
    let length = scene.random.below(64);
    let payload = scene.random.bytes(length);
    scene.inserted(Message::with(number, payload))
}

fn request_random(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        for _ in 0..1 + random.below(6) {
            let number =
                u32::try_from(random.below(request::END as usize)).expect("a small number");
            let length = [0, 4, 8, 16, 24, 40, 64][random.below(7)];
            let at = random.below(plan.len() + 1);
            plan.insert(at, Message::with(number, random.bytes(length)));
        }
    })
}

fn version_wrong(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let flags = [0, 2, 3, 0xff, u32::MAX, odd_word(random)][random.below(6)];
        let at = random.below(plan.len());
        plan[at].flags = flags;
    })
}

fn flagged(scene: &mut Scene, bit: u32) -> io::Result<Outcome> {
    scene.altered(|_, plan, _| plan.iter_mut().for_each(|message| message.flags |= bit))
}

fn payload_too_big(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let at = random.below(plan.len());
        let more = [1, 7, 8, 200, 1_000, 5_000, 60_000][random.below(7)];
        plan[at].payload.extend(random.bytes(more));
    })
}

fn payload_too_small(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let at = random.below(plan.len());
        let length = random.below(plan[at].payload.len() + 1);
        plan[at].payload.truncate(length);
    })
}

fn payload_length_lies(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        let at = random.below(plan.len());
        plan[at].claimed_bytes = Some(odd_word(random));
    })
}

/// The part of a set-up before a random step, and the bytes of that step.
fn up_to_a_step(scene: &mut Scene) -> io::Result<(Start, Message)> {
    let start = scene.start()?;
    let at = scene.random.below(start.plan.len());
    play(&start.channel, &start.plan[..at]);
    let step = start.plan[at].clone();
    Ok((start, step))
}

fn header_cut_short(scene: &mut Scene) -> io::Result<Outcome> {
    let (start, step) = up_to_a_step(scene)?;
    let length = 1 + scene.random.below(HEADER_BYTES - 1);
    start.channel.send_bytes(&step.bytes()[..length], &step.fds)?;
    std::thread::sleep(PAUSE);
    Ok(Outcome::HungUp)
}

fn header_then_silence(scene: &mut Scene) -> io::Result<Outcome> {
    let (start, mut step) = up_to_a_step(scene)?;
    step.claimed_bytes = Some(8 + u32::try_from(scene.random.below(200)).expect("a small number"));
    start.channel.send_bytes(&step.bytes()[..HEADER_BYTES], &step.fds)?;
    std::thread::sleep(PAUSE * 8);
    Ok(Outcome::HungUp)
}

fn payload_cut_short(scene: &mut Scene) -> io::Result<Outcome> {
    let (start, step) = up_to_a_step(scene)?;
    let bytes = step.bytes();
    let length = HEADER_BYTES + scene.random.below((bytes.len() - HEADER_BYTES).max(1));
    start.channel.send_bytes(&bytes[..length], &step.fds)?;
    std::thread::sleep(PAUSE);
    Ok(Outcome::HungUp)
}

fn bytes_one_by_one(scene: &mut Scene) -> io::Result<Outcome> {
    let (start, step) = up_to_a_step(scene)?;
    for (at, byte) in step.bytes().iter().enumerate() {
        let fds = if at == 0 { &step.fds[..] } else { &[] };
        start.channel.send_bytes(&[*byte], fds)?;
    }
    Ok(verdict(&start.channel))
}

fn replies_never_read(scene: &mut Scene) -> io::Result<Outcome> {
    let channel = scene.open()?;
    let many = Message::bare(request::GET_FEATURES).bytes().repeat(64);
    // Ends when the back end no longer takes them, because it waits for us to read.
    for _ in 0..64 {
        if channel.send_bytes(&many, &[]).is_err() {
            break;
        }
    }
    std::thread::sleep(PAUSE * 8);
    Ok(Outcome::HungUp)
}

fn noise(scene: &mut Scene) -> io::Result<Outcome> {
    let channel = scene.open()?;
    let length = 1 + scene.random.below(4_000);
    let bytes = scene.random.bytes(length);
    channel.send_bytes(&bytes, &[])?;
    std::thread::sleep(PAUSE);
    Ok(Outcome::HungUp)
}

fn iotlb_messages(scene: &mut Scene) -> io::Result<Outcome> {
    let options = scene.options();
    let features = options.features | feature::IOMMU_PLATFORM;
    let mut start = scene.start_with(&Options { features, ..options })?;
    play(&start.channel, &start.plan);
    for _ in 0..8 {
        // Address, size, user address, permission, type.
        let mut payload = Vec::new();
        for _ in 0..3 {
            payload.extend_from_slice(&scene.odd_number().to_le_bytes());
        }
        payload.extend([scene.random.below(5), scene.random.below(6)].map(|n| n.to_le_bytes()[0]));
        payload.resize(32, 0);
        if start.channel.send(&Message::with(request::IOTLB_MSG, payload)).is_err() {
            break;
        }
    }
    scene.try_traffic(&mut start);
    Ok(verdict(&start.channel))
}

fn postcopy_messages(scene: &mut Scene) -> io::Result<Outcome> {
    let requests = [request::POSTCOPY_ADVISE, request::POSTCOPY_LISTEN, request::POSTCOPY_END];
    scene.altered(|random, plan, _| {
        for number in requests {
            let at = random.below(plan.len() + 1);
            plan.insert(at, Message::bare(number));
        }
    })
}

fn config_messages(scene: &mut Scene) -> io::Result<Outcome> {
    let number = [request::GET_CONFIG, request::SET_CONFIG][scene.random.below(2)];
    let random = &mut scene.random;
    let words = [odd_word(random), odd_word(random), odd_word(random)];
    let mut payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let more = [0, 1, 60, 256, 300][random.below(5)];
    payload.extend(random.bytes(more));
    scene.inserted(Message::with(number, payload))
}

fn memory_slot_messages(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, parts| {
        let (rows, fds) = parts.memory.table();
        for _ in 0..1 + random.below(12) {
            let mut row = rows[random.below(rows.len())];
            if random.below(2) == 0 {
                row.bytes = odd_number(random);
            }
            if random.below(2) == 0 {
                row.guest_address = odd_number(random);
            }
            let numbers = [request::ADD_MEM_REG, request::REM_MEM_REG, request::GET_MAX_MEM_SLOTS];
            let payload = [vec![0; 8], row.bytes()].concat();
            let mut message = Message::with(numbers[random.below(3)], payload);
            message.fds = vec![Arc::clone(&fds[0]); random.below(3)];
            let at = random.below(plan.len() + 1);
            plan.insert(at, message);
        }
    })
}

fn inflight_messages(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, parts| {
        let (_, fds) = parts.memory.table();
        for _ in 0..1 + random.below(3) {
            let mut payload = Vec::new();
            payload.extend_from_slice(&odd_number(random).to_le_bytes());
            payload.extend_from_slice(&odd_number(random).to_le_bytes());
            let queues = [0, 1, 2, 255, 256, 65_535, odd_half(random)][random.below(7)];
            payload.extend_from_slice(&queues.to_le_bytes());
            payload.extend_from_slice(&odd_half(random).to_le_bytes());
            payload.resize(24, 0);
            let number = [request::GET_INFLIGHT_FD, request::SET_INFLIGHT_FD][random.below(2)];
            let mut message = Message::with(number, payload);
            message.fds = vec![Arc::clone(&fds[0]); random.below(3)];
            let at = random.below(plan.len() + 1);
            plan.insert(at, message);
        }
    })
}

fn status_messages(scene: &mut Scene) -> io::Result<Outcome> {
    scene.altered(|random, plan, _| {
        for _ in 0..4 {
            let number = [request::SET_STATUS, request::GET_STATUS][random.below(2)];
            let at = random.below(plan.len() + 1);
            plan.insert(at, Message::number(number, odd_number(random)));
        }
    })
}

fn rarp_messages(scene: &mut Scene) -> io::Result<Outcome> {
    let guest = scene.guest()?;
    for _ in 0..1 + scene.random.below(32) {
        let mac = scene.odd_number();
        guest.channel.tell(&Message::number(request::SEND_RARP, mac), has_acks(&guest.agreed))?;
    }
    Ok(verdict(&guest.channel))
}

fn mtu_absurd(scene: &mut Scene) -> io::Result<Outcome> {
    let mtu = [0, 1, 67, 68, 65_535, 65_536, scene.odd_number()][scene.random.below(7)];
    scene.inserted(Message::number(request::NET_SET_MTU, mtu))
}

fn crypto_messages(scene: &mut Scene) -> io::Result<Outcome> {
    let numbers = [request::CREATE_CRYPTO_SESSION, request::CLOSE_CRYPTO_SESSION];
    let number = numbers[scene.random.below(2)];
    let length = [0, 8, 200, 300][scene.random.below(4)];
    let payload = scene.random.bytes(length);
    scene.inserted(Message::with(number, payload))
}

fn back_end_channel_odd(scene: &mut Scene) -> io::Result<Outcome> {
    let fd = any_fd(&mut scene.random)?;
    scene.altered(|random, plan, _| {
        for _ in 0..1 + random.below(4) {
            let mut message = Message::number(request::SET_BACKEND_REQ_FD, NO_FD);
            message.fds = vec![Arc::clone(&fd); random.below(3)];
            let at = random.below(plan.len() + 1);
            plan.insert(at, message);
        }
    })
}
