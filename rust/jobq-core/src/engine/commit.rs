//! What a change of the state writes, queued in the order of the state and cut into groups where the counts agree
//! with what is queued.

use std::time::Instant;

use super::record::Payload;
use super::state::State;
use crate::job::JobId;
use crate::repository::codec::{
    BODY, Body, CHUNK, INLINE, OVERLAY, Overlay, TopicRecord, chunk_key, chunks, encode_line, encode_number, job_key,
    line_key, meta_key, seal, topic_key,
};
use crate::repository::committer::{Group, LINGER};
use crate::repository::{Change, Pace};

/// How many ids or tokens are taken at a time: the block's end is kept before its first number is used.
pub(crate) const BLOCK: u64 = 4_096;

/// A strictly increasing sequence that is never reused, over restarts too where its blocks are kept.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// The next number.
    pub(crate) next: u64,
    /// Numbers below this may be used.
    pub(crate) end: u64,
    /// The end that was asked for; it becomes `end` once it is kept.
    pub(crate) asked: u64,
    /// Numbers below `end` that calls under way have for themselves.
    pub(crate) held: u64,
}

impl Numbers {
    /// A sequence that needs no blocks: it starts at 1 in each process.
    pub(crate) const fn volatile() -> Self {
        Self { next: 1, end: u64::MAX, asked: u64::MAX, held: 0 }
    }

    /// A sequence that goes on at the end of the last block.
    pub(crate) const fn from(next: u64) -> Self {
        Self { next, end: next, asked: next, held: 0 }
    }

    /// The next number.
    #[inline]
    pub(crate) fn take(&mut self) -> u64 {
        debug_assert!(self.next < self.end, "the block of a number is kept before it is used");
        let number = self.next;
        self.next += 1;
        number
    }

    /// How many may be used that no call has for itself.
    #[inline]
    pub(crate) fn left(&self) -> u64 {
        self.end - self.next - self.held
    }

    /// Whether a block must be asked for.
    pub(crate) fn is_low(&self) -> bool {
        self.left() < BLOCK / 2 && self.asked == self.end
    }

    /// Whether none may be used.
    pub(crate) fn is_short(&self) -> bool {
        self.next >= self.end
    }
}

impl<P: Payload> State<P> {
    /// Write where a job stands.
    #[inline]
    pub(crate) fn note(&mut self, slot: u32) {
        if self.journal.is_some() {
            self.write_overlay(slot);
        }
    }

    #[cold]
    fn write_overlay(&mut self, slot: u32) {
        if self.journal.as_ref().is_none_or(|journal| journal.stores.jobs.is_none()) {
            return;
        }
        let Some(job) = self.jobs.get(slot) else { return };
        let cold = self.cold_of(slot);
        let overlay = Overlay {
            status: job.status,
            reason: job.reason(),
            when: job.when,
            attempts: job.attempts,
            retries: job.retries,
            resets: cold.map_or(0, |cold| cold.resets),
            crashes: cold.map_or(0, |cold| cold.crashes),
            error: cold.and_then(|cold| cold.error.clone()),
        };
        let id = job.id();
        let key = job_key(OVERLAY, id);
        let value = overlay.encode(&key);
        self.write(Change::Put(key, value));
        self.write_log(id);
    }

    /// Write the lines that were added to a job's log, and forget those that fell out of it.
    fn write_log(&mut self, id: JobId) {
        let Some(cold) = self.cold.get_mut(&id.0) else { return };
        let (gone, added) = cold.take_unwritten();
        for number in gone {
            self.write(Change::Delete(line_key(id, number)));
        }
        for (number, entry) in added {
            let key = line_key(id, number);
            let value = encode_line(&key, &entry);
            self.write(Change::Put(key, value));
        }
    }

    /// Write a large payload, in groups of its own: before the job counts anywhere, so that the groups before it are
    /// cut where the counts agree.
    pub(crate) fn note_payload(&mut self, id: u64, payload: &P) {
        if self.journal.as_ref().is_none_or(|journal| journal.stores.jobs.is_none()) {
            return;
        }
        for (number, piece) in payload.bytes().chunks(CHUNK).enumerate() {
            self.cut();
            let key = chunk_key(JobId(id), number);
            let value = seal(&key, piece.to_vec());
            self.write(Change::Put(key, value));
        }
    }

    /// Write a new job: what never changes of it, and a small payload.
    #[inline]
    pub(crate) fn note_enqueued(&mut self, slot: u32) {
        if self.journal.is_some() {
            self.write_body(slot);
        }
    }

    #[cold]
    fn write_body(&mut self, slot: u32) {
        if self.journal.as_ref().is_none_or(|journal| journal.stores.jobs.is_none()) {
            return;
        }
        let Some(job) = self.jobs.get(slot) else { return };
        let Some(options) = self.options.get(job.options) else { return };
        let body = Body {
            topic: self.topic_name(job.topic),
            weight: job.weight,
            created: job.created,
            size: job.size,
            status: job.status,
            when: job.when,
            options: options.clone(),
        };
        let id = job.id();
        let inline = job.payload.as_ref().filter(|_| job.size <= INLINE);
        let key = job_key(BODY, id);
        let value = body.encode(&key, inline.map_or(&[], Payload::bytes));
        let (is_large, has_log) = (job.size > INLINE, job.has_cold());
        self.write(Change::Put(key, value));
        if is_large && let Some(journal) = &mut self.journal {
            journal.note_large(slot, id.0);
        }
        if has_log {
            self.write_overlay(slot);
        }
    }

