//! A repository in memory that outlives the service, and can be told to fail, to wait, or to call back.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use jobq_core::clock::{Clock, ManualClock};
use jobq_core::engine::{Config, Engine, Thread};
use jobq_core::error::Error;
use jobq_core::job::JobId;
use jobq_core::repository::{Change, Repository, Visit};

use super::{Bytes, Gate, PATIENCE, Running, Sleep, config, post, start};

/// What is asked of a store before a commit of it, by the commit's number from 1.
pub(crate) type Hook = Arc<dyn Fn(usize) -> Result<(), Error> + Send + Sync>;

/// Batches in the order in which they were committed, each with its store's name.
pub(crate) type Log = Arc<Mutex<Vec<(&'static str, Vec<Change>)>>>;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct Inner {
    data: Pairs,
    commits: usize,
    gets: usize,
    closes: usize,
    hook: Option<Hook>,
    compaction: Option<Hook>,
    /// Whether a load fails.
    unreadable: bool,
    /// What the service did that the trait's page forbids.
    breaches: Vec<&'static str>,
}

/// A repository in memory.
pub(crate) struct Store {
    name: &'static str,
    log: Log,
    inner: Mutex<Inner>,
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Self::named("store", &Log::default())
    }

    pub(crate) fn named(name: &'static str, log: &Log) -> Arc<Self> {
        Self::with(name, log, Pairs::new())
    }

    fn with(name: &'static str, log: &Log, data: Pairs) -> Arc<Self> {
        Arc::new(Self { name, log: Arc::clone(log), inner: Mutex::new(Inner { data, ..Inner::default() }) })
    }

    /// Another store that holds what this one holds now: what a crash at this moment would leave.
    pub(crate) fn copy(&self) -> Arc<Self> {
        Self::with(self.name, &Log::default(), self.data())
    }

    pub(crate) fn data(&self) -> Pairs {
        self.inner.lock().unwrap().data.clone()
    }

    /// Change what it holds behind the service's back.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Pairs)) {
        change(&mut self.inner.lock().unwrap().data);
    }

    /// Flip a bit in the value of a key.
    pub(crate) fn damage(&self, key: &[u8]) {
        self.edit(|data| data.get_mut(key).expect("the key is there")[0] ^= 1);
    }

    /// Ask this before each commit from now on; the numbers begin again.
    pub(crate) fn on_commit(&self, hook: impl Fn(usize) -> Result<(), Error> + Send + Sync + 'static) {
        let mut inner = self.inner.lock().unwrap();
        inner.hook = Some(Arc::new(hook));
        inner.commits = 0;
    }

    /// Have each commit from now on wait at a gate.
    pub(crate) fn hold_commits(&self) -> Arc<Gate> {
        let gate = Gate::new();
        let door = Arc::clone(&gate);
        self.on_commit(move |_| {
            door.pass();
            Ok(())
        });
        gate
    }

    /// Have each compaction from now on wait at a gate; it tells when it is there.
    pub(crate) fn hold_compactions(&self) -> (Arc<Gate>, Receiver<()>) {
        let gate = Gate::new();
        let (tell, told) = channel();
        let (tell, door) = (Mutex::new(tell), Arc::clone(&gate));
        self.inner.lock().unwrap().compaction = Some(Arc::new(move |_| {
            tell.lock().unwrap().send(()).unwrap();
            door.pass();
            Ok(())
        }));
        (gate, told)
    }

    /// Refuse to be loaded from now on.
    pub(crate) fn fail_loads(&self) {
        self.inner.lock().unwrap().unreadable = true;
    }

    /// Ask nothing any more.
    pub(crate) fn be_quiet(&self) {
        self.inner.lock().unwrap().hook = None;
    }

    pub(crate) fn commits(&self) -> usize {
        self.inner.lock().unwrap().commits
    }

    /// What was committed, in order.
    pub(crate) fn batches(&self) -> Vec<Vec<Change>> {
        self.log.lock().unwrap().iter().map(|(_, batch)| batch.clone()).collect()
    }

    pub(crate) fn gets(&self) -> usize {
        self.inner.lock().unwrap().gets
    }

    pub(crate) fn closes(&self) -> usize {
        self.inner.lock().unwrap().closes
    }

    pub(crate) fn breaches(&self) -> Vec<&'static str> {
        self.inner.lock().unwrap().breaches.clone()
    }

    /// Make it ready for the next service.
    fn reopened(&self) {
        let mut inner = self.inner.lock().unwrap();
        (inner.commits, inner.gets, inner.closes) = (0, 0, 0);
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap();
        if inner.closes > 0 {
            inner.breaches.push("used after its close");
        }
        inner
    }
}

