//! MACs of our own making: locally administered (IEEE 802, 8.4: the second bit), unicast, `02:…`.
//!
//! They come from the host's seed and the name of what they are for, so that a guest deleted and
//! added again keeps its MAC, while two hosts on one LAN don't choose the same ones.

use super::Registry;
use dataplane::wire::ethernet::MacAddr;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hasher, RandomState};

/// What sets this appliance apart from others: chosen once, stored with the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Seed of generated MACs.
    pub seed: u64,
}

impl Identity {
    /// A new one, by the operating system's randomness.
    pub fn generate() -> Self {
        // RandomState is keyed by the system's random source, and its hash of nothing shows that key.
        Self { seed: RandomState::new().build_hasher().finish() }
    }

    /// MAC of our side on every port that has no other.
    pub fn gateway_mac(self) -> MacAddr {
        self.mac("gateway", 0)
    }

    /// The `attempt`th MAC for something named.
    fn mac(self, what: &str, attempt: u64) -> MacAddr {
        let mut hash = mix(self.seed ^ attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for byte in what.bytes() {
            hash = mix(hash ^ u64::from(byte));
        }
        let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
        MacAddr([0x02, a, b, c, d, e])
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit of the input moves every bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Registry {
    /// A MAC for something named that nobody here has.
    pub(super) fn generate_mac(&self, what: &str) -> MacAddr {
        let free = |mac: &MacAddr| {
            self.tables.index.holder_of_mac(*mac).is_none()
                && !self.tables.static_mac_counts.contains_key(mac)
        };
        let mut attempt = 0;
        loop {
            // 2^40 MACs and at most some 70,000 held: the first attempt all but always succeeds.
            let mac = self.identity.mac(what, attempt);
            if free(&mac) {
                return mac;
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn generated_macs_are_local_unicast_and_differ_by_name_and_host() {
        let (one, two) = (Identity { seed: 1 }, Identity { seed: 2 });
        let names = (0..10_000).map(|n| format!("ct{n}/eth0"));
        let macs: BTreeSet<_> = names.flat_map(|n| [one.mac(&n, 0), two.mac(&n, 0)]).collect();
        assert_eq!(macs.len(), 20_000);
        assert!(macs.iter().all(|mac| mac.0[0] == 2 && !mac.is_group()));
        assert_eq!(one.mac("a", 0), one.mac("a", 0));
        assert_ne!(Identity::generate(), Identity::generate());
    }
}
