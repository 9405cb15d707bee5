"""Gates: nothing passes without evidence, a flood halts, one odd alert does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.rollout.gates import GATES, Counts, DeviceFigures, GateSettings, StageFigures, judge, overall, wilson

SETTINGS = GateSettings()


def _device(name: str = "gw-0", **counts: int) -> DeviceFigures:
    return DeviceFigures(name, present=True, counts=Counts(**counts), score_us=40.0, n_timed=20)


def _verdict(*devices: DeviceFigures, share: float = 1.0, settings: GateSettings = SETTINGS) -> tuple[str, str]:
    return overall(judge(StageFigures(settings, devices, share)))


_counts = st.integers(0, 500).flatmap(
    lambda n: st.builds(
        Counts,
        n_windows=st.just(n),
        n_alarm_candidate=st.integers(0, n),
        n_alarm_incumbent=st.integers(0, n),
        n_low_p_candidate=st.integers(0, n),
        n_low_p_incumbent=st.integers(0, n),
        n_faulty=st.integers(0, 500),
    )
)
_device_figures = st.builds(
    DeviceFigures,
    device_id=st.text("abc", min_size=1, max_size=3),
    present=st.booleans(),
    counts=_counts,
    score_us=st.none() | st.floats(0, 1e6),
    n_timed=st.integers(0, 50),
    restarts=st.integers(0, 5),
    failure=st.sampled_from(["", "self-test"]),
    rss_growth_bytes=st.none() | st.integers(-(2**30), 2**30),
)
_stages = st.builds(
    StageFigures, st.just(SETTINGS), st.lists(_device_figures, max_size=6, unique_by=lambda d: d.device_id), st.floats(0.05, 1)
)


@given(_stages)
def test_a_pass_always_has_its_minimum_of_evidence(stage: StageFigures) -> None:
    verdict, reason = overall(judge(stage))
    assert reason
    if verdict == "pass":
        assert stage.total("n_windows") >= SETTINGS.min_windows
        assert stage.present >= stage.needed >= 1
        assert not any(device.failure for device in stage.devices)


@given(_stages)
def test_every_gate_gives_its_figures_and_a_reason(stage: StageFigures) -> None:
    verdicts = judge(stage)
    assert [verdict.gate for verdict in verdicts] == list(GATES)
    assert all(verdict.reason and verdict.figures for verdict in verdicts)


def test_a_handful_of_windows_halts_nothing_however_bad_they_are() -> None:
    n = SETTINGS.halt_windows
    few, enough = (_device(n_windows=k, n_alarm_candidate=k) for k in (n - 1, n))
    assert GATES["alarm_rate"](StageFigures(SETTINGS, [few]))[0] == "wait"
    assert GATES["alarm_rate"](StageFigures(SETTINGS, [enough]))[0] == "halt"


@given(_counts, st.integers(1, 50))
def test_more_alarms_of_the_candidate_never_lift_a_halt(counts: Counts, more: int) -> None:
    def alarm_gate(n_alarm: int) -> str:
        device = _device(n_windows=counts.n_windows, n_alarm_candidate=n_alarm, n_alarm_incumbent=counts.n_alarm_incumbent)
        return GATES["alarm_rate"](StageFigures(SETTINGS, [device]))[0]

    order = ["pass", "wait", "halt"]
    worse = min(counts.n_windows, counts.n_alarm_candidate + more)
    assert order.index(alarm_gate(worse)) >= order.index(alarm_gate(counts.n_alarm_candidate))


@given(st.floats(0, 1), st.integers(0, 100_000))
def test_bounds_enclose_the_share(share: float, n_windows: int) -> None:
    low, high = wilson(share, n_windows / 4, 2.326)
    assert 0 <= low <= high <= 1
    assert low <= share + 1e-9
    assert high >= share - 1e-9


def test_nothing_known_is_no_pass() -> None:
    assert _verdict()[0] == "wait"
    assert _verdict(DeviceFigures("gw-0"))[0] == "wait"
    assert overall([])[0] == "wait"


def test_a_quiet_candidate_passes_once_there_are_enough_windows() -> None:
    assert _verdict(_device(n_windows=59))[0] == "wait"
    assert _verdict(_device(n_windows=60))[0] == "pass"


def test_a_flood_halts_long_before_the_minimum_of_windows() -> None:
    verdict, reason = _verdict(_device(n_windows=20, n_alarm_candidate=20, n_low_p_candidate=20))
    assert verdict == "halt"
    assert "alarm_rate: 100.0% of 20 windows in alarm, incumbent 0.0%, limit 5.0%" in reason


def test_one_odd_alert_among_the_first_windows_does_not_halt() -> None:
    assert _verdict(_device(n_windows=20, n_alarm_candidate=5, n_low_p_candidate=2))[0] == "wait"


def test_what_the_incumbent_rings_on_too_is_not_held_against_the_candidate() -> None:
    both = {"n_alarm_candidate": 40, "n_alarm_incumbent": 40, "n_low_p_candidate": 40, "n_low_p_incumbent": 40}
    assert _verdict(_device(n_windows=100, **both))[0] == "pass"


def test_a_shift_of_scores_without_alarms_halts() -> None:
    verdict, reason = _verdict(_device(n_windows=100, n_low_p_candidate=40, n_low_p_incumbent=1))
    assert verdict == "halt"
    assert "low_p" in reason


def test_one_busy_device_does_not_speak_for_its_cohort() -> None:
    verdict, reason = _verdict(_device("busy", n_windows=500), _device("idle", n_windows=2))
    assert verdict == "wait"
    assert "1 of 2 devices" in reason


def test_windows_with_sensor_faults_are_no_evidence() -> None:
    assert _verdict(_device(n_windows=0, n_faulty=500))[0] == "wait"


@pytest.mark.parametrize(
    ("changed", "gate"),
    [({"failure": "self-test"}, "self_test"), ({"restarts": 3}, "restarts"), ({"score_us": 30_000.0}, "latency")],
)
def test_a_device_in_trouble_halts(changed: dict[str, object], gate: str) -> None:
    figures = {"present": True, "counts": Counts(n_windows=100), "score_us": 40.0, "n_timed": 20, **changed}
    verdict, reason = _verdict(DeviceFigures("gw-0", **figures))  # type: ignore[arg-type]
    assert verdict == "halt"
    assert reason.startswith(gate)


def test_an_absent_canary_is_waited_for_but_one_device_of_a_wave_is_not() -> None:
    devices = [_device(f"gw-{i}", n_windows=30) for i in range(3)] + [DeviceFigures("gone")]
    assert _verdict(*devices, share=1.0)[0] == "wait"
    assert _verdict(*devices, share=0.75)[0] == "pass"


def test_an_agent_that_grows_halts_and_one_that_never_told_its_memory_does_not() -> None:
    grown = replace(_device(n_windows=200), rss_growth_bytes=SETTINGS.max_rss_growth_bytes + 1)
    verdict, reason = _verdict(grown)
    assert verdict == "halt"
    assert reason.startswith("memory: most by 48.0 MiB on gw-0")
    assert _verdict(replace(grown, rss_growth_bytes=None))[0] == "pass"


def test_many_sensor_faults_make_it_wait_and_never_halt() -> None:
    verdict, reason = _verdict(_device(n_windows=100, n_faulty=101))
    assert (verdict, reason) == ("wait", "sensor_faults: 50.2% of 201 windows have sensor faults")
    assert _verdict(_device(n_windows=100, n_faulty=100))[0] == "pass"
