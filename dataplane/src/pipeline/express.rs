//! The express lane: what is true of nearly every packet, asked of a whole burst in few instructions.
//!
//! A *plain* frame is one that every stage would let pass: in one segment and finished; IPv4 for the router,
//! no options, no fragment, header right, TTL to spare, its source its sender's, its way out known, untagged
//! and wide enough. Or, in a network, IPv4 of a member to a MAC in the table. The lane marks plain frames
//! and the way out of each, rewrites them and puts them into their ports' buffers. It drops nothing:
//! what is not plain, or only perhaps, goes through the stages.
//!
//! Invariant: a frame that the lane passes, the stages would pass by the same port with the same bytes,
//! counted alike (`tests/express.rs` compares the two).

use super::Path;
use super::account;
use super::egress::Notes;
use super::shape::LimitTable;
use super::view::View;
use super::work::count_from_guest;
use crate::counters::{Counters, PortCounter};
use crate::frame::{
    BURST_PKTS, Burst, Frame, Heads, Ingress, Pattern, Slots, WORD_DESTINATION, WORD_SOURCE,
    first_slots, write_head,
};
use crate::ids::{AdapterId, AdjacencyId, ClassId, PortId};
use crate::io::Io;
use crate::machine::columns;
use crate::machine::headers::{self, ETHERNET_BYTES, Headers};
use crate::pipeline::Tables;
use crate::record::{Attachment, PortRecord, RoutedAdapter};
use crate::table::{AdjacencyKind, FIB_KEYS, Ipv4Fib, Way, Ways};
use crate::wire::dhcp;
use crate::wire::ethernet::{HEADER_BYTES, MacAddr};

/// What the lane keeps of a burst, a column for each thing; valid for plain slots.
pub(super) struct Lane {
    heads: Heads,
    headers: Headers,
    /// Bytes of the longest frame, plain or not, and of all together.
    longest: u32,
    sum: u32,
    /// What the FIB says of destinations.
    to: [u32; BURST_PKTS],
    /// And of sources.
    from: [u32; BURST_PKTS],
    /// The ways out.
    ways: Ways,
    /// On a shared port: numbers of the adapters whose sources they are.
    senders: [u32; BURST_PKTS],
    /// On another one: its adapter.
    sender: Option<AdapterId>,
    /// Classes that frames to guests are counted in; [`ClassId::NONE`] while there are none.
    classes: [ClassId; BURST_PKTS],
    /// What is decided.
    plain: Plain,
    /// Leaves everything to the stages.
    #[cfg(test)]
    pub(super) is_closed: bool,
    /// Frames that it has passed.
    #[cfg(test)]
    pub(super) passed: usize,
}

impl Default for Lane {
    fn default() -> Self {
        let column = [0; BURST_PKTS];
        Self {
            heads: Heads::default(),
            headers: Headers::default(),
            longest: 0,
            sum: 0,
            to: column,
            from: column,
            ways: Ways::default(),
            senders: column,
            sender: None,
            classes: [ClassId::NONE; BURST_PKTS],
            plain: Plain::NONE,
            #[cfg(test)]
            is_closed: false,
            #[cfg(test)]
            passed: 0,
        }
    }
}

/// What the lane has decided of a burst. Written and read word by word: what is put together from words and
/// then copied as a whole waits until each has reached the cache, which is a tenth of a short burst's time.
struct Plain {
    /// Frames that it passes.
    slots: Slots,
    /// Of those, with Ethernet padding behind the packet.
    padded: Slots,
    /// The one port that all of them leave by, if it is one.
    port: Option<PortId>,
    /// Whether they are rewritten.
    is_routed: bool,
    /// Whether they are counted by class. Stays from burst to burst.
    is_classed: bool,
}

impl Plain {
    const NONE: Self =
        Self { slots: 0, padded: 0, port: None, is_routed: false, is_classed: false };
}

mod bridge;

/// Where a burst has come in, and what it is judged by.
pub(super) struct Arrival<'a> {
    pub(super) record: &'a PortRecord,
    pub(super) plan: &'a Plan,
    pub(super) view: &'a View,
    pub(super) tables: &'a Tables,
    pub(super) limits: Option<&'a LimitTable>,
    pub(super) counters: &'a Counters,
}

