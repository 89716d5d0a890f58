//! Where metrics are served: TCP, one path, nothing but reading.
//!
//! Whoever reaches the port may read; nobody can change anything by it. However many ask, control's thread is
//! asked ten times a second at most: those who come meanwhile get the same text.

use super::{host, text};
use crate::api::backend::{Answer, Backend, Request, Show};
use crate::http::{Door, Limits, OnThreadStart, Server};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request as HttpRequest, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Bytes;
use prometheus::TEXT_FORMAT;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

/// A client is a host. One thread makes text: nobody gains by two who wait for control.
const LIMITS: Limits = Limits { connections: 64, per_client: 32, client: "address", calls: 1 };
/// How old a text may be that is given out.
const FRESH: Duration = Duration::from_millis(100);

/// `metrics` of the configuration can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("metrics = \"{address}\": {source}; name an address of this host and a port that is free")]
pub struct MetricsError {
    /// As configured.
    address: SocketAddr,
    /// The system's reason.
    source: io::Error,
}

/// A socket that listens and is not served yet: who connects waits.
#[derive(Debug)]
pub struct BoundMetrics {
    listener: StdListener,
    address: SocketAddr,
}

impl BoundMetrics {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens on an address.
///
/// # Errors
/// The port is taken, or the address is not this host's.
pub fn bind(address: SocketAddr) -> Result<BoundMetrics, MetricsError> {
    let listening = StdListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(BoundMetrics { address: listener.local_addr()?, listener })
    });
    listening.map_err(|source| MetricsError { address, source })
}

/// Serves what this backend reads, from a thread of its own.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn start(
    bound: BoundMetrics,
    backend: Arc<dyn Backend>,
    on_thread_start: OnThreadStart,
) -> io::Result<Server> {
    let BoundMetrics { listener, address } = bound;
    let open = || TcpListener::from_std(listener).map(TcpDoor);
    let router = router(backend, address);
    Server::start("metrics", open, router, LIMITS, on_thread_start)
}

struct TcpDoor(TcpListener);

impl Door for TcpDoor {
    type Stream = TcpStream;
    type Client = IpAddr;

    async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((stream, peer.ip()))
    }

    fn try_write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        stream.try_write(bytes)
    }

    fn refusal(message: String) -> (&'static str, String) {
        ("text/plain", message + "\n")
    }
}

fn router(backend: Arc<dyn Backend>, listening: SocketAddr) -> Router {
    let scrapes = Scrapes { backend, last: Arc::default() };
    Router::new()
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "metrics are at /metrics\n") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "metrics are read: GET or HEAD\n")
        })
        .layer(from_fn(move |request, next| check_host(listening, request, next)))
        .with_state(scrapes)
}

async fn check_host(listening: SocketAddr, request: HttpRequest<Body>, next: Next) -> Response {
    match misdirected(listening, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

/// What those are told who do not mean us; see `host`.
fn misdirected(listening: SocketAddr, request: &HttpRequest<Body>) -> Option<Response> {
    let target = request.uri().authority().map(|authority| authority.as_str());
    let headers = request.headers().get_all(header::HOST).iter();
    let headers = headers.map(|value| value.to_str().unwrap_or_default());
    let mut named = target.into_iter().chain(headers).peekable();
    if named.peek().is_none() {
        return Some((StatusCode::BAD_REQUEST, "a header Host is wanted\n").into_response());
    }
    if named.all(|name| host::is_ours(name, listening)) {
        return None;
    }
    let message = format!("Host is not this appliance; ask for it by address: {listening}\n");
    Some((StatusCode::MISDIRECTED_REQUEST, message).into_response())
}

/// What scrapes have in common.
#[derive(Clone)]
struct Scrapes {
    backend: Arc<dyn Backend>,
    /// The last text and when control was asked for it. Held while the next one is made, so that those who
    /// come meanwhile wait for it.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

async fn metrics(State(scrapes): State<Scrapes>) -> Response {
    let mut last = scrapes.last.lock().await;
    if let Some((asked, page)) = last.as_ref()
        && asked.elapsed() < FRESH
    {
        return page_response(page.clone());
    }
    let (asked, backend) = (Instant::now(), scrapes.backend);
    match tokio::task::spawn_blocking(move || make(&*backend)).await {
        Ok(Ok(text)) => {
            let page = Bytes::from(text);
            *last = Some((asked, page.clone()));
            page_response(page)
        }
        Ok(Err(message)) => (StatusCode::SERVICE_UNAVAILABLE, message + "\n").into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed inside\n").into_response(),
    }
}

fn page_response(page: Bytes) -> Response {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], Body::from(page)).into_response()
}

/// Asks, and writes the answer down.
fn make(backend: &dyn Backend) -> Result<String, String> {
    match backend.call(Request::Show(Show::Metrics)) {
        Ok(Answer::Metrics(reading)) => text(&reading).map_err(|error| error.to_string()),
        Ok(_) => Err("the answer does not fit the request".into()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

#[cfg(test)]
mod tests;
