//! An outside host that stands on a VLAN. The kernel of a test machine need not know 802.1Q: the host
//! has a tap, the LAN has a tap, and two threads carry frames between them and tag or untag.

use crate::frames::{VLAN, tagged};
use crate::host::Host;
use crate::lab::{Bridge, Lab};
use std::sync::Arc;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// A host on a VLAN of a bridge.
#[derive(Debug)]
pub struct VlanHost {
    /// The host; it sees untagged frames on `eth0`.
    pub host: Host,
}

impl VlanHost {
    /// Plugs a new host into `bridge` on VLAN `vlan`.
    pub fn plug(lab: &Lab, bridge: &Bridge, name: &str, vlan: u16) -> Self {
        let host = lab.host(name);
        let inner = Arc::new(host.inside(|| open("eth0")));
        host.run("ip link set eth0 up");
        let port = format!("p-{name}");
        let outer = Arc::new(open(&port));
        bridge.enslave(&port);
        carry(Arc::clone(&inner), Arc::clone(&outer), move |frame| Some(tagged(frame, vlan)));
        carry(outer, inner, move |frame| untagged(frame, vlan));
        Self { host }
    }
}

fn open(name: &str) -> SyncDevice {
    DeviceBuilder::new().name(name).layer(Layer::L2).build_sync().expect("a tap")
}

/// The frame without its tag, if it carries `vlan`.
fn untagged(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let tag = frame.get(12..16)?;
    let carried = u16::from_be_bytes([tag[2], tag[3]]) & 0xfff;
    let ours = tag[..2] == VLAN.to_be_bytes() && carried == vlan;
    ours.then(|| frame[..12].iter().chain(&frame[16..]).copied().collect())
}

/// Carries frames one way for as long as the process lives.
fn carry(
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    change: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65_536];
        while let Ok(length) = from.recv(&mut bytes) {
            if let Some(frame) = change(&bytes[..length]) {
                // A tap that is down refuses the frame, as a cable that is out would.
                let _ = to.send(&frame);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{IPV4, ethernet};

    #[test]
    fn only_its_own_vlan_is_untagged() {
        let frame = ethernet([1; 6], [2; 6], IPV4, &[7; 46]);
        assert_eq!(untagged(&tagged(&frame, 100), 100), Some(frame.clone()));
        assert_eq!(untagged(&tagged(&frame, 100), 101), None);
        assert_eq!(untagged(&frame, 100), None);
    }
}
