//! Opening: an empty service, or one that goes on where its repositories say it was.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use super::commit::Numbers;
use super::held::Notes;
use super::load::{STEP, Source, Told, load_numbers, load_pieces, load_topics};
use super::planted::Planted;
use super::record::{OptionTable, Payload};
use super::retain::Kept;
use super::state::{Closing, Phase, State};
use super::{Caller, Engine, Keep};
use crate::clock::{Clock, Ticker};
use crate::delays::DelayWheel;
use crate::error::Error;
use crate::ids::IdMap;
use crate::job::{JobId, Reason, Status, Token};
use crate::leases::Leases;
use crate::options::{JobOptions, Limits, Retention};
use crate::repository::codec::{CHUNK, FORMAT, TOPIC, TopicRecord, encode_number, meta_key, name_of};
use crate::repository::committer::Journal;
use crate::repository::stores::Stores;
use crate::repository::{Change, LeaseTable, Pace, Repository};
use crate::slab::Slab;
use crate::stats::Counters;
use crate::sync::{self, Mutex};
use crate::topic::Topics;

/// What a service is opened with.
pub struct Config {
    /// Remembers what a job is.
    pub jobs: Arc<dyn Repository>,
    /// Remembers what a topic is; may be the same object.
    pub topics: Arc<dyn Repository>,
    /// The options of a job that names none.
    pub defaults: JobOptions,
    /// Of done jobs and requested cancellations.
    pub retention: Retention,
    /// Of dead letters.
    pub dead_retention: Retention,
    /// What is refused.
    pub limits: Limits,
    /// A job reserved at more crashes is poison; `None`: never.
    pub max_crashes: Option<u32>,
    /// Where the time is read.
    pub clock: Clock,
    /// How long a repository with a writer of its own may be at one piece of work before it counts as failed.
    pub patience: Duration,
}

/// What open found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Whether the last close was a proper one; true for a new store.
    pub clean: bool,
    /// Jobs ready now.
    pub ready: u64,
    /// Jobs delayed.
    pub delayed: u64,
    /// Done jobs kept.
    pub done: u64,
    /// Canceled jobs kept.
    pub canceled: u64,
    /// Jobs found reserved that are ready now.
    pub recovered: u64,
    /// Jobs found reserved once too often, canceled now.
    pub poisoned: Vec<JobId>,
    /// Records set aside as damaged.
    pub quarantined: Vec<JobId>,
    /// How long it took.
    pub seconds: f64,
}

impl<P: Payload + 'static> Engine<P> {
    /// Open a service and recover what its repositories hold.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a store of another format, the repository's own error, or that of
    /// [`Caller::interrupted`]; the repositories are closed then.
    pub fn open(caller: &impl Caller, config: Config) -> Result<Arc<Self>, Error> {
        let start = Instant::now();
        let (clock, limits, defaults) = (config.clock.clone(), config.limits, config.defaults.clone());
        let patience = config.patience;
        let remembers = |store: Arc<dyn Repository>| Some(store).filter(|store| store.remembers());
        let stores =
            Stores { jobs: remembers(Arc::clone(&config.jobs)), topics: remembers(Arc::clone(&config.topics)) };
        let writes = stores.jobs.is_some();
        let opened = stores.clone();
        let mut state = State::new(config);
        let mut recovery = Recovery { clean: true, ..Recovery::default() };
        if stores.each().next().is_some() {
            // There from the start: what is purged at once must be forgotten on the disk too.
            state.journal = Some(Box::new(Journal::new(stores.clone(), start)));
            state.held.is_kept = stores.lease_table().is_some();
            recovery = state.recover(&stores, &looking_up(caller)).inspect_err(|_| close_all(&stores))?;
            state.note_open();
        }
        let has_writer = state.journal.as_ref().is_some_and(|journal| journal.has_thread());
        recovery.seconds = start.elapsed().as_secs_f64();
        let engine = Arc::new(Self {
            state: Mutex::new(state),
            clock: clock.clone(),
            limits,
            defaults,
            recovery,
            writes,
            has_writer,
            patience,
            lease_turn: Mutex::new(()),
            generation: sync::generation(),
        });
        engine.start_writer().inspect_err(|_| close_all(&opened))?;
        // Closed as ever: the writer may be at work, and what it does may hang.
        engine.finish_open(caller).inspect_err(|_| drop(engine.close(caller)))?;
        if let Clock::Manual(clock) = &clock {
            let engine: Arc<dyn Ticker> = Arc::clone(&engine) as Arc<dyn Ticker>;
            clock.attach(Arc::downgrade(&engine));
        }
        Ok(engine)
    }
}

