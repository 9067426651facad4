//! `jobq.Job` as CPython sees it: a plain C type that the cyclic collector does not look at, so that a handle costs
//! its two words of head alone. Classes of PyO3 are all looked at.
//!
//! A handle refers to a str, bytes and its service. None of these refers to handles, so no cycle is missed.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::{ManuallyDrop, offset_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::Borrowed;
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::counted;
use super::method::{Answer, guarded};
use crate::errors;
use crate::job::PyJob;

/// A handle in memory.
#[repr(C)]
struct Object {
    head: ffi::PyObject,
    job: ManuallyDrop<PyJob>,
}

static TYPE: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

// SAFETY: `TYPE` is the type of the objects that `create` makes and of no other; it is made before the module can be
// used, and never freed. Nothing inherits from it, so its objects are `Object`s.
unsafe impl pyo3::PyTypeInfo for PyJob {
    #[inline]
    fn type_object_raw(_py: Python<'_>) -> *mut ffi::PyTypeObject {
        TYPE.load(Ordering::Relaxed)
    }
}

/// The Rust side of a handle.
#[inline]
pub(crate) fn fields<'a>(job: &'a Bound<'_, PyJob>) -> &'a PyJob {
    // SAFETY: an object of the type is an `Object` whose job stays until it is deallocated.
    unsafe { &(*job.as_ptr().cast::<Object>()).job }
}

/// Memory of handles that are gone, for those to come.
struct Free {
    last: Cell<*mut Object>,
    count: Cell<usize>,
}

/// How many are kept: more than are usually held at once; beyond that the allocator's price is paid.
const KEPT: usize = 256;

// SAFETY: only attached threads use it, one at a time, and they call nothing meanwhile.
unsafe impl Sync for Free {}

static FREE: Free = Free { last: Cell::new(ptr::null_mut()), count: Cell::new(0) };

impl Free {
    /// Memory for one handle; null when there is none.
    #[inline]
    fn take(&self, _py: Python<'_>) -> *mut Object {
        let last = self.last.get();
        if last.is_null() {
            // SAFETY: the thread is attached.
            return unsafe { ffi::PyObject_Malloc(size_of::<Object>()) }.cast();
        }
        // SAFETY: what is kept is memory of a handle, whose first word `give` wrote.
        self.last.set(unsafe { last.cast::<*mut Object>().read() });
        self.count.set(self.count.get() - 1);
        last
    }

    /// Keep this memory, or free it.
    ///
    /// # Safety
    /// It comes from `take`, and nothing is in it any more.
    #[inline]
    unsafe fn give(&self, _py: Python<'_>, object: *mut Object) {
        if self.count.get() == KEPT {
            // SAFETY: it came from PyObject_Malloc; the thread is attached.
            return unsafe { ffi::PyObject_Free(object.cast()) };
        }
        // SAFETY: it is large and aligned enough for a pointer.
        unsafe { object.cast::<*mut Object>().write(self.last.get()) };
        self.last.set(object);
        self.count.set(self.count.get() + 1);
    }
}

/// A new handle.
#[inline]
pub(crate) fn create(py: Python<'_>, job: PyJob) -> PyResult<Bound<'_, PyJob>> {
    let object = FREE.take(py);
    if object.is_null() {
        return Err(PyMemoryError::new_err(()));
    }
    // SAFETY: the memory is ours; the job is written before the object can be seen. `PyObject_Init` makes the one
    // reference that is returned.
    unsafe {
        (&raw mut (*object).job).write(ManuallyDrop::new(job));
        let object = ffi::PyObject_Init(object.cast(), TYPE.load(Ordering::Relaxed));
        Ok(Bound::from_owned_ptr(py, object).cast_into_unchecked())
    }
}

/// The last reference went: settle what is not settled, drop what it refers to.
unsafe extern "C" fn deallocate(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls attached.
    let py = unsafe { Python::assume_attached() };
    let object = object.cast::<Object>();
    // SAFETY: the object is an `Object` without references, so its job is dropped once and its memory is ours. It
    // held a reference to its type, as objects of types made at run time do.
    unsafe {
        let kind = ffi::Py_TYPE(object.cast());
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| ManuallyDrop::drop(&mut (*object).job))) {
            broke_off(py, panic);
        }
        FREE.give(py, object);
        ffi::Py_DECREF(kind.cast());
    }
}

