"""Crashes on purpose: real processes, real kills and failing system calls, judged from an outside journal."""
