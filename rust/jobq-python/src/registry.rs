//! Which services are open in this process: to close them at exit, and to keep a repository from serving two.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jobq_core::engine::Engine;
use jobq_core::sync;
use pyo3::exceptions::{PyImportError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::errors::run;
use crate::raw::Payload;

struct Open {
    engine: Weak<Engine<Payload>>,
    /// Kept alive as long as they serve, so that their addresses name them.
    repositories: Vec<Py<PyAny>>,
    /// A service with something to write stays open until it is closed, if need be at exit.
    _kept: Option<Arc<Engine<Payload>>>,
}

struct Registry {
    services: Vec<Open>,
    /// Addresses of the repositories that are claimed for a service which is being opened.
    claimed: Vec<usize>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { services: Vec::new(), claimed: Vec::new() });

/// Never held over a call into Python that could come back here.
fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The interpreter that imported the module first; -1 before.
static INTERPRETER: AtomicI64 = AtomicI64::new(-1);

/// Refuse a second interpreter: classes and services are shared by the process, its objects must not be.
pub(crate) fn check_interpreter(py: Python<'_>) -> PyResult<()> {
    let id = crate::raw::interpreter_id(py);
    match INTERPRETER.compare_exchange(-1, id, Ordering::Relaxed, Ordering::Relaxed) {
        Err(first) if first != id => Err(PyImportError::new_err(
            "jobq serves one interpreter of a process, and another one imported it first: use threads or processes",
        )),
        _ => Ok(()),
    }
}

/// The repositories that a service is being opened on; free again when it is dropped before that is open.
pub(crate) struct Claim {
    repositories: Vec<Py<PyAny>>,
}

fn address(repository: &Py<PyAny>) -> usize {
    repository.as_ptr().addr()
}

/// Refuse repositories, each with its role, that serve an open service or one that another thread is opening.
pub(crate) fn claim(given: Vec<(Py<PyAny>, &str)>) -> PyResult<Claim> {
    forget_closed();
    let mut registry = registry();
    let in_use = |repository| {
        let is_it = |other| address(other) == address(repository);
        let serves = registry.services.iter().any(|open| open.repositories.iter().any(is_it));
        serves || registry.claimed.contains(&address(repository))
    };
    if let Some((_, role)) = given.iter().find(|(repository, _)| in_use(repository)) {
        return Err(PyValueError::new_err(format!(
            "{role} serves another open service already: close that one first, or make another repository"
        )));
    }
    let repositories: Vec<Py<PyAny>> = given.into_iter().map(|(repository, _)| repository).collect();
    registry.claimed.extend(repositories.iter().map(address));
    Ok(Claim { repositories })
}

impl Drop for Claim {
    fn drop(&mut self) {
        registry().claimed.retain(|&claimed| !self.repositories.iter().any(|ours| address(ours) == claimed));
    }
}

/// Remember an open service, which has what was claimed for it.
pub(crate) fn register(engine: &Arc<Engine<Payload>>, claim: &Claim) {
    forget_closed();
    let kept = engine.remembers().then(|| Arc::clone(engine));
    let repositories = Python::attach(|py| claim.repositories.iter().map(|ours| ours.clone_ref(py)).collect());
    registry().services.push(Open { engine: Arc::downgrade(engine), repositories, _kept: kept });
}

/// Let go of the services that are closed, and of their repositories.
pub(crate) fn forget_closed() {
    drop(prune());
}

/// Forget the closed ones; returned to be dropped outside the lock.
fn prune() -> Vec<Open> {
    let is_over = |open: &mut Open| open.engine.upgrade().is_none_or(|engine| engine.has_ended());
    registry().services.extract_if(.., is_over).collect()
}

/// A panic was caught: whoever waits in the service that it broke is told.
pub(crate) fn wake_broken() {
    let open: Vec<Arc<Engine<Payload>>> = registry().services.iter().filter_map(|open| open.engine.upgrade()).collect();
    for engine in open {
        engine.wake_if_broken();
    }
}

/// Close every open service: at interpreter exit.
#[pyfunction]
pub(crate) fn _close_all(py: Python<'_>) {
    let open: Vec<Arc<Engine<Payload>>> = registry().services.iter().filter_map(|open| open.engine.upgrade()).collect();
    for engine in open {
        if let Err(error) = run(py, |caller| engine.close(caller)) {
            error.write_unraisable(py, None);
        }
    }
    forget_closed();
}

/// This process is a fork's child: the services in it are the parent's, and are never dropped here, as what they hold
/// would wait for threads that stayed behind, and close files that are others' by then. The folders of their stores,
/// as far as they can be told.
#[pyfunction]
pub(crate) fn _forked(py: Python<'_>) -> Vec<String> {
    sync::forked();
    // A thread that is not in this process may have held it.
    let Ok(mut registry) = REGISTRY.try_lock() else { return Vec::new() };
    let inherited = std::mem::take(&mut registry.services);
    registry.claimed.clear();
    drop(registry);
    let objects = inherited.iter().flat_map(|open| &open.repositories);
    let path = |object: &Py<PyAny>| object.bind(py).getattr_opt(intern!(py, "_path")).ok()??.extract().ok();
    let folders = objects.filter_map(path).collect();
    std::mem::forget(inherited);
    folders
}
