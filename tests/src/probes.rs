//! Snooping and spoofing by one host of three. Each probe is first shown to succeed against a plain
//! learning switch, so that its failure against the appliance means something (HR-13, HR-14).
//!
//! The scene: `a` and `b` talk to each other, `mallory` wants to hear it, to divert it, or to speak in
//! their names. Mallory knows everybody's addresses and sends to every MAC that might carry a frame on.

use crate::counts::FLOOD_MACS;
use crate::frames::{
    Arp, BROADCAST, IPV4, Mac, Random, UDP, addresses, ethernet, ip, ipv4, macs, udp,
};
use crate::host::Host;
use crate::lab::Lab;
use crate::raw::Wire;
use crate::world::World;
use std::time::{Duration, Instant};

/// How long a probe goes on before it counts as failed.
const PATIENCE: Duration = Duration::from_millis(900);
/// UDP port of the probes.
const PORT: u16 = 9_000;

/// One of the three.
#[derive(Clone, Debug)]
pub struct End {
    /// The host.
    pub host: Host,
    /// Its interface.
    pub iface: String,
    /// Its address.
    pub ip: String,
}

impl End {
    fn mac(&self) -> Mac {
        crate::frames::mac(&self.host.mac(&self.iface))
    }

    fn wire(&self) -> Wire {
        self.host.wire(&self.iface)
    }

    /// Sends a datagram by the host's own stack.
    fn says(&self, to: &str) {
        let socket = self.host.udp(ip(&self.ip), 0);
        // Without a neighbor the kernel may refuse; the probe tries again anyway.
        let _ = socket.send_to(b"private", (ip(to), PORT));
    }
}

/// Three hosts and what lies between them.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Talks to `b`.
    pub a: End,
    /// Talks to `a`.
    pub b: End,
    /// The attacker.
    pub mallory: End,
}

/// A probe: whether mallory got what it wanted.
pub type Probe = fn(&Scene) -> bool;

/// What the last probe tries.
pub const SOURCE_MAC: &str = "speak with a forged source MAC";

/// Every probe, by what it tries.
pub const ALL: [(&str, Probe); 8] = [
    ("overhear a conversation, ARP included", overhears),
    ("receive unicast to a MAC that nobody has", receives_unknown_unicast),
    ("divert by forged ARP replies", diverts_by_arp_reply),
    ("divert by gratuitous ARP", diverts_by_gratuitous_arp),
    ("divert by a forged source MAC", diverts_by_source_mac),
    ("receive what is sent to MACs that it flooded", diverts_by_mac_flood),
    ("speak with a forged source IP", speaks_as_another_ip),
    (SOURCE_MAC, speaks_as_another_mac),
];

impl Scene {
    /// Three hosts `s1`, `s2`, `s3` on a plain learning switch, to show that a probe can succeed.
    pub fn switched(lab: &Lab) -> Self {
        let switch = lab.bridge("switch");
        let plug = |number: usize| {
            let host = lab.host(&format!("s{number}"));
            switch.plug(lab, &host, "eth0");
            let ip = format!("192.0.2.{}", 10 + number);
            host.address("eth0", &format!("{ip}/24"));
            host.run("ip route add default via 192.0.2.254");
            End { host, iface: "eth0".to_owned(), ip }
        };
        let scene = Self { a: plug(1), b: plug(2), mallory: plug(3) };
        scene.prepare();
        scene
    }

    /// Containers 1, 2 and 3 of a world.
    pub fn in_world(world: &World) -> Self {
        let end = |number: usize| End {
            host: world.ct(number).clone(),
            iface: world.iface().to_owned(),
            ip: crate::world::address(number),
        };
        let scene = Self { a: end(1), b: end(2), mallory: end(3) };
        scene.prepare();
        scene
    }

    /// Victims that believe the newest ARP at once, which only makes the attacker's life easier.
    pub fn prepare(&self) {
        for end in [&self.a, &self.b] {
            end.host.sysctl(&format!("net.ipv4.neigh.{}.locktime=0", end.iface));
            end.host.sysctl(&format!("net.ipv4.neigh.{}.delay_first_probe_time=1", end.iface));
        }
    }

    /// Every MAC to which mallory might address a frame so that it goes on.
    fn relays(&self, victim: &End) -> Vec<Mac> {
        let routed = self.mallory.host.run("ip route show default");
        let gateway = routed.split_whitespace().nth(2).unwrap_or_default().to_owned();
        self.mallory.host.ping(&self.b.ip);
        let learned = self.mallory.host.neighbor(&gateway);
        let mut relays = vec![victim.mac(), BROADCAST];
        relays.extend(learned.map(|text| crate::frames::mac(&text)));
        relays
    }

    /// Mallory does `attack` over and over while `a` sends to `b`; true once mallory holds a datagram
    /// from `a` to `b`.
    fn diverted(&self, attack: impl Fn(&Wire)) -> bool {
        self.a.host.ping(&self.b.ip);
        let wire = self.mallory.wire();
        let (from, to) = (ip(&self.a.ip), ip(&self.b.ip));
        let end = Instant::now() + PATIENCE;
        let mut got_it = false;
        while !got_it && Instant::now() < end {
            attack(&wire);
            self.a.says(&self.b.ip);
            let is_private = |frame: &[u8]| addresses(frame) == Some((from, to));
            got_it = wire.receive_where(Duration::from_millis(50), is_private).is_some();
        }
        // The victims find each other again before the next probe.
        self.a.host.forget_neighbors();
        self.b.host.forget_neighbors();
        self.b.host.ping(&self.a.ip);
        got_it
    }

