"""The live view: asks the agent, paints, waits for a key or for time to pass."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from agent.top.frame import Line, fitted, frame, wrapped
from agent.top.screen import Screen, painted

Ask = Callable[[], Mapping[str, Any] | None]


def paints() -> bool:
    """Whether there is a terminal on both sides, and one that can be painted."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def colourful() -> bool:
    """Whether standard output wants colours: a terminal, and nobody said no (https://no-color.org)."""
    return paints() and not os.environ.get("NO_COLOR")


def one_frame(status: Mapping[str, Any], columns: int, colours: bool) -> str:
    """All there is to tell, once."""
    return "\n".join(painted(line, colours).rstrip() for line in frame(status, columns))


def live(ask: Ask, interval_s: float, nobody: str) -> None:
    """Until q, Ctrl-C, or a signal to end. `nobody`: what is said while `ask` finds no agent, which may come back."""
    with Screen(colourful()) as screen:
        status, next_s, top_row = ask(), 0.0, 0
        while not screen.ending:
            columns, rows = screen.size()
            lines = frame(status, columns) if status is not None else wrapped(f" {nobody}; waiting for one", columns)
            room = rows - 2
            top_row = max(0, min(top_row, len(lines) - room))
            foot = _foot(len(lines) - room - top_row, top_row, interval_s)
            screen.show([*lines[top_row : top_row + room], [], fitted(foot, columns)])
            next_s = next_s or time.monotonic() + interval_s
            keys = screen.wait(next_s - time.monotonic())
            if "quit" in keys:
                return
            steps = {"up": -1, "down": 1, "page up": -room, "page down": room}
            top_row += sum(steps.get(key, 0) for key in keys)
            if time.monotonic() >= next_s:
                status, next_s = ask(), 0.0


def _foot(below: int, above: int, interval_s: float) -> Line:
    hidden = [f"{n} more {'line' if n == 1 else 'lines'} {where}" for n, where in ((below, "below"), (above, "above")) if n > 0]
    return [("faint", f" q ends; {', '.join(hidden)}{' (↑ ↓); ' if hidden else ''}every {interval_s:g} s")]
