//! `jobq.Topic`: a topic's handle, the service's verbs without the name.

use jobq_core::options::JobOptions;
use jobq_core::topic::{TopicHandle, TopicRef};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyRange, PyString};

use crate::arguments::{Given, Signature};
use crate::convert::{self, Value};
use crate::errors::{no_copy, raise, run};
use crate::iterators::PyConsumer;
use crate::raw::method::{Answer, Method, install, method};
use crate::service::PyJobService;
use crate::values;
use crate::verbs::{self, Enqueue};

/// A topic's handle: JobService's verbs without the name. Valid as long as the service is.
#[pyclass(frozen, module = "jobq", name = "Topic")]
pub(crate) struct PyTopic {
    pub(crate) service: Py<PyJobService>,
    pub(crate) handle: TopicHandle,
    pub(crate) name: Py<PyString>,
    options: Option<JobOptions>,
}

impl PyTopic {
    /// A handle; `parameter` is what the name is called in errors.
    pub(crate) fn make(
        service: &Bound<'_, PyJobService>,
        name: Value<'_, '_>,
        parameter: &str,
        options: Option<Value<'_, '_>>,
    ) -> PyResult<Self> {
        let text = convert::text(name, parameter)?;
        let engine = &service.get().engine;
        let handle = TopicHandle::new(text, engine.limits()).map_err(|error| raise(service.py(), &error))?;
        Ok(Self {
            service: service.clone().unbind(),
            handle,
            name: convert::exact(name, text).unbind(),
            options: values::options(options, "options", engine.defaults())?,
        })
    }

    /// The topic, for the core.
    pub(crate) fn key(&self) -> TopicRef<'_> {
        TopicRef::Handle(&self.handle)
    }
}

#[pymethods]
impl PyTopic {
    /// The topic's name.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.name.bind(py).clone()
    }

    /// As JobService.enqueue_many.
    #[pyo3(signature = (payloads, weight=None, *, delay=None, at=None, options=None),
           text_signature = "($self, payloads, weight=0, *, delay=None, at=None, options=None)")]
    fn enqueue_many<'py>(
        &self,
        py: Python<'py>,
        payloads: Value<'_, 'py>,
        weight: Option<Value<'_, 'py>>,
        delay: Option<Value<'_, 'py>>,
        at: Option<Value<'_, 'py>>,
        options: Option<Value<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyRange>> {
        let service = self.service.bind(py);
        Enqueue { service, topic: self.key(), weight, delay, at, options, base: self.options.as_ref() }
            .many(py, payloads)
    }

    /// As JobService.reserve.
    #[pyo3(signature = (limit, *, timeout=None))]
    fn reserve<'py>(
        &self,
        py: Python<'py>,
        limit: Value<'_, 'py>,
        timeout: Option<Value<'_, 'py>>,
    ) -> PyResult<Bound<'py, PyList>> {
        verbs::reserve(self.service.bind(py), self.key(), self.name.bind(py), limit, timeout)
    }

    /// As JobService.consume.
    #[pyo3(signature = (*, batch=None, idle=None), text_signature = "($self, *, batch=1, idle=None)")]
    fn consume(
        slf: &Bound<'_, Self>,
        batch: Option<Value<'_, '_>>,
        idle: Option<Value<'_, '_>>,
    ) -> PyResult<PyConsumer> {
        PyConsumer::new(slf.clone().unbind(), batch, idle)
    }

    /// As JobService.topic_stats.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let engine = &self.service.get().engine;
        let stats = run(py, |caller| engine.topic_stats(caller, self.key()))?;
        values::topic_stats(py, &stats)
    }

    /// As JobService.pause.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        run(py, |caller| self.service.get().engine.pause(caller, self.key()))
    }

    /// As JobService.resume.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        run(py, |caller| self.service.get().engine.resume(caller, self.key()))
    }

    /// As JobService.join.
    #[pyo3(signature = (*, timeout=None))]
    fn join(&self, py: Python<'_>, timeout: Option<Value<'_, '_>>) -> PyResult<bool> {
        let timeout = convert::timeout(timeout, "timeout")?;
        run(py, |caller| self.service.get().engine.join(caller, Some(self.key()), timeout))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_copy("Topic"))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<jobq.Topic {}>", self.name.bind(py).repr()?))
    }
}

/// Put the hot methods on the type.
pub(crate) fn complete(py: Python<'_>) -> PyResult<()> {
    install::<EnqueueMethod, _, _>(py)?;
    install::<ReserveOne, _, _>(py)
}

method! {
    /// As JobService.enqueue.
    EnqueueMethod: PyTopic "Topic.enqueue" "($self, payload, weight=0, *, delay=None, at=None, options=None)"
    [payload] [weight, delay, at, options] positional 2, hot => enqueue
}

#[inline]
fn enqueue<'py>(topic: &Bound<'py, PyTopic>, given: Given<'_, 'py, 1, 4>) -> Answer<'py> {
    let [payload] = given.required;
    let [weight, delay, at, options] = given.optional;
    let this = topic.get();
    let service = this.service.bind(topic.py());
    let base = this.options.as_ref();
    Enqueue { service, topic: this.key(), weight, delay, at, options, base }.one(payload)
}

method! {
    /// As JobService.reserve_one.
    ReserveOne: PyTopic "Topic.reserve_one" "($self, *, timeout=None)" [] [timeout] positional 0, hot => reserve_one
}

#[inline]
fn reserve_one<'py>(topic: &Bound<'py, PyTopic>, given: Given<'_, 'py, 0, 1>) -> Answer<'py> {
    let [timeout] = given.optional;
    let (this, py) = (topic.get(), topic.py());
    verbs::reserve_one(this.service.bind(py), this.key(), this.name.bind(py), timeout)
}
