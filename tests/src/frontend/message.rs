//! Messages of the vhost-user protocol as bytes and descriptors, right or forged.
//!
//! Nothing here checks anything: a header may lie about its payload, and a message may carry any
//! descriptors. Numbers and layouts are those of QEMU's "Vhost-user Protocol" document.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::io::{self, ErrorKind, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A descriptor that can go on several messages.
pub type Fd = Arc<OwnedFd>;

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 12;
/// Flag bits: the version, which is 1.
pub const VERSION: u32 = 1;
/// Flag bit: this is a reply.
pub const REPLY: u32 = 1 << 2;
/// Flag bit: the sender wants an acknowledgement (REPLY_ACK).
pub const NEED_REPLY: u32 = 1 << 3;
/// In the payload of kick, call and error messages: no descriptor comes with it.
pub const NO_FD: u64 = 1 << 8;
/// The most descriptors that the kernel lets one message carry (SCM_MAX_FD).
pub const MAX_FDS: usize = 253;
/// No payload of a reply is longer; a longer one is no reply.
const MAX_REPLY_BYTES: usize = 4_096;

/// What a message asks for.
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub mod request {
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const RESET_OWNER: u32 = 4;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_LOG_BASE: u32 = 6;
    pub const SET_LOG_FD: u32 = 7;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_VRING_ERR: u32 = 14;
    pub const GET_PROTOCOL_FEATURES: u32 = 15;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const GET_QUEUE_NUM: u32 = 17;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const SEND_RARP: u32 = 19;
    pub const NET_SET_MTU: u32 = 20;
    pub const SET_BACKEND_REQ_FD: u32 = 21;
    pub const IOTLB_MSG: u32 = 22;
    pub const SET_VRING_ENDIAN: u32 = 23;
    pub const GET_CONFIG: u32 = 24;
    pub const SET_CONFIG: u32 = 25;
    pub const CREATE_CRYPTO_SESSION: u32 = 26;
    pub const CLOSE_CRYPTO_SESSION: u32 = 27;
    pub const POSTCOPY_ADVISE: u32 = 28;
    pub const POSTCOPY_LISTEN: u32 = 29;
    pub const POSTCOPY_END: u32 = 30;
    pub const GET_INFLIGHT_FD: u32 = 31;
    pub const SET_INFLIGHT_FD: u32 = 32;
    pub const RESET_DEVICE: u32 = 34;
    pub const GET_MAX_MEM_SLOTS: u32 = 36;
    pub const ADD_MEM_REG: u32 = 37;
    pub const REM_MEM_REG: u32 = 38;
    pub const SET_STATUS: u32 = 39;
    pub const GET_STATUS: u32 = 40;
    /// One more than the last request that any revision of the protocol knows.
    pub const END: u32 = 45;
}

/// Device features, as bits (virtio 1.2, and the one bit that is vhost-user's own).
#[allow(missing_docs, reason = "the names are virtio's own")]
pub mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const GUEST_ECN: u64 = 1 << 9;
    pub const GUEST_UFO: u64 = 1 << 10;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const HOST_ECN: u64 = 1 << 13;
    pub const HOST_UFO: u64 = 1 << 14;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const MQ: u64 = 1 << 22;
    pub const LOG_ALL: u64 = 1 << 26;
    pub const INDIRECT_DESC: u64 = 1 << 28;
    pub const EVENT_IDX: u64 = 1 << 29;
    pub const PROTOCOL_FEATURES: u64 = 1 << 30;
    pub const VERSION_1: u64 = 1 << 32;
    pub const IOMMU_PLATFORM: u64 = 1 << 33;
    pub const RING_PACKED: u64 = 1 << 34;

    /// Checksums and segmentation left to the other side, both ways.
    pub const OFFLOADS: u64 = CSUM | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | HOST_TSO4 | HOST_TSO6;
}

/// Protocol features, as bits.
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub mod protocol {
    pub const MQ: u64 = 1 << 0;
    pub const LOG_SHMFD: u64 = 1 << 1;
    pub const RARP: u64 = 1 << 2;
    pub const REPLY_ACK: u64 = 1 << 3;
    pub const NET_MTU: u64 = 1 << 4;
    pub const BACKEND_REQ: u64 = 1 << 5;
    pub const PAGEFAULT: u64 = 1 << 8;
    pub const CONFIG: u64 = 1 << 9;
    pub const BACKEND_SEND_FD: u64 = 1 << 10;
    pub const HOST_NOTIFIER: u64 = 1 << 11;
    pub const INFLIGHT_SHMFD: u64 = 1 << 12;
    pub const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// See [`request`].
    pub request: u32,
    /// Version and flag bits.
    pub flags: u32,
    /// The payload's length as the header has it; None: the truth.
    pub claimed_bytes: Option<u32>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The descriptors that go with it.
    pub fds: Vec<Fd>,
}

