//! Interfaces as links: find, change, name, delete.

use super::error::{Trouble, errno_of};
use dataplane::wire::ethernet::MacAddr;
use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, Prop};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

/// Longest name of an interface, alternative names apart (IFNAMSIZ less its zero byte).
const NAME_LENGTH_MAX: usize = 15;

/// What the kernel tells of an interface.
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) mac: Option<MacAddr>,
    pub(super) mtu: Option<u32>,
    pub(super) is_up: bool,
    pub(super) has_carrier: bool,
    /// Its name and its alternative names.
    names: Vec<String>,
}

impl Link {
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn read(message: LinkMessage) -> Self {
        let mut link = Link {
            index: message.header.index,
            mac: None,
            mtu: None,
            is_up: message.header.flags.contains(LinkFlags::Up),
            has_carrier: false,
            names: Vec::new(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.names.push(name),
                LinkAttribute::PropList(properties) => {
                    link.names.extend(properties.into_iter().filter_map(
                        |property| match property {
                            Prop::AltIfName(name) => Some(name),
                            _ => None,
                        },
                    ));
                }
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddr);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = Some(mtu),
                LinkAttribute::Carrier(carrier) => link.has_carrier = carrier == 1,
                _ => {}
            }
        }
        link
    }
}

/// The interface of that name, or of that alternative name.
pub(super) async fn find(kernel: &Handle, name: &str) -> Result<Option<Link>, Trouble> {
    // The kernel calls such a name out of range, which says less than that there is none.
    if name.is_empty() || name.len() > NAME_LENGTH_MAX {
        return Ok(None);
    }
    let mut answers = std::pin::pin!(kernel.link().get().match_name(name).execute());
    match answers.try_next().await {
        Ok(message) => Ok(message.map(Link::read)),
        Err(error) if errno_of(&error) == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(Trouble::refused("look it up", &error)),
    }
}

/// Changes what `message` names and nothing else.
pub(super) async fn change(
    kernel: &Handle,
    message: LinkMessageBuilder<LinkUnspec>,
    step: &str,
) -> Result<(), Trouble> {
    let changed = kernel.link().change(message.build()).execute().await;
    changed.map_err(|error| Trouble::refused(step, &error))
}

/// Gives the interface one more name. A name that is taken stays with whoever has it, and a kernel
/// without alternative names (before 5.5) goes without.
pub(super) async fn add_name(kernel: &Handle, index: u32, name: &str) -> Result<(), Trouble> {
    let added = kernel.link().property_add(index).alt_ifname(&[name]).execute().await;
    match added {
        Err(error) if !matches!(errno_of(&error), Some(Errno::EEXIST | Errno::EOPNOTSUPP)) => {
            Err(Trouble::refused(format!("add the name {name}"), &error))
        }
        _ => Ok(()),
    }
}

/// Deletes the interface; it may have gone by itself meanwhile.
pub(super) async fn delete(kernel: &Handle, index: u32) -> Result<(), Trouble> {
    match kernel.link().del(index).execute().await {
        Err(error) if errno_of(&error) != Some(Errno::ENODEV) => {
            Err(Trouble::refused("delete it", &error))
        }
        _ => Ok(()),
    }
}
