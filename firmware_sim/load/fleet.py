"""A fleet of light devices in a few processes: started together, watched, stopped in order, and summed up."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import msgspec

from firmware_sim.load.plan import FleetPlan
from firmware_sim.load.process import Command, Report, Setup
from firmware_sim.load.tally import Exchanges, Tally, merged
from firmware_sim.load.trust import find_hub
from models.contract.claim import read_claim
from models.errors import LinkError

_START_S: Final = 1.0  # from the word to go until the scenario's first second: all children have heard it by then
_STOP_S: Final = 150.0
_TURN_S: Final = 0.1
_LAST_WORDS_S: Final = 5.0
_ORDER: Final = ("enrolling", "ready", "running", "settling", "done")


@dataclass(frozen=True, slots=True)
class FleetRun:
    """What to play, and against whom. `t0_ns`: event time of second 0. `connections`: at a time, of all processes together."""

    plan: FleetPlan
    seed: int
    speed: float
    t0_ns: int
    url: str
    token: str = field(repr=False)
    prefix: str = "sim"
    processes: int = 1
    connections: int = 400
    timeout_s: float = 20.0
    settle: bool = False


class LoadFleet:
    """From `with` to the end of it.

    Raises ConfigError: a token or an address that is none; LinkError: no hub there, devices that it does not let in, a process
    that has ended."""

    def __init__(self, run: FleetRun) -> None:
        self.run = run
        self._children: list[_Process] = []
        self._memory_bytes = 0
        self._ca_pem = find_hub(run.url, read_claim(run.token))

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def _start(self) -> None:
        run = self.run
        for n in range(run.processes):
            setup = Setup(
                plan=run.plan,
                seed=run.seed,
                speed=run.speed,
                t0_ns=run.t0_ns,
                prefix=run.prefix,
                first=n,
                step=run.processes,
                url=run.url,
                token=run.token,
                ca_pem=self._ca_pem,
                connections=max(1, run.connections // run.processes),
                timeout_s=run.timeout_s,
                settle=run.settle,
            )
            self._children.append(_Process(setup))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        for child in self._children:
            child.close()

    def reach(self, phase: str, timeout_s: float, watch: Callable[[], None] = lambda: None) -> bool:
        """Wait until every process has come so far; False where `timeout_s` was over first. `watch` is called meanwhile."""
        deadline_s = time.monotonic() + timeout_s
        while not all(_ORDER.index(child.report.phase) >= _ORDER.index(phase) for child in self._checked()):
            watch()
            if time.monotonic() > deadline_s:
                return False
            time.sleep(_TURN_S)
        return True

    def go(self) -> float:
        """Begin the scenario; when that is, on the monotonic clock."""
        started_s = time.monotonic() + _START_S
        for child in self._checked():
            child.send(Command(do="go", started_s=started_s))
        return started_s

    def stop(self, watch: Callable[[], None] = lambda: None) -> None:
        """Let what is under way end, settle where that is wanted; returns once all is counted."""
        self._memory_bytes = self.memory_bytes()
        for child in self._checked():
            child.send(Command(do="stop"))
        if not self.reach("done", _STOP_S, watch):
            raise LinkError(f"the light devices did not come to an end within {_STOP_S:.0f} s")

    @property
    def enrolled(self) -> int:
        return sum(child.report.enrolled for child in self._children)

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def tally(self) -> Tally:
        return merged(child.report.tally for child in self._children)

    def memory_bytes(self) -> int:
        """Proportional share of all processes, the parent's included."""
        import psutil

        return sum(psutil.Process(pid).memory_full_info().pss for pid in [*self.pids, psutil.Process().pid])

    def summary(self) -> dict[str, Any]:
        """All figures as JSON-able values, after `stop`. Times in s."""
        tally, reports = self.tally(), [child.report for child in self._children]
        return {
            "devices": self.run.plan.devices,
            "enrolled": self.enrolled,
            "items": {
                "sent": tally.items_sent,
                "confirmed": tally.items_confirmed,
                "quarantined": tally.items_rejected,
                "waiting": sum(report.waiting for report in reports),
                "lost_by_wipe": sum(report.lost_by_wipe for report in reports),
            },
            "exchanges": {kind: _figures(tally.exchanges[kind]) for kind in sorted(tally.exchanges)},
            "turns_late_s": {f"p{q}": tally.late_s.quantile(q / 100) for q in (50, 95, 99)},
            "processes": self.run.processes,
            "memory_pss_bytes": self._memory_bytes,
        }

    def _checked(self) -> list[_Process]:
        try:
            for child in self._children:
                child.check()
        except LinkError as error:
            raise LinkError(f"{error}; {self.enrolled:,} of {self.run.plan.devices:,} light devices are in") from None
        return self._children


def _figures(exchanges: Exchanges) -> dict[str, Any]:
    answered = exchanges.answered_s
    return {
        "asked": exchanges.asked,
        "accepted": exchanges.accepted,
        "refused": exchanges.refused,
        "failed": exchanges.failed,
        "troubled": exchanges.troubled,
        "sent_bytes": exchanges.sent_bytes,
        "answered_s": {f"p{q}": answered.quantile(q / 100) for q in (50, 95, 99)},
    }


class _Process:
    """One child, and its latest report, which a thread reads."""

    def __init__(self, setup: Setup) -> None:
        self.report = Report(phase="enrolling")
        self._child = subprocess.Popen(
            [sys.executable, "-m", "firmware_sim.load.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd=Path.cwd(),
        )
        self._write(msgspec.json.encode(setup) + b"\n")
        assert self._child.stdout
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, command: Command) -> None:
        self._write(msgspec.json.encode(command) + b"\n")

    def check(self) -> None:
        """Raises LinkError where it has failed, or ended before it was done."""
        if self._child.poll() is not None:
            self._reader.join(_LAST_WORDS_S)
        report = self.report
        if report.phase == "failed":
            raise LinkError(report.error)
        if self._child.poll() is not None and report.phase != "done":
            raise LinkError(f"a process of light devices ended with exit code {self._child.returncode}")

    def close(self) -> None:
        """End it now, if it still runs."""
        assert self._child.stdin
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        try:
            self._child.wait(0.0 if self.report.phase not in ("done", "failed") else 10.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        assert self._child.stdout
        self._child.stdout.close()

    def _write(self, line: bytes) -> None:
        assert self._child.stdin
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
        except BrokenPipeError:
            raise LinkError("a process of light devices has ended") from None

    def _read(self, lines: IO[bytes]) -> None:
        for line in lines:
            self.report = msgspec.json.decode(line, type=Report)
