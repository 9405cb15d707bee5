"""The thread that keeps a link up: how it waits, and what it shows when something is wrong with the agent itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from agent.backoff import Backoff
from agent.sources import link as link_module
from agent.sources.link import Link
from models.errors import LinkError
from tests.waiting import wait_until


class Waits:
    """A backoff that never waits, and remembers how many failures in a row it was asked about."""

    def __init__(self) -> None:
        self.failures: list[int] = []

    def delay_s(self, failures: int, drawn: float) -> float:
        self.failures.append(failures)
        return 0.0


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def link(waits: Waits) -> Iterator[Link]:
    link = Link("test", lambda: 7, waits, lambda: 0.5)  # type: ignore[arg-type]
    yield link
    link.stop()


@pytest.fixture(autouse=True)
def never_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where this process is held up for seconds between coming up and falling."""
    monkeypatch.setattr(link_module, "_STEADY_S", 3600.0)


def run_until(link: Link, waits: Waits, n: int, up: bool) -> None:
    def session() -> None:
        if len(waits.failures) >= n:
            link.pause(60)
            return
        if up:
            link.up("there")
        raise LinkError("gone")

    link.start(session)
    wait_until(lambda: len(waits.failures) >= n)
    link.stop()


@pytest.mark.parametrize("up", [False, True])
def test_waits_grow_while_sessions_fail_also_where_each_comes_up_for_a_moment(link: Link, waits: Waits, up: bool) -> None:
    run_until(link, waits, 5, up)
    assert waits.failures == [0, 1, 2, 3, 4]


def test_a_link_that_stayed_up_starts_again_from_the_shortest_wait(
    link: Link, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_STEADY_S", 0.0)
    run_until(link, waits, 5, up=True)
    assert waits.failures == [0, 0, 0, 0, 0]


def test_a_defect_shows_in_the_state_and_ends_the_thread_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    loud: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: loud.append(str(args.exc_value)))
    link = Link("test", lambda: 7, Backoff(), lambda: 0.5)

    def session() -> None:
        link.up("there")
        raise ValueError("a defect")

    link.start(session)
    wait_until(lambda: loud)
    assert loud == ["a defect"]
    assert link.state.link == "down"
    assert "ended by a defect" in link.state.detail
    link.stop()


def test_an_error_that_lasts_keeps_the_moment_it_began(waits: Waits) -> None:
    times = iter(range(1000))
    link = Link("test", lambda: next(times), waits, lambda: 0.5)  # type: ignore[arg-type]
    upped = threading.Event()

    def session() -> None:
        if not upped.is_set():
            upped.set()
            link.up("there")
        if len(waits.failures) >= 5:
            link.pause(60)
            return
        raise LinkError(f"gone {len(waits.failures)}")

    link.start(session)
    wait_until(lambda: len(waits.failures) >= 5)
    assert link.state.detail == "gone 4"
    assert link.state.since_ns == 2  # made, came up, went down
    link.stop()
    assert link.state.detail == "stopped"
