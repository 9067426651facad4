//! What the engine's tests share: an engine on a manual clock, threads that are known to be blocked, and a deadline
//! over every one of them.
#![allow(dead_code)] // Each test file is a crate of its own and uses its part.

pub(crate) mod paced;
pub(crate) mod steps;
pub(crate) mod store;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use jobq_core::clock::{Clock, ManualClock, Wall};
use jobq_core::engine::{Caller, Config, Engine, Grant, Handle, Outcome, Payload, Thread};
use jobq_core::error::{Error, Settled};
use jobq_core::job::{JobId, Schedule, Status};
use jobq_core::options::{JobOptions, Limits, Retention};
use jobq_core::repository::memory::Memory;
use jobq_core::topic::TopicRef;

pub(crate) type Bytes = Arc<[u8]>;

/// Some moment of 2027, where the manual clocks start.
pub(crate) const START: u64 = 1_800_000_000_000;

/// The topic of tests that need one.
pub(crate) const MAIL: TopicRef<'static> = TopicRef::Name("mail");

/// Ask once.
pub(crate) const NOW: Option<Duration> = Some(Duration::ZERO);

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Options under which a retry or an expiry puts the job back at once.
pub(crate) fn at_once() -> JobOptions {
    JobOptions { min_backoff: 0, max_backoff: 0, jitter: 0.0, ..JobOptions::default() }
}

/// Two repositories that remember nothing, the defaults, and this clock.
pub(crate) fn config(clock: Clock) -> Config {
    Config {
        jobs: Arc::new(Memory),
        topics: Arc::new(Memory),
        defaults: JobOptions::default(),
        retention: Retention::default(),
        dead_retention: Retention::DEAD,
        limits: Limits::default(),
        max_crashes: Some(3),
        clock,
        patience: PATIENCE,
    }
}

/// A manual clock at [`START`].
pub(crate) fn manual() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Wall(START)))
}

/// An engine in memory on a manual clock; the clock is first.
pub(crate) fn engine<P: Payload + 'static>(change: impl FnOnce(&mut Config)) -> (Arc<ManualClock>, Arc<Engine<P>>) {
    let clock = manual();
    let mut config = config(Clock::Manual(Arc::clone(&clock)));
    change(&mut config);
    (clock, Engine::open(&Thread, config).unwrap())
}

/// An engine in memory on the machine's clocks.
pub(crate) fn real_engine<P: Payload + 'static>(change: impl FnOnce(&mut Config)) -> Arc<Engine<P>> {
    let mut config = config(Clock::default());
    change(&mut config);
    Engine::open(&Thread, config).unwrap()
}

/// Queue a payload in a topic, now, with weight 0.
pub(crate) fn put<P: Payload>(engine: &Engine<P>, topic: TopicRef<'_>, payload: P) -> JobId {
    engine.enqueue(&Thread, topic, payload, 0, Schedule::Now, None).unwrap()
}

/// Queue some bytes in `mail`, now, with weight 0.
pub(crate) fn post(engine: &Engine<Bytes>, text: &str) -> JobId {
    put(engine, MAIL, Arc::from(text.as_bytes()))
}

/// Queue a payload in `mail` that is kept apart from the job, and not in memory.
pub(crate) fn post_large(engine: &Engine<Bytes>) -> JobId {
    put(engine, MAIL, Arc::from([7; 2_000].as_slice()))
}

/// Queue a job in `mail` with these options.
pub(crate) fn post_with(engine: &Engine<Bytes>, options: &JobOptions) -> JobId {
    engine.enqueue(&Thread, MAIL, Arc::from(&b"x"[..]), 0, Schedule::Now, Some(options)).unwrap()
}

/// The lease of a grant.
pub(crate) fn handle<P>(grant: &Grant<P>) -> Handle {
    Handle { id: grant.id, token: grant.token, slot: grant.slot, deadline: grant.deadline, settled: Settled::No }
}

/// Take the first ready job of `mail`; there must be one.
pub(crate) fn take<P: Payload>(engine: &Engine<P>) -> Grant<P> {
    engine.reserve_one(&Thread, MAIL, NOW).unwrap().expect("a ready job")
}

/// End a lease; where the job stands now.
pub(crate) fn settle<P: Payload>(engine: &Engine<P>, grant: &Grant<P>, outcome: Outcome<'_>) -> Status {
    engine.settle(&Thread, handle(grant), outcome).unwrap()
}

/// The ids of grants.
pub(crate) fn ids<P>(grants: &[Grant<P>]) -> Vec<JobId> {
    grants.iter().map(|grant| grant.id).collect()
}

/// Every ready job of a topic in the order of its queue, which is empty afterwards.
pub(crate) fn drain<P: Payload>(engine: &Engine<P>, topic: TopicRef<'_>) -> Vec<JobId> {
    let mut order = Vec::new();
    while let Some(grant) = engine.reserve_one(&Thread, topic, NOW).unwrap() {
        order.push(grant.id);
    }
    order
}

