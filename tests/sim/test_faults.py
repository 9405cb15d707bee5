"""Faults: when they are on, how they set in, what they do to readings and to bytes."""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import numpy as np
import pytest

from firmware_sim.faults.catalog import LINK_FAULTS, MQTT_ONLY, SERIAL_ONLY
from firmware_sim.faults.fault import Fault
from firmware_sim.node import Node
from firmware_sim.scenario import AssetPlan
from models.contract.frames import DELIMITER, decode_frame
from models.errors import ConfigError, FrameError

T0_NS = 1_700_000_000_000_000_000


def pump(form: str = "jsonl", faults: list[Fault] | None = None, seed: int = 1) -> Node:
    link = "serial" if form in ("jsonl", "csv", "cobs") else "mqtt"
    return Node(AssetPlan(name="pump-1", format=form, link=link), seed, faults or [], T0_NS)  # type: ignore[arg-type]


def test_level_rises_over_its_ramp_and_ends_at_once() -> None:
    fault = Fault("blockage", start_s=10, end_s=50, severity=0.8, ramp_s=20)
    assert fault.level(np.array([0.0, 10, 20, 30, 49, 50, 60])).tolist() == pytest.approx([0, 0, 0.4, 0.8, 0.8, 0, 0])


def test_lagged_level_is_that_of_a_first_order_lag() -> None:
    fault, tau_s, dt = Fault("bearing_wear", start_s=10, end_s=90, severity=0.7, ramp_s=25), 30.0, 0.01
    t_s = np.arange(0, 200, dt)
    state, stepped = 0.0, []
    for level in fault.level(t_s):
        stepped.append(state)
        state += (level - state) * dt / tau_s
    assert np.abs(fault.lagged(t_s, tau_s) - stepped).max() < 1e-3


def test_stuck_sensor_repeats_the_reading_it_began_with_and_recovers() -> None:
    healthy = pump().take(1000).values
    stuck = pump(faults=[Fault("stuck", 40.0, 120.0, channel="pressure")]).take(1000).values
    held = stuck[200:600, 1]
    assert (held == healthy[200, 1]).all()
    assert np.array_equal(stuck[600:], healthy[600:])
    assert np.array_equal(np.delete(stuck, 1, axis=1), np.delete(healthy, 1, axis=1))


def test_drifting_sensor_goes_off_by_a_fifth_of_its_range() -> None:
    drifted = pump(faults=[Fault("drift", 0.0, channel="flow", ramp_s=100.0)]).take(1000).values - pump().take(1000).values
    assert drifted[:, 0][[0, 250, 500, 999]] == pytest.approx([0, 12, 24, 24])


def test_spikes_are_single_readings_far_off_and_in_range() -> None:
    off = pump(faults=[Fault("spike", 0.0, channel="flow")]).take(10_000).values - pump().take(10_000).values
    struck = np.flatnonzero(off[:, 0])
    assert 300 < len(struck) < 500, "about one in five seconds"
    assert np.abs(off[struck, 0]) == pytest.approx(48)


def test_dropout_loses_its_share_of_one_channel_or_all() -> None:
    some = pump(faults=[Fault("dropout", 0.0, severity=0.3, channel="current")]).take(5000).values
    assert 0.25 < np.isnan(some[:, 2]).mean() < 0.35
    assert np.isfinite(np.delete(some, 2, axis=1)).all()
    assert np.isnan(pump(faults=[Fault("dropout", 0.0)]).take(100).values).all()


def test_stepped_sensor_is_off_by_a_fifth_of_its_range_at_once_and_recovers() -> None:
    off = pump(faults=[Fault("step", 40.0, 120.0, channel="flow")]).take(1000).values - pump().take(1000).values
    assert np.abs(off[200:600, 0]) == pytest.approx(24)
    assert (off[:200] == 0).all()
    assert (off[600:] == 0).all()
    assert (off[:, 1:] == 0).all()


def test_noisy_sensor_scatters_by_a_twentieth_of_its_range_and_stays_in_it() -> None:
    noisy = pump(faults=[Fault("noise", 0.0, channel="flow")]).take(5000).values
    off = noisy - pump().take(5000).values
    assert off[:, 0].std() == pytest.approx(6, rel=0.05)
    assert abs(off[:, 0].mean()) < 0.5
    assert noisy[:, 0].min() >= 0
    assert (off[:, 1:] == 0).all()


