"""The tail and the chunks: what is written comes back, byte for byte, or is known not to be what was written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.storage.chunk import decode_chunk, encode_chunk
from agent.storage.tail import BLOCK, ROOM, Heads, Record, Tail, blocks_for, counting, encode_record, n_parts, place, scan
from models.contract.items import Item, pack_floats
from models.errors import ItemError
from tests.builders import aggregate, alert, evidence, health, items_of


def record(number: int, n_bytes: int = 100, floor: int = 1) -> Record:
    return Record(Heads(number, [1, 1, 1], [0, 0, 0], floor, 0), bytes(n_bytes))


def written(path: Path, *records: tuple[int, Record]) -> bytes:
    tail = Tail(path, 8)
    for block, each in records:
        tail.write(block, each.heads.number, encode_record(each))
    tail.close()
    return path.read_bytes()


def test_records_come_back_by_number_with_the_block_that_each_begins_at(tmp_path: Path) -> None:
    three = record(3, 2 * ROOM)
    found = scan(written(tmp_path / "tail", (0, record(4)), (1, record(2)), (2, three)))
    assert (found.records, found.torn) == ([record(2), three, record(4)], False)
    assert found.starts == {2: 1, 3: 2, 4: 0}


def test_a_record_of_which_a_part_was_written_over_is_no_more(tmp_path: Path) -> None:
    found = scan(written(tmp_path / "tail", (0, record(1, 2 * ROOM)), (1, record(2))))
    assert (found.records, found.torn) == ([record(2)], False)


@pytest.mark.parametrize("arrived", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}])
def test_what_a_power_cut_left_of_a_record_is_no_part_of_the_next_one(arrived: set[int], tmp_path: Path) -> None:
    """Its number is given again."""
    path = tmp_path / "tail"
    whole = bytearray(written(path, (0, record(1)), (1, record(2, 2 * ROOM + 9))))
    for part in {0, 1, 2} - arrived:
        whole[(1 + part) * BLOCK : (2 + part) * BLOCK] = bytes(BLOCK)
    path.write_bytes(whole)
    found = scan(path.read_bytes())
    assert (found.records, found.torn, found.unfinished) == ([record(1)], False, [1 + part for part in sorted(arrived)])
    again = scan(written(path, (1, record(2))))
    assert (again.records, again.torn) == ([record(1), record(2)], False)
    tail = Tail(path, 8)
    tail.erase(again.unfinished)
    tail.write(1, 2, encode_record(record(2, 2 * ROOM + 9)))
    tail.close()
    assert scan(path.read_bytes()).records == [record(1), record(2, 2 * ROOM + 9)]


def test_what_counts_is_what_the_newest_says_and_a_gap_in_it_is_noticed() -> None:
    records = [record(1), record(2), record(4, floor=2)]
    assert counting(records) == ([record(2), record(4, floor=2)], True)
    assert counting([*records, record(3)][1:]) != (records, False)
    assert counting([]) == ([], False)


@given(st.integers(0, 3 * BLOCK - 1), st.integers(0, 7))
def test_any_changed_bit_is_noticed(at: int, bit: int) -> None:
    from agent.storage.tail import _blocks

    data = bytearray(b"".join(b"".join(_blocks(n, encode_record(record(n)))) for n in (1, 2, 3)))
    data[at] ^= 1 << bit
    found = scan(bytes(data))
    assert found.torn
    assert len(found.records) == 2


def test_nothing_is_placed_on_what_still_counts() -> None:
    assert place(8, 3, 2, [(0, 3)]) == 3
    assert place(8, 7, 2, [(3, 4)]) == 0
    assert place(8, 7, 2, [(1, 6)]) is None
    assert place(8, 0, 9, []) is None


def test_its_size_is_a_sixteenth_of_the_budget_within_bounds() -> None:
    assert [blocks_for(n) for n in (1, 10**6, 256 * 10**6)] == [4, 15, 64]
    assert (n_parts(0), n_parts(ROOM), n_parts(ROOM + 1)) == (1, 1, 2)


# --- chunks ---------------------------------------------------------------------------------------------------------


def mixed() -> list[Item]:
    items = items_of([aggregate(1, 7), health(1), alert(1), evidence(1), aggregate(2, 0), aggregate(3, 7)])
    strange = msgspec.msgpack.encode({"asset": 1, "of a newer version": True})
    items.append(msgspec.structs.replace(items[0], seq=99, first_seq=90, body=msgspec.Raw(strange)))
    items.append(msgspec.structs.replace(items[0], kind="hologram", body=msgspec.Raw(b"\xc1")))
    return items


def test_a_chunk_brings_back_every_byte_also_of_what_it_does_not_understand() -> None:
    assert decode_chunk(encode_chunk(mixed())) == mixed()
    assert decode_chunk(encode_chunk([])) == []


@given(st.lists(st.lists(st.floats(width=32, allow_nan=True), max_size=30), max_size=12))
def test_features_keep_every_bit(rows: list[list[float]]) -> None:
    made = [msgspec.structs.replace(aggregate(n), features=pack_floats(np.array(row))) for n, row in enumerate(rows)]
    items = items_of(made)
    assert decode_chunk(encode_chunk(items)) == items


def test_ten_aggregates_of_68_features_fit_one_block() -> None:
    rng = np.random.default_rng(1)
    made = [msgspec.structs.replace(aggregate(1), features=pack_floats(rng.standard_normal(68))) for _ in range(10)]
    chunk = encode_chunk(items_of(made))
    assert n_parts(len(encode_record(Record(record(1).heads, chunk)))) == 1
    assert len(chunk) < 0.7 * sum(len(item.body) for item in items_of(made))


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1], lambda c: c[:40] + bytes([c[40] ^ 4]) + c[41:], lambda c: b"", lambda c: b"x"]
)
def test_a_chunk_that_has_changed_is_refused(damage: object) -> None:
    with pytest.raises(ItemError, match=r"damaged|not a frame"):
        decode_chunk(damage(encode_chunk(mixed())))  # type: ignore[operator]
