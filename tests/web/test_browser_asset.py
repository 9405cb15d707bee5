"""The pages of assets and alerts in a real browser: looked at, zoomed, linked to, and followed to the evidence."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from hub.lake.lake import DeltaLake
from hub.state.schema import alert_feedback
from tests.waiting import wait_until
from tests.web.browsing import BROWSER_TESTS, SIZES, Tab, address, fits, follow, is_live, shoot, violations
from tests.web.seeding import S, add_alert, add_asset, add_device
from tests.web.seeding_asset import BEARING, add_learned, fill_evidence, fill_windows, learned, seed_asset

pytestmark = BROWSER_TESTS
PAGE = "/assets/gw-lyon-01/pump-2"


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_an_asset_and_its_alert_fit_every_screen(
    browser: Any, url: str, fleet: Engine, lake: DeltaLake, now_ns: int, size: str, scheme: str
) -> None:
    assert size in SIZES
    with fleet.begin() as connection:
        alert_id = seed_asset(connection, lake, now_ns)
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    for name, path, canvases in (("asset-whole", PAGE, 6), ("alert", f"{PAGE}/alerts/{alert_id}", 5)):
        page.goto(url + path)
        is_live(page)
        page.wait_for_selector("[data-drawn]")
        assert page.locator("canvas").count() == canvases
        assert fits(page), f"{name} is wider than the screen"
        shoot(page, f"{name}-{size}-{scheme}")
        assert violations(page) == []
    tab.close()
    assert tab.complaints == []


def test_a_fast_channel_has_spectra(url: str, engine: Engine, lake: DeltaLake, tab: Tab, now_ns: int) -> None:
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "bearing-1", "bearing", "alarm", 1e-7, now_ns - 30 * S)
        add_learned(connection, "gw", "bearing-1", BEARING, learned(BEARING, 1), now_ns - 200 * S)
        add_alert(connection, "gw", "bearing-1", "bearing", now_ns - 30 * S, alert_id="a1", top=[["acceleration", 1.0]])
    fill_windows(lake, now_ns, n=150, device_id="gw", asset="bearing-1", profile=BEARING, alarmed=30)
    fill_evidence(lake, "gw", "bearing-1", "a1", now_ns - 30 * S, BEARING)
    page = tab.sign_in(url)
    page.goto(f"{url}/assets/gw/bearing-1")
    assert page.locator(".octave-levels .outside").count() >= 1
    page.wait_for_selector("#plot[data-drawn]")
    shoot(page, "asset-fast-desktop-light")
    follow(page, page.get_by_role("link", name="See the evidence").click)
    page.wait_for_selector("#spectrum-plots canvas")
    assert "strongest line at 25.4 Hz" in page.inner_text("#spectrum-plots")
    assert "FFT" in page.inner_text("#spectra-facts")
    shoot(page, "alert-fast-desktop-light")
    assert violations(page) == []


def test_what_is_shown_is_in_the_address_and_an_address_shows_it(
    url: str, fleet: Engine, lake: DeltaLake, tab: Tab, now_ns: int
) -> None:
    with fleet.begin() as connection:
        seed_asset(connection, lake, now_ns)
    page = tab.sign_in(url)
    page.goto(f"{url}{PAGE}?span=24h")
    drawn = page.locator("#plot")
    page.wait_for_selector("#plot[data-drawn]")
    assert page.get_by_role("button", name="24 h").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="1 h").click()
    wait_until(lambda: address(page).endswith("?span=1h"), what="the address of an hour")
    wait_until(lambda: _drawn_s(page) == 3600, what="the hour")
    box = page.locator("#plot .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 40, steps=4)
    page.mouse.up()
    found = wait_until(lambda: re.search(r"\?from=(\d+)&to=(\d+)$", address(page)), what="the stretch in the address")
    assert 700 < int(found[2]) - int(found[1]) < 1100, "about a quarter of an hour"
    page.get_by_label("of each window its").select_option("std")
    wait_until(lambda: address(page).endswith("feature=std"), what="the measure in the address")
    chosen = address(page)
    page.goto(f"{url}/")
    page.goto(chosen)
    page.wait_for_selector("#plot[data-drawn]")
    assert drawn.get_attribute("data-drawn") == f"{found[1]}-{found[2]}"
    wait_until(lambda: page.locator("#measure select").input_value() == "std", what="the measure")


def test_nothing_is_drawn_anew_under_a_mouse_that_drags(
    url: str, fleet: Engine, lake: DeltaLake, tab: Tab, now_ns: int
) -> None:
    with fleet.begin() as connection:
        seed_asset(connection, lake, now_ns)
    page = tab.sign_in(url)
    page.goto(f"{url}{PAGE}?span=1h")
    page.wait_for_selector("#plot[data-drawn]")
    box = page.locator("#plot .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    page.mouse.down()
    page.evaluate("document.getElementById('plot').dataset.drawn = 'before'")
    with page.expect_response(lambda answer: "span=1h" in answer.url) as answered:
        page.evaluate("document.dispatchEvent(new Event('tocsin:changed'))")
    answered.value.finished()
    page.evaluate("new Promise((done) => setTimeout(done, 100))")  # what would be drawn is drawn by then
    assert page.locator("#plot").get_attribute("data-drawn") == "before"
    page.mouse.up()
    wait_until(lambda: _drawn_s(page) == 3600, what="what had come meanwhile")


def test_the_plot_is_moved_by_keyboard(url: str, fleet: Engine, lake: DeltaLake, tab: Tab, now_ns: int) -> None:
    with fleet.begin() as connection:
        seed_asset(connection, lake, now_ns)
    page = tab.sign_in(url)
    page.goto(f"{url}{PAGE}?from={now_ns // S - 1800}&to={now_ns // S}")
    page.wait_for_selector("#plot[data-drawn]")
    page.focus("#plot")
    for key, length in (("+", 900), ("ArrowLeft", 900), ("-", 1800)):
        page.keyboard.press(key)
        wait_until(lambda length=length: _length(address(page)) == length, what=f"after {key}")


def _drawn_s(page: Any) -> int:
    """Over how many seconds the plot is drawn, 0 before it is."""
    ends = page.locator("#plot").get_attribute("data-drawn").split("-")
    return round(float(ends[1]) - float(ends[0])) if len(ends) == 2 else 0


def _length(shown: str) -> int:
    found = re.search(r"from=(\d+)&to=(\d+)", shown)
    return int(found[2]) - int(found[1]) if found else 0


def test_a_click_on_an_alert_leads_to_its_evidence(url: str, fleet: Engine, lake: DeltaLake, tab: Tab, now_ns: int) -> None:
    with fleet.begin() as connection:
        alert_id = seed_asset(connection, lake, now_ns)
    page = tab.sign_in(url)
    page.goto(f"{url}{PAGE}?span=1h")
    page.wait_for_selector("#plot[data-drawn]")
    box = page.locator("#plot .u-over").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 6, box["y"] + 60)
    page.wait_for_url(f"**/alerts/{alert_id}")
    page.wait_for_selector("#evidence figure.leading canvas")
    assert page.locator("#evidence h3").first.inner_text().startswith("vibration mm/s")


def test_what_somebody_says_of_an_alert_is_seen_without_reload(
    url: str, fleet: Engine, lake: DeltaLake, tab: Tab, now_ns: int
) -> None:
    alert_id = f"pump-2-{now_ns - 190 * S}"
    page = tab.sign_in(url)
    page.goto(f"{url}{PAGE}/alerts/{alert_id}")
    is_live(page)
    row = {"device_id": "gw-lyon-01", "alert_id": alert_id, "at_ns": now_ns, "label": "false-alarm", "actor": "user:ann"}
    with fleet.begin() as connection:
        connection.execute(insert(alert_feedback).values(row | {"note": "<b>valve test</b>"}))
    page.wait_for_selector(".said")
    assert "a false alarm by ann" in page.inner_text(".said")
    assert "<b>valve test</b>" in page.inner_text(".said")


def test_hostile_channels_are_text_in_the_plots(url: str, engine: Engine, lake: DeltaLake, tab: Tab, now_ns: int) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "m-1", "pump", "alarm", 1e-7, now_ns)
        add_alert(connection, "gw", "m-1", "pump", now_ns, alert_id="a1", top=[[hostile, 0.9]])
    fill_evidence(lake, "gw", "m-1", "a1", now_ns, rename=hostile)
    page = tab.sign_in(url)
    page.goto(f"{url}/assets/gw/m-1/alerts/a1")
    page.wait_for_selector("#evidence[data-drawn=yes]")
    assert hostile in page.inner_text("#evidence")
    assert (page.locator("main img").count(), "owned" in page.title()) == (0, False)
