//! The guestway binary.
fn main() {}
