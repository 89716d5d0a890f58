//! vhost-user messages (QEMU's "Vhost-user Protocol"): which ones a front-end may send us, of what
//! size, with how many file descriptors.
//!
//! Nothing here touches a socket, so every rule is tested without one. What passes is well-formed;
//! whether it makes sense (an address inside the memory, say) the vhost library checks.

/// Bytes before the payload: request, flags, size of the payload; each 32 bits, little endian here.
pub(super) const HEADER_BYTES: usize = 12;
/// Longest payload that any allowed message has: a memory table.
pub(super) const PAYLOAD_BYTES_MAX: usize = 8 + REGIONS_MAX * REGION_BYTES;
/// Pieces of memory that a front-end may have; the library's limit too.
pub(super) const REGIONS_MAX: usize = 8;
const REGION_BYTES: usize = 32;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
/// It answers another message.
pub(super) const FLAG_REPLY: u32 = 1 << 2;
/// The sender waits for the outcome (protocol feature REPLY_ACK).
pub(super) const FLAG_NEED_REPLY: u32 = 1 << 3;
/// Set in the number of a ring where no descriptor comes along.
const RING_WITHOUT_DESCRIPTOR: u64 = 1 << 8;

pub(super) const GET_FEATURES: u32 = 1;
pub(super) const SET_FEATURES: u32 = 2;
pub(super) const RESET_OWNER: u32 = 4;
pub(super) const SET_MEM_TABLE: u32 = 5;
pub(super) const SET_LOG_BASE: u32 = 6;
const SET_VRING_NUM: u32 = 8;
const SET_VRING_ADDR: u32 = 9;
const GET_VRING_BASE: u32 = 11;
pub(super) const SET_VRING_KICK: u32 = 12;
pub(super) const SET_VRING_CALL: u32 = 13;
pub(super) const SET_VRING_ERR: u32 = 14;
pub(super) const GET_PROTOCOL_FEATURES: u32 = 15;
pub(super) const SET_PROTOCOL_FEATURES: u32 = 16;
pub(super) const GET_QUEUE_NUM: u32 = 17;
pub(super) const SEND_RARP: u32 = 19;
pub(super) const NET_SET_MTU: u32 = 20;

/// The protocol feature by which the sender may ask for an outcome.
pub(super) const PROTOCOL_F_REPLY_ACK: u64 = 1 << 3;
/// Protocol features that we offer, as far as the library has them: several queues, the dirty log in
/// shared memory, the announcement after a migration, outcomes, the MTU and the device's status.
/// Not offered: the channel back to the front-end (nothing is ever sent on it without an IOMMU),
/// postcopy, crypto sessions, host notifiers, in-flight descriptors (none is ever in flight: the
/// library copies a packet whole before it moves an index).
pub(super) const PROTOCOL_FEATURES: u64 =
    1 | 1 << 1 | 1 << 2 | PROTOCOL_F_REPLY_ACK | 1 << 4 | 1 << 16;

/// A message as it came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Message {
    pub(super) request: u32,
    pub(super) flags: u32,
    pub(super) payload: Vec<u8>,
}

/// What is said about one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    request: u32,
    pub(super) name: &'static str,
    payload: Payload,
    descriptors: Descriptors,
    /// The library answers it by a message of its own.
    pub(super) is_answered: bool,
    /// The library locks queues, moves memory or stops the device for it, so that no worker may be
    /// in one of its bursts meanwhile.
    pub(super) pauses: bool,
}

#[derive(Clone, Copy, Debug)]
enum Payload {
    Exactly(usize),
    /// Padded by some front-ends.
    UpTo(usize),
    /// As many regions as it says.
    MemoryTable,
}

#[derive(Clone, Copy, Debug)]
enum Descriptors {
    None,
    One,
    /// One, unless the payload says that there is none.
    OfRing,
    PerRegion,
}

/// Where a message names a ring.
#[derive(Clone, Copy, Debug)]
enum RingField {
    /// 32 bits.
    Index,
    /// The low 8 bits of 64.
    WithFlag,
}

const fn rule(
    request: u32,
    name: &'static str,
    payload: Payload,
    descriptors: Descriptors,
    is_answered: bool,
    pauses: bool,
) -> Rule {
    Rule { request, name, payload, descriptors, is_answered, pauses }
}

