"""The pages of assets and alerts: what they say, what they are drawn from, and that it is bounded."""

from __future__ import annotations

import math
import re

import httpx
import numpy as np
import pytest
from sqlalchemy import Engine, event

from hub.lake.lake import DeltaLake
from hub.state.schema import device_slots, sensor_faults
from hub.web.asset.changes import Change, figure, what_changed
from hub.web.asset.evidence import MAX_SAMPLES, drawn
from hub.web.asset.kinds import Kind, Normal, normal_of
from hub.web.asset.lake_windows import AssetWindows
from hub.web.asset.sisters import MAX_SISTERS, MIN_TO_JUDGE, read_sisters
from hub.web.asset.spectrum import amplitude_spectrum, octaves
from hub.web.queries import read_tile
from hub.web.time_range import MAX_S, SPANS_S, time_range
from tests.hub.operating import PASSWORD, add_user
from tests.web.seeding import S, add, add_alert, add_asset, add_device
from tests.web.seeding_asset import (
    BEARING,
    PUMP,
    add_learned,
    add_sisters,
    fill_evidence,
    fill_windows,
    learned,
    seed_asset,
    vectors,
)

NOW = 1_800_000_000 * S
HOSTILE = '"><script>alert(1)</script>'
PAGE = "/assets/gw-lyon-01/pump-2"


def kind_with_normal(profile=PUMP, seed: int = 1) -> Kind:  # type: ignore[no-untyped-def]
    normal = learned(profile, seed)
    return Kind(profile, Normal(normal.location, normal.scale, 60, 0, NOW))


def windows_of(kind: Kind, wrong: float = 0.0, n: int = 12) -> AssetWindows:
    features = vectors(kind.profile, n, 5, np.full(n, wrong))
    ends = NOW / S - np.arange(n)[::-1] * 10.0
    return AssetWindows(ends, np.full(n, 0.5), np.zeros(n, bool), np.zeros(n, bool), features, time_range({}, NOW))


# --- time ranges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [{}, {"span": "a year"}, {"from": "yesterday"}, {"from": "nan", "to": "inf"}, {"from": "200", "to": "100"}, {"to": "5"}],
)
def test_what_is_no_time_is_the_default(query: dict[str, str]) -> None:
    found = time_range(query, NOW)
    assert (found.length_ns, found.to_ns, found.follows, found.query()) == (3600 * S, NOW, True, "span=1h")


def test_an_address_says_a_span_or_two_times_in_utc_or_unix_seconds() -> None:
    assert time_range({"span": "24h"}, NOW).length_ns == SPANS_S["24h"] * S
    between = time_range({"from": "2026-11-27T01:00", "to": "2026-11-27T03:00+01:00"}, NOW)
    assert (between.length_ns, between.follows) == (3600 * S, False)
    assert time_range(dict(part.split("=") for part in between.query().split("&")), NOW) == between
    assert time_range({"from": str(NOW / S - 60)}, NOW).to_ns == NOW


def test_no_range_is_longer_than_what_is_read_for_one_picture() -> None:
    assert time_range({"from": "0", "to": str(NOW / S)}, NOW).length_ns == MAX_S * S


# --- what changed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change("vibration", "std", "spread", "mm/s", 3.2, 1.0, 40.0), "vibration spread 3.20× its normal"),
        (Change("temperature", "mean", "level", "°C", 48.1, 46.0, 20.0), "temperature level 2.10 °C above its normal"),
        (Change("flow", "slope", "trend", "m³/h/s", -0.2, 0.1, -9.0), "flow trend 0.300 m³/h/s below its normal"),
        (Change("x", "octave2", "power at 125 Hz", "", -1.0, -2.0, 9.0), "x power at 125 Hz 10.0× its normal"),
        (Change("x", "mean", "level", "V", 2.0, -1.0, 9.0), "x level 3.00 V above its normal"),
    ],
)  # fmt: skip
def test_a_change_in_words(change: Change, words: str) -> None:
    assert change.text == words


def test_the_contributing_channel_comes_first_and_the_rest_by_how_far_out_they_are() -> None:
    kind = kind_with_normal()
    found = what_changed(kind, windows_of(kind, wrong=1.0))
    assert [change.channel for change in found][:2] == ["vibration", "flow"]
    assert found[0].now > 2 * found[0].usual
    assert what_changed(kind, windows_of(kind, wrong=1.0), first="pressure")[0].channel == "pressure"
    assert not any(change.is_far for change in what_changed(kind, windows_of(kind)) if change.channel != "pressure")