/// Tell of a panic where no caller takes an error; an exception that is on its way goes on.
#[cold]
fn broke_off(py: Python<'_>, panic: Box<dyn Any + Send>) {
    counted(py, || {
        drop(panic);
        let pending = PyErr::take(py);
        errors::internal(py).write_unraisable(py, None);
        if let Some(pending) = pending {
            pending.restore(py);
        }
    });
}

unsafe extern "C" fn represent(job: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guarded(|py| {
        // SAFETY: CPython lends an object of the type.
        let job = unsafe { Borrowed::from_ptr(py, job).cast_unchecked::<PyJob>() };
        counted(py, || crate::job::repr(&job))
    })
}

/// A property that is worked out.
pub(crate) struct Getter {
    pub(crate) name: &'static CStr,
    pub(crate) doc: &'static CStr,
    pub(crate) get: for<'py> fn(&Bound<'py, PyJob>) -> Answer<'py>,
}

unsafe extern "C" fn get(job: *mut ffi::PyObject, getter: *mut c_void) -> *mut ffi::PyObject {
    guarded(|py| {
        // SAFETY: CPython lends an object of the type, and gives back what `make` gave it, which is static.
        let (job, getter) =
            unsafe { (Borrowed::from_ptr(py, job).cast_unchecked::<PyJob>(), &*getter.cast::<Getter>()) };
        counted(py, || (getter.get)(&job))
    })
}

/// A property that is a field.
macro_rules! member {
    ($field:ident, $kind:expr, $doc:literal) => {
        ffi::PyMemberDef {
            name: concat!(stringify!($field), "\0").as_ptr().cast(),
            type_code: $kind,
            offset: (offset_of!(Object, job) + offset_of!(PyJob, $field)).cast_signed(),
            flags: ffi::Py_READONLY,
            doc: concat!($doc, "\0").as_ptr().cast(),
        }
    };
}

/// Make the type, once; its methods are put on it by `job::install`.
pub(crate) fn make<'py>(py: Python<'py>, doc: &CStr, getters: &'static [Getter]) -> PyResult<Bound<'py, PyType>> {
    if TYPE.load(Ordering::Relaxed).is_null() {
        // Each kind is that of the field's type: u64, i16, u32, bool, and a reference, which is never null.
        let mut members = [
            member!(id, ffi::Py_T_ULONGLONG, "The job's id."),
            member!(topic, ffi::Py_T_OBJECT_EX, "Its topic's name."),
            member!(payload, ffi::Py_T_OBJECT_EX, "What was queued."),
            member!(weight, ffi::Py_T_SHORT, "Its weight; lower is sooner."),
            member!(
                token,
                ffi::Py_T_ULONGLONG,
                "Names this lease; greater than every earlier token of this job, over restarts too: a fence for your \
                 database."
            ),
            member!(attempt, ffi::Py_T_UINT, "1 for the job's first reservation."),
            member!(
                settled,
                ffi::Py_T_BOOL,
                "True once done, retry, release or cancel was accepted through this handle."
            ),
            ffi::PyMemberDef::default(),
        ];
        let properties = getters.iter().map(|getter| ffi::PyGetSetDef {
            name: getter.name.as_ptr(),
            get: Some(get),
            set: None,
            doc: getter.doc.as_ptr(),
            closure: ptr::from_ref(getter).cast_mut().cast(),
        });
        let properties: Vec<_> = properties.chain([ffi::PyGetSetDef::default()]).collect();
        let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
        let mut slots = [
            slot(ffi::Py_tp_dealloc, deallocate as *mut c_void),
            slot(ffi::Py_tp_repr, represent as *mut c_void),
            slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
            slot(ffi::Py_tp_getset, properties.leak().as_mut_ptr().cast()),
            slot(0, ptr::null_mut()),
        ];
        let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        let mut spec = ffi::PyType_Spec {
            name: c"jobq.Job".as_ptr(),
            basicsize: c_int::try_from(size_of::<Object>())?,
            itemsize: 0,
            flags: c_uint::try_from(flags)?,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: the spec is complete; the name and the properties are never freed, the rest CPython copies.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
        TYPE.store(made.into_ptr().cast(), Ordering::Relaxed);
    }
    Ok(py.get_type::<PyJob>())
}
