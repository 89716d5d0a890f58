//! Why the kernel's end of a tap is not what was asked for, in one sentence.

use super::place::Place;
use super::session::PATIENCE;
use nix::errno::Errno;
use rtnetlink::packet_core::{ErrorMessage, NlasIterator};
use std::path::PathBuf;

/// Which interface it was, and what was in the way.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("interface {interface} in {place}: {trouble}")]
pub struct KernelError {
    /// Its name.
    pub interface: String,
    /// Its namespace.
    pub place: Place,
    /// What was in the way.
    pub trouble: Trouble,
}

/// What was in the way.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// The namespace is not there.
    #[error("no such namespace: can't open {}: {reason}", path.display())]
    NoPlace {
        /// The file that would name it.
        path: PathBuf,
        /// The kernel's reason.
        reason: String,
    },
    /// The namespace can't be entered.
    #[error("can't enter {}: {reason}", path.display())]
    Closed {
        /// The file that names it.
        path: PathBuf,
        /// The kernel's reason.
        reason: String,
    },
    /// The namespace is there, the interface isn't.
    #[error("no such interface")]
    NoInterface,
    /// The kernel refused one step; those before it are done.
    #[error("can't {step}: {reason}")]
    Refused {
        /// What was tried, such as `set MTU 9000`.
        step: String,
        /// The kernel's reason.
        reason: String,
    },
    /// The kernel can't be asked at all.
    #[error("can't ask the kernel: {0}")]
    NoSession(String),
    /// No answer in time. What was asked may still happen.
    #[error("no answer from the kernel within {} s", PATIENCE.as_secs())]
    Slow,
}

impl Trouble {
    /// The kernel said no to `step`.
    pub(super) fn refused(step: impl Into<String>, error: &rtnetlink::Error) -> Self {
        Self::Refused { step: step.into(), reason: reason_of(error) }
    }
}

/// The kernel's number, where the error came from the kernel.
pub(super) fn errno_of(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(Errno::from_raw(-message.raw_code())),
        _ => None,
    }
}

fn reason_of(error: &rtnetlink::Error) -> String {
    match (error, errno_of(error)) {
        (rtnetlink::Error::NetlinkError(message), Some(errno)) => match words_of(message) {
            Some(words) => format!("{} ({words})", errno.desc()),
            None => errno.desc().to_owned(),
        },
        _ => error.to_string(),
    }
}

/// What the kernel says beside the number (NETLINK_EXT_ACK, linux/netlink.h): attributes behind the
/// refused message, which is sent back in full.
fn words_of(message: &ErrorMessage) -> Option<String> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let length = u32::from_ne_bytes(message.header.get(..4)?.try_into().ok()?);
    let attributes = message.header.get(usize::try_from(length).ok()?.next_multiple_of(4)..)?;
    let mut attributes = NlasIterator::new(attributes).map_while(Result::ok);
    let words = attributes.find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(words.value());
    Some(text.trim_end_matches(['\0', '.']).to_owned())
}
