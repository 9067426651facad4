//! sled's log, read without sled: what every whole message of it says, in the order in which they were written.
//!
//! sled stops at the first message that is damaged, and takes what follows for never written. But a message says by
//! itself where it belongs: a page as a whole, or one change of it. So all that is whole is taken in, and what is not is
//! passed over; what it said is then missing, or there as it was before, until its page is written as a whole again.
//!
//! The file is cut into segments of [`SEGMENT`] bytes, which are used again in any order:
//!
//! | bytes | of a segment |
//! |---|---|
//! | 0..4 | crc32 of 4..20, inverted |
//! | 4..12 | its place in the log: number times [`SEGMENT`], xor `i64::MAX` |
//! | 12..20 | how far the log was stable |
//! | 20.. | messages |
//!
//! | bytes | of a message |
//! |---|---|
//! | 4 | crc32 of the body, then of what follows here, inverted |
//! | 1 | kind |
//! | 1..9 each | length of the body, number of the segment, page |
//! | | body: a page, or a change of one key; keys without what all of the page's begin with |
//!
//! This is the format of sled 0.34, which is frozen; its blobs are not read, as jobq's values are too small for them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::{Bound, Range};
use std::os::unix::fs::FileExt;

use super::tree::SEGMENT;
use crate::error::Error;

/// Bytes of a segment before its messages.
const HEAD: usize = 20;
/// Messages between two steps.
const STEP: u64 = 1_000;
/// Bytes that are given up together where the disk cannot read them.
const SECTOR: usize = 4_096;

/// Kinds of messages.
mod kind {
    /// It was never meant to be read.
    pub(super) const CANCELED: u8 = 1;
    /// Nothing follows in this segment.
    pub(super) const CAP: u8 = 2;
    /// A batch begins: up to where in the log it goes.
    pub(super) const BATCH: u8 = 3;
    /// A whole page.
    pub(super) const NODE: u8 = 8;
    /// A change of a page.
    pub(super) const LINK: u8 = 10;
    /// The highest there is.
    pub(super) const LAST: u8 = 11;
}

/// What follows in the body of a page that is a leaf.
const LEAF: u8 = 0;
/// Changes of a leaf.
const SET: u8 = 0;
const DELETE: u8 = 1;

/// Told how many messages were read so far; its error ends the reading.
pub type Step<'a> = dyn Fn(u64) -> Result<(), Error> + 'a;

/// Where a value stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: u64,
    length: usize,
}

/// What is known of a leaf.
struct Leaf {
    /// Its least key.
    from: Box<[u8]>,
    /// The key that it ends before; empty: it is the last.
    to: Box<[u8]>,
    /// How many bytes of `from` all of its keys begin with.
    shared: usize,
    /// How many messages were read before it was last written as a whole.
    written: u64,
}

/// A stretch of the file that is no whole message, though one seems to begin there.
struct Gap {
    bytes: Range<u64>,
    /// What that message is about, as far as its head can be trusted.
    page: u64,
    /// How many messages were read before it.
    before: u64,
}

/// What cannot be read, and was not made good by what was written later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss<'a> {
    /// Where it stands in the file.
    pub(super) bytes: Range<u64>,
    /// Between which keys something may be missing, or as it was before, if that can be told; without an end where the
    /// second is empty.
    pub(super) keys: Option<(&'a [u8], &'a [u8])>,
}

/// What a log says.
pub(super) struct Log {
    file: File,
    /// Each key, and where its last value stands.
    values: BTreeMap<Box<[u8]>, Place>,
    leaves: HashMap<u64, Leaf>,
    gaps: Vec<Gap>,
    messages: u64,
}

impl Log {
    /// Read a log from its beginning to its end; where the file itself cannot be read, that is a gap.
    ///
    /// # Errors
    /// That of `step`.
    pub(super) fn read(file: File, step: &Step<'_>) -> Result<Self, Error> {
        let length = file.metadata().map_or(0, |found| found.len());
        let places = (0..length).step_by(SEGMENT);
        let segments: BTreeMap<u64, u64> =
            places.filter_map(|at| Some((segment_number(&read(&file, at, length))?, at))).collect();
        let mut log = Self { file, values: BTreeMap::new(), leaves: HashMap::new(), gaps: Vec::new(), messages: 0 };
        let end = segments.last_key_value().map_or(0, |(&number, &at)| {
            let last = Messages::of(number, &read(&log.file, at, length)).last();
            number.saturating_mul(SEGMENT as u64).saturating_add(last.map_or(0, |message| message.body.end as u64))
        });
        for (number, at) in segments {
            let segment = read(&log.file, at, length);
            if !log.take_segment(number, &segment, at, end, step)? {
                break;
            }
        }
        Ok(log)
    }

