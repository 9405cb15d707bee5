"""A broker that is gone for an hour of event time: a real one, stopped and started again, under the real source and committer.

The machine goes on meanwhile. Its publisher keeps what it cannot send and sends it once the broker is back, each reading with
its own time, so that no real hour has to pass; or it does not, and the hour is missing. The agent's clock is turned by hand.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agent.asset import AssetWatch
from agent.backoff import Backoff
from agent.pipeline import Pipeline
from agent.silence import SilenceMonitor
from agent.sources.config import MqttConfig
from agent.sources.mqtt import MqttSource
from agent.sources.source import Burst
from agent.storage.committer import Committer
from agent.storage.holding import Holding
from agent.uplink.set_aside import SetAside
from agent.uplink.sync import Sync
from models.contract.clock import NS_PER_S
from models.contract.items import Aggregate, Alert, Body, SensorFault
from tests.agent.hub_in_memory import MemoryHub
from tests.agent.outboxes import open_outbox, shut, stored_items
from tests.builders import RATE_HZ, T0_NS, TurnedClock, rig, running, signing_key
from tests.sources.conftest import Broker
from tests.sources.test_mqtt import publish_to
from tests.waiting import wait_until

CHANNELS = ("flow", "pressure", "temperature")
PER_WINDOW = 150
GONE_S, BACK_S = 605, 4205  # the broker goes while a window is open


class Gateway:
    """An agent's parts, driven by the test: what the source delivers is taken, and time passes, when it says so."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self.clock = TurnedClock()
        self.outbox = open_outbox(path)
        self.pipeline = Pipeline([AssetWatch("rig-1", rig(30))])
        self.committer = Committer(Holding(self.outbox), self.pipeline, self.clock, lambda *_: None)
        self.committer.resume()
        self._silence = SilenceMonitor()
        self._inbox: queue.Queue[Burst] = queue.Queue()
        self._config = MqttConfig(name="plant", port=port, topics=("plant/{asset}",))
        self.hub = MemoryHub()
        set_aside = SetAside(path.parent)
        self._sync = Sync(self.outbox, self.hub, self.clock, "dev-1", signing_key().sign, set_aside)
        self.start_source()

    def start_source(self) -> None:
        self.source = MqttSource(
            self._config, lambda: self.clock.now().wall_ns, {"rig-1": CHANNELS}, "dev-1", Backoff(0.02, 0.1)
        )
        self.source.start(self._inbox.put)
        wait_until(lambda: self.source.state.link == "up", what=self.source.state.detail)

    def take_until(self, newest_s: float) -> None:
        """Take in what comes, up to the reading of that time."""
        while (self.pipeline.assets["rig-1"].windower.newest_ns or 0) < T0_NS + newest_s * NS_PER_S:
            self.committer.take(self._inbox.get(timeout=60), ())

    def turn(self, to_s: float) -> None:
        """Let the time pass, a second at a time."""
        while self.clock.now_s < to_s:
            self.clock.now_s = min(to_s, self.clock.now_s + 1.0)
            self.tick()

    def tick(self) -> None:
        while not self._inbox.empty():
            self.committer.take(self._inbox.get(), ())
        self.committer.tick(self._silence.tick(self.pipeline.assets.values(), self.clock.now()))

    def told(self) -> list[Body]:
        """What the hub has once everything is sent: every number once, and nothing left on disk."""
        self._sync.drain()
        assert stored_items(self.path) == []
        for lane, bodies in self.hub.bodies.items():
            assert list(bodies) == list(range(1, self.hub.cursors[lane] + 1)), f"{lane} has a hole"
        return [body for bodies in self.hub.bodies.values() for body in bodies.values()]

    def windows(self) -> dict[int, tuple[int, int]]:
        """(readings, late ones) by start of the window, s."""
        found = [body for body in self.told() if isinstance(body, Aggregate)]
        by_start = {(body.start_ns - T0_NS) // NS_PER_S: (body.n_readings, body.n_late) for body in found}
        assert len(by_start) == len(found), "no window is there twice"
        return by_start

    def close(self) -> None:
        self.source.stop()
        shut(self.outbox)


Say = Callable[[float, float], None]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds for which this process is held up are not taken for a broker that waits for acknowledgements."""
    monkeypatch.setattr("agent.sources.mqtt_session.STALL_S", 3600.0)


@pytest.fixture(params=[True, False], ids=["persistent", "forgetful"])
def persistent(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def broker(tmp_path: Path, persistent: bool) -> Iterator[Broker]:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker", "allow_anonymous true\n")
    if persistent:
        config = tmp_path / "broker" / "mosquitto.conf"
        where = f"persistence true\npersistence_location {tmp_path / 'broker'}/\n"
        config.write_text(config.read_text().replace("persistence false\n", where))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def gateway(broker: Broker, outbox_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(outbox_path, broker.port)
    yield gateway
    gateway.close()


@pytest.fixture
def say(broker: Broker) -> Say:
    def say(start_s: float, end_s: float) -> None:
        """Publish what the machine's sensors say in that time."""
        rows = running(end_s - start_s, 0, start_s).tolist()
        times = [T0_NS // 10**6 + round((start_s + (i + 1) / RATE_HZ) * 1000) for i in range(len(rows))]
        messages = [
            json.dumps({"t_ms": t, **dict(zip(CHANNELS, row, strict=True))}) for t, row in zip(times, rows, strict=True)
        ]
        publish_to(broker.port, "plant/rig-1", *messages)

    return say


def run_until_the_broker_goes(gateway: Gateway, broker: Broker, say: Say) -> None:
    for start_s in [*range(0, 600, 60), 600]:
        end_s = min(start_s + 60, GONE_S)
        gateway.clock.now_s = end_s
        say(start_s, end_s)
        gateway.take_until(end_s)
        gateway.tick()
    broker.stop()
    wait_until(lambda: gateway.source.state.link == "down")
    gateway.turn(BACK_S)


def silences(bodies: Sequence[Body]) -> list[tuple[float, float | None]]:
    """(opened, closed) of each time that the asset is told to be silent, s."""
    faults = [body for body in bodies if isinstance(body, SensorFault) and body.fault == "missing" and not body.channel]
    ends = {fault.fault_id: fault.closed_ns for fault in faults}
    starts = {fault.fault_id: fault.opened_ns for fault in faults}
    return [((starts[i] - T0_NS) / 1e9, None if end is None else (end - T0_NS) / 1e9) for i, end in ends.items()]


def whole(*spans: tuple[int, int]) -> dict[int, tuple[int, int]]:
    return {start_s: (PER_WINDOW, 0) for first, end in spans for start_s in range(first, end, 10)}


@pytest.mark.slow
def test_an_hour_that_is_sent_afterwards_is_there_to_the_reading(gateway: Gateway, broker: Broker, say: Say) -> None:
    run_until_the_broker_goes(gateway, broker, say)
    assert gateway.windows() == {**whole((0, 600)), 600: (75, 0)}, "silence has closed the window that was open"
    assert silences(gateway.told()) == [(GONE_S, None)]
    broker.start()
    wait_until(lambda: gateway.source.state.link == "up")
    say(GONE_S, 4500)
    gateway.take_until(4500)
    gateway.turn(4510)
    windows = gateway.windows()
    assert windows == {**whole((0, 4500)), 600: (75, 0), 610: (PER_WINDOW, 75)}, "what came too late for its window is told"
    assert sum(n + late for n, late in windows.values()) == gateway.pipeline.counters.readings
    told = gateway.told()
    assert [start for start, end in silences(told) if end is not None] == [GONE_S]
    assert not [body for body in told if isinstance(body, Alert)], "a broker that is gone is no machine that fails"


@pytest.mark.slow
def test_an_hour_that_nobody_kept_is_a_gap_and_all_around_it_is_exact(gateway: Gateway, broker: Broker, say: Say) -> None:
    run_until_the_broker_goes(gateway, broker, say)
    broker.start()
    wait_until(lambda: gateway.source.state.link == "up")
    say(4210, 4500)
    gateway.take_until(4500)
    gateway.turn(4510)
    told = gateway.told()
    assert gateway.windows() == {**whole((0, 600), (4210, 4500)), 600: (75, 0)}
    assert [start for start, end in silences(told) if end is not None] == [GONE_S]
    assert not [body for body in told if isinstance(body, Alert)]


def test_what_a_broker_had_queued_survives_its_restart_if_it_persists_and_is_a_gap_if_not(
    gateway: Gateway, broker: Broker, say: Say, persistent: bool
) -> None:
    gateway.clock.now_s = 25
    say(0, 25)
    gateway.take_until(25)
    gateway.tick()
    gateway.source.stop()  # what follows waits at the broker
    say(25, 55)
    broker.stop()
    broker.start()
    gateway.start_source()
    gateway.clock.now_s = 80
    if persistent:
        gateway.take_until(55)
    say(60, 80)
    gateway.take_until(80)
    gateway.turn(95)
    if persistent:
        assert gateway.windows() == {**whole((0, 50)), 50: (75, 0), **whole((60, 80))}
    else:
        assert gateway.windows() == {**whole((0, 20)), 20: (75, 0), **whole((60, 80))}


def test_what_waited_for_its_window_when_a_broker_forgot_it_is_written_down(
    gateway: Gateway, broker: Broker, say: Say, persistent: bool
) -> None:
    """Nobody else has it any more: a power cut would lose it."""
    gateway.clock.now_s = 25
    say(0, 25)
    gateway.take_until(25)
    gateway.turn(26)
    broker.stop()
    wait_until(lambda: gateway.source.state.link == "down")
    broker.start()
    wait_until(lambda: gateway.source.state.link == "up")

    def journaled() -> int:
        gateway.tick()
        return int(gateway.outbox.database.connection.execute("SELECT count(*) FROM journal").fetchone()[0])

    if persistent:
        wait_until(lambda: gateway.source.state.counters["repeated"] >= 25, what="all of it to come again, and be known")
        assert journaled() == 0
    else:
        wait_until(journaled, what="the journal to have it")
        assert gateway.source.state.counters["repeated"] == 0
    gateway.clock.now_s = 35
    say(25, 35)
    gateway.take_until(35)
    gateway.turn(50)
    assert gateway.windows() == {**whole((0, 30)), 30: (75, 0)}