/// What `verify` finds is nothing, and every job handed in is accounted for, in each topic and in all.
pub(crate) fn assert_sound<P: Payload>(engine: &Engine<P>) {
    assert_eq!(engine.verify(&Thread).unwrap(), Vec::<String>::new());
    let total = engine.stats(&Thread).unwrap().counters;
    assert_eq!(total.enqueued, total.accounted(), "all topics");
    for name in engine.topics(&Thread).unwrap() {
        let there = engine.topic_stats(&Thread, TopicRef::Name(&name)).unwrap().counters;
        assert_eq!(there.enqueued, there.accounted(), "topic {name:?}");
    }
}

/// A door that threads wait at until it is opened; then it stays open.
#[derive(Default)]
pub(crate) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    pub(crate) fn pass(&self) {
        let guard = self.is_open.lock().unwrap();
        let (guard, wait) = self.opened.wait_timeout_while(guard, PATIENCE, |is_open| !*is_open).unwrap();
        drop(guard);
        assert!(!wait.timed_out(), "nobody opened the gate");
    }
}

/// A caller that tells when it goes to sleep, may be held up before it comes back from it, and may be told to stop.
pub(crate) struct Sleeper {
    asleep: Sender<()>,
    held: Option<Arc<Gate>>,
    interrupt: Option<&'static str>,
}

impl Caller for Sleeper {
    fn detached<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        // The test may have seen enough.
        let _ = self.asleep.send(());
        let result = work();
        if let Some(gate) = &self.held {
            gate.pass();
        }
        result
    }

    fn interrupted(&self) -> Result<(), Error> {
        self.interrupt.map_or(Ok(()), |text| Err(Error::Interrupted(Arc::new(Error::Invalid(text.to_owned())))))
    }
}

/// How a [`Sleeper`] behaves.
#[derive(Clone, Default)]
pub(crate) struct Sleep {
    /// Whether it comes back from sleep only through this.
    pub(crate) held: Option<Arc<Gate>>,
    /// What its signal handler raises when the sleep is over.
    pub(crate) interrupt: Option<&'static str>,
}

/// A call that runs in a thread of its own.
pub(crate) struct Running<R> {
    result: Receiver<R>,
    asleep: Receiver<()>,
}

impl<R> Running<R> {
    /// Wait until it sleeps: by then it stands among the waiters.
    pub(crate) fn until_asleep(self) -> Self {
        self.asleep.recv_timeout(PATIENCE).expect("the call does not wait");
        self
    }

    /// What it returned.
    pub(crate) fn result(self) -> R {
        match self.result.recv_timeout(PATIENCE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => panic!("the call has not returned"),
            Err(RecvTimeoutError::Disconnected) => panic!("the call panicked"),
        }
    }

    /// Whether it has not returned yet.
    pub(crate) fn is_running(&self) -> bool {
        self.result.try_recv().is_err()
    }
}

/// Start a call in a thread of its own.
pub(crate) fn start<R: Send + 'static>(sleep: Sleep, call: impl FnOnce(&Sleeper) -> R + Send + 'static) -> Running<R> {
    let (asleep, told) = channel();
    let (send, result) = channel();
    let sleeper = Sleeper { asleep, held: sleep.held, interrupt: sleep.interrupt };
    // Never joined: one that hangs must not hang the test, which gives up at its deadline.
    std::thread::spawn(move || send.send(call(&sleeper)));
    Running { result, asleep: told }
}

/// Start a call that waits, and see it asleep.
pub(crate) fn blocked<R: Send + 'static>(call: impl FnOnce(&Sleeper) -> R + Send + 'static) -> Running<R> {
    start(Sleep::default(), call).until_asleep()
}

/// The ids that a blocked reserve brings home.
pub(crate) type Reserved = Running<Result<Vec<JobId>, Error>>;

/// A reserve of at most `limit` jobs of `mail` that waits without end.
pub(crate) fn waiting(engine: &Arc<Engine<Bytes>>, limit: u64) -> Reserved {
    waiting_as(Sleep::default(), engine, limit, None)
}

/// A reserve that waits in a way of its own.
pub(crate) fn waiting_as(sleep: Sleep, engine: &Arc<Engine<Bytes>>, limit: u64, timeout: Option<Duration>) -> Reserved {
    let engine = Arc::clone(engine);
    start(sleep, move |caller| engine.reserve(caller, MAIL, limit, timeout).map(|grants| ids(&grants))).until_asleep()
}

/// Run a test that would hang rather than fail in a thread of its own, and fail when it does.
pub(crate) fn within_patience(test: impl FnOnce() + Send + 'static) {
    start(Sleep::default(), move |_| test()).result();
}
