"""What a case reports."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measured number. `goal` with `better`: what is aimed at, and which way; None = told beside the others only."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    better: Literal["higher", "lower"] = "higher"
    runs: list[float] = []

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


Case = Callable[[], Iterable[Figure]]


def rates(work: Callable[[], int], runs: int = 5) -> list[float]:
    """How many units a second `work` does, `runs` times after one to warm up; it returns how many it did."""
    work()
    figures = []
    for _ in range(runs):
        started = time.perf_counter()
        done = work()
        figures.append(done / (time.perf_counter() - started))
    return figures


def median_of(
    name: str, runs: list[float], unit: str, goal: float | None = None, better: Literal["higher", "lower"] = "higher"
) -> Figure:
    """The median of several runs as a figure."""
    return Figure(name=name, value=statistics.median(runs), unit=unit, goal=goal, better=better, runs=runs)
