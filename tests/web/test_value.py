"""What the learning brought: figures, their intervals, and the page, the API and the command that tell them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, poisson
from sqlalchemy import Engine, insert, update

from hub.lake.days import DAY_NS
from hub.lake.lake import DeltaLake
from hub.lake.tables import SCHEMAS
from hub.settings import init_hub
from hub.state.database import open_state
from hub.state.schema import alerts, profile_days, received_days
from hub.value.delay import opening_delay_s
from hub.value.report import MONTH_NS, ValueFigures, window_bytes
from hub.value.statistics import median_interval, poisson_interval, rates_differ
from models.contract.config import load_profile
from tests.waiting import wait_until
from tests.web.seeding import FLEET, S, seed_fleet, seed_windows
from tests.web.seeding_data import add_profile_day, seed_data
from tests.web.seeding_value import add_judged, seed_value
from tocsin.cli import cli

HOSTILE = '"><script>alert(1)</script>'
EMPTY = ds.dataset(pa.Table.from_pylist([], schema=SCHEMAS["aggregates"]))


# --- statistics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.6235, 11.668), (20, 12.217, 30.889)]
)
def test_a_rate_has_the_exact_interval_of_garwood_s_table(count: int, low: float, high: float) -> None:
    assert poisson_interval(count, 1.0) == pytest.approx((low, high), rel=1e-3)
    assert poisson_interval(count, 4.0) == pytest.approx((low / 4, high / 4), rel=1e-3)


@given(rate=st.floats(0.05, 30.0))
@settings(max_examples=40, deadline=None)
def test_the_interval_holds_the_true_rate_at_least_95_times_in_a_hundred(rate: float) -> None:
    held = 0.0
    for count in range(int(rate + 12 * math.sqrt(rate) + 20)):
        low, high = poisson_interval(count, 1.0)
        held += float(poisson.pmf(count, rate)) * (low <= rate <= high)
    assert held >= 0.9499


@given(k1=st.integers(0, 60), k2=st.integers(0, 60), t1=st.floats(0.1, 50), t2=st.floats(0.1, 50))
@settings(max_examples=60, deadline=None)
def test_two_rates_are_compared_by_the_conditional_binomial(k1: int, k2: int, t1: float, t2: float) -> None:
    p_value = rates_differ((k1, t1), (k2, t2))
    assert 0 <= p_value <= 1
    if k1 + k2:
        share = t2 / (t1 + t2)
        tails = (binomtest(k2, k1 + k2, share, alternative=side).pvalue for side in ("less", "greater"))
        assert p_value == pytest.approx(min(1.0, 2 * min(tails)), abs=1e-9)


@pytest.mark.parametrize("n", [6, 7, 12, 30, 101])
def test_the_median_s_interval_has_its_confidence_and_is_as_short_as_it_can_be(n: int) -> None:
    found = median_interval([float(k) for k in range(n)])
    assert found is not None
    middle, low, high = found
    assert (middle, low + high) == ((n - 1) / 2, n - 1)
    assert 1 - 2 * binom.cdf(low, n, 0.5) >= 0.95 - 1e-9
    assert 1 - 2 * binom.cdf(low + 1, n, 0.5) < 0.95
    assert median_interval([1.0] * 5) is None


# --- the report -----------------------------------------------------------------------------------------------------


def report(engine: Engine, now_ns: int, windows: ds.Dataset = EMPTY) -> dict[str, object]:
    with engine.begin() as connection:
        return ValueFigures(None).report(connection, windows, now_ns).model_dump()


def test_an_empty_hub_claims_nothing(engine: Engine, now_ns: int) -> None:
    found = report(engine, now_ns)
    assert (found["profiles"], found["asset_months"]) == ([], 0)
    assert found["traffic"] == {"since": None, "raw_bytes": 0, "received_bytes": 0, "not_sent_share": None, "left_out": []}


def serve(engine: Engine, detector: str, days: range, months: float, profile: str = "pump") -> None:
    """`months` of watching over these days."""
    for day in days:
        add_profile_day(engine, profile, detector, day, 100, watched_ns=int(months * MONTH_NS / len(days)))


def test_a_fleet_is_watched_for_longer_than_64_bits_of_nanoseconds(engine: Engine, now_ns: int) -> None:
    today = now_ns // DAY_NS
    serve(engine, "pump-v1", range(today - 200, today + 1), 1000 * 200 / 30.4)  # a thousand assets for 200 days
    found, _ = models_of(engine, now_ns)
    assert found["pump-v1"]["asset_months"] == pytest.approx(1000 * 200 / 30.4, rel=1e-3)


def judge(engine: Engine, detector: str, day: int, *labels: str) -> None:
    for k, label in enumerate(labels):
        add_judged(engine, "pump", detector, day * DAY_NS + k * S, label, k)


def models_of(engine: Engine, now_ns: int) -> tuple[dict[str, dict[str, object]], list[tuple[object, ...]]]:
    [profile] = report(engine, now_ns)["profiles"]  # type: ignore[misc]
    changes = [(change["before"], change["after"], change["verdict"]) for change in profile["changes"]]
    return {model["detector"]: model for model in profile["models"]}, changes


def test_false_alarms_are_counted_by_who_decided_and_compared(engine: Engine, now_ns: int) -> None:
    today = now_ns // DAY_NS
    serve(engine, "baseline", range(today - 20, today - 10), 4.0)
    serve(engine, "pump-v1", range(today - 10, today + 1), 4.0)
    judge(engine, "baseline", today - 15, *["false-alarm"] * 18, "confirm", "maintenance", "")
    judge(engine, "pump-v1", today - 5, "false-alarm", "false-alarm", "confirm")
    found, changes = models_of(engine, now_ns)
    baseline, model = found["baseline"], found["pump-v1"]
    assert (baseline["alerts"]["count"], baseline["confirmed"], baseline["maintenance"], baseline["unlabelled"]) == (
        21,
        1,
        1,
        1,
    )  # type: ignore[index]
    assert baseline["false_alarms"]["per_asset_month"] == pytest.approx(18 / 4.0, rel=1e-3)  # type: ignore[index]
    assert model["false_alarms"]["count"] == 2  # type: ignore[index]
    assert changes == [("baseline", "pump-v1", "fewer")]


@pytest.mark.parametrize(
    ("months", "labels", "verdict"),
    [
        (0.9, ["false-alarm"], "too few to say"),  # too short
        (4.0, ["", "", "confirm"], "too few to say"),  # most were never judged
        (4.0, ["false-alarm"] * 16, "same"),
        (4.0, ["false-alarm"] * 60, "more"),
        (4.0, [], "fewer"),  # nothing at all is an answer, too
    ],
)
def test_what_cannot_be_told_is_not_claimed(
    engine: Engine, now_ns: int, months: float, labels: list[str], verdict: str
) -> None:
    today = now_ns // DAY_NS
    serve(engine, "baseline", range(today - 20, today - 10), 4.0)
    serve(engine, "pump-v1", range(today - 10, today + 1), months)
    judge(engine, "baseline", today - 15, *["false-alarm"] * 18)
    judge(engine, "pump-v1", today - 5, *labels)
    assert models_of(engine, now_ns)[1] == [("baseline", "pump-v1", verdict)]


def test_alerts_from_before_counting_began_and_of_other_detectors_are_left_out(engine: Engine, now_ns: int) -> None:
    today = now_ns // DAY_NS
    serve(engine, "baseline", range(today - 5, today + 1), 2.0)
    judge(engine, "baseline", today - 6, "false-alarm")
    judge(engine, "baseline", today - 4, "false-alarm")
    judge(engine, "another", today - 4, "false-alarm")
    assert models_of(engine, now_ns)[0]["baseline"]["alerts"]["count"] == 1  # type: ignore[index]


def test_where_windows_overlap_time_counts_once(engine: Engine, now_ns: int) -> None:
    bearing = load_profile("bearing").windowing
    today = now_ns // DAY_NS
    serve(engine, "baseline", range(today, today + 1), 2.0, profile="bearing")
    [profile] = report(engine, now_ns)["profiles"]  # type: ignore[misc]
    assert profile["models"][0]["asset_months"] == pytest.approx(2.0 * min(1.0, bearing.hop / bearing.window_s), abs=1e-3)


def test_bytes_not_sent_are_samples_against_bodies(engine: Engine, now_ns: int) -> None:
    today = now_ns // DAY_NS
    add_profile_day(engine, "pump", "baseline", today, 1000)
    add_profile_day(engine, "homemade", "baseline", today, 1000)
    with engine.begin() as connection:
        connection.execute(insert(received_days).values(day=today, kind="aggregate", n_items=1000, n_bytes=240_000))
    traffic = report(engine, now_ns)["traffic"]
    assert window_bytes(load_profile("pump")) == 5 * 5.0 * 10.0 * 4  # channels, Hz, seconds, bytes
    raw = 1000 * 1000
    expected = {"raw_bytes": raw, "received_bytes": 240_000, "not_sent_share": 1 - 240_000 / raw, "left_out": ["homemade"]}
    assert traffic == expected | {"since": traffic["since"]}  # type: ignore[index]


def test_weeks_tell_what_was_said_last(engine: Engine, now_ns: int) -> None:
    today = now_ns // DAY_NS
    judge(engine, "baseline", today, "confirm")
    judge(engine, "baseline", today - 6, "false-alarm", "")
    judge(engine, "baseline", today - 7, "maintenance")
    judge(engine, "baseline", today - 400, "maintenance")
    weeks = report(engine, now_ns)["weeks"]
    last = {"confirmed": 1, "false": 1, "maintenance": 0, "unlabelled": 1}
    assert [weeks[-1], weeks[-2]] == [  # type: ignore[index]
        {"from_day": weeks[-1]["from_day"], **last},  # type: ignore[index]
        {"from_day": weeks[-2]["from_day"], "confirmed": 0, "false": 0, "maintenance": 1, "unlabelled": 0},  # type: ignore[index]
    ]
    assert len(weeks) == 26  # type: ignore[arg-type]


# --- delays, from the lake ------------------------------------------------------------------------------------------


def test_a_delay_is_measured_from_the_first_unusual_window_of_the_run(lake: DeltaLake, now_ns: int) -> None:
    seed_windows(lake, now_ns, n=360)  # the last 19 windows, ten seconds each, are far below p = 0.01
    windows = lake.dataset("aggregates")
    opened_ns = now_ns - 10 * S - 10 * 10 * S
    delay_s = opening_delay_s(windows, "pump", "gw-lyon-01", "pump-2", opened_ns)
    assert delay_s is not None
    assert 80 <= delay_s <= 130
    assert opening_delay_s(windows, "pump", "gw-lyon-01", "pump-2", now_ns - 1500 * S) is None  # no run there
    assert opening_delay_s(windows, "pump", "gw-lyon-01", "other", opened_ns) is None


def test_six_confirmed_alerts_make_a_median_and_are_read_from_the_lake_once(
    engine: Engine, lake: DeltaLake, now_ns: int
) -> None:
    seed_windows(lake, now_ns, n=360)
    today = now_ns // DAY_NS
    serve(engine, "pump-v1", range(today - 2, today + 1), 2.0)
    for k in range(6):
        add_judged(engine, "pump", "pump-v1", now_ns - 10 * S - (k + 1) * 20 * S, "confirm", k)
    figures = ValueFigures(None)
    with engine.begin() as connection:
        first = figures.report(connection, lake.dataset("aggregates"), now_ns)
        again = figures.report(connection, EMPTY, now_ns)
    delay = first.profiles[0].models[0].delay
    assert delay.count == 6
    assert delay.median_s is not None
    assert delay.low_s is not None
    assert delay.low_s < delay.median_s
    assert again == first


# --- where it is told -----------------------------------------------------------------------------------------------


@pytest.fixture
def seeded(fleet: Engine, lake: DeltaLake, now_ns: int) -> Engine:
    seed_data(fleet, None, now_ns, [device for device, *_ in FLEET])
    seed_value(fleet, now_ns)
    return fleet


def shown(client: httpx.Client) -> str:
    wait_until(lambda: "being worked out" not in client.get("/parts/value").text, what="the figures")
    return client.get("/value").text


def test_the_page_tells_rates_with_their_intervals_and_what_they_are(seeded: Engine, operator: httpx.Client) -> None:
    text = shown(operator)
    for words in ("asset-months", "5.07 (2.77 to 8.51)", "fewer false alarms", "too few to say", "G", "tocsin hub value"):
        assert words in text, words


def test_the_page_of_an_empty_hub_says_when_there_will_be_figures(operator: httpx.Client) -> None:
    text = shown(operator)
    assert "No asset has been watched since counting began" in text
    assert "%" not in text.partition("Not sent")[2].partition("</section>")[0]


def test_hostile_names_are_text(seeded: Engine, operator: httpx.Client) -> None:
    with seeded.begin() as connection:
        connection.execute(update(profile_days).values(detector=HOSTILE).where(profile_days.c.detector == "baseline"))
        connection.execute(update(alerts).values(detector=HOSTILE).where(alerts.c.detector == "baseline"))
        connection.execute(update(profile_days).values(profile=HOSTILE).where(profile_days.c.profile == "fan"))
    text = shown(operator)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_command_and_page_tell_the_same(tmp_path: Path, now_ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.value.cli.time.time_ns", lambda: now_ns)
    hub = init_hub(tmp_path / "hub")
    engine = open_state(hub.state_url)
    with engine.begin() as connection:
        seed_fleet(connection, now_ns)
    seed_data(engine, None, now_ns, [device for device, *_ in FLEET])
    seed_value(engine, now_ns)
    told = CliRunner().invoke(cli, ["hub", "value", "--json", "--data", str(tmp_path / "hub")])
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["profiles"] == report(engine, now_ns)["profiles"]
    plain = CliRunner().invoke(cli, ["hub", "value", "--data", str(tmp_path / "hub")]).output
    assert "pump: pump-3-5f3a against baseline: fewer false alarms" in plain
    assert "5.07 (2.77 to 8.51)" in plain
    engine.dispose()
