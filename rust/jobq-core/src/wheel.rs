//! The hierarchical timer wheel: which slot an instant belongs to, and what passing time takes out.

mod place;

use std::collections::BTreeMap;

use self::place::Occupied;
pub use self::place::{LEVELS, Place};

/// Moves from level to level that one call may make for each delivery it may make.
pub(crate) const MOVES_PER_DELIVERY: usize = 4;

/// Moves that any call may make, unless told otherwise: some tens of microseconds of work.
pub const LEAST_MOVES: usize = 1024;

/// How the slots of a wheel keep their entries: one first-in-first-out list for each [`Place`].
pub trait Slots {
    /// What is kept for each timer, beside its instant.
    type Entry: Copy;

    /// Appends an entry for the instant `when` to the list of `place`.
    fn push(&mut self, place: Place, when: u64, entry: Self::Entry);

    /// Takes entries from the head of the list of `place`, whose instants begin at `start`, and passes
    /// each with its instant to `each`, which may push to other places. Returns how many: at most
    /// `most`, perhaps fewer, but none only from an empty list.
    fn take(&mut self, place: Place, start: u64, most: usize, each: impl FnMut(&mut Self, u64, Self::Entry)) -> usize;

    /// Whether the list of `place` is empty.
    fn is_empty(&self, place: Place) -> bool;

    /// Time has come to `place`: the wheel is about to take entries from it.
    fn reach(&mut self, _place: Place) {}

    /// An entry has left the wheel because its instant came. `false`: it was cancelled before, and
    /// is not delivered.
    fn leave(&mut self, when: u64, entry: Self::Entry) -> bool;
}

/// Where an entry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Into the list of a slot.
    Slot(Place),
    /// Beside the wheel, as its instant is before the wheel's time, under (instant, this number).
    Side(u64),
}

/// A timer wheel on milliseconds that delivers entries in order of (instant, insertion).
///
/// | level | one slot | one turn |
/// |---|---|---|
/// | 0 | 1 ms | 64 ms |
/// | 1 | 64 ms | 4.1 s |
/// | 2 | 4.1 s | 4.4 min |
/// | 3 | 4.4 min | 4.7 h |
/// | 4 | 4.7 h | 12.4 days |
/// | 5 | 12.4 days | 2.2 years |
/// | 6 | 2.2 years | 139 years |
/// | 7 | 139 years | 8,900 years |
/// | 8 to 10 | | the rest of `u64` |
///
/// An entry's level is the highest six-bit digit in which its instant differs from the wheel's time,
/// its slot that digit. So every entry of a level is before every entry of the level above, and the
/// next slot is found with two bit scans however far away it is. When time reaches a slot above
/// level 0, its entries cascade: each moves to the level that is now right for it.
///
/// Order among equal instants holds because they are always in one list, in order of insertion: an
/// entry's place depends on nothing but its instant and the wheel's time, and lists are appended to
/// and emptied in order. Two cases would break this and are kept apart:
///
/// * While a slot cascades, what is inserted into its range is appended to that slot.
/// * What is inserted for an instant before the wheel's time, because the clock was set back, goes
///   to an ordered map beside the wheel. All of it is before everything in the wheel.
///
/// The wheel holds no clock: `now` is an argument, and may be less than in the call before.
///
/// ```
/// use std::collections::VecDeque;
///
/// use jobq_core::wheel::{LEAST_MOVES, Place, Slots, Wheel};
///
/// struct Names(Vec<VecDeque<(u64, &'static str)>>);
///
/// impl Slots for Names {
///     type Entry = &'static str;
///
///     fn push(&mut self, place: Place, when: u64, name: &'static str) {
///         self.0[place.index()].push_back((when, name));
///     }
///
///     fn take(
///         &mut self,
///         place: Place,
///         _: u64,
///         most: usize,
///         mut each: impl FnMut(&mut Self, u64, &'static str),
///     ) -> usize {
///         let list = &mut self.0[place.index()];
///         let taken: Vec<_> = list.drain(..most.min(list.len())).collect();
///         let count = taken.len();
///         taken.into_iter().for_each(|(when, name)| each(self, when, name));
///         count
///     }
///
///     fn is_empty(&self, place: Place) -> bool {
///         self.0[place.index()].is_empty()
///     }
///
///     fn leave(&mut self, _: u64, _: &'static str) -> bool {
///         true
///     }
/// }
///
/// let mut names = Names(vec![VecDeque::new(); Place::COUNT]);
/// let mut wheel = Wheel::new(0, LEAST_MOVES);
/// wheel.insert(&mut names, 90_000, "second");
/// wheel.insert(&mut names, 5, "first");
/// let mut out = Vec::new();
/// assert!(!wheel.advance(&mut names, 90_000, 10, |when, name| out.push((when, name))));
/// assert_eq!(out, [(5, "first"), (90_000, "second")]);
/// ```
pub struct Wheel<E> {
    now: u64,
    occupied: Occupied,
    /// The slot that has begun to cascade and still has entries. `now` is its start.
    moving: Option<Place>,
    side: BTreeMap<(u64, u64), E>,
    /// Entries ever put into `side`.
    sided: u64,
    least_moves: usize,
}

