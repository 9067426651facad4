//! Random walks over three topics: after every step all that is derived agrees, and after every crash all that was
//! acknowledged is there.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;

use common::steps::{Step, TOPICS, bounds, bytes, options, step, topic};
use common::store::{Store, open_with};
use common::{Bytes, NOW, assert_sound, engine, handle, manual};
use jobq_core::clock::ManualClock;
use jobq_core::engine::{Engine, Filter, Grant, Handle, Outcome, Thread};
use jobq_core::error::Error;
use jobq_core::job::{JobId, JobInfo, Reason, Schedule, Status, Token};
use jobq_core::stats::Counters;
use jobq_core::topic::TopicRef;
use proptest::prelude::*;

struct Walk {
    clock: Arc<ManualClock>,
    /// Where the jobs are remembered, if anywhere.
    store: Option<Arc<Store>>,
    engine: Arc<Engine<Bytes>>,
    /// Leases that may still stand.
    held: Vec<Grant<Bytes>>,
    /// Leases that are over for certain.
    over: Vec<Handle>,
    last_id: JobId,
    last_token: Token,
}

impl Walk {
    fn in_memory() -> Self {
        let (clock, engine) = engine(bounds);
        Self::new(clock, None, engine)
    }

    fn with_store() -> Self {
        let (clock, store) = (manual(), Store::new());
        let engine = open_with(&clock, &store, &store, bounds);
        Self::new(clock, Some(store), engine)
    }

    fn new(clock: Arc<ManualClock>, store: Option<Arc<Store>>, engine: Arc<Engine<Bytes>>) -> Self {
        Self { clock, store, engine, held: vec![], over: vec![], last_id: JobId(0), last_token: Token(0) }
    }

