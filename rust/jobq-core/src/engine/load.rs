//! Reading what the repositories hold: jobs with where they stand, topics with their counts. It judges damage and
//! places nothing.

use hashbrown::HashMap;

use super::open::Recovery;
use crate::error::Error;
use crate::job::{JobId, LogEntry, Status, Token};
use crate::repository::codec::{
    BODY, Body, FORMAT, LINE, META, OVERLAY, Overlay, PIECE, TOPIC, TopicRecord, decode_line, decode_number, id_of,
    meta_key, number_of,
};
use crate::repository::{KeptLease, Repository};

/// The service's own numbers, by name.
#[derive(Default)]
pub(super) struct ServiceNumbers {
    found: HashMap<Vec<u8>, u64>,
    /// Keys of those that cannot be read.
    pub(super) damaged: Vec<Vec<u8>>,
}

impl ServiceNumbers {
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        self.found.get(&meta_key(name)).copied()
    }

    /// Whether no service has kept jobs here yet.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// The service's own numbers.
///
/// # Errors
/// [`Error::Corrupt`] for a store of another format, or the repository's own error.
pub(super) fn load_numbers(store: &dyn Repository) -> Result<ServiceNumbers, Error> {
    let mut numbers = ServiceNumbers::default();
    store.load(META, &mut |key, value| {
        match decode_number(key, value) {
            Some(number) => drop(numbers.found.insert(key.to_vec(), number)),
            None => numbers.damaged.push(key.to_vec()),
        }
        Ok(())
    })?;
    match numbers.get("format").filter(|&format| format != FORMAT) {
        None => Ok(numbers),
        Some(format) => Err(Error::Corrupt(format!(
            "the store has format {format}; this jobq reads format {FORMAT}: open it with the jobq that wrote it"
        ))),
    }
}

/// A job as its repository has it.
pub(super) struct Found {
    pub(super) id: JobId,
    pub(super) body: Body,
    /// Where it is kept in the body.
    pub(super) payload: Option<Vec<u8>>,
    pub(super) overlay: Kind,
    /// Its lines with their numbers, ascending.
    pub(super) log: Vec<(u32, LogEntry)>,
    /// The stamp that it was reserved under, if the lease table says that it was.
    pub(super) leased: Option<u64>,
}

/// The stamp that a job goes back to which was reserved when the process died, if it was: by its record, and the stamp
/// that the lease table has.
///
/// After a kill the table is no older than the store: the job was reserved, and its record tells how it came to be
/// ready before. One that says Ready has its stamp. One that says Delayed was promoted, which is not written, and a
/// promotion gives a stamp that is not below the due date, wherever the clock stands now. A lower one is of a reset
/// before the due date that the kill undid: the job is delayed still.
///
/// After a power cut the table may be old. A lease that was over when the job was delayed has a lower stamp too, unless
/// the clock was set back in between.
pub(super) fn stamp_of_held(leased: Option<u64>, status: Status, when: u64) -> Option<u64> {
    let stamp = leased?;
    match status {
        Status::Ready => Some(when),
        // As `stamp >= when << 20`, for any due date.
        Status::Delayed => Some(stamp).filter(|stamp| stamp >> 20 >= when),
        Status::Created | Status::Reserved | Status::Done | Status::Canceled => None,
    }
}

pub(super) enum Kind {
    None,
    Damaged,
    Read(Box<Overlay>),
}

/// Every job of a store, by ascending id, and what of a job has no body: what a crash left of an enqueue or a purge.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) jobs: Vec<Found>,
    /// Keys.
    pub(super) orphans: Vec<Vec<u8>>,
}

/// Load all but the payloads that are kept apart; a body that cannot be read is set aside.
pub(super) fn load_jobs(store: &dyn Repository, recovery: &mut Recovery) -> Result<Loaded, Error> {
    let mut jobs: Vec<Found> = Vec::new();
    store.load(BODY, &mut |key, value| {
        match (id_of(key), Body::decode(key, value)) {
            (Some(id), Some((body, inline))) => {
                let payload = inline.map(<[u8]>::to_vec);
                jobs.push(Found { id, body, payload, overlay: Kind::None, log: Vec::new(), leased: None });
            }
            (Some(id), None) => recovery.quarantined.push(id),
            (None, _) => recovery.quarantined.push(JobId(0)),
        }
        Ok(())
    })?;
    let mut loaded = Loaded { jobs, orphans: Vec::new() };
    store.load(LINE, &mut |key, value| {
        match (loaded.job_of(key), number_of(key).zip(decode_line(key, value))) {
            (Some(job), Some(line)) => job.log.push(line),
            // A damaged line is no damage to the job.
            (Some(_), None) => {}
            (None, _) => loaded.note_orphan(key, recovery),
        }
        Ok(())
    })?;
    store.load(OVERLAY, &mut |key, value| {
        match (loaded.job_of(key), Overlay::decode(key, value)) {
            (Some(job), Some(overlay)) => job.overlay = Kind::Read(Box::new(overlay)),
            (Some(job), None) => job.overlay = Kind::Damaged,
            (None, _) => loaded.note_orphan(key, recovery),
        }
        Ok(())
    })?;
    Ok(loaded)
}

impl Loaded {
    fn job_of(&mut self, key: &[u8]) -> Option<&mut Found> {
        let id = id_of(key)?;
        let at = self.jobs.binary_search_by_key(&id, |job| job.id).ok()?;
        self.jobs.get_mut(at)
    }

    /// What belongs to a body that was set aside stays beside it.
    fn note_orphan(&mut self, key: &[u8], recovery: &Recovery) {
        if id_of(key).is_none_or(|id| !recovery.quarantined.contains(&id)) {
            self.orphans.push(key.to_vec());
        }
    }

    /// Look through the payloads that are kept apart, for those without a body.
    pub(super) fn load_pieces(&mut self, store: &dyn Repository, recovery: &Recovery) -> Result<(), Error> {
        store.load(PIECE, &mut |key, _| {
            if self.job_of(key).is_none() {
                self.note_orphan(key, recovery);
            }
            Ok(())
        })
    }

    /// Mark the jobs that somebody had, by a lease that no recovery before this one has counted. Of two leases of a job
    /// the later has the higher stamp.
    pub(super) fn mark_held(&mut self, leases: &[KeptLease], recovered: Token) {
        for lease in leases.iter().filter(|lease| lease.token >= recovered) {
            if let Ok(at) = self.jobs.binary_search_by_key(&lease.id, |job| job.id)
                && let Some(job) = self.jobs.get_mut(at)
            {
                job.leased = job.leased.max(Some(lease.stamp));
            }
        }
    }
}

/// Every topic of a store, by its key.
pub(super) fn load_topics(store: &dyn Repository) -> Result<HashMap<Vec<u8>, TopicRecord>, Error> {
    let mut records = HashMap::new();
    store.load(TOPIC, &mut |key, value| {
        // A topic's record only counts; a damaged one is left out and corrected from the jobs.
        if let Some(record) = TopicRecord::decode(key, value) {
            records.insert(key.to_vec(), record);
        }
        Ok(())
    })?;
    Ok(records)
}
