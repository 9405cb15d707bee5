"""The hub's pages over a fleet of 5,000 devices with 10,000 assets: how long an answer takes, what it weighs, when a browser
has painted it, and what it costs to know each second that nothing has changed.

The hub is a real process with one core, browser and client have the other. A page's weight is what travels: compressed, with
its styles and scripts as a first visit loads them. PAGES_RUNS: requests for each page.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.figure import Figure
from benchmarks.ingest import CLIENT_CORES, HUB_CORE, cpu_s_of, served
from benchmarks.large_fleet import seed_many
from hub.settings import Hub, init_hub
from hub.state.database import open_state, reading
from hub.web.fleet.pages import PARTS as FLEET
from hub.web.overview import PARTS as OVERVIEW
from hub.web.part import Look, Part

N_DEVICES: Final = 5000
RUNS: Final = int(os.environ.get("PAGES_RUNS", "40"))
PAINTS: Final = 5
PAGES: Final = {
    "overview": "/",
    "fleet as a map": "/fleet",
    "fleet as a list": "/fleet?view=list&sort=backlog&dir=desc",
    "fleet, searched": "/fleet?q=gw-000",
    "one device": "/devices/gw-00021",
}
GOAL_MS: Final = 150.0
GOAL_KB: Final = 300.0
GOAL_PAINT_MS: Final = 1000.0
SILENT_AFTER_NS: Final = 90_000_000_000


def run() -> Iterable[Figure]:
    os.sched_setaffinity(0, CLIENT_CORES or [HUB_CORE])
    with tempfile.TemporaryDirectory() as directory:
        hub = init_hub(Path(directory) / "hub", "checkin_s = 3600\n")  # so that nobody falls silent meanwhile
        engine = open_state(hub.state_url)
        with engine.begin() as connection:
            seed_many(connection, time.time_ns(), N_DEVICES)
        engine.dispose()
        command = [sys.executable, "-m", "tocsin", "hub", "serve", "--data", str(hub.paths.root), "--port", "0"]
        with served(command) as (server, url):
            for name, path in PAGES.items():
                yield from _answers(name, server, url, path, hub.admin_token)
            yield from _paints(url, hub.admin_token)
        yield from _pulses(hub)


def _answers(name: str, server: subprocess.Popen[str], url: str, path: str, token: str) -> Iterator[Figure]:
    with httpx.Client(base_url=url, timeout=30) as client:
        client.get("/", params={"token": token})
        waits_ms, cpu_s = [], -cpu_s_of(server)
        for _ in range(RUNS):
            started = time.perf_counter()
            response = client.get(path)
            waits_ms.append((time.perf_counter() - started) * 1e3)
            assert response.status_code == 200, response
        cpu_s += cpu_s_of(server)
        assets = [part.split('"')[0] for part in response.text.split('"/static/')[1:]]
        weight = response.num_bytes_downloaded + sum(client.get(f"/static/{asset}").num_bytes_downloaded for asset in assets)
    quantiles = statistics.quantiles(waits_ms, n=20)
    yield Figure(name=f"{name}: answered, median", value=statistics.median(waits_ms), unit="ms", better="lower")
    yield Figure(name=f"{name}: answered, 95 of 100", value=quantiles[18], unit="ms", goal=GOAL_MS, better="lower")
    yield Figure(name=f"{name}: the hub's CPU time for one", value=cpu_s / RUNS * 1e3, unit="ms", better="lower")
    yield Figure(name=f"{name}: the page alone", value=response.num_bytes_downloaded / 1e3, unit="kB", better="lower")
    yield Figure(name=f"{name}: with styles and scripts", value=weight / 1e3, unit="kB", goal=GOAL_KB, better="lower")


def _paints(url: str, token: str) -> Iterator[Figure]:
    """First contentful paint, each time in a browser that has nothing of the hub yet but a session."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"])
        for name in ("overview", "fleet as a map", "fleet as a list"):
            found_ms = [_paint_ms(browser, url, PAGES[name], token) for _ in range(PAINTS)]
            figure = {"unit": "ms", "goal": GOAL_PAINT_MS, "better": "lower", "runs": found_ms}
            yield Figure(name=f"{name}: first painted", value=statistics.median(found_ms), **figure)  # type: ignore[arg-type]
        browser.close()


def _paint_ms(browser: Any, url: str, path: str, token: str) -> float:
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    context.request.get(f"{url}/", params={"token": token}, max_redirects=0)
    page = context.new_page()
    page.goto(url + path)
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    found = float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    context.close()
    return found


def _pulses(hub: Hub) -> Iterator[Figure]:
    """What the stream of changes costs each second while somebody looks, however many do; CPU time."""
    engine = reading(open_state(hub.state_url))
    parts: dict[str, list[Part]] = {
        "overview": list(OVERVIEW.values()),
        "fleet as a map": [FLEET["fleetmap"]],
        "fleet as a list": [FLEET["fleetlist"]],
    }
    for name, shown in parts.items():
        costs_ms = []
        for _ in range(RUNS):
            with engine.begin() as connection:
                started = time.process_time()
                look = Look(time.time_ns() - SILENT_AFTER_NS * 40)
                for part in shown:
                    part.digest(connection, look)
                costs_ms.append((time.process_time() - started) * 1e3)
        yield Figure(
            name=f"{name}: a look whether it has changed", value=statistics.median(costs_ms), unit="ms", better="lower"
        )
    engine.dispose()
