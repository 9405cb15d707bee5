"""A real agent on a folder of its own, as the cases about a running gateway need it: machines over MQTT, an int8 model in their
active slot, and, where asked for, rules that publish alerts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.status.control import ask
from agent.uplink.slots import Held, ProfileSlots, SlotStore
from firmware_sim.links.broker import Broker
from models.bundle.archive import Golden, digest, pack_bundle
from models.bundle.manifest import Manifest
from models.contract.config import load_profile
from models.detectors.autoencoder import TfliteAutoencoder

MODEL: Final = Path(__file__).parents[1] / "tests" / "data" / "tiny_int8.tflite"  # 18 inputs, for the profile below
WINDOW_S: Final = 10
COMMISSIONING: Final = 20  # windows
PROFILE: Final = f"""\
name = "rig"
channels = [{{ name = "flow" }}, {{ name = "pressure" }}, {{ name = "temperature" }}]
features = {{ cross = ["correlation"] }}
commissioning = {{ windows = {COMMISSIONING} }}
decision = {{ false_alarms_per_month = 1.0, open_windows = 2, close_windows = 2 }}

[windowing]
rate_hz = 1.0
window_s = {WINDOW_S}
lateness_s = 0.0
max_gap_s = 2.0
"""


class Gateway:
    """`assets` in `folder`, fed by `broker`. `rules`: that many, each with its share of the assets."""

    def __init__(self, folder: Path, broker: Broker, n_assets: int, rules: int = 0) -> None:
        self.folder = folder
        self.broker = broker
        self.assets = [f"rig-{n}" for n in range(n_assets)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rig.toml").write_text(PROFILE)
        (folder / "tocsin.toml").write_text("\n".join(self._config(rules)))
        (folder / "state").mkdir(exist_ok=True)
        bundle = self._bundle()
        store = SlotStore(folder / "state")
        store.store(digest(bundle), bundle)
        store.put("rig", ProfileSlots(active=Held("rig-v1", digest(bundle), 50.0)))

    def _config(self, rules: int) -> Iterable[str]:
        yield f'[device]\nid = "bench"\nstate_dir = "state"\n\n[[mqtt]]\nname = "plant"\nport = {self.broker.port}'
        yield 'topics = ["plant/{asset}"]\n'
        yield from (f'[[assets]]\nid = "{asset}"\nprofile = "rig"' for asset in self.assets)
        for n in range(rules):
            yield f'[[actions]]\nname = "tell-{n}"\non = "alert"\nwhen = ["opened", "closed"]'
            yield 'per = "asset"\nmin_interval_s = 0'
            yield f"max_per_hour = 1000\nassets = {json.dumps(self.assets[n::rules])}"
            yield f'[actions.mqtt]\nport = {self.broker.port}\ntopic = "alarm/{{asset}}"\nretain = false'

    def _bundle(self) -> bytes:
        profile = load_profile("rig", self.folder)
        inputs = np.random.default_rng(3).normal(size=(8, 18)).astype(np.float32)
        detector = TfliteAutoencoder(MODEL.read_bytes(), 8.0)
        golden = Golden(inputs, np.array([detector.score(z).score for z in inputs]))
        manifest = Manifest(
            bundle_id="rig-v1", profile="rig", version=1, created_ns=time.time_ns(), spec_hash=profile.spec_hash, n_features=18,
            model_sha256="0" * 64, golden_sha256="0" * 64,
        )  # fmt: skip
        return pack_bundle(manifest, MODEL.read_bytes(), golden, {"made for": "benchmarks"})

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The agent's process, from its start; it may not be ready yet."""
        command = [sys.executable, "-m", "tocsin", "agent", "run", "--config", str(self.folder / "tocsin.toml")]
        with (self.folder / "log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as agent:
            try:
                yield agent
            finally:
                agent.terminate()

    def status(self) -> dict[str, Any] | None:
        """None while it does not answer."""
        with suppress(json.JSONDecodeError):
            return ask(self.folder / "state")
        return None

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Until it listens to the broker."""
        wait(lambda: (s := self.status()) is not None and s["sources"]["plant"]["link"] == "up", timeout_s, "the agent")


def wait(condition: Any, timeout_s: float, what: str, pause_s: float = 0.02) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(pause_s)


def client(broker: Broker) -> paho.Client:
    """Connected, with a thread of its own."""
    made = paho.Client(CallbackAPIVersion.VERSION2)
    made.max_inflight_messages_set(1000)
    made.connect(broker.host, broker.port)
    made.loop_start()
    return made


class Machine:
    """What one rig sends: a message a window, whose last reading is that window's end."""

    def __init__(self, seed: int, t0_s: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.end_s = t0_s - t0_s % WINDOW_S

    def window(self, wrong: bool = False) -> tuple[int, bytes]:
        """(its end, Unix s; the message). `wrong`: nothing like the windows before."""
        self.end_s += WINDOW_S
        flow = 40 + self._rng.normal(0, 0.3, WINDOW_S)
        pressure = 4 + 0.1 * (flow - 40) + self._rng.normal(0, 0.02, WINDOW_S)
        temperature = 55 + self._rng.normal(0, 0.1, WINDOW_S)
        if wrong:
            flow, pressure = flow * 0.5, pressure + self._rng.normal(0, 2.0, WINDOW_S)
        values = {"flow": flow, "pressure": pressure, "temperature": temperature}
        said = {"t": self.end_s - WINDOW_S + 1, "period_ms": 1000, **{k: np.round(v, 3).tolist() for k, v in values.items()}}
        return self.end_s, json.dumps(said).encode()


def cpu_s(pid: int) -> float:
    """User and system time of a process, its threads included, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
