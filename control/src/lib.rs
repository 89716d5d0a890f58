//! Who the guests are: configuration, registry, ARP, publishing, control API.

pub mod model;