impl<P: Payload + 'static> Engine<P> {
    /// Have kept what open changed: who was reserved at a crash is known from then on, and forgotten in the table.
    fn finish_open(&self, caller: &impl Caller) -> Result<(), Error> {
        let state = self.enter()?;
        let kept = state.journal.as_ref().map(|journal| (journal.upto, journal.stores.clone()));
        Self::leave_unwritten(state);
        let Some((upto, stores)) = kept else { return Ok(()) };
        self.commit(caller, upto, Keep::Synced)?;
        caller.detached(|| stores.lease_table().map_or(Ok(()), LeaseTable::clear))
    }
}

/// How long a reading goes on before it looks up. `CPython` hands its lock over only to a thread that has asked for it,
/// which one does after 5 ms without a hand-over: let go of more often, the lock would be ours again each time.
const LOOK_UP: Duration = Duration::from_millis(10);

/// Now and then while records are read, let other threads of the caller's run, and its signals be handled. A repository
/// may hold a lock of its own meanwhile: nobody else has it before the service is open, so nobody waits for that.
fn looking_up(caller: &impl Caller) -> impl Fn(&[u8], &[u8]) -> Result<(), Error> {
    let (read, last) = (Cell::new(0_u64), Cell::new(Instant::now()));
    move |_, _| {
        read.set(read.get() + 1);
        if !read.get().is_multiple_of(STEP) || last.get().elapsed() < LOOK_UP {
            return Ok(());
        }
        caller.detached(|| ());
        last.set(Instant::now());
        caller.interrupted()
    }
}

impl<P: Payload> State<P> {
    fn new(config: Config) -> Self {
        let now = config.clock.now();
        Self {
            mark: config.clock.mark(),
            clock: config.clock,
            now,
            near: true,
            more: false,
            limits: config.limits,
            max_crashes: config.max_crashes,
            phase: Phase::Running,
            closing: Closing::Open,
            close_later: false,
            closers: Vec::new(),
            jobs: Slab::new(),
            ids: IdMap::new(),
            cold: HashMap::new(),
            options: OptionTable::new(&config.defaults),
            topics: Topics::default(),
            delays: DelayWheel::new(now.wall.0),
            leases: Leases::new(now.mono.0),
            finished: Kept::new(config.retention),
            dead: Kept::new(config.dead_retention),
            idle: super::tick::Idle::default(),
            total: Counters::default(),
            forgotten: Counters::default(),
            next_id: Numbers::volatile(),
            next_token: Numbers::volatile(),
            last_stamp: 0,
            random: RandomState::new().hash_one(now.wall.0) | 1,
            waiters: super::wait::Waiters::default(),
            unseen: HashSet::new(),
            touched: Vec::new(),
            wakes: Vec::new(),
            trash: Vec::new(),
            due: Vec::new(),
            over: Vec::new(),
            journal: None,
            dirty: Vec::new(),
            held: Notes::default(),
            planted: Planted::from_environment(),
        }
    }

    fn recover(&mut self, stores: &Stores, told: &Told<'_>) -> Result<Recovery, Error> {
        let mut recovery = Recovery { clean: true, ..Recovery::default() };
        let mut orphans = Vec::new();
        if let Some(store) = &stores.jobs {
            let source = Source { store: store.as_ref(), told };
            let recovered = self.load_numbers(source, &mut recovery)?;
            orphans = self.place_all(source, recovered, &mut recovery)?;
            // A repository of one's own need not read its payloads at open.
            if store.pace() != Pace::Caller {
                orphans.extend(load_pieces(source, &recovery, |id| self.ids.get(id.0).is_some())?);
            }
        }
        let mut records = HashMap::new();
        if let Some(store) = &stores.topics {
            records = load_topics(Source { store: store.as_ref(), told })?;
        } else {
            let lost = u64::try_from(recovery.quarantined.len()).unwrap_or(u64::MAX);
            self.forgotten.enqueued += lost;
            self.forgotten.lost += lost;
        }
        for store in stores.each() {
            store.loaded()?;
        }
        self.count_all(records);
        // Only now, in an order that any crash may cut short: a group takes along the records of the topics, which were
        // not all read before, and what a crash did to the jobs is counted in them.
        self.note_recovered();
        self.sweep(orphans);
        self.purge_found();
        recovery.ready = self.total.now(Status::Ready);
        recovery.delayed = self.total.now(Status::Delayed);
        recovery.done = self.total.now(Status::Done);
        recovery.canceled = self.total.now(Status::Canceled);
        Ok(recovery)
    }

