//! The thread of one vhost-user port: between its front-end and the vhost library.
//!
//! It makes the socket (or connects to the VM monitor's), and passes each message on to the library
//! when it is whole and has been checked, with the workers kept out of the device for as long as the
//! library works on it. So
//!
//! * a front-end that stops in the middle of a message, sends nonsense or does not read its answers
//!   holds up its own thread and nobody else: the library's one event thread sees whole messages only,
//!   and its answers are always read;
//! * no worker ever waits for a lock that the library holds while it works on a message;
//! * what a front-end may negotiate is decided here, the same at every connection.
//!
//! One message is in the library at a time, whichever guest's it is ([`TURN`]): its event thread could
//! not do more, and a fault in memory can be told whose it is.
//!
//! Every outcome that changes the device is asked for (REPLY_ACK, whether the front-end negotiated it
//! or not), and a second question that changes nothing follows: when that is answered, all that the
//! first brought about is done, callbacks included. A failure ends the connection, since the library
//! may have let go of half of what it had.

use super::fault;
use super::library::{self, Connection};
use super::link::{Gate, Link};
use super::message::{self, HEADER_BYTES, Message, Rings, Rule};
use super::socket::{self, Ready};
use crate::dpdk::eal::Eal;
use nix::poll::PollFlags;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two attempts to reach a VM monitor that listens, milliseconds.
const RECONNECT_MS: u16 = 200;
/// How long the library may take for one message, milliseconds.
const LIBRARY_MS: u16 = 10_000;
/// How long a front-end may take for the rest of a message that it has begun, or to take an answer,
/// milliseconds.
const STALL_MS: u16 = 2_000;

static TURN: Mutex<()> = Mutex::new(());

