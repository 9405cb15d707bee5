"""Windows in event time: what is in them, when they close, what comes too late, and what memory they may take."""

from __future__ import annotations

import numpy as np
import pytest

import models.windows
from models.contract.clock import NS_PER_S
from models.raw_window import RawWindow
from models.windows import Windower
from tests.builders import T0_NS, plain


def at(seconds: float) -> int:
    return T0_NS + round(seconds * NS_PER_S)


def feed(windower: Windower, *seconds: float, channel: int = 0, now_s: float = 0.0) -> None:
    """A reading at each of `seconds` whose value is the time it was measured."""
    for s in seconds:
        windower.add(channel, at(s), s, at(now_s))


def ends(windows: list[RawWindow]) -> list[float]:
    return [(window.end_ns - T0_NS) / NS_PER_S for window in windows]


def test_a_window_covers_its_end_but_not_its_start() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 22))
    first, second = windower.closed()
    assert (first.start_ns, first.end_ns) == (at(0), at(10))
    assert first.values[0].tolist() == list(range(1, 11))
    assert second.values[0].tolist() == list(range(11, 21))


def test_a_window_closes_when_the_newest_reading_has_passed_its_end_by_the_lateness() -> None:
    windower = Windower(plain(lateness_s=2.0))
    feed(windower, *range(1, 12))
    assert windower.closed() == []
    feed(windower, 12)
    assert ends(windower.closed()) == [10]


def test_the_first_window_is_a_whole_one_and_what_came_before_it_is_left_out() -> None:
    windower = Windower(plain())
    feed(windower, *range(4, 25))
    windows = windower.closed()
    assert ends(windows) == [20]
    assert windows[0].n_readings == 10
    assert windows[0].n_late == 0
    assert windower.n_left_out == 7  # 4 to 10


def test_readings_out_of_order_within_the_lateness_are_sorted_in() -> None:
    windower = Windower(plain(lateness_s=3.0))
    feed(windower, 1, 2, 4, 3, 5, 7, 6, 8, 11, 9, 10, 13)
    (window,) = windower.closed()
    assert window.values[0].tolist() == list(range(1, 11))
    assert (np.diff(window.times[0]) > 0).all()
    assert window.n_late == 0


def test_a_reading_of_a_closed_window_is_counted_and_left_out() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 12))
    windower.closed()
    feed(windower, 9.5, 10, *range(12, 21))
    (window,) = windower.closed()
    assert window.n_late == 2
    assert window.values[0].tolist() == list(range(11, 21))


@pytest.mark.parametrize("block", [False, True])
def test_a_window_tells_which_channels_readings_came_late_or_behind_earlier_ones(block: bool) -> None:
    windower = Windower(plain("x", "y"))
    feed(windower, *range(1, 12))
    windower.closed()
    if block:
        times = np.array([at(s) for s in (8, 9, 12, 15, 13, 14, 16, 18, 20, 21)])
        windower.add_block(1, times, np.zeros(10), 0)
    else:
        feed(windower, 8, 9, 12, 15, 13, 14, 16, 18, 20, 21, channel=1)
    (window,) = windower.closed()
    assert (window.n_late, window.late, window.n_behind) == (2, [0, 2], [0, 2])
    feed(windower, *range(22, 32))
    (window,) = windower.closed()
    assert (window.n_late, window.late, window.n_behind) == (0, [], [])


def test_late_readings_of_a_block_are_counted_and_the_rest_of_it_is_kept() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 12))
    windower.closed()
    times = np.array([at(s) for s in (8, 9, 12, 13)], dtype=np.int64)
    windower.add_block(0, times, np.array([8.0, 9, 12, 13]), 0)
    feed(windower, 20, 21)
    (window,) = windower.closed()
    assert window.n_late == 2
    assert window.values[0].tolist() == [11, 12, 13, 20]


def test_a_gap_in_the_data_skips_the_windows_in_which_nothing_was_measured() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 12), *range(95, 112))
    assert ends(windower.closed()) == [10, 20, 100, 110]


def test_skipping_a_gap_keeps_the_window_open_that_stragglers_still_belong_to() -> None:
    windower = Windower(plain(lateness_s=1.0))
    feed(windower, *range(1, 21))
    windower.closed()
    feed(windower, 40.5, 40.6)
    windower.closed()  # 30 has closed empty; 40 is open until 41
    feed(windower, 39.8, 51, 51.1)
    windows = windower.closed()
    assert ends(windows) == [40, 50]
    assert windows[0].values[0].tolist() == [39.8]


def test_time_that_passes_closes_windows_in_silence() -> None:
    windower = Windower(plain(lateness_s=1.0))
    feed(windower, *range(1, 10), now_s=500)
    assert windower.closed(at(501)) == []
    assert ends(windower.closed(at(502))) == [10]
    assert windower.closed(at(900)) == []


def test_a_sensor_whose_clock_stands_still_does_not_hold_windows_open() -> None:
    windower = Windower(plain())
    for second in range(30):
        feed(windower, min(second + 1, 8), now_s=second)
    assert ends(windower.closed(at(29))) == [10]


def test_a_clock_that_goes_backwards_between_reading_and_tick_closes_nothing() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 10), now_s=500)
    assert windower.closed(at(100)) == []


def test_windows_with_a_hop_overlap() -> None:
    windower = Windower(plain(hop_s=5.0))
    feed(windower, *range(1, 26))
    windows = windower.closed()
    assert ends(windows) == [10, 15, 20, 25]
    assert windows[1].values[0].tolist() == list(range(6, 16))


def test_readings_that_were_used_up_are_forgotten() -> None:
    windower = Windower(plain(hop_s=2.0))
    for second in range(1, 2001):
        feed(windower, second)
        windower.closed()
    assert len(windower._channels[0].times) <= 12


@pytest.mark.parametrize("block", [False, True])
def test_memory_is_bounded_and_the_oldest_go(block: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.windows, "MAX_HELD", 1000)
    windower = Windower(plain(window_s=1000.0))
    times = np.array([at(1 + i / 10) for i in range(5000)], dtype=np.int64)
    if block:
        windower.add_block(0, times[:1], np.ones(1), 0)
        windower.add_block(0, times[1:], np.ones(4999), 0)
    else:
        for t in times.tolist():
            windower.add(0, t, 1.0, 0)
    held = windower._channels[0]
    assert len(held.times) == len(held.values) <= 1000
    assert held.times[-1] == times[-1]
    assert windower.n_overflow == 5000 - len(held.times)


def test_an_asset_without_any_reading_has_no_window() -> None:
    windower = Windower(plain())
    assert windower.newest_ns is None
    assert windower.closed(at(1000)) == []
    windower.add_block(0, np.empty(0, dtype=np.int64), np.empty(0), 0)
    assert windower.newest_ns is None
