"""The demo's child processes: each with its own log, none left running, whatever ends the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from models.errors import LinkError

_STOP_S: Final = 12.0


class Processes:
    """Starts `tocsin …` children and stops them in the order in which they were started, agents before the hub."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *arguments: str) -> None:
        """Run `tocsin arguments…`; what it says goes to `logs/name.log`. A session of its own: Ctrl-C is the demo's."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with self.log(name).open("ab") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", "tocsin", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def check(self) -> None:
        """Raises LinkError, with its last words, where a process has ended by itself."""
        for name, child in self._children.items():
            if child.poll() is not None:
                words = self.log(name).read_text(errors="replace").strip().splitlines()[-3:]
                raise LinkError(f"{name} ended with exit code {child.returncode}: {' | '.join(words)}")

    def stop(self) -> None:
        """Ask all to end, wait, and kill what has not; newest first, so that the hub outlives its devices."""
        for name in reversed(list(self._children)):
            child = self._children[name]
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self._children.clear()
