//! Metrics for Prometheus, read over HTTP.
//!
//! A scrape is one question to control's thread, answered with one [`Reading`]: everything at one time,
//! so that its numbers belong together. Names, labels and text are made of it on the scrape's own thread
//! (`text`), so that control is held for the reading alone. Nothing here changes anything.
//!
//! Counters begin at the program's start, those of a port or an adapter when it joins, and never go back:
//! `clear port stats` is for whoever types it ([`Baselines`]). Directions are the appliance's, as
//! everywhere: `receive` is what came from the guest.

mod baselines;
mod counters;
mod host;
mod page;
mod reading;
mod server;
#[cfg(test)]
pub(crate) mod tests;
mod text;

pub use crate::http::{BoundTcp, ListenError};
pub use baselines::Baselines;
pub use reading::{
    AdapterReading, DeviceCounts, FrontEnds, NetworkReading, PortReading, Program, Reading,
    WorkerReading,
};
pub use server::{bind, start};
pub use text::text;
