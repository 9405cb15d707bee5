"""What the agent takes of a core while little happens: ten machines of three channels, a message a second each, QoS 1, with
windows, features, an int8 model and a rule for alerts. For a minute, after a start and commissioning that do not count.

Compared with a subscriber that only counts the same messages at the same time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from benchmarks.gateway import COMMISSIONING, Gateway, Machine, client, cpu_s, wait
from firmware_sim.links.broker import start_broker

_ASSETS, _FOR_S = 10, 60
_COUNTING = """
import sys
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
client = paho.Client(CallbackAPIVersion.VERSION2, client_id="counting", clean_session=False)
client.n = 0
def count(client, *_): client.n += 1
client.on_message = count
client.on_connect = lambda client, *_: client.subscribe("plant/#", 1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
"""


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder, start_broker("mosquitto") as broker:
        gateway, publisher = Gateway(Path(folder), broker, _ASSETS, rules=1), client(broker)
        now_s = int(time.time())
        with gateway.running() as agent:
            gateway.wait_ready()
            for n, asset in enumerate(gateway.assets):
                machine = Machine(n, now_s - (COMMISSIONING + 3) * 10)
                for _ in range(COMMISSIONING + 2):
                    publisher.publish(f"plant/{asset}", machine.window()[1], qos=1)
            wait(lambda: all(a["state"] == "normal" for a in gateway.status()["assets"].values()), 60, "commissioning")  # type: ignore[index]
            command = [sys.executable, "-c", _COUNTING, str(broker.port)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as counting:
                assert counting.stdout is not None
                counting.stdout.readline()
                before = cpu_s(agent.pid), cpu_s(counting.pid)
                _send(publisher, gateway.assets)
                took = cpu_s(agent.pid) - before[0], cpu_s(counting.pid) - before[1]
                counting.terminate()
            status = gateway.status()
        publisher.disconnect()
        publisher.loop_stop()
    assert status is not None
    assert status["windows"] >= _ASSETS * (COMMISSIONING + _FOR_S // 10 - 1), "not every message was handled"
    share = [100 * each / _FOR_S for each in took]
    yield Figure(name="10 assets at 1 Hz: the agent's share of a core", value=share[0], unit="%", goal=1, better="lower")
    yield Figure(name="compare: a subscriber that only counts the messages", value=share[1], unit="%", better="lower")


def _send(publisher: object, assets: list[str]) -> None:
    rng = np.random.default_rng(5)
    started_s = time.monotonic()
    for second in range(_FOR_S):
        for n, asset in enumerate(assets):
            time.sleep(max(0.0, started_s + second + n / len(assets) - time.monotonic()))
            flow = 40 + rng.normal(0, 0.3)
            values = {"flow": flow, "pressure": 4 + 0.1 * (flow - 40), "temperature": 55 + rng.normal(0, 0.1)}
            said = {"t": time.time(), **{k: round(float(v), 3) for k, v in values.items()}}
            publisher.publish(f"plant/{asset}", json.dumps(said), qos=1)  # type: ignore[attr-defined]
    time.sleep(max(0.0, started_s + _FOR_S - time.monotonic()))
