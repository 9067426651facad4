//! From a job's id to its slot, in about 4.2 bytes a job.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use crate::slab::NIL;

/// Ids at or below which a page costs more than entries of the sparse map.
const SPARSE_MAX: u16 = 16;
/// Waning pages that may stay pages: 64 KiB.
const WANING_MAX: usize = 64;

/// The slots of jobs by id, for ids that are given out in rising order.
///
/// Ids are mostly consecutive, so a slot stands in a page of 256 at the place its id gives, and
/// nothing is ever rehashed. A table points to the pages of 65,536 ids. Only ranges in use own
/// anything: a gap of any width, as after many restarts, costs nothing.
///
/// ```text
/// id   63 ........ 16 | 15 ........ 8 | 7 ........ 0
///         table       |  page in it   |  slot in it
/// ```
///
/// The page of the newest id is open and stands apart from the tables, where the ids that come and go
/// most are found at once; those before are complete. A complete page is freed with its last id. One that falls to 16 ids is waning: soon empty if its jobs end in order, but pinned by
/// any job that lives long. When 64 more have fallen, what is left of it moves to a sparse map of
/// about 20 bytes an id. So a call moves at most 16 ids, and jobs that end in order move none.
///
/// Ids that come late, out of order, are kept as well, in the sparse map if their page is gone.
///
/// ```
/// use jobq_core::ids::IdMap;
///
/// let mut ids = IdMap::new();
/// ids.insert(1, 7);
/// ids.insert(1_000_000_000, 8);
/// assert_eq!(ids.get(1), Some(7));
/// assert_eq!(ids.next_after(1), Some((1_000_000_000, 8)));
/// assert_eq!(ids.remove(1), Some(7));
/// assert_eq!(ids.get(1), None);
/// ```
pub struct IdMap {
    /// By rising number. Each has a complete page.
    tables: VecDeque<Table>,
    /// The page of the newest id, its number, and how many ids are in it. No page before the first id.
    open: Option<Box<Page>>,
    open_page: u64,
    open_live: u16,
    /// Ids whose page is gone.
    sparse: BTreeMap<u64, u32>,
    /// Pages that fell to [`SPARSE_MAX`] ids, in that order; some are gone or full again.
    waning: VecDeque<u64>,
    len: usize,
}

