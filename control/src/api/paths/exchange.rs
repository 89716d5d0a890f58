//! One exchange: path and body to a request, the backend's answer to a response.
//!
//! Whatever arrives is answered with a 4xx that says what is wrong; a 5xx is ours alone. Parsing of
//! bodies, the wait for the backend and the writing of JSON happen on threads that may block, so a
//! large request delays nobody else's.

use crate::api::backend::{Answer, Backend, ErrorBody, Refusal, RefusalKind, Request};
use axum::body::Body;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use hyper::{StatusCode, header, http::request::Parts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Largest body, bytes. Ten thousand changes are some three million.
pub(in crate::api) const BODY_LIMIT: usize = 16 << 20;
/// Bytes of bodies that may be in memory at once, all clients together.
const BODIES_LIMIT: usize = 64 << 20;
/// First bytes of each body that are not counted there, so that a few clients with large bodies can't
/// keep everybody from the smallest change. The number of connections bounds what they add up to.
const BODY_FREE: usize = 64 << 10;
/// How long a client may take to send a body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks for something to answer with.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What every path needs: the backend, the OpenAPI document, and the memory left for bodies.
#[derive(Clone)]
pub(in crate::api) struct Api {
    backend: Arc<dyn Backend>,
    pub(super) document: Bytes,
    bodies: Arc<Semaphore>,
}

impl Api {
    /// Answers by this backend.
    pub(super) fn new(backend: Arc<dyn Backend>, document: Bytes) -> Self {
        Self { backend, document, bodies: Arc::new(Semaphore::new(BODIES_LIMIT)) }
    }

    /// Asks, and answers 200 with what `pick` takes out of the answer.
    pub(super) async fn ask<T, F>(&self, request: Request, pick: F) -> Response
    where
        T: Serialize,
        F: FnOnce(Answer) -> Result<T, Refusal> + Send + 'static,
    {
        let backend = self.backend.clone();
        self.blocking(move || backend.call(request).and_then(pick).map(|body| json(&body))).await
    }

    /// Orders, and answers 204.
    pub(super) async fn order(&self, request: Request) -> Response {
        let backend = self.backend.clone();
        self.blocking(move || backend.call(request).map(|_| StatusCode::NO_CONTENT.into_response()))
            .await
    }

    /// Asks, for who makes a response of the answer.
    pub(super) async fn call(&self, request: Request) -> Result<Answer, Failure> {
        let backend = self.backend.clone();
        match tokio::task::spawn_blocking(move || backend.call(request)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Refusal::new(RefusalKind::Internal, "the request failed inside").into()),
        }
    }

    /// Asks, for who can't wait for the answer.
    pub(super) fn call_aside(&self, request: Request) {
        let backend = self.backend.clone();
        // Outside a runtime the server has ended, and control with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || backend.call(request));
        }
    }

    /// Orders what is to be asked about afterwards.
    ///
    /// # Errors
    /// The refusal as a response.
    pub(super) async fn begin(&self, request: Request) -> Result<(), Response> {
        let ordered = self.order(request).await;
        if ordered.status().is_success() { Ok(()) } else { Err(ordered) }
    }

    /// Orders what `parse` makes of a body, on a thread that may block, and answers 200 with what
    /// comes with the request.
    pub(super) async fn order_parsed<T, F>(&self, parse: F) -> Response
    where
        T: Serialize,
        F: FnOnce() -> Result<(Request, T), Failure> + Send + 'static,
    {
        let backend = self.backend.clone();
        self.blocking(move || match parse() {
            Ok((request, body)) => backend.call(request).map(|_| json(&body)),
            Err(failure) => Ok(failure.into_response()),
        })
        .await
    }

    /// Asks what `parse` makes of a body, on a thread that may block, and answers 200 with what `pick`
    /// takes out of the answer.
    pub(super) async fn ask_parsed<T, P, F>(&self, parse: P, pick: F) -> Response
    where
        T: Serialize,
        P: FnOnce() -> Result<Request, Failure> + Send + 'static,
        F: FnOnce(Answer) -> Result<T, Refusal> + Send + 'static,
    {
        let backend = self.backend.clone();
        self.blocking(move || match parse() {
            Ok(request) => backend.call(request).and_then(pick).map(|body| json(&body)),
            Err(failure) => Ok(failure.into_response()),
        })
        .await
    }

    /// Asks again and again until the answer is enough or so long has passed, and answers 200 with the last
    /// one. Between two times it waits without a thread.
    pub(super) async fn ask_until<T: Serialize + Send + 'static>(
        &self,
        request: Request,
        pick: fn(Answer) -> Result<T, Refusal>,
        is_enough: fn(&T) -> bool,
        patience: Duration,
    ) -> Response {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let (backend, request) = (self.backend.clone(), request.clone());
            let asked = tokio::task::spawn_blocking(move || backend.call(request).and_then(pick));
            match asked.await {
                Ok(Ok(body)) if is_enough(&body) => return json(&body),
                Ok(Ok(body)) if tokio::time::Instant::now() >= deadline => return json(&body),
                Ok(Ok(_)) => tokio::time::sleep(ASK_AGAIN).await,
                Ok(Err(refusal)) => return Failure::from(refusal).into_response(),
                Err(_) => {
                    let refusal = Refusal::new(RefusalKind::Internal, "the request failed inside");
                    return Failure::from(refusal).into_response();
                }
            }
        }
    }

    async fn blocking<F>(&self, work: F) -> Response
    where
        F: FnOnce() -> Result<Response, Refusal> + Send + 'static,
    {
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(response)) => response,
            Ok(Err(refusal)) => Failure::from(refusal).into_response(),
            Err(_) => {
                let refusal = Refusal::new(RefusalKind::Internal, "the request failed inside");
                Failure::from(refusal).into_response()
            }
        }
    }
}

