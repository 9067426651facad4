//! Where records live: numbered slots that never move, reused last freed first.

/// No slot: ends a list, and marks an absent entry wherever slots are kept.
pub const NIL: u32 = u32::MAX;

const SHIFT: u32 = 12;
/// Slots in a segment, and in a block of free slots.
const SEGMENT: usize = 1 << SHIFT;
const MASK: u32 = (1 << SHIFT) - 1;

/// Values under stable `u32` slot numbers, in segments of 4,096.
///
/// A segment's memory is reserved once and never moves, so that growing costs the same at ten
/// million values as at ten: nothing is copied, and no call pays for the others. Memory comes back
/// when the slab is dropped; a freed slot is the next one used, while it is still in the cache.
///
/// ```text
/// slot   31 ........ 12 | 11 ........ 0
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
pub struct Slab<T> {
    segments: Vec<Vec<Option<T>>>,
    free: FreeSlots,
    /// The least slot never used; slots below it are live or in `free`.
    fresh: u32,
    len: usize,
}

impl<T> Slab<T> {
    /// An empty slab, which owns no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { segments: Vec::new(), free: FreeSlots::new(), fresh: 0, len: 0 }
    }

    /// Keeps `value` and returns its slot: the one freed last, or else a new one.
    ///
    /// # Panics
    /// When 4,294,967,295 slots are in use; memory ends before that.
    #[inline]
    pub fn insert(&mut self, value: T) -> u32 {
        let Some(slot) = self.free.pop() else {
            return self.append(value);
        };
        let (segment, place) = split(slot);
        // Only slots that were handed out are ever freed, so both indices exist.
        let cell = &mut self.segments[segment][place];
        debug_assert!(cell.is_none(), "free slot {slot} is in use");
        *cell = Some(value);
        self.len += 1;
        slot
    }

    /// Takes the value out and frees its slot; `None` if the slot holds nothing.
    #[inline]
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let (segment, place) = split(slot);
        let value = self.segments.get_mut(segment)?.get_mut(place)?.take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    /// The value in `slot`; `None` if it holds nothing.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&T> {
        let (segment, place) = split(slot);
        self.segments.get(segment)?.get(place)?.as_ref()
    }

    /// The value in `slot`, to change; `None` if it holds nothing.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (segment, place) = split(slot);
        self.segments.get_mut(segment)?.get_mut(place)?.as_mut()
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
        self.segments.iter().flatten().zip(0..).filter_map(|(cell, slot)| cell.as_ref().map(|value| (slot, value)))
    }

    #[inline]
    fn append(&mut self, value: T) -> u32 {
        let slot = self.fresh;
        assert!(slot != NIL, "the slab is full: all {NIL} slots are in use");
        let (segment, place) = split(slot);
        if place == 0 {
            self.segments.push(Vec::with_capacity(SEGMENT));
        }
        self.segments[segment].push(Some(value));
        self.fresh += 1;
        self.len += 1;
        slot
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
const fn split(slot: u32) -> (usize, usize) {
    ((slot >> SHIFT) as usize, (slot & MASK) as usize)
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

    #[inline]
    fn push(&mut self, slot: u32) {
        if self.top.len() == SEGMENT {
            let empty = std::mem::take(&mut self.spare);
            self.full.push(std::mem::replace(&mut self.top, empty));
        }
        self.top.push(slot);
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        if self.top.is_empty() {
            let block = self.full.pop()?;
            self.spare = std::mem::replace(&mut self.top, block);
        }
        self.top.pop()
    }
}
