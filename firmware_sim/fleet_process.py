"""A fleet in a process of its own, so that who plays it and who watches it do not share an interpreter.

Parent and child exchange JSON lines over the child's standard input and output: one `Setup`, then one `Reply` for each
`Command`. The child ends when its input does: nothing is left running when the parent dies.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Literal, Self

import msgspec

from firmware_sim.fleet import LocalFleet
from firmware_sim.scenario import Scenario
from firmware_sim.truth import TruthEvent
from models.errors import ConfigError, LinkError, TocsinError

_STOP_S: Final = 10.0


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What the child plays."""

    scenario: Scenario
    broker: tuple[str, int] | None
    ports: str | None
    t0_ns: int | None


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the child is asked to do."""

    do: Literal["inject", "clear", "unplug", "plug", "truth"]
    asset: str = ""
    kind: str | None = None
    severity: float = 1.0
    channel: str | None = None
    ramp_s: float | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it. `error`: where and what was expected of a ConfigError, or ("", text) of another error."""

    error: tuple[str, str] | None = None
    truth: list[TruthEvent] = []
    cleared: int = 0
    addresses: dict[str, str] = {}
    t0_ns: int = 0
    started_mono_ns: int = 0


class ProcessFleet:
    """See `Fleet`, and `LocalFleet` for the arguments."""

    def __init__(
        self, scenario: Scenario, broker: tuple[str, int] | None = None, ports: Path | None = None, t0_ns: int | None = None
    ) -> None:
        self._setup = Setup(scenario=scenario, broker=broker, ports=str(ports) if ports else None, t0_ns=t0_ns)
        self._speed = scenario.speed
        self._child: subprocess.Popen[bytes] | None = None
        self._started = Reply()
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the child, None before the start."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """See `Fleet.start`. Raises ConfigError, LinkError."""
        command = [sys.executable, "-m", "firmware_sim.fleet_process"]
        # A session of its own: Ctrl-C reaches the parent alone, who then stops things in order.
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        try:
            self._started = self._exchange(self._setup)
        except TocsinError:
            self.stop()
            raise

    def stop(self) -> None:
        """See `Fleet.stop`."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin
        assert child.stdout
        child.stdin.close()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()

    def now_ns(self) -> int:
        """See `Fleet.now_ns`; the monotonic clock is the machine's, so both processes read the same."""
        if not self._started.started_mono_ns:
            return self._started.t0_ns
        elapsed_ns = time.monotonic_ns() - self._started.started_mono_ns
        return self._started.t0_ns + round(elapsed_ns * self._speed)

    def addresses(self) -> Mapping[str, str]:
        return self._started.addresses

    def inject(
        self, asset: str, kind: str, severity: float = 1.0, channel: str | None = None, ramp_s: float | None = None
    ) -> TruthEvent:
        command = Command(do="inject", asset=asset, kind=kind, severity=severity, channel=channel, ramp_s=ramp_s)
        return self._exchange(command).truth[-1]

    def clear(self, asset: str, kind: str | None = None) -> int:
        return self._exchange(Command(do="clear", asset=asset, kind=kind)).cleared

    def unplug(self, asset: str) -> None:
        self._exchange(Command(do="unplug", asset=asset))

    def plug(self, asset: str) -> None:
        self._exchange(Command(do="plug", asset=asset))

    def truth(self) -> list[TruthEvent]:
        return self._exchange(Command(do="truth")).truth

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _exchange(self, message: Setup | Command) -> Reply:
        with self._lock:
            if self._child is None:
                raise LinkError("the simulated fleet is not running")
            assert self._child.stdin
            assert self._child.stdout
            try:
                self._child.stdin.write(msgspec.json.encode(message) + b"\n")
                line = self._child.stdout.readline()
            except BrokenPipeError:
                line = b""
        if not line:
            raise LinkError("the simulated fleet's process has ended")
        reply = msgspec.json.decode(line, type=Reply)
        if reply.error is not None:
            raise ConfigError(*reply.error) if reply.error[0] else LinkError(reply.error[1])
        return reply


def serve(commands: IO[bytes], replies: IO[bytes]) -> None:
    """The child: play what the first line says, obey the others, stop when there are no more."""
    setup = msgspec.json.decode(commands.readline(), type=Setup)
    fleet = LocalFleet(setup.scenario, setup.broker, Path(setup.ports) if setup.ports else None, setup.t0_ns)

    def reply(answer: Reply) -> None:
        replies.write(msgspec.json.encode(answer) + b"\n")
        replies.flush()

    try:
        fleet.start()
    except ConfigError as error:
        reply(Reply(error=(error.where, error.expected)))
        return
    try:
        started = fleet.started_mono_ns or 0
        reply(Reply(addresses=dict(fleet.addresses()), t0_ns=fleet.t0_ns, started_mono_ns=started))
        for line in commands:
            reply(_obey(fleet, msgspec.json.decode(line, type=Command)))
    finally:
        fleet.stop()


def _obey(fleet: LocalFleet, command: Command) -> Reply:
    try:
        if command.do == "inject":
            event = fleet.inject(command.asset, command.kind or "", command.severity, command.channel, command.ramp_s)
            return Reply(truth=[event])
        if command.do == "clear":
            return Reply(cleared=fleet.clear(command.asset, command.kind))
        if command.do == "truth":
            return Reply(truth=fleet.truth())
        (fleet.unplug if command.do == "unplug" else fleet.plug)(command.asset)
        return Reply()
    except ConfigError as error:
        return Reply(error=(error.where, error.expected))
    except TocsinError as error:
        return Reply(error=("", str(error)))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