def test_a_slow_rate_leaves_out_every_second_reading_and_a_fast_one_adds_one_between() -> None:
    slow = pump(faults=[Fault("slow_rate", 10.0, 20.0, channel="flow")]).take(150).values
    assert np.isnan(slow[:, 0]).sum() == 25
    assert np.isfinite(slow[:, 1:]).all()
    fast = pump(faults=[Fault("fast_rate", 10.0, 20.0)]).take(150)
    assert np.diff(fast.time_ns).tolist() == [200_000_000] * 50 + [100_000_000] * 100 + [200_000_000] * 49


@pytest.mark.parametrize("kind", ["fast_rate", "time"])
@pytest.mark.parametrize("form", ["jsonl", "cobs", "senml"])
def test_bytes_at_a_wrong_rate_do_not_depend_on_the_ticks_in_which_they_are_asked_for(kind: str, form: str) -> None:
    at_once, in_ticks = (pump(form, [Fault(kind, 7.3, 33.0)]) for _ in range(2))
    ticks = [message for until_s in np.arange(0.7, 60, 0.7) for message in in_ticks.due(float(until_s))]
    assert [m.payload for m in at_once.due(59.5)] == [m.payload for m in ticks]


def test_a_wrong_clock_goes_back_and_forth() -> None:
    steps = np.diff(pump(faults=[Fault("time", 10.0, 50.0)]).take(400).time_ns)
    assert Counter(steps.tolist()) == {200_000_000: 395, -2_800_000_000: 2, 3_200_000_000: 2}


def test_an_offset_sensor_is_off_by_a_twentieth_of_its_range() -> None:
    off = pump(faults=[Fault("offset", 40.0, 120.0, channel="flow")]).take(1000).values - pump().take(1000).values
    assert off[200:600, 0] == pytest.approx(6)
    assert (off[:200] == 0).all()
    assert (off[600:] == 0).all()


def test_a_saturated_sensor_reads_nothing_above_what_it_read_when_it_began() -> None:
    healthy = pump().take(1000).values[:, 0]
    flat = pump(faults=[Fault("saturation", 40.0, 120.0, channel="flow")]).take(1000).values[:, 0]
    assert np.array_equal(flat[200:600], np.minimum(healthy[200:600], healthy[200]))
    assert (flat[200:600] == healthy[200]).mean() > 0.2
    assert np.array_equal(flat[600:], healthy[600:])


def test_a_coarse_sensor_reads_in_steps_of_a_twentieth_of_its_range() -> None:
    coarse = pump(faults=[Fault("quantization", 0.0, channel="pressure")]).take(2000).values[:, 1]
    steps = (coarse + 1) / (0.05 * 17)
    assert np.allclose(steps, np.round(steps))
    assert np.abs(coarse - pump().take(2000).values[:, 1]).max() <= 0.025 * 17 + 1e-9


@pytest.mark.parametrize(
    ("channel", "factor", "offset"), [("temperature", 1.8, 32), ("flow", 1 / 3.6, 0), ("current", 1000, 0)]
)
def test_a_sensor_in_a_wrong_unit_is_off_by_the_units_ratio(channel: str, factor: float, offset: float) -> None:
    i = pump().channels.index(channel)
    wrong = pump(faults=[Fault("wrong_unit", 40.0, channel=channel)]).take(1000).values[:, i]
    healthy = pump().take(1000).values[:, i]
    assert wrong[200:] == pytest.approx(healthy[200:] * factor + offset)
    assert np.array_equal(wrong[:200], healthy[:200])


def test_silent_machine_sends_nothing_at_all() -> None:
    assert pump(faults=[Fault("dropout", 0.0)]).due(100.0) == []


def test_torn_json_lines_are_no_json_and_take_one_neighbour_with_them() -> None:
    messages = pump(faults=[Fault("torn_frames", 20.0, 60.0)]).due(80.0)
    lines = b"".join(m.payload for m in messages).splitlines()
    good = [line for line in lines if _is_json(line)]
    n_torn = sum(not m.payload.endswith(b"\n") for m in messages)
    assert 60 < n_torn < 140, "every second of 200"
    assert len(messages) - 2 * n_torn <= len(good) < len(messages) - n_torn


