"""From the reading that ends a window to the alert on the local broker: a real mosquitto, a real agent, an MQTT source and
rules that publish. The clock starts just before that reading is published to the broker, and stops when a subscriber has the
alert: two ways through the broker, decoding, window, features, int8 model, decision, commit to disk, rule and publishing.

Forty machines go wrong and right again in turn, so that alerts open and close all the time. Compared with the two ways through
the broker alone, and with a write that is synced to the same disk: what is durable before it is announced waits for that.
"""

from __future__ import annotations

import json
import os
import queue
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure
from benchmarks.gateway import COMMISSIONING, Gateway, Machine, client, wait
from firmware_sim.links.broker import Broker, start_broker

_ASSETS, _RULES, _ROUNDS = 40, 4, 12
_PER_S = 25.0  # windows that end
_WRONG, _RIGHT = 3, 3  # windows in a row


def run() -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder, start_broker("mosquitto") as broker:
        gateway = Gateway(Path(folder), broker, _ASSETS, _RULES)
        heard: dict[tuple[str, int], float] = {}
        subscriber = client(broker)

        def hear(_client: Any, _userdata: Any, message: Any) -> None:
            heard.setdefault(_which(message.payload), time.perf_counter())

        subscriber.on_message = hear
        subscriber.subscribe("alarm/#", 1)
        with gateway.running():
            gateway.wait_ready()
            sent = _play(gateway, broker)
            wait(lambda: len(heard) >= _expected(gateway), 30, "every alert to be published")
        waits_ms = [1e3 * (heard[key] - sent[key]) for key in heard if key in sent]
        bare_ms = _through_the_broker(broker)
        synced_ms = _written_and_synced(Path(folder) / "file")
        subscriber.disconnect()
        subscriber.loop_stop()
    assert len(waits_ms) == len(heard) >= _ASSETS * _ROUNDS, f"{len(heard)} alerts, {len(waits_ms)} of known windows"
    name = "window end to alert on the broker"
    yield Figure(name=f"{name}, 99 of 100", value=_p99(waits_ms), unit="ms", goal=50, better="lower")
    yield Figure(name=f"{name}, median", value=statistics.median(waits_ms), unit="ms", better="lower")
    yield Figure(name=f"{name}, worst", value=max(waits_ms), unit="ms", better="lower")
    yield Figure(name="alerts opened and closed", value=len(waits_ms), unit="alerts")
    yield Figure(name="compare: publisher to subscriber twice, 99 of 100", value=_p99(bare_ms), unit="ms", better="lower")
    yield Figure(name="compare: 4 kB written and synced, 99 of 100", value=_p99(synced_ms), unit="ms", better="lower")


def _play(gateway: Gateway, broker: Broker) -> dict[tuple[str, int], float]:
    """When the message that ends each window was published, by asset and window's end (s)."""
    publisher = client(broker)
    machines = {asset: Machine(n, int(time.time()) - 100_000) for n, asset in enumerate(gateway.assets)}
    for _ in range(COMMISSIONING + 3):
        for asset, machine in machines.items():
            publisher.publish(f"plant/{asset}", machine.window()[1], qos=1)
    wait(lambda: all(a["state"] == "normal" for a in _status(gateway)["assets"].values()), 60, "commissioning")
    sent = {}
    next_s = time.perf_counter()
    for wrong in _story():
        for asset, machine in machines.items():
            time.sleep(max(0.0, next_s - time.perf_counter()))
            next_s += 1 / _PER_S
            end_s, message = machine.window(wrong)
            sent[asset, end_s] = time.perf_counter()
            publisher.publish(f"plant/{asset}", message, qos=1)
    publisher.disconnect()
    publisher.loop_stop()
    return sent


def _story() -> Iterator[bool]:
    for _ in range(_ROUNDS):
        yield from [True] * _WRONG
        yield from [False] * _RIGHT


def _status(gateway: Gateway) -> dict[str, Any]:
    status = gateway.status()
    assert status is not None
    return status


def _expected(gateway: Gateway) -> int:
    """Actions done so far; the agent is behind while any of them still waits."""
    return sum(rule.get("done", 0) for rule in _status(gateway)["actions"]["rules"].values()) or 1


def _which(payload: bytes) -> tuple[str, int]:
    event = json.loads(payload)
    return event["asset"], event["at_ns"] // 10**9


def _through_the_broker(broker: Broker, n: int = 300) -> list[float]:
    arrived: queue.SimpleQueue[float] = queue.SimpleQueue()
    publisher, subscriber = client(broker), client(broker)
    subscriber.on_message = lambda *_: arrived.put(time.perf_counter())
    subscriber.subscribe("bare", 1)
    time.sleep(0.5)
    waits = []
    for _ in range(n):
        started_s = time.perf_counter()
        for _ in range(2):
            publisher.publish("bare", b"x" * 500, qos=1)
            done_s = arrived.get(timeout=10)
        waits.append(1e3 * (done_s - started_s))
        time.sleep(0.01)
    for each in (publisher, subscriber):
        each.disconnect()
        each.loop_stop()
    return waits


def _written_and_synced(path: Path, n: int = 300) -> list[float]:
    waits = []
    with path.open("wb", buffering=0) as file:
        for _ in range(n):
            started_s = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            waits.append(1e3 * (time.perf_counter() - started_s))
    return waits


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
