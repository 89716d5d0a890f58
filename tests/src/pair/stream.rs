//! Two guests with Linux's own stack, of which the first sends the second TCP.
//!
//! What is measured is all of it: both kernels, iperf3's two ends and the guests' drivers share the core
//! that is not the worker's, and take most of the time.

use super::{IPS, MACS, Switch};
use crate::contest::{Contender, Figure, Started, WARM_UP};
use crate::frames::{Random, mac_text};
use crate::lab::Lab;
use crate::linux::{IFACE, LinuxGuest};
use crate::tcp::{bad_checksums, delivers, streams_for};
use std::collections::HashSet;
use std::path::PathBuf;

/// What is measured.
pub const STREAMED: Figure = Figure { metric: "TCP", unit: "Gbit/s", rounds: 25 };

/// The shortest time that iperf3 knows.
const TURN_S: u32 = 1;
/// What is sent and compared.
const COMPARED_BYTES: usize = 2 << 20;
/// The longest frame of the guests' MTU.
const FRAME_BYTES: usize = 1_514;
/// Where the TCP checksum is in a frame: what of it is done is between each kernel and its driver, and told
/// by counters.
const CHECKSUM: std::ops::Range<usize> = 50..52;

/// A switch with its guests.
#[derive(Debug)]
pub struct Stream {
    // Guests leave before the one they are connected to.
    guests: [LinuxGuest; 2],
    switch: Switch,
}

impl Stream {
    /// Starts the guests, and compares what each sends with what the other gets.
    pub fn start(lab: &Lab, name: &str, sockets: &[PathBuf; 2], switch: Switch) -> Started<Self> {
        let start = |number: usize| {
            let (name, role) = (format!("{name}-{number}"), switch.role);
            let guest = LinuxGuest::start(lab, &name, &sockets[number], role, MACS[number])?;
            let (own, other, to) = (IPS[number], IPS[1 - number], mac_text(switch.to[number]));
            guest.host.address(IFACE, &format!("{own}/24"));
            guest.host.run(&format!("ip neigh replace {other} lladdr {to} dev {IFACE}"));
            Ok(guest)
        };
        let guests = match start(0).and_then(|first| Ok([first, start(1)?])) {
            Ok(guests) => guests,
            Err(why) => return Ok(Err(why)),
        };
        let stream = Self { guests, switch };
        for sender in [0, 1] {
            stream
                .check(sender)
                .map_err(|why| format!("it forwards wrongly from guest {sender}: {why}"))?;
        }
        Ok(Ok(stream))
    }

    /// Whether what a guest sends comes whole, in long segments, and as it has to.
    fn check(&self, sender: usize) -> Result<(), String> {
        let [from, to] = [sender, 1 - sender].map(|number| &self.guests[number].host);
        let bytes = Random(7).bytes(COMPARED_BYTES);
        let bad_before = bad_checksums(to);
        let filter = format!("tcp and src host {}", IPS[sender]);
        let captures = [from, to].map(|host| host.capture(IFACE, &filter));
        delivers(from, to, IPS[1 - sender], &bytes)?;
        let [sent, came] = captures.map(|capture| capture.finish());
        compare(&self.switch.after(sender, &sent), &came)?;
        match bad_checksums(to) - bad_before {
            0 => Ok(()),
            bad => Err(format!("{bad} checksums were wrong")),
        }
    }
}

/// Whether exactly the wanted frames came, some of them long.
fn compare(wanted: &[Vec<u8>], came: &[Vec<u8>]) -> Result<(), String> {
    let [wanted, came] = [wanted, came].map(|frames| {
        frames.iter().map(|frame| without_checksum(frame)).collect::<HashSet<Vec<u8>>>()
    });
    if let Some(other) = came.difference(&wanted).next() {
        return Err(format!(
            "nobody wanted {:02x?}, of {} bytes",
            &other[..64.min(other.len())],
            other.len()
        ));
    }
    if let Some(missing) = wanted.difference(&came).next() {
        return Err(format!("never came: {:02x?}", &missing[..64.min(missing.len())]));
    }
    match came.iter().map(Vec::len).max() {
        Some(longest) if longest > FRAME_BYTES => Ok(()),
        longest => Err(format!("no long segment came; the longest frame had {longest:?} bytes")),
    }
}

fn without_checksum(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(checksum) = frame.get_mut(CHECKSUM) {
        checksum.fill(0);
    }
    frame
}

impl Contender for Stream {
    fn commands(&self) -> Vec<String> {
        self.switch.commands().to_vec()
    }

    /// Guests to whom nothing is said sleep.
    fn pause(&self) {
        self.switch.pause();
    }

    /// What the second guest's program received, 10^9 bits per second.
    fn turn(&self) -> f64 {
        self.switch.resume();
        std::thread::sleep(WARM_UP);
        let [first, second] = self.guests.each_ref().map(|guest| &guest.host);
        let rate = streams_for(TURN_S, first, second, IPS[1]);
        self.pause();
        rate / 1e9
    }

    fn end(self) -> Result<(), String> {
        self.switch.resume();
        let Self { guests, switch } = self;
        guests.into_iter().try_for_each(LinuxGuest::end)?;
        switch.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_and_some_are_long() {
        let sent = vec![vec![1; 60], vec![2; 9_000]];
        let mut other = sent.clone();
        other[1][CHECKSUM].fill(9);
        assert_eq!(compare(&sent, &other), Ok(()));
        other[1][CHECKSUM.end] = 9;
        assert!(compare(&sent, &other).is_err());
        assert!(compare(&sent, &sent[1..]).is_err());
        assert!(compare(&sent[..1], &sent[..1]).is_err());
    }
}
