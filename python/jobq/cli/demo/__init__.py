"""`demo`: hashes every regular file under a directory, one job each, to show jobq at work on real input.

It fills the queue (survey.py), lets worker threads empty it (hasher.py), and reports (report.py); every file
ends as done, as a dead letter or, after Ctrl-C, as left. With a store on disk it goes on where an earlier run
was stopped or killed (past.py).
"""

import argparse
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

import jobq
from jobq.cli.demo import report
from jobq.cli.demo.hasher import Hasher
from jobq.cli.demo.past import Past, recall
from jobq.cli.demo.survey import Survey, fill
from jobq.cli.errors import UsageError
from jobq.cli.interrupt import Interrupt
from jobq.cli.progress import Progress
from jobq.cli.text import printable

MAX_WORKERS = 256
OPTIONS = jobq.JobOptions(max_retries=3, min_backoff=0.1)

# It is killed on purpose, and no file does that: crashes make no file a dead letter before this many.
MAX_CRASHES = 255

# Opening a file costs about as much as hashing this many bytes; the time to go counts it for each.
FILE_COST = 32_768


def add_parser(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `demo` to the command line."""
    parser = add(
        "demo",
        help="hash every file under a directory, one job each",
        description="Enqueue one job for every regular file under DIR, topic by suffix, small files first; "
        "worker threads compute SHA-256 and line counts. Unreadable files are retried three times and end as "
        "dead letters. Ctrl-C stops cleanly and says what is left.",
    )
    parser.add_argument("dir", metavar="DIR", nargs="?", help="default: this Python's standard library")
    parser.add_argument(
        "--workers", metavar="N", type=_workers, help=f"threads, 1 to {MAX_WORKERS} (default: one per CPU)"
    )
    parser.add_argument(
        "--db",
        metavar="PATH",
        help="keep the jobs in a store on disk: killed at any moment and started again with the same "
        "command, it goes on where it was",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the results, file by file, to FILE")
    parser.set_defaults(run=run)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_WORKERS}, not {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """The whole demo; returns the exit status."""
    directory: str = sysconfig.get_path("stdlib") if arguments.dir is None else arguments.dir
    _check_directory(directory)
    store: str | None = None if arguments.db is None else os.path.realpath(arguments.db)
    if store is not None:
        directory = os.path.realpath(directory)  # the next run may start elsewhere
    workers: int = arguments.workers or min(os.cpu_count() or 1, MAX_WORKERS)
    with _results(arguments.json) as results, _service(store) as svc, Interrupt(svc) as interrupt:
        print(f"jobq {jobq.__version__} demo: {printable(os.fsencode(directory))}, {workers} workers")
        keep = results is not None
        past = Past() if store is None else recall(svc, os.fsencode(directory), keep=keep)
        if past.paths:
            print(f"going on: {past.finished:,} of {len(past.paths):,} jobs of the store are finished")
        skip = None if store is None else os.fsencode(store)
        survey = fill(svc, os.fsencode(directory), interrupt, past, skip)
        topics = list(survey.topics.values())
        enqueued = f"{survey.jobs - len(past.paths):,} jobs in {len(topics):,} topics"
        print(f"enqueued {enqueued} in {survey.seconds:.2f} s", flush=True)
        hashers = [
            Hasher(svc, topics, index, workers, interrupt, keep=keep, record=store is not None)
            for index in range(workers)
        ]
        seconds = drain(svc, survey, hashers, interrupt, past)
        outcome = report.Outcome.gather(
            svc, survey, hashers, seconds, interrupted=interrupt.halted, past=past
        )
        report.show(outcome, sys.stdout)
        if results is not None:
            report.write_json(outcome, directory, results)
        faults = [*svc.verify(), *outcome.faults()]
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults else 130 if outcome.interrupted else 0


def _service(store: str | None) -> jobq.JobService:
    """In memory, or on a store where every job stays: the next run asks what has been done."""
    if store is None:
        return jobq.open(defaults=OPTIONS)
    forever = jobq.Retention.forever()
    return jobq.open(
        store, defaults=OPTIONS, retention=forever, dead_retention=forever, max_crashes=MAX_CRASHES
    )


def _check_directory(directory: str) -> None:
    """Refuse what cannot be listed, before anything is printed."""
    try:
        with os.scandir(directory):
            pass
    except (OSError, ValueError) as error:
        raise _unusable("read directory", directory, error) from None


def _unusable(what: str, path: str, error: OSError | ValueError) -> UsageError:
    why = error.strerror if isinstance(error, OSError) else error
    return UsageError(f"cannot {what} '{printable(os.fsencode(path))}': {why}")


def _results(path: str | None) -> AbstractContextManager[IO[str] | None]:
    """The results file, opened before the work: an hour's results must not end in "no such directory"."""
    if path is None:
        return nullcontext()
    try:
        return Path(path).open("w", encoding="ascii")
    except (OSError, ValueError) as error:
        raise _unusable("write file", path, error) from None


def drain(
    svc: jobq.JobService,
    survey: Survey,
    hashers: Sequence[Hasher],
    interrupt: Interrupt,
    past: Past | None = None,
) -> float:
    """Run a thread per hasher until they end, drawing the progress; return the seconds it took."""
    before = past.finished if past else 0
    jobs = survey.jobs - before
    if not jobs:
        return 0.0
    progress = Progress(jobs, survey.size + jobs * FILE_COST, stream=sys.stderr)

    def so_far() -> tuple[int, int, int]:
        stats = svc.stats()
        finished = stats.completions + stats.dead - before
        size = sum(hasher.size for hasher in hashers)
        return finished, size + finished * FILE_COST, size

    progress.show(0, 0, 0)
    start = time.perf_counter()
    with ThreadPoolExecutor(len(hashers), thread_name_prefix="hasher") as pool:
        futures: set[Future[None]] = {pool.submit(hasher) for hasher in hashers}
        pending, told = futures, False
        while pending:
            done, pending = wait(pending, timeout=0.1, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in done):
                interrupt.halt()  # a defect, raised below; the other workers need not finish the work first
            progress.show(*so_far())
            if interrupt.halted and pending and not told:
                progress.note("stopping; files being read are finished first (Ctrl-C again: not even those)")
                told = True
    seconds = time.perf_counter() - start
    progress.close(*so_far())
    for future in futures:
        future.result()
    return seconds
