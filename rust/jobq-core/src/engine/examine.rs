//! Looking at a store that no service has open: what lies in it, and what is wrong with it. Nothing is changed, nothing
//! recovered, and no clock moves a job: each stands where the disk says.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;

use super::load::{Found, Kind, STEP, Source, load_jobs, load_numbers, stamp_of_held};
use super::open::Recovery;
use crate::error::Error;
use crate::job::{JobId, JobInfo, Reason, Status, Token};
use crate::repository::Repository;
use crate::repository::codec::{PIECE, TOPIC, TopicRecord, chunk_key, chunks, id_of, name_of, unseal};
use crate::stats::{Counters, ServiceStats, TopicStats};

/// Told now and then how many records were read so far; its error ends the reading.
pub type Step<'a> = dyn Fn(u64) -> Result<(), Error> + Sync + 'a;

/// What lies in a store.
pub struct Examined {
    /// Every topic, by name.
    pub topics: Vec<TopicStats>,
    /// All topics together, forgotten ones included.
    pub stats: ServiceStats,
    /// One line each; none when the store is sound.
    pub faults: Vec<String>,
    /// Records read.
    pub records: u64,
    jobs: Vec<Stored>,
}

struct Stored {
    info: JobInfo,
    /// Where it is kept with the record.
    payload: Option<Vec<u8>>,
}

/// Read a whole store. `now` is the wall clock in milliseconds, which ages are counted from.
///
/// # Errors
/// [`Error::Corrupt`] for another format, the repository's own, or that of `step`.
pub fn examine(store: &dyn Repository, now: u64, step: &Step<'_>) -> Result<Examined, Error> {
    let reading = Reading { step, seen: RefCell::default() };
    let source = Source { store, told: &|key, value| reading.note(key, value) };
    let numbers = numbers_of(source)?;
    let pieces = load_pieces(source)?;
    let (mut jobs, mut broken) = (Vec::new(), Vec::new());
    load_jobs(source, numbers.recovered, &mut Recovery::default(), &mut |found| {
        broken.extend(fault_of(&found, &pieces));
        jobs.push(Stored::from(found));
    })?;
    let topics = load_topics(source)?;
    store.loaded()?;
    let Seen { records, mut faults } = reading.seen.into_inner();
    faults.extend(broken);
    let (topics, stats) = count(&jobs, topics, numbers.role, now);
    Ok(Examined { topics, stats, faults, records, jobs })
}

/// Takes a job of [`Examined::each`], with its payload where that can be read whole; its error ends the visit.
pub type VisitJob<'a> = dyn FnMut(&JobInfo, Option<&[u8]>) -> Result<(), Error> + 'a;

impl Examined {
    /// Visit every job by ascending id, with its payload; `None` where that cannot be read whole.
    ///
    /// # Errors
    /// The repository's own, or the visitor's.
    pub fn each(&self, store: &dyn Repository, visit: &mut VisitJob<'_>) -> Result<(), Error> {
        for job in &self.jobs {
            match &job.payload {
                Some(payload) => visit(&job.info, Some(payload))?,
                None => visit(&job.info, read_payload(store, &job.info)?.as_deref())?,
            }
        }
        Ok(())
    }
}

fn read_payload(store: &dyn Repository, job: &JobInfo) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = Vec::new();
    for chunk in 0..chunks(job.payload_size) {
        let key = chunk_key(job.id, chunk);
        let sealed = store.get(&key)?;
        let Some(piece) = sealed.as_deref().and_then(|sealed| unseal(&key, sealed)) else { return Ok(None) };
        bytes.extend_from_slice(piece);
    }
    Ok(Some(bytes).filter(|bytes| u32::try_from(bytes.len()) == Ok(job.payload_size)))
}

/// What is seen of every record on the way, and told.
struct Reading<'a> {
    step: &'a Step<'a>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    records: u64,
    faults: Vec<String>,
}

impl Reading<'_> {
    fn note(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let records = {
            let mut seen = self.seen.borrow_mut();
            seen.records += 1;
            if unseal(key, value).is_none() {
                seen.faults.push(format!("{} is damaged: it is not what was written", name_of(key)));
            }
            seen.records
        };
        if records.is_multiple_of(STEP) { (self.step)(records) } else { Ok(()) }
    }
}

/// Whether a service kept its jobs here, or its topics alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Jobs,
    TopicsAlone,
}

struct Numbers {
    recovered: Token,
    role: Role,
}

fn numbers_of(source: Source<'_>) -> Result<Numbers, Error> {
    let numbers = load_numbers(source)?;
    Ok(Numbers {
        recovered: Token(numbers.get("recovered").unwrap_or(0)),
        role: if numbers.is_empty() { Role::TopicsAlone } else { Role::Jobs },
    })
}

/// What lies of a job's payload beside its record.
#[derive(Default)]
struct Pieces {
    number: usize,
    bytes: u64,
}

