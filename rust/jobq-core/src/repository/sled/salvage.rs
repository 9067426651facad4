//! Saving what can be read of a damaged store into a new one. The old one is copied first and never touched.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::check::{Check, KEY, Record};
use super::fault::{refused, unusable};
use super::folder;
use super::generations::{Builder, remove, troubled};
use super::lock::Lock;
use super::mark::{Mark, Reading};
use super::tree::{Tree, Trouble};
use super::work::successor;
use crate::error::Error;
use crate::repository::codec;

/// Where ids and tokens go on when nobody can tell where they were: none is given twice.
const FAR: u64 = 1 << 40;

/// Records between two steps.
const STEP: u64 = 1_000;

/// Told how many records were read so far; its error ends the salvage.
pub type Step<'a> = dyn Fn(u64) -> Result<(), Error> + 'a;

/// What was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Records in the new store.
    pub copied: u64,
    /// What could not be read, each named.
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
    // Only locked, so that no service changes it meanwhile.
    let lock = Lock::take_silently(old)?;
    folder::prepare(new, true)?;
    let scratch = new.join("aside");
    let saved = copy_folder(&folder::generation(old, generation), &scratch)
        .map_err(|error| refused(new, "the old store cannot be copied", &error))
        .and_then(|()| copy_records(&scratch, new, old, step));
    lock.release();
    remove(&scratch).map_err(|error| refused(new, "the scratch copy cannot be removed", &error))?;
    saved
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    folder::make_private(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn copy_records(scratch: &Path, new: &Path, old: &Path, step: &Step<'_>) -> Result<Salvaged, Error> {
    let tree = open_somehow(scratch).map_err(|trouble| troubled(new, "the old store cannot be opened", trouble))?;
    let store = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), new);
    let mut builder = Builder::begin(new, 1, Check::new(store, 1))?;
    let mut saved = Salvaged::default();
    let mut numbers: HashSet<Vec<u8>> = HashSet::new();
    let mut seen = 0_u64;
    // Behind our own record, which is made anew.
    let mut from = vec![1];
    loop {
        let mut last = None;
        let scanned = tree.scan(&from, None, &mut |key, value| {
            last = Some(key.to_vec());
            seen += 1;
            if seen.is_multiple_of(STEP) {
                step(seen)?;
            }
            if codec::unseal(key, value).is_some() {
                if key.starts_with(codec::META) {
                    numbers.insert(key.to_vec());
                }
                saved.copied += 1;
                builder.put(key, value)
            } else {
                saved.unreadable.push(codec::name_of(key));
                Ok(())
            }
        });
        match scanned {
            Ok(Ok(())) => break,
            Ok(Err(error)) => return Err(error),
            // A damaged page gives the same error for ever: go on behind it.
            Err(_) => {
                let behind = last.as_deref().unwrap_or(&from);
                let Some((next, missed)) = next_readable(&tree, behind) else {
                    saved.unreadable.push(format!("all after {}", codec::name_of(behind)));
                    break;
                };
                saved.unreadable.push(missed);
                from = next;
            }
        }
    }
    for name in ["ids", "tokens"] {
        let key = codec::meta_key(name);
        if !numbers.contains(&key) {
            builder.put(&key, &codec::encode_number(&key, FAR))?;
        }
    }
    saved.unreadable.extend(missing(old, &tree, seen));
    // It reads from a copy of a damaged store: nothing of it is wanted any more.
    super::tree::leak(tree);
    let made = builder.finish()?;
    Mark::create(new, Reading { store, generation: 1, sequence: made.record().sequence })?;
    made.commit()?;
    Ok(saved)
}

/// What sled has left out without a word: behind damage in its log it takes what follows for never written.
fn missing(old: &Path, tree: &Tree, seen: u64) -> Vec<String> {
    let Some(said) = tree.get(KEY).ok().flatten().and_then(|sealed| Record::decode(&sealed)) else {
        return vec!["the count of all records, so that nobody can tell how many are missing".to_owned()];
    };
    let mut lines = Vec::new();
    let synced = Mark::open(old).map_or(0, |(_, reading)| reading.sequence);
    if synced > said.sequence {
        let batches = synced - said.sequence;
        lines.push(format!("what was written last: {batches} batches of {synced}, whatever was in them"));
    }
    if said.count > seen {
        lines.push(format!("{} of {} records, which are not found", said.count - seen, said.count));
    }
    lines
}

/// Open a copy: as it is, else without its snapshot, from the log alone.
fn open_somehow(scratch: &Path) -> Result<Arc<Tree>, Trouble> {
    Tree::open(scratch, scratch).or_else(|_| {
        for entry in fs::read_dir(scratch).map_err(Trouble::Io)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(entry.path()).map_err(Trouble::Io)?;
            }
        }
        Tree::open(scratch, scratch)
    })
}

/// The first place after `last` from which something can be read again, and what lies between.
fn next_readable(tree: &Tree, last: &[u8]) -> Option<(Vec<u8>, String)> {
    let mut step = 1;
    while let Some(from) = key_after(last, step) {
        if is_readable(tree, &from) {
            // Somewhere in the last doubling the damage ends.
            let (mut damaged, mut sound) = (step / 2, step);
            while damaged + 1 < sound {
                let middle = u64::midpoint(damaged, sound);
                let reads = key_after(last, middle).is_some_and(|from| is_readable(tree, &from));
                if reads { sound = middle } else { damaged = middle }
            }
            let from = key_after(last, sound)?;
            return Some((from, format!("what stands after {}, up to {sound} numbers on", codec::name_of(last))));
        }
        step = step.checked_mul(2)?;
    }
    // Nothing more of this kind.
    Some((successor(last.get(..1)?)?, format!("the rest after {}", codec::name_of(last))))
}

fn is_readable(tree: &Tree, from: &[u8]) -> bool {
    // One record is enough to see.
    tree.scan(from, None, &mut |_, _| Err(Error::Internal)).is_ok()
}

/// A key of the same kind, so many numbers on.
fn key_after(key: &[u8], step: u64) -> Option<Vec<u8>> {
    let (prefix, rest) = key.split_first()?;
    let mut number = [0; 8];
    for (place, byte) in number.iter_mut().zip(rest) {
        *place = *byte;
    }
    let next = u64::from_be_bytes(number).checked_add(step)?;
    Some([&[*prefix], next.to_be_bytes().as_slice()].concat())
}