/// Looks which frames of a burst the lane passes; [`Lane::plain_slots`] says which.
///
/// Counts the burst at its port, once its lengths are read.
#[inline]
pub(super) fn look<F: Frame>(at: &Arrival<'_>, burst: &Burst<F>, lane: &mut Lane) {
    lane.plain.slots = 0;
    lane.plain.padded = 0;
    match lane.task_of(at.plan) {
        Task::Route(sender) => {
            let slots = lane.read(&at.plan.pattern, burst, at);
            routed(at, *sender, slots, burst, lane);
        }
        Task::Bridge => match bridge::Member::of(at.record, at.view) {
            Some(member) => {
                let slots = lane.read(&at.plan.pattern, burst, at);
                bridge::bridged(at, &member, slots, burst, lane);
            }
            None => arrive_unread(at, burst),
        },
        Task::None => arrive_unread(at, burst),
    }
    match &at.view.classes {
        Some(classes) => lane.account(at, classes),
        None if lane.plain.is_classed => lane.account_no_more(),
        None => {}
    }
}

/// Counts a burst whose frames the lane does not look at.
fn arrive_unread<F: Frame>(at: &Arrival<'_>, burst: &Burst<F>) {
    let bytes = burst.iter().map(|frame| frame.len() as u64).sum();
    arrive(at.record, at.counters, burst.len() as u64, bytes);
}

/// What most frames of a port are to be: worked out once, when its record is put in force.
pub(super) struct Plan {
    task: Task,
    pattern: Pattern,
}

enum Task {
    Route(Sender),
    Bridge,
    /// Anything: the stages look at each.
    None,
}

impl Plan {
    pub(super) fn of(record: Option<&PortRecord>) -> Self {
        let pattern = Pattern::routed(MacAddr::ZERO, None);
        let Some(record) = record else { return Self { task: Task::None, pattern } };
        let (sender, from) = match &record.attachment {
            Attachment::Uplink(_) => (Sender::Wire, None),
            Attachment::Routed(RoutedAdapter { adapter, peer_mac, filters }) => {
                (Sender::Guest(*adapter, filters.ip), filters.mac.then_some(*peer_mac))
            }
            Attachment::Shared { peer_mac } => (Sender::Shared, Some(*peer_mac)),
            Attachment::Host { peer_mac } => (Sender::Server, Some(*peer_mac)),
            Attachment::Bridged(adapter) => {
                return Self { task: Task::Bridge, pattern: Pattern::bridged(adapter.peer_mac) };
            }
            _ => return Self { task: Task::None, pattern },
        };
        Self { task: Task::Route(sender), pattern: Pattern::routed(record.own_mac, from) }
    }
}

/// Who sends by a port, and so which sources are its own.
#[derive(Clone, Copy)]
enum Sender {
    /// Anybody but us and those that are registered here.
    Wire,
    /// The adapter alone, if its filter is on.
    Guest(AdapterId, bool),
    /// Whoever is registered behind this port.
    Shared,
    /// Anybody but guests.
    Server,
}

impl Sender {
    #[inline]
    fn is_guests(self) -> bool {
        matches!(self, Self::Guest(..) | Self::Shared)
    }

    /// Whether a source that leads so is the sender's.
    #[inline]
    fn admits(self, from: &Way, port: PortId) -> bool {
        let is_forward = from.is_forward();
        let is_owned = is_forward && from.adapter() != AdapterId::NONE;
        let is_ours = from.kind() == AdjacencyKind::Local as u8
            || is_forward && from.adapter() == AdapterId::SERVER;
        match self {
            Self::Wire => !is_ours && !is_owned,
            Self::Guest(adapter, is_checked) => {
                !is_ours && (!is_checked || is_forward && from.adapter() == adapter)
            }
            Self::Shared => is_owned && from.port() == port,
            Self::Server => !is_owned || from.adapter() == AdapterId::SERVER,
        }
    }
}

