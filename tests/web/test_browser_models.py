"""The pages of models and runs in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, insert, update

from hub.state.schema import device_slots, training_runs
from tests.web.browsing import BROWSER_TESTS, SIZES, Tab, address, fits, follow, is_live, shoot, violations
from tests.web.seeding import add_asset, add_device
from tests.web.seeding_models import seed_models

pytestmark = BROWSER_TESTS


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "dark"), ("phone", "light")])
def test_models_and_runs_fit_every_screen(browser: Any, url: str, fleet: Engine, now_ns: int, size: str, scheme: str) -> None:
    assert size in SIZES
    with fleet.begin() as connection:
        seed_models(connection, now_ns)
        rows = [{"device_id": f"d{k:04}", "profile": "pump", "slot": "active", "n_windows": 1} for k in range(5000)]
        connection.execute(insert(device_slots), [row | {"bundle_id": "pump-1-5f3a"} for row in rows])
    tab = Tab(browser, size, color_scheme=scheme)
    page = tab.sign_in(url)
    for name, path in (("models", "/models"), ("model", "/models/pump-3-5f3a"), ("run", "/runs/pump-r2")):
        page.goto(url + path)
        is_live(page)
        assert fits(page), f"{name} is wider than the screen"
        shoot(page, f"{name}-{size}-{scheme}")
        assert violations(page) == []
    page.goto(f"{url}/models")
    assert "decides on 5,003 devices" in page.inner_text("#registry")
    tab.close()
    assert tab.complaints == []


def test_an_empty_registry_fills_by_itself(url: str, engine: Engine, tab: Tab, now_ns: int) -> None:
    page = tab.sign_in(url)
    page.goto(f"{url}/models")
    is_live(page)
    assert "No profile yet" in page.inner_text("#registry")
    assert violations(page) == []
    shoot(page, "models-empty-desktop-light")
    with engine.begin() as connection:
        add_device(connection, "gw", "lyon", now_ns)
        add_asset(connection, "gw", "fan-1", "fan", "normal", 0.5, now_ns)
    page.wait_for_selector("text=tocsin hub train --profile fan")


def test_a_model_is_approved_after_a_question(url: str, fleet: Engine, tab: Tab, now_ns: int) -> None:
    with fleet.begin() as connection:
        seed_models(connection, now_ns)
    page = tab.sign_in(url)
    page.goto(f"{url}/models")
    is_live(page)
    follow(page, page.get_by_role("link", name="v3").click)
    is_live(page)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Approve").click()
    assert page.get_by_role("button", name="Approve").is_visible()
    page.get_by_label("who answers for it").fill("Ann")
    page.once("dialog", lambda dialog: dialog.accept())
    follow(page, page.get_by_role("button", name="Approve").click)
    page.wait_for_selector("text=Approved by Ann")
    assert address(page) == f"{url}/models/pump-3-5f3a"


def test_a_run_that_ends_is_seen_ending(url: str, fleet: Engine, tab: Tab, now_ns: int) -> None:
    with fleet.begin() as connection:
        seed_models(connection, now_ns)
    page = tab.sign_in(url)
    page.goto(f"{url}/runs/pump-r4")
    is_live(page)
    assert "under way" in page.inner_text("h1")
    with fleet.begin() as connection:
        ended = {"state": "failed", "error": "too little data: <b>12</b> windows", "ended_ns": now_ns}
        connection.execute(update(training_runs).where(training_runs.c.run_id == "pump-r4").values(ended))
    page.wait_for_selector(".reason.failed")
    assert "<b>12</b> windows" in page.inner_text(".reason")
