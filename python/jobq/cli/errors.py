"""What a command raises for wrong use; the command line prints it as one line and ends with status 2."""


class UsageError(Exception):
    """An argument that cannot be used: its text names it and says what was found."""
