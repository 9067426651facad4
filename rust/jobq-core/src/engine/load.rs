//! Reading what the repositories hold: jobs with where they stand, topics with their counts. It judges damage and
//! places nothing.

use hashbrown::HashMap;

use super::open::Recovery;
use crate::error::Error;
use crate::job::{JobId, LogEntry, Status, Token};
use crate::repository::codec::{
    BODY, Body, FORMAT, LINE, META, OVERLAY, Overlay, PIECE, TOPIC, TopicRecord, decode_line, decode_number, id_of,
    job_key, line_key, meta_key, number_of,
};
use crate::repository::{KeptLease, Repository, Visit};

/// Told of each (key, value) that is read, before it is taken; its error ends the reading.
pub(super) type Told<'a> = dyn Fn(&[u8], &[u8]) -> Result<(), Error> + 'a;

/// A repository that is read from its beginning to its end.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) store: &'a dyn Repository,
    pub(super) told: &'a Told<'a>,
}

impl Source<'_> {
    pub(super) fn load(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.store.load(prefix, &mut |key, value| {
            (self.told)(key, value)?;
            visit(key, value)
        })
    }
}

/// Records after which whoever reads may look up: let others have their turn, hear a signal, say how far it is.
pub(super) const STEP: u64 = 1_000;

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
pub(super) fn load_numbers(source: Source<'_>) -> Result<ServiceNumbers, Error> {
    let mut numbers = ServiceNumbers::default();
    source.load(META, &mut |key, value| {
        match decode_number(key, value) {
            Some(number) => drop(numbers.found.insert(key.to_vec(), number)),
            None => numbers.damaged.push(key.to_vec()),
        }
        Ok(())
    })?;
    match numbers.get("format").filter(|&format| format != FORMAT) {
        None => Ok(numbers),
        Some(format) => Err(Error::corrupt(
            source.store.place(),
            format!(
                "the store has format {format}; this jobq reads format {FORMAT}: open it with the jobq that wrote it"
            ),
        )),
    }
}

/// A job as its repository has it.
pub(super) struct Found<'a> {
    pub(super) id: JobId,
    pub(super) body: Body,
    /// Where it is kept in the body.
    pub(super) payload: Option<&'a [u8]>,
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
    Read(Overlay),
}

/// What stands beside the bodies, read before them and taken by each: what is left has none. Few jobs have any of it,
/// but for the overlay, which those have that are kept when they are finished.
#[derive(Default)]
struct Beside {
    /// By ascending id; [`Kind::None`] is one that was taken.
    overlays: Vec<(JobId, Kind)>,
    lines: HashMap<JobId, Lines>,
    /// The stamps of leases.
    leases: HashMap<JobId, u64>,
    /// Keys that are none of ours.
    strays: Vec<Vec<u8>>,
}

/// What there is of a job's log.
#[derive(Default)]
struct Lines {
    read: Vec<(u32, LogEntry)>,
    /// Keys. A damaged line is no damage to the job.
    damaged: Vec<Vec<u8>>,
}

