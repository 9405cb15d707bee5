"""Alignment to the grid: what is averaged, what is interpolated, and when a channel is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.clock import NS_PER_S
from models.contract.profile import Channel
from models.grid import Grid
from models.raw_window import RawWindow
from tests.builders import T0_NS, plain, raw_window

NAN = float("nan")


def aligned(values: list[float], **windowing: float) -> np.ndarray | None:
    """The column of one channel with a value each second of a 10 s window; None where it is missing."""
    matrix, missing = Grid(plain(**windowing)).align(raw_window(values, window_s=10))
    assert matrix.shape == (10, 1)
    assert bool(missing) == bool(np.isnan(matrix).all())
    return None if missing else matrix[:, 0]


def window_at(offsets_s: list[float], values: list[float]) -> RawWindow:
    times = T0_NS + np.round(np.array(offsets_s) * NS_PER_S).astype(np.int64)
    return RawWindow(T0_NS, T0_NS + 10 * NS_PER_S, [times], [np.array(values)], 0)


def test_one_reading_a_cell_is_the_matrix() -> None:
    assert aligned([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_cell_covers_its_end_but_not_its_start() -> None:
    matrix, _ = Grid(plain()).align(window_at([0.001, 1.0, 1.001, *range(3, 11)], [10, 20, 30, 3, 4, 5, 6, 7, 8, 9, 10]))
    assert matrix[:3, 0].tolist() == [15, 30, 3]


def test_readings_that_share_a_cell_are_averaged() -> None:
    offsets = [i / 4 for i in range(1, 41)]
    matrix, _ = Grid(plain()).align(window_at(offsets, [float(i) for i in range(1, 41)]))
    assert matrix[:, 0].tolist() == [2.5 + 4 * i for i in range(10)]


def test_a_gap_within_the_limit_is_interpolated_linearly() -> None:
    assert aligned([1, 2, NAN, NAN, 5, 6, 7, 8, 9, 10]).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_gaps_at_the_ends_hold_the_nearest_value() -> None:
    assert aligned([NAN, NAN, 3, 4, 5, 6, 7, 8, NAN, NAN]).tolist() == [3, 3, 3, 4, 5, 6, 7, 8, 8, 8]


@pytest.mark.parametrize("start", [0, 3, 7])
@pytest.mark.parametrize(("length", "missing"), [(2, False), (3, True)])
def test_a_gap_is_missing_data_from_beyond_max_gap_on(start: int, length: int, missing: bool) -> None:
    values = [NAN if start <= i < start + length else float(i) for i in range(10)]
    assert (aligned(values, max_gap_s=2.0) is None) == missing


@pytest.mark.parametrize(("n_readings", "missing"), [(5, False), (4, True)])
def test_coverage_below_the_share_is_missing(n_readings: int, missing: bool) -> None:
    values = [NAN] * 10
    for i in range(n_readings):
        values[2 * i] = 1.0
    assert (aligned(values, max_gap_s=5.0, min_coverage=0.5) is None) == missing


def test_many_readings_in_few_cells_are_no_coverage() -> None:
    grid = Grid(plain(max_gap_s=20.0, min_coverage=0.5))
    _, missing = grid.align(window_at([i / 100 for i in range(1, 101)], [1.0] * 100))
    assert missing == [0]


def test_no_reading_at_all_is_missing_even_where_nothing_is_asked_for() -> None:
    assert aligned([NAN] * 10, max_gap_s=100.0, min_coverage=0.0) is None


def test_one_channel_that_is_missing_leaves_the_others_alone() -> None:
    matrix, missing = Grid(plain("a", "b", "c")).align(raw_window([1.0] * 10, [NAN] * 10, [3.0] * 10))
    assert missing == [1]
    assert matrix[:, 0].tolist() == [1.0] * 10
    assert np.isnan(matrix[:, 1]).all()
    assert matrix[:, 2].tolist() == [3.0] * 10


def test_a_slow_channel_is_judged_by_its_own_rate() -> None:
    profile = plain(Channel(name="fast"), Channel(name="slow", rate_hz=0.2))
    slow = [NAN, NAN, 1.0, NAN, NAN, NAN, NAN, 2.0, NAN, NAN]
    matrix, missing = Grid(profile).align(raw_window([5.0] * 10, slow))
    assert missing == []
    assert matrix[:, 1].tolist() == pytest.approx([1, 1, 1, 1.2, 1.4, 1.6, 1.8, 2, 2, 2])
    assert Grid(plain("fast", "slow")).align(raw_window([5.0] * 10, slow))[1] == [1]


def test_a_slow_channel_that_skips_one_is_missing() -> None:
    profile = plain(Channel(name="slow", rate_hz=0.5), window_s=20.0)
    every_other = [5.0 if i % 2 else NAN for i in range(20)]
    assert Grid(profile).align(raw_window(every_other))[1] == []
    with_hole = [NAN if 6 <= i <= 11 else v for i, v in enumerate(every_other)]
    assert Grid(profile).align(raw_window(with_hole))[1] == [0]


@given(st.lists(st.one_of(st.just(NAN), st.floats(-1e6, 1e6)), min_size=10, max_size=10))
def test_a_present_column_has_no_nan_and_stays_between_its_readings(values: list[float]) -> None:
    column = aligned(values, max_gap_s=10.0, min_coverage=0.0)
    there = [v for v in values if not math.isnan(v)]
    if column is None:
        assert not there
    else:
        assert np.isfinite(column).all()
        assert column.min() >= min(there) - 1e-9
        assert column.max() <= max(there) + 1e-9
