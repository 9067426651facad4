//! The Python binding of jobq: it converts, decides when the interpreter's lock is given up, and delegates.

// Docs of classes and methods are Python docstrings, which name Python's words as Python writes them.
#![allow(clippy::doc_markdown)]
// A method of a Python class takes `self`, used or not.
#![allow(clippy::unused_self)]

mod arguments;
mod clock;
mod convert;
mod errors;
mod iterators;
mod job;
mod raw;
mod registry;
mod repository;
mod roles;
mod service;
mod store;
mod topic;
mod values;
mod verbs;

use pyo3::prelude::*;

/// The extension module `jobq._jobq`.
#[pymodule(gil_used = true)]
fn _jobq(m: &Bound<'_, PyModule>) -> PyResult<()> {
    registry::check_interpreter(m.py())?;
    errors::import(m.py());
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    #[cfg(feature = "planted")]
    m.add("_planted", true)?;
    m.add_class::<service::PyJobService>()?;
    m.add_class::<topic::PyTopic>()?;
    service::complete(m.py())?;
    topic::complete(m.py())?;
    m.add("Job", job::class(m.py())?)?;
    m.add_class::<clock::PyManualClock>()?;
    m.add_function(wrap_pyfunction!(convert::_milliseconds, m)?)?;
    for function in [
        wrap_pyfunction!(store::_examine, m)?,
        wrap_pyfunction!(store::_dump, m)?,
        wrap_pyfunction!(store::_compact, m)?,
        wrap_pyfunction!(store::_salvage, m)?,
    ] {
        m.add_function(function)?;
    }
    m.add_function(wrap_pyfunction!(registry::_forked, m)?)?;
    m.add_function(wrap_pyfunction!(registry::_close_all, m)?)
}