impl<E: Copy> Wheel<E> {
    /// An empty wheel at the time `now`. One call of [`Wheel::advance`] makes at most `least_moves`
    /// moves, or four for each delivery allowed if that is more.
    #[must_use]
    pub fn new(now: u64, least_moves: usize) -> Self {
        Self {
            now,
            occupied: Occupied::NONE,
            moving: None,
            side: BTreeMap::new(),
            sided: 0,
            least_moves: least_moves.max(1),
        }
    }

    /// Inserts `entry` for the instant `when`, behind all others of that instant.
    #[inline]
    pub fn insert(&mut self, slots: &mut impl Slots<Entry = E>, when: u64, entry: E) -> Home {
        let Some(mut place) = self.place_of(when) else {
            self.sided += 1;
            self.side.insert((when, self.sided), entry);
            return Home::Side(self.sided);
        };
        if let Some(moving) = self.moving
            && place.level() < moving.level()
        {
            place = moving;
        }
        slots.push(place, when, entry);
        self.occupied.insert(place);
        Home::Slot(place)
    }

    /// Delivers entries with instants up to `now`, in order of (instant, insertion), at most `limit`
    /// of them. `true`: the call has done its share and more may be due at `now`, even if nothing
    /// was delivered.
    pub fn advance(
        &mut self,
        slots: &mut impl Slots<Entry = E>,
        now: u64,
        limit: usize,
        mut deliver: impl FnMut(u64, E),
    ) -> bool {
        let mut share =
            Share { deliveries: limit, moves: self.least_moves.max(limit.saturating_mul(MOVES_PER_DELIVERY)) };
        while let Some(source) = self.due(now) {
            if share.is_done() {
                return true;
            }
            match source {
                Source::Side => self.deliver_side(slots, &mut share, &mut deliver),
                Source::Slot(place) if place.level() == 0 => {
                    self.deliver_slot(slots, place, &mut share, &mut deliver);
                }
                Source::Slot(place) => self.cascade(slots, place, &mut share.moves),
            }
        }
        // An empty wheel has no order to keep, so its time may follow a clock that was set back.
        if now > self.now || self.is_empty() {
            self.now = now;
        }
        false
    }

    /// A lower bound of the first instant: exact within the next 64 ms and beside the wheel, else
    /// the start of a slot. `None` if the wheel is empty.
    #[must_use]
    pub fn next_start(&self) -> Option<u64> {
        self.side_first().or_else(|| Some(self.start(self.first()?)))
    }

    /// Ends the cascade of a slot, however long that takes.
    pub(crate) fn settle(&mut self, slots: &mut impl Slots<Entry = E>) {
        if let Some(moving) = self.moving {
            let mut unbounded = usize::MAX;
            self.cascade(slots, moving, &mut unbounded);
        }
    }

    /// The place that time reaches first, or is at; `None` if no slot has an entry.
    #[inline]
    pub(crate) fn first(&self) -> Option<Place> {
        self.moving.or_else(|| self.occupied.first())
    }

    /// The last place with an entry, before `end` if that is given.
    pub(crate) fn last_before(&self, end: Option<Place>) -> Option<Place> {
        self.occupied.last_below(end)
    }

