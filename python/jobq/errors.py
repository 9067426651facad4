"""The exceptions of jobq: all that it raises besides TypeError and ValueError.

    Exception
    └── JobqError
        ├── JobNotFound (LookupError)          id
        ├── InvalidTransition                  id, status, verb
        │   └── LeaseLost                      token, ids
        ├── QueueFull
        ├── ServiceClosed (RuntimeError)
        ├── RepositoryError (OSError)          path, errno
        │   ├── RepositoryLocked               pid
        │   ├── RepositoryCorrupt
        │   └── RepositoryFailed
        └── InternalError (RuntimeError)

The builtin second bases let `except LookupError` or `except OSError` catch what a reader expects. Beside each
class stand the attributes it adds; they say what the text says. Every exception can be copied and pickled,
attributes and notes included. The engine raises them; it imports them from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobq.options import JobId, Status


class JobqError(Exception):
    """Base of all that jobq raises but TypeError and ValueError.

    `str(error)` says what was asked, what was found, and the way out. It never shows a payload.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is filled with what this one holds, past its constructor: each class's takes other arguments.
        return type(self).__new__, (type(self),), {"args": self.args, **self.__dict__}


class JobNotFound(JobqError, LookupError):
    """No job has this id: it was never enqueued, or it was deleted, or purged by the retention.

    `id` is the id asked for; of several given, the first that no job has.
    """

    id: JobId

    def __init__(self, message: str, id: JobId) -> None:
        super().__init__(message)
        self.id = id


class InvalidTransition(JobqError):
    """The state machine has no such step from the job's status. Nothing was changed.

    `id` is the job, `status` where it stands now (None: it is gone), `verb` the method that was called.
    """

    id: JobId
    status: Status | None
    verb: str

    def __init__(self, message: str, id: JobId, status: Status | None, verb: str) -> None:
        super().__init__(message)
        self.id = id
        self.status = status
        self.verb = verb


class LeaseLost(InvalidTransition):
    """The handle does not hold the job: it was already settled, canceled, reset, or expired and taken.

    Nothing was recorded for it, so another may do the job again, or has done it. `token` is the lease that
    was lost, `ids` every job concerned: more than one only from a `_many` call, which has applied all the
    others; `id`, `status` and `token` then belong to the first.
    """

    token: int
    ids: tuple[JobId, ...]

    def __init__(
        self, message: str, id: JobId, status: Status | None, verb: str, token: int, ids: tuple[JobId, ...]
    ) -> None:
        super().__init__(message, id, status, verb)
        self.token = token
        self.ids = ids


class QueueFull(JobqError):
    """`Limits.max_jobs` or `Limits.max_topics` is reached. Nothing was queued."""


class ServiceClosed(JobqError, RuntimeError):
    """The service is closed, or belongs to the parent of a forked process.

    To calls that wait for jobs, a service that was stopped is closed too.
    """


class RepositoryError(JobqError, OSError):
    """The store cannot be used.

    `path` is the store's directory (None: it has none), `errno` the system's error number, where it gave one.
    """

    path: str | None

    def __init__(self, message: str, path: str | None = None, errno: int | None = None) -> None:
        # OSError is given the message alone: from errno and message it would compose another text.
        super().__init__(message)
        self.path = path
        self.errno = errno

    def __reduce__(self) -> tuple[Any, ...]:
        make, args, state = super().__reduce__()
        return make, args, {**state, "errno": self.errno}  # kept by OSError, outside __dict__


class RepositoryLocked(RepositoryError):
    """Another service has the store open: one of this process, or of process `pid` (None: not known)."""

    pid: int | None

    def __init__(self, message: str, path: str | None = None, pid: int | None = None) -> None:
        super().__init__(message, path)
        self.pid = pid


class RepositoryCorrupt(RepositoryError):
    """The store is damaged, shorter than it was, or of another format. It is neither served nor repaired."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message, path)


class RepositoryFailed(RepositoryError):
    """The repository failed, or a write did not end within 30 s: every call but close() raises this.

    What was acknowledged is kept, as far as the store's level promises. A call that was waiting, or whose
    change was only queued, may or may not have taken effect. Only close and open clears it, in a new process
    where the text says so. `__cause__` is the first error, `path` and `errno` are those of it where known.
    """


class InternalError(JobqError, RuntimeError):
    """A defect of jobq. The service refuses further work; close and open clears it."""