/// Every message that passes.
const RULES: [Rule; 22] = {
    use Descriptors::{None, OfRing, One, PerRegion};
    use Payload::{Exactly, MemoryTable, UpTo};
    [
        rule(GET_FEATURES, "GET_FEATURES", UpTo(8), None, true, false),
        rule(SET_FEATURES, "SET_FEATURES", Exactly(8), None, false, true),
        rule(3, "SET_OWNER", UpTo(8), None, false, true),
        rule(RESET_OWNER, "RESET_OWNER", UpTo(8), None, false, true),
        rule(SET_MEM_TABLE, "SET_MEM_TABLE", MemoryTable, PerRegion, false, true),
        rule(SET_LOG_BASE, "SET_LOG_BASE", Exactly(16), One, true, true),
        rule(7, "SET_LOG_FD", UpTo(8), One, false, true),
        rule(SET_VRING_NUM, "SET_VRING_NUM", Exactly(8), None, false, true),
        rule(SET_VRING_ADDR, "SET_VRING_ADDR", Exactly(40), None, false, true),
        rule(10, "SET_VRING_BASE", Exactly(8), None, false, true),
        rule(GET_VRING_BASE, "GET_VRING_BASE", Exactly(8), None, true, true),
        rule(SET_VRING_KICK, "SET_VRING_KICK", Exactly(8), OfRing, false, true),
        rule(SET_VRING_CALL, "SET_VRING_CALL", Exactly(8), OfRing, false, true),
        rule(SET_VRING_ERR, "SET_VRING_ERR", Exactly(8), OfRing, false, true),
        rule(GET_PROTOCOL_FEATURES, "GET_PROTOCOL_FEATURES", UpTo(8), None, true, false),
        rule(SET_PROTOCOL_FEATURES, "SET_PROTOCOL_FEATURES", Exactly(8), None, false, true),
        rule(GET_QUEUE_NUM, "GET_QUEUE_NUM", UpTo(8), None, true, false),
        rule(18, "SET_VRING_ENABLE", Exactly(8), None, false, true),
        rule(SEND_RARP, "SEND_RARP", Exactly(8), None, false, true),
        rule(NET_SET_MTU, "NET_SET_MTU", Exactly(8), None, false, true),
        rule(39, "SET_STATUS", Exactly(8), None, false, true),
        rule(40, "GET_STATUS", UpTo(8), None, true, false),
    ]
};

/// What has been said of each ring since it was last stopped.
///
/// The library keeps a ring's addresses when it stops it and frees what it allocated for the ring's
/// size; told an address or a kick without a size it would run the ring without that memory, and told
/// another size while it has addresses it would run beyond them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rings(Vec<Ring>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ring {
    has_size: bool,
    has_place: bool,
}

/// Largest ring (VIRTIO 1.2, 2.7 and 2.8).
const RING_ENTRIES_MAX: u32 = 32_768;
/// The feature bit of packed rings, which may have any size.
const RING_PACKED: u64 = 1 << 34;

impl Rings {
    pub(super) fn new(rings: u16) -> Self {
        Self(vec![Ring::default(); rings.into()])
    }

    /// Follows a checked message; `features` are those accepted.
    pub(super) fn follow(&mut self, message: &Message, features: u64) -> Result<(), Refused> {
        if message.request == RESET_OWNER {
            self.0.fill(Ring::default());
        }
        let number = match ring_field(message.request) {
            Some(RingField::Index) => u32_at(&message.payload, 0) as usize,
            Some(RingField::WithFlag) => (message.number() & 0xff) as usize,
            None => return Ok(()),
        };
        let Some(ring) = self.0.get_mut(number) else { return Ok(()) };
        match message.request {
            SET_VRING_NUM => {
                let entries = u32_at(&message.payload, 4);
                let is_legal = features & RING_PACKED != 0 || entries.is_power_of_two();
                if !(1..=RING_ENTRIES_MAX).contains(&entries) || !is_legal {
                    return Err(Refused::RingSize { ring: number, entries });
                }
                if ring.has_place {
                    return Err(Refused::RingResized(number));
                }
                ring.has_size = true;
            }
            SET_VRING_ADDR | SET_VRING_KICK if !ring.has_size => {
                return Err(Refused::RingWithoutSize(number));
            }
            SET_VRING_ADDR | SET_VRING_KICK => ring.has_place = true,
            GET_VRING_BASE => *ring = Ring::default(),
            _ => {}
        }
        Ok(())
    }
}

