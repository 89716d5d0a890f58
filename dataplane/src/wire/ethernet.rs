//! Ethernet and 802.1Q (IEEE 802.3, 802.1Q-2018 9.6).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

pub use super::tag::{Tag, pop_tag, push_tag};

/// A 48-bit MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

/// Text that is not a MAC address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad MAC address {0:?}: six hexadecimal bytes, like 02:00:5e:10:00:01")]
pub struct BadMac(String);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// 00:00:00:00:00:00
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// The group bit: multicast or broadcast.
    #[inline]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// In the low 48 bits, first byte highest.
    #[inline]
    pub fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// From the low 48 bits.
    #[inline]
    pub fn from_u64(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        text.parse()
    }
}

impl FromStr for MacAddr {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().unwrap_or_default();
            let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            let parsed = u8::from_str_radix(part, 16).ok().filter(|_| hex);
            *byte = parsed.ok_or_else(|| BadMac(text.to_owned()))?;
        }
        if parts.next().is_some() { Err(BadMac(text.to_owned())) } else { Ok(Self(bytes)) }
    }
}

/// Bytes of an Ethernet header without a tag.
pub const HEADER_BYTES: usize = 14;
/// Bytes that an 802.1Q tag adds.
pub const TAG_BYTES: usize = 4;

/// IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// An 802.1Q customer tag follows.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// An 802.1ad service tag follows.
pub const ETHERTYPE_QINQ: u16 = 0x88a8;
/// IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// An Ethernet header: who, from whom, and what follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: MacAddr,
    /// Source MAC.
    pub source: MacAddr,
    /// EtherType; [`ETHERTYPE_VLAN`] where a tag follows, below 0x0600 an 802.3 length.
    pub ether_type: u16,
}

impl Ethernet {
    /// Reads the header at the front of a frame; `None` where fewer than [`HEADER_BYTES`] are
    /// there.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Ethernet> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, high, low] = *bytes.first_chunk()?;
        Some(Ethernet {
            destination: MacAddr([a, b, c, d, e, f]),
            source: MacAddr([g, h, i, j, k, l]),
            ether_type: u16::from_be_bytes([high, low]),
        })
    }

    /// Writes the header to the front of `bytes`; no effect where fewer than [`HEADER_BYTES`] fit.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) {
        if let Some(header) = bytes.first_chunk_mut::<HEADER_BYTES>() {
            header[..6].copy_from_slice(&self.destination.0);
            header[6..12].copy_from_slice(&self.source.0);
            header[12..].copy_from_slice(&self.ether_type.to_be_bytes());
        }
    }
}

/// Writes both MACs over those of a frame; no effect where it is shorter than 12 bytes.
#[inline]
pub fn rewrite(bytes: &mut [u8], destination: MacAddr, source: MacAddr) {
    if let Some(macs) = bytes.first_chunk_mut::<12>() {
        macs[..6].copy_from_slice(&destination.0);
        macs[6..].copy_from_slice(&source.0);
    }
}

/// Whether a destination is one that bridges never forward: 01:80:c2:00:00:00 to 0f (802.1Q 8.6.3).
#[inline]
pub fn is_link_local_group(mac: MacAddr) -> bool {
    mac.to_u64() & !0xf == 0x0180_c200_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_shorter_than_14_bytes_is_none() {
        assert_eq!(Ethernet::parse(&[0; 13]), None);
        assert!(Ethernet::parse(&[0; 14]).is_some());
        let mut short = [7; 13];
        Ethernet { destination: MacAddr::ZERO, source: MacAddr::ZERO, ether_type: 0 }
            .emit(&mut short);
        assert_eq!(short, [7; 13]);
    }

    #[test]
    fn sixteen_groups_are_link_local() {
        assert!(is_link_local_group(MacAddr([1, 0x80, 0xc2, 0, 0, 0])));
        assert!(is_link_local_group(MacAddr([1, 0x80, 0xc2, 0, 0, 0xf])));
        assert!(!is_link_local_group(MacAddr([1, 0x80, 0xc2, 0, 0, 0x10])));
        assert!(!is_link_local_group(MacAddr([1, 0x80, 0xc3, 0, 0, 0])));
        assert!(!is_link_local_group(MacAddr([0, 0x80, 0xc2, 0, 0, 0])));
    }

    #[test]
    fn mac_text_is_six_pairs_of_hex() {
        assert_eq!("02:00:5e:10:00:0A".parse(), Ok(MacAddr([2, 0, 0x5e, 0x10, 0, 0x0a])));
        for bad in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "2:0:5e:10:0:1", "+2:00:5e:10:00:01"]
        {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn emit_then_parse_is_the_same(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(header) = Ethernet::parse(&bytes) {
                let mut out = bytes.clone();
                out[..14].fill(0);
                header.emit(&mut out);
                prop_assert_eq!(&out, &bytes);
                rewrite(&mut out, header.source, header.destination);
                prop_assert_eq!(&out[..6], &bytes[6..12]);
                prop_assert_eq!(&out[12..], &bytes[12..]);
            } else {
                prop_assert!(bytes.len() < HEADER_BYTES);
                let mut out = bytes.clone();
                rewrite(&mut out, MacAddr::ZERO, MacAddr::ZERO);
                prop_assert_eq!(out.len(), bytes.len());
            }
        }

        #[test]
        fn mac_survives_text_and_number(bytes in any::<[u8; 6]>()) {
            let mac = MacAddr(bytes);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
            prop_assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
        }
    }
}
