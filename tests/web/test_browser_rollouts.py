"""Rollouts in a real browser: live, steered by clicking, with and without JavaScript."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select

from hub.state.schema import rollouts
from tests.hub.operating import PASSWORD, add_user
from tests.web.browsing import BROWSER_TESTS, Tab, fits, follow, is_live, shoot, violations
from tests.web.seeding_rollouts import Trial, seed_rollouts

pytestmark = BROWSER_TESTS


@pytest.fixture
def running(engine: Engine, now_ns: int) -> Trial:
    return seed_rollouts(engine, now_ns)


def state_of(trial: Trial) -> str:
    with trial.engine.begin() as connection:
        return str(connection.execute(select(rollouts.c.state).where(rollouts.c.rollout_id == trial.id)).scalar_one())


def test_an_operator_pauses_and_rolls_back_by_clicking(url: str, running: Trial, browser: Any) -> None:
    add_user(running.engine, "olga", "operator")
    tab = Tab(browser)
    page = tab.page
    page.goto(url)
    page.fill("#name", "olga")
    page.fill("#password", PASSWORD)
    follow(page, lambda: page.keyboard.press("Enter"))
    follow(page, page.get_by_role("link", name="Rollouts").click)
    follow(page, page.get_by_role("link", name="pump v3").click)
    is_live(page)
    follow(page, page.get_by_role("button", name="Pause").click)
    page.get_by_role("button", name="Resume").wait_for()
    assert state_of(running) == "paused"
    follow(page, page.get_by_role("link", name="Roll back …").click)
    follow(page, page.get_by_role("link", name="Leave it as it is").click)
    follow(page, page.get_by_role("link", name="Roll back …").click)
    follow(page, page.get_by_role("button", name="Roll back").click)
    page.wait_for_selector(".rollout-head.halted .stepper .failed")
    assert state_of(running) == "halted"
    assert tab.complaints == []
    tab.close()


def test_uptake_and_verdicts_are_seen_without_reload(url: str, running: Trial, tab: Tab) -> None:
    tab.sign_in(url)
    page = tab.page
    page.goto(f"{url}/rollouts/{running.id}")
    is_live(page)
    page.evaluate("window.loadedOnce = true")
    assert "6 not heard lately" in page.inner_text(".uptake-legend")
    running.step(seconds=1)  # all of them check in
    page.wait_for_selector(".uptake-legend >> text=23 holding it")
    running.refuse(running.service.get(running.id)["plan"]["stages"][2]["devices"][0], "self-test: vector 3 differs")
    running.step(seconds=1)
    page.wait_for_selector(".rollout-head.halted")
    assert "vector 3 differs" in page.inner_text("#rollout .reason")
    assert page.evaluate("window.loadedOnce") is True


def test_a_rollout_is_started_without_javascript(browser: Any, url: str, running: Trial) -> None:
    running.service.abort(running.id, now_ns=running.now_ns)
    tab = Tab(browser, java_script_enabled=False)
    page = tab.sign_in(url)
    page.goto(f"{url}/rollouts")
    follow(page, page.get_by_role("button", name="Look at its plan").click)
    page.fill("#waves", "3")
    follow(page, page.get_by_role("button", name="Show this plan").click)
    assert page.locator(".stepper li").count() == 5
    follow(page, page.get_by_role("button", name="Start this rollout").click)
    assert page.locator(".rollout-head.running .stepper li").count() == 5
    tab.close()


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_the_pages_fit_and_axe_finds_nothing(browser: Any, url: str, running: Trial, size: str, scheme: str) -> None:
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    addresses = {
        "rollouts": "/rollouts",
        "rollout": f"/rollouts/{running.id}",
        "rollout-halted": "/rollouts/pump-v2-r1",
        "rollout-new": "/rollouts/new?bundle=pump-2-5f3a",
        "rollout-step": f"/rollouts/{running.id}/abort",
    }
    for name, address in addresses.items():
        page.goto(url + address)
        is_live(page)
        assert fits(page), name
        shoot(page, f"{name}-{size}-{scheme}")
        assert violations(page) == [], name
    tab.close()
    assert tab.complaints == []
