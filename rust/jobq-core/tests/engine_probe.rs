//! Probes for suspected faults; not to be kept.
mod common;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use common::store::*;
use common::*;
use jobq_core::engine::*;
use jobq_core::job::*;
use jobq_core::options::*;
use jobq_core::topic::TopicRef;

#[test]
fn p1_purge_at_open_is_written() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    for _ in 0..3 { post(&engine, "x"); let g = take(&engine); settle(&engine, &g, Outcome::Done); }
    drop(engine);
    let few = |c: &mut Config| c.retention = Retention { count: Some(1), age: None, size: None };
    for round in 0..3 {
        let engine = open_with(&clock, &store, &store, few);
        let c = engine.stats(&Thread).unwrap().counters;
        eprintln!("round {round}: enqueued {} purged {} bodies {}", c.enqueued, c.purged, store.data().keys().filter(|k| k[0]==b'j').count());
        assert_eq!((c.enqueued, c.purged), (3, 2));
    }
}

#[test]
fn p2_damaged_at_open_counts_cancellation() {
    use jobq_core::repository::codec::*;
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let id = post(&engine, "x");
    engine.give_back([take(&engine)]); engine.flush(&Thread).unwrap();
    drop(engine);
    store.damage(&job_key(OVERLAY, id));
    let engine = open(&clock, &store);
    assert_eq!(engine.stats(&Thread).unwrap().counters.cancellations, 1);
}

fn hold(store: &Store) -> (Arc<Gate>, std::sync::mpsc::Receiver<()>) {
    let gate = Gate::new();
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let door = Arc::clone(&gate);
    store.on_commit(move |number| { if number == 1 { tell.lock().unwrap().send(()).unwrap(); door.pass(); } Ok(()) });
    (gate, told)
}

#[test]
fn p3_pause_is_acknowledged_when_kept() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        post(&engine, "x");
        let (gate, told) = hold(&store);
        let e = Arc::clone(&engine);
        let a = start(Sleep::default(), move |_| put(&e, TopicRef::Name("b"), Bytes::from(vec![])));
        told.recv_timeout(PATIENCE).unwrap();
        take(&engine); // soils mail, awaited by nobody
        let e = Arc::clone(&engine);
        let p = start(Sleep::default(), move |_| e.pause(&Thread, MAIL));
        std::thread::sleep(std::time::Duration::from_millis(200));
        let early = !p.is_running();
        let crashed = open(&clock, &store.copy());
        let paused = crashed.topic_stats(&Thread, MAIL).unwrap().paused;
        gate.open();
        a.result();
        assert!(!early || paused, "acknowledged and lost");
    });
}

#[test]
fn p4_no_use_after_close() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let id = post(&engine, "x");
        engine.close(&Thread).unwrap();
        let engine = open(&clock, &store); // payload only in the store
        let (gate, told) = hold(&store);
        let e = Arc::clone(&engine);
        let a = start(Sleep::default(), move |_| put(&e, TopicRef::Name("b"), Bytes::from(vec![])));
        told.recv_timeout(PATIENCE).unwrap();
        let back = Gate::new();
        let e = Arc::clone(&engine);
        let r = start(Sleep { held: Some(Arc::clone(&back)), interrupt: None }, move |c| e.payload(c, id).map(|_| ())).until_asleep();
        let e = Arc::clone(&engine);
        let c = start(Sleep::default(), move |c| e.close(c)).until_asleep();
        gate.open();
        a.result();
        c.result().unwrap();
        back.open();
        let r = r.result();
        assert_eq!(store.breaches(), Vec::<&str>::new(), "{r:?}");
    });
}

#[test]
fn p5_undelivered_grant_at_close_is_uncharged() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let gate = Gate::new();
        let w = waiting_as(Sleep { held: Some(Arc::clone(&gate)), interrupt: None }, &engine, 1, None);
        let id = post(&engine, "x");
        engine.close(&Thread).unwrap();
        gate.open();
        assert!(w.result().is_err());
        let engine = open(&clock, &store);
        let info = engine.info(&Thread, id).unwrap();
        let c = engine.stats(&Thread).unwrap().counters;
        assert_eq!((info.attempts, c.reservations), (0, 0));
    });
}

