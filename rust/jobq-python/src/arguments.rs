//! How arguments meet parameters, with the errors that Python gives when they do not.

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::convert::Value;

/// A method's name, `R` required and `O` optional parameters, and texts.
pub(crate) struct Signature<const R: usize, const O: usize> {
    /// As errors name it: "Topic.enqueue".
    pub(crate) name: &'static str,
    /// As inspect.signature reads it: "($self, payload, weight=0)".
    pub(crate) text: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) required: [&'static str; R],
    pub(crate) optional: [&'static str; O],
    /// How many parameters may be given by position; any number if there is a `*args`.
    pub(crate) positional: usize,
    /// Whether it takes more, as `*args`.
    pub(crate) rest: bool,
    /// Whether its plain call, with the required arguments alone, drops no `Py` and no `PyErr` (see `raw`).
    pub(crate) plain: bool,
}

/// The arguments of one call; `None` for an optional one that is not given, or is None.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a, 'py, const R: usize, const O: usize> {
    pub(crate) required: [Value<'a, 'py>; R],
    pub(crate) optional: [Option<Value<'a, 'py>>; O],
    /// What came for `*args`.
    pub(crate) rest: &'a [Borrowed<'a, 'py, PyAny>],
}

/// Lent arguments.
type Lent<'a, 'py> = &'a [Borrowed<'a, 'py, PyAny>];

impl<const R: usize, const O: usize> Signature<R, O> {
    /// The name within its class.
    pub(crate) fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The required arguments alone, by position.
    #[inline]
    pub(crate) fn plainly<'a, 'py>(&self, given: Lent<'a, 'py>) -> PyResult<Given<'a, 'py, R, O>> {
        match <&[Borrowed<'a, 'py, PyAny>; R]>::try_from(given) {
            Ok(given) => Ok(Given { required: given.each_ref().map(|value| &**value), optional: [None; O], rest: &[] }),
            Err(_) => self.bind(given, None),
        }
    }

    /// Arguments by position, and by name.
    pub(crate) fn bind<'a, 'py>(
        &self,
        given: Lent<'a, 'py>,
        keywords: Option<(Borrowed<'a, 'py, PyTuple>, Lent<'a, 'py>)>,
    ) -> PyResult<Given<'a, 'py, R, O>> {
        let (given, rest) = given.split_at(given.len().min(self.positional));
        if !(rest.is_empty() || self.rest) {
            return Err(self.too_many(given.len() + rest.len()));
        }
        let (mut required, mut optional) = ([None; R], [None; O]);
        for (slot, value) in required.iter_mut().chain(&mut optional).zip(given) {
            *slot = Some(&**value);
        }
        if let Some((names, values)) = keywords {
            for (name, value) in names.iter_borrowed().zip(values) {
                let parameters = self.required.iter().chain(&self.optional);
                let mut slots = parameters.zip(required.iter_mut().chain(&mut optional));
                let Some((_, slot)) = slots.find(|(parameter, _)| is_named(&name, parameter)) else {
                    return Err(self.error(&format!("got an unexpected keyword argument '{}'", &*name)));
                };
                if slot.replace(&**value).is_some() {
                    return Err(self.error(&format!("got multiple values for argument '{}'", &*name)));
                }
            }
        }
        let optional = optional.map(|value: Option<Value<'a, 'py>>| value.filter(|value| !value.is_none()));
        match all(&required) {
            Some(required) => Ok(Given { required, optional, rest }),
            None => Err(self.missing(&required)),
        }
    }

    fn error(&self, what: &str) -> PyErr {
        PyTypeError::new_err(format!("{}() {what}", self.name))
    }

    fn too_many(&self, count: usize) -> PyErr {
        let takes = if self.positional == R { R.to_string() } else { format!("from {R} to {}", self.positional) };
        let was = if count == 1 { "was" } else { "were" };
        self.error(&format!("takes {takes} positional arguments but {count} {was} given"))
    }

    fn missing(&self, required: &[Option<Value<'_, '_>>; R]) -> PyErr {
        let missing = self.required.iter().zip(required).filter(|(_, value)| value.is_none());
        let names: Vec<_> = missing.map(|(name, _)| format!("'{name}'")).collect();
        let (s, names) = match &names[..] {
            [name] => ("", name.clone()),
            [first, last] => ("s", format!("{first} and {last}")),
            [first @ .., last] => ("s", format!("{}, and {last}", first.join(", "))),
            [] => ("", String::new()),
        };
        let count = required.iter().filter(|value| value.is_none()).count();
        self.error(&format!("missing {count} required positional argument{s}: {names}"))
    }
}

fn is_named(name: &Bound<'_, PyAny>, parameter: &str) -> bool {
    name.cast::<PyString>().is_ok_and(|name| name.to_str().is_ok_and(|name| name == parameter))
}

/// The values, if all are there.
fn all<'a, 'py, const R: usize>(values: &[Option<Value<'a, 'py>>; R]) -> Option<[Value<'a, 'py>; R]> {
    let there: Vec<_> = values.iter().copied().collect::<Option<_>>()?;
    there.try_into().ok()
}
