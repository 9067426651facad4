"""What the tests of a program that uses jobq need: a clock that moves when told."""

from jobq._jobq import ManualClock

__all__ = ["ManualClock"]
