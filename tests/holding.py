"""A run of training that goes on for as long as a test needs it: a real one may be over before anybody has looked at it."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import pytest


class HeldRuns:
    """The children that `hub.api.training` starts: the right command, behind a shell that stops itself first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._started: list[subprocess.Popen[bytes]] = []
        self._popen = subprocess.Popen
        monkeypatch.setattr("hub.api.training.subprocess.Popen", self._start)

    def let_go(self) -> None:
        """They go on, and can be ended by a signal again."""
        for child in self._started:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGCONT)

    def _start(self, command: list[str], **how: object) -> subprocess.Popen[bytes]:
        if "train" in command:
            command = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "held", *command]
        child: subprocess.Popen[bytes] = self._popen(command, **how)  # type: ignore[call-overload]
        self._started.append(child)
        return child
