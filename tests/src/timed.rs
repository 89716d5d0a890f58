//! Two guests that tell the time: one sends at a steady pace, the other sends each frame back, and both
//! read from it when it set out.
//!
//! One thread is both guests, so there is one clock. Of a frame nothing but its time changes from one to the
//! next ([`Driver`]). That leaves the guests fast enough to load a back end whose frames take 300 ns.

use crate::frontend::{Driver, Frontend, NetHeader, Options};
use crate::pair::Switch;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use vm_memory::Bytes;

/// Where in a frame the time is: in a UDP datagram's payload, and aligned behind the header of 12 bytes.
const STAMP_AT: usize = 44;
/// Bytes before a frame in its buffer.
const HEADER_BYTES: usize = 12;
/// In a time's upper bits: the frame is one of these guests'.
const MARK: u64 = 0x7153 << 48;
/// The other bits: nanoseconds, for three days.
const TIME: u64 = (1 << 48) - 1;
/// Frames that are sent at once, at most.
const BURST: u64 = 32;
/// A guest that did not look for so long was kept from its core: what arrived meanwhile is not timed, and
/// what was to be sent is sent later.
const AWAY: Duration = Duration::from_micros(20);
/// How long the last frames may be under way.
const DRAIN: Duration = Duration::from_millis(3);
/// Until a back end listens, and until it passes a frame.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Frames that are compared in each direction.
const COMPARED: usize = 16;

/// What was timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the sender's ring to the receiver's: the time inside.
    Through,
    /// There and back.
    Round,
}

/// Writes a frame, which leaves with the next publish.
fn write(driver: &mut Driver<'_>, stamp: u64) -> io::Result<()> {
    let at = driver.next() + HEADER_BYTES + STAMP_AT;
    driver.push();
    driver.memory().store(stamp, at, Ordering::Relaxed).map_err(io::Error::other)
}

/// The times of what was received since the last call.
fn receive(driver: &mut Driver<'_>, stamps: &mut Vec<u64>) -> io::Result<()> {
    stamps.clear();
    let count = driver.arrived()?;
    if count == 0 {
        return Ok(());
    }
    for number in 0..count {
        let (buffer, _) = driver.arrival(number)?;
        let at = buffer + HEADER_BYTES + STAMP_AT;
        let stamp: u64 = driver.memory().load(at, Ordering::Relaxed).map_err(io::Error::other)?;
        if stamp & !TIME == MARK {
            stamps.push(stamp);
        }
    }
    driver.give_back(count)
}

/// What came of an offer.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Frames that the first guest had to send.
    pub offered: u64,
    /// Those that came back to it.
    pub returned: u64,
    /// How long the guests were kept from their core.
    pub away: Duration,
}

/// Two connected guests.
#[derive(Debug)]
pub struct Timed<'a> {
    drivers: [Driver<'a>; 2],
    clock: Instant,
    /// Buffers of a burst's times.
    stamps: Vec<u64>,
}

/// Connects both guests to a switch's sockets.
pub fn connect(sockets: &[PathBuf; 2]) -> io::Result<[Frontend; 2]> {
    let open =
        |socket: &PathBuf| Frontend::connect_within(socket, &Options::default(), CONNECT_LIMIT);
    Ok([open(&sockets[0])?, open(&sockets[1])?])
}

/// Whether frames of `bytes` come out as they have to, both ways. Connections of its own: afterwards
/// nobody knows where rings are.
pub fn check(switch: &Switch, sockets: &[PathBuf; 2], bytes: usize) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    let mut guests = connect(sockets).map_err(said)?;
    for sender in 0..2 {
        let (frames, wanted) = switch.frames(sender, bytes);
        for (frame, wanted) in frames.iter().zip(&wanted).take(COMPARED) {
            guests[sender].send(0, &NetHeader::default(), frame).map_err(said)?;
            let came = guests[1 - sender]
                .receive_within(CONNECT_LIMIT, |it| it.frame[12..14] == frame[12..14])
                .map_err(said)?
                .ok_or("a frame did not come")?;
            if came.frame != *wanted {
                return Err(format!("wanted {wanted:02x?}, came {:02x?}", came.frame));
            }
        }
    }
    Ok(())
}

impl<'a> Timed<'a> {
    /// Takes both over; each will send its frame.
    pub fn new(guests: &'a [Frontend; 2], frames: [&[u8]; 2]) -> io::Result<Self> {
        let bytes = frames.map(|it| [&NetHeader::default().bytes(HEADER_BYTES), it].concat());
        let first = Driver::new(&guests[0], &bytes[0])?;
        let drivers = [first, Driver::new(&guests[1], &bytes[1])?];
        Ok(Self { drivers, clock: Instant::now(), stamps: Vec::new() })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(0) & TIME
    }

    /// Sends `rate_pps` for `span` and answers all of it. What arrives is told with its nanoseconds.
    pub fn offer(
        &mut self,
        rate_pps: f64,
        span: Duration,
        mut heard: impl FnMut(Way, u64),
    ) -> io::Result<Outcome> {
        let away_ns = u64::try_from(AWAY.as_nanos()).unwrap_or(0);
        let drain_ns = u64::try_from(DRAIN.as_nanos()).unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let due_after = |ns: u64| (ns as f64 * rate_pps / 1e9) as u64;
        let total = due_after(u64::try_from(span.as_nanos()).unwrap_or(0));
        let mut stamps = std::mem::take(&mut self.stamps);
        let (mut offered, mut returned, mut sent) = (0, 0, 0);
        let begin = self.now();
        let (mut last, mut away) = (begin, 0);
        let mut end = None;
        loop {
            let now = self.now();
            let is_awake = now - last < away_ns;
            away += if is_awake { 0 } else { now - last };
            last = now;
            let due = due_after(now - begin - away).min(total);
            let step = (due - offered).min(BURST);
            if step > 0 {
                let fitting = step.min(u64::from(self.drivers[0].room()?));
                for _ in 0..fitting {
                    write(&mut self.drivers[0], MARK | now)?;
                }
                self.drivers[0].publish()?;
                // What does not fit is lost, as a guest loses it.
                offered += step;
                sent += fitting;
            }
            receive(&mut self.drivers[1], &mut stamps)?;
            if !stamps.is_empty() {
                let now = self.now();
                let is_timed = is_awake && now - last < away_ns;
                let room = usize::from(self.drivers[1].room()?);
                for (number, stamp) in stamps.iter().enumerate() {
                    if *stamp & TIME < begin {
                        continue;
                    }
                    if is_timed {
                        heard(Way::Through, now - (*stamp & TIME));
                    }
                    if number < room {
                        write(&mut self.drivers[1], *stamp)?;
                    }
                }
                self.drivers[1].publish()?;
            }
            receive(&mut self.drivers[0], &mut stamps)?;
            if !stamps.is_empty() {
                let now = self.now();
                let is_timed = is_awake && now - last < away_ns;
                for stamp in stamps.iter().map(|stamp| stamp & TIME).filter(|it| *it >= begin) {
                    returned += 1;
                    if is_timed {
                        heard(Way::Round, now - stamp);
                    }
                }
            }
            if offered == total {
                let end = *end.get_or_insert(now + drain_ns);
                if returned == sent || now > end {
                    break;
                }
            }
        }
        self.stamps = stamps;
        Ok(Outcome { offered, returned, away: Duration::from_nanos(away) })
    }
}