/// What is known of the sources that lead to one adjacency.
struct Source {
    adapter: AdapterId,
    is_admitted: bool,
    /// The one that is no host's: the broadcast address of the connected prefix that it lies in; else 0,
    /// which no plain packet comes from.
    except: u32,
}

impl Source {
    #[inline]
    fn read(tables: &Tables, id: u32, sender: Sender, port: PortId) -> Self {
        let way = tables.adjacencies.way(AdjacencyId(id));
        let is_glean = way.kind() == AdjacencyKind::Glean as u8;
        let except = if is_glean { way.next_hop() } else { 0 };
        Self { adapter: way.adapter(), is_admitted: sender.admits(&way, port), except }
    }
}

/// Which of the slots are plain packets for the router.
#[inline]
fn routed<F: Frame>(
    at: &Arrival<'_>,
    sender: Sender,
    slots: Slots,
    burst: &Burst<F>,
    lane: &mut Lane,
) {
    let Arrival { record, view, tables, counters, .. } = *at;
    let count = burst.len();
    let found = headers::check(&lane.heads, slots, count, &mut lane.headers);
    let mut slots = found.plain;
    if slots == 0 {
        return;
    }
    if sender.is_guests() {
        slots &= !server_replies(burst, headers::to_clients(&lane.heads, count) & slots);
    }
    look_up(&tables.fib, &lane.headers.destinations, count, &mut lane.to);
    look_up(&tables.fib, &lane.headers.sources, count, &mut lane.from);
    slots &= admitted(record.id, sender, tables, lane, slots, count);
    tables.adjacencies.ways(&lane.to, count, &mut lane.ways);
    let exit = Exit { record, view, sender };
    let alike = lane.ways.alike().filter(|way| exit.takes(way, found.longest));
    if alike.is_none() {
        slots = (0..count).filter(|slot| slots >> slot & 1 != 0).fold(0, |passed, slot| {
            let takes = exit.takes(&lane.ways.way(slot), lane.headers.bytes[slot]);
            passed | Slots::from(takes) << slot
        });
    }
    if let Some(trace) = &view.trace {
        slots &= !trace.followed(record.id, burst, &lane.ways);
    }
    lane.sender = match sender {
        Sender::Shared => None,
        _ => Some(record.attachment.adapter()),
    };
    if let Some(limits) = at.limits {
        slots &= lane.unlimited(limits, record.id, slots);
    }
    if lane.sender.is_none() {
        for slot in (0..count).filter(|slot| slots >> slot & 1 != 0) {
            let (adapter, bytes) = (AdapterId(lane.senders[slot]), lane.heads.bytes[slot]);
            count_from_guest(counters, adapter, 1, bytes.into());
        }
    }
    lane.plain.slots = slots;
    lane.plain.padded = found.padded & slots;
    lane.plain.port = alike.map(|way| way.port());
    lane.plain.is_routed = true;
}

/// So many addresses are looked up sooner one by one.
const FEW: usize = 8;

/// What the FIB says of the first so many addresses.
#[inline]
fn look_up(fib: &Ipv4Fib, addrs: &[u32; BURST_PKTS], count: usize, into: &mut [u32; BURST_PKTS]) {
    if count <= FEW {
        let addrs = addrs.iter().zip(into).take(count);
        return addrs.for_each(|(addr, into)| *into = fib.lookup(*addr).0);
    }
    let chunks = addrs.as_chunks().0.iter().zip(into.as_chunks_mut().0);
    for (addrs, into) in chunks.take(count.div_ceil(FIB_KEYS)) {
        fib.lookup_burst(addrs, into);
    }
}

/// Counts a burst that has come in.
#[inline]
pub(super) fn arrive(record: &PortRecord, counters: &Counters, pkts: u64, bytes: u64) {
    counters.port_add(record.id, PortCounter::RxPkts, pkts);
    counters.port_add(record.id, PortCounter::RxBytes, bytes);
    count_from_guest(counters, record.attachment.adapter(), pkts, bytes);
}

/// Where packets of a port may leave.
struct Exit<'a> {
    record: &'a PortRecord,
    view: &'a View,
    sender: Sender,
}

