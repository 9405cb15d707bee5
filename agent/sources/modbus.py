"""The Modbus source: registers of PLCs, drives and meters, polled over TCP or a serial line (RTU), by pymodbus.

- pymodbus is the extra `tocsin[modbus]`: 4.6 MB of memory, and only where a `[[modbus]]` is configured.
- The link is up once a poll has had an answer. A refusal (an exception response: no such register, busy) is an answer: it
  is counted as a frame error with its reason, and the other requests go on. A poll without any answer is a link that is
  down: the connection is made anew, with backoff.
- A unit that does not answer is left alone for `RETRY_SILENT_S`, so that the others on its line are not held up by it. On a
  serial line this is also what keeps a late answer from passing for the next one's: RTU frames carry no number, and
  pymodbus throws away what is in the port before it asks again.
- Readings are dated by the arrival of their answer: Modbus has no times.
- `stop` waits for an answer that is under way, at most `timeout_s`; nothing is delivered after it.
"""

from __future__ import annotations

import logging
import random
import socket
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from agent.backoff import Backoff
from agent.sources.config import ModbusConfig
from agent.sources.decode import Tally, channels_by_asset
from agent.sources.link import Link
from agent.sources.registers import Request, plan, value_of
from agent.sources.source import Burst, SourceState
from models.contract.reading import Reading
from models.errors import ConfigError, FrameError, LinkError

if TYPE_CHECKING:
    from pymodbus.client import ModbusSerialClient, ModbusTcpClient

    Client = ModbusTcpClient | ModbusSerialClient

RETRY_SILENT_S: Final = 5.0
_BACKOFF: Final = Backoff(cap_s=10.0)
_TCP_OVERHEAD_BYTES: Final = 9  # MBAP header, function code, byte count
_RTU_OVERHEAD_BYTES: Final = 5  # unit, function code, byte count, CRC
_REFUSALS: Final = {
    1: "illegal function",
    2: "no such register",
    3: "illegal value",
    4: "device failure",
    6: "busy",
    10: "gateway has no path to it",
    11: "gateway gets no answer from it",
}


class _Silence(Exception):
    """No answer that could be read."""


