//! Captured frames as a file: filters in the field's syntax, and pcapng, which Wireshark and tcpdump read.

pub mod filter;
pub mod pcapng;
