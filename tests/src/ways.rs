//! The path of a packet alone: bursts that each take exactly one way through it, over frames in memory and
//! without DPDK. What `micro` times and `instructions` counts.
//!
//! ```text
//! UP             the uplink, with network WIRED on a VLAN
//! GUESTS         64 host-routed guests, each on a port of its own
//! FAR            one whose port another worker owns
//! NARROW         one with an MTU of 576
//! VENET          64 host-routed containers on one shared port
//! MEMBERS        64 members of the host-only network LAN
//! WIRED          5 guests on the uplink's VLAN
//! ```

use crate::frames::{ARP, Arp, BROADCAST, IPV4, Mac, UDP};
use crate::frames::{echo, ethernet, ipv4, refresh_checksum, tagged, udp};
use crossbeam::queue::ArrayQueue;
use dataplane::counters::{Counters, DropReason, PortCounter, PortCounts};
use dataplane::frame::{BURST_PKTS, Burst};
use dataplane::ids::{AdapterId, AdjacencyId, NetworkId, PortId};
use dataplane::pipeline::{Departures, Handoff, Path, Rate, Rates, Tables, TxPort, TxRoute};
use dataplane::punt::Punt;
use dataplane::table::{AdjacencyWriter, Ipv4FibWriter, MacWriter};
use host::Host;
use io::{BoxedFrame, BoxedIo, BoxedPool, Sink};
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

mod host;
pub mod io;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Stations of each kind: as many as a burst has frames.
const MANY: u16 = 64;
const _: () = assert!(MANY as usize == BURST_PKTS);
const UP: PortId = PortId(1);
const VENET: PortId = PortId(2);
const NARROW: PortId = PortId(3);
const FAR: PortId = PortId(4);
const GUESTS: u16 = 100;
const MEMBERS: u16 = 200;
const WIRED_MEMBERS: u16 = 300;
const WIRED_COUNT: u16 = 5;
const LAN: NetworkId = NetworkId(1);
const WIRED: NetworkId = NetworkId(2);
const VID: u16 = 100;
/// Adapters of the containers on VENET, from here on.
const CONTAINERS: u32 = 1_000;

const UP_MAC: Mac = [2, 0, 0, 0, 1, 1];
const ROUTER: Mac = [2, 0, 0, 0, 9, 9];
/// Ours on every guest's port.
const GATEWAY: Mac = [2, 0, 0, 0, 0, 1];
const VENET_PEER: Mac = [2, 0, 0, 0, 5, 5];
const GATEWAY_IP: &str = "169.254.1.1";
/// Somebody behind the default route.
const AWAY: &str = "8.8.8.8";
/// On the uplink's prefix, and not known.
const UNKNOWN: &str = "192.0.2.200";
/// EtherType of a protocol that is none of ours (IEEE 802, for experiments).
const OTHER: u16 = 0x88b5;

/// What becomes of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leaves, as so many frames.
    Sent(usize),
    /// Control gets it.
    Punted,
    /// It is dropped, and so many frames are sent because of it.
    Dropped(DropReason, usize),
}

/// A burst that takes one way.
#[derive(Clone, Debug)]
pub struct Way {
    /// What it is called in tables and in the baseline.
    pub name: &'static str,
    port: PortId,
    frames: Vec<Vec<u8>>,
    fate: Fate,
}

impl Way {
    fn new(name: &'static str, port: PortId, fate: Fate, frame: impl Fn(u16) -> Vec<u8>) -> Self {
        Self { name, port, frames: (0..MANY).map(frame).collect(), fate }
    }
}

