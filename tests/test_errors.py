"""The exceptions: their tree, what each carries, and that a copy in another process has all of it."""

import copy
import errno
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import jobq
from jobq import JobqError, Status, errors

TREE = {
    "JobqError": ("Exception",),
    "JobNotFound": ("JobqError", "LookupError"),
    "InvalidTransition": ("JobqError",),
    "LeaseLost": ("InvalidTransition",),
    "QueueFull": ("JobqError",),
    "ServiceClosed": ("JobqError", "RuntimeError"),
    "RepositoryError": ("JobqError", "OSError"),
    "RepositoryLocked": ("RepositoryError",),
    "RepositoryCorrupt": ("RepositoryError",),
    "RepositoryFailed": ("RepositoryError",),
    "InternalError": ("JobqError", "RuntimeError"),
}

# One of each, as the engine makes it: positionally; and what can be read from it.
MADE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "JobqError": (("no",), {}),
    "JobNotFound": (("no job 7", 7), {"id": 7}),
    "InvalidTransition": (
        ("no", 7, Status.DONE, "cancel"),
        {"id": 7, "status": Status.DONE, "verb": "cancel"},
    ),
    "LeaseLost": (
        ("no", 7, None, "done_many", 9, (7, 8)),
        {"id": 7, "status": None, "verb": "done_many", "token": 9, "ids": (7, 8)},
    ),
    "QueueFull": (("no",), {}),
    "ServiceClosed": (("no",), {}),
    "RepositoryError": (
        ("no space in 'data'", "data", errno.ENOSPC),
        {"path": "data", "errno": errno.ENOSPC},
    ),
    "RepositoryLocked": (("no", "data", 4121), {"path": "data", "pid": 4121, "errno": None}),
    "RepositoryCorrupt": (("no", "data"), {"path": "data", "errno": None}),
    "RepositoryFailed": (("no", "data", errno.EIO), {"path": "data", "errno": errno.EIO}),
    "InternalError": (("no",), {}),
}

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle-{protocol}": lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


def make(name: str) -> JobqError:
    """The exception of this name from MADE."""
    error = getattr(jobq, name)(*MADE[name][0])
    assert isinstance(error, JobqError)
    return error


def attributes(error: JobqError) -> dict[str, Any]:
    """What MADE says can be read from it."""
    return {name: getattr(error, name) for name in MADE[type(error).__name__][1]}


@pytest.mark.parametrize("name", TREE)
def test_each_exception_stands_in_its_place_of_the_tree(name: str) -> None:
    # `except OSError` and `except LookupError` in a user's program rely on the second bases.
    assert tuple(base.__name__ for base in getattr(jobq, name).__bases__) == TREE[name]


def test_no_exception_is_outside_the_tree() -> None:
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    found = {name for name, cls in classes.items() if issubclass(cls, BaseException)}
    assert found == TREE.keys() == MADE.keys()


def test_the_drawn_tree_is_the_tree() -> None:
    # The drawing is what people read; each line is "name (second base)", its depth the place of the name.
    assert errors.__doc__ is not None
    drawn: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in re.findall(r"^    [\w│└├ ].*$", errors.__doc__, re.MULTILINE):
        found = re.fullmatch(r"    ([│└├─ ]*)(\w+)(?: \((\w+)\))?.*", line)
        assert found is not None, line
        branch, name, second = found.groups()
        depth = len(branch) // 4
        assert depth <= len(path), line
        drawn[name] = (*path[depth - 1 : depth], *([second] if second else []))
        path[depth:] = [name]
    assert drawn.pop("Exception") == ()
    assert drawn == TREE


@pytest.mark.parametrize("name", TREE)
def test_the_text_is_the_message_and_nothing_more(name: str) -> None:
    # OSError and KeyError compose texts of their own, which would hide the way out that the message names.
    error = make(name)
    assert str(error) == MADE[name][0][0]
    assert error.args == (MADE[name][0][0],)
    assert attributes(error) == MADE[name][1]


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", TREE)
def test_a_copy_keeps_class_text_attributes_and_notes(name: str, how: str) -> None:
    # A process pool sends exceptions by pickle; one that cannot be rebuilt there breaks the whole pool.
    error = make(name)
    error.add_note("while settling job 7")
    error.seen_by = "a handler"
    twin = COPIES[how](error)
    assert type(twin) is type(error)
    assert twin is not error
    assert str(twin) == str(error)
    assert twin.args == error.args
    assert attributes(twin) == attributes(error)
    assert twin.__notes__ == ["while settling job 7"]
    assert twin.seen_by == "a handler"


def test_a_copy_does_not_share_what_is_set_on_it_later() -> None:
    error = make("JobNotFound")
    twin = copy.copy(error)
    twin.seen_by = "a handler"
    assert not hasattr(error, "seen_by")


@pytest.mark.parametrize(
    "name", ["RepositoryError", "RepositoryLocked", "RepositoryCorrupt", "RepositoryFailed"]
)
def test_a_repository_error_needs_only_its_message(name: str) -> None:
    error = getattr(jobq, name)("no")
    assert (error.path, error.errno, str(error)) == (None, None, "no")
    assert getattr(error, "pid", None) is None


def test_a_repository_error_is_not_turned_into_another_oserror() -> None:
    # OSError(errno.ENOENT, ...) makes a FileNotFoundError; ours must stay what the engine chose.
    error = jobq.RepositoryError("no", "data", errno.ENOENT)
    assert type(error) is jobq.RepositoryError
    assert not isinstance(error, FileNotFoundError)