    /// The service's numbers; the first token that no recovery has counted yet is returned.
    fn load_numbers(&mut self, source: Source<'_>, recovery: &mut Recovery) -> Result<Token, Error> {
        let numbers = load_numbers(source)?;
        if let Some(key) = numbers.damaged.first() {
            return Err(Error::corrupt(source.store.place(), format!("{} is damaged", name_of(key))));
        }
        recovery.clean = numbers.is_empty() || numbers.get("clean") == Some(1);
        self.next_id = Numbers::from(numbers.get("ids").unwrap_or(1));
        self.next_token = Numbers::from(numbers.get("tokens").unwrap_or(1));
        Ok(Token(numbers.get("recovered").unwrap_or(0)))
    }

    /// Bring the topics' counts together with the jobs that are there.
    fn count_all(&mut self, mut records: HashMap<Vec<u8>, TopicRecord>) {
        if let Some(sum) = records.remove(TOPIC) {
            self.forgotten.absorb(&sum.counters);
        }
        for (key, record) in records {
            let name = key.get(TOPIC.len()..).map(String::from_utf8_lossy).unwrap_or_default();
            let slot = match self.topics.slot_of(&name) {
                Some(slot) => slot,
                None => self.topics.insert(Arc::from(name.as_ref()), self.now.mono),
            };
            if let Some(topic) = self.topics.get_mut(slot) {
                topic.paused = record.paused;
                topic.counters.absorb(&record.counters);
            }
        }
        let mut total = self.forgotten;
        let slots: Vec<u32> = self.topics.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Some(topic) = self.topics.get_mut(slot) else { continue };
            let counters = &mut topic.counters;
            let accounted = counters.accounted();
            counters.lost += counters.enqueued.saturating_sub(accounted);
            counters.enqueued = counters.enqueued.max(accounted);
            total.absorb(counters);
            for status in [Status::Ready, Status::Delayed, Status::Done, Status::Canceled] {
                let gauge = *counters.gauge(status);
                *total.gauge(status) += gauge;
            }
            total.dead += counters.dead;
            self.watch_if_unused(slot);
        }
        self.total = total;
    }

    /// Write what the crash of another service did, and that this one uses the store.
    fn note_recovered(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        for (name, number) in [("format", FORMAT), ("clean", 0), ("recovered", self.next_token.next)] {
            let key = meta_key(name);
            let value = encode_number(&key, number);
            journal.job(Change::Put(key, value), 0);
        }
        let changed: Vec<u32> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.is_alone() || job.reason() == Some(Reason::Damaged))
            .map(|(slot, _)| slot)
            .collect();
        for slot in changed {
            self.cut();
            self.note(slot);
        }
    }

    /// Forget what belongs to no job.
    fn sweep(&mut self, orphans: Vec<Vec<u8>>) {
        for key in orphans {
            self.cut();
            self.erase(key, CHUNK);
        }
    }

    /// Have written what every service needs: blocks of numbers, and the topics as they are counted now.
    fn note_open(&mut self) {
        self.ask_numbers(0, 0);
        let topics: Vec<u32> = self.topics.iter().map(|(slot, _)| slot).collect();
        for slot in topics {
            self.soil(slot);
        }
    }
}

/// The service did not come to be: its repositories are not left open for nobody.
fn close_all(stores: &Stores) {
    for store in stores.each() {
        // The error that kept the service from opening is the one to be told.
        let _ = store.close();
    }
}
