//! What a user may choose: how a job is leased and retried, how long it is kept, what is refused.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::error::Error;

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

/// How a job is leased and retried, every field known.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// A label for people and for dispatch.
    pub name: Arc<str>,
    /// Milliseconds a reservation holds.
    pub lease: u64,
    /// Retries and expiries before the job is dead.
    pub max_retries: u32,
    /// Milliseconds before the first retry; each further one waits twice as long.
    pub min_backoff: u64,
    /// Milliseconds that no retry delay exceeds.
    pub max_backoff: u64,
    /// A delay d is drawn from [(1 - jitter) d, d]; 0 to 1.
    pub jitter: f64,
    /// Whether each change of status is written into the job's log.
    pub log_status_change: LogStatusChange,
}

/// Whether a job's log tells its changes of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogStatusChange {
    /// It does not.
    Off,
    /// It does.
    On,
}

impl Default for JobOptions {
    /// The Go library's defaults: lease 2 h, 50 retries, backoff from 30 s to 60 min; jitter 0.1.
    fn default() -> Self {
        Self {
            name: Arc::from(""),
            lease: 2 * 3_600 * SECOND,
            max_retries: 50,
            min_backoff: 30 * SECOND,
            max_backoff: 3_600 * SECOND,
            jitter: 0.1,
            log_status_change: LogStatusChange::Off,
        }
    }
}

impl PartialEq for JobOptions {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for JobOptions {}

impl Hash for JobOptions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl JobOptions {
    fn key(&self) -> (&str, u64, u32, u64, u64, u64, LogStatusChange) {
        (
            &self.name,
            self.lease,
            self.max_retries,
            self.min_backoff,
            self.max_backoff,
            self.jitter.to_bits(),
            self.log_status_change,
        )
    }
}

/// Some fields of [`JobOptions`]; the others are taken from a base.
#[derive(Clone, Debug, Default)]
pub struct OptionChanges {
    /// As [`JobOptions::name`].
    pub name: Option<Arc<str>>,
    /// As [`JobOptions::lease`].
    pub lease: Option<u64>,
    /// As [`JobOptions::max_retries`].
    pub max_retries: Option<u32>,
    /// As [`JobOptions::min_backoff`].
    pub min_backoff: Option<u64>,
    /// As [`JobOptions::max_backoff`].
    pub max_backoff: Option<u64>,
    /// As [`JobOptions::jitter`].
    pub jitter: Option<f64>,
    /// As [`JobOptions::log_status_change`].
    pub log_status_change: Option<LogStatusChange>,
}

impl OptionChanges {
    /// The base with these changes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when, with the base's fields, the shortest backoff exceeds the longest.
    pub fn over(&self, base: &JobOptions) -> Result<JobOptions, Error> {
        let options = JobOptions {
            name: self.name.clone().unwrap_or_else(|| Arc::clone(&base.name)),
            lease: self.lease.unwrap_or(base.lease),
            max_retries: self.max_retries.unwrap_or(base.max_retries),
            min_backoff: self.min_backoff.unwrap_or(base.min_backoff),
            max_backoff: self.max_backoff.unwrap_or(base.max_backoff),
            jitter: self.jitter.unwrap_or(base.jitter),
            log_status_change: self.log_status_change.unwrap_or(base.log_status_change),
        };
        if options.min_backoff > options.max_backoff {
            return Err(Error::Invalid(format!(
                "min_backoff must not exceed max_backoff, with the defaults filled in: {} s > {} s",
                seconds(options.min_backoff),
                seconds(options.max_backoff)
            )));
        }
        Ok(options)
    }
}

/// Milliseconds as seconds, for texts.
#[must_use]
pub fn seconds(milliseconds: u64) -> String {
    let (whole, rest) = (milliseconds / 1_000, milliseconds % 1_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:03}").trim_end_matches('0').to_owned()
}

/// How long finished jobs of one kind stay: while all three hold. `None` sets no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds since the job finished.
    pub age: Option<u64>,
    /// Jobs, over all topics.
    pub count: Option<u64>,
    /// Bytes of their payloads, over all topics.
    pub size: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Some(DAY), count: Some(100_000), size: Some(64 << 20) }
    }
}

impl Retention {
    /// The default for dead letters: 30 days, any number.
    pub const DEAD: Self = Self { age: Some(30 * DAY), count: None, size: None };
}

/// What the service refuses. `None` sets no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one payload.
    pub max_payload: u32,
    /// Bytes of UTF-8 in a topic's name, at most 255.
    pub max_topic_name: usize,
    /// Ready, delayed and reserved jobs together.
    pub max_jobs: Option<u64>,
    /// Topics known at once.
    pub max_topics: Option<u64>,
    /// Log entries kept per job.
    pub max_log: usize,
    /// Milliseconds after which a topic that is not in use is forgotten.
    pub topic_idle: Option<u64>,
}

impl Limits {
    /// The size of a payload that is let in.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is too large; `name` is what it is called.
    pub fn check_payload(&self, name: &str, length: usize) -> Result<u32, Error> {
        let limit = self.max_payload;
        u32::try_from(length).ok().filter(|&size| size <= limit).ok_or_else(|| {
            Error::Invalid(format!(
                "{name} must be at most {limit} bytes (Limits.max_payload), not {length}: keep what is large \
                 elsewhere and queue its name"
            ))
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload: 16 << 20,
            max_topic_name: 255,
            max_jobs: None,
            max_topics: None,
            max_log: 100,
            topic_idle: Some(DAY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_fill_in_field_by_field_and_refuse_a_backoff_that_shrinks() {
        let base = JobOptions::default();
        let changes = OptionChanges { lease: Some(5), ..OptionChanges::default() };
        assert_eq!(changes.over(&base).unwrap(), JobOptions { lease: 5, ..base.clone() });
        let bad = OptionChanges { min_backoff: Some(3_600_001), ..OptionChanges::default() };
        let text = bad.over(&base).unwrap_err().to_string();
        assert!(text.contains("3600.001 s > 3600 s"), "{text}");
    }

    #[test]
    fn seconds_read_without_trailing_zeros() {
        assert_eq!([seconds(0), seconds(60_000), seconds(3_200), seconds(1)].join(" "), "0 60 3.2 0.001");
    }
}
