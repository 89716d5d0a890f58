//! Which worker serves which queue of a port.

/// Positions of workers, not cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assignment {
    /// Worker of each receive queue.
    pub rx: Vec<usize>,
    /// Worker that transmits where there are fewer transmit queues than workers.
    pub owner: usize,
}

impl Assignment {
    /// Queue 0 to `first`, the others to the workers behind it in turn.
    pub fn spread(queues: u16, first: usize, workers: usize) -> Self {
        let rx = (0..usize::from(queues)).map(|queue| (first + queue) % workers.max(1)).collect();
        Self { rx, owner: first }
    }

    /// As the operator listed them; queues beyond the list go round it again.
    pub fn listed(queues: u16, workers: &[usize]) -> Option<Self> {
        let owner = *workers.first()?;
        let rx = workers.iter().copied().cycle().take(queues.into()).collect();
        Some(Self { rx, owner })
    }

    /// Worker of a receive queue.
    pub fn rx_worker(&self, queue: u16) -> usize {
        self.rx.get(usize::from(queue)).copied().unwrap_or(self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_spread_over_the_workers_in_turn() {
        assert_eq!(Assignment::spread(3, 1, 2), Assignment { rx: vec![1, 0, 1], owner: 1 });
        assert_eq!(
            Assignment::listed(3, &[1, 0]),
            Some(Assignment { rx: vec![1, 0, 1], owner: 1 })
        );
        assert_eq!(Assignment::listed(3, &[]), None);
    }
}