impl Message {
    /// A message without a payload.
    pub fn bare(request: u32) -> Self {
        Self::with(request, Vec::new())
    }

    /// A message with any payload.
    pub fn with(request: u32, payload: Vec<u8>) -> Self {
        Self { request, flags: VERSION, claimed_bytes: None, payload, fds: Vec::new() }
    }

    /// A message whose payload is one number.
    pub fn number(request: u32, number: u64) -> Self {
        Self::with(request, number.to_le_bytes().to_vec())
    }

    /// A message about a queue: its index and one number.
    pub fn state(request: u32, index: u32, number: u32) -> Self {
        Self::with(request, [index.to_le_bytes(), number.to_le_bytes()].concat())
    }

    /// SET_VRING_ADDR, with addresses as the front-end's own process has them.
    pub fn ring_addresses(index: u32, flags: u32, desc: u64, used: u64, avail: u64) -> Self {
        let mut payload = [index.to_le_bytes(), flags.to_le_bytes()].concat();
        for address in [desc, used, avail, 0] {
            payload.extend_from_slice(&address.to_le_bytes());
        }
        Self::with(request::SET_VRING_ADDR, payload)
    }

    /// The same with a descriptor more.
    pub fn fd(mut self, fd: &Fd) -> Self {
        self.fds.push(Arc::clone(fd));
        self
    }

    /// The same with flag bits set.
    pub fn flag(mut self, bits: u32) -> Self {
        self.flags |= bits;
        self
    }

    /// Header and payload.
    pub fn bytes(&self) -> Vec<u8> {
        let true_bytes = u32::try_from(self.payload.len()).expect("a payload of less than 4 GB");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        for word in [self.request, self.flags, self.claimed_bytes.unwrap_or(true_bytes)] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// A region of SET_MEM_TABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// Where the guest has it.
    pub guest_address: u64,
    /// Its length.
    pub bytes: u64,
    /// Where the front-end's own process has it.
    pub user_address: u64,
    /// Where it begins in its file.
    pub file_offset: u64,
}

impl TableRow {
    /// Its 32 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [self.guest_address, self.bytes, self.user_address, self.file_offset]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }
}

/// SET_MEM_TABLE that says to have `count` regions.
pub fn memory_table(count: u32, rows: &[TableRow], fds: &[Fd]) -> Message {
    let mut payload = [count.to_le_bytes(), [0; 4]].concat();
    for row in rows {
        payload.extend_from_slice(&row.bytes());
    }
    let mut message = Message::with(request::SET_MEM_TABLE, payload);
    message.fds = fds.to_vec();
    message
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request that is answered.
    pub request: u32,
    /// Its flags.
    pub flags: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Reply {
    /// The payload's first eight bytes as a number.
    pub fn number(&self) -> io::Result<u64> {
        let bytes = self.payload.get(..8).and_then(|b| b.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or_else(|| wrong(format!("a short reply: {self:?}")))
    }
}

/// How a front-end gets its connection.
#[derive(Debug)]
pub enum Door {
    /// The back end listens.
    Connect(PathBuf),
    /// The back end connects, and connects again.
    Listen(UnixListener),
}

impl Door {
    /// Binds `path`, for a back end that connects.
    pub fn listen(path: &std::path::Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Listen(listener))
    }

    /// A new connection. It waits for one no longer than `patience`; a back end that does not listen
    /// yet is an error at once.
    pub fn open(&self, patience: Duration) -> io::Result<Channel> {
        let stream = match self {
            Self::Connect(path) => UnixStream::connect(path)?,
            Self::Listen(listener) => {
                wait_for(listener, PollFlags::POLLIN, patience)?;
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                stream
            }
        };
        Channel::new(stream, patience)
    }
}

/// A connection to a back end.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
}

impl Channel {
    fn new(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream })
    }

    /// Sends one message.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        self.send_bytes(&message.bytes(), &message.fds)
    }

    /// Sends bytes, with descriptors on the first of them.
    pub fn send_bytes(&self, bytes: &[u8], fds: &[Fd]) -> io::Result<()> {
        let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let mut at = 0;
        while at < bytes.len() {
            let control = if at == 0 { control } else { &[] };
            let iov = [IoSlice::new(&bytes[at..])];
            let fd = self.stream.as_raw_fd();
            at += sendmsg::<()>(fd, &iov, control, MsgFlags::MSG_NOSIGNAL, None)?;
        }
        Ok(())
    }

    /// The next reply. Descriptors that come with it are closed.
    pub fn reply(&self) -> io::Result<Reply> {
        let mut header = [0; HEADER_BYTES];
        (&self.stream).read_exact(&mut header)?;
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
        let length = usize::try_from(word(8)).expect("a 64-bit machine");
        if length > MAX_REPLY_BYTES {
            return Err(wrong(format!("a reply of {length} bytes")));
        }
        let mut payload = vec![0; length];
        (&self.stream).read_exact(&mut payload)?;
        Ok(Reply { request: word(0), flags: word(4), payload })
    }

    /// Sends a message and takes its reply.
    pub fn ask(&self, message: &Message) -> io::Result<Reply> {
        self.send(message)?;
        let reply = self.reply()?;
        if reply.request == message.request && reply.flags & REPLY != 0 {
            return Ok(reply);
        }
        Err(wrong(format!("request {} answered by {reply:?}", message.request)))
    }

    /// Sends a message, with an acknowledgement asked for where `acks` says that there are any; an
    /// error if it is refused.
    pub fn tell(&self, message: &Message, acks: bool) -> io::Result<()> {
        if !acks {
            return self.send(message);
        }
        match self.ask(&message.clone().flag(NEED_REPLY))?.number()? {
            0 => Ok(()),
            code => Err(wrong(format!("request {} refused with {code}", message.request))),
        }
    }

    /// Takes what replies there are and says whether the back end hangs up within `limit`.
    pub fn is_hung_up(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut bytes = [0; 4_096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match wait_for(&self.stream, PollFlags::POLLIN, left) {
                Ok(()) => match (&self.stream).read(&mut bytes) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(e) => return e.kind() != ErrorKind::WouldBlock,
                },
                Err(e) => return e.kind() != ErrorKind::TimedOut,
            }
        }
    }

    /// Whether the back end hangs up within `limit` although no reply is ever read.
    pub fn is_cut_off(&self, limit: Duration) -> bool {
        // Nothing is asked for: a hang-up is told always.
        wait_for(&self.stream, PollFlags::empty(), limit).is_ok()
    }

    /// The same connection with another limit for messages and replies.
    pub fn with_patience(self, patience: Duration) -> io::Result<Self> {
        Self::new(self.stream, patience)
    }
}

