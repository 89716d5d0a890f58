//! Checksums and long segments between vhost-user guests, byte by byte: what the receiver's driver finds
//! before and in each frame, whatever the sender left undone or said about it.

use std::path::PathBuf;
use std::time::Duration;
use tests::balance::rows;
use tests::config::{tap, vhost_user};
use tests::frames::{BROADCAST, Mac, Random, checksum, ethernet, ipv4, mac};
use tests::frontend::header::{GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, NetHeader};
use tests::frontend::{Frontend, Message, Options, Received, feature, request};
use tests::{Appliance, Config, Lab, eventually};

const PATIENCE: Duration = Duration::from_secs(5);
/// The one that `g1` knows its gateway by.
const GATEWAY: &str = "02:00:00:00:00:01";
const TCP: u8 = 6;
const IPV6: u16 = 0x86dd;
/// Bytes of the headers of our frames: Ethernet, IP, TCP.
const V4: usize = 14 + 20 + 20;
const V6: usize = 14 + 40 + 20;
/// What of an IPv6 packet of 1,500 bytes is data.
const SEGMENT_BYTES: u16 = 1_440;
/// As long as an IPv4 packet can be.
const LONG: usize = 65_535 - 40;

fn socket(lab: &Lab, guest: &str) -> PathBuf {
    lab.dir().join(format!("{guest}.sock"))
}

fn mac_of(number: u8) -> Mac {
    [2, 0, 0, 0, 9, number]
}

fn ip_of(number: u8) -> String {
    format!("203.0.113.{number}")
}

/// An appliance with host-routed guests `g1` and `g2`, members `g3` and `g4` of the default network, and
/// the host-routed container `c5` on a tap.
fn start(lab: &Lab, options: &str) -> Appliance {
    let mut config = Config::new(lab);
    for number in 1..=4 {
        let guest = format!("g{number}");
        let port = format!("{}{options}", vhost_user(&socket(lab, &guest)));
        let bytes = mac_of(number).map(|byte| format!("{byte:02x}")).join(":");
        let mut keys = format!("mac = \"{bytes}\"\n");
        if number <= 2 {
            keys += "mode = \"host-routed\"\n";
            if number == 1 {
                keys += &format!("host_mac = \"{GATEWAY}\"\n");
            }
            keys += &Config::addresses(&[&format!("{}/32", ip_of(number))]);
        }
        config = config.vm(&guest).adapter("eth0", &port, &keys);
    }
    lab.host("c5");
    let addresses = Config::addresses(&[&format!("{}/32", ip_of(5))]);
    config = config.container("c5").adapter("eth0", &tap("c5", "eth0"), &addresses);
    Appliance::start(lab, &config, None)
}

fn connect(lab: &Lab, number: u8, offloads: u64) -> Frontend {
    let options = Options { regions: vec![8 << 20], ..Options::default() };
    let options = Options { features: options.features | offloads, ..options };
    let path = socket(lab, &format!("g{number}"));
    let frontend = Frontend::connect_within(&path, &options, PATIENCE).expect("a front-end");
    assert!(frontend.agreed.has(offloads) || offloads == 0);
    frontend
}

/// A TCP segment with anything in its checksum field.
fn tcp(data: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0x30, 0x39, 0x14, 0x51, 0, 0, 0x10, 0, 0, 0, 0, 9, 0x50, 0x18, 4, 0];
    bytes.extend(random.bytes(2));
    bytes.extend([0, 0]);
    bytes.extend(data);
    bytes
}

fn ipv6(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(payload.len()).expect("at most 64 kB").to_be_bytes());
    bytes.extend([TCP, 64]);
    for number in [from, to] {
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]);
    }
    bytes.extend(payload);
    bytes
}

fn header(gso_type: u8, headers: usize) -> NetHeader {
    let at = u16::try_from(headers - 20).expect("short");
    NetHeader {
        flags: NEEDS_CSUM,
        gso_type,
        header_bytes: at + 20,
        gso_bytes: if gso_type == GSO_NONE { 0 } else { SEGMENT_BYTES },
        checksum_start: at,
        checksum_offset: 16,
        buffers: 0,
    }
}

/// The pseudo header of a frame's packet, length included (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo(frame: &[u8], headers: usize) -> Vec<u8> {
    let addresses = if headers == V4 { &frame[26..34] } else { &frame[22..54] };
    let bytes = u32::try_from(frame.len() - (headers - 20)).expect("short");
    [addresses, &u32::from(TCP).to_be_bytes(), &bytes.to_be_bytes()].concat()
}

