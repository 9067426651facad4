"""`salvage OLD NEW`: copies what can be read of a damaged store into a new one."""

import argparse
from collections.abc import Callable

from jobq._jobq import _salvage
from jobq.cli import store
from jobq.cli.interrupt import at_once


def add_parser(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `salvage` to the command line."""
    parser = store.add_parser(
        add,
        "salvage",
        run,
        "copy what can be read of a damaged store into a new one",
        "Copy every record of OLD that reads and agrees with its checksum into a new store NEW, and name "
        "each that does not. OLD is not changed, and must not be open elsewhere. After Ctrl-C delete what "
        "there is of NEW.",
        "OLD",
    )
    parser.add_argument("new", metavar="NEW", help="a directory that is not there yet")


def run(arguments: argparse.Namespace) -> int:
    """Salvage; 1 when something could not be read."""
    with at_once(), store.reading() as step:
        copied, faults = _salvage(arguments.path, arguments.new, step)
    verdict = f"faults: {len(faults):,}" if faults else "nothing is missing"
    print(f"{copied:,} records copied; {verdict}", flush=True)
    return store.say_faults(faults)
