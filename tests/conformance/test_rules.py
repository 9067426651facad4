"""No rule of the contract without a test: the names in this folder against the list of rules."""

import re
from pathlib import Path

import pytest

RULES = [
    *("O1", "O2", "O3", "O4"),
    *("T1", "T2", "T3", "T4", "T5", "T6", "T7"),
    *("W1", "W2", "W3", "W4", "W5", "W6"),
    *("L1", "L2", "L3", "L4", "L5", "L6", "L7", "L8", "L9"),
    *("C1", "C2", "C3", "C4", "C5"),
    *("R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8"),
    *("V1", "V2", "V3", "V4", "V5", "V6"),
]
"""Every rule of the contract."""

ELSEWHERE = {"W6", "C2", "C5"}
"""Rules that cannot be seen from the public API on a Python repository; the package's docstring says why."""

TESTS = {
    match
    for path in Path(__file__).parent.glob("test_*.py")
    for match in re.findall(r"^def test_([A-Z]\d)_", path.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ELSEWHERE])
def test_every_rule_has_a_test_named_after_it(rule: str) -> None:
    """A rule that nothing holds is a wish."""
    assert rule in TESTS


def test_every_test_names_a_rule() -> None:
    """A number that the contract does not have leads a reader nowhere."""
    assert set(RULES) >= TESTS
    assert not ELSEWHERE & TESTS