impl Repository for Store {
    fn durable(&self) -> bool {
        true
    }

    fn load(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        if self.used().unreadable {
            return Err(disk_full());
        }
        let pairs = self.data();
        pairs.iter().filter(|(key, _)| key.starts_with(prefix)).try_for_each(|(key, value)| visit(key, value))
    }

    fn commit(&self, batch: &[Change]) -> Result<(), Error> {
        let (hook, number) = {
            let mut inner = self.used();
            inner.commits += 1;
            (inner.hook.clone(), inner.commits)
        };
        hook.map_or(Ok(()), |hook| hook(number))?;
        let mut inner = self.inner.lock().unwrap();
        for change in batch {
            match change {
                Change::Put(key, value) => drop(inner.data.insert(key.clone(), value.clone())),
                Change::Delete(key) => drop(inner.data.remove(key)),
            }
        }
        self.log.lock().unwrap().push((self.name, batch.to_vec()));
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut inner = self.used();
        inner.gets += 1;
        Ok(inner.data.get(key).cloned())
    }

    fn compact(&self) -> Result<u64, Error> {
        let hook = self.used().compaction.clone();
        hook.map_or(Ok(()), |hook| hook(1))?;
        Ok(7)
    }

    fn close(&self) -> Result<(), Error> {
        let mut inner = self.inner.lock().unwrap();
        inner.closes += 1;
        if inner.closes > 1 {
            inner.breaches.push("closed twice");
        }
        Ok(())
    }
}

/// The error of a store that was told to fail.
pub(crate) fn disk_full() -> Error {
    Error::Repository(Arc::new(std::io::Error::other("disk full")))
}

/// A service of one store in both roles.
pub(crate) fn open(clock: &Arc<ManualClock>, store: &Arc<Store>) -> Arc<Engine<Bytes>> {
    open_with(clock, store, store, |_| ())
}

/// A service of a store in each role.
pub(crate) fn open_with(
    clock: &Arc<ManualClock>,
    jobs: &Arc<Store>,
    topics: &Arc<Store>,
    change: impl FnOnce(&mut Config),
) -> Arc<Engine<Bytes>> {
    try_open(clock, jobs, topics, change).unwrap()
}

/// As [`open_with`], when it may be refused.
pub(crate) fn try_open(
    clock: &Arc<ManualClock>,
    jobs: &Arc<Store>,
    topics: &Arc<Store>,
    change: impl FnOnce(&mut Config),
) -> Result<Arc<Engine<Bytes>>, Error> {
    jobs.reopened();
    topics.reopened();
    let mut config = config(Clock::Manual(Arc::clone(clock)));
    let jobs: Arc<dyn Repository> = Arc::clone(jobs) as Arc<dyn Repository>;
    let is_one = Arc::ptr_eq(&jobs, &(Arc::clone(topics) as Arc<dyn Repository>));
    config.topics = if is_one { Arc::clone(&jobs) } else { Arc::clone(topics) as Arc<dyn Repository> };
    config.jobs = jobs;
    change(&mut config);
    Engine::open(&Thread, config)
}

/// Kill the service: what the store holds now is opened again, with no close before.
pub(crate) fn crash(clock: &Arc<ManualClock>, store: &Arc<Store>, engine: Arc<Engine<Bytes>>) -> Arc<Engine<Bytes>> {
    drop(engine);
    open(clock, store)
}

/// Have the store's next commit wait at a gate; it tells when it is there.
pub(crate) fn hold(store: &Store) -> (Arc<Gate>, Receiver<()>) {
    let gate = Gate::new();
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let door = Arc::clone(&gate);
    store.on_commit(move |number| {
        if number == 1 {
            tell.lock().unwrap().send(()).unwrap();
            door.pass();
        }
        Ok(())
    });
    (gate, told)
}

/// A post in another thread, which is inside the commit when this returns.
pub(crate) fn held_post(engine: &Arc<Engine<Bytes>>, told: &Receiver<()>) -> Running<JobId> {
    let posting = {
        let engine = Arc::clone(engine);
        start(Sleep::default(), move |_| post(&engine, "held"))
    };
    told.recv_timeout(PATIENCE).expect("the call does not write");
    posting
}
