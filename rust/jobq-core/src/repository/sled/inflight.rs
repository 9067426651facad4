//! Who has which job: a file of 32 bytes a lease, written without a sync. It survives the death of the process; after a
//! power cut it may be old, in parts.
//!
//! | bytes | of an entry |
//! |---|---|
//! | 0..8 | id |
//! | 8..16 | token |
//! | 16..24 | stamp |
//! | 24..28 | crc32 of the above |
//! | 28..32 | 0, so that no entry lies across two sectors |
//!
//! A free place is all zero; what is neither that nor whole counts as free.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::fault::refused;
use crate::error::Error;
use crate::job::{JobId, Token};
use crate::repository::{Held, KeptLease, LeaseTable};
use crate::sync::Mutex;

const ENTRY: usize = 32;

/// The table of leases of a store.
pub(super) struct Inflight {
    store: PathBuf,
    /// `None` once the store is closed: whoever held a job has given it back by then.
    file: Mutex<Option<File>>,
}

impl Inflight {
    /// Open the file, or make an empty one.
    pub(super) fn open(store: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(store.join("inflight"))
            .map_err(|error| refused(store, "its table of leases cannot be opened", &error))?;
        Ok(Self { store: store.to_owned(), file: Mutex::new(Some(file)) })
    }

    /// Let the file go; what is written from here on is for nobody.
    pub(super) fn close(&self) {
        if let Ok(mut file) = self.file.lock() {
            *file = None;
        }
    }

    fn with_file(&self, what: &str, act: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Error> {
        let file = self.file.lock().map_err(|_| Error::Internal)?;
        let done = file.as_ref().map_or(Ok(()), act);
        done.map_err(|error| refused(&self.store, &format!("its table of leases cannot be {what}"), &error))
    }
}

fn encode(lease: Option<KeptLease>) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    let Some(KeptLease { id, token, stamp }) = lease else { return bytes };
    for (place, number) in bytes.chunks_exact_mut(8).zip([id.0, token.0, stamp]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let sum = crc32fast::hash(bytes.first_chunk::<24>().unwrap_or(&[0; 24]));
    if let Some(place) = bytes.get_mut(24..28) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

fn decode(bytes: [u8; ENTRY]) -> Option<KeptLease> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let lease = KeptLease { id: JobId(number(0)?), token: Token(number(8)?), stamp: number(16)? };
    (encode(Some(lease)) == bytes).then_some(lease)
}

impl LeaseTable for Inflight {
    fn load(&self) -> Result<Vec<KeptLease>, Error> {
        let bytes = std::fs::read(self.store.join("inflight"))
            .map_err(|error| refused(&self.store, "its table of leases cannot be read", &error))?;
        Ok(bytes.as_chunks::<ENTRY>().0.iter().filter_map(|entry| decode(*entry)).collect())
    }

    fn write(&self, entries: &[Held]) -> Result<(), Error> {
        let last: BTreeMap<u32, Option<KeptLease>> = entries.iter().map(|entry| (entry.place, entry.lease)).collect();
        let mut run: (u32, Vec<u8>) = (0, Vec::new());
        let mut next = None;
        for (place, lease) in last {
            if next != Some(place) {
                self.put(&run)?;
                run = (place, Vec::new());
            }
            run.1.extend_from_slice(&encode(lease));
            next = place.checked_add(1);
        }
        self.put(&run)
    }

    fn clear(&self) -> Result<(), Error> {
        self.with_file("cleared", |file| file.set_len(0))
    }
}

impl Inflight {
    /// Write neighbours at once.
    fn put(&self, (place, bytes): &(u32, Vec<u8>)) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let at = u64::from(*place) * ENTRY as u64;
        self.with_file("written", |file| file.write_all_at(bytes, at))
    }
}
