"""A share of a fleet in a process of its own. Parent and child exchange JSON lines over the child's standard input and output.

    parent: Setup, then Command "go", "stop"            child: a Report, twice a second and whenever its phase changes

The claim token travels there, and not in an argument that everybody on the machine can read. The child ends when its input
does: nothing is left running when the parent dies.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from typing import Final, Literal

import msgspec

from firmware_sim.load.content import shape_of
from firmware_sim.load.life import Setting
from firmware_sim.load.plan import FleetPlan
from firmware_sim.load.play import make_devices
from firmware_sim.load.tally import Tally
from firmware_sim.load.trust import context
from firmware_sim.load.wire import Target
from firmware_sim.load.worker import FleetRefused, Worker
from models.contract.claim import read_claim

Phase = Literal["enrolling", "ready", "running", "settling", "done", "failed"]
_EVERY_S: Final = 0.5
_SETTLE_S: Final = 120.0


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What one child plays: the devices `first`, `first + step`, … of the plan. `settle`: sync once more at the end."""

    plan: FleetPlan
    seed: int
    speed: float
    t0_ns: int
    prefix: str
    first: int
    step: int
    url: str
    token: str
    ca_pem: str
    connections: int
    timeout_s: float
    settle: bool = False


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """`started_s`: of a `go`, when the scenario begins, on the machine's monotonic clock."""

    do: Literal["go", "stop"]
    started_s: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands. `tally`: since the start. `waiting`: items that wait for sync, known once it is done. `error`: why it has
    failed."""

    phase: Phase
    enrolled: int = 0
    tally: Tally = msgspec.field(default_factory=Tally)
    waiting: int = 0
    lost_by_wipe: int = 0
    error: str = ""


class Child:
    """One child's life, on its event loop."""

    def __init__(self, setup: Setup, commands: asyncio.StreamReader) -> None:
        self._setup = setup
        self._commands = commands
        setting = Setting(setup.plan, shape_of(setup.plan.profile), setup.seed, setup.t0_ns)
        numbers = range(setup.first, setup.plan.devices, setup.step)
        devices = make_devices(setting, setup.speed, read_claim(setup.token), setup.prefix, numbers)
        target = Target.of(setup.url, context(setup.url, setup.ca_pem))
        self._worker = Worker(devices, target, setup.connections, setup.timeout_s)
        self._phase: Phase = "enrolling"
        gc.freeze()  # all of this stays: the collector need not look at it again and again

    async def live(self) -> None:
        telling = asyncio.create_task(self._tell_now_and_then())
        obeying = asyncio.create_task(self._obey())
        try:
            await self._worker.enrol()
            self._tell("ready")
            command = await obeying
            if command is not None:
                self._phase = "running"
                ending = asyncio.create_task(self._end())
                await self._worker.run(command.started_s)
                await ending
                if self._setup.settle:
                    self._tell("settling")
                    await self._worker.settle(_SETTLE_S)
            self._tell("done")
        except FleetRefused as refusal:
            self._tell("failed", str(refusal))
        finally:
            telling.cancel()
            obeying.cancel()

    async def _obey(self) -> Command | None:
        """The next command; None = stop, or there will be no other."""
        line = await self._commands.readline()
        command = msgspec.json.decode(line, type=Command) if line else None
        if command is None or command.do == "stop":
            self._worker.stop()
            return None
        return command

    async def _end(self) -> None:
        await self._obey()

    async def _tell_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            self._tell(self._phase)

    def _tell(self, phase: Phase, error: str = "") -> None:
        self._phase = phase
        devices = self._worker.devices if phase == "done" else []
        report = Report(
            phase=phase,
            enrolled=self._worker.enrolled,
            tally=self._worker.tally,
            waiting=sum(device.waiting() for device in devices),
            lost_by_wipe=sum(device.life.lost_by_wipe for device in devices),
            error=error,
        )
        os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")


async def serve() -> None:
    """The child: play what the first line says, obey the others, stop when there are no more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who then stops things in order
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    line = await commands.readline()
    if line:
        await Child(msgspec.json.decode(line, type=Setup), commands).live()


if __name__ == "__main__":
    asyncio.run(serve())
