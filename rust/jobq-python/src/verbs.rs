//! What a service and a topic's handle do alike, by name or by handle.

use std::ops::Range;

use jobq_core::engine::{Grant, Outcome, Timeout};
use jobq_core::error::Error;
use jobq_core::options::{JobOptions, Limits};
use jobq_core::topic::TopicRef;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyNone, PyRange, PyString, PyTuple};

use crate::convert::{self, Value, type_name};
use crate::errors::{call, run};
use crate::job::PyJob;
use crate::raw::Payload;
use crate::raw::job::fields;
use crate::raw::method::Answer;
use crate::service::PyJobService;
use crate::values;

/// What is common to a call of enqueue.
pub(crate) struct Enqueue<'a, 'py> {
    pub(crate) service: &'a Bound<'py, PyJobService>,
    pub(crate) topic: TopicRef<'a>,
    pub(crate) weight: Option<Value<'a, 'py>>,
    pub(crate) delay: Option<Value<'a, 'py>>,
    pub(crate) at: Option<Value<'a, 'py>>,
    pub(crate) options: Option<Value<'a, 'py>>,
    /// The options of the topic's handle.
    pub(crate) base: Option<&'a JobOptions>,
}

impl<'py> Enqueue<'_, 'py> {
    /// The options of the call over those of the handle over the service's defaults; `None` for the last alone.
    fn filled(&self) -> PyResult<Option<JobOptions>> {
        let base = self.base.unwrap_or_else(|| self.service.get().engine.defaults());
        values::options(self.options, "options", base)
    }

    #[inline]
    pub(crate) fn one(self, payload: Value<'_, 'py>) -> Answer<'py> {
        let py = self.service.py();
        let payload = Payload::new(convert::payload(payload, "payload", self.service.get().engine.limits())?);
        let weight = convert::weight(self.weight, "weight")?;
        let schedule = convert::schedule(self.delay, self.at)?;
        let filled = self.filled()?;
        let options = filled.as_ref().or(self.base);
        let engine = &self.service.get().engine;
        let id = call(py, |caller| engine.enqueue(caller, self.topic, payload, weight, schedule, options))?;
        id.0.into_bound_py_any(py)
    }

    pub(crate) fn many(self, py: Python<'py>, payloads: Value<'_, '_>) -> PyResult<Bound<'py, PyRange>> {
        let weight = convert::weight(self.weight, "weight")?;
        let schedule = convert::schedule(self.delay, self.at)?;
        let filled = self.filled()?;
        let limits = self.service.get().engine.limits();
        let mut items = Vec::new();
        for (index, item) in convert::iterate(payloads, "payloads", "an iterable")?.enumerate() {
            items.push(item_of(&item?, index, weight, limits)?);
        }
        let options = filled.as_ref().or(self.base);
        let engine = &self.service.get().engine;
        let ids: Range<u64> = run(py, |caller| engine.enqueue_many(caller, self.topic, items, schedule, options))?;
        let bound = |id: u64| isize::try_from(id).map_err(|_| PyTypeError::new_err("an id is out of range"));
        PyRange::new(py, bound(ids.start)?, bound(ids.end)?)
    }
}

fn item_of(item: Value<'_, '_>, index: usize, weight: i16, limits: &Limits) -> PyResult<(Payload, i16)> {
    let name = format!("payloads[{index}]");
    let Ok(pair) = item.cast::<PyTuple>() else {
        return Ok((Payload::new(convert::payload(item, &name, limits)?), weight));
    };
    if pair.len() != 2 {
        let count = pair.len();
        return Err(PyTypeError::new_err(format!(
            "{name} must be a payload or a (payload, weight) pair, not a tuple of {count}"
        )));
    }
    let payload = convert::payload(&pair.get_item(0)?, &name, limits)?;
    let weight = convert::weight(Some(&pair.get_item(1)?), &format!("{name} weight"))?;
    Ok((Payload::new(payload), weight))
}

/// Lease jobs of a topic; each becomes a handle.
pub(crate) fn reserve<'py>(
    service: &Bound<'py, PyJobService>,
    topic: TopicRef<'_>,
    name: &Bound<'py, PyString>,
    limit: Value<'_, '_>,
    timeout: Option<Value<'_, '_>>,
) -> PyResult<Bound<'py, PyList>> {
    let py = service.py();
    let limit = convert::count(limit, "limit", 1)?;
    let timeout = convert::timeout(timeout, "timeout")?;
    let engine = &service.get().engine;
    let grants = run(py, |caller| engine.reserve(caller, topic, limit, timeout))?;
    handles(service, name, grants)
}

/// Handles of these grants. One that cannot be made gives back its grant and those after it.
fn handles<'py>(
    service: &Bound<'py, PyJobService>,
    name: &Bound<'py, PyString>,
    grants: Vec<Grant<Payload>>,
) -> PyResult<Bound<'py, PyList>> {
    let jobs: PyResult<Vec<_>> = grants.into_iter().map(|grant| PyJob::make(service, name, grant)).collect();
    PyList::new(service.py(), jobs?)
}

/// Lease one job of a topic.
#[inline]
pub(crate) fn reserve_one<'py>(
    service: &Bound<'py, PyJobService>,
    topic: TopicRef<'_>,
    name: &Bound<'py, PyString>,
    timeout: Option<Value<'_, '_>>,
) -> Answer<'py> {
    let py = service.py();
    let timeout: Timeout = convert::timeout(timeout, "timeout")?;
    let engine = &service.get().engine;
    match call(py, |caller| engine.reserve_one(caller, topic, timeout))? {
        Some(grant) => PyJob::make(service, name, grant).map(Bound::into_any),
        None => Ok(PyNone::get(py).to_owned().into_any()),
    }
}

/// Settle many handles in one step.
pub(crate) fn settle_many(
    service: &Bound<'_, PyJobService>,
    jobs: Value<'_, '_>,
    outcome: Outcome<'_>,
) -> PyResult<()> {
    let py = service.py();
    let mut held = Vec::new();
    for (index, job) in convert::iterate(jobs, "jobs", "an iterable of Job")?.enumerate() {
        let job = job?;
        let Ok(job) = job.cast::<PyJob>() else {
            return Err(PyTypeError::new_err(format!("jobs[{index}] must be a Job, not {}", type_name(&job))));
        };
        if !fields(job).serves(service) {
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "jobs[{index}] must be a Job of this service, not of another"
            )));
        }
        if !fields(job).is_settled() {
            held.push(job.clone());
        }
    }
    let handles: Vec<_> = held.iter().map(|job| fields(job).handle()).collect();
    let engine = &service.get().engine;
    let (accepted, lost) = run(py, |caller| engine.settle_many(caller, &handles, outcome))?;
    for (job, accepted) in held.iter().zip(accepted) {
        if accepted {
            fields(job).set_settled();
        }
    }
    lost.map_or(Ok(()), |lost: Error| Err(crate::errors::raise(py, &lost)))
}
