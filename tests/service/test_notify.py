"""What the service manager is told, over a real socket; and that the pipeline alone keeps its watchdog quiet."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.service.journal import JournalFormatter, writes_to_journal
from agent.service.notify import Notifier
from agent.status.control import ask
from tests.waiting import wait_until


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    def next(self, timeout_s: float = 60.0) -> dict[str, str]:
        """The fields of the next message; TimeoutError where none comes."""
        self._socket.settimeout(timeout_s)
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def is_silent_for(self, timeout_s: float) -> bool:
        """False at once where a message comes."""
        try:
            self.next(timeout_s)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_ready_and_stopping_are_told_with_a_status(manager: Manager) -> None:
    notifier = Notifier(manager.address, 30.0, lambda: "1 normal")
    notifier.ready()
    assert manager.next() == {"READY": "1", "STATUS": "1 normal"}
    notifier.stopping()
    assert manager.next()["STOPPING"] == "1"


def test_the_watchdog_is_fed_four_times_in_its_patience_however_often_the_pipeline_steps(manager: Manager) -> None:
    now_s = 0.0
    notifier = Notifier(manager.address, 20.0, lambda: f"at {now_s:g}", lambda: now_s)
    for step in range(200):
        now_s = step / 10
        notifier.progress()
    told = [manager.next() for _ in range(4)]
    assert told == [{"WATCHDOG": "1", "STATUS": f"at {at}"} for at in (0, 5, 10, 15)]
    with pytest.raises(TimeoutError):
        manager.next(0.05)


def test_without_a_watchdog_only_the_status_is_kept_fresh(manager: Manager) -> None:
    Notifier(manager.address, None, lambda: "fine").progress()
    assert manager.next() == {"STATUS": "fine"}


def test_outside_of_a_service_nothing_is_computed_or_sent() -> None:
    def status() -> str:
        raise AssertionError("nobody is to be told")

    notifier = Notifier.from_environment({}, lambda: "unused")
    notifier.ready()
    Notifier(None, None, status).progress()
    notifier.stopping()


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}
    Notifier.from_environment({**environment, "WATCHDOG_PID": "1"}, lambda: "").progress()
    assert "WATCHDOG" not in manager.next()
    Notifier.from_environment({**environment, "WATCHDOG_PID": str(os.getpid())}, lambda: "").progress()
    assert "WATCHDOG" in manager.next()


def test_a_manager_that_is_gone_is_logged_once_and_the_work_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(str(tmp_path / "nobody"), 30.0, lambda: "")
    with caplog.at_level(logging.WARNING, "tocsin.service"):
        notifier.ready()
        notifier.stopping()
    assert len(caplog.records) == 1


def test_an_abstract_address_is_understood() -> None:
    name = f"tocsin-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        Notifier(f"@{name}", None, lambda: "there").stopping()
        assert receiver.recv(4096).startswith(b"STOPPING=1")


_CONFIG = """
[device]
id = "d"
state_dir = "state"
[[assets]]
id = "box"
profile = "box"
[[host]]
asset = "box"
interval_s = 0.1
"""
_PROFILE = """
name = "box"
windowing = { rate_hz = 10.0, window_s = 0.5, lateness_s = 0.1, max_gap_s = 0.5 }
features = { per_channel = ["mean"] }
[[channels]]
name = "memory_used"
unit = "%"
"""


@pytest.fixture
def agent(manager: Manager, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`tocsin agent run` in a process of its own, told of a watchdog with 2 s of patience."""
    (tmp_path / "tocsin.toml").write_text(_CONFIG)
    (tmp_path / "box.toml").write_text(_PROFILE)
    environment = {**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000"}
    command = [sys.executable, "-m", "tocsin", "agent", "run", "--config", str(tmp_path / "tocsin.toml")]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert manager.next()["READY"] == "1"
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=60)


def test_the_agent_feeds_the_watchdog_and_says_when_it_stops(manager: Manager, agent: subprocess.Popen[str]) -> None:
    told = [manager.next() for _ in range(4)]
    assert all(message["WATCHDOG"] == "1" for message in told)
    assert "outbox" in told[-1]["STATUS"]
    agent.send_signal(signal.SIGTERM)
    wait_until(lambda: "STOPPING" in manager.next())
    assert agent.wait(60) == 0


def test_a_pipeline_that_hangs_feeds_no_watchdog_while_the_process_lives(
    manager: Manager, agent: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Another process has the database's lock, so that the pipeline waits in the middle of a step."""
    wait_until(lambda: (ask(tmp_path / "state") or {}).get("windows", 0) > 2)
    with closing(sqlite3.connect(tmp_path / "state" / "outbox.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_until(lambda: manager.is_silent_for(2.0), 60)
        wait_until(lambda: (ask(tmp_path / "state") or {}).get("device") == "d", what="the rest of the process to answer")
    assert manager.next()["WATCHDOG"] == "1"
    agent.send_signal(signal.SIGABRT)
    assert "in _work" in agent.communicate(timeout=60)[1], "the stack of the pipeline's thread"
    assert agent.returncode == -signal.SIGABRT


def test_the_journal_gets_a_level_on_each_line_and_no_time() -> None:
    error = ValueError("bad")
    record = logging.LogRecord("tocsin.agent", logging.WARNING, "", 0, "ALERT %s", ("x",), (ValueError, error, None))
    lines = JournalFormatter().format(record).splitlines()
    assert lines == ["<4>tocsin.agent: ALERT x", "<4>ValueError: bad"]
    levels = [JournalFormatter().format(logging.LogRecord("t", level, "", 0, "m", (), None))[:3] for level in (10, 20, 40, 50)]
    assert levels == ["<7>", "<6>", "<3>", "<3>"]


def test_only_a_stream_that_is_the_journals_is_taken_for_it(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        stat = os.fstat(file.fileno())
        assert writes_to_journal({"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}, file.fileno())
        assert not writes_to_journal({"JOURNAL_STREAM": "8:1"}, file.fileno())
        assert not writes_to_journal({}, file.fileno())
