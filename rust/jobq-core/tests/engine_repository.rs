//! The engine before a repository: what is written when and by whom, who waits for it, and what its failure means.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use common::store::{Log, Store, disk_full, open, open_with};
use common::{
    Bytes, Gate, MAIL, NOW, PATIENCE, Running, Sleep, assert_sound, drain, handle, manual, post, settle, start, take,
    waiting, within_patience,
};
use jobq_core::engine::{Engine, Outcome, Thread};
use jobq_core::error::{Closed, Error};
use jobq_core::job::{JobId, Schedule, Status};
use jobq_core::repository::Change;
use jobq_core::repository::codec::CHUNK;
use jobq_core::topic::TopicRef;

/// Have the store's next commit wait at a gate; it tells when it is there.
fn hold(store: &Store) -> (Arc<Gate>, Receiver<()>) {
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
fn held_post(engine: &Arc<Engine<Bytes>>, told: &Receiver<()>) -> Running<JobId> {
    let posting = {
        let engine = Arc::clone(engine);
        start(Sleep::default(), move |_| post(&engine, "held"))
    };
    told.recv_timeout(PATIENCE).expect("the call does not write");
    posting
}

/// A call of the engine from inside the store's next commit; its result comes by the channel.
fn call_inside<R: Send + 'static>(
    store: &Store,
    engine: &Arc<Engine<Bytes>>,
    call: impl Fn(&Engine<Bytes>) -> R + Send + Sync + 'static,
) -> Receiver<R> {
    let engine: Weak<Engine<Bytes>> = Arc::downgrade(engine);
    let (send, result) = channel();
    let send = Mutex::new(send);
    store.on_commit(move |number| {
        if number == 1 {
            send.lock().unwrap().send(call(&engine.upgrade().unwrap())).unwrap();
        }
        Ok(())
    });
    result
}

fn keys(batch: &[Change]) -> Vec<u8> {
    let mut first: Vec<u8> = batch.iter().map(|change| change.key()[0]).collect();
    first.dedup();
    first
}

/// One object in both roles gets one batch, so that no crash can part a job from its counts (R2, design 6).
#[test]
fn r2_one_object_for_both_roles_gets_one_batch() {
    let (clock, log) = (manual(), Log::default());
    let store = Store::named("one", &log);
    let engine = open(&clock, &store);
    assert_eq!(log.lock().unwrap().len(), 1, "opening writes once");
    log.lock().unwrap().clear();
    post(&engine, "x");
    let grant = take(&engine);
    settle(&engine, &grant, Outcome::Done);
    let batches: Vec<Vec<u8>> = log.lock().unwrap().iter().map(|(_, batch)| keys(batch)).collect();
    assert_eq!(batches, [b"pjt".to_vec(), b"st".to_vec(), b"st".to_vec()]);
    engine.close(&Thread).unwrap();
    assert_eq!((store.closes(), store.breaches()), (1, vec![]));
}

/// Of two objects the jobs are written first: a count that is lost can be corrected, a job cannot.
#[test]
fn two_stores_are_written_jobs_first() {
    let (clock, log) = (manual(), Log::default());
    let (jobs, topics) = (Store::named("jobs", &log), Store::named("topics", &log));
    let engine = open_with(&clock, &jobs, &topics, |_| ());
    for _ in 0..3 {
        post(&engine, "x");
    }
    take(&engine);
    let names: Vec<&str> = log.lock().unwrap().iter().map(|(name, _)| *name).collect();
    // Opening an empty store writes of the jobs alone.
    assert_eq!(names, ["jobs", "jobs", "topics", "jobs", "topics", "jobs", "topics", "jobs", "topics"]);
    for (name, batch) in log.lock().unwrap().iter() {
        assert_eq!(batch.iter().all(|change| change.key()[0] == b't'), *name == "topics");
    }
    topics.on_commit(|_| Err(disk_full()));
    let refused = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None);
    assert!(matches!(refused, Err(Error::Repository(_))));
    engine.close(&Thread).unwrap();
    assert_eq!((jobs.closes(), topics.closes()), (1, 1));
    assert_eq!((jobs.breaches(), topics.breaches()), (vec![], vec![]));
}

