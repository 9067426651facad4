"""What a test of crashes saw, for its report: a line on the terminal and a property in the JUnit file."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str], None]
"""Reports one line."""
