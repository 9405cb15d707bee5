"""Asking in a real browser: by keyboard alone, on a phone, in the dark, without JavaScript."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from tests.web.browsing import BROWSER_TESTS, Tab, address, fits, follow, shoot, violations

pytestmark = BROWSER_TESTS


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_a_question_is_asked_and_its_query_edited_by_keyboard(
    browser: Any, url: str, fleet: Engine, size: str, scheme: str
) -> None:
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    page.goto(f"{url}/ask")
    page.wait_for_selector("#q:focus")
    page.keyboard.type("alertes par site et gravité")
    follow(page, lambda: page.keyboard.press("Enter"))
    page.wait_for_selector("#answer-title")
    assert "alertes+par+site" in address(page)
    assert fits(page)
    shoot(page, f"ask-{size}-{scheme}")
    assert violations(page) == []
    page.focus("#sql")
    page.keyboard.press("Control+A")
    page.keyboard.type("SELECT site, count(*) AS n FROM devices GROUP BY ALL")
    page.keyboard.press("Tab")
    follow(page, lambda: page.keyboard.press("Enter"))
    page.wait_for_selector(".bars")
    assert page.input_value("#q") == "alertes par site et gravité"
    assert fits(page)
    assert violations(page) == []
    tab.close()
    assert tab.complaints == []


def test_it_works_without_javascript(browser: Any, url: str, fleet: Engine) -> None:
    tab = Tab(browser, java_script_enabled=False)
    page = tab.sign_in(url)
    page.goto(f"{url}/ask?q=which+pumps+alarmed%3F")
    follow(page, page.get_by_role("link", name="pump-2").click)
    assert address(page) == f"{url}/assets/gw-lyon-01/pump-2"
    tab.close()
