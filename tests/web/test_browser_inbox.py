"""The alert inbox in a real browser: clicking, keys, live, and without JavaScript."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select

from benchmarks.large_fleet import seed_many
from hub.alerts.handling import acknowledge
from hub.state.schema import alert_acknowledgements, alert_feedback
from tests.web.browsing import BROWSER_TESTS, SIZES, Tab, address, fits, follow, is_live, shoot, violations
from tests.web.seeding import S, add_alert, add_device
from tests.web.test_inbox import seed

pytestmark = BROWSER_TESTS


@pytest.fixture
def rung(engine: Engine, now_ns: int) -> Engine:
    with engine.begin() as connection:
        seed(connection, now_ns)
    return engine


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_inbox_fits_every_screen(browser: Any, url: str, rung: Engine, now_ns: int, size: str, scheme: str) -> None:
    with rung.begin() as connection:
        acknowledge(connection, [("gw-3", "a4")], actor="user:ann", now_ns=now_ns)
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    for name in ("open", "acknowledged"):
        page.goto(f"{url}/alerts?tab={name}")
        is_live(page)
        assert fits(page)
        shoot(page, f"inbox-{name}-{size}-{scheme}")
        assert violations(page) == []
    tab.close()
    assert tab.complaints == []


def test_an_alert_is_acknowledged_by_click_judged_by_key_and_a_new_one_comes_by_itself(
    url: str, rung: Engine, tab: Tab, now_ns: int
) -> None:
    page = tab.sign_in(url)
    page.goto(f"{url}/alerts")
    is_live(page)
    page.locator("#alert-gw-3-a4 .note-text").fill("on my way")
    follow(page, page.locator("#alert-gw-3-a4").get_by_role("button", name="Acknowledge").click)
    is_live(page)
    assert page.locator("#alert-gw-3-a4").count() == 0, "it has left the tab"
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.id") == "alert-gw-2-a2"
    follow(page, lambda: page.keyboard.press("f"))
    page.wait_for_selector("#alert-gw-2-a2 .judgement.false-alarm")
    with rung.begin() as connection:
        assert connection.execute(select(alert_acknowledgements.c.alert_id)).scalars().all() == ["a4"]
        assert connection.execute(select(alert_feedback.c.label)).scalars().all() == ["false-alarm"]
        add_alert(connection, "gw-3", "pump-9", "pump", now_ns, severity="critical", alert_id="new")
    page.wait_for_selector("#alert-gw-3-new")
    follow(page, page.get_by_role("link", name="Acknowledged").click)
    is_live(page)
    assert "on my way" in page.inner_text("#alert-gw-3-a4")


def test_keys_can_be_switched_off_and_typing_a_note_presses_nothing(url: str, rung: Engine, tab: Tab, now_ns: int) -> None:
    page = tab.sign_in(url)
    page.goto(f"{url}/alerts")
    is_live(page)
    page.keyboard.press("j")
    page.keyboard.press("n")
    page.keyboard.type("cafm")
    assert page.locator("#alert-gw-2-a2 .note-text").input_value() == "cafm"
    with rung.begin() as connection:
        add_alert(connection, "gw-1", "pump-9", "pump", now_ns, severity="critical", alert_id="new")
    page.wait_for_selector("#alert-gw-1-new")
    assert page.locator("#alert-gw-2-a2 .note-text").input_value() == "cafm"  # what is half written stays
    page.keyboard.press("Escape")
    page.uncheck("#keys")
    page.focus("#alert-gw-2-a2")
    page.keyboard.press("a")
    page.reload()
    is_live(page)
    assert not page.is_checked("#keys")
    with rung.begin() as connection:
        assert connection.execute(select(alert_acknowledgements)).all() == []


def test_five_thousand_devices_ring_in_few_incidents(url: str, engine: Engine, tab: Tab, now_ns: int) -> None:
    with engine.begin() as connection:
        seed_many(connection, now_ns, 5000)
        for n in range(250):
            add_device(connection, f"cut-{n:03}", "power-cut", now_ns)
            add_alert(connection, f"cut-{n:03}", "pump", "pump", now_ns - (n % 40) * S, severity="critical")
    page = tab.sign_in(url)
    page.goto(f"{url}/alerts?site=power-cut")
    is_live(page)
    assert page.locator(".incident").count() == 1
    assert "power-cut: 250 alerts together" in page.inner_text(".incident h2")
    assert fits(page)
    shoot(page, "inbox-5000")
    follow(page, page.get_by_role("button", name="Acknowledge all").click)
    page.wait_for_selector("text=No alert is like that.")
    page.goto(f"{url}/alerts")
    is_live(page)
    assert page.locator(".incident").count() > 20


def test_without_javascript_buttons_and_filters_work(browser: Any, url: str, rung: Engine) -> None:
    tab = Tab(browser, java_script_enabled=False)
    page = tab.sign_in(url)
    follow(page, page.get_by_role("link", name="Alerts", exact=True).click)
    page.select_option("select[name=site]", "brest")
    follow(page, page.get_by_role("button", name="Show").click)
    follow(page, page.locator("#alert-gw-3-a4").get_by_role("button", name="Confirm").click)
    assert address(page) == f"{url}/alerts?site=brest"
    assert "It was a fault." in page.inner_text("#alert-gw-3-a4")
    tab.close()
