//! `/v1/guests`: guests and their adapters.

use super::exchange::{Api, At, Wish};
use super::parameters::{AdapterPath, GuestPath};
use super::{mismatch, only};
use crate::api::backend::{Answer, Refusal, RefusalKind, Request, Show};
use crate::api::view::{Account, Adapter, Drops, Guest};
use crate::model::{AdapterWish, Change, GuestKind};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

/// What is asked of a guest.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GuestWish {
    /// Container or VM.
    kind: GuestKind,
}

fn guests(answer: Answer) -> Result<Vec<Guest>, Refusal> {
    match answer {
        Answer::Guests(guests) => Ok(guests),
        other => Err(mismatch(other)),
    }
}

/// All guests with their adapters.
#[utoipa::path(get, path = "/v1/guests", tag = "guests",
    responses((status = 200, body = Vec<Guest>)))]
pub(super) async fn list(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Guests(None)), guests).await
}

/// A guest with its adapters.
#[utoipa::path(get, path = "/v1/guests/{guest}", tag = "guests", params(GuestPath),
    responses((status = 200, body = Guest)))]
pub(super) async fn show(State(api): State<Api>, At(at): At<GuestPath>) -> Response {
    let what = format!("guest {}", at.guest);
    let pick = move |answer| guests(answer).and_then(|all| only(all, &what));
    api.ask(Request::Show(Show::Guests(Some(at.guest))), pick).await
}

/// Adds a guest.
#[utoipa::path(put, path = "/v1/guests/{guest}", tag = "guests", params(GuestPath),
    request_body = GuestWish, responses((status = 204)))]
pub(super) async fn add(
    State(api): State<Api>,
    At(at): At<GuestPath>,
    Wish(wish): Wish<GuestWish>,
) -> Response {
    let change = Change::GuestAdd { guest: at.guest, kind: wish.kind };
    api.order(Request::Change(vec![change])).await
}

/// Deletes a guest and its adapters.
#[utoipa::path(delete, path = "/v1/guests/{guest}", tag = "guests", params(GuestPath),
    responses((status = 204)))]
pub(super) async fn del(State(api): State<Api>, At(at): At<GuestPath>) -> Response {
    api.order(Request::Change(vec![Change::GuestDel { guest: at.guest }])).await
}

/// Frames of a guest that were dropped, by reason and by adapter.
#[utoipa::path(get, path = "/v1/guests/{guest}/drops", tag = "guests", params(GuestPath),
    responses((status = 200, body = Drops)))]
pub(super) async fn drops(State(api): State<Api>, At(at): At<GuestPath>) -> Response {
    api.ask(Request::Show(Show::Drops(Some(at.guest))), super::program::picked_drops).await
}

/// Traffic of a guest, by adapter and class.
#[utoipa::path(get, path = "/v1/guests/{guest}/accounting", tag = "guests", params(GuestPath),
    responses((status = 200, body = Vec<Account>)))]
pub(super) async fn accounting(State(api): State<Api>, At(at): At<GuestPath>) -> Response {
    let show = Show::Accounting(Some(at.guest));
    api.ask(Request::Show(show), super::program::picked_accounts).await
}

/// Adapters of a guest.
#[utoipa::path(get, path = "/v1/guests/{guest}/adapters", tag = "adapters", params(GuestPath),
    responses((status = 200, body = Vec<Adapter>)))]
pub(super) async fn adapters(State(api): State<Api>, At(at): At<GuestPath>) -> Response {
    let what = format!("guest {}", at.guest);
    let pick = move |answer| Ok(only(guests(answer)?, &what)?.adapters);
    api.ask(Request::Show(Show::Guests(Some(at.guest))), pick).await
}

/// An adapter: both sides of its pair.
#[utoipa::path(get, path = "/v1/guests/{guest}/adapters/{adapter}", tag = "adapters",
    params(AdapterPath), responses((status = 200, body = Adapter)))]
pub(super) async fn adapter(State(api): State<Api>, At(at): At<AdapterPath>) -> Response {
    let AdapterPath { guest, adapter } = at;
    let what = format!("guest {guest}");
    let missing =
        Refusal::new(RefusalKind::NotFound, format!("guest {guest} has no adapter {adapter}"));
    let pick = move |answer| {
        let found = only(guests(answer)?, &what)?.adapters.into_iter();
        found.into_iter().find(|one: &Adapter| one.adapter == adapter).ok_or(missing)
    };
    api.ask(Request::Show(Show::Guests(Some(guest))), pick).await
}

/// Adds an adapter; what is left out gets its default. Answered once stored: its addresses may still
/// be `probing`.
#[utoipa::path(put, path = "/v1/guests/{guest}/adapters/{adapter}", tag = "adapters",
    params(AdapterPath), request_body = AdapterWish, responses((status = 204)))]
pub(super) async fn adapter_add(
    State(api): State<Api>,
    At(at): At<AdapterPath>,
    Wish(wish): Wish<AdapterWish>,
) -> Response {
    let change = Change::AdapterAdd { guest: at.guest, adapter: at.adapter, wish };
    api.order(Request::Change(vec![change])).await
}

/// Changes an adapter while it runs; what is left out stays as it is.
#[utoipa::path(patch, path = "/v1/guests/{guest}/adapters/{adapter}", tag = "adapters",
    params(AdapterPath), request_body = AdapterWish, responses((status = 204)))]
pub(super) async fn adapter_set(
    State(api): State<Api>,
    At(at): At<AdapterPath>,
    Wish(wish): Wish<AdapterWish>,
) -> Response {
    let change = Change::AdapterSet { guest: at.guest, adapter: at.adapter, wish };
    api.order(Request::Change(vec![change])).await
}

/// Deletes an adapter, both sides of it.
#[utoipa::path(delete, path = "/v1/guests/{guest}/adapters/{adapter}", tag = "adapters",
    params(AdapterPath), responses((status = 204)))]
pub(super) async fn adapter_del(State(api): State<Api>, At(at): At<AdapterPath>) -> Response {
    let change = Change::AdapterDel { guest: at.guest, adapter: at.adapter };
    api.order(Request::Change(vec![change])).await
}
