//! Where records live: numbered slots that never move, reused last freed first.

/// No slot: ends a list, and marks an absent entry wherever slots are kept.
pub const NIL: u32 = u32::MAX;

/// Slots in a segment, unless said otherwise, and in a block of free slots.
const SEGMENT: usize = 4_096;

/// Values under stable `u32` slot numbers, in segments of `N`, a power of two: many where there are millions, few
/// where there is mostly one.
///
/// A segment's memory is taken once and never moves, so that growing costs the same at ten
/// million values as at ten: nothing is copied, and no call pays for the others. Memory comes back
/// when the slab is dropped; a freed slot is the next one used, while it is still in the cache.
///
/// ```text
/// slot   31 ........ 12 | 11 ........ 0      with N = 4,096
///           segment     |  place in it
/// ```
///
/// ```
/// use jobq_core::slab::Slab;
///
/// let mut slab = Slab::new();
/// let ada = slab.insert("ada");
/// assert_eq!(slab.remove(ada), Some("ada"));
/// assert_eq!(slab.insert("bob"), ada);
/// assert_eq!(slab.get(ada), Some(&"bob"));
/// ```
pub struct Slab<T, const N: usize = SEGMENT> {
    /// Each full of slots from the start, so that a place in it needs no check.
    segments: Vec<Box<[Option<T>; N]>>,
    free: FreeSlots,
    /// The least slot never used; slots below it are live or in `free`.
    fresh: u32,
    len: usize,
}

impl<T> Slab<T> {
    /// An empty slab, which owns no memory. One with other segments is made by `default`.
    #[must_use]
    pub const fn new() -> Self {
        Self::empty()
    }
}

impl<T, const N: usize> Slab<T, N> {
    const fn empty() -> Self {
        Self { segments: Vec::new(), free: FreeSlots::new(), fresh: 0, len: 0 }
    }

    /// Keeps `value` and returns its slot: the one freed last, or else a new one.
    ///
    /// # Panics
    /// When 2^32 slots less a segment are in use; memory ends before that.
    // As a call of its own it takes a value of 64 bytes through the stack.
    #[inline(always)]
    pub fn insert(&mut self, value: T) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.fresh(),
        };
        let (segment, place) = Self::split(slot);
        // Only slots that were handed out are ever freed, so both indices exist.
        let cell = &mut self.segments[segment][place];
        debug_assert!(cell.is_none(), "free slot {slot} is in use");
        // The cell is empty; forgetting what it held spares looking whether that must be dropped.
        std::mem::forget(cell.replace(value));
        self.len += 1;
        slot
    }

    /// Takes the value out and frees its slot; `None` if the slot holds nothing.
    // As a call of its own it moves values through the stack that nobody looks at.
    #[inline(always)]
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let (segment, place) = Self::split(slot);
        let value = self.segments.get_mut(segment)?[place].take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    /// The value in `slot`; `None` if it holds nothing.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&T> {
        let (segment, place) = Self::split(slot);
        self.segments.get(segment)?[place].as_ref()
    }

    /// The value in `slot`, to change; `None` if it holds nothing.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (segment, place) = Self::split(slot);
        self.segments.get_mut(segment)?[place].as_mut()
    }

    /// How many values are kept.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is kept.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every slot in use with its value, by slot. Visits freed slots too.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.segments
            .iter()
            .flat_map(|segment| segment.iter())
            .zip(0..)
            .filter_map(|(cell, slot)| cell.as_ref().map(|value| (slot, value)))
    }

    /// A slot never used.
    #[inline]
    fn fresh(&mut self) -> u32 {
        let slot = self.fresh;
        let (_, place) = Self::split(slot);
        if place == 0 {
            self.grow();
        }
        self.fresh += 1;
        slot
    }

    /// Makes an empty segment, where it stays. The last of all would hold [`NIL`], so it is never made.
    #[cold]
    fn grow(&mut self) {
        let (last, _) = Self::split(NIL);
        assert!(self.segments.len() < last, "the slab is full: {} slots are in use", self.len);
        let cells: Box<[Option<T>]> = (0..N).map(|_| None).collect();
        match cells.try_into() {
            Ok(segment) => self.segments.push(segment),
            Err(_) => unreachable!("as many cells were made as a segment has"),
        }
    }

    /// Where a slot is. The place is below `N` by its mask, which spares a check.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    const fn split(slot: u32) -> (usize, usize) {
        const { assert!(N.is_power_of_two() && N <= 1 << 16, "a segment has 2^n slots, at most 65,536") };
        ((slot >> N.trailing_zeros()) as usize, slot as usize & (N - 1))
    }
}

impl<T, const N: usize> Default for Slab<T, N> {
    fn default() -> Self {
        Self::empty()
    }
}

/// A stack of slots in blocks of 4,096, so that freeing a million never copies a long array.
struct FreeSlots {
    top: Vec<u32>,
    /// Full blocks below `top`.
    full: Vec<Vec<u32>>,
    /// The block emptied last, kept for a stack that moves to and fro across a block's border.
    spare: Vec<u32>,
}

impl FreeSlots {
    const fn new() -> Self {
        Self { top: Vec::new(), full: Vec::new(), spare: Vec::new() }
    }

    #[inline(always)]
    fn push(&mut self, slot: u32) {
        if self.top.len() == SEGMENT {
            self.put_away();
        }
        self.top.push(slot);
    }

    #[cold]
    fn put_away(&mut self) {
        let empty = std::mem::take(&mut self.spare);
        self.full.push(std::mem::replace(&mut self.top, empty));
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<u32> {
        if self.top.is_empty() {
            if self.full.is_empty() {
                return None;
            }
            self.refill();
        }
        self.top.pop()
    }

    #[cold]
    fn refill(&mut self) {
        if let Some(block) = self.full.pop() {
            self.spare = std::mem::replace(&mut self.top, block);
        }
    }
}
