"""The whole device under MQTT load: broker, agent with windows, features and int8 scoring, everything acknowledged once stored.

Ten assets with eight channels at 25 Hz, windows of 10 s, event time ten times as fast as the clock at 20,000 messages a second,
so ten windows a second are scored by an int8 model. The agent is bound to one core, broker and publisher to another. Compared
with a bare paho subscriber on the same core, which only counts what the same broker sends it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.status.control import ask
from agent.uplink.slots import Held, ProfileSlots, SlotStore
from benchmarks.figure import Figure
from benchmarks.mqtt_load import Load, Sent
from firmware_sim.links.broker import start_broker
from hub.training.exporter import export_int8
from hub.training.keras_dense import KerasDense
from models.bundle.archive import Golden, digest, pack_bundle
from models.bundle.manifest import Manifest
from models.contract.config import load_profile
from models.detectors.autoencoder import TfliteAutoencoder
from models.features.spec import FeatureSpec

N_ASSETS, N_CHANNELS, RATE_HZ, WINDOW_S = 10, 8, 25.0, 10.0
_COMMISSIONING = 20
_START_NS = 1_800_000_000_000_000_000
_HELD_PER_S, _HELD_FOR_S = 21_000, 60.0
_PROFILE = f"""\
name = "plant"
[windowing]
rate_hz = {RATE_HZ}
window_s = {WINDOW_S}
[features]
per_channel = ["mean", "std", "range", "slope", "roughness"]
cross = ["correlation"]
[commissioning]
windows = {_COMMISSIONING}
""" + "".join(f'[[channels]]\nname = "c{c}"\n' for c in range(N_CHANNELS))
_COUNTING = """
import sys, time
import paho.mqtt.client as paho
n = 0
def count(client, userdata, message):
    global n
    n += 1
client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="counter", clean_session=False)
client.on_connect = lambda client, *_: client.subscribe("plant/#", 1)
client.on_message = count
client.connect("127.0.0.1", int(sys.argv[1]))
client.on_subscribe = lambda *_: print("ready", flush=True)
last, still = 0, time.monotonic()
while not n or time.monotonic() - still < 1.0:
    client.loop(0.1)
    if n != last:
        if not last: began = time.monotonic()
        last, still = n, time.monotonic()
print(n / (still - began), flush=True)
"""


class Device:
    """An agent on core 0, with its model in its slot. `at_ns`: up to where its readings have come."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.at_ns = _START_NS
        self._port = port
        (folder / "plant.toml").write_text(_PROFILE)
        assets = "".join(f'[[assets]]\nid = "asset-{a}"\nprofile = "plant"\n' for a in range(N_ASSETS))
        source = f'[[mqtt]]\nname = "plant"\nport = {port}\ntopics = ["plant/{{asset}}/{{channel}}"]\n'
        self.config = folder / "tocsin.toml"
        self.config.write_text(f'[device]\nid = "bench"\nstate_dir = "state"\n{source}{assets}')
        self._put_model()

    def _put_model(self) -> None:
        """A model trained on noise: what it says is of no interest here, what it costs is that of a real one."""
        profile = load_profile("plant", self.folder)
        n_features = FeatureSpec(profile).n_features
        z = np.random.default_rng(1).standard_normal((400, n_features)).astype(np.float32)
        model = export_int8(KerasDense(max_epochs=2).fit(z, z, 1, lambda _: None), z)
        golden_inputs = z[:8]
        detector = TfliteAutoencoder(model, 8.0)
        golden = Golden(golden_inputs, np.array([detector.score(row).score for row in golden_inputs]))
        manifest = Manifest(
            bundle_id="plant-v1", profile="plant", version=1, created_ns=0, spec_hash=profile.spec_hash,
            n_features=n_features, model_sha256="0" * 64, golden_sha256="0" * 64,
        )  # fmt: skip
        archive = pack_bundle(manifest, model, golden, {})
        slots = SlotStore(self.folder / "state")
        slots.store(digest(archive), archive)
        slots.put("plant", ProfileSlots(active=Held("plant-v1", digest(archive), 0.0)))

    def status(self) -> dict[str, Any]:
        return ask(self.folder / "state") or {}

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / "agent.log").open("ab") as log:
            command = [sys.executable, "-m", "tocsin", "agent", "run", "--config", str(self.config)]
            agent = subprocess.Popen(_on_core(0, command), stdout=log, stderr=log)
        try:
            _wait(lambda: self.status().get("sources", {}).get("plant", {}).get("link") == "up", "the agent to subscribe")
            yield agent
        finally:
            agent.terminate()
            agent.wait(30)

    def send(self, messages_per_s: float, seconds: float, block: int = 1) -> tuple[Sent, float]:
        """(what was sent, seconds from the first message until the agent had handled the last)."""
        before = self.status()["readings"]
        load = Load(
            n_assets=N_ASSETS, n_channels=N_CHANNELS, rate_hz=RATE_HZ, start_ns=self.at_ns, messages_per_s=messages_per_s,
            seconds=seconds, block=block,
        )  # fmt: skip
        sent = _publish(self._port, load)
        _wait(lambda: self.status()["readings"] - before >= sent.messages * block, "the agent to handle what was sent")
        self.at_ns = sent.end_ns
        return sent, time.monotonic() - sent.started_s


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder, start_broker("mosquitto") as broker:
        os.sched_setaffinity(broker.pid, {max(os.sched_getaffinity(0))})
        device = Device(Path(folder), broker.port)
        with device.running() as agent:
            device.send(20_000, (_COMMISSIONING + 2) * WINDOW_S * N_ASSETS * N_CHANNELS * RATE_HZ / 20_000)
            yield from _steady(device, agent.pid)
            yield from _ceilings(device, broker.port)
            status = device.status()
            yield Figure(name="windows scored by the int8 model meanwhile", value=status["windows"], unit="windows")
            yield Figure(name="readings lost", value=_lost(status), unit="readings", goal=0, better="lower")