/// Waits until `fd` is ready; `TimedOut` if it is not within `limit`.
fn wait_for(fd: impl AsFd, flags: PollFlags, limit: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd.as_fd(), flags)], timeout)? {
        0 => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// The back end did what the protocol does not allow.
pub(crate) fn wrong(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let channel = |stream| Channel::new(stream, Duration::from_millis(50)).expect("a channel");
        (channel(ours), channel(theirs))
    }

    #[test]
    fn a_message_has_twelve_bytes_of_header_and_may_lie_about_the_rest() {
        let mut message = Message::state(request::SET_VRING_NUM, 1, 256);
        assert_eq!(message.bytes()[..12], [8, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0]);
        message.claimed_bytes = Some(7);
        assert_eq!(message.bytes()[8], 7);
        assert_eq!(Message::ring_addresses(0, 0, 1, 2, 3).payload.len(), 40);
    }

    #[test]
    fn a_reply_is_matched_with_its_request() {
        let (ours, theirs) = pair();
        let answer = |request, flags| {
            theirs.send(&Message::number(request, 42).flag(flags)).expect("sent");
            ours.ask(&Message::bare(request::GET_FEATURES))
        };
        assert_eq!(answer(1, REPLY).and_then(|r| r.number()).expect("a reply"), 42);
        assert!(answer(1, 0).is_err());
        assert!(answer(2, REPLY).is_err());
        assert_eq!(ours.reply().expect_err("none").kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_hang_up_is_seen_and_silence_is_none() {
        let (ours, theirs) = pair();
        assert!(!ours.is_hung_up(Duration::from_millis(5)));
        theirs.send(&Message::bare(1)).expect("sent");
        assert!(!ours.is_cut_off(Duration::from_millis(5)));
        drop(theirs);
        assert!(ours.is_cut_off(Duration::from_millis(50)));
        assert!(ours.is_hung_up(Duration::from_millis(50)));
    }
}
