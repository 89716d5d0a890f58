//! A vhost-user guest with Linux's own stack and no VM: the kernel of a network namespace, whose interface
//! is a tap that a front-end holds.
//!
//! What a kernel tells the reader of its tap of a frame, and what it is told, is `virtio_net_hdr`, as on a
//! ring. So the guest's driver copies frames between the two as they are: checksums are left to the other
//! end, and long TCP segments pass whole both ways, as with a guest's virtio-net.
//!
//! The driver is a thread on the cores of the lab's hosts. It sleeps when there is nothing to do.

use crate::dpdk::Role;
use crate::frames::{Mac, mac_text};
use crate::frontend::message::wrong;
use crate::frontend::{Door, Driver, Frontend, Options, feature};
use crate::host::Host;
use crate::lab::Lab;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tun_rs::{DeviceBuilder, Layer};
use vm_memory::{Bytes, ReadVolatile, VolatileMemoryError, WriteVolatile};

/// The guest's interface.
pub const IFACE: &str = "eth0";

/// Bytes of a ring's header, and of a tap's, which lacks the count of buffers.
const HEADER_BYTES: usize = 12;
const TAP_HEADER_BYTES: usize = 10;
const COUNT_BYTES: usize = HEADER_BYTES - TAP_HEADER_BYTES;
/// The longest packet behind an Ethernet header and a ring's, rounded up.
const BUFFER_BYTES: u32 = 65_600;
/// Memory for the buffers of both rings, and for the rings.
const MEMORY_BYTES: u64 = 2 * 256 * BUFFER_BYTES as u64 + (1 << 20);
/// Frames that are passed on before it is looked the other way.
const BURST: u16 = 32;
/// Until the back end is connected.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Of the driver's thread, as iperf3's (tcp.rs).
const PRIORITY: &str = "-19";
/// How often a driver that has nothing to do looks whether it is to end.
const SLEEP_MS: u16 = 100;

/// What such a guest has to be given: whole segments, both ways.
const WANTED: [(u64, &str); 4] = [
    (feature::CSUM, "CSUM"),
    (feature::HOST_TSO4, "HOST_TSO4"),
    (feature::GUEST_CSUM, "GUEST_CSUM"),
    (feature::GUEST_TSO4, "GUEST_TSO4"),
];

/// A running guest.
#[derive(Debug)]
pub struct LinuxGuest {
    /// Where its tools run.
    pub host: Host,
    stop: Arc<AtomicBool>,
    driver: Option<JoinHandle<io::Result<()>>>,
}

impl LinuxGuest {
    /// Connects it to the back end of a socket. Its interface has this MAC, and no address.
    pub fn start(
        lab: &Lab,
        name: &str,
        socket: &Path,
        role: Role,
        mac: Mac,
    ) -> Result<Self, String> {
        let said = |error: io::Error| format!("{name}: {error}");
        let frontend = connect(socket, role).map_err(said)?;
        if let Some((_, missing)) = WANTED.iter().find(|(bit, _)| !frontend.agreed.has(*bit)) {
            return Err(format!("{name}: the back end does not offer {missing}"));
        }
        let host = lab.host(name);
        let tap = host.inside(open).map_err(said)?;
        host.run(&format!("ip link set {IFACE} address {} up", mac_text(mac)));
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let driver = std::thread::spawn(move || drive(&frontend, tap, &ends));
        Ok(Self { host, stop, driver: Some(driver) })
    }

    /// Ends it; an error if the driver could not go on.
    pub fn end(mut self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(driver) = self.driver.take() else { return Ok(()) };
        let ended =
            driver.join().map_err(|_| format!("{}: the driver failed", self.host.name()))?;
        ended.map_err(|error| format!("{}: {error}", self.host.name()))
    }
}

impl Drop for LinuxGuest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(driver) = self.driver.take() {
            let _ = driver.join();
        }
        // So that its name can be given again.
        Host::here("server").succeeds(&format!("ip netns del {}", self.host.name()));
    }
}

fn connect(socket: &Path, role: Role) -> io::Result<Frontend> {
    let options = Options::default();
    let options = Options {
        features: options.features | feature::OFFLOADS,
        buffer_bytes: BUFFER_BYTES,
        regions: vec![MEMORY_BYTES],
        patience: CONNECT_LIMIT,
        ..options
    };
    match role {
        Role::Connects => Frontend::connect_within(socket, &options, CONNECT_LIMIT),
        Role::Listens => {
            let _ = std::fs::remove_file(socket);
            Frontend::open(&Door::listen(socket)?, &options)
        }
    }
}

