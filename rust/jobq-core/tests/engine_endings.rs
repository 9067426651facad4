//! What holds at the edges of a store's life: at open, at close, and while another call is inside the store.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::ops::Range;
use std::sync::Arc;

use common::store::{Store, disk_full, hold, open, open_with, try_open};
use common::{
    Bytes, Gate, MAIL, PATIENCE, Running, Sleep, handle, manual, post, post_large, put, settle, start, take,
    within_patience,
};
use jobq_core::engine::{Config, Engine, Outcome, Thread};
use jobq_core::error::Error;
use jobq_core::job::{Schedule, Status};
use jobq_core::options::Retention;
use jobq_core::repository::codec::{OVERLAY, decode_number, job_key, meta_key};
use jobq_core::topic::TopicRef;

/// An enqueue to another topic, stopped inside the store until the gate opens.
fn stopped(engine: &Arc<Engine<Bytes>>, store: &Store) -> (Arc<Gate>, Running<Result<u64, Error>>) {
    let (gate, inside) = hold(store);
    let engine = Arc::clone(engine);
    let call = start(Sleep::default(), move |caller| {
        let empty = Bytes::from(vec![]);
        engine.enqueue(caller, TopicRef::Name("b"), empty, 0, Schedule::Now, None).map(|id| id.0)
    });
    inside.recv_timeout(PATIENCE).unwrap();
    (gate, call)
}

/// An enqueue of many jobs.
fn many(engine: &Arc<Engine<Bytes>>, count: usize) -> Running<Result<Range<u64>, Error>> {
    let engine = Arc::clone(engine);
    start(Sleep::default(), move |caller| {
        let items = (0..count).map(|_| (Bytes::from(vec![]), 0)).collect();
        engine.enqueue_many(caller, MAIL, items, Schedule::Now, None)
    })
}

/// What is purged at open is gone from the store too, and is not purged again at the next.
#[test]
fn r2_a_purge_at_open_is_written() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    for _ in 0..3 {
        post(&engine, "x");
        let grant = take(&engine);
        settle(&engine, &grant, Outcome::Done);
    }
    drop(engine);
    let few = |config: &mut Config| config.retention = Retention { count: Some(1), age: None, size: None };
    for round in 0..3 {
        let engine = open_with(&clock, &store, &store, few);
        let counters = engine.stats(&Thread).unwrap().counters;
        assert_eq!((counters.enqueued, counters.purged), (3, 2), "round {round}");
    }
}

/// A job that is damaged at open has been canceled, and counts as such.
#[test]
fn c3_a_job_damaged_at_open_is_counted_as_canceled() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let id = post(&engine, "x");
    engine.give_back([take(&engine)]);
    engine.flush(&Thread).unwrap();
    drop(engine);
    store.damage(&job_key(OVERLAY, id));
    let engine = open(&clock, &store);
    assert_eq!(engine.stats(&Thread).unwrap().counters.cancellations, 1);
}

/// A pause that has returned holds over a crash, also when the topic's record waited to be written before it.
#[test]
fn r6_a_pause_waits_until_it_is_kept() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        post(&engine, "x");
        let (gate, call) = stopped(&engine, &store);
        let _held = take(&engine);
        let other = Arc::clone(&engine);
        let pause = start(Sleep::default(), move |caller| other.pause(caller, MAIL)).until_asleep();
        gate.open();
        call.result().unwrap();
        pause.result().unwrap();
        let crashed = open(&clock, &store.copy());
        assert!(crashed.topic_stats(&Thread, MAIL).unwrap().paused);
    });
}

/// Flush speaks for what other calls have queued too.
#[test]
fn r6_flush_waits_for_the_call_that_writes() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        post(&engine, "x");
        let (gate, call) = stopped(&engine, &store);
        let _held = take(&engine);
        let other = Arc::clone(&engine);
        let flush = start(Sleep::default(), move |caller| other.flush(caller)).until_asleep();
        gate.open();
        call.result().unwrap();
        flush.result().unwrap();
    });
}

