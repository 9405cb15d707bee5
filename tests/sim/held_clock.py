"""Real time for a fleet, which does not run on past what a test has still to see."""

from __future__ import annotations

import threading
import time

import pytest


class HeldClock:
    """In place of the clock of `LocalFleet`. It stands at first; `run_to` lets it run as the real one does, up to there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lock = threading.Lock()
        self._real_ns = time.monotonic_ns()
        self._now_ns = self._until_ns = 0
        monkeypatch.setattr("firmware_sim.fleet.time", self)

    def run_to(self, seconds: float) -> None:
        with self._lock:
            self._real_ns, self._until_ns = time.monotonic_ns(), round(seconds * 1e9)

    def run_on(self) -> None:
        self.run_to(1e9)

    def monotonic_ns(self) -> int:
        """What the fleet asks."""
        with self._lock:
            real_ns = time.monotonic_ns()
            self._now_ns = min(self._now_ns + real_ns - self._real_ns, self._until_ns)
            self._real_ns = real_ns
            return self._now_ns

    def time_ns(self) -> int:
        """What the fleet asks."""
        return time.time_ns()
