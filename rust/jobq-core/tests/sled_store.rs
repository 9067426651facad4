//! The sled store against what can happen to its folder: kills at each step, damage, other owners, a full life.

#![allow(clippy::unwrap_used)] // Helpers too: a panic is how a test fails.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Bytes, MAIL, NOW, assert_sound, config, drain, handle, manual, post, settle, take, within_patience};
use jobq_core::clock::Clock;
use jobq_core::engine::{Engine, Outcome, Thread};
use jobq_core::error::{Error, StoreFaultKind};
use jobq_core::job::{JobId, Schedule, Token};
use jobq_core::repository::codec::{BODY, job_key, seal, unseal};
use jobq_core::repository::sled::{Description, Level, Purpose, Sled, salvage};
use jobq_core::repository::{Change, Held, KeptLease, Repository};

/// A folder of one test, gone at its end.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jobq-sled-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn description(path: &Path) -> Description {
    Description {
        path: path.to_owned(),
        level: Level::Always,
        interval: Duration::from_millis(100),
        create: true,
        purpose: Purpose::Serve,
    }
}

fn open(path: &Path) -> Result<Sled, Error> {
    Sled::open(description(path)).and_then(|store| store.loaded().map(|()| store))
}

fn put(key: &str, value: &[u8]) -> Change {
    Change::Put(key.into(), seal(key.as_bytes(), value.to_vec()))
}

fn all(store: &Sled, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .load(prefix.as_bytes(), &mut |key, value| {
            let value = unseal(key, value).unwrap().to_vec();
            found.push((String::from_utf8(key.to_vec()).unwrap(), value));
            Ok(())
        })
        .unwrap();
    found
}

/// The kind and text of a refusal.
fn refusal(opened: Result<Sled, Error>) -> (StoreFaultKind, String) {
    match opened {
        Err(Error::Store(fault)) => (fault.kind, fault.text),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it opened"),
    }
}

fn is_corrupt(opened: Result<Sled, Error>, part: &str) {
    let (kind, text) = refusal(opened);
    assert!(kind == StoreFaultKind::Corrupt && text.contains(part), "{kind:?} {text}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What was committed is there after a close, and after a kill (R8).
#[test]
fn r8_what_was_committed_is_found_again() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    store.commit(&[put("a1", b"one"), put("a2", b"two"), put("b1", b"three")]).unwrap();
    store.commit(&[put("a2", b"zwei"), Change::Delete("b1".into()), Change::Delete("none".into())]).unwrap();
    store.sync().unwrap();
    assert_eq!(store.verify().unwrap(), Vec::<String>::new());
    copy(&home.store(), &home.0.join("killed"));
    store.close().unwrap();
    for path in [home.store(), home.0.join("killed")] {
        let store = Sled::open(description(&path)).unwrap();
        assert_eq!(all(&store, "a"), [("a1".into(), b"one".to_vec()), ("a2".into(), b"zwei".to_vec())]);
        assert_eq!(all(&store, "b"), []);
        store.loaded().unwrap();
        assert_eq!(unseal(b"a1", &store.get(b"a1").unwrap().unwrap()), Some(&b"one"[..]));
        assert_eq!(store.get(b"b1").unwrap(), None);
        store.close().unwrap();
    }
}

/// Wherever a commit stands in sled's log, across the end of a segment too, a store that was killed after it opens, and
/// opens again when nothing was committed since.
#[test]
fn r8_a_kill_behind_any_commit_leaves_a_store_that_opens() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    for round in 0..8_u64 {
        let keys = (0..100).map(|number| job_key(BODY, JobId(round * 100 + number)));
        let batch: Vec<Change> = keys.map(|key| Change::Put(key.clone(), seal(&key, vec![7; 4_000]))).collect();
        store.commit(&batch).unwrap();
        store.sync().unwrap();
        let killed = home.0.join("killed");
        copy(&home.store(), &killed);
        for _ in 0..2 {
            open(&killed).unwrap().close().unwrap();
        }
        fs::remove_dir_all(&killed).unwrap();
    }
    store.close().unwrap();
}