impl IdMap {
    /// An empty map, which owns no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tables: VecDeque::new(),
            open: None,
            open_page: 0,
            open_live: 0,
            sparse: BTreeMap::new(),
            waning: VecDeque::new(),
            len: 0,
        }
    }

    /// How many ids are kept.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no id is kept.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of `id`; `None` if there is no such id.
    #[inline]
    #[must_use]
    pub fn get(&self, id: u64) -> Option<u32> {
        let (number, page, place) = split(id);
        if page_of(id) == self.open_page {
            let slot = self.open.as_ref()?[usize::from(place)];
            return (slot != NIL).then_some(slot);
        }
        if let Ok(at) = self.search(number)
            && let Some(slots) = &self.tables[at].pages[usize::from(page)]
        {
            return Some(slots[usize::from(place)]).filter(|&slot| slot != NIL);
        }
        self.sparse.get(&id).copied()
    }

    /// Keeps `slot` under `id`, in place of a slot it had.
    #[inline]
    pub fn insert(&mut self, id: u64, slot: u32) {
        debug_assert!(slot != NIL, "NIL is no slot");
        let (_, _, place) = split(id);
        if page_of(id) == self.open_page
            && let Some(slots) = &mut self.open
        {
            let old = std::mem::replace(&mut slots[usize::from(place)], slot);
            self.open_live += u16::from(old == NIL);
            self.len += usize::from(old == NIL);
        } else {
            self.insert_elsewhere(id, slot);
        }
    }

    /// Keeps an id whose page is not open: not yet, or not any more.
    #[cold]
    fn insert_elsewhere(&mut self, id: u64, slot: u32) {
        if page_of(id) > self.open_page || self.open.is_none() {
            self.open_page(id);
            return self.insert(id, slot);
        }
        let (number, page, place) = split(id);
        if let Ok(at) = self.search(number)
            && let Table { pages, live, .. } = &mut self.tables[at]
            && let Some(slots) = &mut pages[usize::from(page)]
        {
            let old = std::mem::replace(&mut slots[usize::from(place)], slot);
            live[usize::from(page)] += u16::from(old == NIL);
            self.len += usize::from(old == NIL);
        } else {
            let old = self.sparse.insert(id, slot);
            self.len += usize::from(old.is_none());
        }
    }

    /// Takes `id` out and returns its slot; `None` if there is no such id.
    #[inline]
    pub fn remove(&mut self, id: u64) -> Option<u32> {
        let (number, page, place) = split(id);
        if page_of(id) == self.open_page {
            let slot = std::mem::replace(&mut self.open.as_mut()?[usize::from(place)], NIL);
            let held = slot != NIL;
            self.open_live -= u16::from(held);
            self.len -= usize::from(held);
            return held.then_some(slot);
        }
        let slot = if let Ok(at) = self.search(number)
            && let Table { pages, live, .. } = &mut self.tables[at]
            && let Some(slots) = &mut pages[usize::from(page)]
        {
            let slot = std::mem::replace(&mut slots[usize::from(place)], NIL);
            if slot == NIL {
                return None;
            }
            let live = &mut live[usize::from(page)];
            *live -= 1;
            let live = *live;
            if live <= SPARSE_MAX {
                self.fallen(at, page, live);
            }
            slot
        } else {
            self.sparse.remove(&id)?
        };
        self.len -= 1;
        Some(slot)
    }

    /// The least id above `id`, with its slot; `None` if there is none.
    ///
    /// Scanning in order with it passes over what is empty by pages and tables.
    #[must_use]
    pub fn next_after(&self, id: u64) -> Option<(u64, u32)> {
        let from = id.checked_add(1)?;
        let sparse = self.sparse.range(from..).next().map(|(&id, &slot)| (id, slot));
        self.next_paged(from).into_iter().chain(sparse).chain(self.next_open(from)).min()
    }

    /// The least id from `from` on that stands in the open page.
    fn next_open(&self, from: u64) -> Option<(u64, u32)> {
        let slots = self.open.as_ref()?;
        let (number, page, _) = split(self.open_page << 8);
        let place = match page_of(from).cmp(&self.open_page) {
            Ordering::Less => 0,
            Ordering::Equal => split(from).2,
            Ordering::Greater => return None,
        };
        first_in(slots, place).map(|(place, slot)| (join(number, page, place), slot))
    }

    /// The least id from `from` on that stands in a complete page.
    fn next_paged(&self, from: u64) -> Option<(u64, u32)> {
        let (number, page, place) = split(from);
        let first = self.search(number).unwrap_or_else(|above| above);
        self.tables.range(first..).find_map(|table| {
            let (page, place) = if table.number == number { (page, place) } else { (0, 0) };
            table.next_from(page, place)
        })
    }

    /// Where the table of this number is, or would be.
    #[inline]
    fn search(&self, number: u64) -> Result<usize, usize> {
        // Right at once wherever no table before this one is gone.
        if let Some(front) = self.tables.front()
            && let Ok(guess) = usize::try_from(number.wrapping_sub(front.number))
            && self.tables.get(guess).is_some_and(|table| table.number == number)
        {
            return Ok(guess);
        }
        self.tables.binary_search_by_key(&number, |table| table.number)
    }

    /// Opens the page of `id`, the newest; the one that was open is complete.
    #[cold]
    fn open_page(&mut self, id: u64) {
        let before = std::mem::replace(&mut self.open_page, page_of(id));
        let live = std::mem::replace(&mut self.open_live, 0);
        match self.open.take() {
            // Its ids are gone: it serves again as it is.
            Some(slots) if live == 0 => self.open = Some(slots),
            complete => {
                self.open = Some(Box::new([NIL; 256]));
                if let Some(slots) = complete {
                    self.file(before, slots, live);
                }
            }
        }
    }

    /// Keeps a complete page, above all others, and judges it.
    fn file(&mut self, complete: u64, slots: Box<Page>, ids: u16) {
        let (number, page, _) = split(complete << 8);
        if self.tables.back().is_none_or(|last| last.number != number) {
            debug_assert!(
                self.tables.back().is_none_or(|last| last.number < number),
                "page {complete} is not above all"
            );
            self.tables.push_back(Table::new(number));
        }
        if let Some(Table { pages, live, held, .. }) = self.tables.back_mut() {
            pages[usize::from(page)] = Some(slots);
            live[usize::from(page)] = ids;
            *held += 1;
        }
        if ids <= SPARSE_MAX {
            self.wane(complete);
        }
    }

    /// Judges a complete page that lost an id and has `live` left, [`SPARSE_MAX`] at most.
    fn fallen(&mut self, at: usize, page: u8, live: u16) {
        if live == 0 {
            self.free(at, page);
        } else if live == SPARSE_MAX {
            self.wane(page_of(join(self.tables[at].number, page, 0)));
        }
    }

    /// Adds a page to those that wane, and thins out the one that has waned longest.
    fn wane(&mut self, page: u64) {
        self.waning.push_back(page);
        if self.waning.len() > WANING_MAX
            && let Some(oldest) = self.waning.pop_front()
        {
            self.thin_out(oldest);
        }
    }

    /// Moves the ids of a page to the sparse map, if it still has a few.
    fn thin_out(&mut self, page: u64) {
        let (number, page, _) = split(page << 8);
        let Ok(at) = self.search(number) else { return };
        let table = &mut self.tables[at];
        if table.live[usize::from(page)] > SPARSE_MAX {
            return;
        }
        let Some(slots) = table.pages[usize::from(page)].take() else {
            return;
        };
        table.live[usize::from(page)] = 0;
        let moved = (0..=u8::MAX).zip(*slots).filter(|&(_, slot)| slot != NIL);
        self.sparse.extend(moved.map(|(place, slot)| (join(number, page, place), slot)));
        self.free(at, page);
    }

    /// Frees a page without ids, and its table with the last of its pages.
    fn free(&mut self, at: usize, page: u8) {
        let table = &mut self.tables[at];
        debug_assert!(table.live[usize::from(page)] == 0, "a page with ids is freed");
        table.pages[usize::from(page)] = None;
        table.held -= 1;
        if table.held == 0 {
            self.tables.remove(at);
        }
    }
}

