//! What every whole message of sled's log says, in the order in which they were written.
//!
//! sled stops at the first message that is damaged, and takes what follows for never written. But a message says by
//! itself where it belongs: a page as a whole, or one change of it. So all that is whole is taken in, and what is not is
//! passed over; what it said is then missing, or there as it was before, until its page is written as a whole again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::{Bound, Range};

use super::log::{Behind, Cursor, Place, Segments, Stretch, Unreadable, kind};
use crate::error::Error;

/// Messages between two steps.
const STEP: u64 = 1_000;

/// What follows in the body of a page that is a leaf.
pub(super) const LEAF: u8 = 0;
/// Changes of a leaf.
pub(super) const SET: u8 = 0;
const DELETE: u8 = 1;

/// Told how many messages were read so far; its error ends the reading.
pub type Step<'a> = dyn Fn(u64) -> Result<(), Error> + 'a;

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
pub(super) struct Replay {
    segments: Segments,
    /// Each key, and where its last value stands.
    values: BTreeMap<Box<[u8]>, Place>,
    leaves: HashMap<u64, Leaf>,
    gaps: Vec<Gap>,
    messages: u64,
}

impl Replay {
    /// Read a log from its beginning to its end; where the file itself cannot be read, that is a gap.
    ///
    /// # Errors
    /// The system's, where not even the file's size can be read.
    pub(super) fn of(file: File, step: &Step<'_>) -> Result<Self, Failure> {
        let segments = Segments::of(file, Unreadable::Zero)?;
        let mut replay =
            Self { segments, values: BTreeMap::new(), leaves: HashMap::new(), gaps: Vec::new(), messages: 0 };
        let numbers = replay.segments.numbers(0);
        let mut end = 0;
        if let Some(&last) = numbers.last()
            && let Some(segment) = replay.segments.get(last)?
        {
            for stretch in segment.stretches(0, Behind::Search) {
                if let Stretch::Message { end: place, .. } = stretch {
                    end = place;
                }
            }
        }
        for number in numbers {
            if !replay.take_segment(number, end, step)? {
                break;
            }
        }
        Ok(replay)
    }

    /// Take a segment in; false where the log, of which nothing whole stands at `end` or behind, is over.
    fn take_segment(&mut self, number: u64, end: u64, step: &Step<'_>) -> Result<bool, Failure> {
        let Some(segment) = self.segments.get(number)? else { return Ok(true) };
        for stretch in segment.stretches(0, Behind::Search) {
            let (what, page, mut body) = match stretch {
                Stretch::Message { kind, page, body, .. } => (kind, page, body),
                // Elsewhere, as behind the last message, stands what was never written, or of an earlier use.
                Stretch::Gap { bytes, page, .. } => {
                    self.gaps.extend(page.map(|page| Gap { bytes, page, before: self.messages }));
                    continue;
                }
            };
            match what {
                // A kill has cut this batch short: nobody was told that it is there.
                kind::BATCH if body.word().is_some_and(|upto| upto >= end) => return Ok(false),
                // A body of another make than sled's changes nothing.
                kind::NODE => drop(self.take_page(page, body)),
                kind::LINK => drop(self.take_change(page, body)),
                _ => {}
            }
            self.messages += 1;
            if self.messages.is_multiple_of(STEP) {
                step(self.messages).map_err(Failure::Told)?;
            }
        }
        Ok(true)
    }

    /// A whole page; of what lies between its ends, a leaf has all there is.
    fn take_page(&mut self, page: u64, mut body: Cursor<'_>) -> Option<()> {
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
        let places = (0..count).map(|_| body.place()).collect::<Option<Vec<Place>>>()?;
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
    fn take_change(&mut self, page: u64, mut body: Cursor<'_>) -> Option<()> {
        let what = body.byte()?;
        let leaf = self.leaves.get(&page)?;
        let mut key = || Some([leaf.from.get(..leaf.shared)?, body.bytes()?].concat().into_boxed_slice());
        match what {
            SET => drop(self.values.insert(key()?, body.place()?)),
            DELETE => drop(self.values.remove(&key()?)),
            // How pages hang together.
            _ => {}
        }
        Some(())
    }

    /// Each key with its last value, ascending; a value that the disk does not give back any more is empty.
    pub(super) fn records(&self) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
        self.values.iter().map(|(key, place)| (key.as_ref(), self.segments.value(*place).unwrap_or_default()))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.segments.value(*self.values.get(key)?)
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

/// Why a log could not be read to its end.
pub(super) enum Failure {
    /// The system refused it.
    Io(io::Error),
    /// Whoever is told of the steps wants no more.
    Told(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
