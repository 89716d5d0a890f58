//! What an interface really carried, as `tcpdump` sees it in promiscuous mode.

use crate::frames::{Arp, addresses};
use crate::host::{Host, Proc};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    proc: Proc,
    errors: BufReader<std::process::ChildStderr>,
    file: PathBuf,
    _dir: tempfile::TempDir,
    what: String,
}

impl Capture {
    /// Returns once the kernel delivers frames to it.
    #[track_caller]
    pub(crate) fn start(host: &Host, iface: &str, filter: &str) -> Self {
        let dir = tempfile::tempdir().expect("a private directory");
        let file = dir.path().join("capture.pcap");
        let what = format!("{} on {iface} of {}", filter, host.name());
        let mut proc = host.spawn(&format!(
            "tcpdump -Z root -n -U --immediate-mode -B 16384 -s 262144 -i {iface} -w {} {filter}",
            file.display()
        ));
        let stderr = proc.as_child().stderr.take().expect("piped");
        let mut errors = BufReader::new(stderr);
        let mut said = String::new();
        while !said.contains("listening on") {
            let read = errors.read_line(&mut said).expect("tcpdump's standard error");
            assert!(read > 0, "tcpdump ({what}) ended: {said}");
        }
        Self { proc, errors, file, _dir: dir, what }
    }

    /// Ends the capture a moment later and gives every frame, VLAN tags included.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        // What is under way (a tap's read, tcpdump's own buffer) gets time to arrive.
        std::thread::sleep(Duration::from_millis(300));
        self.proc.signal(Signal::SIGINT);
        let mut said = String::new();
        self.errors.read_to_string(&mut said).expect("tcpdump's standard error");
        let output = self.proc.finish();
        assert!(output.status.success(), "tcpdump ({}): {said}", self.what);
        assert!(said.contains("\n0 packets dropped by kernel"), "tcpdump missed some: {said}");
        read_pcap(&std::fs::read(&self.file).expect("the capture"))
    }

    /// Ends the capture, which must have seen nothing.
    #[track_caller]
    pub fn finish_empty(self) {
        let what = self.what.clone();
        let frames = self.finish();
        let list: Vec<_> = frames.iter().take(5).map(|f| describe(f)).collect();
        assert!(frames.is_empty(), "{what}: {} frames, such as {list:#?}", frames.len());
    }
}

/// The frames of a pcap file in this machine's byte order.
fn read_pcap(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let (Some(length), true) = (rest.get(8..12), rest.len() >= 16) {
        let length = u32::from_ne_bytes(length.try_into().expect("four bytes")) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        frames.push(frame.to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

/// A frame in one line, for a failure's message.
pub fn describe(frame: &[u8]) -> String {
    if let Some(arp) = Arp::read(frame) {
        return format!("{arp:?}");
    }
    let head: Vec<String> = frame.iter().take(48).map(|b| format!("{b:02x}")).collect();
    match addresses(frame) {
        Some((from, to)) => format!("IPv4 {from} to {to}: {}", head.join(" ")),
        None => head.join(" "),
    }
}

/// Whether a frame (tagged or not) names this address: IPv4 source or destination, ARP sender or
/// target.
pub fn names(frame: &[u8], address: Ipv4Addr) -> bool {
    let untagged: Vec<u8> = match frame.get(12..14) {
        Some([0x81, 0]) => frame[..12].iter().chain(&frame[16..]).copied().collect(),
        _ => frame.to_vec(),
    };
    match (Arp::read(&untagged), addresses(&untagged)) {
        (Some(arp), _) => arp.sender_ip == address || arp.target_ip == address,
        (None, Some((from, to))) => from == address || to == address,
        (None, None) => false,
    }
}
