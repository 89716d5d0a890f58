//! Mbufs and their pool: ownership, chains, exhaustion, and the same behaviour as frames in memory.

#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod eal_lab;

use dataplane::dpdk::{AttachSpec, Mbuf, Pool, PoolOps, PoolSpec, Rx, ethdev};
use dataplane::frame::memory::MemoryFrame;
use dataplane::frame::{
    BURST_PKTS, Burst, ChecksumState, Frame, FramePool, Heads, Ingress, PLAIN_BYTES, Pattern,
    read_each_head, write_head,
};
use dataplane::ids::{AdapterId, PortId};
use dataplane::io::{RxQueue, TxQueue};
use dataplane::wire::ethernet::MacAddr;
use eal_lab::{
    MBUFS, bytes_of, ethernet, expect_in_kernel, frame, inject, listen, receive, send, sh, start,
    start_with,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

#[test]
fn every_frame_goes_back_to_the_pool() {
    let (_, mut pool) = start();
    assert_eq!((pool.size(), pool.in_use()), (MBUFS, 0));
    let one = frame(&mut pool, b"one");
    let copy = pool.copy(&one).unwrap();
    assert_eq!(pool.in_use(), 2);
    drop(one);
    assert_eq!((pool.in_use(), bytes_of(&copy).as_slice()), (1, &b"one"[..]));
    drop(copy);
    let mut burst = Burst::new();
    assert!(pool.alloc_burst(&mut burst));
    assert_eq!((burst.len(), pool.in_use()), (BURST_PKTS, FULL.into()));
    let nowhere = Ingress { port: PortId::NONE, adapter: AdapterId::NONE };
    assert!(burst.iter().all(|frame| frame.is_empty() && frame.ingress() == nowhere));
    pool.free(&mut burst);
    assert_eq!((burst.len(), pool.in_use()), (0, 0));
    pool.free(&mut burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_empty_pool_says_no_and_recovers() {
    let (_, mut pool) = start();
    let mut frames: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(frames.len(), MBUFS as usize);
    assert!(pool.copy(&frames[0]).is_none());
    let mut burst = Burst::new();
    frames.truncate(frames.len() - (BURST_PKTS - 1));
    assert!(!pool.alloc_burst(&mut burst), "one less is free than was asked for");
    assert!(burst.is_empty());
    burst.push(frames.pop().unwrap());
    assert!(pool.alloc_burst(&mut burst), "room for as many as are free");
    drop(frames);
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

/// Worker, control and (`others`) threads that DPDK doesn't know, all at once.
fn share_a_pool(ops: PoolOps, others: usize) {
    let eal = start_with(&[]).unwrap();
    let pool = Pool::create(eal, &PoolSpec::new("shared", 511, ops)).unwrap();
    let work = move |mut pool: Pool| {
        for round in 0..20_000_usize {
            let mut frames: Vec<Mbuf> = (0..round % 40).filter_map(|_| pool.alloc()).collect();
            frames.iter_mut().for_each(|frame| assert!(frame.append(&round.to_le_bytes())));
            assert!(frames.iter().all(|frame| frame.head() == round.to_le_bytes()));
        }
    };
    eal.launch(0, Box::new(move || work(pool))).unwrap();
    let others: Vec<_> = (0..others).map(|_| std::thread::spawn(move || work(pool))).collect();
    work(pool);
    others.into_iter().for_each(|thread| thread.join().unwrap());
    eal.wait(0).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn worker_and_control_share_a_pool() {
    share_a_pool(PoolOps::RingMpMc, 0);
}

/// Three threads on control's core. With `ring_mp_mc` they would fall into step, each waiting for
/// another that doesn't run, one operation per time slice.
#[test]
fn any_thread_may_use_a_pool_and_be_preempted_in_it() {
    share_a_pool(PoolOps::RingMtRts, 2);
}

#[test]
fn a_new_frame_is_empty_and_from_nowhere() {
    let (_, mut pool) = start();
    let mut frame = pool.alloc().unwrap();
    assert!(frame.is_empty() && frame.head().is_empty() && frame.segments() == 1);
    assert_eq!(frame.ingress(), Ingress { port: PortId::NONE, adapter: AdapterId::NONE });
    assert_eq!(frame.ip_checksum(), ChecksumState::Unknown);
    let ingress = Ingress { port: PortId(4095), adapter: AdapterId(65_535) };
    frame.set_ingress(ingress);
    assert!(pool.copy(&frame).unwrap().is_empty(), "an empty frame has a copy");
    assert!(frame.append(b"x"));
    assert_eq!(pool.copy(&frame).unwrap().ingress(), ingress);
    assert!(frame.grow_front(128), "the headroom promised");
    assert!(!frame.grow_front(1));
    assert_eq!(frame.len(), 129);
    assert!(!frame.shrink_front(130) && frame.shrink_front(129));
    assert!(!frame.shrink_front(70_000) && !frame.grow_front(70_000));
    assert!(frame.append(&[7; 2047]) && !frame.append(&[7; 2]));
}

/// Random steps on an mbuf and on a frame in memory, which is the model.
#[test]
fn an_mbuf_behaves_as_a_frame_in_memory() {
    let (_, mut pool) = start();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap() % below
    };
    for _ in 0..2_000 {
        let bytes = vec![next(256).to_le_bytes()[0]; next(1500)];
        let mut real = frame(&mut pool, &bytes);
        let mut model = MemoryFrame::new(&bytes, PortId::NONE);
        for _ in 0..20 {
            let (step, count) = (next(5), next(100));
            let (ours, models) = match step {
                0 => (real.grow_front(count), model.grow_front(count)),
                1 => (real.shrink_front(count), model.shrink_front(count)),
                2 => {
                    let len = next(1800);
                    real.truncate(len);
                    model.truncate(len);
                    (true, true)
                }
                3 if real.len() < 1700 => (real.append(&[9; 50]), model.append(&[9; 50])),
                _ => {
                    let (offset, room) = (next(1600), next(200));
                    let (mut ours, mut models) = (vec![0; room], vec![0; room]);
                    let counts =
                        (real.copy_out(offset, &mut ours), model.copy_out(offset, &mut models));
                    assert_eq!(ours, models);
                    (counts.0 == counts.1, true)
                }
            };
            assert_eq!((ours, real.len()), (models, model.len()));
            if step == 0 && ours {
                real.head_mut()[..count].fill(3);
                model.head_mut()[..count].fill(3);
            }
            assert_eq!(real.head(), model.head());
        }
    }
    assert_eq!(pool.in_use(), 0);
}

/// A frame from the kernel, which the driver spreads over segments of 2,048 bytes.
/// Frames of a full burst.
const FULL: u16 = 64;
const _: () = assert!(FULL as usize == BURST_PKTS);

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// A head that is mostly plain, and bytes of headroom given to it.
fn head() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let mac = || prop_oneof![30 => Just(OWN), 30 => Just(PEER), 1 => Just(MacAddr::ZERO), 1 => Just(MacAddr([3; 6]))];
    let kind =
        prop_oneof![60 => Just([8, 0, 0x45]), 1 => Just([8, 0, 0x46]), 1 => Just([8, 6, 0x45])];
    let rest = prop::collection::vec(any::<u8>(), 45);
    let bytes = prop_oneof![60 => PLAIN_BYTES..60, 1 => 0..PLAIN_BYTES];
    let headroom = prop_oneof![60 => Just(0usize), 1 => 1..40usize];
    (mac(), mac(), kind, rest, bytes, headroom).prop_map(
        |(to, from, kind, rest, bytes, headroom)| {
            let mut frame = [&to.0[..], &from.0, &kind, &rest].concat();
            frame.truncate(bytes);
            (frame, headroom)
        },
    )
}

#[test]
fn heads_read_and_written_together_are_what_one_after_another_are() {
    let (_, pool) = start();
    let pool = std::cell::RefCell::new(pool);
    let few = prop::collection::vec(head(), 1..=BURST_PKTS);
    // Of most bursts every frame is plain.
    let alike = (head(), 1..=BURST_PKTS).prop_map(|(head, count)| vec![head; count]);
    let patterns = select(vec![
        Pattern::routed(OWN, None),
        Pattern::routed(OWN, Some(PEER)),
        Pattern::bridged(PEER),
    ]);
    let case = (prop_oneof![few, alike], patterns, any::<u32>());
    TestRunner::deterministic()
        .run(&case, |(heads, pattern, word)| {
            let mut burst = Burst::new();
            for (bytes, headroom) in &heads {
                let mut frame = frame(&mut pool.borrow_mut(), bytes);
                assert!(frame.grow_front(*headroom) && frame.shrink_front(*headroom));
                burst.push(frame);
            }
            let (mut one, mut all) = (Heads::default(), Heads::default());
            let slots = read_each_head(&burst, &pattern, &mut one);
            prop_assert_eq!(Mbuf::read_heads(&burst, &pattern, &mut all), slots);
            prop_assert_eq!(&all.bytes[..burst.len()], &one.bytes[..burst.len()]);
            for slot in (0..burst.len()).filter(|slot| slots >> slot & 1 != 0) {
                let columns = |heads: &Heads| (heads.words.map(|it| it[slot]), heads.ports[slot]);
                prop_assert_eq!(columns(&all), columns(&one));
                prop_assert_eq!(all.to[slot], one.to[slot]);
            }
            let ethernet = |slot: usize| [slot as u64 * 0x0101, !0 - slot as u64];
            let mut middle = [0; BURST_PKTS];
            middle.iter_mut().zip(0..).for_each(|(it, slot)| *it = word.wrapping_add(slot));
            Mbuf::rewrite_heads(&mut burst, ethernet, &middle);
            for (slot, (frame, (bytes, _))) in burst.iter().zip(&heads).enumerate() {
                let mut expected = bytes.clone();
                if let Some(head) = expected.first_chunk_mut() {
                    write_head(ethernet(slot), middle[slot], head);
                    prop_assert_eq!(frame.head(), expected);
                }
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(pool.borrow().in_use(), 0);
}

fn receive_chain(rx: &mut [Rx], len: usize) -> (Mbuf, Vec<u8>) {
    let bytes = ethernet([0xff; 6], len);
    inject("t0", &bytes);
    (receive(&mut rx[0], |frame| bytes_of(frame) == bytes), bytes)
}

#[test]
fn chains_are_cut_copied_and_read_over_their_segments() {
    let (eal, mut pool) = start();
    let (port, mut rx, mut tx) =
        ethdev::attach(eal, &AttachSpec::new("net_tap0,iface=t0", pool)).unwrap();
    // As a guest may do with its own interface, whatever MTU we set.
    sh("ip link set t0 mtu 9000");
    let held = pool.in_use();
    for (len, segments) in [(2048, 1), (2049, 2), (5000, 3), (9014, 5)] {
        let (mut frame, bytes) = receive_chain(&mut rx, len);
        assert_eq!((frame.segments(), frame.len()), (segments, len));
        assert_eq!(pool.in_use(), held + u32::from(segments));
        assert_eq!(frame.head(), &bytes[..len.min(2048)]);

        let mut middle = [0; 100];
        for offset in [0, 1990, 2048, len - 100, len - 7, len, len + 1, usize::MAX] {
            let count = frame.copy_out(offset, &mut middle);
            let rest = bytes.get(offset..).unwrap_or_default();
            assert_eq!(middle[..count], rest[..rest.len().min(100)], "{offset}");
        }
        let copy = pool.copy(&frame).unwrap();
        assert_eq!(bytes_of(&copy), bytes);
        drop(copy);

        assert!(!frame.append(b"x"), "the last segment is full, or there are several");
        assert!(frame.shrink_front(14) && frame.grow_front(18));
        frame.head_mut()[..18].fill(0xee);
        let mut expected = vec![0xee; 18];
        expected.extend(&bytes[14..]);
        assert_eq!(bytes_of(&frame), expected);

        frame.truncate(len + 100);
        for cut in [len + 3, 4100, 2053, 2052, 1, 0] {
            frame.truncate(cut);
            expected.truncate(cut);
            assert_eq!(bytes_of(&frame), expected, "cut to {cut}");
        }
        assert_eq!((frame.segments(), pool.in_use()), (1, held + 1), "the rest went back");
    }

    // A chain goes out as one frame, and back to the pool.
    let (mut frame, bytes) = receive_chain(&mut rx, 6000);
    assert!(frame.shrink_front(2000));
    frame.truncate(1200);
    assert_eq!(frame.segments(), 2);
    let listener = listen("t0");
    send(&mut tx[0], [frame]);
    expect_in_kernel(&listener, &bytes[2000..3200]);
    assert_eq!(pool.in_use(), held);
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_burst_keeps_what_was_not_sent_and_is_filled_behind_what_it_holds() {
    let (eal, mut pool) = start();
    let (port, mut rx, mut tx) = ethdev::attach(eal, &AttachSpec::new("net_ring0", pool)).unwrap();
    // A ring takes one less than its 1,024 slots.
    let mut sent = 0_u16;
    loop {
        let mut burst: Burst<Mbuf> =
            (0..FULL).map(|index| frame(&mut pool, &(sent + index).to_be_bytes())).collect();
        tx[0].tx(&mut burst);
        let taken = FULL - u16::try_from(burst.len()).unwrap();
        let kept: Vec<u16> = burst.iter().map(number).collect();
        assert_eq!(kept, (sent + taken..sent + FULL).collect::<Vec<_>>(), "in order, none twice");
        sent += taken;
        if taken < FULL {
            break;
        }
    }
    assert_eq!(u32::from(sent), pool.in_use());
    let mut received = 0;
    while received < sent {
        let mut burst = Burst::new();
        burst.push(frame(&mut pool, b"ours"));
        let count = rx[0].rx(&mut burst);
        assert!(count > 0 && burst.len() == count + 1 && burst[0].head() == b"ours");
        for frame in &burst[1..] {
            assert_eq!(number(frame), received);
            received += 1;
        }
        let mut full: Burst<Mbuf> = (0..FULL).map(|_| pool.alloc().unwrap()).collect();
        assert_eq!(rx[0].rx(&mut full), 0, "no room");
    }
    assert_eq!(pool.in_use(), 0);
    port.detach(rx, tx).unwrap();
}

fn number(frame: &Mbuf) -> u16 {
    u16::from_be_bytes(frame.head().try_into().unwrap())
}