/// A 200 with a JSON body.
fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(bytes.into()),
        Err(error) => {
            let message = format!("the answer cannot be written as JSON: {error}");
            Failure::from(Refusal::new(RefusalKind::Internal, message)).into_response()
        }
    }
}

/// A 200 with a body that is JSON already.
pub(super) fn json_bytes(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response()
}

/// An answer that is not a success.
#[derive(Debug)]
pub(in crate::api) struct Failure {
    status: StatusCode,
    refusal: Refusal,
}

impl Failure {
    /// A fault of the client's, before the backend is asked.
    pub(super) fn client(status: StatusCode, message: impl Into<String>) -> Self {
        let kind = match status {
            StatusCode::NOT_FOUND => RefusalKind::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE => RefusalKind::Limit,
            StatusCode::SERVICE_UNAVAILABLE => RefusalKind::Unavailable,
            _ => RefusalKind::Invalid,
        };
        Self { status, refusal: Refusal::new(kind, message) }
    }

    /// The same, because of one change of a batch.
    pub(super) fn at_change(mut self, change: usize) -> Self {
        self.refusal.change = Some(change);
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Duplicate | RefusalKind::Conflict | RefusalKind::Limit => {
                StatusCode::CONFLICT
            }
            RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            RefusalKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, refusal }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json(&ErrorBody { error: self.refusal });
        *response.status_mut() = self.status;
        response
    }
}

/// Reads JSON: malformed is 400, well-formed and wrong is 422. `what` begins the message.
pub(super) fn parse_json<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    what: &str,
) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let status = match error.classify() {
            serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        Failure::client(status, format!("{what}: {error}"))
    })
}

/// Parameters of the path, percent-decoded and checked; a bad one is 400.
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let rejected = match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(parameters)) => return Ok(Self(parameters)),
            Err(rejected) => rejected,
        };
        let message = match &rejected {
            PathRejection::FailedToDeserializePathParams(failed) => match failed.kind() {
                ErrorKind::DeserializeError { key, message, .. } => format!("{key}: {message}"),
                ErrorKind::InvalidUtf8InPathParam { key } => format!("{key}: not UTF-8"),
                other => other.to_string(),
            },
            other => other.to_string(),
        };
        Err(Failure::client(StatusCode::BAD_REQUEST, message))
    }
}

/// Parameters of the query, checked; a bad one is 400.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        use axum::extract::Query;
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejected) => Err(Failure::client(StatusCode::BAD_REQUEST, rejected.body_text())),
        }
    }
}

/// A body in memory, within the limits.
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    /// Gives the memory back to others when the body is dropped.
    _budget: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Api> for Whole {
    type Rejection = Failure;

    async fn from_request(request: axum::extract::Request, api: &Api) -> Result<Self, Failure> {
        let collected = tokio::time::timeout(BODY_PATIENCE, collect(request.into_body(), api));
        collected.await.unwrap_or_else(|_| {
            let message = format!("body not received within {} s", BODY_PATIENCE.as_secs());
            Err(Failure::client(StatusCode::REQUEST_TIMEOUT, message))
        })
    }
}

/// Collects a body. Memory is claimed as the bytes come, so that a client that announces much and
/// sends nothing holds nothing.
async fn collect(mut body: Body, api: &Api) -> Result<Whole, Failure> {
    let too_large = || {
        let message = format!("body larger than {BODY_LIMIT} bytes; send it in parts");
        Failure::client(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let announced = hyper::body::Body::size_hint(&body).lower();
    if announced > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    let mut whole = Whole { bytes: Vec::new(), _budget: None };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::client(StatusCode::BAD_REQUEST, format!("body broken off: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.is_empty() {
            continue;
        }
        if whole.bytes.len() + data.len() > BODY_LIMIT {
            return Err(too_large());
        }
        let counted = |length: usize| length.saturating_sub(BODY_FREE);
        let claim = counted(whole.bytes.len() + data.len()) - counted(whole.bytes.len());
        let claim = u32::try_from(claim).map_err(|_| too_large())?;
        let granted = api.bodies.clone().try_acquire_many_owned(claim).map_err(|_| {
            let message = "too many large requests at once; try again";
            Failure::client(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
        match &mut whole._budget {
            Some(budget) => budget.merge(granted),
            empty => *empty = Some(granted),
        }
        whole.bytes.extend_from_slice(&data);
    }
    Ok(whole)
}

/// A JSON body.
pub(super) struct Wish<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Wish<T> {
    type Rejection = Failure;

    async fn from_request(request: axum::extract::Request, api: &Api) -> Result<Self, Failure> {
        let whole = Whole::from_request(request, api).await?;
        // serde would take a list of values for an object of fields.
        if whole.bytes.trim_ascii_start().first() == Some(&b'[') {
            let message = "body: want an object, not a list";
            return Err(Failure::client(StatusCode::UNPROCESSABLE_ENTITY, message));
        }
        parse_json(&whole.bytes, "body").map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake::Fake;

    #[tokio::test]
    async fn a_small_body_is_taken_while_large_ones_have_all_the_memory() {
        let backend = Arc::new(Fake::default());
        let bodies = Arc::new(Semaphore::new(0));
        let api = Api { backend, document: Bytes::new(), bodies };
        let small = collect(Body::from(vec![b'x'; BODY_FREE]), &api).await;
        assert_eq!(small.map(|whole| whole.bytes.len()).ok(), Some(BODY_FREE));
        let large = collect(Body::from(vec![b'x'; BODY_FREE + 1]), &api).await;
        assert_eq!(
            large.err().map(|failure| failure.status),
            Some(StatusCode::SERVICE_UNAVAILABLE)
        );
    }
}
