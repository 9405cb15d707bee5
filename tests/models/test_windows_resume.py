"""Windows over a restart, and readings that come more than once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.profile import Channel
from models.windows import Windower
from tests.builders import plain
from tests.models.test_windows import at, ends, feed


def resumed(horizon_s: float, **windowing: float) -> Windower:
    windower = Windower(plain(**windowing))
    windower.resume(at(horizon_s), at(0))
    return windower


def test_after_a_restart_windows_go_on_where_they_were() -> None:
    before = Windower(plain())
    feed(before, *range(1, 16))
    assert ends(before.closed()) == [10]
    assert before.horizon_ns == at(10)
    after = resumed(10)
    again = np.array([at(s) for s in (8, 9, 10, 11, 12)])  # what was not acknowledged, and what nobody knows was
    assert after.leave_known(again).tolist() == [False, False, False, True, True]
    feed(after, *range(11, 22))
    (window,) = after.closed()
    assert (window.start_ns, window.end_ns) == (at(10), at(20))
    assert window.values[0].tolist() == list(range(11, 21))
    assert after.n_repeated == 3
    assert window.n_late == 0


def test_after_a_gap_the_cut_off_window_is_left_out() -> None:
    after = resumed(10)
    feed(after, *range(15, 42))
    windows = after.closed()
    assert ends(windows) == [30, 40]
    assert after.n_left_out == 6
    assert after.n_repeated == 0


@pytest.mark.parametrize("away_s", [4, 30, 600])
def test_a_short_absence_costs_the_windows_that_it_cut_and_no_other(away_s: int) -> None:
    after = resumed(10)
    first = 10 + away_s
    feed(after, *range(first, first + 40))
    whole = ends(after.closed())
    assert whole
    assert min(whole) - 10 >= first - 1
    assert min(whole) - 10 < first + 10


def test_overlapping_windows_go_on_with_what_they_share() -> None:
    before = Windower(plain(hop_s=5.0))
    feed(before, *range(1, 23))
    assert ends(before.closed())[-1] == 20
    assert before.horizon_ns == at(15)  # what lies behind belongs to a window that is still open
    after = resumed(15, hop_s=5.0)
    feed(after, *range(16, 31))
    windows = after.closed()
    assert ends(windows) == [25, 30]
    assert windows[0].values[0].tolist() == list(range(16, 26))


def test_a_slow_channel_first_is_no_gap() -> None:
    windower = Windower(plain(Channel(name="x", rate_hz=0.2), "y"))
    windower.resume(at(10), at(0))
    feed(windower, 14, channel=0)
    feed(windower, *range(11, 22), channel=1)
    assert ends(windower.closed()) == [20]


def test_a_clock_that_was_set_back_long_before_the_horizon_is_believed_in_the_end() -> None:
    after = resumed(100_000)
    feed(after, *range(1, 25))
    assert ends(after.closed()) == [10, 20] or ends(after.closed()) == [20]
    assert after.n_repeated == 0


def test_a_resumed_asset_that_stays_silent_closes_nothing() -> None:
    after = resumed(10)
    assert after.closed(at(1000)) == []


def test_the_same_reading_twice_is_one_reading() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 12))
    feed(windower, *range(3, 12))
    (window,) = windower.closed()
    assert window.n_readings == 10
    assert windower.n_repeated == 9  # 11 is of the next window; it is one reading all the same


def test_two_values_of_one_time_are_two_readings() -> None:
    windower = Windower(plain())
    feed(windower, 1, 3)
    for value in (1.0, 2.0, 1.0):
        windower.add(0, at(5), value, 0)
    feed(windower, 7, 9, 11)
    (window,) = windower.closed()
    assert window.values[0].tolist() == [1.0, 3.0, 1.0, 2.0, 7.0, 9.0]
    assert windower.n_repeated == 1


@given(
    st.lists(st.tuples(st.integers(1, 100), st.sampled_from([1.0, 2.0, math.nan])), min_size=1, max_size=80),
    st.randoms(use_true_random=False),
    st.integers(1, 3),
)
def test_however_often_and_in_whatever_order_readings_come_each_counts_once(
    readings: list[tuple[int, float]], random: object, times: int
) -> None:
    once = Windower(plain(lateness_s=100.0))
    often = Windower(plain(lateness_s=100.0))
    unique = {(t, str(v)): (t, v) for t, v in readings}.values()
    again = list(readings) * times
    random.shuffle(again)  # type: ignore[attr-defined]
    for windower, feed_of in ((once, sorted(unique)), (often, again)):
        windower.add(0, at(0.5), 0.0, 0)
        for t, v in feed_of:
            windower.add(0, at(t), v, 0)
        windower.add(0, at(300), 0.0, 0)
    for a, b in zip(once.closed(), often.closed(), strict=True):
        assert a.end_ns == b.end_ns
        assert a.times[0].tolist() == b.times[0].tolist()
        np.testing.assert_array_equal(np.sort(a.values[0]), np.sort(b.values[0]))
