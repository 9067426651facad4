"""Holds the docs to the tests: each test that a page names, and one per rule of the contract, must have run.

Reads the JUnit report of the last whole run. Names stand in backticks and begin with `test_`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from report import read_report

PAGES = [Path("docs/go-library.md")]  # each must name tests; further pages may
RULES = {"O": 4, "T": 7, "W": 6, "L": 9, "C": 5, "R": 8, "V": 6}

# A rule leaves this table with its first test.
WITHOUT_TEST = {
    "W6": "no public call waits for several topics yet",
}
NAMED = re.compile(r"`(?:[\w/.]+::)*(test_\w+)`")


def names_in(pages: list[Path]) -> dict[str, str]:
    """Each test that is named, and where."""
    found: dict[str, str] = {}
    for page in pages:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            found.update(dict.fromkeys(NAMED.findall(line), f"{page}:{number}"))
    return found


def rules_tested(ran: set[str]) -> set[str]:
    """Rules that a test carries in its name: test_R3_..., test_O1_O2_..."""
    prefixes = (re.match(r"test((?:_[A-Z]\d+)+)(?:_|$)", name) for name in ran)
    return {rule for prefix in prefixes if prefix for rule in prefix[1].strip("_").split("_")}


def main(report: Path, pages: list[Path], without: dict[str, str] = WITHOUT_TEST) -> int:
    ran = read_report(report).names
    named = names_in(pages)
    faults = [f"{where}: {name} is no test that ran" for name, where in named.items() if name not in ran]
    faults += [f"{page}: names no test" for page in pages if not names_in([page])]
    rules = {f"{letter}{number}" for letter, last in RULES.items() for number in range(1, last + 1)}
    tested = rules_tested(ran)
    faults += [
        f"contract {rule}: no test named test_{rule}_... ran"
        for rule in sorted(rules - tested - set(without))
    ]
    faults += [
        f"contract {rule}: has a test now, take it off WITHOUT_TEST" for rule in sorted(tested & set(without))
    ]
    faults += [
        f"contract {rule}: no such rule, yet a test is named after it"
        for rule in sorted(tested - rules)
        if rule[0] in RULES
    ]
    print(*faults, sep="\n", end="\n" if faults else "")
    print(
        f"names: {len(named)} tests named in docs, {len(tested & rules)} of {len(rules)} rules tested,"
        f" {len(faults)} faults"
    )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), PAGES))
