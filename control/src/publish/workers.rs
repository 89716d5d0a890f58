//! Control's side of all workers: who polls which queue, and every record sent to everyone.
//!
//! Commands are taken up within one loop of a worker, so waiting for one is short; control may wait,
//! a worker never does.

mod sight;

use super::port_queues::Assignment;
use crossbeam::queue::ArrayQueue;
use dataplane::counters::Counters;
use dataplane::ids::{AdapterId, NetworkId, PortId};
use dataplane::io::Io;
use dataplane::pipeline::{Handoff, Limits, Shaping, TxPort, TxRoute};
use dataplane::punt::{Inject, Punt};
use dataplane::record::{NetworkRecord, PortRecord};
use dataplane::sight::latency::Latencies;
use dataplane::table::Ipv4Fib;
use dataplane::worker::{Command, Displaced, WorkerLink, WorkerStats, loop_histogram};
use hdrhistogram::Histogram;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A worker that takes up nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a worker. Never a yield: see `api::backend`.
const NAP: Duration = Duration::from_micros(20);

/// Queue handles that came back from the workers.
pub struct Returned<I: Io> {
    /// Receive queues with their numbers.
    pub rx: Vec<(u16, I::Rx)>,
    /// Transmit queues.
    pub tx: Vec<I::Tx>,
}

/// A worker did not take up a command in time.
#[derive(Debug, thiserror::Error)]
#[error("worker on core {core} has not answered for {} s", PATIENCE.as_secs())]
pub struct WorkerSilent {
    /// Its core.
    pub core: usize,
}

/// One worker as control sees it.
pub struct WorkerEnd<I: Io> {
    /// Core that it runs on.
    pub core: usize,
    /// Counters that it writes.
    pub counters: Arc<Counters>,
    /// Receive queues that it polls.
    pub queues: Vec<(PortId, u16)>,
    /// Loop times since the start.
    pub loop_times: Option<Box<Histogram<u64>>>,
    /// Frames for control.
    pub punts: Arc<ArrayQueue<Punt<I::Frame>>>,
    link: WorkerLink<I>,
    /// Commands sent so far; compared with the worker's own count.
    issued: u64,
    returned: Vec<Displaced<I>>,
    spare: Option<Box<Histogram<u64>>>,
    /// How long packets stayed, as the worker gave it back.
    measured: Option<Box<Latencies>>,
}

impl<I: Io> WorkerEnd<I> {
    /// Control's end of a worker on `core`.
    pub fn new(
        core: usize,
        link: WorkerLink<I>,
        counters: Arc<Counters>,
        punts: Arc<ArrayQueue<Punt<I::Frame>>>,
    ) -> Self {
        Self {
            core,
            counters,
            queues: Vec::new(),
            loop_times: loop_histogram().ok(),
            punts,
            link,
            issued: 0,
            returned: Vec::new(),
            spare: loop_histogram().ok(),
            measured: None,
        }
    }

    /// The worker's account of itself.
    pub fn stats(&self) -> &WorkerStats {
        &self.link.stats
    }

    /// Tells how many commands wait for the worker, whoever has the end by then.
    #[cfg(test)]
    pub(super) fn commands(&self) -> impl Fn() -> usize + Send + Sync + use<I> {
        let commands = self.link.commands.clone();
        move || commands.len()
    }

    /// Sends one command; waits while the queue is full.
    fn command(&mut self, command: Command<I>) -> Result<(), WorkerSilent> {
        let deadline = Instant::now() + PATIENCE;
        let mut command = command;
        loop {
            let pushed = self.link.commands.push(command);
            self.link.bell.ring();
            match pushed {
                Ok(()) => break,
                Err(back) => command = back,
            }
            self.collect();
            if Instant::now() > deadline {
                return Err(WorkerSilent { core: self.core });
            }
            std::thread::sleep(NAP);
        }
        self.issued += 1;
        self.collect();
        Ok(())
    }

    /// Takes back what commands displaced. Records are dropped here, on control's thread.
    fn collect(&mut self) {
        while let Some(displaced) = self.link.displaced.pop() {
            match displaced {
                Displaced::Rx { .. } | Displaced::Tx { .. } => self.returned.push(displaced),
                Displaced::Histogram(mut filled) => {
                    if let Some(times) = &mut self.loop_times {
                        // Same bounds on both sides, so it always fits.
                        let _ = times.add(&*filled);
                    }
                    filled.reset();
                    self.spare = Some(filled);
                }
                Displaced::Latencies(measured) => self.measured = measured,
                Displaced::Port(_)
                | Displaced::Network(_)
                | Displaced::Classes(_)
                | Displaced::Capture(_)
                | Displaced::Trace(_)
                | Displaced::Shaping(_)
                | Displaced::Limits(_)
                | Displaced::Nothing => {}
            }
        }
    }

