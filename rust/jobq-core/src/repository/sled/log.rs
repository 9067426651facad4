//! sled's log, read without sled: its segments, and the messages in them.
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

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;

use super::tree::SEGMENT;

/// Bytes of a segment before its messages.
const HEAD: usize = 20;
/// Those that there are.
const KINDS: RangeInclusive<u8> = 1..=11;

/// The longest head of a message: less than that is left over at the end of a segment.
const LEAST: usize = 32;
/// Bytes that are given up together where the disk cannot read them.
const SECTOR: usize = 4_096;

/// Kinds of messages.
pub(super) mod kind {
    /// Nothing follows in this segment.
    pub(crate) const CAP: u8 = 2;
    /// A batch begins: up to where in the log it goes.
    pub(crate) const BATCH: u8 = 3;
    /// A whole page.
    pub(crate) const NODE: u8 = 8;
    /// A change of a page.
    pub(crate) const LINK: u8 = 10;
}

/// Where a value stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    at: u64,
    length: usize,
}

/// What is done where the disk does not give back what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The error is told.
    Refused,
    /// Zeros stand there instead.
    Zero,
}

/// A segment that is in use.
pub(super) struct Segment {
    /// Where it stands in the file.
    pub(super) base: u64,
    /// Its number, times [`SEGMENT`]: where it begins in the log.
    pub(super) start: u64,
    /// Whether its head says so; else its first whole message does.
    pub(super) has_head: bool,
    bytes: Vec<u8>,
}

/// A log's segments, in the order in which they were written.
pub(super) struct Segments {
    file: File,
    length: u64,
    unreadable: Unreadable,
    /// Where each stands in the file, by number, and up to where its head calls the log stable.
    places: BTreeMap<u64, (u64, Option<u64>)>,
}

impl Segments {
    /// Those of a file.
    pub(super) fn of(file: File, unreadable: Unreadable) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut segments = Self { file, length, unreadable, places: BTreeMap::new() };
        for base in (0..length).step_by(SEGMENT) {
            let found = match segments.head(base)?.as_ref().and_then(numbers_in) {
                Some((number, stable)) => Some((number, Some(stable))),
                None => first_number(&segments.read(base)?).map(|number| (number, None)),
            };
            if let Some((number, stable)) = found {
                segments.places.insert(number, (base, stable));
            }
        }
        Ok(segments)
    }

    /// The numbers of those that hold what stands in the log from `from` on.
    pub(super) fn numbers(&self, from: u64) -> Vec<u64> {
        self.places.range(from / SEGMENT as u64..).map(|(number, _)| *number).collect()
    }

    /// Up to where the heads of those call the log stable.
    pub(super) fn stable(&self, from: u64) -> u64 {
        let places = self.places.range(from / SEGMENT as u64..);
        places.filter_map(|(_, (_, stable))| *stable).max().unwrap_or(0)
    }

    /// One of them.
    pub(super) fn get(&self, number: u64) -> io::Result<Option<Segment>> {
        let Some(&(base, stable)) = self.places.get(&number) else { return Ok(None) };
        let start = number.saturating_mul(SEGMENT as u64);
        Ok(Some(Segment { base, start, has_head: stable.is_some(), bytes: self.read(base)? }))
    }

    /// Bytes of the file.
    pub(super) fn value(&self, place: Place) -> Option<Vec<u8>> {
        let mut value = vec![0; place.length];
        self.file.read_exact_at(&mut value, place.at).ok()?;
        Some(value)
    }

    fn head(&self, base: u64) -> io::Result<Option<[u8; HEAD]>> {
        let mut head = [0; HEAD];
        if self.length - base < HEAD as u64 {
            return Ok(None);
        }
        match (self.file.read_exact_at(&mut head, base), self.unreadable) {
            (Ok(()), _) => Ok(Some(head)),
            (Err(error), Unreadable::Refused) => Err(error),
            (Err(_), Unreadable::Zero) => Ok(None),
        }
    }

    fn read(&self, base: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length - base).unwrap_or(SEGMENT);
        let mut bytes = vec![0; SEGMENT.min(left)];
        match (self.file.read_exact_at(&mut bytes, base), self.unreadable) {
            (Ok(()), _) => {}
            (Err(error), Unreadable::Refused) => return Err(error),
            (Err(_), Unreadable::Zero) => {
                for (number, sector) in bytes.chunks_mut(SECTOR).enumerate() {
                    if self.file.read_exact_at(sector, base + (number * SECTOR) as u64).is_err() {
                        sector.fill(0);
                    }
                }
            }
        }
        Ok(bytes)
    }
}

