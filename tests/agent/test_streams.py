"""Channels watched reading by reading, through the agent's pipeline in virtual time: rare ones, alone and beside windows."""

from __future__ import annotations

import math
import signal
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.asset import AssetWatch, SavedState
from agent.pipeline import Pipeline
from agent.silence import is_silent
from agent.storage.chunk import pack, unpack
from agent.streams import SavedStreams, Streams
from models.contract.clock import NS_PER_S
from models.contract.items import (
    STREAMING,
    Aggregate,
    Alert,
    Body,
    ClockMark,
    Commissioning,
    Evidence,
    SensorFault,
    unpack_floats,
)
from models.contract.profile import BUILTIN_DIR, Channel, Profile, StreamingPlan, Windowing
from models.contract.reading import Block, Reading
from models.detectors.quality import CleanWindow
from models.quality.running import Phase
from models.quality.samples import Kept
from tests.agent.agent_process import CONFIG, AgentProcess, tocsin
from tests.agent.machine import only
from tests.builders import T0_NS
from tests.waiting import wait_until

HOUR_S = 3600
STORE = Profile(
    name="cold-store",
    channels=(Channel(name="temperature", unit="degC", min=-40.0, max=60.0, rate_hz=1 / HOUR_S),),
    windowing=Windowing(rate_hz=1.0, window_s=10.0),
    streaming=StreamingPlan(channels=("temperature",)),
)
USUAL = [3.0 + 2.0 * (n * 0.618034 % 1.0) for n in range(4000)]  # fills 3..5 ever more evenly: what is odd was made so


class Store:
    """`watch` and `pipeline` of one asset, a reading an hour; `hour` is how many have been due."""

    def __init__(self, profile: Profile = STORE, saved: SavedState | None = None, hour: int = 0) -> None:
        self.watch = AssetWatch("store-1", profile)
        if saved is not None:
            assert self.watch.restore(saved)
        self.pipeline = Pipeline([self.watch])
        self.hour = hour
        self.saved: SavedState | None = saved  # as the outbox has it

    @property
    def mono_ns(self) -> int:
        return self.hour * HOUR_S * NS_PER_S

    def run(self, values: Iterable[float]) -> list[Body]:
        """An hourly reading each, and the ticks after it. NaN: none comes."""
        bodies: list[Body] = []
        for value in values:
            if not math.isnan(value):
                reading = Reading("store-1", "temperature", T0_NS + self.mono_ns + 7, value)
                bodies += self._keep(self.pipeline.handle([reading], self.mono_ns))
            bodies += self._keep(self.pipeline.tick(self.mono_ns + 20 * NS_PER_S))
            self.hour += 1
        return bodies

    def _keep(self, outcome: object) -> list[Body]:
        self.saved = outcome.states.get("store-1", self.saved)  # type: ignore[attr-defined]
        return outcome.bodies  # type: ignore[attr-defined,no-any-return]

    def learned(self, n: int = 300) -> Store:
        assert only(Alert, self.run(USUAL[:n])) == []
        assert self.watch.state == "normal"
        return self


# --- one rare channel alone -------------------------------------------------------------------------------------------


def test_an_odd_reading_opens_an_alert_within_its_window_and_the_usual_ones_close_it() -> None:
    store = Store().learned()
    told = store.run([17.5])
    (opened,), (evidence,) = only(Alert, told), only(Evidence, told)
    assert (opened.detector, opened.severity, opened.top) == (STREAMING, "warning", [("temperature", 1.0)])
    assert opened.opened_ns == T0_NS + 300 * HOUR_S * NS_PER_S + 7
    assert opened.detail == f"17.5 degC; the nearest ever seen is {max(USUAL[:300]):.6g} degC"
    assert 0 < opened.p_value < 1e-3
    assert evidence.alert_id == opened.alert_id
    assert (store.watch.state, store.watch.alerts, store.watch.alert) == ("alarm", [opened], None)
    assert only(Aggregate, told)[-1].alarm
    assert only(Alert, store.run(USUAL[300:302])) == []
    (closed,) = only(Alert, store.run(USUAL[302:303]))
    assert (closed.alert_id, closed.closed_ns) == (opened.alert_id, T0_NS + 303 * HOUR_S * NS_PER_S + 7)
    assert (store.watch.state, store.watch.alerts) == ("normal", [])


