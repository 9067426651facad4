"""The figures of a service in memory beside their goals, each with its peers in the same process.

`python -m benches.ratios [SECTION ...] [--rounds N] [--quick] [--json FILE]`. How a ratio is measured stands
in interleave.py, what is measured in rows.py. A row is judged with the collector off, unless its goal names
the other. A time decides nothing here but a word in the last column: no exit status depends on one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benches.common import machine
from benches.interleave import ROUNDS, Row, Settings, Spread
from benches.rows import SECTIONS


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
    print(f"  {'row':52} {'unit':6} {'median (quartiles)':>24} {'collector on':>24}  {'goal':10} verdict")
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
