//! Who the guests are: configuration, registry, ARP, publishing, control API.

pub mod api;
pub mod kernel;
pub mod config;
pub mod model;
pub mod neighbor;
pub mod registry;
pub mod snapshot;
pub mod publish;