def test_every_hourly_reading_is_judged_and_none_is_taken_for_a_clock_that_jumped() -> None:
    store = Store()
    bodies = store.run(USUAL[:50])
    assert sum(window.n_readings for window in only(Aggregate, bodies)) == 50
    assert store.watch.streams == {"temperature": (50, 100)}
    assert only(SensorFault, bodies) == []


def test_an_asset_without_windows_is_learned_by_readings_and_told_as_commissioning_until_then() -> None:
    store = Store()
    bodies = store.run(USUAL[:99])
    assert (store.watch.state, store.watch.commissioned) == ("commissioning", (99, 100))
    assert all(window.commissioning and not window.scores for window in only(Aggregate, bodies))
    store.run(USUAL[99:101])
    assert (store.watch.state, store.watch.commissioned, store.watch.p_value) == ("normal", (100, 100), None)
    assert only(Commissioning, bodies) == []


def test_what_the_hub_sees_of_a_rare_channel_is_its_values() -> None:
    store = Store()
    (window,) = only(Aggregate, store.run([4.25]))
    assert unpack_floats(window.features)[0] == 4.25


def test_few_ordinary_noisy_readings_ring() -> None:
    rings = 0
    for seed in range(4):
        bodies = Store().run(np.random.default_rng(seed).standard_normal(3000).tolist())
        rings += sum(alert.closed_ns is None for alert in only(Alert, bodies))
        assert only(SensorFault, bodies) == []
    assert rings <= 48  # docs/detection.md: 6 to 7 in the first 2,000 readings, then one in some 1,260


def test_a_value_that_says_no_value_is_the_sensors_fault_and_rings_nothing() -> None:
    store = Store().learned()
    bodies = store.run([-127.0, 85.0, 4.0, 200.0, 4.1])
    assert only(Alert, bodies) == []
    assert {fault.fault for fault in only(SensorFault, bodies)} == {"out_of_range"}


def test_silence_is_three_readings_that_are_overdue() -> None:
    store = Store().learned()
    newest_ns = store.mono_ns - HOUR_S * NS_PER_S
    assert not is_silent(store.watch, newest_ns + round(2.9 * HOUR_S) * NS_PER_S)
    assert is_silent(store.watch, newest_ns + round(3.1 * HOUR_S) * NS_PER_S)


def test_after_a_night_without_readings_it_goes_on() -> None:
    store = Store().learned()
    store.run([math.nan] * 12)
    bodies = store.run([*USUAL[300:310], 17.5, 4.0, 4.0, 4.0])
    opened, closed = only(Alert, bodies)
    assert (opened.closed_ns, closed.closed_ns is not None) == (None, True)


# --- over a restart ---------------------------------------------------------------------------------------------------


def test_what_was_learned_survives_a_restart() -> None:
    store = Store().learned()
    again = Store(saved=store.watch.saved(), hour=store.hour)
    again.pipeline.resume(store.pipeline.horizons(), 0)
    assert again.watch.streams == {"temperature": (100, 100)}
    (opened,) = only(Alert, again.run([17.5]))
    assert opened.detail.startswith("17.5 degC; the nearest ever seen is 4.99")


def test_an_open_alert_survives_a_restart_and_is_closed_by_the_next_life() -> None:
    store = Store().learned()
    (opened,) = only(Alert, store.run([17.5]))
    assert store.saved is not None  # with the alert, in one transaction
    again = Store(saved=store.saved, hour=store.hour)
    assert (again.watch.state, again.watch.alerts, again.watch.since_ns) == ("alarm", [opened], opened.opened_ns)
    (closed,) = only(Alert, again.run([4.0, 4.0, 4.0]))
    assert closed.alert_id == opened.alert_id


def test_what_is_learned_is_kept_once_an_hour_however_often_readings_come() -> None:
    profile = msgspec.structs.replace(
        STORE, channels=(msgspec.structs.replace(STORE.channels[0], rate_hz=0.1),)
    )  # fmt: skip
    watch = AssetWatch("store-1", profile)
    pipeline = Pipeline([watch])
    n_saved = 0
    for n, value in enumerate(USUAL[: 3 * 360 + 10]):
        outcome = pipeline.handle([Reading("store-1", "temperature", T0_NS + n * 10 * NS_PER_S, value)], n * 10 * NS_PER_S)
        n_saved += bool(outcome.states)
    assert 3 <= n_saved <= 5


