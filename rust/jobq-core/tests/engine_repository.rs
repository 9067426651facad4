//! The engine before a repository: what is written when and by whom, and who waits for it.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::Arc;

use common::store::{Log, Store, disk_full, held_post, hold, open, open_with};
use common::{
    Bytes, MAIL, NOW, Running, Sleep, assert_sound, drain, handle, manual, post, put, settle, start, take,
    within_patience,
};
use jobq_core::engine::{Outcome, Thread};
use jobq_core::error::Error;
use jobq_core::job::{JobId, Schedule, Status};
use jobq_core::options::Retention;
use jobq_core::repository::Change;
use jobq_core::repository::codec::CHUNK;

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
    assert_eq!(batches, [b"jt".to_vec(), b"st".to_vec(), b"st".to_vec()]);
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
        for other in others {
            other.result().unwrap();
        }
        assert_eq!(store.commits(), 2, "one for the post, one for all who waited");
        let again = open(&clock, &store.copy());
        assert_eq!(again.stats(&Thread).unwrap().counters.enqueued, 5);
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
        for close in closes {
            close.result().unwrap();
        }
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
    let sizes = [0, 1, 1_024, 1_025, CHUNK, CHUNK + 1, 3 * CHUNK + 7];
    let payloads: Vec<Bytes> = sizes
        .iter()
        .map(|&size| (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>().into())
        .collect();
    let ids: Vec<JobId> = payloads.iter().map(|payload| common::put(&engine, MAIL, Arc::clone(payload))).collect();
    let chunks = store.data().iter().filter(|(key, _)| key[0] == b'p').count();
    assert_eq!(chunks, 1 + 1 + 2 + 4, "up to 1 KiB stands with the job");
    assert!(store.data().values().all(|value| value.len() <= CHUNK + 4));
    let again = open(&clock, &store.copy());
    for (id, payload) in ids.iter().zip(&payloads) {
        assert_eq!(&again.payload(&Thread, *id).unwrap(), payload);
        assert_eq!(&take(&again).take_payload(), payload);
    }
    // Then each has a record of where it stands, too.
    engine.give_back(engine.reserve(&Thread, MAIL, 9, NOW).unwrap());
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

/// One large job that is done may displace any number of small ones: each call drops a slice of them, in groups (T4).
#[test]
fn t4_what_one_job_displaces_is_purged_in_slices() {
    let (clock, store) = (manual(), Store::new());
    let engine = open_with(&clock, &store, &store, |config| {
        config.retention = Retention { age: None, count: None, size: Some(4_000) };
    });
    let small = (0..3_500).map(|_| (Bytes::from(vec![0]), 0)).collect();
    engine.enqueue_many(&Thread, MAIL, small, Schedule::Now, None).unwrap();
    let handles: Vec<_> = engine.reserve(&Thread, MAIL, 3_500, NOW).unwrap().iter().map(handle).collect();
    engine.settle_many(&Thread, &handles, Outcome::Done).unwrap();
    let large: Vec<_> = [4_000, 1, 1]
        .map(|size| {
            put(&engine, MAIL, Bytes::from(vec![0; size]));
            handle(&take(&engine))
        })
        .into();
    let before = store.batches().len();
    let purged = || {
        let data = store.data();
        3_503 - u64::try_from(data.keys().filter(|key| key[0] == b'j').count()).unwrap()
    };
    engine.settle_many(&Thread, &large, Outcome::Done).unwrap();
    // A slice for the large one, one for each that follows.
    assert_eq!(purged(), 1_002);
    for wanted in [2_002, 3_002, 3_501, 3_501] {
        assert_eq!((engine.stats(&Thread).unwrap().counters.purged, purged()), (wanted, wanted));
    }
    assert!(store.batches().iter().skip(before).all(|batch| batch.len() <= 1_010));
    assert_sound(&engine);
}