    /// The slot that has begun to cascade and still has entries.
    #[inline]
    pub(crate) const fn moving(&self) -> Option<Place> {
        self.moving
    }

    /// The place of the instant `when`; `None` if that is beside the wheel. While a slot cascades,
    /// entries of its range may still be there instead.
    #[inline]
    pub(crate) fn place_of(&self, when: u64) -> Option<Place> {
        (when >= self.now).then(|| Place::of(self.now, when))
    }

    /// The first instant that `place` covers now.
    #[inline]
    pub(crate) fn start(&self, place: Place) -> u64 {
        place.start(self.now)
    }

    /// The list of `place` has become empty.
    #[inline]
    pub(crate) fn vacate(&mut self, place: Place) {
        self.occupied.remove(place);
        if self.moving == Some(place) {
            self.moving = None;
        }
    }

    /// The first instant beside the wheel, before everything in it.
    #[inline]
    pub(crate) fn side_first(&self) -> Option<u64> {
        self.side.first_key_value().map(|(&(when, _), _)| when)
    }

    /// What is kept beside the wheel, by (instant, number).
    pub(crate) const fn side(&mut self) -> &mut BTreeMap<(u64, u64), E> {
        &mut self.side
    }

    /// How many entries were ever put beside the wheel: the greatest number of one.
    pub(crate) const fn sided(&self) -> u64 {
        self.sided
    }

    fn is_empty(&self) -> bool {
        self.occupied.is_empty() && self.side.is_empty()
    }

    /// What `now` has come to: all beside the wheel is before all in it.
    fn due(&self, now: u64) -> Option<Source> {
        if let Some(when) = self.side_first() {
            return (when <= now).then_some(Source::Side);
        }
        let place = self.first()?;
        (self.start(place) <= now).then_some(Source::Slot(place))
    }

    fn deliver_side(&mut self, slots: &mut impl Slots<Entry = E>, share: &mut Share, deliver: &mut impl FnMut(u64, E)) {
        if let Some(((when, _), entry)) = self.side.pop_first() {
            share.leave(slots, when, entry, deliver);
        }
    }

    fn deliver_slot(
        &mut self,
        slots: &mut impl Slots<Entry = E>,
        place: Place,
        share: &mut Share,
        deliver: &mut impl FnMut(u64, E),
    ) {
        let start = self.start(place);
        debug_assert!(self.now <= start, "time went back from {} to {start}", self.now);
        self.now = start;
        slots.reach(place);
        while !share.is_done() {
            let taken = slots.take(place, start, share.deliveries.min(share.moves), |slots, when, entry| {
                debug_assert_eq!(when, start, "a slot of level 0 holds one instant");
                share.leave(slots, when, entry, deliver);
            });
            if taken == 0 {
                break;
            }
        }
        if slots.is_empty(place) {
            self.vacate(place);
        }
    }

    fn cascade(&mut self, slots: &mut impl Slots<Entry = E>, from: Place, moves: &mut usize) {
        let start = self.start(from);
        debug_assert!(self.now <= start, "time went back from {} to {start}", self.now);
        self.now = start;
        self.moving = Some(from);
        slots.reach(from);
        while *moves > 0 {
            let taken = slots.take(from, start, *moves, |slots, when, entry| {
                let to = Place::of(start, when);
                debug_assert!(to.level() < from.level(), "{when} does not belong to {from:?}");
                slots.push(to, when, entry);
                self.occupied.insert(to);
            });
            if taken == 0 {
                break;
            }
            *moves -= taken;
        }
        if slots.is_empty(from) {
            self.vacate(from);
        }
    }
}

enum Source {
    Side,
    Slot(Place),
}

/// What one call may still do.
struct Share {
    deliveries: usize,
    moves: usize,
}

impl Share {
    #[inline]
    const fn is_done(&self) -> bool {
        self.deliveries == 0 || self.moves == 0
    }

    /// Lets an entry out: a delivery, or one of the moves if it was cancelled.
    #[inline]
    fn leave<S: Slots>(&mut self, slots: &mut S, when: u64, entry: S::Entry, deliver: &mut impl FnMut(u64, S::Entry)) {
        if slots.leave(when, entry) {
            deliver(when, entry);
            self.deliveries -= 1;
        } else {
            self.moves -= 1;
        }
    }
}
