"""Figures as words."""

from __future__ import annotations

import pytest

from hub.web.words import count, exact, fault_name, how_sure, iso, label, percent, rate, since, size, span, unit

S = 1_000_000_000


@pytest.mark.parametrize(
    ("p_value", "decades", "odds"),
    [
        (1.0, 0, ""),
        (0.2, 0, ""),
        (0.1, 1, ""),
        (0.01, 2, "1 in 100 when healthy"),
        (0.001, 3, "1 in 1,000 when healthy"),
        (3.9e-6, 5, "1 in 260,000 when healthy"),
        (1e-6, 6, "1 in 1,000,000 when healthy"),
        (1e-12, 6, "< 1 in 1,000,000 when healthy"),
        (0.0, 6, "< 1 in 1,000,000 when healthy"),
    ],
)
def test_a_p_value_is_told_as_powers_of_ten_and_as_odds(p_value: float, decades: int, odds: str) -> None:
    told = how_sure(p_value)
    assert (told.decades, told.odds) == (decades, odds)


@pytest.mark.parametrize("p_value", [None, float("nan"), -0.1, 1.5])
def test_what_is_no_p_value_is_not_judged(p_value: float | None) -> None:
    assert how_sure(p_value).word == "not judged at the moment"


def test_smaller_p_values_never_sound_calmer() -> None:
    steps = [how_sure(10**-k).decades for k in range(9)]
    assert steps == sorted(steps)


def test_lengths_of_time_have_one_unit() -> None:
    assert [span(s) for s in (0, 59.9, 60, 3599, 3600, 172_799, 172_800)] == [
        "0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 days",
    ]  # fmt: skip


def test_a_clock_ahead_of_the_hub_counts_as_now() -> None:
    assert since(5 * S, now_ns=3 * S) == "0 s"
    assert since(None, now_ns=3 * S) == "unknown"


def test_a_time_that_no_calendar_holds_is_left_out() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso(2**63 - 1).startswith("2262-")
    assert iso(10**30) == ""


def test_a_share_that_falls_short_of_all_is_never_told_as_all() -> None:
    assert [percent(s) for s in (0, 0.0001, 0.004, 0.62, 0.9996, 1)] == ["0 %", "< 0.1 %", "0.4 %", "62 %", "> 99.9 %", "100 %"]


def test_sizes_counts_and_keys_read_as_people_say_them() -> None:
    assert [size(n) for n in (None, 512, 24_180, 3_000_000, 2_500_000_000)] == [
        "not measured yet", "512 B", "24.2 kB", "3.0 MB", "2.5 GB",
    ]  # fmt: skip
    assert (count(1, "device"), count(1200, "device"), count(2, "entry", "entries")) == (
        "1 device",
        "1,200 devices",
        "2 entries",
    )
    assert label("alarm_rate") == "alarm rate"


@pytest.mark.parametrize(("kind", "name"), [("time", "clock"), ("rate", "wrong rate"), ("out_of_range", "out of range")])
def test_a_kind_of_sensor_fault_has_a_heading(kind: str, name: str) -> None:
    assert fault_name(kind) == name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (10, "10 s"), (60, "60 s"), (90, "90 s"), (120, "2 min"), (900, "15 min"), (7200, "2 h")],
)
def test_a_length_that_somebody_chose_is_told_exactly(seconds: float, text: str) -> None:
    assert exact(seconds) == text


@pytest.mark.parametrize(("hz", "text"), [(2000, "2000 Hz"), (5, "5 Hz"), (1 / 60, "one each 60 s"), (0.1, "one each 10 s")])
def test_what_is_slower_than_once_a_second_is_told_by_its_pause(hz: float, text: str) -> None:
    assert rate(hz) == text


def test_units_are_written_as_people_write_them() -> None:
    assert [unit(each) for each in ("degC", "m3/h", "bar", "")] == ["°C", "m³/h", "bar", ""]
