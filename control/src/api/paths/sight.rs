//! Sight into the path of a packet.

use super::capture::FilterWish;
use super::exchange::{Api, Asked, Failure, Wish};
use super::mismatch;
use super::parameters::Measured;
use crate::api::backend::{Action, Answer, Request, Show, TraceStart};
use crate::api::view::{Direction, Latency, PortLabel, Trace};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Longest that is measured at once, seconds.
const SECONDS_MAX: u64 = 30;
/// How much later than its time a measurement may be done.
const GRACE: Duration = Duration::from_secs(5);

/// How long packets stay in the appliance, measured from now on; answered when the time is over. Where it is
/// being measured already the answer is of that measurement.
#[utoipa::path(get, path = "/v1/latency", tag = "sight", params(Measured),
    responses((status = 200, body = Latency)))]
pub(super) async fn latency(State(api): State<Api>, Asked(which): Asked<Measured>) -> Response {
    let seconds = which.seconds.unwrap_or(1);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        let message = format!("seconds {seconds}: want 1 to {SECONDS_MAX}");
        return Failure::client(StatusCode::BAD_REQUEST, message).into_response();
    }
    let pick = |answer| match answer {
        Answer::Latency(latency) => Ok(latency),
        other => Err(mismatch(other)),
    };
    if let Err(refused) = api.begin(Request::Act(Action::MeasureLatency { seconds })).await {
        return refused;
    }
    let patience = Duration::from_secs(SECONDS_MAX) + GRACE;
    let is_done = |latency: &Latency| !latency.measuring;
    api.ask_until(Request::Show(Show::Latency), pick, is_done, patience).await
}

/// Packets where nothing is said.
const COUNT: usize = 10;
/// Most that may be asked for.
const COUNT_MAX: usize = 1_000;
/// Seconds where nothing is said.
const TRACE_SECONDS: u64 = 10;

/// Whose way is to be told.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TraceWish {
    /// Guest, adapter (GUEST/ADAPTER) or port.
    #[schema(value_type = String)]
    pub(crate) target: PortLabel,
    /// Which packets; all where absent.
    #[serde(default)]
    pub(crate) direction: Direction,
    /// How many, 1 to 1000; 10 where absent.
    #[serde(default)]
    pub(crate) count: Option<usize>,
    /// Within how many seconds, 1 to 30; 10 where absent.
    #[serde(default)]
    pub(crate) seconds: Option<u64>,
    /// Which of the packets; all where absent.
    #[serde(default)]
    pub(crate) filter: Option<FilterWish>,
}

/// The way of the next packets from and to a guest, an adapter or a port, stage by stage, with the table entries
/// that decided. Answered when there are so many, or the time is over.
#[utoipa::path(post, path = "/v1/trace", tag = "sight", request_body = TraceWish,
    responses((status = 200, body = Trace)))]
pub(super) async fn trace(State(api): State<Api>, Wish(wish): Wish<TraceWish>) -> Response {
    let begun = begin(&api, wish).await;
    let number = match begun {
        Ok(number) => number,
        Err(failure) => return failure.into_response(),
    };
    let pick = |answer| match answer {
        Answer::Trace(trace) => Ok(trace),
        other => Err(mismatch(other)),
    };
    let patience = Duration::from_secs(SECONDS_MAX) + GRACE;
    api.ask_until(Request::Show(Show::Trace(number)), pick, |trace| !trace.tracing, patience).await
}

async fn begin(api: &Api, wish: TraceWish) -> Result<u64, Failure> {
    let bad = |message: String| Failure::client(StatusCode::UNPROCESSABLE_ENTITY, message);
    let count = wish.count.unwrap_or(COUNT);
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(bad(format!("count {count}: want 1 to {COUNT_MAX}")));
    }
    let seconds = wish.seconds.unwrap_or(TRACE_SECONDS);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(bad(format!("seconds {seconds}: want 1 to {SECONDS_MAX}")));
    }
    let filter = wish.filter.map(FilterWish::check).transpose()?;
    let TraceWish { target, direction, .. } = wish;
    let start = TraceStart { target, direction, count, seconds, filter };
    match api.call(Request::Trace(Box::new(start))).await? {
        Answer::Tracing(number) => Ok(number),
        other => Err(mismatch(other).into()),
    }
}
