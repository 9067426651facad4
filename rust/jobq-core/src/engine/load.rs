//! Reading what the repositories hold: jobs with where they stand, topics with their counts. It judges damage and
//! places nothing.

use hashbrown::HashMap;

use super::open::Recovery;
use crate::error::Error;
use crate::job::JobId;
use crate::repository::Repository;
use crate::repository::codec::{BODY, Body, OVERLAY, Overlay, TOPIC, TopicRecord, id_of};

/// A job as its repository has it.
pub(super) struct Found {
    pub(super) id: JobId,
    pub(super) body: Body,
    pub(super) overlay: Kind,
}

pub(super) enum Kind {
    None,
    Damaged,
    Read(Box<Overlay>),
}

/// Every job of a store, by ascending id; what cannot be read is set aside.
pub(super) fn load_jobs(store: &dyn Repository, recovery: &mut Recovery) -> Result<Vec<Found>, Error> {
    let mut found: Vec<Found> = Vec::new();
    store.load(BODY, &mut |key, value| {
        match (id_of(key), Body::decode(key, value)) {
            (Some(id), Some(body)) => found.push(Found { id, body, overlay: Kind::None }),
            (Some(id), None) => recovery.quarantined.push(id),
            (None, _) => recovery.quarantined.push(JobId(0)),
        }
        Ok(())
    })?;
    store.load(OVERLAY, &mut |key, value| {
        let Some(id) = id_of(key) else { return Ok(()) };
        if let Ok(at) = found.binary_search_by_key(&id, |job| job.id)
            && let Some(job) = found.get_mut(at)
        {
            job.overlay = match Overlay::decode(key, value) {
                Some(overlay) => Kind::Read(Box::new(overlay)),
                None => Kind::Damaged,
            };
        }
        Ok(())
    })?;
    Ok(found)
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