/// Whether the checksum that stands in a frame is right.
fn is_complete(frame: &[u8], headers: usize) -> bool {
    checksum(&[&pseudo(frame, headers), &frame[headers - 20..]].concat()) == 0
}

/// Whether its field holds what the driver that completes it starts from.
fn is_begun(frame: &[u8], headers: usize) -> bool {
    frame[headers - 4..headers - 2] == (!checksum(&pseudo(frame, headers))).to_be_bytes()
}

/// Sends a frame and waits for what the other end gets of its flow.
#[track_caller]
fn crosses(from: &mut Frontend, to: &mut Frontend, header: &NetHeader, frame: &[u8]) -> Received {
    assert!(from.send(0, header, frame).expect("sent"), "ring full");
    receive(to)
}

#[track_caller]
fn receive(to: &mut Frontend) -> Received {
    let is_tcp = |r: &Received| {
        matches!((&r.frame[12..14], r.frame[23]), (&[8, 0], TCP))
            || (r.frame[12..14] == IPV6.to_be_bytes() && r.frame[20] == TCP)
    };
    to.receive_within(PATIENCE, is_tcp).expect("a ring").expect("it arrives")
}

fn routed(to: u8, data: &[u8], random: &mut Random) -> Vec<u8> {
    let packet = ipv4(&ip_of(1), &ip_of(to), 64, TCP, &tcp(data, random));
    ethernet(mac(GATEWAY), mac_of(1), 0x0800, &packet)
}

fn bridged(is_ipv6: bool, data: &[u8], random: &mut Random) -> Vec<u8> {
    let segment = tcp(data, random);
    match is_ipv6 {
        true => ethernet(mac_of(4), mac_of(3), IPV6, &ipv6(3, 4, &segment)),
        false => {
            let packet = ipv4("198.51.100.3", "198.51.100.4", 64, TCP, &segment);
            ethernet(mac_of(4), mac_of(3), 0x0800, &packet)
        }
    }
}

/// A long segment of each kind: the places of sender and receiver among guests 1 to 4, the frame, its
/// kind and the bytes of its headers.
fn long_segments(data: &[u8], random: &mut Random) -> [([usize; 2], Vec<u8>, u8, usize); 3] {
    [
        ([0, 1], routed(2, data, random), GSO_TCPV4, V4),
        ([2, 3], bridged(false, data, random), GSO_TCPV4, V4),
        ([2, 3], bridged(true, data, random), GSO_TCPV6, V6),
    ]
}

#[test]
fn a_segment_of_64_kb_crosses_whole_and_its_checksum_is_the_drivers_to_complete() {
    let lab = Lab::new();
    let mut app = start(&lab, "");
    let mut guests = [1, 2, 3, 4].map(|number| connect(&lab, number, feature::OFFLOADS));
    let mut random = Random(64);
    let data = random.bytes(LONG);
    for (places, frame, gso, headers) in long_segments(&data, &mut random) {
        let [from, to] = guests.get_disjoint_mut(places).expect("two guests");
        let got = crosses(from, to, &header(gso, headers), &frame);
        assert_eq!(got.frame.len(), headers + LONG, "in one piece");
        assert!(got.frame[headers..] == data, "byte for byte");
        let buffers = got.header.buffers;
        assert_eq!(got.header, NetHeader { buffers, ..header(gso, headers) });
        assert!(is_begun(&got.frame, headers), "{:02x?}", &got.frame[..headers]);
        // A short one, of which nothing but the checksum is left to do.
        let short = shortened(&frame[..headers + 100], headers);
        let got = crosses(from, to, &header(GSO_NONE, headers), &short);
        assert_eq!((got.header.flags, got.header.gso_type), (NEEDS_CSUM, GSO_NONE));
        assert!(is_begun(&got.frame, headers));
    }
    let segmented = |row: &serde_json::Value| row["segmented"].as_u64();
    assert!(rows(app.json("show port stats all")).iter().all(|row| segmented(row) == Some(0)));
    drop(guests);
    app.stop();
}

