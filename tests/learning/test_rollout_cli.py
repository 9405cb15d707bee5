"""`tocsin hub rollout …` beside a hub that is served by somebody else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hub.cli import hub
from hub.settings import init_hub
from hub.state.database import open_state
from models.errors import RolloutError
from tests.learning.fleet import Device, Fleet

BUNDLE = "pump-v1-00000001"


def _run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(hub, ["rollout", *words, "--data", str(data)])


def test_start_watch_steer(tmp_path: Path) -> None:
    engine = open_state(init_hub(tmp_path).state_url)
    fleet = Fleet(engine, [Device(f"gw-{i}") for i in range(4)])
    fleet.now_ns = time.time_ns()  # the commands live in real time
    fleet.publish(BUNDLE, 1)
    assert _run(tmp_path, "list").stdout == "no rollouts yet\n"
    assert "no rollouts yet" in _run(tmp_path, "status").stderr
    started = json.loads(_run(tmp_path, "start", BUNDLE, "--waves", "2", "--min-windows", "10", "--json").stdout)
    assert [stage["name"] for stage in started["plan"]["stages"]] == ["shadow", "canary", "wave 1", "wave 2"]
    fleet.now_ns = time.time_ns()  # windows from before the rollout would tell nothing of it
    fleet.step(windows=1)
    shown = _run(tmp_path, "status").stdout
    assert "pump-v1-r1" in shown
    assert "now wait  evidence: 1 of 10 windows" in shown
    assert _run(tmp_path, "pause", "pump-v1-r1").stdout == "pump-v1-r1 paused\n"
    assert _run(tmp_path, "resume", "pump-v1-r1").stdout == "pump-v1-r1 resumed\n"
    fleet.run("pump-v1-r1", "done")
    assert "done" in _run(tmp_path, "status", "--watch").stdout
    assert "its devices return" in _run(tmp_path, "rollback", "pump-v1-r1").stdout
    assert "aborted" in _run(tmp_path, "abort", "pump-v1-r1").stdout
    assert json.loads(_run(tmp_path, "list", "--json").stdout)[0]["state"] == "aborted"
    engine.dispose()


@pytest.mark.parametrize("words", [("start", "pump-v9-none"), ("pause", "r-none"), ("status", "r-none")])
def test_what_is_not_there_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    init_hub(tmp_path)
    result = _run(tmp_path, *words)
    assert isinstance(result.exception, RolloutError)
    assert words[1] in str(result.exception)