    /// Whether one of `frames`, sent by mallory, brings `a` a datagram that claims to be from
    /// `claimed`.
    fn accepted(&self, claimed: &str, frames: &[Vec<u8>]) -> bool {
        let socket = self.a.host.udp(ip(&self.a.ip), PORT);
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        let wire = self.mallory.wire();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            frames.iter().for_each(|frame| wire.send(frame));
            let mut bytes = [0; 64];
            if let Ok((_, from)) = socket.recv_from(&mut bytes)
                && from.ip() == ip(claimed)
            {
                return true;
            }
        }
        false
    }
}

/// Listens promiscuously while `a` and `b` find each other by ARP and talk.
pub fn overhears(scene: &Scene) -> bool {
    let mallory = scene.mallory.host.capture(&scene.mallory.iface, "arp or ip");
    scene.a.host.forget_neighbors();
    scene.b.host.forget_neighbors();
    scene.a.host.ping(&scene.b.ip);
    scene.b.host.ping(&scene.a.ip);
    let (a, b) = (ip(&scene.a.ip), ip(&scene.b.ip));
    mallory.finish().iter().any(|f| crate::capture::names(f, a) || crate::capture::names(f, b))
}

/// `a` sends to a MAC that was never seen anywhere.
pub fn receives_unknown_unicast(scene: &Scene) -> bool {
    let wire = scene.mallory.wire();
    let nobody = [0x02, 0, 0, 0, 0x99, 0x99];
    let packet = ipv4(&scene.a.ip, &scene.b.ip, 64, UDP, &udp(PORT, PORT, b"private"));
    let sender = scene.a.wire();
    sender.send(&ethernet(nobody, scene.a.mac(), IPV4, &packet));
    wire.receive_where(PATIENCE, |frame| macs(frame).1 == nobody).is_some()
}

/// Tells `a` that `b`'s address is at mallory's MAC.
pub fn diverts_by_arp_reply(scene: &Scene) -> bool {
    let me = scene.mallory.mac();
    let forged = Arp::reply(me, &scene.b.ip, scene.a.mac(), &scene.a.ip);
    let relays = scene.relays(&scene.a);
    scene.diverted(|wire| relays.iter().for_each(|to| wire.send(&forged.frame(*to))))
}

/// Tells everybody that `b`'s address is at mallory's MAC, as request and as reply.
pub fn diverts_by_gratuitous_arp(scene: &Scene) -> bool {
    let me = scene.mallory.mac();
    let request = Arp::request(me, &scene.b.ip, &scene.b.ip);
    let reply = Arp::reply(me, &scene.b.ip, BROADCAST, &scene.b.ip);
    let relays = scene.relays(&scene.a);
    scene.diverted(|wire| {
        for to in &relays {
            wire.send(&request.frame(*to));
            wire.send(&reply.frame(*to));
        }
    })
}

/// Sends frames whose source MAC is `b`'s, so that a switch looks for `b` at mallory's port.
pub fn diverts_by_source_mac(scene: &Scene) -> bool {
    let stolen = scene.b.mac();
    let frame = ethernet(scene.mallory.mac(), stolen, 0x88b5, &[0; 46]);
    let broadcast = ethernet(BROADCAST, stolen, 0x88b5, &[0; 46]);
    scene.diverted(|wire| {
        wire.send(&frame);
        wire.send(&broadcast);
    })
}

/// Fills the switch with MACs; then `a` sends to some of them.
pub fn diverts_by_mac_flood(scene: &Scene) -> bool {
    let wire = scene.mallory.wire();
    let mut random = Random(0x5eed);
    let mut forged = Vec::new();
    for _ in 0..FLOOD_MACS.now() {
        let mut mac: Mac = random.bytes(6).try_into().expect("six bytes");
        mac[0] = 0x02;
        wire.send(&ethernet(BROADCAST, mac, 0x88b5, &[0; 46]));
        forged.push(mac);
    }
    let sender = scene.a.wire();
    let own = scene.a.mac();
    let packet = ipv4(&scene.a.ip, &scene.b.ip, 64, UDP, &udp(PORT, PORT, b"private"));
    for to in forged.iter().rev().take(50) {
        sender.send(&ethernet(*to, own, IPV4, &packet));
    }
    wire.receive_where(PATIENCE, |frame| macs(frame).0 == own).is_some()
}

/// Sends `a` a datagram in `b`'s name.
pub fn speaks_as_another_ip(scene: &Scene) -> bool {
    let packet = ipv4(&scene.b.ip, &scene.a.ip, 64, UDP, &udp(PORT, PORT, b"I am b"));
    let me = scene.mallory.mac();
    let frames: Vec<_> =
        scene.relays(&scene.a).iter().map(|to| ethernet(*to, me, IPV4, &packet)).collect();
    scene.accepted(&scene.b.ip, &frames)
}

/// Sends `a` a datagram with its own address and another's MAC.
pub fn speaks_as_another_mac(scene: &Scene) -> bool {
    let packet = ipv4(&scene.mallory.ip, &scene.a.ip, 64, UDP, &udp(PORT, PORT, b"mallory"));
    let forged = [0x02, 0, 0, 0, 0xba, 0xad];
    let frames: Vec<_> =
        scene.relays(&scene.a).iter().map(|to| ethernet(*to, forged, IPV4, &packet)).collect();
    scene.accepted(&scene.mallory.ip, &frames)
}