/// The kernel behind a tap is told what is left to do too. It believes what it is told of a packet that
/// stays there, and completes the checksum of one that it passes on.
#[test]
fn a_container_gets_long_segments_whole_and_checksums_that_its_kernel_can_complete() {
    let lab = Lab::new();
    let mut app = start(&lab, "");
    let mut g1 = connect(&lab, 1, feature::OFFLOADS);
    let mut random = Random(68);
    let capture = lab.known("c5").capture("eth0", "tcp");
    let data = random.bytes(LONG);
    let long = routed(5, &data, &mut random);
    let short = shortened(&long[..V4 + 100], V4);
    for (gso, frame) in [(GSO_TCPV4, &long), (GSO_NONE, &short)] {
        assert!(g1.send(0, &header(gso, V4), frame).expect("sent"));
        assert!(g1.is_sent_within(0, PATIENCE).expect("a ring"));
    }
    let frames = capture.finish();
    let is_ours = |frame: &&Vec<u8>| frame[26..30] == [203, 0, 113, 1];
    let frames: Vec<_> = frames.iter().filter(is_ours).collect();
    let lengths: Vec<_> = frames.iter().map(|frame| frame.len()).collect();
    assert_eq!(lengths, [V4 + LONG, V4 + 100], "each in one piece");
    for frame in frames {
        assert!(is_begun(frame, V4), "{:02x?}", &frame[..V4]);
    }
    drop(g1);
    app.stop();
}

/// The first bytes of a frame as a whole one: its lengths are set.
fn shortened(frame: &[u8], headers: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let bytes = u16::try_from(frame.len() - 14).expect("short");
    if headers == V4 {
        frame[16..18].copy_from_slice(&bytes.to_be_bytes());
        tests::frames::refresh_checksum(&mut frame[14..]);
    } else {
        frame[18..20].copy_from_slice(&(bytes - 40).to_be_bytes());
    }
    frame
}

#[test]
fn who_takes_no_offloads_gets_pieces_with_complete_checksums() {
    let lab = Lab::new();
    let mut app = start(&lab, "");
    let mut guests = [1, 2, 3, 4]
        .map(|number| connect(&lab, number, if number % 2 == 1 { feature::OFFLOADS } else { 0 }));
    let mut random = Random(65);
    let data = random.bytes(LONG);
    for (places, frame, gso, headers) in long_segments(&data, &mut random) {
        let [from, to] = guests.get_disjoint_mut(places).expect("two guests");
        assert!(from.send(0, &header(gso, headers), &frame).expect("sent"));
        let mut got = Vec::new();
        while got.len() < LONG {
            let piece = receive(to);
            assert_eq!((piece.header.flags, piece.header.gso_type), (0, GSO_NONE));
            assert!(is_complete(&piece.frame, headers), "{:02x?}", &piece.frame[..headers]);
            assert!(piece.frame.len() <= headers + usize::from(SEGMENT_BYTES));
            let sequence = piece.frame[headers - 16..headers - 12].try_into().expect("4 bytes");
            assert_eq!(u32::from_be_bytes(sequence) as usize, 0x1000 + got.len());
            got.extend_from_slice(&piece.frame[headers..]);
        }
        assert!(got == data, "byte for byte");
    }
    drop(guests);
    app.stop();
}

/// Whatever the header before a frame claims, the receiver's driver finds a header that is true or no
/// frame at all, and the drop is counted at the liar.
#[test]
fn a_lie_about_a_frame_reaches_no_other_guest() {
    let lab = Lab::new();
    let mut app = start(&lab, "");
    let mut guests = [3, 4].map(|number| connect(&lab, number, feature::OFFLOADS));
    let [g3, g4] = &mut guests;
    let mut random = Random(66);
    let data = random.bytes(3_000);
    let honest = header(GSO_TCPV4, V4);
    let lies = [
        NetHeader { checksum_start: 9_000, ..honest },
        NetHeader { checksum_start: 60, ..honest },
        NetHeader { checksum_offset: 65_000, ..honest },
        NetHeader { checksum_start: 65_530, checksum_offset: 26, ..honest },
        NetHeader { gso_bytes: 0, ..honest },
        NetHeader { gso_bytes: 1, ..honest },
        NetHeader { gso_bytes: 65_535, ..honest },
        NetHeader { gso_type: GSO_TCPV6, ..honest },
        NetHeader { gso_type: 3, ..honest },
        NetHeader { gso_type: 5, ..honest },
        NetHeader { gso_type: 0x7f, ..honest },
        NetHeader { flags: 0, ..honest },
        NetHeader { flags: 0xff, ..honest },
        NetHeader { header_bytes: 65_535, ..honest },
        NetHeader { header_bytes: 0, ..honest },
    ];
    for lie in lies {
        let marked: Vec<u8> = data.iter().map(|byte| byte | 1).collect();
        let frame = bridged(false, &marked, &mut random);
        assert!(g3.send(0, &lie, &frame).expect("sent"));
        // An honest one ends the round.
        let end: Vec<u8> = data[..100].iter().map(|byte| byte & 0xfe).collect();
        let frame = bridged(false, &end, &mut random);
        assert!(g3.send(0, &header(GSO_NONE, V4), &frame).expect("sent"));
        loop {
            let got = receive(g4);
            assert_true(&got, &lie);
            if got.frame[V4] & 1 == 0 {
                break;
            }
        }
    }
    let stats = rows(app.json("show drops g3"));
    let text = format!("{stats:?}");
    assert!(text.contains("offload-invalid"), "{text}");
    drop(guests);
    app.stop();
}

