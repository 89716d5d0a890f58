//! Why a port could not be attached or changed.

use super::super::netns::NetnsError;
use dpdk_sys::RTE_MAX_ETHPORTS;

/// Why a port could not be attached or changed.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The text names no device.
    #[error("bad device {device:?}: {reason}")]
    BadDevice {
        /// As written.
        device: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Debian's limit.
    #[error(
        "can't attach {device:?}: DPDK was built with RTE_MAX_ETHPORTS={}, and so many are attached",
        RTE_MAX_ETHPORTS
    )]
    TooManyPorts {
        /// As written.
        device: String,
    },
    /// The name or PCI address is attached already.
    #[error("device {device:?}: {name} is attached already")]
    InUse {
        /// As written.
        device: String,
        /// Its name.
        name: String,
    },
    /// Another port or another process holds the tap's kernel interface.
    #[error("device {device:?}: the interface {interface} exists and is in use")]
    InterfaceInUse {
        /// As written.
        device: String,
        /// The kernel's name.
        interface: String,
    },
    /// No driver or no device of that name, or the driver could not make it.
    #[error("device {device:?} can't be attached: {reason}")]
    Probe {
        /// As written.
        device: String,
        /// What DPDK says.
        reason: String,
    },
    /// More queues than the device has, or none.
    #[error("device {device:?} has 1 to {max} {direction} queues, not {asked}")]
    Queues {
        /// As written.
        device: String,
        /// Receive or transmit.
        direction: &'static str,
        /// How many were asked for.
        asked: u16,
        /// How many it has.
        max: u16,
    },
    /// net_tap's queues come in pairs.
    #[error("device {device:?} needs as many receive as transmit queues, not {rx} and {tx}")]
    QueuePairs {
        /// As written.
        device: String,
        /// Receive queues asked for.
        rx: u16,
        /// Transmit queues asked for.
        tx: u16,
    },
    /// The device or the pool's segments can't carry it.
    #[error("MTU {mtu} is out of range for {device:?}: {min} to {max}")]
    Mtu {
        /// As written.
        device: String,
        /// What was asked for.
        mtu: u16,
        /// Least.
        min: u16,
        /// Most.
        max: u16,
    },
    /// The namespace of the device.
    #[error("device {device:?}: {source}")]
    Netns {
        /// As written.
        device: String,
        /// Why.
        source: NetnsError,
    },
    /// The driver refused a step.
    #[error("device {device:?}: can't {step}: {reason}")]
    Step {
        /// As written.
        device: String,
        /// What was tried.
        step: &'static str,
        /// What the driver says.
        reason: String,
    },
    /// Queue handles are missing or another port's.
    #[error("device {device:?}: {given} queue handles of it were given back, it has {needed}")]
    QueuesMissing {
        /// As written.
        device: String,
        /// How many were given.
        given: usize,
        /// How many it has.
        needed: usize,
    },
}
