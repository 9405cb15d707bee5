"""Recorded pump data played into a running agent: the real thing from the CSV file to the agent's own verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from firmware_sim.links.broker import start_broker
from tests.recorded import recorded
from tests.waiting import PATIENCE_S, wait_until

_CHANNELS = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume_Flow_RateRMS",
)
_TOCSIN = [sys.executable, "-m", "tocsin"]
_WINDOWS = 40  # of 10 s; the recording has about 19 minutes


def _lay_out(folder: Path, source: str) -> Path:
    """A device that watches the recorded pump, with a profile of its own."""
    channels = "".join(f'[[channels]]\nname = "{name}"\n' for name in _CHANNELS)
    windowing = "[windowing]\nrate_hz = 1.0\nwindow_s = 10.0\nlateness_s = 2.0\nmax_gap_s = 5.0\n"
    (folder / "testbed.toml").write_text(f'name = "testbed"\n[commissioning]\nwindows = 30\n{windowing}{channels}')
    config = folder / "tocsin.toml"
    device = '[device]\nid = "gw-replay"\nstate_dir = "state"\n[[assets]]\nid = "pump"\nprofile = "testbed"\n'
    config.write_text(device + source)
    return config


@contextmanager
def _running_agent(config: Path) -> Iterator[None]:
    with (config.parent / "agent.log").open("wb") as log:
        agent = subprocess.Popen([*_TOCSIN, "agent", "run", "--config", str(config)], stderr=log)
    try:
        wait_until(lambda: _status(config), what="the agent to answer")
        yield
    finally:
        agent.terminate()
        assert agent.wait(PATIENCE_S) == 0


def _status(config: Path) -> dict[str, Any] | None:
    done = subprocess.run(
        [*_TOCSIN, "agent", "status", "--json", "--config", str(config)], capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def _replay(*arguments: str) -> None:
    command = [*_TOCSIN, "sim", "replay", str(recorded("skab/valve1/0.csv")), "--asset", "pump", *arguments]
    command += ["--ignore", "anomaly,changepoint", "--speed", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def _judged(config: Path) -> dict[str, Any] | None:
    status = _status(config)
    return status if status and status["windows"] >= _WINDOWS else None


@pytest.mark.slow
def test_a_recording_through_a_pseudo_terminal_is_windowed_and_judged(tmp_path: Path) -> None:
    port = tmp_path / "port"
    config = _lay_out(tmp_path, f'[[serial]]\nname = "line"\nport = "{port}"\nformat = "jsonl"\nasset = "pump"\n')
    with _running_agent(config):
        _replay("--link", str(port))
        status = wait_until(lambda: _judged(config), what="the recording's windows")
    assert status["frame_errors"] == 0
    assert status["readings"] > 1000 * len(_CHANNELS)
    assert status["assets"]["pump"]["state"] in ("normal", "alarm")
    assert status["assets"]["pump"]["p_value"] is not None


@pytest.mark.slow
def test_a_recording_over_mqtt_is_windowed_and_judged(tmp_path: Path) -> None:
    with start_broker(directory=tmp_path) as broker:
        source = f'[[mqtt]]\nname = "plant"\nhost = "{broker.host}"\nport = {broker.port}\ntopics = ["plant/{{asset}}"]\n'
        config = _lay_out(tmp_path, source)
        with _running_agent(config):
            wait_until(lambda: (status := _status(config)) and status["sources"]["plant"]["link"] == "up", what="the link")
            _replay("--mqtt", f"{broker.host}:{broker.port}", "--topic", "plant/{asset}")
            status = wait_until(lambda: _judged(config), what="the recording's windows")
    assert status["assets"]["pump"]["state"] in ("normal", "alarm")
    assert status["unknown_readings"] == 0
