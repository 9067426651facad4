//! A topic's ready jobs in order of (weight, stamp), each operation in constant time.

mod pages;

use std::collections::BTreeMap;

use self::pages::Paged;
use crate::list::{Ends, Links};
use crate::slab::NIL;

/// What the ready queue asks of a record beside its links.
pub trait Stamps: Links {
    /// The stamp of the job in `slot`: its place among the jobs of its weight.
    fn stamp(&self, slot: u32) -> u64;
}

/// The ready jobs of one topic, lower weight first, and in order of stamp inside a weight.
///
/// Jobs enter with the newest stamp, so a list per weight is in order by itself. Few weights stand
/// in a short sorted array; more of them in pages found by bitmap, until the lists are empty again.
/// A job that goes back to the place it was taken from cannot be appended: such jobs wait in an
/// ordered map beside the lists, which is nearly always empty and then costs one comparison.
///
/// | form | weights in use | owns, besides 56 bytes | finds a weight by |
/// |---|---|---|---|
/// | sorted | up to 64 | 12 bytes per weight; nothing before the first job | the end of the array, then halving |
/// | paged | any | 2 KiB, and 2 KiB per 256 neighbouring weights | two bitmaps of 256 bits |
///
/// ```
/// use jobq_core::list::Links;
/// use jobq_core::ready::{ReadyQueue, Stamps};
/// use jobq_core::slab::NIL;
///
/// struct Jobs { links: Vec<(u32, u32)>, stamps: Vec<u64> }
///
/// impl Links for Jobs {
///     fn next(&self, slot: u32) -> u32 { self.links[slot as usize].0 }
///     fn prev(&self, slot: u32) -> u32 { self.links[slot as usize].1 }
///     fn set_next(&mut self, slot: u32, to: u32) { self.links[slot as usize].0 = to; }
///     fn set_prev(&mut self, slot: u32, to: u32) { self.links[slot as usize].1 = to; }
/// }
///
/// impl Stamps for Jobs {
///     fn stamp(&self, slot: u32) -> u64 { self.stamps[slot as usize] }
/// }
///
/// let mut jobs = Jobs { links: vec![(NIL, NIL); 3], stamps: vec![10, 11, 12] };
/// let mut ready = ReadyQueue::new();
/// ready.push_back(&mut jobs, 5, 0);
/// ready.push_back(&mut jobs, 5, 1);
/// ready.push_back(&mut jobs, -5, 2);
/// assert_eq!(ready.pop(&mut jobs), Some(2));
/// assert_eq!(ready.pop(&mut jobs), Some(0));
/// ready.put_back(5, 10, 0);
/// assert_eq!(ready.pop(&mut jobs), Some(0));
/// ```
pub struct ReadyQueue {
    lists: Lists,
    /// Jobs that went back to their old place. They stand in no list.
    returned: BTreeMap<(i16, u64), u32>,
    len: usize,
}