/// Visit every job of a store, by ascending id as the repository gives them; all but the payloads that are kept apart
/// is with it. A body that cannot be read is set aside. Returned are the keys of what has no body: what a crash left
/// of an enqueue or a purge.
///
/// A job was held if it has a lease that no recovery before this one has counted: one of `recovered` or later.
pub(super) fn load_jobs(
    source: Source<'_>,
    recovered: Token,
    recovery: &mut Recovery,
    visit: &mut dyn FnMut(Found<'_>),
) -> Result<Vec<Vec<u8>>, Error> {
    let mut beside = Beside::default();
    if let Some(table) = source.store.leases() {
        beside.add_leases(&table.load()?, recovered);
    }
    source.load(LINE, &mut |key, value| {
        beside.add_line(key, value);
        Ok(())
    })?;
    source.load(OVERLAY, &mut |key, value| {
        beside.add_overlay(key, value);
        Ok(())
    })?;
    source.load(BODY, &mut |key, value| {
        match (id_of(key), Body::decode(key, value)) {
            (Some(id), Some((body, payload))) => {
                let (overlay, log, leased) = beside.take(id);
                visit(Found { id, body, payload, overlay, log, leased });
            }
            (Some(id), None) => recovery.quarantined.push(id),
            (None, _) => recovery.quarantined.push(JobId(0)),
        }
        Ok(())
    })?;
    let mut orphans = beside.into_keys();
    orphans.retain(|key| is_orphan(key, recovery));
    Ok(orphans)
}

/// What belongs to a body that was set aside stays beside it.
fn is_orphan(key: &[u8], recovery: &Recovery) -> bool {
    id_of(key).is_none_or(|id| !recovery.quarantined.contains(&id))
}

/// Look through the payloads that are kept apart, for those without a body; their keys.
pub(super) fn load_pieces(
    source: Source<'_>,
    recovery: &Recovery,
    has_body: impl Fn(JobId) -> bool,
) -> Result<Vec<Vec<u8>>, Error> {
    let mut orphans = Vec::new();
    source.load(PIECE, &mut |key, _| {
        if !id_of(key).is_some_and(&has_body) && is_orphan(key, recovery) {
            orphans.push(key.to_vec());
        }
        Ok(())
    })?;
    Ok(orphans)
}

impl Beside {
    /// Of two leases of a job the later has the higher stamp.
    fn add_leases(&mut self, leases: &[KeptLease], recovered: Token) {
        for lease in leases.iter().filter(|lease| lease.token >= recovered) {
            let stamp = self.leases.entry(lease.id).or_default();
            *stamp = lease.stamp.max(*stamp);
        }
    }

    fn add_line(&mut self, key: &[u8], value: &[u8]) {
        let Some(id) = id_of(key) else { return self.strays.push(key.to_vec()) };
        let lines = self.lines.entry(id).or_default();
        match number_of(key).zip(decode_line(key, value)) {
            Some(line) => lines.read.push(line),
            None => lines.damaged.push(key.to_vec()),
        }
    }

    fn add_overlay(&mut self, key: &[u8], value: &[u8]) {
        match id_of(key).filter(|&id| key == job_key(OVERLAY, id)) {
            Some(id) => self.overlays.push((id, Overlay::decode(key, value).map_or(Kind::Damaged, Kind::Read))),
            None => self.strays.push(key.to_vec()),
        }
    }

    /// What a job has.
    fn take(&mut self, id: JobId) -> (Kind, Vec<(u32, LogEntry)>, Option<u64>) {
        let at = self.overlays.binary_search_by_key(&id, |(id, _)| *id).ok();
        let overlay = at.and_then(|at| self.overlays.get_mut(at));
        (
            overlay.map_or(Kind::None, |(_, kind)| std::mem::replace(kind, Kind::None)),
            self.lines.remove(&id).map_or_else(Vec::new, |lines| lines.read),
            self.leases.remove(&id),
        )
    }

    /// The keys of what was not taken. A lease without a job is forgotten with the table.
    fn into_keys(self) -> Vec<Vec<u8>> {
        let overlays = self.overlays.iter().filter(|(_, kind)| !matches!(kind, Kind::None));
        let lines = self.lines.into_iter().flat_map(|(id, lines)| {
            let read = lines.read.into_iter().map(move |(number, _)| line_key(id, number));
            read.chain(lines.damaged)
        });
        overlays.map(|(id, _)| job_key(OVERLAY, *id)).chain(lines).chain(self.strays).collect()
    }
}

/// Every topic of a store, by its key.
pub(super) fn load_topics(source: Source<'_>) -> Result<HashMap<Vec<u8>, TopicRecord>, Error> {
    let mut records = HashMap::new();
    source.load(TOPIC, &mut |key, value| {
        // A topic's record only counts; a damaged one is left out and corrected from the jobs.
        if let Some(record) = TopicRecord::decode(key, value) {
            records.insert(key.to_vec(), record);
        }
        Ok(())
    })?;
    Ok(records)
}
