//! What control tells a worker, taken up between two bursts.

use super::{Command, Displaced, QUEUE_DEPARTURES, QUEUE_INJECTS, RxSlot, Worker};
use crate::ids::PortId;
use crate::io::{Io, Readiness};
use crate::pipeline::Early;
use std::sync::atomic::Ordering;

impl<I: Io> Worker<I> {
    /// Empties both rings and all buffers, and puts out before its time what waits for that and is chosen:
    /// nothing of it waits here that is older than now.
    fn settle(&mut self, early: Early, now_ns: u64) {
        self.path.release_early(early);
        self.take_in(QUEUE_INJECTS, QUEUE_DEPARTURES, now_ns);
        self.path.flush();
    }

    /// Takes up the commands that are there, while there is room for what they displace. False: shut
    /// down; what waited has been sent.
    pub fn obey(&mut self, now_ns: u64) -> bool {
        for _ in 0..self.commands.len() {
            if self.displaced.is_full() {
                break;
            }
            let Some(command) = self.commands.pop() else { break };
            let displaced = match command {
                Command::AddRx { port, queue, rx } => {
                    self.settle(Early::From(port), now_ns);
                    self.add_rx(port, queue, rx)
                }
                Command::RemoveRx { port, queue } => {
                    if self.path.waiting() > 0 {
                        self.settle(Early::From(port), now_ns);
                    }
                    self.remove_rx(port, queue)
                }
                Command::SetTx { port, tx } => {
                    // Where there was no way nothing waits for an old one, and what other workers
                    // hand over already is for the new one.
                    if self.path.egress.has(port) {
                        self.settle(Early::To(port), now_ns);
                    }
                    Displaced::Tx { port, tx: self.path.set_way(port, tx) }
                }
                Command::SetPort(port, record) => {
                    Displaced::Port(self.path.view.set_port(port, record))
                }
                Command::SetNetwork(network, record) => {
                    Displaced::Network(self.path.view.set_network(network, record))
                }
                Command::SetIcmpSource(address) => {
                    self.path.view.icmp_source = address;
                    Displaced::Nothing
                }
                Command::SetClasses(classes) => {
                    Displaced::Classes(std::mem::replace(&mut self.path.view.classes, classes))
                }
                Command::SetShaping(shaping) => Displaced::Shaping(self.path.set_shaping(shaping)),
                Command::SetLimits(adapter, limits) => {
                    Displaced::Limits(self.path.set_limits(adapter, limits))
                }
                Command::SetForwarding(is_forwarding) => {
                    self.path.view.is_forwarding = is_forwarding;
                    Displaced::Nothing
                }
                Command::SwapHistogram(empty) => {
                    Displaced::Histogram(std::mem::replace(&mut self.histogram, empty))
                }
                Command::SetLatencies(latencies) => {
                    Displaced::Latencies(std::mem::replace(&mut self.latencies, latencies))
                }
                Command::SetCapture(capture) => {
                    Displaced::Capture(std::mem::replace(&mut self.path.egress.capture, capture))
                }
                Command::SetTrace(trace) => {
                    Displaced::Trace(std::mem::replace(&mut self.path.view.trace, trace))
                }
                Command::Shutdown => {
                    self.settle(Early::All, now_ns);
                    return false;
                }
            };
            self.is_watched = self.latencies.is_some() || self.path.egress.capture.is_some();
            // There is room: only this worker pushes, and it looked.
            let _ = self.displaced.push(displaced);
            // Release: who sees the count finds in the queue what was displaced.
            let commands = self.stats.commands.load(Ordering::Relaxed);
            self.stats.commands.store(commands.wrapping_add(1), Ordering::Release);
        }
        true
    }

    fn add_rx(&mut self, port: PortId, queue: u16, mut rx: Box<I::Rx>) -> Displaced<I> {
        if self.rx.len() == self.rx.capacity() {
            // More would allocate.
            return Displaced::Rx { port, queue, rx: Some(rx) };
        }
        self.readiness.watch(&mut rx);
        if let Some(is_told) = &mut self.armed {
            *is_told = self.readiness.arm(&mut rx) && *is_told;
        }
        self.rx.push(RxSlot { port, queue, rx, empty: 0 });
        // Awake: behind those that are.
        let last = self.rx.len() - 1;
        self.rx.swap(self.awake, last);
        self.awake += 1;
        Displaced::Nothing
    }

    fn remove_rx(&mut self, port: PortId, queue: u16) -> Displaced<I> {
        let place = self.rx.iter().position(|slot| slot.port == port && slot.queue == queue);
        let mut rx = place.map(|place| {
            let mut place = place;
            if place < self.awake {
                // The last one awake takes its place, and a resting one that one's.
                self.awake -= 1;
                self.rx.swap(place, self.awake);
                place = self.awake;
            }
            self.rx.swap_remove(place).rx
        });
        if let Some(rx) = &mut rx {
            if self.armed.is_some() {
                self.readiness.disarm(rx);
            }
            self.readiness.forget(rx);
        }
        Displaced::Rx { port, queue, rx }
    }
}
