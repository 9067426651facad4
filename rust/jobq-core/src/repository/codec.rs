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
//! Ids are big-endian, so that the order of keys is the order of ids. Values end in the crc32 of key and value, so
//! that a value under a wrong key is found out too.

use std::sync::Arc;

use crate::job::{JobId, LogEntry, Reason, Status};
use crate::options::{JobOptions, LogStatusChange};
use crate::stats::Counters;

/// The version of this format, kept under `m format`.
pub const FORMAT: u64 = 1;

/// Bytes of a payload kept under one key: far below what sled would put into a file of its own, and small enough that a
/// page of its, which holds up to 16, is small beside its cache.
pub const CHUNK: usize = 4 * 1024;

/// Bytes of the largest payload that is kept in the body, and in memory while the job waits.
pub const INLINE: u32 = 1_024;

/// The prefix of bodies.
pub const BODY: &[u8] = b"j";
/// The prefix of overlays.
pub const OVERLAY: &[u8] = b"s";
/// The prefix of the service's own numbers.
pub const META: &[u8] = b"m";
/// The prefix of the payloads' chunks.
pub const PIECE: &[u8] = b"p";
/// The prefix of the logs' lines.
pub const LINE: &[u8] = b"l";
/// The prefix of topics.
pub const TOPIC: &[u8] = b"t";

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

/// The key of a job's part: `j`, `s`.
#[must_use]
pub fn job_key(prefix: &[u8], id: JobId) -> Vec<u8> {
    [prefix, &id.0.to_be_bytes()].concat()
}

/// The key of a payload's n-th chunk.
#[must_use]
pub fn chunk_key(id: JobId, chunk: usize) -> Vec<u8> {
    let number = u32::try_from(chunk).unwrap_or(u32::MAX);
    [PIECE, &id.0.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// How many chunks a payload of so many bytes has: none when it is kept in the body.
#[must_use]
pub fn chunks(size: u32) -> usize {
    if size <= INLINE { 0 } else { usize::try_from(size).unwrap_or(usize::MAX).div_ceil(CHUNK) }
}

/// The key of a line of a job's log; lines are numbered from 0 for as long as the job lives.
#[must_use]
pub fn line_key(id: JobId, number: u32) -> Vec<u8> {
    [LINE, &id.0.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// The number at the end of a chunk's or a line's key.
#[must_use]
pub fn number_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(9..)?.try_into().ok()?))
}

/// What stands under a key, as people call it.
#[must_use]
pub fn name_of(key: &[u8]) -> String {
    let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).escape_debug().to_string();
    match key.split_at_checked(1) {
        Some((META, _)) => format!("the service's number '{name}'"),
        Some((TOPIC, b"")) => "the count of forgotten topics".to_owned(),
        Some((TOPIC, _)) => format!("the count of topic '{name}'"),
        Some((kind, _)) => match id_of(key) {
            Some(id) if kind == PIECE => format!("a piece of the payload of job {id}"),
            Some(id) if kind == LINE => format!("a line of the log of job {id}"),
            Some(id) if kind == OVERLAY => format!("the status of job {id}"),
            Some(id) => format!("the record of job {id}"),
            None => format!("the record '{}'", key.escape_ascii()),
        },
        None => "a record without a key".to_owned(),
    }
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

/// The id in a job's key.
#[must_use]
pub fn id_of(key: &[u8]) -> Option<JobId> {
    let id = key.get(1..9)?;
    Some(JobId(u64::from_be_bytes(id.try_into().ok()?)))
}

/// The key of one of the service's numbers.
#[must_use]
pub fn meta_key(name: &str) -> Vec<u8> {
    [META, name.as_bytes()].concat()
}

/// The key of a topic. The empty name, which no topic has, is where forgotten topics are summed up.
#[must_use]
pub fn topic_key(name: &str) -> Vec<u8> {
    [TOPIC, name.as_bytes()].concat()
}

/// A value with its checksum.
#[must_use]
pub fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &value);
    value.extend_from_slice(&sum.to_le_bytes());
    value
}

/// The value inside a sealed one; `None` when it is not what was written under this key.
#[must_use]
pub fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (value, sum) = sealed.split_last_chunk::<4>()?;
    (checksum(key, value) == u32::from_le_bytes(*sum)).then_some(value)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
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

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX)).bytes(text.as_bytes())
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn status(&mut self) -> Option<Status> {
        self.array().map(i8::from_le_bytes).and_then(Status::from_code)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
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
    use super::*;
    use proptest::prelude::*;

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
