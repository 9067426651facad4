//! Saving what can be read of a damaged store into a new one. The old one is only read, by [`Replay`] instead of sled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use super::check::{Check, KEY, Record};
use super::fault::{refused, unusable};
use super::folder;
use super::generations::Builder;
use super::lock::Lock;
use super::mark::Mark;
use super::replay::{Failure, Loss, Replay, Step};
use crate::error::Error;
use crate::job::JobId;
use crate::repository::codec;

/// Where something is missing, ids and tokens go on so far behind what is found: none is given twice.
const FAR: u64 = 1 << 40;

/// What was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Records in the new store.
    pub copied: u64,
    /// What could not be read, each named; empty when nothing is missing.
    pub unreadable: Vec<String>,
}

/// Copy every record of `old` that reads and passes its checksum into a new store.
///
/// # Errors
/// [`Error::Store`]: the old one is open elsewhere or no store, the new one exists, or the disk refused something; that
/// of `step`.
pub fn salvage(old: &Path, new: &Path, step: &Step<'_>) -> Result<Salvaged, Error> {
    let found = folder::look(old)?;
    let Some(&generation) = found.generations.last() else { return Err(folder::missing(old)) };
    if new.exists() {
        return Err(unusable(new, "is there already: name a folder that is not"));
    }
    if lies_in(new, old) {
        return Err(unusable(new, "lies in the old store, which must stay as it is: name a folder elsewhere"));
    }
    // Only locked, so that no service changes it meanwhile.
    let lock = Lock::take_to_read(old)?;
    let saved = File::open(folder::generation(old, generation).join("db"))
        .map_err(|error| refused(old, "its file cannot be opened", &error))
        .and_then(|file| {
            Replay::of(file, step).map_err(|failure| match failure {
                Failure::Io(error) => refused(old, "its file cannot be read", &error),
                Failure::Told(error) => error,
            })
        })
        .and_then(|log| copy(&log, old, new));
    if let Some(lock) = lock {
        lock.release();
    }
    saved
}

/// Whether a folder that is not there yet is to be made inside of one that is, by whatever path.
fn lies_in(new: &Path, old: &Path) -> bool {
    let parent = std::path::absolute(new).ok().and_then(|new| new.parent()?.canonicalize().ok());
    parent.zip(old.canonicalize().ok()).is_some_and(|(parent, old)| parent.starts_with(old))
}

fn copy(log: &Replay, old: &Path, new: &Path) -> Result<Salvaged, Error> {
    folder::prepare(new, true)?;
    let mut builder = Builder::begin(new, 1, Check::new(RandomState::new().hash_one(new), 1))?;
    let mut saved = Salvaged::default();
    let (mut found, mut jobs) = (Check::new(0, 0), Jobs::default());
    let sequences = ["ids", "tokens"].map(codec::meta_key);
    for (key, value) in log.records().filter(|(key, _)| *key != KEY) {
        found.put(key, &value);
        if codec::unseal(key, &value).is_none() {
            saved.unreadable.push(codec::name_of(key));
            continue;
        }
        saved.copied += 1;
        jobs.take(key, &value);
        if !sequences.iter().any(|sequence| sequence == key) {
            builder.put(key, &value)?;
        }
    }
    let missing = missing(old, log, &found.record());
    for key in sequences {
        let kept = log.get(&key);
        let number = kept.as_deref().and_then(|value| codec::decode_number(&key, value));
        let is_sure = missing.is_empty() && number.is_some() == kept.is_some();
        let number = if is_sure { number } else { Some(number.unwrap_or(0).saturating_add(FAR)) };
        if let Some(number) = number {
            builder.put(&key, &codec::encode_number(&key, number))?;
        }
    }
    if !missing.is_empty() {
        saved.unreadable.extend(missing);
        saved.unreadable.extend(jobs.incomplete());
    }
    builder.finish()?.begin_store()?;
    Ok(saved)
}

/// The jobs of a store, by what there is of them. Taken in by ascending keys: bodies come first.
#[derive(Default)]
struct Jobs {
    /// Of each job with a body, how many chunks of its payload are still to come.
    bodies: BTreeMap<JobId, usize>,
    /// Jobs of which there is something, but no body.
    others: BTreeSet<JobId>,
}

impl Jobs {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        let Some(id) = codec::id_of(key) else { return };
        match key.get(..1) {
            Some(codec::BODY) => {
                let body = codec::Body::decode(key, value);
                self.bodies.extend(body.map(|(body, _)| (id, codec::chunks(body.size))));
            }
            Some(codec::PIECE | codec::OVERLAY | codec::LINE) => match self.bodies.get_mut(&id) {
                Some(left) if key.starts_with(codec::PIECE) => *left = left.saturating_sub(1),
                Some(_) => {}
                None => drop(self.others.insert(id)),
            },
            _ => {}
        }
    }

    /// Those of which something is missing that is needed to do them.
    fn incomplete(&self) -> impl Iterator<Item = String> {
        let without_body = self.others.iter().map(|id| codec::name_of(&codec::job_key(codec::BODY, *id)));
        let cut_short = self.bodies.iter().filter(|(_, left)| **left > 0);
        without_body.chain(cut_short.map(|(id, left)| format!("the payload of job {id} (pieces missing: {left})")))
    }
}

/// What is missing, or not as it was last; nothing where check record and mark agree with what was found.
fn missing(old: &Path, log: &Replay, found: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    let said = log.get(KEY).as_deref().and_then(Record::decode);
    match (said, Mark::look(old)) {
        (None, _) => lines.push("the count of all records: nobody can tell how many are missing".to_owned()),
        (_, Err(_)) => lines.push("the mark: nobody can tell whether what was written last is missing".to_owned()),
        (Some(said), Ok(mark)) if mark.sequence > said.sequence => lines.push(format!(
            "what was written last: {} batches of {}, whatever was in them",
            mark.sequence - said.sequence,
            mark.sequence
        )),
        _ => {}
    }
    match said {
        Some(said) if said.count > found.count => {
            lines.push(format!("{} of {} records, which are not found", said.count - found.count, said.count));
        }
        Some(said) if (said.count, said.sum) != (found.count, found.sum) => {
            lines.push("some changes: of the records found, some are older than the last, or were deleted".to_owned());
        }
        _ => {}
    }
    if !lines.is_empty() {
        lines.extend(log.losses().map(|loss| name_of(&loss)));
    }
    lines
}

fn name_of(loss: &Loss<'_>) -> String {
    let Loss { bytes, keys } = loss;
    let what = match keys {
        None => "what it was about cannot be told".to_owned(),
        Some(([], [])) => "it was about any of the records".to_owned(),
        Some((from, [])) => format!("it was about what stands from {} on", codec::name_of(from)),
        Some(([], to)) => format!("it was about what stands before {}", codec::name_of(to)),
        Some((from, to)) => {
            format!("it was about what stands from {} on, before {}", codec::name_of(from), codec::name_of(to))
        }
    };
    format!("bytes {} to {} of its file: {what}", bytes.start, bytes.end)
}
