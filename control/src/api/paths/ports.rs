//! `/v1/ports`, and `/v1/stats` and `/v1/xstats` for all ports at once.

use super::exchange::{Api, At, Wish};
use super::parameters::{NamedPortPath, PortPath};
use super::{mismatch, only};
use crate::api::backend::{Action, Answer, Refusal, Request, Show};
use crate::api::view::{PortInfo, PortStats, PortXstats};
use crate::model::{Change, PortPatch, PortWish};
use axum::extract::State;
use axum::response::Response;

fn infos(answer: Answer) -> Result<Vec<PortInfo>, Refusal> {
    match answer {
        Answer::PortInfo(infos) => Ok(infos),
        other => Err(mismatch(other)),
    }
}

fn counts(answer: Answer) -> Result<Vec<PortStats>, Refusal> {
    match answer {
        Answer::PortStats(counts) => Ok(counts),
        other => Err(mismatch(other)),
    }
}

fn extended(answer: Answer) -> Result<Vec<PortXstats>, Refusal> {
    match answer {
        Answer::PortXstats(extended) => Ok(extended),
        other => Err(mismatch(other)),
    }
}

/// All ports, guests' own included.
#[utoipa::path(get, path = "/v1/ports", tag = "ports",
    responses((status = 200, body = Vec<PortInfo>)))]
pub(super) async fn list(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::PortInfo(None)), infos).await
}

/// A port.
#[utoipa::path(get, path = "/v1/ports/{port}", tag = "ports", params(PortPath),
    responses((status = 200, body = PortInfo)))]
pub(super) async fn show(State(api): State<Api>, At(at): At<PortPath>) -> Response {
    let what = format!("port {}", at.port);
    let pick = move |answer| infos(answer).and_then(|all| only(all, &what));
    api.ask(Request::Show(Show::PortInfo(Some(at.port))), pick).await
}

/// Attaches an uplink, the host port or a shared port.
#[utoipa::path(put, path = "/v1/ports/{port}", tag = "ports", params(NamedPortPath),
    request_body = PortWish, responses((status = 204)))]
pub(super) async fn attach(
    State(api): State<Api>,
    At(at): At<NamedPortPath>,
    Wish(wish): Wish<PortWish>,
) -> Response {
    api.order(Request::Change(vec![Change::PortAttach { port: at.port, wish }])).await
}

/// Changes a port while it runs: MTU, started or stopped, the worker of a queue; an uplink's addresses and
/// gateway.
#[utoipa::path(patch, path = "/v1/ports/{port}", tag = "ports", params(NamedPortPath),
    request_body = PortPatch, responses((status = 204)))]
pub(super) async fn set(
    State(api): State<Api>,
    At(at): At<NamedPortPath>,
    Wish(set): Wish<PortPatch>,
) -> Response {
    api.order(Request::Change(vec![Change::PortSet { port: at.port, set }])).await
}

/// Detaches a port.
#[utoipa::path(delete, path = "/v1/ports/{port}", tag = "ports", params(NamedPortPath),
    responses((status = 204)))]
pub(super) async fn detach(State(api): State<Api>, At(at): At<NamedPortPath>) -> Response {
    api.order(Request::Change(vec![Change::PortDetach { port: at.port }])).await
}

/// Counters of a port.
#[utoipa::path(get, path = "/v1/ports/{port}/stats", tag = "ports", params(PortPath),
    responses((status = 200, body = PortStats)))]
pub(super) async fn stats(State(api): State<Api>, At(at): At<PortPath>) -> Response {
    let what = format!("port {}", at.port);
    let pick = move |answer| counts(answer).and_then(|all| only(all, &what));
    api.ask(Request::Show(Show::PortStats(Some(at.port))), pick).await
}

/// Extended statistics of a port, as its driver names them.
#[utoipa::path(get, path = "/v1/ports/{port}/xstats", tag = "ports", params(PortPath),
    responses((status = 200, body = PortXstats)))]
pub(super) async fn xstats(State(api): State<Api>, At(at): At<PortPath>) -> Response {
    let what = format!("port {}", at.port);
    let pick = move |answer| extended(answer).and_then(|all| only(all, &what));
    api.ask(Request::Show(Show::PortXstats(Some(at.port))), pick).await
}

/// Counters of a port back to 0, and those of the adapters on it.
#[utoipa::path(post, path = "/v1/ports/{port}/stats/clear", tag = "ports", params(PortPath),
    responses((status = 204)))]
pub(super) async fn stats_clear(State(api): State<Api>, At(at): At<PortPath>) -> Response {
    api.order(Request::Act(Action::ClearStats(Some(at.port)))).await
}

/// Counters of all ports.
#[utoipa::path(get, path = "/v1/stats", tag = "ports",
    responses((status = 200, body = Vec<PortStats>)))]
pub(super) async fn all_stats(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::PortStats(None)), counts).await
}

/// Extended statistics of all ports that have some.
#[utoipa::path(get, path = "/v1/xstats", tag = "ports",
    responses((status = 200, body = Vec<PortXstats>)))]
pub(super) async fn all_xstats(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::PortXstats(None)), extended).await
}

/// All counters back to 0.
#[utoipa::path(post, path = "/v1/stats/clear", tag = "ports", responses((status = 204)))]
pub(super) async fn all_stats_clear(State(api): State<Api>) -> Response {
    api.order(Request::Act(Action::ClearStats(None))).await
}