/// A batch holds a key once, its last value: adapters may count on it.
#[test]
fn a_batch_holds_each_key_once() {
    within_patience(|| {
        let (clock, log) = (manual(), Log::default());
        let store = Store::named("one", &log);
        let engine = open(&clock, &store);
        let id = post(&engine, "x");
        let (gate, told) = hold(&store);
        let posting = held_post(&engine, &told);
        let take_and_return = || engine.give_back([take(&engine)]);
        (0..5).for_each(|_| take_and_return());
        let held = take(&engine);
        assert_eq!(held.id, id);
        gate.open();
        posting.result();
        engine.flush(&Thread).unwrap();
        for (_, batch) in log.lock().unwrap().iter() {
            let mut keys: Vec<&[u8]> = batch.iter().map(Change::key).collect();
            keys.sort_unstable();
            let all = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), all);
        }
        let again = open(&clock, &store.copy());
        assert_eq!(again.info(&Thread, id).unwrap().attempts, 1, "the last value was written");
    });
}

/// A commit takes as long as a disk takes; whoever only looks or takes does not wait for it (R3, R6).
#[test]
fn r3_reads_and_reserves_do_not_wait_for_anothers_commit() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let first = post(&engine, "first");
        let (gate, told) = hold(&store);
        let posting = held_post(&engine, &told);
        let second = JobId(first.0 + 1);
        assert_eq!(engine.status(&Thread, second).unwrap(), Status::Ready, "visible at once");
        assert_eq!(engine.stats(&Thread).unwrap().counters.enqueued, 2);
        assert_sound(&engine);
        assert_eq!(drain(&engine, MAIL), [first, second]);
        assert!(engine.reserve(&Thread, MAIL, 1, NOW).unwrap().is_empty());
        assert!(!engine.join(&Thread, None, NOW).unwrap());
        clock.advance(7_200_000);
        assert_eq!(engine.stats(&Thread).unwrap().counters.expiries, 2);
        assert!(posting.is_running());
        gate.open();
        assert_eq!(posting.result(), second);
    });
}

/// A settled job is a promise: the call waits for its own change, written by whoever has the turn (R3, R6).
#[test]
fn r3_those_who_wait_are_served_by_one_commit() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        post(&engine, "x");
        let grant = take(&engine);
        let (gate, told) = hold(&store);
        let posting = held_post(&engine, &told);
        let done = {
            let (engine, handle) = (Arc::clone(&engine), handle(&grant));
            start(Sleep::default(), move |caller| engine.settle(caller, handle, Outcome::Done)).until_asleep()
        };
        let others: Vec<_> = (0..3)
            .map(|_| {
                let engine = Arc::clone(&engine);
                start(Sleep::default(), move |caller| {
                    engine.enqueue(caller, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None)
                })
                .until_asleep()
            })
            .collect();
        assert!(done.is_running() && others.iter().all(Running::is_running));
        gate.open();
        posting.result();
        assert_eq!(done.result().unwrap(), Status::Done);
        others.into_iter().for_each(|other| assert!(other.result().is_ok()));
        assert_eq!(store.commits(), 2, "one for the post, one for all who waited");
        let again = open(&clock, &store.copy());
        assert_eq!(again.stats(&Thread).unwrap().counters.enqueued, 5);
    });
}

