//! Room kept for opening a store on a full disk: sled writes when it opens.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const BYTES: usize = 8 * 1024 * 1024;
const PIECE: usize = 256 * 1024;

/// Have the room, if the disk gives it. Not having it is no error: it is for a day that may never come.
pub(super) fn keep(store: &Path) {
    let path = store.join("ballast");
    let is_whole = path.metadata().is_ok_and(|found| usize::try_from(found.len()) == Ok(BYTES));
    if !is_whole && fill(&path).is_err() {
        free(store);
    }
}

fn fill(path: &Path) -> std::io::Result<()> {
    // Written, not only asked for: an empty hole is no room.
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let zeros = vec![0; PIECE];
    for _ in 0..BYTES / PIECE {
        file.write_all(&zeros)?;
    }
    Ok(())
}

/// Give the room up; whether there was any.
pub(super) fn free(store: &Path) -> bool {
    std::fs::remove_file(store.join("ballast")).is_ok()
}