/// A store has one owner, also by another name, and is free again as soon as it is closed (design 6).
#[test]
fn a_store_has_one_owner() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    let alias = home.0.join("alias");
    std::os::unix::fs::symlink(home.store(), &alias).unwrap();
    for path in [home.store(), alias.clone()] {
        let (kind, text) = refusal(open(&path));
        assert_eq!(kind, StoreFaultKind::Locked { pid: Some(std::process::id()) });
        assert!(text.contains("pass one object for both roles"), "{text}");
    }
    store.close().unwrap();
    for round in 0..100 {
        open(&if round % 2 == 0 { alias.clone() } else { home.store() }).unwrap().close().unwrap();
    }
}

/// Nobody else may read what is in a store.
#[test]
fn a_store_is_its_owners_alone() {
    fn check(path: &Path) {
        let found = fs::metadata(path).unwrap();
        let wanted = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found.permissions().mode() & 0o777, wanted, "{path:?}");
        if found.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                check(&entry.unwrap().path());
            }
        }
    }
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    check(&home.store());
    store.close().unwrap();
    open(&home.store()).unwrap().close().unwrap();
    check(&home.store());
}

/// What is no store is refused and left as it is.
#[test]
fn what_is_no_store_is_not_touched() {
    let home = Home::new();
    let (kind, text) = refusal(open(&home.0.join("not").join("there")));
    assert_eq!(kind, StoreFaultKind::Unusable { errno: Some(2) });
    assert!(text.contains("not mounted"), "{text}");
    let (kind, _) = refusal(Sled::open(Description { create: false, ..description(&home.store()) }));
    assert!(matches!(kind, StoreFaultKind::Unusable { .. }) && !home.store().exists());
    fs::write(home.store(), "a file").unwrap();
    assert!(refusal(open(&home.store())).1.contains("is not a folder"));
    let other = home.0.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.txt"), "").unwrap();
    assert!(refusal(open(&other)).1.contains("thesis.txt"));
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
}

/// A creation that was cut short anywhere begins again; after it, nothing of a store may be missing (design 6).
#[test]
fn a_creation_cut_short_begins_again() {
    let home = Home::new();
    let whole = home.0.join("whole");
    open(&whole).unwrap().close().unwrap();
    for left in [&["lock"][..], &["lock", "mark"], &["lock", "aside"]] {
        let path = home.0.join(left.join("-"));
        copy(&whole, &path);
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            if !left.contains(&&*entry.file_name().to_string_lossy()) {
                let is_dir = entry.file_type().unwrap().is_dir();
                if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }.unwrap();
            }
        }
        fs::create_dir_all(path.join("gen-1.tmp")).unwrap();
        open(&path).unwrap().close().unwrap();
        assert!(path.join("gen-1").is_dir() && !path.join("gen-1.tmp").exists());
    }
}

/// A store that lost something says so (design 6).
#[test]
fn what_is_missing_is_noticed() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    store.commit(&[put("a", b"first")]).unwrap();
    store.sync().unwrap();
    copy(&home.store(), &home.0.join("older"));
    store.commit(&[put("a", b"second")]).unwrap();
    store.close().unwrap();
    let broken = |name: &str, how: &dyn Fn(&Path)| {
        let path = home.0.join(name);
        copy(&home.store(), &path);
        how(&path);
        open(&path)
    };
    is_corrupt(broken("1", &|path| fs::remove_file(path.join("mark")).unwrap()), "its mark is missing");
    is_corrupt(broken("2", &|path| fs::write(path.join("mark"), "").unwrap()), "its mark cannot be read");
    is_corrupt(broken("3", &|path| fs::remove_file(path.join("gen-1/conf")).unwrap()), "configuration is missing");
    is_corrupt(broken("4", &|path| fs::write(path.join("gen-1/db"), "").unwrap()), "empty or missing");
    // With the mark of what was written it is no folder to begin in, or lost jobs would look like none.
    let gone = broken("gone", &|path| fs::remove_dir_all(path.join("gen-1")).unwrap());
    is_corrupt(gone, "the folder of its database is missing");
    let older = home.0.join("older");
    is_corrupt(
        broken("5", &|path| {
            fs::remove_dir_all(path.join("gen-1")).unwrap();
            copy(&older.join("gen-1"), &path.join("gen-1"));
        }),
        "last 1 commits are missing",
    );
    let other = home.0.join("another");
    open(&other).unwrap().close().unwrap();
    is_corrupt(
        broken("6", &|path| {
            fs::copy(other.join("mark"), path.join("mark")).unwrap();
        }),
        "another store",
    );
    // Behind our back: a record more, and an older value whose own checksum is right.
    for (name, key, value) in [("7", "b", b"new".as_slice()), ("8", "a", b"first")] {
        let raw = broken_raw(&home.store(), &home.0.join(name), key, value);
        is_corrupt(open(&raw), "records");
    }
}

