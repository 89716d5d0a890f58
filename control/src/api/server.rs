//! The server of the control API on its UNIX socket.
//!
//! Clients are local and of one group, not friends: `http` bounds what they cost, and leaves room for the
//! clients of other processes.

mod socket;

pub use crate::http::{OnThreadStart, Server};
pub use socket::{BoundSocket, SocketError, bind};

use super::backend::{Backend, ErrorBody, Refusal, RefusalKind};
use super::paths;
use crate::http::{Door, Limits};
use std::io;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};

/// A client is a process.
const LIMITS: Limits = Limits { connections: 256, per_client: 64, client: "process", calls: 32 };

/// Serves this backend on this socket from a thread of its own.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn start(
    socket: BoundSocket,
    backend: Arc<dyn Backend>,
    on_thread_start: OnThreadStart,
) -> io::Result<Server> {
    let open = || {
        let listener = socket.listener().and_then(UnixListener::from_std)?;
        Ok(SocketDoor { listener, _socket: socket })
    };
    Server::start("api", open, paths::router(backend), LIMITS, on_thread_start)
}

/// The listener, then what removes its file.
struct SocketDoor {
    listener: UnixListener,
    _socket: BoundSocket,
}

impl Door for SocketDoor {
    type Stream = UnixStream;
    /// Its process ID, where the kernel knows it.
    type Client = Option<i32>;

    async fn accept(&self) -> io::Result<(UnixStream, Option<i32>)> {
        let (stream, _) = self.listener.accept().await?;
        let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
        Ok((stream, process))
    }

    fn try_write(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
        stream.try_write(bytes)
    }

    fn refusal(message: String) -> (&'static str, String) {
        let error = Refusal::new(RefusalKind::Unavailable, message);
        let body = serde_json::to_string(&ErrorBody { error }).unwrap_or_default();
        ("application/json", body)
    }
}

#[cfg(test)]
mod tests;