@pytest.mark.parametrize("memory", [b"", b"\xc1", msgspec.msgpack.encode({"detector": 1}), "torn", "shuffled"])
def test_a_bad_memory_begins_anew_says_so_and_closes_what_was_open(memory: bytes | str) -> None:
    store = Store().learned()
    (opened,) = only(Alert, store.run([17.5]))
    saved = store.watch.saved()
    if isinstance(memory, str):
        kept = msgspec.msgpack.decode(saved.streams.memories["temperature"])
        seen = kept["detector"]["seen"]
        kept["detector"]["seen"] = seen[:-3] if memory == "torn" else seen[8:] + seen[:8]
        memory = msgspec.msgpack.encode(kept)
    streams = msgspec.structs.replace(saved.streams, memories={"temperature": memory})
    again = Store(saved=msgspec.structs.replace(saved, streams=streams), hour=store.hour)
    (said,) = again.watch.forgotten
    assert said.startswith("temperature: what the streaming detector knew of it is lost, it begins anew: ")
    assert again.watch.streams == {"temperature": (0, 100)}
    (closed,) = only(Alert, again.run([4.0]))
    assert (closed.alert_id, closed.closed_ns is not None) == (opened.alert_id, True)
    assert again.watch.saved().streams.alerts == {}


def test_a_state_of_an_older_version_begins_anew_in_silence() -> None:
    saved = msgspec.structs.replace(Store().learned().watch.saved(), streams=SavedStreams())
    again = Store(saved=saved)
    assert (again.watch.forgotten, again.watch.streams) == ([], {"temperature": (0, 100)})


def test_an_alert_of_a_channel_that_is_watched_no_more_is_closed() -> None:
    store = Store().learned()
    (opened,) = only(Alert, store.run([17.5]))
    plain = msgspec.structs.replace(STORE, streaming=StreamingPlan())
    again = Store(plain, store.watch.saved(), store.hour)
    (closed,) = only(Alert, again.run([4.0, 4.0]))
    assert closed.alert_id == opened.alert_id


def test_after_maintenance_it_is_learned_anew_and_what_was_open_is_closed() -> None:
    store = Store().learned()
    (opened,) = only(Alert, store.run([17.5]))
    outcome = store.pipeline.recommission("store-1")
    (closed,) = only(Alert, outcome.bodies)
    assert (closed.alert_id, closed.closed_ns is not None) == (opened.alert_id, True)
    assert (store.watch.state, store.watch.commissioned) == ("commissioning", (0, 100))
    assert outcome.states["store-1"].streams.alerts == {}
    assert only(Alert, store.run([17.0 + 0.1 * value for value in USUAL[:200]])) == []


def test_a_clock_that_is_set_moves_what_is_open() -> None:
    store = Store().learned()
    (opened,) = only(Alert, store.run([17.5]))
    heard_ns = store.mono_ns - HOUR_S * NS_PER_S
    before_ns = T0_NS + heard_ns + 7
    after_ns = before_ns + 86_400 * NS_PER_S
    store.pipeline.step(
        ClockMark(reason="step", mono_ns=heard_ns, before_ns=before_ns, after_ns=after_ns, source="ntp")
    )  # fmt: skip
    (moved,) = store.watch.alerts
    assert moved.opened_ns - opened.opened_ns == 86_400 * NS_PER_S


def by_day(hour: int) -> float:
    """3 to 5 by night, 20 degrees more from eight to six."""
    return USUAL[hour] + (20.0 if 8 <= hour % 24 < 18 else 0.0)


def test_a_usual_value_at_the_wrong_time_of_the_week_opens_an_alert_that_says_so() -> None:
    store = Store()
    weeks = 3 * 7 * 24
    told = store.run(by_day(hour) for hour in range(weeks))
    assert all(alert.opened_ns < T0_NS + 7 * 24 * HOUR_S * NS_PER_S for alert in only(Alert, told))
    (opened,) = only(Alert, store.run([by_day(weeks), by_day(weeks + 1), 24.0]))
    said, usual = opened.detail.split("; at this time of the week ")
    assert said == "24 degC"
    assert usual.endswith(" degC is usual")
    assert 3.0 <= float(usual.split()[0]) <= 5.0
    (closed,) = only(Alert, store.run(by_day(weeks + n) for n in range(3, 6)))
    assert closed.alert_id == opened.alert_id
    assert closed.closed_ns


