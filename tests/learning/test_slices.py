"""The bias report: who pays for a model that is fine on average."""

from __future__ import annotations

import numpy as np

from hub.rollout.cohorts import age_group
from hub.training.slices import MIN_WINDOWS, bias_report, flood_reasons

DAY_NS = 86_400 * 1_000_000_000


def _low(**shares: tuple[int, float]) -> dict[tuple[str, str], list[int]]:
    """By asset: so many windows, and the share of them with a low p-value, spread evenly."""
    return {
        (name, "pump-1"): np.diff(np.floor(np.arange(n + 1) * share)).astype(int).tolist()
        for name, (n, share) in shares.items()
    }


def test_a_site_that_is_flooded_fails_though_the_average_is_low() -> None:
    low = _low(a=(2000, 0.01), b=(2000, 0.01), c=(100, 0.4))
    sites = {("a", "pump-1"): "north", ("b", "pump-1"): "north", ("c", "pump-1"): "south"}
    report = bias_report(low, {"site": sites})
    assert sum(map(sum, low.values())) / 4100 < 0.02
    assert report["failed"] == ["site south"]
    assert report["axes"]["site"]["spread"] == {"min": 0.01, "max": 0.4, "std": 0.195}
    assert "site south: 40.0% of 100 healthy windows" in flood_reasons(report)[0]


def test_a_small_group_is_named_and_neither_passed_nor_failed() -> None:
    low = _low(a=(500, 0.01), c=(MIN_WINDOWS - 1, 1.0))
    report = bias_report(low, {"site": {("a", "pump-1"): "north", ("c", "pump-1"): "south"}})
    assert report["too_small"] == ["site south"]
    assert report["failed"] == []
    assert report["axes"]["site"]["spread"]["max"] == 0.01


def test_a_group_that_is_a_little_worse_than_the_others_passes() -> None:
    low = _low(a=(500, 0.01), c=(100, 0.06))
    report = bias_report(low, {"site": {("a", "pump-1"): "north", ("c", "pump-1"): "south"}})
    assert report["failed"] == report["too_small"] == []


def test_an_asset_that_no_table_knows_is_a_group_of_its_own() -> None:
    report = bias_report(_low(a=(100, 0.0)), {"site": {}, "hardware": {("a", "pump-1"): ""}})
    assert list(report["axes"]["site"]["slices"]) == list(report["axes"]["hardware"]["slices"]) == ["unknown"]


def test_ages_are_told_from_the_commissioning() -> None:
    ages = [age_group(0, days * DAY_NS) for days in (0, 6, 7, 30, 179, 180)]
    assert ages == ["under 7 days", "under 7 days", "7 to 30 days", "30 to 180 days", "30 to 180 days", "over 180 days"]
    assert age_group(None, 5) == "unknown"
