//! Methods as CPython calls them: how one is declared, put on its type, called, and how its errors and panics end.
//!
//! PyO3's own methods cost about 100 instructions a call more and twice as much per keyword; the hot ones are worth it.

use std::any::Any;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{Borrowed, PyTypeInfo};

use super::counted;
use crate::arguments::{Given, Signature};
use crate::errors;

/// What a method returns.
pub(crate) type Answer<'py> = PyResult<Bound<'py, PyAny>>;

/// A method of the type `Owner`, with `R` required and `O` optional parameters.
pub(crate) trait Method<const R: usize, const O: usize> {
    /// The Rust side of its type.
    type Owner: PyTypeInfo;

    /// Its name and parameters.
    const SIGNATURE: Signature<R, O>;

    /// What it does.
    fn call<'py>(owner: &Bound<'py, Self::Owner>, given: Given<'_, 'py, R, O>) -> Answer<'py>;
}

/// Declare a method: its docstring, its Rust name and type, Python's name and signature, the names of its required and
/// optional parameters, how many of them may come by position, how it is called, and the function that is its body.
///
/// `hot`: its plain call, with the required arguments alone, is not [`counted`]; so neither it nor what it calls may
/// drop a `Py` or a `PyErr` there. `rest`: it takes `*args` too. `cold`: neither.
macro_rules! method {
    ($(#[doc = $doc:literal])* $method:ident: $owner:ident $name:literal $text:literal
     [$($required:ident),*] [$($optional:ident),*] positional $positional:literal, $kind:ident => $body:path) => {
        struct $method;

        const _: () = {
            const REQUIRED: &[&str] = &[$(stringify!($required)),*];
            const OPTIONAL: &[&str] = &[$(stringify!($optional)),*];

            impl Method<{ REQUIRED.len() }, { OPTIONAL.len() }> for $method {
                type Owner = $owner;

                const SIGNATURE: Signature<{ REQUIRED.len() }, { OPTIONAL.len() }> = Signature {
                    name: $name,
                    text: $text,
                    doc: concat!($($doc, "\n"),*),
                    required: [$(stringify!($required)),*],
                    optional: [$(stringify!($optional)),*],
                    positional: $positional,
                    rest: method!(@rest $kind),
                    plain: method!(@plain $kind),
                };

                #[inline]
                fn call<'py>(
                    owner: &Bound<'py, $owner>,
                    given: Given<'_, 'py, { REQUIRED.len() }, { OPTIONAL.len() }>,
                ) -> Answer<'py> {
                    $body(owner, given)
                }
            }
        };
    };
    (@rest rest) => { true };
    (@rest $kind:ident) => { false };
    (@plain hot) => { true };
    (@plain $kind:ident) => { false };
}
pub(crate) use method;

/// Put a method on its type.
pub(crate) fn install<M: Method<R, O>, const R: usize, const O: usize>(py: Python<'_>) -> PyResult<()> {
    let owner = py.get_type::<M::Owner>();
    let signature = &M::SIGNATURE;
    let name = signature.short_name();
    let lines: Vec<_> = signature.doc.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let doc = format!("{name}{}\n--\n\n{}", signature.text, lines.join("\n"));
    let (ml_meth, ml_flags) = if R + O == 0 {
        (ffi::PyMethodDefPointer { PyCFunction: without_arguments::<M, R, O> }, ffi::METH_NOARGS)
    } else {
        let call = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: with_arguments::<M, R, O> };
        (call, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)
    };
    // Types live as long as the process, and so do their methods.
    let (ml_name, ml_doc) = (CString::new(name)?.into_raw(), CString::new(doc)?.into_raw());
    let definition = Box::leak(Box::new(ffi::PyMethodDef { ml_name, ml_meth, ml_flags, ml_doc }));
    // SAFETY: the definition is complete and never freed; its function takes what its flags say.
    let descriptor = unsafe {
        let descriptor = ffi::PyDescr_NewMethod(owner.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(py, descriptor)?
    };
    owner.setattr(name, descriptor)
}

/// The C side of a method without parameters.
unsafe extern "C" fn without_arguments<M: Method<R, O>, const R: usize, const O: usize>(
    owner: *mut ffi::PyObject,
    _nothing: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(|py| {
        // SAFETY: the descriptor lets only instances of `Owner`'s type through.
        let owner = unsafe { Borrowed::from_ptr(py, owner).cast_unchecked::<M::Owner>() };
        if M::SIGNATURE.plain {
            M::call(&owner, M::SIGNATURE.plainly(&[])?)
        } else {
            counted(py, || M::call(&owner, M::SIGNATURE.plainly(&[])?))
        }
    })
}

/// The C side of a method with parameters.
unsafe extern "C" fn with_arguments<M: Method<R, O>, const R: usize, const O: usize>(
    owner: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(|py| {
        let count = count.cast_unsigned();
        // SAFETY: as above; and CPython lends `count` objects by position, after them one for each of the names, if
        // there are any. A `Borrowed` is a pointer to an object. All outlive the call.
        let (owner, positional) = unsafe {
            let owner = Borrowed::from_ptr(py, owner).cast_unchecked::<M::Owner>();
            (owner, lent(py, arguments, count))
        };
        if M::SIGNATURE.plain && names.is_null() && count == R {
            return M::call(&owner, M::SIGNATURE.plainly(positional)?);
        }
        counted(py, || {
            // SAFETY: as above; the names are a tuple of str.
            let keywords = unsafe {
                let names = Borrowed::from_ptr_or_opt(py, names).map(|names| names.cast_unchecked::<PyTuple>());
                names.map(|names| (names, lent(py, arguments.wrapping_add(count), names.len())))
            };
            M::call(&owner, M::SIGNATURE.bind(positional, keywords)?)
        })
    })
}

/// Objects that the caller lends.
///
/// # Safety
/// There are `count` of them, and they outlive `'a`.
unsafe fn lent<'a>(_py: Python<'_>, objects: *const *mut ffi::PyObject, count: usize) -> &'a [Borrowed<'a, '_, PyAny>] {
    // Without objects the pointer may be null, which no slice may be.
    if count == 0 { &[] } else { unsafe { slice::from_raw_parts(objects.cast(), count) } }
}

/// Do what CPython asked for: an error becomes its exception, and a panic does too.
#[inline]
pub(super) fn guarded(work: impl for<'py> FnOnce(Python<'py>) -> Answer<'py>) -> *mut ffi::PyObject {
    // SAFETY: CPython calls attached.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| work(py))) {
        Ok(Ok(value)) => value.into_ptr(),
        Ok(Err(error)) => refused(py, error),
        Err(panic) => panicked(py, panic),
    }
}

#[cold]
fn refused(py: Python<'_>, error: PyErr) -> *mut ffi::PyObject {
    counted(py, || error.restore(py));
    ptr::null_mut()
}

#[cold]
fn panicked(py: Python<'_>, panic: Box<dyn Any + Send>) -> *mut ffi::PyObject {
    drop(panic);
    counted(py, || errors::internal(py).restore(py));
    ptr::null_mut()
}
