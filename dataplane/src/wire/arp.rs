//! ARP for IPv4 over Ethernet (RFC 826), with the probes and announcements of RFC 5227.

use super::ethernet::{self, ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet, MacAddr};
use std::net::Ipv4Addr;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_BYTES: usize = 28;
/// Bytes of the frame around it, without padding.
pub const FRAME_BYTES: usize = ethernet::HEADER_BYTES + PACKET_BYTES;
/// Operation: who has the target address?
pub const REQUEST: u16 = 1;
/// Operation: the sender has.
pub const REPLY: u16 = 2;

/// Hardware type Ethernet, protocol type IPv4, 6 and 4 bytes of address.
const PREAMBLE: [u8; 6] = {
    let [high, low] = ETHERTYPE_IPV4.to_be_bytes();
    [0, 1, high, low, 6, 4]
};

/// An ARP request or reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// [`REQUEST`] or [`REPLY`].
    pub operation: u16,
    /// MAC of the sender; unicast and not zero.
    pub sender_mac: MacAddr,
    /// Address of the sender; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// MAC of the target; not meaningful in a request.
    pub target_mac: MacAddr,
    /// Address asked about, or that of who asked.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads the bytes behind the Ethernet header. `None` for anything but a whole request or reply
    /// for IPv4 over Ethernet, and for a sender MAC that is a group's or zero: nobody may be made
    /// to believe that (RFC 1812 3.3.2).
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Arp> {
        let (preamble, rest) = payload.first_chunk::<PACKET_BYTES>()?.split_first_chunk::<6>()?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let target_ip = rest.first_chunk::<4>()?;
        let arp = Arp {
            operation: u16::from_be_bytes(*operation),
            sender_mac: MacAddr(*sender_mac),
            sender_ip: Ipv4Addr::from(*sender_ip),
            target_mac: MacAddr(*target_mac),
            target_ip: Ipv4Addr::from(*target_ip),
        };
        let known = *preamble == PREAMBLE && matches!(arp.operation, REQUEST | REPLY);
        let sound = !arp.sender_mac.is_group() && arp.sender_mac != MacAddr::ZERO;
        (known && sound).then_some(arp)
    }

    /// The packet's bytes.
    #[inline]
    pub fn emit(&self) -> [u8; PACKET_BYTES] {
        let mut out = [0; PACKET_BYTES];
        out[..6].copy_from_slice(&PREAMBLE);
        out[6..8].copy_from_slice(&self.operation.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..].copy_from_slice(&self.target_ip.octets());
        out
    }

    /// The whole frame.
    #[inline]
    pub fn frame(&self, destination: MacAddr, source: MacAddr) -> [u8; FRAME_BYTES] {
        let mut out = [0; FRAME_BYTES];
        Ethernet { destination, source, ether_type: ETHERTYPE_ARP }.emit(&mut out);
        out[ethernet::HEADER_BYTES..].copy_from_slice(&self.emit());
        out
    }

    /// Asks who has `target_ip`, on behalf of the sender.
    #[inline]
    pub fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Arp {
        Arp { operation: REQUEST, sender_mac, sender_ip, target_mac: MacAddr::ZERO, target_ip }
    }

    /// Asks whether anybody has `target_ip`, without claiming it (RFC 5227 2.1.1).
    #[inline]
    pub fn probe(sender_mac: MacAddr, target_ip: Ipv4Addr) -> Arp {
        Arp::request(sender_mac, Ipv4Addr::UNSPECIFIED, target_ip)
    }

    /// Says that `ip` is at `mac` (RFC 5227 2.3).
    #[inline]
    pub fn announcement(mac: MacAddr, ip: Ipv4Addr) -> Arp {
        Arp::request(mac, ip, ip)
    }

    /// The answer to this request: its target is at `mac`.
    #[inline]
    pub fn answer(&self, mac: MacAddr) -> Arp {
        Arp {
            operation: REPLY,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// A request from nobody: is the target address in use?
    #[inline]
    pub fn is_probe(&self) -> bool {
        self.operation == REQUEST && self.sender_ip.is_unspecified()
    }

    /// Sender and target address are the same: a claim, by request or reply.
    #[inline]
    pub fn is_announcement(&self) -> bool {
        self.sender_ip == self.target_ip && !self.sender_ip.is_unspecified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
    const OWNER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x22]);

    #[test]
    fn a_real_request_is_read_and_written_back() {
        // arping -c1 192.0.2.1 from 192.0.2.9, as captured.
        let bytes = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x11, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
            2, 0, 0, 0, 0, 0x11, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
        ];
        let arp = Arp::parse(&bytes[14..]).unwrap();
        assert_eq!(
            arp,
            Arp::request(ASKER, Ipv4Addr::new(192, 0, 2, 9), Ipv4Addr::new(192, 0, 2, 1))
        );
        assert_eq!(arp.frame(MacAddr::BROADCAST, ASKER), bytes);
        assert!(!arp.is_probe() && !arp.is_announcement());
    }

    #[test]
    fn an_answer_turns_the_request_round() {
        let (asker, target) = (Ipv4Addr::new(192, 0, 2, 9), Ipv4Addr::new(192, 0, 2, 1));
        let answer = Arp::request(ASKER, asker, target).answer(OWNER);
        assert_eq!((answer.operation, answer.sender_mac, answer.sender_ip), (REPLY, OWNER, target));
        assert_eq!((answer.target_mac, answer.target_ip), (ASKER, asker));
    }

    #[test]
    fn probes_and_announcements_are_told_apart() {
        let ip = Ipv4Addr::new(192, 0, 2, 1);
        let (probe, claim) = (Arp::probe(ASKER, ip), Arp::announcement(ASKER, ip));
        assert!(probe.is_probe() && !probe.is_announcement());
        assert!(claim.is_announcement() && !claim.is_probe());
        assert!(!Arp::probe(ASKER, Ipv4Addr::UNSPECIFIED).is_announcement());
    }

    #[test]
    fn what_is_not_ipv4_over_ethernet_is_none() {
        let good = Arp::probe(ASKER, Ipv4Addr::new(192, 0, 2, 1)).emit();
        assert!(Arp::parse(&good).is_some());
        assert!(Arp::parse(&good[..27]).is_none());
        for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3), (7, 0), (6, 1), (8, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert!(Arp::parse(&bad).is_none(), "byte {at}");
        }
        let mut nobody = good;
        nobody[8..14].fill(0);
        assert!(Arp::parse(&nobody).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_none_or_come_back(
            mut bytes in prop::collection::vec(any::<u8>(), 0..64),
            fix: bool,
        ) {
            if fix && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
            }
            if let Some(arp) = Arp::parse(&bytes) {
                prop_assert_eq!(&arp.emit()[..], &bytes[..28]);
            }
        }
    }
}
