//! Where metrics are served: TCP, one path, nothing but reading.
//!
//! Whoever reaches the port may read; nobody can change anything by it. However many ask, control's thread is
//! asked ten times a second at most: those who come meanwhile get the same text.

use super::{host, text};
use crate::api::backend::{Answer, Backend, Request, Show};
use crate::http::{BoundTcp, Fresh, Limits, ListenError, OnThreadStart, Server, hosts};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request as HttpRequest, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
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
    let scrapes = Scrapes { backend, last: Fresh::new(FRESH) };
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
    let named = hosts(request);
    if named.is_empty() {
        return Some((StatusCode::BAD_REQUEST, "a header Host is wanted\n").into_response());
    }
    if named.iter().all(|name| host::is_ours(name, listening)) {
        return None;
    }
    let message = format!("Host is not this appliance; ask for it by address: {listening}\n");
    Some((StatusCode::MISDIRECTED_REQUEST, message).into_response())
}

/// What scrapes have in common.
#[derive(Clone)]
struct Scrapes {
    backend: Arc<dyn Backend>,
    last: Fresh,
}

async fn metrics(State(Scrapes { backend, last }): State<Scrapes>) -> Response {
    match last.get(move || make(&*backend)).await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], Body::from(text)).into_response(),
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
