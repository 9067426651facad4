"""`compact PATH`: gives back the disk space of what a store no longer holds."""

import argparse
from collections.abc import Callable

from jobq._jobq import _compact
from jobq.cli import store
from jobq.cli.interrupt import at_once
from jobq.cli.progress import amount


def add_parser(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `compact` to the command line."""
    store.add_parser(
        add,
        "compact",
        run,
        "give back the disk space of what a store no longer holds",
        "Read and check a whole store, then write it anew beside the old one and put it in its place. "
        "Needs as much free space as the jobs take. Killed at any moment, by Ctrl-C too, it leaves one of "
        "the two, whole. No job is changed. The store must not be open elsewhere.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compact, and say how much came of it."""
    with at_once(), store.reading() as step:
        freed = _compact(arguments.path, step)
    print(f"{amount(freed)} freed", flush=True)
    return 0
