"""The pseudo-terminal as a serial port: read by pyserial, as an agent does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from firmware_sim.firmware.encoder import Message
from firmware_sim.links.pty import PtyLink
from models.errors import ConfigError
from tests.sim.reading import read_serial
from tests.waiting import wait_until


@pytest.fixture
def link() -> Iterator[PtyLink]:
    link = PtyLink()
    yield link
    link.close()


def frames(count: int, size: int = 100) -> list[Message]:
    return [Message("", f"{i:06d}".encode().ljust(size - 1, b".") + b"\n", 0) for i in range(count)]


def test_every_byte_value_passes_unchanged(link: PtyLink) -> None:
    sent = bytes(range(256)) * 8
    with serial.Serial(link.address, timeout=0.05) as port:
        link.write([Message("", sent, 0)])
        assert read_serial(port, len(sent)) == sent


def test_nothing_is_written_for_nobody_and_a_late_reader_gets_only_what_is_new(link: PtyLink) -> None:
    link.write(frames(5000))
    assert link.n_dropped == 5000
    with serial.Serial(link.address, timeout=0.05) as port:
        link.write([Message("", b"new\n", 0)])
        assert read_serial(port, 4) == b"new\n"


def test_writer_does_not_wait_for_a_reader_that_sleeps_and_never_cuts_a_frame(link: PtyLink) -> None:
    with serial.Serial(link.address, timeout=0.05) as port:
        started = time.monotonic()
        link.write(frames(10_000))
        assert time.monotonic() - started < 60, "the reader never reads"
        assert 0 < link.n_dropped < 10_000
        expected = (10_000 - link.n_dropped) * 100
        got = bytearray()
        while len(got) < expected:
            link.write([])
            got += read_serial(port, 1)
    assert b"".join(m.payload for m in frames(10_000 - link.n_dropped)) == bytes(got)


def test_flush_waits_until_the_reader_has_taken_everything(link: PtyLink) -> None:
    with serial.Serial(link.address, timeout=0.05) as port:
        link.write(frames(10))
        assert not link.flush(0.05)
        read_serial(port, 1000)
        assert link.flush(60)


def test_pulled_cable_is_a_hang_up_and_the_same_address_works_again(tmp_path: Path) -> None:
    link = PtyLink(tmp_path / "ports" / "pump-1")
    address = link.address
    with serial.Serial(address, timeout=0.05) as port:
        link.unplug()
        with pytest.raises(serial.SerialException):
            wait_until(lambda: port.read(1))
    assert not Path(address).exists()
    link.write(frames(3))
    assert link.n_dropped == 3
    link.plug()
    with serial.Serial(link.address, timeout=0.05) as port:
        link.write([Message("", b"back\n", 0)])
        assert read_serial(port, 5) == b"back\n"
    link.close()
    assert link.address == address
    assert not Path(address).is_symlink()


def test_file_where_the_link_should_be_is_left_alone(tmp_path: Path) -> None:
    taken = tmp_path / "precious.txt"
    taken.write_text("do not touch")
    with pytest.raises(ConfigError, match="something else is there"):
        PtyLink(taken)
    assert taken.read_text() == "do not touch"


def test_reader_that_leaves_and_comes_back_is_served_again(link: PtyLink) -> None:
    for _ in range(3):
        with serial.Serial(link.address, timeout=0.05) as port:
            link.write([Message("", b"here\n", 0)])
            assert read_serial(port, 5) == b"here\n"
        wait_until(lambda: not link.has_reader)
        link.write(frames(1))
    assert link.n_dropped == 3
