//! A vhost-user front-end: what a VM monitor and the guest's driver are together, in one value.
//!
//! [`Frontend`] behaves well. It has no thread: whoever owns it sends and polls. Below it lies a raw
//! layer ([`message`], [`memory`], [`ring`], [`header`]) that checks nothing, so that [`hostile`] can
//! say anything on the socket and write anything in the rings.
//!
//! ```text
//! Door ── Channel ── messages          the socket: negotiate, share memory, describe rings
//! Memory ── Ring (receive, send) × N   the rings: headers, frames, indices
//! Driver                               one pair of them, for many frames a second
//! ```

pub use driver::Driver;
pub use header::NetHeader;
pub use memory::Memory;
pub use message::{Channel, Door, Message, feature, protocol, request};
pub use ring::Ring;

pub mod driver;
pub mod header;
pub mod hostile;
pub mod memory;
pub mod message;
pub mod ring;

use message::wrong;
use ring::BUFFER_BYTES;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a front-end wants. What the back end does not offer is left out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Queue pairs.
    pub pairs: u16,
    /// Descriptors of each queue: a power of two.
    pub ring_size: u16,
    /// Bytes behind each descriptor.
    pub buffer_bytes: u32,
    /// Bytes of each memory region. Rings are in the first, buffers in all.
    pub regions: Vec<u64>,
    /// Wanted features.
    pub features: u64,
    /// Wanted protocol features.
    pub protocol_features: u64,
    /// The MTU to tell, where that is negotiated.
    pub mtu: Option<u16>,
    /// How long a message or a reply may take.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pairs: 1,
            ring_size: 256,
            buffer_bytes: BUFFER_BYTES,
            regions: vec![4 << 20],
            features: feature::VERSION_1 | feature::MRG_RXBUF | feature::PROTOCOL_FEATURES,
            protocol_features: protocol::MQ | protocol::REPLY_ACK | protocol::NET_MTU,
            mtu: None,
            patience: Duration::from_secs(5),
        }
    }
}

impl Options {
    /// Several queue pairs.
    pub fn multiqueue(pairs: u16) -> Self {
        let options = Self::default();
        let features = options.features | feature::MQ;
        let regions = vec![(4 << 20) * u64::from(pairs)];
        Self { pairs, features, regions, ..options }
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Features.
    pub features: u64,
    /// Protocol features.
    pub protocol_features: u64,
}

impl Agreed {
    /// Asks what is offered and takes what is wanted of it; nothing is set yet.
    pub fn ask(channel: &Channel, options: &Options) -> io::Result<Self> {
        let number = |request| channel.ask(&Message::bare(request))?.number();
        let features = number(request::GET_FEATURES)? & options.features;
        let mut agreed = Self { features, protocol_features: 0 };
        if agreed.has(feature::PROTOCOL_FEATURES) {
            agreed.protocol_features =
                number(request::GET_PROTOCOL_FEATURES)? & options.protocol_features;
        }
        Ok(agreed)
    }

    /// Whether a feature is among them.
    pub fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Whether a protocol feature is among them.
    pub fn speaks(&self, feature: u64) -> bool {
        self.protocol_features & feature != 0
    }

    /// Bytes of the header before each frame.
    pub fn header_bytes(&self) -> usize {
        if self.has(feature::VERSION_1 | feature::MRG_RXBUF) { 12 } else { 10 }
    }
}

/// Memory with its rings, before anybody knows of it.
#[derive(Debug)]
pub struct Parts {
    /// The guest's memory.
    pub memory: Memory,
    /// Receive and send ring of each pair in turn.
    pub rings: Vec<Ring>,
}

impl Parts {
    /// Lays them out.
    pub fn new(options: &Options) -> io::Result<Self> {
        let mut memory = Memory::new(&options.regions)?;
        let count = usize::from(options.pairs) * 2;
        let mut rings = Vec::with_capacity(count);
        for index in 0..count {
            let region = index % memory.regions();
            let number = u32::try_from(index).expect("few queues");
            let size = (options.ring_size, options.buffer_bytes);
            rings.push(Ring::new(&mut memory, number, size, region)?);
        }
        Ok(Self { memory, rings })
    }

    /// Every message of a right set-up after the negotiation, in order.
    pub fn plan(&self, agreed: &Agreed, options: &Options) -> Vec<Message> {
        let mut plan = Vec::new();
        if agreed.has(feature::PROTOCOL_FEATURES) {
            let bits = agreed.protocol_features;
            plan.push(Message::number(request::SET_PROTOCOL_FEATURES, bits));
        }
        plan.push(Message::bare(request::SET_OWNER));
        if let Some(mtu) = options.mtu.filter(|_| agreed.speaks(protocol::NET_MTU)) {
            plan.push(Message::number(request::NET_SET_MTU, u64::from(mtu)));
        }
        plan.push(Message::number(request::SET_FEATURES, agreed.features));
        plan.push(self.memory.message());
        plan.extend(self.rings.iter().flat_map(Ring::messages));
        if agreed.has(feature::PROTOCOL_FEATURES) {
            let enable = |ring: &Ring| Message::state(request::SET_VRING_ENABLE, ring.index, 1);
            plan.extend(self.rings.iter().map(enable));
        }
        plan
    }
}

/// A frame that the back end gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What it said about it.
    pub header: NetHeader,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A front-end that behaves well.
#[derive(Debug)]
pub struct Frontend {
    /// The socket.
    pub channel: Channel,
    /// What was agreed.
    pub agreed: Agreed,
    /// Memory and rings.
    pub parts: Parts,
}

impl Frontend {
    /// Connects to a back end that listens on `path` and sets everything up.
    pub fn connect(path: &Path, options: &Options) -> io::Result<Self> {
        Self::open(&Door::Connect(path.to_owned()), options)
    }

