"""Training runs whose process is gone without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import insert, select

from hub.api.training import TrainingProcesses
from hub.settings import Hub, init_hub
from hub.state.database import open_state
from hub.state.schema import training_runs
from hub.training.runs import end_dead_runs, mark_of_this_process
from models.errors import TrainingError
from tests.holding import HeldRuns
from tests.waiting import PATIENCE_S, wait_until

HOUR_NS = 3600 * 10**9


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return init_hub(tmp_path / "hub")


def state_after(hub: Hub, pid: int, started_ns: int, host: str | None = None) -> tuple[str, str | None]:
    """State and error of a run that looks as if `pid` were running it, once the dead have been looked for."""
    record = mark_of_this_process() | {"pid": pid}
    record |= {"host": host} if host else {}
    row = {"run_id": "r", "profile": "pump", "state": "running", "started_ns": started_ns, "record": record}
    engine = open_state(hub.state_url)
    with engine.begin() as connection:
        connection.execute(insert(training_runs).values(row))
    end_dead_runs(engine, time.time_ns())
    with engine.connect() as connection:
        found = connection.execute(select(training_runs.c.state, training_runs.c.error)).one()
    engine.dispose()
    return found.state, found.error


def test_a_run_whose_process_lives_is_left_alone(hub: Hub) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert state_after(hub, child.pid, time.time_ns()) == ("running", None)
        child.communicate(b"\n")


def test_a_run_whose_number_another_process_has_by_now_has_failed(hub: Hub) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert state_after(hub, child.pid, time.time_ns() - HOUR_NS) == ("failed", "its process ended before it did")
        child.communicate(b"\n")


def test_a_run_whose_process_was_killed_but_not_yet_waited_for_has_failed(hub: Hub) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.kill()
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert state_after(hub, child.pid, time.time_ns())[0] == "failed"
    child.communicate()


def test_a_run_on_another_machine_is_not_judged_from_here(hub: Hub) -> None:
    assert state_after(hub, 2**22 + 1, 1, host="elsewhere") == ("running", None)


def test_a_killed_child_is_noticed_at_once_and_its_profile_can_be_trained_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, ended = HeldRuns(monkeypatch), threading.Event()
    processes = TrainingProcesses(hub.paths.root, hub.paths.logs, None, on_end=ended.set)
    pid = processes.start("pump")
    with pytest.raises(TrainingError, match=str(pid)):
        processes.start("pump")
    os.kill(pid, signal.SIGKILL)
    assert ended.wait(PATIENCE_S)
    assert not psutil.pid_exists(pid)
    again = processes.start("pump")
    held.let_go()
    processes.stop()
    assert not psutil.pid_exists(again)
