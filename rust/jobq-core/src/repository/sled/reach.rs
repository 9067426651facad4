//! How far sled would get with a log, told without letting it try.
//!
//! When sled opens, it reads its log from its last snapshot on. Up to where a segment's head calls the log stable, it
//! passes over the rest of a segment in which it meets something that is not whole; behind that, in the tail, it stops
//! there, and writes zeros over all that follows. That is right for what a kill has cut short; it destroys what stands
//! behind a flipped bit or a sector that cannot be read. So what it would get to is compared with the mark first.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::check::{KEY, Record};
use super::log::{Behind, Cursor, Segments, Stretch, Unreadable, kind};
use super::replay::{LEAF, SET};
use super::tree::SEGMENT;

/// The last check record that sled would find in a generation's folder; `None` when it would find none, or not even get
/// to its own snapshot.
///
/// # Errors
/// The system's: sled would take an error for the end of the log.
pub(super) fn last_record(folder: &Path) -> io::Result<Option<Record>> {
    let segments = Segments::of(File::open(folder.join("db"))?, Unreadable::Refused)?;
    let snapshot = snapshot(folder)?;
    // As sled does: from the beginning of its segment on, though all before the snapshot is in that.
    let from = snapshot / SEGMENT as u64 * SEGMENT as u64;
    let mut reach = Reach::default();
    if reach.walk(&segments, from)? < snapshot {
        return Ok(None);
    }
    if reach.settled.is_none() && snapshot > 0 {
        // Nothing was committed since the snapshot, or all of it is behind what stopped the walk.
        reach = Reach::default();
        reach.walk_before(&segments, snapshot)?;
    }
    Ok(reach.settled)
}

/// Where in the log the last snapshot was taken: its name says so.
fn snapshot(folder: &Path) -> io::Result<u64> {
    let mut last = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let place = name.to_str().and_then(|name| u64::from_str_radix(name.strip_prefix("snap.")?, 16).ok());
        last = last.max(place.unwrap_or(0));
    }
    Ok(last)
}

/// What was found so far.
#[derive(Default)]
struct Reach {
    /// The record of the last batch that is there to its end.
    settled: Option<Record>,
    /// That of the batch that is being read.
    found: Option<Record>,
    /// Where in the log that batch ends.
    upto: u64,
}

impl Reach {
    /// Read what stands in the log from a place on, as sled does; where something stopped it.
    fn walk(&mut self, segments: &Segments, from: u64) -> io::Result<u64> {
        let tail = segments.stable(from).max(from) / SEGMENT as u64;
        let mut expected = tail;
        for number in segments.numbers(from) {
            let Some(segment) = segments.get(number)?.filter(|segment| segment.has_head) else { continue };
            let is_tail = number >= tail;
            if is_tail && number != expected {
                return Ok(expected.saturating_mul(SEGMENT as u64));
            }
            expected += u64::from(is_tail);
            for stretch in segment.stretches(from, Behind::Stop) {
                match stretch {
                    Stretch::Message { kind, body, end, .. } => self.take(kind, body, end),
                    Stretch::Gap { bytes, .. } if is_tail && segment.is_filled(&bytes) => {
                        return Ok(segment.start.saturating_add(bytes.start - segment.base));
                    }
                    Stretch::Gap { .. } => {}
                }
            }
        }
        Ok(u64::MAX)
    }

    /// Read all that stands in the log before a place, whatever is damaged there.
    fn walk_before(&mut self, segments: &Segments, until: u64) -> io::Result<()> {
        for number in segments.numbers(0) {
            let Some(segment) = segments.get(number)? else { continue };
            for stretch in segment.stretches(0, Behind::Search) {
                match stretch {
                    Stretch::Message { end, .. } if end > until => return Ok(()),
                    Stretch::Message { kind, body, end, .. } => self.take(kind, body, end),
                    Stretch::Gap { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, what: u8, mut body: Cursor<'_>, end: u64) {
        match what {
            kind::BATCH => self.upto = body.word().unwrap_or(u64::MAX),
            kind::LINK => self.found = record_of_change(body).or(self.found),
            kind::NODE => self.found = record_of_page(body).or(self.found),
            _ => {}
        }
        if end > self.upto {
            self.settled = self.found.take().or(self.settled);
        }
    }
}

/// The check record in a change of the first leaf, whose keys are written whole: the record has the least key of all.
fn record_of_change(mut body: Cursor<'_>) -> Option<Record> {
    let is_set = body.byte()? == SET && body.bytes()? == KEY;
    Record::decode(is_set.then(|| body.bytes())??)
}

/// That in the first leaf.
fn record_of_page(mut body: Cursor<'_>) -> Option<Record> {
    let (_next, _merging_child, _is_merging, _shared) = (body.number()?, body.number()?, body.byte()?, body.byte()?);
    let (from, _to) = (body.bytes()?, body.bytes()?);
    if !from.is_empty() || body.byte()? != LEAF {
        return None;
    }
    let count = body.number()?;
    let keys = (0..count).map(|_| body.bytes()).collect::<Option<Vec<_>>>()?;
    let place = keys.iter().position(|key| *key == KEY)?;
    (0..place).try_for_each(|_| body.bytes().map(drop))?;
    Record::decode(body.bytes()?)
}
