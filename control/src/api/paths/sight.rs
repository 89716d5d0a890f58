//! Sight into the path of a packet.

use super::exchange::{Api, Asked, Failure};
use super::mismatch;
use super::parameters::Measured;
use crate::api::backend::{Action, Answer, Request, Show};
use crate::api::view::Latency;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use std::time::Duration;

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
