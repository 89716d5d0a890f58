//! One conversation with the kernel of one namespace, in a thread of its own and in bounded time.

use super::error::{KernelError, Trouble};
use super::place::Place;
use nix::sys::signal::SigSet;
use rtnetlink::Handle;
use rtnetlink::sys::AsyncSocket;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for the kernel in one call.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Has `question` talk to the kernel in `place`; the error names `interface`.
pub(super) fn ask<T: Send + 'static>(
    place: &Place,
    interface: &str,
    question: impl AsyncFnOnce(Handle) -> Result<T, Trouble> + Send + 'static,
) -> Result<T, KernelError> {
    in_thread(place, move || converse(question)).map_err(|trouble| KernelError {
        interface: interface.to_owned(),
        place: place.clone(),
        trouble,
    })
}

/// Only enters `place`.
pub(super) fn enter(place: &Place) -> Result<(), Trouble> {
    in_thread(place, || Ok(()))
}

/// Runs `inside` in a thread that has entered `place`. It begins in the caller's namespace (a new
/// thread inherits it) and never comes back.
///
/// A netlink request runs inside the system call that sends it, so a timer of the thread's own can't
/// end its wait for the kernel's lock: after [`PATIENCE`] the caller leaves it behind.
fn in_thread<T: Send + 'static>(
    place: &Place,
    inside: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    let place = place.clone();
    let (tell, answer) = mpsc::sync_channel(1);
    let body = move || {
        // net_tap's signal is for workers alone: whoever else takes it loses a wake-up for them.
        let _ = SigSet::all().thread_block();
        let result = place.enter().and_then(|()| inside());
        // Nobody listens any more where the answer comes too late.
        let _ = tell.send(result);
    };
    let spawned = thread::Builder::new().name("kernel".to_owned()).spawn(body);
    spawned.map_err(|error| Trouble::NoSession(format!("no thread for it: {error}")))?;
    match receive(&answer) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(Trouble::Slow),
        Err(RecvTimeoutError::Disconnected) => {
            Err(Trouble::NoSession("its thread ended early".to_owned()))
        }
    }
}

fn converse<T>(question: impl AsyncFnOnce(Handle) -> Result<T, Trouble>) -> Result<T, Trouble> {
    let no_session = |error: io::Error| Trouble::NoSession(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(no_session)?;
    runtime.block_on(async {
        // Strict checks make the kernel filter by interface and protocol: the server's own table
        // may hold a million routes.
        let (mut connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(no_session)?;
        connection.socket_mut().socket_mut().set_ext_ack(true).map_err(no_session)?;
        tokio::spawn(connection);
        tokio::time::timeout(PATIENCE, question(handle)).await.unwrap_or(Err(Trouble::Slow))
    })
}

/// Between two looks for an answer. The channel's own wait yields first, which starves a thread that
/// shares its core with a worker (see `api::backend`).
const NAP: Duration = Duration::from_micros(200);

fn receive<T>(answer: &Receiver<T>) -> Result<T, RecvTimeoutError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match answer.try_recv() {
            Ok(told) => return Ok(told),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if Instant::now() >= deadline => {
                return Err(RecvTimeoutError::Timeout);
            }
            Err(TryRecvError::Empty) => std::thread::sleep(NAP),
        }
    }
}