fn broken_raw(store: &Path, to: &Path, key: &str, value: &[u8]) -> PathBuf {
    copy(store, to);
    let db = sled::Config::new().path(to.join("gen-1")).segment_size(2 << 20).flush_every_ms(None).open().unwrap();
    db.insert(key, seal(key.as_bytes(), value.to_vec())).unwrap();
    db.flush().unwrap();
    drop(db);
    until_free(to);
    to.to_owned()
}

fn until_free(path: &Path) {
    let file = fs::File::open(path.join("gen-1/db")).unwrap();
    let end = std::time::Instant::now() + common::PATIENCE;
    while file.try_lock().is_err() {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
}

/// What a kill during an open leaves does not keep the store from opening (sled's issue 1527).
#[test]
fn an_unfinished_snapshot_is_set_aside() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    store.commit(&[put("a", b"kept")]).unwrap();
    store.close().unwrap();
    for bytes in [&b""[..], b"torn", &[0; 64]] {
        fs::write(home.store().join("gen-1/snap.000000000000ABCD.generating"), bytes).unwrap();
        let store = Sled::open(description(&home.store())).unwrap();
        assert_eq!(all(&store, "a").len(), 1);
        store.loaded().unwrap();
        store.close().unwrap();
        assert!(home.store().join("aside/unfinished-snap.000000000000ABCD.generating").exists());
    }
}

/// Compaction keeps everything, gives room back, and leaves one generation, also when it was cut short (design 6).
#[test]
fn compaction_keeps_everything_and_gives_room_back() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    for round in 0..40u32 {
        let key = |number: u32| format!("a{:05}", round * 100 + number);
        let puts: Vec<Change> = (0..100).map(|number| put(&key(number), &[7; 2_000])).collect();
        store.commit(&puts).unwrap();
        let deletes: Vec<Change> = (0..99).map(|number| Change::Delete(key(number).into())).collect();
        store.commit(&deletes).unwrap();
    }
    copy(&home.store(), &home.0.join("before"));
    let freed = store.compact().unwrap();
    assert!(freed > 4 << 20, "{freed}");
    store.commit(&[put("b", b"after")]).unwrap();
    assert_eq!(store.verify().unwrap(), Vec::<String>::new());
    assert!(store.get(b"a00099").unwrap().is_some());
    store.close().unwrap();
    let store = Sled::open(description(&home.store())).unwrap();
    assert_eq!((all(&store, "a").len(), all(&store, "b").len()), (40, 1));
    store.loaded().unwrap();
    store.close().unwrap();
    assert!(home.store().join("gen-2").is_dir() && !home.store().join("gen-1").exists());
    // Killed after the rename, before the mark and the clean-up.
    let cut = home.0.join("before");
    copy(&home.store().join("gen-2"), &cut.join("gen-2"));
    let store = open(&cut).unwrap();
    assert!(store.get(b"b").unwrap().is_some() && !cut.join("gen-1").exists());
    store.close().unwrap();
    fs::rename(cut.join("gen-2"), cut.join("gen-1")).unwrap();
    is_corrupt(open(&cut), "generation 2 is missing");
}

/// The table of leases is found as it was written, and forgets what it is told to (C2).
#[test]
fn c2_the_table_of_leases_is_found_again() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    let lease = |id| KeptLease { id: JobId(id), token: Token(id + 100), stamp: id << 40 };
    let held = |place, id| Held { place, lease: Some(lease(id)) };
    let table = store.leases().unwrap();
    table.write(&[held(0, 1), held(1, 2), held(7, 3), Held { place: 1, lease: None }, held(0, 4)]).unwrap();
    assert_eq!(table.load().unwrap(), [lease(4), lease(3)]);
    table.clear().unwrap();
    assert_eq!(table.load().unwrap(), []);
    store.close().unwrap();
}

