//! Sight into the path of a packet, on request: the way of single packets ([`trace`]), copies of frames
//! ([`capture`]), of both those that a filter admits ([`bpf`]), and how long packets stay ([`latency`]).
//!
//! Each of these is a preallocated thing that control makes and a worker is lent by a command: it fills it
//! without a lock or an allocation and gives it back. While a worker has none, a burst costs one branch.

pub mod bpf;
pub mod capture;
pub mod latency;
pub mod trace;
