"""What an agent takes while it does everything: a machine on a serial line and one over MQTT, an int8 model, sync to a hub.

A real hub, broker, pseudo-terminal and model: the model is trained from what this very agent sent. PSS is sampled from
the kernel four times a second, from the agent's start until it has run with its model for a while.
"""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from benchmarks.figure import Figure
from firmware_sim.demo.run import DemoRun
from firmware_sim.demo.screen import Screen
from firmware_sim.demo.story import cold_start, roll_out, train
from firmware_sim.scenario import AssetPlan, Scenario

_SPEED = 60.0
_WITH_MODEL_S = 1200.0  # event seconds


class PssWatch(threading.Thread):
    """The largest proportional set size of a process, bytes, from `start` to `stop`."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._path = Path(f"/proc/{pid}/smaps_rollup")
        self._stopping = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._stopping.wait(0.25):
            self.peak = max(self.peak, self.now())

    def now(self) -> int:
        line = next(line for line in self._path.read_text().splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) * 1024

    def stop(self) -> int:
        self._stopping.set()
        self.join()
        return self.peak


def run() -> Iterable[Figure]:
    machines = (
        AssetPlan(name="pump-1", profile="pump", link="serial"),
        AssetPlan(name="motor-1", profile="motor", link="mqtt"),
    )
    scenario = Scenario(assets=machines, speed=_SPEED)
    screen = Screen(Console(file=io.StringIO()))
    with tempfile.TemporaryDirectory() as folder, DemoRun(Path(folder), scenario, screen, 0) as demo:
        watch = PssWatch(demo.processes.pid("gw-1"))
        watch.start()
        cold_start(demo)
        demo.wait(lambda: demo.hub.get("/v1/ledger")["lake_rows"] >= 700, 120, "windows to train from")
        before = watch.peak
        roll_out(demo, train(demo))
        demo.let_pass(_WITH_MODEL_S, "the agent to run with its model")
        now, peak = watch.now(), watch.stop()
        status = demo.status("gw-1")
    yield Figure(name="agent, model + MQTT + serial + sync: peak PSS", value=peak / 1e6, unit="MB", goal=64, better="lower")
    yield Figure(name="the same at the end of the run", value=now / 1e6, unit="MB")
    yield Figure(name="the same before it had a model, peak", value=before / 1e6, unit="MB")
    yield Figure(name="its peak resident set, shared pages counted whole", value=status["peak_rss_bytes"] / 1e6, unit="MB")
    yield Figure(name="readings that it had handled by then", value=status["readings"], unit="readings")
