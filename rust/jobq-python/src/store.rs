//! The command line's work on a store that no service has open: look through it, compact it, salvage it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jobq_core::engine::Caller;
use jobq_core::engine::examine::{Examined, examine};
use jobq_core::error::Error;
use jobq_core::repository::Repository;
use jobq_core::repository::sled::{self, Description, Level, Purpose, Sled};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::convert::Value;
use crate::errors::{Attached, foreign, run};
use crate::values;

/// What was read of a store: faults, statistics, topics' statistics, number of records.
type Found<'py> = (Vec<String>, Bound<'py, PyAny>, Bound<'py, PyList>, u64);

/// Look through a store: (faults, statistics, each topic's statistics, records read).
///
/// `step(records)` is called now and then; what it raises ends the reading, as a signal's handler does.
#[pyfunction]
pub(crate) fn _examine<'py>(py: Python<'py>, path: PathBuf, step: Value<'_, 'py>) -> PyResult<Found<'py>> {
    let step = step.clone().unbind();
    let found = run(py, |caller| caller.detached(|| with_store(path, Purpose::Look, |store| look(store, &step))))?;
    let topics = found.topics.iter().map(|topic| values::topic_stats(py, topic)).collect::<PyResult<Vec<_>>>()?;
    let stats = values::service_stats(py, &found.stats)?;
    Ok((found.faults, stats, PyList::new(py, topics)?, found.records))
}

/// Call `write(info, payload)` for each job of a store by ascending id, with None for a payload that cannot be read;
/// return the faults. `step` as in `_examine`.
#[pyfunction]
pub(crate) fn _dump<'py>(
    py: Python<'py>,
    path: PathBuf,
    step: Value<'_, 'py>,
    write: Value<'_, 'py>,
) -> PyResult<Vec<String>> {
    let (step, write) = (step.clone().unbind(), write.clone().unbind());
    let dump = |store: &Sled| {
        let found = look(store, &step)?;
        found.each(store, &mut |info, payload| {
            attached(|py| {
                let payload = payload.map(|payload| PyBytes::new(py, payload));
                write.bind(py).call1((values::info(py, info)?, payload)).map(drop)
            })
        })?;
        Ok(found.faults)
    };
    run(py, |caller| caller.detached(|| with_store(path, Purpose::Look, dump)))
}

/// Give back a store's disk space; return the bytes freed. `step` as in `_examine`.
#[pyfunction]
pub(crate) fn _compact<'py>(py: Python<'py>, path: PathBuf, step: Value<'_, 'py>) -> PyResult<u64> {
    let step = step.clone().unbind();
    let compact = |store: &Sled| {
        // A store is changed only once all of it was read and agreed with its check.
        look(store, &step)?;
        store.compact()
    };
    run(py, |caller| caller.detached(|| with_store(path, Purpose::Serve, compact)))
}

/// Copy what can be read of a damaged store into a new one: (records copied, what could not be read). `step` as in
/// `_examine`.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // What comes from Python is handed over.
pub(crate) fn _salvage<'py>(
    py: Python<'py>,
    old: PathBuf,
    new: PathBuf,
    step: Value<'_, 'py>,
) -> PyResult<(u64, Vec<String>)> {
    let step = step.clone().unbind();
    let salvaged = run(py, |caller| caller.detached(|| sled::salvage(&old, &new, &|records| tell(&step, records))))?;
    Ok((salvaged.copied, salvaged.unreadable))
}

/// Do something with a store that is there; it is closed again in any case.
fn with_store<R>(path: PathBuf, purpose: Purpose, work: impl FnOnce(&Sled) -> Result<R, Error>) -> Result<R, Error> {
    let interval = Duration::from_millis(100);
    let store = Sled::open(Description { path, level: Level::Always, interval, create: false, purpose })?;
    let done = work(&store);
    let closed = store.close();
    done.and_then(|done| closed.map(|()| done))
}

fn look(store: &Sled, step: &Py<PyAny>) -> Result<Examined, Error> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    examine(store, now, &|records| tell(step, records))
}

fn tell(step: &Py<PyAny>, records: u64) -> Result<(), Error> {
    attached(|py| step.bind(py).call1((records,)).map(drop))
}

/// Call Python from work that is detached, and see to signals.
fn attached(work: impl FnOnce(Python<'_>) -> PyResult<()>) -> Result<(), Error> {
    Python::attach(|py| {
        work(py).map_err(|error| Error::Interrupted(foreign(error)))?;
        Attached(py).interrupted()
    })
}