/// A store that failed may be behind memory: nothing is served from it any more, by nobody, until open (R4).
#[test]
fn r4_a_failure_is_final() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let id = post(&engine, "kept");
        let grant = take(&engine);
        store.on_commit(|number| if number == 2 { Err(disk_full()) } else { Ok(()) });
        let waiter = waiting(&engine, 1);
        let join = {
            let engine = Arc::clone(&engine);
            common::blocked(move |caller| engine.join(caller, Some(TopicRef::Name("mail")), None))
        };
        assert_eq!(settle(&engine, &grant, Outcome::Release { delay: 60_000 }), Status::Delayed);
        let refused = engine.enqueue(&Thread, TopicRef::Name("b"), Bytes::from(vec![]), 0, Schedule::Now, None);
        assert!(matches!(&refused, Err(Error::Repository(cause)) if cause.to_string() == "disk full"));
        for result in [
            waiter.result().map(drop),
            join.result().map(drop),
            engine.stats(&Thread).map(drop),
            engine.payload(&Thread, id).map(drop),
            engine.reserve_one(&Thread, MAIL, NOW).map(drop),
            engine.cancel(&Thread, &[id]),
            engine.flush(&Thread),
            engine.compact(&Thread).map(drop),
            engine.stop(),
        ] {
            assert!(matches!(&result, Err(Error::Failed(cause)) if cause.to_string() == "disk full"), "{result:?}");
        }
        engine.give_back([grant]);
        engine.close(&Thread).unwrap();
        assert_eq!((store.commits(), store.closes(), store.breaches()), (2, 1, vec![]));
        store.be_quiet();
        let again = open(&clock, &store);
        assert_eq!(again.status(&Thread, id).unwrap(), Status::Delayed);
        assert_eq!(again.stats(&Thread).unwrap().counters.enqueued, 1);
        assert_sound(&again);
    });
}

/// Whoever waited for the batch that failed, or for the next, is told of the failure and not of its own fault (R4).
#[test]
fn r4_callers_in_the_failed_batch_are_told() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let (gate, told) = (Gate::new(), OnceLock::new());
        let (tell, inside) = channel();
        assert!(told.set(Mutex::new(tell)).is_ok());
        let door = Arc::clone(&gate);
        store.on_commit(move |_| {
            told.get().map(|tell| tell.lock().unwrap().send(()));
            door.pass();
            Err(disk_full())
        });
        let enqueue = || {
            let engine = Arc::clone(&engine);
            start(Sleep::default(), move |caller| {
                engine.enqueue(caller, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None)
            })
        };
        let first = enqueue();
        inside.recv_timeout(PATIENCE).unwrap();
        let second = enqueue().until_asleep();
        gate.open();
        assert!(matches!(first.result(), Err(Error::Repository(_))));
        assert!(matches!(second.result(), Err(Error::Failed(_))));
        assert_eq!(store.commits(), 1, "nothing is written after a failure");
    });
}

/// A repository's method that panics is a failure like another, and its turn is given back.
#[test]
fn r4_a_repository_that_panics_has_failed() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        store.on_commit(|_| std::panic::resume_unwind(Box::new("broken")));
        let broken = {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || post(&engine, "x")).join()
        };
        assert!(broken.is_err());
        assert!(matches!(engine.stats(&Thread), Err(Error::Failed(_))));
        engine.close(&Thread).unwrap();
        assert_eq!(store.closes(), 1);
    });
}

/// A call into the service from inside a repository's method would wait for itself: it is refused, and only it (R4).
#[test]
fn r4_a_call_from_inside_a_repository_is_refused() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let inside = call_inside(&store, &engine, |engine| {
            let enqueue = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None);
            [enqueue.map(drop), engine.stats(&Thread).map(drop), engine.flush(&Thread), engine.stop()]
        });
        let id = post(&engine, "x");
        for result in inside.recv_timeout(PATIENCE).unwrap() {
            assert!(matches!(result, Err(Error::Reentered)), "{result:?}");
        }
        assert_eq!(take(&engine).id, id, "nothing was changed by it and nothing has failed");
        assert_eq!(engine.stats(&Thread).unwrap().counters.enqueued, 1);
    });
}

