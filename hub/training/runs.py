"""Runs of training whose process ended without a word (killed, out of memory, a power cut): they are marked as failed.

No framework is loaded for this: the hub does it when it starts and whenever a child of its own has ended.
"""

from __future__ import annotations

import os
import platform
from typing import Any, Final

import psutil
from sqlalchemy import Engine, select, update

from hub.state.database import reading
from hub.state.schema import training_runs

_SLACK_S: Final = 60.0  # wall clocks are set while processes run; nobody gets a dead process's number again so soon


def mark_of_this_process() -> dict[str, Any]:
    """What a run's record keeps of the process that runs it."""
    return {"pid": os.getpid(), "host": platform.node()}


def end_dead_runs(engine: Engine, now_ns: int) -> int:
    """Mark this machine's runs that look as if they were running, but cannot be; how many those were."""
    with reading(engine).begin() as connection:
        running = connection.execute(select(training_runs).where(training_runs.c.state == "running")).all()
    dead = [row.run_id for row in running if row.record.get("host") == platform.node() and not _runs(row)]
    if dead:
        values = {"state": "failed", "ended_ns": now_ns, "error": "its process ended before it did"}
        here = training_runs.c.run_id.in_(dead) & (training_runs.c.state == "running")
        with engine.begin() as connection:
            connection.execute(update(training_runs).where(here).values(values))
    return len(dead)


def _runs(row: Any) -> bool:
    """Whether the run's process is there, and is that one: after a restart others get its number."""
    pid = row.record.get("pid", 0)
    if pid in (0, os.getpid()):  # who asks has no run yet
        return False
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < row.started_ns / 1e9 + _SLACK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
