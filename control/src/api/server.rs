//! The server of the control API: one thread that waits for all clients of one UNIX socket.
//!
//! Clients are local and of one group, not friends: one that stalls, sends rubbish or opens
//! connections without end costs a bounded number of descriptors and bytes, is cut off after a
//! bounded time, and leaves room for the clients of other processes. Calls of the backend wait on
//! threads of their own, so a slow answer holds nobody else up.

mod connection;
mod socket;

pub use socket::{BoundSocket, SocketError, bind};

use super::backend::Backend;
use super::paths;
use axum::Router;
use connection::{Clients, Impatient};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

/// How long a client may take to send a request's head, and an idle connection may stay.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// How long a client may go without taking a byte of its response.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of one connection's head and pipeline that are buffered at most.
const HEAD_LIMIT: usize = 64 << 10;
/// Calls of the backend that wait at once; further ones queue.
const CALLS: usize = 32;
/// How long `stop` waits for responses under way.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs at the start of each thread that the server makes: to place it, to block signals in it.
pub type OnThreadStart = Arc<dyn Fn() + Send + Sync>;

/// A running server. Dropping it stops it.
pub struct Server {
    closing: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves this backend on this socket from a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(
        socket: BoundSocket,
        backend: Arc<dyn Backend>,
        on_thread_start: OnThreadStart,
    ) -> io::Result<Server> {
        let for_calls = on_thread_start.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("api-call")
            .max_blocking_threads(CALLS)
            .on_thread_start(move || for_calls())
            .build()?;
        let router = paths::router(backend);
        let (closing, closed) = oneshot::channel();
        let thread = thread::Builder::new().name("api".into()).spawn(move || {
            on_thread_start();
            runtime.block_on(serve(socket, router, closed));
            // Calls that the backend never answers don't keep the program from ending.
            runtime.shutdown_background();
        })?;
        Ok(Server { closing: Some(closing), thread: Some(thread) })
    }

    /// Takes no more clients, removes the socket, and waits a short while for responses under way.
    pub fn stop(mut self) {
        self.close();
    }

    fn close(&mut self) {
        drop(self.closing.take());
        if let Some(thread) = self.thread.take() {
            // The thread ends by itself after DRAIN; a panic of it has been reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

async fn serve(socket: BoundSocket, router: Router, mut closed: oneshot::Receiver<()>) {
    let Ok(listener) = socket.listener().and_then(UnixListener::from_std) else { return };
    let graceful = GracefulShutdown::new();
    let clients = Clients::default();
    loop {
        tokio::select! {
            _ = &mut closed => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &clients, &router, graceful.watcher()),
                // Out of descriptors: the clients wait in the backlog meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
    drop(listener);
    drop(socket);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

/// Serves a connection on a task of its own, or turns it away when there are too many.
fn admit(stream: UnixStream, clients: &Clients, router: &Router, watcher: Watcher) {
    let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let Some(ticket) = clients.admit(process) else {
        connection::turn_away(&stream);
        return;
    };
    let io = TokioIo::new(Impatient::new(stream, WRITE_PATIENCE));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(io, TowerToHyperService::new(router.clone()));
    let connection = watcher.watch(connection);
    tokio::spawn(async move {
        // A broken connection is the client's affair.
        let _ = connection.await;
        drop(ticket);
    });
}

#[cfg(test)]
mod tests;
