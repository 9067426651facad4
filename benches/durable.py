"""The figures of a durable service beside their goals, its file system and its fsync measured beside them.

`python -m benches.durable [SECTION ...] [--quick] [--dir FOLDER] [--json FILE]`. Every contender has a
process and a folder of its own; contenders of one section take turns, and a ratio is that of their medians.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from benches.common import machine
from benches.interleave import Goal, Row, Settings, Spread, spread
from benches.lives import SUBJECTS
from benches.ratios import show

ROOT = Path(__file__).parent.parent
ROUNDS = 5
MB = 1_000_000


class Bench:
    """Runs subjects, each in a fresh process and folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder

    def once(self, name: str, amount: float) -> dict[str, float]:
        home = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            command = [sys.executable, "-m", "benches.lives", name, str(home), str(amount)]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            return dict(json.loads(done.stdout))
        finally:
            shutil.rmtree(home)

    def turns(self, names: list[str], seconds: float = 2.0) -> dict[str, list[dict[str, float]]]:
        seconds = 0.05 if self.settings.quick else seconds
        rounds = 1 if self.settings.quick else self.settings.rounds
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for round_ in range(rounds):
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                found[name].append(self.once(name, seconds))
        return found


def rates(section: str, found: dict[str, list[dict[str, float]]], goals: dict[str, Goal]) -> list[Row]:
    """A row of operations a second for each subject."""
    return [
        Row(section, (SUBJECTS[name].__doc__ or name).partition("\n")[0], "/s", values(runs, "per_s"),
            goal=goals.get(name))
        for name, runs in found.items()
    ]  # fmt: skip


def values(runs: list[dict[str, float]], key: str) -> Spread:
    return spread([run[key] for run in runs])


def ratio(section: str, what: str, over: Spread, under: Spread, goal: Goal | None = None) -> Row:
    value = over[1] / under[1]
    return Row(section, what, "x", (value, value, value), goal=goal)


def always(bench: Bench) -> list[Row]:
    """sync="always", beside the bare loop"""
    found = bench.turns(["bare", "enqueue_one", "enqueue_32", "lives_always", "lives_always_none"])
    goals = {
        "enqueue_32": Goal(20_000, ">="),
        "lives_always": Goal(20_000, ">="),
        "lives_always_none": Goal(40_000, ">="),
    }
    rows = rates("always", found, goals)
    bare_rate, one = values(found["bare"], "per_s"), values(found["enqueue_one"], "per_s")
    rows.append(ratio("always", "one enqueue / one bare append+fdatasync", bare_rate, one, Goal(2, "<=")))
    sync = tuple(1e6 / rate for rate in reversed(bare_rate))
    rows.append(Row("always", "one bare append+fdatasync", "us", (sync[0], sync[1], sync[2])))
    for name in ("lives_always", "lives_always_none"):
        rows.append(Row("always", f"bytes written per life, {name}", "B", values(found[name], "written")))
        rows.append(Row("always", f"store afterwards, {name}", "B", values(found[name], "size")))
    return rows


def never(bench: Bench) -> list[Row]:
    """sync="never", sustained; peak RSS"""
    found = bench.turns(["lives_never", "lives_never_none"], 60.0)
    goals = {"lives_never": Goal(20_000, ">="), "lives_never_none": Goal(60_000, ">=")}
    rows = rates("never", found, goals)
    for name, runs in found.items():
        rows.append(
            Row("never", f"peak RSS, {name}", "B", values(runs, "peak_rss"), goal=Goal(250 * MB, "<="))
        )
        rows.append(Row("never", f"bytes written per life, {name}", "B", values(runs, "written")))
        rows.append(Row("never", f"store afterwards, {name}", "B", values(runs, "size")))
    return rows


def peers(bench: Bench) -> list[Row]:
    """one life at a time, beside the peers in their own modes"""
    names = [
        "one_never",
        "one_interval",
        "one_always",
        "localqueue",
        "persist_queue",
        "litequeue",
        "huey_sqlite",
    ]
    found = bench.turns(names)
    rows = rates("peers", found, {})
    never_rate = values(found["one_never"], "per_s")
    goal = Goal(30, ">=")
    rows.append(
        ratio("peers", "never / SQLiteAckQueue", never_rate, values(found["persist_queue"], "per_s"), goal)
    )
    return rows


def memory(bench: Bench) -> list[Row]:
    """RAM per waiting job of 200 bytes, and open after a kill"""
    jobs = 20_000 if bench.settings.quick else 1_000_000
    ram, again, opened = (bench.once(name, jobs) for name in ("waiting", "reopened", "reopen"))
    goal = Goal(200 + 200 + 33, "<=")
    return [
        Row("memory", "RSS per waiting job, its payload of 200 B included", "B", spread([ram["bytes"]]),
            goal=goal),
        Row("memory", "the same in a process that opened the store again", "B", spread([again["bytes"]]),
            goal=goal),
        Row("memory", f"open after a kill, {opened['jobs']:,.0f} jobs", "s", spread([opened["s"]]),
            goal=Goal(5, "<=")),
    ]  # fmt: skip


SECTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    "always": always,
    "never": never,
    "peers": peers,
    "memory": memory,
}


def file_system(folder: Path) -> str:
    """The file system that a folder is on."""
    best = ("", "?")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind, *_ = line.split()
        if str(folder.resolve()).startswith(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return f"stores on {best[1]} ({best[0]})"


def lines(bench: Bench, sections: list[str]) -> Iterator[Row]:
    for name in sections:
        print(f"{name}: {(SECTIONS[name].__doc__ or '').partition(chr(10))[0]}", flush=True)
        for row in SECTIONS[name](bench):
            print(show(row), flush=True)
            yield row


def main() -> None:
    """Print section by section, as each is measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benches.durable", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="shows that it runs, says nothing on speed")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--dir", type=Path, default=Path(tempfile.gettempdir()), help="where the stores are made"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    given = parser.parse_args()
    unknown = [name for name in given.section if name not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}")
    for line in machine():
        print(line)
    print(file_system(given.dir))
    bench = Bench(Settings(rounds=given.rounds, quick=given.quick), given.dir)
    rows = list(lines(bench, given.section or list(SECTIONS)))
    if given.json:
        given.json.write_text(
            json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1)
        )


if __name__ == "__main__":
    main()