def test_nothing_is_said_without_a_normal_or_windows_and_absent_features_are_left_out() -> None:
    kind = kind_with_normal()
    assert what_changed(Kind(PUMP), windows_of(kind)) == ()
    gone = windows_of(kind, wrong=1.0)
    gone.features[:, kind.position("vibration", "mean") : kind.position("vibration", "mean") + 5] = np.nan
    assert "vibration" not in {change.channel for change in what_changed(kind, gone)}
    assert what_changed(kind, windows_of(kind), since_s=NOW / S + 1) == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0294, "0.0294"), (5.409, "5.41"), (1234.5, "1,234"), (-2.5e-5, "−2.5e−05"), (math.nan, "–")],
)
def test_figures_keep_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


# --- spectra, evidence --------------------------------------------------------------------------------------------


def test_a_sine_stands_in_the_spectrum_at_its_frequency_and_amplitude() -> None:
    rate_hz, t = 1024.0, np.arange(4096) / 1024.0
    found = amplitude_spectrum(5.0 + 2.5 * np.sin(2 * np.pi * 100 * t) + 0.5 * np.sin(2 * np.pi * 300 * t), rate_hz)
    assert found
    by_hz = dict(zip(found["hz"], found["amplitude"], strict=True))
    assert by_hz[100.0] == pytest.approx(2.5, rel=1e-3)
    assert by_hz[300.0] == pytest.approx(0.5, rel=1e-3)
    assert max(by_hz, key=by_hz.__getitem__) == 100.0
    assert (found["step_hz"], found["segments"]) == (1.0, 7)


def test_a_spectrum_needs_samples_without_a_gap() -> None:
    assert amplitude_spectrum(np.ones(10), 100.0) is None
    assert amplitude_spectrum(np.r_[np.ones(200), np.nan], 100.0) is None


def test_octaves_tell_which_bands_are_out_of_their_usual_place() -> None:
    kind = kind_with_normal(BEARING)
    [calm] = octaves(kind, windows_of(kind))
    [ringing] = octaves(kind, windows_of(kind, wrong=1.0))
    assert [band.name for band in ringing.bands][-1] == "500–1000 Hz"
    assert (calm.unit, calm.bands[-2].outside, ringing.bands[-2].outside) == ("g", False, True)
    assert all(0 <= ringing.share(band.now_db) <= 1 for band in ringing.bands)
    assert octaves(kind_with_normal(), windows_of(kind_with_normal())) == ()


def test_what_is_drawn_of_many_samples_keeps_every_peak_and_gap() -> None:
    values = np.sin(np.arange(50_000) / 500)
    values[12_345], values[33_333] = 9.0, -9.0
    values[20_000:20_100] = np.nan
    rows = drawn(values)
    assert len(rows) <= MAX_SAMPLES
    assert {12_345, 33_333} <= set(rows.tolist())
    assert np.isnan(values[rows]).any()
    assert drawn(values[:10]).tolist() == list(range(10))


# --- sisters ------------------------------------------------------------------------------------------------------


def sisters_of(engine: Engine, n: int, now_ns: int):  # type: ignore[no-untyped-def]
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "pump-1", "pump", "normal", 1e-4, now_ns)
        add_learned(connection, "gw", "pump-1", PUMP, learned(PUMP, 1, shift=0.4), now_ns)
        add_sisters(connection, n, now_ns)
        tile = read_tile(connection, 0, "gw", "pump-1")
        assert tile
        counted = []
        event.listen(engine, "before_cursor_execute", lambda *_: counted.append(1))
        normal = learned(PUMP, 1, shift=0.4)
        found = read_sisters(connection, tile, Kind(PUMP, Normal(normal.location, normal.scale, 60, 0, NOW)))
        assert len(counted) == 2
        return found


def test_an_asset_is_placed_among_its_sisters_and_called_apart_where_it_is(engine: Engine, now_ns: int) -> None:
    found = sisters_of(engine, 12, now_ns)
    assert (found.n_all, found.same_site, found.few) == (12, 12, False)
    assert found.strips[0].verdict == "more unusual than 12 of 12"
    by_name = {strip.name: strip for strip in found.strips}
    assert by_name["vibration"].outlying
    assert "apart from the others" in by_name["vibration"].verdict
    assert all(0 <= x <= 1 for strip in found.strips for x in strip.others)