/// A power cut may leave half an entry, or one from before: what is not whole is no lease (C2).
#[test]
fn c2_half_an_entry_of_the_table_of_leases_is_none() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    let lease = |id| KeptLease { id: JobId(id), token: Token(id + 100), stamp: id << 40 };
    let entries: Vec<Held> = (0..20).map(|place| Held { place, lease: Some(lease(u64::from(place) + 1)) }).collect();
    let table = store.leases().unwrap();
    table.write(&entries).unwrap();
    let path = home.store().join("inflight");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 20 * 32, "16 to a sector of 512 bytes, so that none lies across two");
    for cut in 1..28 {
        let mut bytes = whole.clone();
        bytes.copy_within(32..32 + cut, 0);
        bytes[64 + cut] ^= 1;
        bytes.truncate(whole.len() - cut);
        fs::write(&path, bytes).unwrap();
        let left: Vec<KeptLease> = (2..20).filter(|&id| id != 3).map(lease).collect();
        assert_eq!(table.load().unwrap(), left, "{cut}");
    }
    store.close().unwrap();
}

/// A damaged store is refused, and what can be read of it is saved into a new one; the old one stays as it is.
#[test]
fn salvage_returns_what_can_be_read() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    for number in 0..200u64 {
        let key = job_key(BODY, JobId(number));
        let value = seal(&key, vec![7; 500]);
        store.commit(&[Change::Put(key, value)]).unwrap();
    }
    store.commit(&[Change::Put(b"jbad".to_vec(), b"no checksum of ours".to_vec())]).unwrap();
    store.close().unwrap();
    let whole = salvage(&home.store(), &home.0.join("new"), &|_| Ok(())).unwrap();
    assert_eq!(whole.copied, 200);
    assert_eq!(whole.unreadable.len(), 1);
    assert_eq!(bodies(&home.0.join("new")).len(), 200);
    assert!(
        matches!(salvage(&home.store(), &home.0.join("new"), &|_| Ok(())), Err(Error::Store(_))),
        "it is there already"
    );
}

/// Of a log with all that sled writes into it, one flipped bit costs what stands on one page at most: all else is as it
/// was last, whatever sled itself would read of it, and what is lost is told.
#[test]
fn salvage_loses_no_more_than_the_page_that_is_damaged() {
    let home = Home::new();
    let store = open(&home.store()).unwrap();
    let key = |number: u64| job_key(BODY, JobId(number));
    let mut random = draws();
    let mut kept: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut ever: HashSet<(Vec<u8>, Vec<u8>)> = HashSet::new();
    for version in 0..1_500_u64 {
        let key = key(u64::try_from(random(2_048)).unwrap());
        if random(8) < 3 {
            store.commit(&[Change::Delete(key.clone())]).unwrap();
            kept.remove(&key);
        } else {
            let value = seal(&key, [&version.to_le_bytes()[..], &vec![7; random(900)]].concat());
            store.commit(&[Change::Put(key.clone(), value.clone())]).unwrap();
            ever.insert((key.clone(), value.clone()));
            kept.insert(key, value);
        }
    }
    // What was never synced may be cut off, damaged or not.
    store.sync().unwrap();
    let killed = home.0.join("killed");
    copy(&home.store(), &killed);
    store.close().unwrap();
    for store in [home.store(), killed] {
        let mut costs = Vec::new();
        for turn in 0..30 {
            let (damaged, new) = (home.0.join("damaged"), home.0.join("new"));
            copy(&store, &damaged);
            if turn > 0 {
                let log = damaged.join("gen-1/db");
                let mut bytes = fs::read(&log).unwrap();
                let at = random(bytes.len());
                bytes[at] ^= 1 << random(8);
                fs::write(&log, bytes).unwrap();
                // Whoever tries to open it first destroys nothing.
                drop(open(&damaged).map(|store| store.close()));
            }
            let saved = salvage(&damaged, &new, &|_| Ok(())).unwrap();
            let found = bodies(&new);
            fs::remove_dir_all(&new).unwrap();
            fs::remove_dir_all(&damaged).unwrap();
            assert!(found.iter().all(|(key, value)| ever.contains(&(key.clone(), value.clone()))), "{turn}");
            let differ = kept.keys().chain(found.keys()).filter(|key| kept.get(*key) != found.get(*key));
            let differ = differ.collect::<HashSet<_>>().len();
            assert_eq!(saved.unreadable.is_empty(), differ == 0, "{turn}: {differ}, {:?}", saved.unreadable);
            assert!(turn > 0 || differ == 0, "without any damage: {:?}", saved.unreadable);
            costs.push(differ);
        }
        assert!(
            costs.iter().all(|&cost| cost <= 2 * 16),
            "{costs:?}: a page has up to 16 records, and two in the middle of a split"
        );
        assert!(costs.iter().any(|&cost| cost > 0), "damage that is never felt tests nothing");
    }
}

