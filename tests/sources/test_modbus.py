"""The Modbus source against real servers: over TCP, and RTU over pseudo-terminals."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pymodbus.framer import FramerRTU

from agent.backoff import Backoff
from agent.sources import modbus
from agent.sources.config import ModbusConfig, Register
from agent.sources.modbus import ModbusSource
from firmware_sim.links.modbus import ModbusLine, ModbusPeer
from models.errors import ConfigError
from tests.ports import own_port
from tests.sources.conftest import KNOWN, NOW_NS, Port, Recorder
from tests.waiting import wait_until

REGISTERS = (
    Register(channel="flow", address=100, type="float32"),
    Register(channel="pressure", address=102, type="int16", scale=0.1, offset=1.0),
    Register(channel="speed", asset="fan-1", unit=2, address=7, function=4),
)
DEVICES = {1: {(3, 100): 0x41BC, (3, 101): 0, (3, 102): 65536 - 30}, 2: {(4, 7): 1450}}
EXPECTED = [("pump-1", "flow", NOW_NS, 23.5), ("pump-1", "pressure", NOW_NS, -2.0), ("fan-1", "speed", NOW_NS, 1450.0)]
Start = Callable[..., ModbusSource]
PATIENT = {"timeout_s": 10.0}  # where everybody answers: one who is held up is not silent


@pytest.fixture(params=["tcp", "rtu"])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModbusPeer]:
    with ModbusPeer(DEVICES) if request.param == "tcp" else ModbusLine(DEVICES, tmp_path / "ttyBus") as peer:
        yield peer


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(modbus, "RETRY_SILENT_S", 0.3)
    sources: list[ModbusSource] = []

    def start(peer: ModbusPeer | int, deliver: Recorder, registers: tuple[Register, ...] = REGISTERS, **changes: object):
        if isinstance(peer, ModbusLine):
            where: dict[str, object] = {"serial_port": peer.address, "parity": "none", "baud": 115_200}
        else:
            where = {"host": "127.0.0.1", "port": peer if isinstance(peer, int) else peer.port}
        fixed = {"name": "plc", "asset": "pump-1", "interval_s": 0.05, "timeout_s": 0.2}
        source = ModbusSource(
            ModbusConfig(registers=registers, **fixed | where | changes), lambda: NOW_NS, KNOWN, Backoff(0.02, 0.1)
        )
        sources.append(source)
        source.start(deliver)
        return source

    yield start
    for source in sources:
        source.stop()


def last(recorder: Recorder) -> list[tuple[str, str, int, float]]:
    return recorder.rows[-3:]


def test_registers_of_several_units_become_readings(peer: ModbusPeer, recorder: Recorder, start: Start) -> None:
    source = start(peer, recorder, **PATIENT)
    wait_until(lambda: len(recorder.bursts) >= 2)
    assert recorder.rows[:3] == EXPECTED
    peer.set_word(2, 4, 7, 1500)
    wait_until(lambda: last(recorder)[-1] == ("fan-1", "speed", NOW_NS, 1500.0))
    source.stop()
    assert source.state.counters["requests"] <= 2 * len(recorder.bursts) + 2  # neighbours at once
    assert source.state.counters["bytes"] == sum(burst.n_bytes for burst in recorder.bursts) > 0
    assert source.state.counters["frame_errors"] == 0


def test_a_register_that_is_not_there_is_a_refusal_and_the_rest_goes_on(
    peer: ModbusPeer, recorder: Recorder, start: Start
) -> None:
    source = start(peer, recorder, (*REGISTERS[1:], Register(channel="flow", address=555)), **PATIENT)
    wait_until(lambda: len(recorder.bursts) >= 3)
    assert {channel for _, channel, *_ in recorder.rows} == {"pressure", "speed"}
    assert recorder.bursts[0].frame_errors == 1
    assert recorder.bursts[0].last_error == "unit 1, function 3, registers 555: refused: no such register"
    assert source.state.link == "up"
    assert source.state.counters["refused"] >= 2


def test_a_busy_device_is_up_and_says_so(peer: ModbusPeer, recorder: Recorder, start: Start) -> None:
    peer.refuse(1, 6)
    peer.refuse(2, 6)
    source = start(peer, recorder, **PATIENT)
    wait_until(lambda: recorder.bursts)
    assert source.state.link == "up"
    assert recorder.bursts[0].last_error.endswith("refused: busy")
    peer.refuse(1, None)
    peer.refuse(2, None)
    wait_until(lambda: last(recorder) == EXPECTED)


def test_a_wrong_unit_does_not_hold_up_the_others(
    peer: ModbusPeer, recorder: Recorder, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modbus, "RETRY_SILENT_S", 3600.0)
    registers = (*REGISTERS[:2], Register(channel="speed", asset="fan-1", unit=9, address=7))
    source = start(peer, recorder, registers, timeout_s=2.0)
    wait_until(lambda: len(recorder.bursts) >= 5)
    assert {channel for _, channel, *_ in recorder.rows} == {"flow", "pressure"}
    errors = [burst.last_error for burst in recorder.bursts if burst.frame_errors]
    assert errors == ["unit 9, function 3, registers 7: no answer within 2 s"]  # left alone for a while
    assert source.state.link == "up"


def test_a_line_on_which_nobody_answers_is_not_up(peer: ModbusPeer, recorder: Recorder, start: Start) -> None:
    source = start(peer, recorder, unit=9, registers=REGISTERS[:2])
    wait_until(lambda: "no answer within" in source.state.detail)
    assert source.state.link == "connecting"
    assert recorder.bursts == []


def test_a_unit_that_falls_silent_and_comes_back_is_read_again(peer: ModbusPeer, recorder: Recorder, start: Start) -> None:
    source = start(peer, recorder)
    wait_until(lambda: recorder.bursts)
    peer.silence(1)
    peer.silence(2)
    wait_until(lambda: source.state.link == "down")
    assert "no answer within" in source.state.detail
    n = len(recorder.rows)
    peer.silence(1, False)
    peer.silence(2, False)
    wait_until(lambda: len(recorder.rows) >= n + 3 and last(recorder) == EXPECTED)
    assert source.state.counters["reconnects"] >= 1


def test_a_device_that_is_gone_and_back_is_found_again(peer: ModbusPeer, recorder: Recorder, start: Start) -> None:
    source = start(peer, recorder, timeout_s=5.0)
    wait_until(lambda: recorder.bursts)
    peer.stop()
    wait_until(lambda: source.state.link == "down")
    peer.start()
    wait_until(lambda: source.state.link == "up")
    n = len(recorder.bursts)
    wait_until(lambda: len(recorder.bursts) > n)
    assert last(recorder) == EXPECTED


TWO_UNITS = (Register(channel="flow", unit=1, address=5), Register(channel="pressure", unit=2, address=5))


def late_answers(requests: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Answers to (unit, frame head): the first comes only with the second's, and before it. Values are the units."""
    held = b""
    for n, (unit, head) in enumerate(requests):
        answer = head + bytes([unit, 3, 2, 0, unit])
        if n == 0:
            held = answer
        else:
            yield from filter(None, (held, answer))
            held = b""


