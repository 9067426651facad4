//! First-in-first-out lists of slots, linked through two fields of the records themselves.

use crate::slab::NIL;

/// The two link fields of whatever a slot holds.
///
/// A record stands in at most one list at a time, so one pair of fields serves all lists.
///
/// ```
/// use jobq_core::list::{Links, List};
/// use jobq_core::slab::NIL;
///
/// struct Table(Vec<(u32, u32)>);
///
/// impl Links for Table {
///     fn next(&self, slot: u32) -> u32 { self.0[slot as usize].0 }
///     fn prev(&self, slot: u32) -> u32 { self.0[slot as usize].1 }
///     fn set_next(&mut self, slot: u32, to: u32) { self.0[slot as usize].0 = to; }
///     fn set_prev(&mut self, slot: u32, to: u32) { self.0[slot as usize].1 = to; }
/// }
///
/// let mut table = Table(vec![(NIL, NIL); 3]);
/// let mut list = List::new();
/// for slot in [2, 0, 1] {
///     list.push_back(&mut table, slot);
/// }
/// list.remove(&mut table, 0);
/// assert_eq!(list.pop_front(&mut table), Some(2));
/// assert_eq!(list.front(), Some(1));
/// ```
pub trait Links {
    /// The slot behind `slot` in its list; [`NIL`] at the back, and outside any list.
    fn next(&self, slot: u32) -> u32;
    /// The slot before `slot` in its list; [`NIL`] at the front, and outside any list.
    fn prev(&self, slot: u32) -> u32;
    /// Makes `to` the slot behind `slot`.
    fn set_next(&mut self, slot: u32, to: u32);
    /// Makes `to` the slot before `slot`.
    fn set_prev(&mut self, slot: u32, to: u32);
}

/// A list that knows its length. Every operation takes constant time.
///
/// A slot must enter with both links [`NIL`], and leaves with both links [`NIL`].
#[derive(Debug, Default)]
pub struct List {
    ends: Ends,
    len: u32,
}

impl List {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { ends: Ends::EMPTY, len: 0 }
    }

    /// Appends `slot`, which stands in no list.
    #[inline]
    pub fn push_back(&mut self, links: &mut impl Links, slot: u32) {
        self.ends.push_back(links, slot);
        self.len += 1;
    }

    /// Takes the slot that entered first; `None` if the list is empty.
    #[inline]
    pub fn pop_front(&mut self, links: &mut impl Links) -> Option<u32> {
        let slot = self.ends.pop_front(links)?;
        self.len -= 1;
        Some(slot)
    }

    /// Takes out `slot`, which stands in this list, wherever it is.
    #[inline]
    pub fn remove(&mut self, links: &mut impl Links, slot: u32) {
        debug_assert!(self.len > 0, "slot {slot} is taken out of an empty list");
        self.ends.unlink(links, slot);
        self.len -= 1;
    }

    /// The slot that entered first; `None` if the list is empty.
    #[inline]
    #[must_use]
    pub const fn front(&self) -> Option<u32> {
        self.ends.front()
    }

    /// How many slots stand in the list.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the list is empty.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// A list that does not count: its two ends, both [`NIL`] when it is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    head: u32,
    tail: u32,
}

impl Ends {
    pub(crate) const EMPTY: Self = Self { head: NIL, tail: NIL };

    /// The list of one slot, whose links are free.
    #[inline]
    pub(crate) const fn of(slot: u32) -> Self {
        Self { head: slot, tail: slot }
    }

    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.head == NIL
    }

    #[inline]
    pub(crate) const fn front(self) -> Option<u32> {
        if self.head == NIL { None } else { Some(self.head) }
    }

    #[inline]
    pub(crate) const fn back(self) -> Option<u32> {
        if self.tail == NIL { None } else { Some(self.tail) }
    }

    #[inline]
    pub(crate) fn push_back(&mut self, links: &mut impl Links, slot: u32) {
        debug_assert!(slot != NIL, "NIL is no slot");
        debug_assert!(slot != self.tail, "slot {slot} stands in this list already");
        debug_assert!(links.next(slot) == NIL, "slot {slot} stands in a list");
        debug_assert!(links.prev(slot) == NIL, "slot {slot} stands in a list");
        if self.tail == NIL {
            self.head = slot;
        } else {
            links.set_next(self.tail, slot);
            links.set_prev(slot, self.tail);
        }
        self.tail = slot;
    }

    #[inline(always)]
    pub(crate) fn pop_front(&mut self, links: &mut impl Links) -> Option<u32> {
        let slot = self.front()?;
        debug_assert!(links.prev(slot) == NIL, "slot {slot} leads a list and follows another slot");
        let next = links.next(slot);
        self.head = next;
        if next == NIL {
            debug_assert!(self.tail == slot, "slot {slot} ends a list whose tail is {}", self.tail);
            self.tail = NIL;
        } else {
            links.set_prev(next, NIL);
            links.set_next(slot, NIL);
        }
        Some(slot)
    }

    #[inline]
    pub(crate) fn unlink(&mut self, links: &mut impl Links, slot: u32) {
        let (prev, next) = (links.prev(slot), links.next(slot));
        self.close_gap(links, prev, slot, next);
        if prev != NIL {
            links.set_prev(slot, NIL);
        }
        if next != NIL {
            links.set_next(slot, NIL);
        }
    }

    /// Takes out the slot that stood between `prev` and `next`, whose own links do not matter any more.
    #[inline]
    pub(crate) fn close_gap(&mut self, links: &mut impl Links, prev: u32, slot: u32, next: u32) {
        if prev == NIL {
            debug_assert!(self.head == slot, "slot {slot} stands in another list or in none");
            self.head = next;
        } else {
            debug_assert!(links.next(prev) == slot, "slots {prev} and {slot} disagree");
            links.set_next(prev, next);
        }
        if next == NIL {
            debug_assert!(self.tail == slot, "slot {slot} stands in another list or in none");
            self.tail = prev;
        } else {
            debug_assert!(links.prev(next) == slot, "slots {slot} and {next} disagree");
            links.set_prev(next, prev);
        }
    }
}

impl Default for Ends {
    fn default() -> Self {
        Self::EMPTY
    }
}