def _steady(device: Device, pid: int) -> Iterable[Figure]:
    before_s = _cpu_s(pid)
    sent, took_s = device.send(_HELD_PER_S, _HELD_FOR_S)
    cpu_s = _cpu_s(pid) - before_s
    rate = sent.messages / took_s
    yield Figure(name="messages a second, held for 60 s, durable", value=rate, unit="msg/s", goal=20_000)
    yield Figure(name="the agent's CPU meanwhile, of one core", value=100 * cpu_s / took_s, unit="%", better="lower")
    before_s = _cpu_s(pid)
    _, took_s = device.send(1_000, 20.0)
    cpu_s = _cpu_s(pid) - before_s
    yield Figure(name="CPU at 1,000 messages a second", value=100 * cpu_s / took_s, unit="%", goal=15, better="lower")


def _ceilings(device: Device, port: int) -> Iterable[Figure]:
    sent, took_s = device.send(0, 10.0)
    ours = sent.messages / took_s
    yield Figure(name="messages a second at most", value=ours, unit="msg/s")
    bare = _bare(port, device.at_ns)
    yield Figure(name="compare: bare paho subscriber that only counts", value=bare, unit="msg/s")
    yield Figure(name="ours, of the bare subscriber's", value=100 * ours / bare, unit="%", goal=60)
    sent, took_s = device.send(0, 10.0, block=100)
    yield Figure(
        name="readings a second in messages of 100", value=100 * sent.messages / took_s, unit="readings/s", goal=500_000
    )


def _bare(port: int, at_ns: int) -> float:
    """The rate of paho's own loop at QoS 1 on core 0, acknowledging at once."""
    command = _on_core(0, [sys.executable, "-c", _COUNTING, str(port)])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as counter:
        assert counter.stdout is not None
        assert counter.stdout.readline() == "ready\n"
        other = Load(
            n_assets=N_ASSETS, n_channels=N_CHANNELS, rate_hz=RATE_HZ, start_ns=at_ns, messages_per_s=0, seconds=10.0
        )  # fmt: skip
        _publish(port, other)
        return float(counter.stdout.readline())


def _publish(port: int, load: Load) -> Sent:
    command = [sys.executable, "-m", "benchmarks.mqtt_load", str(port), msgspec.json.encode(load).decode()]
    done = subprocess.run(_on_core(1, command), capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Sent)


def _lost(status: dict[str, Any]) -> int:
    source = status["sources"]["plant"]
    return int(source["readings"] - status["readings"] + source["frame_errors"] + source["unknown"])


def _on_core(core: int, command: list[str]) -> list[str]:
    """`command`, bound to that core, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(cores[core % len(cores)]), *command]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait(condition: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
