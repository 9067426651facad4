//! The hierarchical timer wheel: which slot an instant belongs to, and what passing time takes out.

use std::collections::BTreeMap;

/// Levels of the wheel. Eleven digits of six bits cover every `u64`, so nothing is beyond it.
pub const LEVELS: usize = 11;

const SLOT_BITS: u32 = 6;
/// Slots of one level.
const SLOTS: u16 = 1 << SLOT_BITS;

/// Moves from level to level that one call may make for each delivery it may make.
const MOVES_PER_DELIVERY: usize = 8;

/// Moves that any call may make, unless told otherwise: some ten microseconds of work.
pub const LEAST_MOVES: usize = 1024;

/// One slot of one level of the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u16);

impl Place {
    /// How many places a wheel has: the length of an array indexed by [`Place::index`].
    pub const COUNT: usize = LEVELS * SLOTS as usize;

    /// The last place of the highest level.
    pub(crate) const LAST: Self = Self(LAST_LEVEL * SLOTS + SLOTS - 1);

    /// Where an entry for `when` stands once time is at `now`; `when` must not be before `now`.
    #[inline]
    fn of(now: u64, when: u64) -> Self {
        debug_assert!(now <= when, "{when} is before {now}");
        let level = ((now ^ when) | 1).ilog2() / SLOT_BITS;
        Self::new(level, when >> (level * SLOT_BITS))
    }

    /// The slot that the last digit of `digits` names.
    #[inline]
    const fn new(level: u32, digits: u64) -> Self {
        Self((level & 0xF) as u16 * SLOTS + (digits & 0x3F) as u16)
    }

    /// The place's number, below [`Place::COUNT`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The place's level: 0 holds single milliseconds.
    #[inline]
    #[must_use]
    pub const fn level(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    /// The place before this one, in the same level or the one below; `None` at the first.
    pub(crate) const fn below(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    #[inline]
    const fn bit(self) -> u64 {
        1 << (self.0 % SLOTS)
    }

    /// The first instant the place covers while time is at `now`.
    #[inline]
    fn start(self, now: u64) -> u64 {
        let shift = u32::from(self.0 / SLOTS) * SLOT_BITS;
        let above = u64::MAX.checked_shl(shift + SLOT_BITS).unwrap_or(0);
        (now & above) | (u64::from(self.0 % SLOTS) << shift)
    }
}

const LAST_LEVEL: u16 = 10;
const _: () = assert!(LAST_LEVEL as usize + 1 == LEVELS);

/// How the slots of a wheel keep their entries: one first-in-first-out list for each [`Place`].
pub trait Slots {
    /// What is kept for each timer, beside its instant.
    type Entry: Copy;

    /// Appends an entry for the instant `when` to the list of `place`.
    fn push(&mut self, place: Place, when: u64, entry: Self::Entry);

    /// Takes the first entry and its instant from the list of `place`, whose instants begin at
    /// `start`; `None` if the list is empty.
    fn pop(&mut self, place: Place, start: u64) -> Option<(u64, Self::Entry)>;

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
pub struct Wheel<E> {
    now: u64,
    /// The levels with an entry, as bits.
    levels: u32,
    /// The slots with an entry, as bits, for each level.
    occupied: [u64; LEVELS],
    /// The slot that has begun to cascade and still has entries. `now` is its start.
    moving: Option<Place>,
    side: BTreeMap<(u64, u64), E>,
    /// Entries ever put into `side`.
    sided: u64,
    least_moves: usize,
}

impl<E: Copy> Wheel<E> {
    /// An empty wheel at the time `now`. One call of [`Wheel::advance`] makes at most `least_moves`
    /// moves, or eight for each delivery allowed if that is more.
    #[must_use]
    pub fn new(now: u64, least_moves: usize) -> Self {
        Self {
            now,
            levels: 0,
            occupied: [0; LEVELS],
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
        self.occupy(place);
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
        let mut share = Share {
            deliveries: limit,
            moves: self
                .least_moves
                .max(limit.saturating_mul(MOVES_PER_DELIVERY)),
        };
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
        self.side_first()
            .or_else(|| Some(self.start(self.first()?)))
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
        if self.moving.is_some() {
            return self.moving;
        }
        let level = (self.levels != 0).then(|| self.levels.trailing_zeros())?;
        let slot = self.occupied[level as usize].trailing_zeros();
        Some(Place::new(level, u64::from(slot)))
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
        let level = &mut self.occupied[place.level()];
        *level &= !place.bit();
        if *level == 0 {
            self.levels &= !(1 << place.level());
        }
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

    #[inline]
    fn occupy(&mut self, place: Place) {
        self.occupied[place.level()] |= place.bit();
        self.levels |= 1 << place.level();
    }

    fn is_empty(&self) -> bool {
        self.levels == 0 && self.side.is_empty()
    }

    /// What `now` has come to: all beside the wheel is before all in it.
    fn due(&self, now: u64) -> Option<Source> {
        if let Some(when) = self.side_first() {
            return (when <= now).then_some(Source::Side);
        }
        let place = self.first()?;
        (self.now <= now && self.start(place) <= now).then_some(Source::Slot(place))
    }

    fn deliver_side(
        &mut self,
        slots: &mut impl Slots<Entry = E>,
        share: &mut Share,
        deliver: &mut impl FnMut(u64, E),
    ) {
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
        debug_assert!(
            self.now <= start,
            "time went back from {} to {start}",
            self.now
        );
        self.now = start;
        slots.reach(place);
        while !share.is_done()
            && let Some((when, entry)) = slots.pop(place, start)
        {
            debug_assert_eq!(when, start, "a slot of level 0 holds one instant");
            share.leave(slots, when, entry, deliver);
        }
        if slots.is_empty(place) {
            self.vacate(place);
        }
    }

    fn cascade(&mut self, slots: &mut impl Slots<Entry = E>, from: Place, moves: &mut usize) {
        let start = self.start(from);
        debug_assert!(
            self.now <= start,
            "time went back from {} to {start}",
            self.now
        );
        self.now = start;
        self.moving = Some(from);
        slots.reach(from);
        while *moves > 0
            && let Some((when, entry)) = slots.pop(from, start)
        {
            let to = Place::of(start, when);
            debug_assert!(
                to.level() < from.level(),
                "{when} does not belong to {from:?}"
            );
            slots.push(to, when, entry);
            self.occupy(to);
            *moves -= 1;
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
    fn leave<S: Slots>(
        &mut self,
        slots: &mut S,
        when: u64,
        entry: S::Entry,
        deliver: &mut impl FnMut(u64, S::Entry),
    ) {
        if slots.leave(when, entry) {
            deliver(when, entry);
            self.deliveries -= 1;
        } else {
            self.moves -= 1;
        }
    }
}
