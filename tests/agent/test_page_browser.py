"""The device's page in a real browser: live without reload, on a phone, in the dark, without JavaScript, and nothing runs."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.page.config import PageConfig
from agent.page.server import Page
from tests.agent.agent_process import CONFIG, AgentProcess
from tests.agent.test_page_answers import HOSTILE, STRANGE
from tests.agent.test_status_text import STATUS
from tests.ports import own_port
from tests.waiting import wait_until
from tests.web.browsing import BROWSER_TESTS, Tab, launched, shoot

pytestmark = BROWSER_TESTS
QUIET = [0.4, 0.8, 0.2, 0.6, 0.09, 0.5, 0.9, 0.3, 0.7, 0.15] * 9
FULL: dict[str, Any] = {
    **STATUS,
    "cpu_share": 0.013,
    "assets": {
        "pump-1": {**STATUS["assets"]["pump-1"], "p_values": [*QUIET[:82], 0.01, 4e-3, 2e-5, 1e-6, 3e-7, 1e-8, 1e-9, 3e-9],
                   "top": ["flow", "pressure"], "window_age_s": 2.0},
        "fan-1": {**STATUS["assets"]["fan-1"], "p_values": [], "window_age_s": 4.0, "top": ["airflow"]},
        "motor-1": {**STATUS["assets"]["motor-1"], "p_values": QUIET[:30], "window_age_s": 900.0, "top": []},
        "host": {**STATUS["assets"]["host"], "p_values": QUIET, "window_age_s": 1.0, "top": ["cpu_load", "net_sent"]},
    },
    "sources": {
        "line": {"link": "up", "detail": "/dev/ttyUSB0", "readings_per_s": 49.96, "reading_age_s": 0.4},
        "bus": {"link": "connecting", "detail": "connection refused", "readings_per_s": 0.0},
        "plant": {"link": "down", "detail": "10.0.0.2:1883: connection lost", "readings_per_s": 0.0, "reading_age_s": 900.0},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from launched()


class Shown:
    """A device's page whose status a test may change."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = FULL
        self.page = Page(PageConfig(port=own_port()), lambda: self.status)
        self.page.start()
        wait_until(lambda: self.page.state().endswith("/"), what="the page")
        self.url = self.page.state()


@pytest.fixture
def shown() -> Iterator[Shown]:
    shown = Shown()
    yield shown
    shown.page.stop()


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_the_device_fits_every_screen_in_light_and_dark(browser: Any, shown: Shown, size: str, scheme: str) -> None:
    tab = Tab(browser, size, color_scheme=scheme)
    tab.page.goto(shown.url)
    tab.page.wait_for_selector("#link.up")
    assert tab.page.inner_text("h1") == "1 machine in alarm"
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.page.locator(".asset .spark polyline").count() == 3
    shoot(tab.page, f"device-{size}-{scheme}")
    tab.close()
    assert tab.complaints == []


def test_news_come_without_reload_and_a_silent_agent_is_told(browser: Any, shown: Shown) -> None:
    tab = Tab(browser)
    tab.page.goto(shown.url)
    tab.page.wait_for_selector("#link.up")
    tab.page.evaluate("window.loadedOnce = true")
    shown.status = {**FULL, "assets": {**FULL["assets"], "pump-1": {**STATUS["assets"]["host"], "p_values": QUIET}}}
    tab.page.wait_for_selector(".asset.normal >> text=pump-1")
    wait_until(lambda: tab.page.title() == "1 machine is silent – dev-1", what="the title")
    assert tab.page.evaluate("window.loadedOnce") is True
    assert tab.complaints == []
    shown.page.stop()
    tab.page.wait_for_selector("#link.down")
    assert "no answer for" in tab.page.inner_text("#link")
    assert tab.page.locator(".asset").count() == 4, "what was known stays"
    tab.close()


def test_hostile_names_are_text_and_run_nothing(browser: Any, shown: Shown) -> None:
    shown.status = STRANGE
    tab = Tab(browser)
    tab.page.goto(shown.url)
    tab.page.wait_for_selector("#link.up")
    assert tab.page.inner_text(".asset h2 bdi >> nth=0") == HOSTILE
    assert tab.page.locator("img, iframe, main script").count() == 0
    assert "owned" not in tab.page.title().replace(HOSTILE, "")
    tab.close()
    assert tab.complaints == []


def test_without_javascript_it_reloads_itself(browser: Any, shown: Shown) -> None:
    tab = Tab(browser, java_script_enabled=False)
    tab.page.goto(shown.url)
    assert tab.page.inner_text("h1") == "1 machine in alarm"
    assert "as of when it was loaded" in tab.page.inner_text("#link")
    shown.status = {**FULL, "device": "dev-2"}
    tab.page.wait_for_selector("header >> text=dev-2", timeout=60_000)
    tab.close()


def test_a_real_agent_in_a_browser(browser: Any, tmp_path: Path, empty_outbox: Path) -> None:
    port = own_port()
    agent = AgentProcess(tmp_path, empty_outbox, f"{CONFIG}\n[page]\nport = {port}\n")
    tab = Tab(browser)
    try:
        agent.start()
        wait_until(lambda: (agent.status() or {}).get("page", "").endswith("/"), what="the page")
        tab.page.goto(f"http://localhost:{port}/")
        tab.page.wait_for_selector("#link.up")
        assert tab.page.inner_text(".asset h2 bdi >> nth=0") == "here"

        def as_told() -> bool:
            """Some 60 readings/s, fewer where this machine is held up; near to what the agent says of its last seconds."""
            shown = re.match(r"host\tup\t(\d+\.\d)/s\t", tab.page.inner_text("tbody tr"))
            rate = agent.status()["sources"]["host"]["readings_per_s"]
            return bool(shown and rate) and abs(float(shown[1]) - rate) <= 0.1 * rate

        wait_until(as_told, 60, "the rate that the agent tells")
        assert agent.signal(signal.SIGTERM) == 0
        tab.page.wait_for_selector("#link.down")
    finally:
        tab.close()
        agent.close()
    assert [said for said in tab.complaints if "net::ERR_" not in said] == [], "but that the agent is gone"
