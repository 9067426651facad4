"""Benchmarks: a file per verb, the peers in the same run; README.md says how to run and how to read them."""
