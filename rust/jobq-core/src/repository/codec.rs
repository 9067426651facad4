//! The record format: keys, and values that carry their own checksum. Nothing else knows it.
//!
//! | key | value | written |
//! |---|---|---|
//! | `j` id | [`Body`]: what never changes, and the payload up to [`INLINE`] bytes | at enqueue |
//! | `l` id number | a line of the log | with the job's next change |
//! | `m` name | a number: `format`, `ids`, `tokens`, `recovered`, `clean` | blocks of numbers, open, close |
//! | `p` id chunk | a piece of a larger payload | at enqueue, before the body |
//! | `s` id | [`Overlay`]: where the job stands | when that changes |
//! | `t` topic | [`TopicRecord`]: pause, events, dates (topic role) | with each batch |
//!
//! `m recovered` is the first token after the last recovery: a lease with a lower one was counted as a crash already.
//!
//! Values end in the crc32 of key and value, so that a value under a wrong key is found out too.

mod bytes;
mod keys;

use std::sync::Arc;

use bytes::{Reader, Writer};
pub use bytes::{seal, unseal};
pub use keys::{
    BODY, CHUNK, INLINE, LINE, META, OVERLAY, PIECE, TOPIC, chunk_key, chunks, id_of, job_key, line_key, meta_key,
    name_of, number_of, topic_key,
};

use crate::job::{LogEntry, Reason, Status};
use crate::options::{JobOptions, LogStatusChange};
use crate::stats::Counters;

/// The version of this format, kept under `m format`.
pub const FORMAT: u64 = 1;

/// What never changes of a job, and where it entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its topic's name.
    pub topic: Arc<str>,
    /// Its weight.
    pub weight: i16,
    /// Wall-clock milliseconds.
    pub created: u64,
    /// Bytes of its payload.
    pub size: u32,
    /// Ready or delayed.
    pub status: Status,
    /// Its stamp, or its due date.
    pub when: u64,
    /// How it is leased and retried.
    pub options: JobOptions,
}

/// Where a job stands, once that is not what its body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Where it stands.
    pub status: Status,
    /// Why, when canceled.
    pub reason: Option<Reason>,
    /// Its stamp (ready, reserved), due date (delayed) or end date.
    pub when: u64,
    /// Reservations made.
    pub attempts: u32,
    /// Retries charged.
    pub retries: u32,
    /// Resets.
    pub resets: u32,
    /// Crashes.
    pub crashes: u32,
    /// The last error.
    pub error: Option<Box<str>>,
}

/// What the topic role keeps of a topic; the counts of jobs now are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    /// Whether it is paused.
    pub paused: bool,
    /// Its events and dates.
    pub counters: Counters,
}

/// A line of a log as a sealed value.
#[must_use]
pub fn encode_line(key: &[u8], entry: &LogEntry) -> Vec<u8> {
    let mut w = Writer::default();
    w.u64(entry.at).text(&entry.message);
    seal(key, w.0)
}

/// A line of a log from a sealed value; `None` when it is damaged.
#[must_use]
pub fn decode_line(key: &[u8], sealed: &[u8]) -> Option<LogEntry> {
    let mut r = Reader(unseal(key, sealed)?);
    let entry = LogEntry { at: r.u64()?, message: Box::from(r.text()?) };
    r.end()?;
    Some(entry)
}

/// A number of the service.
#[must_use]
pub fn encode_number(key: &[u8], number: u64) -> Vec<u8> {
    seal(key, number.to_le_bytes().to_vec())
}

/// A number of the service, if it is one.
#[must_use]
pub fn decode_number(key: &[u8], sealed: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(unseal(key, sealed)?.try_into().ok()?))
}

impl Body {
    /// As a sealed value, with the payload where that is kept in the body.
    #[must_use]
    pub fn encode(&self, key: &[u8], inline: &[u8]) -> Vec<u8> {
        let mut w = Writer(Vec::with_capacity(128 + self.topic.len() + inline.len()));
        w.text(&self.topic).bytes(&self.weight.to_le_bytes()).u64(self.created).u32(self.size);
        w.bytes(&self.status.code().to_le_bytes()).u64(self.when);
        let o = &self.options;
        w.text(&o.name).u64(o.lease).u32(o.max_retries).u64(o.min_backoff).u64(o.max_backoff);
        w.u64(o.jitter.to_bits()).u8(u8::from(o.log_status_change == LogStatusChange::On));
        w.bytes(inline);
        seal(key, w.0)
    }

    /// From a sealed value, with the payload where that is kept in the body; `None` when it is damaged.
    #[must_use]
    pub fn decode<'a>(key: &[u8], sealed: &'a [u8]) -> Option<(Self, Option<&'a [u8]>)> {
        let mut r = Reader(unseal(key, sealed)?);
        let body = Self {
            topic: Arc::from(r.text()?),
            weight: i16::from_le_bytes(r.array()?),
            created: r.u64()?,
            size: r.u32()?,
            status: r.status()?,
            when: r.u64()?,
            options: JobOptions {
                name: Arc::from(r.text()?),
                lease: r.u64()?,
                max_retries: r.u32()?,
                min_backoff: r.u64()?,
                max_backoff: r.u64()?,
                jitter: f64::from_bits(r.u64()?),
                log_status_change: if r.flag()? { LogStatusChange::On } else { LogStatusChange::Off },
            },
        };
        let inline = if body.size <= INLINE { Some(r.take(usize::try_from(body.size).ok()?)?) } else { None };
        r.end()?;
        Some((body, inline))
    }
}

