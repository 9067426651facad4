//! What a batch that failed was to do, kept beside the store.
//!
//! sled reads while it applies a batch, and writes out what fills a segment before the batch is sealed. When a read
//! fails after that, a part of the batch is in the log as if it were whole, and nothing takes it out again. So the file
//! `redo` holds the batch, and the next open does all of it if a part is there:
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | crc32 of the rest |
//! | 4.. | each change: 1 byte, 1 to put and 0 to delete; 4 + n bytes of key; to put, 4 + n bytes of value |
//!
//! The last change puts the check record, which says to which store the batch belongs and where it stands there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::check::{KEY, Record};
use super::folder;
use crate::repository::Change;

/// A batch that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redo {
    /// Its changes, the check record among them.
    pub(super) changes: Vec<Change>,
    /// What the store must say once it is done.
    pub(super) record: Record,
}

fn path(store: &Path) -> PathBuf {
    store.join("redo")
}

/// Keep a batch, on the disk; `record` is what the store would say after it.
pub(super) fn keep(store: &Path, batch: &[Change], record: Record) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path(store))?;
    file.write_all(&encode(batch, record))?;
    file.sync_all()?;
    folder::sync(store)
}

fn encode(batch: &[Change], record: Record) -> Vec<u8> {
    let check = Change::Put(KEY.to_vec(), record.encode());
    let mut rest = Vec::new();
    for change in batch.iter().chain([&check]) {
        match change {
            Change::Put(key, value) => {
                rest.push(1);
                put(&mut rest, key);
                put(&mut rest, value);
            }
            Change::Delete(key) => {
                rest.push(0);
                put(&mut rest, key);
            }
        }
    }
    [&crc32fast::hash(&rest).to_le_bytes()[..], &rest].concat()
}

fn put(bytes: &mut Vec<u8>, piece: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(piece);
}

/// The batch that failed last, if any is kept. One that was not kept whole is none: if it is missed, the check says so.
pub(super) fn load(store: &Path) -> io::Result<Option<Redo>> {
    match fs::read(path(store)) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// It is done, or was not needed.
pub(super) fn forget(store: &Path) -> io::Result<()> {
    match fs::remove_file(path(store)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn decode(bytes: &[u8]) -> Option<Redo> {
    let (sum, mut rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(rest) {
        return None;
    }
    let mut changes = Vec::new();
    while let Some((kind, behind)) = rest.split_first() {
        rest = behind;
        let key = take(&mut rest)?;
        changes.push(if *kind == 0 { Change::Delete(key) } else { Change::Put(key, take(&mut rest)?) });
    }
    match changes.last()? {
        Change::Put(key, value) if key == KEY => Record::decode(value).map(|record| Redo { changes, record }),
        _ => None,
    }
}

fn take(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (piece, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = behind;
    Some(piece.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::check::Check;
    use super::*;

    #[test]
    fn a_batch_is_kept_whole_or_not_at_all() {
        let batch = [Change::Put(b"a".to_vec(), vec![]), Change::Delete(b"bc".to_vec()), Change::Put(vec![], vec![7])];
        let record = Check::new(7, 3).record();
        let whole = encode(&batch, record);
        let redo = decode(&whole).unwrap();
        assert_eq!((&redo.changes[..3], redo.changes.len(), redo.record), (&batch[..], 4, record));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "of {length} bytes");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(decode(&bytes), None, "with another byte {at}");
        }
    }
}
