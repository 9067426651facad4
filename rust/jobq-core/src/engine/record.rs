//! What the engine keeps of a job in memory: a hot record of one cache line, and a cold part for what is rare.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::job::{JobId, LogEntry, Reason, Status, clip};
use crate::list::Links;
use crate::options::{JobOptions, LogStatusChange};
use crate::ready::Stamps;
use crate::slab::{NIL, Slab};

/// A payload as the engine passes it on: shared, never copied, never looked at except to be written.
///
/// It is dropped and shared only by threads that call the engine, never under its lock when dropped, and never by
/// one that waits; so it may be an object of an interpreter whose lock such a thread holds.
pub trait Payload: Send + Sync + Sized {
    /// Another reference to the same bytes.
    #[must_use]
    fn share(&self) -> Self;
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// A payload of bytes read back from a repository.
    fn from_bytes(bytes: Vec<u8>) -> Self;
    /// The same, of bytes that the repository keeps: at open there is one for each job that waits.
    #[must_use]
    fn from_slice(bytes: &[u8]) -> Self {
        Self::from_bytes(bytes.to_vec())
    }
}

impl Payload for Arc<[u8]> {
    fn share(&self) -> Self {
        Self::clone(self)
    }

    fn bytes(&self) -> &[u8] {
        self
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        bytes.into()
    }

    fn from_slice(bytes: &[u8]) -> Self {
        bytes.into()
    }
}

/// A job's hot record: 64 bytes where a payload is a pointer.
///
/// | field | created, ready | delayed | reserved | done, canceled |
/// |---|---|---|---|---|
/// | `when` | stamp | due, wall ms | stamp | end, wall ms |
/// | `next` | next in its weight | undefined | undefined | next in its retention list |
/// | `prev` | previous in its weight | undefined | the lease | previous in its retention list |
///
/// `payload` is `None` where the bytes are only in the repository.
pub(crate) struct Record<P> {
    pub(crate) payload: Option<P>,
    pub(crate) id: u64,
    pub(crate) created: u64,
    pub(crate) when: u64,
    pub(crate) next: u32,
    pub(crate) prev: u32,
    pub(crate) topic: u32,
    pub(crate) options: u32,
    pub(crate) attempts: u32,
    pub(crate) retries: u32,
    pub(crate) size: u32,
    pub(crate) weight: i16,
    pub(crate) status: Status,
    flags: u8,
}

const REASON: u8 = 0b111;
const COLD: u8 = 1 << 3;
const ALONE: u8 = 1 << 4;
const LOGS: u8 = 1 << 5;

impl<P> Record<P> {
    pub(crate) fn new(id: u64, topic: u32, weight: i16, created: u64, payload: Option<P>, size: u32) -> Self {
        Self {
            payload,
            id,
            created,
            when: 0,
            next: NIL,
            prev: NIL,
            topic,
            options: 0,
            attempts: 0,
            retries: 0,
            size,
            weight,
            status: Status::Created,
            flags: 0,
        }
    }

    pub(crate) fn id(&self) -> JobId {
        JobId(self.id)
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        Reason::from_code(self.flags & REASON)
    }

    pub(crate) fn set_reason(&mut self, reason: Option<Reason>) {
        self.flags = self.flags & !REASON | reason.map_or(0, Reason::code);
    }

    /// How many dead letters fewer there are when it leaves its status; its reason is gone then.
    #[inline(always)]
    pub(crate) fn leave_dead(&mut self) -> u64 {
        if self.status != Status::Canceled {
            return 0;
        }
        let dead = self.reason().is_some_and(Reason::is_dead);
        self.set_reason(None);
        u64::from(dead)
    }

    /// Whether it was recovered and not settled since: then it is granted alone.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.flags & ALONE != 0
    }

    /// Whether something is kept of it in the cold part.
    pub(crate) fn has_cold(&self) -> bool {
        self.flags & COLD != 0
    }

    /// Whether its changes of status are logged.
    #[inline]
    pub(crate) fn logs(&self) -> bool {
        self.flags & LOGS != 0
    }

    pub(crate) fn set_alone(&mut self, on: bool) {
        self.set(ALONE, on);
    }

    pub(crate) fn set_cold(&mut self, on: bool) {
        self.set(COLD, on);
    }

    /// Give it its options, an entry of the table.
    pub(crate) fn set_options(&mut self, at: u32, options: Option<&JobOptions>) {
        self.options = at;
        self.set(LOGS, options.is_some_and(|options| options.log_status_change == LogStatusChange::On));
    }

    fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }
}

impl<P> Links for Slab<Record<P>> {
    #[inline]
    fn next(&self, slot: u32) -> u32 {
        self.get(slot).map_or(NIL, |record| record.next)
    }

