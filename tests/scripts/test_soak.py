"""The soak's totals: what is committed as proof must say what was run, and keep every failure."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import soak

REPORT = """<testsuites><testsuite>
<testcase name="a"><properties><property name="crash" value="..."/><property name="count:kills" value="60"/>
</properties></testcase>
<testcase name="b"><properties><property name="count:kills" value="5"/></properties>
<failure message="LOST: x"/></testcase>
<testcase name="c"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_report_gives_its_numbers_and_its_failures(tmp_path: Path) -> None:
    """A test that was skipped proved nothing, so a soak without root is no soak."""
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    counts, failures = soak.outcome(path)
    assert counts == Counter(kills=65, tests=3)
    assert failures == ["b: LOST: x", "c: skipped, so not tested"]


def test_rounds_are_added_and_no_failure_is_forgotten(tmp_path: Path) -> None:
    """Totals only grow: a later round that is clean does not clear an earlier one that was not."""
    totals: dict[str, Any] = {}
    round_ = {"seconds": 60.0, "counts": {"kills": 2}, "commit": "c1", "seed": "1.1", "failures": ["LOST"]}
    soak.add(totals, "p", round_)
    soak.add(totals, "p", round_ | {"seed": "1.2", "failures": []})
    soak.write(totals, tmp_path / "deep" / "totals.json")
    part = totals["parts"]["p"]
    assert (part["rounds"], part["minutes"], part["counts"]) == (2, 2.0, {"kills": 4})
    assert (part["seeds"], part["failures"], part["commits"]) == (["1.1", "1.2"], ["LOST"], {"c1": 2})
    assert (tmp_path / "deep" / "record.md").read_text(encoding="utf-8") == soak.summary(totals)


def test_rounds_of_one_run_stand_together() -> None:
    """Many short runs are no long one: what one run did, and where it failed, can be told from the record."""
    totals: dict[str, Any] = {}
    round_ = {"seconds": 90.0, "commit": "c1", "seed": "7.1", "failures": []}
    soak.add_to_run(totals, "2026-11-25T10:00+00:00", round_)
    soak.add_to_run(totals, "2026-11-25T10:00+00:00", round_ | {"seed": "7.1", "failures": ["LOST"]})
    soak.add_to_run(totals, "2026-11-26T10:00+00:00", round_ | {"seed": "8.2", "commit": "c2"})
    assert soak.summary(totals).splitlines()[-2:] == [
        "| 2026-11-25T10:00+00:00 | 7 | 3.0 | 2 | 1 | c1 |",
        "| 2026-11-26T10:00+00:00 | 8 | 1.5 | 1 | 0 | c2 |",
    ]


def test_a_round_ends_with_its_soak_in_the_background_too() -> None:
    """A round that ignores its interrupt goes on for minutes, with disks mounted, when the soak is over."""
    child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    code = f"""import soak, subprocess, sys
soak.hear_interrupts()
subprocess.run([sys.executable, "-c", {child!r}])"""
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", code]
    done = subprocess.run(ignoring, capture_output=True, text=True, cwd=soak.ROOT / "scripts", check=True)
    assert done.stdout == "True\n"


def test_seeds_that_follow_one_another_are_one_range() -> None:
    """A part of short rounds has hundreds."""
    assert soak.ranges(["1.1", "2.2", "2.3", "2.4", "3.9", "3.11"]) == "1.1 2.2-4 3.9 3.11"
    assert soak.ranges([]) == ""


def row(part: str, counts: dict[str, int]) -> list[str]:
    """What the record says of a part with these counts: counted, goal, short of it."""
    record = soak.summary({"parts": {part: {"rounds": 1, "minutes": 1.0, "counts": counts}}})
    (line,) = [line for line in record.splitlines() if line.startswith(f"| {part} |")]
    return [cell.strip() for cell in line.split("|")[4:7]]


def test_a_goal_adds_up_the_counts_that_it_names() -> None:
    """A damage that was refused is one that was tried, as is one that opened complete."""
    counted = "2 complete, 3 refused, 9 salvages"
    assert row("bit rot", {"complete": 2, "refused": 3, "salvages": 9}) == [counted, "5,000 damages", "4,995"]
    assert row("random kills", {"kills": 6_000}) == ["6,000 kills", "5,000 kills", "0"]
    assert row("full disk", {"full_disks": 8}) == ["8 full_disks", "", ""]


def test_the_committed_record_is_that_of_the_committed_totals() -> None:
    """A record that lags behind shows fewer rounds, or fewer failures, than there were."""
    totals = json.loads((soak.ROOT / soak.TOTALS).read_text(encoding="utf-8"))
    record = (soak.ROOT / soak.RECORD).read_text(encoding="utf-8")
    assert record == soak.summary(totals), "run python scripts/soak.py --summary"


def test_every_part_names_tests_that_are_there() -> None:
    """A part whose file was renamed would run nothing."""
    folder = Path(__file__).resolve().parents[1] / "crash"
    named = [test.partition("::")[0] for part in soak.PARTS for test in part.tests.split()]
    assert all((folder / name).is_file() for name in named)
    assert len({part.name for part in soak.PARTS}) == len(soak.PARTS)
