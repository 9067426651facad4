"""The process that dies: opens the store, works as its plan says, and journals every call.

Writes `o` to stdout before it opens and `w` once it has, so that whoever kills it knows where it is. Ends
with 0, or 3 after an error, whose class and text then stand on stderr.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import jobq

from .actor import Actor
from .journal import Journal
from .plan import Plan
from .subjects import open_service
from .workload import steps, threads, until_error

FAILED = 3


def _mark(letter: bytes) -> None:
    os.write(1, letter)


def _open(plan: Plan, main: Journal) -> jobq.JobService | Exception:
    _mark(b"o")
    seq = main.intent("open", level=plan.level)
    try:
        service = open_service(plan.subject, Path(plan.store), plan.level)
    except Exception as error:
        main.result(seq, type(error).__name__, str(error)[:200])
        return error
    main.result(seq)
    _mark(b"w")
    return service


def _fill(plan: Plan, main: Journal) -> list[Exception]:
    """Meet a full disk, make room, and open again: the errors of all that came after."""
    service = _open(plan, main)
    if isinstance(service, jobq.JobService):
        until_error(Actor(service, main, plan.seed))
    Path(plan.filler).unlink()
    service = _open(plan, main)
    if isinstance(service, Exception):
        return [service]
    return steps(Actor(service, main, f"{plan.seed} again"), plan.steps)


def run(plan: Plan) -> list[Exception]:
    """Do what the plan says; return the errors."""
    main = Journal(plan.folder, plan.run, "main")
    if plan.filler:
        return _fill(plan, main)
    service = _open(plan, main)
    if isinstance(service, Exception):
        return [service]
    if plan.steps:
        return steps(Actor(service, main, plan.seed), plan.steps)
    names = [f"p{n}" for n in range(plan.producers)] + [f"c{n}" for n in range(plan.consumers)]
    actors = [Actor(service, Journal(plan.folder, plan.run, name), f"{plan.seed}-{name}") for name in names]
    stop = threading.Event()
    timer = threading.Timer(plan.seconds, stop.set)
    timer.daemon = True
    timer.start()
    errors = threads(actors, plan.producers, stop)
    service.close()
    return errors


def main(text: str) -> int:
    errors = run(Plan.from_json(text))
    for error in errors:
        print(f"{type(error).__module__}.{type(error).__name__}: {error}", file=sys.stderr)
    return FAILED if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