/// The guest's end of its adapter, in the namespace that the thread is in.
fn open() -> io::Result<OwnedFd> {
    let tap = DeviceBuilder::new().name(IFACE).layer(Layer::L2).offload(true).build_sync()?;
    tap.set_nonblocking(true)?;
    tap.as_fd().try_clone_to_owned()
}

/// Carries frames both ways until told to stop.
fn drive(frontend: &Frontend, mut tap: OwnedFd, stop: &AtomicBool) -> io::Result<()> {
    // As the tools that it works for, which else would be served before it.
    let own = nix::unistd::gettid().to_string();
    Command::new("renice").args(["-n", PRIORITY, "-p", &own]).output()?;
    let mut driver = Driver::new(frontend, &[0; HEADER_BYTES])?;
    while !stop.load(Ordering::Relaxed) {
        if carry(&mut driver, &mut tap)? {
            continue;
        }
        let is_full = driver.room()? == 0;
        driver.want_calls(true, is_full)?;
        if !carry(&mut driver, &mut tap)? {
            sleep(frontend, &tap, is_full)?;
        }
        driver.want_calls(false, false)?;
    }
    Ok(())
}

/// Carries a burst each way; false if there was none.
fn carry(driver: &mut Driver<'_>, tap: &mut OwnedFd) -> io::Result<bool> {
    let sent = send(driver, tap)?;
    let received = receive(driver, tap)?;
    Ok(sent + received > 0)
}

/// Until there is something to carry.
fn sleep(frontend: &Frontend, tap: &OwnedFd, is_full: bool) -> io::Result<()> {
    let calls = [0, 1].map(|ring| &frontend.parts.rings[ring].call);
    // Of what there is no room for nobody needs to be told.
    let of_tap = if is_full { PollFlags::empty() } else { PollFlags::POLLIN };
    let mut events = [
        PollFd::new(tap.as_fd(), of_tap),
        PollFd::new(calls[0].as_fd(), PollFlags::POLLIN),
        PollFd::new(calls[1].as_fd(), PollFlags::POLLIN),
    ];
    poll(&mut events, PollTimeout::from(SLEEP_MS))?;
    for call in calls {
        // An event that nobody told is none to take back.
        let _ = nix::unistd::read(call, &mut [0; 8]);
    }
    Ok(())
}

/// From the kernel to the ring.
fn send(driver: &mut Driver<'_>, tap: &mut OwnedFd) -> io::Result<u16> {
    let room = driver.room()?.min(BURST);
    let mut count = 0;
    while count < room {
        let at = driver.next();
        let memory = driver.memory();
        // Behind the place of what the tap's header lacks, so that the frame is where it has to be.
        let mut buffer = memory
            .subslice(at + COUNT_BYTES, BUFFER_BYTES as usize - COUNT_BYTES)
            .map_err(io::Error::other)?;
        let bytes = match tap.read_volatile(&mut buffer) {
            Ok(bytes) => bytes,
            Err(VolatileMemoryError::IOError(error)) if is_nothing(&error) => break,
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut header = [0; HEADER_BYTES];
        memory
            .read_slice(&mut header[..TAP_HEADER_BYTES], at + COUNT_BYTES)
            .map_err(io::Error::other)?;
        memory.write_slice(&header, at).map_err(io::Error::other)?;
        driver.set_length(bytes + COUNT_BYTES)?;
        driver.push();
        count += 1;
    }
    if count > 0 {
        driver.publish()?;
    }
    Ok(count)
}

/// From the ring to the kernel.
fn receive(driver: &mut Driver<'_>, tap: &mut OwnedFd) -> io::Result<u16> {
    let count = driver.arrived()?.min(BURST);
    for number in 0..count {
        let (at, bytes) = driver.arrival(number)?;
        let memory = driver.memory();
        let mut header = [0; HEADER_BYTES];
        memory.read_slice(&mut header, at).map_err(io::Error::other)?;
        if header[TAP_HEADER_BYTES..] != 1u16.to_le_bytes() || bytes <= HEADER_BYTES {
            return Err(wrong(format!("a frame with {header:02x?} before it, {bytes} bytes")));
        }
        memory
            .write_slice(&header[..TAP_HEADER_BYTES], at + COUNT_BYTES)
            .map_err(io::Error::other)?;
        let frame =
            memory.subslice(at + COUNT_BYTES, bytes - COUNT_BYTES).map_err(io::Error::other)?;
        let written = tap.write_volatile(&frame).map_err(io::Error::other)?;
        if written != bytes - COUNT_BYTES {
            return Err(wrong(format!("the kernel took {written} of {bytes} bytes")));
        }
    }
    if count > 0 {
        driver.give_back(count)?;
    }
    Ok(count)
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
