//! The places of the wheel, and which of them have an entry.

/// Levels of the wheel. Eleven digits of six bits cover every `u64`, so nothing is beyond it.
pub const LEVELS: usize = 11;

const SLOT_BITS: u32 = 6;
/// Slots of one level.
const SLOTS: u16 = 1 << SLOT_BITS;

/// One slot of one level of the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u16);

impl Place {
    /// How many places a wheel has: the length of an array indexed by [`Place::index`].
    pub const COUNT: usize = LEVELS * SLOTS as usize;

    /// Where an entry for `when` stands once time is at `now`; `when` must not be before `now`.
    #[inline]
    pub(super) fn of(now: u64, when: u64) -> Self {
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

    /// The first instant the place covers while time is at `now`.
    #[inline]
    pub(super) fn start(self, now: u64) -> u64 {
        let shift = u32::from(self.0 / SLOTS) * SLOT_BITS;
        let above = u64::MAX.checked_shl(shift + SLOT_BITS).unwrap_or(0);
        (now & above) | (u64::from(self.0 % SLOTS) << shift)
    }

    #[inline]
    const fn bit(self) -> u64 {
        1 << (self.0 % SLOTS)
    }
}

/// The places with an entry, as bits.
pub(super) struct Occupied {
    levels: u32,
    slots: [u64; LEVELS],
}

impl Occupied {
    pub(super) const NONE: Self = Self { levels: 0, slots: [0; LEVELS] };

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.levels == 0
    }

    #[inline]
    pub(super) fn insert(&mut self, place: Place) {
        self.slots[place.level()] |= place.bit();
        self.levels |= 1 << place.level();
    }

    #[inline]
    pub(super) fn remove(&mut self, place: Place) {
        let slots = &mut self.slots[place.level()];
        *slots &= !place.bit();
        if *slots == 0 {
            self.levels &= !(1 << place.level());
        }
    }

    /// The lowest place.
    #[inline]
    pub(super) fn first(&self) -> Option<Place> {
        let level = (self.levels != 0).then(|| self.levels.trailing_zeros())?;
        let slot = self.slots[level as usize].trailing_zeros();
        Some(Place::new(level, u64::from(slot)))
    }

    /// The highest place, below `end` if that is given.
    pub(super) fn last_below(&self, end: Option<Place>) -> Option<Place> {
        let mut levels = self.levels;
        if let Some(end) = end {
            let slots = self.slots[end.level()] & (end.bit() - 1);
            if slots != 0 {
                return Some(Place::new(u32::from(end.0 / SLOTS), u64::from(slots.ilog2())));
            }
            levels &= (1 << end.level()) - 1;
        }
        let level = levels.checked_ilog2()?;
        let slots = self.slots[level as usize];
        Some(Place::new(level, u64::from(slots.ilog2())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn instant() -> impl Strategy<Value = u64> {
        (0..=64_u32, any::<u64>()).prop_map(|(bits, ms)| ms.checked_shr(bits).unwrap_or(0))
    }

    proptest! {
        /// Nothing is early or late if an instant is always inside its place, and a later instant
        /// never in an earlier place.
        #[test]
        fn places_stand_in_order_of_time(now in instant(), a in instant(), b in instant()) {
            let (a, b) = (a.min(b).max(now), a.max(b).max(now));
            let (first, second) = (Place::of(now, a), Place::of(now, b));
            prop_assert!(first.index() < Place::COUNT);
            prop_assert!(first <= second);
            prop_assert!(now <= first.start(now) || first.level() == 0);
            prop_assert!(first.start(now) <= a);
            if first == second {
                prop_assert_eq!(first.start(now), second.start(now));
            } else {
                prop_assert!(a < second.start(now));
            }
        }

        /// The bitmaps are a set of places: a forgotten bit would lose a slot or visit one forever.
        #[test]
        fn occupied_is_a_sorted_set(calls in prop::collection::vec((any::<bool>(), 0..704_u16), 0..60)) {
            let (mut bits, mut set) = (Occupied::NONE, BTreeSet::new());
            for (insert, index) in calls {
                let place = Place(index);
                if insert {
                    bits.insert(place);
                    set.insert(place);
                } else {
                    bits.remove(place);
                    set.remove(&place);
                }
                prop_assert_eq!(bits.first(), set.first().copied());
                prop_assert_eq!(bits.is_empty(), set.is_empty());
                prop_assert_eq!(bits.last_below(None), set.last().copied());
                prop_assert_eq!(bits.last_below(Some(place)), set.range(..place).next_back().copied());
            }
        }
    }
}
