"""The fleet's pages in a real browser: five thousand devices, typing and clicking, without JavaScript, by keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, update

from benchmarks.large_fleet import seed_many
from hub.state.schema import assets
from tests.waiting import wait_until
from tests.web.browsing import BROWSER_TESTS, SIZES, Tab, address, fits, follow, is_live, shoot, violations

pytestmark = BROWSER_TESTS


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_map_list_and_device_fit_every_screen(browser: Any, url: str, fleet: Engine, size: str, scheme: str) -> None:
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    for name, path in (("map", "/fleet"), ("list", "/fleet?view=list&sort=survival"), ("device", "/devices/gw-brest-03")):
        page.goto(url + path)
        is_live(page)
        assert fits(page), f"{name} is wider than the screen"
        shoot(page, f"fleet-{name}-{size}-{scheme}")
        assert violations(page) == []
    tab.close()
    assert tab.complaints == []


def test_five_thousand_devices_are_searched_while_typing_and_an_alarm_shows_without_reload(
    url: str, engine: Engine, tab: Tab, now_ns: int
) -> None:
    with engine.begin() as connection:
        seed_many(connection, now_ns + 600_000_000_000, 5000)  # heard a while longer than this test may take
    page = tab.sign_in(url)
    page.goto(f"{url}/fleet")
    is_live(page)
    assert page.locator(".comb a").count() == 10_000
    assert fits(page)
    shoot(page, "fleet-map-5000")
    page.fill("#q", "gw-0123")
    wait_until(lambda: page.locator(".comb a").count() == 20, what="twenty cells")
    assert address(page) == f"{url}/fleet?q=gw-0123"
    assert page.inner_text("#found-title") == "20 of 10,000 assets"
    page.evaluate("window.loadedOnce = true")
    quiet = page.locator(".comb a.n").first.get_attribute("title").split(" · ")[0]
    with engine.begin() as connection:
        connection.execute(update(assets).where(assets.c.asset == quiet).values(state="alarm"))
    page.wait_for_selector(f'.comb a.a[title^="{quiet} "]')
    assert page.evaluate("window.loadedOnce") is True
    follow(page, page.get_by_role("link", name="List").click)
    is_live(page)
    assert page.locator("tbody tr").count() == 20
    follow(page, page.get_by_role("link", name="show all").click)
    follow(page, page.get_by_role("link", name="Next page").click)
    assert "after=" in address(page), "the second page"
    assert page.locator("tbody tr").count() == 100


def test_arrow_keys_walk_the_cells_and_enter_opens_one(url: str, fleet: Engine, tab: Tab) -> None:
    page = tab.sign_in(url)
    page.goto(f"{url}/fleet")
    is_live(page)
    page.focus('.comb a[tabindex="0"]')
    first = page.evaluate("document.activeElement.title")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.title") not in ("", first)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector(".asset-head")


def test_without_javascript_the_form_filters_and_columns_sort(browser: Any, url: str, fleet: Engine) -> None:
    tab = Tab(browser, java_script_enabled=False)
    page = tab.sign_in(url)
    follow(page, page.get_by_role("link", name="Fleet").click)
    page.select_option("select[name=site]", "brest")
    follow(page, page.get_by_role("button", name="Show").click)
    assert page.locator(".comb a").count() == 5
    follow(page, page.get_by_role("link", name="List").click)
    follow(page, page.get_by_role("link", name="Waiting").click)
    assert page.locator("tbody tr").first.locator("td").nth(1).inner_text() == "gw-brest-03"
    follow(page, page.get_by_role("link", name="gw-brest-03").first.click)
    assert "gw-brest-03" in page.inner_text("h1")
    tab.close()
