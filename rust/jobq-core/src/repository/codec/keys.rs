//! The keys: a prefix for each kind of record, then what it is of. Ids are big-endian, so that the order of keys is the
//! order of ids.

use crate::job::JobId;

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
