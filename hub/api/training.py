"""Training started from the API: a child process per run, so that TensorFlow's memory and crashes stay out of the hub.

Each child is waited for by a thread, so that one that was killed (out of memory, say) is gone at once, and its run is marked.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from models.contract.config import load_profile
from models.errors import TrainingError


class TrainingProcesses:
    """At most one run per profile. What a run prints goes to `train-PROFILE.log` in `logs`.

    `on_end` is called in a thread whenever a child has ended, however it did.
    """

    def __init__(self, data: Path, logs: Path, profiles_dir: Path | None, on_end: Callable[[], None]) -> None:
        self._data = data
        self._logs = logs
        self._profiles_dir = profiles_dir
        self._on_end = on_end
        self._watchers: list[threading.Thread] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    def start(self, profile: str) -> int:
        """The child's process id. Raises ConfigError: no such profile; TrainingError: a run of it is going on."""
        load_profile(profile, self._profiles_dir)
        with self._lock:
            running = self._running.get(profile)
            if running is not None and running.poll() is None:
                raise TrainingError(f"{profile} is being trained already, by process {running.pid}")
            command = [
                sys.executable,
                "-m",
                "tocsin",
                "hub",
                "train",
                "--data",
                str(self._data),
                "--profile",
                profile,
                "--for-the-hub",
                "--json",
            ]
            self._logs.mkdir(exist_ok=True)
            with (self._logs / f"train-{profile}.log").open("ab") as log:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._running[profile] = child
            self._watchers = [watcher for watcher in self._watchers if watcher.is_alive()]
            self._watchers.append(threading.Thread(target=self._watch, args=(child,), name=f"train-{profile}", daemon=True))
            self._watchers[-1].start()
        return child.pid

    def stop(self) -> None:
        """Ends what is running; a run that was cut off has published nothing."""
        with self._lock:
            for child in self._running.values():
                if child.poll() is None:
                    child.terminate()
            for child in self._running.values():
                try:
                    child.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            for watcher in self._watchers:
                watcher.join()

    def _watch(self, child: subprocess.Popen[bytes]) -> None:
        child.wait()
        self._on_end()
