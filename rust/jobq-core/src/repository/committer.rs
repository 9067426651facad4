//! The queue of changes on their way to the repositories: filled in the order of the state, written by one at a time.

use std::sync::Arc;
use std::thread::ThreadId;

use hashbrown::HashMap;

use super::{Change, Repository};
use crate::error::{Error, Foreign};
use crate::sync::Parker;

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

    /// Write a group: in one batch where one object serves both roles, else jobs first.
    ///
    /// # Errors
    /// The repository's.
    pub fn write(&self, group: Group) -> Result<(), Error> {
        let Group { mut jobs, topics, .. } = group;
        if self.are_one() {
            jobs.extend(topics);
            return write(self.jobs.as_ref(), jobs);
        }
        write(self.jobs.as_ref(), jobs)?;
        write(self.topics.as_ref(), topics)
    }
}

fn write(store: Option<&Arc<dyn Repository>>, changes: Vec<Change>) -> Result<(), Error> {
    match store {
        Some(store) if !changes.is_empty() => store.commit(&last_of_each(changes)),
        _ => Ok(()),
    }
}

/// Only the last change of each key, in the order of these.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let mut last: HashMap<Vec<u8>, usize> = HashMap::with_capacity(changes.len());
    for (at, change) in changes.iter().enumerate() {
        last.insert(change.key().to_vec(), at);
    }
    if last.len() == changes.len() {
        return changes;
    }
    let numbered = changes.into_iter().enumerate();
    numbered.filter(|(at, change)| last.get(change.key()) == Some(at)).map(|(_, change)| change).collect()
}

/// Changes that are written together.
#[derive(Debug, Default)]
pub struct Group {
    /// Of the job role.
    pub jobs: Vec<Change>,
    /// Of the topic role.
    pub topics: Vec<Change>,
    /// The number of the last change in it.
    pub upto: u64,
}

/// Who may call the repositories now.
#[derive(Debug)]
pub enum Turn {
    /// The asking thread.
    Mine,
    /// Not yet: wait here for an event, looked at when it had this many.
    Wait(Arc<Parker>, u32),
}

/// Changes queued under the engine's lock, and whose turn it is to write them.
pub struct Journal {
    /// Where they go.
    pub stores: Stores,
    /// Queued and not taken yet.
    pub queue: Group,
    /// The number of the last change known to be kept.
    pub committed: u64,
    /// The number of the last change when the lock was taken: what comes after it is the call's own.
    pub entered: u64,
    /// What ended it: nothing is written any more.
    pub failed: Option<Foreign>,
    user: Option<ThreadId>,
    waiting: Vec<Arc<Parker>>,
}

impl Journal {
    /// An empty queue before these stores.
    #[must_use]
    pub fn new(stores: Stores) -> Self {
        let queue = Group::default();
        Self { stores, queue, committed: 0, entered: 0, failed: None, user: None, waiting: Vec::new() }
    }

    /// Queue a change of the job role, if that remembers.
    pub fn job(&mut self, change: Change) {
        if self.stores.jobs.is_some() {
            self.queue.jobs.push(change);
            self.queue.upto += 1;
        }
    }

    /// Queue a change of the topic role, if that remembers.
    pub fn topic(&mut self, change: Change) {
        if self.stores.topics.is_some() {
            self.queue.topics.push(change);
            self.queue.upto += 1;
        }
    }

    /// Whether something waits to be written and nobody is writing.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.queue.upto > self.committed && self.user.is_none()
    }

    /// Whether the call that holds the lock has queued something.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.queue.upto > self.entered
    }

    /// Take all that is queued.
    pub fn take(&mut self) -> Group {
        let upto = self.queue.upto;
        std::mem::replace(&mut self.queue, Group { upto, ..Group::default() })
    }

    /// Ask for the repositories; whoever is answered [`Turn::Mine`] must end with [`Journal::give_turn`].
    pub fn ask_turn(&mut self, thread: ThreadId) -> Turn {
        if self.user.is_none() {
            self.user = Some(thread);
            return Turn::Mine;
        }
        let parker = Parker::of_this_thread();
        let seen = parker.events();
        self.waiting.push(Arc::clone(&parker));
        Turn::Wait(parker, seen)
    }

    /// Let the next one have the repositories; returns whom to tell.
    pub fn give_turn(&mut self) -> Vec<Arc<Parker>> {
        self.user = None;
        std::mem::take(&mut self.waiting)
    }

    /// Whether this thread is inside a repository's method now.
    #[must_use]
    pub fn is_inside(&self, thread: ThreadId) -> bool {
        self.user == Some(thread)
    }

    /// Whether anybody is inside a repository's method now.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.user.is_some()
    }
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