/// Where front-ends come from.
pub(super) enum Meeting {
    /// We listen; they connect.
    Listen(UnixListener),
    /// They listen; we connect, and connect again.
    Connect(PathBuf),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    /// The front-end closed it.
    #[error("front-end gone")]
    Gone,
    /// The port closes.
    #[error("port closed")]
    Stopped,
    /// It keeps its place and says nothing, and somebody else wants it.
    #[error("replaced by another front-end before its device was ready")]
    Replaced,
    /// Half a message.
    #[error("it stopped in the middle of a message")]
    Stalled,
    /// An answer that nobody takes.
    #[error("it does not read its answers")]
    Deaf,
    /// It shares an eventfd with us that made a worker wait.
    #[error("the event by which it is called is full and blocks")]
    Blocks,
    /// What it sent was refused.
    #[error("{0}")]
    Refused(#[from] message::Refused),
    /// A descriptor that is not what it has to be.
    #[error("its memory region {number} {why}")]
    Memory { number: usize, why: &'static str },
    /// A dirty log that can't be one.
    #[error("its dirty log {0}")]
    Log(&'static str),
    /// An event that is none.
    #[error("the descriptor of its {name} {why}")]
    Event { name: &'static str, why: &'static str },
    /// More descriptors than any message has.
    #[error("it sent more than {} file descriptors at once", message::REGIONS_MAX)]
    TooManyDescriptors,
    /// Features that were not on offer.
    #[error("it wants features {0:#x}, which were not offered")]
    Features(u64),
    /// The library did not like it.
    #[error("the vhost library refuses its {0}")]
    Library(&'static str),
    /// The library says nothing.
    #[error("the vhost library does not answer its {0}")]
    Silent(&'static str),
    /// Pages of its memory went away.
    #[error("it has truncated its memory")]
    Truncated,
    /// A system call.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl End {
    /// Whether the front-end brought it about by what it did.
    fn is_reset(&self) -> bool {
        !matches!(self, End::Gone | End::Stopped | End::System(_))
    }
}

/// Serves front-ends, one after another, until told to stop.
pub(super) fn run(started: Eal, meeting: &Meeting, link: &Arc<Link>) {
    while !link.should_stop() {
        let front = match meeting.next(link) {
            Ok(Some(front)) => front,
            Ok(None) => continue,
            Err(error) => {
                link.tell(error.to_string());
                // The reason may pass, and must not keep a core busy.
                let (flags, limit) = (PollFlags::empty(), Some(RECONNECT_MS));
                let _ = socket::wait(None, flags, &link.wake, None, limit);
                continue;
            }
        };
        link.connects.fetch_add(1, Ordering::Relaxed);
        let Err(end) = Session::begin(started, front, link, meeting).and_then(Session::serve);
        if end.is_reset() {
            link.resets.fetch_add(1, Ordering::Relaxed);
            link.tell(format!("guest reset: {end}"));
        } else if let End::System(error) = end {
            link.tell(format!("connection lost: {error}"));
        }
    }
}

impl Meeting {
    /// The next front-end; `None` where there is none yet.
    fn next(&self, link: &Link) -> io::Result<Option<UnixStream>> {
        match self {
            Meeting::Listen(listener) => {
                let none = PollFlags::empty();
                if socket::wait(None, none, &link.wake, Some(listener), None)? != Ready::Door {
                    return Ok(None);
                }
                match listener.accept() {
                    Ok((front, _)) => front.set_nonblocking(true).map(|()| Some(front)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                    Err(error) => Err(error),
                }
            }
            // A VM monitor that isn't there yet is no error: it is tried again.
            Meeting::Connect(path) => match socket::connect(path) {
                Ok(front) => Ok(Some(front)),
                Err(_) => {
                    let (flags, limit) = (PollFlags::empty(), Some(RECONNECT_MS));
                    socket::wait(None, flags, &link.wake, None, limit)?;
                    Ok(None)
                }
            },
        }
    }
}

/// One front-end's connection.
struct Session<'a> {
    front: UnixStream,
    back: Connection,
    link: &'a Arc<Link>,
    /// Where the next front-end may be waiting.
    door: Option<&'a UnixListener>,
    rings: Rings,
    /// Virtio features on offer.
    offered: u64,
    offered_protocol: u64,
    /// The library has the front-end's memory.
    has_memory: bool,
    /// The front-end has negotiated outcomes.
    has_outcomes: bool,
}

impl<'a> Session<'a> {
    fn begin(
        started: Eal,
        front: UnixStream,
        link: &'a Arc<Link>,
        meeting: &'a Meeting,
    ) -> Result<Self, End> {
        let door = match meeting {
            Meeting::Listen(listener) => Some(listener),
            Meeting::Connect(_) => None,
        };
        Ok(Self {
            front,
            back: Connection::open(started, link)?,
            link,
            door,
            rings: Rings::new(link.pairs * 2),
            offered: super::FEATURES,
            offered_protocol: message::PROTOCOL_FEATURES,
            has_memory: false,
            has_outcomes: false,
        })
    }

    fn serve(mut self) -> Result<std::convert::Infallible, End> {
        loop {
            let (rule, message, descriptors) = self.receive()?;
            let answer = self.pass_on(rule, message, descriptors)?;
            if let Some(answer) = answer {
                self.send_front(&answer)?;
            }
        }
    }

    /// The next whole, checked message of the front-end.
    fn receive(&mut self) -> Result<(Rule, Message, Vec<OwnedFd>), End> {
        let mut header = [0; HEADER_BYTES];
        let (mut have, descriptors) = loop {
            match socket::receive_header(&self.front, &mut header) {
                Ok((0, _)) => return Err(End::Gone),
                Ok(received) => break received,
                Err(error) if is_not_yet(&error) => self.wait_front()?,
                Err(error) => return Err(gone_or(error)),
            }
        };
        if descriptors.len() > message::REGIONS_MAX {
            return Err(End::TooManyDescriptors);
        }
        while have < HEADER_BYTES {
            have += self.read_front(&mut header[have..])?;
        }
        let (request, flags, bytes) = Message::parse_header(header);
        let rule = message::check_header(request, flags, bytes)?;
        let mut payload = vec![0; bytes];
        let mut have = 0;
        while have < bytes {
            have += self.read_front(&mut payload[have..])?;
        }
        let message = Message { request, flags, payload };
        message::check(rule, &message, descriptors.len(), self.link.pairs * 2)?;
        self.rings.follow(&message, self.link.features.load(Ordering::Relaxed))?;
        Ok((rule, message, descriptors))
    }

    fn read_front(&mut self, into: &mut [u8]) -> Result<usize, End> {
        loop {
            match socket::read_some(&self.front, into) {
                Ok(0) => return Err(End::Gone),
                Ok(count) => return Ok(count),
                Err(error) if is_not_yet(&error) => {
                    self.wait_within(PollFlags::POLLIN, End::Stalled)?;
                }
                Err(error) => return Err(gone_or(error)),
            }
        }
    }

    /// Waits for the front-end's next message for as long as it takes. Somebody who knocks meanwhile
    /// gets its place, unless its device works.
    fn wait_front(&self) -> Result<(), End> {
        loop {
            let door = self.door.filter(|_| self.link.gate() == Gate::Down);
            let front = Some(self.front.as_fd());
            let ready = socket::wait(front, PollFlags::POLLIN, &self.link.wake, door, None)?;
            self.look_up()?;
            match ready {
                Ready::Socket => return Ok(()),
                Ready::Door => return Err(End::Replaced),
                Ready::Woken | Ready::TimedOut => {}
            }
        }
    }

    /// Waits for a front-end that owes us something, and not for long.
    fn wait_within(&self, events: PollFlags, otherwise: End) -> Result<(), End> {
        let until = Instant::now() + Duration::from_millis(STALL_MS.into());
        loop {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            let left = u16::try_from(left).unwrap_or(STALL_MS);
            let front = Some(self.front.as_fd());
            let ready = socket::wait(front, events, &self.link.wake, None, Some(left))?;
            self.look_up()?;
            match ready {
                Ready::Socket => return Ok(()),
                Ready::TimedOut => return Err(otherwise),
                Ready::Woken | Ready::Door => {}
            }
        }
    }

    /// Why somebody may have woken us.
    fn look_up(&self) -> Result<(), End> {
        if self.link.should_stop() {
            return Err(End::Stopped);
        }
        if fault::has_faulted(self.link.vid.load(Ordering::Acquire)) {
            return Err(End::Truncated);
        }
        if self.link.blocks.swap(false, Ordering::AcqRel) {
            return Err(End::Blocks);
        }
        Ok(())
    }

    fn send_front(&mut self, message: &Message) -> Result<(), End> {
        let bytes = message.to_bytes();
        let mut sent = 0;
        while sent < bytes.len() {
            match socket::send(&self.front, &bytes[sent..], &[]) {
                Ok(count) => sent += count,
                Err(error) if is_not_yet(&error) => {
                    self.wait_within(PollFlags::POLLOUT, End::Deaf)?;
                }
                Err(error) => return Err(gone_or(error)),
            }
        }
        Ok(())
    }

    /// Has the library work on a message; what is to be answered.
    fn pass_on(
        &mut self,
        rule: Rule,
        mut message: Message,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Message>, End> {
        self.check_meaning(rule, &message, &descriptors)?;
        let wants_outcome = message.wants_outcome() && self.has_outcomes && !rule.is_answered;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let vid = self.link.vid.load(Ordering::Acquire);
        fault::set_current(vid);
        if rule.pauses {
            self.link.pause();
        }
        let answered = self.ask_library(rule, &mut message, &descriptors);
        match message.request {
            message::SET_MEM_TABLE => self.has_memory = answered.is_ok(),
            message::RESET_OWNER => self.has_memory = false,
            _ => {}
        }
        if matches!(message.request, message::SET_MEM_TABLE | message::SET_LOG_BASE) {
            fault::refresh(vid, self.has_memory);
        }
        fault::set_current(-1);
        drop(turn);
        let mut answer = answered?;
        self.look_up()?;
        if rule.pauses && self.link.is_running() {
            library::settle(self.link);
            self.check_mtu(message.request);
            self.link.open(vid);
        } else if rule.pauses && self.link.gate() != Gate::Down {
            self.link.shut();
        }
        match message.request {
            message::GET_FEATURES => {
                answer = Message::reply(message.request, answer.number() & self.offered)
            }
            message::GET_PROTOCOL_FEATURES => {
                answer = Message::reply(message.request, answer.number() & self.offered_protocol);
            }
            message::GET_QUEUE_NUM => {
                answer = Message::reply(message.request, self.link.pairs.into());
            }
            message::SEND_RARP => self.link.has_moved.store(true, Ordering::Release),
            message::SET_PROTOCOL_FEATURES => {
                self.has_outcomes = message.number() & message::PROTOCOL_F_REPLY_ACK != 0;
            }
            _ => {}
        }
        Ok((rule.is_answered || wants_outcome).then_some(answer))
    }

    /// The message, its outcome, and a second question, by whose answer everything is done.
    fn ask_library(
        &mut self,
        rule: Rule,
        message: &mut Message,
        descriptors: &[OwnedFd],
    ) -> Result<Message, End> {
        if !rule.is_answered {
            message.flags |= message::FLAG_NEED_REPLY;
        } else {
            message.flags &= !message::FLAG_NEED_REPLY;
        }
        let answer = self.exchange(rule.name, message, descriptors)?;
        if !rule.is_answered && answer.number() != 0 {
            return Err(End::Library(rule.name));
        }
        if rule.pauses {
            self.exchange(rule.name, &Message::ask(message::GET_FEATURES), &[])?;
        }
        Ok(answer)
    }

    fn exchange(
        &self,
        name: &'static str,
        message: &Message,
        descriptors: &[OwnedFd],
    ) -> Result<Message, End> {
        let back = self.back.socket()?;
        let bytes = message.to_bytes();
        // Both ends are ours and nothing is under way, so that it fits.
        if socket::send(back, &bytes, descriptors).map_err(|_| End::Library(name))? != bytes.len() {
            return Err(End::Silent(name));
        }
        let mut header = [0; HEADER_BYTES];
        self.read_library(name, &mut header)?;
        let (_, _, bytes) = Message::parse_header(header);
        let mut payload = vec![0; bytes.min(message::PAYLOAD_BYTES_MAX)];
        self.read_library(name, &mut payload)?;
        Ok(socket::parse(&header, payload))
    }

    fn read_library(&self, name: &'static str, into: &mut [u8]) -> Result<(), End> {
        let back = self.back.socket()?;
        let mut have = 0;
        while have < into.len() {
            match socket::read_some(back, &mut into[have..]) {
                // The library ends the connection when a message fails.
                Ok(0) => return Err(End::Library(name)),
                Ok(count) => have += count,
                Err(error) if is_not_yet(&error) => {
                    let (fd, wake) = (Some(back.as_fd()), &self.link.wake);
                    match socket::wait(fd, PollFlags::POLLIN, wake, None, Some(LIBRARY_MS))? {
                        // Looked at once the library has finished.
                        Ready::Socket | Ready::Woken | Ready::Door => {}
                        Ready::TimedOut => return Err(End::Silent(name)),
                    }
                }
                Err(_) => return Err(End::Library(name)),
            }
        }
        Ok(())
    }

    /// What can be said of a well-formed message only by looking at what it brings.
    fn check_meaning(
        &self,
        rule: Rule,
        message: &Message,
        descriptors: &[OwnedFd],
    ) -> Result<(), End> {
        match message.request {
            message::SET_VRING_KICK | message::SET_VRING_CALL | message::SET_VRING_ERR => {
                let name = rule.name;
                descriptors
                    .iter()
                    .try_for_each(socket::check_event)
                    .map_err(|why| End::Event { name, why })?;
                let ring = usize::from(message.payload.first().copied().unwrap_or(0));
                let event = || descriptors.first().and_then(|event| event.try_clone().ok());
                match message.request {
                    message::SET_VRING_CALL => self.link.set_call(ring, event()),
                    message::SET_VRING_KICK => self.link.set_kick(ring, event()),
                    _ => {}
                }
                Ok(())
            }
            message::SET_FEATURES if message.number() & !self.offered != 0 => {
                Err(End::Features(message.number() & !self.offered))
            }
            message::SET_PROTOCOL_FEATURES if message.number() & !self.offered_protocol != 0 => {
                Err(End::Features(message.number() & !self.offered_protocol))
            }
            message::SET_MEM_TABLE => {
                for (number, (region, file)) in
                    message.regions().iter().zip(descriptors).enumerate()
                {
                    let needs = region.file_offset.saturating_add(region.bytes);
                    socket::check_memory_file(file, needs)
                        .map_err(|why| End::Memory { number, why })?;
                }
                Ok(())
            }
            message::SET_LOG_BASE => {
                let (bytes, offset) = message.log();
                // The library adds the offset to where it has mapped the file from there on, and
                // would write behind the mapping. Nobody uses one.
                if offset != 0 || bytes == 0 {
                    return Err(End::Log("is empty or begins inside its file"));
                }
                let file = descriptors.first().ok_or(End::Library("SET_LOG_BASE"))?;
                socket::check_memory_file(file, bytes).map_err(End::Log)
            }
            _ => Ok(()),
        }
    }

    /// The front-end's MTU is the guest's; a larger one than the adapter's means lost packets.
    fn check_mtu(&self, request: u32) {
        let told = self.link.front_end_mtu.load(Ordering::Relaxed);
        let ours = self.link.mtu.load(Ordering::Relaxed);
        if request == message::NET_SET_MTU && told > ours {
            self.link.tell(format!(
                "the front-end says an MTU of {told} (host_mtu), the adapter's is {ours}: longer \
                 packets will not pass"
            ));
        }
    }
}

/// Nothing there yet, or no room yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn gone_or(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Gone,
        _ => End::System(error),
    }
}
