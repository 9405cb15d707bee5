"""Readings in the journal come back bit by bit, and only those that are still needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.storage.database import Database
from agent.storage.journal import Journal, decode, encode
from models.contract.reading import Block, Reading, Readings

TIMES = st.integers(0, 2**62)
VALUES = st.floats(allow_nan=True, allow_infinity=True)
NAMES = st.sampled_from(["pump-1", "a", "fan.2"])
READINGS = st.lists(
    st.one_of(
        st.builds(Reading, NAMES, NAMES, TIMES, VALUES),
        st.lists(st.tuples(TIMES, VALUES), max_size=5).map(
            lambda rows: Block(
                "pump-1",
                "flow",
                np.array([t for t, _ in rows], dtype=np.int64),
                np.array([v for _, v in rows], dtype=np.float64),
            )
        ),
    ),
    max_size=20,
)


def bits(reading: Readings) -> tuple[str, str, bytes, bytes]:
    return (
        reading.asset,
        reading.channel,
        np.asarray(reading.captured_at_ns, dtype=np.int64).tobytes(),
        np.asarray(reading.value if isinstance(reading, Reading) else reading.values, dtype=np.float64).tobytes(),
    )


@given(READINGS)
def test_what_is_written_comes_back_bit_by_bit(readings: list[Readings]) -> None:
    back = decode(encode(readings))
    assert back is not None
    assert [bits(r) for r in back] == [bits(r) for r in readings]
    assert [type(r) for r in back] == [type(r) for r in readings]


@given(READINGS, st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_row_is_passed_over_or_as_it_was_and_nothing_else(readings: list[Readings], place: int, flip: int) -> None:
    data = bytearray(encode(readings))
    data[place % len(data)] ^= flip
    back = decode(bytes(data))
    assert back is None or [bits(r) for r in back] == [bits(r) for r in readings]


def test_no_changed_byte_makes_it_ask_for_memory_without_end() -> None:
    """A frame says how long it is unpacked; that, too, may be what was damaged."""
    readings = [Reading("pump-1", "flow", 1, 1.0)]
    data = encode(readings)
    for place in range(len(data)):
        for flip in range(1, 256):
            damaged = bytearray(data)
            damaged[place] ^= flip
            back = decode(bytes(damaged))
            assert back is None or [bits(r) for r in back] == [bits(r) for r in readings]


def test_garbage_is_passed_over() -> None:
    assert decode(None) is None
    assert decode(b"") is None
    assert decode(b"garbage") is None


def test_rows_come_back_in_order_until_they_are_dropped(outbox_path: Path) -> None:
    database = Database(outbox_path)
    journal = Journal(database)
    first = [Reading("pump-1", "flow", 1, 1.0)]
    second = [Reading("pump-1", "flow", 2, 2.0)]
    with database.transaction():
        rows = [journal.write("plant", first), journal.write("hall", second)]
    database.close()
    database = Database(outbox_path)
    journal = Journal(database)
    assert journal.rows() == [(rows[0], "plant", first), (rows[1], "hall", second)]
    with database.transaction():
        journal.drop(rows[:1])
    assert [row for row, _, _ in journal.rows()] == rows[1:]
    database.close()
