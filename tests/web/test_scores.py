"""What a plot of an asset is drawn from."""

from __future__ import annotations

import numpy as np

from hub.lake.lake import DeltaLake
from hub.web.asset.kinds import Kind, Normal
from hub.web.asset.scores import MAX_POINTS, Marks, decades, group_starts, read_scores, spread, with_gaps
from hub.web.queries import Tile
from hub.web.time_range import TimeRange, time_range
from tests.web.seeding import S, seed_windows
from tests.web.seeding_asset import PUMP, fill_windows, learned

NOW = 1_800_000_000 * S
WEEK = time_range({}, NOW, "7d")
PUMP_2 = Tile(
    device_id="gw-lyon-01", asset="pump-2", profile="pump", site="lyon", state="normal", said="normal", p_value=None,
    since_ns=None, last_seen_ns=NOW, backlog_items=None, backlog_bytes=None, bundle_id=None, version=None, top=None,
)  # fmt: skip


def test_decades_stop_at_nine_and_what_is_not_judged_stays_so() -> None:
    assert decades(np.array([1.0, 0.01, 1e-12, 0.0])).tolist() == [0.0, 2.0, 9.0, 9.0]
    assert np.isnan(decades(np.array([np.nan]))[0])


def test_neighbours_are_grouped_from_end_to_end_and_a_few_are_left_alone() -> None:
    starts = group_starts(10_000, 1000)
    assert (len(starts), starts[0], int(np.diff(starts).max())) == (1000, 0, 10)
    assert group_starts(10, 10).tolist() == list(range(10))
    assert group_starts(0, 10).tolist() == []


def test_a_span_without_windows_is_a_gap() -> None:
    t, there = with_gaps(np.array([0.0, 10.0, 20.0, 500.0, 510.0]))
    assert t.tolist() == [0.0, 10.0, 20.0, 260.0, 500.0, 510.0]
    assert np.isnan(spread(np.ones(5), there)).tolist() == [False, False, False, True, False, False]


def test_a_week_of_windows_comes_as_no_more_points_than_a_screen_has(lake: DeltaLake) -> None:
    seed_windows(lake, NOW, n=5000)
    figures = read_scores(lake, PUMP_2, WEEK, Marks())
    assert len(figures["t"]) <= MAX_POINTS
    assert figures["t"][-1] == NOW / S - 10
    assert max(value for value in figures["decades"] if value is not None) > 5
    assert figures["alerts"] == []


def test_windows_older_than_the_span_are_left_in_the_lake(lake: DeltaLake) -> None:
    seed_windows(lake, NOW - 8 * 86_400 * S, n=50)
    seed_windows(lake, NOW, n=50)
    assert min(read_scores(lake, PUMP_2, WEEK, Marks())["t"]) > NOW / S - 3600


def test_a_device_whose_clock_is_years_behind_has_a_plot_all_the_same(lake: DeltaLake) -> None:
    then = 2 * 86_400 * S  # a gateway without a battery clock, just after 1970
    seed_windows(lake, then, n=50)
    figures = read_scores(lake, PUMP_2, WEEK, Marks())
    assert (len(figures["t"]), figures["t"][-1]) == (50, then / S - 10)


def test_an_asset_that_never_sent_a_window_has_an_empty_plot(lake: DeltaLake) -> None:
    assert read_scores(lake, PUMP_2, WEEK, Marks())["t"] == []


KIND = Kind(PUMP)


def test_channels_come_in_their_units_with_the_lowest_and_highest_of_what_is_drawn_as_one(lake: DeltaLake) -> None:
    fill_windows(lake, NOW, n=2500, learning=0, alarmed=1)
    normal = learned(PUMP, 1)
    KIND.normal = Normal(normal.location, normal.scale, 60, 0, NOW)
    figures = read_scores(lake, PUMP_2, WEEK, Marks(), KIND)
    by_name = {channel["name"]: channel for channel in figures["channels"]}
    assert [(name, channel["unit"]) for name, channel in by_name.items()][:2] == [("flow", "m³/h"), ("pressure", "bar")]
    vibration = by_name["vibration"]
    assert len(vibration["mean"]) == len(figures["t"]) <= MAX_POINTS
    assert max(vibration["high"]) > 4.5 > max(vibration["mean"]), "one odd window among neighbours is seen in the highest only"
    assert all(
        low <= mean <= high for low, mean, high in zip(*(vibration[key] for key in ("low", "mean", "high")), strict=True)
    )
    assert vibration["normal"][0] < 2.4 < vibration["normal"][1]


def test_another_feature_can_be_asked_for_and_an_unknown_one_is_the_mean(lake: DeltaLake) -> None:
    fill_windows(lake, NOW, n=100, learning=0)
    spreads = read_scores(lake, PUMP_2, WEEK, Marks(), KIND, "std")
    assert (spreads["feature"], spreads["channels"][0]["low"]) == ("std", None)
    assert 0.3 < np.median(spreads["channels"][0]["mean"]) < 0.5
    assert read_scores(lake, PUMP_2, WEEK, Marks(), KIND, "<b>")["feature"] == "mean"


def test_windows_of_another_feature_spec_have_no_channels(lake: DeltaLake) -> None:
    seed_windows(lake, NOW)
    figures = read_scores(lake, PUMP_2, WEEK, Marks(), KIND)
    assert (len(figures["t"]), figures["channels"], figures["features"]) == (360, [], [])


def test_a_range_between_two_times_shows_these_and_does_not_move_to_where_there_is_something(lake: DeltaLake) -> None:
    fill_windows(lake, NOW, n=100)
    between = TimeRange(NOW - 500 * S, NOW - 300 * S, follows=False, span="")
    t = read_scores(lake, PUMP_2, between, Marks())["t"]
    assert (len(t), min(t) * S >= between.from_ns, max(t) * S <= between.to_ns) == (21, True, True)
    assert read_scores(lake, PUMP_2, TimeRange(0, 86_400 * S, follows=False, span=""), Marks())["t"] == []
