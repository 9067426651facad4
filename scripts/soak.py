"""Runs the tests of crashes for long, each round by a new seed, and adds what they did to committed totals.

Parts take turns until the time is over. A round that was cut short is not counted; the next soak goes on with
the seeds after the last counted one. A failure is written down with its seed; the soak then ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
TOTALS = Path("docs/reliability/totals.json")
RECORD = TOTALS.with_name("record.md")
"""The page made of them."""


@dataclass(frozen=True)
class Part:
    """Tests that are run together, and the settings that make a round of them long."""

    name: str
    tests: str
    """What pytest is to select, after `tests/crash/`."""
    settings: dict[str, str] = field(default_factory=dict[str, str])


LAST = 120.0
"""Seconds that a round has to end when the time is over."""

IMAGES = "test_every_image_opens_and_holds_what_its_level_promises"
TWO = "test_two_stores_keep_what_was_promised_together"
EXT4 = "test_a_real_file_system_cut_at_work_keeps_what_was_promised"

PARTS = [
    Part("power cuts", f"test_power_cut.py::{IMAGES}", {"JOBQ_CRASH_COUNT": "9000"}),
    Part("power cuts of two stores", f"test_power_cut.py::{TWO}", {"JOBQ_CRASH_COUNT": "500"}),
    Part("power cuts of ext4", f"test_loop_image.py::{EXT4}", {"JOBQ_CRASH_COUNT": "20"}),
    Part("full disk", "test_full_disk.py"),
    Part("bit rot", "test_bit_rot.py", {"JOBQ_CRASH_COUNT": "40"}),
    Part("failing reads", "test_read_errors.py", {"JOBQ_CRASH_COUNT": "60"}),
    Part("random kills", "test_kill_random.py", {"JOBQ_CRASH_COUNT": "200"}),
    Part("kill at every call", "test_kill_sweep.py"),
    Part("failing calls", "test_errors.py"),
]


def outcome(report: Path) -> tuple[Counter[str], list[str]]:
    """The numbers that the tests told, added up, and what failed."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314
        for told in case.iter("property"):
            name = told.get("name", "")
            if name.startswith("count:"):
                counts[name.removeprefix("count:")] += int(told.get("value", "0"))
        faults = [*case.iter("failure"), *case.iter("error")]
        failures += [f"{case.get('name')}: {fault.get('message', '')[:2000]}" for fault in faults]
        if case.find("skipped") is not None:
            failures.append(f"{case.get('name')}: skipped, so not tested")
        counts["tests"] += 1
    return counts, failures


