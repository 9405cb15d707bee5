"""Outboxes on files of their own, and what is in one, read from a copy while an agent runs on it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.storage.chunk import decode_chunk, encode_chunk
from agent.storage.database import Database
from agent.storage.outbox import Outbox
from agent.storage.tail import blocks_for
from models.contract.items import Item
from tests.waiting import wait_until


def open_outbox(path: Path, max_bytes: int = 10**9, tail_blocks: int | None = None) -> Outbox:
    return Outbox(Database(path, tail_blocks or blocks_for(max_bytes)), max_bytes)


def shut(outbox: Outbox) -> None:
    """As an agent that stops."""
    outbox.close()
    outbox.database.close()


def drop(outbox: Outbox) -> None:
    """As an agent that is killed: nothing more is written, but the descriptors of this process are given back."""
    outbox.database.tail.close()
    outbox.database.connection.close()


def copy_files(path: Path, to: Path) -> Path:
    """The files as they are at this moment, under the database's name in the directory `to`."""
    to.mkdir(parents=True, exist_ok=True)
    for file in (path, Path(f"{path}-wal"), path.with_suffix(".tail")):
        if file.exists():
            shutil.copy(file, to / file.name)
    return to / path.name


def stored_items(path: Path) -> list[Item]:
    """What waits in the outbox at `path`, whoever has it open."""
    with tempfile.TemporaryDirectory() as directory:
        outbox = open_outbox(_settled_copy(path, Path(directory)))
        items = outbox.pending(10**6, 10**12)
        assert outbox.database.salvaged is None, str(outbox.database.salvaged)
        shut(outbox)
    return items


def _settled_copy(path: Path, to: Path) -> Path:
    """As `copy_files`, of what the files were at one moment: read twice alike, none of them changed in between. One that was
    read before a commit and one that was read after it would look like damage."""
    seen: dict[str, bytes] = {}

    def settled() -> bool:
        nonlocal seen
        before, seen = seen, _contents(path)
        return seen == before

    wait_until(settled, what="the outbox's files to be the same twice")
    for name, content in seen.items():
        (to / name).write_bytes(content)
    return to / path.name


def _contents(path: Path) -> dict[str, bytes]:
    found = {}
    for file in (path, Path(f"{path}-wal"), path.with_suffix(".tail")):
        with suppress(FileNotFoundError):
            found[file.name] = file.read_bytes()
    return found


def spoil(outbox: Outbox, lane: str, seq: int, body: bytes) -> None:
    """Let the stored item `seq` have another body; its chunk's checksum is as it should be."""
    outbox.close()  # all of it into the database
    connection = outbox.database.connection
    for first_seq, data in connection.execute("SELECT first_seq, data FROM chunks WHERE lane=?", (lane,)).fetchall():
        items = [
            msgspec.structs.replace(item, body=msgspec.Raw(body)) if item.seq == seq else item for item in decode_chunk(data)
        ]
        connection.execute("UPDATE chunks SET data=? WHERE lane=? AND first_seq=?", (encode_chunk(items), lane, first_seq))