    /// Write that a job is gone.
    pub(crate) fn note_forgotten(&mut self, id: JobId, size: u32, log: std::ops::Range<u32>) {
        if self.journal.is_none() {
            return;
        }
        let inline = if size <= INLINE { usize::try_from(size).unwrap_or(0) } else { 0 };
        self.erase(job_key(BODY, id), inline);
        self.write(Change::Delete(job_key(OVERLAY, id)));
        for number in log {
            self.write(Change::Delete(line_key(id, number)));
        }
        // What is left of a payload without a body is swept at open.
        for chunk in 0..chunks(size) {
            self.cut();
            self.erase(chunk_key(id, chunk), CHUNK);
        }
    }

    /// Queue a change of the job role.
    pub(crate) fn write(&mut self, change: Change) {
        if let Some(journal) = &mut self.journal {
            journal.job(change, 0);
        }
    }

    /// Queue that a value of so many bytes goes.
    pub(crate) fn erase(&mut self, key: Vec<u8>, bytes: usize) {
        if let Some(journal) = &mut self.journal {
            journal.job(Change::Delete(key), bytes);
        }
    }

    /// Ask for another block of each sequence that runs low, of at least this many numbers.
    pub(crate) fn ask_numbers(&mut self, ids: u64, tokens: u64) {
        let Some(journal) = &mut self.journal else { return };
        if journal.stores.jobs.is_none() {
            return;
        }
        let sequences = [("ids", &mut self.next_id, ids), ("tokens", &mut self.next_token, tokens)];
        let mut is_asked = false;
        for (name, numbers, more) in sequences {
            if numbers.is_low() || (numbers.left() < more && numbers.asked == numbers.end) {
                numbers.asked = numbers.end + BLOCK.max(more);
                let key = meta_key(name);
                let value = encode_number(&key, numbers.asked);
                journal.job(Change::Put(key, value), 0);
                is_asked = true;
            }
        }
        if is_asked {
            journal.note_blocks(self.next_id.asked, self.next_token.asked);
        }
    }

    /// Cut what is queued into a group if it fills one. To be called where the counts agree with what is queued.
    #[inline]
    pub(crate) fn cut(&mut self) {
        if self.journal.as_ref().is_some_and(|journal| journal.is_full()) {
            self.seal();
        }
    }

    /// Cut what is queued before a call, so that one that fits in half a group is never parted by a crash.
    #[inline]
    pub(crate) fn cut_for_call(&mut self) {
        if self.journal.as_ref().is_some_and(|journal| journal.is_half_full()) {
            self.seal();
        }
    }

    #[cold]
    fn seal(&mut self) {
        self.gather_topics();
        if let Some(journal) = &mut self.journal {
            journal.seal();
        }
    }

    /// The next group to be written.
    pub(crate) fn take_group(&mut self) -> Group {
        if self.journal.as_ref().is_some_and(|journal| !journal.has_sealed()) {
            self.gather_topics();
        }
        self.journal.as_mut().map(|journal| journal.take()).unwrap_or_default()
    }

    /// Whether records of topics wait and it is time to write them.
    pub(crate) fn are_topics_due(&self, now: Instant) -> bool {
        let Some(journal) = self.journal.as_ref().filter(|_| !self.dirty.is_empty()) else { return false };
        let Pace::Thread { interval, .. } = journal.pace else { return true };
        !journal.topics_are_lazy() || journal.topics_now || now >= journal.topics_at + interval.max(LINGER)
    }

    /// Have the records that wait written with the next group, as a change that can be waited for.
    pub(crate) fn hurry_topics(&mut self) {
        if let Some(journal) = self.journal.as_mut().filter(|journal| journal.has_thread())
            && !self.dirty.is_empty()
        {
            journal.upto += 1;
            journal.topics_now = true;
        }
    }

    /// The same, and before any later change: of two stores the jobs' is written first, and a crash between the two
    /// must not part a pause from what came before what it has kept.
    pub(crate) fn order_topics(&mut self) {
        self.hurry_topics();
        if self.journal.as_ref().is_some_and(|journal| journal.topics_are_lazy()) {
            self.seal();
        }
    }

    /// Queue the records of the topics that have changed.
    fn gather_topics(&mut self) {
        let now = Instant::now();
        if !self.are_topics_due(now) {
            return;
        }
        for slot in std::mem::take(&mut self.dirty) {
            let Some(topic) = self.topics.get_mut(slot) else { continue };
            if std::mem::replace(&mut topic.dirty, false) {
                let key = topic_key(&topic.name);
                let value = TopicRecord { paused: topic.paused, counters: topic.counters }.encode(&key);
                if let Some(journal) = &mut self.journal {
                    journal.topic(Change::Put(key, value));
                }
            }
        }
        if let Some(journal) = &mut self.journal {
            journal.topics_at = now;
            journal.topics_now = false;
        }
    }

    /// A group is kept: its blocks may be used, and its large payloads are read from the repository from now on.
    pub(crate) fn kept_group(&mut self, group: &Group, synced: bool) {
        if let Some(journal) = &mut self.journal {
            journal.committed = journal.committed.max(group.upto);
            if synced {
                journal.synced = journal.synced.max(group.upto);
            }
        }
        for &(slot, id) in &group.large {
            if let Some(job) = self.jobs.get_mut(slot)
                && job.id == id
            {
                self.trash.extend(job.payload.take());
            }
        }
        if let Some((ids, tokens)) = group.blocks {
            self.use_blocks(ids, tokens);
        }
    }

    fn use_blocks(&mut self, ids: u64, tokens: u64) {
        self.next_id.end = ids;
        let starved = self.next_token.is_short();
        self.next_token.end = tokens;
        if starved {
            let topics: Vec<u32> = self.topics.iter().map(|(slot, _)| slot).collect();
            for topic in topics {
                self.serve(topic);
            }
        }
    }
}
