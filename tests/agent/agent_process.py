"""A real agent as a process of its own, on this machine's own sensors, and the command line beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from models.contract.items import Item
from models.errors import StorageError
from tests.agent.outboxes import stored_items
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
_HELD_UP = "does not answer within"
CONFIG = """\
[device]
id = "dev-1"
state_dir = "state"

[[assets]]
id = "here"
profile = "host"

[[host]]
asset = "here"
interval_s = 0.1
"""


def tocsin(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as a person types it."""
    command = [sys.executable, "-m", "tocsin", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


class AgentProcess:
    """`tocsin agent run` on the configuration in `directory`."""

    def __init__(
        self, directory: Path, empty_outbox: Path, config: str = CONFIG, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment`: what the process sees beside this one's."""
        self.config = directory / "tocsin.toml"
        self.state = directory / "state"
        self.log = directory / "agent.log"
        self.config.write_text(config)
        self.state.mkdir(exist_ok=True)
        if not (self.state / "outbox.db").exists():  # saves the migration, which has its own test
            shutil.copy(empty_outbox, self.state / "outbox.db")
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tocsin", "agent", "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=self._environment)
        assert self.status() is not None, self.log.read_text()

    def status(self) -> dict[str, Any] | None:
        """As `tocsin agent status --json` says it, without the cost of a process; None where no agent runs. One that
        runs and is held up for longer than who asks is patient is asked again."""
        from agent.status.control import ask

        def told() -> dict[str, Any] | None:
            try:
                return ask(self.state)
            except StorageError as error:
                if _HELD_UP in str(error):
                    return None
                raise

        found = wait_until(lambda: told() or not self._runs(), 60, "the agent to answer")
        return found if isinstance(found, dict) else None

    def asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command that asks the running agent, as a person types it: once more, where the agent was held up for longer than
        it waits."""

        def heard() -> subprocess.CompletedProcess[str] | None:
            done = tocsin("agent", *words, "--config", self.config)
            held_up = done.returncode == 3 or _HELD_UP in done.stderr
            return None if held_up and self._runs() else done

        return wait_until(heard, 60, "the agent to be there for a command")

    def told(self) -> Any:
        return json.loads(self.asked("status", "--json").stdout)

    def stored_items(self) -> list[Item]:
        """What waits in the outbox, as it is on disk at one moment: the agent stands still while its files are copied."""
        with self._standing_still():
            return stored_items(self.state / "outbox.db")

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @contextmanager
    def _standing_still(self) -> Iterator[None]:
        """Told to stop, a thread that is in the middle of a write still ends it: it is waited for."""
        if self._process is None or not self._runs():
            yield
            return
        self._process.send_signal(signal.SIGSTOP)
        try:
            wait_until(
                lambda: all(map(_stands, Path(f"/proc/{self._process.pid}/task").iterdir())), what="its threads to stand"
            )
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def signal(self, number: signal.Signals, timeout_s: float = 60.0) -> int:
        """Send a signal; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(timeout_s)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


def _stands(task: Path) -> bool:
    """Whether a thread is stopped, or is no more."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (task / "stat").read_text().rsplit(") ", 1)[1][0] in "TtZX"
    return True