/// Why a message does not pass.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("its message header has the flags {0:#x}, not version 1 of the protocol")]
    Flags(u32),
    #[error("it sent message {0}, which belongs to no feature that was offered")]
    Request(u32),
    #[error("its {name} has a payload of {bytes} bytes")]
    Payload { name: &'static str, bytes: usize },
    #[error("its {name} came with {given} file descriptors, not {wanted}")]
    Descriptors { name: &'static str, given: usize, wanted: usize },
    #[error("its {name} is about ring {ring}, but the adapter has {rings}")]
    Ring { name: &'static str, ring: u64, rings: u16 },
    #[error("its ring {ring} of {entries} entries is no size for a ring")]
    RingSize { ring: usize, entries: u32 },
    #[error("it changes the size of ring {0}, which is in place")]
    RingResized(usize),
    #[error("it starts ring {0} without its size")]
    RingWithoutSize(usize),
    #[error("its memory table has {0} regions, not 1 to {REGIONS_MAX}")]
    Regions(u32),
    #[error("its memory region {number} is empty or ends beyond 64 bits")]
    Region { number: usize },
    #[error("its memory regions {0} and {1} overlap")]
    Overlap(usize, usize),
}

/// One piece of a front-end's memory, as it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Region {
    guest_address: u64,
    pub(super) bytes: u64,
    front_end_address: u64,
    pub(super) file_offset: u64,
}

impl Message {
    /// Request, flags and payload size out of a header.
    pub(super) fn parse_header(header: [u8; HEADER_BYTES]) -> (u32, u32, usize) {
        let word = |at: usize| u32_at(&header, at);
        // 32 bits fit on every machine that DPDK runs on.
        (word(0), word(4), word(8) as usize)
    }

    /// The bytes to send.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let size = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let header = [self.request, self.flags, size];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// An answer to `request`.
    pub(super) fn reply(request: u32, value: u64) -> Self {
        Self { request, flags: VERSION | FLAG_REPLY, payload: value.to_ne_bytes().to_vec() }
    }

    /// A request without payload.
    pub(super) fn ask(request: u32) -> Self {
        Self { request, flags: VERSION, payload: Vec::new() }
    }

    /// A payload of one 64-bit number.
    pub(super) fn number(&self) -> u64 {
        u64_at(&self.payload, 0)
    }

    /// Length and place in its file of a checked dirty log.
    pub(super) fn log(&self) -> (u64, u64) {
        (u64_at(&self.payload, 0), u64_at(&self.payload, 8))
    }

    /// Whether the sender waits for the outcome.
    pub(super) fn wants_outcome(&self) -> bool {
        self.flags & FLAG_NEED_REPLY != 0
    }

    /// The regions of a checked memory table.
    pub(super) fn regions(&self) -> Vec<Region> {
        let (regions, _) = self.payload.get(8..).unwrap_or_default().as_chunks::<REGION_BYTES>();
        let region = |bytes: &[u8; REGION_BYTES]| Region {
            guest_address: u64_at(bytes, 0),
            bytes: u64_at(bytes, 8),
            front_end_address: u64_at(bytes, 16),
            file_offset: u64_at(bytes, 24),
        };
        regions.iter().map(region).collect()
    }
}

/// What may be said before the payload is read: a request that we know, of a size that it may have.
pub(super) fn check_header(request: u32, flags: u32, bytes: usize) -> Result<Rule, Refused> {
    if flags & !FLAG_NEED_REPLY & !VERSION_MASK != 0 || flags & VERSION_MASK != VERSION {
        return Err(Refused::Flags(flags));
    }
    let rule = RULES.iter().find(|rule| rule.request == request).copied();
    let rule = rule.ok_or(Refused::Request(request))?;
    let fits = match rule.payload {
        Payload::Exactly(wanted) => bytes == wanted,
        Payload::UpTo(most) => bytes <= most,
        Payload::MemoryTable => (8..=PAYLOAD_BYTES_MAX).contains(&bytes),
    };
    if fits { Ok(rule) } else { Err(Refused::Payload { name: rule.name, bytes }) }
}

/// The rest: descriptors, ring number, memory table.
pub(super) fn check(
    rule: Rule,
    message: &Message,
    descriptors: usize,
    rings: u16,
) -> Result<(), Refused> {
    let name = rule.name;
    let wanted = match rule.descriptors {
        Descriptors::None => 0,
        Descriptors::One => 1,
        Descriptors::OfRing => usize::from(message.number() & RING_WITHOUT_DESCRIPTOR == 0),
        Descriptors::PerRegion => check_memory_table(message)?,
    };
    if descriptors != wanted {
        return Err(Refused::Descriptors { name, given: descriptors, wanted });
    }
    let ring = match ring_field(rule.request) {
        Some(RingField::Index) => u64::from(u32_at(&message.payload, 0)),
        Some(RingField::WithFlag) => message.number() & 0xff,
        None => return Ok(()),
    };
    if ring < u64::from(rings) { Ok(()) } else { Err(Refused::Ring { name, ring, rings }) }
}

fn ring_field(request: u32) -> Option<RingField> {
    match request {
        8..=11 | 18 => Some(RingField::Index),
        12..=14 => Some(RingField::WithFlag),
        _ => None,
    }
}

/// How many regions, each of them with sums that don't wrap and none in another's place.
fn check_memory_table(message: &Message) -> Result<usize, Refused> {
    let said = u32_at(&message.payload, 0);
    let regions = message.regions();
    let bytes = message.payload.len();
    if !(1..=REGIONS_MAX).contains(&(said as usize)) {
        return Err(Refused::Regions(said));
    }
    if regions.len() != said as usize || bytes != 8 + regions.len() * REGION_BYTES {
        return Err(Refused::Payload { name: "SET_MEM_TABLE", bytes });
    }
    for (number, region) in regions.iter().enumerate() {
        let ends = [region.guest_address, region.front_end_address, region.file_offset]
            .map(|start| start.checked_add(region.bytes));
        if region.bytes == 0 || ends.iter().any(Option::is_none) {
            return Err(Refused::Region { number });
        }
        // Neither sum wraps: both have been looked at.
        let before = regions[..number].iter().position(|other| {
            other.guest_address < region.guest_address + region.bytes
                && region.guest_address < other.guest_address + other.bytes
        });
        if let Some(before) = before {
            return Err(Refused::Overlap(before, number));
        }
    }
    Ok(regions.len())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests;