    fn pick(&mut self, pick: usize) -> Option<Grant<Bytes>> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(pick % self.held.len()))
    }

    /// An id that was given out, or the next one.
    fn id(&self, pick: u64) -> JobId {
        JobId(1 + pick % (self.last_id.0 + 1))
    }

    fn find(&self, filter: &Filter) -> Vec<JobInfo> {
        let (mut all, mut after) = (Vec::new(), Some(JobId(0)));
        while let Some(from) = after {
            let (page, next) = self.engine.find(&Thread, filter, from, 100).unwrap();
            all.extend(page);
            after = next;
        }
        all
    }

    fn take(&mut self, step: &Step) {
        let engine = Arc::clone(&self.engine);
        match *step {
            Step::Enqueue { topic: at, weight, schedule, options: which } => {
                let (payload, chosen) = (bytes(self.last_id.0), which.map(options));
                let id = engine.enqueue(&Thread, topic(at), payload, weight, schedule, chosen.as_ref()).unwrap();
                assert!(id > self.last_id, "ids go up");
                self.last_id = id;
            }
            Step::EnqueueMany { topic: at, count } => {
                let items = (0..count).map(|_| (bytes(7), 0)).collect();
                let ids = engine.enqueue_many(&Thread, topic(at), items, Schedule::Now, None).unwrap();
                assert!(ids.start > self.last_id.0 && ids.end - ids.start == u64::try_from(count).unwrap());
                self.last_id = JobId(self.last_id.0.max(ids.end - 1));
            }
            Step::Reserve { topic, limit } => self.reserve(topic, limit),
            Step::Settle { pick, end } => {
                let Some(grant) = self.pick(pick) else { return };
                let result = engine.settle(&Thread, handle(&grant), end.outcome());
                assert!(matches!(result, Ok(_) | Err(Error::LeaseLost(_))), "{result:?}");
                self.over.push(handle(&grant));
            }
            Step::SettleMany { from, end } => {
                let split = from % (self.held.len() + 1);
                let handles: Vec<Handle> = self.held.drain(split..).map(|grant| handle(&grant)).collect();
                let (accepted, error) = engine.settle_many(&Thread, &handles, end.outcome()).unwrap();
                assert_eq!(error.is_none(), accepted.iter().all(|accepted| *accepted));
                self.over.extend(handles);
            }
            Step::Extend { pick, span } => {
                let Some(grant) = self.pick(pick) else { return };
                let result = engine.extend(&Thread, handle(&grant), span);
                assert!(matches!(result, Err(Error::LeaseLost(_))) || result.unwrap() >= grant.deadline);
                self.held.push(grant);
            }
            Step::Log { pick } => {
                let Some(grant) = self.pick(pick) else { return };
                let result = engine.log(&Thread, handle(&grant), "here");
                assert!(matches!(result, Ok(()) | Err(Error::LeaseLost(_))), "{result:?}");
                self.held.push(grant);
            }
            Step::Abandon { pick } => {
                let Some(grant) = self.pick(pick) else { return };
                engine.abandon(handle(&grant));
                self.over.push(handle(&grant));
            }
            Step::GiveBack { pick } => {
                let Some(grant) = self.pick(pick) else { return };
                self.over.push(handle(&grant));
                engine.give_back([grant]);
            }
            Step::Cancel { pick } => operated(&engine.cancel(&Thread, &[self.id(pick)])),
            Step::Reset { pick, force } => operated(&engine.reset(&Thread, &[self.id(pick)], force)),
            Step::Delete { pick } => operated(&engine.delete(&Thread, &[self.id(pick)])),
            Step::Pause { topic: at } => engine.pause(&Thread, topic(at)).unwrap(),
            Step::Resume { topic: at } => engine.resume(&Thread, topic(at)).unwrap(),
            Step::Advance { ms } => self.clock.advance(ms),
            Step::Jump { ms } => self.clock.jump(ms),
            Step::Crash => {
                drop(engine);
                self.crash();
            }
        }
    }

    fn reserve(&mut self, at: usize, limit: u64) {
        let filter = Filter { status: Some(Status::Ready), topic: Some(Arc::from(TOPICS[at])), ..Filter::default() };
        let ready = self.find(&filter);
        let paused = self.engine.topic_stats(&Thread, topic(at)).unwrap().paused;
        let grants = self.engine.reserve(&Thread, topic(at), limit, NOW).unwrap();
        let weights: Vec<i16> = grants.iter().map(|grant| grant.weight).collect();
        let mut sorted: Vec<i16> = ready.iter().map(|info| info.weight).collect();
        sorted.sort_unstable();
        assert!(sorted.starts_with(&weights), "{weights:?} of {sorted:?}");
        assert_eq!(grants.is_empty(), paused || ready.is_empty());
        for mut grant in grants {
            assert!(grant.token > self.last_token, "tokens go up");
            self.last_token = grant.token;
            let payload = grant.take_payload();
            assert_eq!(payload, self.engine.payload(&Thread, grant.id).unwrap());
            self.held.push(grant);
        }
    }

    /// Kill the service when all it acknowledged is written, open the store again, and miss nothing.
    fn crash(&mut self) {
        let Some(store) = self.store.clone() else { return };
        self.engine.flush(&Thread).unwrap();
        let before: Vec<(JobInfo, Bytes)> = self
            .find(&Filter::default())
            .into_iter()
            .map(|info| (info.clone(), self.engine.payload(&Thread, info.id).unwrap()))
            .collect();
        // Finished jobs go in the order of finishing, and are put in that of their dates at open: behind a clock that
        // was set back, one that is too old may still stand behind a younger one, and would go now.
        if before.iter().any(|(was, _)| is_too_old(was, self.clock.now().wall.0)) {
            return;
        }
        let events = events(&self.engine);
        self.engine = open_with(&self.clock, &store, &store, bounds);
        self.over.extend(self.held.drain(..).map(|grant| handle(&grant)));
        let after = self.find(&Filter::default());
        assert_eq!(before.len(), after.len());
        for ((was, payload), is) in before.iter().zip(&after) {
            assert_kept(was, is, self.clock.now().wall.0);
            assert_eq!(&self.engine.payload(&Thread, is.id).unwrap(), payload);
        }
        assert_eq!(events, self::events(&self.engine));
        let recovered = before.iter().filter(|(was, _)| was.status == Status::Reserved).count();
        let recovery = self.engine.recovery();
        let found = recovery.recovered + u64::try_from(recovery.poisoned.len()).unwrap();
        assert_eq!((found, recovery.clean), (u64::try_from(recovered).unwrap(), false));
    }

    /// What must hold after each step.
    fn check(&self) {
        assert_sound(&self.engine);
        for &old in self.over.iter().rev().take(4) {
            let late = self.engine.settle(&Thread, old, Outcome::Done);
            assert!(matches!(late, Err(Error::LeaseLost(_))), "{late:?}");
        }
    }
}

