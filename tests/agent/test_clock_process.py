"""A real agent whose system clock is really another: it boots in 1970 with no hub, is set to the truth, two weeks back, two
weeks ahead; then it meets a hub, which learns when everything was; and is set back once more.

A library between the process and CLOCK_REALTIME stands in for whoever sets the clock (`other_clock.c`); all else is real.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hub.clocks.store import load_spans
from hub.lake.lake import open_lake
from hub.lake.query import query
from hub.settings import init_hub
from hub.state.database import open_state, reading
from models.contract.clock import NS_PER_S
from tests.agent.agent_process import CONFIG, AgentProcess
from tests.hub.conftest import FAST, HubClient, running
from tests.waiting import wait_until

DAY_S = 86_400.0
SOURCE = Path(__file__).with_name("other_clock.c")
PROFILE = """\
name = "quick"

[windowing]
rate_hz = 5.0
window_s = 4.0
lateness_s = 0.5
max_gap_s = 1.0

[features]
per_channel = ["mean"]

[[channels]]
name = "cpu_load"
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: no process with a system clock of its own"),
]


class OtherClock:
    """The system clock as one process sees it; `ahead_s` of the truth, the new value at once."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "ahead"
        self._library = directory / "other_clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE], check=True)

    def set(self, ahead_s: float) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(f"{ahead_s:.0f}\n")
        written.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "OTHER_CLOCK": str(self._file)}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubClient]:
    with running(init_hub(tmp_path / "hub", FAST)) as client:
        yield client


def windows(client: HubClient) -> list[dict[str, int]]:
    """As the hub has them, with the times that it makes of them."""
    engine = open_state(client.hub.state_url)
    with reading(engine).begin() as connection:
        spans = load_spans(connection)
    engine.dispose()
    lake = open_lake(client.hub.lake_url)
    rows: list[dict[str, int]] = query("SELECT * EXCLUDE features FROM timed_aggregates ORDER BY seq", lake, spans).to_pylist()
    return rows


def closed_windows(agent: AgentProcess) -> int:
    return int((agent.status() or {}).get("windows", 0))


def test_whatever_is_done_to_the_clock_no_window_is_lost_or_misplaced_and_no_timer_stops(
    tmp_path: Path, empty_outbox: Path, hub: HubClient
) -> None:
    clock = OtherClock(tmp_path)
    clock.set(1000.0 - time.time())
    (tmp_path / "quick.toml").write_text(PROFILE)
    (tmp_path / "token").write_text(hub.hub.join_token)
    alone = CONFIG.replace('profile = "host"', 'profile = "quick"')
    link = f'\n[hub]\nurl = "{str(hub.http.base_url).rstrip("/")}"\njoin_token_file = "token"\nsync_s = 0.5\ncheckin_s = 0.5\n'
    began_ns = time.time_ns()
    agent = AgentProcess(tmp_path, empty_outbox, alone, clock.environment)
    try:
        agent.start()
        for ahead_s in (0.0, -14 * DAY_S, 14 * DAY_S, 0.0):
            n_closed = closed_windows(agent)
            wait_until(lambda n=n_closed: closed_windows(agent) >= n + 2, 60, "two more windows")
            clock.set(ahead_s)
        n_closed = closed_windows(agent)
        wait_until(lambda: closed_windows(agent) >= n_closed + 2, 60, "windows after the last step")
        n_closed = closed_windows(agent)
        assert agent.signal(signal.SIGTERM) == 0
        agent.config.write_text(alone + link)
        agent.start()
        wait_until(lambda: len(windows(hub)) >= n_closed + 2, 60, "the backlog at the hub")
        clock.set(-14 * DAY_S)
        n_there = len(windows(hub))
        wait_until(lambda: len(windows(hub)) >= n_there + 3, 60, "windows at the hub, for its timers go on")
        assert agent.signal(signal.SIGTERM) == 0
    finally:
        agent.close()
    assert "Traceback" not in agent.log.read_text()
    found = windows(hub)
    placed = [(w["corrected_start_ns"], w["corrected_end_ns"]) for w in found]
    slack_ns = 3 * NS_PER_S // 2  # on a busy machine, between a reading's dating and its handling; a lost window would be four
    assert all(began_ns - slack_ns < end <= time.time_ns() + slack_ns for _, end in placed), "a window at the wrong time"
    gaps = [start - end for (_, end), (start, _) in pairwise(placed)]
    assert sum(not -slack_ns < gap < slack_ns for gap in gaps) <= 1, "a hole that is not the restart's, or windows that overlap"
    assert min(gaps) > -slack_ns
    assert sum(w["n_late"] for w in found) == 0
    assert len({(w["start_ns"], w["end_ns"], w["end_mono_ns"]) for w in found}) == len(found)
    assert {w["time_quality"] for w in found} <= {"synced", "hub", "corrected"}
    assert 4 <= sum(w["partial"] for w in found) <= 8, "both sides of each of four steps at most"