    /// As [`Frontend::connect`], trying again until `limit` has passed.
    pub fn connect_within(path: &Path, options: &Options, limit: Duration) -> io::Result<Self> {
        let end = Instant::now() + limit;
        loop {
            match Self::connect(path, options) {
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                result => return result,
            }
        }
    }

    /// By any door.
    pub fn open(door: &Door, options: &Options) -> io::Result<Self> {
        Self::set_up(door.open(options.patience)?, options)
    }

    /// Sets everything up on a connection, and offers receive buffers.
    pub fn set_up(channel: Channel, options: &Options) -> io::Result<Self> {
        let agreed = Agreed::ask(&channel, options)?;
        if options.pairs > 1 {
            let most = channel.ask(&Message::bare(request::GET_QUEUE_NUM))?.number()?;
            if u64::from(options.pairs) > most || !agreed.has(feature::MQ) {
                return Err(wrong(format!("{} pairs wanted, {most} offered", options.pairs)));
            }
        }
        let parts = Parts::new(options)?;
        let mut acks = false;
        for message in parts.plan(&agreed, options) {
            channel.tell(&message, acks)?;
            acks |= message.request == request::SET_PROTOCOL_FEATURES
                && agreed.speaks(protocol::REPLY_ACK);
        }
        let mut frontend = Self { channel, agreed, parts };
        frontend.fill()?;
        Ok(frontend)
    }

    fn fill(&mut self) -> io::Result<()> {
        let Parts { memory, rings } = &mut self.parts;
        rings.iter_mut().step_by(2).try_for_each(|ring| ring.fill(memory))
    }

    /// The ring that a pair sends on, and the memory it is in.
    pub fn sender(&mut self, pair: usize) -> (&mut Ring, &mut Memory) {
        (&mut self.parts.rings[2 * pair + 1], &mut self.parts.memory)
    }

    /// The ring that a pair receives on, and the memory it is in.
    pub fn receiver(&mut self, pair: usize) -> (&mut Ring, &mut Memory) {
        (&mut self.parts.rings[2 * pair], &mut self.parts.memory)
    }

    /// Sends a frame; false if the ring is full.
    pub fn send(&mut self, pair: usize, header: &NetHeader, frame: &[u8]) -> io::Result<bool> {
        let header = header.bytes(self.agreed.header_bytes());
        let (ring, memory) = self.sender(pair);
        while ring.take_used(memory)?.is_some() {}
        ring.send(memory, &[header, frame.to_vec()].concat())
    }

    /// Waits until the back end has given every sent chain back; false if it has not within `limit`.
    pub fn is_sent_within(&mut self, pair: usize, limit: Duration) -> io::Result<bool> {
        let end = Instant::now() + limit;
        let (ring, memory) = self.sender(pair);
        loop {
            while ring.take_used(memory)?.is_some() {}
            if ring.free() == usize::from(ring.size) {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The next frame, if there is one; its buffers are offered again.
    pub fn receive(&mut self, pair: usize) -> io::Result<Option<Received>> {
        let length = self.agreed.header_bytes();
        let is_mergeable = self.agreed.has(feature::MRG_RXBUF);
        let (ring, memory) = self.receiver(pair);
        let Some(first) = take_buffer(ring, memory)? else { return Ok(None) };
        let header = NetHeader::read(&first, length);
        let header = header.ok_or_else(|| wrong(format!("{} bytes received", first.len())))?;
        let mut frame = first[length..].to_vec();
        let more = if is_mergeable { header.buffers.saturating_sub(1) } else { 0 };
        for number in 0..more {
            // They are given back together, so the others are there once the first is.
            let next = take_buffer(ring, memory)?;
            let next = next.ok_or_else(|| wrong(format!("only {} of {header:?}", number + 1)))?;
            frame.extend_from_slice(&next);
        }
        ring.fill(memory)?;
        Ok(Some(Received { header, frame }))
    }

    /// The first frame within `limit` that `wanted` accepts, on whichever pair it comes; others are
    /// dropped.
    pub fn receive_within(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Received) -> bool,
    ) -> io::Result<Option<Received>> {
        let end = Instant::now() + limit;
        loop {
            for pair in 0..self.parts.rings.len() / 2 {
                while let Some(received) = self.receive(pair)? {
                    if wanted(&received) {
                        return Ok(Some(received));
                    }
                }
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Whether the back end hangs up within `limit`.
    pub fn is_hung_up(&self, limit: Duration) -> bool {
        self.channel.is_hung_up(limit)
    }

    /// Stops every ring, as a guest that shuts down does, and leaves.
    pub fn stop(self) -> io::Result<()> {
        for ring in &self.parts.rings {
            self.channel.ask(&Message::state(request::GET_VRING_BASE, ring.index, 0))?;
        }
        Ok(())
    }
}

/// The bytes of the next receive buffer that came back.
fn take_buffer(ring: &mut Ring, memory: &Memory) -> io::Result<Option<Vec<u8>>> {
    let Some((head, bytes)) = ring.take_used(memory)? else { return Ok(None) };
    if bytes > ring.buffer_bytes {
        return Err(wrong(format!("{bytes} bytes in a buffer of {}", ring.buffer_bytes)));
    }
    memory.read(ring.buffer(head), bytes as usize).map(Some)
}
