//! The errors of a store on disk: what was asked, what was found, the way out.

use std::io;
use std::path::Path;

use crate::error::{Error, StoreFault, StoreFaultKind};

/// A store that cannot be used.
pub(super) fn fault(kind: StoreFaultKind, path: &Path, text: String) -> Error {
    Error::Store(Box::new(StoreFault { kind, path: path.display().to_string(), text }))
}

/// A store that is damaged; it is neither served nor repaired.
pub(super) fn corrupt(path: &Path, what: &str) -> Error {
    let shown = path.display();
    fault(
        StoreFaultKind::Corrupt,
        path,
        format!(
            "'{shown}' is damaged: {what}. It was neither served nor repaired: restore a copy, or save what can be \
             read with `python -m jobq salvage {} NEW`",
            as_typed(&shown.to_string())
        ),
    )
}

/// A path as a shell takes it.
fn as_typed(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Advice that is copied from an error must do what it says.
    #[test]
    fn a_path_in_advice_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(as_typed("/data/store-1.new"), "/data/store-1.new");
        assert_eq!(as_typed("/my data/$HOME"), "'/my data/$HOME'");
        assert_eq!(as_typed("it's"), r"'it'\''s'");
    }
}