impl Default for IdMap {
    fn default() -> Self {
        Self::new()
    }
}

/// Slots of 256 neighbouring ids; [`NIL`] for an id that is not kept.
type Page = [u32; 256];

/// The first slot of a page from this place on, with its place.
fn first_in(slots: &Page, place: u8) -> Option<(u8, u32)> {
    (place..=u8::MAX).map(|place| (place, slots[usize::from(place)])).find(|&(_, slot)| slot != NIL)
}

/// The pages of 65,536 ids, those whose upper 48 bits are `number`.
struct Table {
    number: u64,
    /// Pages that exist.
    held: u16,
    /// Ids in each page. Apart from the pages, where they would cost one more cache miss.
    live: Box<[u16; 256]>,
    pages: Box<[Option<Box<Page>>; 256]>,
}

impl Table {
    fn new(number: u64) -> Self {
        Self { number, held: 0, live: Box::new([0; 256]), pages: Box::new([const { None }; 256]) }
    }

    /// The first id from this place on.
    fn next_from(&self, page: u8, place: u8) -> Option<(u64, u32)> {
        let used = (page..=u8::MAX).filter(|&number| self.live[usize::from(number)] > 0);
        used.filter_map(|number| Some((number, self.pages[usize::from(number)].as_deref()?))).find_map(
            |(number, slots)| {
                let (found, slot) = first_in(slots, if number == page { place } else { 0 })?;
                Some((join(self.number, number, found), slot))
            },
        )
    }
}

/// The number of an id's table, its page there, and its place in the page.
#[inline]
const fn split(id: u64) -> (u64, u8, u8) {
    let [.., page, place] = id.to_be_bytes();
    (id >> 16, page, place)
}

