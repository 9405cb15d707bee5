"""What a plot of an asset is drawn from."""

from __future__ import annotations

import numpy as np

from hub.lake.lake import DeltaLake
from hub.web.queries import Tile
from hub.web.scores import MAX_POINTS, decades, read_scores, thinned, with_gaps
from tests.web.seeding import S, seed_windows

NOW = 1_800_000_000 * S
PUMP_2 = Tile(
    device_id="gw-lyon-01", asset="pump-2", profile="pump", site="lyon", state="normal", said="normal", p_value=None,
    since_ns=None, last_seen_ns=NOW, backlog_items=None, backlog_bytes=None, bundle_id=None, version=None, top=None,
)  # fmt: skip


def test_decades_stop_at_nine_and_what_is_not_judged_stays_so() -> None:
    assert decades(np.array([1.0, 0.01, 1e-12, 0.0])).tolist() == [0.0, 2.0, 9.0, 9.0]
    assert np.isnan(decades(np.array([np.nan]))[0])


def test_thinning_keeps_the_most_unusual_window_of_each_group() -> None:
    t, values = np.arange(10_000.0), np.zeros(10_000)
    values[[17, 5_003]] = 6.0
    values[300:303] = np.nan
    fewer_t, fewer = thinned(t, values, 1000)
    assert (len(fewer_t), fewer_t[-1], int((fewer == 6.0).sum()), int(np.isnan(fewer).sum())) == (1000, 9999.0, 2, 0)
    assert len(thinned(t[:10], values[:10], 10)[0]) == 10


def test_a_span_without_windows_is_a_gap() -> None:
    t, values = with_gaps(np.array([0.0, 10.0, 20.0, 500.0, 510.0]), np.ones(5))
    assert t.tolist() == [0.0, 10.0, 20.0, 260.0, 500.0, 510.0]
    assert np.isnan(values).tolist() == [False, False, False, True, False, False]


def test_a_week_of_windows_comes_as_no_more_points_than_a_screen_has(lake: DeltaLake) -> None:
    seed_windows(lake, NOW, n=5000)
    figures = read_scores(lake, PUMP_2, (), NOW)
    assert len(figures["t"]) <= MAX_POINTS
    assert figures["t"][-1] == NOW / S - 10
    assert max(value for value in figures["decades"] if value is not None) > 5
    assert figures["alerts"] == []


def test_windows_older_than_the_span_are_left_in_the_lake(lake: DeltaLake) -> None:
    seed_windows(lake, NOW - 8 * 86_400 * S, n=50)
    seed_windows(lake, NOW, n=50)
    assert min(read_scores(lake, PUMP_2, (), NOW)["t"]) > NOW / S - 3600


def test_a_device_whose_clock_is_years_behind_has_a_plot_all_the_same(lake: DeltaLake) -> None:
    then = 2 * 86_400 * S  # a gateway without a battery clock, just after 1970
    seed_windows(lake, then, n=50)
    figures = read_scores(lake, PUMP_2, (), NOW)
    assert (len(figures["t"]), figures["t"][-1]) == (50, then / S - 10)


def test_an_asset_that_never_sent_a_window_has_an_empty_plot(lake: DeltaLake) -> None:
    assert read_scores(lake, PUMP_2, (), NOW)["t"] == []