impl ReadyQueue {
    /// An empty queue, which owns no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self { lists: Lists::Sorted(Vec::new()), returned: BTreeMap::new(), len: 0 }
    }

    /// How many jobs are ready.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no job is ready.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `slot` to its weight. Its stamp is newer than that of every job appended before.
    #[inline]
    pub fn push_back(&mut self, links: &mut impl Stamps, weight: i16, slot: u32) {
        self.lists.push_back(links, weight, slot);
        self.len += 1;
    }

    /// Puts `slot` back to where `stamp` places it in its weight. Its links are not used.
    pub fn put_back(&mut self, weight: i16, stamp: u64, slot: u32) {
        debug_assert!(slot != NIL, "NIL is no slot");
        let other = self.returned.insert((weight, stamp), slot);
        debug_assert!(other.is_none(), "slots {other:?} and {slot} have one stamp, {stamp}");
        self.len += 1;
    }

    /// The slot [`pop`](Self::pop) would take; `None` if no job is ready.
    #[inline]
    #[must_use]
    pub fn peek(&self, links: &impl Stamps) -> Option<u32> {
        match self.first_returned(links) {
            Some((_, slot)) => Some(slot),
            None => self.lists.first().map(|(_, slot)| slot),
        }
    }

    /// Takes the slot of the least (weight, stamp); `None` if no job is ready.
    #[inline(always)]
    pub fn pop(&mut self, links: &mut impl Stamps) -> Option<u32> {
        let slot = if self.returned.is_empty() { self.lists.pop(links) } else { self.pop_either(links) }?;
        self.len -= 1;
        Some(slot)
    }

    /// The first of the returned jobs and the lists.
    #[cold]
    fn pop_either(&mut self, links: &mut impl Stamps) -> Option<u32> {
        match self.first_returned(links) {
            Some((place, slot)) => {
                self.take_returned(place);
                Some(slot)
            }
            None => self.lists.pop(links),
        }
    }

    /// Takes out `slot`, which is ready under this weight and stamp, wherever it stands.
    #[inline]
    pub fn remove(&mut self, links: &mut impl Stamps, weight: i16, stamp: u64, slot: u32) {
        let place = (weight, stamp);
        if !self.returned.is_empty() && self.returned.get(&place) == Some(&slot) {
            self.take_returned(place);
        } else {
            self.lists.unlink(links, weight, slot);
        }
        self.len -= 1;
    }

    /// Calls `f` once for each weight in use, in order, with the slot of its least stamp.
    ///
    /// Takes time for the weights in use, however many jobs have them.
    pub fn heads(&self, links: &impl Stamps, mut f: impl FnMut(u32)) {
        let mut returned = self.returned_heads().peekable();
        self.lists.each_first(|weight, head| {
            while let Some((_, slot)) = returned.next_if(|&((below, _), _)| below < weight) {
                f(slot);
            }
            match returned.next_if(|&((same, _), _)| same == weight) {
                Some(((_, stamp), slot)) if stamp < links.stamp(head) => f(slot),
                _ => f(head),
            }
        });
        for (_, slot) in returned {
            f(slot);
        }
    }

    /// The first returned job with its place, if it goes before the first of the lists.
    #[inline]
    fn first_returned(&self, links: &impl Stamps) -> Option<((i16, u64), u32)> {
        if self.returned.is_empty() {
            return None;
        }
        let (&place, &slot) = self.returned.first_key_value()?;
        let before = self.lists.first().is_none_or(|(weight, head)| place < (weight, links.stamp(head)));
        before.then_some((place, slot))
    }

    /// The first returned job of each weight that has one, by weight.
    fn returned_heads(&self) -> impl Iterator<Item = ((i16, u64), u32)> {
        let mut head = self.returned.first_key_value();
        std::iter::from_fn(move || {
            let (&place, &slot) = head?;
            head = place.0.checked_add(1).and_then(|above| self.returned.range((above, 0)..).next());
            Some((place, slot))
        })
    }

    fn take_returned(&mut self, place: (i16, u64)) {
        self.returned.remove(&place);
        if self.returned.is_empty() {
            // An emptied map keeps a node of 240 bytes; an idle topic should not.
            self.returned = BTreeMap::new();
        }
    }
}

impl Default for ReadyQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// Weights in use up to which they stand in a sorted array.
const SORTED_MAX: usize = 64;
/// Buckets an emptied array keeps, for a queue that is often empty between two jobs.
const IDLE_MAX: usize = 8;

/// The jobs of one weight, at least one.
#[derive(Clone, Copy)]
struct Bucket {
    weight: i16,
    ends: Ends,
}

/// The lists of all weights, in one of two forms.
enum Lists {
    /// By falling weight: the most urgent is at the end, where taking it moves nothing.
    Sorted(Vec<Bucket>),
    /// Entered when a 65th weight comes, left when the last job goes. Never empty.
    Paged(Box<Paged>),
}