def test_few_sisters_are_shown_and_nothing_is_judged_by_them(engine: Engine, now_ns: int) -> None:
    found = sisters_of(engine, MIN_TO_JUDGE - 1, now_ns)
    assert found.few
    assert {strip.verdict for strip in found.strips} == {""}


def test_of_many_sisters_a_bounded_number_is_looked_at(engine: Engine, now_ns: int) -> None:
    found = sisters_of(engine, MAX_SISTERS + 20, now_ns)
    assert (found.n_all, found.n_shown, len(found.strips[1].others)) == (MAX_SISTERS + 20, MAX_SISTERS, MAX_SISTERS)


def test_a_normal_of_another_spec_or_a_torn_one_is_none(engine: Engine) -> None:
    class Row:
        spec_hash, location, scale, n_windows, start_ns, end_ns = PUMP.spec_hash, b"abc", b"", 60, 0, 1

    assert normal_of(Row, Kind(PUMP)) is None
    Row.spec_hash = "f" * 16
    assert normal_of(Row, Kind(PUMP)) is None


# --- the pages ----------------------------------------------------------------------------------------------------


def test_the_page_says_in_short_what_is_since_when_and_what_to_do(
    fleet: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    with fleet.begin() as connection:
        alert_id = seed_asset(connection, lake, now_ns)
    text = re.sub(r"<[^>]+>|\s+", " ", operator.get(PAGE).text)
    text = re.sub(r"\s+", " ", text)
    assert re.search(r"In alarm for 3 min : vibration level 2\.\d+× its normal \(5\.\d+ mm/s, usually 2\.\d+\)", text)
    for words in ("extremely unusual", "60 windows", "See the evidence", "A false alarm", "12 other assets of profile pump"):
        assert words in text, words
    html = operator.get(PAGE).text
    assert f'href="{PAGE}/alerts/{alert_id}"' in html
    assert f'action="/alerts/gw-lyon-01/{alert_id}/feedback"' in html
    assert 'href="/models/pump-3-5f3a"' in html
    assert 'href="/rollouts/roll-pump-3-5f3a"' in html


def test_the_story_alone_is_what_the_page_holds(fleet: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int) -> None:
    with fleet.begin() as connection:
        seed_asset(connection, lake, now_ns)
    alone = operator.get(f"{PAGE}/story")
    assert alone.status_code == 200
    assert "its normal" in alone.text
    assert operator.get("/assets/no/such/story").status_code == 404


def test_a_viewer_is_offered_no_word_on_an_alert(fleet: Engine, stranger: httpx.Client) -> None:
    add_user(fleet, "vera", "viewer")
    origin = {"Origin": str(stranger.base_url).rstrip("/")}
    stranger.post("/signin", data={"name": "vera", "password": PASSWORD}, headers=origin)
    text = stranger.get(PAGE).text
    assert ("A false alarm" in text, "role operator" in text) == (False, True)


def test_an_asset_that_learns_says_how_far_it_has_come(
    engine: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "pump-9", "pump", "commissioning", None, now_ns - 230 * S)
    fill_windows(lake, now_ns, n=23, device_id="gw", asset="pump-9", alarmed=0, learning=23)
    text = operator.get("/assets/gw/pump-9").text
    assert "23 of 60 windows, at least 6 min to go" in text
    assert "Let it run as it should" in text
    assert "No other asset of profile pump" in text


def test_windows_at_rest_are_no_progress(engine: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "pump-9", "pump", "commissioning", None, now_ns - 230 * S)
    fill_windows(lake, now_ns, n=23, device_id="gw", asset="pump-9", alarmed=0, learning=23, at_rest=8)
    assert "15 of 60 windows" in operator.get("/assets/gw/pump-9").text


def test_the_plots_mark_faults_alerts_and_their_channels(
    fleet: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    with fleet.begin() as connection:
        alert_id = seed_asset(connection, lake, now_ns)
        for name, opened, closed in (("old", 90_000, 80_000), ("within", 1500, 1200), ("open", 60, None)):
            times = {"opened_ns": now_ns - opened * S, "closed_ns": closed and now_ns - closed * S}
            fault = {"device_id": "gw-lyon-01", "source": "plc", "asset": "pump-2", "channel": "flow", "fault": "stuck"}
            add(connection, sensor_faults, fault_id=name, detail="", **fault, **times)
    figures = operator.get(f"{PAGE}/scores.json", params={"span": "1h"}).json()
    assert [(fault["channel"], fault["to"] is None) for fault in figures["faults"]] == [("flow", False), ("flow", True)]
    assert figures["alerts"][0]["id"] == alert_id
    assert figures["alerts"][0]["top"][0] == ["vibration", 0.62]
    assert len(figures["channels"]) == 5
    narrow = operator.get(f"{PAGE}/scores.json", params={"from": now_ns / S - 300, "to": now_ns / S}).json()
    assert 25 < len(narrow["t"]) < len(figures["t"])


def test_an_alert_s_evidence_is_its_samples_the_top_channel_first(
    fleet: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    with fleet.begin() as connection:
        alert_id = seed_asset(connection, lake, now_ns)
    address = f"{PAGE}/alerts/{alert_id}"
    assert "critical alert" in operator.get(address).text
    figures = operator.get(f"{address}/evidence.json").json()
    assert (figures["n_samples"], figures["rate_hz"], round(figures["opened"], 3)) == (150, 5.0, 30.0)
    top = figures["channels"][0]
    assert (top["name"], top["unit"], top["share"], top["spectrum"]) == ("vibration", "mm/s", 0.62, None)
    assert np.median(top["values"][60:]) > top["usual"][1] > np.median(top["values"][:50]) > top["usual"][0]


def test_an_alert_by_a_single_reading_says_which_and_leads_to_no_model(
    engine: Engine, operator: httpx.Client, now_ns: int
) -> None:
    said = "17.5 degC; the nearest ever seen is 5.1 degC"
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "store-1", "cold-store", "alarm", None, now_ns)
        add_alert(connection, "gw", "store-1", "cold-store", now_ns, alert_id="a1", detector="streaming", detail=said)
    html = operator.get("/assets/gw/store-1/alerts/a1").text
    assert said in html
    assert "a single reading" in html
    assert "/models/streaming" not in html


def test_evidence_of_a_fast_channel_has_a_spectrum_and_is_thinned(
    engine: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "b-1", "bearing", "alarm", 1e-7, now_ns)
        add_alert(connection, "gw", "b-1", "bearing", now_ns, alert_id="a1", top=[["acceleration", 1.0]])
    fill_evidence(lake, "gw", "b-1", "a1", now_ns, BEARING)
    [channel] = operator.get("/assets/gw/b-1/alerts/a1/evidence.json").json()["channels"]
    assert (channel["thinned"], len(channel["values"]) <= MAX_SAMPLES, channel["unit"]) == (True, True, "g")
    peak = channel["spectrum"]["amplitude"].index(max(channel["spectrum"]["amplitude"]))
    assert channel["spectrum"]["hz"][peak] == pytest.approx(25, abs=2)


def test_an_alert_without_evidence_says_why_and_an_unknown_one_is_not_found(
    fleet: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    alert = f"pump-4-{now_ns - 75 * S}"
    assert "on their way" in operator.get(f"/assets/gw-brest-02/pump-4/alerts/{alert}/evidence.json").json()["none"]
    assert operator.get(f"{PAGE}/alerts/{alert}").status_code == 404, "of another asset"
    assert operator.get(f"{PAGE}/alerts/nothing/evidence.json").status_code == 404


def test_hostile_names_are_text_on_the_pages_of_assets_and_alerts(
    engine: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", HOSTILE, now_ns)
        add_asset(connection, "gw", "pump-1", "pump", "alarm", 1e-7, now_ns)
        add_alert(
            connection, "gw", "pump-1", "pump", now_ns, alert_id="a1", top=[[HOSTILE, 0.5]], severity=HOSTILE, detector=HOSTILE
        )
        add(connection, device_slots, device_id="gw", profile="pump", slot="active", bundle_id=HOSTILE[:60], n_windows=1)
    for path in ("/assets/gw/pump-1", "/assets/gw/pump-1/story", "/assets/gw/pump-1/alerts/a1"):
        text = operator.get(path).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


def test_pages_of_assets_and_alerts_have_nothing_inline(
    fleet: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    with fleet.begin() as connection:
        alert_id = seed_asset(connection, lake, now_ns)
    for path in (PAGE, f"{PAGE}/story", f"{PAGE}/alerts/{alert_id}"):
        response = operator.get(path)
        assert "unsafe" not in response.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", response.text), path


def test_pages_of_assets_and_alerts_are_refused_to_strangers(fleet: Engine, stranger: httpx.Client, now_ns: int) -> None:
    alert = f"{PAGE}/alerts/pump-2-{now_ns - 190 * S}"
    assert stranger.get(alert).status_code == 303
    assert [stranger.get(path).status_code for path in (f"{PAGE}/story", f"{alert}/evidence.json")] == [401, 401]
