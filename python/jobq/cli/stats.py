"""`stats PATH`: what stands in a store, topic by topic."""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import datetime

import jobq
from jobq._jobq import _examine
from jobq.cli import store
from jobq.cli.text import shortened

COLUMNS = ("ready", "delayed", "reserved", "done", "canceled", "dead", "enqueued", "retries", "lost")


def add_parser(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `stats` to the command line."""
    parser = store.add_parser(
        add,
        "stats",
        run,
        "count the jobs of a store, topic by topic",
        "Print a row for each topic and their total, as the disk has them: a job whose time has come since "
        "is still delayed, one that was held when the process died still reserved. " + store.LOOKS,
    )
    parser.add_argument("--json", action="store_true", help="print every count and date as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the statistics; 1 when the store has faults."""
    with store.reading() as step:
        faults, stats, topics, _ = _examine(arguments.path, step)
    if arguments.json:
        document = {"all": _plain(stats), "topics": {topic.topic: _plain(topic) for topic in topics}}
        print(json.dumps(document, indent=1), flush=True)
    else:
        print("\n".join(table(stats, topics)), flush=True)
    return store.say_faults(faults)


def _plain(stats: jobq.Stats) -> dict[str, object]:
    """Every field but those that only a running service has."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in vars(stats).items()
        if name != "waiting"
    }


def table(stats: jobq.ServiceStats, topics: Sequence[jobq.TopicStats]) -> list[str]:
    """A row for each topic, by name, and one for all."""
    rows: list[tuple[str, ...]] = [("topic", *COLUMNS)]
    for topic in topics:
        name = shortened(topic.topic) + (" (paused)" if topic.paused else "")
        rows.append((name, *(f"{getattr(topic, column):,}" for column in COLUMNS)))
    rows.append((f"total: {len(topics):,} topics", *(f"{getattr(stats, column):,}" for column in COLUMNS)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                name.ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)),
            ]
        )
        for name, *cells in rows
    ]
    rule = "-" * len(lines[0])
    return [lines[0], rule, *lines[1:-1], *([rule] if topics else []), lines[-1]]
