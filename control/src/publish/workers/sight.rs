//! What is lent to workers for sight into the path, and comes back filled.

use super::{WorkerEnd, WorkerSilent, Workers};
use dataplane::io::Io;
use dataplane::sight::capture::Capture;
use dataplane::sight::latency::Latencies;
use dataplane::sight::trace::Tracer;
use dataplane::worker::Command;

impl<I: Io> Workers<I> {
    /// Lets the chosen workers measure how long packets stay.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn lend_latencies(
        &mut self,
        is_chosen: impl Fn(usize) -> bool,
    ) -> Result<(), WorkerSilent> {
        let mut chosen = self.chosen(is_chosen);
        chosen.try_for_each(|end| end.command(Command::SetLatencies(Latencies::new().ok())))
    }

    /// Ends that, and takes what each has measured, with its core.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn take_latencies(
        &mut self,
        is_chosen: impl Fn(usize) -> bool,
    ) -> Result<Vec<(usize, Box<Latencies>)>, WorkerSilent> {
        self.chosen(&is_chosen).try_for_each(|end| end.command(Command::SetLatencies(None)))?;
        self.chosen(&is_chosen).try_for_each(WorkerEnd::settle)?;
        let measured =
            self.chosen(&is_chosen).filter_map(|end| Some((end.core, end.measured.take()?)));
        Ok(measured.collect())
    }

    fn chosen(
        &mut self,
        is_chosen: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = &mut WorkerEnd<I>> {
        (0..).zip(&mut self.ends).filter(move |(at, _)| is_chosen(*at)).map(|(_, end)| end)
    }
}

impl<I: Io> Workers<I> {
    /// Lets every worker copy frames.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn lend_captures(&mut self, lend: impl Fn() -> Box<Capture>) -> Result<(), WorkerSilent> {
        self.ends.iter_mut().try_for_each(|end| end.command(Command::SetCapture(Some(lend()))))
    }

    /// Ends that, and waits for the chosen workers: none of them copies any more.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn take_captures(&mut self, is_chosen: impl Fn(usize) -> bool) -> Result<(), WorkerSilent> {
        self.ends.iter_mut().try_for_each(|end| end.command(Command::SetCapture(None)))?;
        self.chosen(is_chosen).try_for_each(WorkerEnd::settle)
    }
}

impl<I: Io> Workers<I> {
    /// Lets every worker, told by its position, write down the way of packets.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn lend_tracers(
        &mut self,
        lend: impl Fn(usize) -> Box<Tracer>,
    ) -> Result<(), WorkerSilent> {
        let mut ends = self.ends.iter_mut().enumerate();
        ends.try_for_each(|(at, end)| end.command(Command::SetTrace(Some(lend(at)))))
    }

    /// Ends that, and waits for the chosen workers.
    ///
    /// # Errors
    /// See [`Workers::set_port`].
    pub fn take_tracers(&mut self, is_chosen: impl Fn(usize) -> bool) -> Result<(), WorkerSilent> {
        self.ends.iter_mut().try_for_each(|end| end.command(Command::SetTrace(None)))?;
        self.chosen(is_chosen).try_for_each(WorkerEnd::settle)
    }
}
