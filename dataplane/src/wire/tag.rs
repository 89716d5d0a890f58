//! 802.1Q tags (802.1Q-2018 9.6): read, pushed and popped between the MACs and the EtherType.

use super::ethernet::{ETHERTYPE_VLAN, HEADER_BYTES, TAG_BYTES};
use super::offload::Offload;
use crate::frame::Frame;

/// Bytes of both MACs, which a tag stands behind.
const MACS_BYTES: usize = 12;

/// An 802.1Q tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Priority (3 bits) and drop eligibility (1 bit), as they stood: the high 4 bits of the TCI.
    pub pcp_dei: u8,
    /// VLAN ID, 0 to 4095; 0 says "priority only, untagged", 4095 is reserved.
    pub vid: u16,
    /// EtherType behind the tag.
    pub inner_type: u16,
}

impl Tag {
    /// Reads the tag of a whole frame whose EtherType is known to be [`ETHERTYPE_VLAN`]; `None`
    /// where the frame ends within it.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Tag> {
        let [high, low, inner_high, inner_low] = *bytes.get(HEADER_BYTES..)?.first_chunk()?;
        Some(Tag {
            pcp_dei: high >> 4,
            vid: u16::from_be_bytes([high & 0xf, low]),
            inner_type: u16::from_be_bytes([inner_high, inner_low]),
        })
    }
}

/// Pushes a tag with priority 0; false, and nothing changed, where headroom is short or the frame
/// has no Ethernet header. Only the low 12 bits of `vid` are used.
#[inline]
pub fn push_tag(frame: &mut impl Frame, vid: u16) -> bool {
    if frame.head().len() < HEADER_BYTES || !frame.grow_front(TAG_BYTES) {
        return false;
    }
    let head = frame.head_mut();
    head.copy_within(TAG_BYTES..TAG_BYTES + MACS_BYTES, 0);
    if let Some(tag) = head.get_mut(MACS_BYTES..MACS_BYTES + TAG_BYTES) {
        tag[..2].copy_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
        tag[2..].copy_from_slice(&(vid & 0xfff).to_be_bytes());
    }
    move_headers(frame, |l2| l2 + TAG_BYTES);
    true
}

/// Pops the 802.1Q tag off; false, and nothing changed, where the frame has none.
#[inline]
pub fn pop_tag(frame: &mut impl Frame) -> bool {
    let head = frame.head_mut();
    let tagged = head.get(MACS_BYTES..HEADER_BYTES) == Some(&ETHERTYPE_VLAN.to_be_bytes())
        && head.len() >= HEADER_BYTES + TAG_BYTES;
    if tagged {
        head.copy_within(..MACS_BYTES, TAG_BYTES);
    }
    let popped = tagged && frame.shrink_front(TAG_BYTES);
    if popped {
        move_headers(frame, |l2| l2.saturating_sub(TAG_BYTES));
    }
    popped
}

/// What is left to do on the frame says where its packet begins.
#[inline]
fn move_headers(frame: &mut impl Frame, to: impl FnOnce(usize) -> usize) {
    let offload = frame.offload();
    if offload != Offload::None {
        frame.set_offload(offload.with_l2(to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::memory::MemoryFrame;
    use crate::ids::PortId;
    use crate::wire::ethernet::{ETHERTYPE_ARP, Ethernet};
    use proptest::prelude::*;

    #[test]
    fn a_tag_is_read_by_its_fields() {
        let mut bytes = [0u8; 18];
        bytes[12..].copy_from_slice(&[0x81, 0, 0xb0, 0x64, 8, 6]);
        let tag = Tag { pcp_dei: 0xb, vid: 100, inner_type: ETHERTYPE_ARP };
        assert_eq!(Tag::parse(&bytes), Some(tag));
        assert_eq!(Tag::parse(&bytes[..17]), None);
    }

    #[test]
    fn an_untagged_frame_is_not_popped() {
        let mut frame = MemoryFrame::new(&[8; 60], PortId(1));
        assert!(!pop_tag(&mut frame));
        assert_eq!(frame.head(), [8; 60]);
    }

    #[test]
    fn without_headroom_nothing_changes() {
        let mut frame = MemoryFrame::new(&[8; 60], PortId(1));
        assert!(frame.grow_front(crate::frame::HEADROOM_BYTES - 3));
        let before = frame.head().to_vec();
        assert!(!push_tag(&mut frame, 5));
        assert_eq!(frame.head(), before);
    }

    proptest! {
        #[test]
        fn push_then_pop_is_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80), vid: u16) {
            let mut frame = MemoryFrame::new(&bytes, PortId(1));
            if push_tag(&mut frame, vid) {
                let outer = Ethernet::parse(frame.head()).unwrap();
                let inner = Ethernet::parse(&bytes).unwrap();
                prop_assert_eq!(outer.ether_type, ETHERTYPE_VLAN);
                prop_assert_eq!(outer.destination, inner.destination);
                prop_assert_eq!(outer.source, inner.source);
                let tag = Tag::parse(frame.head()).unwrap();
                prop_assert_eq!((tag.vid, tag.inner_type), (vid & 0xfff, inner.ether_type));
                prop_assert_eq!(tag.pcp_dei, 0);
                prop_assert!(pop_tag(&mut frame));
            } else {
                prop_assert!(bytes.len() < HEADER_BYTES);
            }
            prop_assert_eq!(frame.head(), &bytes[..]);
        }

        #[test]
        fn pop_takes_four_bytes_or_none(
            mut bytes in prop::collection::vec(any::<u8>(), 0..80),
            tag: bool,
        ) {
            if tag && bytes.len() > 14 {
                bytes[12..14].copy_from_slice(&[0x81, 0]);
            }
            let mut frame = MemoryFrame::new(&bytes, PortId(1));
            let popped = pop_tag(&mut frame);
            prop_assert_eq!(frame.len() + if popped { 4 } else { 0 }, bytes.len());
        }
    }
}
