"""`dump PATH`: every job of a store, a JSON object a line."""

import argparse
import base64
import json
import sys
from collections.abc import Callable
from datetime import datetime

import jobq
from jobq._jobq import _dump
from jobq.cli import store


def add_parser(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `dump` to the command line."""
    store.add_parser(
        add,
        "dump",
        run,
        "print every job of a store, a JSON object a line",
        "Print a JSON object a line for each job by ascending id: what JobInfo holds, dates in ISO 8601, and "
        "`payload` in base64 (null: it cannot be read). Jobs stand where the disk says: one that was held "
        "when the process died is reserved. " + store.LOOKS,
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the jobs; 1 when the store has faults, which are on stderr."""

    def write(info: jobq.JobInfo, payload: bytes | None) -> None:
        sys.stdout.write(line(info, payload) + "\n")

    with store.reading() as step:
        faults = _dump(arguments.path, step, write)
    sys.stdout.flush()
    return store.say_faults(faults)


def line(info: jobq.JobInfo, payload: bytes | None) -> str:
    """One job as JSON."""
    encoded = None if payload is None else base64.b64encode(payload).decode()
    return _JSON.encode({**vars(info), "payload": encoded})


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case jobq.LogEntry():
            return vars(value)
        case _:
            raise TypeError(f"a JobInfo holds no {type(value).__name__}")


# One for all: `json.dumps` with a `default` makes an encoder each time.
_JSON = json.JSONEncoder(default=_plain)