/// Whether no service keeps a finished job of this age from its open on, see [`bounds`].
fn is_too_old(job: &JobInfo, now: u64) -> bool {
    let age = if job.reason.is_some_and(Reason::is_dead) { 8_000 } else { 4_000 };
    job.finished_at.is_some_and(|at| at + age <= now)
}

fn operated(result: &Result<(), Error>) {
    let refused = matches!(result, Err(Error::JobNotFound(_) | Error::InvalidTransition(_)));
    assert!(result.is_ok() || refused, "{result:?}");
}

/// What no crash may change: all counts of events, of each topic and of all, but those that opening makes.
fn events(engine: &Engine<Bytes>) -> Vec<Counters> {
    let names = engine.topics(&Thread).unwrap();
    let topics = names.iter().map(|name| engine.topic_stats(&Thread, TopicRef::Name(name)).unwrap().counters);
    let mut total = engine.stats(&Thread).unwrap().counters;
    // Put together again from the topics', they differ when the clock stepped back.
    for date in [
        &mut total.first_enqueued_at,
        &mut total.last_enqueued_at,
        &mut total.first_reserved_at,
        &mut total.last_reserved_at,
    ] {
        *date = 0;
    }
    let mut all: Vec<Counters> = topics.chain([total]).collect();
    for events in &mut all {
        (events.dead, events.cancellations, events.recoveries) = (0, 0, 0);
        for status in Status::ALL {
            *events.gauge(status) = 0;
        }
    }
    all
}

/// A job after a crash is the job before it, but that time went on and a reserved one is ready or poison.
fn assert_kept(was: &JobInfo, is: &JobInfo, now: u64) {
    let crashed = was.status == Status::Reserved;
    let kept = |job: &JobInfo| {
        (job.id, job.topic.clone(), job.name.clone(), job.weight, job.error.clone(), job.attempts, job.retries)
    };
    assert_eq!(kept(was), kept(is));
    let more = |job: &JobInfo| (job.max_retries, job.resets, job.lease, job.payload_size, job.created_at);
    assert_eq!(more(was), more(is));
    assert_eq!(is.crashes, was.crashes + u32::from(crashed), "job {}", was.id);
    if crashed && is.crashes > 3 {
        assert_eq!((is.status, is.reason), (Status::Canceled, Some(Reason::Poison)));
    } else if crashed {
        assert_eq!((is.status, is.reason), (Status::Ready, None));
    } else if (was.status, is.status) == (Status::Ready, Status::Delayed) {
        // It was promoted and the clock stepped back.
        assert!(is.due_at.unwrap() > now);
    } else {
        assert_eq!((was.status, was.reason, was.due_at), (is.status, is.reason, is.due_at), "job {}", was.id);
        assert_eq!(was.finished_at, is.finished_at);
    }
}

fn run(mut walk: Walk, steps: Vec<Step>) {
    for step in steps {
        walk.take(&step);
        walk.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done in whatever order, indexes, counters and places agree.
    #[test]
    fn every_count_is_exact_after_every_step(steps in prop::collection::vec(step(), 1..250)) {
        run(Walk::in_memory(), steps);
    }

    /// What was acknowledged survives a crash at any moment, and old leases do not.
    #[test]
    fn nothing_acknowledged_is_lost_in_a_crash(steps in prop::collection::vec(step(), 1..200)) {
        run(Walk::with_store(), steps);
    }
}
