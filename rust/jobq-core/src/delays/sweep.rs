//! Compaction of the delay wheel: drops cancelled entries long before their time, a little per call.

use super::store::{Chain, Form, List, Store};
use crate::wheel::{Place, Wheel};

/// Where a pass over all entries stands.
///
/// A pass goes from the highest place down, so that what cascades meanwhile is still ahead of it.
/// Each list is copied, chunk by chunk, without what was cancelled: what is left lies closer, and
/// whole blocks of the arena become empty and are given back.
///
/// Only entries that were in a list when the pass came to it are looked at. Of a (due, slot) at most
/// the newest entry is live, so all older ones are counted as cancelled by then, and an entry that is
/// cancelled after the pass has copied it is never confused with a newer one behind it.
pub(super) enum Sweep {
    /// No pass.
    Idle,
    /// Beside the wheel, behind the entry `after`; entries numbered above `last` are newer than the
    /// pass.
    Side { after: (u64, u64), last: u64 },
    /// Before the last list that is before `done`.
    Before { done: Option<Place> },
    /// In the list of `place`: `kept` was copied, `rest` is to be; what is in the list itself was
    /// inserted since.
    List { place: Place, kept: Chain, rest: Chain },
}

impl Store {
    /// Begins a pass.
    pub(super) fn begin_sweep(&mut self, wheel: &Wheel<u32>) {
        debug_assert!(matches!(self.sweep, Sweep::Idle), "one pass at a time");
        self.sweep = Sweep::Side { after: (0, 0), last: wheel.sided() };
    }

    pub(super) const fn is_sweeping(&self) -> bool {
        !matches!(self.sweep, Sweep::Idle)
    }

    /// Goes on with the pass for `steps` entries or lists, a few more at most.
    pub(super) fn sweep(&mut self, wheel: &mut Wheel<u32>, steps: usize) {
        let mut left = steps;
        while left > 0 && self.is_sweeping() {
            left = left.saturating_sub(self.sweep_some(wheel));
        }
    }

    /// Time has come to `place`: if the pass is there, it leaves the list as it is.
    pub(super) fn leave_sweep(&mut self, place: Place) {
        if let Sweep::List { place: at, mut kept, rest } = self.sweep
            && at == place
        {
            kept.append(&mut self.arena, rest);
            let list = self.list(place).chain;
            kept.append(&mut self.arena, list);
            self.list_mut(place).chain = kept;
            self.sweep = Sweep::Before { done: Some(place) };
        }
    }

    /// Makes one step and returns how many entries it looked at, at least 1.
    fn sweep_some(&mut self, wheel: &mut Wheel<u32>) -> usize {
        match self.sweep {
            Sweep::Idle => 1,
            Sweep::Side { after, last } => self.sweep_side(wheel, after, last),
            Sweep::Before { done } => self.sweep_into(wheel, done),
            Sweep::List { place, kept, rest } => self.sweep_list(wheel, place, kept, rest),
        }
    }

    fn sweep_side(&mut self, wheel: &mut Wheel<u32>, after: (u64, u64), last: u64) -> usize {
        let side = wheel.side();
        // Numbers begin at 1, so this skips `after` itself only.
        let behind = (after.0, after.1 + 1)..;
        let Some((&key, &slot)) = side.range(behind).next() else {
            self.sweep = Sweep::Before { done: None };
            return 1;
        };
        if key.1 <= last && self.stale.take(key.0, slot) {
            side.remove(&key);
        }
        self.sweep = Sweep::Side { after: key, last };
        1
    }

    fn sweep_into(&mut self, wheel: &Wheel<u32>, done: Option<Place>) -> usize {
        self.sweep = match wheel.last_before(done) {
            None => Sweep::Idle,
            // It is being emptied anyway, and the older of its entries are elsewhere already.
            Some(place) if wheel.moving() == Some(place) => Sweep::Before { done: Some(place) },
            Some(place) => Sweep::List {
                place,
                kept: Chain::EMPTY,
                rest: std::mem::replace(&mut self.list_mut(place).chain, Chain::EMPTY),
            },
        };
        1
    }

    /// Copies one chunk.
    fn sweep_list(&mut self, wheel: &mut Wheel<u32>, place: Place, mut kept: Chain, mut rest: Chain) -> usize {
        let (form, start) = (Form::of(place), wheel.start(place));
        let taken = rest.take(&mut self.arena, usize::MAX);
        let looked = taken.len();
        for (due, slot) in taken.entries(form, start) {
            if !self.stale.take(due, slot) {
                kept.push(&mut self.arena, form, due, slot);
            }
        }
        if !rest.is_empty() {
            self.sweep = Sweep::List { place, kept, rest };
            return looked;
        }
        let since = self.list(place).chain;
        kept.append(&mut self.arena, since);
        if kept.is_empty() {
            *self.list_mut(place) = List::EMPTY;
            wheel.vacate(place);
        } else {
            self.list_mut(place).chain = kept;
        }
        self.sweep = Sweep::Before { done: Some(place) };
        looked
    }
}
