"""What is tested: how each kind of store is opened, by name, with few imports."""

from pathlib import Path

import jobq

SUBJECTS = ("sled", "sqlite")
"""Also `two sleds`, one for each role; and `sqlite+fault`, one that cheats, see planted.py."""
LEVELS = ("always", "interval", "never")

_REPOSITORY = frozenset(["RepositoryError", "RepositoryFailed"])
_SQLITE = frozenset(["OperationalError", "DatabaseError"])
_FOLDER = frozenset(["OSError", "InterruptedError", "PermissionError"])  # open_service makes it
ERRORS = {"sled": _REPOSITORY, "sqlite": _REPOSITORY | _SQLITE | _FOLDER}
"""What a failing store may raise. A Python repository's own errors come through unchanged."""


def open_service(subject: str, store: Path, level: str) -> jobq.JobService:
    """Open the store in the folder `store`, whose parent exists."""
    kind, _, planted = subject.partition("+")
    if kind == "sled":
        return jobq.open(store, sync=level)  # type: ignore[arg-type]
    if kind == "two sleds":
        store.mkdir(exist_ok=True)
        jobs, topics = jobq.Sled(store / "jobs", sync=level), jobq.Sled(store / "topics", sync=level)  # type: ignore[arg-type]
        return jobq.JobService(jobs, topics)
    assert kind == "sqlite", f"no subject is called {subject!r}"
    from sqlite_repository import SQLite

    store.mkdir(exist_ok=True)
    repository: jobq.Repository = SQLite(store / "jobs.db")
    if planted:
        from .planted import Cheat

        repository = Cheat(repository, planted)
    return jobq.JobService(repository, repository)
