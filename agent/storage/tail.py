"""The outbox's tail: the newest commits, each one write into a file that is laid out beforehand.

A row of SQLite costs three to five blocks of flash a commit: the WAL's frames, the page above, and all of it again at the
checkpoint. Here a commit is one write of whole blocks, synced: ten aggregates are one block. What the hub has confirmed is
written over; what it has not is moved into the database when the file is full, many commits at a time.

    file    = n blocks of 4096 bytes, written from the first to the last, then from the first again
    block   = magic 2s, part u8, parts u8, length u16, crc u32, number u64, data, padding     (little-endian)
    record  = the data of blocks 0..parts-1 of one number: msgpack [heads, chunk]

Invariants:
1. A record is whole or it is not there: each block has a CRC of itself, a record counts once all of its parts do.
2. Nothing is written over before it is in the database or confirmed: `heads.floor` is the first record that still counts. Nor
   is the newest record, whatever it holds, before the next one is whole: it alone may know which numbers have been given. So
   that there is always room beside it, a record takes half of the file at most.
3. A block that fails its CRC was torn by a power cut or damaged later. These look alike, so the scan says `torn`, and the
   outbox gives none of its numbers again.
4. Of a record that a power cut left unfinished, some blocks may be there, each of them whole. The next record has its number
   again, so they must not be taken for parts of that: parts belong together by number, count and place, and what is left of an
   unfinished one is erased at the start (`Scan.unfinished`).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

BLOCK: Final = 4096
_HEADER: Final = struct.Struct("<2sBBHIQ")
_MAGIC: Final = b"To"
ROOM: Final = BLOCK - _HEADER.size
_MAX_PARTS: Final = 255


class Heads(msgspec.Struct, frozen=True, array_like=True):
    """Where the sequences stood after a commit. `number`: of the commit. `next_seq`, `acked`: by lane, most urgent first.

    `floor`: the first record of the tail that still counts. `stored`: the last commit that went into the database: a database
    that knows less has lost something. `progress`: by asset, up to where its windows were closed and stored, Unix ns.
    """

    number: int
    next_seq: list[int]
    acked: list[int]
    floor: int
    stored: int
    progress: dict[str, int] = {}


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One commit; `chunk` may be empty."""

    heads: Heads
    chunk: bytes


class Scan(msgspec.Struct, frozen=True):
    """What a file holds: whole records by number, the first block of each, and whether a block fails its CRC. `unfinished`: the
    blocks of a record that was being written when the last life ended."""

    records: list[Record]
    torn: bool
    starts: dict[int, int] = {}
    unfinished: list[int] = []


