//! The vhost library's side of a connection: registration, its callbacks, what it knows of a device.
//!
//! A connection exists in the library from [`Connection::open`] until it is dropped. The library is the
//! one that connects, to a socket that only we can reach, so that it holds one descriptor per guest and
//! none for guests that are not there.
//!
//! Callbacks run on the library's event thread, or inside `rte_vhost_driver_unregister` on a relay's.
//! They wait for workers alone and call no `rte_vhost_driver_*`, which would wait for them.

use super::super::eal::Eal;
use super::fault;
use super::link::Link;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest path that the library may give back, bytes (PATH_MAX).
const PATH_BYTES: usize = 4096;
/// How long the library may take to let go of a connection whose other end is closed.
const LET_GO: Duration = Duration::from_secs(5);

/// Held while a connection is made, and from closing one until it is unregistered. The library closes a
/// descriptor before it takes it out of its list, and finds connections there by its number: one made
/// in between, with the number reused, would be closed in the other's place, and the other freed while
/// the event thread is in it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Links by the path of their private socket, for callbacks, which get a number only.
static LINKS: LazyLock<Mutex<HashMap<Vec<u8>, Arc<Link>>>> = LazyLock::new(Mutex::default);

/// Callbacks: function pointers, and a reserved null pointer for whose sake it is not `Sync` by itself.
struct Callbacks(dpdk_sys::rte_vhost_device_ops);

// SAFETY: nobody writes it, and its one data pointer is null.
unsafe impl Sync for Callbacks {}

static CALLBACKS: Callbacks = Callbacks(dpdk_sys::rte_vhost_device_ops {
    new_device: Some(on_new_device),
    destroy_device: Some(on_destroy_device),
    vring_state_changed: Some(on_ring_changed),
    features_changed: None,
    new_connection: Some(on_new_connection),
    destroy_connection: Some(on_destroy_connection),
    guest_notified: None,
    reserved: [std::ptr::null_mut(); 1],
});

/// One connection with the library, on behalf of one front-end.
pub(super) struct Connection {
    path: CString,
    link: Arc<Link>,
    /// Our end; closed first, so that the library's event thread lets go by itself.
    socket: Option<UnixStream>,
}

impl Connection {
    /// Registers with the library and has it connect to us.
    pub(super) fn open(_started: Eal, link: &Arc<Link>) -> io::Result<Self> {
        fault::install()?;
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("guestway-XXXXXX"))?;
        let result = connect(&dir.join("vhost"), link);
        // The connection stands (or never will); its name is needed no more.
        let _ = std::fs::remove_file(dir.join("vhost"));
        let _ = std::fs::remove_dir(&dir);
        result
    }

    /// Our end of the connection.
    pub(super) fn socket(&self) -> io::Result<&UnixStream> {
        self.socket.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }
}

fn connect(path: &Path, link: &Arc<Link>) -> io::Result<Connection> {
    let listener = UnixListener::bind(path)?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    lock_links().insert(name.as_bytes().to_vec(), link.clone());
    link.set_ended(false);
    let mut connection = Connection { path: name, link: link.clone(), socket: None };
    let flags = dpdk_sys::GW_VHOST_CLIENT
        | dpdk_sys::GW_VHOST_NO_RECONNECT
        | dpdk_sys::GW_VHOST_COMPLIANT_OFFLOAD;
    let path = connection.path.as_ptr();
    let one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |step: &str| io::Error::other(format!("the vhost library can't {step}"));
    // SAFETY: *started*; path and callbacks live through each call, the callbacks for ever.
    unsafe {
        if dpdk_sys::rte_vhost_driver_register(path, flags) != 0 {
            link.set_ended(true);
            return Err(failed("take one more guest (it has room for 1,024)"));
        }
        if dpdk_sys::rte_vhost_driver_callback_register(path, &raw const CALLBACKS.0) != 0 {
            link.set_ended(true);
            return Err(failed("register its callbacks"));
        }
        // Connects at once: we listen.
        if dpdk_sys::rte_vhost_driver_start(path) != 0 {
            link.set_ended(true);
            return Err(failed("start"));
        }
    }
    drop(one_at_a_time);
    listener.set_nonblocking(true)?;
    match listener.accept() {
        Ok((socket, _)) if link.vid.load(Ordering::Acquire) >= 0 => {
            socket.set_nonblocking(true)?;
            connection.socket = Some(socket);
            Ok(connection)
        }
        Ok(_) => {
            link.set_ended(true);
            Err(failed("take one more device (it has room for 1,024)"))
        }
        Err(error) => Err(error),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.shut();
        let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.socket = None;
        // Its event thread sees the end and destroys the device. Unregistering before would spin until
        // it has; it is unregistered here in any case.
        if !self.link.wait_ended(LET_GO) {
            self.link.tell("the vhost library does not let go of the last connection");
        }
        // SAFETY: *started*; the path lives through the call.
        unsafe { dpdk_sys::rte_vhost_driver_unregister(self.path.as_ptr()) };
        lock_links().remove(self.path.as_bytes());
        forget(&self.link);
    }
}

