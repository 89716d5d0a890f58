//! Typed views of header bytes. Network byte order exists in here only.
//!
//! Invariant: nothing in here panics, whatever the bytes and however many. `parse` checks every
//! length once and copies the fields out, so what it returns can't fail later.

pub mod arp;
pub mod checksum;
pub mod dhcp;
pub mod ethernet;
pub mod fragment;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod offload;
pub mod tag;
