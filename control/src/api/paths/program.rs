//! The program itself: batches of changes, version, start and stop, workers, drops, classes.

use super::exchange::{Api, Asked, At, Failure, Whole, Wish, json_bytes, parse_json};
use super::parameters::{ClassPath, EventsAfter};
use super::{mismatch, only};
use crate::api::backend::{Action, Answer, Refusal, Request, Show};
use crate::api::view::{Account, Class, Counters, Drops, EventPage, Version, Worker};
use crate::model::Change;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;
use utoipa::ToSchema;

/// What became of a batch.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct BatchDone {
    /// Changes made: all of them.
    changes: usize,
}

/// What is asked of a class.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassWish {
    /// Destinations that belong to it.
    #[schema(value_type = Vec<String>)]
    prefixes: Vec<IpNet>,
}

pub(super) fn picked_drops(answer: Answer) -> Result<Drops, Refusal> {
    match answer {
        Answer::Drops(drops) => Ok(drops),
        other => Err(mismatch(other)),
    }
}

/// Many changes as one transaction: all are made, or none. On failure `error.change` is the position
/// of the first that is refused.
#[utoipa::path(post, path = "/v1/batch", tag = "program", request_body = Vec<Change>,
    responses((status = 200, body = BatchDone)))]
pub(super) async fn batch(State(api): State<Api>, body: Whole) -> Response {
    api.order_parsed(move || {
        let changes = parse_changes(&body.bytes)?;
        let done = BatchDone { changes: changes.len() };
        Ok((Request::Change(changes), done))
    })
    .await
}

/// One by one, so that an error says which.
fn parse_changes(bytes: &[u8]) -> Result<Vec<Change>, Failure> {
    let raw: Vec<&RawValue> = parse_json(bytes, "body: want a list of changes")?;
    let parse = |(position, one): (usize, &&RawValue)| {
        parse_json(one.get().as_bytes(), &format!("change {position}"))
            .map_err(|failure| failure.at_change(position))
    };
    raw.iter().enumerate().map(parse).collect()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "program",
    responses((status = 200, body = serde_json::Value)))]
pub(super) async fn openapi(State(api): State<Api>) -> Response {
    json_bytes(api.document)
}

/// What runs.
#[utoipa::path(get, path = "/v1/version", tag = "program",
    responses((status = 200, body = Version)))]
pub(super) async fn version(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Version), |answer| match answer {
        Answer::Version(version) => Ok(version),
        other => Err(mismatch(other)),
    })
    .await
}

/// Forwarding on.
#[utoipa::path(post, path = "/v1/start", tag = "program", responses((status = 204)))]
pub(super) async fn start(State(api): State<Api>) -> Response {
    api.order(Request::Act(Action::Start)).await
}

/// Forwarding off: frames are received, dropped and counted.
#[utoipa::path(post, path = "/v1/stop", tag = "program", responses((status = 204)))]
pub(super) async fn stop(State(api): State<Api>) -> Response {
    api.order(Request::Act(Action::Stop)).await
}

/// Drains and ends the program.
#[utoipa::path(post, path = "/v1/shutdown", tag = "program", responses((status = 204)))]
pub(super) async fn shutdown(State(api): State<Api>) -> Response {
    api.order(Request::Act(Action::Shutdown)).await
}

/// Workers, their queues and how long their loops take.
#[utoipa::path(get, path = "/v1/workers", tag = "program",
    responses((status = 200, body = Vec<Worker>)))]
pub(super) async fn workers(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Workers), |answer| match answer {
        Answer::Workers(workers) => Ok(workers),
        other => Err(mismatch(other)),
    })
    .await
}

/// Frames dropped, by reason and by adapter.
#[utoipa::path(get, path = "/v1/drops", tag = "program", responses((status = 200, body = Drops)))]
pub(super) async fn drops(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Drops(None)), picked_drops).await
}

/// Traffic and load of everything, counted at one time: two answers give rates.
#[utoipa::path(get, path = "/v1/counters", tag = "program",
    responses((status = 200, body = Counters)))]
pub(super) async fn counters(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Metrics), |answer| match answer {
        Answer::Metrics(reading) => Ok(Counters::from(&*reading)),
        other => Err(mismatch(other)),
    })
    .await
}

