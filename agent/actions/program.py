"""The program actor: runs a program, without a shell, with the event on its standard input and in its environment.

- The program leads a process group of its own. On time-out the group gets SIGTERM, and SIGKILL a second later.
- Its environment is small: PATH, HOME, the locale and the time zone, and a TOCSIN_ variable for each part of the event. What
  else the agent's own environment holds (the service manager's sockets, secrets) is not for it.
- Of what it writes, to standard output and error alike, the last line goes into the action's record.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, Final

import msgspec

from agent.actions.actor import Result
from agent.actions.config import ProgramAction
from agent.actions.event import Event, fields_of
from models.contract.items import ActorKind

_KEPT: Final = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_GRACE_S: Final = 1.0
_POLL_S: Final = 0.05
_TAIL_BYTES: Final = 2000


class ProgramActor:
    """See `actor.Actor`."""

    kind: Final[ActorKind] = "program"

    def __init__(self, config: ProgramAction) -> None:
        self._config = config
        self._closing = threading.Event()

    @property
    def target(self) -> str:
        """Without arguments: they may hold what is secret."""
        return self._config.command[0]

    def preview(self, event: Event) -> str:
        """See `actor.Actor`. Without arguments, as `target`: of a dry run this goes to the hub."""
        more = " and its arguments" if len(self._config.command) > 1 else ""
        return f"run {self.target}{more} with {msgspec.json.encode(event).decode()}"

    def act(self, event: Event) -> Result:
        """See `actor.Actor`."""
        deadline_s = time.monotonic() + self._config.timeout_s
        try:
            process = subprocess.Popen(
                self._config.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=environment(event), start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            return Result(False, f"{self.target}: {error}")
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdout:
            _tell(process.stdin, msgspec.json.encode(event))
            tail = self._wait(process, process.stdout, deadline_s)
        if tail is None:
            why = "the agent stops" if self._closing.is_set() else f"still running after {self._config.timeout_s:g} s"
            return Result(False, f"{self.target}: killed, {why}")
        return _result(self.target, process.returncode, tail)

    def close(self) -> None:
        """See `actor.Actor`."""
        self._closing.set()

    def _wait(self, process: subprocess.Popen[bytes], output: IO[bytes], deadline_s: float) -> bytes | None:
        """Until it ends, its output taken in so that it never waits for us. The end of what it said; None = it was killed."""
        os.set_blocking(output.fileno(), False)
        tail = b""
        while process.poll() is None:
            if time.monotonic() >= deadline_s or self._closing.is_set():
                _kill_group(process)
                return None
            tail = _more(output, tail, _POLL_S)
        return _more(output, tail, 0.0)


def environment(event: Event) -> dict[str, str]:
    """See the module's text. A NUL, which an environment cannot hold, becomes a space."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {f"TOCSIN_{name.upper()}": text.replace("\0", " ") for name, text in fields_of(event).items()}


def _tell(stdin: IO[bytes], said: bytes) -> None:
    """An event is far smaller than a pipe holds, so this does not block; who does not read it does not matter."""
    with suppress(BrokenPipeError):
        stdin.write(said)
    with suppress(BrokenPipeError):
        stdin.close()


def _more(output: IO[bytes], tail: bytes, timeout_s: float) -> bytes:
    """`tail` with what has come since. At the end of the output, which need not be the end of the program, only waits."""
    readable, _, _ = select.select([output], [], [], timeout_s)
    chunk = os.read(output.fileno(), 65536) if readable else b""
    if readable and not chunk:
        time.sleep(timeout_s)
    return (tail + chunk)[-_TAIL_BYTES:]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """The group outlives its leader where a child goes on, so it is always killed in the end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _result(target: str, code: int, tail: bytes) -> Result:
    lines = tail.decode("utf-8", "replace").strip().splitlines()
    said = lines[-1] if lines else ""
    if code == 0:
        return Result(True, said)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Result(False, f"{target}: {how}{': ' if said else ''}{said}")