/// Numbers below a bound, the same in every run.
fn draws() -> impl FnMut(usize) -> usize {
    let mut state = 7_u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    }
}

/// All bodies of a store.
fn bodies(store: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let store = Sled::open(description(store)).unwrap();
    let mut found = BTreeMap::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.insert(key.to_vec(), value.to_vec());
        Ok(())
    };
    store.load(BODY, &mut visit).unwrap();
    store.loaded().unwrap();
    store.close().unwrap();
    found
}

/// The engine on a real store: jobs, order, payloads and counts come back, whatever size they have.
#[test]
fn o4_a_service_goes_on_where_it_was() {
    within_patience(|| {
        let home = Home::new();
        let clock = manual();
        let service = |path: &Path| {
            let store: Arc<dyn Repository> = Arc::new(Sled::open(description(path)).unwrap());
            let mut config = config(Clock::Manual(Arc::clone(&clock)));
            (config.jobs, config.topics) = (Arc::clone(&store), store);
            Engine::<Bytes>::open(&Thread, config).unwrap()
        };
        let engine = service(&home.store());
        let sizes = [0, 1, 1_024, 1_025, 30_000, 300_000];
        let mut ids = Vec::new();
        for size in sizes {
            ids.push(common::put(&engine, MAIL, Bytes::from(vec![u8::try_from(size % 251).unwrap(); size])));
        }
        let later = engine.enqueue(&Thread, MAIL, Bytes::from(vec![]), 0, Schedule::After(1_000), None).unwrap();
        settle(&engine, &take(&engine), Outcome::Done);
        let held = engine.reserve(&Thread, MAIL, 2, NOW).unwrap();
        settle(&engine, &held[0], Outcome::Retry { delay: Some(0), error: Some("again") });
        engine.compact(&Thread).unwrap();
        let killed = home.0.join("killed");
        copy(&home.store(), &killed);
        engine.close(&Thread).unwrap();
        assert!(matches!(engine.settle(&Thread, handle(&held[1]), Outcome::Done), Err(Error::Closed(_))));
        for (path, crashes) in [(home.store(), 0), (killed, 1)] {
            let engine = service(&path);
            assert_eq!(engine.recovery().clean, crashes == 0);
            assert_eq!(engine.info(&Thread, ids[2]).unwrap().crashes, crashes);
            for (id, size) in ids.iter().zip(sizes) {
                assert_eq!(engine.payload(&Thread, *id).unwrap().len(), size);
            }
            assert_sound(&engine);
            let first = ids[2..].iter().chain([&ids[1]]).copied().collect::<Vec<_>>();
            let mut order = Vec::new();
            while let Some(grant) = engine.reserve_one(&Thread, MAIL, NOW).unwrap() {
                order.push(grant.id);
                settle(&engine, &grant, Outcome::Done);
            }
            assert_eq!(order, first);
            clock.advance(1_000);
            assert_eq!(drain(&engine, MAIL), [later]);
            assert!(post(&engine, "new") > later);
            engine.close(&Thread).unwrap();
            clock.jump(-1_000);
        }
    });
}
