"""Names on a terminal, whatever they hold: harmless, and short enough for a table."""

LONGEST = 40


def printable(name: str | bytes) -> str:
    """A name that cannot move the cursor or break the line: what is not printable stands as an escape."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shortened(name: str) -> str:
    """The name as printable, at most LONGEST characters of it: a longer one is cut, and ends with `...`."""
    shown = printable(name)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."
