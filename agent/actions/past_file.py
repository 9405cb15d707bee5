"""What a rule must not forget, on disk: kept so that writing it anew is one sync and no more.

    file    two slots of the same size, a multiple of 4096 bytes
    slot    crc32 of the rest, length of the payload (both uint32, little-endian), number (uint64), payload, zeros

1. A write goes to the slot that does not hold the newest state, over blocks that the file has already: the file system has
   nothing of its own to write, so it takes a third of the time of a new file and its rename, and needs no free space.
2. A torn write leaves a slot whose checksum does not fit; then the other one holds, which is the state before.
3. A state that outgrows its slot gets a new file, by rename.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Final

import msgspec

from agent.actions.rules import Past
from models.files import write_durably

log = logging.getLogger("tocsin.actions")
_PAGE: Final = 4096
_HEAD: Final = struct.Struct("<IIQ")


class PastFile:
    """Used by one thread at a time. `read` before the first `write`; `close` at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._slot_bytes = 0
        self._number = 0

    def read(self) -> Past | None:
        """The newest state that is whole; None where nothing is known."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s is left out: %s", self._path, error)
            return None
        size = _slot_size(len(data))
        found = [slot for slot in (_whole(data[:size]), _whole(data[size : 2 * size])) if slot is not None]
        try:
            self._number, payload = max(found)
            return msgspec.msgpack.decode(payload, type=Past)
        except (ValueError, msgspec.MsgspecError) as error:  # none is whole, or it is in another format
            log.warning("%s is left out: %s", self._path, "no whole state in it" if not found else error)
            return None

    def write(self, past: Past) -> None:
        """Durable when this returns. Raises OSError."""
        slot = _slot(self._number + 1, msgspec.msgpack.encode(past))
        if (self._descriptor is None and not self._open()) or len(slot) > self._slot_bytes:
            self._make(slot)
        else:
            assert self._descriptor is not None
            place = (self._number + 1) % 2 * self._slot_bytes
            if os.pwrite(self._descriptor, slot, place) != len(slot):
                raise OSError(f"{self._path}: written in part only")
            os.fdatasync(self._descriptor)
        self._number += 1

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> bool:
        """Whether there is a file to write to."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._slot_bytes = _slot_size(os.fstat(self._descriptor).st_size)
        return True

    def _make(self, slot: bytes) -> None:
        """A file with room to spare, the state in the slot that its number goes to."""
        self.close()
        size = (2 * len(slot) // _PAGE + 1) * _PAGE
        first, second = (slot, b"") if (self._number + 1) % 2 == 0 else (b"", slot)
        write_durably(self._path, first.ljust(size, b"\0") + second.ljust(size, b"\0"), mode=0o600)
        self._open()


def _slot_size(file_bytes: int) -> int:
    return file_bytes // 2 // _PAGE * _PAGE


def _slot(number: int, payload: bytes) -> bytes:
    rest = _HEAD.pack(0, len(payload), number)[4:] + payload
    return zlib.crc32(rest).to_bytes(4, "little") + rest


def _whole(slot: bytes) -> tuple[int, bytes] | None:
    """(number, payload), or None where the slot is empty or torn."""
    if len(slot) < _HEAD.size:
        return None
    checksum, length, number = _HEAD.unpack_from(slot)
    end = _HEAD.size + length
    if number == 0 or end > len(slot) or zlib.crc32(slot[4:end]) != checksum:
        return None
    return number, slot[_HEAD.size : end]
