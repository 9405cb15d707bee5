"""The pages of models and training runs: what they say, where from, and that nothing of a card becomes markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import unescape
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert, select, update

from hub.state.schema import audit_entries, bundle_approvals, bundles, device_slots
from hub.web.models.cards import number, numbers, text
from hub.web.models.pictures import HEIGHT, WIDTH, alarm_rates, quantization, roc
from hub.web.models.run import read_run
from hub.web.models.versions import MAX_VERSIONS, Holders, read_versions
from hub.web.models.view import judged
from tests.hub.operating import PASSWORD, add_user
from tests.web.seeding import add_asset, add_bundle, add_device
from tests.web.seeding_models import add_many_versions, add_run, evaluation, kept_curves, seed_models

HOSTILE = '"><script>alert(1)</script>'
CARD_KEYS = ["auc", "int8", "all", "axes", "slices", "share"]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(CARD_KEYS), inner, max_size=4),
    max_leaves=8,
)
EVALUATION_KEYS = [*evaluation(), "curves", "bias"]


@pytest.fixture
def models(fleet: Engine, now_ns: int) -> Engine:
    """The seeded fleet with whole cards and runs."""
    with fleet.begin() as connection:
        seed_models(connection, now_ns)
    return fleet


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def own(client: httpx.Client) -> dict[str, str]:
    return {"Origin": str(client.base_url).rstrip("/")}


# --- the registry -------------------------------------------------------------------------------------------------


def test_the_registry_says_what_runs_where_and_how_good_it_is(models: Engine, operator: httpx.Client) -> None:
    told = plain(operator.get("/models").text)
    for words in (
        "v3 being rolled out", "v2 rolled back", "v1 decides", "decides on 3 devices · kept as previous on 1",
        "AUC int8 0.928", "float 0.930", "11.4 kB", "41 µs", "on 7,312 windows of 4 devices", "approved by Ann",
        "pump-r2 failed", "int8 loses 0.021", "pump-r4 trains for", "alarm_rate: 71.4%", "tocsin hub train --profile host",
    ):  # fmt: skip
        assert words in told, words


def test_profiles_with_a_model_come_first_and_those_without_after_in_one_place(models: Engine, operator: httpx.Client) -> None:
    told = plain(operator.get("/models").text)
    marks = (r"fan \d+ devices? watch", r"pump \d+ devices? watch", "Without a model yet", r"host \d+ devices? watch")
    titles = [found.start() for mark in marks if (found := re.search(mark, told))]
    assert len(titles) == len(marks)
    assert titles == sorted(titles)
    assert told.count("train a first model") == 1
    overview = operator.get("/").text
    assert overview.index("<h3>pump</h3>") < overview.index("<h3>host</h3>")


def test_an_empty_registry_explains_the_next_step(operator: httpx.Client) -> None:
    told = plain(operator.get("/models").text)
    assert "No profile yet" in told
    assert "tocsin hub train --profile pump" in told


def test_five_thousand_devices_are_counted_by_bundle_and_slot_in_as_many_statements_as_one(engine: Engine, now_ns: int) -> None:
    with engine.begin() as connection:
        ids = [add_bundle(connection, "pump", version, now_ns) for version in (1, 2)]
        rows = [
            {"device_id": f"d{k:04}", "profile": "pump", "slot": slot, "bundle_id": ids[k % 2 ^ at], "n_windows": 1}
            for k in range(5000)
            for at, slot in enumerate(("active", "previous"))
        ]
        connection.execute(insert(device_slots), rows)
        counted: list[int] = []
        event.listen(engine, "before_cursor_execute", lambda *_: counted.append(1))
        [pump] = read_versions(connection)
    assert [version.holders for version in pump.versions] == [Holders(2500, 0, 2500)] * 2
    assert len(counted) == 8


def test_of_many_versions_the_newest_are_shown_and_the_rest_is_counted(engine: Engine, now_ns: int) -> None:
    with engine.begin() as connection:
        add_many_versions(connection, MAX_VERSIONS + 5, now_ns)
        [pump] = read_versions(connection)
    assert ([version.version for version in pump.versions][:2], len(pump.versions), pump.n_older) == ([17, 16], MAX_VERSIONS, 5)


# --- one model ----------------------------------------------------------------------------------------------------


def test_a_model_s_page_is_its_card_with_lineage_and_pictures(models: Engine, operator: httpx.Client) -> None:
    html = operator.get("/models/pump-3-5f3a").text
    told = plain(html)
    for words in (
        "7,312 windows of 4 devices", "lake version 412", "pump-r3", "took 1 min · seed 1", "decides on 1", "running",
        "Not for:", "92 % seen at 1 % false alarms", "The champion is pump-1-5f3a", "95 % 83 %", "too few to judge by",
        "too few windows to judge, 34 windows", "0.9 % to 1.6 %", "0.0013", "0.9998", "dense-autoencoder", "keras",
    ):  # fmt: skip
        assert words in told, words
    assert 'href="/v1/bundles/pump-3-5f3a/card.html"' in html
    assert f'href="/v1/tuf/targets/pump/{"ab" * 32}.pump-3-5f3a.bundle"' in html
    pictures = re.findall(r"<svg class=\"lines\".*?</svg>", html, re.DOTALL)
    assert len(pictures) == 3
    for picture in pictures:
        assert ET.fromstring(picture).attrib["aria-label"]
    assert "At 1 % false alarms they detect" in unescape(pictures[0])


def test_a_bundle_that_was_made_elsewhere_has_a_page_without_what_it_does_not_tell(
    models: Engine, operator: httpx.Client
) -> None:
    with models.begin() as connection:
        connection.execute(update(bundles).where(bundles.c.bundle_id == "fan-1-5f3a").values(card={}, run_id=None))
    told = plain(operator.get("/models/fan-1-5f3a").text)
    for words in ("made elsewhere", "holds no evaluation", "does not tell false alarms by group", "Not compared with a float"):
        assert words in told, words


def test_unknown_models_and_runs_are_not_found_and_strangers_are_sent_to_sign_in(
    models: Engine, operator: httpx.Client
) -> None:
    assert [operator.get(path).status_code for path in ("/models/no", "/runs/no", "/parts/model?bundle=no")] == [404] * 3
    operator.cookies.clear()
    for path in ("/models", "/models/pump-3-5f3a", "/runs/pump-r3"):
        assert operator.get(path).headers["location"] == "/signin"


def test_an_operator_answers_for_a_model_once_and_it_is_in_the_audit_log(models: Engine, stranger: httpx.Client) -> None:
    add_user(models, "olga", "operator")
    stranger.post("/signin", data={"name": "olga", "password": PASSWORD}, headers=own(stranger))
    assert 'value="olga"' in stranger.get("/models/pump-3-5f3a").text
    said = {"by": "Olga <b>", "note": "seen in shadow"}
    response = stranger.post("/models/pump-3-5f3a/approval", data=said, headers=own(stranger))
    assert (response.status_code, response.headers["location"]) == (303, "/models/pump-3-5f3a")
    told = stranger.get("/models/pump-3-5f3a").text
    assert "Olga &lt;b&gt;" in told
    assert "/approval" not in told
    again = stranger.post("/models/pump-3-5f3a/approval", data=said, headers=own(stranger))
    assert (again.status_code, "approved already" in again.text) == (409, True)
    with models.begin() as connection:
        logged = connection.execute(select(audit_entries).where(audit_entries.c.action == "bundle.approve")).one()
    assert (logged.actor, logged.subject) == ("user:olga", "pump-3-5f3a")


def test_nobody_answers_from_another_site_as_a_viewer_without_a_name_or_at_length(
    models: Engine, stranger: httpx.Client
) -> None:
    address = "/models/pump-3-5f3a/approval"
    assert stranger.post(address, data={"by": "x"}, headers=own(stranger)).status_code == 401
    add_user(models, "vera", "viewer")
    add_user(models, "olga", "operator")
    stranger.post("/signin", data={"name": "vera", "password": PASSWORD}, headers=own(stranger))
    assert "/approval" not in stranger.get("/models/pump-3-5f3a").text
    assert stranger.post(address, data={"by": "x"}, headers=own(stranger)).status_code == 403
    stranger.cookies.clear()
    stranger.post("/signin", data={"name": "olga", "password": PASSWORD}, headers=own(stranger))
    assert stranger.post(address, data={"by": "x"}, headers={"Origin": "http://evil.example"}).status_code == 401
    assert stranger.post(address, data={"by": " "}, headers=own(stranger)).status_code == 409
    assert stranger.post(address, data={"by": "x", "note": "y" * 40_000}, headers=own(stranger)).status_code == 413
    assert stranger.post("/models/no/approval", data={"by": "x"}, headers=own(stranger)).status_code == 409
    with models.begin() as connection:
        assert connection.execute(select(bundle_approvals.c.bundle_id)).scalars().all() == ["pump-1-5f3a"]


# --- runs ---------------------------------------------------------------------------------------------------------


def test_a_run_s_page_says_how_far_it_came_and_why_it_ended(models: Engine, operator: httpx.Client) -> None:
    failed = plain(operator.get("/runs/pump-r2").text)
    for words in ("failed", "int8 loses 0.021 of AUC", "seed 1", "7,312 windows", "To train again", "trim share 0.02", "numpy"):
        assert words in failed, words
    assert 'href="/models/pump-3-5f3a"' in operator.get("/runs/pump-r3").text
    assert "shows it then by itself" in operator.get("/runs/pump-r4").text


def test_the_steps_of_a_run_are_told_by_its_record(models: Engine, now_ns: int) -> None:
    with models.begin() as connection:
        add_run(connection, "early", "pump", now_ns, state="failed", error="too little data")
        found = {name: read_run(connection, name) for name in ("pump-r3", "pump-r2", "pump-r4", "early")}
    steps = {name: [step.progress for step in run.steps] for name, run in found.items() if run}
    assert steps == {
        "pump-r3": ["done"] * 4,
        "pump-r2": ["done", "done", "done", "failed"],
        "pump-r4": ["current", "ahead", "ahead", "ahead"],
        "early": ["failed", "ahead", "ahead", "ahead"],
    }


# --- what comes from elsewhere ------------------------------------------------------------------------------------


def test_hostile_texts_in_cards_and_records_are_text(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    card = {"title": HOSTILE, "limits": HOSTILE, "intended_use": HOSTILE, "data": {"usable": 1, "splits": {HOSTILE: HOSTILE}}}
    group = {"share": 0.5, "windows": 9, "verdict": HOSTILE}
    card["evaluation"] = {"bias": {"axes": {HOSTILE: {"slices": {HOSTILE: group}}}, "failed": [HOSTILE]}}
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "a", HOSTILE, "normal", 0.5, now_ns)
        add_bundle(connection, HOSTILE, 1, now_ns)
        connection.execute(update(bundles).values(card=card, bundle_id="b1"))
        add_run(
            connection, "r1", HOSTILE, now_ns, state="failed", error=HOSTILE, record={"host": HOSTILE, "trainer": {HOSTILE: 1}}
        )
    for path in ("/models", "/models/b1", "/runs/r1"):
        page = operator.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;alert(1)" in page.text
        assert not re.search(r"<style|\sstyle=|\son\w+=", page.text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(EVALUATION_KEYS), JSON, max_size=6))
def test_an_evaluation_of_any_shape_is_read_without_a_failure(found: dict[str, Any]) -> None:
    judged(found)


def test_numbers_and_texts_of_cards_are_taken_as_they_are_or_not_at_all() -> None:
    assert [number(value) for value in (1, 0.5, True, "1", float("nan"), None, 10**400)] == [1.0, 0.5, *[None] * 5]
    assert (numbers([1, 2]), numbers([1, "x"]), numbers([1], 2), numbers("12")) == ([1.0, 2.0], [], [], [])
    assert text({"a_b": [1, 2.5], "c": None}) == "a b 1, 2.5, c –"
    assert len(text("x" * 1000)) == 400


def test_pictures_stay_in_their_frames_and_are_left_out_where_there_are_no_curves() -> None:
    for draw in (roc, alarm_rates, quantization):
        picture = draw(kept_curves())
        assert picture
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in picture.lines for x, y in line.dots)
        assert draw({}) is None
        assert draw({"false_alarm_share": [0.0, 1.0], "detected": {"int8": {"all": [1]}}, "quantiles": {"float": [1]}}) is None