def test_readings_of_a_machine_at_rest_are_neither_judged_nor_learned() -> None:
    def window(second: int, phase: Phase, values: list[float]) -> CleanWindow:
        times = T0_NS + NS_PER_S * (second + np.arange(len(values), dtype=np.int64) + 1)
        kept = Kept(times, np.array(values), min(values), max(values))
        empty = np.empty((0, 1))
        end_ns = T0_NS + NS_PER_S * (second + len(values))
        return CleanWindow(T0_NS + NS_PER_S * second, end_ns, empty, empty, [], len(values), 0, ("temperature",), [kept], phase)

    streams = Streams("store-1", STORE)
    assert streams.judge(window(0, "running", USUAL[:90]), ("", 0)) == []
    streams.pass_over(window(90, "rest", [-20.0] * 90))
    assert streams.learned == {"temperature": (90, 100)}
    overlapping = window(100, "running", [-20.0] * 80 + USUAL[90:120])
    assert streams.judge(overlapping, ("", 0)) == []
    (alert,) = streams.judge(window(210, "running", [-20.0]), ("", 0))
    assert alert.detail.startswith("-20 degC; the nearest ever seen is 3")


# --- beside windows ---------------------------------------------------------------------------------------------------

PERIOD_S = 300
MIXED = Profile(
    name="mixed",
    channels=(
        Channel(name="temperature", unit="degC", min=-40.0, max=60.0, rate_hz=1 / PERIOD_S),
        Channel(name="vibration", unit="mm/s"),
    ),
    windowing=Windowing(rate_hz=1.0, window_s=10.0, lateness_s=0.0),
    streaming=StreamingPlan(channels=("temperature",)),
)


def run_mixed(pipeline: Pipeline, begin: int, temperatures: Sequence[float], shift: float = 0.0) -> list[Body]:
    """A temperature every five minutes, vibration each second."""
    bodies: list[Body] = []
    for n, value in enumerate(temperatures, start=begin):
        start_ns = T0_NS + n * PERIOD_S * NS_PER_S
        if not math.isnan(value):
            bodies += pipeline.handle([Reading("m-1", "temperature", start_ns + 3 * NS_PER_S, value)], 0).bodies
        vibration = np.random.default_rng(n).standard_normal(PERIOD_S) + shift
        for at in range(0, PERIOD_S, 10):
            times = start_ns + np.arange(at + 1, at + 11) * NS_PER_S
            bodies += pipeline.handle([Block("m-1", "vibration", times, vibration[at : at + 10])], 0).bodies
    return bodies


def test_a_rare_channel_keeps_no_window_from_being_learned_and_judged() -> None:
    watch = AssetWatch("m-1", MIXED)
    bodies = run_mixed(Pipeline([watch]), 0, USUAL[:20])
    assert only(SensorFault, bodies) == []
    assert len(only(Commissioning, bodies)) == 1
    windows = only(Aggregate, bodies)
    assert all(window.scores for window in windows[60:])
    assert watch.streams == {"temperature": (19, 100)}  # the first was in the window that the start cut off
    assert watch.state == "normal"


def test_alerts_by_windows_and_by_readings_are_open_side_by_side() -> None:
    watch = AssetWatch("m-1", MIXED)
    pipeline = Pipeline([watch])
    assert only(Alert, run_mixed(pipeline, 0, USUAL[:150])) == []
    told = run_mixed(pipeline, 150, [17.5], shift=9.0)
    assert {alert.detector for alert in only(Alert, told)} == {"baseline", STREAMING}
    assert [alert.detector for alert in watch.alerts] == ["baseline", STREAMING]
    calm = run_mixed(pipeline, 151, USUAL[:2])
    assert [(alert.detector, alert.closed_ns is not None) for alert in only(Alert, calm)] == [("baseline", True)]
    assert watch.state == "alarm"
    assert [alert.detector for alert in only(Alert, run_mixed(pipeline, 153, USUAL[:1]))] == [STREAMING]
    assert watch.state == "normal"


