"""How soon the device answers a person: `tocsin agent status` against a running agent, the whole command."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.figure import Figure, median_of

_CONFIG = """\
[device]
id = "bench"
state_dir = "state"
[[assets]]
id = "this-machine"
profile = "host"
[[host]]
asset = "this-machine"
"""


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "tocsin.toml"
        config.write_text(_CONFIG)
        tocsin = [sys.executable, "-m", "tocsin"]
        agent = subprocess.Popen([*tocsin, "agent", "run", "--config", str(config)], stderr=subprocess.DEVNULL)
        try:
            ask = [*tocsin, "agent", "status", "--config", str(config)]
            deadline = time.monotonic() + 30
            while subprocess.run(ask, capture_output=True, check=False).returncode:
                assert time.monotonic() < deadline, "the agent did not come up"
            status = [_seconds(ask) for _ in range(11)]
            bare = [_seconds([sys.executable, "-c", "import json, socket"]) for _ in range(11)]
        finally:
            agent.terminate()
            agent.wait()
    yield median_of("tocsin agent status, whole command", status, "s", goal=0.3, better="lower")
    yield median_of("compare: Python that starts and imports json and socket", bare, "s")


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started
