"""The pages of the data and of the value in a real browser: they fit, fill by themselves, and axe-core finds nothing."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from hub.lake.days import DAY_NS
from hub.lake.lake import DeltaLake
from tests.waiting import wait_until
from tests.web.browsing import BROWSER_TESTS, Tab, address, fits, follow, is_live, shoot, violations
from tests.web.seeding import FLEET
from tests.web.seeding_data import add_profile_day, seed_data
from tests.web.seeding_rollouts import Trial, add_pumps, publish
from tests.web.seeding_value import seed_value

pytestmark = BROWSER_TESTS
PAGES = {"data": "/data", "catalogue": "/data/catalogue", "audit": "/data/audit?verify=yes", "value": "/value"}


def look_at(page: Any, url: str, name: str) -> None:
    page.goto(url + PAGES[name])
    is_live(page)
    wait_until(lambda: "being worked out" not in page.inner_text("main"), what=name)


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "dark"), ("phone", "light")])
def test_the_pages_fit_and_axe_finds_nothing(
    browser: Any, url: str, fleet: Engine, lake: DeltaLake, now_ns: int, size: str, scheme: str
) -> None:
    seed_data(fleet, lake, now_ns, [device for device, *_ in FLEET])
    seed_value(fleet, now_ns)
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    for name in PAGES:
        look_at(page, url, name)
        assert fits(page), name
        narrowest = "Math.min(...[...document.querySelectorAll('i.key')].map((key) => key.getBoundingClientRect().width))"
        assert page.evaluate(f"{narrowest} > 5"), name
        shoot(page, f"{name}-{size}-{scheme}")
        assert violations(page) == [], name
    tab.close()
    assert tab.complaints == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are worked out anew every second."""
    monkeypatch.setattr("hub.web.data.pages.LAKE_S", 1.0)


def test_an_empty_hub_s_pages_say_what_comes_and_fill_by_themselves(
    quick: None, url: str, engine: Engine, tab: Tab, now_ns: int
) -> None:
    page = tab.sign_in(url)
    for name in PAGES:
        look_at(page, url, name)
        assert violations(page) == [], name
    page.goto(f"{url}/data")
    page.wait_for_selector("#data-received >> text=Nothing has been counted yet")
    add_profile_day(engine, "pump", "baseline", now_ns // DAY_NS, 400, n_faulty=100)
    page.wait_for_selector("#data-quality >> text=25 %")


def test_a_device_of_the_heat_map_leads_to_its_page(url: str, fleet: Engine, lake: DeltaLake, tab: Tab, now_ns: int) -> None:
    seed_data(fleet, None, now_ns, [device for device, *_ in FLEET])
    page = tab.sign_in(url)
    look_at(page, url, "data")
    follow(page, page.get_by_role("link", name="gw-lyon-02").click)
    assert address(page) == f"{url}/devices/gw-lyon-02"


@pytest.mark.slow
def test_with_five_thousand_devices_every_page_is_as_short_and_still_fits(
    browser: Any, url: str, engine: Engine, lake: DeltaLake, now_ns: int
) -> None:
    add_pumps(engine, 5000, now_ns)
    trial = Trial(engine, publish(engine, 1, now_ns), now_ns)
    trial.step()
    seed_data(engine, lake, now_ns, [f"d-{k:04}" for k in range(5000)])
    seed_value(engine, now_ns)
    tab = Tab(browser, "phone")
    page = tab.sign_in(url)
    for name, path in (*PAGES.items(), ("rollout", f"/rollouts/{trial.id}"), ("rollouts", "/rollouts")):
        page.goto(url + path)
        is_live(page)
        wait_until(lambda: "being worked out" not in page.inner_text("main"), what=name)
        assert fits(page), name
        assert page.locator("body *").count() < 6000, name
    tab.close()
    assert tab.complaints == []
