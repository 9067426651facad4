"""A and B in turn, in blocks, in one process: how a ratio is measured, and the row it becomes.

In every round each contender runs one block of about 20 ms, and another begins each round. The empty loop is
timed in each round too and subtracted from all. A ratio is the median of the rounds' ratios, with its
quartiles. Everything runs with the collector off, then again with it on.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass, field
from typing import Literal

from benches import common
from benches.common import Run

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
        for name in [name for name in self.off if name != "loop" or self.section == "cycle"]:
            self.rows.append(Row(self.section, name, "ns", spread(self.off[name]), spread(self.on[name])))

    def ratio(self, what: str, over: str, under: str, goal: Goal | None = None) -> None:
        """A row of `over` / `under`, round by round."""
        off, on = (
            spread([a / b for a, b in zip(samples[over], samples[under], strict=True)])
            for samples in (self.off, self.on)
        )
        self.rows.append(Row(self.section, what, "x", off, on, goal))

    def ratio_with_loops(self, what: str, over: str, under: str) -> None:
        """The same with the loop left in on both sides, which flatters the slower one."""
        off, on = (
            spread([(a + x) / (b + x) for a, b, x in zip(s[over], s[under], s["loop"], strict=True)])
            for s in (self.off, self.on)
        )
        self.rows.append(Row(self.section, what, "x", off, on))


def spread(values: list[float]) -> Spread:
    """Quartiles."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
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
