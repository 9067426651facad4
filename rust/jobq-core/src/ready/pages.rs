//! The ready lists of a topic with many weights: pages of 256 weights, found by bitmap.

use crate::list::Ends;

/// A list for each weight in use, found in constant time over all 65,536.
///
/// A weight is biased by 32,768, so that the order of weights is the order of unsigned numbers:
///
/// ```text
/// biased weight   15 ...... 8 | 7 ........ 0
///                    page     |  list in it       -32,768 = page 0, list 0; 0 = page 128, list 0
/// ```
///
/// The first weight in use is the first bit of the first page that is used: at most eight words.
pub(super) struct Paged {
    /// The pages that exist; each of them has a list with a job.
    used: Bits,
    pages: [Option<Box<Page>>; 256],
    /// The page emptied last, kept for a weight whose only job comes and goes.
    spare: Option<Box<Page>>,
}

/// The lists of 256 neighbouring weights; `used` has those that are not empty.
struct Page {
    used: Bits,
    lists: [Ends; 256],
}

impl Paged {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { used: Bits::NONE, pages: [const { None }; 256], spare: None })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// The list of `weight`, marked as used: the caller appends to it, or [retires](Self::retire) it.
    #[inline]
    pub(super) fn list(&mut self, weight: i16) -> &mut Ends {
        let [page, list] = place(weight);
        let Self { used, pages, spare } = self;
        let page = pages[usize::from(page)].get_or_insert_with(|| {
            used.set(page);
            spare.take().unwrap_or_else(|| Box::new(Page::EMPTY))
        });
        page.used.set(list);
        &mut page.lists[usize::from(list)]
    }

    /// Gives up the emptied list of `weight`, and its page with the last of its lists.
    #[inline]
    pub(super) fn retire(&mut self, weight: i16) {
        let [number, list] = place(weight);
        let entry = &mut self.pages[usize::from(number)];
        let Some(page) = entry else { return };
        debug_assert!(page.lists[usize::from(list)].is_empty(), "weight {weight} has jobs");
        page.used.clear(list);
        if page.used.is_empty() {
            self.used.clear(number);
            self.spare = entry.take();
        }
    }

    /// The first job of the least weight in use, with that weight.
    #[inline]
    pub(super) fn first(&self) -> Option<(i16, u32)> {
        let number = self.used.first()?;
        let page = self.pages[usize::from(number)].as_ref()?;
        let list = page.used.first()?;
        Some((weight_at(number, list), page.lists[usize::from(list)].front()?))
    }

    /// Calls `f` with each weight in use, in order, and its first job.
    pub(super) fn each_first(&self, mut f: impl FnMut(i16, u32)) {
        for number in self.used.iter() {
            let Some(page) = &self.pages[usize::from(number)] else {
                continue;
            };
            for list in page.used.iter() {
                if let Some(slot) = page.lists[usize::from(list)].front() {
                    f(weight_at(number, list), slot);
                }
            }
        }
    }

    /// Pages in use, and in reserve.
    #[cfg(test)]
    pub(super) fn owned(&self) -> (usize, usize) {
        (self.pages.iter().flatten().count(), usize::from(self.spare.is_some()))
    }
}

impl Page {
    const EMPTY: Self = Self { used: Bits::NONE, lists: [Ends::EMPTY; 256] };
}

/// Where a weight's list is: its page, and its place there.
#[inline]
const fn place(weight: i16) -> [u8; 2] {
    (weight.cast_unsigned() ^ 0x8000).to_be_bytes()
}

#[inline]
const fn weight_at(page: u8, list: u8) -> i16 {
    (u16::from_be_bytes([page, list]) ^ 0x8000).cast_signed()
}

/// A set of numbers below 256.
struct Bits([u64; 4]);

impl Bits {
    const NONE: Self = Self([0; 4]);

    #[inline]
    const fn is_empty(&self) -> bool {
        self.0[0] | self.0[1] | self.0[2] | self.0[3] == 0
    }

    #[inline]
    fn set(&mut self, number: u8) {
        self.0[usize::from(number >> 6)] |= 1 << (number & 63);
    }

    #[inline]
    fn clear(&mut self, number: u8) {
        self.0[usize::from(number >> 6)] &= !(1 << (number & 63));
    }

    #[inline]
    fn first(&self) -> Option<u8> {
        let (base, word) = self.words().find(|&(_, word)| word != 0)?;
        Some(base + lowest(word))
    }

    fn iter(&self) -> impl Iterator<Item = u8> {
        self.words().flat_map(|(base, word)| {
            // Each step strikes out the lowest bit.
            let some = |bits: u64| Some(bits).filter(|&bits| bits != 0);
            std::iter::successors(some(word), move |&bits| some(bits & (bits - 1))).map(move |bits| base + lowest(bits))
        })
    }

    #[inline]
    fn words(&self) -> impl Iterator<Item = (u8, u64)> {
        [0, 64, 128, 192].into_iter().zip(self.0)
    }
}

/// The number of the lowest bit set in `word`, which is not zero.
#[inline]
const fn lowest(word: u64) -> u8 {
    (word.trailing_zeros() & 63) as u8
}