    /// Take a segment in; false where the log, of which nothing whole stands at `end` or behind, is over.
    fn take_segment(
        &mut self,
        number: u64,
        segment: &[u8],
        base: u64,
        end: u64,
        step: &Step<'_>,
    ) -> Result<bool, Error> {
        let mut at = HEAD;
        for message in Messages::of(number, segment) {
            self.note_gap(number, segment, base, at..message.at);
            at = message.body.end;
            let mut body = Cursor { bytes: segment.get(..at).unwrap_or_default(), at: message.body.start };
            match message.kind {
                kind::CAP => return Ok(true),
                // A kill has cut this batch short: nobody was told that it is there.
                kind::BATCH if body.word().is_some_and(|upto| upto >= end) => return Ok(false),
                // A body of another make than sled's changes nothing.
                kind::NODE => drop(self.take_page(message.page, body, base)),
                kind::LINK => drop(self.take_change(message.page, body, base)),
                _ => {}
            }
            self.messages += 1;
            if self.messages.is_multiple_of(STEP) {
                step(self.messages)?;
            }
        }
        self.note_gap(number, segment, base, at..segment.len());
        Ok(true)
    }

    fn note_gap(&mut self, number: u64, segment: &[u8], base: u64, bytes: Range<usize>) {
        // Elsewhere, as behind the last message, stands what was never written, or of an earlier use of the segment.
        if let Some(message) = Message::at(segment, bytes.start).filter(|message| message.segment == number)
            && !bytes.is_empty()
        {
            let bytes = base + bytes.start as u64..base + bytes.end as u64;
            self.gaps.push(Gap { bytes, page: message.page, before: self.messages });
        }
    }

    /// A whole page; of what lies between its ends, a leaf has all there is.
    fn take_page(&mut self, page: u64, mut body: Cursor<'_>, base: u64) -> Option<()> {
        let (_next, _merging_child, _is_merging) = (body.number()?, body.number()?, body.byte()?);
        let shared = usize::from(body.byte()?);
        let (from, to) = (body.bytes()?, body.bytes()?);
        if body.byte()? != LEAF {
            return Some(());
        }
        let head = from.get(..shared)?;
        let count = body.number()?;
        let keys =
            (0..count).map(|_| Some([head, body.bytes()?].concat().into())).collect::<Option<Vec<Box<[u8]>>>>()?;
        let places = (0..count).map(|_| body.place(base)).collect::<Option<Vec<Place>>>()?;
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        if to.is_empty() || from < to {
            let before = self.values.range::<[u8], _>((Bound::Included(from), end));
            for key in before.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
                self.values.remove(&key);
            }
        }
        self.values.extend(keys.into_iter().zip(places));
        self.leaves.insert(page, Leaf { from: from.into(), to: to.into(), shared, written: self.messages });
        Some(())
    }

    /// A change of a page: of one key where the page is a leaf.
    fn take_change(&mut self, page: u64, mut body: Cursor<'_>, base: u64) -> Option<()> {
        let what = body.byte()?;
        let leaf = self.leaves.get(&page)?;
        let mut key = || Some([leaf.from.get(..leaf.shared)?, body.bytes()?].concat().into_boxed_slice());
        match what {
            SET => drop(self.values.insert(key()?, body.place(base)?)),
            DELETE => drop(self.values.remove(&key()?)),
            // How pages hang together.
            _ => {}
        }
        Some(())
    }

    /// Each key with its last value, ascending; a value that the disk does not give back any more is empty.
    pub(super) fn records(&self) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
        self.values.iter().map(|(key, place)| (key.as_ref(), self.value_at(*place).unwrap_or_default()))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.value_at(*self.values.get(key)?)
    }

    fn value_at(&self, place: Place) -> Option<Vec<u8>> {
        let mut value = vec![0; place.length];
        self.file.read_exact_at(&mut value, place.at).ok()?;
        Some(value)
    }

    /// What is lost, in the order in which it was written.
    pub(super) fn losses(&self) -> impl Iterator<Item = Loss<'_>> {
        self.gaps.iter().filter_map(|gap| {
            let leaf = self.leaves.get(&gap.page);
            let is_made_good = leaf.is_some_and(|leaf| leaf.written >= gap.before);
            let keys = leaf.map(|leaf| (leaf.from.as_ref(), leaf.to.as_ref()));
            (!is_made_good).then(|| Loss { bytes: gap.bytes.clone(), keys })
        })
    }
}