/// A garbage collector may drop a handle inside a repository's method: the lease ends all the same, and is written.
#[test]
fn r4_a_handle_dropped_inside_a_repository_is_given_up() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let id = post(&engine, "x");
        let lease = handle(&take(&engine));
        let weak = Arc::downgrade(&engine);
        store.on_commit(move |number| {
            if number == 1 {
                weak.upgrade().unwrap().abandon(lease);
            }
            Ok(())
        });
        put(&engine, TopicRef::Name("b"), Bytes::from(vec![]));
        assert_eq!(engine.status(&Thread, id).unwrap(), Status::Delayed);
        engine.flush(&Thread).unwrap();
        let crashed = open(&clock, &store.copy());
        let info = crashed.info(&Thread, id).unwrap();
        assert_eq!((info.status, info.crashes), (Status::Delayed, 0), "nobody held it any more");
    });
}

/// A call that waits for numbers which another is writing sleeps: spinning, it would never let that other finish.
#[test]
fn r7_numbers_are_waited_for_asleep() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        post(&engine, "x");
        let (gate, inside) = hold(&store);
        let first = many(&engine, 5_000);
        inside.recv_timeout(PATIENCE).unwrap();
        let second = many(&engine, 5_000).until_asleep();
        gate.open();
        assert_eq!(first.result().unwrap().count(), 5_000);
        assert_eq!(second.result().unwrap().count(), 5_000);
    });
}

/// Numbers that a call found free are its own: no other takes them before it does.
#[test]
fn r7_no_number_is_used_beyond_its_block() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        post(&engine, "x");
        engine.give_back([take(&engine)]);
        let (gate, inside) = hold(&store);
        let first = many(&engine, 2_500);
        inside.recv_timeout(PATIENCE).unwrap();
        let second = many(&engine, 2_500).until_asleep();
        gate.open();
        let last = first.result().unwrap().end.max(second.result().unwrap().end);
        let key = meta_key("ids");
        let kept = decode_number(&key, &store.data()[&key]).unwrap();
        assert!(last <= kept, "{last} is beyond {kept}");
    });
}

/// A store that was closed is not used again, not even by a call that has waited for its turn.
#[test]
fn c4_a_closed_store_is_not_used() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let id = post_large(&engine);
        engine.close(&Thread).unwrap();
        // Opened again, the payload is in the store alone.
        let engine = open(&clock, &store);
        let (gate, call) = stopped(&engine, &store);
        let back = Gate::new();
        let sleep = Sleep { held: Some(Arc::clone(&back)), interrupt: None };
        let other = Arc::clone(&engine);
        let read = start(sleep, move |caller| other.payload(caller, id).map(|_| ())).until_asleep();
        let other = Arc::clone(&engine);
        let close = start(Sleep::default(), move |caller| other.close(caller)).until_asleep();
        gate.open();
        call.result().unwrap();
        close.result().unwrap();
        back.open();
        assert!(read.result().is_err());
        assert_eq!(store.breaches(), Vec::<&str>::new());
    });
}

/// A panic of the store, in the call that a close has interrupted or in the close itself, leaves no other close waiting.
#[test]
fn c4_a_store_that_panics_is_closed_all_the_same() {
    for closes_inside in [true, false] {
        within_patience(move || {
            let (clock, store) = (manual(), Store::new());
            let engine = open(&clock, &store);
            let weak = Arc::downgrade(&engine);
            store.on_commit(move |_| {
                if closes_inside {
                    weak.upgrade().unwrap().close(&Thread).unwrap();
                }
                std::panic::resume_unwind(Box::new(()))
            });
            let other = Arc::clone(&engine);
            let broken = std::thread::spawn(move || {
                if closes_inside {
                    post(&other, "x");
                } else {
                    let _ = other.close(&Thread);
                }
            });
            assert!(broken.join().is_err());
            let other = Arc::clone(&engine);
            let _ = start(Sleep::default(), move |caller| other.close(caller)).result();
            assert_eq!(store.closes(), 1);
        });
    }
}

/// A service that could not be opened leaves no repository open for nobody.
#[test]
fn r8_a_failed_open_closes_both_repositories() {
    let clock = manual();
    let (jobs, topics) = (Store::new(), Store::new());
    jobs.on_commit(|_| Err(disk_full()));
    assert!(try_open(&clock, &jobs, &topics, |_| ()).is_err());
    assert_eq!((jobs.closes(), topics.closes()), (1, 1));
}