/// A signal handler may close the service out of a repository's method: the call it interrupts finishes it (C4, D3).
#[test]
fn c4_a_close_from_inside_is_finished_by_the_call_it_interrupts() {
    within_patience(|| {
        for fails in [false, true] {
            let (clock, store) = (manual(), Store::new());
            let engine = open(&clock, &store);
            let (held, ready) = (post(&engine, "held"), post(&engine, "ready"));
            take(&engine);
            let waiter = {
                let engine = Arc::clone(&engine);
                common::blocked(move |caller| engine.reserve(caller, TopicRef::Name("b"), 1, None).map(drop))
            };
            let closing = Arc::downgrade(&engine);
            let was_open = Arc::new(AtomicBool::new(false));
            let (seen, inner) = (Arc::clone(&was_open), Arc::downgrade(&store));
            store.on_commit(move |number| {
                if number == 1 {
                    closing.upgrade().unwrap().close(&Thread).unwrap();
                    seen.store(inner.upgrade().unwrap().closes() == 0, Ordering::Relaxed);
                    return if fails { Err(disk_full()) } else { Ok(()) };
                }
                Ok(())
            });
            let last = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None);
            assert_eq!(last.is_err(), fails, "{last:?}");
            assert!(was_open.load(Ordering::Relaxed), "the store is closed after the call that is inside it");
            assert!(matches!(waiter.result(), Err(Error::Closed(Closed::Closed))));
            assert!(matches!(engine.stats(&Thread), Err(Error::Closed(Closed::Closed))));
            engine.close(&Thread).unwrap();
            assert_eq!((store.closes(), store.breaches()), (1, vec![]));
            store.be_quiet();
            let again = open(&clock, &store);
            assert_eq!(again.recovery().clean, !fails);
            let order = drain(&again, MAIL);
            assert_eq!(order[..2], [held, ready]);
            assert_eq!(order.len(), if fails { 2 } else { 3 });
        }
    });
}

/// A durable call under way ends well when another thread closes; a second close waits for the first (C4).
#[test]
fn c4_close_lets_durable_calls_under_way_finish() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let (gate, told) = hold(&store);
        let posting = held_post(&engine, &told);
        let queued = {
            let engine = Arc::clone(&engine);
            start(Sleep::default(), move |caller| {
                engine.enqueue(caller, MAIL, Bytes::from(vec![]), 0, Schedule::Now, None)
            })
            .until_asleep()
        };
        let close = || {
            let engine = Arc::clone(&engine);
            start(Sleep::default(), move |caller| engine.close(caller)).until_asleep()
        };
        let closes = [close(), close()];
        assert!(matches!(engine.stats(&Thread), Err(Error::Closed(_))));
        assert!(closes.iter().all(Running::is_running) && store.closes() == 0);
        gate.open();
        let jobs = [posting.result(), queued.result().unwrap()];
        closes.into_iter().for_each(|close| close.result().unwrap());
        assert_eq!((store.closes(), store.breaches()), (1, vec![]));
        let again = open(&clock, &store);
        assert!(again.recovery().clean);
        assert_eq!(drain(&again, MAIL), jobs);
    });
}

/// A payload is written in pieces that every adapter can hold, and read back whole.
#[test]
fn payloads_are_kept_in_chunks() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let sizes = [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7];
    let payloads: Vec<Bytes> = sizes
        .iter()
        .map(|&size| (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>().into())
        .collect();
    let ids: Vec<JobId> = payloads.iter().map(|payload| common::put(&engine, MAIL, Arc::clone(payload))).collect();
    let chunks = store.data().iter().filter(|(key, _)| key[0] == b'p').count();
    assert_eq!(chunks, 1 + 1 + 1 + 2 + 4);
    assert!(store.data().values().all(|value| value.len() <= CHUNK + 4));
    let again = open(&clock, &store.copy());
    for (id, payload) in ids.iter().zip(&payloads) {
        assert_eq!(&again.payload(&Thread, *id).unwrap(), payload);
        assert_eq!(&take(&again).take_payload(), payload);
    }
    engine.delete(&Thread, &ids).unwrap();
    let left: Vec<u8> = store.data().keys().map(|key| key[0]).filter(|first| b"pjs".contains(first)).collect();
    assert_eq!(left, []);
}

/// Compacting has the store to itself, after all that was acknowledged is written.
#[test]
fn compact_says_what_the_stores_freed() {
    let clock = manual();
    let (jobs, topics) = (Store::new(), Store::new());
    assert_eq!(open(&clock, &jobs).compact(&Thread).unwrap(), 7);
    assert_eq!(open_with(&clock, &jobs, &topics, |_| ()).compact(&Thread).unwrap(), 14);
}
