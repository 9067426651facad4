"""What every test shares: the profiles of Hypothesis, chosen by name.

Hypothesis changes its own defaults where it sees CI=true, so each profile says all that matters: `ci`
runs the same examples every time, `explore` new ones each time from a seed that the header prints, `dev`
is for the desk. Chosen by --hypothesis-profile, or JOBQ_HYPOTHESIS_PROFILE, or `dev`. To replay:
--hypothesis-seed=N.
"""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, settings

DEFAULT = os.environ.get("JOBQ_HYPOTHESIS_PROFILE", "dev")

# No deadline, and too slow is no fault: on a machine that others use a slow example means nothing.
_COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile(
    "ci", derandomize=True, database=None, max_examples=100, stateful_step_count=50, **_COMMON
)
settings.register_profile(
    "explore", derandomize=False, database=None, max_examples=50, stateful_step_count=80, **_COMMON
)
settings.register_profile("dev", derandomize=False, max_examples=50, stateful_step_count=50, **_COMMON)
settings.load_profile(DEFAULT)


def profile_of(config: pytest.Config) -> str:
    return config.getoption("--hypothesis-profile") or DEFAULT


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads its options
def pytest_configure(config: pytest.Config) -> None:
    if profile_of(config) == "explore" and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(secrets.randbelow(10**9))


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("--hypothesis-seed")
    return f"hypothesis: profile {profile_of(config)}" + (
        f", --hypothesis-seed={seed}" if seed is not None else ""
    )