    #[inline]
    fn prev(&self, slot: u32) -> u32 {
        self.get(slot).map_or(NIL, |record| record.prev)
    }

    #[inline]
    fn set_next(&mut self, slot: u32, to: u32) {
        if let Some(record) = self.get_mut(slot) {
            record.next = to;
        }
    }

    #[inline]
    fn set_prev(&mut self, slot: u32, to: u32) {
        if let Some(record) = self.get_mut(slot) {
            record.prev = to;
        }
    }
}

impl<P> Stamps for Slab<Record<P>> {
    #[inline]
    fn stamp(&self, slot: u32) -> u64 {
        self.get(slot).map_or(0, |record| record.when)
    }
}

/// What few jobs have: a log, an error, a past.
///
/// Lines of the log are numbered from 0 for as long as the job lives.
#[derive(Default)]
pub(crate) struct Cold {
    pub(crate) resets: u32,
    pub(crate) crashes: u32,
    pub(crate) error: Option<Box<str>>,
    pub(crate) log: VecDeque<LogEntry>,
    /// The number of the log's first line.
    first: u32,
    /// Lines that the repository has, or will have once what is queued is written.
    written: Range<u32>,
}

impl Cold {
    /// Add a line; the oldest beyond `max` go.
    pub(crate) fn note(&mut self, at: u64, message: &str, max: usize) {
        self.log.push_back(LogEntry { at, message: clip(message).into() });
        while self.log.len() > max {
            self.log.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// A log as a repository has it: its lines with their numbers, ascending.
    pub(crate) fn restore_log(&mut self, lines: Vec<(u32, LogEntry)>) {
        let (Some(&(first, _)), Some(&(last, _))) = (lines.first(), lines.last()) else { return };
        let end = last.wrapping_add(1);
        self.written = first..end;
        self.first = end.wrapping_sub(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        self.log = lines.into_iter().map(|(_, line)| line).collect();
    }

    /// The lines that the repository has.
    pub(crate) fn written(&self) -> Range<u32> {
        self.written.clone()
    }

    /// What the repository does not know of the log yet: lines that fell out of it, and lines that were added. From
    /// now on it is known.
    pub(crate) fn take_unwritten(&mut self) -> (Range<u32>, Vec<(u32, LogEntry)>) {
        let end = self.first.wrapping_add(u32::try_from(self.log.len()).unwrap_or(u32::MAX));
        let gone = self.written.start..self.first.clamp(self.written.start, self.written.end);
        let from = self.written.end.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let added = (from..end).zip(self.log.iter().skip(skip).cloned()).collect();
        self.written = self.first..end;
        (gone, added)
    }
}

/// The options that jobs share, each set once.
pub(crate) struct OptionTable {
    entries: Slab<(JobOptions, u32), 64>,
    /// The service's defaults, at hand: most jobs have them.
    default: JobOptions,
    index: HashMap<JobOptions, u32>,
    defaults: u32,
}

impl OptionTable {
    /// A table whose first entry, the service's defaults, stays for ever.
    pub(crate) fn new(defaults: &JobOptions) -> Self {
        let default = defaults.clone();
        let mut table = Self { entries: Slab::default(), index: HashMap::new(), defaults: NIL, default };
        table.defaults = table.hold(defaults);
        table
    }

    /// The entry of these options, held once more; `None` means the defaults.
    #[inline]
    pub(crate) fn hold_or_default(&mut self, options: Option<&JobOptions>) -> u32 {
        options.map_or(self.defaults, |options| self.hold(options))
    }

    pub(crate) fn hold(&mut self, options: &JobOptions) -> u32 {
        if let Some(&at) = self.index.get(options) {
            if let Some((_, holders)) = self.entries.get_mut(at) {
                *holders += 1;
            }
            return at;
        }
        let at = self.entries.insert((options.clone(), 1));
        self.index.insert(options.clone(), at);
        at
    }

    /// One holder less; an entry without holders goes.
    #[inline]
    pub(crate) fn let_go(&mut self, at: u32) {
        if at != self.defaults {
            self.let_go_of_own(at);
        }
    }

    fn let_go_of_own(&mut self, at: u32) {
        let Some((_, holders)) = self.entries.get_mut(at) else { return };
        *holders = holders.saturating_sub(1);
        if *holders == 0
            && let Some((options, _)) = self.entries.remove(at)
        {
            self.index.remove(&options);
        }
    }

    #[inline]
    pub(crate) fn get(&self, at: u32) -> Option<&JobOptions> {
        if at == self.defaults { Some(&self.default) } else { self.entries.get(at).map(|(options, _)| options) }
    }
}