impl Exit<'_> {
    /// Whether the packet in a frame of so many bytes may take this way out, just rewritten.
    #[inline]
    fn takes(&self, way: &Way, bytes: u32) -> bool {
        let port = way.port();
        let is_back_out = match self.sender {
            Sender::Shared => false,
            Sender::Wire => port == self.record.id || self.view.is_uplink(port),
            _ => port == self.record.id,
        };
        way.is_forward() && way.takes_untagged(bytes.saturating_sub(ETHERNET_BYTES)) && !is_back_out
    }
}

/// Those of the slots whose packets a DHCP server might have sent. There are few to be asked about.
fn server_replies<F: Frame>(burst: &Burst<F>, slots: Slots) -> Slots {
    let mut replies = 0;
    let mut left = slots;
    while left != 0 {
        let slot = left.trailing_zeros() as usize;
        left &= left - 1;
        let packet = burst.get(slot).and_then(|frame| frame.head().get(HEADER_BYTES..));
        replies |= Slots::from(packet.is_none_or(dhcp::is_server_reply)) << slot;
    }
    replies
}

/// Which of the slots have a source that is their sender's.
fn admitted(
    port: PortId,
    sender: Sender,
    tables: &Tables,
    lane: &mut Lane,
    slots: Slots,
    count: usize,
) -> Slots {
    let Lane { headers, from, senders, .. } = lane;
    let sources = &headers.sources;
    // Sources come in runs, most of all from the wire and from a guest alone on its port.
    let first = from[slots.trailing_zeros() as usize % BURST_PKTS];
    let mut last = Source::read(tables, first, sender, port);
    if columns::matches(from, count, first) | !first_slots(count) == Slots::MAX {
        if matches!(sender, Sender::Shared) {
            *senders = [last.adapter.0; BURST_PKTS];
        }
        return match (last.is_admitted, last.except) {
            (false, _) => 0,
            (true, 0) => Slots::MAX,
            (true, except) => !columns::matches(sources, count, except),
        };
    }
    let mut last_id = first;
    let mut admitted = 0;
    for (slot, id) in from.iter().enumerate().take(count) {
        if *id != last_id {
            last = Source::read(tables, *id, sender, port);
            last_id = *id;
        }
        senders[slot] = last.adapter.0;
        admitted |= Slots::from(last.is_admitted && sources[slot] != last.except) << slot;
    }
    admitted
}

impl<I: Io> Path<I> {
    /// Sends a burst of plain frames on its way; leaves it empty.
    pub(super) fn pass_all(&mut self, from: PortId, burst: &mut Burst<I::Frame>) {
        #[cfg(test)]
        {
            self.work.lane.passed += burst.len();
        }
        let lane = &self.work.lane;
        if lane.plain.padded != 0 {
            burst.iter_mut().enumerate().for_each(|(slot, frame)| lane.trim(slot, frame));
        }
        if lane.plain.is_routed {
            let ethernet = |slot| lane.ways.way(slot).ethernet();
            I::Frame::rewrite_heads(burst, ethernet, &lane.headers.counted);
        }
        let notes = lane.notes(from);
        if let Some(port) = lane.plain.port {
            let ingress = |slot| lane.ingress(slot, from);
            return self.egress.push_all(&self.counters, port, burst, &notes, ingress);
        }
        for (slot, mut frame) in burst.drain(..).enumerate() {
            frame.set_ingress(lane.ingress(slot, from));
            let port = lane.ways.way(slot).port();
            self.egress.push(&self.counters, port, frame, notes.note(slot));
        }
    }

    /// Sends one plain frame on its way.
    pub(super) fn pass(&mut self, from: PortId, slot: usize, mut frame: I::Frame) {
        #[cfg(test)]
        {
            self.work.lane.passed += 1;
        }
        let lane = &self.work.lane;
        lane.trim(slot, &mut frame);
        if lane.plain.is_routed {
            let head = frame.head_mut().first_chunk_mut();
            if let Some(head) = head {
                write_head(lane.ways.way(slot).ethernet(), lane.headers.counted[slot], head);
            }
        }
        frame.set_ingress(lane.ingress(slot, from));
        let port = lane.ways.way(slot).port();
        self.egress.push(&self.counters, port, frame, lane.notes(from).note(slot));
    }
}

