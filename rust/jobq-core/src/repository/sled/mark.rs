//! What is known to be on the disk, beside the store: a store that has less is damaged.
//!
//! Two slots, 4 KiB apart, written in turn, so that a write that is cut leaves the other:
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | the store's id |
//! | 8..16 | generation |
//! | 16..24 | sequence of the last batch that an fdatasync has returned for |
//! | 24..28 | crc32 of the above |

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::fault::{corrupt, refused};
use crate::error::Error;

const SLOT: u64 = 4_096;
const BYTES: usize = 28;

/// How old the mark on the disk may be.
const AGE: Duration = Duration::from_secs(1);

/// One reading of the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) store: u64,
    pub(super) generation: u64,
    pub(super) sequence: u64,
}

/// The file of the mark.
pub(super) struct Mark {
    file: File,
    turn: u64,
    synced: Instant,
}

impl Mark {
    /// Open it, and read it; a generation that has none is damaged.
    pub(super) fn open(store: &Path) -> Result<(Self, Reading), Error> {
        let (file, slot, reading) = last_of(store, OpenOptions::new().read(true).write(true))?;
        Ok((Self { file, turn: slot + 1, synced: Instant::now() }, reading))
    }

    /// Only read it.
    pub(super) fn look(store: &Path) -> Result<Reading, Error> {
        last_of(store, OpenOptions::new().read(true)).map(|(_, _, reading)| reading)
    }

    /// Make one, with both slots the same, and see it on the disk.
    pub(super) fn create(store: &Path, reading: Reading) -> Result<Self, Error> {
        let make = || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(store.join("mark"))?;
            for slot in 0..2 {
                file.write_all_at(&encode(reading), slot * SLOT)?;
            }
            file.sync_all()?;
            Ok(file)
        };
        let file = make().map_err(|error| refused(store, "its mark cannot be made", &error))?;
        Ok(Self { file, turn: 0, synced: Instant::now() })
    }

    /// Write what is on the disk by now; the mark itself is synced now and then, or at once when `forced`.
    pub(super) fn write(&mut self, reading: Reading, forced: bool) -> io::Result<()> {
        self.file.write_all_at(&encode(reading), self.turn % 2 * SLOT)?;
        self.turn += 1;
        if forced || self.synced.elapsed() >= AGE {
            self.file.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }
}

/// The file, and which of its slots has the last reading.
fn last_of(store: &Path, options: &OpenOptions) -> Result<(File, u64, Reading), Error> {
    let file = options.open(store.join("mark")).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => corrupt(store, "its mark is missing"),
        _ => refused(store, "its mark cannot be opened", &error),
    })?;
    let readings = (0..2).filter_map(|slot| read(&file, slot).map(|reading| (slot, reading)));
    let last = readings.max_by_key(|(_, reading)| (reading.sequence, reading.generation));
    match last {
        Some((slot, reading)) => Ok((file, slot, reading)),
        None => Err(corrupt(store, "its mark cannot be read")),
    }
}

fn encode(reading: Reading) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let numbers = [reading.store, reading.generation, reading.sequence];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let sum = crc32fast::hash(bytes.first_chunk::<24>().unwrap_or(&[0; 24]));
    if let Some(place) = bytes.last_chunk_mut::<4>() {
        *place = sum.to_le_bytes();
    }
    bytes
}

fn read(file: &File, slot: u64) -> Option<Reading> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, slot * SLOT).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let reading = Reading { store: number(0)?, generation: number(8)?, sequence: number(16)? };
    (encode(reading) == bytes).then_some(reading)
}