/// Most events in one answer: as many as are kept.
const EVENT_PAGE: usize = 1_000;
/// Longest wait for an event, seconds.
const EVENT_WAIT_S: u64 = 30;

/// What happened, in order; with `wait`, what happens next.
#[utoipa::path(get, path = "/v1/events", tag = "program", params(EventsAfter),
    responses((status = 200, body = EventPage)))]
pub(super) async fn events(State(api): State<Api>, Asked(which): Asked<EventsAfter>) -> Response {
    let EventsAfter { after, limit, wait } = which;
    let limit = limit.unwrap_or(EVENT_PAGE);
    if !(1..=EVENT_PAGE).contains(&limit) {
        let message = format!("limit {limit}: want 1 to {EVENT_PAGE}");
        return Failure::client(StatusCode::BAD_REQUEST, message).into_response();
    }
    if wait > EVENT_WAIT_S {
        let message = format!("wait {wait}: want 0 to {EVENT_WAIT_S} seconds");
        return Failure::client(StatusCode::BAD_REQUEST, message).into_response();
    }
    let pick = |answer| match answer {
        Answer::Events(page) => Ok(page),
        other => Err(mismatch(other)),
    };
    let request = Request::Show(Show::Events { after, limit });
    let is_enough = |page: &EventPage| !page.events.is_empty();
    api.ask_until(request, pick, is_enough, Duration::from_secs(wait)).await
}

/// Traffic of all guests, by class.
#[utoipa::path(get, path = "/v1/accounting", tag = "classes",
    responses((status = 200, body = Vec<Account>)))]
pub(super) async fn accounting(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Accounting(None)), picked_accounts).await
}

pub(super) fn picked_accounts(answer: Answer) -> Result<Vec<Account>, Refusal> {
    match answer {
        Answer::Accounts(accounts) => Ok(accounts),
        other => Err(mismatch(other)),
    }
}

/// One destination class.
#[utoipa::path(get, path = "/v1/classes/{class}", tag = "classes", params(ClassPath),
    responses((status = 200, body = Class)))]
pub(super) async fn class(State(api): State<Api>, At(at): At<ClassPath>) -> Response {
    let what = format!("class {}", at.class);
    let pick = move |answer| match answer {
        Answer::Classes(classes) => only(classes, &what),
        other => Err(mismatch(other)),
    };
    api.ask(Request::Show(Show::Classes(Some(at.class))), pick).await
}

/// Destination classes.
#[utoipa::path(get, path = "/v1/classes", tag = "classes",
    responses((status = 200, body = Vec<Class>)))]
pub(super) async fn classes(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Classes(None)), |answer| match answer {
        Answer::Classes(classes) => Ok(classes),
        other => Err(mismatch(other)),
    })
    .await
}

/// Adds a class.
#[utoipa::path(put, path = "/v1/classes/{class}", tag = "classes", params(ClassPath),
    request_body = ClassWish, responses((status = 204)))]
pub(super) async fn class_add(
    State(api): State<Api>,
    At(at): At<ClassPath>,
    Wish(wish): Wish<ClassWish>,
) -> Response {
    let change = Change::ClassAdd { class: at.class, prefixes: wish.prefixes };
    api.order(Request::Change(vec![change])).await
}

/// Gives a class other prefixes in place of those that it has.
#[utoipa::path(patch, path = "/v1/classes/{class}", tag = "classes", params(ClassPath),
    request_body = ClassWish, responses((status = 204)))]
pub(super) async fn class_set(
    State(api): State<Api>,
    At(at): At<ClassPath>,
    Wish(wish): Wish<ClassWish>,
) -> Response {
    let change = Change::ClassSet { class: at.class, prefixes: wish.prefixes };
    api.order(Request::Change(vec![change])).await
}

/// Deletes a class.
#[utoipa::path(delete, path = "/v1/classes/{class}", tag = "classes", params(ClassPath),
    responses((status = 204)))]
pub(super) async fn class_del(State(api): State<Api>, At(at): At<ClassPath>) -> Response {
    api.order(Request::Change(vec![Change::ClassDel { class: at.class }])).await
}
