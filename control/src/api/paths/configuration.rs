//! The configuration as a whole: what runs as a file, and what runs made what a file says.

use super::exchange::{Api, Failure, Wish};
use super::mismatch;
use crate::api::backend::{Answer, Configure, Refusal, Request, Show};
use crate::api::view::{ConfigDiff, ConfigText, Configured};
use crate::config;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Deserialize;
use std::path::Path;
use utoipa::ToSchema;

/// A configuration file that is to be applied.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ConfigWish {
    /// How the file is called in errors.
    #[serde(default)]
    file: Option<String>,
    /// Its text, TOML.
    text: String,
    /// Only tell what would be changed.
    #[serde(default)]
    dry_run: bool,
}

/// The configuration that runs, as a file would say it.
#[utoipa::path(get, path = "/v1/config", tag = "configuration",
    responses((status = 200, body = ConfigText)))]
pub(super) async fn text(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::Config), |answer| match answer {
        Answer::ConfigText(text) => Ok(text),
        other => Err(mismatch(other)),
    })
    .await
}

/// How what runs differs from the configuration file.
#[utoipa::path(get, path = "/v1/config/diff", tag = "configuration",
    responses((status = 200, body = ConfigDiff)))]
pub(super) async fn diff(State(api): State<Api>) -> Response {
    api.ask(Request::Show(Show::ConfigDiff), |answer| match answer {
        Answer::ConfigDiff(diff) => Ok(diff),
        other => Err(mismatch(other)),
    })
    .await
}

/// Makes what runs what a configuration file says, as one transaction, and tells what was changed:
/// nothing where they agree already.
#[utoipa::path(post, path = "/v1/config/apply", tag = "configuration", request_body = ConfigWish,
    responses((status = 200, body = Configured)))]
pub(super) async fn apply(State(api): State<Api>, Wish(wish): Wish<ConfigWish>) -> Response {
    let parse = move || {
        let file = wish.file.as_deref().unwrap_or("configuration");
        let config = config::parse(Path::new(file), &wish.text).map_err(|errors| {
            Failure::client(StatusCode::UNPROCESSABLE_ENTITY, config::first(&errors))
        })?;
        let (config, dry_run) = (Box::new(config), wish.dry_run);
        Ok(Request::Configure(Configure::Apply { config, dry_run }))
    };
    api.ask_parsed(parse, picked).await
}

/// Makes what runs what it was before the last apply or rollback that changed something.
#[utoipa::path(post, path = "/v1/config/rollback", tag = "configuration",
    responses((status = 200, body = Configured)))]
pub(super) async fn rollback(State(api): State<Api>) -> Response {
    api.ask(Request::Configure(Configure::Rollback), picked).await
}

/// Writes what runs into the file that the appliance was started with; comments and order stay.
#[utoipa::path(post, path = "/v1/config/save", tag = "configuration",
    responses((status = 200, body = Configured)))]
pub(super) async fn save(State(api): State<Api>) -> Response {
    api.ask(Request::Configure(Configure::Save), picked).await
}

fn picked(answer: Answer) -> Result<Configured, Refusal> {
    match answer {
        Answer::Configured(done) => Ok(done),
        other => Err(mismatch(other)),
    }
}