def test_an_alert_by_a_reading_needs_no_commissioned_windows() -> None:
    profile = msgspec.structs.replace(MIXED, commissioning=msgspec.structs.replace(MIXED.commissioning, windows=5000))
    watch = AssetWatch("m-1", profile)
    pipeline = Pipeline([watch])
    run_mixed(pipeline, 0, USUAL[:120])
    assert (watch.state, watch.commissioning) == ("commissioning", True)
    assert len(only(Alert, run_mixed(pipeline, 120, [17.5]))) == 1
    assert (watch.state, watch.commissioning) == ("alarm", True)


def test_a_rare_channel_that_comes_no_more_is_missing() -> None:
    pipeline = Pipeline([AssetWatch("m-1", MIXED)])
    bodies = run_mixed(pipeline, 0, [*USUAL[:10], *[math.nan] * 4])
    (missing,) = only(SensorFault, bodies)
    assert (missing.channel, missing.fault, missing.closed_ns) == ("temperature", "missing", None)
    (closed,) = only(SensorFault, run_mixed(pipeline, 14, USUAL[:2]))
    assert closed.fault_id == missing.fault_id


def test_a_reading_in_windows_that_overlap_is_judged_once() -> None:
    profile = Profile(
        name="fast",
        channels=(Channel(name="flow"),),
        windowing=Windowing(rate_hz=1.0, window_s=20.0, hop_s=5.0, lateness_s=0.0),
        streaming=StreamingPlan(channels=("flow",)),
    )
    watch = AssetWatch("m-1", profile)
    pipeline = Pipeline([watch])
    judged = 0
    for n, value in enumerate(USUAL[:95]):
        pipeline.handle([Reading("m-1", "flow", T0_NS + (n + 1) * NS_PER_S, value)], 0)
        judged = watch.streams["flow"][0]
    assert judged == 95


def test_readings_that_come_far_too_fast_are_thinned_out() -> None:
    watch = AssetWatch("store-1", STORE)
    pipeline = Pipeline([watch])
    times = T0_NS + np.arange(1, 5001, dtype=np.int64) * NS_PER_S // 1000
    pipeline.handle([Block("store-1", "temperature", times, np.linspace(3.0, 5.0, 5000))], 0)
    pipeline.tick(20 * NS_PER_S)
    (memory,) = watch.saved().streams.memories.values()
    assert msgspec.msgpack.decode(memory)["detector"]["n"] <= 100


# --- a real agent -----------------------------------------------------------------------------------------------------


def test_a_real_agent_learns_keeps_and_loses_what_it_knows(tmp_path: Path, empty_outbox: Path) -> None:
    """Its own machine's memory, ten times a second; then one of its memories is spoiled on disk."""
    profile = (BUILTIN_DIR / "host.toml").read_text().replace("rate_hz = 1.0", "rate_hz = 10.0").replace("host", "own", 1)
    (tmp_path / "own.toml").write_text(f'{profile}\n[streaming]\nchannels = ["memory_used"]\n')
    agent = AgentProcess(tmp_path, empty_outbox, CONFIG.replace('profile = "host"', 'profile = "own"'))
    known = tocsin("agent", "check-config", "--config", agent.config)
    assert "; reading by reading: memory_used; spec" in known.stdout, known

    def learned() -> dict[str, str]:
        return agent.status()["assets"]["here"]["streaming"]

    try:
        agent.start()
        wait_until(lambda: learned() == {"memory_used": "100/100"}, 60, "a hundred readings")
        assert agent.signal(signal.SIGTERM) == 0
        agent.start()
        assert learned() == {"memory_used": "100/100"}
        assert agent.signal(signal.SIGTERM) == 0
        assert "begins anew" not in agent.log.read_text()
        with closing(sqlite3.connect(agent.state / "outbox.db")) as database, database:
            ((blob,),) = database.execute("SELECT state FROM asset_state WHERE asset = 'here'").fetchall()
            saved = msgspec.msgpack.decode(unpack(blob), type=SavedState)
            spoiled = msgspec.structs.replace(saved, streams=SavedStreams(memories={"memory_used": b"?"}))
            database.execute("UPDATE asset_state SET state = ?", (pack(msgspec.msgpack.encode(spoiled)),))
        agent.start()
        assert "here.memory_used: what the streaming detector knew of it is lost, it begins" in agent.log.read_text()
        assert agent.signal(signal.SIGTERM) == 0
        assert "Traceback" not in agent.log.read_text()
    finally:
        agent.close()
