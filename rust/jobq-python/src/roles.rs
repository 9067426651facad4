//! The repositories of a service's two roles: what a Python object stands for, and opening what is on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jobq_core::engine::Caller;
use jobq_core::repository::Repository;
use jobq_core::repository::memory::Memory;
use jobq_core::repository::sled::{Description, Level, Purpose, Sled};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::convert::Value;
use crate::errors::run;
use crate::registry::{self, Claim};
use crate::repository::PyRepository;

/// Both roles' repositories, open.
pub(crate) struct Roles {
    pub(crate) jobs: Arc<dyn Repository>,
    pub(crate) topics: Arc<dyn Repository>,
    /// The Python objects behind them, which must not serve another service.
    pub(crate) claim: Claim,
}

/// What a role is given.
enum Given {
    Open(Arc<dyn Repository>),
    OnDisk(Description),
}

/// Open what the roles are given; both are looked at before either is opened.
pub(crate) fn open(py: Python<'_>, jobs: Option<Value<'_, '_>>, topics: Option<Value<'_, '_>>) -> PyResult<Roles> {
    let is_one = jobs.zip(topics).is_some_and(|(jobs, topics)| jobs.is(topics));
    let (first, second) = (given(jobs, "jobs")?, if is_one { None } else { Some(given(topics, "topics")?) });
    let objects = [jobs.zip(Some("jobs")), topics.filter(|_| !is_one).zip(Some("topics"))];
    let objects = objects.into_iter().flatten().map(|(object, role)| (object.clone().unbind(), role));
    let claim = registry::claim(objects.collect())?;
    let on_disk = matches!(first, Given::OnDisk(_));
    let jobs = first.open(py)?;
    let Some(second) = second else { return Ok(Roles { topics: Arc::clone(&jobs), jobs, claim }) };
    let topics = second.open(py).inspect_err(|_| {
        if on_disk {
            // The error that kept the service from opening is the one to be told.
            let _ = run(py, |caller| caller.detached(|| jobs.close()));
        }
    })?;
    Ok(Roles { jobs, topics, claim })
}

fn given(value: Option<Value<'_, '_>>, role: &str) -> PyResult<Given> {
    static MEMORY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let Some(value) = value else { return Ok(Given::Open(Arc::new(Memory))) };
    let py = value.py();
    if value.is_instance(MEMORY.import(py, "jobq.repositories", "Memory")?)? {
        Ok(Given::Open(Arc::new(Memory)))
    } else if value.is_instance(SLED.import(py, "jobq.repositories", "Sled")?)? {
        Ok(Given::OnDisk(description(value)?))
    } else {
        Ok(Given::Open(Arc::new(PyRepository::new(value, role)?)))
    }
}

fn description(sled: Value<'_, '_>) -> PyResult<Description> {
    let py = sled.py();
    let level: String = sled.getattr(intern!(py, "_sync"))?.extract()?;
    Ok(Description {
        path: sled.getattr(intern!(py, "_path"))?.extract::<PathBuf>()?,
        level: match level.as_str() {
            "interval" => Level::Interval,
            "never" => Level::Never,
            _ => Level::Always,
        },
        interval: Duration::from_millis(sled.getattr(intern!(py, "_interval_ms"))?.extract()?),
        create: sled.getattr(intern!(py, "_create"))?.extract()?,
        purpose: Purpose::Serve,
    })
}

impl Given {
    fn open(self, py: Python<'_>) -> PyResult<Arc<dyn Repository>> {
        match self {
            Self::Open(store) => Ok(store),
            Self::OnDisk(description) => {
                let sled = run(py, |caller| caller.detached(|| Sled::open(description)))?;
                Ok(Arc::new(sled))
            }
        }
    }
}
