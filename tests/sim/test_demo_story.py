"""The demo's story, chapter by chapter, against a fleet that answers as a slow hub does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware_sim.demo.run import DemoRun
from firmware_sim.demo.story import cut_off
from models.errors import LinkError


class SlowHub:
    """A run whose hub has confirmed an alert one look before it shows it. Only the time of things is made up here."""

    def __init__(self) -> None:
        self.remote = SimpleNamespace(device_id="gw-6", assets=[SimpleNamespace(name="pump-6")])
        self.link = SimpleNamespace(cut=lambda: None, mend=self._mend)
        self.fleet = SimpleNamespace(now_ns=lambda: 100, inject=lambda *_: None, clear=lambda *_: None)
        self.screen = SimpleNamespace(done=lambda _: None)
        self.hub = SimpleNamespace(get=lambda _: {"lanes": [{"n_missing": 0}]})
        self.facts: dict[str, Any] = {}
        self._mended, self._looks = False, 0

    def _mend(self) -> None:
        self._mended = True

    def wait(self, condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
        for _ in range(5):
            if found := condition():
                return found
        raise AssertionError(f"waited in vain for {what}")

    def status(self, device: str) -> dict[str, Any]:
        return {"assets": {"pump-6": {"alert": "warning"}}, "backlog_items": 0 if self._mended else 61}

    def alerts(self) -> list[dict[str, Any]]:
        self._looks += self._mended
        return [{"asset": "pump-6", "opened_ns": 150}] if self._looks > 1 else []

    def open_alerts(self, assets: list[str]) -> dict[str, Any]:
        return {}


def test_a_device_that_is_held_up_is_asked_again_how_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: str) -> str:
        if next(answers):
            return '{"backlog_items": 7}'
        raise LinkError("tocsin agent status: no agent is running")

    answers = iter([False, True])
    monkeypatch.setattr("firmware_sim.demo.run._TURN_S", 0.0)
    run = DemoRun.__new__(DemoRun)
    run.processes = SimpleNamespace(check=lambda: None)  # type: ignore[assignment]
    run.screen = SimpleNamespace(still=lambda: None, waiting=lambda _: None)  # type: ignore[assignment]
    run.directory = Path("nowhere")
    run._tocsin = asked  # type: ignore[method-assign]
    assert run.status("gw-6") == {"backlog_items": 7}


def test_the_alert_of_the_device_that_was_cut_off_is_waited_for_until_the_hub_shows_it() -> None:
    run = SlowHub()
    cut_off(run)  # type: ignore[arg-type]
    assert (run.facts["cut_off"]["alerts_known_while_cut"], run.facts["cut_off"]["alerts_known_after"]) == (0, 1)