class Tail:
    """The open file. Not thread-safe: the outbox holds its lock."""

    def __init__(self, path: Path, n_blocks: int) -> None:
        """Make the file, or take it as it is (then `n_blocks` is its own). Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._descriptor).st_size
        if not size:
            os.pwrite(self._descriptor, bytes(n_blocks * BLOCK), 0)
            os.fsync(self._descriptor)
            _sync_directory(path.parent)
        # Out of the page cache, where it may lie in large folios: a kernel would take all of one for changed with each block.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        self.n_blocks = size // BLOCK or n_blocks

    @property
    def n_bytes(self) -> int:
        return self.n_blocks * BLOCK

    def write(self, block: int, number: int, data: bytes) -> None:
        """Durable when this returns. Raises OSError; then the record does not count."""
        os.pwrite(self._descriptor, b"".join(_blocks(number, data)), block * BLOCK)
        os.fdatasync(self._descriptor)

    def erase(self, blocks: Sequence[int]) -> None:
        """Let them hold nothing; durable when this returns. Raises OSError."""
        for block in blocks:
            os.pwrite(self._descriptor, bytes(BLOCK), block * BLOCK)
        if blocks:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def blocks_for(max_bytes: int) -> int:
    """How large a tail is for an outbox of `max_bytes`: a sixteenth of it, within 4..64 blocks."""
    return min(64, max(4, max_bytes // 16 // BLOCK))


def encode_record(record: Record) -> bytes:
    return msgspec.msgpack.encode(record)


def n_parts(n_bytes: int) -> int:
    """How many blocks a record of `n_bytes` takes."""
    return max(1, -(-n_bytes // ROOM))


def place(n_blocks: int, after: int, parts: int, taken: Sequence[tuple[int, int]]) -> int | None:
    """Where `parts` blocks go: after the last record, else from the first block on; None where they would lie on a record
    that still counts. `taken`: (first block, parts) of these."""
    start = after if after + parts <= n_blocks else 0
    free = all(start + parts <= first or first + n <= start for first, n in taken)
    return start if free and start + parts <= n_blocks else None


def _blocks(number: int, data: bytes) -> list[bytes]:
    parts = n_parts(len(data))
    if parts > _MAX_PARTS:
        raise ValueError(f"a record of {len(data)} bytes; at most {_MAX_PARTS * ROOM}")
    return [_block(number, data[i * ROOM : (i + 1) * ROOM], i, parts) for i in range(parts)]


def _block(number: int, data: bytes, part: int, parts: int) -> bytes:
    crc = zlib.crc32(_HEADER.pack(_MAGIC, part, parts, len(data), 0, number) + data.ljust(ROOM, b"\0"))
    return _HEADER.pack(_MAGIC, part, parts, len(data), crc, number) + data.ljust(ROOM, b"\0")


def scan(data: bytes) -> Scan:
    """Read a whole file; never raises, whatever is in it."""
    parts: dict[tuple[int, int, int], dict[int, bytes]] = {}  # (number, how many, first block): those that are there
    torn = len(data) % BLOCK != 0
    for at in range(len(data) // BLOCK):
        block = data[at * BLOCK : (at + 1) * BLOCK]
        if not any(block):
            continue
        read = _read_block(block)
        if read is None:
            torn = True
            continue
        number, part, n, content = read
        parts.setdefault((number, n, at - part), {})[part] = content
    records: list[Record] = []
    starts: dict[int, int] = {}
    for (number, n, first), there in sorted(parts.items()):
        if len(there) == n:
            try:
                records.append(msgspec.msgpack.decode(b"".join(there[i] for i in range(n)), type=Record))
                starts[number] = first
            except (msgspec.MsgspecError, KeyError, UnicodeDecodeError):
                torn = True
    newest = max(starts, default=0)
    unfinished = [first + part for (number, _, first), there in parts.items() if number > newest for part in there]
    return Scan(records, torn, starts, unfinished)


def _read_block(block: bytes) -> tuple[int, int, int, bytes] | None:
    magic, part, parts, length, crc, number = _HEADER.unpack_from(block)
    plain = _HEADER.pack(magic, part, parts, length, 0, number) + block[_HEADER.size :]
    if magic != _MAGIC or zlib.crc32(plain) != crc or length > ROOM:
        return None
    return number, part, parts, block[_HEADER.size : _HEADER.size + length]


def counting(records: Sequence[Record]) -> tuple[list[Record], bool]:
    """The records that still count, by the newest one's word, and whether one of them is missing."""
    if not records:
        return [], False
    newest = records[-1].heads
    alive = [record for record in records if record.heads.number >= newest.floor]
    return alive, len(alive) != newest.number - newest.floor + 1


def tail_fault(found: Scan, database: Heads) -> str | None:
    """Why tail and database cannot both be as they were written, or None. `database`: where the sequences stand there."""
    alive, gap = counting(found.records)
    newest = alive[-1].heads if alive else Heads(0, [], [], 1, 0)
    if found.torn:
        return "the tail has a block that is not as it was written"
    if gap:
        return "the tail lacks a commit"
    if newest.stored > database.stored:
        return "the database lacks a commit that the tail knows of"
    return "the tail lacks a commit that the database knows of" if newest.number < database.number else None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
