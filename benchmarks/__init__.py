"""Measurements, each beside what it is compared with; run by `python -m benchmarks`. Never part of a timed test."""
