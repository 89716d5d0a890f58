//! The paths of the API, and the OpenAPI document that is made of them.
//!
//! A path is registered together with its documentation, so one that is not in the document does not
//! exist. Names in a path are percent-encoded where they hold a `/`: a prefix
//! (`203.0.113.0%2F24`), a guest's own port (`ct1%2Feth0`).

mod capture;
mod configuration;
mod exchange;
mod forwarding;
mod guests;
mod networks;
mod parameters;
mod ports;
mod program;
mod sight;

use super::backend::{Answer, Backend, ErrorBody, Refusal, RefusalKind};
use axum::Router;
use axum::response::IntoResponse;
use exchange::{Api, Failure};
use hyper::{Method, StatusCode, Uri};
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use capture::{CaptureWish, FilterWish};
#[cfg(test)]
pub(super) use exchange::BODY_LIMIT;
pub(crate) use sight::TraceWish;

/// What the document says of the API as a whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "guestway control API",
        description = "Guests, adapters, networks, ports and routes of one appliance, over its UNIX \
                       socket. `POST /v1/batch` carries many changes as one transaction.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ErrorBody, crate::model::Change))
)]
struct Document;

/// Every path, answered by this backend.
pub(super) fn router(backend: Arc<dyn Backend>) -> Router {
    let (router, document) = documented().split_for_parts();
    let text = with_errors(document).to_json().unwrap_or_default();
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Api::new(backend, text.into()))
}

/// The OpenAPI document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    with_errors(documented().into_openapi())
}

/// The paths together with their documentation.
fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(program::batch))
        .routes(routes!(program::openapi))
        .routes(routes!(program::version))
        .routes(routes!(program::start))
        .routes(routes!(program::stop))
        .routes(routes!(program::shutdown))
        .routes(routes!(program::workers))
        .routes(routes!(program::drops))
        .routes(routes!(sight::latency))
        .routes(routes!(capture::start, capture::show))
        .routes(routes!(capture::stop))
        .routes(routes!(sight::trace))
        .routes(routes!(program::counters))
        .routes(routes!(configuration::text))
        .routes(routes!(configuration::diff))
        .routes(routes!(configuration::apply))
        .routes(routes!(configuration::rollback))
        .routes(routes!(configuration::save))
        .routes(routes!(program::events))
        .routes(routes!(program::accounting))
        .routes(routes!(program::classes))
        .routes(routes!(program::class, program::class_add, program::class_set, program::class_del))
        .routes(routes!(guests::list))
        .routes(routes!(guests::show, guests::add, guests::del))
        .routes(routes!(guests::drops))
        .routes(routes!(guests::accounting))
        .routes(routes!(guests::adapters))
        .routes(routes!(
            guests::adapter,
            guests::adapter_add,
            guests::adapter_set,
            guests::adapter_del
        ))
        .routes(routes!(networks::list))
        .routes(routes!(networks::show, networks::add, networks::set, networks::del))
        .routes(routes!(networks::server_set, networks::server_del))
        .routes(routes!(networks::macs))
        .routes(routes!(networks::macs_flush))
        .routes(routes!(networks::mac_add, networks::mac_del))
        .routes(routes!(ports::list))
        .routes(routes!(ports::show, ports::attach, ports::set, ports::detach))
        .routes(routes!(ports::stats))
        .routes(routes!(ports::xstats))
        .routes(routes!(ports::stats_clear))
        .routes(routes!(ports::all_stats))
        .routes(routes!(ports::all_xstats))
        .routes(routes!(ports::all_stats_clear))
        .routes(routes!(forwarding::routes))
        .routes(routes!(forwarding::route_add, forwarding::route_del))
        .routes(routes!(forwarding::lookup))
        .routes(routes!(forwarding::neighbors))
        .routes(routes!(forwarding::neighbors_flush))
        .routes(routes!(forwarding::neighbor_add, forwarding::neighbor_del))
        .routes(routes!(forwarding::neighbor_flush))
}

/// Why any request may fail without a fault of the client's.
const INTERNAL: &str = "A fault inside: a worker that is silent, or a request that got lost.";

/// Gives every operation the failures that it can answer with.
fn with_errors(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut document.paths.paths {
        let reads = [&mut item.get];
        let writes = [&mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in reads.into_iter().flatten() {
            add_errors(operation, &[("500", INTERNAL), ("503", "Not now.")]);
            if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
                add_errors(operation, &[("400", "A bad parameter.")]);
            }
            if path.contains('{') {
                add_errors(operation, &[("404", "Not there.")]);
            }
            if path.starts_with("/v1/lookup/") {
                add_errors(operation, &[("422", "An address that is not routed.")]);
            }
        }
        for operation in writes.into_iter().flatten() {
            add_errors(
                operation,
                &[
                    ("400", "A bad parameter, or a body that is no JSON."),
                    ("404", "Something named is not there."),
                    ("409", "There already, in conflict with what is there, or at a limit."),
                    ("422", "A value that is not legal."),
                    ("500", INTERNAL),
                    ("503", "Not now; nothing was changed unless the message says so."),
                ],
            );
            if operation.request_body.is_some() {
                add_errors(operation, &[("408", "Too slow a body."), ("413", "Too large a body.")]);
            }
        }
    }
    document
}

fn add_errors(operation: &mut Operation, errors: &[(&str, &str)]) {
    for (status, description) in errors {
        let content =
            ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
        let response = ResponseBuilder::new()
            .description(*description)
            .content("application/json", content)
            .build();
        operation.responses.responses.insert((*status).to_owned(), response.into());
    }
}

async fn unknown_path(uri: Uri) -> impl IntoResponse {
    let message = format!("no path {}; GET /v1/openapi.json lists them", uri.path());
    Failure::client(StatusCode::NOT_FOUND, message)
}

async fn wrong_method(method: Method, uri: Uri) -> impl IntoResponse {
    let message = format!(
        "{method} is not for {}; the header Allow says what is, GET /v1/openapi.json more",
        uri.path()
    );
    Failure::client(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// The backend's answer is of another kind than the request asks for.
fn mismatch(_: Answer) -> Refusal {
    Refusal::new(RefusalKind::Internal, "the answer does not fit the request")
}

/// The one that was asked for by name.
fn only<T>(mut all: Vec<T>, what: &str) -> Result<T, Refusal> {
    let not_found = || Refusal::new(RefusalKind::NotFound, format!("no {what}"));
    all.pop().ok_or_else(not_found)
}
