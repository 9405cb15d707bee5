"""A real agent: answers while it runs, is alone on its state, stops cleanly, and survives a kill."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.state_dir import hold
from tests.agent.agent_process import CONFIG, ROOT, AgentProcess, tocsin
from tests.ports import own_port
from tests.waiting import wait_until


@pytest.fixture
def agent(tmp_path: Path, empty_outbox: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(tmp_path, empty_outbox)
    yield process
    process.close()


def sound(database: Path) -> list[tuple[str, int]]:
    """(lane, count) of what is stored, after SQLite has checked the file."""
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    lanes = connection.execute("SELECT lane, sum(n_items), min(first_seq), max(last_seq) FROM chunks GROUP BY lane").fetchall()
    connection.close()
    assert all((first, last) == (1, n) for _, n, first, last in lanes)
    return [(lane, n) for lane, n, _, _ in lanes]


def test_it_answers_while_it_runs_is_alone_and_stops_cleanly(agent: AgentProcess) -> None:
    agent.start()
    status = wait_until(lambda: (s := agent.status()) and s["readings"] > 20 and s, what="readings")
    assert status["assets"]["here"]["state"] == "commissioning"
    assert status["sources"]["host"]["link"] == "up"
    assert status["hub"] is None

    shown = agent.asked("status")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("dev-1  tocsin ")
    assert re.search(r"^  ◌ here \(host\): commissioning, windows \d+/60$", shown.stdout, re.MULTILINE)
    assert agent.told()["device"] == "dev-1"

    second = tocsin("agent", "run", "--config", agent.config)
    assert second.returncode == 1
    assert second.stderr.splitlines() == [f"tocsin: {agent.state}: another agent runs on this state directory"]
    assert agent.status() is not None

    assert agent.signal(signal.SIGTERM) == 0
    assert sorted(path.name for path in agent.state.iterdir()) == [
        "agent.lock",
        "bundles",
        "device.key",
        "flash.json",
        "outbox.db",
        "outbox.tail",
    ]
    sound(agent.state / "outbox.db")
    assert "Traceback" not in agent.log.read_text()
    assert tocsin("agent", "status", "--config", agent.config).returncode == 3


def test_a_second_agent_on_one_state_directory_touches_nothing(agent: AgentProcess) -> None:
    agent.start()
    assert agent.signal(signal.SIGTERM) == 0
    first = hold(agent.state)
    before = {path.name: path.read_bytes() for path in agent.state.iterdir() if path.is_file()}
    second = tocsin("agent", "run", "--config", agent.config)
    assert (second.returncode, second.stderr) == (1, f"tocsin: {agent.state}: another agent runs on this state directory\n")
    assert {path.name: path.read_bytes() for path in agent.state.iterdir() if path.is_file()} == before
    os.close(first)
    agent.start()
    assert agent.signal(signal.SIGTERM) == 0


def test_a_script_becomes_the_agent_and_takes_nothing_from_the_working_directory(tmp_path: Path, empty_outbox: Path) -> None:
    agent = AgentProcess(tmp_path, empty_outbox)
    script = tmp_path / "bin" / "tocsin"
    script.parent.mkdir()
    script.write_text("from tocsin.cli import main\nmain()\n")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "__init__.py").write_text("raise SystemExit('from the working directory')\n")
    command = [sys.executable, str(script), "agent", "run", "--config", str(agent.config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: agent.status() or process.poll() is not None, 60, "the agent to answer")
        arguments = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        process.terminate()
        assert process.wait(60) == 0, process.stderr
    assert arguments[1:4] == ["-P", "-m", "agent.run"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_after_any_ending_it_starts_again_on_the_same_state(agent: AgentProcess, ending: signal.Signals) -> None:
    agent.start()
    before = agent.status()
    assert agent.signal(ending) == (0 if ending is signal.SIGINT else -ending)
    agent.start()
    after = agent.status()
    assert (after["epoch"], after["starts"]) == (before["epoch"], before["starts"] + 1)
    assert agent.signal(signal.SIGTERM) == 0
    sound(agent.state / "outbox.db")


def test_an_outbox_that_is_damaged_is_set_aside_and_the_agent_runs_on(agent: AgentProcess) -> None:
    (agent.state / "outbox.db").write_bytes(b"not a database, but somebody's")
    agent.start()
    status = wait_until(lambda: (s := agent.status()) and s["readings"] > 5 and s, what="readings")
    assert (status["starts"], status["storage"]) == (1, "")
    assert agent.signal(signal.SIGTERM) == 0
    sound(agent.state / "outbox.db")
    [aside] = agent.state.glob("outbox.db.damaged-*")
    assert aside.read_bytes() == b"not a database, but somebody's"
    assert "file is not a database; set aside as outbox.db.damaged-" in agent.log.read_text()


def test_a_hub_that_is_not_there_shows_in_the_status_and_stops_nothing(tmp_path: Path, empty_outbox: Path) -> None:
    (tmp_path / "token").write_text("open sesame")
    hub = f'\n[hub]\nurl = "http://127.0.0.1:{own_port()}"\njoin_token_file = "token"\nsync_s = 0.2\ncheckin_s = 0.2\n'
    agent = AgentProcess(tmp_path, empty_outbox, CONFIG + hub)
    try:
        agent.start()
        told = wait_until(lambda: (s := agent.status()) and s["hub"]["sync_error"] and s, what="a failed sync")
        assert "connection refused" in told["hub"]["sync_error"]
        assert not told["hub"]["enrolled"]
        wait_until(lambda: agent.status()["readings"] > told["readings"], what="more readings")
        assert agent.signal(signal.SIGTERM) == 0
    finally:
        agent.close()
    log = agent.log.read_text()
    assert log.count("sync failed, will be retried") == 1
    assert "Traceback" not in log
