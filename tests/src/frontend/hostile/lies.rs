//! What the header before a frame says and is not so: checksums and segmentation asked for where there
//! is nothing of the kind. The guest harms its own frames only, so it goes on.

use super::{Case, Outcome, SERVED_WITHIN, Scene, harmless, odd_half};
use crate::frames::{Arp, BROADCAST, ICMP, Random, UDP, echo, ethernet, udp};
use crate::frontend::Options;
use crate::frontend::header::{
    GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, NEEDS_CSUM, NetHeader,
};
use crate::frontend::message::feature;
use std::io;

/// IP protocol number of TCP.
const TCP: u8 = 6;
/// Where the TCP header of our frames begins, and its checksum from there.
const TCP_AT: u16 = 34;
const TCP_CHECKSUM: u16 = 16;

pub(super) const CASES: &[Case] = &[
    harmless("checksum-start-past-the-end", |scene| {
        lies(scene, |random, honest| NetHeader {
            checksum_start: [1_000, 2_048, 32_768, 65_535, odd_half(random)][random.below(5)],
            ..honest
        })
    }),
    harmless("checksum-offset-past-the-end", |scene| {
        lies(scene, |random, honest| NetHeader {
            checksum_offset: [1_000, 2_048, 65_501, 65_535, odd_half(random)][random.below(5)],
            ..honest
        })
    }),
    harmless("checksum-start-plus-offset-wraps", |scene| {
        lies(scene, |random, honest| {
            let checksum_start = odd_half(random);
            let checksum_offset = 0u16.wrapping_sub(checksum_start).wrapping_add(20);
            NetHeader { checksum_start, checksum_offset, ..honest }
        })
    }),
    harmless("checksum-in-the-headers", |scene| {
        lies(scene, |random, honest| NetHeader {
            checksum_start: u16::from(random.number().to_le_bytes()[0]) % TCP_AT,
            ..honest
        })
    }),
    harmless("segment-size-absurd", |scene| {
        lies(scene, |random, honest| NetHeader {
            gso_type: GSO_TCPV4,
            gso_bytes: [0, 1, 2, 7, 65_535, odd_half(random)][random.below(6)],
            ..honest
        })
    }),
    harmless("segment-type-unknown", |scene| {
        lies(scene, |random, honest| {
            let types = [2, GSO_UDP, GSO_UDP_L4, 6, 0x7f, 0xff, GSO_NONE | GSO_ECN];
            let gso_type = types[random.below(types.len())];
            NetHeader { gso_type, gso_bytes: 1_000, ..honest }
        })
    }),
    harmless("segment-type-of-another-protocol", |scene| {
        lies(scene, |random, honest| {
            let types = [GSO_TCPV6, GSO_TCPV6 | GSO_ECN, GSO_TCPV4 | GSO_ECN, GSO_UDP | GSO_ECN];
            NetHeader { gso_type: types[random.below(types.len())], gso_bytes: 100, ..honest }
        })
    }),
    harmless("segments-without-checksum", |scene| {
        lies(scene, |_, honest| NetHeader {
            flags: 0,
            gso_type: GSO_TCPV4,
            gso_bytes: 500,
            ..honest
        })
    }),
    harmless("header-length-wrong", |scene| {
        lies(scene, |random, honest| NetHeader {
            gso_type: GSO_TCPV4,
            gso_bytes: 500,
            header_bytes: [0, 1, 13, 14, 2_000, 65_535, odd_half(random)][random.below(7)],
            ..honest
        })
    }),
    harmless("everything-random", |scene| {
        lies(scene, |random, _| {
            let [flags, gso_type, ..] = random.number().to_le_bytes();
            NetHeader {
                flags,
                gso_type,
                header_bytes: odd_half(random),
                gso_bytes: odd_half(random),
                checksum_start: odd_half(random),
                checksum_offset: odd_half(random),
                buffers: odd_half(random),
            }
        })
    }),
    harmless("tcp-header-lies", tcp_header_lies),
    harmless("segments-of-64-kb", segments_of_64_kb),
];

/// A TCP segment of this guest.
fn tcp(scene: &Scene, payload: usize) -> Vec<u8> {
    let mut segment = vec![0x1f, 0x90, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff];
    segment.resize(20 + payload, 0);
    scene.identity.frame(TCP, &segment)
}

/// A frame that the header may or may not fit: TCP, UDP, ICMP, ARP, or nothing known.
fn some_frame(scene: &mut Scene) -> Vec<u8> {
    let identity = scene.identity;
    match scene.random.below(8) {
        0 => identity.frame(UDP, &udp(9, 9, &[0; 600])),
        1 => identity.frame(ICMP, &echo(1, 1, &[0; 600])),
        2 => Arp::request(identity.mac, &identity.ip, &identity.peer_ip).frame(BROADCAST),
        3 => ethernet(identity.peer_mac, identity.mac, 0x88b5, &[0; 600]),
        4 => ethernet(identity.peer_mac, identity.mac, 0x86dd, &[0; 600]),
        5 => tcp(scene, 0),
        _ => tcp(scene, 1_300),
    }
}

/// What is said of a TCP frame by one who is right.
fn honest() -> NetHeader {
    NetHeader {
        flags: NEEDS_CSUM,
        header_bytes: TCP_AT + 20,
        checksum_start: TCP_AT,
        checksum_offset: TCP_CHECKSUM,
        ..NetHeader::default()
    }
}

fn guest(scene: &mut Scene) -> io::Result<crate::frontend::Frontend> {
    let base = scene.options();
    let features = base.features | feature::OFFLOADS | feature::HOST_ECN | feature::HOST_UFO;
    scene.guest_with(&Options { features, patience: SERVED_WITHIN, ..base })
}

/// Some frames, each with a lie of its own before it.
fn lies(scene: &mut Scene, lie: fn(&mut Random, NetHeader) -> NetHeader) -> io::Result<Outcome> {
    let mut guest = guest(scene)?;
    for _ in 0..8 {
        let frame = some_frame(scene);
        let header = lie(&mut scene.random, honest());
        guest.send(0, &header, &frame)?;
    }
    scene.carries_on(&mut guest)
}

/// The header is right, but the packet says otherwise: lengths and offsets of IPv4 and TCP.
fn tcp_header_lies(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = guest(scene)?;
    for _ in 0..8 {
        let mut frame = tcp(scene, 1_300);
        match scene.random.below(4) {
            0 => frame[14] = scene.random.number().to_le_bytes()[0],
            1 => frame[46] = scene.random.number().to_le_bytes()[0],
            2 => frame[16..18].copy_from_slice(&odd_half(&mut scene.random).to_be_bytes()),
            _ => {
                let length = 14 + scene.random.below(42);
                frame.truncate(length);
            }
        }
        if scene.random.below(2) == 0 && frame.len() >= 34 && frame[14] == 0x45 {
            crate::frames::refresh_checksum(&mut frame[14..]);
        }
        let header = NetHeader { gso_type: GSO_TCPV4, gso_bytes: 500, ..honest() };
        guest.send(0, &header, &frame)?;
    }
    scene.carries_on(&mut guest)
}

/// As large as TSO gets, in segments as small as they get.
fn segments_of_64_kb(scene: &mut Scene) -> io::Result<Outcome> {
    let mut guest = guest(scene)?;
    let frame = tcp(scene, 65_535 - 40);
    let gso_bytes = [1, 8, 536, 1_460, 9_000][scene.random.below(5)];
    let header = NetHeader { gso_type: GSO_TCPV4, gso_bytes, ..honest() };
    guest.send(0, &header, &frame)?;
    scene.carries_on(&mut guest)
}
