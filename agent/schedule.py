"""Regular work of the agent: sync, check-in and health, each in its turn, on two threads.

APScheduler goes by the system's clock: the next turn of a job is a date. Where that clock is set back by two weeks, nothing
would run for two weeks; `restart` gives every job a new date, and whoever watches the clock calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

_THREADS: Final = 2
_JITTER: Final = 0.25  # of the interval: devices that started together must not stay in step


class Schedule:
    """`jobs`: what to do and how often (s), by name. Nothing runs before `start`."""

    def __init__(self, jobs: dict[str, tuple[Callable[[], None], float]]) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        self._every_s = {name: every_s for name, (_, every_s) in jobs.items()}
        self._scheduler: Any = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(_THREADS)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        for name, (action, every_s) in jobs.items():
            self._scheduler.add_job(action, "interval", id=name, seconds=every_s, jitter=every_s * _JITTER)

    def start(self) -> None:
        self._scheduler.start()

    def hurry(self, name: str) -> None:
        """Let a job run now instead of at its next turn."""
        self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def restart(self) -> None:
        """The system's clock was set: count every interval from now on."""
        for name, every_s in self._every_s.items():
            self._scheduler.reschedule_job(name, trigger="interval", seconds=every_s, jitter=every_s * _JITTER)

    def stop(self) -> None:
        """What runs is not waited for."""
        self._scheduler.shutdown(wait=False)
