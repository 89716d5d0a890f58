//! Frames of any bytes, sent and received by a host's interface past its network stack.

use crate::frames::Mac;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// `sll_pkttype` of a frame that this host itself sent.
const PACKET_OUTGOING: u8 = 4;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    address: LinkAddr,
}

impl Wire {
    /// On an interface of the namespace that the calling thread is in.
    pub(crate) fn open(iface: &str) -> Self {
        let address = getifaddrs()
            .expect("getifaddrs")
            .filter(|a| a.interface_name == iface)
            .find_map(|a| a.address.and_then(|s| s.as_link_addr().copied()))
            .unwrap_or_else(|| panic!("no interface {iface}"));
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .expect("packet socket");
        setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)).expect("receive buffer");
        bind(socket.as_raw_fd(), &address).expect("bind");
        Self { socket, address }
    }

    /// The interface's own MAC.
    pub fn mac(&self) -> Mac {
        self.address.addr().expect("an Ethernet interface")
    }

    /// Sends one frame, waiting for room where the interface has none.
    pub fn send(&self, frame: &[u8]) {
        loop {
            match sendto(self.socket.as_raw_fd(), frame, &self.address, MsgFlags::empty()) {
                Ok(_) => return,
                Err(nix::Error::ENOBUFS | nix::Error::EAGAIN) => std::thread::yield_now(),
                Err(error) => panic!("send of {} bytes: {error}", frame.len()),
            }
        }
    }

    /// The next frame that arrives within `limit`. A VLAN tag is not part of it: the kernel takes it
    /// off; [`crate::Capture`] shows tags.
    pub fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut bytes = vec![0; 65_536];
        loop {
            let left = end.checked_duration_since(Instant::now())?;
            let micros = i64::try_from(left.as_micros().max(1)).expect("a short time");
            let timeout = TimeVal::microseconds(micros);
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &timeout).expect("timeout");
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok((_, Some(from))) if from.pkttype() == PACKET_OUTGOING => {}
                Ok((length, _)) => {
                    bytes.truncate(length);
                    return Some(bytes);
                }
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(error) => panic!("receive: {error}"),
            }
        }
    }

    /// The first frame within `limit` that `wanted` is true of.
    pub fn receive_where(
        &self,
        limit: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        loop {
            let frame = self.receive(end.checked_duration_since(Instant::now())?)?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}
