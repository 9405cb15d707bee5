"""The command line of a device: exit codes, and one line where something is wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent.agent_process import CONFIG, tocsin


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tocsin.toml"
    path.write_text(CONFIG)
    return path


def test_a_good_configuration_is_said_to_be_fine_and_what_it_amounts_to(config: Path) -> None:
    done = tocsin("agent", "check-config", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"{config} is fine: device dev-1, 1 assets, 1 sources, hub none: works alone"
    assert second.startswith("  here: The machine that the agent runs on; cpu_load, memory_used, ")
    assert list(config.parent.iterdir()) == [config]


@pytest.mark.parametrize(
    ("command", "old", "new", "says"),
    [
        ("check-config", "state_dir", "stat_dir", "device.stat_dir: unknown key; expected one of id, state_dir"),
        ("check-config", "interval_s = 0.1", 'interval_s = "fast"', "host[0].interval_s: Expected 'float', got 'str'"),
        ("check-config", 'profile = "host"', 'profile = "hots"', "assets[0].profile: profile 'hots': one of"),
        ("run", "[device]", "[device", "not TOML"),
    ],
)
def test_a_wrong_configuration_is_exit_code_78_and_one_line(command: str, old: str, new: str, says: str, config: Path) -> None:
    config.write_text(CONFIG.replace(old, new))
    done = tocsin("agent", command, "--config", config)
    assert (done.returncode, done.stdout) == (78, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tocsin: {config}: {says}")
    assert list(config.parent.iterdir()) == [config]


@pytest.mark.parametrize("command", ["check-config", "run", "status"])
def test_a_missing_configuration_is_exit_code_78_and_one_line(command: str, tmp_path: Path) -> None:
    done = tocsin("agent", command, "--config", tmp_path / "nowhere.toml")
    assert (done.returncode, done.stdout) == (78, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tocsin: {tmp_path / 'nowhere.toml'}: no such file")


def test_a_hub_without_an_enrolment_is_exit_code_78_before_anything_starts(config: Path) -> None:
    config.write_text(CONFIG + '\n[hub]\nurl = "http://127.0.0.1:9"\n')
    done = tocsin("agent", "run", "--config", config)
    assert done.returncode == 78
    assert f"{config}: hub: a device that is enrolled: `tocsin agent enrol URL TOKEN`, or claim_token_file" in done.stderr


def test_status_where_nothing_runs_is_exit_code_3(config: Path) -> None:
    done = tocsin("agent", "status", "--config", config)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"no agent is running on {config.parent / 'state'}\n"


def test_a_state_directory_that_cannot_be_used_is_exit_code_1_and_one_line(config: Path) -> None:
    (config.parent / "state").mkdir()
    path = config.parent / "state" / "outbox.db"
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    done = tocsin("agent", "run", "--config", config)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tocsin: {config.parent / 'state' / 'outbox.db'}: ")
    assert path.read_bytes() == before


def test_an_unknown_command_is_told_as_such() -> None:
    done = tocsin("agent", "dance")
    assert done.returncode == 2
    assert "No such command 'dance'" in done.stderr
