//! Typed views of header bytes. Network byte order exists in here only.

pub mod ethernet;