impl Lists {
    #[inline]
    fn push_back(&mut self, links: &mut impl Stamps, weight: i16, slot: u32) {
        if let Self::Sorted(buckets) = self {
            match buckets.last_mut() {
                Some(bucket) if bucket.weight == weight => return append(&mut bucket.ends, links, slot),
                Some(_) => {}
                None => return buckets.push(Bucket { weight, ends: Ends::of(slot) }),
            }
        }
        self.push_elsewhere(links, weight, slot);
    }

    /// Appends to a weight that is not the most urgent one, or new.
    #[inline(never)]
    fn push_elsewhere(&mut self, links: &mut impl Stamps, weight: i16, slot: u32) {
        if let Self::Sorted(buckets) = self {
            match search(buckets, weight) {
                Ok(at) => return append(&mut buckets[at].ends, links, slot),
                Err(at) if buckets.len() < SORTED_MAX => {
                    return buckets.insert(at, Bucket { weight, ends: Ends::of(slot) });
                }
                Err(_) => *self = Self::Paged(paged(buckets)),
            }
        }
        if let Self::Paged(pages) = self {
            append(pages.list(weight), links, slot);
        }
    }

    /// The first job and its weight.
    #[inline]
    fn first(&self) -> Option<(i16, u32)> {
        match self {
            Self::Sorted(buckets) => {
                let bucket = buckets.last()?;
                Some((bucket.weight, bucket.ends.front()?))
            }
            Self::Paged(pages) => pages.first(),
        }
    }

    #[inline(always)]
    fn pop(&mut self, links: &mut impl Stamps) -> Option<u32> {
        match self {
            Self::Sorted(buckets) => {
                let bucket = buckets.last_mut()?;
                let slot = bucket.ends.pop_front(links)?;
                if bucket.ends.is_empty() {
                    buckets.pop();
                    shrink_idle(buckets);
                }
                Some(slot)
            }
            Self::Paged(_) => self.pop_paged(links),
        }
    }

    #[inline(never)]
    fn pop_paged(&mut self, links: &mut impl Stamps) -> Option<u32> {
        let (weight, slot) = self.first()?;
        self.unlink(links, weight, slot);
        Some(slot)
    }

    fn unlink(&mut self, links: &mut impl Stamps, weight: i16, slot: u32) {
        match self {
            Self::Sorted(buckets) => {
                let Ok(at) = search(buckets, weight) else {
                    debug_assert!(false, "slot {slot} is not ready: weight {weight} has no job");
                    return;
                };
                let ends = &mut buckets[at].ends;
                ends.unlink(links, slot);
                if ends.is_empty() {
                    buckets.remove(at);
                    shrink_idle(buckets);
                }
            }
            Self::Paged(pages) => {
                let ends = pages.list(weight);
                ends.unlink(links, slot);
                if ends.is_empty() {
                    pages.retire(weight);
                }
                if pages.is_empty() {
                    *self = Self::Sorted(Vec::new());
                }
            }
        }
    }

    fn each_first(&self, mut f: impl FnMut(i16, u32)) {
        match self {
            Self::Sorted(buckets) => {
                for bucket in buckets.iter().rev() {
                    if let Some(slot) = bucket.ends.front() {
                        f(bucket.weight, slot);
                    }
                }
            }
            Self::Paged(pages) => pages.each_first(f),
        }
    }
}

#[inline]
fn append(ends: &mut Ends, links: &mut impl Stamps, slot: u32) {
    debug_assert!(
        ends.back().is_none_or(|last| links.stamp(last) < links.stamp(slot)),
        "slot {slot} enters with an older stamp than the last of its weight"
    );
    ends.push_back(links, slot);
}

#[inline]
fn search(buckets: &[Bucket], weight: i16) -> Result<usize, usize> {
    buckets.binary_search_by(|bucket| weight.cmp(&bucket.weight))
}

/// The same lists, in pages.
#[cold]
fn paged(buckets: &[Bucket]) -> Box<Paged> {
    let mut pages = Paged::new();
    for bucket in buckets {
        *pages.list(bucket.weight) = bucket.ends;
    }
    pages
}

