//! Last stage: carries the verdicts out, in the order of arrival. Every frame of the burst leaves it
//! by exactly one of: an egress queue, control, or a counted drop.

use super::bridge::fits;
use super::limit::Limits;
use super::work::{Notice, Verdict, drop_frame};
use super::{Path, answer, fragment};
use crate::counters::{DropReason, PortCounter};
use crate::frame::{Frame, FramePool};
use crate::ids::{AdapterId, NetworkId, PortId};
use crate::io::Io;
use crate::punt::Punt;
use crate::record::{Attachment, Member, MemberKind, NetworkRecord};
use crate::table::{Adjacency, AdjacencyKind};
use crate::wire::ethernet::Ethernet;
use crate::wire::tag::push_tag;

impl<I: Io> Path<I> {
    /// Acts on the verdict of a slot.
    pub(super) fn act(&mut self, port: PortId, slot: usize, frame: I::Frame, now_ns: u64) {
        self.notify(port, slot, now_ns);
        let way = self.work.adjacency[slot];
        if self.shaping.is_some() && !self.admit(self.work.verdicts[slot], &frame, now_ns) {
            return drop_frame(&self.counters, frame, DropReason::RateOut);
        }
        self.account_sent(self.work.verdicts[slot], &frame);
        match self.work.verdicts[slot] {
            Verdict::Send => self.send(way.port, way.adapter, frame),
            Verdict::Fragment => fragment::send_pieces(self, &way, frame),
            Verdict::Mirror(network) => self.mirror(network, &way, frame),
            Verdict::Flood(network) => self.flood_in_rate(network, port, frame, now_ns),
            Verdict::FloodAndPunt(network) => {
                self.punt_copy(network, &frame, now_ns);
                self.flood_in_rate(network, port, frame, now_ns);
            }
            Verdict::Answer => answer::echo(self, frame),
            Verdict::Error(kind, reason) => {
                answer::error(self, &frame, slot, kind, now_ns);
                drop_frame(&self.counters, frame, reason);
            }
            Verdict::Resolve => {
                let next_hop = match (way.kind, way.next_hop) {
                    (AdjacencyKind::Glean, _) | (_, 0) => self.work.ip[slot].destination,
                    (_, next_hop) => next_hop,
                };
                let (port, next_hop) = (way.port, next_hop.into());
                self.punt(frame, now_ns, |frame| Punt::Resolve { frame, port, next_hop });
            }
            Verdict::Arp(network) => {
                self.punt(frame, now_ns, |frame| Punt::Arp { frame, network });
            }
            Verdict::Drop(reason) => drop_frame(&self.counters, frame, reason),
            // No stage took it up: its network or its route went away in this very burst.
            Verdict::Route | Verdict::Bridge(_) | Verdict::ArpAndBridge(_) => {
                drop_frame(&self.counters, frame, DropReason::NetworkUnknown);
            }
        }
    }

    /// Tells control what the stages noticed. Lost when control is behind: the next frame says it again.
    fn notify(&mut self, port: PortId, slot: usize, now_ns: u64) {
        let notice = self.work.notices[slot];
        if notice == Notice::None || !self.limits.notice(port, now_ns) {
            return;
        }
        let punt = match notice {
            Notice::None => return,
            Notice::Learn(network, mac) => {
                let adapter = self.view.port(port).map(|record| record.attachment.adapter());
                let adapter = adapter.unwrap_or(AdapterId::NONE);
                Punt::Learn { network, mac, port, adapter }
            }
            Notice::Conflict(source, mac) => Punt::Conflict { port, source: source.into(), mac },
        };
        // The queue is bounded and the message repeats, so a full queue loses nothing for good.
        let _ = self.punts.push(punt);
    }

    /// Gives a frame to control, within its sender's rate.
    fn punt(
        &mut self,
        frame: I::Frame,
        now_ns: u64,
        message: impl FnOnce(I::Frame) -> Punt<I::Frame>,
    ) {
        if !self.may_punt(&frame, now_ns) {
            return drop_frame(&self.counters, frame, DropReason::PuntRate);
        }
        self.hand_over(frame, message);
    }

    fn may_punt(&mut self, frame: &I::Frame, now_ns: u64) -> bool {
        let is_group = Ethernet::parse(frame.head()).is_some_and(|it| it.destination.is_group());
        self.limits.punt(frame.ingress(), is_group, now_ns)
    }

    /// Gives a frame that is within its sender's rate to control.
    fn hand_over(&self, frame: I::Frame, message: impl FnOnce(I::Frame) -> Punt<I::Frame>) {
        let from = frame.ingress();
        match self.punts.push(message(frame)) {
            Ok(()) => self.counters.port_add(from.port, PortCounter::Consumed, 1),
            Err(Punt::Arp { frame, .. } | Punt::Resolve { frame, .. }) => {
                drop_frame(&self.counters, frame, DropReason::PuntFull);
            }
            Err(_) => {}
        }
    }

    /// The rate is asked before the copy is made: a storm costs no buffers, and a copy that was never
    /// made is no drop, since the members get the frame itself.
    fn punt_copy(&mut self, network: NetworkId, frame: &I::Frame, now_ns: u64) {
        if self.may_punt(frame, now_ns)
            && let Some(copy) = self.copy(frame)
        {
            self.hand_over(copy, |frame| Punt::Arp { frame, network: Some(network) });
        }
    }

