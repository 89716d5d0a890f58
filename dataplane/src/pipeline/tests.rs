//! The whole path on in-memory frames: what arrives, what leaves, what is counted.
//!
//! [`lab`] is one host with all kinds of ports; each test sends frames into it and names everything
//! that may come out. When a lab ends it checks that its counters balance and its pool is whole, so
//! every test here is one of the counter identity too.

mod account;
mod alloc;
mod answer;
mod any;
mod bridge;
mod egress;
mod express;
mod fragment;
mod guard;
mod host;
mod lab;
mod learn;
mod member;
mod offload;
mod packet;
mod route;
mod shape;
mod sight;
mod threads;
mod uplink;
mod wire;
mod worker;
