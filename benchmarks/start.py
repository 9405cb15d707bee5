"""From the start of the process to the first window handled: judged by an int8 model, and stored.

The window's readings carry their own times and wait at the broker, in the agent's session; so nothing is waited for but the
agent. Model self-test, migration check, connecting and subscribing are part of it. Compared with what no such agent can do
without: a Python that imports numpy and the TFLite runtime.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.figure import Figure, median_of
from benchmarks.gateway import Gateway, Machine, client, wait
from firmware_sim.links.broker import start_broker

_RUNS = 7


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder, start_broker("mosquitto") as broker:
        gateway = Gateway(Path(folder), broker, 1)
        publisher, machine = client(broker), Machine(1, int(time.time()) - 100_000)
        with gateway.running():
            gateway.wait_ready()  # from now on the broker keeps its session
        taken = []
        for _ in range(_RUNS):
            for _ in range(2):
                publisher.publish("plant/rig-0", machine.window()[1], qos=1).wait_for_publish(10)
            started_s = time.perf_counter()
            with gateway.running():
                wait(lambda: (s := gateway.status()) is not None and s["windows"], 60, "the first window", pause_s=0.002)
                taken.append(time.perf_counter() - started_s)
        publisher.disconnect()
        publisher.loop_stop()
        bare = [_bare_s() for _ in range(_RUNS)]
    yield median_of("start to first window handled", taken, "s", goal=1.5, better="lower")
    yield median_of("compare: Python that imports numpy and LiteRT", bare, "s", better="lower")


def _bare_s() -> float:
    started_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy, ai_edge_litert.interpreter"], check=True)
    return time.perf_counter() - started_s
