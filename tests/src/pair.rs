//! Contests between two guests on vhost-user sockets: the appliance and its peers pass the same frames from
//! each guest to the other on the worker's core, by turns.
//!
//! Each contestant, a [`Switch`], has guests of its own on the other core, and stops together with them. In
//! a [`Stream`] both have Linux's own stack and one sends the other TCP. In a [`Pair`] both are one testpmd. It feeds each guest's virtio-user port out of a capture that plays for
//! ever and drops, counted, what the guest receives; so a turn tells what has arrived, both ways together.

use crate::contest::{Contender, Entry, Figure, ROUNDS, SPAN, Started, WARM_UP};
use crate::frames::{IPV4, Mac, UDP, ethernet, ipv4, udp};
use crate::lab::Lab;
use crate::record::Record;
use crate::replay;
use std::collections::HashSet;
use std::path::PathBuf;

pub use stream::{STREAMED, Stream};
pub use switch::{Mode, Segments, Switch};
pub use testpmd::Guests;

mod stream;
mod switch;
mod testpmd;

/// The guests' MACs.
pub const MACS: [Mac; 2] = [[2, 0, 0, 0, 9, 1], [2, 0, 0, 0, 9, 2]];
/// Their addresses.
pub const IPS: [&str; 2] = ["10.9.0.1", "10.9.0.2"];
/// What is measured.
pub const DELIVERED: Figure = Figure { metric: "delivered", unit: "Mpps", rounds: ROUNDS };

/// Bytes of an FCS, which no capture holds.
const FCS_BYTES: usize = 4;
/// Bytes of all headers of a frame.
const HEADER_BYTES: usize = 42;
/// Frames of a capture. Rings and bursts are powers of two: were this one too, a contestant that drops by
/// bursts might drop the same frames each time.
const CAPTURE_FRAMES: u32 = 251;

/// A switch with its guests.
#[derive(Debug)]
pub struct Pair {
    // Guests leave before the one they are connected to.
    guests: Guests,
    switch: Switch,
}

impl Pair {
    /// Checks what the switch makes of each guest's frames, of `bytes` each with their FCS, and starts
    /// guests that do nothing but count.
    pub fn start(
        lab: &Lab,
        name: &str,
        sockets: &[PathBuf; 2],
        switch: Switch,
        bytes: usize,
    ) -> Started<Self> {
        let frames = [0, 1].map(|number| switch.frames(number, bytes));
        let captures = [0, 1].map(|number| lab.dir().join(format!("{name}{number}.pcap")));
        for (path, (frames, _)) in captures.iter().zip(&frames) {
            replay::write(path, frames).map_err(|error| error.to_string())?;
        }
        let start = |records| Guests::start(lab, name, sockets, switch.role, &captures, records);
        let records =
            [0, 1].map(|number| Record::new(&lab.dir().join(format!("record{number}.pcap"))));
        let guests = match start(Some(&records)) {
            Ok(guests) => guests,
            Err(why) => return Ok(Err(why)),
        };
        let filled = [0, 1].map(|sender: usize| records[1 - sender].fill(&frames[sender].1));
        guests.pause();
        for (sender, filled) in filled.into_iter().enumerate() {
            filled
                .and_then(|()| is_delivered(&frames[sender].1, &records[1 - sender].read()?))
                .map_err(|why| format!("it forwards wrongly from guest {sender}: {why}"))?;
        }
        drop(guests);
        for record in &records {
            std::fs::remove_file(&record.path).map_err(|error| error.to_string())?;
        }
        Ok(start(None).map(|guests| Self { guests, switch }))
    }

    /// What connects the guests.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }
}

impl Contender for Pair {
    fn commands(&self) -> Vec<String> {
        let guests = format!("its guests: {}", self.guests.command);
        self.switch.commands().iter().cloned().chain([guests]).collect()
    }

    fn pause(&self) {
        self.guests.pause();
        self.switch.pause();
    }

    /// Millions of packets per second that the guests received while they had the cores.
    fn turn(&self) -> f64 {
        self.switch.resume();
        self.guests.resume();
        std::thread::sleep(WARM_UP);
        let rate = self.guests.meter.rate(SPAN).expect("a reading");
        self.pause();
        rate / 1e6
    }

