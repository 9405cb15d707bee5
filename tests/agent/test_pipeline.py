"""From readings to items: commissioning, normal, alarm and back; and a sensor's fault is not the machine's fault."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.asset import AssetWatch
from agent.pipeline import Pipeline
from models.contract.items import Aggregate, Alert, Body, Commissioning, Evidence, SensorFault, unpack_floats
from models.contract.reading import Block, Reading
from tests.agent.machine import LEARNING_S, PROFILE, Machine, only, p_values
from tests.builders import T0_NS, rig, rows, running

STEP = (0, -1.5, 0)  # the pump loses pressure
RECORDING = [
    *rows(running(LEARNING_S + 60, seed=4)),
    *rows(running(60, seed=4, start_s=LEARNING_S + 60) + np.array([0, -1.5, 0]), LEARNING_S + 60),
]


def handled(bursts: list[list[Reading | Block]]) -> list[Body]:
    pipeline = Pipeline([AssetWatch("rig-1", PROFILE)])
    return [body for burst in bursts for body in pipeline.handle(burst, 0).bodies]


@pytest.fixture(scope="module")
def expected() -> list[Body]:
    return handled([list(RECORDING)])


# --- chunking -----------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.lists(st.integers(1, 900), max_size=40))
def test_any_chunking_of_the_readings_gives_the_same_items(expected: list[Body], sizes: list[int]) -> None:
    bursts, rest = [], list(RECORDING)
    for size in sizes:
        bursts.append(rest[:size])
        rest = rest[size:]
    assert handled([*bursts, rest]) == expected


def test_one_reading_at_a_time_gives_the_same_items(expected: list[Body]) -> None:
    assert handled([[reading] for reading in RECORDING]) == expected


def test_blocks_give_the_same_items(expected: list[Body]) -> None:
    bursts: list[list[Reading | Block]] = []
    for start in range(0, len(RECORDING), 60):
        chunk = RECORDING[start : start + 60]
        burst: list[Reading | Block] = []
        for channel in PROFILE.channel_names:
            mine = [reading for reading in chunk if reading.channel == channel]
            times = np.array([reading.captured_at_ns for reading in mine], dtype=np.int64)
            burst.append(Block("rig-1", channel, times, np.array([reading.value for reading in mine])))
        bursts.append(burst)
    assert handled(bursts) == expected


def test_assets_do_not_disturb_each_other(expected: list[Body]) -> None:
    pipeline = Pipeline([AssetWatch("rig-1", PROFILE), AssetWatch("rig-2", PROFILE)])
    other = [Reading("rig-2", r.channel, r.captured_at_ns, r.value * 1.1) for r in RECORDING]
    bodies: list[Body] = []
    for start in range(0, len(RECORDING), 30):
        bodies += pipeline.handle([*RECORDING[start : start + 30], *other[start : start + 30]], 0).bodies
    assert [body for body in bodies if body.asset == "rig-1"] == expected
    assert any(body.asset == "rig-2" for body in only(Alert, bodies))


def test_readings_of_nobody_are_counted_and_change_nothing() -> None:
    machine = Machine()
    strangers = [Reading("rig-9", "flow", T0_NS, 1.0), Reading("rig-1", "colour", T0_NS, 1.0)]
    assert machine.pipeline.handle(strangers, 0).bodies == []
    assert (machine.pipeline.counters.unknown, machine.pipeline.counters.readings) == (2, 0)
    assert machine.watch.windower.newest_ns is None


# --- the life of an asset -----------------------------------------------------------------------------------------


def test_an_asset_goes_from_commissioning_to_normal_to_alarm_and_back() -> None:
    machine = Machine()
    learning = machine.run(LEARNING_S + 2)
    assert machine.watch.state == "normal"
    (commissioning,) = only(Commissioning, learning)
    assert commissioning.start_ns == T0_NS
    assert 24 <= commissioning.n_windows <= 30
    assert len(unpack_floats(commissioning.location)) == machine.watch.spec.n_features
    assert all(a.commissioning and not a.scores for a in only(Aggregate, learning))

    normal = machine.run(600)
    assert only(Alert, normal) == []
    assert all(a.scores[0].detector == "baseline" and not a.commissioning for a in only(Aggregate, normal))
    assert 0.1 < np.median(p_values(normal)) < 0.9

    fault = machine.run(60, STEP)
    (opened,) = only(Alert, fault)
    assert machine.watch.state == "alarm"
    assert machine.watch.alert.alert_id == opened.alert_id
    assert opened.closed_ns is None
    assert opened.top[0][0] == "pressure"
    assert opened.opened_ns - (T0_NS + (LEARNING_S + 602) * 1e9) <= 31e9
    assert only(Aggregate, fault)[-1].alarm
    assert only(Aggregate, fault)[-1].top[0] == "pressure"

    recovery = machine.run(120)
    (closed,) = only(Alert, recovery)
    assert machine.watch.state == "normal"
    assert closed.alert_id == opened.alert_id
    assert closed.closed_ns > opened.opened_ns
    assert closed.p_value <= opened.p_value


def test_an_alert_brings_the_raw_windows_before_it() -> None:
    machine = Machine().learned()
    machine.run(40)
    fault = machine.run(60, STEP)
    (evidence,), (alert,) = only(Evidence, fault), only(Alert, fault)
    assert evidence.alert_id == alert.alert_id
    values = unpack_floats(evidence.values, len(evidence.channels))
    assert values.shape == (150, 3)
    assert evidence.start_ns + round(len(values) / evidence.rate_hz * 1e9) == alert.opened_ns
    assert values[0, 1] - values[-1, 1] > 0.8


def test_evidence_has_no_gap_inside() -> None:
    machine = Machine().learned()
    machine.run(38)
    machine.now_s += 600  # silence
    fault = machine.run(52, (0, -3, 0))
    (evidence,), (alert,) = only(Evidence, fault), only(Alert, fault)
    n = len(unpack_floats(evidence.values, 3))
    assert evidence.start_ns + round(n / evidence.rate_hz * 1e9) == alert.opened_ns
    assert n < 150


def test_windows_with_sensor_faults_commission_nothing() -> None:
    machine = Machine()
    machine.run(100)
    before = machine.watch.commissioned
    machine.run(100, blank=[2])
    assert machine.watch.commissioned[0] <= before[0] + 1
    machine.run(LEARNING_S - 90)
    assert machine.watch.state == "normal"


def test_windows_from_before_a_fault_was_recognized_are_given_up_as_candidates() -> None:
    machine = Machine(rig(windows=60))
    machine.run(102)
    collected = machine.watch.commissioned[0]
    frozen = machine.freeze(60, 0)  # the first window ends before it has lasted for `stuck_after_s`
    assert next(a.faulty for a in only(Aggregate, frozen)) == []
    assert machine.watch.commissioned[0] <= collected


def test_a_restart_while_commissioning_keeps_what_is_usual_and_which_windows_may_have_to_go() -> None:
    machine = Machine(rig(windows=60))
    machine.run(302)
    saved = machine.watch.saved()
    again = Machine(rig(windows=60), saved, machine.now_s)
    assert saved.quality is not None
    assert again.watch.saved() == saved
    frozen = again.freeze(60, 0)
    assert ("flow", "stuck") in [(fault.channel, fault.fault) for fault in only(SensorFault, frozen)]
    assert again.watch.commissioned[0] <= machine.watch.commissioned[0]


def test_time_that_passes_closes_the_last_windows() -> None:
    machine = Machine()
    machine.run(10)
    assert machine.pipeline.tick(round(0.9e9)).bodies == []
    assert len(machine.pipeline.tick(round(1e9)).bodies) == 1


# --- sensor faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", [0, 1])
def test_a_stuck_sensor_is_named_and_raises_no_machine_alert(channel: int) -> None:
    machine = Machine().learned()
    machine.run(98)
    stuck = machine.freeze(100, channel)
    after = machine.run(100)
    assert only(Alert, [*stuck, *after]) == []
    name = PROFILE.channel_names[channel]
    (opened,), (closed,) = only(SensorFault, stuck), only(SensorFault, after)
    assert (opened.channel, opened.fault, opened.closed_ns) == (name, "stuck", None)
    assert closed.fault_id == opened.fault_id
    assert [a.faulty for a in only(Aggregate, stuck)][2:] == [[name]] * 8
    assert all(p is not None for p in p_values(stuck))


@pytest.mark.parametrize("blank", [[0], [1], [0, 2]], ids=str)
def test_a_silent_sensor_is_missing_and_raises_no_machine_alert(blank: list[int]) -> None:
    machine = Machine().learned()
    machine.run(98)
    silent = machine.run(100, blank=blank)
    after = machine.run(100)
    assert only(Alert, [*silent, *after]) == []
    names = {PROFILE.channel_names[channel] for channel in blank}
    assert {(fault.channel, fault.fault) for fault in only(SensorFault, silent)} == {(name, "missing") for name in names}
    assert {fault.channel for fault in only(SensorFault, after) if fault.closed_ns} == names


def test_spikes_and_sentinels_raise_no_machine_alert() -> None:
    machine = Machine().learned()
    values = running(200, machine.seed, machine.now_s)
    values[::37, 0] = 95.0
    values[::41, 1] = -9999.0
    bodies = machine.feed(rows(values, machine.now_s))
    assert only(Alert, bodies) == []
    assert {(fault.channel, fault.fault) for fault in only(SensorFault, bodies)} == {
        ("flow", "spike"),
        ("pressure", "out_of_range"),
    }


def test_a_machine_fault_is_told_although_a_sensor_is_broken() -> None:
    machine = Machine().learned()
    machine.run(50, blank=[0])
    assert len(only(Alert, machine.run(60, STEP, blank=[0]))) == 1