/// The segment at a place of the file; zeros where the disk does not give back what was written.
fn read(file: &File, at: u64, length: u64) -> Vec<u8> {
    let left = usize::try_from(length - at).unwrap_or(SEGMENT);
    let mut segment = vec![0; SEGMENT.min(left)];
    if file.read_exact_at(&mut segment, at).is_err() {
        for (number, sector) in segment.chunks_mut(SECTOR).enumerate() {
            if file.read_exact_at(sector, at + (number * SECTOR) as u64).is_err() {
                sector.fill(0);
            }
        }
    }
    segment
}

/// The number of a segment: as its head says or, where that is damaged, its first whole message.
fn segment_number(segment: &[u8]) -> Option<u64> {
    let (sum, rest) = segment.get(..HEAD)?.split_first_chunk::<4>()?;
    if crc32fast::hash(rest) == !u32::from_le_bytes(*sum) {
        let place = u64::from_le_bytes(*rest.first_chunk()?) ^ (u64::MAX >> 1);
        return Some(place / SEGMENT as u64);
    }
    let messages = (HEAD..segment.len()).filter_map(|at| Message::at(segment, at));
    messages.filter(|message| message.is_whole(segment)).map(|message| message.segment).next()
}

/// A message of a segment, whole or not.
struct Message {
    at: usize,
    kind: u8,
    segment: u64,
    page: u64,
    body: Range<usize>,
}

impl Message {
    /// What seems to be one.
    fn at(segment: &[u8], at: usize) -> Option<Self> {
        let mut head = Cursor { bytes: segment, at: at.checked_add(4)? };
        let kind = head.byte().filter(|kind| (kind::CANCELED..=kind::LAST).contains(kind))?;
        let (length, number, page) = (head.number()?, head.number()?, head.number()?);
        let end = head.at.checked_add(usize::try_from(length).ok()?).filter(|&end| end <= segment.len())?;
        Some(Self { at, kind, segment: number, page, body: head.at..end })
    }

    fn is_whole(&self, segment: &[u8]) -> bool {
        let parts = || {
            let (sum, head) = segment.get(self.at..self.body.start)?.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*sum), head, segment.get(self.body.clone())?))
        };
        parts().is_some_and(|(sum, head, body)| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(body);
            hasher.update(head);
            hasher.finalize() == !sum
        })
    }
}

/// The whole messages of a segment, in their order.
struct Messages<'a> {
    number: u64,
    segment: &'a [u8],
    at: usize,
}

impl<'a> Messages<'a> {
    fn of(number: u64, segment: &'a [u8]) -> Self {
        Self { number, segment, at: HEAD }
    }
}

impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        // Behind a damaged one the next may begin anywhere.
        let found = (self.at..self.segment.len()).find_map(|at| {
            let message = Message::at(self.segment, at).filter(|message| message.segment == self.number)?;
            message.is_whole(self.segment).then_some(message)
        })?;
        self.at = found.body.end;
        Some(found)
    }
}

/// Reads the parts of a message; `None` when it ends before.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// A number of 1 to 9 bytes: the first is the number itself, or says how the others make it up.
    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let low = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Some(match first {
            0..=240 => u64::from(first),
            241..=248 => 240 + 256 * (u64::from(first) - 241) + u64::from(self.byte()?),
            249 => 2_288 + 256 * u64::from(self.byte()?) + u64::from(self.byte()?),
            250.. => low(self.take(usize::from(first) - 247)?),
        })
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// A length, and so many bytes.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// The same, but where those stand in the file in which `bytes` begins at `base`.
    fn place(&mut self, base: u64) -> Option<Place> {
        let length = self.length()?;
        let at = base + self.at as u64;
        self.take(length).map(|_| Place { at, length })
    }
}
