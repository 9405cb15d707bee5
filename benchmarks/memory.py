"""What an agent takes while it does everything: a machine on a serial line and one over MQTT, an int8 model, sync to a hub,
and a rule that publishes each alert.

A real hub, broker, pseudo-terminal and model: the model is trained from what this very agent sent. Sizes are sampled from
the kernel four times a second, from the agent's start until it has run with its model, and alerted, for a while.

PSS counts a page by its share: what the hub beside it has mapped too (the interpreter, numpy) counts half. On a gateway of
its own an agent shares little with anybody; there it takes nearly its resident set. Of that, the part that is mapped from
files can be dropped and read again when memory is short; the private part cannot. All three are told.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from benchmarks.figure import Figure
from firmware_sim.demo.run import DemoRun
from firmware_sim.demo.screen import Screen
from firmware_sim.demo.story import cold_start, roll_out, train
from firmware_sim.links.broker import Broker
from firmware_sim.scenario import AssetPlan, Scenario

_SPEED = 60.0
_WITH_MODEL_S = 1200.0  # event seconds
_BARE = "import numpy, ai_edge_litert.interpreter; print('ready', flush=True); input()"


class Sizes:
    """The largest of each of a process's sizes so far, bytes."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/smaps_rollup")
        self.pss = self.rss = self.private = 0

    def look(self) -> None:
        found = {line.split()[0]: int(line.split()[1]) * 1024 for line in self._path.read_text().splitlines()[1:]}
        self.pss = max(self.pss, found["Pss:"])
        self.rss = max(self.rss, found["Rss:"])
        self.private = max(self.private, found["Private_Dirty:"])


class Watch(threading.Thread):
    """Looks four times a second, from `start` to `stop`."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._stopping = threading.Event()
        self.peak = Sizes(pid)

    def run(self) -> None:
        while not self._stopping.wait(0.25):
            self.peak.look()

    def stop(self) -> Sizes:
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
    with tempfile.TemporaryDirectory() as folder, DemoRun(Path(folder), scenario, screen, 0, more=_rule) as demo:
        bare = _bare()
        watch = Watch(demo.processes.pid("gw-1"))
        watch.start()
        cold_start(demo)
        demo.wait(lambda: demo.hub.get("/v1/ledger")["lake_rows"] >= 700, 120, "windows to train from")
        before = watch.peak.pss
        roll_out(demo, train(demo))
        demo.fleet.inject("pump-1", "cavitation")
        demo.let_pass(_WITH_MODEL_S, "the agent to run with its model")
        now = Sizes(demo.processes.pid("gw-1"))
        now.look()
        peak = watch.stop()
        status = demo.status("gw-1")
    assert status["actions"]["rules"]["tell"]["done"], "no alert was published"
    yield Figure(
        name="agent, model + MQTT + serial + sync + actions: peak PSS", value=peak.pss / 1e6, unit="MB", goal=48, better="lower"
    )
    yield Figure(name="the same at the end of the run", value=now.pss / 1e6, unit="MB")
    yield Figure(name="the same before it had a model, peak", value=before / 1e6, unit="MB")
    yield Figure(name="its peak resident set, shared pages counted whole", value=peak.rss / 1e6, unit="MB")
    yield Figure(name="of that private and changed, peak", value=peak.private / 1e6, unit="MB")
    yield Figure(name="compare: bare Python with numpy and LiteRT, PSS", value=bare.pss / 1e6, unit="MB")
    yield Figure(name="compare: the same, resident set", value=bare.rss / 1e6, unit="MB")
    yield Figure(name="compare: the same, private and changed", value=bare.private / 1e6, unit="MB")
    yield Figure(name="readings that it had handled by then", value=status["readings"], unit="readings")


def _rule(broker: Broker) -> str:
    where = f'host = "{broker.host}"\nport = {broker.port}\ntopic = "alarm/{{asset}}"'
    return f'\n[[actions]]\nname = "tell"\non = "alert"\n\n[actions.mqtt]\n{where}\n'


def _bare() -> Sizes:
    """Of an interpreter that has loaded what no agent with a model can do without."""
    with subprocess.Popen([sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        sizes = Sizes(bare.pid)
        sizes.look()
        bare.kill()
    return sizes
