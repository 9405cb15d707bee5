"""Every kind of sensor fault: which it is called, on which channel, in which words, and that it is kept from the score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from models.contract.clock import NS_PER_S
from models.contract.items import FaultKind
from models.contract.profile import Channel, Profile, Redundant
from models.detectors.quality import CleanWindow, QualityControl, QualityMemory
from models.raw_window import RawWindow
from models.windows import Windower
from tests.builders import T0_NS, plain, raw_window

RATE_HZ, WINDOW_S = 5.0, 10.0
N = round(RATE_HZ * WINDOW_S)
LEARNED = 30  # windows after which everything is known that is to be learned
Array = NDArray[np.float64]


def rig(**lone: object) -> Profile:
    """Flow and pressure follow the load; a and b measure the same temperature; vibration follows nothing."""
    channels = [
        Channel(name="flow", unit="m3/h", min=0.0, max=200.0, resolution=0.01, stuck_after_s=10.0),
        Channel(name="pressure", unit="bar", min=0.0, max=20.0, resolution=0.001, stuck_after_s=10.0),
        Channel(name="a", unit="degC", resolution=0.01, dynamics="inert"),
        Channel(name="b", unit="degC", resolution=0.01, dynamics="inert"),
        msgspec.convert({"name": "vibration", "unit": "mm/s", "min": 0.0, "max": 100.0} | lone, Channel),
    ]
    profile = plain(*channels, rate_hz=RATE_HZ, window_s=WINDOW_S)
    return msgspec.structs.replace(profile, redundant=(Redundant(channels=("a", "b")),))


def healthy(number: int) -> tuple[Array, Array]:
    """((n,) seconds, (n, 5) values) of the `number`-th window."""
    rng = np.random.default_rng((5, number))
    t_s = number * WINDOW_S + np.arange(1, N + 1) / RATE_HZ
    load = np.sin(2 * np.pi * t_s / 7.3) + 0.5 * np.sin(2 * np.pi * t_s / 31)
    heat = 50 + 0.3 * np.sin(2 * np.pi * t_s / 300)
    flow, pressure = 100 + 5 * load + 0.1 * rng.standard_normal(N), 5 + 0.4 * load + 0.01 * rng.standard_normal(N)
    a, b = (heat + offset + 0.03 * rng.standard_normal(N) for offset in (0.0, 0.7))
    return t_s, np.column_stack([flow, pressure, a, b, 2 + 0.1 * rng.standard_normal(N)])


def windows_of(t_s: Array, values: Array, number: int, n_behind: list[int] | None = None) -> RawWindow:
    times = T0_NS + np.round(t_s * NS_PER_S).astype(np.int64)
    there = ~np.isnan(values)
    start_ns = T0_NS + round(number * WINDOW_S * NS_PER_S)
    return RawWindow(
        start_ns, start_ns + round(WINDOW_S * NS_PER_S), [times[there[:, i]] for i in range(values.shape[1])],
        [values[there[:, i], i] for i in range(values.shape[1])], 0, [], n_behind or [],
    )  # fmt: skip


Break = Callable[[Array, Array, int], RawWindow]


def changed(channel: int, change: Callable[[Array, Array], Array]) -> Break:
    """A window in which `change(seconds, column)` stands for the column of `channel`."""

    def build(t_s: Array, values: Array, number: int) -> RawWindow:
        values = values.copy()
        values[:, channel] = change(t_s, values[:, channel])
        return windows_of(t_s, values, number)

    return build


def twice_as_fast(t_s: Array, values: Array, number: int) -> RawWindow:
    half = np.repeat(t_s, 2) - np.tile([0.5 / RATE_HZ, 0.0], N)
    return windows_of(half, np.repeat(values, 2, axis=0) + 0.01 * np.arange(2 * N)[:, None] % 0.03, number)


def same_times(t_s: Array, values: Array, number: int) -> RawWindow:
    window = windows_of(t_s, values, number)
    window.times[0][1::2] = window.times[0][0::2]
    return window


def jitter(_t_s: Array, x: Array) -> Array:
    return x + np.random.default_rng(1).normal(0, 10 * x.std() + 1, len(x))


def spiked(_t_s: Array, x: Array) -> Array:
    return np.where(np.arange(N) == 20, x + 80, x)


@dataclass(frozen=True)
class Case:
    """`within`: windows after which it is told. `blank`: whether its channel is kept from the score."""

    kind: FaultKind
    channel: str
    build: Break
    detail: str
    within: int = 1
    blank: bool = True


CASES = [
    Case("stuck", "flow", changed(0, lambda _t, x: np.full(N, 97.2)), "97.2 m3/h for 20 s, resolution 0.01 m3/h", 2),
    Case("missing", "flow", changed(0, lambda _t, x: x * np.nan), "no reading that counts"),
    Case("missing", "flow", changed(0, lambda _t, x: np.where(np.arange(N) < 12, x, np.nan)), "12 readings, too few"),
    Case("out_of_range", "pressure", changed(1, lambda _t, x: np.where(np.arange(N) == 7, 25.5, x)),
         "1 of 50 readings above 20 bar, up to 25.5 bar", blank=False),
    Case("out_of_range", "a", changed(2, lambda _t, x: np.where(np.arange(N) == 7, -127.0, x)),
         '1 of 50 readings were -127, which stands for "no value"', blank=False),
    Case("spike", "flow", changed(0, spiked), "1 single reading jumps away and back, by 7", blank=False),
    Case("rate", "pressure", changed(1, lambda _t, x: np.where(np.arange(N) % 2, x, np.nan)),
         "2.5 readings a second instead of 5 (usual)", 3),
    Case("rate", "flow", twice_as_fast, "10 readings a second instead of 5 (usual)", 3),
    Case("time", "flow", same_times, "25 of 50 readings have the time of another one"),
    Case("time", "flow", lambda t, v, k: windows_of(t, v, k, [15, 0, 0, 0, 0]),
         "15 of 50 readings came with times before earlier ones"),
    Case("time", "", lambda t, v, k: windows_of(t, v, k, [15] * 5), "15 of 50 readings came with times before earlier ones"),
    Case("disagreement", "a", changed(2, lambda t, x: x + (t - LEARNED * WINDOW_S) * 0.2), "degC, but b 50.", 3),
    Case("step", "flow", changed(0, lambda _t, x: x + 40), "at once up by 40", 2),
    Case("step", "vibration", changed(4, lambda _t, x: x + 5), "no other channel shows it", 2, blank=False),
    Case("noise", "flow", changed(0, jitter), "the other channels contradict it", 3),
    Case("noise", "vibration", changed(4, jitter), "no other channel shows it", 3, blank=False),
]  # fmt: skip


def learned(profile: Profile | None = None) -> QualityControl:
    quality = QualityControl(profile or rig())
    for number in range(LEARNED):
        assert quality.clean(windows_of(*healthy(number), number)).findings == []
    return quality


def broken(quality: QualityControl, build: Break, n_windows: int) -> list[CleanWindow]:
    return [quality.clean(build(*healthy(number), number)) for number in range(LEARNED, LEARNED + n_windows)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.channel}")
def test_each_kind_is_named_in_words_with_figures_and_kept_from_the_score(case: Case) -> None:
    quality = learned()
    windows = broken(quality, case.build, case.within)
    assert (case.channel, case.kind) in windows[-1].faults
    (finding,) = [f for f in windows[-1].findings if (f.channel, f.kind) == (case.channel, case.kind)]
    assert case.detail in finding.detail
    column = 0 if not case.channel else rig().channel_names.index(case.channel)
    assert np.isnan(windows[-1].matrix[:, column]).all() == case.blank
    assert (
        np.isfinite(windows[-1].matrix[:, 4 if column != 4 else 0]).all() or case.channel == "" or case.build is twice_as_fast
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.channel}")
def test_each_kind_ends_when_the_sensor_is_well_again(case: Case) -> None:
    quality = learned()
    broken(quality, case.build, case.within)
    numbers = range(LEARNED + case.within, LEARNED + case.within + 4)
    assert quality.clean(windows_of(*healthy(numbers[-1]), numbers[-1])).faults == []


def test_the_table_has_every_kind_that_is_judged_by_window() -> None:
    assert {case.kind for case in CASES} == set(get_args(FaultKind)) - {"link"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.channel}")
def test_no_window_with_a_finding_teaches_what_is_usual(case: Case) -> None:
    quality = learned()
    before = quality.memory().usual
    windows = broken(quality, case.build, 30)
    assert sum(bool(window.findings) for window in windows) >= 28
    assert quality.memory().usual.n <= before.n + 1  # the lesson that was due when it began


def test_what_was_learned_survives_a_restart() -> None:
    before = learned()
    after = QualityControl(rig())
    after.resume(msgspec.msgpack.decode(msgspec.msgpack.encode(before.memory()), type=QualityMemory))
    for build in (changed(0, jitter), changed(1, lambda _t, x: np.where(np.arange(N) % 2, x, np.nan))):
        assert [w.faults for w in broken(after, build, 4)] == [w.faults for w in broken(before, build, 4)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.channel}")
def test_a_clock_that_was_set_back_hides_no_fault(case: Case) -> None:
    quality = learned()
    broken(quality, case.build, case.within)
    week = round(7 * 86400 / WINDOW_S)
    told = []
    for number in range(LEARNED, LEARNED + case.within + 1):
        window = case.build(*healthy(number), number)
        back_ns = round(week * WINDOW_S) * NS_PER_S
        times = [times - back_ns for times in window.times]
        earlier = RawWindow(
            window.start_ns - back_ns, window.end_ns - back_ns, times, window.values, 0, window.late, window.n_behind
        )
        told.append((case.channel, case.kind) in quality.clean(earlier).faults)
    assert told[-1] or case.kind == "step"  # which is known by its jump alone


def test_memory_of_another_profile_is_not_taken() -> None:
    quality = QualityControl(plain("x"))
    quality.resume(learned().memory())
    memory, fresh = quality.memory(), QualityControl(plain("x")).memory()
    assert msgspec.msgpack.encode(memory) == msgspec.msgpack.encode(fresh)  # with NaN in it, which equals nothing


@pytest.mark.parametrize("restarted", [False, True])
def test_a_channel_that_comes_later_is_learned_and_hides_no_fault_of_the_others(restarted: bool) -> None:
    """An optional one, fitted after what is usual had been learned."""
    profile = plain(Channel(name="x"), Channel(name="late", optional=True), window_s=20.0, max_gap_s=3.0)
    quality = QualityControl(profile)

    def window(number: int, late: float, spread: Sequence[float] = (1, 1)) -> CleanWindow:
        rng = np.random.default_rng(number)
        values = np.array([50, late]) + np.array(spread) * rng.standard_normal((20, 2))
        return quality.clean(raw_window(*values.T.tolist(), start_s=number * 20.0, window_s=20.0))

    for number in range(30):
        assert window(number, late=math.nan).findings == []
    if restarted:
        memory, quality = quality.memory(), QualityControl(profile)
        quality.resume(msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=QualityMemory))
    for number in range(30, 130):
        assert window(number, late=20.0).findings == []
    assert [window(number, 20.0, (20, 1)).faults for number in (130, 131)][1] == [("x", "noise")]
    for number in range(132, 140):
        window(number, late=20.0)
    assert [window(number, 20.0, (1, 20)).faults for number in (140, 141)][1] == [("late", "noise")]


def test_a_sensor_that_sticks_within_a_window_has_no_spikes_in_the_part_before() -> None:
    for seed in range(20):
        x = np.random.default_rng(seed).normal(100, 3, N)
        build = changed(0, lambda _t, flow, x=x, seed=seed: np.where(np.arange(N) < 3 + seed, flow, x[0]))  # type: ignore[misc]
        assert ("flow", "spike") not in broken(learned(), build, 1)[0].faults


# --- what is the machine's ----------------------------------------------------------------------------------------


def test_a_jump_that_shows_in_several_channels_is_the_machines() -> None:
    def started(t_s: Array, values: Array, number: int) -> RawWindow:
        values = values.copy()
        values[:, :2] += [40, 3.2]
        return windows_of(t_s, values, number)

    assert [w.findings for w in broken(learned(), started, 4)] == [[]] * 4


def test_noise_that_comes_with_another_level_is_the_machines() -> None:
    worn = changed(4, lambda t, x: 6 + np.random.default_rng(1).normal(0, 1.5, len(x)))
    assert [w.faults for w in broken(learned(), worn, 4) if ("vibration", "noise") in w.faults] == []


def test_a_ramp_is_no_step() -> None:
    ramp = changed(4, lambda t, x: x + np.minimum((t - LEARNED * WINDOW_S) / 20, 1) * 5)
    assert [w.findings for w in broken(learned(), ramp, 4)] == [[]] * 4


def test_nothing_new_is_laid_to_a_sensor_while_the_machine_is_in_alarm() -> None:
    quality = learned()
    build = changed(0, lambda _t, x: x + 40)
    windows = [quality.clean(build(*healthy(n), n), healthy=False) for n in range(LEARNED, LEARNED + 4)]
    assert [w.findings for w in windows] == [[]] * 4


def test_steps_and_noise_of_an_abrupt_channel_are_not_judged() -> None:
    quality = learned(rig(dynamics="abrupt"))
    assert [w.findings for w in broken(quality, changed(4, lambda _t, x: x + 5), 3)] == [[]] * 3


def test_a_jump_that_a_channel_has_shown_to_make_by_itself_is_usual() -> None:
    quality = learned()
    number = LEARNED
    named = []
    for away in [5.0] * 4 + [0.0] * 8 + [5.0] * 4:
        window = quality.clean(changed(4, lambda _t, x, away=away: x + away)(*healthy(number), number))  # type: ignore[misc]
        named.append(("vibration", "step") in window.faults)
        number += 1
    assert any(named[:4])
    assert not any(named[5:])


# --- redundant channels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("off", "named"), [([3.0, 0, 0], ["a"]), ([0, 0, -3.0], ["c"]), ([3.0, -3.0, 0], ["a", "b", "c"])])
def test_of_three_the_odd_one_out_is_named_by_majority(off: list[float], named: list[str]) -> None:
    profile = msgspec.structs.replace(
        plain("a", "b", "c", rate_hz=RATE_HZ, window_s=WINDOW_S),
        redundant=(Redundant(channels=("a", "b", "c"), tolerance=1.0),),
    )
    quality = QualityControl(profile)
    rng = np.random.default_rng(1)
    for number in range(3):
        t_s = number * WINDOW_S + np.arange(1, N + 1) / RATE_HZ
        window = quality.clean(windows_of(t_s, 20 + np.array(off) + 0.1 * rng.standard_normal((N, 3)), number))
    assert window.faults == [(name, "disagreement") for name in named]
    assert [bool(np.isnan(window.matrix[:, i]).all()) for i in range(3)] == [name in named for name in "abc"]


@pytest.mark.parametrize(("apart", "named"), [(0.9, []), (1.1, ["a", "b"])])
def test_of_two_both_are_named_beyond_their_tolerance(apart: float, named: list[str]) -> None:
    profile = msgspec.structs.replace(
        plain("a", "b", window_s=20.0), redundant=(Redundant(channels=("a", "b"), tolerance=1.0),)
    )
    quality = QualityControl(profile)
    for number in range(3):
        t_s = number * 20.0 + np.arange(1, 21)
        times = [T0_NS + np.round(t_s * 1e9).astype(np.int64)] * 2
        x = 20 + np.sin(t_s)
        start_ns = T0_NS + number * 20 * NS_PER_S
        window = quality.clean(RawWindow(start_ns, start_ns + 20 * NS_PER_S, times, [x, x + apart], 0))
    assert window.faults == [(name, "disagreement") for name in named]


# --- times --------------------------------------------------------------------------------------------------------


def through_a_windower(
    offsets_s: Callable[[Array], Array], channel: int | None, seconds: float = 100.0
) -> list[list[tuple[str, str]]]:
    """The faults of the windows of three channels, of which `channel` (None = all) has a clock off by `offsets_s`."""
    profile = plain("a", "b", "c", rate_hz=RATE_HZ, window_s=WINDOW_S, lateness_s=1.0)
    windower, quality = Windower(profile), QualityControl(profile)
    rng = np.random.default_rng(2)
    faults = []
    for t_s in np.arange(1, round(seconds * RATE_HZ)) / RATE_HZ:
        off_s = float(offsets_s(np.array([t_s]))[0])
        for i in range(3):
            at_s = t_s + (off_s if channel in (None, i) else 0.0)
            windower.add(i, T0_NS + round(at_s * NS_PER_S), rng.standard_normal(), 0)
        faults += [quality.clean(window).faults for window in windower.closed()]
    return faults


@pytest.mark.parametrize(("channel", "named"), [(1, "b"), (None, "")])
def test_a_clock_that_goes_back_is_named_on_its_channel_or_on_all_of_the_asset(channel: int | None, named: str) -> None:
    told = through_a_windower(lambda t: np.where(t > 55, -3.0, 0.0), channel)
    assert (named, "time") in [fault for faults in told for fault in faults]
    assert {where for faults in told for where, kind in faults if kind == "time"} == {named}


def test_a_clock_that_stays_behind_its_closed_windows_is_named_and_the_punctual_ones_are_not() -> None:
    told = through_a_windower(lambda t: np.where(t > 40, -30.0, 0.0), 1)
    assert {where for faults in told for where, kind in faults if kind == "time"} == {"b"}


def test_a_clock_that_runs_ahead_of_all_others_is_the_one_that_is_named() -> None:
    told = through_a_windower(lambda t: np.where(t > 40, 30.0, 0.0), 1)
    assert {where for faults in told for where, kind in faults if kind == "time"} == {"b"}


def test_a_redelivered_reading_is_no_fault_of_time() -> None:
    window = windows_of(*healthy(0), 0)
    twice = RawWindow(window.start_ns, window.end_ns, [np.repeat(t, 2) for t in window.times],
                      [np.repeat(v, 2) for v in window.values], 0)  # fmt: skip
    assert QualityControl(rig()).clean(twice).faults == []


def test_a_few_stragglers_are_no_fault_of_time() -> None:
    assert learned().clean(windows_of(*healthy(LEARNED), LEARNED, [2, 1, 0, 0, 0])).faults == []


def test_lost_readings_are_no_wrong_rate() -> None:
    lost = np.random.default_rng(4).random(N) < 0.45
    told = broken(learned(), changed(0, lambda _t, x: np.where(lost, np.nan, x)), 4)
    assert ("flow", "rate") not in [fault for window in told for fault in window.faults]


def test_a_declared_rate_is_judged_from_the_first_windows_on() -> None:
    quality = QualityControl(rig(rate_hz=10.0))
    told = [quality.clean(windows_of(*healthy(number), number)).findings for number in range(3)]
    assert [[(f.channel, f.kind, f.told) for f in found] for found in told] == [
        [("vibration", "rate", False)], [("vibration", "rate", False)], [("vibration", "rate", True)]
    ]  # fmt: skip
    assert told[2][0].detail == "5 readings a second instead of 10 (its rate_hz)"
