//! What a receiver finds under a frame's tags. The guard has to look there, and no tag of a guest's own
//! may reach the wire.
//!
//! Receivers take off priority tags, stacked tags and LLC/SNAP headers by themselves, so a filter that
//! looks at the outer EtherType alone is none (VU#855201: CVE-2021-27853, -27854, -27861, -27862).

use crate::wire::ethernet::{ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, HEADER_BYTES};

/// Layers that the guard looks under; a frame with more passes no filter.
pub(super) const LAYERS_MAX: usize = 3;
/// Bytes of the longest layer: LLC and SNAP.
pub(super) const LAYER_BYTES_MAX: usize = 8;

/// Service tag of switches from before 802.1ad.
const ETHERTYPE_LEGACY_QINQ: u16 = 0x9100;
/// Smaller values of the EtherType field are lengths (IEEE 802.3 3.2.6).
const ETHERTYPE_MIN: u16 = 0x0600;

/// Whether an EtherType announces a tag.
#[inline]
pub(super) fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_LEGACY_QINQ)
}

/// EtherType and bytes of what lies under all tags and LLC/SNAP headers, of a frame that begins with
/// `head`. `None` where a tag is cut short or there are more than [`LAYERS_MAX`].
#[inline]
pub(super) fn innermost(head: &[u8]) -> Option<(u16, &[u8])> {
    let mut ether_type = Ethernet::parse(head)?.ether_type;
    let mut bytes = head.get(HEADER_BYTES..)?;
    for _ in 0..=LAYERS_MAX {
        (ether_type, bytes) = match *bytes {
            [_, _, high, low, ref behind @ ..] if is_tag(ether_type) => {
                (u16::from_be_bytes([high, low]), behind)
            }
            _ if is_tag(ether_type) => return None,
            // RFC 1042's organization code, or 802.1H's.
            [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, high, low, ref behind @ ..]
                if ether_type < ETHERTYPE_MIN =>
            {
                (u16::from_be_bytes([high, low]), behind)
            }
            _ => return Some((ether_type, bytes)),
        };
    }
    None
}
