//! The delay wheel: which delayed jobs are due, by wall-clock milliseconds.

mod arena;
mod stale;
mod store;
mod sweep;

use self::store::Store;
use crate::wheel::{Home, LEAST_MOVES, Slots as _, Wheel};

/// The jobs that wait for their due, as (due, slot of the record), in order of (due, insertion).
///
/// An entry is about 9 bytes: its due and its slot, in lists of chunks. Cancelling is a count beside
/// them (see [`DelayWheel::cancel`]); the entry itself goes when its time comes, or in a compaction
/// once many are cancelled, so jobs cancelled years before their due do not pile up.
///
/// No call does more than its share: neither a million timers in one slot nor a compaction of ten
/// million makes one call slow. Only [`DelayWheel::first_due`] may look at a whole slot.
///
/// ```
/// use jobq_core::delays::DelayWheel;
///
/// let mut delays = DelayWheel::new(1_000);
/// delays.insert(5_000, 7);
/// delays.insert(2_000, 8);
/// delays.insert(2_000, 9);
/// delays.cancel(2_000, 8);
/// let mut due = Vec::new();
/// assert!(!delays.advance(4_999, 100, &mut due));
/// assert_eq!(due, [(2_000, 9)]);
/// assert_eq!(delays.first_due(), Some(5_000));
/// ```
pub struct DelayWheel {
    wheel: Wheel<u32>,
    store: Store,
    live: usize,
    pace: Pace,
}

/// How much one call of a [`DelayWheel`] may do beside what it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Entries moved from level to level in one `advance`, or 4 × its limit if that is more.
    pub moves: usize,
    /// Compaction begins when more entries than this are cancelled, and more than half as many as
    /// are live.
    pub cancelled: usize,
    /// Entries that a compaction looks at in one `advance`.
    pub swept_per_advance: usize,
    /// Entries that a compaction looks at in one `cancel`. With 8, a compaction that is due ends
    /// before two fifths as many entries again were cancelled.
    pub swept_per_cancel: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { moves: LEAST_MOVES, cancelled: 4096, swept_per_advance: 1024, swept_per_cancel: 8 }
    }
}

impl DelayWheel {
    /// An empty wheel at the wall-clock time `now`, in milliseconds.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self::with_pace(now, Pace::default())
    }

    /// An empty wheel that does more or less in one call, as a test wants it.
    #[must_use]
    pub fn with_pace(now: u64, pace: Pace) -> Self {
        Self { wheel: Wheel::new(now, pace.moves), store: Store::new(), live: 0, pace }
    }

    /// Inserts the job in `slot`, behind all others of the same due. At most one entry of a (due,
    /// slot) may be live.
    #[inline]
    pub fn insert(&mut self, due: u64, slot: u32) {
        self.live += 1;
        if let Home::Slot(place) = self.wheel.insert(&mut self.store, due, slot) {
            let list = self.store.list_mut(place);
            if list.least == due {
                list.doubtful = false;
            }
        }
    }

    /// Cancels the live entry (due, slot), which must exist. The slot may be used again at once, for
    /// the same due too.
    pub fn cancel(&mut self, due: u64, slot: u32) {
        debug_assert!(self.live > 0, "slot {slot} is not delayed until {due}");
        self.live -= 1;
        self.store.stale.add(due, slot);
        for place in [self.wheel.place_of(due), self.wheel.moving()].into_iter().flatten() {
            let list = self.store.list_mut(place);
            list.doubtful |= list.least == due;
        }
        if self.store.stale.total() > self.pace.cancelled.max(self.live / 2) && !self.store.is_sweeping() {
            self.store.begin_sweep(&self.wheel);
        }
        self.store.sweep(&mut self.wheel, self.pace.swept_per_cancel);
    }

    /// Appends to `out` the live entries with due ≤ `now`, in order of (due, insertion), at most
    /// `limit`, and takes them out. `true`: more may be due at `now`, so call again, also when this
    /// call found none. `now` may be less than before: nothing is ever early.
    pub fn advance(&mut self, now: u64, limit: usize, out: &mut Vec<(u64, u32)>) -> bool {
        let before = out.len();
        let more = self.wheel.advance(&mut self.store, now, limit, |due, slot| {
            out.push((due, slot));
        });
        self.live -= out.len() - before;
        self.store.sweep(&mut self.wheel, self.pace.swept_per_advance);
        self.store.stale.shrink_one();
        more
    }

    /// How many entries are live: inserted, and neither delivered nor cancelled.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether no entry is live.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// An instant that is not after the first live due, for sleeping until then; `None` if nothing is
    /// live. It is that due itself, unless the entry it was found by is cancelled.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        if self.live == 0 {
            return None;
        }
        // Everything beside the wheel is before everything in it.
        self.wheel.side_first().or_else(|| Some(self.store.list(self.wheel.first()?).least))
    }

    /// The due of the first live entry; `None` if there is none.
    ///
    /// Constant time, unless the first entry of its slot was cancelled since the last call: then the
    /// whole slot is looked at once.
    pub fn first_due(&mut self) -> Option<u64> {
        if self.live == 0 {
            return None;
        }
        while let Some((&(due, _), &slot)) = self.wheel.side().first_key_value() {
            if !self.store.stale.take(due, slot) {
                return Some(due);
            }
            self.wheel.side().pop_first();
        }
        while let Some(place) = self.wheel.first() {
            let start = self.wheel.start(place);
            if place.level() == 0 {
                self.store.reach(place);
                self.store.trim(place, start);
            } else if !self.store.list(place).doubtful {
                return Some(self.store.list(place).least);
            } else if self.wheel.moving().is_some() {
                self.wheel.settle(&mut self.store);
                continue;
            } else {
                self.store.purge(place, start);
            }
            if !self.store.is_empty(place) {
                return Some(self.store.list(place).least);
            }
            self.wheel.vacate(place);
        }
        None
    }

    /// Bytes held for entries, in use or not.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.store.arena.bytes()
    }
}