def test_torn_and_garbage_frames_are_counted_by_the_decoder_and_the_rest_is_read() -> None:
    faults = [Fault("torn_frames", 200.0, 400.0), Fault("garbage", 600.0, 800.0)]
    stream = b"".join(m.payload for m in pump("cobs", faults).due(1000.0))
    good, bad = 0, 0
    for stuffed in stream.split(DELIMITER):
        if stuffed:
            try:
                good += len(decode_frame(stuffed).values)
            except FrameError:
                bad += 1
    assert bad > 60
    assert good / 5001 > 0.7


def test_a_bit_error_is_found_by_the_checksum_and_makes_no_other_frame() -> None:
    messages = pump("cobs", [Fault("bit_errors", 200.0, 400.0)]).due(600.0)
    frames = b"".join(m.payload for m in messages).split(DELIMITER)[:-1]
    bad = sum(not _is_frame(frame) for frame in frames)
    assert len(frames) == len(pump("cobs").due(600.0))
    assert 0.3 < bad / 100 < 0.7, "about half of 100"


def test_merged_frames_spoil_both_and_nothing_else() -> None:
    lines = b"".join(m.payload for m in pump(faults=[Fault("merged_frames", 20.0, 60.0)]).due(80.0)).splitlines()
    doubles = [line for line in lines if not _is_json(line)]
    assert 30 < len(doubles) < 130
    assert all(line.count(b'"asset"') >= 2 for line in doubles)
    assert sum(line.count(b'"asset"') for line in lines) == 401


def test_at_a_wrong_speed_nothing_is_read() -> None:
    lines = b"".join(m.payload for m in pump(faults=[Fault("baud_mismatch", 0.0)]).due(60.0)).splitlines()
    assert not any(_is_json(line) for line in lines)
    frames = b"".join(m.payload for m in pump("cobs", [Fault("baud_mismatch", 0.0)]).due(200.0)).split(DELIMITER)
    assert not any(_is_frame(frame) for frame in frames if frame)


@pytest.mark.parametrize("form", ["jsonl", "senml"])
def test_duplicated_messages_come_twice_and_none_is_lost(form: str) -> None:
    sent = [m.payload for m in pump(form).due(400.0)]
    came = Counter(m.payload for m in pump(form, [Fault("duplicated", 100.0, 300.0)]).due(400.0))
    assert set(came) == set(sent)
    assert 0.15 < sum(n == 2 for n in came.values()) / len(sent) < 0.35
    assert max(came.values()) == 2


def test_reordered_messages_come_behind_the_next_and_none_is_lost() -> None:
    came = [m.at_ns for m in pump(faults=[Fault("reordered", 20.0, 60.0)]).due(100.0)]
    assert sorted(came) == [m.at_ns for m in pump().due(100.0)]
    back = [step for step in np.diff(came) if step < 0]
    assert 40 < len(back) < 130
    assert min(back) >= -3 * 200_000_000, "behind the next that comes in time"


def test_delayed_messages_come_up_to_ten_seconds_late_and_none_is_lost() -> None:
    node = pump(faults=[Fault("delayed", 20.0, 60.0)])
    came = [m.at_ns for m in node.due(100.0)]
    assert sorted(came) == [m.at_ns for m in pump().due(100.0)]
    newest = np.maximum.accumulate(came)
    assert 8e9 < (newest - came).max() <= 10e9


def test_while_the_cable_is_out_nothing_passes_and_the_rest_is_whole() -> None:
    came = [m.at_ns for m in pump(faults=[Fault("unplugged", 20.0, 60.0)]).due(100.0)]
    sent = [m.at_ns for m in pump().due(100.0)]
    assert came == [at_ns for at_ns in sent if not 20e9 <= at_ns - T0_NS < 60e9]


def test_what_was_published_to_a_broker_that_was_away_comes_all_at_once_in_its_order() -> None:
    node = pump("senml", faults=[Fault("broker_restart", 20.0, 60.0)])
    assert all(m.at_ns < T0_NS + 20e9 for m in node.due(59.0))
    at_once = node.due(62.0)
    assert at_once[0].at_ns < T0_NS + 22.1e9
    assert [m.at_ns for m in at_once] == sorted(m.at_ns for m in at_once)
    came = [m.payload for m in pump("senml", faults=[Fault("broker_restart", 20.0, 60.0)]).due(100.0)]
    assert came == [m.payload for m in pump("senml").due(100.0)]


