//! A repository that fails, panics, or calls back into the service from inside its own method.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use common::store::{Store, disk_full, open};
use common::{
    Bytes, Gate, MAIL, NOW, PATIENCE, Sleep, assert_sound, drain, manual, post, settle, start, take, waiting,
    within_patience,
};
use jobq_core::engine::{Engine, Outcome, Thread};
use jobq_core::error::{Closed, Error};
use jobq_core::job::{Schedule, Status};
use jobq_core::topic::TopicRef;

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
            [enqueue.map(drop), engine.stats(&Thread).map(drop), engine.flush(&Thread)]
        });
        let id = post(&engine, "x");
        for result in inside.recv_timeout(PATIENCE).unwrap() {
            assert!(matches!(result, Err(Error::Reentered)), "{result:?}");
        }
        assert_eq!(take(&engine).id, id, "nothing was changed by it and nothing has failed");
        assert_eq!(engine.stats(&Thread).unwrap().counters.enqueued, 1);
    });
}

/// A signal handler may stop the service wherever it interrupts it (W4).
#[test]
fn w4_stop_works_from_inside_a_repository() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let waiter = waiting(&engine, 1);
        let inside = call_inside(&store, &engine, Engine::stop);
        let other = TopicRef::Name("other");
        assert!(engine.enqueue(&Thread, other, Bytes::from(vec![]), 0, Schedule::Now, None).is_ok());
        inside.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(matches!(waiter.result(), Err(Error::Closed(Closed::Stopped))));
        assert!(matches!(engine.reserve_one(&Thread, other, NOW), Err(Error::Closed(Closed::Stopped))));
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
