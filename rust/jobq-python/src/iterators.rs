//! The iterators that `consume` and `find` return.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jobq_core::engine::{Filter, Grant, Timeout};
use jobq_core::error::Error;
use jobq_core::job::{JobId, JobInfo};
use pyo3::prelude::*;

use crate::convert::{self, Value};
use crate::errors::{Attached, run};
use crate::job::PyJob;
use crate::raw::Payload;
use crate::service::PyJobService;
use crate::topic::PyTopic;
use crate::values;

/// Leases jobs a batch at a time and yields them one by one.
#[pyclass(frozen, module = "jobq", name = "_Consumer")]
pub(crate) struct PyConsumer {
    topic: Py<PyTopic>,
    batch: u64,
    idle: Timeout,
    /// Leased and not yielded. Never held over a call into the engine or Python.
    waiting: Mutex<Consumed>,
}

#[derive(Default)]
struct Consumed {
    grants: VecDeque<Grant<Payload>>,
    ended: bool,
}

impl PyConsumer {
    pub(crate) fn new(topic: Py<PyTopic>, batch: Option<Value<'_, '_>>, idle: Option<Value<'_, '_>>) -> PyResult<Self> {
        let batch = batch.map_or(Ok(1), |batch| convert::count(batch, "batch", 1))?;
        let idle = convert::timeout(idle, "idle")?;
        let consumer = Self { topic, batch, idle, waiting: Mutex::default() };
        Python::attach(|py| run(py, |caller| consumer.topic.get().service.get().engine.check_open(caller)))?;
        Ok(consumer)
    }

    fn waiting(&self) -> MutexGuard<'_, Consumed> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next lease that still stands; `None` at the end.
    fn next(&self, caller: &Attached<'_>) -> Result<Option<Grant<Payload>>, Error> {
        let topic = self.topic.get();
        let engine = &topic.service.get().engine;
        loop {
            let next = {
                let mut waiting = self.waiting();
                if waiting.ended {
                    return Ok(None);
                }
                waiting.grants.pop_front()
            };
            if let Some(grant) = next {
                match engine.is_next(caller, &grant) {
                    Ok(true) => return Ok(Some(grant)),
                    Ok(false) => continue,
                    Err(error) => {
                        engine.give_back([grant]);
                        return Err(error);
                    }
                }
            }
            let grants = engine.reserve_unseen(caller, topic.key(), self.batch, self.idle)?;
            if grants.is_empty() {
                return Ok(None);
            }
            self.waiting().grants.extend(grants);
        }
    }

    /// Give back what was not yielded, and yield nothing more.
    fn end(&self) {
        let grants = {
            let mut waiting = self.waiting();
            waiting.ended = true;
            std::mem::take(&mut waiting.grants)
        };
        if !grants.is_empty() {
            self.topic.get().service.get().engine.give_back(grants);
        }
    }
}

impl Drop for PyConsumer {
    fn drop(&mut self) {
        self.end();
    }
}

#[pymethods]
impl PyConsumer {
    fn __iter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyJob>>> {
        let next = run(py, |caller| match self.next(caller) {
            // Stop and close end it quietly.
            Err(Error::Closed(closed)) if closed != jobq_core::error::Closed::Forked => Ok(None),
            other => other,
        });
        if matches!(next, Ok(None)) {
            self.end();
        }
        let topic = self.topic.get();
        next?.map(|grant| PyJob::make(topic.service.bind(py), topic.name.bind(py), grant)).transpose()
    }
}

/// Yields the jobs that match, read a page at a time.
#[pyclass(frozen, module = "jobq", name = "_Finder")]
pub(crate) struct PyFinder {
    service: Py<PyJobService>,
    filter: Filter,
    at: Mutex<Found>,
}

struct Found {
    page: VecDeque<JobInfo>,
    /// Where to go on; `None` at the end.
    after: Option<JobId>,
    /// How many may still be yielded; `None` for any number.
    left: Option<u64>,
}

impl PyFinder {
    pub(crate) fn new(service: Py<PyJobService>, filter: Filter, after: JobId, limit: Option<u64>) -> Self {
        let at = Found { page: VecDeque::new(), after: Some(after), left: limit };
        Self { service, filter, at: Mutex::new(at) }
    }

    fn at(&self) -> MutexGuard<'_, Found> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many jobs a page holds.
const PAGE: usize = 100;

#[pymethods]
impl PyFinder {
    fn __iter__<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            let (next, after) = {
                let mut at = self.at();
                if at.left == Some(0) {
                    return Ok(None);
                }
                let next = at.page.pop_front();
                if next.is_some() {
                    at.left = at.left.map(|left| left - 1);
                }
                (next, at.after)
            };
            if let Some(info) = next {
                return values::info(py, &info).map(Some);
            }
            let Some(after) = after else { return Ok(None) };
            let engine = &self.service.get().engine;
            let (page, after) = run(py, |caller| engine.find(caller, &self.filter, after, PAGE))?;
            let mut at = self.at();
            at.page.extend(page);
            at.after = after;
        }
    }
}
