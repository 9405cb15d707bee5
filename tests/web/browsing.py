"""A real browser to look at the pages with: Debian's Chromium, driven by Playwright.

Screenshots go to the folder that TOCSIN_ARTIFACTS names, else to ./artifacts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.waiting import PATIENCE_S
from tests.web.serving import TOKEN

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
ARGS: Final = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SIZES: Final = {"desktop": (1360, 900), "phone": (390, 844)}
BROWSER_TESTS: Final = [  # the `pytestmark` of a file of browser tests
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: `apt-get install chromium` lets the pages be tested"),
]


class Tab:
    """A page in a window of its own, and what its console complained about."""

    def __init__(self, browser: Any, size: str = "desktop", **options: Any) -> None:
        width, height = SIZES[size]
        self._context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self._context.set_default_timeout(PATIENCE_S * 1000)
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def sign_in(self, url: str) -> Any:
        self.page.goto(f"{url}/?token={TOKEN}")
        return self.page

    def close(self) -> None:
        self._context.close()


def launched() -> Iterator[Any]:
    """A browser, for a fixture of a module: while it runs there is an event loop in this thread, in the way of asyncio.run."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'tocsin[dev]'")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGS, timeout=2 * PATIENCE_S * 1000)
        yield browser
        browser.close()


def address(page: Any) -> str:
    """Asked of the page itself: `page.url` is what Playwright was last told of, and learns nothing while a test only waits."""
    return str(page.evaluate("location.href"))


def is_live(page: Any) -> None:
    page.wait_for_selector("#link.up")


def follow(page: Any, leads_on: Callable[[], object]) -> None:
    """Do what leads to another document, and be there: until that has come, whatever is asked is answered by the one before."""
    with page.expect_navigation():
        leads_on()


def shoot(page: Any, name: str) -> None:
    """A picture of the whole page, for people."""
    folder = Path(os.environ.get("TOCSIN_ARTIFACTS", "artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"web-{name}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 10_000


def fits(page: Any) -> bool:
    """Nothing is wider than the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def violations(page: Any) -> list[str]:
    """What axe-core finds serious or critical, by WCAG 2.1 AA: rule, and the first element that breaks it."""
    page.evaluate(_axe())
    found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
    return [
        f"{rule['id']}: {rule['nodes'][0]['html'][:200]} ({len(rule['nodes'])})"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


@cache
def _axe() -> str:
    package = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed: pip install 'tocsin[dev]'")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