def test_what_was_retained_comes_first_and_again_after_each_restart_of_the_broker() -> None:
    faults = [Fault("retained_junk", 20.0), Fault("broker_restart", 50.0, 60.0)]
    came = pump("senml", faults=faults).due(100.0)
    junk = [n for n, m in enumerate(came) if m.payload == b"offline"]
    assert [(came[n + 1].at_ns - T0_NS) // 10**9 for n in junk] == [20, 50]
    assert {came[n].topic for n in junk} == {came[0].topic}
    assert [m for m in came if m.payload != b"offline"] == pump("senml").due(100.0)


@pytest.mark.parametrize("kind", LINK_FAULTS)
@pytest.mark.parametrize("form", ["jsonl", "cobs"])
def test_what_a_line_does_does_not_depend_on_the_ticks_in_which_it_is_asked_for(kind: str, form: str) -> None:
    at_once, in_ticks = (pump(form, [Fault(kind, 7.3, 33.0)]) for _ in range(2))
    ticks = [message for until_s in np.arange(0.7, 60, 0.7) for message in in_ticks.due(float(until_s))]
    assert at_once.due(59.5) == ticks


@pytest.mark.parametrize("kind", SERIAL_ONLY)
def test_faults_of_serial_lines_are_refused_on_mqtt(kind: str) -> None:
    with pytest.raises(ConfigError, match="serial lines only"):
        pump("senml").inject(kind)


@pytest.mark.parametrize("kind", MQTT_ONLY)
def test_faults_of_brokers_are_refused_on_serial_lines(kind: str) -> None:
    with pytest.raises(ConfigError, match="brokers only"):
        pump("cobs").inject(kind)


def test_faults_of_the_line_leave_readings_alone() -> None:
    assert np.array_equal(pump(faults=[Fault("torn_frames", 0.0)]).take(100).values, pump().take(100).values)


def test_injected_fault_begins_with_the_next_sample_and_is_recorded() -> None:
    node = pump()
    node.due(10.0)
    node.inject("cavitation", 0.9)
    node.due(20.0)
    assert node.clear() == 1
    (event,) = node.truth()
    assert (event.fault, event.kind, event.severity) == ("cavitation", "machine", 0.9)
    assert event.start_ns == T0_NS + round(10.2e9)
    assert event.end_ns == T0_NS + round(20.2e9)


def test_clearing_leaves_other_kinds_and_what_is_yet_to_come() -> None:
    node = pump(faults=[Fault("blockage", 500.0)])
    node.due(10.0)
    node.inject("cavitation")
    node.inject("stuck", channel="flow")
    node.due(20.0)
    assert node.clear("stuck") == 1
    assert {e.fault: e.end_ns is None for e in node.truth()} == {"blockage": True, "cavitation": True, "stuck": False}
    node.clear()
    assert [f.kind for f in node.faults if math.isinf(f.end_s)] == ["blockage"]


def test_fault_cleared_before_any_sample_never_was() -> None:
    node = pump()
    node.inject("cavitation")
    node.clear()
    assert node.truth() == []


@pytest.mark.parametrize(
    ("kind", "severity", "channel", "expected"),
    [
        ("cavitatoin", 1.0, None, "did you mean 'cavitation'"),
        ("stuck", 1.0, None, "the channel that is stuck"),
        ("stuck", 1.0, "flaw", "did you mean 'flow'"),
        ("cavitation", 1.0, "flow", "no channel"),
        ("time", 1.0, "flow", "no channel"),
        ("noise", 1.0, None, "the channel that is noise"),
        ("cavitation", 1.5, None, "from 0 to 1"),
    ],
)
def test_fault_that_cannot_be_is_refused_and_nothing_is_recorded(
    kind: str, severity: float, channel: str | None, expected: str
) -> None:
    node = pump()
    with pytest.raises(ConfigError, match=expected):
        node.inject(kind, severity, channel)
    assert node.faults == []


def _is_frame(stuffed: bytes) -> bool:
    try:
        decode_frame(stuffed)
    except FrameError:
        return False
    return True


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return False
    return True