    /// Waits until every command sent is in force.
    fn settle(&mut self) -> Result<(), WorkerSilent> {
        let deadline = Instant::now() + PATIENCE;
        while self.link.stats.commands.load(Ordering::Acquire) < self.issued {
            self.collect();
            if Instant::now() > deadline {
                return Err(WorkerSilent { core: self.core });
            }
            std::thread::sleep(NAP);
        }
        self.collect();
        Ok(())
    }

    /// Asks for the loop times since the last call; they are in `loop_times` a moment later.
    fn swap_histogram(&mut self) -> Result<(), WorkerSilent> {
        match self.spare.take() {
            Some(empty) => self.command(Command::SwapHistogram(empty)),
            None => Ok(()),
        }
    }
}

/// All workers.
pub struct Workers<I: Io> {
    ends: Vec<WorkerEnd<I>>,
    /// Worker that transmits for each port, by port number: the one to inject at.
    owners: Vec<Option<usize>>,
}

impl<I: Io> Workers<I> {
    /// Over these workers.
    pub fn new(ends: Vec<WorkerEnd<I>>) -> Self {
        Self { ends, owners: vec![None; PortId::LIMIT] }
    }

    /// Each worker.
    pub fn ends(&self) -> &[WorkerEnd<I>] {
        &self.ends
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Position of the worker on a core.
    pub fn on_core(&self, core: usize) -> Option<usize> {
        self.ends.iter().position(|end| end.core == core)
    }

    /// The worker that polls fewest queues.
    pub fn least_loaded(&self) -> usize {
        let loads = self.ends.iter().enumerate().map(|(at, end)| (end.queues.len(), at));
        loads.min().map_or(0, |(_, at)| at)
    }

    /// Puts a port's record in force everywhere.
    ///
    /// # Errors
    /// As for all below: a worker that does not answer.
    pub fn set_port(
        &mut self,
        port: PortId,
        record: Option<PortRecord>,
    ) -> Result<(), WorkerSilent> {
        let record = record.map(Arc::new);
        self.ends.iter_mut().try_for_each(|end| end.command(Command::SetPort(port, record.clone())))
    }

    /// Puts a network's record in force everywhere.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn set_network(
        &mut self,
        network: NetworkId,
        record: Option<NetworkRecord>,
    ) -> Result<(), WorkerSilent> {
        let record = record.map(Arc::new);
        let set =
            |end: &mut WorkerEnd<I>| end.command(Command::SetNetwork(network, record.clone()));
        self.ends.iter_mut().try_for_each(set)
    }