def test_a_late_answer_is_not_taken_for_the_next_units_over_tcp(recorder: Recorder, start: Start) -> None:
    def serve() -> None:
        with listener.accept()[0] as client:
            requests = ((data[6], data[:4] + b"\0\5") for data in iter(lambda: client.recv(260), b""))
            for answer in late_answers(requests):
                client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        source = start(listener.getsockname()[1], recorder, TWO_UNITS, timeout_s=2.0)
        wait_until(lambda: {channel for _, channel, *_ in recorder.rows} == {"flow", "pressure"})
        source.stop()
        server.join(30)
    assert {(channel, value) for _, channel, _, value in recorder.rows} == {("flow", 1.0), ("pressure", 2.0)}
    assert source.state.counters["timeouts"] >= 1


def test_a_late_answer_is_not_taken_for_the_next_units_on_a_serial_line(port: Port, recorder: Recorder, start: Start) -> None:
    def serve() -> None:
        with suppress(OSError):  # the end of the test
            requests = ((data[0], b"") for data in iter(lambda: os.read(port.master, 8), b""))
            for answer in late_answers(requests):
                os.write(port.master, answer + FramerRTU.compute_CRC(answer).to_bytes(2, "big"))

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    line = {"host": None, "serial_port": str(port.path), "parity": "none", "baud": 115_200}
    source = start(0, recorder, TWO_UNITS, timeout_s=2.0, **line)
    wait_until(lambda: {channel for _, channel, *_ in recorder.rows} == {"flow", "pressure"})
    source.stop()
    assert {(channel, value) for _, channel, _, value in recorder.rows} == {("flow", 1.0), ("pressure", 2.0)}
    assert source.state.counters["timeouts"] >= 1


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 300, b"\0" * 64, b"\x00\x01\x00\x00\x00\x02\x01\x83", b"\x00\x01\x00\x00\x00\x03\x01\x03\x09"]
)
def test_garbage_for_an_answer_is_a_link_that_is_not_up(garbage: bytes, recorder: Recorder, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = start(listener.getsockname()[1], recorder, REGISTERS[:1])
        for _ in range(2):
            with listener.accept()[0] as client:
                assert client.recv(260)
                with suppress(ConnectionError):  # it may have hung up by then
                    client.sendall(garbage)
                    while client.recv(260):
                        pass
        source.stop()
        assert "defect" not in source.state.detail
        assert recorder.rows == []


def test_a_port_that_refuses_says_so_and_is_tried_again(recorder: Recorder, start: Start) -> None:
    port = own_port()
    source = start(port, recorder)
    wait_until(lambda: "refused" in source.state.detail)
    with ModbusPeer(DEVICES, port):
        wait_until(lambda: source.state.link == "up")


def test_without_pymodbus_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymodbus.client", None)
    config = ModbusConfig(name="plc", host="h", asset="pump-1", registers=REGISTERS)
    with pytest.raises(ConfigError, match=r"source plc: .*pip install 'tocsin\[modbus\]'"):
        ModbusSource(config, lambda: NOW_NS, KNOWN)