    fn end(self) -> Result<(), String> {
        self.guests.resume();
        self.switch.resume();
        let Self { guests, switch } = self;
        drop(guests);
        switch.end()
    }
}

/// A contestant whose guests exchange frames of `bytes` each with their FCS: `start` gives what passes them
/// between two sockets, or says why it can't.
pub fn entry<'a>(
    name: &'static str,
    lab: &'a Lab,
    bytes: usize,
    start: impl Fn(&[PathBuf; 2]) -> Result<Switch, String> + 'a,
) -> Entry<'a, Pair> {
    between(name, lab, start, move |name, sockets, switch| {
        Pair::start(lab, name, sockets, switch, bytes)
    })
}

/// A contestant whose guests stream TCP, the first to the second.
pub fn stream_entry<'a>(
    name: &'static str,
    lab: &'a Lab,
    start: impl Fn(&[PathBuf; 2]) -> Result<Switch, String> + 'a,
) -> Entry<'a, Stream> {
    between(name, lab, start, |name, sockets, switch| Stream::start(lab, name, sockets, switch))
}

/// Starts what passes frames between two sockets, and then its guests.
fn between<'a, C>(
    name: &'static str,
    lab: &'a Lab,
    start: impl Fn(&[PathBuf; 2]) -> Result<Switch, String> + 'a,
    guests: impl Fn(&str, &[PathBuf; 2], Switch) -> Started<C> + 'a,
) -> Entry<'a, C> {
    Entry::new(name, move || {
        let short = name.replace(' ', "-");
        let sockets = sockets(lab, &short);
        match start(&sockets) {
            Ok(switch) => guests(&short, &sockets, switch),
            Err(why) => Ok(Err(why)),
        }
    })
}

/// What a guest sends: one flow to the other, with the frame's number as payload, so that no two are alike.
fn frames(guest: usize, to: Mac, bytes: usize) -> Vec<Vec<u8>> {
    let frame = |number: u32| {
        let mut payload = vec![b'x'; bytes - FCS_BYTES - HEADER_BYTES];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        let datagram = udp(1000, 2000, &payload);
        let packet = ipv4(IPS[guest], IPS[1 - guest], 64, UDP, &datagram);
        ethernet(to, MACS[guest], IPV4, &packet)
    };
    (0..CAPTURE_FRAMES).map(frame).collect()
}

/// Whether what came is all of what was wanted, again and again, and no other IPv4. More is sent than can
/// be received, so frames are missing here and there.
fn is_delivered(wanted: &[Vec<u8>], came: &[Vec<u8>]) -> Result<(), String> {
    let is_ipv4 = |frame: &&Vec<u8>| frame[12..14] == IPV4.to_be_bytes();
    let came: HashSet<&Vec<u8>> = came.iter().filter(is_ipv4).collect();
    let known: HashSet<&Vec<u8>> = wanted.iter().collect();
    if let Some(other) = came.difference(&known).next() {
        return Err(format!("nobody wanted {other:02x?}; the first wanted is {:02x?}", wanted[0]));
    }
    match known.difference(&came).next() {
        None => Ok(()),
        Some(missing) => Err(format!("never came: {missing:02x?}")),
    }
}

/// The sockets of a contestant's guests; nothing of an earlier one is left there.
pub fn sockets(lab: &Lab, name: &str) -> [PathBuf; 2] {
    let sockets = [0, 1].map(|number| lab.dir().join(format!("{name}-{number}.sock")));
    for socket in &sockets {
        let _ = std::fs::remove_file(socket);
    }
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_long_as_asked_with_their_fcs() {
        for bytes in [64, 1_500] {
            let frames = frames(0, MACS[1], bytes);
            assert!(frames.iter().all(|frame| frame.len() == bytes - FCS_BYTES));
        }
    }

    #[test]
    fn a_missing_frame_and_a_changed_one_are_found() {
        let wanted = frames(0, MACS[1], 64);
        let mut arp = wanted[0].clone();
        arp[13] = 6;
        let twice = [&wanted[..], &[arp], &wanted[7..]].concat();
        assert_eq!(is_delivered(&wanted, &twice), Ok(()));
        assert!(is_delivered(&wanted, &wanted[1..]).is_err());
        let mut changed = wanted.clone();
        changed[3][22] = 63;
        assert!(is_delivered(&wanted, &[&wanted[..], &changed].concat()).is_err());
    }
}