    /// `start` and `stop`.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn set_forwarding(&mut self, is_forwarding: bool) -> Result<(), WorkerSilent> {
        self.ends.iter_mut().try_for_each(|end| end.command(Command::SetForwarding(is_forwarding)))
    }

    /// Source of ICMP errors.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn set_icmp_source(&mut self, address: Ipv4Addr) -> Result<(), WorkerSilent> {
        self.ends.iter_mut().try_for_each(|end| end.command(Command::SetIcmpSource(address)))
    }

    /// Class of each address; none while there are no classes.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn set_classes(&mut self, classes: Option<&Arc<Ipv4Fib>>) -> Result<(), WorkerSilent> {
        let command = || Command::SetClasses(classes.cloned());
        self.ends.iter_mut().try_for_each(|end| end.command(command()))
    }

    /// Rate limits are kept from now on, and so many buffers may wait at each worker for that; or no more.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn set_shaping(&mut self, room: Option<usize>) -> Result<(), WorkerSilent> {
        let command = || Command::SetShaping(room.map(Shaping::new));
        self.ends.iter_mut().try_for_each(|end| end.command(command()))
    }

    /// An adapter's limits, or none.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn set_limits(
        &mut self,
        adapter: AdapterId,
        limits: Option<&Arc<Limits>>,
    ) -> Result<(), WorkerSilent> {
        let command = || Command::SetLimits(adapter, limits.cloned());
        self.ends.iter_mut().try_for_each(|end| end.command(command()))
    }

    /// Hands a port's queues to their workers: receive queue `n` to `assignment.rx[n]`, transmit
    /// queues one a worker where they suffice, else the owner's alone.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn open(
        &mut self,
        port: PortId,
        rx: Vec<(u16, I::Rx)>,
        tx: Vec<I::Tx>,
        assignment: &Assignment,
    ) -> Result<(), WorkerSilent> {
        let owner = assignment.owner;
        self.owners[port.index()] = Some(owner);
        let is_shared_out = tx.len() >= self.ends.len();
        let link = &self.ends[owner].link;
        let (ring, bell) = (link.departures.clone(), link.bell.clone());
        let mut tx = tx.into_iter();
        // The owner first: what the others hand over before it has its queue would find no way out.
        let others = (0..self.ends.len()).filter(|at| *at != owner);
        for at in std::iter::once(owner).chain(others) {
            let own = if is_shared_out || at == owner { tx.next() } else { None };
            let route = match own {
                Some(queue) => TxRoute::Own(queue),
                None => TxRoute::Handoff(Handoff { ring: ring.clone(), bell: bell.clone() }),
            };
            let end = &mut self.ends[at];
            end.command(Command::SetTx { port, tx: Some(TxPort::new(route)) })?;
            if at == owner && !is_shared_out {
                end.settle()?;
            }
        }
        for (number, handle) in rx {
            let end = &mut self.ends[assignment.rx_worker(number)];
            end.queues.push((port, number));
            end.command(Command::AddRx { port, queue: number, rx: Box::new(handle) })?;
        }
        Ok(())
    }

    /// Takes a port's queues back; when it returns no worker touches the port any more.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn close(&mut self, port: PortId) -> Result<Returned<I>, WorkerSilent> {
        let owner = self.owners[port.index()].take();
        for end in &mut self.ends {
            let polled: Vec<u16> =
                end.queues.iter().filter(|queue| queue.0 == port).map(|queue| queue.1).collect();
            end.queues.retain(|queue| queue.0 != port);
            for queue in polled {
                end.command(Command::RemoveRx { port, queue })?;
            }
        }
        // First those that hand over, so that the owner still sends what is in its ring.
        for at in (0..self.ends.len()).filter(|at| Some(*at) != owner).chain(owner) {
            self.ends[at].command(Command::SetTx { port, tx: None })?;
            self.ends[at].settle()?;
        }
        let mut returned = Returned { rx: Vec::new(), tx: Vec::new() };
        for end in &mut self.ends {
            for displaced in end.returned.drain(..) {
                match displaced {
                    Displaced::Rx { queue, rx: Some(rx), .. } => returned.rx.push((queue, *rx)),
                    Displaced::Tx { tx: Some(tx), .. } => match tx.route {
                        TxRoute::Own(queue) => returned.tx.push(queue),
                        TxRoute::Handoff(_) => {}
                    },
                    _ => {}
                }
            }
        }
        returned.rx.sort_by_key(|(queue, _)| *queue);
        Ok(returned)
    }

    /// Waits until every command sent is in force at every worker.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn settle(&mut self) -> Result<(), WorkerSilent> {
        self.ends.iter_mut().try_for_each(WorkerEnd::settle)
    }

    /// Asks those workers for their loop times whose position is chosen, and waits for them.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn collect_loop_times(
        &mut self,
        is_chosen: impl Fn(usize) -> bool,
    ) -> Result<(), WorkerSilent> {
        let mut chosen: Vec<&mut WorkerEnd<I>> = (0..)
            .zip(&mut self.ends)
            .filter(|(at, _)| is_chosen(*at))
            .map(|(_, end)| end)
            .collect();
        chosen.iter_mut().try_for_each(|end| end.swap_histogram())?;
        chosen.iter_mut().try_for_each(|end| end.settle())
    }

    /// Gives a frame to the worker that transmits for `port`; the frame back where its queue is full.
    ///
    /// # Errors
    /// The frame, when the worker's queue is full or there is no worker.
    pub fn inject(&self, port: PortId, inject: Inject<I::Frame>) -> Result<(), Inject<I::Frame>> {
        let owner = self.owners.get(port.index()).copied().flatten().unwrap_or(0);
        match self.ends.get(owner) {
            Some(end) => {
                let pushed = end.link.injects.push(inject);
                end.link.bell.ring();
                pushed
            }
            None => Err(inject),
        }
    }

    /// The next frame for control, from whichever worker has one.
    pub fn next_punt(&self, turn: &mut usize) -> Option<Punt<I::Frame>> {
        for _ in 0..self.ends.len() {
            *turn = (*turn + 1) % self.ends.len();
            if let Some(punt) = self.ends[*turn].punts.pop() {
                return Some(punt);
            }
        }
        None
    }

    /// Ends all workers; they send what waits and return.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn shutdown(&mut self) -> Result<(), WorkerSilent> {
        self.ends.iter_mut().try_for_each(|end| end.command(Command::Shutdown))
    }

    /// Drops returned handles and records; called in control's idle turns.
    pub fn collect(&mut self) {
        self.ends.iter_mut().for_each(WorkerEnd::collect);
    }
}
