"""Many light devices on one event loop: a heap of due times, and a bounded number of connections at a time."""

from __future__ import annotations

import asyncio
import heapq
import time
from dataclasses import dataclass, field
from typing import Final

from firmware_sim.load.ask import Ask, Outcome
from firmware_sim.load.device import LightDevice
from firmware_sim.load.tally import Tally, count
from firmware_sim.load.wire import Reply, Target, Wire, WireError

_LOOK_S: Final = 0.1  # so often the loop looks up, whatever is due
_HANG_S: Final = 10.0
_END_S: Final = 5.0
_SETTLE_TRIES: Final = 12
_SETTLE_PAUSE_S: Final = 0.05
_ENROL_TRIES: Final = 8
_ENROL_PAUSE_S: Final = 0.5
_ADVICE: Final = {  # by status: refused for good, and what to do about it
    403: "the fleet needs a token that is usable as often as it has devices: `tocsin hub token --site … --count …`",
    409: "the token that this fleet came with first makes the same keys again; --prefix makes other devices",
}
_IN_TURN: Final = 200  # exchanges at most in one turn of a device: others want theirs


class FleetRefused(Exception):
    """The hub does not let a device in, and will not the next time."""


@dataclass(slots=True)
class Worker:
    """`connections`: at a time. `timeout_s`: for an exchange."""

    devices: list[LightDevice]
    target: Target
    connections: int
    timeout_s: float
    tally: Tally = field(default_factory=Tally)
    enrolled: int = 0
    _started_s: float = 0.0
    _ended_s: float | None = None
    _free: asyncio.Semaphore = field(init=False)
    _stopping: asyncio.Event = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.connections)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """No turn begins any more."""
        self._stopping.set()

    @property
    def now_s(self) -> float:
        """Seconds of the clock since the scenario began; in the end it stands still."""
        return time.monotonic() - self._started_s if self._ended_s is None else self._ended_s

    # --- enrolment -----------------------------------------------------------------------------------------------

    async def enrol(self) -> None:
        """All of them. Raises FleetRefused where the hub refuses one for good, or is not there."""
        try:
            await self._enrol_all()
        except* FleetRefused as refusals:
            raise FleetRefused(str(_first(refusals))) from None

    async def _enrol_all(self) -> None:
        waiting = iter([device for device in self.devices if not device.enrolled])

        async def some() -> None:
            for device in waiting:
                if self._stopping.is_set():
                    return
                await self._enrol(device)
                self.enrolled += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.connections, 32)):
                group.create_task(some())

    async def _enrol(self, device: LightDevice) -> None:
        why = ""
        for attempt in range(_ENROL_TRIES):
            ask = device.enrol()
            pause_s = _ENROL_PAUSE_S * 2**attempt
            try:
                wire, reply, outcome = await self._whole(device, ask, None)
                wire.close()
            except WireError as error:
                count(self.tally.of("enrol").failed, str(error))
                why = str(error)
            else:
                if not outcome.refused:
                    return
                why = outcome.detail
                if reply.status in _ADVICE:
                    raise FleetRefused(f"{why} ({_ADVICE[reply.status]})")
                pause_s = reply.retry_after_s or pause_s
            await self._rest(pause_s)
        raise FleetRefused(f"device {device.device_id} could not enrol: {why}")

    # --- turns ---------------------------------------------------------------------------------------------------

    async def run(self, started_s: float) -> None:
        """Until stopped. `started_s`: when the scenario began, on the monotonic clock."""
        self._started_s = started_s
        due = [(device.next_s, n) for n, device in enumerate(self.devices)]
        heapq.heapify(due)
        while not self._stopping.is_set():
            wait_s = min(due[0][0] - self.now_s, _LOOK_S) if due else _LOOK_S
            if wait_s > 0:
                await self._rest(wait_s)
                continue
            await self._free.acquire()
            at_s, n = heapq.heappop(due)
            task = asyncio.create_task(self._turn(n, at_s, due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await self._finish()

    async def settle(self, within_s: float) -> None:
        """Let every device sync what waits, once more, while the scenario's time stands still; those that cannot are left."""
        self._ended_s = self.now_s
        deadline_s = time.monotonic() + within_s
        waiting = iter([device for device in self.devices if device.life.on])

        async def some() -> None:
            for device in waiting:
                for attempt in range(_SETTLE_TRIES):
                    device.sync_now(self.now_s)
                    await self._exchanges(device)
                    if not device.waiting() or time.monotonic() > deadline_s:
                        break
                    await asyncio.sleep(min(_SETTLE_PAUSE_S * 2**attempt, 2.0))

        await asyncio.gather(*(some() for _ in range(self.connections)))

    async def _rest(self, for_s: float) -> None:
        try:
            async with asyncio.timeout(for_s):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _finish(self) -> None:
        """What is under way may end, within what an exchange may take."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=min(self.timeout_s, _END_S))
            for task in pending:
                task.cancel()

    async def _turn(self, n: int, due_s: float, due: list[tuple[float, int]]) -> None:
        device = self.devices[n]
        try:
            self.tally.late_s.add(self.now_s - max(due_s, 0.0))
            await self._exchanges(device)
            copy = device.clone()
            if copy is not None:
                self.devices.append(copy)
                heapq.heappush(due, (copy.next_s, len(self.devices) - 1))
        finally:
            self._free.release()
            heapq.heappush(due, (device.next_s, n))

    async def _exchanges(self, device: LightDevice) -> None:
        """All that a device wants to say now, on one connection."""
        wire: Wire | None = None
        try:
            for _ in range(_IN_TURN):
                if device.next_s > self.now_s:
                    return
                ask = device.turn(self.now_s)
                if ask is not None:
                    wire = await self._exchange(device, ask, wire)
        finally:
            if wire is not None:
                wire.close()

    async def _exchange(self, device: LightDevice, ask: Ask, wire: Wire | None) -> Wire | None:
        """The connection, where it is still good for another."""
        exchanges = self.tally.of(ask.kind)
        if ask.how != "whole":
            count(exchanges.troubled, ask.how)
        if ask.how in ("unreachable", "half"):
            if ask.how == "half":
                await self._hang(ask)
            device.failed(self.now_s, ask)
            return wire
        try:
            used, _, _ = await self._whole(device, ask, wire)
        except WireError as error:
            count(exchanges.failed, str(error))
            device.failed(self.now_s, ask)
            return None
        return used

    async def _whole(self, device: LightDevice, ask: Ask, wire: Wire | None) -> tuple[Wire, Reply, Outcome]:
        """Ask on `wire`, or on a new connection. Raises WireError; then neither is of use."""
        exchanges = self.tally.of(ask.kind)
        exchanges.asked += 1
        exchanges.sent_bytes += len(ask.body or b"")
        began_s = time.monotonic()
        opened = wire or await Wire.open(self.target, self.timeout_s)
        try:
            reply = await opened.exchange(ask, self.timeout_s)
        except WireError:
            opened.close()
            raise
        exchanges.answered_s.add(time.monotonic() - began_s)
        outcome = device.answered(self.now_s, ask, reply.status, reply.data, reply.retry_after_s)
        self._count(ask, outcome)
        return opened, reply, outcome

    def _count(self, ask: Ask, outcome: Outcome) -> None:
        exchanges = self.tally.of(ask.kind)
        if outcome.refused:
            count(exchanges.refused, outcome.refused)
        else:
            exchanges.accepted += 1
        if ask.how == "whole":
            self.tally.items_sent += ask.n_items
        self.tally.items_confirmed += outcome.n_new
        self.tally.items_rejected += outcome.n_rejected

    async def _hang(self, ask: Ask) -> None:
        try:
            wire = await Wire.open(self.target, self.timeout_s)
        except WireError:
            return
        await wire.hang(ask, _HANG_S)
        wire.close()


def _first(error: BaseException) -> BaseException:
    """Of a group, the first that it leads to."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