/// Every way, those that packets take most first.
///
/// The express lane is private to the path, so a way is named by the frames that take it: the lane's are plain
/// ones alone, those of the stages none of them (fragments, and EtherTypes other than IPv4's).
pub fn all() -> Vec<Way> {
    let sent = Fate::Sent(usize::from(MANY));
    let first = PortId(GUESTS);
    let member = PortId(MEMBERS);
    let wired = PortId(WIRED_MEMBERS);
    let dropped = Fate::Dropped;
    let mut ways = vec![
        Way::new("lane: routed, one destination", UP, sent, |_| from_wire(&guest_ip(0))),
        Way::new("lane: routed, many behind one port", UP, sent, |n| from_wire(&container_ip(n))),
        Way::new("lane: routed, as many ports", UP, sent, |n| from_wire(&guest_ip(n))),
        Way::new("lane: routed, from a guest", first, sent, |_| from_guest(AWAY)),
        Way::new("lane: routed, from a shared port", VENET, sent, |n| {
            ethernet(GATEWAY, VENET_PEER, IPV4, &packet(&container_ip(n), AWAY))
        }),
        Way::new("lane: routed, to another worker", first, sent, |_| from_guest("10.4.0.1")),
        Way::new("lane: bridged, one MAC", member, sent, |_| from_member(1)),
        Way::new("lane: bridged, many ports", member, sent, |n| from_member(1 + n % (MANY - 1))),
        Way::new("both: every other routed by the stages", UP, sent, |n| match n % 2 {
            0 => from_wire(&guest_ip(0)),
            _ => fragment(from_wire(&guest_ip(0))),
        }),
        Way::new("stages: routed", UP, sent, |_| fragment(from_wire(&guest_ip(0)))),
        Way::new("stages: routed, from a guest", first, sent, |_| fragment(from_guest(AWAY))),
        Way::new("stages: bridged", member, sent, |_| {
            ethernet(mac(MEMBERS + 1), mac(MEMBERS), OTHER, &[7; 46])
        }),
        Way::new("stages: bridged, tag pushed", wired, sent, |_| {
            ethernet(ROUTER, mac(WIRED_MEMBERS), OTHER, &[7; 46])
        }),
        Way::new("stages: bridged, tag popped", UP, sent, |_| {
            tagged(&ethernet(mac(WIRED_MEMBERS), ROUTER, OTHER, &[7; 46]), VID)
        }),
        Way::new("flooded to five", wired, Fate::Sent(usize::from(MANY * WIRED_COUNT)), |_| {
            ethernet(BROADCAST, mac(WIRED_MEMBERS), OTHER, &[7; 46])
        }),
        Way::new("cut into three fragments", UP, Fate::Sent(3 * usize::from(MANY)), |_| {
            let packet = ipv4(AWAY, "10.3.0.1", 64, UDP, &udp(1000, 2000, &[7; 1400]));
            ethernet(UP_MAC, ROUTER, IPV4, &packet)
        }),
        Way::new("punted: ARP", first, Fate::Punted, |_| {
            Arp::request(mac(GUESTS), &guest_ip(0), GATEWAY_IP).frame(BROADCAST)
        }),
        Way::new("punted: a next hop without MAC", first, Fate::Punted, |_| from_guest(UNKNOWN)),
        Way::new("answered: echo", first, sent, |_| {
            let packet = ipv4(&guest_ip(0), GATEWAY_IP, 64, 1, &echo(1, 2, &[7; 18]));
            ethernet(GATEWAY, mac(GUESTS), IPV4, &packet)
        }),
        Way::new(
            "ICMP error: TTL exceeded",
            first,
            dropped(DropReason::TtlExceeded, usize::from(MANY)),
            |_| {
                let packet = ipv4(&guest_ip(0), AWAY, 1, UDP, &udp(1000, 2000, &[7; 18]));
                ethernet(GATEWAY, mac(GUESTS), IPV4, &packet)
            },
        ),
    ];
    ways.extend([
        Way::new("dropped: forged address", first, dropped(DropReason::SpoofedIp, 0), |_| {
            ethernet(GATEWAY, mac(GUESTS), IPV4, &packet(&guest_ip(1), AWAY))
        }),
        Way::new("dropped: forged MAC", member, dropped(DropReason::SpoofedMac, 0), |_| {
            ethernet(mac(MEMBERS + 1), mac(MEMBERS + 2), ARP, &[7; 46])
        }),
    ]);
    ways
}

/// The station on a port.
fn mac(port: u16) -> Mac {
    let [high, low] = port.to_be_bytes();
    [2, 0, 0, 0x10, high, low]
}

fn guest_ip(number: u16) -> String {
    format!("10.1.0.{}", number + 1)
}

fn container_ip(number: u16) -> String {
    format!("10.2.0.{}", number + 1)
}

fn member_ip(number: u16) -> String {
    format!("10.5.0.{}", number + 1)
}

fn packet(from: &str, to: &str) -> Vec<u8> {
    // 60 bytes of frame: with its checksum a frame of the least size there is.
    ipv4(from, to, 64, UDP, &udp(1000, 2000, &[7; 18]))
}

fn from_wire(to: &str) -> Vec<u8> {
    ethernet(UP_MAC, ROUTER, IPV4, &packet(AWAY, to))
}

fn from_guest(to: &str) -> Vec<u8> {
    ethernet(GATEWAY, mac(GUESTS), IPV4, &packet(&guest_ip(0), to))
}

/// To another member of the first one's network.
fn from_member(to: u16) -> Vec<u8> {
    ethernet(mac(MEMBERS + to), mac(MEMBERS), IPV4, &packet(&member_ip(0), &member_ip(to)))
}

/// The same as the first of several: nothing but the stages takes it.
fn fragment(mut frame: Vec<u8>) -> Vec<u8> {
    frame[20..22].copy_from_slice(&0x2000u16.to_be_bytes());
    refresh_checksum(&mut frame[14..]);
    frame
}