/// The number in the head of a segment, and up to where the log was stable, if the head is whole.
fn numbers_in(head: &[u8; HEAD]) -> Option<(u64, u64)> {
    let (sum, rest) = head.split_first_chunk::<4>()?;
    let mut places = rest.as_chunks::<8>().0.iter().map(|place| u64::from_le_bytes(*place) ^ (u64::MAX >> 1));
    let (start, stable) = (places.next()?, places.next()?);
    // Nothing is stable yet where it says -1.
    let stable = if stable > u64::MAX >> 1 { 0 } else { stable };
    (crc32fast::hash(rest) == !u32::from_le_bytes(*sum)).then_some((start / SEGMENT as u64, stable))
}

/// The number in the first whole message of a segment.
fn first_number(bytes: &[u8]) -> Option<u64> {
    let messages = (HEAD..bytes.len()).filter_map(|at| Message::at(bytes, at));
    messages.filter(|message| message.is_whole(bytes)).map(|message| message.segment).next()
}

/// What comes behind something that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// The next whole message, wherever that begins.
    Search,
    /// Nothing: the rest of the segment is one gap.
    Stop,
}

/// A stretch of a segment: a whole message, or what lies between two of them.
pub(super) enum Stretch<'a> {
    /// A message: its kind, its page, what it says, and where in the log it ends.
    Message { kind: u8, page: u64, body: Cursor<'a>, end: u64 },
    /// None; `page` is what it seems to be about.
    Gap { bytes: Range<u64>, page: Option<u64> },
}

impl Segment {
    /// What stands in it from a place of the log on, in order. Nothing follows a [`kind::CAP`].
    pub(super) fn stretches(&self, from: u64, behind: Behind) -> impl Iterator<Item = Stretch<'_>> {
        let number = self.start / SEGMENT as u64;
        let first = usize::try_from(from.saturating_sub(self.start)).unwrap_or(usize::MAX).max(HEAD);
        let mut at = first.min(self.bytes.len());
        let mut waiting: Option<Message> = None;
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let next = waiting.take().or_else(|| next_whole(number, &self.bytes, at, behind));
            match next {
                Some(message) if message.at > at => {
                    let gap = self.gap(number, at..message.at);
                    at = message.at;
                    waiting = Some(message);
                    Some(gap)
                }
                Some(message) => {
                    at = message.body.end;
                    is_over = message.kind == kind::CAP;
                    let bytes = self.bytes.get(..at).unwrap_or_default();
                    let body = Cursor { bytes, at: message.body.start, base: self.base };
                    let end = self.start.saturating_add(at as u64);
                    Some(Stretch::Message { kind: message.kind, page: message.page, body, end })
                }
                None => {
                    is_over = true;
                    (at < self.bytes.len()).then(|| self.gap(number, at..self.bytes.len()))
                }
            }
        })
    }

    fn gap(&self, number: u64, bytes: Range<usize>) -> Stretch<'_> {
        let message = Message::at(&self.bytes, bytes.start).filter(|message| message.segment == number);
        let bytes = self.base + bytes.start as u64..self.base + bytes.end as u64;
        Stretch::Gap { bytes, page: message.map(|message| message.page) }
    }

    /// Whether something may have stood in a gap at the end of a segment that another one follows: sled fills one up,
    /// but for what is too little for a message, or cuts it off with zeros.
    pub(super) fn is_filled(&self, gap: &Range<u64>) -> bool {
        let place = |at: u64| usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(place(gap.start)..place(gap.end)).unwrap_or_default();
        bytes.len() >= LEAST && bytes.iter().any(|&byte| byte != 0)
    }
}

/// The next whole message of a segment from a place on.
fn next_whole(number: u64, bytes: &[u8], from: usize, behind: Behind) -> Option<Message> {
    let places = if behind == Behind::Search { from..bytes.len() } else { from..from + 1 };
    // The kind stands behind the checksum: most places are none by that.
    places.filter(|at| bytes.get(at + 4).is_some_and(|kind| KINDS.contains(kind))).find_map(|at| {
        let message = Message::at(bytes, at).filter(|message| message.segment == number)?;
        message.is_whole(bytes).then_some(message)
    })
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
        let mut head = Cursor { bytes: segment, at: at.checked_add(4)?, base: 0 };
        let kind = head.byte().filter(|kind| KINDS.contains(kind))?;
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

/// Reads the parts of a message; `None` when it ends before.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where in the file the bytes begin.
    base: u64,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn word(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// A number of 1 to 9 bytes: the first is the number itself, or says how the others make it up.
    pub(super) fn number(&mut self) -> Option<u64> {
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
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// The same, but where those stand in the file.
    pub(super) fn place(&mut self) -> Option<Place> {
        let length = self.length()?;
        let at = self.base + self.at as u64;
        self.take(length).map(|_| Place { at, length })
    }
}
