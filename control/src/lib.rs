//! Who the guests are: configuration, registry, ARP, publishing, control API.
//!
//! A change goes one way: file, command line or API, then [`registry`] (what is wanted), then
//! [`publish`] (the tables and records that workers read). [`neighbor`] speaks ARP; [`journal`] keeps
//! what was accepted; [`kernel`] sets up the kernel's end of taps; `appliance` is the loop that owns
//! them all; [`metrics`] tells what it counts, [`page`] draws it.

// print! and its like panic when their reader goes away, and a panic ends the forwarding.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]

pub mod accounts;
pub mod api;
#[cfg(feature = "dpdk")]
pub mod appliance;
pub mod capture;
pub mod cli;
pub mod config;
pub mod events;
pub mod heartbeat;
mod http;
pub mod journal;
pub mod kernel;
pub mod manager;
pub mod metrics;
pub mod model;
pub mod neighbor;
pub mod page;
pub mod privileges;
pub mod publish;
pub mod registry;
pub mod trace;