/// After this nothing points to the device any more.
fn forget(link: &Link) {
    let vid = link.vid.swap(-1, Ordering::AcqRel);
    fault::end(vid);
    link.forget_front_end();
}

/// What is to be done once the library has finished with a message: tells the rings that we poll, unless the
/// worker sleeps, and reads what was negotiated. No worker is in the device.
pub(super) fn settle(link: &Link) {
    let vid = link.vid.load(Ordering::Acquire);
    let (mut features, mut mtu) = (0, 0);
    // SAFETY: *started*; the device lives until its destroy callback, which this thread's own messages
    // bring about, and unknown numbers give an error. The numbers live through the calls.
    unsafe {
        for ring in 0..dpdk_sys::rte_vhost_get_vring_num(vid) {
            let is_armed = link.is_armed(ring);
            dpdk_sys::rte_vhost_enable_guest_notification(vid, ring, is_armed.into());
        }
        dpdk_sys::rte_vhost_get_negotiated_features(vid, &raw mut features);
        dpdk_sys::rte_vhost_get_mtu(vid, &raw mut mtu);
    }
    link.features.store(features, Ordering::Relaxed);
    link.front_end_mtu.store(mtu, Ordering::Relaxed);
}

fn lock_links() -> MutexGuard<'static, HashMap<Vec<u8>, Arc<Link>>> {
    LINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every link that has a connection.
pub(super) fn links() -> Vec<Arc<Link>> {
    lock_links().values().cloned().collect()
}

fn link_of(vid: c_int) -> Option<Arc<Link>> {
    let mut path: [c_char; PATH_BYTES] = [0; PATH_BYTES];
    // SAFETY: the buffer is as long as said; the library ends what it writes with a zero byte.
    let path = unsafe {
        if dpdk_sys::rte_vhost_get_ifname(vid, path.as_mut_ptr(), PATH_BYTES) != 0 {
            return None;
        }
        CStr::from_ptr(path.as_ptr())
    };
    lock_links().get(path.to_bytes()).cloned()
}

unsafe extern "C" fn on_new_connection(vid: c_int) -> c_int {
    let Some(link) = link_of(vid) else { return -1 };
    fault::begin(vid, link.wake.as_fd().as_raw_fd());
    link.vid.store(vid, Ordering::Release);
    0
}

unsafe extern "C" fn on_destroy_connection(vid: c_int) {
    if let Some(link) = link_of(vid) {
        forget(&link);
        link.set_ended(true);
    }
}

unsafe extern "C" fn on_new_device(vid: c_int) -> c_int {
    let Some(link) = link_of(vid) else { return -1 };
    link.set_running(true);
    0
}

unsafe extern "C" fn on_destroy_device(vid: c_int) {
    if let Some(link) = link_of(vid) {
        link.shut();
        link.set_running(false);
    }
}

unsafe extern "C" fn on_ring_changed(vid: c_int, ring: u16, enable: c_int) -> c_int {
    if let Some(link) = link_of(vid) {
        link.set_ring(ring, enable != 0);
    }
    0
}
