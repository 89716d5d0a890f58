//! Each rule by a message that keeps it and one that breaks it.

use super::*;

const RINGS: u16 = 4;

fn message(request: u32, payload: &[u8]) -> Message {
    Message { request, flags: VERSION, payload: payload.to_vec() }
}

fn verdict(message: &Message, descriptors: usize) -> Result<(), Refused> {
    let rule = check_header(message.request, message.flags, message.payload.len())?;
    check(rule, message, descriptors, RINGS)
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A memory table that says `said` regions and holds these: guest address, bytes, front-end address,
/// offset.
fn table(said: u64, regions: &[[u64; 4]]) -> Message {
    let mut payload = words(&[said]);
    regions.iter().for_each(|region| payload.extend(words(region)));
    message(SET_MEM_TABLE, &payload)
}

#[test]
fn the_usual_messages_pass() {
    for (request, payload, descriptors) in [
        (GET_FEATURES, vec![], 0),
        (SET_FEATURES, words(&[1 << 32]), 0),
        (3, vec![], 0),
        (8, words(&[3 | 256 << 32]), 0),
        (9, words(&[1, 2, 3, 4, 5]), 0),
        (11, words(&[0]), 0),
        (12, words(&[2]), 1),
        (13, words(&[2 | RING_WITHOUT_DESCRIPTOR]), 0),
        (18, words(&[1 | 1 << 32]), 0),
        (SET_LOG_BASE, words(&[4096, 0]), 1),
        (NET_SET_MTU, words(&[1500]), 0),
        (39, words(&[15]), 0),
    ] {
        let message = message(request, &payload);
        assert_eq!(verdict(&message, descriptors), Ok(()), "request {request}");
    }
    assert_eq!(verdict(&table(2, &[[0, 10, 100, 0], [10, 10, 110, 10]]), 2), Ok(()));
}

#[test]
fn only_version_1_of_a_request_passes() {
    for flags in [0, 2, 3, VERSION | FLAG_REPLY, VERSION | 1 << 4] {
        assert_eq!(check_header(GET_FEATURES, flags, 0).err(), Some(Refused::Flags(flags)));
    }
    assert!(check_header(GET_FEATURES, VERSION | FLAG_NEED_REPLY, 0).is_ok());
}

#[test]
fn what_belongs_to_nothing_on_offer_is_refused() {
    // The back end's channel, IOTLB, configuration space, crypto, postcopy, in-flight descriptors,
    // memory slots, and numbers that nobody knows.
    for request in [0, 21, 22, 24, 26, 28, 29, 31, 32, 34, 36, 37, 38, 41, 1000, u32::MAX] {
        assert_eq!(check_header(request, VERSION, 8).err(), Some(Refused::Request(request)));
    }
}

#[test]
fn payloads_have_their_size() {
    for (request, bytes) in
        [(SET_FEATURES, 7), (SET_FEATURES, 9), (9, 39), (3, 9), (SET_MEM_TABLE, 7)]
    {
        let refused = check_header(request, VERSION, bytes).err();
        assert!(matches!(refused, Some(Refused::Payload { .. })), "{request} {bytes}: {refused:?}");
    }
    let huge = check_header(SET_MEM_TABLE, VERSION, PAYLOAD_BYTES_MAX + 1).err();
    assert!(matches!(huge, Some(Refused::Payload { .. })));
}

#[test]
fn descriptors_come_as_many_as_belong_to_a_message() {
    for (message, given, wanted) in [
        (message(SET_FEATURES, &words(&[0])), 1, 0),
        (message(12, &words(&[0])), 0, 1),
        (message(12, &words(&[0])), 2, 1),
        (message(13, &words(&[RING_WITHOUT_DESCRIPTOR])), 1, 0),
        (message(SET_LOG_BASE, &words(&[4096, 0])), 0, 1),
        (table(1, &[[0, 10, 0, 0]]), 2, 1),
        (table(1, &[[0, 10, 0, 0]]), 0, 1),
    ] {
        let refused = verdict(&message, given).err();
        let is_right = matches!(&refused, Some(Refused::Descriptors { given: g, wanted: w, .. })
            if (*g, *w) == (given, wanted));
        assert!(is_right, "{message:?}: {refused:?}");
    }
}

#[test]
fn a_ring_is_one_of_the_adapters() {
    for (request, payload) in [
        (8, words(&[u64::from(RINGS)])),
        (9, words(&[u64::from(u32::MAX), 0, 0, 0, 0])),
        (11, words(&[255])),
        (18, words(&[u64::from(RINGS) | 1 << 32])),
        (13, words(&[0xff | RING_WITHOUT_DESCRIPTOR])),
    ] {
        let refused = verdict(&message(request, &payload), 0).err();
        assert!(matches!(refused, Some(Refused::Ring { .. })), "{request}: {refused:?}");
    }
}

#[test]
fn a_memory_table_says_what_it_holds() {
    let one = [0, 10, 0, 0];
    assert_eq!(verdict(&table(0, &[]), 0), Err(Refused::Regions(0)));
    assert_eq!(verdict(&table(9, &[one; 8]), 8), Err(Refused::Regions(9)));
    for (said, count) in [(2, 1), (1, 2), (8, 7)] {
        let refused = verdict(&table(said, &vec![one; count]), count).err();
        assert!(matches!(refused, Some(Refused::Payload { .. })), "{said} {count}: {refused:?}");
    }
}

#[test]
fn regions_neither_wrap_nor_overlap() {
    for region in [[0, 0, 0, 0], [u64::MAX, 2, 0, 0], [0, 2, u64::MAX, 0], [0, 2, 0, u64::MAX]] {
        let refused = verdict(&table(2, &[[1 << 40, 1, 0, 0], region]), 2);
        assert_eq!(refused, Err(Refused::Region { number: 1 }), "{region:?}");
    }
    let apart = [[0, 10, 0, 0], [20, 10, 0, 0], [29, 10, 0, 0]];
    assert_eq!(verdict(&table(3, &apart), 3), Err(Refused::Overlap(1, 2)));
}

#[test]
fn what_is_sent_reads_back() {
    let sent = Message::reply(GET_QUEUE_NUM, 7);
    let bytes = sent.to_bytes();
    let (header, payload) = bytes.split_first_chunk().unwrap();
    let (request, flags, size) = Message::parse_header(*header);
    assert_eq!((request, flags, size), (GET_QUEUE_NUM, VERSION | FLAG_REPLY, payload.len()));
    assert_eq!(Message { request, flags, payload: payload.to_vec() }.number(), 7);
}

#[test]
fn a_ring_has_its_size_before_its_place_and_keeps_it() {
    let num = |entries: u64| message(SET_VRING_NUM, &words(&[1 | entries << 32]));
    let addr = message(SET_VRING_ADDR, &words(&[1, 2, 3, 4, 5]));
    let kick = message(SET_VRING_KICK, &words(&[1]));
    let stop = message(GET_VRING_BASE, &words(&[1]));
    let mut rings = Rings::new(RINGS);
    for place in [&addr, &kick] {
        assert_eq!(rings.follow(place, 0), Err(Refused::RingWithoutSize(1)));
    }
    for entries in [0, 3, 65_536, 1 << 31] {
        let refused = rings.follow(&num(entries), 0).err();
        assert!(matches!(refused, Some(Refused::RingSize { .. })), "{entries}: {refused:?}");
    }
    assert_eq!(rings.follow(&num(300), RING_PACKED), Ok(()));
    // Told again before it is in place, it may change.
    assert_eq!(rings.follow(&num(256), 0), Ok(()));
    assert_eq!(rings.follow(&addr, 0), Ok(()));
    assert_eq!(rings.follow(&num(512), 0), Err(Refused::RingResized(1)));
    assert_eq!(rings.follow(&num(256), 0), Err(Refused::RingResized(1)));
    // Its place may be told again, as at the start of a migration.
    assert_eq!((rings.follow(&addr, 0), rings.follow(&kick, 0)), (Ok(()), Ok(())));
    // Stopped, it needs a size again; other rings go on.
    assert_eq!(rings.follow(&stop, 0), Ok(()));
    assert_eq!(rings.follow(&kick, 0), Err(Refused::RingWithoutSize(1)));
    assert_eq!(rings.follow(&num(512), 0), Ok(()));
    assert_eq!(rings.follow(&kick, 0), Ok(()));
    assert_eq!(rings.follow(&message(RESET_OWNER, &[]), 0), Ok(()));
    assert_eq!(rings.follow(&addr, 0), Err(Refused::RingWithoutSize(1)));
}
