"""A fleet in real time: real terminals, a real broker, faults injected while it runs."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import psutil
import pytest
import serial
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.fleet import Fleet, LocalFleet
from firmware_sim.fleet_process import ProcessFleet
from firmware_sim.links.broker import Broker, start_broker
from firmware_sim.scenario import AssetPlan, FaultPlan, Scenario
from models.errors import ConfigError, LinkError
from tests.sim.held_clock import HeldClock
from tests.sim.reading import read_serial, read_to_hang_up
from tests.waiting import wait_until

T0_NS = 1_700_000_000_000_000_000
SCENARIO = Scenario(
    assets=(AssetPlan(name="pump-1"), AssetPlan(name="pump-2", link="mqtt", format="object")),
    speed=20,
)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with start_broker() as running:
        yield running


@pytest.fixture(params=[LocalFleet, ProcessFleet])
def fleet(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> Iterator[Fleet]:
    with request.param(SCENARIO, (broker.host, broker.port), tmp_path / "ports", T0_NS) as running:
        yield running


def lines_of(port: serial.Serial, n_bytes: int = 4000) -> list[dict[str, float]]:
    whole = read_serial(port, n_bytes).split(b"\n")[1:-1]
    return [msgspec.json.decode(line) for line in whole]


def test_serial_asset_is_read_at_its_stable_name_in_event_time(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.addresses()["pump-1"] == str(tmp_path / "ports" / "pump-1")
    with serial.Serial(fleet.addresses()["pump-1"], timeout=0.05) as port:
        lines = lines_of(port)
    times = [line["t"] for line in lines]
    assert [round((b - a) * 5, 3) for a, b in itertools.pairwise(times)] == [1.0] * (len(times) - 1)
    assert T0_NS < times[-1] * 1e9 <= fleet.now_ns()


def test_mqtt_asset_is_heard_on_its_topic(fleet: Fleet, broker: Broker) -> None:
    got: list[mqtt.MQTTMessage] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _d, message: got.append(message)
    client.on_connect = lambda c, *_: c.subscribe("plant/+", qos=1)
    client.connect(broker.host, broker.port)
    client.loop_start()
    wait_until(lambda: len(got) > 20)
    client.disconnect()
    client.loop_stop()
    assert {message.topic for message in got} == {"plant/pump-2"}
    assert set(msgspec.json.decode(got[-1].payload)) == {"t", "flow", "pressure", "current", "temperature", "vibration"}


def test_event_time_runs_at_the_scenarios_speed(fleet: Fleet) -> None:
    def asked() -> tuple[int, int, int]:
        """Event time, and real time before and after it was asked for: this process may be held up in between."""
        before_ns = time.monotonic_ns()
        return fleet.now_ns(), before_ns, time.monotonic_ns()

    first = asked()
    threading.Event().wait(0.2)
    then = asked()
    passed_ns = then[0] - first[0]
    assert 0.99 * 20 * (then[1] - first[2]) <= passed_ns <= 1.01 * 20 * (then[2] - first[1])


def test_injected_fault_is_seen_on_the_wire_and_in_the_truth_and_ends_when_cleared(fleet: Fleet) -> None:
    with serial.Serial(fleet.addresses()["pump-1"], timeout=0.05) as port:
        healthy = max(line["vibration"] for line in lines_of(port))
        event = fleet.inject("pump-1", "imbalance", 1.0, ramp_s=0)
        assert T0_NS < event.start_ns <= fleet.now_ns() + 10**9
        wait_until(lambda: any(line["vibration"] > 2 * healthy for line in lines_of(port, 500)))
        assert fleet.clear("pump-1") == 1
        wait_until(lambda: all(line["vibration"] < 2 * healthy for line in lines_of(port, 500)))
    (told,) = fleet.truth()
    assert told.start_ns == event.start_ns
    assert told.end_ns is not None
    assert event.start_ns < told.end_ns <= fleet.now_ns()


def test_impossible_injection_is_refused_and_the_fleet_goes_on(fleet: Fleet) -> None:
    with pytest.raises(ConfigError, match="did you mean 'blockage'"):
        fleet.inject("pump-1", "blokage")
    with pytest.raises(ConfigError, match="one of pump-1, pump-2"):
        fleet.inject("pump-9", "blockage")
    assert fleet.truth() == []
    fleet.inject("pump-2", "stuck", channel="flow")


def test_pulled_cable_hangs_up_and_time_goes_on(fleet: Fleet) -> None:
    with serial.Serial(fleet.addresses()["pump-1"], timeout=0.05) as port:
        before = lines_of(port)[-1]["t"]
        fleet.unplug("pump-1")
        with pytest.raises(serial.SerialException):
            wait_until(lambda: port.read(1) == b"never")
    fleet.plug("pump-1")
    with serial.Serial(fleet.addresses()["pump-1"], timeout=0.05) as port:
        assert lines_of(port)[0]["t"] > before + 0.2


def test_stopped_process_fleet_leaves_no_process_and_says_so(broker: Broker) -> None:
    fleet = ProcessFleet(SCENARIO, (broker.host, broker.port))
    fleet.start()
    pid = fleet.pid
    fleet.stop()
    assert not psutil.pid_exists(pid or 0)
    with pytest.raises(LinkError, match="not running"):
        fleet.truth()


def test_killed_process_fleet_is_an_error_for_whoever_asks_next(broker: Broker) -> None:
    fleet = ProcessFleet(SCENARIO, (broker.host, broker.port))
    fleet.start()
    psutil.Process(fleet.pid).kill()
    with pytest.raises(LinkError, match="has ended"):
        fleet.truth()
    fleet.stop()


@pytest.mark.parametrize("kind", [LocalFleet, ProcessFleet])
def test_mqtt_asset_without_a_broker_is_refused_and_nothing_is_left(
    kind: type[LocalFleet] | type[ProcessFleet], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="pump-2: the address of a broker"):
        kind(SCENARIO, ports=tmp_path / "ports").start()
    assert list((tmp_path / "ports").iterdir()) == []


def test_fleet_ends_with_its_scenario(tmp_path: Path) -> None:
    short = Scenario(assets=(AssetPlan(name="pump-1"),), speed=100, duration_s=20)
    with LocalFleet(short) as fleet:
        assert fleet.wait(60)


def test_a_cable_that_the_scenario_pulls_is_out_for_its_time_and_the_port_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HeldClock(monkeypatch)
    unplugged = FaultPlan(asset="pump-1", kind="unplugged", start_s=40.0, end_s=80.0)
    scenario = Scenario(assets=(AssetPlan(name="pump-1"),), faults=(unplugged,), speed=40)
    with LocalFleet(scenario, None, tmp_path / "ports", T0_NS) as fleet:
        with serial.Serial(fleet.addresses()["pump-1"], timeout=0.05) as port:
            clock.run_to(60 / 40)
            read_to_hang_up(port)
        assert 40e9 <= fleet.now_ns() - T0_NS < 80e9
        clock.run_on()
        wait_until(Path(fleet.addresses()["pump-1"]).exists, what="the port is back")
        with serial.Serial(fleet.addresses()["pump-1"], timeout=0.05) as port:
            assert min(line["t"] for line in lines_of(port)) * 1e9 >= T0_NS + 80e9
    (event,) = fleet.truth()
    assert (event.fault, event.kind, event.end_ns) == ("unplugged", "link", T0_NS + round(80e9))
