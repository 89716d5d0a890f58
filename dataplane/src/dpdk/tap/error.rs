//! Why a tap could not be opened.

use super::super::netns::NetnsError;
use std::io;

/// Why a tap could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Its namespace.
    #[error("interface {iface}: {source}")]
    Netns {
        /// Its name.
        iface: String,
        /// Why.
        source: NetnsError,
    },
    /// The kernel's tap device.
    #[error("interface {iface}: can't open /dev/net/tun: {source}")]
    Device {
        /// The interface's name.
        iface: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Another port or another process holds it.
    #[error("interface {iface} exists and is in use by another port or process")]
    InUse {
        /// Its name.
        iface: String,
    },
    /// Something else has that name.
    #[error("interface {iface} exists and is no tap: choose another name, or delete it")]
    NoTap {
        /// Its name.
        iface: String,
    },
    /// It was made for one queue, or something else has that name.
    #[error(
        "interface {iface} exists and is no tap of several queues: delete it, or ask for one queue \
         and not {queues}"
    )]
    OneQueue {
        /// Its name.
        iface: String,
        /// Queues asked for.
        queues: u16,
    },
    /// None, or more than the kernel gives one interface.
    #[error("interface {iface}: a tap has 1 to {max} queues, not {asked}")]
    Queues {
        /// Its name.
        iface: String,
        /// Queues asked for.
        asked: u16,
        /// The most.
        max: u16,
    },
    /// The kernel refused one step.
    #[error("interface {iface}: can't {step}: {source}")]
    Step {
        /// Its name.
        iface: String,
        /// What was tried.
        step: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}
