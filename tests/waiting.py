"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = 30.0, what: str = "") -> T:
    """The first true value of `condition`; AssertionError with the last value once `timeout_s` has passed: only then does it
    cost anything, so it is as generous as a machine is slow that holds a process up for seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what or condition}; last value {value!r}")
        time.sleep(0.02)