/// Gives back the array of a queue that ran empty, unless it is small.
#[inline(always)]
fn shrink_idle(buckets: &mut Vec<Bucket>) {
    if buckets.is_empty() && buckets.capacity() > IDLE_MAX {
        *buckets = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::{IDLE_MAX, Lists, ReadyQueue, SORTED_MAX, Stamps};
    use crate::list::Links;
    use crate::slab::NIL;

    /// Jobs whose slot is their stamp.
    struct Jobs(Vec<(u32, u32)>);

    impl Links for Jobs {
        fn next(&self, slot: u32) -> u32 {
            self.0[slot as usize].0
        }

        fn prev(&self, slot: u32) -> u32 {
            self.0[slot as usize].1
        }

        fn set_next(&mut self, slot: u32, to: u32) {
            self.0[slot as usize].0 = to;
        }

        fn set_prev(&mut self, slot: u32, to: u32) {
            self.0[slot as usize].1 = to;
        }
    }

    impl Stamps for Jobs {
        fn stamp(&self, slot: u32) -> u64 {
            u64::from(slot)
        }
    }

    fn push(ready: &mut ReadyQueue, jobs: &mut Jobs, weight: i16) -> u32 {
        jobs.0.push((NIL, NIL));
        let slot = u32::try_from(jobs.0.len() - 1).expect("few jobs");
        ready.push_back(jobs, weight, slot);
        slot
    }

    fn buckets(ready: &ReadyQueue) -> Option<usize> {
        match &ready.lists {
            Lists::Sorted(buckets) => Some(buckets.capacity()),
            Lists::Paged(_) => None,
        }
    }

    #[test]
    fn the_65th_weight_brings_pages_and_the_last_job_takes_them_away() {
        let (mut ready, mut jobs) = (ReadyQueue::new(), Jobs(Vec::new()));
        assert_eq!(buckets(&ready), Some(0), "an empty topic owns nothing");
        for weight in 0..64 {
            push(&mut ready, &mut jobs, weight * 256);
            push(&mut ready, &mut jobs, weight * 256);
        }
        assert_eq!(buckets(&ready), Some(SORTED_MAX));
        push(&mut ready, &mut jobs, -1);
        assert_eq!(buckets(&ready), None);
        for _ in 0..128 {
            ready.pop(&mut jobs).expect("a job");
        }
        assert_eq!(buckets(&ready), None, "the form does not change while a list has jobs");
        ready.pop(&mut jobs).expect("the last job");
        assert_eq!(buckets(&ready), Some(0));
    }

    #[test]
    fn an_emptied_queue_gives_back_a_long_array_and_keeps_a_short_one() {
        let (mut ready, mut jobs) = (ReadyQueue::new(), Jobs(Vec::new()));
        for weights in [8, 9] {
            let slots: Vec<u32> = (0..weights).map(|weight| push(&mut ready, &mut jobs, weight)).collect();
            for (weight, slot) in (0..weights).zip(slots) {
                ready.remove(&mut jobs, weight, u64::from(slot), slot);
            }
            let kept = if weights == 8 { IDLE_MAX } else { 0 };
            assert_eq!(buckets(&ready), Some(kept), "after {weights} weights");
        }
    }

    #[test]
    fn an_emptied_page_is_freed_with_one_kept_in_reserve() {
        let (mut ready, mut jobs) = (ReadyQueue::new(), Jobs(Vec::new()));
        for page in -128..128 {
            push(&mut ready, &mut jobs, page * 256);
        }
        let pages = |ready: &ReadyQueue| match &ready.lists {
            Lists::Sorted(_) => (0, 0),
            Lists::Paged(paged) => paged.owned(),
        };
        assert_eq!(pages(&ready), (256, 0));
        for left in (1..256).rev() {
            ready.pop(&mut jobs).expect("a job");
            assert_eq!(pages(&ready), (left, 1));
        }
        push(&mut ready, &mut jobs, 0);
        assert_eq!(pages(&ready), (2, 0), "the spare page is used again");
    }
}