class ModbusSource:
    """See `source.Source`. Raises ConfigError where pymodbus is not installed.

    `known`: channels by asset. `now_ns`: Unix ns.
    """

    def __init__(
        self,
        config: ModbusConfig,
        now_ns: Callable[[], int],
        known: Mapping[str, Sequence[str]],
        backoff: Backoff = _BACKOFF,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        _need_pymodbus(config.name)
        self.name = config.name
        self._config = config
        self._now_ns = now_ns
        self._channels = channels_by_asset(known)
        self._plan = plan(config)
        self._where = config.serial_port or f"{config.host}:{config.port}"
        self._overhead_bytes = _RTU_OVERHEAD_BYTES if config.serial_port else _TCP_OVERHEAD_BYTES
        self._silent_until_s: dict[int, float] = {}  # by unit, monotonic
        self._link = Link(config.name, now_ns, backoff, jitter, extra=("requests", "refused", "timeouts"))

    def start(self, deliver: Callable[[Burst], None]) -> None:
        self._link.start(lambda: self._session(deliver))

    def stop(self) -> None:
        self._link.stop()

    @property
    def state(self) -> SourceState:
        return self._link.state

    def _session(self, deliver: Callable[[Burst], None]) -> None:
        """From connecting to a poll that nobody answers. Raises LinkError."""
        self._silent_until_s.clear()
        client = self._connect()
        try:
            due_s = time.monotonic()
            while not self._link.pause(max(0.0, due_s - time.monotonic())):
                burst = self._poll(client)
                if self._link.stopping:
                    return
                self._link.up(f"{self._where}, {len(self._plan)} requests every {self._config.interval_s:g} s")
                self._link.count(readings=len(burst.readings), bytes=burst.n_bytes)
                deliver(burst)
                due_s = max(due_s + self._config.interval_s, time.monotonic())
        finally:
            client.close()  # type: ignore[no-untyped-call]

    def _poll(self, client: Client) -> Burst:
        """One round of requests. Raises LinkError where none of them was answered."""
        tally = Tally()
        n_answers = n_bytes = 0
        for request in self._plan:
            if self._link.stopping or time.monotonic() < self._silent_until_s.get(request.unit, 0.0):
                continue
            self._link.count(requests=1)
            try:
                words = self._read(client, request)
            except _Silence as silence:
                self._link.count(timeouts=1, frame_errors=1)
                tally.add_error(f"{request}: {silence}")
                self._silent_until_s[request.unit] = time.monotonic() + RETRY_SILENT_S
                continue
            except FrameError as error:
                self._link.count(refused=1, frame_errors=1)
                tally.add_error(f"{request}: {error}")
            else:
                n_bytes += self._overhead_bytes + 2 * len(words)
                self._take(request, words, tally)
            n_answers += 1
        if not n_answers and not self._link.stopping:
            raise LinkError(f"{self._where}: {tally.last_error or 'no unit answers'}")
        self._link.count(unknown=tally.n_unknown)
        return Burst(self.name, tally.readings, n_bytes, tally.frame_errors, tally.last_error)

    def _read(self, client: Client, request: Request) -> Sequence[int]:
        """The words asked for. Raises FrameError for a refusal, _Silence for no answer, LinkError for no connection."""
        from pymodbus.exceptions import ConnectionException, ModbusException

        read = client.read_holding_registers if request.function == 3 else client.read_input_registers
        try:
            answer = read(request.address, count=request.n_words, device_id=request.unit)
        except (ConnectionException, OSError, termios.error) as error:
            raise LinkError(f"{self._where}: {error}") from error
        except (ModbusException, ValueError, IndexError, struct.error) as error:  # the latter: garbage in a frame
            raise _Silence(f"no answer within {self._config.timeout_s:g} s") from error
        if answer.isError():
            code = answer.exception_code
            raise FrameError(f"refused: {_REFUSALS.get(code, f'exception {code}')}")
        if answer.function_code != request.function or len(answer.registers) != request.n_words:
            raise FrameError(f"{len(answer.registers)} registers by function {answer.function_code}: not what was asked for")
        return answer.registers

    def _take(self, request: Request, words: Sequence[int], tally: Tally) -> None:
        at_ns = self._now_ns()
        for register in request.registers:
            asset = register.asset or self._config.asset or ""
            if register.channel not in self._channels.get(asset, ()):
                tally.n_unknown += 1
                continue
            first = register.address - request.address
            value = value_of(register, words[first : first + register.words])
            tally.readings.append(Reading(asset, register.channel, at_ns, value))

    def _connect(self) -> Client:
        """Opens the socket or port itself: pymodbus would only log why it cannot. Raises LinkError."""
        from pymodbus.client import ModbusSerialClient, ModbusTcpClient

        config = self._config
        client: Client
        try:
            if config.host is not None:
                client = ModbusTcpClient(config.host, port=config.port, timeout=config.timeout_s, retries=0)
                client.socket = socket.create_connection((config.host, config.port), config.timeout_s)
            else:
                client = self._serial_client(ModbusSerialClient)
        except (OSError, ValueError, termios.error) as error:
            raise LinkError(f"{self._where}: {error}") from error
        client.set_max_no_responses(1 << 30)  # when to give up is decided here
        return client

    def _serial_client(self, kind: type[ModbusSerialClient]) -> ModbusSerialClient:
        import serial

        config, parity = self._config, self._config.parity[0].upper()
        assert config.serial_port is not None  # ModbusConfig sees to it
        client = kind(
            config.serial_port,
            baudrate=config.baud,
            parity=parity,
            stopbits=config.stop_bits,
            timeout=config.timeout_s,
            retries=0,
        )
        client.socket = serial.Serial(
            config.serial_port,
            config.baud,
            parity=parity,
            stopbits=config.stop_bits,
            timeout=config.timeout_s,
            write_timeout=config.timeout_s,
            inter_byte_timeout=client.inter_byte_timeout,
            exclusive=True,
        )
        return client


def _need_pymodbus(name: str) -> None:
    try:
        import pymodbus.client  # noqa: F401
    except ImportError:
        raise ConfigError(f"source {name}", "pymodbus for [[modbus]]: pip install 'tocsin[modbus]'") from None
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # what fails shows in the source's state, once
