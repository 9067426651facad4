//! How the delay wheel keeps its entries: a list of chunks for each slot.

use std::ops::Range;

use super::arena::{Arena, Chunk, WORDS};
use super::stale::Stale;
use super::sweep::Sweep;
use crate::slab::NIL;
use crate::wheel::{Place, Slots};

/// The lists of all places, the memory they are in, and what is known to be cancelled.
///
/// A chunk holds the first word of each entry's due only: the others follow from the slot. From
/// level 6 on a slot spans more than 32 bits of milliseconds, and both words are kept.
///
/// ```text
/// levels 0-5    next, count | 7 × (due low, slot)             9.1 bytes per timer
/// levels 6-10   next, count | 4 × (due low, slot, due high)   16 bytes, 2.2 years ahead and more
/// ```
pub(super) struct Store {
    lists: Box<[List]>,
    pub(super) arena: Arena,
    pub(super) stale: Stale,
    pub(super) sweep: Sweep,
}

/// A place's entries.
#[derive(Clone, Copy)]
pub(super) struct List {
    pub(super) chain: Chain,
    /// Not after the due of any entry of the list; while the place cascades, of any entry that was
    /// in it.
    pub(super) least: u64,
    /// Whether no live entry may have the due `least`. Not used at level 0, where all dues are equal.
    pub(super) doubtful: bool,
}

impl List {
    pub(super) const EMPTY: Self = Self { chain: Chain::EMPTY, least: u64::MAX, doubtful: false };
}

/// Chunks in a row, read at the head and written at the tail. No chunk in it is empty.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    head: u32,
    tail: u32,
    /// Entries of the head chunk that were taken out.
    read: u32,
}

impl Chain {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, read: 0 };

    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.head == NIL
    }

    #[inline]
    pub(super) fn push(&mut self, arena: &mut Arena, form: Form, due: u64, slot: u32) {
        if self.tail != NIL {
            let chunk = arena.chunk_mut(self.tail);
            if chunk.count < form.capacity() {
                form.append(chunk, due, slot);
                return;
            }
        }
        self.grow(arena);
        form.append(arena.chunk_mut(self.tail), due, slot);
    }

    #[cold]
    fn grow(&mut self, arena: &mut Arena) {
        let fresh = arena.take();
        if self.tail == NIL {
            *self = Self { head: fresh, tail: fresh, read: 0 };
        } else {
            arena.chunk_mut(self.tail).next = fresh;
            self.tail = fresh;
        }
    }

    pub(super) fn first(self, arena: &Arena, form: Form, start: u64) -> Option<(u64, u32)> {
        (self.head != NIL).then(|| form.get(arena.chunk(self.head), self.read, start))
    }

    /// Takes entries out of the head chunk, at most `most`; none only from an empty chain.
    #[inline]
    pub(super) fn take(&mut self, arena: &mut Arena, most: usize) -> Taken {
        if self.head == NIL {
            return Taken { chunk: Chunk::EMPTY, entries: 0..0 };
        }
        let chunk = *arena.chunk(self.head);
        let first = self.read;
        self.read = chunk.count.min(first.saturating_add(u32::try_from(most).unwrap_or(u32::MAX)));
        let entries = first..self.read;
        if self.read == chunk.count {
            arena.free(self.head);
            self.head = chunk.next;
            self.read = 0;
            if self.head == NIL {
                self.tail = NIL;
            }
        }
        Taken { chunk, entries }
    }

    /// Appends all of `rest`, of which no entry may have been taken out.
    pub(super) fn append(&mut self, arena: &mut Arena, rest: Self) {
        if self.is_empty() {
            *self = rest;
        } else if !rest.is_empty() {
            debug_assert_eq!(rest.read, 0, "a chunk inside a chain is read from its start");
            arena.chunk_mut(self.tail).next = rest.head;
            self.tail = rest.tail;
        }
    }
}

/// Entries that were taken out of a chain, in the chunk they were in.
pub(super) struct Taken {
    chunk: Chunk,
    entries: Range<u32>,
}

impl Taken {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Each (due, slot), from a list whose dues begin at `start`.
    #[inline]
    pub(super) fn entries(self, form: Form, start: u64) -> impl Iterator<Item = (u64, u32)> {
        let Self { chunk, entries } = self;
        entries.map(move |index| form.get(&chunk, index, start))
    }
}

