"""The journal: readings that are acknowledged, but whose windows have not closed.

    journal    id; source, data      readings of bursts that could not wait, as they were delivered

Invariants:
1. A row is in the transaction after which its readings are acknowledged, and goes once all of them are in stored windows.
2. A row whose checksum does not hold is passed over and told in the log: the file is damaged there, and the rest of it is
   still good. It stays where it is, for whoever wants to look.

Most devices never write here: a broker that speaks MQTT 5 keeps messages until their windows have closed.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
import zstandard

from agent.storage.database import Database
from models.contract.reading import Block, Reading, Readings

log = logging.getLogger("tocsin.storage")
_LEVEL: Final = 1
_ROWS: Final = "SELECT id, CAST(source AS BLOB), CAST(data AS BLOB) FROM journal ORDER BY id"  # whatever damage made of them
_MAX_UNPACKED: Final = 64 * 1024 * 1024
_Row = tuple[str, str, int | bytes, float | bytes]  # a block's times and values as int64 and float64 bytes


class Journal:
    """Belongs to the pipeline's thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self) -> list[tuple[int, str, list[Readings]]]:
        """(id, source, readings) of what was acknowledged and is in no stored window, in the order in which it came.

        Raises DamagedError where SQLite cannot read them; the next start does what it can.
        """
        try:
            rows = self._database.connection.execute(_ROWS).fetchall()
        except sqlite3.Error as error:
            raise self._database.failed(error) from error
        found = []
        for row_id, source, data in rows:
            readings = decode(data)
            if readings is None:
                log.error("%s: row %d of the journal is damaged; its readings are lost", self._database.path, row_id)
            else:
                found.append((row_id, source.decode(errors="replace"), readings))
        return found

    def write(self, source: str, readings: Sequence[Readings]) -> int:
        """The new row's id."""
        cursor = self._database.connection.execute(
            "INSERT INTO journal (source, data) VALUES (?, ?)", (source, encode(readings))
        )
        return int(cursor.lastrowid or 0)

    def drop(self, rows: Iterable[int]) -> None:
        self._database.connection.executemany("DELETE FROM journal WHERE id=?", [(row,) for row in rows])


def encode(readings: Sequence[Readings]) -> bytes:
    """Readings and blocks, exactly: every bit of a time or a value is kept."""
    rows = [r if isinstance(r, Reading) else (r.asset, r.channel, _bytes(r.captured_at_ns), _bytes(r.values)) for r in readings]
    return zstandard.ZstdCompressor(_LEVEL, write_checksum=True).compress(msgspec.msgpack.encode(rows))


def decode(data: bytes | None) -> list[Readings] | None:
    """None where `data` is no such thing."""
    if data is None:
        return None
    try:
        if not 0 <= zstandard.frame_content_size(data) <= _MAX_UNPACKED:  # it would be believed, and room made for it
            return None
        packed = zstandard.ZstdDecompressor().decompress(data, max_output_size=_MAX_UNPACKED)
        return [_reading(*row) for row in msgspec.msgpack.decode(packed, type=list[_Row])]
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError):
        return None


def _reading(asset: str, channel: str, at: int | bytes, value: float | bytes) -> Readings:
    if isinstance(at, int) and isinstance(value, float):
        return Reading(asset, channel, at, value)
    if isinstance(at, bytes) and isinstance(value, bytes):
        return Block(asset, channel, np.frombuffer(at, dtype="<i8"), np.frombuffer(value, dtype="<f8"))
    raise ValueError("neither a reading nor a block")


def _bytes(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, dtype="<i8" if values.dtype.kind == "i" else "<f8").tobytes()
