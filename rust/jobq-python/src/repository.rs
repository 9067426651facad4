//! A repository that is a Python object: one more implementation of the core's trait.

use jobq_core::error::Error;
use jobq_core::repository::{Change, Repository, Visit};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyType};

use crate::convert::type_name;
use crate::errors::foreign;

/// A user's repository. Its methods are called attached, by threads that were attached already.
pub(crate) struct PyRepository {
    object: Py<PyAny>,
    durable: bool,
}

/// What every repository has.
const MEMBERS: [&str; 6] = ["durable", "load", "commit", "get", "compact", "close"];

impl PyRepository {
    /// Wrap an object that looks like a repository.
    pub(crate) fn new(object: &Bound<'_, PyAny>, role: &str) -> PyResult<Self> {
        if object.is_instance_of::<PyType>() {
            return Err(PyTypeError::new_err(format!(
                "{role} must be a Memory, a Sled or a Repository, not a class: call it to make one"
            )));
        }
        if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
            return Err(PyTypeError::new_err(format!(
                "{role} must be a Memory, a Sled or a Repository, not {}: for a store on the disk give Sled(path)",
                type_name(object)
            )));
        }
        for member in MEMBERS {
            if !object.hasattr(member)? {
                return Err(PyTypeError::new_err(format!(
                    "{role} must be a Memory, a Sled or a Repository, not {}: it has no {member}",
                    type_name(object)
                )));
            }
        }
        let durable = object.getattr("durable")?.is_truthy()?;
        Ok(Self { object: object.clone().unbind(), durable })
    }
}

fn caught<R>(work: impl FnOnce(Python<'_>) -> PyResult<R>) -> Result<R, Error> {
    Python::attach(work).map_err(|error| Error::Repository(foreign(error)))
}

impl Repository for PyRepository {
    fn durable(&self) -> bool {
        self.durable
    }

    fn load(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut refused = None;
        let loaded = caught(|py| {
            let pairs = self.object.bind(py).call_method1(intern!(py, "load"), (PyBytes::new(py, prefix),))?;
            for pair in pairs.try_iter()? {
                let (key, value): (Bound<'_, PyBytes>, Bound<'_, PyBytes>) = pair?.extract()?;
                if let Err(error) = visit(key.as_bytes(), value.as_bytes()) {
                    refused = Some(error);
                    break;
                }
            }
            Ok(())
        });
        loaded.and(refused.map_or(Ok(()), Err))
    }

    fn commit(&self, batch: &[Change]) -> Result<(), Error> {
        caught(|py| {
            let (puts, deletes) = (PyList::empty(py), PyList::empty(py));
            for change in batch {
                match change {
                    Change::Put(key, value) => puts.append((PyBytes::new(py, key), PyBytes::new(py, value)))?,
                    Change::Delete(key) => deletes.append(PyBytes::new(py, key))?,
                }
            }
            self.object.bind(py).call_method1(intern!(py, "commit"), (puts, deletes)).map(|_| ())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        caught(|py| {
            let value = self.object.bind(py).call_method1(intern!(py, "get"), (PyBytes::new(py, key),))?;
            value
                .extract::<Option<Bound<'_, PyBytes>>>()
                .map(|bytes| bytes.map(|bytes| bytes.as_bytes().to_vec()))
                .map_err(Into::into)
        })
    }

    fn compact(&self) -> Result<u64, Error> {
        caught(|py| self.object.bind(py).call_method0(intern!(py, "compact")).map(|_| 0))
    }

    fn close(&self) -> Result<(), Error> {
        caught(|py| self.object.bind(py).call_method0(intern!(py, "close")).map(|_| ()))
    }
}
