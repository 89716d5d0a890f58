//! Raw names of libdpdk: what bindgen finds in the installed headers under the allow-list of
//! build.rs, and the `gw_` functions of shim.c for its static inlines.
//!
//! Nothing here is safe to call or says when it would be; `dataplane::dpdk` does both.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    reason = "generated from C headers"
)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks, reason = "generated from C headers")]

include!(concat!(env!("OUT_DIR"), "/names.rs"));

/// Oldest version to start with, as text.
pub const GUESTWAY_DPDK_MIN: &str = env!("GUESTWAY_DPDK_MIN");
/// Why an older one will not do.
pub const GUESTWAY_DPDK_TOO_OLD: &str = env!("GUESTWAY_DPDK_TOO_OLD");
/// The version whose headers these names come from.
pub const GUESTWAY_DPDK_FOUND: &str = env!("GUESTWAY_DPDK_FOUND");
