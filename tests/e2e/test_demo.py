"""The demo, shortened, with everything real: broker, hub, agents, pseudo-terminals, TensorFlow, TFLite, SQLite, Delta Lake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import PATIENCE_S

_LIMIT_S = 840  # far beyond what it takes; below the limit that each test has

pytestmark = [pytest.mark.slow, pytest.mark.timeout(_LIMIT_S + 20)]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of one shortened demo, run as a user would; and whether it left anything running."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "tocsin", "demo", "--exit", "--scenario", "demo-short"]
    command += ["--summary", str(folder / "summary.json"), "--dir", str(folder / "files")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_LIMIT_S, check=False, env={**os.environ, "COLUMNS": "120"}
    )
    logs = "\n".join(f"== {log.name}\n{log.read_text()[-1500:]}" for log in sorted((folder / "files" / "logs").glob("*.log")))
    assert (folder / "summary.json").exists(), f"{done.stdout}\n{done.stderr}\n{logs}"
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or [])]
    return {**summary, "exit_code": done.returncode, "left_running": left, "stdout": done.stdout}


def test_every_claim_of_the_demo_holds(told: dict[str, Any]) -> None:
    assert told["claims"]
    assert [claim for claim, held in told["claims"].items() if not held] == []
    assert told["ok"]
    assert told["exit_code"] == 0


def test_the_ledger_has_everything_once(told: dict[str, Any]) -> None:
    ledger = told["ledger"]
    assert ledger["received"] > 500
    assert (ledger["missing"], ledger["duplicates"], ledger["rejected"]) == (0, 0, 0)


def test_injected_faults_are_alerted_soon_and_nothing_else_is(told: dict[str, Any]) -> None:
    delays = {name: fault["delay_s"] for name, asset in told["assets"].items() for fault in asset["faults"]}
    assert set(delays) == {"pump-1", "pump-4"}
    assert all(0 < delay <= 120 for delay in delays.values()), delays
    assert told["sensor_faults"] == {"pump-2.pressure stuck": "stuck", "pump-4.vibration dropout": "missing"}


def test_the_device_that_was_cut_off_alerted_alone_and_drained_without_a_gap(told: dict[str, Any]) -> None:
    cut = told["cut_off"]
    assert cut["backlog_items"] >= 60
    assert (cut["missing"], cut["alerts_known_while_cut"]) == (0, 0)
    assert cut["alerts_known_after"] >= 1


def test_the_bad_model_was_halted_at_the_canary_and_rolled_back(told: dict[str, Any]) -> None:
    assert told["bad_rollout"]["state"] == "rolled_back"
    assert told["bad_rollout"]["stage"] == "canary"


def test_far_less_is_synced_than_the_sensors_sent(told: dict[str, Any]) -> None:
    assert told["bytes"]["synced"] < 0.4 * told["bytes"]["raw"]


def test_no_process_is_left_running(told: dict[str, Any]) -> None:
    assert told["left_running"] == []


def test_its_words_are_free_of_tracebacks(told: dict[str, Any]) -> None:
    assert "Traceback" not in told["stdout"]
    assert "What was shown" in told["stdout"]


def test_a_scenario_that_does_not_exist_is_a_configuration_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tocsin", "demo", "--exit", "--scenario", "demo-shor", "--dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    assert done.returncode == 78
    assert "demo-short" in done.stderr
