//! The words of a job: its id, its lease's token, where it stands and why.

use std::fmt;
use std::sync::Arc;

/// A job's number: from 1, strictly increasing, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one lease of one job; strictly increasing over all jobs, so it fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a job stands. The numbers are what records hold; they are the Go library's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Status {
    /// Where an enqueue starts; no job rests here.
    Created = 0,
    /// Waiting for a worker.
    Ready = 1,
    /// Waiting for its due date.
    Delayed = -1,
    /// Held by a worker under a lease.
    Reserved = 2,
    /// Finished.
    Done = 3,
    /// Given up; a [`Reason`] says why.
    Canceled = -2,
}

impl Status {
    /// Every status, in the order of its life.
    pub const ALL: [Self; 6] = [Self::Created, Self::Ready, Self::Delayed, Self::Reserved, Self::Done, Self::Canceled];

    /// The number a record holds.
    #[must_use]
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// The status of a record's number; `None` for a number that is no status.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// A small number for tables, below 8.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        (self as i8 + 2).cast_unsigned() as usize & 7
    }

    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Reserved => "reserved",
            Self::Done => "done",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a job is canceled. All but `Requested` are dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// By id.
    Requested = 1,
    /// By its holder.
    Rejected = 2,
    /// More retries than `max_retries`.
    Exhausted = 3,
    /// Reserved at more crashes than `max_crashes`.
    Poison = 4,
    /// Its record or payload cannot be read.
    Damaged = 5,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Requested, Self::Rejected, Self::Exhausted, Self::Poison, Self::Damaged];

    /// The number a record holds.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason of a record's number; `None` for 0 and for a number that is no reason.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Whether a job canceled for this reason is a dead letter.
    #[must_use]
    pub const fn is_dead(self) -> bool {
        !matches!(self, Self::Requested)
    }
}

/// When an enqueued job may first be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At once.
    Now,
    /// So many milliseconds from now; 0 means now.
    After(u64),
    /// At this wall-clock millisecond; one that is past means now.
    At(u64),
}

/// One line of a job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Wall-clock milliseconds.
    pub at: u64,
    /// At most [`TEXT_CHARS`] characters.
    pub message: Box<str>,
}

/// How many characters of a log line or an error are kept.
pub const TEXT_CHARS: usize = 1_000;

/// The first [`TEXT_CHARS`] characters of a text.
#[must_use]
pub fn clip(text: &str) -> &str {
    text.char_indices().nth(TEXT_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

/// What is known of a job at one instant, without its payload. Dates are wall-clock milliseconds.
#[derive(Clone, Debug)]
pub struct JobInfo {
    /// The job.
    pub id: JobId,
    /// Its topic's name.
    pub topic: Arc<str>,
    /// The label its options gave it.
    pub name: Arc<str>,
    /// Lower is sooner.
    pub weight: i16,
    /// Where it stands.
    pub status: Status,
    /// Set when canceled.
    pub reason: Option<Reason>,
    /// The last error that its holder gave.
    pub error: Option<Box<str>>,
    /// Reservations made.
    pub attempts: u32,
    /// Retries and expiries charged since enqueue or reset.
    pub retries: u32,
    /// How many it may be charged.
    pub max_retries: u32,
    /// Resets.
    pub resets: u32,
    /// Crashes at which it was reserved, since enqueue or reset.
    pub crashes: u32,
    /// Milliseconds.
    pub lease: u64,
    /// Bytes.
    pub payload_size: u32,
    /// Enqueued.
    pub created_at: u64,
    /// Due; delayed only.
    pub due_at: Option<u64>,
    /// Became ready; ready only.
    pub ready_at: Option<u64>,
    /// Reserved; reserved only.
    pub reserved_at: Option<u64>,
    /// When the lease runs out, on the wall clock as it is now; reserved only.
    pub deadline: Option<u64>,
    /// Done and canceled only.
    pub finished_at: Option<u64>,
    /// Its log, oldest first.
    pub log: Vec<LogEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_go_librarys() {
        let codes: Vec<i8> = Status::ALL.iter().map(|status| status.code()).collect();
        assert_eq!(codes, [0, 1, -1, 2, 3, -2]);
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(4), None);
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(Reason::from_code(0), None);
    }

    #[test]
    fn clip_counts_characters_not_bytes() {
        let long = "é".repeat(TEXT_CHARS + 5);
        assert_eq!(clip(&long).chars().count(), TEXT_CHARS);
        assert_eq!(clip("short"), "short");
    }
}
