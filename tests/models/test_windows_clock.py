"""A sensor's clock that jumps: held until confirmed, nothing lost once it is, and one garbage time changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from models.contract.clock import NS_PER_S
from models.windows import CONFIRMATIONS, MAX_JUMP_S, RawWindow, Windower
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
    assert seconds_in(windower.closed()) == after
    assert windower.n_restarts == 1


def test_what_a_jump_cuts_off_is_counted() -> None:
    windower = Windower(plain())
    feed(windower, 1, 2, 3, *(DAY_S + s for s in range(1, 11)))
    assert len(windower.closed()) == 1
    assert windower.n_left_out == 3


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
    assert len(windower._suspects) <= 1000
    assert windower.n_left_out >= 49_000


def test_a_gap_shorter_than_a_jump_needs_no_confirmation() -> None:
    windower = Windower(plain())
    feed(windower, *range(1, 11), MAX_JUMP_S - 1)
    assert seconds_in(windower.closed()) == list(range(1, 11))
    assert windower.newest_ns == T0_NS + (MAX_JUMP_S - 1) * NS_PER_S


def test_readings_that_are_days_apart_fill_windows_of_many_days() -> None:
    windower = Windower(plain(rate_hz=1 / DAY_S, window_s=20 * DAY_S))
    feed(windower, *(DAY_S * day for day in range(1, 61)))
    windows = windower.closed()
    assert len(windows) == 2
    assert all(window.n_readings == 20 for window in windows)
