//! The repositories of the two roles together: what both want, and how a batch for both is written.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Ack, Change, LeaseTable, Pace, Repository};
use crate::error::Error;

/// The repositories of the two roles, those that remember.
#[derive(Clone)]
pub struct Stores {
    /// What a job is.
    pub jobs: Option<Arc<dyn Repository>>,
    /// What a topic is.
    pub topics: Option<Arc<dyn Repository>>,
}

impl Stores {
    /// Whether one object serves both roles, so that one batch carries both.
    #[must_use]
    pub fn are_one(&self) -> bool {
        match (&self.jobs, &self.topics) {
            (Some(jobs), Some(topics)) => Arc::ptr_eq(jobs, topics),
            _ => false,
        }
    }

    /// Each repository once.
    pub fn each(&self) -> impl Iterator<Item = &Arc<dyn Repository>> {
        let topics = self.topics.as_ref().filter(|_| !self.are_one());
        self.jobs.iter().chain(topics)
    }

    /// The pace of both together: the caller's where one of them wants that, else that of the stricter one.
    #[must_use]
    pub fn pace(&self) -> Pace {
        let mut pace = None;
        for store in self.each() {
            pace = Some(match (pace, store.pace()) {
                (_, Pace::Caller) | (Some(Pace::Caller), _) => Pace::Caller,
                (None, pace) => pace,
                (Some(Pace::Thread { ack: a, interval: x }), Pace::Thread { ack: b, interval: y }) => {
                    Pace::Thread { ack: stricter(a, b), interval: x.min(y) }
                }
            });
        }
        pace.unwrap_or(Pace::Caller)
    }

    /// Whether one of them is better called by a thread that holds nothing up.
    #[must_use]
    pub fn are_slow(&self) -> bool {
        self.each().any(|store| store.pace() != Pace::Caller)
    }

    /// Where the leases are kept, if not among the keys.
    #[must_use]
    pub fn lease_table(&self) -> Option<&dyn LeaseTable> {
        self.jobs.as_ref().and_then(|store| store.leases())
    }

    /// Write a group: in one batch where one object serves both roles, else jobs first.
    ///
    /// # Errors
    /// The repository's.
    pub fn write(&self, group: Batch, durability: Durability) -> Result<(), Error> {
        let Batch { mut jobs, topics } = group;
        if self.are_one() {
            jobs.extend(topics);
            return write(self.jobs.as_ref(), jobs, durability);
        }
        write(self.jobs.as_ref(), jobs, durability)?;
        write(self.topics.as_ref(), topics, durability)
    }

    /// Have all that was written survive the death of the machine.
    ///
    /// # Errors
    /// The repository's.
    pub fn sync(&self) -> Result<(), Error> {
        self.each().try_for_each(|store| store.sync())
    }
}

fn stricter(a: Ack, b: Ack) -> Ack {
    match (a, b) {
        (Ack::Synced, _) | (_, Ack::Synced) => Ack::Synced,
        (Ack::Written, _) | (_, Ack::Written) => Ack::Written,
        (Ack::Queued, Ack::Queued) => Ack::Queued,
    }
}

/// Whether a group must survive the death of the machine when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It must.
    Synced,
    /// That of the process is enough.
    Written,
}

fn write(store: Option<&Arc<dyn Repository>>, changes: Vec<Change>, durability: Durability) -> Result<(), Error> {
    let Some(store) = store else { return Ok(()) };
    if !changes.is_empty() {
        store.commit(&last_of_each(changes))?;
    }
    if durability == Durability::Synced { store.sync() } else { Ok(()) }
}

/// Only the last change of each key, in the order of these.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let mut last: HashMap<&[u8], usize> = HashMap::with_capacity(changes.len());
    for (at, change) in changes.iter().enumerate() {
        last.insert(change.key(), at);
    }
    let mut kept: Vec<usize> = last.into_values().collect();
    if kept.len() == changes.len() {
        return changes;
    }
    kept.sort_unstable();
    let mut kept = kept.into_iter().peekable();
    let numbered = changes.into_iter().enumerate();
    numbered.filter(|(at, _)| kept.next_if_eq(at).is_some()).map(|(_, change)| change).collect()
}

/// The changes of a group.
#[derive(Debug, Default)]
pub struct Batch {
    /// Of the job role.
    pub jobs: Vec<Change>,
    /// Of the topic role.
    pub topics: Vec<Change>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8, value: u8) -> Change {
        Change::Put(vec![key], vec![value])
    }

    fn delete(key: u8) -> Change {
        Change::Delete(vec![key])
    }

    #[test]
    fn of_each_key_the_last_change_stays_in_its_place() {
        let changes = vec![put(1, 1), put(2, 1), delete(1), put(3, 1), put(2, 2), put(4, 1), put(1, 3), delete(4)];
        assert_eq!(last_of_each(changes), [put(3, 1), put(2, 2), put(1, 3), delete(4)]);
        let alone = vec![put(2, 1), delete(1), put(3, 1)];
        assert_eq!(last_of_each(alone.clone()), alone);
        assert_eq!(last_of_each(vec![]), []);
    }
}