#[test]
fn p6_close_in_a_panicking_method() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let w = Arc::downgrade(&engine);
    store.on_commit(move |_| { w.upgrade().unwrap().close(&Thread).unwrap(); std::panic::resume_unwind(Box::new(1)) });
    let e = Arc::clone(&engine);
    assert!(std::thread::spawn(move || post(&e, "x")).join().is_err());
    let e = Arc::clone(&engine);
    let c = start(Sleep::default(), move |c| e.close(c));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!c.is_running(), "close hangs");
    assert_eq!(store.closes(), 1);
}

#[test]
fn p7_panic_while_closing() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    post(&engine, "x");
    store.on_commit(move |_| std::panic::resume_unwind(Box::new(1)));
    let e = Arc::clone(&engine);
    assert!(std::thread::spawn(move || e.close(&Thread)).join().is_err());
    let e = Arc::clone(&engine);
    let c = start(Sleep::default(), move |c| e.close(c));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!c.is_running(), "close hangs");
    assert_eq!(store.closes(), 1);
}

#[test]
fn p8_open_that_fails_closes() {
    let clock = manual();
    let (jobs, topics) = (Store::new(), Store::new());
    jobs.on_commit(|_| Err(disk_full()));
    // counters of hook reset by reopened; the hook stays
    assert!(try_open(&clock, &jobs, &topics, |_| ()).is_err());
    assert_eq!((jobs.closes(), topics.closes()), (1, 1));
}

#[test]
fn p9_handle_dropped_inside() {
    let (clock, store) = (manual(), Store::new());
    let engine = open(&clock, &store);
    let id = post(&engine, "x");
    let g = take(&engine);
    let h = handle(&g);
    let w = Arc::downgrade(&engine);
    store.on_commit(move |n| { if n == 1 { w.upgrade().unwrap().abandon(h); } Ok(()) });
    put(&engine, TopicRef::Name("b"), Bytes::from(vec![]));
    assert_ne!(engine.status(&Thread, id).unwrap(), Status::Reserved, "the dropped handle still holds the job");
}

#[test]
fn p10_flush_waits() {
    within_patience(|| {
        let (clock, store) = (manual(), Store::new());
        let engine = open(&clock, &store);
        let id = post(&engine, "x");
        let (gate, told) = hold(&store);
        let e = Arc::clone(&engine);
        let a = start(Sleep::default(), move |_| put(&e, TopicRef::Name("b"), Bytes::from(vec![])));
        told.recv_timeout(PATIENCE).unwrap();
        take(&engine);
        let e = Arc::clone(&engine);
        let f = start(Sleep::default(), move |_| e.flush(&Thread));
        std::thread::sleep(std::time::Duration::from_millis(200));
        let early = !f.is_running();
        let crashed = open(&clock, &store.copy());
        eprintln!("early {early}, crashes {}", crashed.info(&Thread, id).unwrap().crashes);
        gate.open();
        a.result();
        assert!(!early);
    });
}

struct Fragile;
static BREAKS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
impl Payload for Fragile {
    fn share(&self) -> Self { if BREAKS.load(std::sync::atomic::Ordering::Relaxed) { std::panic::resume_unwind(Box::new(1)) } Self }
    fn bytes(&self) -> &[u8] { &[] }
    fn from_bytes(_: Vec<u8>) -> Self { Self }
}

#[test]
fn p11_waiters_learn_of_a_panic() {
    let (_clock, engine): (_, Arc<Engine<Fragile>>) = engine(|_| ());
    let e = Arc::clone(&engine);
    let w = blocked(move |c| e.reserve_one(c, TopicRef::Name("b"), None).map(|_| ()));
    put(&engine, MAIL, Fragile);
    BREAKS.store(true, std::sync::atomic::Ordering::Relaxed);
    let e = Arc::clone(&engine);
    assert!(std::thread::spawn(move || e.reserve_one(&Thread, MAIL, NOW).map(|_| ())).join().is_err());
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!w.is_running(), "the waiter sleeps on");
}
