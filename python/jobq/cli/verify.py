"""`verify PATH`: reads a whole store and says what is wrong with it."""

import argparse
from collections.abc import Callable

from jobq._jobq import _examine
from jobq.cli import store


def add_parser(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `verify` to the command line."""
    store.add_parser(
        add,
        "verify",
        run,
        "read a whole store and say what is wrong with it",
        "Read every record of a store, compare checksums, counts and payloads; print a line for each fault. "
        + store.LOOKS,
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify; 1 when there is a fault."""
    with store.reading() as step:
        faults, stats, topics, records = _examine(arguments.path, step)
    jobs = stats.live + stats.done + stats.canceled
    verdict = f"{len(faults):,} faults" if faults else "sound"
    print(f"{records:,} records, {jobs:,} jobs, {len(topics):,} topics: {verdict}", flush=True)
    return store.say_faults(faults)
