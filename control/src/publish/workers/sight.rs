//! What is lent to workers for sight into the path, and comes back filled.

use super::{WorkerEnd, WorkerSilent, Workers};
use dataplane::io::Io;
use dataplane::sight::latency::Latencies;
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
