"""When an alarm opens and closes: tables of p-values, and the promise about false alarms."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.profile import DecisionPlan, Profile
from models.detectors.decision import P_CALM, P_SUSPICIOUS, Hysteresis, windows_per_false_alarm
from tests.builders import plain

OPENING = [1e-12, 1e-12]  # two absurd windows in a row open any alarm


def profile(open_windows: int = 2, close_windows: int = 3, per_month: float = 1.0, hop_s: float | None = None) -> Profile:
    plan = DecisionPlan(false_alarms_per_month=per_month, open_windows=open_windows, close_windows=close_windows)
    return msgspec.structs.replace(plain(hop_s=hop_s), decision=plan)


def told(p_values: list[float], hysteresis: Hysteresis | None = None) -> str:
    """One character a window: `!` while the alarm is on, `.` while it is off."""
    hysteresis = hysteresis or Hysteresis(profile())
    return "".join("!" if hysteresis.update(p) else "." for p in p_values)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        pytest.param([0.5] * 5, ".....", id="calm"),
        pytest.param([1e-12], ".", id="one absurd window may be a glitch"),
        pytest.param([1e-12, 0.5, 1e-12, 0.5], "....", id="glitches apart do not make a row"),
        pytest.param([1e-12, 1e-12], ".!", id="two absurd windows"),
        pytest.param([1e-6] * 3, ".!!", id="two very unlikely windows"),
        pytest.param([P_SUSPICIOUS] * 4, "..!!", id="three barely suspicious windows"),
        pytest.param([2e-3] * 50, "." * 50, id="slightly unlikely for long is a load change"),
        pytest.param([1e-12, P_SUSPICIOUS], ".!", id="evidence of one, confirmed by another"),
        pytest.param([*OPENING, 0.5, 0.5], ".!!!", id="two calm windows do not close"),
        pytest.param([*OPENING, 0.5, 0.5, 0.5], ".!!!.", id="three calm windows close"),
        pytest.param([*OPENING, 0.5, 0.5, 0.005, 0.5, 0.5, 0.5], ".!!!!!!.", id="what is not calm breaks the row"),
        pytest.param([*OPENING, P_CALM, P_CALM, P_CALM], ".!!!!", id="calm means above the limit, not at it"),
        pytest.param([*OPENING, 0.5, 0.5, 0.5, 1e-12, 1e-12], ".!!!..!", id="after closing, evidence starts from nothing"),
    ],
)
def test_hysteresis(p_values: list[float], expected: str) -> None:
    assert told(p_values) == expected


@pytest.mark.parametrize("open_windows", [1, 2, 5])
def test_an_alarm_waits_for_its_number_of_suspicious_windows(open_windows: int) -> None:
    assert told([1e-12] * 6, Hysteresis(profile(open_windows=open_windows))).index("!") == open_windows - 1


@pytest.mark.parametrize("close_windows", [1, 3, 7])
def test_an_alarm_closes_after_its_number_of_calm_windows(close_windows: int) -> None:
    assert told([*OPENING, *[0.5] * 8], Hysteresis(profile(close_windows=close_windows))).count("!") == close_windows


def test_the_dial_is_windows_between_false_alarms() -> None:
    assert windows_per_false_alarm(profile()) == 30 * 24 * 360
    assert windows_per_false_alarm(profile(per_month=10)) == 30 * 24 * 36
    assert windows_per_false_alarm(profile(hop_s=1.0)) == 30 * 24 * 360


def test_who_tolerates_more_false_alarms_hears_of_it_sooner() -> None:
    eager, patient = (told([P_SUSPICIOUS] * 8, Hysteresis(profile(per_month=n))) for n in (1000.0, 0.0001))
    assert eager.index("!") < patient.index("!")


def test_windows_that_overlap_do_not_bear_witness_twice() -> None:
    apart = told([1e-4] * 40).index("!")
    overlapping = told([1e-4] * 40, Hysteresis(profile(hop_s=1.0))).index("!")
    assert overlapping > 3 * apart


@pytest.mark.parametrize("hop_s", [None, 2.5])
def test_honest_p_values_ring_no_more_often_than_the_dial_says(hop_s: float | None) -> None:
    hysteresis = Hysteresis(profile(open_windows=1, close_windows=1, per_month=500.0, hop_s=hop_s))
    p_values = np.random.default_rng(1).uniform(size=200_000)
    if hop_s:  # overlapping windows resemble each other
        p_values = np.repeat(p_values[::4], 4)
    openings = told((1 - p_values).tolist(), hysteresis).count(".!")
    effective = len(p_values) * (hop_s or 10.0) / 10.0
    assert 0 < openings <= effective / hysteresis.bound


def test_whoever_takes_over_an_open_alert_closes_it_like_its_own() -> None:
    hysteresis = Hysteresis(profile())
    hysteresis.take_over()
    assert told([0.5, 1e-9, 0.5, 0.5, 0.5, 0.5], hysteresis) == "!!!!.."


@given(st.lists(st.sampled_from([1e-12, 1e-6, 1e-3, 2e-3, 0.01, 0.02, 1.0])), st.integers(1, 3), st.integers(1, 3))
def test_an_alarm_never_opens_or_closes_without_its_row(p_values: list[float], open_windows: int, close_windows: int) -> None:
    alarms = "." + told(p_values, Hysteresis(profile(open_windows, close_windows)))
    for i in range(1, len(alarms)):
        if alarms[i - 1 : i + 1] == ".!":
            assert i >= open_windows
            assert all(p <= P_SUSPICIOUS for p in p_values[i - open_windows : i])
        if alarms[i - 1 : i + 1] == "!.":
            assert i >= close_windows
            assert all(p > P_CALM for p in p_values[i - close_windows : i])


# --- one window alone ---------------------------------------------------------------------------------------------


def test_where_windows_overlap_a_few_that_are_rarer_than_tolerated_open_at_once() -> None:
    alone = 0.5 * 1.0 / (30 * 24 * 3600)  # half the dial, at a window each second
    assert told([alone] * 4, Hysteresis(profile(hop_s=1.0))).index("!") == 1
    assert "!" not in told([2 * alone] * 4, Hysteresis(profile(hop_s=1.0)))


# --- recovery, where normal follows drift ---------------------------------------------------------------------------


def following(close_windows: int = 3) -> Hysteresis:
    made = profile(close_windows=close_windows)
    return Hysteresis(msgspec.structs.replace(made, features=msgspec.structs.replace(made.features, follow_s=100.0)))


def lasting(hysteresis: Hysteresis, contributions: list[list[float]]) -> str:
    """Opens on the first two, then one character a window; p-values stay absurd throughout."""
    return "".join("!" if hysteresis.update(1e-12, np.array(c, dtype=np.float32)) else "." for c in contributions)


def test_an_alarm_ends_once_what_it_rests_on_has_come_back_whatever_else_has_drifted() -> None:
    ill, well = [100.0, 1.0, 1.0], [0.5, 1.0, 12.0]
    assert lasting(following(), [ill] * 5 + [well] * 4) == ".!!!!!!.."[:9]
    assert lasting(following(), [ill] * 9) == ".!!!!!!!!"


def test_half_way_back_is_not_back() -> None:
    ill, better = [100.0, 1.0], [25.0, 1.0]
    assert set(lasting(following(), [ill] * 5 + [better] * 8)[1:]) == {"!"}


def test_what_joins_an_open_alarm_has_to_come_back_too() -> None:
    hysteresis = following()
    lasting(hysteresis, [[100.0, 1.0]] * 3 + [[100.0, 80.0]] * 20)
    assert hysteresis.rests_on is not None
    assert hysteresis.rests_on.tolist() == [True, True]
    assert set(lasting(hysteresis, [[0.5, 80.0]] * 8)) == {"!"}
    assert lasting(hysteresis, [[0.5, 0.5]] * 4)[-1] == "."
    assert hysteresis.rests_on is None


def test_an_alarm_taken_over_rests_on_what_its_first_window_shows() -> None:
    hysteresis = following()
    hysteresis.take_over()
    hysteresis.update(1e-12, np.array([1.0, 3.0, np.nan], dtype=np.float32))
    assert hysteresis.rests_on is not None
    assert hysteresis.rests_on.tolist() == [False, True, False]


# --- a machine that stops --------------------------------------------------------------------------------------------


def test_an_alarm_that_comes_due_while_the_machine_may_be_stopping_waits() -> None:
    hysteresis = Hysteresis(profile())
    assert [hysteresis.update(1e-12, stopping=True) for _ in range(4)] == [False] * 4
    assert hysteresis.update(1e-12)


def test_a_rest_ends_what_was_collected() -> None:
    hysteresis = Hysteresis(profile())
    hysteresis.update(1e-12)
    hysteresis.update(1e-12, stopping=True)
    hysteresis.rest()
    assert told([1e-12, 0.5, *OPENING], hysteresis) == "...!"


def test_a_rest_neither_closes_an_alarm_nor_counts_the_calm_windows_before_it() -> None:
    hysteresis = Hysteresis(profile())
    assert told([*OPENING, 0.5, 0.5], hysteresis) == ".!!!"
    hysteresis.rest()
    assert told([0.5, 0.5, 0.5], hysteresis) == "!!."
