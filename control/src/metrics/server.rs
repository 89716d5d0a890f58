//! Where metrics are served: TCP, one path, nothing but reading.
//!
//! Whoever reaches the port may read; nobody can change anything by it. However many ask, control's thread is
//! asked ten times a second at most: those who come meanwhile get the same text.

use super::{host, text};
use crate::api::backend::{Answer, Backend, Request, Show};
use crate::http::{BoundTcp, Fresh, Limits, ListenError, OnThreadStart, Server, check_host};
use axum::Router;
use axum::body::Body;
use axum::http::{Request as HttpRequest, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use prometheus::TEXT_FORMAT;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A client is a host. One thread makes text: nobody gains by two who wait for control.
const LIMITS: Limits = Limits { connections: 64, per_client: 32, client: "address", calls: 1 };
/// How old a text may be that is given out.
const FRESH: Duration = Duration::from_millis(100);

/// Listens on the address that `metrics` of the configuration names.
///
/// # Errors
/// The port is taken, or the address is not this host's.
pub fn bind(address: SocketAddr) -> Result<BoundTcp, ListenError> {
    BoundTcp::bind("metrics", address)
}

/// Serves what this backend reads, from a thread of its own.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn start(
    bound: BoundTcp,
    backend: Arc<dyn Backend>,
    on_thread_start: OnThreadStart,
) -> io::Result<Server> {
    let router = router(backend, bound.address());
    Server::start("metrics", || bound.open(), router, LIMITS, on_thread_start)
}

fn router(backend: Arc<dyn Backend>, listening: SocketAddr) -> Router {
    let metrics = Fresh::new(FRESH).served(TEXT_FORMAT, move || make(&*backend));
    Router::new()
        .route("/metrics", metrics)
        .fallback(|| async { (StatusCode::NOT_FOUND, "metrics are at /metrics\n") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "metrics are read: GET or HEAD\n")
        })
        .layer(from_fn(move |request, next| guard(listening, request, next)))
}

/// Refuses those who do not mean us; see `host`.
async fn guard(listening: SocketAddr, request: HttpRequest<Body>, next: Next) -> Response {
    let elsewhere = format!("Host is not this appliance; ask for it by address: {listening}\n");
    match check_host(&request, |name| host::is_ours(name, listening), elsewhere) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
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
