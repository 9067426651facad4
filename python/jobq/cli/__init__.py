"""The command line: one parser, a module per command, exit statuses; it knows no queue itself.

A command is a module of this package with `add_parser(add)`, which makes its own parser by calling `add` and
sets the default `run`, a function from the parsed arguments to an exit status. COMMANDS lists them.

    0    done                       2    wrong use, or an argument that names nothing: one line says which
    1    a check failed, or a       3    the store is open elsewhere
         store is damaged           130  stopped by Ctrl-C
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, cast

import jobq
from jobq.cli import compact, demo, dump, salvage, stats, store, verify
from jobq.cli.errors import UsageError

COMMANDS = (demo, verify, stats, dump, compact, salvage)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse's own would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    script = Path(sys.argv[0]).name == "jobq"
    top = _Parser(
        prog="jobq" if script else "python -m jobq", description="jobq: an embedded job queue for Python."
    )
    top.add_argument("--version", action="version", version=f"jobq {jobq.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands.add_parser)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (None: the process's own) and return its exit status."""
    _print_any_name()
    top = parser()
    try:
        arguments = top.parse_args(argv)
        run = cast(Callable[[argparse.Namespace], int], arguments.run)
        return run(arguments)
    except UsageError as error:
        print(f"{top.prog}: error: {error}", file=sys.stderr)
        return 2
    except jobq.RepositoryError as error:
        status, line = store.refusal(error)
        print(f"{top.prog}: error: {line}", file=sys.stderr)
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone. Python flushes stdout once more at exit: give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _print_any_name() -> None:
    """Let stdout escape what its encoding lacks, as stderr does: a file's name may hold any byte."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
