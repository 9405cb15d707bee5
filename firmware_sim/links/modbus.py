"""Modbus devices, by pymodbus' own server (extra `tocsin[modbus]`): over TCP, or RTU on a pair of pseudo-terminals.

    devices = {1: {(3, 0): 42, (4, 100): 7}}        unit: {(function, address): word}
    with ModbusPeer(devices) as plc: ...            TCP, at plc.port
    with ModbusLine(devices) as line: ...           RTU, at line.address

What is not in `devices` is refused as no such register. A unit that is not there stays silent, as on a serial line.
The words may be changed at any time (`set_word`); whole requests see whole words.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import threading
import tty
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from pymodbus.simulator.simdevice import SimAction

from models.errors import LinkError

Words = dict[tuple[int, int], int]
_START_S: Final = 10.0
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class ModbusPeer:
    """A TCP server on loopback. `port`: 0 = any free one, kept over `stop` and `start`. `n_requests`: reads so far."""

    def __init__(self, devices: Mapping[int, Mapping[tuple[int, int], int]], port: int = 0) -> None:
        self.port = port or _free_port()
        self.n_requests = 0
        self._devices: dict[int, Words] = {unit: dict(words) for unit, words in devices.items()}
        self._refusals: dict[int, ExcCodes] = {}
        self._silent: set[int] = set()
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    def set_word(self, unit: int, function: int, address: int, word: int) -> None:
        self._devices[unit][function, address] = word

    def refuse(self, unit: int, code: int | None) -> None:
        """Answer everything of `unit` with exception `code`; None = behave again."""
        if code is None:
            self._refusals.pop(unit, None)
        else:
            self._refusals[unit] = ExcCodes(code)

    def silence(self, unit: int, silent: bool = True) -> None:
        """Let `unit` answer nothing, or again."""
        (self._silent.add if silent else self._silent.discard)(unit)

    def start(self) -> None:
        """Serve from a thread of its own; returns once it listens. Raises LinkError."""
        self._ready.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="modbus-peer", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise LinkError("the Modbus server does not start")

    def stop(self) -> None:
        """Drop all connections and stop listening."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_START_S)
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = self._server([self._device(unit) for unit in self._devices])
        await server.serve_forever(background=True)
        self._ready.set()
        await self._stopping.wait()
        await server.shutdown()  # type: ignore[no-untyped-call]
        await asyncio.sleep(0)  # lets the connections close

    def _server(self, devices: list[SimDevice]) -> ModbusTcpServer | ModbusSerialServer:
        return ModbusTcpServer(devices, address=("127.0.0.1", self.port), trace_packet=self._filter(6))

    def _filter(self, unit_at: int) -> Callable[[bool, bytes], bytes]:
        """Keeps back the answers of units that are silent or not there; a frame's `unit_at`-th byte is its unit."""

        def pass_on(sending: bool, packet: bytes) -> bytes:
            unit = packet[unit_at] if len(packet) > unit_at else None
            return b"" if sending and (unit in self._silent or unit not in self._devices) else packet

        return pass_on

    def _device(self, unit: int) -> SimDevice:
        """A stretch of registers exists for pymodbus; which do here is decided at each read, by the words."""
        n_words = min(65536, max((address for _, address in self._devices[unit]), default=0) + 130)
        everything = [SimData(0, count=n_words, values=0, datatype=DataType.REGISTERS)]
        coils = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        return SimDevice(unit, (coils, coils, everything, everything), action=self._reader(unit))

    def _reader(self, unit: int) -> SimAction:
        async def read(
            function: int, start: int, address: int, count: int, registers: list[int], _written: list[int] | list[bool] | None
        ) -> ExcCodes | None:
            self.n_requests += 1
            if unit in self._refusals:
                return self._refusals[unit]
            words = self._devices[unit]
            for at in range(address, address + count):
                if (function, at) not in words:
                    return ExcCodes.ILLEGAL_ADDRESS
                registers[at - start] = words[function, at]
            return None

        return read


class ModbusLine(ModbusPeer):
    """An RTU server on one pseudo-terminal, wired to another whose end the client opens at `link_path`."""

    def __init__(self, devices: Mapping[int, Mapping[tuple[int, int], int]], link_path: Path) -> None:
        super().__init__(devices, port=1)
        self.address = str(link_path)
        self._link_path = link_path
        self._ends: list[int] = []
        self._wire: threading.Thread | None = None

    def start(self) -> None:
        """See `ModbusPeer.start`: the port appears at its path."""
        near, near_port = _terminal()
        far, self._server_port = _terminal()
        self._ends = [near, far]
        self._unplug, self._pull = os.pipe()
        self._wire = threading.Thread(target=self._carry, args=(near, far), name="modbus-wire", daemon=True)
        self._wire.start()
        super().start()
        self._link_path.symlink_to(near_port)

    def stop(self) -> None:
        """Pull the cable: the client's port hangs up, and its path is gone."""
        super().stop()
        if self._wire is not None:
            self._link_path.unlink(missing_ok=True)
            os.write(self._pull, b"\0")
            self._wire.join(_START_S)
            self._wire = None
            for descriptor in (*self._ends, self._unplug, self._pull):
                os.close(descriptor)

    def _server(self, devices: list[SimDevice]) -> ModbusTcpServer | ModbusSerialServer:
        return ModbusSerialServer(devices, port=self._server_port, baudrate=115_200, trace_packet=self._filter(0))

    def _carry(self, near: int, far: int) -> None:
        """Bytes from either terminal to the other, until the cable is pulled. An end that nobody has open hangs up."""
        poll = select.poll()
        poll.register(self._unplug, select.POLLIN)
        for end in (near, far):
            poll.register(end, select.POLLIN)
        while True:
            for descriptor, event in poll.poll():
                if descriptor == self._unplug:
                    return
                if event & select.POLLIN:
                    with suppress(OSError):
                        os.write(far if descriptor == near else near, os.read(descriptor, 4096))
                else:
                    self._pause()

    def _pause(self) -> None:
        select.select([self._unplug], [], [], 0.01)


def _terminal() -> tuple[int, str]:
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    os.close(slave)
    return master, name


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
