"""A machine that is not judged, as one at rest: told as a state of its own wherever states are told."""

from __future__ import annotations

import re

import httpx
import pytest
from sqlalchemy import Engine

from hub.lake.lake import DeltaLake
from hub.web.asset.kinds import Kind, Normal
from hub.web.asset.lake_windows import Wanted, read_windows
from hub.web.asset.pause import read_pause
from hub.web.asset.scores import Marks, read_scores
from hub.web.asset.story import read_story
from hub.web.queries import STATES, Tile, read_fleet, read_tile
from hub.web.time_range import time_range
from hub.web.words import STATE_WORDS
from tests.web.seeding import S, add_asset, add_device
from tests.web.seeding_asset import PUMP, add_learned, fill_windows, learned

NOW = 1_800_000_000 * S
PAGE = "/assets/gw/pump-9"


def kind() -> Kind:
    normal = learned(PUMP, 1)
    return Kind(PUMP, Normal(normal.location, normal.scale, 60, 0, NOW))


def resting(engine: Engine, lake: DeltaLake, now_ns: int, state: str = "not_judged", rested: int = 30) -> Tile:
    """A pump that has stood for `rested` windows of ten seconds."""
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "pump-9", "pump", state, None, now_ns - 290 * S)
        add_learned(connection, "gw", "pump-9", PUMP, learned(PUMP, 1), now_ns - 3000 * S)
        tile = read_tile(connection, 0, "gw", "pump-9")
    assert tile is not None
    fill_windows(lake, now_ns, n=90, device_id="gw", asset="pump-9", alarmed=0, learning=0, rested=rested)
    return tile


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))


def test_every_state_has_a_word_and_a_shape_of_its_own(operator: httpx.Client) -> None:
    assert tuple(STATE_WORDS) == STATES
    page = operator.get("/").text
    assert all(page.count(f'id="shape-{state}"') == 1 for state in STATES)


def test_the_story_tells_since_when_and_what_the_hub_infers_it_from(
    engine: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int
) -> None:
    resting(engine, lake, now_ns, rested=31)
    text = plain(operator.get(PAGE).text)
    assert re.search(
        r"Not judged for 5 min ?\. It seems to be at rest: current is at 0\.02\d+ A, and it runs from 0\.500 A on", text
    )
    assert "what this hub infers" in text
    assert "Running as it has learned to" not in text
    assert "Farthest from its normal" not in text  # that it stands is no change worth telling


def test_a_rest_that_began_before_what_is_read_is_told_by_the_check_in(engine: Engine, lake: DeltaLake, now_ns: int) -> None:
    tile = resting(engine, lake, now_ns, rested=90)
    story = read_story(lake, tile, None, kind(), now_ns)
    assert story.pause is not None
    assert (story.pause.since_ns, story.pause.at_rest, story.changes) == (None, True, ())


def test_without_the_profile_nothing_is_said_of_a_channel(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "mill-1", "mill", "not_judged", None, now_ns - 290 * S)
    text = plain(operator.get("/assets/gw/mill-1").text)
    assert "Not judged for 4 min. Its device sends no verdict on its windows, as of a machine at rest or just started." in text


def test_one_window_cut_short_by_a_clock_is_no_pause(engine: Engine, lake: DeltaLake) -> None:
    pump = kind()
    tile = resting(engine, lake, NOW, "normal", rested=1)
    wanted = Wanted(pump.spec_hash, pump.n_features, range(pump.n_features))
    assert read_pause(pump, read_windows(lake, tile, time_range({}, NOW), wanted)) is None


@pytest.mark.parametrize(
    ("state", "words"), [("commissioning", "Its newest windows do not count"), ("normal", "Not judged for")]
)
def test_other_states_tell_of_a_rest_too(
    engine: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int, state: str, words: str
) -> None:
    resting(engine, lake, now_ns, state)
    assert words in plain(operator.get(PAGE).text)


def test_plots_mark_what_was_not_judged(engine: Engine, lake: DeltaLake) -> None:
    tile = resting(engine, lake, NOW)
    figures = read_scores(lake, tile, time_range({}, NOW, "1h"), Marks(), kind())
    assert figures["unjudged"] == [[NOW / S - 300, NOW / S]]
    assert figures["decades"][-30:] == [None] * 30
    current = next(channel for channel in figures["channels"] if channel["name"] == "current")
    assert current["mean"][-1] < 0.1  # what it measured meanwhile is drawn


def test_the_fleet_counts_filters_and_names_it(engine: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int) -> None:
    resting(engine, lake, now_ns)
    with engine.begin() as connection:
        add_asset(connection, "gw", "pump-1", "pump", "normal", 0.4, now_ns)
        fleet = read_fleet(connection, 0)
    assert fleet.states == {"alarm": 0, "silent": 0, "commissioning": 0, "not_judged": 1, "normal": 1}
    assert fleet.headline == "All is well where it is judged; 1 asset is not, at the moment"
    overview = operator.get("/").text
    assert 'href="/?state=not_judged"' in overview
    assert "at rest or just started" in overview
    shown = operator.get("/fleet", params={"state": "not_judged"}).text
    assert 'class="u" href="/assets/gw/pump-9"' in shown
    assert "pump-1" not in shown
    assert '<option value="not_judged" selected>not judged</option>' in shown
    listed = operator.get("/fleet", params={"state": "not_judged", "view": "list"}).text
    assert 'href="#shape-not_judged"' in listed


def test_on_a_silent_device_it_is_silent(engine: Engine, lake: DeltaLake, now_ns: int) -> None:
    resting(engine, lake, now_ns)
    with engine.begin() as connection:
        tile = read_tile(connection, now_ns + S, "gw", "pump-9")
    assert tile is not None
    assert (tile.state, tile.said) == ("silent", "not_judged")
