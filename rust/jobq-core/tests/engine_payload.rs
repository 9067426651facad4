//! Payloads may be objects of an interpreter: never dropped under the engine's lock, and neither dropped nor shared
//! by a thread that waits.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use common::{MAIL, NOW, assert_sound, handle, real_engine, settle, start, take, within_patience};
use jobq_core::clock::ManualClock;
use jobq_core::engine::{Caller, Config, Engine, Force, Outcome, Payload, Thread};
use jobq_core::error::Error;
use jobq_core::job::{JobId, Schedule};
use jobq_core::options::{JobOptions, Limits, Retention};
use jobq_core::topic::TopicRef;

thread_local! {
    /// Whether this thread has given up what a payload needs.
    static DETACHED: Cell<bool> = const { Cell::new(false) };
}

/// What the payloads of one engine know and find.
#[derive(Default)]
struct Watch {
    engine: OnceLock<Weak<Engine<Probe>>>,
    /// Payloads whose drop came through the engine's lock.
    dropped: AtomicU64,
    /// Payloads dropped or shared by a thread that waits.
    detached: AtomicU64,
}

impl Watch {
    fn touch(&self) {
        self.detached.fetch_add(u64::from(DETACHED.get()), Ordering::Relaxed);
    }

    /// Call the engine, which hangs if this thread holds its lock.
    fn probe(&self) {
        self.touch();
        if let Some(engine) = self.engine.get().and_then(Weak::upgrade) {
            let answer = engine.stats(&Thread);
            assert!(matches!(answer, Ok(_) | Err(Error::Closed(_))), "{answer:?}");
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Probe {
    watch: Arc<Watch>,
    bytes: Vec<u8>,
}

impl Payload for Probe {
    fn share(&self) -> Self {
        self.watch.touch();
        Self { watch: Arc::clone(&self.watch), bytes: self.bytes.clone() }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { watch: Arc::default(), bytes }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.watch.probe();
    }
}

/// A caller whose payloads must be left alone while it waits.
struct Attached;

impl Caller for Attached {
    fn detached<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        DETACHED.set(true);
        let result = work();
        DETACHED.set(false);
        result
    }

    fn interrupted(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// An engine and the watch over its payloads.
struct Bench {
    watch: Arc<Watch>,
    engine: Arc<Engine<Probe>>,
}

impl Bench {
    fn manual(change: impl FnOnce(&mut Config)) -> (Arc<ManualClock>, Self) {
        let (clock, engine) = common::engine(change);
        (clock, Self::of(engine))
    }

    fn of(engine: Arc<Engine<Probe>>) -> Self {
        let watch = Arc::new(Watch::default());
        watch.engine.set(Arc::downgrade(&engine)).unwrap();
        Self { watch, engine }
    }

    fn probe(&self) -> Probe {
        Probe { watch: Arc::clone(&self.watch), bytes: vec![0; 3] }
    }

    fn put(&self, schedule: Schedule) -> JobId {
        self.engine.enqueue(&Attached, MAIL, self.probe(), 0, schedule, None).unwrap()
    }

    /// Assert that so many payloads were dropped since the last look, none of them badly.
    fn dropped(&self, wanted: u64) {
        assert_eq!(self.watch.dropped.swap(0, Ordering::Relaxed), wanted);
        assert_eq!(self.watch.detached.load(Ordering::Relaxed), 0, "touched by a thread that waits");
    }
}

/// Purged by the count of those kept, in the call that settles; by age, in a tick; deleted; refused.
#[test]
fn payloads_of_purged_and_deleted_jobs_are_dropped_outside_the_lock() {
    within_patience(|| {
        let (clock, bench) = Bench::manual(|config| {
            config.retention = Retention { age: Some(1_000), count: Some(2), size: None };
        });
        let engine = &bench.engine;
        let jobs: Vec<JobId> = (0..5).map(|_| bench.put(Schedule::Now)).collect();
        bench.dropped(0);
        for kept in [0, 0, 1] {
            let grant = take(engine);
            settle(engine, &grant, Outcome::Done);
            bench.dropped(kept);
            drop(grant);
            bench.dropped(1);
        }
        clock.advance(1_000);
        bench.dropped(2);
        engine.delete(&Attached, &jobs[3..]).unwrap();
        bench.dropped(2);
        for _ in 0..3 {
            bench.put(Schedule::After(10));
        }
        clock.advance(10);
        let grants = engine.reserve(&Attached, MAIL, 3, NOW).unwrap();
        let handles: Vec<_> = grants.iter().map(handle).collect();
        drop(grants);
        bench.dropped(3);
        engine.settle_many(&Attached, &handles, Outcome::Done).unwrap();
        bench.dropped(1);
        assert_sound(engine);
    });
}

/// An enqueue that is refused drops what it was given, after it has let go of the lock.
#[test]
fn payloads_of_refused_enqueues_are_dropped_outside_the_lock() {
    within_patience(|| {
        let limits = Limits { max_jobs: Some(1), max_payload: 3, ..Limits::default() };
        let (_clock, bench) = Bench::manual(|config| config.limits = limits);
        let engine = &bench.engine;
        let many = |topic, count| {
            let items = (0..count).map(|_| (bench.probe(), 0)).collect();
            engine.enqueue_many(&Attached, topic, items, Schedule::Now, None)
        };
        assert!(many(MAIL, 2).is_err());
        bench.dropped(2);
        assert!(many(TopicRef::Name(""), 1).is_err());
        bench.dropped(1);
        bench.put(Schedule::Now);
        assert!(engine.enqueue(&Attached, MAIL, bench.probe(), 0, Schedule::Now, None).is_err());
        bench.dropped(1);
        let large = Probe { watch: Arc::clone(&bench.watch), bytes: vec![0; 4] };
        assert!(engine.enqueue(&Attached, MAIL, large, 0, Schedule::Now, None).is_err());
        bench.dropped(1);
        assert_sound(engine);
    });
}

/// Close drops what is left, ready, delayed, reserved and kept; what comes after it is dropped too.
#[test]
fn payloads_are_dropped_outside_the_lock_at_close() {
    within_patience(|| {
        let (_clock, bench) = Bench::manual(|_| ());
        let engine = &bench.engine;
        for schedule in [Schedule::Now, Schedule::Now, Schedule::Now, Schedule::After(10)] {
            bench.put(schedule);
        }
        let [done, held] = [take(engine), take(engine)];
        settle(engine, &done, Outcome::Done);
        engine.close(&Attached).unwrap();
        bench.dropped(4);
        engine.give_back([done, held]);
        bench.dropped(2);
        assert!(engine.enqueue(&Attached, MAIL, bench.probe(), 0, Schedule::Now, None).is_err());
        bench.dropped(1);
    });
}

/// What is given back, damaged, taken away or looked at drops its share outside the lock.
#[test]
fn shares_are_dropped_outside_the_lock() {
    within_patience(|| {
        let (_clock, bench) = Bench::manual(|_| ());
        let engine = &bench.engine;
        let id = bench.put(Schedule::Now);
        drop(engine.payload(&Attached, id).unwrap());
        bench.dropped(1);
        let grant = take(engine);
        engine.give_back([grant]);
        bench.dropped(1);
        let grant = take(engine);
        engine.reset(&Attached, &[id], Force::Yes).unwrap();
        engine.give_back([grant]);
        bench.dropped(1);
        engine.cancel(&Attached, &[id]).unwrap();
        engine.delete(&Attached, &[id]).unwrap();
        bench.dropped(1);
        assert_sound(engine);
    });
}

/// A waiter keeps time while it is detached: what its ticks purge stays for a thread that may drop it, and what it
/// is served is shared when it is attached again.
#[test]
fn a_timekeeper_leaves_payloads_alone_while_it_waits() {
    within_patience(|| {
        let bench = Bench::of(real_engine(|config| {
            config.retention = Retention { age: Some(1), count: None, size: None };
        }));
        let engine = &bench.engine;
        let options = JobOptions { lease: 40, max_retries: 0, ..JobOptions::default() };
        let put = |topic| engine.enqueue(&Attached, topic, bench.probe(), 0, Schedule::Now, Some(&options)).unwrap();
        put(TopicRef::Name("held"));
        put(TopicRef::Name("done"));
        let done = engine.reserve_one(&Attached, TopicRef::Name("done"), NOW).unwrap().unwrap();
        settle(engine, &done, Outcome::Done);
        let held = engine.reserve_one(&Attached, TopicRef::Name("held"), NOW).unwrap().unwrap();
        let waiter = {
            let engine = Arc::clone(engine);
            start(common::Sleep::default(), move |_| engine.reserve_one(&Attached, MAIL, None).map(drop))
        };
        // The waiter's own tick ends the lease and purges what is done; then a delayed job serves it.
        bench.put(Schedule::After(80));
        waiter.result().unwrap();
        // The payload purged and the waiter's share.
        bench.dropped(2);
        drop((held, done));
        bench.dropped(2);
        assert!(engine.join(&Attached, Some(TopicRef::Name("held")), Some(Duration::ZERO)).unwrap());
        assert_sound(engine);
    });
}

/// A waiter that is served while many others are, and one that leaves with nothing, drop nothing while they wait.
#[test]
fn waiters_that_leave_touch_no_payload() {
    within_patience(|| {
        let bench = Bench::of(real_engine(|_| ()));
        let engine = &bench.engine;
        let wait = |timeout| {
            let engine = Arc::clone(engine);
            start(common::Sleep::default(), move |_| engine.reserve(&Attached, MAIL, 2, timeout).map(drop))
        };
        let waiters: Vec<_> = (0..4).map(|_| wait(None)).collect();
        wait(Some(Duration::from_millis(5))).result().unwrap();
        bench.dropped(0);
        for _ in 0..4 {
            bench.put(Schedule::Now);
        }
        // How many each got depends on who came first; what they left is for these.
        while engine.stats(&Attached).unwrap().waiting > 0 {
            bench.put(Schedule::Now);
        }
        for waiter in waiters {
            waiter.result().unwrap();
        }
        assert_eq!(bench.watch.detached.load(Ordering::Relaxed), 0, "touched by a thread that waits");
        assert_sound(engine);
    });
}