impl Overlay {
    /// As a sealed value.
    #[must_use]
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut w = Writer::default();
        w.bytes(&self.status.code().to_le_bytes()).u8(self.reason.map_or(0, Reason::code)).u64(self.when);
        w.u32(self.attempts).u32(self.retries).u32(self.resets).u32(self.crashes);
        w.u8(u8::from(self.error.is_some())).text(self.error.as_deref().unwrap_or_default());
        seal(key, w.0)
    }

    /// From a sealed value; `None` when it is damaged.
    #[must_use]
    pub fn decode(key: &[u8], sealed: &[u8]) -> Option<Self> {
        let mut r = Reader(unseal(key, sealed)?);
        let status = r.status()?;
        let reason = match r.u8()? {
            0 => None,
            code => Some(Reason::from_code(code)?),
        };
        let (when, attempts, retries) = (r.u64()?, r.u32()?, r.u32()?);
        let (resets, crashes) = (r.u32()?, r.u32()?);
        let has_error = r.flag()?;
        let error = Some(Box::from(r.text()?)).filter(|_| has_error);
        r.end()?;
        Some(Self { status, reason, when, attempts, retries, resets, crashes, error })
    }
}

impl TopicRecord {
    /// As a sealed value.
    #[must_use]
    pub fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(u8::from(self.paused));
        for count in Self::kept(&mut self.counters.clone()) {
            w.u64(*count);
        }
        seal(key, w.0)
    }

    /// From a sealed value; `None` when it is damaged.
    #[must_use]
    pub fn decode(key: &[u8], sealed: &[u8]) -> Option<Self> {
        let mut r = Reader(unseal(key, sealed)?);
        let paused = r.flag()?;
        let mut counters = Counters::default();
        for count in Self::kept(&mut counters) {
            *count = r.u64()?;
        }
        r.end()?;
        Some(Self { paused, counters })
    }

    /// The counters that are kept, in the order of the format: events and dates, not the jobs now.
    fn kept(c: &mut Counters) -> [&mut u64; 18] {
        [
            &mut c.enqueued,
            &mut c.reservations,
            &mut c.completions,
            &mut c.retries,
            &mut c.expiries,
            &mut c.releases,
            &mut c.cancellations,
            &mut c.resets,
            &mut c.recoveries,
            &mut c.delays,
            &mut c.promotions,
            &mut c.deleted,
            &mut c.purged,
            &mut c.lost,
            &mut c.first_enqueued_at,
            &mut c.last_enqueued_at,
            &mut c.first_reserved_at,
            &mut c.last_reserved_at,
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::JobId;

    fn body() -> Body {
        Body {
            topic: Arc::from("mail"),
            weight: -7,
            created: 1,
            size: 3,
            status: Status::Delayed,
            when: 99,
            options: JobOptions::default(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let key = job_key(BODY, JobId(5));
        assert_eq!(Body::decode(&key, &body().encode(&key, b"abc")), Some((body(), Some(&b"abc"[..]))));
        let large = Body { size: INLINE + 1, ..body() };
        assert_eq!(Body::decode(&key, &large.encode(&key, b"")), Some((large, None)));
        assert_eq!(Body::decode(&key, &body().encode(&key, b"ab")), None, "a payload cut short");
        let line = LogEntry { at: 5, message: "é".into() };
        let key = line_key(JobId(5), 7);
        assert_eq!((id_of(&key), number_of(&key)), (Some(JobId(5)), Some(7)));
        assert_eq!(decode_line(&key, &encode_line(&key, &line)), Some(line));
        let overlay = Overlay {
            status: Status::Canceled,
            reason: Some(Reason::Exhausted),
            when: 7,
            attempts: 1,
            retries: 2,
            resets: 3,
            crashes: 4,
            error: Some("OSError: no".into()),
        };
        let key = job_key(OVERLAY, JobId(5));
        assert_eq!(Overlay::decode(&key, &overlay.encode(&key)), Some(overlay));
        let mut counters = Counters::default();
        (counters.enqueued, counters.purged, counters.last_reserved_at) = (3, 2, 9);
        let record = TopicRecord { paused: true, counters };
        let key = topic_key("mail");
        assert_eq!(TopicRecord::decode(&key, &record.encode(&key)), Some(record));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_noticed(bit in 0usize..8 * 100) {
            let key = job_key(BODY, JobId(5));
            let mut sealed = body().encode(&key, b"abc");
            let bit = bit % (8 * sealed.len());
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Body::decode(&key, &sealed), None);
        }

        #[test]
        fn nothing_that_is_read_panics(mut bytes: Vec<u8>) {
            let key = job_key(OVERLAY, JobId(1));
            bytes = seal(&key, bytes);
            let _ = (Overlay::decode(&key, &bytes), Body::decode(&key, &bytes), TopicRecord::decode(&key, &bytes));
        }
    }

    #[test]
    fn a_value_under_anothers_key_is_refused() {
        let sealed = body().encode(&job_key(BODY, JobId(5)), b"abc");
        assert_eq!(Body::decode(&job_key(BODY, JobId(6)), &sealed), None);
    }
}
