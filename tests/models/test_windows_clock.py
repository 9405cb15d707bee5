"""A sensor's clock that jumps: held until confirmed, nothing lost once it is, and one garbage time changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from models.contract.clock import NS_PER_S
from models.raw_window import RawWindow
from models.readings_held import CONFIRMATIONS
from models.windows import MAX_JUMP_S, Windower
from tests.builders import T0_NS, plain

DAY_S = 86_400.0


def feed(windower: Windower, *seconds: float, channel: int = 0) -> None:
    for s in seconds:
        windower.add(channel, T0_NS + round(s * NS_PER_S), s, 0)


def seconds_in(windows: list[RawWindow], channel: int = 0) -> list[float]:
    return [s for window in windows for s in window.values[channel].tolist()]


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S, MAX_JUMP_S + 20, -MAX_JUMP_S - 40, -54 * 365 * DAY_S])
def test_a_jump_is_held_until_confirmed_and_then_nothing_of_it_is_lost(jump_s: float) -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 12))
    assert len(windower.closed()) == 1
    after = [jump_s + s for s in range(1, 21)]
    feed(windower, *after[: CONFIRMATIONS - 1])
    assert windower.closed() == []
    assert windower.newest_ns == T0_NS + 11 * NS_PER_S
    feed(windower, *after[CONFIRMATIONS - 1 :])
    windows = windower.closed()
    assert seconds_in(windows) == [11, *after]
    assert [window.partial for window in windows] == [True, *[False] * (len(windows) - 1)]
    assert (windower.n_restarts, windower.n_left_out) == (1, 0)


def test_a_jump_cuts_windows_short_on_both_sides_and_loses_nothing() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 14), *(DAY_S + s for s in range(5, 21)))
    windows = windower.closed()
    assert seconds_in(windows) == [*range(1, 14), *(DAY_S + s for s in range(5, 21))]
    spans = [((w.start_ns - T0_NS) / NS_PER_S, (w.end_ns - T0_NS) / NS_PER_S, w.partial) for w in windows]
    assert spans == [
        (0, 10, False),
        (10, 13, True),
        (DAY_S + 4, DAY_S + 10, True),
        (DAY_S + 10, DAY_S + 20, False),
    ]


@pytest.mark.parametrize("back_s", [40.0, 600.0, MAX_JUMP_S - 30])
def test_a_clock_that_falls_back_by_less_than_an_hour_loses_nothing(back_s: float) -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 64))
    windows = windower.closed()
    after = [63 - back_s + s for s in range(1, 31)]
    feed(windower, *after)
    windows += windower.closed()
    assert seconds_in(windows)[:63] == list(range(1, 64))
    assert sum(window.n_late for window in windows) == 0
    feed(windower, *(after[-1] + s for s in range(1, 12)))
    windows += windower.closed()
    assert set(after) <= set(seconds_in(windows))
    assert len({(w.start_ns, w.end_ns, w.end_mono_ns) for w in windows if w.partial}) == sum(w.partial for w in windows)


def test_stragglers_that_span_less_than_a_window_are_late_and_no_jump() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 42))
    windower.closed()
    feed(windower, *range(12, 21), *range(42, 52))
    windows = windower.closed()
    assert (windower.n_restarts, sum(window.n_late for window in windows)) == (0, 9)


@pytest.mark.parametrize("ahead_s", [3.0, 9.0, 60.0, 1800.0, MAX_JUMP_S - 1])
@pytest.mark.parametrize("at", [0, 1, 13])
def test_one_wrong_time_ahead_makes_no_other_reading_late(ahead_s: float, at: int) -> None:
    windower = Windower(plain())
    for s in range(1, 31):
        if s - 1 == at:
            feed(windower, s + ahead_s)
        feed(windower, s)
    windows = windower.closed()
    held = seconds_in(windows)
    assert sum(window.n_late for window in windows) == 0
    assert set(held) | set(windower._channels[0].values) >= set(range(11 if at == 0 else 1, 31))


@pytest.mark.parametrize("garbage_s", [-(10**9), -DAY_S, MAX_JUMP_S + 1000, 10**9])
def test_one_garbage_timestamp_changes_nothing(garbage_s: float) -> None:
    clean, dirty = Windower(plain("a", "b")), Windower(plain("a", "b"))
    for s in range(1, 31):
        for channel in (0, 1):
            feed(clean, s, channel=channel)
            feed(dirty, s, channel=channel)
        if s == 13:
            feed(dirty, garbage_s)
    expected, got = clean.closed(), dirty.closed()
    assert seconds_in(got, 0) == seconds_in(expected, 0)
    assert seconds_in(got, 1) == seconds_in(expected, 1)
    assert dirty.n_left_out == 1
    assert sum(window.n_late for window in got) == 0


def test_one_garbage_row_of_many_channels_changes_nothing() -> None:
    names = [f"c{i}" for i in range(8)]
    windower = Windower(plain(*names))
    for s in [*range(1, 6), DAY_S, *range(6, 22)]:
        for channel in range(8):
            feed(windower, s, channel=channel)
    windows = windower.closed()
    assert windower.n_restarts == 0
    assert seconds_in(windows, 7) == list(range(1, 21))


def test_one_garbage_timestamp_in_a_block_changes_nothing() -> None:
    windower = Windower(plain())
    feed(windower, 1)
    seconds = np.array([2.0, 3, 4, 10**9, 5, 6, 7, 8, 9, 10, 11])
    windower.add_block(0, T0_NS + (seconds * NS_PER_S).astype(np.int64), seconds, 0)
    assert seconds_in(windower.closed()) == list(range(1, 11))
    assert windower.n_left_out == 1


def test_garbage_timestamps_between_good_ones_never_add_up_to_a_jump() -> None:
    windower = Windower(plain())
    for s in range(1, 101):
        feed(windower, s, 0.0 - DAY_S)
    assert windower.n_restarts == 0
    assert seconds_in(windower.closed()) == list(range(1, 101))


def test_a_first_reading_with_a_garbage_timestamp_is_overcome() -> None:
    windower = Windower(plain())
    feed(windower, -(10**9), *range(1, 22))
    assert seconds_in(windower.closed()) == list(range(1, 21))


def test_suspects_that_never_get_confirmed_take_bounded_memory() -> None:
    windower = Windower(plain())
    feed(windower, 1)
    feed(windower, *[DAY_S] * 50_000)
    assert len(windower._suspects.readings) <= 1000
    assert windower.n_left_out >= 49_000


def test_a_gap_shorter_than_a_jump_is_believed_at_the_second_reading_after_it() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 11), MAX_JUMP_S - 1, MAX_JUMP_S)
    assert seconds_in(windower.closed()) == [*range(1, 11), MAX_JUMP_S - 1, MAX_JUMP_S]
    assert windower.newest_ns == T0_NS + MAX_JUMP_S * NS_PER_S


def test_readings_far_apart_are_each_believed_at_the_next() -> None:
    windower = Windower(plain())
    feed(windower, *range(5, 3600, 600))
    assert seconds_in(windower.closed()) == [605, 1205, 1805]


def test_readings_that_are_days_apart_fill_windows_of_many_days() -> None:
    windower = Windower(plain(rate_hz=1 / DAY_S, window_s=20 * DAY_S))
    feed(windower, *(DAY_S * day for day in range(1, 61)))
    windows = windower.closed()
    assert len(windows) == 2
    assert all(window.n_readings == 20 for window in windows)