#[inline]
fn join(number: u64, page: u8, place: u8) -> u64 {
    number << 16 | u64::from(u16::from_be_bytes([page, place]))
}

/// The number of an id's page, counted over all tables.
#[inline]
const fn page_of(id: u64) -> u64 {
    id >> 8
}

#[cfg(test)]
mod tests {
    use super::{IdMap, SPARSE_MAX, WANING_MAX};

    fn filled(ids: std::ops::RangeInclusive<u64>) -> IdMap {
        let mut map = IdMap::new();
        for id in ids {
            map.insert(id, 7);
        }
        map
    }

    fn pages(map: &IdMap) -> usize {
        let held: usize = map.tables.iter().map(|table| usize::from(table.held)).sum();
        let found = map.tables.iter().map(|table| table.pages.iter().flatten().count());
        assert_eq!(held, found.sum());
        held + usize::from(map.open.is_some())
    }

    #[test]
    fn jobs_that_end_in_order_leave_nothing_behind_and_move_nothing() {
        // Flat memory over millions of lives, and no work in the map beyond the page.
        let mut map = filled(1..=1_000);
        for id in 1_001..200_000 {
            map.insert(id, 7);
            assert_eq!(map.remove(id - 1_000), Some(7));
            assert!(map.sparse.is_empty());
            assert!(pages(&map) <= 5, "{} pages at id {id}", pages(&map));
            assert!(map.tables.len() <= 2);
        }
        assert!(map.waning.len() <= WANING_MAX);
    }

    #[test]
    fn old_jobs_do_not_pin_their_pages() {
        // One old job in 256 ids would otherwise hold 1 KiB each.
        let last = 100_000;
        let mut map = filled(1..=last);
        assert_eq!(pages(&map), 391);
        for id in (1..=last).filter(|id| id % 256 != 3) {
            map.remove(id);
        }
        assert_eq!(map.len(), 391);
        assert_eq!(pages(&map), WANING_MAX + 1, "those that may wane, and the open page");
        assert_eq!(map.tables.len(), 1, "the tables of freed pages are freed");
        assert_eq!(map.sparse.len(), 391 - WANING_MAX - 1);
        assert!((1..=last).all(|id| map.get(id).is_some() == (id % 256 == 3)));
    }

    #[test]
    fn a_page_that_is_complete_with_few_ids_wanes_too() {
        let mut map = IdMap::new();
        for id in 1..=1_000 {
            map.insert(id << 20, 7);
        }
        assert_eq!(pages(&map), WANING_MAX + 1);
        assert_eq!(map.tables.len(), WANING_MAX, "a gap owns nothing");
        assert_eq!(map.sparse.len(), 1_000 - WANING_MAX - 1);
    }

    #[test]
    fn a_page_above_the_bound_stays_a_page() {
        let last = 256 * 200 - 1;
        let mut map = filled(1..=last);
        for id in (1..=last).filter(|id| id % 256 > u64::from(SPARSE_MAX)) {
            map.remove(id);
        }
        // The first page begins with id 1: it has one id less, and is the only one that wanes.
        assert_eq!(pages(&map), 200);
        assert!(map.sparse.is_empty());
    }

    #[test]
    fn ids_that_come_back_are_counted_once_and_keep_their_page() {
        let mut map = filled(1..=2_000);
        for id in 17..=255 {
            map.remove(id);
        }
        assert_eq!(map.waning, [0], "16 ids are left in the first page");
        for id in 1..=200 {
            map.insert(id, 8);
        }
        for page in 1..=u64::try_from(WANING_MAX).expect("64 bits") {
            map.wane(page);
        }
        assert!(map.sparse.is_empty(), "200 ids are too many to move at once");
        for id in 1..=200 {
            map.remove(id);
        }
        assert_eq!(pages(&map), 7, "the first page went with its last id");
        map.insert(5, 9);
        assert_eq!((map.get(5), map.sparse.len()), (Some(9), 1), "its page is gone");
    }
}
