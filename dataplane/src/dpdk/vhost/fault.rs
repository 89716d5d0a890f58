//! A front-end that truncates the file of its memory: what we read there next raises SIGBUS.
//!
//! The signal's action lays an empty page of our own over the missing one, so that the copy under way
//! ends, and wakes the front-end's relay, which resets that guest. Anything else that raises SIGBUS
//! ends the process as it would without us.
//!
//! Source: mmap(2), "SIGBUS: attempted access to a page of the buffer that lies beyond the end of the
//! mapped file".

use super::message::REGIONS_MAX;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

/// Devices that the library has at most (RTE_MAX_VHOST_DEVICE).
const DEVICES_MAX: usize = 1024;
/// What one missing page may be: an ordinary one or a huge one. Over a part of a huge page nothing can
/// be laid, so the small ones are tried first.
const PAGE_BYTES: [usize; 3] = [4096, 2 << 20, 1 << 30];

/// What a device has mapped: its regions, and its dirty log.
const SPANS: usize = REGIONS_MAX + 1;

/// One device's memory and whom to wake. Written by its relay while no worker may be in it.
struct Device {
    wake: AtomicI32,
    is_faulted: AtomicBool,
    starts: [AtomicUsize; SPANS],
    ends: [AtomicUsize; SPANS],
}

static DEVICES: [Device; DEVICES_MAX] = [const {
    Device {
        wake: AtomicI32::new(-1),
        is_faulted: AtomicBool::new(false),
        starts: [const { AtomicUsize::new(0) }; SPANS],
        ends: [const { AtomicUsize::new(0) }; SPANS],
    }
}; DEVICES_MAX];

/// The device whose message the library is working on, or -1: its memory may be mapped already and not
/// yet be in the table.
static CURRENT: AtomicI32 = AtomicI32::new(-1);

/// Takes SIGBUS over, once.
pub(super) fn install() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        // SAFETY: an all-zero sigaction is a valid one to start from; the action is async-signal-safe
        // (atomics, mmap, write) and lives as long as the program.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let function: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
            action.sa_sigaction = function as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut())
        };
        if done != 0 {
            result = Err(io::Error::last_os_error());
        }
    });
    result
}

/// A connection begins: whom to wake for it.
pub(super) fn begin(vid: i32, wake: RawFd) {
    if let Some(device) = device(vid) {
        device.is_faulted.store(false, Ordering::Relaxed);
        device.wake.store(wake, Ordering::Release);
    }
}

/// A connection has ended.
pub(super) fn end(vid: i32) {
    if let Some(device) = device(vid) {
        device.wake.store(-1, Ordering::Release);
        device.ends.iter().for_each(|end| end.store(0, Ordering::Release));
    }
}

/// The library begins or ends its work on a message of this device.
pub(super) fn set_current(vid: i32) {
    CURRENT.store(vid, Ordering::Release);
}

/// Looks up anew what the library has mapped for a device. Asked for its regions while there is no memory
/// table (`has_memory`), the library would follow a null pointer.
pub(super) fn refresh(vid: i32, has_memory: bool) {
    let Some(device) = device(vid) else { return };
    let mut regions = [dpdk_sys::gw_vhost_region::default(); REGIONS_MAX];
    let found = match has_memory {
        // SAFETY: *started*, and there is a table; there is room for as many as we say.
        true => unsafe { dpdk_sys::gw_vhost_regions(vid, regions.as_mut_ptr(), 8) },
        false => 0,
    };
    let found = usize::try_from(found).unwrap_or(0).min(REGIONS_MAX);
    let mut spans = [(0, 0); SPANS];
    for (span, region) in spans.iter_mut().zip(&regions[..found]) {
        *span = (region.start as usize, region.bytes);
    }
    let (mut log, mut log_bytes) = (0, 0);
    // SAFETY: *started*; the numbers live through the call.
    unsafe { dpdk_sys::rte_vhost_get_log_base(vid, &raw mut log, &raw mut log_bytes) };
    // It begins at the beginning of its mapping: the relay lets no other pass.
    spans[REGIONS_MAX] = (usize::try_from(log).unwrap_or(0), log_bytes);
    for (number, (start, bytes)) in spans.into_iter().enumerate() {
        let bytes = usize::try_from(bytes).unwrap_or(0);
        let end = if start == 0 { 0 } else { start.saturating_add(bytes) };
        device.ends[number].store(0, Ordering::Release);
        device.starts[number].store(start, Ordering::Release);
        device.ends[number].store(end, Ordering::Release);
    }
}

/// Whether memory of the device was found missing since it began.
pub(super) fn has_faulted(vid: i32) -> bool {
    device(vid).is_some_and(|device| device.is_faulted.load(Ordering::Acquire))
}

fn device(vid: i32) -> Option<&'static Device> {
    DEVICES.get(usize::try_from(vid).ok()?)
}

/// The device that an address belongs to.
fn owner(address: usize) -> Option<&'static Device> {
    let holds = |device: &&Device| {
        let spans = device.starts.iter().zip(&device.ends);
        spans.into_iter().any(|(start, end)| {
            address < end.load(Ordering::Acquire) && address >= start.load(Ordering::Acquire)
        })
    };
    DEVICES.iter().find(holds).or_else(|| device(CURRENT.load(Ordering::Acquire)))
}

extern "C" fn on_sigbus(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel gives a valid siginfo with SA_SIGINFO, and for SIGBUS an address in it.
    let address = unsafe { (*info).si_addr() } as usize;
    // SAFETY: reads and restores this thread's errno, which the interrupted code may be about to read.
    let errno = unsafe { *libc::__errno_location() };
    let is_laid = owner(address).is_some_and(|device| {
        let is_laid = PAGE_BYTES.iter().any(|bytes| lay_page(address & !(bytes - 1), *bytes));
        device.is_faulted.store(true, Ordering::Release);
        let one = 1_u64;
        // SAFETY: write is async-signal-safe; a descriptor that is closed meanwhile gives an error.
        unsafe { libc::write(device.wake.load(Ordering::Acquire), (&raw const one).cast(), 8) };
        is_laid
    });
    if !is_laid {
        // Not a guest's doing: the instruction faults again, now with the default action.
        // SAFETY: async-signal-safe.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn lay_page(start: usize, bytes: usize) -> bool {
    // SAFETY: the page lies in a mapping of a front-end's memory (`owner`) whose file has no such page
    // any more, so that nothing is lost; the library unmaps the region as a whole, this page with it.
    let laid = unsafe {
        libc::mmap(
            start as *mut c_void,
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    laid != libc::MAP_FAILED
}