fn load_pieces(source: Source<'_>) -> Result<HashMap<JobId, Pieces>, Error> {
    let mut found: HashMap<JobId, Pieces> = HashMap::new();
    source.load(PIECE, &mut |key, value| {
        if let (Some(id), Some(piece)) = (id_of(key), unseal(key, value)) {
            let pieces = found.entry(id).or_default();
            pieces.number += 1;
            pieces.bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    })?;
    Ok(found)
}

fn load_topics(source: Source<'_>) -> Result<HashMap<Arc<str>, TopicRecord>, Error> {
    let mut found = HashMap::new();
    source.load(TOPIC, &mut |key, value| {
        let name = key.get(TOPIC.len()..).map(String::from_utf8_lossy).unwrap_or_default();
        found.extend(TopicRecord::decode(key, value).map(|record| (Arc::from(name), record)));
        Ok(())
    })?;
    Ok(found)
}

/// A payload that is not whole; one of a job that was canceled for it is known.
fn fault_of(job: &Found<'_>, pieces: &HashMap<JobId, Pieces>) -> Option<String> {
    let wanted = chunks(job.body.size);
    let (number, bytes) = pieces.get(&job.id).map_or((0, 0), |pieces| (pieces.number, pieces.bytes));
    let is_known = matches!(&job.overlay, Kind::Read(overlay) if overlay.reason == Some(Reason::Damaged));
    let is_whole = number == wanted && (wanted == 0 || bytes == u64::from(job.body.size));
    (!is_known && !is_whole).then(|| {
        let (id, topic, size) = (job.id, job.body.topic.escape_debug(), job.body.size);
        format!("the payload of job {id} of '{topic}' is not whole: {bytes} of {size} bytes can be read")
    })
}

impl From<Found<'_>> for Stored {
    fn from(found: Found<'_>) -> Self {
        let Found { id, body, payload, overlay, log, leased } = found;
        let mut info = JobInfo {
            id,
            topic: body.topic,
            name: body.options.name,
            weight: body.weight,
            status: body.status,
            reason: None,
            error: None,
            attempts: 0,
            retries: 0,
            max_retries: body.options.max_retries,
            resets: 0,
            crashes: 0,
            lease: body.options.lease,
            payload_size: body.size,
            created_at: body.created,
            due_at: None,
            ready_at: None,
            reserved_at: None,
            deadline: None,
            finished_at: None,
            log: log.into_iter().map(|(_, line)| line).collect(),
        };
        let mut when = body.when;
        match overlay {
            Kind::None => {}
            // What the next open makes of it; when, nobody knows.
            Kind::Damaged => (info.status, info.reason) = (Status::Canceled, Some(Reason::Damaged)),
            Kind::Read(overlay) => {
                when = overlay.when;
                (info.status, info.reason, info.error) = (overlay.status, overlay.reason, overlay.error);
                (info.attempts, info.retries) = (overlay.attempts, overlay.retries);
                (info.resets, info.crashes) = (overlay.resets, overlay.crashes);
            }
        }
        if stamp_of_held(leased, info.status, when).is_some() {
            info.status = Status::Reserved;
            info.attempts = info.attempts.saturating_add(1);
        }
        match info.status {
            Status::Ready => info.ready_at = Some(when >> 20),
            Status::Delayed => info.due_at = Some(when),
            Status::Done => info.finished_at = Some(when),
            Status::Canceled if info.reason != Some(Reason::Damaged) => info.finished_at = Some(when),
            Status::Canceled | Status::Created | Status::Reserved => {}
        }
        Self { info, payload: payload.map(<[u8]>::to_vec) }
    }
}

/// Bring together the topics' counts and the jobs that are there, as open would.
fn count(
    jobs: &[Stored],
    mut records: HashMap<Arc<str>, TopicRecord>,
    role: Role,
    now: u64,
) -> (Vec<TopicStats>, ServiceStats) {
    let forgotten = records.remove("").map_or_else(Counters::default, |record| record.counters);
    let mut topics: HashMap<Arc<str>, TopicStats> = HashMap::new();
    let none = |topic: &Arc<str>| TopicStats {
        topic: Arc::clone(topic),
        paused: false,
        counters: Counters::default(),
        waiting: 0,
        oldest_ready_age: None,
    };
    for (topic, record) in &records {
        let stats = TopicStats { paused: record.paused, counters: record.counters, ..none(topic) };
        topics.insert(Arc::clone(topic), stats);
    }
    let mut next_due_at: Option<u64> = None;
    for Stored { info, .. } in jobs {
        let stats = topics.entry(Arc::clone(&info.topic)).or_insert_with(|| none(&info.topic));
        *stats.counters.gauge(info.status) += 1;
        stats.counters.dead += u64::from(info.reason.is_some_and(Reason::is_dead));
        stats.oldest_ready_age = stats.oldest_ready_age.max(info.ready_at.map(|since| now.saturating_sub(since)));
        next_due_at = next_due_at.into_iter().chain(info.due_at).min();
    }
    let mut topics: Vec<TopicStats> = topics.into_values().collect();
    topics.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
    let mut total = forgotten;
    for stats in &mut topics {
        let counters = &mut stats.counters;
        if role == Role::Jobs {
            let accounted = counters.accounted();
            counters.lost += counters.enqueued.saturating_sub(accounted);
            counters.enqueued = counters.enqueued.max(accounted);
        }
        total.absorb(counters);
        for status in Status::ALL {
            *total.gauge(status) += counters.now(status);
        }
        total.dead += counters.dead;
    }
    let stats = ServiceStats {
        counters: total,
        waiting: 0,
        oldest_ready_age: topics.iter().filter_map(|topic| topic.oldest_ready_age).max(),
        topics: u64::try_from(topics.len()).unwrap_or(u64::MAX),
        next_due_at,
    };
    (topics, stats)
}
