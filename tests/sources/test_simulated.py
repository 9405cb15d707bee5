"""Machines of the simulator that answer: the agent's own sources read them as they would read a PLC or an edge node."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.backoff import Backoff
from agent.sources.config import ModbusConfig, MqttConfig, Register, SparkplugAsset
from agent.sources.modbus import ModbusSource
from agent.sources.mqtt import MqttSource
from agent.sources.source import Source
from firmware_sim.fleet import LocalFleet
from firmware_sim.links.broker import Broker, start_broker
from firmware_sim.scenario import AssetPlan, FaultPlan, Scenario
from models.errors import ConfigError
from tests.sim.held_clock import HeldClock
from tests.sources.conftest import NOW_NS, Recorder
from tests.waiting import wait_until

CHANNELS = ["flow", "pressure", "current", "temperature", "vibration"]
KNOWN = {"pump-1": CHANNELS}
PLAUSIBLE = {"flow": (30, 80), "pressure": (1, 6), "current": (5, 40), "temperature": (15, 80), "vibration": (0.5, 4)}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with start_broker() as running:
        yield running


def scenario(form: str, *faults: FaultPlan, speed: float = 20) -> Scenario:
    plan = AssetPlan(name="pump-1", link="mqtt" if form == "sparkplug" else "modbus", format=form)
    return Scenario(assets=(plan,), faults=faults, speed=speed)


def source_for(form: str, address: str, broker: Broker) -> Source:
    registers = tuple(Register(channel=name, address=2 * i, function=4, type="float32") for i, name in enumerate(CHANNELS))
    polled = {"name": "plc", "asset": "pump-1", "registers": registers, "interval_s": 0.05, "timeout_s": 5.0}
    if form == "tcp":
        host, port = address.split(":")
        return ModbusSource(ModbusConfig(host=host, port=int(port), **polled), lambda: NOW_NS, KNOWN, Backoff(0.02, 0.1))
    if form == "rtu":
        where = {"serial_port": address, "parity": "none", "baud": 115_200}
        return ModbusSource(ModbusConfig(**polled | where), lambda: NOW_NS, KNOWN, Backoff(0.02, 0.1))
    asset = SparkplugAsset(id="plant/edge-pump-1/pump-1", asset="pump-1")
    config = MqttConfig(name="cell", host=broker.host, port=broker.port, payload="sparkplug", sparkplug=(asset,))
    return MqttSource(config, lambda: NOW_NS, KNOWN, "gw-test", Backoff(0.02, 0.1))


def finite(recorder: Recorder) -> list[tuple[str, float]]:
    return [(channel, value) for _, channel, _, value in recorder.rows if math.isfinite(value)]


@pytest.mark.parametrize("form", ["tcp", "rtu", "sparkplug"])
def test_the_agent_reads_a_simulated_machine(form: str, broker: Broker, recorder: Recorder, tmp_path: Path) -> None:
    with LocalFleet(scenario(form), (broker.host, broker.port), tmp_path / "ports") as fleet:
        source = source_for(form, fleet.addresses()["pump-1"], broker)
        source.start(recorder)
        try:
            wait_until(lambda: len({channel for channel, _ in finite(recorder)}) == 5 and len(finite(recorder)) > 50)
        finally:
            source.stop()
    for channel, value in finite(recorder):
        low, high = PLAUSIBLE[channel]
        assert low < value < high, channel


@pytest.mark.parametrize("form", ["tcp", "sparkplug"])
def test_a_cable_that_is_pulled_by_plan_is_a_link_that_is_down(
    form: str, broker: Broker, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unplugged = FaultPlan(asset="pump-1", kind="unplugged", start_s=60.0, end_s=120.0)
    clock = HeldClock(monkeypatch)
    with LocalFleet(scenario(form, unplugged, speed=40), (broker.host, broker.port), tmp_path / "ports") as fleet:
        source = source_for(form, fleet.addresses()["pump-1"], broker)
        source.start(recorder)
        try:
            wait_until(lambda: source.state.link == "up")
            clock.run_to(59 / 40)
            wait_until(lambda: len(finite(recorder)) > 10)
            clock.run_to(90 / 40)
            told = (lambda: source.state.link != "up") if form == "tcp" else (lambda: "dead" in source.state.detail)
            wait_until(told, what="the link or its node is told to be down")
            clock.run_on()
            wait_until(lambda: source.state.link == "up" and "dead" not in source.state.detail, what="it is up again")
            before = len(finite(recorder))
            wait_until(lambda: len(finite(recorder)) > before + 10)
        finally:
            source.stop()


def test_faults_that_cannot_be_played_over_such_a_link_are_refused() -> None:
    from firmware_sim.scenario import check_fault

    for form in ("tcp", "sparkplug"):
        with pytest.raises(ConfigError, match="unplugged: no other fault of the line"):
            check_fault(scenario(form).assets[0], "torn_frames", None, "here")
        check_fault(scenario(form).assets[0], "stuck", "flow", "here")
