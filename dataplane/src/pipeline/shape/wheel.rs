//! A timing wheel (Varghese and Lauck, 1987): things that wait for their time, put in and taken out in a few
//! instructions however many wait. Allocated whole; what does not fit comes back.

/// Log2 of a slot's nanoseconds, 65.536 us: what one releases at 10 Gbit/s is 80 kB.
const SLOT_BITS: u32 = 16;
/// Slots: 537 ms.
const SLOTS: u64 = 8192;
const _: () = assert!(super::meter::WAIT_NS_MAX < (SLOTS - 1) << SLOT_BITS);
/// No cell.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Slot {
    first: u32,
    last: u32,
}

const EMPTY: Slot = Slot { first: NONE, last: NONE };

struct Cell<T> {
    item: Option<T>,
    next: u32,
}

/// Things in order of their time, those of one slot in order of their arrival.
pub(super) struct Wheel<T> {
    slots: Box<[Slot]>,
    cells: Box<[Cell<T>]>,
    free: u32,
    held: usize,
    /// The slot of now, counted from time 0: nothing waits in it or before it.
    now: u64,
}

impl<T> Wheel<T> {
    /// Room for so many things.
    pub(super) fn new(room: usize) -> Self {
        let room = u32::try_from(room).unwrap_or(NONE - 1).min(NONE - 1);
        let next = |number: u32| if number + 1 < room { number + 1 } else { NONE };
        Self {
            slots: (0..SLOTS).map(|_| EMPTY).collect(),
            cells: (0..room).map(|number| Cell { item: None, next: next(number) }).collect(),
            free: if room == 0 { NONE } else { 0 },
            held: 0,
            now: 0,
        }
    }

    /// How many things wait.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether what is due then need not wait: all that is due before has been taken.
    #[inline]
    pub(super) fn is_due(&self, at_ns: u64) -> bool {
        at_ns >> SLOT_BITS <= self.now
    }

    /// Keeps a thing until then; it comes back where there is no room, or where it is due.
    pub(super) fn hold(&mut self, at_ns: u64, item: T) -> Result<(), T> {
        if self.is_due(at_ns) {
            return Err(item);
        }
        let number = self.free;
        let Some(cell) = self.cells.get_mut(number as usize) else { return Err(item) };
        self.free = std::mem::replace(&mut cell.next, NONE);
        cell.item = Some(item);
        let slot = (at_ns >> SLOT_BITS).min(self.now + SLOTS - 1) % SLOTS;
        let Slot { first, last } = &mut self.slots[slot as usize];
        let before = std::mem::replace(last, number);
        match self.cells.get_mut(before as usize) {
            Some(before) => before.next = number,
            None => *first = number,
        }
        self.held += 1;
        Ok(())
    }

    /// The next thing that is due; after the last one, now is now.
    #[inline]
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<T> {
        let now = now_ns >> SLOT_BITS;
        while self.held > 0 {
            if let Some(item) = self.take_first(self.now) {
                return Some(item);
            }
            if self.now >= now {
                return None;
            }
            self.now += 1;
        }
        self.now = self.now.max(now);
        None
    }

    fn take_first(&mut self, slot: u64) -> Option<T> {
        let slot = &mut self.slots[(slot % SLOTS) as usize];
        let number = slot.first;
        let cell = self.cells.get_mut(number as usize)?;
        slot.first = std::mem::replace(&mut cell.next, self.free);
        if slot.first == NONE {
            slot.last = NONE;
        }
        self.free = number;
        self.held -= 1;
        cell.item.take()
    }

    /// Takes out, before their time, those that are chosen; in order.
    pub(super) fn take_if(&mut self, is_chosen: impl Fn(&T) -> bool, mut give: impl FnMut(T)) {
        if self.held == 0 {
            return;
        }
        for slot in self.now..self.now + SLOTS {
            let slot = (slot % SLOTS) as usize;
            let (mut before, mut number) = (NONE, self.slots[slot].first);
            while let Some(cell) = self.cells.get_mut(number as usize) {
                let next = cell.next;
                if !cell.item.as_ref().is_some_and(&is_chosen) {
                    (before, number) = (number, next);
                    continue;
                }
                cell.next = self.free;
                self.free = number;
                self.held -= 1;
                if let Some(item) = cell.item.take() {
                    give(item);
                }
                match self.cells.get_mut(before as usize) {
                    Some(before) => before.next = next,
                    None => self.slots[slot].first = next,
                }
                if next == NONE {
                    self.slots[slot].last = before;
                }
                number = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Hold(u64),
        Until(u64),
        TakeOdd,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u64..600_000_000).prop_map(Step::Hold),
            3 => (0u64..100_000_000).prop_map(Step::Until),
            1 => (500_000_000u64..2_000_000_000).prop_map(Step::Until),
            1 => Just(Step::TakeOdd),
        ]
    }

    proptest! {
        #[test]
        fn what_waits_comes_out_once_in_order_and_in_its_slot(
            steps in prop::collection::vec(step(), 1..200),
            room in 0usize..40,
        ) {
            let mut wheel = Wheel::new(room);
            // By slot, in order of arrival.
            let mut model: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
            let mut now_ns = 3_000_000_000;
            while wheel.take_due(now_ns).is_some() {}
            for (number, step) in steps.into_iter().enumerate() {
                let held: usize = model.values().map(Vec::len).sum();
                prop_assert_eq!(wheel.held(), held);
                match step {
                    Step::Hold(after_ns) => {
                        let at_ns = now_ns + after_ns;
                        let fits = held < room && !wheel.is_due(at_ns);
                        prop_assert_eq!(wheel.is_due(at_ns), at_ns >> SLOT_BITS <= now_ns >> SLOT_BITS);
                        prop_assert_eq!(wheel.hold(at_ns, number).is_ok(), fits);
                        if fits {
                            let last = (now_ns >> SLOT_BITS) + SLOTS - 1;
                            model.entry((at_ns >> SLOT_BITS).min(last)).or_default().push(number);
                        }
                    }
                    Step::Until(after_ns) => {
                        now_ns += after_ns;
                        let rest = model.split_off(&((now_ns >> SLOT_BITS) + 1));
                        let want: Vec<usize> = std::mem::replace(&mut model, rest).into_values().flatten().collect();
                        let got: Vec<usize> = std::iter::from_fn(|| wheel.take_due(now_ns)).collect();
                        prop_assert_eq!(got, want);
                    }
                    Step::TakeOdd => {
                        let mut got = Vec::new();
                        wheel.take_if(|number| number % 2 == 1, |number| got.push(number));
                        let mut want = Vec::new();
                        for slot in model.values_mut() {
                            want.extend(slot.iter().filter(|number| *number % 2 == 1));
                            slot.retain(|number| number % 2 == 0);
                        }
                        prop_assert_eq!(got, want);
                    }
                }
            }
        }
    }
}