/// A worker's path with every port that ways begin or end at.
pub struct Bench {
    path: Path<BoxedIo>,
    pool: BoxedPool,
    punts: Arc<ArrayQueue<Punt<BoxedFrame>>>,
    departures: Departures<BoxedFrame>,
    ports: Vec<Sink>,
    now_ns: u64,
    /// The tables' memory is theirs.
    _writers: (Ipv4FibWriter, AdjacencyWriter, MacWriter),
}

impl Bench {
    /// With room for so many bursts that have left and are not yet cleared away.
    pub fn new(bursts: usize) -> Result<Self> {
        let frames = bursts * BURST_PKTS * usize::from(WIRED_COUNT);
        let host = Host::new()?;
        let pool = BoxedPool::new(frames + BURST_PKTS);
        let punts = Arc::new(ArrayQueue::new(frames));
        let tables = Tables {
            fib: host.fib.fib().clone(),
            adjacencies: host.adjacencies.table().clone(),
            macs: host.macs.table().clone(),
        };
        let counters = Arc::new(Counters::new());
        let mut path = Path::new(tables, counters, pool.clone(), punts.clone(), no_limits());
        path.view.icmp_source = Ipv4Addr::new(192, 0, 2, 1);
        let departures = Arc::new(ArrayQueue::new(frames));
        let mut ports = Vec::new();
        for record in host.records {
            let port = Sink::new(frames);
            let route = match record.id {
                FAR => TxRoute::Handoff(Handoff { ring: departures.clone(), bell: Arc::default() }),
                _ => TxRoute::Own(port.clone()),
            };
            path.set_way(record.id, Some(TxPort::new(route)));
            ports.push(port);
            path.view.set_port(record.id, Some(Arc::new(record)));
        }
        for network in host.networks {
            path.view.set_network(network.id, Some(Arc::new(network)));
        }
        let _writers = (host.fib, host.adjacencies, host.macs);
        Ok(Self { path, pool, punts, departures, ports, now_ns: 1_000_000_000, _writers })
    }

    /// A burst of a way, as its port would receive it.
    pub fn burst(&mut self, way: &Way) -> Result<Burst<BoxedFrame>> {
        let frame = |bytes: &Vec<u8>| self.pool.frame(bytes, way.port);
        let burst: Option<Burst<_>> = way.frames.iter().map(frame).collect();
        Ok(burst.ok_or("the pool is empty")?)
    }

    /// From the port into the far ends: all that is timed, and counted.
    #[inline]
    pub fn pass(&mut self, way: &Way, burst: &mut Burst<BoxedFrame>) {
        // A worker's clock moves on from burst to burst; less would be a worker faster than any.
        self.now_ns += 1_000;
        self.path.run(way.port, burst, self.now_ns);
        self.path.flush();
    }

    /// Takes away what has arrived anywhere; answers how many frames had left, and how many control got.
    pub fn clear(&mut self) -> (usize, usize) {
        let handed = std::iter::from_fn(|| self.departures.pop()).count();
        let punted = std::iter::from_fn(|| self.punts.pop()).count();
        (self.ports.iter().map(Sink::clear).sum::<usize>() + handed, punted)
    }

    /// Whether a burst goes where it is said to.
    pub fn check(&mut self, way: &Way) -> Result<()> {
        let before = self.path.counters.port(way.port);
        let mut burst = self.burst(way)?;
        self.pass(way, &mut burst);
        let (sent, punted) = self.clear();
        let mut since = self.path.counters.port(way.port);
        since.subtract(&before);
        let is_right = match way.fate {
            Fate::Sent(count) => sent == count && punted == 0 && since.drops_total() == 0,
            Fate::Punted => sent == 0 && punted == BURST_PKTS,
            Fate::Dropped(reason, count) => {
                sent == count && punted == 0 && since.drops(reason) == BURST_PKTS as u64
            }
        };
        if is_right && self.pool.in_use() == 0 {
            return Ok(());
        }
        let drops = drops(&since);
        let forwarded = since.counter(PortCounter::Forwarded);
        Err(format!(
            "{}: {:?} was to come of it, but {sent} sent ({forwarded} forwarded), {punted} punted, {drops:?}",
            way.name, way.fate
        )
        .into())
    }
}

fn drops(counts: &PortCounts) -> Vec<(DropReason, u64)> {
    let of = |reason: &DropReason| (*reason, counts.drops(*reason));
    DropReason::ALL.iter().map(of).filter(|(_, count)| *count > 0).collect()
}

/// Buckets that never run dry, so that each burst takes the same way as the one before.
fn no_limits() -> Rates {
    let none = Rate { per_s: 1_000_000_000, burst: u32::MAX };
    Rates { punt: none, notice: none, flood: none, flood_wire: none, icmp: none, icmp_all: none }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_burst_goes_where_it_is_said_to() {
        let mut bench = Bench::new(2).expect("tables");
        for way in all() {
            // Twice: the second one finds what the first has left.
            bench.check(&way).and_then(|()| bench.check(&way)).expect("its way");
        }
    }
}
