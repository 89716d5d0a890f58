//! The control API: requests and answers as plain data, and HTTP over a UNIX socket that carries them.
//!
//! [`view`] is what is answered, [`backend`] how a request reaches the control thread, [`server`] the
//! socket and its limits; the paths and their OpenAPI document are in `paths`.

pub mod backend;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod keys;
pub(crate) mod paths;
mod schema;
pub mod server;
pub mod view;

/// The OpenAPI document: every path, what it takes and what it answers.
pub fn document() -> serde_json::Value {
    serde_json::to_value(paths::document()).unwrap_or_default()
}
