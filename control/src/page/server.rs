//! Where the page is served: loopback, its files and one picture, nothing but reading.

use super::assets::ASSETS;
use super::origin;
use crate::api::backend::{Answer, Backend, Request, Show};
use crate::http::{BoundTcp, Fresh, Limits, ListenError, OnThreadStart, Server};
use axum::Router;
use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Request as HttpRequest, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// All clients are this host, so one may have every place.
const LIMITS: Limits = Limits { connections: 64, per_client: 64, client: "address", calls: 1 };
/// How old a picture may be that is given out: five readings a second at most, however many look.
const FRESH: Duration = Duration::from_millis(200);

/// What a browser is to do with each answer: keep none, guess no type, tell no page of others, take scripts, styles
/// and data from here alone and make no markup of text. No page may frame, open and hold, or embed any of it.
const RULES: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
];

/// Listens on the address that `page` of the configuration names.
///
/// # Errors
/// The port is taken, or the address is not this host's.
pub fn bind(address: SocketAddr) -> Result<BoundTcp, ListenError> {
    BoundTcp::bind("page", address)
}

/// Serves the page and what this backend reads, from a thread of its own.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn start(
    bound: BoundTcp,
    backend: Arc<dyn Backend>,
    on_thread_start: OnThreadStart,
) -> io::Result<Server> {
    let router = router(backend, bound.address());
    Server::start("page", || bound.open(), router, LIMITS, on_thread_start)
}

fn router(backend: Arc<dyn Backend>, listening: SocketAddr) -> Router {
    let picture = Fresh::new(FRESH).served("application/json", move || make(&*backend));
    let files = ASSETS.iter().fold(Router::new(), |router, asset| {
        let answer = ([(header::CONTENT_TYPE, asset.kind)], asset.text);
        router.route(asset.path, get(move || async move { answer }))
    });
    files
        .route("/picture.json", picture)
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such path; the page is at /\n") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "the page is read: GET or HEAD\n")
        })
        .layer(from_fn(move |request, next| guard(listening, request, next)))
}

/// Refuses what is not the page's own, and adds the rules to whatever is answered.
async fn guard(listening: SocketAddr, request: HttpRequest<Body>, next: Next) -> Response {
    let mut response = match origin::check(&request, listening) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let rules = RULES.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(HeaderMap::from_iter(rules));
    response
}

/// Asks, and writes the answer down.
fn make(backend: &dyn Backend) -> Result<String, String> {
    match backend.call(Request::Show(Show::Picture)) {
        Ok(Answer::Picture(picture)) => {
            serde_json::to_string(&picture).map_err(|error| error.to_string())
        }
        Ok(_) => Err("the answer does not fit the request".into()),
        Err(refusal) => Err(refusal.to_string()),
    }
}

#[cfg(test)]
mod tests;
