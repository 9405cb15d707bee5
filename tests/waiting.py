"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
PATIENCE_S: Final = 60.0  # nothing takes so long; a busy machine may hold up a process, a disk or a whole run for many seconds


def wait_until(condition: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "") -> T:
    """The first true value of `condition`; AssertionError with the last value once `timeout_s` has passed.

    It is asked once more after the deadline: a test that was itself held up does not call that the condition's fault.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        last = time.monotonic() > deadline
        value = condition()
        if value:
            return value
        if last:
            raise AssertionError(f"not within {timeout_s} s: {what or condition}; last value {value!r}")
        time.sleep(0.02)


def least_cpu_s(work: Callable[[], object], n_times: int = 5) -> float:
    """Of this thread, in the best of some runs: a collector that looks through a large process is nobody's cost here."""
    taken = []
    for _ in range(n_times):
        began_s = time.thread_time()
        work()
        taken.append(time.thread_time() - began_s)
    return min(taken)
