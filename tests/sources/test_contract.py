"""What every source owes to the pipeline (`agent.sources.source`), on each of them, over real links."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import paho.mqtt.publish as paho_publish
import pytest

from agent.backoff import Backoff
from agent.sources import host, link
from agent.sources.config import (
    HostConfig,
    ModbusConfig,
    MqttConfig,
    Register,
    SerialConfig,
    SparkplugAsset,
    SysfsConfig,
    SysfsSensor,
)
from agent.sources.host import HostSource, take_sample
from agent.sources.modbus import ModbusSource
from agent.sources.mqtt import MqttSource
from agent.sources.serial_port import SerialSource
from agent.sources.source import Source
from agent.sources.sysfs import SysfsSource
from firmware_sim.firmware.sparkplug import EdgeNode
from firmware_sim.links.modbus import ModbusLine, ModbusPeer
from firmware_sim.links.sysfs import SensorTree
from tests.sources.conftest import KNOWN, NOW_NS, Port, Recorder
from tests.waiting import wait_until

FAST = Backoff(0.02, 0.1)


@dataclass
class Bench:
    """A source and the world around it. `feed` makes something arrive; `cut` and `mend` the link."""

    source: Source
    feed: Callable[[], None]
    cut: Callable[[], None]
    mend: Callable[[], None]


def serial_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    port: Port = request.getfixturevalue("port")
    config = SerialConfig(name="line", port=str(port.path), asset="pump-1")

    def feed() -> None:
        with suppress(OSError):  # while it is unplugged
            os.write(port.master, b'{"flow": 1}\n')

    return Bench(SerialSource(config, lambda: NOW_NS, KNOWN, FAST), feed, port.unplug, port.plug_in)


def mqtt_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    broker = request.getfixturevalue("broker")
    config = MqttConfig(name="plant", port=broker.port, topics=("plant/{asset}/{channel}",))

    def feed() -> None:
        with suppress(OSError):  # while the broker is down
            paho_publish.single("plant/pump-1/flow", b"1", qos=1, port=broker.port)

    return Bench(MqttSource(config, lambda: NOW_NS, KNOWN, "gw-1", FAST), feed, broker.stop, broker.start)


def host_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    broken = threading.Event()

    def sample() -> host.Sample:
        if broken.is_set():
            raise OSError("no /proc")
        return take_sample()

    monkeypatch.setattr(host, "take_sample", sample)
    source = HostSource(HostConfig(interval_s=0.1), lambda: NOW_NS, KNOWN, FAST)
    return Bench(source, lambda: None, broken.set, broken.clear)


def sparkplug_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    broker = request.getfixturevalue("broker")
    node = EdgeNode("plant", "edge-1", {"press-7": ("flow",)})
    asset = SparkplugAsset(id="plant/edge-1/press-7", asset="pump-1")
    config = MqttConfig(name="cell", port=broker.port, payload="sparkplug", sparkplug=(asset,))

    def feed() -> None:
        births = [(message.topic, message.payload, 0, False) for message in node.births(NOW_NS)]
        with suppress(OSError):  # while the broker is down
            paho_publish.multiple(births, port=broker.port)

    return Bench(MqttSource(config, lambda: NOW_NS, KNOWN, "gw-1", FAST), feed, broker.stop, broker.start)


def modbus_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    peer = ModbusPeer({1: {(3, 0): 1}})
    return polled(request, peer, host="127.0.0.1", port=peer.port)


def modbus_line_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    path = request.getfixturevalue("tmp_path") / "ttyBus"
    return polled(request, ModbusLine({1: {(3, 0): 1}}, path), serial_port=str(path), parity="none")


def polled(request: pytest.FixtureRequest, peer: ModbusPeer, **where: Any) -> Bench:
    peer.start()
    request.addfinalizer(peer.stop)
    config = ModbusConfig(
        name="plc", asset="pump-1", interval_s=0.05, timeout_s=5.0, registers=(Register(channel="flow", address=0),), **where
    )
    return Bench(ModbusSource(config, lambda: NOW_NS, KNOWN, FAST), lambda: None, peer.stop, peer.start)


def sysfs_bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    tree = SensorTree(request.getfixturevalue("tmp_path"))
    chips = [tree.add_hwmon("flow_meter", {"fan1_input": "1"})]
    config = SysfsConfig(
        name="board",
        asset="pump-1",
        interval_s=0.05,
        sensors=(SysfsSensor(channel="flow", sensor="flow_meter/fan1"),),
        hwmon_root=str(tree.hwmon_root),
        iio_root=str(tree.iio_root),
    )
    return Bench(
        SysfsSource(config, lambda: NOW_NS, KNOWN, FAST),
        lambda: None,
        lambda: tree.remove(chips.pop()),
        lambda: chips.append(tree.add_hwmon("flow_meter", {"fan1_input": "2"})),
    )


BENCHES = {
    "serial": serial_bench,
    "mqtt": mqtt_bench,
    "host": host_bench,
    "sparkplug": sparkplug_bench,
    "modbus-tcp": modbus_bench,
    "modbus-rtu": modbus_line_bench,
    "sysfs": sysfs_bench,
}


@pytest.fixture(params=BENCHES.values(), ids=BENCHES.keys())
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench: Bench = request.param(request, monkeypatch)
    yield bench
    bench.source.stop()


def up(bench: Bench) -> None:
    wait_until(lambda: bench.source.state.link == "up")


def runs(bench: Bench) -> bool:
    """Whether its thread has not come to its end."""
    return any(thread.name == f"source-{bench.source.name}" for thread in threading.enumerate())


def fed(bench: Bench, recorder: Recorder, n: int) -> None:
    """Feeds until `n` bursts have come in all."""

    def come() -> bool:
        if len(recorder.bursts) < n:
            bench.feed()
        return len(recorder.bursts) >= n

    wait_until(come)


def test_start_returns_at_once_also_where_the_link_is_down(bench: Bench, recorder: Recorder) -> None:
    bench.cut()
    began_s = time.monotonic()
    bench.source.start(recorder)
    assert time.monotonic() - began_s < 30
    wait_until(lambda: bench.source.state.detail not in ("", "not started"))
    assert bench.source.state.link == "connecting"


def test_deliver_is_called_from_one_thread_of_the_sources_own(bench: Bench, recorder: Recorder) -> None:
    bench.source.start(recorder)
    up(bench)
    fed(bench, recorder, 5)
    assert len(recorder.threads) == 1
    assert threading.get_ident() not in recorder.threads
    assert {burst.source for burst in recorder.bursts} == {bench.source.name}


def test_one_burst_at_a_time_while_the_pipeline_is_behind(bench: Bench, recorder: Recorder) -> None:
    recorder.gate.clear()
    bench.source.start(recorder)
    up(bench)
    fed(bench, recorder, 1)
    for _ in range(5):
        bench.feed()
    assert len(recorder.bursts) == 1
    recorder.gate.set()
    fed(bench, recorder, 2)


def test_nothing_is_delivered_after_stop(bench: Bench, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_STOP_S", 60.0)  # a thread that is held up is waited for
    bench.source.start(recorder)
    up(bench)
    fed(bench, recorder, 1)
    bench.source.stop()
    n = len(recorder.bursts)
    bench.feed()
    assert not runs(bench)
    assert len(recorder.bursts) == n


def test_stop_waits_no_longer_than_two_seconds_for_a_deliver_that_blocks_and_nothing_comes_after_it(
    bench: Bench, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.gate.clear()
    bench.source.start(recorder)
    up(bench)
    fed(bench, recorder, 1)
    bench.feed()
    waits_s: list[float] = []  # what it is ready to wait for, however long this machine takes
    join = threading.Thread.join

    def joined(thread: threading.Thread, timeout: float | None = None) -> None:
        waits_s.append(math.inf if timeout is None else timeout)
        join(thread, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", joined)
        bench.source.stop()
    assert 0 < sum(waits_s) < 2.0
    recorder.gate.set()
    wait_until(lambda: not runs(bench))
    assert len(recorder.bursts) == 1


def test_stop_while_the_link_is_down_ends_it(bench: Bench, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_STOP_S", 60.0)
    bench.cut()
    bench.source.start(recorder)
    wait_until(lambda: bench.source.state.detail not in ("", "not started"))
    bench.source.stop()
    assert not runs(bench)


def test_a_link_that_goes_down_shows_is_retried_and_delivers_again(bench: Bench, recorder: Recorder) -> None:
    bench.source.start(recorder)
    up(bench)
    fed(bench, recorder, 1)
    bench.cut()
    wait_until(lambda: bench.source.state.link == "down")
    down = bench.source.state
    assert down.detail
    assert down.since_ns == NOW_NS
    bench.mend()
    up(bench)
    assert bench.source.state.counters["reconnects"] == 1
    fed(bench, recorder, len(recorder.bursts) + 2)


def test_state_counts_what_was_delivered(bench: Bench, recorder: Recorder) -> None:
    bench.source.start(recorder)
    up(bench)
    fed(bench, recorder, 3)
    bench.source.stop()
    counters: dict[str, Any] = bench.source.state.counters
    assert {"readings", "bytes", "frame_errors", "unknown", "reconnects"} <= set(counters)
    assert counters["readings"] == len(recorder.rows)
    assert counters["bytes"] == sum(burst.n_bytes for burst in recorder.bursts)


def test_a_source_that_was_never_started_can_be_stopped(bench: Bench) -> None:
    assert bench.source.state.link == "connecting"
    bench.source.stop()