impl Lane {
    /// Frames that are plain, one bit each.
    #[inline]
    pub(super) fn plain_slots(&self) -> Slots {
        self.plain.slots
    }

    /// Whether those are for the router.
    pub(super) fn is_routed(&self) -> bool {
        self.plain.is_routed
    }

    #[inline]
    fn task_of<'a>(&self, plan: &'a Plan) -> &'a Task {
        #[cfg(test)]
        if self.is_closed {
            return &Task::None;
        }
        &plan.task
    }

    /// Reads the heads of a burst, counts it, and answers which frames fit the pattern.
    #[inline]
    fn read<F: Frame>(&mut self, pattern: &Pattern, burst: &Burst<F>, at: &Arrival<'_>) -> Slots {
        let slots = F::read_heads(burst, pattern, &mut self.heads);
        let (bytes, longest) = columns::sum_and_largest(&self.heads.bytes, burst.len());
        (self.longest, self.sum) = (longest, bytes);
        arrive(at.record, at.counters, burst.len() as u64, bytes.into());
        slots
    }

    /// Ethernet padding is no part of the packet and must not grow into the next frame.
    #[inline]
    fn trim<F: Frame>(&self, slot: usize, frame: &mut F) {
        if self.plain.padded >> slot & 1 != 0 {
            frame.truncate(self.headers.bytes[slot] as usize);
        }
    }

    #[inline]
    fn ingress(&self, slot: usize, port: PortId) -> Ingress {
        Ingress { port, adapter: self.sender.unwrap_or(AdapterId(self.senders[slot])) }
    }

    /// Those of the slots that neither come from an adapter with limits nor go to one.
    #[inline(never)]
    fn unlimited(&self, limits: &LimitTable, port: PortId, slots: Slots) -> Slots {
        if self.sender.is_some_and(|sender| limits.is_limited(sender)) {
            return 0;
        }
        let mut unlimited = 0;
        let mut left = slots;
        while left != 0 {
            let slot = left.trailing_zeros() as usize % BURST_PKTS;
            left &= left - 1;
            let is_limited = limits.is_limited(self.ways.way(slot).adapter())
                || limits.is_limited(self.ingress(slot, port).adapter);
            unlimited |= Slots::from(!is_limited) << slot;
        }
        unlimited
    }

    /// Counts what guests sent by class, and notes in which class what goes to guests will be.
    #[inline(never)]
    fn account(&mut self, at: &Arrival<'_>, classes: &Ipv4Fib) {
        self.plain.is_classed = true;
        let mut left = self.plain.slots;
        while left != 0 {
            let slot = left.trailing_zeros() as usize % BURST_PKTS;
            left &= left - 1;
            // Of a bridged frame only the words are there, in the order of the wire.
            let words = &self.heads.words;
            let (source, destination, bytes) = match self.plain.is_routed {
                true => {
                    let Headers { sources, destinations, bytes, .. } = &self.headers;
                    (sources[slot], destinations[slot], bytes[slot])
                }
                false => {
                    let address = |word: usize| u32::from_be(words[word][slot]);
                    let bytes = self.heads.bytes[slot];
                    (address(WORD_SOURCE), address(WORD_DESTINATION), bytes)
                }
            };
            let sender = self.ingress(slot, at.record.id).adapter;
            account::sent_to(classes, at.counters, sender, destination, bytes);
            self.classes[slot] = account::class_of(classes, source);
        }
    }

    #[cold]
    fn account_no_more(&mut self) {
        self.plain.is_classed = false;
        self.classes = [ClassId::NONE; BURST_PKTS];
    }

    /// What its frames are counted by once they are sent.
    #[inline]
    fn notes(&self, from: PortId) -> Notes<'_> {
        let bytes = if self.plain.is_routed { &self.headers.bytes } else { &self.heads.bytes };
        // Without padding they are as long as they came in.
        let sum = (self.plain.padded == 0).then_some(self.sum);
        let (classes, is_classed) = (&self.classes, self.plain.is_classed);
        Notes { from, ways: &self.ways, bytes, sum, classes, is_classed }
    }
}
