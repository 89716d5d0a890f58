//! `/v1/routes`, `/v1/lookup` and `/v1/neighbors`.

use super::exchange::{Api, Asked, At, Failure, Wish};
use super::mismatch;
use super::parameters::{IpPath, Page, PrefixPath};
use crate::api::backend::{Action, Answer, ROUTE_PAGE, Refusal, Request, Show};
use crate::api::view::{Neighbor, RouteDecision, RoutePage};
use crate::model::{Change, Name, Via};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dataplane::wire::ethernet::MacAddr;
use hyper::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

/// What is asked of a neighbor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NeighborWish {
    /// Its MAC.
    #[schema(value_type = String, example = "02:00:5e:10:00:01")]
    mac: MacAddr,
    /// The port that it is on.
    dev: Name,
}

fn route_page(answer: Answer) -> Result<RoutePage, Refusal> {
    match answer {
        Answer::Routes(page) => Ok(page),
        other => Err(mismatch(other)),
    }
}

fn decision(answer: Answer) -> Result<Box<RouteDecision>, Refusal> {
    match answer {
        Answer::RouteDecision(decision) => Ok(decision),
        other => Err(mismatch(other)),
    }
}

fn neighbor_list(answer: Answer) -> Result<Vec<Neighbor>, Refusal> {
    match answer {
        Answer::Neighbors(neighbors) => Ok(neighbors),
        other => Err(mismatch(other)),
    }
}

/// Routes in order of prefix, a page at a time.
#[utoipa::path(get, path = "/v1/routes", tag = "routes", params(Page),
    responses((status = 200, body = RoutePage)))]
pub(super) async fn routes(State(api): State<Api>, Asked(page): Asked<Page>) -> Response {
    let limit = page.limit.unwrap_or(ROUTE_PAGE);
    if !(1..=ROUTE_PAGE).contains(&limit) {
        let message = format!("limit {limit}: want 1 to {ROUTE_PAGE}");
        return Failure::client(StatusCode::BAD_REQUEST, message).into_response();
    }
    api.ask(Request::Show(Show::Routes { after: page.after, limit }), route_page).await
}

/// Adds a route.
#[utoipa::path(put, path = "/v1/routes/{prefix}", tag = "routes", params(PrefixPath),
    request_body = Via, responses((status = 204)))]
pub(super) async fn route_add(
    State(api): State<Api>,
    At(at): At<PrefixPath>,
    Wish(via): Wish<Via>,
) -> Response {
    api.order(Request::Change(vec![Change::RouteAdd { prefix: at.prefix, via }])).await
}

/// Deletes a route.
#[utoipa::path(delete, path = "/v1/routes/{prefix}", tag = "routes", params(PrefixPath),
    responses((status = 204)))]
pub(super) async fn route_del(State(api): State<Api>, At(at): At<PrefixPath>) -> Response {
    api.order(Request::Change(vec![Change::RouteDel { prefix: at.prefix }])).await
}

/// Which route decides for a destination, and what becomes of a packet to it.
#[utoipa::path(get, path = "/v1/lookup/{ip}", tag = "routes", params(IpPath),
    responses((status = 200, body = RouteDecision)))]
pub(super) async fn lookup(State(api): State<Api>, At(at): At<IpPath>) -> Response {
    api.ask(Request::Show(Show::RouteTo(at.ip)), decision).await
}

/// Neighbors.
#[utoipa::path(get, path = "/v1/neighbors", tag = "neighbors",
    responses((status = 200, body = Vec<Neighbor>)))]
pub(super) async fn neighbors(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Neighbors), neighbor_list).await
}

/// Adds a static neighbor.
#[utoipa::path(put, path = "/v1/neighbors/{ip}", tag = "neighbors", params(IpPath),
    request_body = NeighborWish, responses((status = 204)))]
pub(super) async fn neighbor_add(
    State(api): State<Api>,
    At(at): At<IpPath>,
    Wish(wish): Wish<NeighborWish>,
) -> Response {
    let change = Change::NeighborAdd { ip: at.ip, mac: wish.mac, dev: wish.dev };
    api.order(Request::Change(vec![change])).await
}

/// Deletes a static neighbor.
#[utoipa::path(delete, path = "/v1/neighbors/{ip}", tag = "neighbors", params(IpPath),
    responses((status = 204)))]
pub(super) async fn neighbor_del(State(api): State<Api>, At(at): At<IpPath>) -> Response {
    api.order(Request::Change(vec![Change::NeighborDel { ip: at.ip }])).await
}

/// Forgets all learned neighbors.
#[utoipa::path(post, path = "/v1/neighbors/flush", tag = "neighbors", responses((status = 204)))]
pub(super) async fn neighbors_flush(State(api): State<Api>) -> Response {
    api.order(Request::Act(Action::NeighborFlush(None))).await
}

/// Forgets what was learned of one address.
#[utoipa::path(post, path = "/v1/neighbors/{ip}/flush", tag = "neighbors", params(IpPath),
    responses((status = 204)))]
pub(super) async fn neighbor_flush(State(api): State<Api>, At(at): At<IpPath>) -> Response {
    api.order(Request::Act(Action::NeighborFlush(Some(at.ip)))).await
}