    /// A copy, counted; where the pool is empty the loss is counted instead.
    fn copy(&mut self, frame: &I::Frame) -> Option<I::Frame> {
        let from = frame.ingress();
        let copy = self.pool.copy(frame);
        self.counters.port_add(from.port, PortCounter::Copies, 1);
        if copy.is_none() {
            self.counters.drop_add(from.port, from.adapter, DropReason::NoMemory, 1);
        }
        copy
    }

    /// Known unicast in a network with promiscuous members.
    fn mirror(&mut self, network: NetworkId, way: &Adjacency, frame: I::Frame) {
        let from = frame.ingress().port;
        let named = Member {
            port: way.port,
            adapter: way.adapter,
            vlan: way.vlan,
            kind: MemberKind::Guest,
            mtu: way.mtu,
        };
        let named = (way.port != PortId::NONE).then_some(named);
        self.with_network(network, frame, |path, record, frame| {
            let isolates = path.isolates(record, from);
            let others = record.promiscuous.iter();
            let others = others.filter(|member| member.port != way.port && !isolates);
            path.deliver(record, named.iter().chain(others), from, frame, false);
        });
    }

    /// Floods within the rate of the adapter that the frame came from, or else of the port that it came in by.
    fn flood_in_rate(&mut self, network: NetworkId, from: PortId, frame: I::Frame, now_ns: u64) {
        let is_wire = self.view.port(from).is_some_and(|port| port.attachment.is_uplink());
        let by_port = |limits: &mut Limits| limits.flood(from, is_wire, now_ns);
        let own = self.storm(frame.ingress().adapter, now_ns);
        if own.unwrap_or_else(|| by_port(&mut self.limits)) {
            self.flood(network, from, frame);
        } else {
            drop_frame(&self.counters, frame, DropReason::FloodRate);
        }
    }

    /// To every member but the one on the port `from`.
    pub(super) fn flood(&mut self, network: NetworkId, from: PortId, frame: I::Frame) {
        self.with_network(network, frame, |path, record, frame| {
            let ethernet = Ethernet::parse(frame.head());
            let is_unknown = ethernet.is_some_and(|it| !it.destination.is_group());
            let isolates = path.isolates(record, from);
            let members = record.members.iter().filter(|member| !isolates || !is_guest(member));
            path.deliver(record, members, from, frame, is_unknown);
        });
    }

    /// Whether what came from there is kept from the network's guests.
    fn isolates(&self, network: &NetworkRecord, from: PortId) -> bool {
        let attachment = self.view.port(from).map(|record| &record.attachment);
        network.is_isolated && matches!(attachment, Some(Attachment::Bridged(_)))
    }

    /// Lends a network's record for the time of `deliver`.
    fn with_network(
        &mut self,
        network: NetworkId,
        frame: I::Frame,
        deliver: impl FnOnce(&mut Self, &NetworkRecord, I::Frame),
    ) {
        match self.view.take_network(network) {
            Some(record) => {
                deliver(self, &record, frame);
                self.view.set_network(network, Some(record));
            }
            None => drop_frame(&self.counters, frame, DropReason::NetworkUnknown),
        }
    }

    /// Whether a member has its registered MAC alone, and wants no other's frames.
    fn is_one_mac(&self, member: &Member) -> bool {
        let attachment = self.view.port(member.port).map(|record| &record.attachment);
        member.kind == MemberKind::Guest
            && matches!(attachment, Some(Attachment::Bridged(adapter)) if adapter.filters.mac)
    }

    /// To each of `receivers` that may have it and is not on the port `from`: copies for all but the
    /// last. `is_unknown`: it is unicast to a MAC that is not registered.
    fn deliver<'a>(
        &mut self,
        network: &NetworkRecord,
        receivers: impl Iterator<Item = &'a Member>,
        from: PortId,
        frame: I::Frame,
        is_unknown: bool,
    ) {
        let Some(ethernet) = Ethernet::parse(frame.head()) else {
            return drop_frame(&self.counters, frame, DropReason::EthernetTruncated);
        };
        let mut reason = DropReason::NoReceiver;
        let mut last: Option<&Member> = None;
        for member in receivers.filter(|member| member.port != from) {
            if is_unknown && self.is_one_mac(member) {
                continue;
            }
            if let Err(why) = fits(&frame, &ethernet, network, member.port, member.mtu) {
                reason = why;
                continue;
            }
            if let Some(before) = last.replace(member)
                && let Some(copy) = self.copy(&frame)
            {
                self.deliver_one(before, copy);
            }
        }
        match last {
            Some(member) => self.deliver_one(member, frame),
            None => drop_frame(&self.counters, frame, reason),
        }
    }

    fn deliver_one(&mut self, member: &Member, mut frame: I::Frame) {
        if member.vlan != 0 && !push_tag(&mut frame, member.vlan) {
            return drop_frame(&self.counters, frame, DropReason::NoHeadroom);
        }
        self.send(member.port, member.adapter, frame);
    }
}

fn is_guest(member: &Member) -> bool {
    matches!(member.kind, MemberKind::Guest | MemberKind::PromiscuousGuest)
}
