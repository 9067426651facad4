"""The figures of a memory service beside their goals: ratios of A to B, interleaved in blocks in one process.

`python -m benches.ratios [SECTION ...] [--rounds N] [--quick] [--json FILE]`. In every round each contender runs one block of
about 20 ms, in turn; the first of a round changes. The empty loop is timed in each round too and subtracted from both
sides. A ratio is the median of the rounds' ratios, with its quartiles. Everything runs with the collector off, then
again with it on; a row is judged on the one its goal names (off, if none). Times decide nothing here but a word in the
last column: no exit status depends on them.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from benches import common
from benches.common import Run, machine

BLOCK = 0.02  # seconds
ROUNDS = 15

Spread = tuple[float, float, float]  # first quartile, median, third quartile


@dataclass(frozen=True)
class Contender:
    """One side: what a turn runs, and how many operations a turn is."""

    run: Run
    per: int = 1
    most: int = 1_000_000  # turns of one block


@dataclass(frozen=True)
class Goal:
    """A bound of the design; `at least` for what is faster than a peer."""

    bound: float
    sense: Literal["<=", ">="]
    collector: Literal["off", "on"] = "off"

    def met(self, value: float) -> bool:
        return value <= self.bound if self.sense == "<=" else value >= self.bound


@dataclass
class Row:
    """A line of the table. Without a figure, `note` says why."""

    section: str
    what: str
    unit: str
    off: Spread | None
    on: Spread | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no goal; what was not measured is not met."""
        if self.goal is None:
            return None
        judged = self.on if self.goal.collector == "on" else self.off
        return judged is not None and self.goal.met(judged[1])


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int = ROUNDS
    quick: bool = False

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full


def calibrated(contender: Contender, block: float) -> int:
    """Turns that take about a block's time."""
    turns = 1
    while turns < contender.most:
        seconds = _seconds(contender.run, turns)
        if seconds >= block / 2:
            return min(contender.most, max(1, round(turns * block / seconds)))
        turns *= 2
    return contender.most


def _seconds(run: Run, turns: int) -> float:
    start = time.perf_counter()
    run(turns)
    return time.perf_counter() - start


def interleave(contenders: dict[str, Contender], rounds: int, block: float) -> dict[str, list[float]]:
    """Nanoseconds per operation in each round, the empty loop subtracted; row "loop" is what was."""
    field_ = {"loop": Contender(common.loop)} | contenders
    turns = {name: calibrated(contender, block) for name, contender in field_.items()}
    names = list(field_)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(_seconds(field_[name].run, turns[name]) / turns[name] * 1e9)
    empty = samples["loop"]
    return {
        name: [
            (turn - (none if name != "loop" else 0)) / field_[name].per
            for turn, none in zip(samples[name], empty, strict=True)
        ]
        for name in names
    }


@dataclass
class Measured:
    """The rounds of one section, with the collector off and on."""

    off: dict[str, list[float]]
    on: dict[str, list[float]]
    section: str
    rows: list[Row] = field(default_factory=list[Row])

    def times(self) -> None:
        """A row of nanoseconds for each contender."""
        for name in self.off:
            self.rows.append(Row(self.section, name, "ns", spread(self.off[name]), spread(self.on[name])))

    def ratio(self, what: str, over: str, under: str, goal: Goal | None = None) -> None:
        """A row of `over` / `under`, round by round."""
        off, on = (
            spread([a / b for a, b in zip(samples[over], samples[under], strict=True)])
            for samples in (self.off, self.on)
        )
        self.rows.append(Row(self.section, what, "x", off, on, goal))


def spread(values: list[float]) -> Spread:
    """Quartiles."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4)
    return low, median, high


def compare(section: str, contenders: dict[str, Contender], settings: Settings) -> Measured:
    """Measure with the collector off, then on."""
    block = BLOCK / 10 if settings.quick else BLOCK
    was = gc.isenabled()
    try:
        gc.collect()
        gc.disable()
        off = interleave(contenders, settings.rounds, block)
        gc.enable()
        on = interleave(contenders, settings.rounds, block)
    finally:
        (gc.enable if was else gc.disable)()
    return Measured(off, on, section)


def show(row: Row) -> str:
    """One line: figure with quartiles, the same with the collector on, goal, verdict."""

    def figure(value: Spread | None) -> str:
        if value is None:
            return "-"
        low, median, high = (f"{part:,.2f}" if part < 100 else f"{part:,.0f}" for part in value)
        return median if low == high else f"{median} ({low}-{high})"

    goal = "" if row.goal is None else f"{row.goal.sense} {row.goal.bound:g}"
    verdict = {True: "met", False: "NOT MET", None: ""}[row.met]
    if row.goal is not None and row.off is None and row.on is None:
        verdict = "NOT MEASURED"
    off, on = figure(row.off), figure(row.on)
    return f"  {row.what:52} {row.unit:6} {off:>24} {on:>24}  {goal:10} {verdict:12} {row.note}".rstrip()


def as_json(rows: list[Row], settings: Settings) -> str:
    """What was printed, for a machine."""
    found = [asdict(row) | {"met": row.met} for row in rows]
    return json.dumps({"machine": machine(), "settings": asdict(settings), "rows": found}, indent=1)


def main(arguments: list[str] | None = None) -> None:
    """Print section by section, as each is measured."""
    from benches.rows import SECTIONS

    parser = argparse.ArgumentParser(
        prog="python -m benches.ratios", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"{ROUNDS} or more for figures to keep")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that it runs, says nothing on speed"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.section if name not in SECTIONS]
    if unknown or given.rounds < 1:
        parser.error(f"no such section: {', '.join(unknown)}" if unknown else "--rounds is 1 or more")
    settings = Settings(rounds=given.rounds, quick=given.quick)
    for line in machine():
        print(line)
    if settings.quick:
        print("QUICK: sizes are small, figures and verdicts below mean nothing")
    print(
        f"  {'row':52} {'unit':6} {'median (quartiles)':>24} {'with the collector on':>24}  {'goal':10} verdict"
    )
    rows: list[Row] = []
    for name in given.section or SECTIONS:
        section: Callable[[Settings], list[Row]] = SECTIONS[name]
        print(f"{name}: {(section.__doc__ or '').strip()}", flush=True)
        found = section(settings)
        rows += found
        for row in found:
            print(show(row), flush=True)
    print(machine()[-1])
    if given.json is not None:
        given.json.write_text(as_json(rows, settings), encoding="utf-8")


if __name__ == "__main__":
    main()
