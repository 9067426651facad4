//! Who has which job: a file of 16 bytes a lease, id and token, written without a sync. It survives the death of the
//! process; after a power cut it may be old.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::fault::refused;
use crate::error::Error;
use crate::job::{JobId, Token};
use crate::repository::{Held, LeaseTable};

const ENTRY: usize = 16;

/// The table of leases of a store.
pub(super) struct Inflight {
    store: PathBuf,
    file: File,
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
        Ok(Self { store: store.to_owned(), file })
    }
}

fn encode(entry: Option<(JobId, Token)>) -> [u8; ENTRY] {
    let (id, token) = entry.map_or((0, 0), |(id, token)| (id.0, token.0));
    (u128::from(token) << 64 | u128::from(id)).to_le_bytes()
}

fn decode(bytes: [u8; ENTRY]) -> Option<(JobId, Token)> {
    let both = u128::from_le_bytes(bytes);
    let id = u64::try_from(both & u128::from(u64::MAX)).ok()?;
    let token = u64::try_from(both >> 64).ok()?;
    (id > 0 && token > 0).then_some((JobId(id), Token(token)))
}

impl LeaseTable for Inflight {
    fn load(&self) -> Result<Vec<(JobId, Token)>, Error> {
        let bytes = std::fs::read(self.store.join("inflight"))
            .map_err(|error| refused(&self.store, "its table of leases cannot be read", &error))?;
        Ok(bytes.as_chunks::<ENTRY>().0.iter().filter_map(|entry| decode(*entry)).collect())
    }

    fn write(&self, entries: &[Held]) -> Result<(), Error> {
        let last: BTreeMap<u32, Option<(JobId, Token)>> =
            entries.iter().map(|entry| (entry.place, entry.lease)).collect();
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
        self.file.set_len(0).map_err(|error| refused(&self.store, "its table of leases cannot be cleared", &error))
    }
}

impl Inflight {
    /// Write neighbours at once.
    fn put(&self, (place, bytes): &(u32, Vec<u8>)) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        let at = u64::from(*place) * 16;
        self.file
            .write_all_at(bytes, at)
            .map_err(|error| refused(&self.store, "its table of leases cannot be written", &error))
    }
}