/// What the header says of a frame agrees with the frame.
#[track_caller]
fn assert_true(got: &Received, lie: &NetHeader) {
    let says = got.header;
    let told = || format!("{lie:?} became {says:?}");
    match (says.flags, says.gso_type) {
        (0, GSO_NONE) => {}
        (NEEDS_CSUM, GSO_NONE | GSO_TCPV4) => {
            assert_eq!((says.checksum_start, says.checksum_offset), (34, 16), "{}", told());
            assert!(is_begun(&got.frame, V4), "{}", told());
        }
        _ => panic!("{}", told()),
    }
    if says.gso_type == GSO_TCPV4 {
        assert!(
            says.gso_bytes > 0 && usize::from(says.gso_bytes) < got.frame.len() - V4,
            "{}",
            told()
        );
        assert_eq!(usize::from(says.header_bytes), V4, "{}", told());
    }
}

/// A guest may switch pairs off and on in any order: frames go to those that are on.
#[test]
fn frames_follow_the_pairs_that_a_guest_has_on() {
    let lab = Lab::new();
    let mut app = start(&lab, ",queues=2");
    let mut g3 = connect(&lab, 3, 0);
    let options = Options::multiqueue(2);
    let mut g4 =
        Frontend::connect_within(&socket(&lab, "g4"), &options, PATIENCE).expect("a front-end");
    let mut random = Random(67);
    for (on, wanted) in
        [([true, true], 2), ([false, true], 1), ([true, false], 1), ([true, true], 2)]
    {
        for (pair, is_on) in on.iter().enumerate() {
            for ring in [2 * pair, 2 * pair + 1] {
                let ring = u32::try_from(ring).expect("few");
                let state = Message::state(request::SET_VRING_ENABLE, ring, (*is_on).into());
                g4.channel.tell(&state, true).expect("taken");
            }
        }
        let count = u64::try_from(on.iter().filter(|is_on| **is_on).count()).expect("few");
        eventually("the pairs are seen", PATIENCE, || {
            let adapter = &app.json("show guest g4")["adapters"][0];
            adapter["vhost-user"]["queue-pairs-on"].as_u64() == Some(count)
        });
        let mut used = [0; 2];
        for flow in 0..24u8 {
            let mut segment = tcp(&[flow; 64], &mut random);
            segment[1] = flow;
            let packet = ipv4("198.51.100.3", "198.51.100.4", 64, TCP, &segment);
            let frame = ethernet(mac_of(4), mac_of(3), 0x0800, &packet);
            assert!(g3.send(0, &NetHeader::default(), &frame).expect("sent"));
            let mut got = None;
            eventually("it arrives", PATIENCE, || {
                for (pair, used) in used.iter_mut().enumerate() {
                    while let Some(received) = g4.receive(pair).expect("a ring") {
                        if received.frame == frame {
                            *used += 1;
                            got = Some(pair);
                        }
                    }
                }
                got.is_some()
            });
            assert!(got.is_some_and(|pair| on[pair]), "pair {got:?} is off");
        }
        assert_eq!(used.iter().filter(|count| **count > 0).count(), wanted, "{used:?}");
    }
    let broadcast = ethernet(BROADCAST, mac_of(3), 0x88b5, &[7; 46]);
    assert!(g3.send(0, &NetHeader::default(), &broadcast).expect("sent"));
    let is_it = |received: &Received| received.frame == broadcast;
    assert!(g4.receive_within(PATIENCE, is_it).expect("a ring").is_some());
    drop((g3, g4));
    app.stop();
}
