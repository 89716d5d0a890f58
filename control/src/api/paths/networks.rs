//! `/v1/networks`: virtual networks, the server's port on them, their MACs.

use super::exchange::{Api, At, Wish};
use super::parameters::{MacPath, NetworkPath};
use super::{mismatch, only};
use crate::api::backend::{Action, Answer, Refusal, Request, Show};
use crate::api::view::{MacEntry, Network};
use crate::model::{Change, MacTarget, NetworkAttach, NetworkPatch, NetworkServer};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

/// What is asked of a network.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkWish {
    /// What it is attached to.
    attach: NetworkAttach,
}

fn networks(answer: Answer) -> Result<Vec<Network>, Refusal> {
    match answer {
        Answer::Networks(networks) => Ok(networks),
        other => Err(mismatch(other)),
    }
}

fn mac_entries(answer: Answer) -> Result<Vec<MacEntry>, Refusal> {
    match answer {
        Answer::Macs(macs) => Ok(macs),
        other => Err(mismatch(other)),
    }
}

/// All networks.
#[utoipa::path(get, path = "/v1/networks", tag = "networks",
    responses((status = 200, body = Vec<Network>)))]
pub(super) async fn list(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Networks(None)), networks).await
}

/// A network.
#[utoipa::path(get, path = "/v1/networks/{network}", tag = "networks", params(NetworkPath),
    responses((status = 200, body = Network)))]
pub(super) async fn show(State(api): State<Api>, At(at): At<NetworkPath>) -> Response {
    let what = format!("network {}", at.network);
    let pick = move |answer| networks(answer).and_then(|all| only(all, &what));
    api.ask(Request::Show(Show::Networks(Some(at.network))), pick).await
}

/// Adds a network.
#[utoipa::path(put, path = "/v1/networks/{network}", tag = "networks", params(NetworkPath),
    request_body = NetworkWish, responses((status = 204)))]
pub(super) async fn add(
    State(api): State<Api>,
    At(at): At<NetworkPath>,
    Wish(wish): Wish<NetworkWish>,
) -> Response {
    let change = Change::NetworkAdd { network: at.network, attach: wish.attach };
    api.order(Request::Change(vec![change])).await
}

/// Changes a network while it runs; what is left out stays as it is.
#[utoipa::path(patch, path = "/v1/networks/{network}", tag = "networks", params(NetworkPath),
    request_body = NetworkPatch, responses((status = 204)))]
pub(super) async fn set(
    State(api): State<Api>,
    At(at): At<NetworkPath>,
    Wish(set): Wish<NetworkPatch>,
) -> Response {
    api.order(Request::Change(vec![Change::NetworkSet { network: at.network, set }])).await
}

/// Deletes a network that has no members.
#[utoipa::path(delete, path = "/v1/networks/{network}", tag = "networks", params(NetworkPath),
    responses((status = 204)))]
pub(super) async fn del(State(api): State<Api>, At(at): At<NetworkPath>) -> Response {
    api.order(Request::Change(vec![Change::NetworkDel { network: at.network }])).await
}

/// Puts the server's own port on a network.
#[utoipa::path(put, path = "/v1/networks/{network}/server", tag = "networks", params(NetworkPath),
    request_body = NetworkServer, responses((status = 204)))]
pub(super) async fn server_set(
    State(api): State<Api>,
    At(at): At<NetworkPath>,
    Wish(wish): Wish<NetworkServer>,
) -> Response {
    let change = Change::NetworkServer { network: at.network, server: Some(wish) };
    api.order(Request::Change(vec![change])).await
}

/// Takes the server's port off a network.
#[utoipa::path(delete, path = "/v1/networks/{network}/server", tag = "networks",
    params(NetworkPath), responses((status = 204)))]
pub(super) async fn server_del(State(api): State<Api>, At(at): At<NetworkPath>) -> Response {
    let change = Change::NetworkServer { network: at.network, server: None };
    api.order(Request::Change(vec![change])).await
}

/// MACs of a network.
#[utoipa::path(get, path = "/v1/networks/{network}/macs", tag = "macs", params(NetworkPath),
    responses((status = 200, body = Vec<MacEntry>)))]
pub(super) async fn macs(State(api): State<Api>, At(at): At<NetworkPath>) -> Response {
    api.ask(Request::Show(Show::Macs(at.network)), mac_entries).await
}

/// Forgets the learned MACs of a network.
#[utoipa::path(post, path = "/v1/networks/{network}/macs/flush", tag = "macs", params(NetworkPath),
    responses((status = 204)))]
pub(super) async fn macs_flush(State(api): State<Api>, At(at): At<NetworkPath>) -> Response {
    api.order(Request::Act(Action::MacFlush(at.network))).await
}

/// Adds a static MAC.
#[utoipa::path(put, path = "/v1/networks/{network}/macs/{mac}", tag = "macs", params(MacPath),
    request_body = MacTarget, responses((status = 204)))]
pub(super) async fn mac_add(
    State(api): State<Api>,
    At(at): At<MacPath>,
    Wish(to): Wish<MacTarget>,
) -> Response {
    let change = Change::MacAdd { network: at.network, mac: at.mac, to };
    api.order(Request::Change(vec![change])).await
}

/// Deletes a static MAC.
#[utoipa::path(delete, path = "/v1/networks/{network}/macs/{mac}", tag = "macs", params(MacPath),
    responses((status = 204)))]
pub(super) async fn mac_del(State(api): State<Api>, At(at): At<MacPath>) -> Response {
    let change = Change::MacDel { network: at.network, mac: at.mac };
    api.order(Request::Change(vec![change])).await
}