def run(part: Part, seed: str, seconds: float) -> tuple[Counter[str], list[str]] | None:
    """One round; None when it was cut short because the time is over."""
    report = ROOT / "target" / "soak-report.xml"
    report.unlink(missing_ok=True)
    settings = {"JOBQ_CRASH_EFFORT": "soak", "JOBQ_CRASH_SEED": seed, **part.settings}
    command = [sys.executable, "-m", "pytest", "-q", *(f"tests/crash/{test}" for test in part.tests.split())]
    options = ["-o", "faulthandler_timeout=3600", f"--junitxml={report}", "-p", "no:cacheprovider"]
    process = subprocess.Popen([*command, *options], cwd=ROOT, env=os.environ | settings)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # so that what is mounted is unmounted
        try:
            process.wait(LAST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return None
    if not report.exists():
        return Counter(), [f"pytest ended with {process.returncode} and wrote no report"]
    return outcome(report)


def hear_interrupts() -> None:
    """In the background too, where a shell has what it starts ignore them, and so all that this starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def commit() -> str:
    """What was tested; its own record may have changed since."""

    def ask(*words: str) -> str:
        asked = ["git", *words]
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = ask("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/reliability")
    return ask("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def add(totals: dict[str, Any], part: str, round_: dict[str, Any]) -> None:
    """Count a round in."""
    kept = totals.setdefault("parts", {}).setdefault(part, {"rounds": 0, "minutes": 0.0, "counts": {}})
    kept["rounds"] += 1
    kept["minutes"] = round(kept["minutes"] + round_["seconds"] / 60, 1)
    for name, count in round_["counts"].items():
        kept["counts"][name] = kept["counts"].get(name, 0) + count
    commits = kept.setdefault("commits", {})
    commits[round_["commit"]] = commits.get(round_["commit"], 0) + 1
    kept.setdefault("seeds", []).append(round_["seed"])
    kept.setdefault("failures", []).extend(round_["failures"])


def add_to_run(totals: dict[str, Any], began: str, round_: dict[str, Any]) -> None:
    """Count a round in with the others of its run, which is known by when it began."""
    runs = totals.setdefault("runs", [])
    if not runs or runs[-1]["began"] != began:
        seed = round_["seed"].partition(".")[0]
        counts = {"rounds": 0, "seconds": 0.0, "failures": 0}
        runs.append({"began": began, "seed": seed, **counts, "commits": list[str]()})
    told = runs[-1]
    told["rounds"] += 1
    told["seconds"] = round(told["seconds"] + round_["seconds"], 1)
    told["failures"] += len(round_["failures"])
    told["commits"] = sorted({*told["commits"], round_["commit"]})


@dataclass(frozen=True)
class Goal:
    """How many of something a part is to reach before a release."""

    least: int
    what: str
    counts: tuple[str, ...] = ()
    """The counts that are added up for it; none: the one of its own name."""

    def missing(self, counts: dict[str, int]) -> int:
        """How many are still to come."""
        return max(0, self.least - sum(counts.get(name, 0) for name in self.counts or (self.what,)))


GOALS = {
    "random kills": Goal(5_000, "kills"),
    "kill at every call": Goal(1_000, "cuts"),
    "power cuts": Goal(100_000, "images"),
    "power cuts of ext4": Goal(100, "ext4_cuts"),
    "bit rot": Goal(5_000, "damages", ("complete", "refused")),
}
"""By part; the others are counted without a goal."""


def summary(totals: dict[str, Any]) -> str:
    """The totals as a page: each part, what it counted, and how far that is from its goal."""
    lines = [
        "# Record of the soaks",
        "",
        "Made from `totals.json` by `scripts/soak.py`: after each round, and with `--summary`.",
        "",
        "| part | rounds | minutes | counted | goal | short of it | failures | commits | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in [part.name for part in PARTS]:
        kept = totals.get("parts", {}).get(name, {"rounds": 0, "minutes": 0.0, "counts": {}})
        counted = ", ".join(f"{count:,} {what}" for what, count in sorted(kept["counts"].items()))
        goal = GOALS.get(name)
        commits, seeds = " ".join(sorted(kept.get("commits", {}))), ranges(kept.get("seeds", []))
        wanted = f"{goal.least:,} {goal.what}" if goal else ""
        short = f"{goal.missing(kept['counts']):,}" if goal else ""
        failed = len(kept.get("failures", []))
        lines.append(
            f"| {name} | {kept['rounds']} | {kept['minutes']} | {counted} | {wanted} | {short} | {failed} "
            f"| {commits} | {seeds} |"
        )
    lines += ["", *run_lines(totals)] if "runs" in totals else []
    failures = [failure for part in totals.get("parts", {}).values() for failure in part.get("failures", [])]
    if failures:
        lines += [
            "",
            "Failures, each with its seed:",
            "",
            *(f"* {failure.splitlines()[0]}" for failure in failures),
        ]
    return "\n".join(lines) + "\n"


def ranges(seeds: list[str]) -> str:
    """A run's seeds that follow one another, as 7.3-9."""
    numbers: dict[str, list[list[int]]] = {}
    for seed in seeds:
        run, _, number = seed.partition(".")
        spans = numbers.setdefault(run, [])
        if spans and spans[-1][1] + 1 == int(number):
            spans[-1][1] += 1
        else:
            spans.append([int(number)] * 2)
    return " ".join(
        f"{run}.{first}" + (f"-{last}" if last > first else "")
        for run, spans in numbers.items()
        for first, last in spans
    )


def run_lines(totals: dict[str, Any]) -> list[str]:
    """A table of the runs; those from before runs were told apart are in the totals of the parts alone."""
    lines = ["| run began | seed | minutes | rounds | failures | commits |", "|---|---|---|---|---|---|"]
    for told in totals["runs"]:
        minutes, commits = round(told["seconds"] / 60, 1), " ".join(told["commits"])
        cells = [told["began"], told["seed"], minutes, told["rounds"], told["failures"], commits]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def write(totals: dict[str, Any], path: Path) -> None:
    """The totals, and their record beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, json.dumps(totals, indent=1, sort_keys=True) + "\n")
    replace(path.with_name(RECORD.name), summary(totals))


def replace(path: Path, text: str) -> None:
    """All or nothing: a soak may be interrupted at any moment."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def soak(minutes: float, seed: int, path: Path, parts: Sequence[Part]) -> int:
    """Take the parts in turn; those with the fewest minutes first."""
    end = time.monotonic() + 60 * minutes
    start = datetime.now(UTC).isoformat(timespec="minutes")
    totals: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    failed = False
    while time.monotonic() < end:
        done = totals.get("parts", {})
        part = min(parts, key=lambda part: done.get(part.name, {"minutes": 0.0})["minutes"])
        word = f"{seed}.{done.get(part.name, {'rounds': 0})['rounds'] + 1}"
        began = time.monotonic()
        ended = run(part, word, end - began)
        if ended is None:
            break
        counts, failures = ended
        failures = [f"seed {word}: {failure}" for failure in failures]
        took = time.monotonic() - began
        told = {"seconds": took, "counts": counts, "commit": commit(), "seed": word, "failures": failures}
        add(totals, part.name, told)
        add_to_run(totals, start, told)
        write(totals, path)
        failed = failed or bool(failures)
        print(
            f"soak: {part.name}, seed {word}: {dict(counts)}, {len(failures)} failures, {took:.0f} s",
            flush=True,
        )
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help=f"only write {RECORD}")
    parser.add_argument(
        "--part",
        action="append",
        choices=[part.name for part in PARTS],
        help="only this one; may be repeated",
    )
    asked = parser.parse_args()
    if asked.summary:
        replace(ROOT / RECORD, summary(json.loads((ROOT / TOTALS).read_text(encoding="utf-8"))))
        print(f"{RECORD} is written")
        sys.exit()
    wanted = [part for part in PARTS if asked.part is None or part.name in asked.part]
    hear_interrupts()
    sys.exit(soak(asked.minutes, asked.seed, ROOT / TOTALS, wanted))
