"""The pages over a real socket: who gets in, what they show, and that nothing from outside becomes markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, update

from agent.config import load_config
from hub.access import COOKIE
from hub.devices.cloned import name_cloned
from hub.devices.standing import take_step
from hub.lake.lake import DeltaLake
from hub.state.schema import assets, devices
from hub.web.overview import PARTS
from hub.web.render import STATIC_DIR
from tests.waiting import PATIENCE_S
from tests.web.seeding import add_alert, add_asset, add_device, seed_windows
from tests.web.serving import TOKEN, served

HOSTILE = '"><script>alert(1)</script>'


@pytest.mark.parametrize("path", ["/", "/?state=alarm", "/assets/gw-lyon-01/pump-2"])
def test_a_page_sends_strangers_to_sign_in(stranger: httpx.Client, path: str) -> None:
    response = stranger.get(path)
    assert (response.status_code, response.headers["location"]) == (303, "/signin")


@pytest.mark.parametrize("path", ["/parts/fleet", "/events", "/parts/asset?device=a&asset=b", "/assets/a/b/scores.json"])
def test_parts_streams_and_figures_are_refused_to_strangers(stranger: httpx.Client, path: str) -> None:
    assert stranger.get(path).status_code == 401


def test_an_address_with_the_token_signs_in_and_forgets_the_token(stranger: httpx.Client) -> None:
    response = stranger.get(f"/?token={TOKEN}")
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=lax"))
    assert TOKEN not in cookie
    assert stranger.get("/").status_code == 200


@pytest.mark.parametrize("wrong", ["", "guess", "é" * 20])
def test_a_wrong_token_signs_nobody_in(stranger: httpx.Client, wrong: str) -> None:
    for response in (stranger.get("/", params={"token": wrong}), stranger.post("/signin", data={"token": wrong})):
        assert response.status_code == 403
        assert "set-cookie" not in response.headers
        assert "not this hub" in response.text


def test_signing_in_and_out_from_another_site_is_refused(operator: httpx.Client) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert operator.post("/signin", data={"token": TOKEN}, headers=headers).status_code == 403
        assert operator.post("/signout", headers=headers).status_code == 403
    assert operator.get("/").status_code == 200


def test_a_sign_in_form_without_end_is_cut_off(stranger: httpx.Client) -> None:
    assert stranger.post("/signin", data={"token": "x" * 10_000}).status_code == 413


def test_signing_out_takes_the_cookie_away(operator: httpx.Client) -> None:
    response = operator.post("/signout", headers={"Origin": str(operator.base_url).rstrip("/")})
    assert response.status_code == 303
    assert COOKIE not in operator.cookies
    assert operator.get("/").status_code == 303


def test_every_page_carries_strict_headers_and_has_no_inline_script_or_style(fleet: Engine, operator: httpx.Client) -> None:
    paths = ["/", "/signin", "/assets/gw-lyon-01/pump-2", "/assets/no/such", *(f"/parts/{name}" for name in PARTS)]
    for path in paths:
        response = operator.get(path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", response.text), path


def test_static_files_keep_for_good_under_the_address_of_their_content(operator: httpx.Client, fleet: Engine) -> None:
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', operator.get("/assets/gw-lyon-01/pump-2").text)
    assert len(addresses) >= 6
    for address in addresses:
        response = operator.get(address)
        assert response.status_code == 200, address
        assert "immutable" in response.headers["cache-control"]
    assert operator.get("/static/../routes.py").status_code == 404
    assert operator.get("/static/%2e%2e/routes.py").status_code == 404


def test_vendored_libraries_come_with_version_and_licence() -> None:
    vendor = STATIC_DIR / "vendor"
    licences = (vendor / "LICENSES.txt").read_text(encoding="utf-8")
    for path in vendor.glob("*.min.*"):
        assert path.name in licences
    assert re.search(r"htmx\.org \d+\.\d+\.\d+", licences)
    assert re.search(r"uplot \d+\.\d+\.\d+", licences)
    assert "Permission is hereby granted" in licences


def test_an_empty_hub_says_what_to_do_and_its_example_configuration_is_one(operator: httpx.Client, tmp_path: Path) -> None:
    text = operator.get("/").text
    found = re.search(r'id="first-config">(.*?)</code>', text, re.DOTALL)
    assert found
    config = tmp_path / "tocsin.toml"
    config.write_text(unescape(found[1]), encoding="utf-8")
    loaded = load_config(config)
    assert loaded.config.hub
    assert loaded.config.hub.url == str(operator.base_url).rstrip("/")


def test_the_overview_tells_the_fleet_s_state_in_words(fleet: Engine, operator: httpx.Client) -> None:
    text = operator.get("/").text
    for words in (
        "2 assets need attention",
        "11 assets on 7 devices",
        "extremely unusual",
        "1 in 710,000 when healthy",
        "&lt; 1 in 1,000,000 when healthy",
        "its device was last heard",
        "1,204 items waiting",
        "rolled back",
        "gathering evidence",
        "the new one may reach 8.9 %",
        "11.4 kB int8",
        "204 items on the way or lost",
        "3.412 bar for 40 s",
    ):
        assert words in text, words


def test_the_overview_can_be_narrowed_to_a_state_and_ignores_an_unknown_one(fleet: Engine, operator: httpx.Client) -> None:
    narrowed = operator.get("/?state=commissioning").text
    assert "tile-gw-brest-01-motor-2" in narrowed
    assert "tile-gw-lyon-01-pump-1" not in narrowed
    assert "tile-gw-lyon-01-pump-1" in operator.get("/", params={"state": HOSTILE}).text


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_is_what_the_whole_page_holds(fleet: Engine, operator: httpx.Client, part: str) -> None:
    alone = operator.get(f"/parts/{part}").text
    digest = re.search(rf'data-live="{part}" data-digest="(\w+)"', alone)
    assert digest
    assert digest[0] in operator.get("/").text
    assert digest[0] in operator.get(f"/parts/{part}?state=alarm").text


def test_an_unknown_part_or_asset_is_not_found(operator: httpx.Client) -> None:
    assert operator.get("/parts/nothing").status_code == 404
    assert operator.get("/assets/no/such/scores.json").status_code == 404
    response = operator.get("/assets/no/<b>such")
    assert (response.status_code, "<b>such" in response.text) == (404, False)


def test_hostile_names_are_shown_as_text(engine: Engine, operator: httpx.Client, now_ns: int) -> None:
    with engine.begin() as connection:
        add_device(connection, HOSTILE, HOSTILE, now_ns, sources={HOSTILE: HOSTILE})
        add_asset(connection, HOSTILE, "a" + HOSTILE, HOSTILE, "alarm", 1e-7, now_ns)
        add_alert(connection, HOSTILE, "a" + HOSTILE, HOSTILE, now_ns, top=[[HOSTILE, 0.5]], severity=HOSTILE)
    for path in ("/", "/parts/tiles", "/parts/alerts"):
        text = operator.get(path).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize(
    ("quality", "doubted"), [("synced", False), ("corrected", False), ("bounded", True), ("unknown", True)]
)
def test_a_time_that_nobody_can_vouch_for_is_shown_as_such(
    engine: Engine, operator: httpx.Client, now_ns: int, quality: str, doubted: bool
) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "pump-1", "pump", "alarm", 1e-7, now_ns)
        add_alert(connection, "gw", "pump-1", "pump", now_ns, time_quality=quality)
    for path in ("/parts/alerts", "/assets/gw/pump-1"):
        assert ("(time uncertain)" in operator.get(path).text) == doubted


def test_a_device_that_is_kept_out_or_cloned_says_so_on_its_assets_pages(
    engine: Engine, operator: httpx.Client, now_ns: int
) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "pump-1", "pump", "normal", 0.5, now_ns)
        name_cloned(connection, "gw", "e1", ("boot-a", "<b>boot-b</b>"), now_ns)
    text = operator.get("/assets/gw/pump-1").text
    assert "boots boot-a and &lt;b&gt;boot-b&lt;/b&gt; both write in epoch e1" in text
    for step, words in (("suspend", "This device is suspended: in a pub"), ("resume", "")):
        with engine.begin() as connection:
            take_step(connection, "gw", step, reason="in a pub", actor="hub", now_ns=now_ns)  # type: ignore[arg-type]
        text = operator.get("/assets/gw/pump-1").text
        assert ("standing" in text, words in text) == (bool(words), True)


def test_the_plot_s_figures_come_from_the_lake(fleet: Engine, lake: DeltaLake, operator: httpx.Client, now_ns: int) -> None:
    seed_windows(lake, now_ns)
    figures = operator.get("/assets/gw-lyon-01/pump-2/scores.json").json()
    assert len(figures["t"]) == 360
    assert figures["t"] == sorted(figures["t"])
    assert figures["decades"][:60] == [None] * 60  # commissioning is not judged
    assert figures["threshold"] == 3  # p = 0.001
    assert max(figures["decades"][60:300]) < 5 < min(figures["decades"][-10:])
    assert figures["learning"] == [[figures["t"][0], figures["t"][59]]]
    assert [alert["to"] is None for alert in figures["alerts"]] == [True, False]
    other = operator.get("/assets/gw-lyon-01/pump-1/scores.json").json()
    assert (other["t"], other["decades"], other["learning"]) == ([], [], [])


def test_a_profile_that_only_its_devices_know_is_called_by_its_name(
    engine: Engine, operator: httpx.Client, now_ns: int
) -> None:
    with engine.begin() as connection:
        add_device(connection, "d", "s", now_ns)
        add_asset(connection, "d", "a", "homemade", "normal", 0.4, now_ns)
        add_asset(connection, "d", "b", "pump", "normal", 0.4, now_ns)
    assert "homemade · d" in operator.get("/assets/d/a").text
    assert "Centrifugal pump with its motor · d" in operator.get("/assets/d/b").text


def _events(response: httpx.Response) -> Iterator[dict[str, str]]:
    return (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: "))


def test_the_stream_says_at_once_what_is_and_then_only_what_changes(fleet: Engine, operator: httpx.Client) -> None:
    with operator.stream("GET", "/events", params={"parts": ",".join(PARTS)}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = _events(response)
        first = next(events)
        assert set(first) == set(PARTS)
        with fleet.begin() as connection:
            connection.execute(update(assets).where(assets.c.asset == "pump-1").values(p_value=0.2))
        second = next(event for event in events if event != first)  # a reminder says the same again
        assert {name for name in first if first[name] != second[name]} == {"tiles"}


def test_an_asset_has_a_stream_of_its_own(fleet: Engine, operator: httpx.Client) -> None:
    with operator.stream("GET", "/events", params={"parts": "asset", "device": "gw-lyon-01", "asset": "pump-2"}) as response:
        events = _events(response)
        first = next(events)
        with fleet.begin() as connection:
            connection.execute(update(devices).where(devices.c.device_id == "gw-lyon-01").values(agent_version="0.2.0"))
        assert set(first) == {"asset"}
        assert next(event for event in events if event != first)
    text = operator.get("/assets/gw-lyon-01/pump-2").text
    assert "/events?parts=asset&amp;device=gw-lyon-01&amp;asset=pump-2" in text


def test_an_open_stream_does_not_hold_up_the_server_s_end(fleet: Engine, lake: DeltaLake) -> None:
    with httpx.Client(timeout=PATIENCE_S) as client:
        with served(fleet, lake) as url:  # at its end it waits for the server, whose stream would go on for ever
            client.get(f"{url}/?token={TOKEN}")
            response = client.send(client.build_request("GET", f"{url}/events"), stream=True)
            lines = response.iter_lines()
            assert next(lines) == "retry: 2000"
        assert len(list(lines)) < 20, "it was ended, not cut off"
        response.close()


@pytest.mark.parametrize("name", ["alerts_open", "x" * 64])
def test_a_name_that_the_contract_allows_has_an_asset_page(
    engine: Engine, operator: httpx.Client, now_ns: int, name: str
) -> None:
    with engine.begin() as connection:
        add_device(connection, name, "s", now_ns)
        add_asset(connection, name, f"{name[:60]}.-_1"[:64], "pump", "commissioning", None, now_ns)
    link = re.search(r'href="(/assets/[^"]+)"', operator.get("/").text)
    assert link
    assert operator.get(link[1]).status_code == 200


@pytest.mark.parametrize("path", ["/fleet", "/alerts", "/models", "/rollouts", "/data", "/value", "/assets/gw-lyon-01/pump-2"])
def test_a_page_s_own_sheet_comes_after_the_shared_one(fleet: Engine, operator: httpx.Client, path: str) -> None:
    sheets = re.findall(r'<link rel="stylesheet" href="/static/([\w/.]+)\?', operator.get(path).text)
    assert sheets[0] == "tocsin.css"
    assert len(sheets) > 1
