//! Who has a store: one service of one process. The lock file says who, a line each: pid, since when, the process's own
//! number (in another container the same pid may be another process), and [`STUCK`] where a call failed. It is empty
//! while nobody has it.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::fault::{fault, refused, unusable};
use crate::error::{Error, StoreFaultKind};
use crate::sync::Number;

/// The lock on a store, held until [`Lock::release`].
pub(super) struct Lock(File);

impl Lock {
    /// Take it, and say who has it.
    pub(super) fn take(store: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(store.join("lock"))
            .map_err(|error| unopened(store, &error))?;
        let lock = Self::of(store, file)?;
        lock.say(&format!("{}\n{}\n{}\n", std::process::id(), utc_now(), this_process()));
        Ok(lock)
    }

    fn say(&self, text: &str) {
        // A full disk keeps nobody out: the lock holds without the name of its owner.
        let _ = self.0.set_len(0).and_then(|()| self.0.write_all_at(text.as_bytes(), 0));
    }

    /// Never let it go while this process lives, because sled may still be at work in it.
    pub(super) fn keep_for_ever(self) {
        self.say(&format!("{}\n{}\n{}\n{STUCK}\n", std::process::id(), utc_now(), this_process()));
        std::mem::forget(self);
    }

    /// Take it without a trace, where nothing may be written too; `None` where nobody ever had it.
    pub(super) fn take_to_read(store: &Path) -> Result<Option<Self>, Error> {
        match File::open(store.join("lock")) {
            Ok(file) => Self::of(store, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unopened(store, &error)),
        }
    }

    fn of(store: &Path, mut file: File) -> Result<Self, Error> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(locked(store, &mut file)),
            Err(TryLockError::Error(error)) => Err(refused(store, "its lock file cannot be locked", &error)),
        }
    }

    /// Let others have the store. Done by hand: a forked child shares the lock, and may live on.
    pub(super) fn release(self) {
        let _ = self.0.set_len(0);
        // It cannot fail for a file that is locked; closing the file would do it too.
        let _ = self.0.unlock();
    }
}

/// The last line of the lock file of a store that failed and is still in use.
const STUCK: &str = "failed";

/// What tells this process from others of the same pid, which see each other's files but not each other.
fn this_process() -> u64 {
    static NUMBER: Number = Number::new(0);
    NUMBER.get_or_set(RandomState::new().hash_one(SystemTime::now()) | 1)
}

fn unopened(store: &Path, error: &io::Error) -> Error {
    refused(store, "its lock file cannot be opened", error)
}

fn locked(store: &Path, file: &mut File) -> Error {
    let mut text = String::new();
    // Whoever holds the lock may just be writing it.
    let _ = file.read_to_string(&mut text);
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.parse::<u32>().ok());
    let (since, process, state) = (lines.next(), lines.next(), lines.next());
    let is_here = pid == Some(std::process::id()) && process == Some(&this_process().to_string());
    let shown = store.display();
    let text = match (pid, since, state) {
        (_, _, Some(STUCK)) if is_here => format!(
            "'{shown}' failed in this process, where it may still be in use although its service was closed: restart \
             this process"
        ),
        _ if is_here => format!(
            "'{shown}' is open in this process already; a store serves one service: pass one object for both roles, \
             or close the other service first"
        ),
        (Some(pid), Some(since), Some(STUCK)) => {
            format!("'{shown}' failed in process {pid} at {since}, where it may still be in use: end that process.")
        }
        (Some(pid), Some(since), _) => format!(
            "'{shown}' is open in process {pid} since {since}; a store has one owner. Stop that process, or do the \
             work in it."
        ),
        _ => format!("'{shown}' is open in another process; a store has one owner. Stop that process."),
    };
    fault(StoreFaultKind::Locked { pid }, store, text)
}

/// How long one waits for the lock that sled leaves behind when it is closed.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

/// Wait until nobody has sled's own lock on its file: it outlives the store by some milliseconds.
pub(super) fn await_release(folder: &Path) -> Result<(), Error> {
    let path: PathBuf = folder.join("db");
    let end = Instant::now() + LEFT_BEHIND;
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => return Err(refused(folder, "its file cannot be opened", &error)),
    };
    loop {
        if file.try_lock().is_ok() {
            let _ = file.unlock();
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(unusable(
                folder,
                "is still in use by this process although it was closed: restart the process before it is opened again",
            ));
        }
        crate::sync::pause(Duration::from_millis(1));
    }
}

/// The date and time of day, as people read it.
fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    utc(seconds)
}

fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days from a year that begins in March, so that the leap day is its last: the civil calendar in integers.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_511_642), "2026-11-24 09:14:02 UTC");
    }
}
