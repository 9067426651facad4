//! From the core's errors to Python's, which are defined in Python; and a Python error on its way through the core.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jobq_core::engine::Caller;
use jobq_core::error::{Error, Foreign, StoreFault, StoreFaultKind};
use jobq_core::job::JobId;
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::raw::counted;
use crate::values::status;

pyo3::import_exception!(jobq.errors, JobNotFound);
pyo3::import_exception!(jobq.errors, InvalidTransition);
pyo3::import_exception!(jobq.errors, LeaseLost);
pyo3::import_exception!(jobq.errors, QueueFull);
pyo3::import_exception!(jobq.errors, ServiceClosed);
pyo3::import_exception!(jobq.errors, RepositoryError);
pyo3::import_exception!(jobq.errors, RepositoryLocked);
pyo3::import_exception!(jobq.errors, RepositoryCorrupt);
pyo3::import_exception!(jobq.errors, RepositoryFailed);
pyo3::import_exception!(jobq.errors, InternalError);

/// Have every class at hand: at the interpreter's end nothing can be imported any more.
pub(crate) fn import(py: Python<'_>) {
    JobNotFound::type_object(py);
    InvalidTransition::type_object(py);
    LeaseLost::type_object(py);
    QueueFull::type_object(py);
    ServiceClosed::type_object(py);
    RepositoryError::type_object(py);
    RepositoryLocked::type_object(py);
    RepositoryCorrupt::type_object(py);
    RepositoryFailed::type_object(py);
    InternalError::type_object(py);
}

/// What stands for something shared is neither copied nor pickled.
pub(crate) fn no_copy(name: &str) -> PyErr {
    PyTypeError::new_err(format!("a {name} cannot be copied or pickled: it stands for something shared"))
}

/// An exception that a user's repository or signal handler raised; it leaves the core as it came.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) PyErr);

impl std::error::Error for Raised {}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Python::attach(|py| {
            let name = self.0.get_type(py).name().map(|name| name.to_string());
            f.write_str(name.as_deref().unwrap_or("an exception"))
        })
    }
}

/// A Python exception as the core carries it.
pub(crate) fn foreign(error: PyErr) -> Foreign {
    Arc::new(Raised(error))
}

/// The calling thread: attached to the interpreter, detached around waits.
pub(crate) struct Attached<'py>(pub(crate) Python<'py>);

impl Caller for Attached<'_> {
    fn detached<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.detach(work)
    }

    fn interrupted(&self) -> Result<(), Error> {
        self.0.check_signals().map_err(|error| Error::Interrupted(foreign(error)))
    }
}

/// Call the core: its errors become exceptions, and so does a panic.
#[inline]
pub(crate) fn run<R>(py: Python<'_>, work: impl FnOnce(&Attached<'_>) -> Result<R, Error>) -> PyResult<R> {
    catch_unwind(AssertUnwindSafe(|| call(py, work))).unwrap_or_else(|_| Err(internal(py)))
}

/// As `run`, for a caller that catches panics itself: a method of `raw`.
#[inline]
pub(crate) fn call<R>(py: Python<'_>, work: impl FnOnce(&Attached<'_>) -> Result<R, Error>) -> PyResult<R> {
    work(&Attached(py)).map_err(|error| refused(py, error))
}

#[cold]
fn refused(py: Python<'_>, error: Error) -> PyErr {
    // The error may hold an exception, which goes with it.
    counted(py, move || raise(py, &{ error }))
}

/// The exception of a panic.
#[cold]
pub(crate) fn internal(py: Python<'_>) -> PyErr {
    crate::registry::wake_broken();
    raise(py, &Error::Internal)
}

/// The exception of an error.
#[cold]
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Invalid(_) => PyValueError::new_err(text),
        Error::JobNotFound(id) => JobNotFound::new_err((text, id.0)),
        Error::InvalidTransition(step) => {
            InvalidTransition::new_err((text, step.id.0, status(py, step.status), step.verb))
        }
        Error::LeaseLost(lost) => {
            let ids = PyTuple::new(py, lost.ids.iter().map(|&JobId(id)| id)).map(Bound::unbind);
            let stands = lost.status.map(|stands| status(py, stands));
            match ids {
                Ok(ids) => LeaseLost::new_err((text, lost.id.0, stands, lost.verb, lost.token.0, ids)),
                Err(error) => error,
            }
        }
        Error::QueueFull(_) => QueueFull::new_err(text),
        Error::Closed(_) => ServiceClosed::new_err(text),
        Error::Reentered => PyRuntimeError::new_err(text),
        Error::Repository(cause) | Error::Interrupted(cause) => unwrap(py, cause, &text),
        Error::Failed(cause) => failed(py, cause, text),
        Error::Corrupt(_) => RepositoryCorrupt::new_err(text),
        Error::Store(fault) => store_fault(fault),
        Error::Internal => InternalError::new_err(text),
    }
}

/// With the path, the system's number and the exception of the first error, as far as it has them.
fn failed(py: Python<'_>, cause: &Foreign, text: String) -> PyErr {
    let first = cause.downcast_ref::<Error>();
    let (path, errno) = match first {
        Some(Error::Store(fault)) => (path_of(fault), fault.errno()),
        _ => (None, None),
    };
    let failed = RepositoryFailed::new_err((text, path, errno));
    let raised = match (cause.downcast_ref::<Raised>(), first) {
        (Some(raised), _) => Some(raised.0.clone_ref(py)),
        (None, Some(first)) => Some(raise(py, first)),
        (None, None) => None,
    };
    failed.set_cause(py, raised);
    failed
}

fn path_of(fault: &StoreFault) -> Option<String> {
    Some(fault.path.clone()).filter(|path| !path.is_empty())
}

fn store_fault(fault: &StoreFault) -> PyErr {
    let (text, path) = (fault.text.clone(), path_of(fault));
    match fault.kind {
        StoreFaultKind::Locked { pid } => RepositoryLocked::new_err((text, path, pid)),
        StoreFaultKind::Corrupt => RepositoryCorrupt::new_err((text, path)),
        StoreFaultKind::Unusable { errno } | StoreFaultKind::Stuck { errno } => {
            RepositoryError::new_err((text, path, errno))
        }
    }
}

/// The very exception that was raised, where one was.
fn unwrap(py: Python<'_>, cause: &Foreign, text: &str) -> PyErr {
    match cause.downcast_ref::<Raised>() {
        Some(raised) => raised.0.clone_ref(py),
        None => RepositoryError::new_err(text.to_owned()),
    }
}
