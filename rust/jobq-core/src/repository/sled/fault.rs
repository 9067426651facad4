//! The errors of a store on disk: what was asked, what was found, the way out.

use std::io;
use std::path::Path;

use crate::error::{Error, StoreFault, StoreFaultKind};

/// A store that cannot be used.
pub(super) fn fault(kind: StoreFaultKind, path: &Path, text: String) -> Error {
    Error::Store(Box::new(StoreFault { kind, path: path.display().to_string(), text }))
}

/// A store that is damaged; it is neither served nor changed.
pub(super) fn corrupt(path: &Path, what: &str) -> Error {
    let shown = path.display();
    fault(
        StoreFaultKind::Corrupt,
        path,
        format!(
            "'{shown}' is damaged: {what}. It was neither served nor changed: restore a copy, or save what can be \
             read with `python -m jobq salvage {shown} NEW`"
        ),
    )
}

/// Something that is no store, or not there.
pub(super) fn unusable(path: &Path, text: &str) -> Error {
    fault(StoreFaultKind::Unusable { errno: None }, path, format!("'{}' {text}", path.display()))
}

/// What the system refused.
pub(super) fn refused(path: &Path, what: &str, error: &io::Error) -> Error {
    let way_out = if is_full(error) { "; make room on the disk" } else { "" };
    fault(
        StoreFaultKind::Unusable { errno: error.raw_os_error() },
        path,
        format!("'{}': {what}: {error}{way_out}", path.display()),
    )
}

/// The same of a store that sled may still be writing to.
pub(super) fn stuck(error: Error) -> Error {
    match error {
        Error::Store(fault) => {
            let kind = StoreFaultKind::Stuck { errno: fault.errno() };
            Error::Store(Box::new(StoreFault { kind, ..*fault }))
        }
        other => other,
    }
}

/// Whether the disk, or the user's part of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