const _: () = assert!(WORDS == 7 * 2 && WORDS >= 4 * 3);

/// How the entries of a level lie in a chunk.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Due's low word and the slot.
    Short,
    /// Both words of due and the slot.
    Long,
}

/// The first level one of whose slots spans more than 32 bits.
const FIRST_LONG: usize = 6;

impl Form {
    #[inline]
    pub(super) const fn of(place: Place) -> Self {
        if place.level() < FIRST_LONG { Self::Short } else { Self::Long }
    }

    #[inline]
    const fn words(self) -> usize {
        match self {
            Self::Short => 2,
            Self::Long => 3,
        }
    }

    #[inline]
    const fn capacity(self) -> u32 {
        match self {
            Self::Short => 7,
            Self::Long => 4,
        }
    }

    #[inline]
    fn append(self, chunk: &mut Chunk, due: u64, slot: u32) {
        let at = chunk.count as usize * self.words();
        chunk.words[at] = (due & 0xFFFF_FFFF) as u32;
        chunk.words[at + 1] = slot;
        if let Self::Long = self {
            chunk.words[at + 2] = (due >> 32) as u32;
        }
        chunk.count += 1;
    }

    #[inline]
    fn get(self, chunk: &Chunk, index: u32, start: u64) -> (u64, u32) {
        let at = index as usize * self.words();
        let high = match self {
            Self::Short => start >> 32,
            Self::Long => u64::from(chunk.words[at + 2]),
        };
        (high << 32 | u64::from(chunk.words[at]), chunk.words[at + 1])
    }
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            lists: vec![List::EMPTY; Place::COUNT].into_boxed_slice(),
            arena: Arena::new(),
            stale: Stale::new(),
            sweep: Sweep::Idle,
        }
    }

    #[inline]
    pub(super) fn list(&self, place: Place) -> &List {
        &self.lists[place.index()]
    }

    #[inline]
    pub(super) fn list_mut(&mut self, place: Place) -> &mut List {
        &mut self.lists[place.index()]
    }

    /// Drops the cancelled entries at the head of a list.
    pub(super) fn trim(&mut self, place: Place, start: u64) {
        let form = Form::of(place);
        while let Some((due, slot)) = self.list(place).chain.first(&self.arena, form, start)
            && self.stale.take(due, slot)
        {
            self.take(place, start, 1, |_, _, _| {});
        }
    }

    /// Drops every cancelled entry of a list and finds its least due anew.
    pub(super) fn purge(&mut self, place: Place, start: u64) {
        self.reach(place);
        let form = Form::of(place);
        let mut old = std::mem::replace(self.list_mut(place), List::EMPTY).chain;
        let mut kept = List::EMPTY;
        while !old.is_empty() {
            for (due, slot) in old.take(&mut self.arena, usize::MAX).entries(form, start) {
                if !self.stale.take(due, slot) {
                    kept.chain.push(&mut self.arena, form, due, slot);
                    kept.least = kept.least.min(due);
                }
            }
        }
        *self.list_mut(place) = kept;
    }
}

impl Slots for Store {
    type Entry = u32;

    #[inline]
    fn push(&mut self, place: Place, due: u64, slot: u32) {
        let list = &mut self.lists[place.index()];
        list.chain.push(&mut self.arena, Form::of(place), due, slot);
        if due < list.least {
            list.least = due;
            // It may come from a cascade, and may have been cancelled since it was inserted.
            list.doubtful = self.stale.total() != 0;
        }
    }

    #[inline]
    fn take(&mut self, place: Place, start: u64, most: usize, mut each: impl FnMut(&mut Self, u64, u32)) -> usize {
        let list = &mut self.lists[place.index()];
        let taken = list.chain.take(&mut self.arena, most);
        if list.chain.is_empty() {
            *list = List::EMPTY;
        }
        let count = taken.len();
        for (due, slot) in taken.entries(Form::of(place), start) {
            each(self, due, slot);
        }
        count
    }

    fn is_empty(&self, place: Place) -> bool {
        self.list(place).chain.is_empty()
    }

    fn reach(&mut self, place: Place) {
        self.leave_sweep(place);
    }

    #[inline]
    fn leave(&mut self, due: u64, slot: u32) -> bool {
        !self.stale.take(due, slot)
    }
}
