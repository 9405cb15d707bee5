"""The pages in a real browser: live without reload, on a phone, in the dark, by keyboard, without JavaScript."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from hub.lake.lake import DeltaLake
from hub.state.schema import alerts, assets, devices, rollouts
from tests.hub.operating import PASSWORD, add_user
from tests.ports import held_port
from tests.waiting import wait_until
from tests.web.browsing import BROWSER_TESTS, SIZES, Tab, address, fits, follow, is_live, shoot, violations
from tests.web.seeding import S, add_alert, add_asset, add_device, seed_windows
from tests.web.serving import TOKEN, served

pytestmark = BROWSER_TESTS


def test_signing_in_by_the_form_leads_to_the_overview(url: str, fleet: Engine, tab: Tab) -> None:
    tab.page.goto(url)
    tab.page.wait_for_selector("#token:focus")
    tab.page.keyboard.type(TOKEN)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#fleet")
    assert address(tab.page) == f"{url}/"
    tab.page.get_by_role("button", name="Sign out").click()
    tab.page.wait_for_selector("#token")


@pytest.mark.parametrize("width", [390, 820, 1024, 1130])
def test_every_place_is_in_sight_at_any_width(url: str, fleet: Engine, tab: Tab, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 900})
    page = tab.sign_in(url)
    is_live(page)
    assert all(place["x"] + place["width"] <= width for place in map(box, page.locator(".places a").all()))
    assert page.evaluate("(nav => nav.scrollWidth <= nav.clientWidth)(document.querySelector('.places'))")
    assert box(page.get_by_role("button", name="Sign out"))["height"] < 40  # on one line
    assert fits(page)


def box(element: Any) -> dict[str, float]:
    found: dict[str, float] = element.bounding_box()
    return found


def test_an_operator_signs_in_on_a_phone_and_steers_a_rollout(browser: Any, url: str, fleet: Engine) -> None:
    add_user(fleet, "olga", "operator")
    tab = Tab(browser, "phone")
    page = tab.page
    page.goto(url)
    page.wait_for_selector("#name:focus")
    assert fits(page)
    shoot(page, "signin-phone-light")
    page.keyboard.type("olga")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    is_live(page)
    assert "olga operator" in page.inner_text(".signed-in")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Abort").click()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").wait_for()
    with fleet.begin() as connection:
        states = connection.execute(select(rollouts.c.state)).scalars().all()
    assert ("paused" in states, "aborted" in states) == (True, False)
    assert tab.complaints == []
    tab.close()


def test_an_empty_hub_shows_the_next_steps_and_fills_by_itself(url: str, engine: Engine, tab: Tab, now_ns: int) -> None:
    page = tab.sign_in(url)
    is_live(page)
    assert "No device has called yet" in page.inner_text("h1")
    shoot(page, "empty-desktop-light")
    with engine.begin() as connection:
        add_device(connection, "first", "here", now_ns)
        add_asset(connection, "first", "host", "host", "commissioning", None, now_ns)
    page.wait_for_selector("#tile-first-host")
    page.wait_for_selector("h1:text-is('Learning what normal looks like')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_fleet_fits_every_screen_in_light_and_dark(
    browser: Any, url: str, fleet: Engine, lake: DeltaLake, now_ns: int, size: str, scheme: str
) -> None:
    seed_windows(lake, now_ns)
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    is_live(page)
    for name, path in (("fleet", "/"), ("asset", "/assets/gw-lyon-01/pump-2")):
        page.goto(url + path)
        is_live(page)
        if name == "asset":
            page.wait_for_selector("#plot canvas")
        assert fits(page), f"{name} is wider than the screen"
        shoot(page, f"{name}-{size}-{scheme}")
        assert violations(page) == []
    tab.close()
    assert tab.complaints == []


def test_a_new_alarm_is_seen_without_reload(url: str, fleet: Engine, tab: Tab, now_ns: int) -> None:
    page = tab.sign_in(url)
    is_live(page)
    page.evaluate("window.loadedOnce = true")
    with fleet.begin() as connection:
        connection.execute(update(assets).where(assets.c.asset == "fan-1").values(state="alarm", p_value=1e-7))
        add_alert(connection, "gw-lyon-02", "fan-1", "fan", now_ns, severity="critical", top=[["airflow", 0.9]])
    page.wait_for_selector("#tile-gw-lyon-02-fan-1.alarm")
    page.wait_for_selector("#alerts >> text=airflow")
    wait_until(lambda: page.title().startswith("3 assets need attention"), what="the title")
    assert page.inner_text("h1") == "3 assets need attention"
    assert page.evaluate("window.loadedOnce") is True


def test_a_rollout_is_seen_halting_without_reload(url: str, fleet: Engine, tab: Tab) -> None:
    page = tab.sign_in(url)
    is_live(page)
    assert "under way" in page.inner_text("#rollout-roll-pump-3-5f3a")
    with fleet.begin() as connection:
        chosen = update(rollouts).where(rollouts.c.bundle_id == "pump-3-5f3a")
        connection.execute(chosen.values(state="halted", reason="alarm_rate: 70.0% of 40 windows in alarm"))
    page.wait_for_selector("#rollout-roll-pump-3-5f3a.halted .stepper .failed")
    assert "alarm_rate: 70.0%" in page.inner_text("#rollout-roll-pump-3-5f3a .reason")


def test_a_closing_alert_leaves_the_list_and_the_keyboard_s_place_stays(url: str, fleet: Engine, tab: Tab, now_ns: int) -> None:
    page = tab.sign_in(url)
    is_live(page)
    link = "#tile-gw-lyon-02-fan-1 a"
    page.focus(link)
    with fleet.begin() as connection:
        connection.execute(update(alerts).where(alerts.c.asset == "pump-2").values(closed_ns=now_ns))
        connection.execute(update(assets).where(assets.c.asset == "pump-2").values(state="normal", p_value=0.5))
        seen = update(devices).where(devices.c.device_id == "gw-lyon-02")
        connection.execute(seen.values(last_seen_ns=now_ns + 5 * S))
    page.wait_for_selector("#tile-gw-lyon-01-pump-2.normal")
    wait_until(lambda: page.locator("#alerts .alert").count() == 1, what="one alert left")
    assert page.evaluate(f"document.activeElement === document.querySelector('{link}')")


def test_ages_go_on_counting(url: str, fleet: Engine, tab: Tab) -> None:
    page = tab.sign_in(url)
    is_live(page)
    age = page.locator("#tile-edge-host-this-machine .facts time")
    first = age.inner_text()
    wait_until(lambda: age.inner_text() != first, what="a later age")


def test_the_asset_page_follows_its_asset(url: str, fleet: Engine, tab: Tab) -> None:
    tab.sign_in(url)
    page = tab.page
    follow(page, page.get_by_role("link", name="pump-1").click)
    is_live(page)
    page.wait_for_selector("text=The lake has no windows of this asset")
    assert "normal" in page.inner_text("h1")
    with fleet.begin() as connection:
        connection.execute(update(assets).where(assets.c.asset == "pump-1").values(state="alarm", p_value=1e-7))
    page.wait_for_selector(".asset-head.alarm")


def test_a_plot_can_be_narrowed_by_keyboard(url: str, fleet: Engine, lake: DeltaLake, tab: Tab, now_ns: int) -> None:
    seed_windows(lake, now_ns)
    tab.sign_in(url)
    tab.page.goto(f"{url}/assets/gw-lyon-01/pump-2")
    button = tab.page.get_by_role("button", name="10 min")
    button.focus()
    tab.page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    tab.page.wait_for_selector("#plot canvas")


def test_focus_is_visible_and_the_first_stop_skips_to_the_content(url: str, fleet: Engine, tab: Tab) -> None:
    page = tab.sign_in(url)
    page.keyboard.press("Tab")
    look = page.locator(":focus").evaluate("e => [e.className, getComputedStyle(e).outlineStyle, getComputedStyle(e).clipPath]")
    assert look == ["skip", "solid", "none"]
    page.keyboard.press("Enter")
    wait_until(lambda: address(page).endswith("#main"), what="the content's address")


def test_without_javascript_the_page_says_what_it_knows(browser: Any, url: str, fleet: Engine) -> None:
    tab = Tab(browser, java_script_enabled=False)
    page = tab.sign_in(url)
    assert page.inner_text("h1") == "2 assets need attention"
    assert "reload for news" in page.inner_text(".top")
    follow(page, page.get_by_role("link", name="pump-2").first.click)
    assert "pump-2" in page.inner_text("h1")
    tab.close()


def test_a_hub_that_goes_away_is_told_and_its_return_too(browser: Any, fleet: Engine, lake: DeltaLake) -> None:
    tab = Tab(browser)
    with held_port() as port:
        with served(fleet, lake, port=port) as url:
            page = tab.sign_in(url)
            is_live(page)
        page.wait_for_selector("#link.down")
        assert "not reachable" in page.inner_text("#link")
        with served(fleet, lake, port=port):
            page.wait_for_selector("#link.up")
    tab.close()


def test_a_part_that_is_refused_leaves_what_is_shown(browser: Any, url: str, fleet: Engine) -> None:
    tab = Tab(browser)
    page = tab.sign_in(url)
    is_live(page)
    page.context.clear_cookies()
    with page.expect_response(lambda answer: "/parts/tiles" in answer.url) as refused, fleet.begin() as connection:
        connection.execute(update(assets).where(assets.c.asset == "pump-1").values(p_value=0.001))
    assert refused.value.status == 401
    assert page.locator("#tiles .tile").count() == 11
    tab.close()


def test_hostile_names_run_nothing(url: str, engine: Engine, tab: Tab, now_ns: int) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    page = tab.sign_in(url)
    is_live(page)
    with engine.begin() as connection:
        add_device(connection, "d", hostile, now_ns)
        add_asset(connection, "d", hostile, hostile, "alarm", 1e-7, now_ns)
        add_alert(connection, "d", hostile, "pump", now_ns, top=[[hostile, 0.5]])
    page.wait_for_selector("#tiles")
    with engine.begin() as connection:
        connection.execute(update(assets).values(p_value=1e-8))
    wait_until(lambda: page.inner_text("#tiles").count("onerror") >= 2, what="the name as text")
    assert "owned" not in page.title()
    assert page.locator("main img").count() == 0
