//! What the servers of the API, of metrics and of the page share: one thread that waits for all clients of one
//! listening socket, and what a client may cost.
//!
//! Clients are not friends: one that stalls, sends rubbish or opens connections without end costs a
//! bounded number of descriptors and bytes, is cut off after a bounded time, and leaves room for
//! others. Calls that wait do so on threads of their own, so a slow answer holds nobody else up.

mod fresh;
#[cfg(test)]
pub(crate) mod lab;
mod limits;
mod tcp;

pub(crate) use fresh::Fresh;
pub(crate) use limits::Limits;
pub(crate) use tcp::check_host;
pub use tcp::{BoundTcp, ListenError};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use limits::{Clients, Impatient};
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// How long a client may take to send a request's head, and an idle connection may stay.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// How long a client may go without taking a byte of its response.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of one connection's head and pipeline that are buffered at most.
const HEAD_LIMIT: usize = 64 << 10;
/// How long `stop` waits for responses under way.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs at the start of each thread that a server makes: to place it, to block signals in it.
pub type OnThreadStart = Arc<dyn Fn() + Send + Sync>;

/// A listening socket, of whatever family.
pub(crate) trait Door: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Those of whom none may take every place.
    type Client: Clone + Eq + Hash + Send + 'static;

    /// The next connection, and whose it is.
    async fn accept(&self) -> io::Result<(Self::Stream, Self::Client)>;

    /// Writes what the connection's buffer takes of this at once.
    fn try_write(stream: &Self::Stream, bytes: &[u8]) -> io::Result<usize>;

    /// How clients are told that they have to come back later: content type and body.
    fn refusal(message: String) -> (&'static str, String);
}

/// A running server. Dropping it stops it.
pub struct Server {
    closing: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves these paths from a thread of its own, called `name`. `open` is called where an event queue is.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue, or `open` fails.
    pub(crate) fn start<D: Door>(
        name: &str,
        open: impl FnOnce() -> io::Result<D>,
        router: Router,
        limits: Limits,
        on_thread_start: OnThreadStart,
    ) -> io::Result<Server> {
        let for_calls = on_thread_start.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(format!("{name}-call"))
            .max_blocking_threads(limits.calls)
            .on_thread_start(move || for_calls())
            .build()?;
        let door = {
            let _inside = runtime.enter();
            open()?
        };
        let (closing, closed) = oneshot::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            on_thread_start();
            runtime.block_on(serve(door, router, limits, closed));
            // Calls that are never answered don't keep the program from ending.
            runtime.shutdown_background();
        })?;
        Ok(Server { closing: Some(closing), thread: Some(thread) })
    }

    /// Takes no more clients, closes the socket, and waits a short while for responses under way.
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

async fn serve<D: Door>(
    door: D,
    router: Router,
    limits: Limits,
    mut closed: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    let clients = Clients::new(limits);
    loop {
        tokio::select! {
            _ = &mut closed => break,
            accepted = door.accept() => match accepted {
                Ok((stream, client)) => {
                    admit::<D>(stream, client, &clients, &router, graceful.watcher());
                }
                // Out of descriptors: the clients wait in the backlog meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
    drop(door);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

/// Serves a connection on a task of its own, or turns it away when there are too many.
fn admit<D: Door>(
    stream: D::Stream,
    client: D::Client,
    clients: &Clients<D::Client>,
    router: &Router,
    watcher: Watcher,
) {
    let Some(ticket) = clients.admit(client) else {
        turn_away::<D>(&stream, clients.limits());
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

/// Says 503 to one connection too many, as far as its buffer takes it, and leaves it.
fn turn_away<D: Door>(stream: &D::Stream, limits: Limits) {
    let (kind, body) = D::refusal(limits.to_string());
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // A fresh connection's buffer takes it whole; a client that is gone needs no answer.
    let _ = D::try_write(stream, response.as_bytes());
}
